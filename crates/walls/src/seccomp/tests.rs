use super::program::{allowed, failing};
use super::table::{Call, Condition, Must, TABLE};
use super::*;
use libc::c_long;

#[test]
fn no_profile_allows_what_leaves_the_walls() {
    const DEADLY: &[(&str, c_long)] = &[
        ("execve", libc::SYS_execve),
        ("execveat", libc::SYS_execveat),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("move_mount", libc::SYS_move_mount),
        ("fsopen", libc::SYS_fsopen),
        ("open_tree", libc::SYS_open_tree),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("reboot", libc::SYS_reboot),
        ("fchmod", libc::SYS_fchmod),
        ("fchmodat", libc::SYS_fchmodat),
        // libc has no name for it on every architecture; its number is the same on all.
        ("fchmodat2", 452),
        ("fchown", libc::SYS_fchown),
        ("fchownat", libc::SYS_fchownat),
        ("setxattr", libc::SYS_setxattr),
        ("lsetxattr", libc::SYS_lsetxattr),
        ("fsetxattr", libc::SYS_fsetxattr),
        ("removexattr", libc::SYS_removexattr),
        ("mknodat", libc::SYS_mknodat),
        ("socket", libc::SYS_socket),
        ("socketpair", libc::SYS_socketpair),
        ("connect", libc::SYS_connect),
        ("bind", libc::SYS_bind),
        ("accept4", libc::SYS_accept4),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("personality", libc::SYS_personality),
        ("pkey_mprotect", libc::SYS_pkey_mprotect),
        ("shmat", libc::SYS_shmat),
        ("setuid", libc::SYS_setuid),
        ("capset", libc::SYS_capset),
        ("memfd_secret", libc::SYS_memfd_secret),
        ("memfd_create", libc::SYS_memfd_create),
        ("sendmsg", libc::SYS_sendmsg),
        ("sendto", libc::SYS_sendto),
        ("shutdown", libc::SYS_shutdown),
        ("process_madvise", libc::SYS_process_madvise),
        ("kill", libc::SYS_kill),
    ];
    for profile in Profile::ALL {
        let allowed = allowed(profile);
        for (name, call) in DEADLY {
            assert!(!allowed.contains_key(call), "{profile:?} allows {name}");
        }
        assert_eq!(
            allowed.contains_key(&libc::SYS_seccomp),
            matches!(profile, Profile::Load | Profile::Zygote)
        );
    }
}

/// Stages follow each other, and filters stack.
#[test]
fn whatever_a_later_profile_needs_an_earlier_one_allows() {
    use Profile::{Load, Run, TestChild, Zygote};
    for (later, earlier) in [(Run, Load), (Zygote, Load), (TestChild, Zygote)] {
        let before = allowed(earlier);
        for (call, alternatives) in allowed(later) {
            for when in alternatives {
                // Something at least as wide: no condition but those that the later one has.
                let wide = |other: &&[Condition]| other.iter().all(|condition| when.contains(condition));
                assert!(before[&call].iter().any(wide), "{later:?} has call {call} and {earlier:?} has not");
            }
        }
        assert_eq!(failing(later), failing(earlier));
    }
}

#[test]
fn every_line_says_why_and_none_is_there_twice() {
    for (at, call) in TABLE.iter().enumerate() {
        let Call { profiles, when, reason, .. } = call;
        assert!(!profiles.is_empty() && !reason.is_empty() && !reason.ends_with('.'), "{call:?}");
        assert!(when.iter().all(|condition| condition.argument < 6), "{call:?}");
        for other in TABLE[at + 1..].iter().filter(|other| other.number == call.number) {
            let common = profiles.iter().any(|profile| other.profiles.contains(profile));
            assert!(!common || call.errno == other.errno, "{call:?} fails and is allowed");
            // What is allowed anyway needs no second line.
            assert!(
                !common || (!when.is_empty() && !other.when.is_empty() && *when != other.when),
                "{call:?} and {other:?}"
            );
        }
    }
}

/// Where they lead into a file, what was written there stays, and their flags are others' too.
#[test]
fn no_guest_changes_what_was_written_to_a_standard_stream_or_its_flags() {
    let own = std::process::id();
    for profile in [Profile::Load, Profile::Run, Profile::Zygote, Profile::TestChild] {
        let allowed = allowed(profile);
        let may = |call: c_long, arguments: [u64; 6]| {
            allowed.get(&call).is_some_and(|alternatives| {
                alternatives.iter().any(|when| when.iter().all(|one| one.holds(&arguments, own)))
            })
        };
        for stream in 0..3 {
            for call in [
                libc::SYS_ftruncate,
                libc::SYS_fallocate,
                libc::SYS_pwrite64,
                libc::SYS_pwritev,
                libc::SYS_pwritev2,
                libc::SYS_lseek,
                libc::SYS_flock,
                libc::SYS_utimensat,
                libc::SYS_dup,
                libc::SYS_dup3,
                libc::SYS_sendfile,
                libc::SYS_splice,
                libc::SYS_copy_file_range,
            ] {
                assert!(!may(call, [stream, 0, 0, 0, 0, 0]), "{profile:?}: call {call} of {stream}");
            }
            // None of the commands is one that could set its flags, size or owner, or copy it.
            let commands = (0..2000).filter(|command| may(libc::SYS_fcntl, [stream, *command, 0, 0, 0, 0]));
            assert_eq!(commands.collect::<Vec<_>>(), [libc::F_GETFD as u64], "{profile:?}: {stream}");
        }
        assert!(may(libc::SYS_fcntl, [3, libc::F_SETFL as u64, libc::O_NONBLOCK as u64, 0, 0, 0]));
        assert!(!may(libc::SYS_fcntl, [3, libc::F_SETFL as u64, libc::O_ASYNC as u64, 0, 0, 0]));
    }
}

/// What a device is told, or a terminal is made to read, is an `ioctl` too.
#[test]
fn a_device_is_only_asked_what_it_is() {
    for profile in Profile::ALL {
        let asked = allowed(profile).get(&libc::SYS_ioctl).cloned().unwrap_or_default();
        for when in asked {
            // `TIOCGWINSZ` (asm-generic/ioctls.h).
            assert!(matches!(when, [Condition { argument: 1, must: Must::Be(0x5413), .. }]), "{profile:?}");
        }
    }
}

#[test]
fn every_filter_fits_and_begins_with_the_check_of_the_architecture() {
    // BPF_LD | BPF_W | BPF_ABS of seccomp_data.arch (linux/filter.h, linux/seccomp.h).
    for profile in Profile::ALL {
        let programs = programs(profile).unwrap();
        assert!(programs.len() >= 2);
        for program in programs {
            assert_eq!((program[0].code, program[0].k), (0x20, 4), "{profile:?}");
            assert!(program.len() < 4096);
        }
    }
}

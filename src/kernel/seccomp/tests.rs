use super::*;

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
        ("fchmodat2", libc::SYS_fchmodat2),
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
    ];
    for profile in Profile::ALL {
        let allowed = allowed(profile).unwrap();
        for (name, call) in DEADLY {
            assert!(!allowed.contains_key(call), "{profile:?} allows {name}");
        }
        assert_eq!(
            allowed.contains_key(&libc::SYS_seccomp),
            matches!(profile, Profile::Load | Profile::Zygote)
        );
    }
}

/// What a device is told, or a terminal is made to read, is an `ioctl` too.
#[test]
fn a_device_is_only_asked_what_it_is() {
    let asks = one_of(1, &[0x5401, 0x5413, 0x541b]).unwrap();
    for profile in Profile::ALL {
        assert_eq!(allowed(profile).unwrap()[&libc::SYS_ioctl], asks, "{profile:?}");
    }
}

#[test]
fn loading_allows_whatever_a_later_profile_needs() {
    let load = allowed(Profile::Load).unwrap();
    for profile in [Profile::Run, Profile::Zygote, Profile::TestChild] {
        for call in allowed(profile).unwrap().keys() {
            assert!(load.contains_key(call), "call {call} of {profile:?} is missing");
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

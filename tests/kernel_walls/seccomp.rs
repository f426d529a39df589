//! Wall 3: what each profile forbids kills, what it needs works.

use crate::{Case, Ends::BySeccomp, Ends::Well, case};
use cargo_sandbox::kernel::landlock::{look, usable_abi};
use cargo_sandbox::kernel::rlimits::{self, Rlimits};
use cargo_sandbox::kernel::seccomp::{Profile, install};
use cargo_sandbox::kernel::sys::{self, Exit, Fork, probe};
use cargo_sandbox::kernel::{LandlockLevel, plan, process, restrict};
use cargo_sandbox::policy::Policy;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, openat2};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    case("seccomp::load_maps_executable_memory", Well, || {
        install(Profile::Load).unwrap();
        probe::map_executable().unwrap();
    }),
    case("seccomp::run_has_what_the_host_functions_do", Well, || {
        install(Profile::Load).unwrap();
        let dir = tempfile::tempdir().unwrap();
        install(Profile::Run).unwrap();
        host_functions(dir.path());
    }),
    case("seccomp::zygote_forks_confined_children", Well, zygote),
    case("seccomp::compile_has_threads_and_opens_nothing", Well, || {
        install(Profile::Compile).unwrap();
        let sum =
            std::thread::Builder::new().name("compile".into()).spawn(|| vec![1u8; 1 << 20].len()).unwrap();
        assert_eq!(sum.join().unwrap(), 1 << 20);
        assert!(std::thread::available_parallelism().is_ok());
        assert_eq!(fs::read("/etc/passwd").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        println!("to standard output");
    }),
    case("seccomp::symbolise_reads_and_writes", Well, || {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        install(Profile::Symbolise).unwrap();
        writer.write_all(b"frames").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "frames");
        assert!(fs::File::open("/etc/passwd").is_err());
    }),
    case("seccomp::clone3_is_answered_with_enosys", Well, || {
        assert_eq!(probe::clone3().raw_os_error(), Some(22));
        install(Profile::Load).unwrap();
        assert_eq!(probe::clone3().raw_os_error(), Some(38));
        install(Profile::Run).unwrap();
        assert_eq!(probe::clone3().raw_os_error(), Some(38));
    }),
    case("seccomp::run_aborts_by_its_own_signal", Well, || match sys::fork().unwrap() {
        Fork::Child => {
            install(Profile::Run).unwrap();
            std::process::abort();
        }
        Fork::Parent(child) => assert_eq!(sys::wait(child).unwrap(), Exit::Signal(6)),
    }),
    case("seccomp::load_forbids_exec", BySeccomp, || exec(Profile::Load)),
    case("seccomp::run_forbids_exec", BySeccomp, || exec(Profile::Run)),
    case("seccomp::zygote_forbids_exec", BySeccomp, || exec(Profile::Zygote)),
    case("seccomp::test_child_forbids_exec", BySeccomp, || exec(Profile::TestChild)),
    case("seccomp::compile_forbids_exec", BySeccomp, || exec(Profile::Compile)),
    case("seccomp::symbolise_forbids_exec", BySeccomp, || exec(Profile::Symbolise)),
    case("seccomp::load_forbids_sockets", BySeccomp, || socket(Profile::Load)),
    case("seccomp::run_forbids_sockets", BySeccomp, || socket(Profile::Run)),
    case("seccomp::zygote_forbids_sockets", BySeccomp, || socket(Profile::Zygote)),
    case("seccomp::compile_forbids_sockets", BySeccomp, || socket(Profile::Compile)),
    case("seccomp::load_forbids_chmod", BySeccomp, || chmod(Profile::Load)),
    case("seccomp::run_forbids_chmod", BySeccomp, || chmod(Profile::Run)),
    case("seccomp::test_child_forbids_chmod", BySeccomp, || chmod(Profile::TestChild)),
    case("seccomp::run_forbids_chown", BySeccomp, || {
        install(Profile::Run).unwrap();
        let _ = std::os::unix::fs::chown("/nowhere", Some(0), None);
    }),
    case("seccomp::run_forbids_extended_attributes", BySeccomp, || {
        install(Profile::Run).unwrap();
        let _ = rustix::fs::setxattr("/nowhere", "user.x", b"y", rustix::fs::XattrFlags::empty());
    }),
    case("seccomp::run_forbids_executable_memory", BySeccomp, || executable(Profile::Run)),
    case("seccomp::zygote_forbids_executable_memory", BySeccomp, || executable(Profile::Zygote)),
    case("seccomp::test_child_forbids_executable_memory", BySeccomp, || executable(Profile::TestChild)),
    case("seccomp::compile_forbids_executable_memory", BySeccomp, || executable(Profile::Compile)),
    case("seccomp::run_forbids_fork", BySeccomp, || fork(Profile::Run)),
    case("seccomp::test_child_forbids_fork", BySeccomp, || fork(Profile::TestChild)),
    case("seccomp::compile_forbids_fork", BySeccomp, || fork(Profile::Compile)),
    case("seccomp::symbolise_forbids_fork", BySeccomp, || fork(Profile::Symbolise)),
    case("seccomp::run_forbids_threads", BySeccomp, || thread(Profile::Run)),
    case("seccomp::zygote_forbids_threads", BySeccomp, || thread(Profile::Zygote)),
    case("seccomp::symbolise_forbids_threads", BySeccomp, || thread(Profile::Symbolise)),
    case("seccomp::run_forbids_signals_to_others", BySeccomp, || {
        install(Profile::Run).unwrap();
        let _ =
            rustix::process::kill_process(rustix::process::getppid().unwrap(), rustix::process::Signal::TERM);
    }),
    case("seccomp::run_forbids_another_filter", BySeccomp, || {
        install(Profile::Run).unwrap();
        let _ = install(Profile::Run);
    }),
    case("seccomp::run_forbids_becoming_dumpable", BySeccomp, || {
        install(Profile::Run).unwrap();
        let _ = process::set_not_dumpable();
    }),
    #[cfg(target_arch = "x86_64")]
    case("seccomp::x32_calls_are_forbidden", BySeccomp, || {
        install(Profile::Run).unwrap();
        assert!(probe::call(39) > 0);
        probe::call(0x4000_0027);
    }),
];

fn exec(profile: Profile) {
    install(profile).unwrap();
    // A program that is there would be killed for what it does first, were it started.
    panic!("{}", Command::new("/nowhere").exec());
}

fn socket(profile: Profile) {
    install(profile).unwrap();
    // And nothing else that could kill.
    let _ = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
}

fn chmod(profile: Profile) {
    install(profile).unwrap();
    let _ = fs::set_permissions("/nowhere", Permissions::from_mode(0o777));
}

fn executable(profile: Profile) {
    install(profile).unwrap();
    let _ = probe::map_executable();
}

fn fork(profile: Profile) {
    install(profile).unwrap();
    if matches!(sys::fork(), Ok(Fork::Child)) {
        sys::exit_now(0);
    }
}

fn thread(profile: Profile) {
    install(profile).unwrap();
    let _ = std::thread::spawn(|| ()).join();
}

/// All that wall 1 does to files, in `dir`.
fn host_functions(dir: &std::path::Path) {
    let at = |name: &str| dir.join(name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file =
        openat2(CWD, at("file"), flags, Mode::from_raw_mode(0o600), ResolveFlags::NO_SYMLINKS).unwrap();
    rustix::io::write(&file, b"contents").unwrap();
    rustix::io::pwritev(&file, &[std::io::IoSlice::new(b"C")], 0).unwrap();
    let mut text = [0; 8];
    rustix::io::preadv(&file, &mut [std::io::IoSliceMut::new(&mut text)], 0).unwrap();
    assert_eq!(&text, b"Contents");
    rustix::fs::ftruncate(&file, 3).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential).unwrap();
    rustix::fs::fsync(&file).unwrap();
    rustix::fs::fdatasync(&file).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let time = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(&file, &times).unwrap();
    rustix::fs::utimensat(CWD, at("file"), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND).unwrap();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).unwrap();
    let copy = rustix::io::fcntl_dupfd_cloexec(&file, 0).unwrap();
    assert_eq!(rustix::fs::fstat(&copy).unwrap().st_size, 64);

    fs::create_dir(at("sub")).unwrap();
    fs::hard_link(at("file"), at("sub/hard")).unwrap();
    std::os::unix::fs::symlink("file", at("soft")).unwrap();
    assert_eq!(fs::read_link(at("soft")).unwrap().to_str(), Some("file"));
    fs::rename(at("sub/hard"), at("moved")).unwrap();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 4);
    fs::remove_file(at("moved")).unwrap();
    fs::remove_dir(at("sub")).unwrap();
    rustix::fs::accessat(CWD, at("file"), rustix::fs::Access::READ_OK, rustix::fs::AtFlags::empty()).unwrap();
    assert!(fs::metadata(at("soft")).unwrap().is_file());

    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
    let mut ready = [rustix::event::PollFd::new(&file, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut ready, Some(&time)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1));
    let _ = rustix::time::clock_getres(rustix::time::ClockId::Monotonic);
    rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(vec![7u8; 8 << 20].iter().filter(|byte| **byte == 7).count(), 8 << 20);
    let _ = std::io::IsTerminal::is_terminal(&std::io::stdout());
}

fn zygote() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    install(Profile::Load).unwrap();
    probe::map_executable().unwrap();
    install(Profile::Zygote).unwrap();
    let zygote = rustix::process::getpid();
    match sys::fork().unwrap() {
        Fork::Child => {
            process::die_with_parent(zygote).unwrap();
            process::set_not_dumpable().unwrap();
            rlimits::apply(&Rlimits { open_files: Some(64), ..Rlimits::default() }).unwrap();
            let mut plan = plan(&Policy::default(), usable_abi(), &look);
            plan.rules.push(crate::landlock::everything_in(dir.path()));
            restrict(&plan, LandlockLevel::Required).unwrap();
            install(Profile::TestChild).unwrap();
            host_functions(dir.path());
            (&theirs).write_all(b"done").unwrap();
            sys::exit_now(0);
        }
        Fork::Parent(child) => {
            drop(theirs);
            let mut text = [0; 4];
            (&ours).read_exact(&mut text).unwrap();
            assert_eq!(&text, b"done");
            assert_eq!(sys::wait(child).unwrap(), Exit::Code(0));
        }
    }
    match sys::fork().unwrap() {
        Fork::Child => {
            install(Profile::TestChild).unwrap();
            let _ = sys::fork();
            sys::exit_now(0);
        }
        Fork::Parent(child) => assert!(sys::wait(child).unwrap().by_seccomp()),
    }
    // None of what the zygote may do is left to its child; what it may not do itself is not, either.
    let forbidden: &[fn() -> bool] = &[
        || rustix::process::test_kill_process(rustix::process::getppid().unwrap()).is_ok(),
        || {
            rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
                .is_ok()
        },
        || process::set_not_dumpable().is_ok(),
        || rlimits::apply(&Rlimits { open_files: Some(9), ..Rlimits::default() }).is_ok(),
        || install(Profile::TestChild).is_ok(),
        || restrict(&plan(&Policy::default(), usable_abi(), &look), LandlockLevel::Required).is_ok(),
        || probe::map_executable().is_ok(),
        || {
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
                .is_ok()
        },
        || fs::set_permissions("/nowhere", Permissions::from_mode(0o777)).is_ok(),
        || Command::new("/nowhere").exec().raw_os_error().is_none(),
    ];
    for (index, call) in forbidden.iter().enumerate() {
        match sys::fork().unwrap() {
            Fork::Child => {
                install(Profile::TestChild).unwrap();
                sys::exit_now(u8::from(call()));
            }
            Fork::Parent(child) => assert!(sys::wait(child).unwrap().by_seccomp(), "call {index}"),
        }
    }
    let Fork::Parent(child) = sys::fork().unwrap() else {
        install(Profile::TestChild).unwrap();
        std::process::abort()
    };
    assert_eq!(sys::wait(child).unwrap(), Exit::Signal(6));
    match sys::fork().unwrap() {
        Fork::Child => std::thread::sleep(std::time::Duration::from_secs(60)),
        Fork::Parent(child) => {
            rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
            assert_eq!(sys::wait(child).unwrap(), Exit::Signal(9));
        }
    }
}

/// Prints the processor time that a test's child needs for its profile, the best of five.
pub(crate) fn cost() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    install(Profile::Load).unwrap();
    install(Profile::Zygote).unwrap();
    let mut best = u64::MAX;
    for _ in 0..5 {
        let Fork::Parent(child) = sys::fork().unwrap() else {
            let start = crate::landlock::processor_time();
            install(Profile::TestChild).unwrap();
            writer.write_all(&(crate::landlock::processor_time() - start).to_ne_bytes()).unwrap();
            sys::exit_now(0);
        };
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).unwrap();
        best = u64::from_ne_bytes(bytes).min(best);
        assert_eq!(sys::wait(child).unwrap(), Exit::Code(0));
    }
    println!("seccomp of a test's child: {:.1} µs", best as f64 / 1e3);
}

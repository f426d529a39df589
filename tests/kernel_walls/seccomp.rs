//! Wall 3: what each profile forbids kills, what it needs works.

use crate::{Case, Ends::BySeccomp, Ends::Well, case};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, openat2};
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal};
use sandbox_policy::Policy;
use sandbox_walls::landlock::{look, usable_abi};
use sandbox_walls::rlimits::{self, Rlimits};
use sandbox_walls::seccomp::table::{Condition, Must, TABLE};
use sandbox_walls::seccomp::{Profile, install};
use sandbox_walls::sys::{self, Exit, Fork, probe};
use sandbox_walls::{LandlockLevel, plan, process, restrict};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const CASES: &[Case] = &[
    case("seccomp::load_maps_executable_memory", Well, || {
        install(Profile::Load).unwrap();
        probe::map_executable().unwrap();
    }),
    case("seccomp::run_has_what_the_host_functions_do", Well, || {
        let dir = tempfile::tempdir().unwrap();
        in_a_child(|| {
            install(Profile::Load).unwrap();
            install(Profile::Run).unwrap();
            host_functions(dir.path());
        });
    }),
    case("seccomp::zygote_forks_confined_children", Well, || {
        let dir = tempfile::tempdir().unwrap();
        in_a_child(|| zygote(dir.path()));
    }),
    case("seccomp::load_answers_every_call_as_the_table_says", Well, || every_call(&[], Profile::Load)),
    case("seccomp::run_answers_every_call_as_the_table_says", Well, || {
        every_call(&[Profile::Load], Profile::Run);
    }),
    case("seccomp::zygote_answers_every_call_as_the_table_says", Well, || {
        every_call(&[Profile::Load], Profile::Zygote);
    }),
    case("seccomp::test_child_answers_every_call_as_the_table_says", Well, || {
        every_call(&[Profile::Load, Profile::Zygote], Profile::TestChild);
    }),
    case("seccomp::test_child_alone_answers_every_call_as_the_table_says", Well, || {
        every_call(&[], Profile::TestChild);
    }),
    case("seccomp::compile_answers_every_call_as_the_table_says", Well, || every_call(&[], Profile::Compile)),
    case("seccomp::symbolise_answers_every_call_as_the_table_says", Well, || {
        every_call(&[], Profile::Symbolise);
    }),
    case("seccomp::every_profile_returns_from_a_signal_handler", Well, || {
        for profile in Profile::ALL {
            in_a_child(|| {
                let handled = Arc::new(AtomicBool::new(false));
                signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&handled)).unwrap();
                let (reader, mut writer) = std::io::pipe().unwrap();
                drop(reader);
                install(profile).unwrap();
                assert!(writer.write_all(b"x").is_err());
                assert!(handled.load(Ordering::SeqCst));
            });
        }
    }),
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
        let parent = rustix::process::getppid().unwrap();
        install(Profile::Run).unwrap();
        let _ = rustix::process::kill_process(parent, Signal::TERM);
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

/// In a process of its own, which must end well: what it confines itself to is not ours.
fn in_a_child(run: impl FnOnce()) {
    match sys::fork().unwrap() {
        Fork::Child => {
            run();
            sys::exit_now(0);
        }
        Fork::Parent(child) => assert_eq!(sys::wait(child).unwrap(), Exit::Code(0)),
    }
}

/// What becomes of whoever makes a call.
#[derive(Debug, PartialEq)]
enum Answer {
    Killed,
    FailsWith(i32),
    /// The kernel has it, whatever that says.
    Passes,
}

/// What the table says.
fn answer(profile: Profile, number: i64, arguments: &[u64; 6], process: u32) -> Answer {
    let mut answer = Answer::Killed;
    for call in TABLE.iter().filter(|call| call.number == number && call.is_for(profile)) {
        if call.when.iter().all(|condition| condition.holds(arguments, process)) {
            answer = call.errno.map_or(Answer::Passes, Answer::FailsWith);
        }
    }
    answer
}

/// Beyond all that Linux has: those without a meaning are tried like all others.
const LAST: i64 = 600;

/// `uretprobe` and `uprobe`: the kernel makes them itself where a process is probed, and lets them pass any filter
/// (kernel/seccomp.c, Linux 6.14 and 6.18). From anywhere else they end the process or fail.
const PAST_FILTERS: &[i64] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Makes every system call, those of the table with arguments that fit each of its lines and with such that just
/// do not, as root, if that is what we are, and as somebody else. Each in a process of its own, with no capability and
/// nothing that could do harm if it got through: no argument is an address or a descriptor that is open.
fn every_call(before: &[Profile], profile: Profile) {
    assert!(TABLE.iter().all(|call| call.number < LAST) && libc::SYS_mseal < LAST);
    let root = rustix::process::geteuid().is_root();
    for somebody in [false, true].into_iter().filter(|somebody| *somebody || root) {
        in_a_child(|| {
            if root && somebody {
                let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            }
            process::no_new_privs().unwrap();
            sandbox_walls::capabilities::give_up().unwrap();
            process::set_not_dumpable().unwrap();
            before.iter().for_each(|profile| install(*profile).unwrap());
            let (mut passed, mut killed) = (0, 0);
            for number in (0..LAST).filter(|number| *number != libc::SYS_rt_sigreturn) {
                for arguments in tries(number) {
                    match one_call(profile, number, arguments) {
                        Answer::Killed => killed += 1,
                        _ => passed += 1,
                    }
                }
            }
            assert!(killed > 450 && passed > 20, "{killed} killed, {passed} passed");
        });
    }
}

/// Arguments for a call: none that makes sense; and for each line of the table those that fit it, and each of them
/// that just does not. Own process ids are to be filled in where [`OWN`] is.
fn tries(number: i64) -> BTreeSet<[u64; 6]> {
    let mut tries = BTreeSet::from([[u64::MAX; 6]]);
    for call in TABLE.iter().filter(|call| call.number == number) {
        let mut fitting = [u64::MAX; 6];
        for condition in call.when {
            fitting[usize::from(condition.argument)] = fit(condition);
        }
        tries.insert(fitting);
        for condition in call.when {
            for value in around(condition) {
                let mut arguments = fitting;
                arguments[usize::from(condition.argument)] = value;
                tries.insert(arguments);
            }
        }
    }
    tries
}

/// Stands for the id of the process that makes the call, and no bit more or less for that of another.
const OWN: u64 = 0x7a11_0b0e;

fn fit(condition: &Condition) -> u64 {
    match condition.must {
        Must::Be(value) | Must::HaveBits(_, value) => value.into(),
        // No descriptor is that high.
        Must::Exceed(_) => 0x7fff_ffff,
        Must::HaveLongBits(_, value) => value,
        Must::BeOwnProcess => OWN,
    }
}

/// Values next to those that fit: some do not, and some of them fit too.
fn around(condition: &Condition) -> Vec<u64> {
    let bits = |value: u64, bits: std::ops::Range<u32>| bits.map(move |bit| value ^ (1 << bit));
    match condition.must {
        Must::Be(value) | Must::HaveBits(_, value) => bits(value.into(), 0..32).collect(),
        Must::Exceed(value) => vec![0, 1, 2, value.into(), u64::from(value) + 0x4000_0000],
        // The top bit, which makes it negative; those between would make it an address.
        Must::HaveLongBits(_, value) => bits(value, 0..32).chain([value | 1 << 63]).collect(),
        Must::BeOwnProcess => vec![0, 1, u64::from(u32::MAX)],
    }
}

/// Makes one call in a process of its own, and compares what became of it.
fn one_call(profile: Profile, number: i64, arguments: [u64; 6]) -> Answer {
    let Fork::Parent(child) = sys::fork().unwrap() else {
        let own = u64::from(std::process::id());
        install(profile).unwrap();
        probe::call_and_end(number, arguments.map(|argument| if argument == OWN { own } else { argument }));
    };
    let own = child.as_raw_nonzero().get() as u32;
    let known = arguments.map(|argument| if argument == OWN { own.into() } else { argument });
    let expected = answer(profile, number, &known, own);
    let exit = end_of(child, number);
    let right = match expected {
        Answer::Killed if PAST_FILTERS.contains(&number) => exit != Exit::Code(0),
        Answer::Killed => exit.by_seccomp(),
        Answer::FailsWith(errno) => exit == Exit::Code(errno),
        Answer::Passes => !exit.by_seccomp(),
    };
    assert!(right, "{profile:?}: call {number} with {known:x?} ended {exit:?}, expected {expected:?}");
    expected
}

/// How a process ends, which must not take long.
fn end_of(child: Pid, number: i64) -> Exit {
    let pidfd = pidfd_open(child, PidfdFlags::empty()).unwrap();
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&Timespec { tv_sec: 5, tv_nsec: 0 }));
    if ended != Ok(1) {
        pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
        panic!("call {number} does not return");
    }
    sys::wait(child).unwrap()
}

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
fn host_functions(dir: &Path) {
    let at = |name: &str| dir.join(name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file =
        openat2(CWD, at("file"), flags, Mode::from_raw_mode(0o600), ResolveFlags::NO_SYMLINKS).unwrap();
    rustix::io::write(&file, b"contents").unwrap();
    rustix::io::pwritev(&file, &[std::io::IoSlice::new(b"C")], 0).unwrap();
    let mut text = [0; 8];
    rustix::io::preadv(&file, &mut [std::io::IoSliceMut::new(&mut text)], 0).unwrap();
    rustix::io::readv(&file, &mut [std::io::IoSliceMut::new(&mut [0; 8])]).unwrap();
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
    rustix::fs::utimensat(CWD, at("file"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    for flags in [OFlags::APPEND, OFlags::NONBLOCK | OFlags::SYNC | OFlags::DSYNC, OFlags::APPEND] {
        rustix::fs::fcntl_setfl(&file, flags).unwrap();
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).unwrap();
    let copy = rustix::io::fcntl_dupfd_cloexec(&file, 0).unwrap();
    assert_eq!(rustix::fs::fstat(&copy).unwrap().st_size, 64);

    rustix::fs::mkdirat(CWD, at("sub"), Mode::RWXU).unwrap();
    rustix::fs::linkat(CWD, at("file"), CWD, at("sub/hard"), AtFlags::empty()).unwrap();
    rustix::fs::symlinkat("file", CWD, at("soft")).unwrap();
    assert_eq!(rustix::fs::readlinkat(CWD, at("soft"), []).unwrap().to_str(), Ok("file"));
    rustix::fs::renameat(CWD, at("sub/hard"), CWD, at("moved")).unwrap();
    rustix::fs::renameat_with(CWD, at("moved"), CWD, at("again"), rustix::fs::RenameFlags::NOREPLACE)
        .unwrap();
    let listed = rustix::fs::openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(&listed, buffer.spare_capacity_mut());
    let mut names = 0;
    while entries.next().is_some() {
        names += 1;
    }
    assert_eq!(names, 6, "two of them are the directory and what it is in");
    rustix::process::fchdir(&listed).unwrap();
    assert_eq!(rustix::process::getcwd([]).unwrap().as_bytes(), dir.as_os_str().as_encoded_bytes());
    rustix::fs::unlinkat(CWD, at("again"), AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(CWD, at("sub"), AtFlags::REMOVEDIR).unwrap();
    rustix::fs::accessat(CWD, at("file"), rustix::fs::Access::READ_OK, AtFlags::empty()).unwrap();
    rustix::fs::accessat(CWD, at("file"), rustix::fs::Access::READ_OK, AtFlags::EACCESS).unwrap();
    assert!(fs::metadata(at("soft")).unwrap().is_file());
    assert_eq!(rustix::fs::statat(CWD, at("soft"), AtFlags::SYMLINK_NOFOLLOW).unwrap().st_size, 4);

    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
    poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&time)).unwrap();
    let _ = rustix::time::clock_getres(rustix::time::ClockId::Monotonic);
    assert_eq!(vec![7u8; 8 << 20].iter().filter(|byte| **byte == 7).count(), 8 << 20);
    let _ = rustix::termios::isatty(std::io::stdout());
}

fn zygote(dir: &Path) {
    let (mut ours, mut theirs) = std::io::pipe().unwrap();
    let everything = crate::landlock::everything_in(dir);
    install(Profile::Load).unwrap();
    probe::map_executable().unwrap();
    install(Profile::Zygote).unwrap();
    let zygote = rustix::process::getpid();
    match sys::fork().unwrap() {
        Fork::Child => {
            process::die_with_parent(zygote).unwrap();
            rlimits::apply(&Rlimits { open_files: Some(64), ..Rlimits::default() }).unwrap();
            let mut plan = plan(&Policy::default(), usable_abi(), &look);
            plan.rules.push(everything);
            restrict(&plan, LandlockLevel::Required).unwrap();
            install(Profile::TestChild).unwrap();
            host_functions(dir);
            theirs.write_all(b"done").unwrap();
            sys::exit_now(0);
        }
        Fork::Parent(child) => {
            drop(theirs);
            let mut text = [0; 4];
            ours.read_exact(&mut text).unwrap();
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
        || rustix::process::test_kill_process(rustix::process::getpid()).is_ok(),
        || rustix::process::getppid().is_some(),
        || pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).is_ok(),
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
        Fork::Child => {
            let _ = poll(&mut [], Some(&Timespec { tv_sec: 60, tv_nsec: 0 }));
        }
        Fork::Parent(child) => {
            pidfd_send_signal(pidfd_open(child, PidfdFlags::empty()).unwrap(), Signal::KILL).unwrap();
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

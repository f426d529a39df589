//! Process attributes, limits and forks.

use crate::{Case, Ends::Well, case};
use rustix::process::{DumpableBehavior, Pid, Resource, getrlimit};
use sandbox_policy::Policy;
use sandbox_walls::rlimits::{self, Rlimits};
use sandbox_walls::sys::{self, Exit, Fork};
use sandbox_walls::{capabilities, landlock, plan, process, restrict};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

pub(crate) const CASES: &[Case] = &[
    case("process::attributes_read_back", Well, attributes),
    case("process::no_capability_stays_or_comes_back", Well, capabilities),
    case("process::a_parent_that_is_gone_is_an_error", Well, gone_parent),
    case("process::a_child_dies_with_its_parent", Well, dies_with_parent),
    case("process::only_the_kept_descriptors_stay", Well, descriptors),
    case("process::limits_are_in_force", Well, limits),
    case("process::limits_are_never_raised", Well, never_raised),
    case("process::fork_gives_the_status_of_the_child", Well, fork),
    case("process::fork_works_behind_landlock", Well, fork_confined),
    case("process::fork_refuses_a_second_thread", Well, fork_threads),
];

fn attributes() {
    assert!(!rustix::thread::no_new_privs().unwrap());
    process::no_new_privs().unwrap();
    assert!(rustix::thread::no_new_privs().unwrap());
    process::set_not_dumpable().unwrap();
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    process::restrict_umask();
    let now = rustix::process::umask(rustix::fs::Mode::empty());
    assert_eq!(now.as_raw_mode() & 0o022, 0o022);
    process::new_session().unwrap();
    assert_eq!(rustix::process::getsid(None).unwrap(), rustix::process::getpid());
}

fn capabilities() {
    process::no_new_privs().unwrap();
    capabilities::give_up().unwrap();
    let held = |status: &str| {
        let sets = status.lines().filter(|line| line.starts_with("Cap") && !line.starts_with("CapBnd"));
        sets.map(|line| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(held(&std::fs::read_to_string("/proc/self/status").unwrap()), [0; 4]);
    // Root would get all of them back by starting any program.
    let started = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
    assert_eq!(held(&String::from_utf8(started.stdout).unwrap()), [0; 4]);
    // Twice is as good as once.
    capabilities::give_up().unwrap();
}

fn gone_parent() {
    process::die_with_parent(rustix::process::getppid().unwrap()).unwrap();
    assert!(process::die_with_parent(Pid::from_raw(0x3fff_ffff).unwrap()).is_err());
}

/// The middle process dies at once; the inner one must be dead, not sleeping, when its end of the
/// pipe is closed.
fn dies_with_parent() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let middle = rustix::process::getpid();
    match sys::fork().unwrap() {
        Fork::Child => {
            let middle_itself = rustix::process::getpid();
            assert_ne!(middle, middle_itself);
            if sys::fork().unwrap() == Fork::Child {
                process::die_with_parent(middle_itself).unwrap();
                (&writer).write_all(b"x").unwrap();
                std::thread::sleep(std::time::Duration::from_secs(60));
                (&writer).write_all(b"alive").unwrap();
                sys::exit_now(0);
            }
            // Not before the inner one has asked for its signal.
            let mut byte = [0];
            std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
            sys::exit_now(7);
        }
        Fork::Parent(child) => {
            drop(writer);
            assert_eq!(sys::wait(child).unwrap(), Exit::Code(7));
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
            assert_eq!(rest, b"");
        }
    }
}

fn descriptors() {
    let [kept, other, last] = [(); 3].map(|()| std::mem::ManuallyDrop::new(File::open("/dev/null").unwrap()));
    process::close_other_fds(&[kept.as_fd(), last.as_fd()]).unwrap();
    assert!(rustix::io::fcntl_getfd(kept.as_fd()).is_ok());
    assert!(rustix::io::fcntl_getfd(last.as_fd()).is_ok());
    assert_eq!(rustix::io::fcntl_getfd(other.as_fd()), Err(rustix::io::Errno::BADF));
    assert!(rustix::io::fcntl_getfd(std::io::stdout()).is_ok());
}

fn limits() {
    let limits =
        Rlimits { open_files: Some(16), file_size: Some(1000), cpu_seconds: Some(5), ..Rlimits::default() };
    rlimits::apply(&limits).unwrap();
    assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    assert_eq!(getrlimit(Resource::Cpu).maximum, Some(6));
    let files: Vec<_> = std::iter::repeat_with(|| File::open("/dev/null")).take(20).collect();
    assert!(files.iter().any(Result::is_ok) && files.iter().any(Result::is_err));
    drop(files);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; 1000]).unwrap();
    assert_eq!(file.write(b"x").unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);

    rlimits::apply(&Rlimits { address_space: Some(1 << 30), ..Rlimits::default() }).unwrap();
    assert!(Vec::<u8>::new().try_reserve_exact(2 << 30).is_err());
}

fn never_raised() {
    rlimits::apply(&Rlimits { open_files: Some(16), ..Rlimits::default() }).unwrap();
    rlimits::apply(&Rlimits { open_files: Some(64), ..Rlimits::default() }).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, Some(16));
}

fn fork() {
    for code in [0, 3] {
        match sys::fork().unwrap() {
            Fork::Child => sys::exit_now(code),
            Fork::Parent(child) => assert_eq!(sys::wait(child).unwrap(), Exit::Code(i32::from(code))),
        }
    }
    match sys::fork().unwrap() {
        Fork::Child => std::process::abort(),
        Fork::Parent(child) => assert_eq!(sys::wait(child).unwrap(), Exit::Signal(6)),
    }
    assert!(sys::try_wait(None).is_err());
}

fn fork_confined() {
    let plan = plan(&Policy::default(), landlock::usable_abi(), &landlock::look);
    restrict(&plan, Default::default()).unwrap();
    process::set_not_dumpable().unwrap();
    assert!(File::open("/proc/self/task").is_err());
    fork();
}

fn fork_threads() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    assert_eq!(sys::threads().unwrap(), 2);
    assert!(sys::fork().unwrap_err().to_string().contains("2 threads"));
    assert!(process::close_other_fds(&[]).is_err());
    drop(release);
    assert!(thread.join().unwrap());
}

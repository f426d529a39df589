//! What a process is enclosed in, as data that came from elsewhere.

use crate::{Case, Ends::Well, case};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{DumpableBehavior, Resource, getrlimit};
use sandbox_policy::Policy;
use sandbox_walls::process::Attributes;
use sandbox_walls::rlimits::Rlimits;
use sandbox_walls::seccomp::Profile;
use sandbox_walls::sys::{self, Fork};
use sandbox_walls::{Enclosure, Error, Files, LandlockLevel, Plan, restrict, usable_abi};
use std::borrow::Cow;
use std::fs::File;

pub(crate) const CASES: &[Case] = &[
    case("enclosure::every_part_of_the_data_is_in_force", Well, every_part),
    case("enclosure::files_without_room_for_a_layer_are_an_error_or_let_be", Well, no_room),
];

/// As another process would get it.
fn sent(enclosure: &Enclosure<'_>) -> Enclosure<'static> {
    let sent = postcard::from_bytes(&postcard::to_stdvec(enclosure).unwrap()).unwrap();
    assert_eq!(&sent, enclosure);
    sent
}

fn files(dispensable: bool) -> Option<Files<'static>> {
    Some(Files { policy: Cow::Owned(Policy::default()), level: LandlockLevel::Required, dispensable })
}

fn every_part() {
    let attributes = Attributes {
        powerless: true,
        dies_with: rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero),
        own_session: true,
    };
    sent(&Enclosure { attributes, ..Enclosure::default() }).enforce().unwrap();
    assert!(rustix::thread::no_new_privs().unwrap());
    assert!(rustix::thread::capabilities(None).unwrap().permitted.is_empty());
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    assert_eq!(rustix::process::parent_process_death_signal().unwrap(), Some(rustix::process::Signal::KILL));
    assert_eq!(rustix::process::getsid(None).unwrap(), rustix::process::getpid());
    assert!(
        File::open("/etc/passwd").is_ok() && socket(AddressFamily::INET, SocketType::STREAM, None).is_ok()
    );

    let limits = Some(Rlimits { open_files: Some(16), ..Rlimits::default() });
    let enforced =
        sent(&Enclosure { limits, files: files(false), calls: Some(Profile::Load), ..Enclosure::default() })
            .enforce()
            .unwrap();
    assert_eq!(enforced.abi, Some(usable_abi()));
    assert_eq!(getrlimit(Resource::Nofile).maximum, Some(16));
    assert_eq!(File::open("/etc/passwd").unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    match sys::fork().unwrap() {
        Fork::Child => {
            let _ = socket(AddressFamily::INET, SocketType::STREAM, None);
            sys::exit_now(0);
        }
        Fork::Parent(child) => assert!(sys::wait(child).unwrap().by_seccomp()),
    }
}

fn no_room() {
    let plan = Plan { abi: usable_abi(), ..Plan::default() };
    while !matches!(restrict(&plan, LandlockLevel::Required), Err(Error::Layers)) {}
    let enclosure = |dispensable| Enclosure { files: files(dispensable), ..Enclosure::default() };
    assert!(matches!(enclosure(false).enforce(), Err(Error::Layers)));
    assert_eq!(enclosure(true).enforce().unwrap().abi, None);
}

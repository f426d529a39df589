//! Landlock (Documentation/userspace-api/landlock.rst): a policy becomes a [`Plan`], rules as plain data,
//! which can be [asked](predict()) and [enforced](restrict()). The one table of ABIs is in [`abi`].

pub mod abi;
mod level;
mod plan;
mod predict;
mod rights;

pub use level::{Enforced, LandlockLevel, Unavailable, check};
pub use plan::{FileKind, Narrower, NotCovered, Plan, Rule, plan};
pub use predict::predict;
pub use rights::Rights;

use super::error::Error;
use super::sys;
use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What is at an absolute path, without following any symbolic link.
pub fn look(path: &[u8]) -> FileKind {
    let file_type =
        open(path).and_then(|fd| rustix::fs::fstat(&fd)).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match file_type {
        Ok(FileType::Directory) => FileKind::Dir,
        Ok(FileType::RegularFile) => FileKind::File,
        Ok(FileType::Symlink) | Err(rustix::io::Errno::LOOP) => FileKind::Link,
        Ok(_) => FileKind::Other,
        Err(_) => FileKind::Missing,
    }
}

fn open(path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// The ABI to plan for on this kernel; 0 if it has no Landlock.
pub fn usable_abi() -> u32 {
    abi::used(sys::landlock_abi()).unwrap_or(0)
}

/// Confines the calling thread, and all that it starts from then on, to the rules of the plan and
/// to what an earlier layer allows; sets `no_new_privs`. At most 16 layers can be stacked.
///
/// Everything that the plan's ABI knows is denied unless a rule grants it: file rights, TCP bind
/// and connect from ABI 4, device ioctls from 5, signals and abstract sockets that leave the process
/// and its children from 6. With [`LandlockLevel::Off`] nothing is done.
///
/// # Errors
/// Each rule is applied or it is an error, and the status that comes back is checked; see [`Error`].
/// After an error the process may be confined in part and must end.
pub fn restrict(plan: &Plan, level: LandlockLevel) -> Result<Enforced, Error> {
    Layer::new(plan, level)?.enter()
}

/// Rules whose files are open: a layer that is ready to be put in force, by this process or by one that
/// it forks.
#[derive(Debug)]
pub struct Layer {
    /// With the ABI it is for; `None` with [`LandlockLevel::Off`].
    ruleset: Option<(RulesetCreated, u32)>,
}

impl Layer {
    /// Opens what the plan's rules are on. Nothing is in force yet.
    ///
    /// # Errors
    /// As for [`restrict`].
    pub fn new(plan: &Plan, level: LandlockLevel) -> Result<Self, Error> {
        if level == LandlockLevel::Off {
            return Ok(Self { ruleset: None });
        }
        let kernel = sys::landlock_abi();
        check(level, kernel)?;
        check(level, Some(plan.abi))?;
        if abi::used(kernel).is_none_or(|usable| plan.abi > usable) {
            return Err(Error::Abi { plan: plan.abi, kernel });
        }
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(flags(Rights::handled(plan.abi))?)
            .map_err(refused)?;
        if abi::has_tcp(plan.abi) {
            ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp).map_err(refused)?;
        }
        if abi::has_scopes(plan.abi) {
            ruleset = ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal).map_err(refused)?;
        }
        let mut ruleset = ruleset.create().map_err(refused)?;
        for (path, (rights, directory)) in merged(&plan.rules) {
            let fd = open_rule(path, directory)?;
            ruleset = ruleset.add_rule(PathBeneath::new(fd, flags(rights)?)).map_err(refused)?;
        }
        Ok(Self { ruleset: Some((ruleset, plan.abi)) })
    }

    /// Puts it in force for the calling thread and all that it starts from then on.
    ///
    /// # Errors
    /// As for [`restrict`].
    pub fn enter(self) -> Result<Enforced, Error> {
        let Some((ruleset, abi)) = self.ruleset else { return Ok(Enforced::of(None)) };
        let status = ruleset.restrict_self().map_err(refused)?;
        if status.ruleset != RulesetStatus::FullyEnforced {
            return Err(Error::NotEnforced(format!("Landlock ruleset {:?}", status.ruleset)));
        }
        if !status.no_new_privs {
            return Err(Error::NotEnforced("no_new_privs".into()));
        }
        Ok(Enforced::of(Some(abi)))
    }
}

fn refused(error: landlock::RulesetError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        // What `landlock_restrict_self` says of too many layers, and no other call here (landlock(7)).
        let number = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if number == Some(rustix::io::Errno::TOOBIG.raw_os_error()) {
            return Error::Layers;
        }
        cause = error.source();
    }
    Error::Refused(error.to_string())
}

/// Whether this many layers can be stacked on those that are in force. `true` also if that cannot be tried.
pub(super) fn has_room_for(layers: u32) -> bool {
    // What it does is only allocate, confine itself and end.
    let Ok(sys::Fork::Parent(child)) = sys::fork().inspect(|side| {
        if *side == sys::Fork::Child {
            let plan = Plan { abi: usable_abi(), ..Plan::default() };
            let full =
                (0..layers).any(|_| matches!(restrict(&plan, LandlockLevel::Required), Err(Error::Layers)));
            sys::exit_now(u8::from(full));
        }
    }) else {
        return true;
    };
    !matches!(sys::wait(child), Ok(sys::Exit::Code(1)))
}

/// One rule per path. The kernel would unite rules on the same inode itself; opening is what costs.
fn merged(rules: &[Rule]) -> HashMap<&[u8], (Rights, bool)> {
    let mut merged = HashMap::with_capacity(rules.len());
    for rule in rules {
        let entry = merged.entry(rule.path.as_slice()).or_insert((Rights::NONE, rule.directory));
        entry.0 = entry.0.union(rule.rights);
        // A path that was looked at twice and changed in between fails when it is opened.
        entry.1 &= rule.directory;
    }
    merged
}

fn open_rule(path: &[u8], directory: bool) -> Result<OwnedFd, Error> {
    let name = || PathBuf::from(OsStr::from_bytes(path));
    let fd = open(path).map_err(|error| Error::Path(name(), error.into()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| Error::Path(name(), error.into()))?;
    // Rights meant for one file would reach everything beneath a directory, and those on a link would
    // reach nothing.
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err(Error::Path(name(), rustix::io::Errno::LOOP.into())),
        kind if (kind == FileType::Directory) == directory => Ok(fd),
        _ => Err(Error::Changed(name())),
    }
}

fn flags(rights: Rights) -> Result<BitFlags<AccessFs>, Error> {
    BitFlags::from_bits(rights.bits()).map_err(|_| Error::Refused(format!("unknown right among {rights}")))
}

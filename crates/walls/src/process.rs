//! Attributes of a process that is about to be confined. The empty environment is its spawner's
//! to give.

use super::capabilities;
use super::error::Error;
use rustix::process::{DumpableBehavior, Pid, Signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::num::NonZeroI32;
use std::os::fd::BorrowedFd;

/// Attributes that take something away. The empty set changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// It has no capability, gains no privilege, and cannot be looked into by others of its user.
    pub powerless: bool,
    /// It ends with this process, which started it.
    pub dies_with: Option<NonZeroI32>,
    /// It has no terminal, and gets no signal of one.
    pub own_session: bool,
}

impl Attributes {
    /// Puts them in force.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn apply(self) -> Result<(), Error> {
        let error = |what| move |error| Error::Process(what, error);
        if self.powerless {
            no_new_privs().map_err(error("no_new_privs"))?;
            capabilities::give_up().map_err(error("capabilities"))?;
        }
        if let Some(parent) = self.dies_with.and_then(|id| Pid::from_raw(id.get())) {
            die_with_parent(parent).map_err(error("parent death signal"))?;
        }
        if self.powerless {
            set_not_dumpable().map_err(error("dumpable"))?;
        }
        if self.own_session {
            new_session().map_err(error("new session"))?;
        }
        Ok(())
    }
}

/// No later exec gains privileges, neither from a set-user-ID bit nor from file capabilities. Landlock
/// and seccomp need it.
///
/// # Errors
/// Those of prctl(2), and `Other` if it does not read back as set.
pub fn no_new_privs() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    if rustix::thread::no_new_privs()? {
        Ok(())
    } else {
        Err(io::Error::other("no_new_privs did not stay set"))
    }
}

/// The kernel kills this process when `parent` ends: strictly, when the *thread* of the parent that
/// started it ends, so a worker must be started from a thread that outlives it.
///
/// # Errors
/// Those of prctl(2), and `Other` if the parent is gone already.
pub fn die_with_parent(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the call: then nobody would ever send the signal.
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the parent process is gone"))
    }
}

/// No core dump, no ptrace by processes of the same user, and `/proc/PID` belongs to root.
///
/// # Errors
/// Those of prctl(2).
pub fn set_not_dumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Closes every descriptor but the standard streams and `keep`.
///
/// To be called first thing in `main`, before anything else is opened: whatever the process opened
/// itself would be closed under its owner's feet.
///
/// # Errors
/// Those of close_range(2) (Linux 5.9), and `Other` if there is a second thread, which might own
/// descriptors.
pub fn close_other_fds(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    match super::sys::threads()? {
        1 => super::sys::close_all_but(keep),
        threads => Err(io::Error::other(format!("{threads} threads may own descriptors"))),
    }
}

/// Nothing this process creates is writable by others, whatever its parent's mask was.
pub fn restrict_umask() {
    let inherited = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::process::umask(inherited | rustix::fs::Mode::from_raw_mode(0o022));
}

/// A session and process group of its own: no controlling terminal to push input into, and the
/// terminal's Ctrl-C reaches only the supervisor, which ends its workers in order.
///
/// # Errors
/// Those of setsid(2): `EPERM` if it leads a process group already.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

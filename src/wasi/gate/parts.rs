//! What the gate is asked about and answers with, and the directories it works beneath.

use rustix::fs::{CWD, Mode, OFlags};
use sandbox_policy::access::{ExceptionId, GrantId};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A decision after the origin, the audit and the mode were taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed(Option<GrantId>),
    Denied(Option<ExceptionId>),
    Hidden,
}

/// A guest path, joined to the directory it is relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Absolute path of the directory.
    pub(crate) base: &'a [u8],
    /// The base was opened by the guest: it was free of links then and has to be so still.
    pub(crate) pinned: bool,
    /// What the guest wrote, relative to it.
    pub(crate) relative: &'a [u8],
    /// Whether a link in the last component is followed.
    pub(crate) follow: bool,
}

/// A path to decide and act on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Absolute, without `.`, `..` and empty components.
    pub(crate) path: &'a [u8],
    /// It was written with a trailing slash, or ended in `.` or `..`.
    pub(crate) directory: bool,
    /// It ended in `.` or `..`: names of what exists and cannot be removed by that name.
    pub(crate) dot: bool,
    /// See [`Target::follow`].
    pub(crate) follow: bool,
}

/// See [`Gate::parent`](super::Gate::parent).
pub(crate) enum Parent {
    Held(Arc<OwnedFd>),
    Opened(OwnedFd),
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(fd) => fd.as_fd(),
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

/// An absolute path as one relative to the root's descriptor.
pub(crate) fn beneath(path: &[u8]) -> &[u8] {
    match path {
        [b'/'] | [] => b".",
        [b'/', rest @ ..] => rest,
        rest => rest,
    }
}

/// The root directory of the machine, as [`HostConfig::root`](crate::wasi::HostConfig::root) wants it.
///
/// # Errors
/// What the kernel says.
pub fn real_root() -> std::io::Result<OwnedFd> {
    root_at(std::path::Path::new("/"))
}

/// Another folder as a guest's root directory.
///
/// # Errors
/// It is no folder, or what the kernel says.
pub fn root_at(folder: &std::path::Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, folder, flags, Mode::empty())?)
}

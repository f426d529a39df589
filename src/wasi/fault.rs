//! How a call of the guest fails: with a number, with its end, or as a violation.

use super::Stop;
use super::types::Errno;
use rustix::io::Errno as Native;
use sandbox_policy::access::{ExceptionId, Operation, Resource, Wall};

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The guest gets this number.
    Errno(Errno),
    /// The guest ends here.
    Stop(Stop),
    /// A wall stopped it: a violation, and "permission denied" for the guest.
    Denied(Box<Denial>),
    /// The decision depends on the crate the call comes from: capture the stack and call again.
    NeedsOrigin,
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Native> for Fault {
    fn from(native: Native) -> Self {
        Self::Errno(native.into())
    }
}

/// What a violation will say, but for the stack.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) operation: Operation,
    pub(crate) resource: Resource,
    pub(crate) exception: Option<ExceptionId>,
    pub(crate) wall: Wall,
    pub(crate) note: String,
    pub(crate) excuse: Excuse,
}

/// What an audit makes of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// Its envelope decides on this access.
    ByAccess,
    /// Its envelope has decided on the whole move, and lets it through.
    Move,
    /// Its envelope has decided, and does not let it through.
    Never,
}

impl Fault {
    /// The same with another answer for audits.
    pub(crate) fn with(mut self, excuse: Excuse) -> Self {
        if let Self::Denied(denial) = &mut self {
            denial.excuse = excuse;
        }
        self
    }
}

impl Denial {
    pub(crate) fn of(operation: Operation, path: &[u8], exception: Option<ExceptionId>) -> Fault {
        Self::noted(operation, path, exception, String::new())
    }

    pub(crate) fn noted(
        operation: Operation,
        path: &[u8],
        exception: Option<ExceptionId>,
        note: String,
    ) -> Fault {
        let resource = Resource::Path(path.to_vec());
        let (wall, excuse) = (Wall::Wasi, Excuse::ByAccess);
        Fault::Denied(Box::new(Self { operation, resource, exception, wall, note, excuse }))
    }
}

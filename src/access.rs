//! The words every other module shares: what a guest tried, on what, and what was decided.
//!
//! Nothing here does I/O and nothing here imports another module of the crate.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One kind of access, as the manifest names it (`fs.read`, `env.read`, …).
///
/// The six file operations are the ones that `[package.metadata.sandbox.fs]` can grant one by one;
/// the keys `read` and `write` are shorthands for several ([`OperationSet::FS_READ`],
/// [`OperationSet::FS_WRITE`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Operation {
    /// The contents of a file.
    Read,
    /// The names in a directory.
    List,
    /// Metadata of a file or directory, or the target of a symbolic link.
    Stat,
    /// A file, directory or link that did not exist, and its first contents.
    Create,
    /// Contents, length or times of a file that existed.
    Modify,
    /// The removal of a name: unlink, rmdir, or the old name of a rename.
    Delete,
    /// The value of an environment variable.
    EnvRead,
}

impl Operation {
    /// Every operation, in the order of their bits in an [`OperationSet`].
    pub const ALL: [Self; 7] =
        [Self::Read, Self::List, Self::Stat, Self::Create, Self::Modify, Self::Delete, Self::EnvRead];

    /// The code of a violation of this operation, as in `error[fs-read]` and in every report.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Read => "fs-read",
            Self::List => "fs-list",
            Self::Stat => "fs-stat",
            Self::Create => "fs-create",
            Self::Modify => "fs-modify",
            Self::Delete => "fs-delete",
            Self::EnvRead => "env-read",
        }
    }

    /// The manifest's table below `sandbox` in which this operation is granted: `fs` or `env`.
    pub const fn table(self) -> &'static str {
        match self {
            Self::EnvRead => "env",
            _ => "fs",
        }
    }

    /// The narrowest key of that table which grants this operation.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Read | Self::EnvRead => "read",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Create => "create",
            Self::Modify => "modify",
            Self::Delete => "delete",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Create => "create",
            Self::Modify => "modify",
            Self::Delete => "delete",
            Self::EnvRead => "read environment variable",
        })
    }
}

/// A set of [`Operation`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationSet(u16);

impl OperationSet {
    /// No operation.
    pub const EMPTY: Self = Self(0);
    /// What the key `fs.read` grants: contents, listing, metadata and link targets.
    pub const FS_READ: Self = Self(Operation::Read.bit() | Operation::List.bit() | Operation::Stat.bit());
    /// What the key `fs.write` grants: create, modify, delete and metadata, but not reading back.
    pub const FS_WRITE: Self = Self(
        Operation::Create.bit() | Operation::Modify.bit() | Operation::Delete.bit() | Operation::Stat.bit(),
    );
    /// Every file operation.
    pub const FS_ALL: Self = Self(Self::FS_READ.0 | Self::FS_WRITE.0);
    /// The operations that change something.
    pub const FS_CHANGE: Self =
        Self(Operation::Create.bit() | Operation::Modify.bit() | Operation::Delete.bit());

    /// The set of one operation.
    pub const fn of(operation: Operation) -> Self {
        Self(operation.bit())
    }

    /// Whether `operation` is in the set.
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    /// Whether every operation of `other` is in the set.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Operations of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Operations of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Operations of this set that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The operations, in the order of [`Operation::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| self.contains(*operation))
    }
}

impl fmt::Debug for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What an access is on. Raw bytes, exactly as the guest named them after resolution: they need
/// not be UTF-8 and must be escaped before a person or another program sees them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// An absolute host path without `.`, `..`, empty components or (as far as it was resolved)
    /// symbolic links.
    Path(Vec<u8>),
    /// The name of an environment variable.
    Env(Vec<u8>),
}

impl Resource {
    /// The bytes of the path or name.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Path(bytes) | Self::Env(bytes) => bytes,
        }
    }
}

/// One attempted operation on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Access {
    /// What was tried.
    pub operation: Operation,
    /// On what.
    pub resource: Resource,
}

/// The number of a grant: its index in the package's table of grants, the same in the supervisor,
/// the worker and every report of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantId(pub u32);

/// The number of an exception (`deny` or `hide`) in the package's table of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExceptionId(pub u32);

/// What the policy says of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Allowed by this grant, or, without one, by what every guest may do.
    Allowed(Option<GrantId>),
    /// Only grants with `by` cover it: ask again with the crate the access originates from.
    DependsOnOrigin,
    /// No grant covers it, or this exception forbids it. The guest sees "permission denied".
    Denied(Option<ExceptionId>),
    /// Covered by a `hide`: the guest sees "no such file", and nothing is reported.
    Hidden(ExceptionId),
}

/// A layer that enforces, and may have stopped an access. In the order in which they are put up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wall {
    /// Our own host functions: exact.
    Wasi,
    /// The kernel's Landlock ruleset on the worker.
    Landlock,
    /// The system call filter on the worker.
    Seccomp,
}

impl Wall {
    /// Every wall, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        // The compiler asks whoever adds one where it stands.
        let next = |wall: &Self| match wall {
            Self::Wasi => Some(Self::Landlock),
            Self::Landlock => Some(Self::Seccomp),
            Self::Seccomp => None,
        };
        std::iter::successors(Some(Self::Wasi), next)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wasi => "wasi",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// A guest stack frame as the worker captures it: symbols are found later, in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RawFrame {
    /// Index of the function in the module.
    pub function: u32,
    /// Offset of the call in the module's bytes, from the beginning of the file.
    pub offset: u32,
}

/// A violation as the worker sees it: an access that no grant covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RawViolation {
    /// What was tried.
    pub access: Access,
    /// Which wall stopped it. With `--audit` it was not stopped, but would have been by this one.
    pub wall: Wall,
    /// The exception that forbids it, if it is not just ungranted.
    pub exception: Option<ExceptionId>,
    /// One more sentence where the bare operation would puzzle, such as a rename that would move
    /// a file to where more is granted on it. Empty if there is nothing to say.
    pub note: String,
    /// An audit let it through.
    pub let_through: bool,
    /// Who made it.
    pub evidence: Evidence<RawFrame>,
}

/// What shows who made an access, to be attributed by: with raw frames as a worker sees it, with
/// source-level ones as it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence<F> {
    /// The stack of a wasm guest, innermost frame first.
    Wasm(Vec<F>),
}

/// One source-level frame of the guest. An inlined call is a frame of its own. All of it is the
/// guest's word (debug information), to be escaped and never opened without the checks of
/// `report::source`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Crate as in the symbol name, with underscores: `copy_file`. Empty if unknown.
    pub krate: String,
    /// Demangled path of the function, without the hash: `copy_file::main`.
    pub function: String,
    /// Source file as in the debug information, or empty.
    pub file: String,
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// The frame that a violation is attributed to: the first one outside std, core, alloc, test and
/// libc, inlined frames included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the package as cargo knows it, or of the crate where no package matches.
    pub package: String,
    /// Version of that package, if cargo knows it.
    pub version: Option<String>,
    /// The frame itself.
    pub frame: Frame,
}

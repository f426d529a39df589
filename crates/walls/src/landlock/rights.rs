//! The kernel's file system rights, as plain data.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of Landlock file system rights, with the kernel's bits and names
/// (`LANDLOCK_ACCESS_FS_…` of linux/landlock.h).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rights(u64);

/// Names by bit. Which ABI has which is in [`super::abi`].
const NAMES: [&str; 17] = [
    "EXECUTE",
    "WRITE_FILE",
    "READ_FILE",
    "READ_DIR",
    "REMOVE_DIR",
    "REMOVE_FILE",
    "MAKE_CHAR",
    "MAKE_DIR",
    "MAKE_REG",
    "MAKE_SOCK",
    "MAKE_FIFO",
    "MAKE_BLOCK",
    "MAKE_SYM",
    "REFER",
    "TRUNCATE",
    "IOCTL_DEV",
    "RESOLVE_UNIX",
];

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Open a file for writing.
    pub const WRITE_FILE: Self = Self(1 << 1);
    /// Open a file for reading.
    pub const READ_FILE: Self = Self(1 << 2);
    /// Open a directory, list it.
    pub const READ_DIR: Self = Self(1 << 3);
    /// Remove or rename a directory.
    pub const REMOVE_DIR: Self = Self(1 << 4);
    /// Remove or rename a file.
    pub const REMOVE_FILE: Self = Self(1 << 5);
    /// Create or rename a directory.
    pub const MAKE_DIR: Self = Self(1 << 7);
    /// Create, rename or link a regular file.
    pub const MAKE_REG: Self = Self(1 << 8);
    /// Create, rename or link a symbolic link.
    pub const MAKE_SYM: Self = Self(1 << 12);
    /// Move or link from or to another directory.
    pub const REFER: Self = Self(1 << 13);
    /// Truncate a file.
    pub const TRUNCATE: Self = Self(1 << 14);
    /// The rights that a file can have; on a file the kernel refuses all others.
    pub const OF_FILES: Self = Self(1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15 | 1 << 16);
    /// What no rule ever grants: to execute, to make devices, pipes and sockets, device ioctls, and
    /// connecting to named sockets.
    pub const NEVER: Self = Self(1 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 15 | 1 << 16);

    /// A set of the kernel's bits.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The kernel's bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Rights of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Rights of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every right of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kernel's names, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
    }

    /// The rights whose condition holds.
    pub(super) fn of(parts: &[(bool, Self)]) -> Self {
        parts.iter().filter(|(wanted, _)| *wanted).fold(Self::NONE, |all, (_, right)| all.union(*right))
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join("|"))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

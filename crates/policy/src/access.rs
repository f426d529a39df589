//! The words every other module shares: what a guest tried, on what, and what was decided.
//!
//! Nothing here does I/O and nothing here imports another module of the crate.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A key of the manifest that holds entries, and its flag on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The key that is named after an operation. It grants that, and what the operation implies.
    Of(Operation),
    /// `fs.write`: every change of files, and their metadata.
    Write,
    /// `fs.deny`: an exception, seen by the guest.
    Deny,
    /// `fs.hide`: an exception, not seen.
    Hide,
}

/// What documents, help texts and messages say of a [`Key`].
#[derive(Debug)]
pub struct KeyRow {
    /// The manifest's table below `sandbox`: `fs` or `env`.
    pub table: &'static str,
    /// In that table.
    pub name: &'static str,
    /// On the command line, without dashes.
    pub flag: &'static str,
    /// What follows the flag.
    pub value: &'static str,
    /// Help of the flag.
    pub help: &'static str,
    /// What it grants, as docs/manifest.md has it.
    pub grants: &'static str,
}

/// What an operation does to its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The guest learns what the resource holds.
    Reveals,
    /// The guest learns that the resource is there, and about it.
    Looks,
    /// The resource is another one afterwards.
    Changes,
}

/// All that is said of an operation. Whoever needs more (a wall's rights, a host function's check) has an
/// exhaustive match.
#[derive(Debug)]
struct Row {
    /// Of a violation, as in `error[fs-read]` and in every report.
    code: &'static str,
    /// In messages, before the resource.
    words: &'static str,
    /// The narrowest key that grants it.
    key: KeyRow,
    /// As `why --op` takes it, and the help of that.
    asked: (&'static str, &'static str),
    effect: Effect,
    /// What its key grants besides.
    implies: &'static [Operation],
    /// The key that is suggested where it was not granted.
    suggested: Key,
    /// Where most files of a directory need that key, `--fix` grants the directory.
    gathers: bool,
}

/// Makes [`Operation`], the list of all and the row of each from one table.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident { $($row:tt)* })*) => {
        /// One kind of access, as the manifest names it (`fs.read`, `env.read`, …). Those on paths come first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
                pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// Every operation, in the order of their bits in an [`OperationSet`].
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => const { &Row { $($row)* } },)*
                }
            }
        }
    };
}

operations! {
    /// The contents of a file.
    Read {
        code: "fs-read",
        words: "read",
        key: KeyRow {
            help: "Grant reading a path, on top of the manifest",
            grants: "contents of files, names in directories, metadata, targets of symbolic links",
            ..KeyRow::fs("read")
        },
        asked: ("read", "Contents of a file"),
        effect: Effect::Reveals,
        implies: &[Operation::List, Operation::Stat],
        suggested: Key::Of(Operation::Read),
        gathers: true,
    }
    /// The names in a directory.
    List {
        code: "fs-list",
        words: "list",
        key: KeyRow {
            help: "Grant listing a directory",
            grants: "names in directories",
            ..KeyRow::fs("list")
        },
        asked: ("list", "Names in a directory"),
        effect: Effect::Reveals,
        implies: &[],
        suggested: Key::Of(Operation::List),
        gathers: false,
    }
    /// Metadata of a file or directory, or the target of a symbolic link.
    Stat {
        code: "fs-stat",
        words: "stat",
        key: KeyRow {
            help: "Grant metadata of a path",
            grants: "metadata and targets of symbolic links",
            ..KeyRow::fs("stat")
        },
        asked: ("stat", "Metadata"),
        effect: Effect::Looks,
        implies: &[],
        suggested: Key::Of(Operation::Stat),
        gathers: true,
    }
    /// A file, directory or link that did not exist, and its first contents.
    Create {
        code: "fs-create",
        words: "create",
        key: KeyRow {
            help: "Grant creating a path",
            grants: "files, directories and links that did not exist, and their first contents",
            ..KeyRow::fs("create")
        },
        asked: ("create", "Create"),
        effect: Effect::Changes,
        implies: &[],
        // What is created now will be modified by the next run.
        suggested: Key::Write,
        gathers: false,
    }
    /// Contents, length or times of a file that existed.
    Modify {
        code: "fs-modify",
        words: "modify",
        key: KeyRow {
            help: "Grant modifying a path",
            grants: "contents, length and times of files that existed",
            ..KeyRow::fs("modify")
        },
        asked: ("modify", "Modify"),
        effect: Effect::Changes,
        implies: &[],
        // To open a file for writing needs both.
        suggested: Key::Write,
        gathers: false,
    }
    /// The removal of a name: unlink, rmdir, or the old name of a rename.
    Delete {
        code: "fs-delete",
        words: "delete",
        key: KeyRow {
            help: "Grant deleting a path",
            grants: "removing a name, also as the old name of a rename",
            ..KeyRow::fs("delete")
        },
        asked: ("delete", "Delete"),
        effect: Effect::Changes,
        implies: &[],
        suggested: Key::Of(Operation::Delete),
        gathers: false,
    }
    /// The value of an environment variable.
    EnvRead {
        code: "env-read",
        words: "read environment variable",
        key: KeyRow {
            table: "env",
            name: "read",
            flag: "env",
            value: "NAME|NAME=VALUE",
            help: "Pass an environment variable through, or set it",
            grants: "the values of variables",
        },
        asked: ("env", "An environment variable"),
        effect: Effect::Reveals,
        implies: &[],
        suggested: Key::Of(Operation::EnvRead),
        gathers: false,
    }
}

// Sets and tries of paths count on it.
const _: () = {
    let mut at = 0;
    while at < Operation::ALL.len() {
        assert!(Operation::ALL[at].is_on_path() == (at < Operation::PATHS), "operations on paths come first");
        at += 1;
    }
};

impl Operation {
    /// How many are on paths: the first of [`ALL`](Self::ALL).
    pub const PATHS: usize = OperationSet::FS_ALL.0.count_ones() as usize;

    /// The code of a violation of this operation, as in `error[fs-read]` and in every report.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The manifest's table below `sandbox` in which this operation is granted: `fs` or `env`.
    pub const fn table(self) -> &'static str {
        self.row().key.table
    }

    /// The narrowest key of that table which grants this operation.
    pub const fn key(self) -> &'static str {
        self.row().key.name
    }

    /// Whether its resource is a path. If not, it is a name of the environment.
    pub const fn is_on_path(self) -> bool {
        matches!(self.table().as_bytes(), b"fs")
    }

    /// What it does.
    pub const fn effect(self) -> Effect {
        self.row().effect
    }

    /// As `why --op` takes it, and the help of that.
    pub const fn asked(self) -> (&'static str, &'static str) {
        self.row().asked
    }

    /// The key to suggest where it was not granted.
    pub const fn suggested(self) -> Key {
        self.row().suggested
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().words)
    }
}

impl KeyRow {
    /// A key of `fs`, whose flag has its name. The rest is to be said.
    const fn fs(name: &'static str) -> Self {
        Self { table: "fs", name, flag: name, value: "PATH", help: "", grants: "" }
    }
}

impl Key {
    /// Every key, in the order of help texts and documents.
    pub fn all() -> impl Iterator<Item = Self> {
        let (paths, others) = Operation::ALL.split_at(Operation::PATHS);
        let of = |operations: &'static [Operation]| operations.iter().copied().map(Self::Of);
        let (first, rest) = paths.split_at(1);
        of(first).chain([Self::Write]).chain(of(rest)).chain([Self::Deny, Self::Hide]).chain(of(others))
    }

    /// Those of one table of the manifest.
    pub fn of_table(table: &str) -> impl Iterator<Item = Self> {
        Self::all().filter(move |key| key.row().table == table)
    }

    /// What is said of it.
    pub const fn row(self) -> &'static KeyRow {
        match self {
            Self::Of(operation) => &operation.row().key,
            Self::Write => {
                const {
                    &KeyRow {
                        help: "Grant writing a path (create, modify, delete)",
                        grants: "everything of `create`, `modify` and `delete`, and metadata; not reading back",
                        ..KeyRow::fs("write")
                    }
                }
            }
            Self::Deny => {
                const {
                    &KeyRow {
                        help: "Forbid a path, whatever is granted",
                        grants: "nothing: an exception. Permission denied, and a violation when tried",
                        ..KeyRow::fs("deny")
                    }
                }
            }
            Self::Hide => {
                const {
                    &KeyRow {
                        help: "Show a path to the guest as absent",
                        grants: "nothing: an exception. The guest sees \"no such file\", and nothing is reported",
                        ..KeyRow::fs("hide")
                    }
                }
            }
        }
    }

    /// In its table of the manifest.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether its entries are paths. If not, they are names of the environment.
    pub const fn is_on_path(self) -> bool {
        matches!(self.row().table.as_bytes(), b"fs")
    }

    /// What it grants.
    pub const fn operations(self) -> OperationSet {
        match self {
            Self::Of(operation) => {
                OperationSet::list(operation.row().implies).union(OperationSet::of(operation))
            }
            Self::Write => OperationSet::FS_WRITE,
            Self::Deny | Self::Hide => OperationSet::EMPTY,
        }
    }

    /// Whether `--fix` grants a directory with it where most of its files need it.
    pub const fn gathers(self) -> bool {
        match self {
            Self::Of(operation) => operation.row().gathers,
            Self::Write => true,
            Self::Deny | Self::Hide => false,
        }
    }
}

/// By name, as edits sort them.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by = |key: &Self| (key.row().name, key.row().table);
        by(self).cmp(&by(other))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A set of [`Operation`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationSet(u16);

impl OperationSet {
    /// No operation.
    pub const EMPTY: Self = Self(0);
    /// What the key `fs.read` grants: contents, listing, metadata and link targets.
    pub const FS_READ: Self = Key::Of(Operation::Read).operations();
    /// What the key `fs.write` grants: every change and metadata, but not reading back.
    pub const FS_WRITE: Self = Self::FS_CHANGE.union(Self::of(Operation::Stat));
    /// Every file operation.
    pub const FS_ALL: Self = Self::FS_CHANGE.union(Self::FS_REVEAL).union(Self::on_paths(Effect::Looks));
    /// The operations that change something.
    pub const FS_CHANGE: Self = Self::on_paths(Effect::Changes);
    /// The operations that show what something holds.
    pub const FS_REVEAL: Self = Self::on_paths(Effect::Reveals);

    /// The set of one operation.
    pub const fn of(operation: Operation) -> Self {
        Self(operation.bit())
    }

    /// The set of several.
    pub const fn list(mut operations: &[Operation]) -> Self {
        let mut all = Self::EMPTY;
        while let [first, rest @ ..] = operations {
            all = all.union(Self::of(*first));
            operations = rest;
        }
        all
    }

    const fn on_paths(effect: Effect) -> Self {
        let mut all = Self::EMPTY;
        let mut operations: &[Operation] = &Operation::ALL;
        while let [first, rest @ ..] = operations {
            if first.is_on_path() && first.effect() as u8 == effect as u8 {
                all = all.union(Self::of(*first));
            }
            operations = rest;
        }
        all
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

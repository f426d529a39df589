//! The validated form of a manifest's permissions. Plain data that crosses to the worker.

use super::entry::Entry;
use super::limits::{Limits, LimitsPatch};
use super::mounts::{Kept, MountPoint, Mounts};
use crate::access::{ExceptionId, GrantId, OperationSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a grant, exception or limit was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The manifest, or empty for the command line and for what every guest may do.
    pub file: PathBuf,
    /// Line, from 1; 0 where there is no file.
    pub line: u32,
    /// Column, from 1, in characters; 0 where there is no file.
    pub column: u32,
    /// Full table name: `package.metadata.sandbox.fs`; `--read` for a flag.
    pub table: String,
    /// Key in that table: `read`.
    pub key: String,
    /// The entry as written: `assets/*.json`.
    pub text: String,
    /// Where it says that its directory is seen (`as`): who has the grant sees it there.
    pub mount: Option<MountPoint>,
}

/// To which targets and tests of the package a grant applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Every target.
    #[default]
    Always,
    /// Tests of any kind (`sandbox.test`).
    Test,
    /// One binary, run as such (`sandbox.bin.NAME`).
    Bin(String),
    /// One example, run as such (`sandbox.example.NAME`).
    Example(String),
    /// Tests whose name matches the pattern of `[[sandbox.test.case]]` number `index`, where `*`
    /// stands for any characters.
    Case {
        /// Position in the array of cases, from 0.
        index: u32,
        /// The pattern in `name`.
        name: String,
    },
}

/// What a path pattern is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathBase {
    /// The root directory: the pattern is absolute.
    Root,
    /// The private directory of the run or test (`{tmp}`), known when it is made.
    Tmp,
}

/// The components of an absolute path, all of them literal.
pub(super) fn literals(path: &[u8]) -> Vec<Component> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(|part| Component::Literal(part.to_vec()))
        .collect()
}

/// One component of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Component {
    /// Exactly this name.
    Literal(Vec<u8>),
    /// A name that matches: `None` stands for any characters (`*`), `Some` for a literal run.
    /// A leading dot is nothing special.
    Glob(Vec<Option<Vec<u8>>>),
    /// `**`: any number of components, also none.
    AnyDepth,
}

/// A path or set of paths. It always covers what is beneath a match too (directories recurse),
/// unless [`exact`](Self::exact) is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPattern {
    /// What the components are relative to.
    pub base: PathBase,
    /// From the outermost to the innermost.
    pub components: Vec<Component>,
    /// Only the match itself, nothing beneath it. For what every guest may do; no manifest says so.
    pub exact: bool,
}

impl PathPattern {
    /// One absolute path, byte by byte, and all beneath it.
    pub fn at(path: &[u8]) -> Self {
        Self::of(literals(path))
    }

    /// These components, from the root.
    pub fn of(components: Vec<Component>) -> Self {
        Self { base: PathBase::Root, components, exact: false }
    }
}

/// A pattern of environment variable names: `*` at any place stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvPattern(pub Vec<Option<Vec<u8>>>);

/// What a grant or exception is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantPattern {
    /// Files and directories.
    Path(PathPattern),
    /// Environment variables.
    Env(EnvPattern),
}

/// One permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Index in [`PackagePolicy::grants`].
    pub id: GrantId,
    /// What may be done.
    pub operations: OperationSet,
    /// On what.
    pub pattern: GrantPattern,
    /// Where the literal prefix of the pattern leads if it passes a symbolic link, as found when
    /// the policy was resolved. The grant covers both.
    pub target: Option<PathPattern>,
    /// Only accesses that originate from one of these crates may use it; empty: all may.
    pub by: Vec<String>,
    /// To which targets and tests it applies.
    pub scope: Scope,
    /// It says `protected = true`: it may name a protected place.
    pub protected: bool,
    /// Where it was written.
    pub provenance: Provenance,
}

impl Grant {
    /// The entry that it was made of.
    pub fn entry(&self) -> Entry {
        let Provenance { text, mount, .. } = &self.provenance;
        Entry { text: text.clone(), by: self.by.clone(), protected: self.protected, mount: *mount }
    }
}

/// What an exception does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExceptionKind {
    /// `deny`: permission denied, and a violation.
    Deny,
    /// `hide`: no such file, silently.
    Hide,
    /// A protected place inside a grant: permission denied for everything that changes it, and a
    /// violation.
    Protected,
}

/// An entry that wins over every grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Index in [`PackagePolicy::exceptions`].
    pub id: ExceptionId,
    /// What it does.
    pub kind: ExceptionKind,
    /// To what.
    pub pattern: PathPattern,
    /// As for a grant.
    pub target: Option<PathPattern>,
    /// To which targets and tests it applies.
    pub scope: Scope,
    /// Where it was written; empty for a protected place.
    pub provenance: Provenance,
}

impl Exception {
    /// A protected place.
    pub fn protected(id: usize, pattern: PathPattern) -> Self {
        Self {
            id: ExceptionId(id as u32),
            kind: ExceptionKind::Protected,
            pattern,
            target: None,
            scope: Scope::Always,
            provenance: Provenance::default(),
        }
    }
}

/// Everything the manifests say about one package, for all its targets and tests. The numbers of
/// grants and exceptions are indices here and stay the same in every [`Policy`] cut from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagePolicy {
    /// Name of the package.
    pub package: String,
    /// Grants of every scope.
    pub grants: Vec<Grant>,
    /// Exceptions of every scope.
    pub exceptions: Vec<Exception>,
    /// `env.set`, by scope.
    pub set: Vec<(Scope, BTreeMap<String, String>)>,
    /// Limits by scope; a later applicable one replaces single values of an earlier one.
    pub limits: Vec<(Scope, LimitsPatch)>,
    /// Symbolic links on the way to a grant, the package root or the current directory, found when
    /// the policy was resolved: they may be followed.
    pub links: Vec<Vec<u8>>,
    /// What the manifest grants and a ceiling took away: nothing to suggest again.
    pub above: Vec<Grant>,
    /// What mounts leave as it is.
    pub kept: Kept,
}

/// What applies to one run of one target, or to one test: cut from a [`PackagePolicy`] by
/// scope, with `{tmp}` bound. This is what [`super::Decider`] decides by and what the kernel's
/// rules are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Name of the package.
    pub package: String,
    /// The grants that apply. Their ids are indices in the package's table, not here.
    pub grants: Vec<Grant>,
    /// The exceptions that apply.
    pub exceptions: Vec<Exception>,
    /// `env.set`.
    pub set: BTreeMap<String, String>,
    /// The limits.
    pub limits: Limits,
    /// See [`PackagePolicy::links`].
    pub links: Vec<Vec<u8>>,
    /// The guest's current directory: it may always be looked at (`stat`), never more.
    pub current_dir: Vec<u8>,
    /// Where the guest sees something else than the host has there.
    pub mounts: Mounts,
}

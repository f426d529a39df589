//! What a manifest says, as it is written.

use crate::policy::model::{LimitsPatch, Provenance, Scope};
use std::collections::BTreeMap;
use std::ops::Range;

/// The keys of `fs` and `env` that hold entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy) enum EntryKey {
    Read,
    Write,
    List,
    Stat,
    Create,
    Modify,
    Delete,
    Deny,
    Hide,
    EnvRead,
}

impl EntryKey {
    pub(in crate::policy) const FS: [(&'static str, Self); 9] = [
        ("read", Self::Read),
        ("write", Self::Write),
        ("list", Self::List),
        ("stat", Self::Stat),
        ("create", Self::Create),
        ("modify", Self::Modify),
        ("delete", Self::Delete),
        ("deny", Self::Deny),
        ("hide", Self::Hide),
    ];
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub(in crate::policy) struct RawEntry {
    pub(in crate::policy) key: EntryKey,
    pub(in crate::policy) text: String,
    /// Where the string stands.
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) by: Vec<String>,
    pub(in crate::policy) protected: bool,
    pub(in crate::policy) scope: Scope,
    pub(in crate::policy) provenance: Provenance,
}

/// A `sandbox` table, flattened: the scope of each thing beside it.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct RawSandbox {
    /// `workspace = true`, and where.
    pub(in crate::policy) inherits: Option<Range<usize>>,
    pub(in crate::policy) entries: Vec<RawEntry>,
    pub(in crate::policy) set: Vec<(Scope, BTreeMap<String, String>)>,
    /// One for each table there is, so that an empty table is known too.
    pub(in crate::policy) limits: Vec<(Scope, LimitsPatch)>,
}

/// What a manifest says.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct RawManifest {
    pub(in crate::policy) name: String,
    pub(in crate::policy) package: Option<RawSandbox>,
    pub(in crate::policy) workspace: Option<RawSandbox>,
}

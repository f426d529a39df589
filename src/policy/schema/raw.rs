//! What a manifest says, as it is written.

use crate::access::Key;
use crate::policy::limits::LimitsPatch;
use crate::policy::model::{Provenance, Scope};
use std::collections::BTreeMap;
use std::ops::Range;

/// One entry of a list.
#[derive(Clone, Debug)]
pub(in crate::policy) struct RawEntry {
    pub(in crate::policy) key: Key,
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

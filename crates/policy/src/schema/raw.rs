//! What a manifest says, as it is written.

use crate::access::Key;
use crate::limits::LimitsPatch;
use crate::model::{Provenance, Scope};
use std::collections::BTreeMap;
use std::ops::Range;

/// One entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct RawEntry {
    pub(crate) key: Key,
    pub(crate) text: String,
    /// Where the string stands.
    pub(crate) span: Range<usize>,
    pub(crate) by: Vec<String>,
    pub(crate) protected: bool,
    pub(crate) scope: Scope,
    pub(crate) provenance: Provenance,
}

/// A `sandbox` table, flattened: the scope of each thing beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawSandbox {
    /// `workspace = true`, and where.
    pub(crate) inherits: Option<Range<usize>>,
    pub(crate) entries: Vec<RawEntry>,
    pub(crate) set: Vec<(Scope, BTreeMap<String, String>)>,
    /// One for each table there is, so that an empty table is known too.
    pub(crate) limits: Vec<(Scope, LimitsPatch)>,
}

/// What a manifest says.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawManifest {
    pub(crate) name: String,
    pub(crate) package: Option<RawSandbox>,
    pub(crate) workspace: Option<RawSandbox>,
}

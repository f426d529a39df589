//! From one entry to a grant or exception, and back to where it stands.

use crate::access::{ExceptionId, GrantId, OperationSet};
use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::model::{
    Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathPattern, Provenance, Scope,
};
use crate::pattern::PatternError;
use crate::schema::RawEntry;
use std::ops::Range;
use std::sync::Arc;

/// The files that entries can come from.
pub(crate) struct Files<'a> {
    pub(crate) package: &'a Arc<SourceFile>,
    pub(crate) workspace: &'a Arc<SourceFile>,
}

/// How narrow a scope is: later ones replace earlier ones.
pub(super) fn rank(scope: &Scope) -> u8 {
    match scope {
        Scope::Always => 0,
        Scope::Bin(_) | Scope::Example(_) => 1,
        Scope::Test => 2,
        Scope::Case { .. } => 3,
    }
}

/// As many messages of one severity about manifests as a person mends at once.
pub const MOST_MISTAKES: usize = 100;

/// The first of each severity, sorted by it, and how many more there are.
pub(crate) fn bounded(mut messages: Vec<Diagnostic>) -> Vec<Diagnostic> {
    messages.sort_by_key(|message| message.severity);
    if messages.len() <= MOST_MISTAKES {
        return messages;
    }
    let mut kept: Vec<Diagnostic> = Vec::new();
    for alike in messages.chunk_by(|one, other| one.severity == other.severity) {
        kept.extend(alike.iter().take(MOST_MISTAKES).cloned());
        if let Some(more) = alike.len().checked_sub(MOST_MISTAKES).filter(|more| *more > 0) {
            let what = if alike[0].severity == Severity::Error { "mistakes" } else { "messages" };
            kept.push(Diagnostic::new(
                alike[0].severity,
                "more",
                format!("and {more} more {what} of this kind"),
            ));
        }
    }
    kept
}

pub(super) fn diagnose(error: &PatternError) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.code, error.message.clone());
    if error.help.is_empty() { diagnostic } else { diagnostic.help(error.help.clone()) }
}

pub(super) fn push_grant(
    policy: &mut PackagePolicy,
    entry: &RawEntry,
    operations: OperationSet,
    pattern: GrantPattern,
    target: Option<PathPattern>,
    protected: bool,
) {
    policy.grants.push(Grant {
        id: GrantId(policy.grants.len() as u32),
        operations,
        pattern,
        target,
        by: entry.by.clone(),
        scope: entry.scope.clone(),
        protected,
        provenance: entry.provenance.clone(),
    });
}

pub(super) fn push_exception(
    policy: &mut PackagePolicy,
    entry: &RawEntry,
    kind: ExceptionKind,
    pattern: PathPattern,
    target: Option<PathPattern>,
) {
    policy.exceptions.push(Exception {
        id: ExceptionId(policy.exceptions.len() as u32),
        kind,
        pattern,
        target,
        scope: entry.scope.clone(),
        provenance: entry.provenance.clone(),
    });
}

/// The place of an entry that a provenance was made from, for a diagnostic about it.
pub(crate) fn span_of(provenance: &Provenance, files: &Files<'_>) -> Option<(Arc<SourceFile>, Range<usize>)> {
    let file = [files.package, files.workspace].into_iter().find(|file| file.path == provenance.file)?;
    let line =
        file.text.split_inclusive('\n').take(provenance.line.checked_sub(1)? as usize).map(str::len).sum();
    let rest = file.text.get(line..)?;
    let column: usize =
        rest.chars().take(provenance.column.checked_sub(1)? as usize).map(char::len_utf8).sum();
    let start = line + column;
    let end = start
        + rest.get(column..)?.lines().next().map_or(0, |line| line.len().min(provenance.text.len() + 2));
    Some((Arc::clone(file), start..file.text.floor_char_boundary(end)))
}

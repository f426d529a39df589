//! The package of which an audit has been made, and the tables of its manifest.

use crate::event::{Report, TargetReport};
use sandbox_policy::diagnostic::SourceFile;
use sandbox_policy::{PackagePolicy, Places, Scope};

/// The package whose manifest is to say what a run needed.
#[derive(Clone, Copy, Debug)]
pub struct Audited<'a> {
    /// Its permissions as they were in the run.
    pub policy: &'a PackagePolicy,
    /// Canonical.
    pub places: &'a Places,
    pub manifest: &'a SourceFile,
    /// The same as shown: relative to the workspace.
    pub shown: &'a str,
}

impl Audited<'_> {
    /// What ran of it.
    pub(super) fn targets<'r>(&self, report: &'r Report) -> impl Iterator<Item = &'r TargetReport> {
        report.targets.iter().filter(|target| target.package == self.policy.package)
    }
}

/// The keys to a table of a scope in the manifest, and the case it is in.
pub(super) fn table_of(scope: &Scope, table: &str) -> (Vec<String>, Option<(usize, String)>) {
    let mut keys: Vec<String> = ["package", "metadata", "sandbox"].map(str::to_owned).into();
    match scope {
        Scope::Always => {}
        Scope::Test => keys.push("test".to_owned()),
        Scope::Bin(name) => keys.extend(["bin".to_owned(), name.clone()]),
        Scope::Example(name) => keys.extend(["example".to_owned(), name.clone()]),
        Scope::Case { index, .. } => {
            keys.extend(["test".to_owned(), "case".to_owned()]);
            return (keys, Some((*index as usize, table.to_owned())));
        }
    }
    keys.push(table.to_owned());
    (keys, None)
}

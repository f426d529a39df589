//! `--fix`: from the accesses of an audit to the smallest grants in Cargo.toml.

mod entry;
mod needs;

use super::args::{Fix, PolicyArgs};
use super::output::Outputs;
use super::policies::{self, Permissions};
use super::unused;
use crate::build::metadata::{Package, Workspace};
use crate::diagnostic::Diagnostic;
use crate::edit;
use crate::event::{Report, RunEvent, TargetReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::policy::Scope;
use crate::report::escape;
use crate::runner::Failure;
use similar::TextDiff;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Lines of a change that are shown.
const MOST_CHANGES: usize = 60;

/// A package whose manifest may be changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixing<'a> {
    /// Its permissions as they were in the run.
    pub(super) permissions: &'a Permissions,
    /// Itself.
    pub(super) package: &'a Package,
}

/// Writes what the run needed and was not granted, shows the change, and says what was left. To be
/// called before the outputs are finished; `report` gets a note and, if anything cannot be done, the
/// status for that. Does nothing without `--fix`.
pub(super) fn fix(
    report: &mut Report,
    workspace: &Workspace,
    packages: &[Fixing<'_>],
    args: &PolicyArgs,
    outputs: &mut Outputs,
) {
    if args.fix.is_empty() {
        return;
    }
    if matches!(report.status, ExitStatus::Interrupted | ExitStatus::Fault) {
        report.notes.push("nothing was fixed, as the run did not end by itself".to_owned());
        return;
    }
    for fixing in packages {
        if args.fix.contains(&Fix::Prune) {
            unused::credit_wider(report, &fixing.permissions.policy);
        }
        if let Err(failure) = fix_one(report, workspace, fixing, &args.fix, outputs) {
            report.status = report.status.or(failure.status);
            outputs.messages(failure.messages);
        }
    }
}

fn fix_one(
    report: &mut Report,
    workspace: &Workspace,
    fixing: &Fixing<'_>,
    how: &[Fix],
    outputs: &mut Outputs,
) -> Result<(), Failure> {
    let manifest = &fixing.package.manifest;
    let found = needs::find(report, fixing, how.contains(&Fix::ByCrate));
    for left in &found.left {
        outputs.event(&RunEvent::Message(left.clone()));
    }
    let not_run = |target: &TargetReport| target.tests.iter().any(|test| test.verdict == TestVerdict::NotRun);
    let prune = how.contains(&Fix::Prune);
    if prune && report.targets.iter().any(not_run) {
        let message = "nothing was removed, as tests that were not run may need it";
        outputs.event(&RunEvent::Message(Diagnostic::warning("fix", message)));
    }
    let prune = prune && !report.targets.iter().any(not_run);
    let (removals, kept) = if prune { unused_of(report, fixing) } else { Default::default() };
    for place in kept {
        let message = format!("{place} is unused and was left: it is not of this package's manifest");
        outputs.event(&RunEvent::Message(Diagnostic::warning("fix", message)));
    }
    let fixed = edit::apply(&manifest.text, &found.additions, &removals)
        .map_err(|diagnostic| Failure::new(ExitStatus::Manifest, diagnostic))?;
    let shown = &fixing.permissions.manifest;
    if fixed == manifest.text {
        report.notes.push(format!("{shown} has all the grants that this run needed"));
        return Ok(());
    }
    policies::validate(workspace, fixing.package, &fixed).map_err(|messages| {
        let why = Diagnostic::error("fix", format!("{shown} was not changed: it would not be valid"));
        let mut failure = Failure::new(ExitStatus::Fault, why);
        failure.messages.extend(messages);
        failure
    })?;
    replace(&manifest.path, &manifest.text, &fixed)?;
    outputs.block(&difference(shown, &manifest.text, &fixed));
    let changes = format!("{} added, {} removed", found.additions.len(), removals.len());
    outputs.event(&RunEvent::Status { verb: "Fixed", text: format!("{shown} ({changes})") });
    Ok(())
}

/// Unused grants of the package's own manifest, and, in words, those written elsewhere.
fn unused_of(report: &Report, fixing: &Fixing<'_>) -> (Vec<edit::Removal>, Vec<String>) {
    let mut uses: BTreeMap<u32, u64> = BTreeMap::new();
    let targets = report.targets.iter().filter(|target| target.package == fixing.package.name);
    for grant in targets.flat_map(|target| &target.grants) {
        *uses.entry(grant.id).or_default() += grant.uses;
    }
    let (mut removals, mut kept) = (Vec::new(), Vec::new());
    for (id, _) in uses.into_iter().filter(|(_, uses)| *uses == 0) {
        let Some(grant) = fixing.permissions.policy.grants.get(id as usize) else { continue };
        let place = &grant.provenance;
        if place.line == 0 {
            // The command line says so for this run only.
        } else if place.file == fixing.package.manifest.path && place.table.starts_with("package.") {
            let (table, case) = table_of(&grant.scope, place.table.rsplit('.').next().unwrap_or("fs"));
            let (key, entry, by) = (place.key.clone(), place.text.clone(), grant.by.clone());
            removals.push(edit::Removal { table, case, key, entry, by, as_tmp: grant.as_tmp });
        } else {
            kept.push(format!("`{}` in `{}.{}`", escape::line(&place.text), place.table, place.key));
        }
    }
    (removals, kept)
}

/// The keys to a table of a scope in the package's manifest, and the case it is in.
fn table_of(scope: &Scope, table: &str) -> (Vec<String>, Option<(usize, String)>) {
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

/// A unified diff. Escaped: entries are names that the guest chose.
fn difference(shown: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{shown}"), &format!("b/{shown}"))
        .to_string();
    let lines = text.lines().count();
    if lines <= MOST_CHANGES {
        return escape::block(text.as_bytes());
    }
    let first: String = text.lines().take(MOST_CHANGES).map(|line| format!("{line}\n")).collect();
    format!(
        "{}[… {} more lines; `git diff` shows all …]\n",
        escape::block(first.as_bytes()),
        lines - MOST_CHANGES
    )
}

/// Puts the new text in the place of the old one, all of it or nothing, with the same mode.
fn replace(path: &Path, before: &str, after: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(ExitStatus::Fault, Diagnostic::error("fix", message))
    };
    // The manifest may be a link: what it leads to is what is changed.
    let path = fs::canonicalize(path).map_err(failed)?;
    if fs::read(&path).map_err(failed)? != before.as_bytes() {
        let message = format!("`{}` was changed while the program ran, so it was left alone", path.display());
        return Err(Failure::new(ExitStatus::Fault, Diagnostic::error("fix", message)));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".Cargo.toml.").tempfile_in(folder).map_err(failed)?;
    file.write_all(after.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(fs::metadata(&path).map_err(failed)?.permissions()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

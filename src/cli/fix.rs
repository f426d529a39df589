//! `--fix`: from the accesses of an audit to the smallest grants in Cargo.toml.

use super::args::{Fix, PolicyArgs};
use super::atomic_file::{Destination, is};
use super::output::Outputs;
use super::policies::{self, Permissions};
use super::vcs;
use crate::audit::{Audited, edit, minimise, unused};
use crate::cargo::metadata::{Package, Workspace};
use crate::event::{Report, RunEvent, TargetReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::report::escape;
use crate::runner::Failure;
use rustix::fs::OFlags;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use similar::TextDiff;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
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
    /// Its manifest, if it is to be changed.
    pub(super) held: Option<&'a Held>,
}

/// A manifest that may be changed, and the folder that it lies in, both opened before anything is built
/// or run. What is replaced at the end is this file, and in this folder.
#[derive(Debug)]
pub(super) struct Held {
    place: Destination,
    file: File,
}

impl Held {
    /// Opens it under `--fix`.
    ///
    /// # Errors
    /// It could not be given back by version control, or is no longer the file that was read.
    pub(super) fn new(manifest: &SourceFile, args: &PolicyArgs) -> Result<Option<Self>, Failure> {
        vcs::check(&manifest.path, args)?;
        if args.fix.is_empty() { Ok(None) } else { Self::open(manifest).map(Some) }
    }

    fn open(manifest: &SourceFile) -> Result<Self, Failure> {
        let open = || {
            // It may be a link: what it leads to is what is changed.
            let place = Destination::of(&manifest.path)?;
            let file = place.open(OFlags::RDONLY)?;
            Ok(Self { place, file })
        };
        let held = open().map_err(|error| cannot_write(&manifest.path, &error))?;
        match held.holds(&manifest.text) {
            Ok(true) => Ok(held),
            Ok(false) => Err(changed(&manifest.path)),
            Err(error) => Err(cannot_write(&manifest.path, &error)),
        }
    }

    /// Whether this is its text.
    fn holds(&self, text: &str) -> io::Result<bool> {
        let found = self.file.metadata()?;
        if !found.is_file() || found.len() != text.len() as u64 {
            return Ok(false);
        }
        let mut bytes = vec![0; text.len()];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(bytes == text.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts the new text in the place of the old one, all of it or nothing, with the same mode.
    fn replace(&self, path: &Path, before: &str, after: &str) -> Result<(), Failure> {
        let failed = |error: io::Error| cannot_write(path, &error);
        // Another one may lie there by now, to which the text was never to be written.
        let same = rustix::fs::stat(path).is_ok_and(|there| is(&self.file, &there));
        if !same || !self.holds(before).map_err(failed)? {
            return Err(changed(path));
        }
        let new = self.place.prepare(&self.file, after.as_bytes()).map_err(failed)?;
        new.file.sync_all().map_err(failed)?;
        match new.swap(&self.file, || self.holds(before)).map_err(failed)? {
            true => Ok(()),
            false => Err(changed(path)),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", path.display());
    Failure::new(ExitStatus::Fault, Diagnostic::error("fix", message))
}

fn changed(path: &Path) -> Failure {
    let message = format!("`{}` was changed while the program ran, so it was left alone", path.display());
    Failure::new(ExitStatus::Fault, Diagnostic::error("fix", message))
}

/// Writes what the run needed and was not granted, shows the change, and says what was left. To be
/// called before the outputs are finished; `report` gets a note and, if anything cannot be done, the
/// status for that. Does nothing if nothing is to be fixed.
pub(super) fn fix(
    report: &mut Report,
    workspace: &Workspace,
    packages: &[Fixing<'_>],
    how: &[Fix],
    outputs: &mut Outputs,
) {
    if how.is_empty() {
        return;
    }
    if matches!(report.status, ExitStatus::Interrupted | ExitStatus::Fault) {
        report.notes.push("nothing was fixed, as the run did not end by itself".to_owned());
        return;
    }
    for fixing in packages {
        if how.contains(&Fix::Prune) {
            unused::credit_wider(report, &fixing.permissions.policy);
        }
        if let Err(failure) = fix_one(report, workspace, fixing, how, outputs) {
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
    let Permissions { policy, places, manifest: shown, .. } = fixing.permissions;
    let audited = Audited { policy, places, manifest, shown };
    let found = minimise::find(report, &audited, how.contains(&Fix::ByCrate));
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
    let (removals, kept) = if prune { unused::removals(report, &audited) } else { Default::default() };
    for place in kept {
        let message = format!("{place} is unused and was left: it is not of this package's manifest");
        outputs.event(&RunEvent::Message(Diagnostic::warning("fix", message)));
    }
    let fixed = edit::apply(&manifest.text, &found.additions, &removals)
        .map_err(|diagnostic| Failure::new(ExitStatus::Manifest, diagnostic))?;
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
    let Some(held) = fixing.held else { return Err(changed(&manifest.path)) };
    held.replace(&manifest.path, &manifest.text, &fixed)?;
    outputs.block(&difference(shown, &manifest.text, &fixed));
    let changes = format!("{} added, {} removed", found.additions.len(), removals.len());
    outputs.event(&RunEvent::Status { verb: "Fixed", text: format!("{shown} ({changes})") });
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn what_is_replaced_is_the_file_that_was_read_in_the_folder_that_it_was_in() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        let (package, manifest) = (at("package"), at("package/Cargo.toml"));
        let changes: [(&str, &dyn Fn()); 6] = [
            ("nothing", &|| {}),
            ("its text", &|| fs::write(&manifest, "[package] # 2").unwrap()),
            ("a file with the same text", &|| {
                fs::rename(&manifest, at("package/old")).unwrap();
                fs::write(&manifest, "[package] # 1").unwrap();
            }),
            ("a link to one", &|| {
                fs::rename(&manifest, at("package/old")).unwrap();
                symlink(at("other/Cargo.toml"), &manifest).unwrap();
            }),
            ("a link in the place of its folder", &|| {
                fs::rename(&package, at("moved")).unwrap();
                symlink(at("other"), &package).unwrap();
            }),
            ("a folder in the place of its folder", &|| {
                fs::rename(&package, at("moved")).unwrap();
                fs::rename(at("other"), &package).unwrap();
            }),
        ];
        for (what, change) in changes {
            for folder in ["package", "other"] {
                fs::create_dir(at(folder)).unwrap();
                fs::write(at(folder).join("Cargo.toml"), "[package] # 1").unwrap();
            }
            fs::set_permissions(&manifest, fs::Permissions::from_mode(0o640)).unwrap();
            let file = SourceFile { path: manifest.clone(), text: "[package] # 1".to_owned() };
            let held = Held::open(&file).unwrap();
            change();
            let done = held.replace(&manifest, &file.text, "fixed");
            let texts = || {
                let folders = ["package", "other", "moved"].map(|folder| fs::read_dir(at(folder)));
                let files = folders.into_iter().flatten().flatten().flatten();
                files.map(|file| fs::read_to_string(file.path()).unwrap()).collect::<Vec<_>>()
            };
            if what == "nothing" {
                done.unwrap();
                assert_eq!(fs::read(&manifest).unwrap(), b"fixed");
                assert_eq!(fs::metadata(&manifest).unwrap().mode() & 0o7777, 0o640);
                assert_eq!(texts().len(), 2, "nothing else is left behind");
            } else {
                let failure = done.unwrap_err();
                assert!(failure.messages[0].message.contains("was left alone"), "{what}");
                assert!(texts().iter().all(|text| text.starts_with("[package] # ")), "{what}: {:?}", texts());
            }
            for folder in ["package", "other", "moved"] {
                let _ = fs::remove_file(at(folder)).or_else(|_| fs::remove_dir_all(at(folder)));
            }
        }
    }

    #[test]
    fn a_manifest_that_is_a_link_stays_one() {
        let base = tempfile::tempdir().unwrap();
        let (link, manifest) = (base.path().join("Cargo.toml"), base.path().join("real.toml"));
        fs::write(&manifest, "a").unwrap();
        symlink("real.toml", &link).unwrap();
        let held = Held::open(&SourceFile { path: link.clone(), text: "a".to_owned() }).unwrap();
        held.replace(&link, "a", "b").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&manifest).unwrap(), b"b");
    }
}

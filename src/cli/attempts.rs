//! nextest starts a runner again for a test that has failed, and takes the last attempt's word. What an earlier
//! one reached for is no less true for that, so it is kept for as long as nextest runs.

use crate::event::Report;
use crate::exit_status::ExitStatus;
use crate::runner::own_folder;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No run of nextest takes longer: what was kept of one is removed then.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What was kept of the earlier attempts of what a runner was asked for; outside of nextest nothing is.
#[derive(Debug)]
pub(super) struct Attempts(Option<PathBuf>);

impl Attempts {
    /// Those of this artifact with these arguments, in the run of nextest that started this process.
    pub(super) fn of(file: &Path, words: &[Vec<u8>]) -> Self {
        let Some(run) = std::env::var_os("NEXTEST_RUN_ID") else { return Self(None) };
        let mut hasher = blake3::Hasher::new();
        let path = file.as_os_str().as_encoded_bytes();
        for part in [run.as_encoded_bytes(), path].into_iter().chain(words.iter().map(Vec::as_slice)) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let name = hasher.finalize().to_hex();
        Self(own_folder("attempts").map(|folder| folder.join(&name[..32])))
    }

    /// Keeps what this attempt did; where one before it had an unexpected access, so has this one.
    pub(super) fn judge(&self, report: &mut Report) {
        let Some(mark) = &self.0 else { return };
        if !report.audit && report.targets.iter().any(|target| !target.violations.is_empty()) {
            // If it cannot be kept, it is in the status of this attempt all the same.
            let _ = File::create(mark);
            tidy(mark.parent().unwrap_or(mark));
        } else if mark.exists() {
            let note =
                "an earlier attempt of this test had an unexpected access, which no later one can clear";
            report.notes.push(note.to_owned());
            report.status = report.status.or(ExitStatus::Violation);
        }
    }
}

/// Removes what is left of old runs.
fn tidy(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

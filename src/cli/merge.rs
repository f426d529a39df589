//! `cargo sandbox report merge`: the reports of a run that was split over several machines.

use super::args::{NotRun, OutputArgs, ReportArgs, ReportCommand, Unused};
use super::output::Outputs;
use super::unused;
use crate::exit_status::ExitStatus;
use crate::report::{json, merge};
use crate::runner::Failure;
use sandbox_policy::diagnostic::Diagnostic;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// `cargo sandbox report`.
pub(super) fn report(args: &ReportArgs) -> ExitStatus {
    match &args.command {
        ReportCommand::Merge { files, unused, not_run, output } => merged(files, *unused, *not_run, output),
    }
}

fn merged(files: &[PathBuf], level: Unused, not_run: NotRun, output: &OutputArgs) -> ExitStatus {
    Outputs::during_judging(
        output,
        unused::to_report(level),
        || {
            // What is shown in a report is relative to the workspace, wherever that was.
            let reports = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            Ok((reports, std::env::current_dir()?))
        },
        |outputs, reports| {
            let mut report = merge::merge(reports).map_err(|error| wrong(error.to_string()))?;
            if level == Unused::Deny {
                report.deny_unused();
            }
            if not_run == NotRun::Deny {
                report.deny_not_run();
            }
            Ok(outputs.finish_wire(&report))
        },
    )
}

/// Reads one report, which a guest may have had a hand in: bounded and strictly.
///
/// # Errors
/// It cannot be read or is none.
pub(super) fn read(path: &Path) -> Result<json::Report, Failure> {
    let failed = |error: &dyn std::fmt::Display| wrong(format!("`{}`: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    file.take(json::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    json::read(&bytes).map_err(|error| failed(&error))
}

fn wrong(message: String) -> Failure {
    Failure::new(ExitStatus::Usage, Diagnostic::error("report", message))
}

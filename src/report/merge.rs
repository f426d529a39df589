//! `report merge`: the reports of a run that was split over several machines (`--partition`) as
//! one. Uses of grants are added, tests are put together, violations are united, and only then is
//! it known which grants nothing used.

use super::escape;
use super::json::Report;
use super::json::wire::{Grant, Kernel, Target, Violation};
use crate::exit_status::ExitStatus;
use std::collections::BTreeSet;

/// What is said where `--not-run deny` denies.
pub const DENIED: &str = "tests that were not run are denied";
/// What is said where `--unused deny` does not deny.
pub const NOT_DENIED: &str = "unused grants are not denied, as tests that were not run may need them";

/// Why reports cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There is none.
    Empty,
    /// They are reports of different commands.
    Command(String, String),
    /// They were written by different versions.
    Version(String, String),
    /// Some are audits and some are not.
    Audit,
    /// The same test was run twice.
    SameTest {
        /// `package::target`.
        binary: String,
        /// The test.
        name: String,
    },
}

impl std::fmt::Display for MergeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no report to merge"),
            Self::Command(one, other) => {
                write!(
                    f,
                    "reports of `{}` and of `{}` do not go together",
                    escape::line(one),
                    escape::line(other)
                )
            }
            Self::Version(one, other) => write!(
                f,
                "reports of cargo-sandbox {} and {} do not go together",
                escape::line(one),
                escape::line(other)
            ),
            Self::Audit => f.write_str("a report with `--audit` and one without do not go together"),
            Self::SameTest { binary, name } => write!(
                f,
                "test `{} {}` is in more than one report, or twice in one",
                escape::line(binary),
                escape::line(name)
            ),
        }
    }
}

impl std::error::Error for MergeError {}

/// Merges the reports of shards. The verdict is the worst one; that grants are unused is for the
/// whole to say, so 79 stays only if a shard had it and something is still unused.
pub fn merge(reports: Vec<Report>) -> Result<Report, MergeError> {
    let mut reports = reports.into_iter();
    let mut merged = reports.next().ok_or(MergeError::Empty)?;
    let mut denies_unused = merged.status() == ExitStatus::Unused;
    let mut status = without_unused(merged.status());
    // The first is merged into nothing, so that it too has each target once.
    for target in std::mem::take(&mut merged.targets) {
        add_target(&mut merged.targets, target);
    }
    for report in reports {
        if report.command != merged.command {
            return Err(MergeError::Command(merged.command, report.command));
        }
        if report.tool != merged.tool {
            return Err(MergeError::Version(merged.tool.version, report.tool.version));
        }
        if report.audit != merged.audit {
            return Err(MergeError::Audit);
        }
        denies_unused |= report.status() == ExitStatus::Unused;
        status = status.or(without_unused(report.status()));
        merged.duration_us = merged.duration_us.saturating_add(report.duration_us);
        add_kernel(&mut merged.kernel, report.kernel);
        for note in report.notes {
            if !merged.notes.contains(&note) {
                merged.notes.push(note);
            }
        }
        for target in report.targets {
            add_target(&mut merged.targets, target);
        }
    }
    check_tests(&merged.targets)?;
    merged.recount();
    merged.set_status(status);
    if denies_unused {
        merged.deny_unused();
    }
    Ok(merged)
}

fn without_unused(status: ExitStatus) -> ExitStatus {
    if status == ExitStatus::Unused { ExitStatus::Fine } else { status }
}

impl Report {
    /// Whether no test could not be run. Such a one might need a grant that no other test does.
    pub fn every_test_ran(&self) -> bool {
        self.counts.not_run == 0
    }

    /// Applies `--unused deny`: 79 if a grant is unused, every test ran, and nothing worse holds.
    pub fn deny_unused(&mut self) {
        if self.unused.is_empty() {
            return;
        }
        if self.every_test_ran() {
            self.set_status(self.status().or(ExitStatus::Unused));
        } else if !self.notes.iter().any(|note| note == NOT_DENIED) {
            self.notes.push(NOT_DENIED.to_owned());
        }
    }
}

impl Report {
    /// Applies `--not-run deny`: 101 if a test was not run and nothing worse holds.
    pub fn deny_not_run(&mut self) {
        if self.every_test_ran() {
            return;
        }
        self.set_status(self.status().or(ExitStatus::Failed));
        if !self.notes.iter().any(|note| note == DENIED) {
            self.notes.push(DENIED.to_owned());
        }
    }
}

/// What holds for the whole is what held on every machine.
fn add_kernel(kernel: &mut Kernel, other: Kernel) {
    kernel.landlock_abi = kernel.landlock_abi.zip(other.landlock_abi).map(|(one, other)| one.min(other));
    let strength = |level: &str| match level {
        "full" => 2,
        "required" => 1,
        _ => 0,
    };
    if strength(&other.landlock_level) < strength(&kernel.landlock_level) {
        kernel.landlock_level = other.landlock_level;
    }
    kernel.enforced.retain(|right| other.enforced.contains(right));
    kernel.missing.extend(other.missing.into_iter().filter(|right| !kernel.enforced.contains(right)));
    kernel.missing.sort();
    kernel.missing.dedup();
    kernel.seccomp &= other.seccomp;
}

fn add_target(targets: &mut Vec<Target>, target: Target) {
    let same = |known: &&mut Target| {
        // Two runs of a binary are two; two shards of its tests are one.
        known.outcome.is_none()
            && target.outcome.is_none()
            && known.package == target.package
            && known.version == target.version
            && known.kind == target.kind
            && known.name == target.name
    };
    let Some(known) = targets.iter_mut().find(same) else { return targets.push(target) };
    known.duration_us = known.duration_us.saturating_add(target.duration_us);
    for grant in target.grants {
        add_grant(&mut known.grants, grant);
    }
    for violation in target.violations {
        add_violation(&mut known.violations, violation);
    }
    known.tests.extend(target.tests);
    for note in target.notes {
        if !known.notes.contains(&note) {
            known.notes.push(note);
        }
    }
    if !target.output.text.is_empty() {
        let mut bytes = known.output.bytes().into_owned();
        bytes.extend_from_slice(&target.output.bytes());
        known.output = super::json::wire::Text::new(&bytes);
    }
}

fn add_grant(grants: &mut Vec<Grant>, grant: Grant) {
    match grants.iter_mut().find(|known| known.id == grant.id && known.place == grant.place) {
        Some(known) => known.uses = known.uses.saturating_add(grant.uses),
        None => grants.push(grant),
    }
}

fn add_violation(violations: &mut Vec<Violation>, violation: Violation) {
    let same = |known: &&mut Violation| known.test == violation.test && known.same_place(&violation);
    match violations.iter_mut().find(same) {
        Some(known) => known.count = known.count.saturating_add(violation.count),
        None => violations.push(violation),
    }
}

/// A test may be there once.
fn check_tests(targets: &[Target]) -> Result<(), MergeError> {
    let mut seen = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        for test in &target.tests {
            // Targets were united, so two of the same binary only come of different kinds.
            if !seen.insert((index, &test.binary, &test.name)) {
                return Err(MergeError::SameTest { binary: test.binary.clone(), name: test.name.clone() });
            }
        }
    }
    Ok(())
}

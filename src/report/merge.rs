//! `report merge`: the reports of a run that was split over several machines (`--partition`) as
//! one. Uses of grants are added, tests are put together, violations are united, and only then is
//! it known which grants nothing used.

use super::escape;
use super::json::Report;
use super::json::wire::{Grant, GrantPlace, Kernel, Outcome, Target, Test, TestVerdict, Verdict, Violation};
use crate::exit_status::ExitStatus;
use std::collections::{BTreeMap, BTreeSet};

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

/// Merges the reports of shards. The verdict is the worst one, by their own words and by what is in them;
/// that grants are unused is for the whole to say, so 79 stays only if a shard had it and something is
/// still unused.
pub fn merge(reports: Vec<Report>) -> Result<Report, MergeError> {
    let of = reports.len();
    let milder: Vec<String> =
        reports.iter().enumerate().filter_map(|(index, report)| too_mild(index + 1, of, report)).collect();
    let mut reports = reports.into_iter();
    let mut merged = reports.next().ok_or(MergeError::Empty)?;
    let mut denies_unused = merged.status() == ExitStatus::Unused;
    let mut status = without_unused(merged.status().or(of_contents(&merged)));
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
        status = status.or(without_unused(report.status().or(of_contents(&report))));
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
    merged.notes.extend(milder);
    check_tests(&merged.targets)?;
    merged.recount();
    merged.set_status(status);
    if denies_unused {
        merged.deny_unused();
    }
    Ok(merged)
}

/// What is said of a report whose own word is milder than what is in it.
fn too_mild(number: usize, of: usize, report: &Report) -> Option<String> {
    let (own, contents) = (report.status(), of_contents(report));
    let word = |status: ExitStatus| Verdict::from(status).word();
    (own.or(contents) != own).then(|| {
        let (own, contents) = (word(own), word(contents));
        format!("report {number} of {of} says `{own}`, but what is in it is `{contents}`, and that counts")
    })
}

/// The status that the contents of a report stand for, whatever its verdict says. What ended the command
/// before anything ran is not among them, and neither is whether unused grants were to be denied.
pub fn of_contents(report: &Report) -> ExitStatus {
    let violated = |violations: &[Violation]| {
        let counts = !report.audit && violations.iter().any(|violation| !violation.allowed);
        if counts { ExitStatus::Violation } else { ExitStatus::Success }
    };
    let mut status = ExitStatus::Success;
    for target in &report.targets {
        status = status.or(target.outcome.as_ref().map_or(ExitStatus::Success, of_outcome));
        status = status.or(violated(&target.violations));
        for test in &target.tests {
            status = status.or(of_test(test, target.kind == DOC)).or(violated(&test.violations));
        }
    }
    status
}

/// The kind of the target of doc tests.
const DOC: &str = "doc";
/// Why a test was not run that was still to come when the command was interrupted.
const INTERRUPTED: &str = "interrupted";

fn of_outcome(outcome: &Outcome) -> ExitStatus {
    match outcome {
        Outcome::Exited { status: 0 } => ExitStatus::Success,
        Outcome::Exited { status } => ExitStatus::Guest(*status as u8),
        Outcome::Panicked {} => ExitStatus::Failed,
        Outcome::Trapped { .. } | Outcome::Limit { .. } | Outcome::Killed { .. } => ExitStatus::Trapped,
        Outcome::TimedOut { .. } => ExitStatus::TimedOut,
        Outcome::Interrupted {} => ExitStatus::Interrupted,
    }
}

/// A test that was to panic may have ended in any way that rustdoc takes for a panic, so of a doc test it
/// is not looked at how it ended.
fn of_test(test: &Test, doc: bool) -> ExitStatus {
    let ended = test.outcome.as_ref().map(|outcome| match of_outcome(outcome) {
        ExitStatus::Guest(_) => ExitStatus::Failed,
        other => other,
    });
    match test.verdict {
        TestVerdict::NotRun if test.reason == INTERRUPTED => ExitStatus::Interrupted,
        TestVerdict::Ignored | TestVerdict::NotRun => ExitStatus::Success,
        // No test passes that did not come to its own end.
        TestVerdict::Passed | TestVerdict::Flaky => match &test.outcome {
            Some(Outcome::TimedOut { .. }) if !doc => ExitStatus::TimedOut,
            Some(Outcome::Limit { .. } | Outcome::Killed { .. }) if !doc => ExitStatus::Failed,
            Some(Outcome::Interrupted {}) => ExitStatus::Interrupted,
            _ => ExitStatus::Success,
        },
        TestVerdict::Failed | TestVerdict::Killed => match &test.outcome {
            Some(Outcome::Interrupted {}) => ExitStatus::Interrupted,
            _ => ExitStatus::Failed,
        },
        TestVerdict::Violated if test.passed == Some(true) => ExitStatus::Violation,
        TestVerdict::Violated => ExitStatus::Violation.or(ended.unwrap_or(ExitStatus::Success)),
        TestVerdict::TimedOut => ExitStatus::TimedOut,
    }
}

fn without_unused(status: ExitStatus) -> ExitStatus {
    if status == ExitStatus::Unused { ExitStatus::Success } else { status }
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
    let least = |one: Option<u32>, other: Option<u32>| one.zip(other).map(|(one, other)| one.min(other));
    kernel.landlock_abi = least(kernel.landlock_abi, other.landlock_abi);
    kernel.landlock_kernel_abi = least(kernel.landlock_kernel_abi, other.landlock_kernel_abi);
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
    add_grants(&mut known.grants, target.grants);
    add_violations(&mut known.violations, target.violations);
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

fn add_grants(grants: &mut Vec<Grant>, new: Vec<Grant>) {
    let mut places: BTreeMap<(u32, GrantPlace), usize> = BTreeMap::new();
    for (at, grant) in grants.iter().enumerate() {
        places.entry((grant.id, grant.place.clone())).or_insert(at);
    }
    for grant in new {
        let at = *places.entry((grant.id, grant.place.clone())).or_insert(grants.len());
        match grants.get_mut(at) {
            Some(known) => known.uses = known.uses.saturating_add(grant.uses),
            None => grants.push(grant),
        }
    }
}

fn add_violations(violations: &mut Vec<Violation>, new: Vec<Violation>) {
    let all: Vec<Violation> = violations.drain(..).chain(new).collect();
    let mut places = BTreeMap::new();
    let mut counts: Vec<(usize, u64)> = Vec::new();
    for (at, violation) in all.iter().enumerate() {
        let place = *places.entry((violation.test.as_ref(), violation.key())).or_insert(counts.len());
        match counts.get_mut(place) {
            Some((_, count)) => *count = count.saturating_add(violation.count),
            None => counts.push((at, violation.count)),
        }
    }
    drop(places);
    let mut counts = counts.into_iter().peekable();
    for (at, violation) in all.into_iter().enumerate() {
        if let Some((_, count)) = counts.next_if(|(first, _)| *first == at) {
            violations.push(Violation { count, ..violation });
        }
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

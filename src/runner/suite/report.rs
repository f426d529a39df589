//! From what happened in the tests of one artifact to its part of the report.

use super::super::attribute::{self, Attribution, grant_uses};
use super::super::run::{self, FindPackages};
use super::job::Suite;
use super::listing::Listed;
use super::schedule::{Done, Planned};
use crate::cargo::owner::Packages;
use crate::event::{GuestOutcome, TargetReport, TestReport, TestVerdict, Violation};
use crate::worker::supervisor::{Observed, Symboliser};
use sandbox_policy as policy;
use sandbox_policy::access::{GrantId, RawFrame, RawViolation, Resource};
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use sandbox_policy::{Bindings, Decider, Policy, Scope, TargetKind, case_matches};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is needed to put a target's report together.
pub(super) struct Reporting<'a, 'p> {
    pub(super) suite: &'a Suite<'a>,
    pub(super) planned: &'a [Planned],
    /// Tests were run, so that a grant which nothing used is one that none of them needs.
    pub(super) whole: bool,
    pub(super) union: &'a Policy,
    /// What an audit lets through.
    pub(super) envelope: Option<&'a Decider>,
    pub(super) symboliser: &'a mut Symboliser,
    pub(super) packages: &'a mut Option<Packages>,
    pub(super) find_packages: &'a mut FindPackages<'p>,
}

impl Reporting<'_, '_> {
    /// The report of the artifact's tests, and of what it did while it listed them.
    pub(super) fn report(
        mut self,
        mut done: Vec<Done>,
        listed: &Listed,
        mut notes: Vec<Diagnostic>,
        duration: Duration,
    ) -> TargetReport {
        let violations = self.attribute(&mut done, listed, &mut notes);
        let sum = Sum::of(&done, &listed.observed);
        notes.extend(attribute::run_notes("", sum.overflow, &[]));
        notes.extend(sum.limits.iter().map(|(limit, by)| limit_note(limit, by)));
        let uses = sum.uses;
        let mut applied = self.union.clone();
        applied.grants.retain(|grant| {
            let applies = match &grant.scope {
                _ if !self.whole => false,
                Scope::Case { name, .. } => {
                    self.planned.iter().any(|one| !one.skipped && case_matches(name, &one.id.name))
                }
                _ => true,
            };
            applies || uses.contains_key(&grant.id)
        });
        let subject = &self.suite.subject;
        TargetReport {
            duration,
            grants: grant_uses(&applied, &uses, &subject.places.workspace),
            violations,
            tests: done.into_iter().map(|done| done.report).collect(),
            notes,
            ..subject.target(&self.suite.target, &self.suite.cargo_kind, &self.suite.artifact).report()
        }
    }

    /// Finds the symbols of all tests' violations in one go. Returns those of the listing.
    fn attribute(
        &mut self,
        done: &mut [Done],
        listed: &Listed,
        notes: &mut Vec<Diagnostic>,
    ) -> Vec<Violation> {
        let listing = &listed.observed.violations;
        let any = done.iter().any(|done| !done.observed.violations.is_empty() || !done.backtrace.is_empty());
        if !any && listing.is_empty() {
            return Vec::new();
        }
        let subject = &self.suite.subject;
        let packages = self.packages.get_or_insert_with(|| (self.find_packages)());
        let workspace = &subject.places.workspace;
        let (manifest, audit) = (subject.manifest.clone(), self.envelope.is_some());
        let mut attribution = Attribution::new(subject.policy, manifest, workspace, packages, audit);
        let of_tests = done.iter().flat_map(|done| {
            let violations = done.observed.violations.iter();
            violations.map(|(raw, _)| attribute::stack(raw)).chain([&done.backtrace[..]])
        });
        let of_listing = listing.iter().map(|(raw, _)| attribute::stack(raw));
        let symboliser = &mut self.symboliser;
        attribution.learn(of_tests.chain(of_listing), &mut |frames: &[RawFrame]| {
            symboliser.symbolise(frames).unwrap_or_else(|warning| {
                notes.push(warning);
                Vec::new()
            })
        });
        let in_words = |raw: &RawViolation, count: u64, test: Option<&str>, tmps: &[PathBuf], mounted| {
            let tmp = tmp_of(&raw.access.resource, tmps).map(Path::to_owned);
            let bind = Bindings { tmp, current_dir: self.suite.current_dir.clone() };
            let (kind, name) = (TargetKind::Test, &*self.suite.target);
            let target = policy::Target { kind, name, test, bind: &bind, mounted };
            run::explained(subject, &attribution, self.envelope, (raw, count), &target)
        };
        for Done { report, observed, tmps, backtrace } in &mut *done {
            let name = report.id.name.clone();
            report.violations = observed
                .violations
                .iter()
                .map(|(raw, count)| in_words(raw, *count, Some(&name), tmps, &observed.mounted))
                .collect();
            if !backtrace.is_empty()
                && let (Some(outcome), Some(origin)) =
                    (&report.outcome, attribution.origin(&attribution.frames(backtrace)))
            {
                let mut note = attribute::trap_note(outcome, &origin);
                note.message = format!("`{name}`: {}", note.message);
                notes.push(note);
            }
        }
        let mounted = &listed.observed.mounted;
        let of_listing =
            listing.iter().map(|(raw, count)| in_words(raw, *count, None, &listed.tmps, mounted));
        let mut of_listing: Vec<Violation> = of_listing.collect();
        let tests = done.iter().flat_map(|done| &done.report.violations);
        let in_tests: HashSet<_> = tests.map(|one| (&one.access, &one.origin)).collect();
        for violation in &mut of_listing {
            // What a test does too is told as one with that; its phase is news only where none does it.
            if !in_tests.contains(&(&violation.access, &violation.origin)) {
                run::add_note(&mut violation.note, Some("while it listed its tests".to_owned()));
            }
        }
        of_listing
    }

    /// A test that was not tried, with the reason.
    pub(super) fn untried(planned: &Planned, verdict: TestVerdict, reason: &str) -> TestReport {
        TestReport {
            id: planned.id.clone(),
            verdict,
            outcome: None,
            duration: Duration::ZERO,
            attempts: 1,
            violations: Vec::new(),
            output: Vec::new(),
            reason: reason.to_owned(),
        }
    }
}

/// What was observed in all phases together, besides the violations.
#[derive(Default)]
struct Sum<'a> {
    overflow: u64,
    uses: BTreeMap<GrantId, u64>,
    /// The tests in which each limit was reached; `None` for the listing.
    limits: BTreeMap<&'a str, Vec<Option<&'a str>>>,
}

impl<'a> Sum<'a> {
    fn of(done: &'a [Done], listing: &'a Observed) -> Self {
        let mut sum = Self::default();
        let tests = done.iter().map(|done| (Some(&done.report), &done.observed));
        for (test, observed) in tests.chain([(None, listing)]) {
            // Each has its own violations and its own view. Without `..`: a new field is to be thought of.
            let Observed { violations: _, mounted: _, overflow, uses, limits } = observed;
            sum.overflow = sum.overflow.saturating_add(*overflow);
            for (grant, count) in uses {
                let known = sum.uses.entry(*grant).or_default();
                *known = known.saturating_add(*count);
            }
            for limit in limits {
                let ended = test.and_then(|test| test.outcome.as_ref());
                // That is said with the test.
                if !matches!(ended, Some(GuestOutcome::Limit(by)) if by == limit) {
                    sum.limits.entry(limit).or_default().push(test.map(|test| &*test.id.name));
                }
            }
        }
        sum
    }
}

/// Where a limit was reached that ended no test.
fn limit_note(limit: &str, by: &[Option<&str>]) -> Diagnostic {
    let mut places: Vec<String> = by
        .iter()
        .take(3)
        .map(|test| test.map_or("its listing".to_owned(), |test| format!("`{test}`")))
        .collect();
    if by.len() > places.len() {
        places.push(format!("{} more", by.len() - places.len()));
    }
    let message = format!("the limit `{limit}` was reached in {}", places.join(", "));
    Diagnostic::new(Severity::Note, "", message)
}

/// The private directory that an access was in, or else the last one.
fn tmp_of<'a>(resource: &Resource, tmps: &'a [PathBuf]) -> Option<&'a Path> {
    let path = Path::new(OsStr::from_bytes(resource.bytes()));
    let inside = tmps.iter().find(|tmp| path.starts_with(tmp));
    inside.or(tmps.last()).map(PathBuf::as_path)
}

/// Calls that can never reach the host, said once for an artifact that has a failed test: std's own
/// harness contains the same calls.
pub(super) fn unsupported(notes: Vec<Diagnostic>, failed: bool) -> Vec<Diagnostic> {
    if failed {
        notes.into_iter().filter(|note| note.severity == Severity::Note).collect()
    } else {
        Vec::new()
    }
}

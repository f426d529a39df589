//! From what happened in the tests of one artifact to its part of the report.

use super::super::attribute::{self, Attribution, grant_uses};
use super::super::envelope::let_through;
use super::super::run::{self, FindPackages};
use super::Suite;
use super::schedule::{Done, Planned, State};
use crate::access::{RawFrame, RawViolation};
use crate::build::owner::Packages;
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::{TargetReport, TestReport, TestVerdict, Violation};
use crate::policy::{self, Bindings, Decider, Policy, Scope, TargetKind, case_matches};
use crate::worker::Symboliser;
use std::path::PathBuf;
use std::time::Duration;

/// What is needed to put a target's report together.
pub(super) struct Summing<'a, 'p> {
    pub(super) suite: &'a Suite<'a>,
    pub(super) planned: &'a [Planned],
    pub(super) union: &'a Policy,
    /// What an audit lets through.
    pub(super) envelope: Option<&'a Decider>,
    pub(super) symboliser: &'a mut Symboliser,
    pub(super) packages: &'a mut Option<Packages>,
    pub(super) find_packages: &'a mut FindPackages<'p>,
}

impl Summing<'_, '_> {
    /// The report; `listing` is what the artifact touched while it listed its tests.
    pub(super) fn report(
        mut self,
        state: State,
        listing: &[(RawViolation, u64)],
        mut notes: Vec<Diagnostic>,
        duration: Duration,
    ) -> TargetReport {
        let State { mut done, uses, .. } = state;
        let violations = self.attribute(&mut done, listing, &mut notes);
        let overflow = done.iter().map(|done| done.overflow).sum();
        notes.extend(attribute::run_notes("", overflow, &[]));
        let mut applied = self.union.clone();
        applied.grants.retain(|grant| match &grant.scope {
            Scope::Case { name, .. } => {
                self.planned.iter().any(|one| !one.skipped && case_matches(name, &one.id.name))
            }
            _ => true,
        });
        let subject = &self.suite.subject;
        TargetReport {
            package: subject.package.clone(),
            version: subject.version.clone(),
            name: self.suite.target.clone(),
            kind: self.suite.cargo_kind.clone(),
            artifact: self.suite.artifact.clone(),
            wasi: "p1".to_owned(),
            duration,
            outcome: None,
            grants: grant_uses(&applied, &uses, &subject.places.workspace),
            violations,
            tests: done.into_iter().map(|done| done.report).collect(),
            notes,
            output: Vec::new(),
        }
    }

    /// Finds the symbols of all tests' violations in one go. Returns those of the listing.
    fn attribute(
        &mut self,
        done: &mut [Done],
        listing: &[(RawViolation, u64)],
        notes: &mut Vec<Diagnostic>,
    ) -> Vec<Violation> {
        let any = done.iter().any(|done| !done.violations.is_empty() || !done.backtrace.is_empty());
        if !any && listing.is_empty() {
            return Vec::new();
        }
        let subject = &self.suite.subject;
        let packages = self.packages.get_or_insert_with(|| (self.find_packages)());
        let workspace = &subject.places.workspace;
        let (manifest, audit) = (subject.manifest.clone(), self.envelope.is_some());
        let mut attribution = Attribution::new(subject.policy, manifest, workspace, packages, audit);
        let of_tests = done.iter().flat_map(|done| {
            done.violations.iter().map(|(raw, _)| &raw.backtrace[..]).chain([&done.backtrace[..]])
        });
        let of_listing = listing.iter().map(|(raw, _)| &raw.backtrace[..]);
        let symboliser = &mut self.symboliser;
        attribution.learn(of_tests.chain(of_listing), &mut |frames: &[RawFrame]| {
            symboliser.symbolise(frames).unwrap_or_else(|warning| {
                notes.push(warning);
                Vec::new()
            })
        });
        let in_words = |raw: &RawViolation, count: u64, test: Option<&str>, tmp: Option<PathBuf>, saw_tmp| {
            let bind = Bindings { tmp, current_dir: self.suite.current_dir.clone() };
            let (kind, name) = (TargetKind::Test, &*self.suite.target);
            let target = policy::Target { kind, name, test, bind: &bind, saw_tmp };
            let (suggestion, note) = run::suggestion(subject, &raw.access, &target, raw.exception.is_some());
            let mut violation = attribution.violation(raw, count, test, suggestion);
            run::add_note(&mut violation.note, note);
            violation.allowed = self.envelope.is_some_and(|all| let_through(all, raw));
            violation
        };
        for Done { report, violations, tmp, backtrace, saw_tmp, .. } in &mut *done {
            let name = report.id.name.clone();
            report.violations = violations
                .iter()
                .map(|(raw, count)| in_words(raw, *count, Some(&name), tmp.clone(), *saw_tmp))
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
        listing.iter().map(|(raw, count)| in_words(raw, *count, None, None, false)).collect()
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

/// Calls that can never reach the host, said once for an artifact that has a failed test: std's own
/// harness contains the same calls.
pub(super) fn stuck(notes: Vec<Diagnostic>, failed: bool) -> Vec<Diagnostic> {
    if failed {
        notes.into_iter().filter(|note| note.severity == Severity::Note).collect()
    } else {
        Vec::new()
    }
}

//! `--junit FILE`: tests as every CI reads them. A run that is not one of tests has one test case
//! per target; a failure that no test shows has a case of its own, so that a file without a failure
//! always means a verdict without one.

use super::json::Report;
use super::json::wire::{Outcome, Target, Test, TestVerdict, Verdict, Violation};
use super::{Reporter, dedup, escape, render, summary};
use crate::event;
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};
use std::io::{self, Write};
use std::time::Duration;

/// Writes JUnit at the end.
#[derive(Debug)]
pub struct Junit<W: Write> {
    out: W,
}

impl<W: Write> Junit<W> {
    /// A reporter that writes one file to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Reporter for Junit<W> {
    fn event(&mut self, _event: &event::RunEvent) {}

    fn finish_wire(&mut self, report: &Report) -> io::Result<()> {
        write(report, &mut self.out)
    }
}

/// Writes a report, which may be a merged one, as JUnit.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut junit = quick_junit::Report::new("cargo-sandbox");
    junit.set_time(Duration::from_micros(report.duration_us));
    let mut suites: Vec<(String, TestSuite)> = Vec::new();
    for target in &report.targets {
        let cases = match target.tests.as_slice() {
            [] if target.outcome.is_none() && target.violations.is_empty() => Vec::new(),
            [] => vec![(name_of(target), case_of_run(target))],
            tests => {
                let mut cases: Vec<_> = tests
                    .iter()
                    .map(|test| (escape::line(&test.binary).into_owned(), case_of_test(test)))
                    .collect();
                if !target.violations.is_empty() {
                    cases.push((name_of(target), case_of_run(target)));
                }
                cases
            }
        };
        for (name, case) in cases {
            match suites.iter_mut().find(|(suite, _)| *suite == name) {
                Some((_, suite)) => _ = suite.add_test_case(case),
                None => {
                    let mut suite = TestSuite::new(&name);
                    suite.set_time(Duration::from_micros(target.duration_us));
                    suite.add_test_case(case);
                    suites.push((name, suite));
                }
            }
        }
    }
    let mut whole = TestSuite::new("cargo-sandbox");
    whole.add_property(Property::new("verdict", report.verdict.word()));
    whole.add_property(Property::new("exit-status", report.exit_status.to_string()));
    let shown = suites.iter().any(|(_, suite)| suite.failures + suite.errors > 0);
    if report.exit_status != 0 && !shown {
        let mut status = TestCaseStatus::non_success(match report.verdict {
            Verdict::Exited | Verdict::Unused | Verdict::Gained | Verdict::Failed => NonSuccessKind::Failure,
            _ => NonSuccessKind::Error,
        });
        status.set_type(report.verdict.word());
        status.set_message(summary::facts(report));
        whole.add_test_case(TestCase::new(escape::line(&report.command), status));
    }
    junit.add_test_suite(whole);
    junit.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    junit.serialize(&mut *out).map_err(io::Error::other)?;
    out.flush()
}

fn name_of(target: &Target) -> String {
    format!(
        "{}::{}/{}",
        escape::line(&target.package),
        escape::line(&target.kind),
        escape::line(&target.name)
    )
}

fn case_of_run(target: &Target) -> TestCase {
    let ended_badly = match &target.outcome {
        None => None,
        Some(Outcome::Exited { status: 0 }) => None,
        Some(Outcome::Exited { status }) => Some(format!("exit status {status}")),
        Some(Outcome::Panicked {}) => Some("panicked".to_owned()),
        Some(Outcome::Trapped { trap }) => Some(format!("trapped: {trap}")),
        Some(Outcome::Limit { limit }) => Some(format!("limit of {limit}")),
        Some(Outcome::TimedOut { .. }) => Some("timed out".to_owned()),
        Some(Outcome::Killed { signal }) => Some(format!("killed by signal {signal}")),
        Some(Outcome::Interrupted {}) => Some("interrupted".to_owned()),
    };
    let violations: Vec<_> = target.violations.iter().filter(|violation| !violation.allowed).collect();
    let status = match ended_badly {
        _ if !violations.is_empty() => violated(violations),
        Some(end) => failure(NonSuccessKind::Failure, "failed", &end, ""),
        None => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(escape::line(&target.name), status);
    case.set_time(Duration::from_micros(target.duration_us));
    set_output(&mut case, &target.output.bytes());
    case
}

fn case_of_test(test: &Test) -> TestCase {
    let status = match test.verdict {
        TestVerdict::Passed => TestCaseStatus::success(),
        TestVerdict::Flaky => {
            let mut status = TestCaseStatus::success();
            let mut rerun = quick_junit::TestRerun::new(NonSuccessKind::Failure);
            rerun.set_message(format!("passed at attempt {}", test.attempts));
            status.add_rerun(rerun);
            status
        }
        TestVerdict::Failed => failure(NonSuccessKind::Failure, "failed", "the test failed", &test.reason),
        TestVerdict::Violated => violated(&test.violations),
        TestVerdict::TimedOut => failure(NonSuccessKind::Error, "timed-out", "timed out", &test.reason),
        TestVerdict::Killed => failure(NonSuccessKind::Error, "killed", "killed", &test.reason),
        TestVerdict::Ignored => skipped("ignored", &test.reason),
        TestVerdict::NotRun => skipped("not run", &test.reason),
    };
    let mut case = TestCase::new(escape::line(&test.name), status);
    case.set_classname(escape::line(&test.binary));
    case.set_time(Duration::from_micros(test.duration_us));
    set_output(&mut case, &test.output.bytes());
    case
}

fn set_output(case: &mut TestCase, output: &[u8]) {
    if !output.is_empty() {
        // Both streams, in order.
        case.set_system_out(escape::block(output));
    }
}

fn violated<'v>(violations: impl IntoIterator<Item = &'v Violation>) -> TestCaseStatus {
    let distinct = dedup::violations(violations);
    let titles: Vec<_> = distinct.iter().map(|distinct| render::title(distinct.violation)).collect();
    let renderer = render::renderer(false);
    let texts: Vec<_> = distinct.iter().map(|distinct| render::violation(distinct, &renderer)).collect();
    let mut status = failure(NonSuccessKind::Failure, "violated", &titles.join("; "), "");
    status.set_description(texts.join("\n"));
    status
}

fn failure(kind: NonSuccessKind, ty: &str, message: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(ty);
    status.set_message(with_reason(message, reason));
    status
}

fn skipped(message: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(with_reason(message, reason));
    status
}

fn with_reason(message: &str, reason: &str) -> String {
    let separator = if reason.is_empty() { "" } else { ": " };
    format!("{}{separator}{}", escape::line(message), escape::line(reason))
}

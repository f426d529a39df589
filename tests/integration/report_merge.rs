//! Reports of a split run, as one.

use crate::report_samples::formats::{check_report, named, xml_elements};
use crate::report_samples::*;
use cargo_sandbox::event::{GrantUse, GuestOutcome, Report, TargetReport, TestReport, TestVerdict};
use cargo_sandbox::exit_status::ExitStatus;
use cargo_sandbox::report::json::{self, ReadError};
use cargo_sandbox::report::merge::{self, MergeError, merge};
use cargo_sandbox::report::{Reporter, human, junit};
use cargo_sandbox::runner::verdict;
use proptest::prelude::*;
use std::time::Duration;

/// A shard of `sandbox-test` with the uses of the two grants.
fn shard(status: ExitStatus, tests: Vec<TestReport>, uses: [u64; 2]) -> Report {
    let mut report = self::tests(status, tests);
    report.targets[0].grants = vec![
        GrantUse { id: 0, place: place(6, "input.txt"), by: Vec::new(), uses: uses[0] },
        GrantUse { id: 1, place: place(7, "assets/*.json"), by: Vec::new(), uses: uses[1] },
    ];
    report
}

fn wire(reports: &[Report]) -> Vec<json::Report> {
    reports.iter().map(Into::into).collect()
}

#[test]
fn uses_add_up_and_tests_are_put_together() {
    let shards = [
        shard(ExitStatus::Success, vec![test("a", TestVerdict::Passed)], [3, 0]),
        shard(ExitStatus::Violation, vec![test("b", TestVerdict::Violated { passed: true })], [0, 0]),
        shard(
            ExitStatus::Failed,
            vec![test("c", TestVerdict::Failed), test("d", TestVerdict::Violated { passed: false })],
            [1, 0],
        ),
    ];
    let merged = merge(wire(&shards)).expect("they go together");
    assert_eq!(merged.targets.len(), 1);
    assert_eq!(merged.targets[0].grants.iter().map(|grant| grant.uses).collect::<Vec<_>>(), [4, 0]);
    assert_eq!(merged.unused.iter().map(|grant| grant.place.line).collect::<Vec<_>>(), [7]);
    let names: Vec<_> = merged.targets[0].tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!((merged.counts.passed, merged.counts.failed, merged.counts.violated), (1, 1, 2));
    assert_eq!(merged.counts.violations, 1, "the same access from the same place");
    assert_eq!((merged.verdict, merged.exit_status), (json::wire::Verdict::Violated, 77));
    assert_eq!(merged.duration_us, 3 * 35_000);

    let mut text = Vec::new();
    json::write(&merged, &mut text).expect("written");
    check_report(std::str::from_utf8(&text).expect("UTF-8"));
    assert_eq!(json::read(&text).expect("read back"), merged);

    let mut text = Vec::new();
    junit::write(&merged, &mut text).expect("written");
    let elements = xml_elements(std::str::from_utf8(&text).expect("UTF-8"));
    assert_eq!(named(&elements, "testcase").len(), 4);
    assert_eq!(named(&elements, "failure").len(), 3);
}

#[test]
fn the_verdict_is_the_worst_in_any_order() {
    for one in STATUSES {
        for other in STATUSES.into_iter().filter(|other| *other != ExitStatus::Unused) {
            let reports = |one, other| {
                wire(&[
                    shard(one, vec![test("a", TestVerdict::Passed)], [1, 1]),
                    shard(other, vec![test("b", TestVerdict::Passed)], [1, 1]),
                ])
            };
            let expected = if one == ExitStatus::Unused { other } else { one.or(other) };
            for (one, other) in [(one, other), (other, one)] {
                let merged = merge(reports(one, other)).expect("they go together");
                assert_eq!(merged.verdict, expected.into(), "{one:?} {other:?}");
                if !matches!((one, other), (ExitStatus::Guest(_), ExitStatus::Guest(_))) {
                    assert_eq!(merged.exit_status, expected.code(), "{one:?} {other:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_unused_is_for_the_whole_to_say() {
    let shards = |uses| {
        wire(&[
            shard(ExitStatus::Unused, vec![test("a", TestVerdict::Passed)], [1, 0]),
            shard(ExitStatus::Unused, vec![test("b", TestVerdict::Passed)], uses),
        ])
    };
    let merged = merge(shards([0, 1])).expect("they go together");
    assert_eq!((merged.unused.len(), merged.exit_status), (0, 0));
    let mut merged = merge(shards([1, 0])).expect("they go together");
    assert_eq!((merged.unused.len(), merged.exit_status), (1, 79));
    merged.set_status(ExitStatus::Success);
    merged.deny_unused();
    assert_eq!(merged.exit_status, 79);
    merged.set_status(ExitStatus::Violation);
    merged.deny_unused();
    assert_eq!(merged.exit_status, 77);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let one = || shard(ExitStatus::Success, vec![test("a", TestVerdict::Passed)], [1, 1]);
    assert_eq!(merge(vec![]), Err(MergeError::Empty));
    let twice = MergeError::SameTest { binary: "bytes::test_buf".to_owned(), name: "a".to_owned() };
    assert_eq!(merge(wire(&[one(), one()])), Err(twice));
    let audit = Report { audit: true, ..shard(ExitStatus::Success, vec![], [0, 0]) };
    assert_eq!(merge(wire(&[one(), audit])), Err(MergeError::Audit));
    assert!(matches!(merge(wire(&[one(), run(ExitStatus::Success, vec![])])), Err(MergeError::Command(..))));
    let mut old = wire(&[shard(ExitStatus::Success, vec![], [0, 0])]);
    old[0].tool.version = "0.0.1".to_owned();
    old.extend(wire(&[one()]));
    assert!(matches!(merge(old), Err(MergeError::Version(..))));
}

#[test]
fn the_kernel_is_the_weakest_one() {
    let mut weak = shard(ExitStatus::Success, vec![test("b", TestVerdict::Passed)], [1, 1]);
    weak.kernel.landlock_abi = Some(2);
    weak.kernel.enforced = vec!["READ_FILE".to_owned()];
    weak.kernel.missing = vec!["TRUNCATE".to_owned()];
    weak.kernel.seccomp = false;
    let strong = shard(ExitStatus::Success, vec![test("a", TestVerdict::Passed)], [1, 1]);
    let merged = merge(wire(&[strong, weak])).expect("they go together");
    assert_eq!(merged.kernel.landlock_abi, Some(2));
    assert_eq!(merged.kernel.enforced, ["READ_FILE"]);
    assert_eq!(merged.kernel.missing, ["TRUNCATE"]);
    assert!(!merged.kernel.seccomp);
}

#[test]
fn runs_of_one_binary_stay_apart() {
    let merged = merge(wire(&[run(ExitStatus::Success, vec![]), run(ExitStatus::Guest(3), vec![])]))
        .expect("they go together");
    assert_eq!(merged.targets.len(), 2);
    let targets = |report: &Report| -> Vec<TargetReport> { report.targets.clone() };
    assert_eq!(targets(&run(ExitStatus::Success, vec![])).len(), 1);
    assert_eq!(merged.exit_status, 3);
}

#[test]
fn only_whole_reports_of_this_version_are_read() {
    let report = json::Report::from(&tests(ExitStatus::Failed, vec![test("a", TestVerdict::Failed)]));
    let mut value = serde_json::to_value(&report).expect("JSON");
    assert!(json::read(value.to_string().as_bytes()).is_ok());
    value["exit_status"] = 0.into();
    assert!(matches!(json::read(value.to_string().as_bytes()), Err(ReadError::Contradiction)));
    value["exit_status"] = 101.into();
    value["targets"][0]["more"] = 1.into();
    assert!(matches!(json::read(value.to_string().as_bytes()), Err(ReadError::Malformed(_))));
    value["schema_version"] = 2.into();
    assert!(matches!(json::read(value.to_string().as_bytes()), Err(ReadError::Version(Some(2)))));
    assert!(matches!(json::read(b"{}"), Err(ReadError::Version(None))));
    assert!(matches!(json::read(b"[1]"), Err(ReadError::Malformed(_))));
    let deep = "[".repeat(100_000);
    assert!(matches!(json::read(deep.as_bytes()), Err(ReadError::Malformed(_))));
}

/// Contents of every kind, by number: an outcome, or a test with a verdict, an outcome and violations.
fn contents(choice: u32) -> Report {
    use GuestOutcome as O;
    let outcomes = [
        None,
        Some(O::Exited(0)),
        Some(O::Exited(3)),
        Some(O::Exited(256)),
        Some(O::Panicked),
        Some(O::Trapped("out of bounds memory access".to_owned())),
        Some(O::Limit("memory".to_owned())),
        Some(O::TimedOut(Duration::from_secs(1))),
        Some(O::Killed(9)),
        Some(O::Interrupted),
    ];
    let verdicts = [
        TestVerdict::Passed,
        TestVerdict::Flaky,
        TestVerdict::Failed,
        TestVerdict::Violated { passed: true },
        TestVerdict::Violated { passed: false },
        TestVerdict::TimedOut,
        TestVerdict::Killed,
        TestVerdict::Ignored,
        TestVerdict::NotRun,
    ];
    let mut rest = choice;
    let mut next = |of: usize| {
        let one = rest as usize % of;
        rest /= of as u32;
        one
    };
    let outcome = outcomes[next(outcomes.len())].clone();
    let violations = match next(3) {
        0 => Vec::new(),
        1 => vec![violation()],
        _ => vec![cargo_sandbox::event::Violation { allowed: true, ..violation() }],
    };
    let audit = next(4) == 0;
    if next(2) == 0 {
        let mut report = run(ExitStatus::Success, violations);
        report.targets[0].outcome = outcome;
        return Report { audit, ..report };
    }
    let mut test = test("a", verdicts[next(verdicts.len())]);
    (test.outcome, test.violations) = (outcome, violations);
    if next(4) == 0 {
        test.reason = "interrupted".to_owned();
    }
    let kind = ["test", "doc"][next(2)];
    let mut report = tests(ExitStatus::Success, vec![test]);
    report.targets[0].kind = kind.to_owned();
    Report { audit, ..report }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// What a supervisor says of contents is what a merge makes of them, whatever word stands above them.
    #[test]
    fn no_word_above_it_makes_a_report_milder_than_what_is_in_it(choice in any::<u32>(), word in 0..STATUSES.len()) {
        let mut report = contents(choice);
        let true_status = report
            .targets
            .iter()
            .map(|target| verdict::of_target(target, report.audit))
            .fold(ExitStatus::Success, ExitStatus::or);
        report.status = true_status;
        let honest = merge(wire(&[report.clone()])).expect("one goes with itself").status();
        prop_assert_eq!(honest, honest.or(true_status), "at least what the supervisor says");
        report.status = STATUSES[word];
        let merged = merge(wire(&[report.clone()])).expect("one goes with itself");
        let milder = merged.status().or(honest) != merged.status();
        prop_assert!(!milder, "{:?} under {:?} became {:?}", honest, STATUSES[word], merged.status());
        let said = merged.notes.iter().any(|note| note.contains("says `"));
        let own = STATUSES[word];
        prop_assert_eq!(said, own.or(merge::of_contents(&(&report).into())) != own);
    }
}

#[test]
fn a_violation_under_the_word_passed_is_77() {
    let mut report = run(ExitStatus::Violation, vec![violation()]);
    report.status = ExitStatus::Success;
    report.targets[0].outcome = Some(GuestOutcome::Exited(0));
    let other = run(ExitStatus::Success, vec![]);
    for reports in [[report.clone(), other.clone()], [other, report]] {
        let merged = merge(wire(&reports)).expect("they go together");
        assert_eq!(merged.exit_status, 77);
        assert!(
            merged.notes[0].contains("says `passed`, but what is in it is `violated`"),
            "{:?}",
            merged.notes
        );
    }
}

#[test]
fn a_note_is_one_line() {
    let mut report = run(ExitStatus::Success, vec![]);
    report.notes =
        vec!["a note\n::error::forged\n\u{1b}[2Jerror: nothing\r\n   Passed everything".to_owned()];
    let merged = merge(wire(&[report])).expect("one goes with itself");
    let options = human::Options { quiet: true, ..human::Options::default() };
    let mut out = Vec::new();
    human::Human::new(&mut out, options).finish_wire(&merged).expect("written");
    let text = String::from_utf8(out).expect("UTF-8");
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("note: a note\\n::error::forged"), "{text}");
}

//! Very much of anything: a person reads a bounded number of lines with what matters in them, programs get all.

use crate::common::Fixture;
use crate::report_samples::formats::{check_report, github_commands, write};
use crate::report_samples::*;
use cargo_sandbox::event::{Report, RunEvent, TestReport, TestVerdict, Violation};
use cargo_sandbox::exit_status::ExitStatus;
use cargo_sandbox::report::fold::MOST_LINES;
use cargo_sandbox::report::json;
use proptest::prelude::*;
use sandbox_policy::access::{Access, Operation, Resource};
use sandbox_policy::diagnostic::Diagnostic;

fn on(operation: Operation, path: &str) -> Violation {
    let access = Access { operation, resource: Resource::Path(path.as_bytes().to_vec()) };
    Violation { access, ..violation() }
}

/// The same from another place.
fn from(place: u32, package: &str, mut violation: Violation) -> Violation {
    let origin = violation.origin.as_mut().expect("an origin");
    origin.package = package.to_owned();
    origin.frame.line = place;
    violation
}

/// Lines that are ours, and not what tests printed.
fn own_lines(shown: &str) -> Vec<&str> {
    let mut output = false;
    let progress =
        ["PASS [", "FAIL [", "VIOLATED [", "TRY ", "SLOW [", "TIMEOUT [", "KILLED [", "FLAKY [", "NOT RUN ["];
    shown
        .lines()
        .filter(|line| {
            output = line.starts_with("────")
                || (output && !progress.iter().any(|word| line.trim_start().starts_with(word)));
            !output
        })
        .collect()
}

#[test]
fn one_cause_is_one_diagnostic_with_all_its_resources() {
    let all: Vec<Violation> = (0..4000).map(|n| on(Operation::Read, &format!("/data/{n}/x"))).collect();
    let written = write(&[], &run(ExitStatus::Violation, all));
    assert_eq!(written.human.matches("error[fs-read]").count(), 1, "{}", written.human);
    assert!(written.human.contains("= note: and 3999 more below `/data`"), "{}", written.human);
    assert!(written.human.contains("Violated 4000 unexpected accesses"), "{}", written.human);
    assert!(written.human.lines().count() < 30, "{}", written.human);
    // Programs get each.
    let report = check_report(&written.json);
    assert_eq!(report["targets"][0]["violations"].as_array().expect("violations").len(), 4000);
    assert_eq!(written.sarif.matches("\"ruleId\": \"fs-read\"").count(), 4000);
    assert_eq!(github_commands(&written.github).len(), 3, "one cause, one unused grant and the verdict");
}

#[test]
fn a_few_resources_are_named_and_suggested_together() {
    let suggest = |path: &str| {
        let mut violation = on(Operation::Read, path);
        let suggestion = violation.suggestion.as_mut().expect("a suggestion");
        suggestion.paste = format!("[package.metadata.sandbox.fs]\nread = [\"{path}\"]");
        violation
    };
    let written = write(
        &[],
        &run(ExitStatus::Violation, vec![suggest("/a/one"), suggest("/b/two = [x]"), suggest("/c")]),
    );
    for text in [
        "unexpected access: read `/a/one`",
        "= note: also `/b/two = [x]`, `/c`",
        "| [package.metadata.sandbox.fs]\n   | read = [\n   |     \"/a/one\",\n   |     \"/b/two = [x]\",\n   |     \"/c\",\n   | ]\n",
    ] {
        assert!(written.human.contains(text), "`{text}` is not in:\n{}", written.human);
    }
}

#[test]
fn no_flood_hides_another_kind_of_access() {
    let mut all: Vec<Violation> =
        (0..4000).map(|n| from(n, "copy-file", on(Operation::Read, &format!("/data/{n}")))).collect();
    all.push(from(9000, "copy-file", on(Operation::Delete, "/home/me/thesis")));
    all.push(from(9001, "left-pad", on(Operation::Read, "/etc/passwd")));
    let written = write(&[], &run(ExitStatus::Violation, all));
    assert!(written.human.lines().count() <= MOST_LINES, "{}", written.human.lines().count());
    for text in ["delete `/home/me/thesis`", "in left-pad v0.1.0", "more unexpected accesses from"] {
        assert!(written.human.contains(text), "`{text}` is not in:\n{}", written.human);
        assert!(
            github_commands(&written.github).iter().any(|command| command.message.contains(text)),
            "{text}"
        );
    }
    assert!(github_commands(&written.github).len() < 60);
    assert_eq!(written.sarif.matches("\"ruleId\": \"fs-read\"").count(), 4001);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever there is very much of.
    #[test]
    fn a_person_reads_a_bounded_number_of_lines(
        places in 1_u32..600, resources in 1_u32..600, tests in 0_usize..300, of_tests in 0_usize..40,
        messages in 0_usize..300, notes in 0_usize..300, unused in 0_usize..300, printed in 0_usize..3000,
        long in prop_oneof![Just(0_usize), Just(60_000)], verbose in any::<bool>(),
    ) {
        let name = |n: u32| format!("/data/{n}/{}", "x".repeat(long));
        let each = places.max(resources);
        let violations = (0..each).map(|n| from(n % places, "p", on(Operation::Stat, &name(n % resources)))).collect();
        let mut report = run(ExitStatus::Violation, violations);
        report.notes = (0..notes).map(|n| format!("note {n}\n::error::x\n")).collect();
        let target = &mut report.targets[0];
        target.grants[1].by = vec!["krate".to_owned()];
        for n in 0..unused {
            let mut grant = target.grants[1].clone();
            grant.place.line = n as u32 + 10;
            grant.uses = u64::from(n % 2 == 0);
            target.grants.push(grant);
        }
        target.tests = (0..tests)
            .map(|n| {
                let verdict = if n % 2 == 0 { TestVerdict::Violated { passed: false } } else { TestVerdict::Failed };
                TestReport {
                    violations: (0..of_tests).map(|m| on(Operation::List, &name(m as u32))).collect(),
                    output: format!("{n}\n").repeat(printed).into_bytes(),
                    reason: "r\n".repeat(100),
                    ..test(&format!("test {n} {}", "t".repeat(long / 20)), verdict)
                }
            })
            .collect();
        let mut events: Vec<RunEvent> = (0..messages).map(|_| RunEvent::Message(warning())).collect();
        events.push(RunEvent::Message(Diagnostic::error("fault", "the one that matters")));
        events.extend(report.targets[0].tests.iter().cloned().map(RunEvent::TestFinished));
        let shown = human(verbose, &events, &report);
        let own = own_lines(&shown).len();
        // Besides, there is a line for each test as it ends.
        prop_assert!(own <= MOST_LINES + tests, "{own} lines");
        prop_assert!(shown.lines().count() <= MOST_LINES + tests + 1000 + 3 * tests, "{}", shown.lines().count());
        prop_assert!(shown.contains("the one that matters"));
        prop_assert!(shown.lines().all(|line| !line.trim_start().starts_with("::")));
        prop_assert!(shown.contains("error[fs-stat]") && shown.lines().last().is_some_and(|line| line.contains("Violated")));
        prop_assert_eq!(json::Report::from(&report).violations().count(), each as usize + tests * of_tests);
    }
}

#[test]
fn annotations_of_what_was_not_run_are_bounded() {
    let mut report = run(ExitStatus::Success, Vec::new());
    let not_run =
        |n| TestReport { reason: format!("reason {n}"), ..test(&format!("t{n}"), TestVerdict::NotRun) };
    report.targets[0].tests = (0..300).map(not_run).collect();
    let written = write(&[], &report);
    assert_eq!(written.github.matches("title=not run::").count(), 51, "{}", written.github);
    assert!(written.github.contains("250 more reasons"), "{}", written.github);
}

fn human(verbose: bool, events: &[RunEvent], report: &Report) -> String {
    use cargo_sandbox::report::{Reporter, human::Human};
    let mut human =
        Human::new(Vec::new(), cargo_sandbox::report::human::Options { verbose, ..formats::options() });
    events.iter().for_each(|event| human.event(event));
    human.finish(report).expect("a vector can be written to");
    String::from_utf8(std::mem::take(human.get_mut())).expect("UTF-8")
}

/// 60,000 denied paths: a violation, told as far as it fits.
#[test]
fn a_flood_is_a_violation_and_not_a_fault() {
    let source = r#"
        fn main() {
            for n in 0..60_000 {
                let _ = std::fs::read(format!("/denied/{n}"));
            }
            let _ = std::fs::remove_file("/home/thesis");
        }
    "#;
    let fixture = Fixture::copy("copy-file").file("src/main.rs", source);
    let (run, report) = fixture.run_with_report("run", &[], &[]);
    let run = run.expect(77);
    let target = &report["targets"][0];
    let told = target["violations"].as_array().expect("violations");
    assert!((3500..=4096).contains(&told.len()), "{} are told apart", told.len());
    let more = 60_000 + 1 - told.len();
    let note = format!("{more} more unexpected accesses were too many to tell apart");
    assert!(run.stderr.contains("delete `/home/thesis`"), "the last kind of access is told: {}", run.stderr);
    assert!(run.stderr.contains(&note), "{}", run.stderr);
    assert!(run.stderr.lines().count() <= MOST_LINES, "{} lines", run.stderr.lines().count());
}

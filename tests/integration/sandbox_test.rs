//! `cargo sandbox test` over its fixtures: each test has its own verdict, whatever the others do.

use crate::common::fixtures::VERDICTS;
use crate::common::{Fixture, Run, run};
use serde_json::Value;
use std::collections::BTreeMap;

/// Every test of a report: its name and its outcome.
fn outcomes(report: &Value) -> BTreeMap<String, String> {
    let mut outcomes = BTreeMap::new();
    for test in tests(report) {
        let name = test["name"].as_str().expect("a name").to_owned();
        let outcome = test["verdict"].as_str().expect("a verdict").to_owned();
        assert_eq!(outcomes.insert(name.clone(), outcome), None, "`{name}` is in the report twice");
    }
    outcomes
}

fn tests(report: &Value) -> impl Iterator<Item = &Value> {
    let targets = report["targets"].as_array().expect("targets").iter();
    targets.flat_map(|target| target["tests"].as_array().expect("tests"))
}

fn named<'r>(report: &'r Value, name: &str) -> &'r Value {
    tests(report).find(|test| test["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {report:#}"))
}

fn list(fixture: &Fixture, args: &[&str]) -> Vec<String> {
    let mut all = vec!["test"];
    all.extend(args);
    if !args.contains(&"--") {
        all.push("--");
    }
    all.extend(["--list", "--format", "terse"]);
    let Run { stdout, .. } = run(fixture.command(all)).expect(0);
    let name = |line: &str| line.strip_suffix(": test").unwrap_or_else(|| panic!("`{line}`")).to_owned();
    stdout.lines().map(name).collect()
}

#[test]
fn each_way_to_end_has_its_verdict_with_any_number_of_workers() {
    let fixture = Fixture::copy("tests-verdicts");
    let expected: BTreeMap<String, String> =
        VERDICTS.iter().map(|(name, verdict)| (format!("tests::{name}"), (*verdict).to_owned())).collect();
    for workers in ["1", "2", "4"] {
        let (run, report) = fixture.run_with_report("test", &[], &["--test-threads", workers]);
        let run = run.expect(77);
        assert_eq!(outcomes(&report), expected, "with {workers} workers:\n{}", run.stderr);
        let passed = |name: &str| named(&report, &format!("tests::{name}"))["passed"].clone();
        assert_eq!(passed("reads_ungranted_and_passes"), true);
        assert_eq!(passed("reads_ungranted_and_swallows"), true);
        assert_eq!(passed("reads_ungranted_and_fails"), false);
        // Output of tests that failed only, and with it what was printed.
        assert!(run.stderr.contains("printed by a test that fails"), "{}", run.stderr);
        assert!(!run.stderr.contains("printed by a test that passes"), "{}", run.stderr);
        assert_eq!(run.stdout, "", "nothing of ours is for standard output");
    }
}

#[test]
fn each_verdict_alone_is_the_one_it_has_among_others() {
    let fixture = Fixture::copy("tests-verdicts");
    for (name, verdict) in VERDICTS {
        let name = format!("tests::{name}");
        let (run, report) = fixture.run_with_report("test", &[&name], &["--exact"]);
        let status = match *verdict {
            "passed" | "ignored" => 0,
            "violated" => 77,
            "timed-out" => 124,
            _ => 101,
        };
        run.expect(status);
        assert_eq!(outcomes(&report), BTreeMap::from([(name, (*verdict).to_owned())]));
    }
}

#[test]
fn violations_of_tests_name_their_line_and_what_would_allow_them() {
    let fixture = Fixture::copy("tests-verdicts");
    let (_, report) = fixture.run_with_report("test", &["reads_ungranted_and_swallows"], &[]);
    let violation = &named(&report, "tests::reads_ungranted_and_swallows")["violations"][0];
    assert_eq!(violation["operation"], "fs-read");
    assert_eq!(violation["origin"]["package"], "tests-verdicts");
    let line = fixture.line("src/lib.rs", "let _ = fs::read");
    assert_eq!(violation["origin"]["frame"]["line"], line);
    let suggestion = &violation["suggestion"];
    assert_eq!(suggestion["table"], "package.metadata.sandbox.test.fs", "{violation:#}");

    // With a case of its own, the grant belongs there.
    let fixture = fixture.manifest(|text| {
        format!(
            "{text}\n[[package.metadata.sandbox.test.case]]\nname = \"*swallows\"\nfs.stat = [\"/etc\"]\n"
        )
    });
    let (_, report) = fixture.run_with_report("test", &["reads_ungranted_and_swallows"], &[]);
    let violation = &named(&report, "tests::reads_ungranted_and_swallows")["violations"][0];
    assert_eq!(violation["suggestion"]["table"], "package.metadata.sandbox.test.case.fs", "{violation:#}");
}

#[test]
fn tests_that_write_the_same_name_have_directories_of_their_own() {
    let fixture = Fixture::copy("tests-tmp");
    let (run, report) = fixture.run_with_report("test", &[], &["--show-output"]);
    let outcomes = outcomes(&report);
    assert_eq!(outcomes["tests::first_writes_x"], "passed", "{}", run.stderr);
    assert_eq!(outcomes["tests::second_writes_x"], "passed", "{}", run.stderr);
    // It reaches for the others', is refused, and is told on.
    assert_eq!(outcomes["tests::looks_at_its_neighbours"], "violated", "{}", run.stderr);
    let shown: Vec<&str> = run.stderr.lines().filter(|line| line.contains("/cargo-sandbox-")).collect();
    assert!(!shown.is_empty(), "the fixture prints where it wrote:\n{}", run.stderr);
    for line in shown {
        let path = line.split(['`', ' ', '"']).find(|word| word.starts_with('/')).expect("a path");
        assert!(!std::path::Path::new(path).exists(), "`{path}` was left behind");
    }
}

#[test]
fn tests_that_insist_on_tmp_never_meet_there() {
    let fixture = Fixture::copy("tests-as-tmp");
    let (run, report) = fixture.run_with_report("test", &[], &[]);
    let run = run.expect(0);
    assert_eq!(
        outcomes(&report).values().filter(|outcome| **outcome == "passed").count(),
        3,
        "{}",
        run.stderr
    );
    assert!(!std::fs::exists("/tmp/cargo-sandbox-fixture").expect("it can be looked for"));
    let fixture = fixture.manifest(|text| text.replace(", as = \"/tmp\"", ""));
    let (run, report) = fixture.run_with_report("test", &[], &[]);
    run.expect(77);
    assert!(outcomes(&report).values().all(|outcome| *outcome == "violated"), "{report:#}");
}

#[test]
fn a_case_grants_nothing_to_other_tests() {
    let fixture = Fixture::copy("tests-case");
    let (run, report) = fixture.run_with_report("test", &[], &[]);
    run.expect(77);
    let outcomes = outcomes(&report);
    assert_eq!(outcomes["import::reads_csv"], "passed");
    assert_eq!(outcomes["export::cannot_read"], "violated");
    assert_eq!(outcomes["other::touches_nothing"], "passed");
    // The grant counts as used, by the one test that may use it.
    let grants = report["targets"][0]["grants"].as_array().expect("grants");
    assert_eq!(grants.len(), 1, "{report:#}");
    assert!(grants[0]["uses"].as_u64().expect("a number") > 0, "{report:#}");
    // Without it every test that reads is violated.
    let fixture = fixture.manifest(|text| text.replace("import::*", "nobody::*"));
    let (run, report) = fixture.run_with_report("test", &["import::reads_csv"], &["--exact"]);
    run.expect(77);
    assert_eq!(self::outcomes(&report)["import::reads_csv"], "violated");
}

/// Every run has its effects: a test without libtest that ignores its arguments is asked once for its
/// tests, and run once; one that knows them is asked for its ignored ones too.
#[test]
fn a_test_without_libtest_is_not_run_more_often_than_needed() {
    let main = |rest: &str| {
        format!(
            "use std::io::Write;\nfn main() {{\n    let args: Vec<_> = std::env::args().skip(1).collect();\n    \
             let mut log = std::fs::OpenOptions::new().append(true).open(\"data.txt\").unwrap();\n    \
             writeln!(log, \"run {{}}\", args.join(\" \")).unwrap();\n    {rest}\n}}\n"
        )
    };
    let knows = "if args[0] == \"--list\" { if args.len() == 3 { println!(\"one: test\"); } }";
    for (rest, runs) in [
        ("", &["run --list --format terse", "run "][..]),
        ("println!(\"something\");", &["run --list --format terse", "run "]),
        ("std::process::exit(if args.is_empty() { 0 } else { 3 });", &["run --list --format terse", "run "]),
        (
            knows,
            &[
                "run --list --format terse",
                "run --list --format terse --ignored",
                "run one --exact --nocapture",
            ],
        ),
    ] {
        let fixture = Fixture::copy("tests-kinds")
            .manifest(|text| format!("{text}write = [\"data.txt\"]\n"))
            .file("tests/plain.rs", &main(rest));
        let (run, report) = fixture.run_with_report("test", &["--test", "plain"], &[]);
        if rest != knows {
            run.expect(0);
            assert_eq!(outcomes(&report)["plain"], "passed", "{rest}");
        }
        let log = fixture.read("data.txt").expect("the log");
        assert_eq!(log.lines().skip(1).collect::<Vec<_>>(), runs, "{rest}");
    }
}

#[test]
fn every_kind_of_target_is_tested_from_the_package_root() {
    let fixture = Fixture::copy("tests-kinds");
    let (run, report) = fixture.run_with_report("test", &[], &[]);
    run.expect(0);
    let outcomes = outcomes(&report);
    assert_eq!(outcomes.len(), 5, "{outcomes:?}");
    assert!(outcomes.values().all(|outcome| outcome == "passed"), "{outcomes:?}");
    let kinds: Vec<&str> =
        report["targets"].as_array().expect("targets").iter().filter_map(|t| t["kind"].as_str()).collect();
    assert_eq!(kinds, ["lib", "bin", "example", "test", "test"]);
    for (flags, tests) in [
        (&["--lib"][..], &["tests::in_the_library"][..]),
        (&["--bins"], &["tests::in_the_binary"]),
        (&["--test", "integration"], &["in_an_integration_test"]),
        (&["--test", "plain"], &["plain"]),
        (&["--example", "shown"], &["tests::in_an_example"]),
    ] {
        assert_eq!(list(&fixture, flags), tests, "{flags:?}");
    }
    let without = fixture.manifest(|text| text.replace("read = [\"data.txt\"]", "read = []"));
    let (run, _) = without.run_with_report("test", &["--test", "plain"], &[]);
    run.expect(77);
}

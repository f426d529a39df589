//! What users of cargo test and nextest type: which tests run, how often, and where it stops.

use crate::common::{Fixture, run};
use serde_json::Value;

/// A crate with these tests in its library.
fn with_tests(source: &str) -> Fixture {
    Fixture::copy("tests-case")
        .manifest(|text| text.split("[[package").next().expect("a beginning").to_owned())
        .rewrite("src/lib.rs", |_| source.to_owned())
}

fn names(report: &Value) -> Vec<String> {
    let tests = report["targets"][0]["tests"].as_array().expect("tests");
    let mut names: Vec<String> =
        tests.iter().map(|test| test["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

fn outcome<'r>(report: &'r Value, name: &str) -> &'r Value {
    let tests = report["targets"][0]["tests"].as_array().expect("tests");
    let test = tests.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"));
    &test["verdict"]
}

const FOUR: &str = "\
#[test] fn alpha_one() {}
#[test] fn alpha_two() {}
#[test] fn beta_one() {}
#[test] #[ignore] fn beta_slow() {}
";

/// A harness of one's own prints what it likes as the names of its tests.
#[test]
fn a_list_of_tests_hides_nothing() {
    let odd = r#"
        fn main() {
            let args: Vec<String> = std::env::args().collect();
            if args.iter().any(|arg| arg == "--list") && !args.iter().any(|arg| arg == "--ignored") {
                println!("a\u{202e}b\u{200b}c\x1b[2J: test");
            }
        }
    "#;
    let fixture = Fixture::copy("copy-file").file("tests/odd.rs", odd).manifest(|text| {
        text.replace("[workspace]", "[[test]]\nname = \"odd\"\nharness = false\n\n[workspace]")
    });
    for format in ["pretty", "terse"] {
        let listed = crate::common::run(
            fixture.command(["test", "--test", "odd", "--", "--list", "--format", format]),
        )
        .expect(0);
        assert!(listed.stdout.contains("a\\u{202e}b\\u{200b}c\\x1b[2J: test\n"), "{:?}", listed.stdout);
        assert!(!listed.stdout.contains(['\u{202e}', '\u{200b}', '\x1b']), "{:?}", listed.stdout);
    }
}

#[test]
fn filters_choose_as_libtest_does() {
    let fixture = with_tests(FOUR);
    let chosen = |flags: &[&str], libtest: &[&str]| {
        let (run, report) = fixture.run_with_report("test", flags, libtest);
        run.expect(0);
        names(&report)
    };
    assert_eq!(chosen(&[], &[]), ["alpha_one", "alpha_two", "beta_one", "beta_slow"]);
    assert_eq!(chosen(&["alpha"], &[]), ["alpha_one", "alpha_two"]);
    assert_eq!(chosen(&["alpha_two", "beta_one"], &[]), ["alpha_two", "beta_one"]);
    assert_eq!(chosen(&["one"], &["--skip", "beta"]), ["alpha_one"]);
    assert_eq!(chosen(&["beta"], &["--exact"]), [""; 0]);
    assert_eq!(chosen(&[], &["--exact", "beta_one"]), ["beta_one"]);
    assert_eq!(chosen(&[], &["--ignored"]), ["beta_slow"]);
    let (_, report) = fixture.run_with_report("test", &[], &["--include-ignored"]);
    assert_eq!(outcome(&report, "beta_slow"), "passed");
    let (_, report) = fixture.run_with_report("test", &[], &[]);
    assert_eq!(outcome(&report, "beta_slow"), "ignored");
}

#[test]
fn lists_are_for_programs_too() {
    let fixture = with_tests(FOUR);
    let terse = run(fixture.command(["test", "--", "--list", "--format", "terse"])).expect(0);
    assert_eq!(terse.stdout, "alpha_one: test\nalpha_two: test\nbeta_one: test\nbeta_slow: test\n");
    let wrong = run(fixture.command(["test", "--", "--format", "json"])).expect(2);
    assert_eq!(wrong.stdout, "");
}

#[test]
fn shards_together_are_all_tests() {
    let fixture = with_tests(FOUR);
    for kind in ["hash", "count"] {
        let mut all: Vec<String> = Vec::new();
        for shard in ["1/3", "2/3", "3/3"] {
            let (run, report) =
                fixture.run_with_report("test", &["--partition", &format!("{kind}:{shard}")], &[]);
            run.expect(0);
            all.extend(names(&report));
        }
        all.sort();
        assert_eq!(all, ["alpha_one", "alpha_two", "beta_one", "beta_slow"], "{kind}");
    }
}

#[test]
fn a_failed_test_is_tried_again_and_a_violation_is_not() {
    // What an attempt leaves behind outside of `{tmp}` is there for the next one.
    let source = "\
#[test] fn flaky() {
    if std::fs::metadata(\"seen\").is_err() {
        std::fs::write(\"seen\", \"\").unwrap();
        panic!(\"the first time\");
    }
}
#[test] fn fails() { panic!(); }
#[test] fn violated() { let _ = std::fs::read(\"/etc/passwd\"); panic!(); }
";
    let fixture = with_tests(source).manifest(|text| {
        format!("{text}\n[package.metadata.sandbox.test.fs]\nstat = [\"seen\"]\nwrite = [\"seen\"]\n")
    });
    let (run, report) = fixture.run_with_report("test", &["--retries", "2"], &[]);
    run.expect(77);
    assert_eq!(outcome(&report, "flaky"), "flaky");
    assert_eq!(outcome(&report, "fails"), "failed");
    assert_eq!(outcome(&report, "violated"), "violated");
    let attempts = |name: &str| {
        let tests = report["targets"][0]["tests"].as_array().expect("tests");
        tests.iter().find(|test| test["name"] == name).expect("it ran")["attempts"].clone()
    };
    assert_eq!((attempts("flaky"), attempts("fails"), attempts("violated")), (2.into(), 3.into(), 1.into()));
}

#[test]
fn everything_runs_unless_the_first_failure_is_to_stop_it() {
    let many: String = (0..40).map(|i| format!("#[test] fn t{i:02}() {{ assert_ne!({i}, 3); }}\n")).collect();
    let fixture = with_tests(&many);
    let (run, report) = fixture.run_with_report("test", &[], &[]);
    run.expect(101);
    let count = |report: &Value, outcome: &str| {
        let tests = report["targets"][0]["tests"].as_array().expect("tests");
        tests.iter().filter(|test| test["verdict"] == outcome).count()
    };
    assert_eq!((count(&report, "passed"), count(&report, "failed")), (39, 1));
    let (run, report) = fixture.run_with_report("test", &["--fail-fast"], &["--test-threads", "1"]);
    run.expect(101);
    assert_eq!(count(&report, "failed"), 1);
    // What had not begun is in the report, and not as passed.
    assert!(count(&report, "not-run") >= 30, "{report:#}");
    assert_eq!(names(&report).len(), 40);
}

#[test]
fn a_time_limit_of_the_command_line_counts_and_no_run_runs_nothing() {
    let fixture = with_tests("#[test] fn endless() { while std::hint::black_box(true) {} }\n");
    let (run, report) = fixture.run_with_report("test", &["--timeout", "300ms"], &[]);
    run.expect(124);
    assert_eq!(outcome(&report, "endless"), "timed-out");
    let only_built = crate::common::run(fixture.command(["test", "--no-run"])).expect(0);
    assert!(only_built.stderr.contains("Executable"), "{}", only_built.stderr);
}

#[test]
fn output_is_shown_as_it_comes_if_asked_for() {
    let fixture = with_tests("#[test] fn speaks() { println!(\"a word\"); }\n");
    let quiet = run(fixture.command(["test"])).expect(0);
    assert!(!quiet.stderr.contains("a word"), "{}", quiet.stderr);
    for flag in ["--nocapture", "--show-output"] {
        let loud = run(fixture.command(["test", "--", flag])).expect(0);
        assert_eq!(loud.stderr.matches("a word").count(), 1, "{flag}: {}", loud.stderr);
    }
}

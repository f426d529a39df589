//! Doc tests through the real cargo and rustdoc: each is a test of the report, with what it touched.
//!
//! They need a toolchain whose rustdoc can compile them. None of this passes without.

mod common;

use common::{Fixture, Run, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const EDITIONS: [&str; 2] = ["2021", "2024"];

/// A library with these examples, each on a function of its own, from line 1 on, five lines each.
fn library(edition: &str, grants: &str, examples: &[&str]) -> Fixture {
    let mut text = String::new();
    for (number, example) in examples.iter().enumerate() {
        text += &format!(
            "/// ```{}\n/// ```\npub fn example_{number}() {{}}\n\n",
            example.replace('\n', "\n/// ")
        );
    }
    Fixture::copy("tests-doc")
        .manifest(|manifest| manifest.replace("2024", edition).replace("0.1.0", "0.1.1") + grants)
        .rewrite("src/lib.rs", |_| text)
        .file("input.txt", "some text\n")
}

/// Runs them. A toolchain that cannot is no reason to pass.
fn tested(fixture: &Fixture, flags: &[&str]) -> (Run, Value) {
    let (run, report) = fixture.run_with_report("test", flags, &[]);
    assert!(
        !run.stderr.contains("were not run"),
        "the toolchain {:?} cannot compile doc tests; `scripts/wasi-toolchain.sh` finds or makes one that can:\n{}",
        common::toolchain(),
        run.stderr
    );
    (run, report)
}

/// The target of kind `doc`.
fn doc(report: &Value) -> &Value {
    let targets = report["targets"].as_array().expect("targets");
    targets
        .iter()
        .find(|target| target["kind"] == "doc")
        .unwrap_or_else(|| panic!("no doc tests: {report:#}"))
}

fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let word = |value: &'_ Value| value.as_str().expect("a word").to_owned().leak() as &str;
    doc(report)["tests"]
        .as_array()
        .expect("tests")
        .iter()
        .map(|t| (word(&t["name"]), word(&t["verdict"])))
        .collect()
}

const READS: &str = "\nassert!(std::fs::read(\"input.txt\").is_ok());";
const READS_SECRET: &str = "\nassert!(std::fs::read(\"/etc/passwd\").is_err());";
const GRANT: &str = "\n[package.metadata.sandbox.test.fs]\nread = [\"input.txt\"]\n";

#[test]
fn an_example_that_reaches_out_is_a_violated_test_in_every_format() {
    for edition in EDITIONS {
        let fixture = Fixture::copy("tests-doc").manifest(|text| text.replace("2024", edition) + "\n");
        let (run, report) = tested(&fixture, &["--doc", "--junit", "d.xml", "--sarif", "d.sarif"]);
        let run = run.expect(77);
        let line = fixture.line("src/lib.rs", "/etc/passwd") - 1;
        let name = format!("src/lib.rs - others (line {line})");
        let target = doc(&report);
        let test = |name: &str| {
            let all = target["tests"].as_array().expect("tests");
            all.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("no `{name}`: {target:#}"))
        };
        let violated = test(&name);
        assert_eq!(
            (&violated["verdict"], &violated["passed"]),
            (&"violated".into(), &true.into()),
            "{edition}"
        );
        assert_eq!(test("src/lib.rs - double (line 5)")["verdict"], "passed");
        assert_eq!(report["counts"]["violated"], 1);
        assert_eq!(report["counts"]["violations"], 1);
        assert_eq!(report["kernel"]["seccomp"], true, "{report:#}");
        let violation = &violated["violations"][0];
        assert_eq!(violation["operation"], "fs-read");
        assert_eq!(violation["test"], name);
        assert_eq!(violation["origin"]["package"], "tests-doc");
        assert_eq!(violation["origin"]["version"], "0.1.0");
        assert_eq!(violation["snippet"]["line"], line);
        assert_eq!(violation["suggestion"]["table"], "package.metadata.sandbox.test.fs");
        assert!(!violation["backtrace"].as_array().expect("frames").is_empty());
        assert_eq!(run.stderr.matches("error[fs-read]").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(&format!("--> src/lib.rs:{line}")), "{}", run.stderr);
        assert!(!run.stderr.contains("cargo-sandbox: doc test"), "{}", run.stderr);
        assert!(fixture.read("d.xml").expect("JUnit").contains("type=\"violated\""));
        let sarif: Value = serde_json::from_str(&fixture.read("d.sarif").expect("SARIF")).expect("JSON");
        let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        let file = place["artifactLocation"]["uri"].as_str().expect("a file");
        assert!(file.ends_with("tests-doc/src/lib.rs"), "{file}");
        assert_eq!(place["region"]["startLine"], line);
    }
}

#[test]
fn code_of_the_library_has_its_own_line() {
    for edition in EDITIONS {
        let fixture = library(edition, "", &["\ntests_doc::reads();"]).rewrite("src/lib.rs", |text| {
            text + "pub fn reads() {\n    let _ = std::fs::read(\"/etc/passwd\");\n}\n"
        });
        let (run, report) = tested(&fixture, &["--doc"]);
        run.expect(77);
        let violation = &doc(&report)["tests"][0]["violations"][0];
        let line = fixture.line("src/lib.rs", "/etc/passwd");
        assert_eq!(violation["origin"]["frame"]["line"], line, "{violation:#}");
        assert_eq!(violation["origin"]["package"], "tests-doc");
    }
}

#[test]
fn a_grant_that_only_an_example_needs_is_used() {
    for edition in EDITIONS {
        let fixture = library(edition, GRANT, &[READS, READS]);
        let (run, report) = tested(&fixture, &["--unused", "deny"]);
        run.expect(0);
        let grants = doc(&report)["grants"].as_array().expect("grants");
        assert_eq!(grants.len(), 1, "{report:#}");
        assert!(grants[0]["uses"].as_u64().expect("a number") >= 2, "{grants:?}");
        let more = fixture.manifest(|text| text.replace("[\"input.txt\"", "[\"input.txt\", \"never\""));
        let (run, report) = tested(&more, &["--unused", "deny"]);
        run.expect(79);
        assert_eq!(report["unused"][0]["place"]["entry"], "never");
    }
}

#[test]
fn fix_learns_from_examples() {
    for edition in EDITIONS {
        let fixture = library(edition, "", &[READS]);
        tested(&fixture, &["--doc"]).0.expect(77);
        tested(&fixture, &["--doc", "--fix", "--allow-dirty"]).0.expect(0);
        let fixed = fixture.read("Cargo.toml").expect("a manifest");
        assert!(fixed.contains("[package.metadata.sandbox.test.fs]\nread = [\"input.txt\"]"), "{fixed}");
        tested(&fixture, &["--doc", "--unused", "deny"]).0.expect(0);
    }
}

#[test]
fn nothing_that_an_example_did_is_lost_where_rustdoc_takes_it_for_passed() {
    // rustdoc is content with a test that should panic as soon as it ends badly.
    let by_name = format!("should_panic{READS_SECRET}\npanic!();");
    let unnamed = format!("should_panic\nfn main() {{{READS_SECRET}\npanic!();\n}}");
    let (run, report) = tested(&library("2021", "", &[&by_name]), &["--doc"]);
    run.expect(77);
    assert_eq!(verdicts(&report), [("src/lib.rs - example_0 (line 1)", "violated")]);
    let (run, report) = tested(&library("2021", "", &[&unnamed]), &["--doc"]);
    run.expect(77);
    let all = [("src/lib.rs - example_0 (line 1)", "passed"), ("all in one process", "violated")];
    assert_eq!(verdicts(&report), all);
    // With a filter the numbers of a program of several examples mean nothing.
    let (run, report) = tested(&library("2024", "", &[READS, READS_SECRET]), &["--doc", "example_1"]);
    run.expect(77);
    let all = [("src/lib.rs - example_1 (line 6)", "passed"), ("all in one process", "violated")];
    assert_eq!(verdicts(&report), all);
}

#[test]
fn ends_of_examples_are_told_apart() {
    let limit = "\n[package.metadata.sandbox.limits]\ntime = \"1s\"\n";
    let examples = ["\nloop {}", "\npanic!(\"on purpose\");", "\nstd::process::exit(77);", ""];
    let (run, report) = tested(&library("2021", limit, &examples), &["--doc"]);
    let run = run.expect(124);
    let mut found: Vec<&str> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
    found.sort_unstable();
    // 77 is the guest's own number here.
    assert_eq!(found, ["failed", "failed", "passed", "timed-out"], "{report:#}");
    assert!(run.stderr.contains("on purpose"), "{}", run.stderr);
    // In one process the first panic ends the others.
    let examples = ["", "\npanic!(\"on purpose\");", "", ""];
    let (run, report) = tested(&library("2024", "", &examples), &["--doc"]);
    run.expect(101);
    let name = |number: usize| format!("src/lib.rs - example_{number} (line {})", 4 * number + 1);
    let (first, second) = (name(0), name(1));
    let all = [(first.as_str(), "passed"), (second.as_str(), "failed"), ("2 more", "not-run")];
    assert_eq!(verdicts(&report), all);
}

#[test]
fn an_audit_reports_what_examples_do_and_lets_it() {
    for edition in EDITIONS {
        let (run, report) = tested(&library(edition, "", &[READS]), &["--doc", "--audit"]);
        run.expect(0);
        assert_eq!(verdicts(&report), [("src/lib.rs - example_0 (line 1)", "passed")]);
        assert_eq!(doc(&report)["tests"][0]["violations"][0]["allowed"], true, "{report:#}");
    }
}

#[test]
fn an_example_does_not_know_where_its_report_goes() {
    let looks = "\nlet args: Vec<String> = std::env::args().collect();\n\
        let vars: Vec<String> = std::env::vars().map(|(name, value)| name + &value).collect();\n\
        assert!(!vars.is_empty());\n\
        for text in args.iter().chain(&vars) { assert!(!text.contains(\"/proc/\") && !text.contains(\"doc-tests\"), \"{text}\"); }";
    let grants = "\n[package.metadata.sandbox.test.env]\nread = [\"CARGO*\", \"RUST*\", \"*DOC*\"]\n";
    for edition in EDITIONS {
        tested(&library(edition, grants, &[looks]), &["--doc"]).0.expect(0);
    }
}

#[test]
fn where_examples_cannot_run_no_grant_is_denied_or_removed_for_them() {
    let fixture = library("2021", GRANT, &[READS]);
    let rustdoc = fixture.path("rustdoc");
    let script = "#!/bin/sh\necho \"error: Option 'sysroot' given more than once\" >&2\nexit 1\n";
    fs::write(&rustdoc, script).expect("ours");
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).expect("ours");
    let broken = |args: &[&str]| {
        let mut command = fixture.command(["test"]);
        command.args(args).env("RUSTDOC", &rustdoc);
        run(command)
    };
    let denied = broken(&["--unused", "deny", "--report", "1.json", "--junit", "1.xml"]).expect(0);
    for said in [
        "the doc tests of tests-doc were not run: ",
        "not denied, as tests that were not run may",
        "`input.txt`",
    ] {
        assert!(denied.stderr.contains(said), "`{said}`: {}", denied.stderr);
    }
    let report: Value = serde_json::from_str(&fixture.read("1.json").expect("a report")).expect("JSON");
    assert_eq!(
        (&report["counts"]["not_run"], &doc(&report)["tests"][0]["verdict"]),
        (&1.into(), &"not-run".into())
    );
    assert!(fixture.read("1.xml").expect("JUnit").contains("<skipped"));
    let merged = run(fixture.command(["report", "merge", "1.json", "--unused", "deny"])).expect(0);
    assert!(merged.stderr.contains("not denied"), "{}", merged.stderr);
    broken(&["--fix=prune", "--allow-dirty"]).expect(0);
    assert!(fixture.read("Cargo.toml").expect("a manifest").contains("input.txt"));
    // With a rustdoc that works, it is as it was.
    run(fixture.command(["test", "--unused", "deny"])).expect(0);
}

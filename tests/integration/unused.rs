//! `--unused`, and `report merge`, through the real binary.

use crate::common::{Fixture, run};
use serde_json::Value;
use std::fs;

#[test]
fn a_grant_that_nothing_used_is_said_or_denied_or_let_be() {
    let fixture = Fixture::copy("copy-file").manifest(|text| text.replace("read = [", "read = [\"src\", "));
    let quiet = run(fixture.command(["run"])).expect(0);
    assert!(!quiet.stderr.contains("unused"), "one run says little: {}", quiet.stderr);
    let warned = run(fixture.command(["run", "--unused", "warn"])).expect(0);
    assert!(warned.stderr.contains("unused grant: `src`"), "{}", warned.stderr);
    let denied = run(fixture.command(["run", "--unused", "deny"])).expect(79);
    assert!(denied.stderr.contains("--> Cargo.toml:11"), "{}", denied.stderr);
    // What decides the status is an error in every format, and else a warning.
    for (level, status, word) in [("warn", 0, "warning"), ("deny", 79, "error")] {
        let args = ["run", "--unused", level, "--sarif", "u.sarif", "--message-format", "github"];
        let run = run(fixture.command(args)).expect(status);
        assert!(run.stderr.contains(&format!("{word}[unused-grant]: unused grant: `src`")), "{}", run.stderr);
        let annotation = run.stderr.lines().find(|line| line.contains("title=unused-grant"));
        assert!(annotation.is_some_and(|line| line.starts_with(&format!("::{word} "))), "{}", run.stderr);
        let sarif: Value = serde_json::from_str(&fixture.read("u.sarif").expect("SARIF")).expect("JSON");
        assert_eq!(sarif["runs"][0]["results"][0]["level"], word);
    }
    // What is worse is said instead.
    let worse = fixture.manifest(|text| text.replace("\"input.txt\"", "\"other.txt\""));
    run(worse.command(["run", "--unused", "deny"])).expect(77);
}

#[test]
fn accesses_by_single_crates_are_reported_as_such() {
    let by = |name: &str| {
        let entry = format!("{{ path = \"/etc/passwd\", by = [\"{name}\"] }}");
        Fixture::copy("dependency").manifest(|text| text.replace("\"/etc/passwd\"", &entry))
    };
    let fixture = by("deep-reader");
    let said = "Granted `/etc/passwd` at Cargo.toml:14: 1 access, by deep-reader only";
    let (run, report) = fixture.run_with_report("run", &["-v"], &[]);
    let run = run.expect(0);
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let grant = &report["targets"][0]["grants"][0];
    assert_eq!(
        (&grant["by"], &grant["uses"]),
        (&serde_json::json!(["deep-reader"]), &1.into()),
        "{report:#}"
    );
    let run = crate::common::run(fixture.command(["run"])).expect(0);
    assert!(!run.stderr.contains("Granted"), "{}", run.stderr);
    // A grant for all is used by whoever it is.
    let (_, report) = Fixture::copy("dependency").run_with_report("run", &[], &[]);
    assert_eq!(report["targets"][0]["grants"][0]["by"], serde_json::json!([]));
    let (run, report) = by("middle").run_with_report("run", &["--unused", "warn"], &[]);
    let run = run.expect(77);
    assert!(run.stderr.contains("unused grant: `/etc/passwd` for middle in "), "{}", run.stderr);
    assert_eq!(report["unused"][0]["by"], serde_json::json!(["middle"]));
}

#[test]
fn a_grant_inside_another_used_one_is_unused() {
    for more in ["\"input.txt\", \".\", ", "\"*.txt\", ", "\"{package}/input.txt\", "] {
        let fixture =
            Fixture::copy("copy-file").manifest(|text| text.replace("read = [", &format!("read = [{more}")));
        run(fixture.command(["run", "--unused", "deny"])).expect(79);
    }
}

#[test]
fn a_full_test_warns_and_a_filtered_one_does_not() {
    let fixture = Fixture::copy("tests-case")
        .manifest(|text| text + "\n[package.metadata.sandbox.test.fs]\nread = [\"never\"]\n");
    let full = run(fixture.command(["test"]));
    assert!(full.stderr.contains("unused grant: `never`"), "{}", full.stderr);
    let filtered = run(fixture.command(["test", "import"]));
    assert!(!filtered.stderr.contains("unused grant"), "{}", filtered.stderr);
}

/// Two shards and what becomes of them.
#[test]
fn shards_are_merged_into_one_verdict() {
    let fixture = Fixture::copy("folders").manifest(|text| {
        text + "\n[package.metadata.sandbox.test.fs]\nread = [\"tests/data\"]\nwrite = [\"sum.out\", \"never\"]\n"
    });
    let mut files = Vec::new();
    for shard in ["count:1/2", "count:2/2"] {
        let file = fixture.path(&format!("{}.json", &shard[6..7]));
        let mut command = fixture.command(["test", "--partition", shard, "--report"]);
        command.arg(&file);
        run(command).expect(0);
        files.push(file);
    }
    let merge = |flags: &[&str]| {
        let mut command = fixture.command(["report", "merge"]);
        command.args(&files).args(flags);
        run(command)
    };
    let merged = merge(&["--junit", "all.xml", "--sarif", "all.sarif", "--report", "all.json"]).expect(0);
    assert!(merged.stderr.contains("4 tests passed"), "{}", merged.stderr);
    assert!(merged.stderr.contains("unused grant: `never`"), "{}", merged.stderr);
    assert!(!merged.stderr.contains("unused grant: `tests/data`"), "{}", merged.stderr);
    let report: Value = serde_json::from_str(&fixture.read("all.json").expect("a report")).expect("JSON");
    assert_eq!(report["counts"]["passed"], 4);
    assert_eq!(report["unused"].as_array().expect("a list").len(), 1);
    assert_eq!(fixture.read("all.xml").expect("JUnit").matches("<testcase").count(), 4);
    let sarif: Value = serde_json::from_str(&fixture.read("all.sarif").expect("SARIF")).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"].as_array().expect("results").len(), 1);
    assert!(merge(&["--unused", "deny"]).expect(79).stderr.contains("error[unused-grant]"));
    assert!(!merge(&["--unused", "allow"]).expect(0).stderr.contains("unused"));
    // A shard that was run twice, and something that is no report.
    let mut twice = fixture.command(["report", "merge"]);
    twice.args([&files[0], &files[0]]);
    run(twice).expect(2);
    fs::write(&files[0], "{}").expect("ours");
    merge(&[]).expect(2);
}

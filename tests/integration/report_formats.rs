//! Every format × every outcome: the verdict in the output is the report's, the outputs are valid,
//! and a format that says there was no failure is one of a run without.

use crate::report_samples::formats::*;
use crate::report_samples::*;
use cargo_sandbox::event::Report;
use cargo_sandbox::exit_status::ExitStatus;
use cargo_sandbox::report::json::{self, wire::Verdict};
use cargo_sandbox::report::summary;

fn outcomes() -> Vec<Report> {
    let mut reports = Vec::new();
    for status in STATUSES {
        // What the parts say must not matter: the verdict is the report's.
        reports.push(report("sandbox-run", status, vec![]));
        reports.push(run(status, vec![]));
        reports.push(run(status, vec![violation()]));
        reports.push(Report { audit: true, ..run(status, vec![]) });
        for verdict in VERDICTS {
            reports.push(tests(status, vec![test("one", verdict)]));
        }
        reports.push(tests(status, VERDICTS.into_iter().map(|v| test(&format!("{v:?}"), v)).collect()));
    }
    reports
}

#[test]
fn no_format_changes_the_verdict() {
    for report in outcomes() {
        let word = Verdict::from(report.status).word();
        let code = report.status.code();
        let written = write(&events(&report), &report);
        let case = format!("{:?} {:#?}", report.status, written);

        let last = written.human.lines().last().expect("a summary");
        let verb = summary::verb(Verdict::from(report.status));
        assert!(last.starts_with(&format!("{verb:>12} ")), "{case}");
        assert_eq!(last.contains(&format!("exit status {code}")), code != 0, "{case}");
        assert_eq!(
            last.contains("the guest's own"),
            matches!(report.status, ExitStatus::Guest(1..)),
            "{case}"
        );

        let value = check_report(&written.json);
        assert_eq!(
            (value["verdict"].as_str(), value["exit_status"].as_u64()),
            (Some(word), Some(code.into()))
        );
        let read = json::read(written.json.as_bytes()).expect("it reads its own reports");
        assert_eq!(read, json::Report::from(&report));
        assert_eq!(ExitStatus::code(read.status()), code);

        let last = written.messages.lines().last().expect("a last message");
        let value: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(value["reason"], "sandbox-finished");
        assert_eq!(value["report"]["verdict"], word);
        assert_eq!(value["report"]["exit_status"], code);

        let elements = xml_elements(&written.junit);
        let properties = named(&elements, "property");
        let property = |name: &str| {
            properties
                .iter()
                .find(|property| property["name"] == name)
                .map(|property| property["value"].clone())
        };
        assert_eq!(property("verdict").as_deref(), Some(word), "{case}");
        assert_eq!(property("exit-status"), Some(code.to_string()), "{case}");
        let failures = named(&elements, "failure").len() + named(&elements, "error").len();
        assert!(code == 0 || failures > 0, "JUnit without a failure: {case}");

        let value = check_sarif(&written.sarif);
        let invocation = &value["runs"][0]["invocations"][0];
        assert_eq!(invocation["exitCode"], code, "{case}");
        assert_eq!(invocation["properties"]["verdict"], word, "{case}");

        let commands = github_commands(&written.github);
        let last = commands.last().expect("a verdict");
        assert_eq!(last.properties["title"], format!("cargo-sandbox {word} (exit status {code})"), "{case}");
        assert_eq!(last.name == "notice", code == 0, "{case}");
    }
}

#[test]
fn annotations_and_results_point_at_the_call() {
    let report = run(ExitStatus::Violation, vec![violation()]);
    let written = write(&events(&report), &report);
    let commands = github_commands(&written.github);
    let first = &commands[0];
    assert_eq!(first.name, "error");
    let property = |name: &str| first.properties[name].as_str();
    assert_eq!(property("file"), "crates/tool/src/main.rs");
    assert_eq!((property("line"), property("col"), property("endColumn")), ("14", "13", "30"));
    assert_eq!(property("title"), "fs-read");
    assert!(first.message.starts_with("unexpected access: read `/etc/passwd`\n"), "{}", first.message);
    let unused = &commands[1];
    assert_eq!(
        (unused.name.as_str(), unused.properties["file"].as_str()),
        ("warning", "crates/tool/Cargo.toml")
    );
    assert_eq!(unused.properties["line"], "7");

    let value = check_sarif(&written.sarif);
    let result = &value["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "fs-read");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "crates/tool/src/main.rs");
    assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
    assert_eq!(place["region"], serde_json::json!({"startLine": 14, "startColumn": 13, "endColumn": 31}));
    let rules = &value["runs"][0]["tool"]["driver"]["rules"];
    for result in value["runs"][0]["results"].as_array().expect("results") {
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
}

#[test]
fn a_place_outside_the_repository_is_not_named() {
    let mut violation = violation();
    violation.snippet = None;
    violation.origin.as_mut().expect("an origin").frame.file =
        "/home/me/.cargo/registry/src/x/lib.rs".to_owned();
    let report = run(ExitStatus::Violation, vec![violation]);
    let written = write(&events(&report), &report);
    let commands = github_commands(&written.github);
    assert_eq!(commands[0].properties["file"], "crates/tool/Cargo.toml");
    let value = check_sarif(&written.sarif);
    let place = &value["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "crates/tool/Cargo.toml");
}

#[test]
fn each_message_is_a_line_of_its_own() {
    let report =
        tests(ExitStatus::Violation, VERDICTS.into_iter().map(|v| test(&format!("{v:?}"), v)).collect());
    let events = events(&report);
    let written = write(&events, &report);
    let reasons: Vec<String> = written
        .messages
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value["reason"].as_str().expect("a reason").to_owned()
        })
        .collect();
    assert_eq!(reasons.len(), events.len() + 1);
    assert_eq!(reasons[..3], ["sandbox-status", "sandbox-tests-started", "sandbox-test-started"]);
    let documentation = include_str!("../../docs/report.md");
    for reason in reasons {
        assert!(documentation.contains(&format!("`{reason}`")), "`{reason}` is not in docs/report.md");
    }
}

//! The JSON report, its schema and its documentation say the same.

use crate::report_samples::formats::check_report;
use crate::report_samples::*;
use cargo_sandbox::event::Report;
use cargo_sandbox::exit_status::ExitStatus;
use cargo_sandbox::report::json::{self, wire};
use sandbox_policy::access::Operation;
use serde_json::Value;
use std::collections::BTreeMap;

const SCHEMA: &str = include_str!("../../schema/report-v1.schema.json");
const DOCUMENTATION: &str = include_str!("../../docs/report.md");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

fn value(report: &Report) -> Value {
    serde_json::to_value(json::Report::from(report)).expect("JSON")
}

/// Every object of the schema that has properties, and where it is.
fn objects<'s>(schema: &'s Value, path: &str, found: &mut Vec<(String, &'s Value)>) {
    match schema {
        Value::Object(map) => {
            if map.get("type").is_some_and(|kind| kind == "object") {
                found.push((path.to_owned(), schema));
            }
            for (key, value) in map {
                objects(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                objects(value, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_is_closed_described_and_documented() {
    let schema = schema();
    let mut found = Vec::new();
    objects(&schema, "", &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for (path, object) in found {
        assert_eq!(object["additionalProperties"], false, "{path}");
        for (name, property) in object["properties"].as_object().expect("properties") {
            let refers = property.get("$ref").is_some() || property.get("const").is_some();
            assert!(refers || property["description"].is_string(), "{path}: {name}");
            assert!(
                DOCUMENTATION.contains(&format!("`{name}`")),
                "{path}: `{name}` is not in docs/report.md"
            );
        }
    }
    for verdict in schema["$defs"]["verdict"]["enum"].as_array().expect("verdicts") {
        let verdict = verdict.as_str().expect("a word");
        assert!(DOCUMENTATION.contains(&format!("| `{verdict}` |")), "{verdict}");
    }
}

#[test]
fn the_schema_and_the_reference_have_every_operation() {
    let codes = Operation::ALL.map(Operation::code);
    let schema = schema();
    let mut objects_found = Vec::new();
    objects(&schema, "", &mut objects_found);
    let listed: Vec<&Value> =
        objects_found.iter().map(|(_, object)| &object["properties"]["operation"]["enum"]).collect();
    let listed = listed.into_iter().find(|listed| listed.is_array()).expect("the operations");
    assert_eq!(*listed, serde_json::json!(codes), "schema/report-v1.schema.json");
    let row = codes.map(|code| format!("`{code}`")).join(", ");
    assert!(DOCUMENTATION.contains(&format!("| `operation` | {row} |")), "docs/report.md lacks {row}");
}

#[test]
fn the_schema_has_every_verdict_with_its_number() {
    let table: BTreeMap<String, u64> = schema()["allOf"]
        .as_array()
        .expect("conditions")
        .iter()
        .filter_map(|condition| {
            let verdict = condition["if"]["properties"]["verdict"]["const"].as_str()?;
            Some((verdict.to_owned(), condition["then"]["properties"]["exit_status"]["const"].as_u64()?))
        })
        .collect();
    for status in STATUSES.into_iter().filter(|status| !matches!(status, ExitStatus::Guest(1..))) {
        let verdict = wire::Verdict::from(status);
        assert_eq!(table.get(verdict.word()), Some(&u64::from(status.code())), "{status:?}");
        assert_eq!(serde_json::to_value(verdict).expect("JSON"), verdict.word());
    }
}

/// What the schema says of one changed report.
fn is_refused(change: impl FnOnce(&mut Value)) -> bool {
    let mut value = value(&tests(ExitStatus::Violation, vec![test("a", VERDICTS[3])]));
    check_report(&value.to_string());
    change(&mut value);
    let valid = jsonschema::is_valid(&schema(), &value);
    let read = json::read(value.to_string().as_bytes()).is_ok();
    assert_eq!(valid, read, "the schema and the reader agree on {value:#}");
    !valid
}

#[test]
fn the_schema_refuses_what_is_not_a_report() {
    assert!(!is_refused(|_| ()));
    assert!(is_refused(|value| value["exit_status"] = 0.into()));
    assert!(is_refused(|value| value["verdict"] = "fine".into()));
    assert!(is_refused(|value| value["schema_version"] = 2.into()));
    assert!(is_refused(|value| value["more"] = 1.into()));
    assert!(is_refused(|value| value["kernel"]["more"] = 1.into()));
    assert!(is_refused(|value| value["duration_us"] = (-1).into()));
    assert!(is_refused(|value| _ = value.as_object_mut().expect("an object").remove("counts")));
    let violation = "/targets/0/tests/0/violations/0";
    let at = |value: &mut Value, path: &str, new: Value| {
        *value.pointer_mut(&format!("{violation}{path}")).expect("it is there") = new;
    };
    assert!(is_refused(|value| at(value, "/operation", "fs-chmod".into())));
    assert!(is_refused(|value| at(value, "/wall", "paper".into())));
    assert!(is_refused(|value| at(value, "/resource/kind", "socket".into())));
    assert!(is_refused(
        |value| value["targets"][0]["tests"][0]["outcome"] = serde_json::json!({"kind": "gone"})
    ));
    assert!(is_refused(|value| {
        value["targets"][0]["tests"][0]["outcome"] = serde_json::json!({"kind": "panicked", "status": 1});
    }));
}

#[test]
fn violations_of_tests_stand_with_the_tests() {
    let mut report = tests(ExitStatus::Violation, vec![test("a", VERDICTS[3]), test("b", VERDICTS[3])]);
    // A runner may list them with the target as well.
    report.targets[0].violations =
        report.targets[0].tests.iter().flat_map(|test| test.violations.clone()).collect();
    let other = cargo_sandbox::event::Violation { test: None, ..violation() };
    report.targets[0].violations.push(other);
    let wire = json::Report::from(&report);
    assert_eq!(wire.targets[0].violations.len(), 1);
    assert_eq!(wire.violations().count(), 3);
    assert_eq!(wire.counts.violations, 1);
}

#[test]
fn a_grant_is_unused_only_if_no_target_used_it() {
    let mut report = run(ExitStatus::Success, vec![]);
    let mut other = report.targets[0].clone();
    other.grants[1].uses = 1;
    assert_eq!(json::Report::from(&report).unused.len(), 1);
    report.targets.push(other);
    assert_eq!(json::Report::from(&report).unused, []);
    for target in &mut report.targets {
        target.grants[1].uses = 0;
        // Grants of the command line last for one run.
        target.grants[0].uses = 0;
        target.grants[0].place.manifest.clear();
    }
    let unused = json::Report::from(&report).unused;
    assert_eq!(unused.iter().map(|grant| grant.place.entry.as_str()).collect::<Vec<_>>(), ["assets/*.json"]);
}

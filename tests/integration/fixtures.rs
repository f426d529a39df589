//! Runs every fixture as the model in `common/fixtures.rs` says, and holds model and fixtures together.

use crate::common::fixtures::{CASES, Case, ESCAPES, Expected, TEST_FIXTURES};
use crate::common::{Fixture, Run, root, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, thread};

/// Does `work` for every item on as many threads as there are cores, and fails with the names of all that panicked.
fn for_each<T: Sync + std::panic::RefUnwindSafe>(items: &[T], name: fn(&T) -> String, work: fn(&T)) {
    assert!(!items.is_empty(), "nothing to do is nothing tested");
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |cores| cores.get()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if panic::catch_unwind(|| work(item)).is_err() {
                        failed.lock().expect("no thread panics while it holds this").push(name(item));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics while it holds this");
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), items.len());
}

fn prepared(case: &Case) -> Fixture {
    let fixture = Fixture::copy(case.fixture);
    case.edits.iter().fold(fixture, |fixture, edit| fixture.manifest(|text| edit.apply(&text)))
}

/// The guest's environment: what `env` may see, and what it may not.
fn ran(fixture: &Fixture, flags: &[&str], case: &Case) -> Run {
    let mut args = vec!["run"];
    args.extend(flags);
    args.extend(case.flags);
    if !case.args.is_empty() {
        args.push("--");
        args.extend(case.args);
    }
    let mut command = fixture.command(args);
    command.env("GREETING", "hello").env("APP_MODE", "trial").env("FOREIGN", "not for guests");
    run(command)
}

#[test]
fn every_case_of_the_model() {
    for_each(
        CASES,
        |case| format!("{}: {}", case.fixture, case.name),
        |case| {
            let fixture = prepared(case);
            let report = fixture.dir().parent().expect("a copy has a folder of its own").join("report.json");
            let run = ran(&fixture, &["--report", report.to_str().expect("a plain path")], case)
                .expect(case.status);
            assert!(run.stdout.contains(case.stdout), "`{}` is not in:\n{}", case.stdout, run.stdout);
            assert!(run.stderr.contains(case.stderr), "`{}` is not in:\n{}", case.stderr, run.stderr);
            if !case.violations.is_empty() {
                let report = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
                assert_violations(&fixture, &report, case.violations, &run);
            }
        },
    );
}

fn assert_violations(fixture: &Fixture, report: &Value, expected: &[Expected], run: &Run) {
    let violations: Vec<&Value> = report["targets"]
        .as_array()
        .expect("targets")
        .iter()
        .flat_map(|target| target["violations"].as_array().expect("violations"))
        .collect();
    assert_eq!(violations.len(), expected.len(), "{violations:#?}\n{}", run.stderr);
    for expected in expected {
        let resource = absolute(fixture, expected);
        let found = violations
            .iter()
            .find(|found| {
                found["operation"] == expected.code && found["resource"]["name"] == resource.as_str()
            })
            .unwrap_or_else(|| panic!("no {} of {resource} in {violations:#?}", expected.code));
        let origin = &found["origin"];
        assert_eq!(origin["package"], expected.package, "{found:#}");
        assert_eq!(origin["version"], expected.version, "{found:#}");
        let file = origin["frame"]["file"].as_str().expect("a file");
        assert!(file.ends_with(expected.file), "{found:#}");
        if expected.at.is_empty() {
            // A place that the debug information invents: nothing may be shown for it.
            assert!(found["snippet"].is_null(), "{found:#}");
        } else {
            assert_eq!(origin["frame"]["line"], fixture.line(expected.file, expected.at), "{found:#}");
            assert!(run.stderr.contains(expected.at), "the source line is not shown:\n{}", run.stderr);
        }
        assert!(run.stderr.contains(&format!("error[{}]", expected.code)), "{}", run.stderr);
    }
}

fn absolute(fixture: &Fixture, expected: &Expected) -> String {
    if expected.code == "env-read" || expected.resource.starts_with('/') {
        return expected.resource.to_owned();
    }
    let path = match expected.resource.strip_prefix("../") {
        Some(above) => fixture.dir().parent().expect("a copy has a folder of its own").join(above),
        None => fixture.path(expected.resource),
    };
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn a_denied_write_leaves_nothing_and_the_suggestion_makes_it_pass() {
    let fixture = Fixture::copy("copy-file")
        .manifest(|text| crate::common::fixtures::Edit::Without("write =").apply(&text));
    let run = run(fixture.command(["run"])).expect(77);
    assert_eq!(fixture.read("output.txt"), None);
    assert!(run.stderr.contains("write = [\"output.txt\"]"), "{}", run.stderr);
    let fixture = fixture.manifest(|text| text + "write = [\"output.txt\"]\n");
    crate::common::run(fixture.command(["run"])).expect(0);
    assert_eq!(fixture.read("output.txt"), fixture.read("input.txt"));
}

#[test]
fn the_private_directory_is_gone_afterwards() {
    let fixture = Fixture::copy("tmp");
    let first = run(fixture.command(["run"])).expect(0).stdout;
    let second = run(fixture.command(["run"])).expect(0).stdout;
    assert_ne!(first, second, "a fresh directory for each run");
    for printed in [first, second] {
        let path = Path::new(printed.trim());
        assert!(path.is_absolute() && !path.exists(), "{path:?}");
    }
}

/// Runs one escape. Gives what was said of it, after checking that the guest did not get through.
fn escape(name: &str, flags: &[&str]) -> Run {
    let fixture = Fixture::copy("escapes");
    let secrets = ["secret/secret.txt", "readonly/file.txt", "top.txt"];
    let before = secrets.map(|path| fixture.read(path));
    let above = fixture.dir().parent().expect("a copy has a folder of its own").to_owned();
    fs::create_dir(above.join("empty")).expect("it is ours");
    let mut args = vec!["run"];
    args.extend(flags);
    args.extend(["--", name]);
    let run = run(fixture.command(args));
    assert!(run.stdout.starts_with("stopped: "), "{name}: {}\n{}", run.stdout, run.stderr);
    assert_eq!(secrets.map(|path| fixture.read(path)), before, "{name} changed something");
    assert!(
        !fixture.path("outside.txt").exists()
            && !fixture.path("outside").exists()
            && !above.join("made").exists(),
        "{name} made something"
    );
    assert!(
        fixture.path("empty").is_dir()
            && above.join("empty").is_dir()
            && fixture.path("secret/link").is_symlink(),
        "{name} removed something"
    );
    run
}

#[test]
fn every_escape_is_stopped_and_said() {
    for_each(
        ESCAPES,
        |escape| escape.name.to_owned(),
        |attempt| {
            let run = escape(attempt.name, &[]);
            if attempt.code.is_empty() {
                assert!([0, 77].contains(&run.status), "{}: {}", attempt.name, run.stderr);
            } else {
                let run = run.expect(77);
                assert!(run.stderr.contains(&format!("error[{}", attempt.code)), "{}", run.stderr);
            }
        },
    );
}

#[test]
fn the_model_knows_every_escape() {
    let run = run(Fixture::copy("escapes").command(["run", "--", "list"])).expect(0);
    let known: Vec<_> = ESCAPES.iter().map(|escape| escape.name).collect();
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), known);
}

#[test]
fn the_model_knows_every_fixture() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("fixtures"))
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry"))
        // `guests` holds single programs for the tests of one module.
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().expect("a plain name"))
        .collect();
    let modelled: BTreeSet<String> = CASES
        .iter()
        .map(|case| case.fixture)
        .chain(TEST_FIXTURES.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(folders, modelled);
    for folder in folders {
        let manifest =
            fs::read_to_string(root().join("fixtures").join(&folder).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.starts_with("# "), "{folder}: its first line says what must happen");
    }
}

/// With one wall off, the other holds alone (`--walls` exists in test builds only).
#[cfg(feature = "test-walls")]
mod alone {
    use super::*;

    #[test]
    fn the_wasi_wall_stops_every_escape_without_the_kernel() {
        for_each(
            ESCAPES,
            |escape| escape.name.to_owned(),
            |attempt| {
                escape(attempt.name, &["--landlock", "off"]);
            },
        );
    }

    #[test]
    fn landlock_stops_what_it_can_without_the_wasi_wall() {
        let covered: Vec<_> = ESCAPES.iter().filter(|escape| escape.landlock_alone).copied().collect();
        for_each(
            &covered,
            |escape| escape.name.to_owned(),
            |attempt| {
                escape(attempt.name, &["--walls", "landlock"]);
            },
        );
    }

    #[test]
    fn what_is_granted_works_behind_each_wall() {
        for flags in [["--landlock", "off"], ["--walls", "landlock"]] {
            let fixture = Fixture::copy("escapes");
            let mut args = vec!["run"];
            args.extend(flags);
            args.extend(["--", "control"]);
            run(fixture.command(args)).expect(0);
        }
    }
}

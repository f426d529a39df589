//! `cargo sandbox test` with tests that run for long: Cranelift finishes what Winch began.

use crate::common::{Fixture, run, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

/// Each waits for a file that this test makes once one of them was started for the second time.
const SOURCE: &str = r#"
use std::fs;
use std::path::Path;

fn waits() {
    while fs::metadata("go").is_err() { std::hint::black_box(()); }
}

#[test]
fn changes_only_its_tmp() {
    let own = Path::new(&std::env::var_os("TMPDIR").unwrap()).join("x");
    fs::File::create_new(own).expect("another folder than the first time");
    waits();
}

#[test]
fn changes_what_lasts() {
    assert!(fs::metadata("out/x").is_err(), "nobody was here before");
    fs::write("out/x", "").unwrap();
    waits();
}

#[test]
fn touches_what_it_may_not() {
    assert!(fs::read("secret").is_err());
    waits();
}
"#;

#[test]
fn a_long_test_starts_again_with_better_code_where_that_cannot_be_seen() {
    let fixture = Fixture::copy("tests-tmp").rewrite("src/lib.rs", |_| SOURCE.to_owned()).rewrite(
        "Cargo.toml",
        |manifest| {
            let read = manifest.replace("read = [\"{tmp}\"]", "read = [\"{tmp}\", \"go\"]");
            read + "[[package.metadata.sandbox.test.case]]\nname = \"changes_what_lasts\"\nfs.write = [\"out\"]\n"
        },
    );
    std::fs::create_dir(fixture.path("out")).expect("a folder");
    run(fixture.command(["test", "--no-run"])).expect(0);
    let mut command =
        fixture.command(["test", "--no-cache", "--timeout", "120s", "--message-format", "json"]);
    command.args(["--", "--test-threads", "4"]);
    let mut supervisor =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary can be started");
    let mut starts: BTreeMap<String, u32> = BTreeMap::new();
    let mut verdicts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for line in BufReader::new(supervisor.stdout.take().expect("it is a pipe")).lines() {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let name = |test: &Value| test["name"].as_str().expect("a name").to_owned();
        match line["reason"].as_str() {
            Some("sandbox-test-started") => {
                assert_eq!(line["attempt"], 1, "it has not failed");
                let times = starts.entry(name(&line["test"])).or_default();
                *times += 1;
                if *times == 2 {
                    std::fs::write(fixture.path("go"), "").expect("a file");
                }
            }
            Some("sandbox-test-finished") => {
                let verdict = line["test"]["verdict"].as_str().expect("a verdict").to_owned();
                let violations = line["test"]["violations"].as_array().expect("violations").len();
                verdicts.insert(name(&line["test"]), (verdict, violations));
            }
            _ => {}
        }
    }
    assert_eq!(wait(&mut supervisor, Duration::from_secs(10)), Some(77));
    let named = |name: &str| name.to_owned();
    assert_eq!(
        starts,
        BTreeMap::from([
            (named("changes_only_its_tmp"), 2),
            (named("changes_what_lasts"), 1),
            (named("touches_what_it_may_not"), 1),
        ])
    );
    assert_eq!(verdicts["changes_only_its_tmp"], (named("passed"), 0));
    assert_eq!(verdicts["changes_what_lasts"], (named("passed"), 0));
    assert_eq!(verdicts["touches_what_it_may_not"], (named("violated"), 1));
}

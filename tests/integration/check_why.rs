//! `check` and `why` agree with what really happens: for every line of a generated table, the access
//! is tried for real, behind all walls and behind each alone.

use crate::common::{Fixture, run};
use serde_json::Value;
use std::fs;

/// Names to try each operation on: inside, beside and beneath what the fixture grants.
const NAMES: &[&str] = &[
    "data/one",
    "data/inner/two",
    "data/secret",
    "data/hidden",
    "data",
    "top.txt",
    "Cargo.toml",
    "looked-at",
    "listed",
    "listed/file",
    "made",
    "changed.log",
    "gone",
    "out",
    "src",
];

/// Mistakes without number are as many as a person mends at once, and the rest is counted.
#[test]
fn very_many_mistakes_are_counted() {
    let keys: String = (0..50_000).map(|n| format!("key{n} = []\n")).collect();
    let table = "[package.metadata.sandbox.fs]\n";
    let fixture = Fixture::copy("copy-file").manifest(|text| text.replace(table, &format!("{table}{keys}")));
    let checked = run(fixture.command(["check"])).expect(78);
    assert!(checked.stderr.contains("unknown key `key0` in"), "{}", checked.stderr);
    assert!(checked.stderr.lines().count() <= 200, "{} lines", checked.stderr.lines().count());
    assert!(checked.stderr.contains(" more errors"), "{}", checked.stderr);
    let all = run(fixture.command(["check", "--message-format", "json"])).expect(78);
    let messages = all.stdout.matches("\"code\":\"unknown-key\"").count();
    assert_eq!(messages, sandbox_policy::MOST_MISTAKES);
    assert!(
        all.stdout.contains("and 49900 more mistakes of this kind"),
        "{}",
        &all.stdout[all.stdout.len() - 2000..]
    );
}

const OPERATIONS: &[&str] = &["read", "list", "stat", "create", "modify", "delete"];

/// Whether the operation is one that this kind of place has.
fn applies(fixture: &Fixture, operation: &str, name: &str) -> bool {
    let path = fixture.path(name);
    match operation {
        "list" => path.is_dir(),
        "read" | "modify" | "delete" => path.is_file(),
        // A name that is there cannot be created.
        "create" => !path.exists(),
        _ => path.exists(),
    }
}

fn asked(fixture: &Fixture, operation: &str, name: &str) -> (i32, Value) {
    let run = run(fixture.command(["why", "--message-format", "json", "--op", operation, name]));
    let line = run.stdout.lines().find(|line| line.contains("sandbox-why"));
    let line = line.unwrap_or_else(|| panic!("no answer:\n{}\n{}", run.stdout, run.stderr));
    (run.status, serde_json::from_str(line).expect("JSON"))
}

#[test]
fn every_answer_is_what_happens() {
    let fixture = Fixture::copy("any-access").file("new-below/x", "x\n");
    fs::create_dir_all(fixture.path("out/deep")).expect("ours");
    let more = ["out/new", "out/deep/new", "out/file"];
    fs::write(fixture.path("out/file"), "f").expect("ours");
    let mut tried = 0;
    for name in NAMES.iter().chain(&more) {
        for operation in OPERATIONS.iter().filter(|operation| applies(&fixture, operation, name)) {
            let (status, why) = asked(&fixture, operation, name);
            assert_eq!(status, if why["allowed"] == true { 0 } else { 77 }, "{why}");
            let before = fs::read(fixture.path(name)).ok();
            let real = run(fixture.command(["run", "-q", "--", operation, name]));
            let what = format!("{operation} {name}: {why}\n{}\n{}", real.stdout, real.stderr);
            match why["decision"].as_str().expect("a word") {
                "allowed" => assert_eq!((real.status, real.stdout.trim()), (0, "works"), "{what}"),
                "hidden" => assert_eq!((real.status, real.stdout.trim() != "works"), (0, true), "{what}"),
                _ => assert_eq!((real.status, real.stdout.trim()), (77, "denied"), "{what}"),
            }
            restore(&fixture, name, before.as_deref(), operation);
            #[cfg(feature = "test-walls")]
            {
                let real = run(fixture.command(["run", "-q", "--walls", "landlock", "--", operation, name]));
                let what = format!("landlock alone, {what}\n{}\n{}", real.stdout, real.stderr);
                // Making a directory is what the guest does; a file is what `create` is asked about.
                match why["landlock"].as_str().expect("a word") {
                    "allows" | "not-checked" => assert_eq!(real.stdout.trim(), "works", "{what}"),
                    "denies" => assert_eq!(real.stdout.trim(), "denied", "{what}"),
                    other => panic!("{other}: {what}"),
                }
                restore(&fixture, name, before.as_deref(), operation);
            }
            tried += 1;
        }
    }
    assert!(tried > 40, "only {tried} were tried");
}

fn restore(fixture: &Fixture, name: &str, before: Option<&[u8]>, operation: &str) {
    let path = fixture.path(name);
    match (operation, before) {
        ("create", _) if path.is_dir() => fs::remove_dir(path).expect("ours"),
        (_, Some(text)) => fs::write(path, text).expect("ours"),
        _ => {}
    }
}

#[test]
fn every_line_of_the_table_has_its_place_and_its_walls() {
    let fixture = Fixture::copy("any-access");
    let run = run(fixture.command(["check", "--message-format", "json"])).expect(0);
    let line = run.stdout.lines().find(|line| line.contains("sandbox-check")).expect("a line");
    let checked: Value = serde_json::from_str(line).expect("JSON");
    let entries = checked["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 12, "{entries:#?}");
    let manifest = fixture.read("Cargo.toml").expect("a manifest");
    for entry in entries {
        let line = entry["line"].as_u64().expect("a line") as usize;
        let text = manifest.lines().nth(line - 1).expect("it is in the manifest");
        assert!(text.contains(entry["entry"].as_str().expect("an entry")), "{entry}: {text}");
        assert!(text.starts_with(entry["key"].as_str().expect("a key")), "{entry}: {text}");
        assert_eq!(entry["wasi"]["verdict"], "exact");
        let landlock = match entry["entry"].as_str().expect("an entry") {
            "listed" | "out" | "changed.log" => &["exact", "wider"][..],
            "looked-at" | "APP_*" | "GREETING" => &["not-covered"],
            _ => &["wider"],
        };
        let verdict = entry["landlock"]["verdict"].as_str().expect("a verdict");
        assert!(landlock.contains(&verdict), "{entry:#}");
    }
    let human = crate::common::run(fixture.command(["check"])).expect(0);
    assert!(human.stdout.contains("fs.read `data`") && human.stdout.contains("landlock"), "{}", human.stdout);
    let off = crate::common::run(fixture.command(["check", "--landlock", "off"])).expect(0);
    assert!(off.stdout.contains("landlock  off"), "{}", off.stdout);
}

#[test]
fn paths_are_relative_to_the_caller_and_tests_have_their_own_answer() {
    let fixture = Fixture::copy("tests-case").file("tests/data/table.csv", "1\n");
    let mut command = fixture.command(["why", "table.csv", "--test", "import::reads_csv"]);
    command.current_dir(fixture.path("tests/data"));
    let run = run(command).expect(0);
    assert!(run.stdout.contains("test.case.fs.read` at Cargo.toml:"), "{}", run.stdout);
    let other = ["why", "tests/data/table.csv", "--test", "other"];
    let run = crate::common::run(fixture.command(other)).expect(77);
    assert!(run.stdout.contains("denied"), "{}", run.stdout);
    assert!(run.stdout.contains("[package.metadata.sandbox.test.fs]"), "{}", run.stdout);
}

#[test]
fn where_the_private_directory_is_seen_is_told() {
    let fixture = Fixture::copy("as-tmp");
    let (status, why) = asked(&fixture, "create", "/tmp/x/../y");
    assert_eq!((status, &why["resource"]), (0, &"{tmp}/y".into()));
    let (status, why) = asked(&fixture, "create", "/tmp/x");
    assert_eq!((status, &why["resource"], &why["landlock"]), (0, &"{tmp}/x".into(), &"allows".into()));
    let because = &why["because"][0];
    assert_eq!((&because["as"], &because["entry"]), (&"/tmp".into(), &"{tmp}".into()), "{why:#}");
    let human = run(fixture.command(["why", "--op", "list", "/tmp"])).expect(0);
    assert!(human.stdout.contains("  `{tmp}` in `package.metadata.sandbox.fs.read`"), "{}", human.stdout);
    let human = run(fixture.command(["why", "--op", "delete", "/tmp/x"])).expect(0);
    assert!(
        human.stdout.contains("  `{tmp}` as `/tmp` in `package.metadata.sandbox.fs.write`"),
        "{}",
        human.stdout
    );
    let checked = run(fixture.command(["check"])).expect(0);
    assert_eq!(checked.stdout.matches("      as        /tmp\n").count(), 1, "{}", checked.stdout);
    assert!(checked.stderr.is_empty(), "nothing is odd about it: {}", checked.stderr);
    let unseen = fixture.manifest(|text| text.replace("{ path = \"{tmp}\", as = \"/tmp\" }", "\"{tmp}\""));
    let why = run(unseen.command(["why", "--op", "create", "/tmp/x"])).expect(77);
    assert!(why.stdout.contains("write = [{ path = \"{tmp}\", as = \"/tmp\" }]"), "{}", why.stdout);
}

#[test]
fn variables_and_grants_by_crate_are_answered_for() {
    let fixture = Fixture::copy("any-access");
    for (name, status) in [("APP_MODE", 0), ("GREETING", 0), ("PATH", 77), ("NO_COLOR", 0)] {
        run(fixture.command(["why", "--op", "env", name])).expect(status);
    }
    let fixture =
        fixture.manifest(|text| text.replace("\"GREETING\"", "{ name = \"GREETING\", by = [\"dep\"] }"));
    let run = run(fixture.command(["why", "--op", "env", "GREETING"])).expect(77);
    assert!(
        run.stdout.contains("allowed for some crates only") && run.stdout.contains("by dep"),
        "{}",
        run.stdout
    );
}

#[test]
fn every_mistake_of_every_manifest_is_said_and_what_is_odd_as_well() {
    let fixture = Fixture::copy("workspace")
        .rewrite("alpha/Cargo.toml", |text| text + "\n[package.metadata.sandbox.fs]\nreed = []\n")
        .rewrite("beta/Cargo.toml", |text| text.replace("own.txt", "{hom}/x"));
    let run = run(fixture.command(["check"])).expect(78);
    assert!(run.stderr.contains("reed") && run.stderr.contains("{hom}"), "{}", run.stderr);
    let fixture = Fixture::copy("any-access").manifest(|text| {
        text.replace("[\"data\", ", "[\"data\", \"data/inner\", \"absent\", \"/etc/hostname\", ")
            .replace("deny = [", "deny = [\"elsewhere\", ")
    });
    let run = crate::common::run(fixture.command(["check"])).expect(0);
    for code in ["needless-grant", "missing-path", "needless-exception", "sensitive-grant"] {
        assert_eq!(run.stderr.matches(&format!("warning[{code}]")).count(), 1, "{code}: {}", run.stderr);
    }
    let github = crate::common::run(fixture.command(["check", "--message-format", "github"])).expect(0);
    assert!(github.stderr.contains("any-access/Cargo.toml,line=11"), "{}", github.stderr);
}

/// The TOML that `why` says to paste, if it suggests any.
fn suggested(said: &str) -> Option<String> {
    let (_, paste) = said.split_once("to allow it, add to Cargo.toml:\n")?;
    let lines = paste.lines().skip(1).take(2).map(str::trim);
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_why_suggests_works_when_it_is_pasted_and_else_it_says_why_not() {
    let fixture = Fixture::copy("any-access")
        .manifest(|text| text.split("[package.metadata").next().expect("a beginning").to_owned())
        .file(".git/config", "");
    let bare = fixture.read("Cargo.toml").expect("a manifest");
    let home = std::env::var("HOME").expect("a home");
    let (key, folder) = (format!("{home}/.ssh/id"), format!("{home}/.ssh"));
    let names = [
        "Cargo.toml",
        "src/x.rs",
        "src",
        ".git/config",
        ".git",
        &key,
        &folder,
        "target/x",
        "target",
        "/etc/passwd",
        "/proc/self/mem",
        "/proc/cpuinfo",
        "data/x.rs",
        "data/.git/config",
        "data/Cargo.toml",
        "data/new",
        ".",
        "/",
        &home,
    ];
    let mut never = Vec::new();
    for operation in OPERATIONS {
        for name in names {
            fs::write(fixture.path("Cargo.toml"), &bare).expect("ours");
            // What is protected stays so below a grant of the folder.
            let why = || run(fixture.command(["why", "--op", operation, name, "--write", "data"]));
            let before = why();
            if before.status == 0 {
                continue;
            }
            let Some(paste) = suggested(&before.stdout) else {
                assert!(
                    before.stdout.contains("no entry can allow it: "),
                    "{operation} {name}: {}",
                    before.stdout
                );
                never.push((*operation, name));
                continue;
            };
            fs::write(fixture.path("Cargo.toml"), format!("{bare}\n{paste}\n")).expect("ours");
            let after = why();
            let shown = format!("{operation} {name}:\n{paste}\n{}{}", after.stdout, after.stderr);
            assert_eq!(after.status, 0, "{shown}");
            // The kernel has no rule for what is not there.
            let there = fixture.path(name).parent().is_none_or(std::path::Path::is_dir);
            let denies = after.stdout.contains("landlock  denies");
            assert!(!(denies && there && applies(&fixture, operation, name)), "{shown}");
            assert_eq!(paste.contains("protected = true"), before.stdout.contains(" place: "), "{shown}");
        }
    }
    for operation in OPERATIONS {
        assert!(never.contains(&(operation, "/proc/self/mem")), "{never:?}");
        // There is no entry for the root alone.
        assert!(never.contains(&(operation, "/")), "{never:?}");
        let changes = ["create", "modify", "delete"].contains(operation);
        assert_eq!(never.contains(&(operation, "src")), changes, "{never:?}");
    }
    // It is meant that way in a run, too.
    for (operation, name) in [("read", "src/main.rs"), ("modify", "Cargo.toml"), ("create", "data/x.rs")] {
        fs::write(fixture.path("Cargo.toml"), &bare).expect("ours");
        let why = run(fixture.command(["why", "--op", operation, name])).expect(77);
        let paste = suggested(&why.stdout).expect("a suggestion");
        fs::write(fixture.path("Cargo.toml"), format!("{bare}\n{paste}\n")).expect("ours");
        let real = run(fixture.command(["run", "-q", "--", operation, name])).expect(0);
        assert_eq!(real.stdout.trim(), "works", "{operation} {name}: {}", real.stderr);
    }
}

//! Every phase in which code of an artifact runs × enforced, audited and learned from: what it did in that phase
//! alone reaches people, report and verdict.

use crate::common::{Fixture, PATIENCE, Run, binary, command, run, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A phase of `fixtures/phases`.
struct Phase {
    name: &'static str,
    /// What the file `phase` says.
    wanted: &'static str,
    /// Of `test`.
    args: &'static [&'static str],
    /// After `--`.
    libtest: &'static [&'static str],
    /// The status without any violation.
    status: i32,
}

const fn phase(
    name: &'static str,
    wanted: &'static str,
    args: &'static [&'static str],
    libtest: &'static [&'static str],
) -> Phase {
    Phase { name, wanted, args, libtest, status: 0 }
}

const PHASES: &[Phase] = &[
    phase("the first question", "json", &["--lib", "passes"], &[]),
    phase("the second question", "terse", &["--lib", "passes"], &[]),
    phase("the third question", "ignored", &["--lib", "passes"], &[]),
    phase("a harness that is asked for a list and runs", "terse", &["--test", "plain"], &[]),
    phase("the same, and fails", "terse exit", &["--test", "plain"], &[]),
    phase("the same, and aborts", "terse abort", &["--test", "plain"], &[]),
    phase("a harness that lists", "terse", &["--test", "speaks"], &[]),
    phase("a harness that lists what is ignored", "ignored", &["--test", "speaks"], &[]),
    phase("--list", "json", &["--lib"], &["--list"]),
    phase("--list, the second question", "terse", &["--lib"], &["--list"]),
    phase("--list of a harness that runs", "terse", &["--test", "plain"], &["--list", "--format", "terse"]),
    phase("--list of a harness that lists", "ignored", &["--test", "speaks"], &["--list"]),
    phase("--list of what is filtered out", "terse", &["--test", "plain", "nothing"], &["--list"]),
    phase("filtered out", "json", &["--lib", "nothing"], &[]),
    phase("filtered out, a harness that runs", "terse", &["--test", "plain", "nothing"], &[]),
    phase("filtered out, a harness that lists", "ignored", &["--test", "speaks", "nothing"], &[]),
    phase("another shard", "json", &["--lib", "--partition", "hash:2/9", "passes"], &[]),
    phase("a test", "run", &["--lib", "passes"], &[]),
    phase("a test that must panic", "should-panic", &["--lib", "must_panic"], &[]),
    phase("a harness that runs", "run", &["--test", "plain"], &[]),
    phase("a harness that runs its test", "run", &["--test", "speaks"], &[]),
    phase("the first attempt", "attempt1", &["--lib", "--retries", "1", "a_fails"], &[]),
    phase("the last attempt", "attempt2", &["--lib", "--retries", "1", "a_fails"], &[]),
    Phase {
        status: 101,
        ..phase(
            "an attempt that no other follows",
            "attempt1",
            &["--lib", "--retries", "1", "--fail-fast", "_fails"],
            &["--test-threads", "1"],
        )
    },
    phase("a doc test", "doc", &["--doc"], &[]),
];

/// What was heard of what the fixture does in its phase.
fn heard(report: &Value) -> BTreeSet<String> {
    let of = |value: &Value| value["violations"].as_array().expect("violations").clone();
    let targets = report["targets"].as_array().expect("targets");
    let tests = targets.iter().flat_map(|target| target["tests"].as_array().expect("tests"));
    let name = |violation: &Value| {
        let name = violation["resource"]["name"].as_str().expect("a name").to_owned();
        let name = name.rsplit('/').next().expect("a last part").to_owned();
        format!("{} {name}", violation["operation"].as_str().expect("a word"))
    };
    targets.iter().chain(tests).flat_map(of).map(|violation| name(&violation)).collect()
}

fn both() -> BTreeSet<String> {
    BTreeSet::from(["fs-read secret.txt".to_owned(), "fs-create made.txt".to_owned()])
}

/// As nothing had run yet, and with this phase.
fn begin(fixture: &Fixture, wanted: &str) {
    fs::write(fixture.path("phase"), wanted).expect("a copy is ours to write");
    for left in ["made.txt", "state/first", "state/waits"] {
        let _ = fs::remove_file(fixture.path(left));
    }
}

fn says_it(run: &Run) {
    for what in ["read `", "secret.txt`", "create `", "made.txt`"] {
        assert!(run.stderr.contains(what), "a person is told of {what}:\n{}", run.stderr);
    }
}

/// Each row in one mode; all that fail are named.
fn every_phase(check: impl Fn(&Fixture, &Phase)) {
    let fixture = Fixture::copy("phases");
    run(fixture.command(["test", "--no-run"])).expect(0);
    let failed: Vec<_> = PHASES
        .iter()
        .filter(|phase| {
            begin(&fixture, phase.wanted);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&fixture, phase))).is_err()
        })
        .map(|phase| phase.name)
        .collect();
    assert!(failed.is_empty(), "unheard: {failed:#?}");
}

#[test]
fn what_is_not_granted_is_heard_in_every_phase() {
    every_phase(|fixture, phase| {
        let (run, report) = fixture.run_with_report("test", phase.args, phase.libtest);
        let run = run.expect(77);
        assert_eq!(heard(&report), both(), "{}: {report:#}", phase.name);
        assert_eq!(report["verdict"], "violated");
        assert_eq!(fixture.read("made.txt"), None, "it was denied");
        says_it(&run);
        assert!(!run.stdout.contains("secret"), "{}", run.stdout);
        if !phase.libtest.contains(&"--list") {
            assert_eq!(run.stdout, "", "{}", phase.name);
        } else if !phase.args.contains(&"nothing") {
            assert!(run.stdout.contains(": test\n"), "{}: {}", phase.name, run.stdout);
        }
    });
}

#[test]
fn what_an_audit_lets_through_is_heard_in_every_phase() {
    every_phase(|fixture, phase| {
        let args = [phase.args, &["--audit"]].concat();
        let (run, report) = fixture.run_with_report("test", &args, phase.libtest);
        let run = run.expect(phase.status);
        assert!(fixture.read("made.txt").is_some(), "{}: the phase was not reached", phase.name);
        assert_eq!(heard(&report), both(), "{}: {report:#}", phase.name);
        says_it(&run);
        assert!(run.stderr.contains("NOT enforced"), "{}", run.stderr);
    });
}

#[test]
fn what_any_phase_needs_is_learned_and_then_enough() {
    every_phase(|fixture, phase| {
        let manifest = fixture.read("Cargo.toml").expect("a manifest");
        // Those grants that were not used are removed too, but never after a mere list.
        let args = [phase.args, &["--fix", "--allow-dirty"]].concat();
        let (_, report) = fixture.run_with_report("test", &args, phase.libtest);
        assert_eq!(heard(&report), both(), "{}", phase.name);
        let fixed = fixture.read("Cargo.toml").expect("a manifest");
        assert!(fixed.contains("secret.txt") && fixed.contains("made.txt"), "{}:\n{fixed}", phase.name);
        begin(fixture, phase.wanted);
        let again = fixture.run_with_report("test", phase.args, phase.libtest);
        fs::write(fixture.path("Cargo.toml"), manifest).expect("a copy is ours to write");
        again.0.expect(phase.status);
        assert_eq!(heard(&again.1), BTreeSet::new(), "{}", phase.name);
    });
}

#[test]
fn a_list_alone_removes_no_grant_and_denies_no_unused_one() {
    let fixture = Fixture::copy("phases");
    let manifest = fixture.read("Cargo.toml");
    let args = ["--fix=prune", "--allow-dirty", "--unused", "deny", "--lib"];
    let (_, report) = fixture.run_with_report("test", &args, &["--list"]);
    assert_eq!(report["exit_status"], 0, "{report:#}");
    assert_eq!(fixture.read("Cargo.toml"), manifest);
}

#[test]
fn a_grant_that_only_a_listing_needs_is_used() {
    let fixture =
        Fixture::copy("phases").manifest(|text| text.replace("\"phase\"", "\"phase\", \"secret.txt\""));
    begin(&fixture, "json");
    let (_, report) = fixture.run_with_report("test", &["--lib", "passes"], &[]);
    let grants = report["targets"][0]["grants"].as_array().expect("grants");
    let secret = grants.iter().find(|grant| grant["place"]["entry"] == "secret.txt").expect("the grant");
    assert!(secret["uses"].as_u64() > Some(0), "{secret:#}");
}

#[test]
fn the_same_access_while_listing_and_running_is_told_once_and_counted_twice() {
    let fixture = Fixture::copy("phases")
        .rewrite("tests/plain.rs", |text| text.replace("phases::asked()", "\"always\""));
    begin(&fixture, "always");
    let (run, report) = fixture.run_with_report("test", &["--test", "plain"], &[]);
    let run = run.expect(77);
    assert_eq!(report["counts"]["violations"], 2, "{report:#}");
    assert_eq!(run.stderr.matches("unexpected access: read").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("2 times, in test `plain`"), "{}", run.stderr);
    // What is not seen in any test is told with its phase.
    begin(&fixture, "terse");
    let fixture = fixture.rewrite("tests/plain.rs", |text| text.replace("\"always\"", "phases::asked()"));
    let (run, _) = fixture.run_with_report("test", &["--test", "plain"], &[]);
    assert!(run.expect(77).stderr.contains("while it listed its tests"));
}

/// A harness of its own does its work while it is asked for a list, and may do it.
#[test]
fn a_listing_has_a_private_directory_and_the_grants_of_the_test_it_may_be() {
    let main = r#"
        fn main() {
            let own = std::path::Path::new(&std::env::var_os("TMPDIR").unwrap()).join("x");
            std::fs::write(&own, "").unwrap();
            std::fs::read("secret.txt").unwrap();
        }"#;
    let fixture = Fixture::copy("phases").file("tests/plain.rs", main).manifest(|text| {
        text.replace("\"state\"", "\"{tmp}\"")
            + "[[package.metadata.sandbox.test.case]]\nname = \"plain\"\nfs.read = [\"secret.txt\"]\n"
    });
    run(fixture.command(["test", "--test", "plain"])).expect(0);
    run(fixture.command(["test", "--test", "plain", "--audit"])).expect(0);
    run(fixture.command(["test", "--test", "plain", "--", "--list"])).expect(0);
}

#[test]
fn nothing_starts_without_a_run() {
    let fixture = Fixture::copy("phases");
    for wanted in ["json", "terse", "ignored", "run", "doc"] {
        begin(&fixture, wanted);
        for mode in [&[][..], &["--audit"], &["--fix", "--allow-dirty"]] {
            run(fixture.command([&["test", "--no-run"], mode].concat())).expect(0);
            assert_eq!(fixture.read("made.txt"), None, "{wanted}");
        }
    }
    // Nor where the command cannot be done.
    run(fixture.command(["runner", "--fix", "--allow-dirty", "target/none.wasm"])).expect(2);
}

/// What runs before the first test of another artifact is not lost where that one cannot run.
#[test]
fn what_was_heard_is_told_where_another_artifact_cannot_run() {
    let main = "#[link(wasm_import_module = \"elsewhere\")]\nunsafe extern \"C\" { fn strange(); }\n\
        fn main() { unsafe { strange() } }\n";
    let fixture = Fixture::copy("phases").file("tests/foreign.rs", main).manifest(|text| {
        text.replace("[workspace]", "[[test]]\nname = \"foreign\"\nharness = false\n\n[workspace]")
    });
    for list in [&[][..], &["--list"]] {
        begin(&fixture, "json");
        let (run, report) = fixture.run_with_report("test", &[], list);
        let run = run.expect(77);
        assert_eq!(heard(&report), both(), "{report:#}");
        says_it(&run);
        assert!(run.stderr.contains("elsewhere"), "and why it cannot: {}", run.stderr);
        begin(&fixture, "json");
        let (run, report) = fixture.run_with_report("test", &["--audit"], list);
        run.expect(101);
        assert_eq!(heard(&report), both(), "{report:#}");
    }
    begin(&fixture, "json");
    let manifest = fixture.read("Cargo.toml");
    run(fixture.command(["test", "--fix=prune", "--allow-dirty"])).expect(101);
    assert_eq!(fixture.read("Cargo.toml"), manifest, "what did not run may need its grants");
}

fn started(fixture: &Fixture, args: &[&str]) -> Child {
    let tmp = fixture.path("state");
    let report = fixture.path("report.json");
    let mut command = fixture.command(["test", "--report", report.to_str().expect("a plain path")]);
    command.env("TMPDIR", tmp).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("it starts");
    let begun = Instant::now();
    while !fs::exists(fixture.path("state/waits")).expect("it can be looked for") {
        assert!(begun.elapsed() < PATIENCE, "the phase is not reached");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn ended(fixture: &Fixture, mut child: Child) -> (Option<i32>, Value) {
    let status = wait(&mut child, Duration::from_secs(30));
    let report = fixture.read("report.json").expect("a report");
    (status, serde_json::from_str(&report).expect("JSON"))
}

fn pid(of: u32) -> Pid {
    Pid::from_raw(i32::try_from(of).expect("a process id")).expect("a process id")
}

/// The process below `pid` that has none below it.
fn innermost(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().last().and_then(|child| child.parse().ok()).map_or(pid, innermost)
}

#[test]
fn a_listing_that_is_interrupted_or_killed_is_heard() {
    let fixture = Fixture::copy("phases");
    run(fixture.command(["test", "--no-run"])).expect(0);
    for (args, wanted) in [(&["--test", "plain"][..], "terse wait"), (&["--lib"], "json wait")] {
        for list in [&[][..], &["--", "--list"]] {
            let args = [args, list].concat();
            begin(&fixture, wanted);
            let child = started(&fixture, &args);
            kill_process(pid(child.id()), Signal::INT).expect("it runs");
            let (status, report) = ended(&fixture, child);
            assert_eq!(status, Some(130));
            assert_eq!(heard(&report), both(), "{report:#}");

            for (mode, expected) in [(&[][..], 77), (&["--audit"], 101)] {
                begin(&fixture, wanted);
                let child = started(&fixture, &[mode, &args].concat());
                kill_process(pid(innermost(child.id())), Signal::KILL).expect("it runs");
                let (status, report) = ended(&fixture, child);
                assert_eq!(status, Some(expected), "{report:#}");
                assert_eq!(heard(&report), both(), "{report:#}");
                assert_eq!(report["counts"]["passed"], 0, "{report:#}");
            }
        }
    }
}

/// Private directories cannot be made any more, as the folder for them is gone.
#[test]
fn a_fault_of_ours_erases_nothing_that_was_heard() {
    let fixture = Fixture::copy("phases");
    run(fixture.command(["test", "--no-run"])).expect(0);
    for wanted in ["attempt1 wait", "json wait"] {
        begin(&fixture, wanted);
        let child = started(&fixture, &["--audit", "--lib", "--", "--test-threads", "1"]);
        for entry in fs::read_dir(fixture.path("state")).expect("a folder").flatten() {
            if entry.file_name().to_string_lossy().starts_with("cargo-sandbox-") {
                fs::remove_dir_all(entry.path()).expect("it was there");
            }
        }
        kill_process(pid(innermost(child.id())), Signal::KILL).expect("it runs");
        let (status, report) = ended(&fixture, child);
        assert_eq!(heard(&report), both(), "{report:#}");
        // A listing that is killed is followed by no test that would need another directory.
        let expected = if wanted == "json wait" { 101 } else { 70 };
        assert_eq!((status, &report["counts"]["killed"]), (Some(expected), &1.into()), "{report:#}");
    }
}

/// A use of the first instance counts, and what the second one does.
#[test]
fn a_test_that_starts_again_with_better_code_is_heard_twice() {
    const SOURCE: &str = r#"
        #[test]
        fn long() {
            std::fs::read("early.txt").unwrap();
            while std::fs::metadata("go").is_err() { std::hint::black_box(()); }
            let _ = std::fs::read("secret.txt");
            let _ = std::fs::write("made.txt", "");
        }"#;
    let fixture =
        Fixture::copy("phases").file("src/lib.rs", SOURCE).file("early.txt", "early\n").manifest(|text| {
            text.replace("\"phase\"", "\"early.txt\", \"go\"").replace("write = [\"state\"]\n", "")
        });
    let tests = |name: &str| fs::remove_file(fixture.path(&format!("tests/{name}.rs"))).expect("a test");
    tests("plain");
    tests("speaks");
    let manifest = fixture.read("Cargo.toml").expect("a manifest");
    let (before, rest) = manifest.split_once("[[test]]").expect("tests");
    let (_, rest) = rest.split_once("[workspace]").expect("a workspace");
    fs::write(fixture.path("Cargo.toml"), format!("{before}[workspace]{rest}")).expect("a copy");
    run(fixture.command(["test", "--no-run"])).expect(0);
    let report = fixture.path("report.json");
    let mut command =
        fixture.command(["test", "--lib", "--no-cache", "--message-format", "json", "--report"]);
    let mut child =
        command.arg(&report).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut starts = 0;
    for line in BufReader::new(child.stdout.take().expect("it was piped")).lines() {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        if line["reason"] == "sandbox-test-started" {
            starts += 1;
            if starts == 2 {
                fs::write(fixture.path("go"), "").expect("a copy is ours to write");
            }
        }
    }
    let (status, report) = ended(&fixture, child);
    assert_eq!((status, starts), (Some(77), 2));
    assert_eq!(heard(&report), both(), "{report:#}");
    let grants = report["targets"][0]["grants"].as_array().expect("grants");
    let early = grants.iter().find(|grant| grant["place"]["entry"] == "early.txt").expect("the grant");
    assert_eq!(early["uses"], 2, "one in each instance");
}

/// Makes `program` run guests with ours.
fn with_runner(program: &str, fixture: &Fixture, flags: &[&str], args: &[&str]) -> Command {
    let mut command = command(program);
    let mut runner = OsString::from(binary());
    runner.push(" runner ");
    runner.push(flags.join(" "));
    command
        .current_dir(fixture.dir())
        .args(args)
        .env("CARGO_BUILD_TARGET", "wasm32-wasip1")
        .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
    command
}

fn needs_nextest() {
    let there = Command::new("cargo").args(["nextest", "--version"]).output();
    assert!(
        there.is_ok_and(|there| there.status.success()),
        "needs cargo-nextest: `make nextest` installs it"
    );
}

/// A runner is started for each instance, and its report is of that one.
#[test]
fn a_runner_of_cargo_or_nextest_hears_every_phase() {
    needs_nextest();
    let fixture = Fixture::copy("phases");
    let report = fixture.path("report.json");
    let reported = ["--report", report.to_str().expect("a plain path")];
    run(with_runner("cargo", &fixture, &[], &["test", "--no-run"])).expect(0);
    for (wanted, args, enforced) in [
        ("run", &["test", "--lib", "passes"][..], 77),
        ("should-panic", &["test", "--lib", "must_panic", "--", "--include-ignored"], 0),
        ("attempt1", &["test", "--lib", "a_fails"], 77),
        ("terse", &["test", "--lib", "--", "--list"], 77),
        ("ignored", &["test", "--lib", "--", "--list", "--ignored"], 77),
        ("run", &["test", "--test", "plain"], 77),
        ("terse", &["test", "--test", "plain", "--", "--list"], 77),
        ("run", &["test", "--test", "plain", "nothing"], 77),
        ("run", &["test", "--test", "speaks"], 77),
        ("doc", &["test", "--doc"], 101),
        // Its listing fails.
        ("terse", &["nextest", "run", "--lib", "passes"], 104),
        ("ignored", &["nextest", "run", "--lib", "passes"], 104),
        ("terse", &["nextest", "list", "--test", "plain"], 104),
        ("run", &["nextest", "run", "--lib", "passes"], 100),
        // What an attempt did that another one follows is not cleared by that.
        ("attempt1", &["nextest", "run", "--lib", "--retries", "1", "a_fails"], 100),
    ] {
        begin(&fixture, wanted);
        let ran = run(with_runner("cargo", &fixture, &[], args));
        if wanted == "should-panic" {
            // libtest on wasm runs none of these.
            ran.expect(0);
            continue;
        }
        let ran = ran.expect(enforced);
        let audited = if args == ["test", "--lib", "a_fails"] { 134 } else { 0 };
        assert_eq!(fixture.read("made.txt"), None, "{args:?}");
        says_it(&ran);

        begin(&fixture, wanted);
        let _ = fs::remove_file(&report);
        let flags = [&["--audit"], &reported[..]].concat();
        let ran = run(with_runner("cargo", &fixture, &flags, args)).expect(audited);
        assert!(fixture.read("made.txt").is_some(), "{args:?}: {}", ran.stderr);
        // Nextest shows nothing of what went well, and the report is that of the last runner.
        if args[0] == "test" {
            says_it(&ran);
            let report = fs::read_to_string(&report).expect("a report");
            assert_eq!(heard(&serde_json::from_str(&report).expect("JSON")), both(), "{args:?}");
        }

        begin(&fixture, wanted);
        run(with_runner("cargo", &fixture, &["--fix"], args));
        assert_eq!(fixture.read("made.txt"), None, "a runner fixes nothing, and starts nothing");
    }
}

/// The table of phases is complete: what runs an artifact is in one of these files, and each is known here.
#[test]
fn every_place_that_starts_an_instance_is_known() {
    let known = BTreeMap::from([
        ("src/runner/run.rs", "a program, or a runner's instance"),
        ("src/runner/suite/listing.rs", "the three questions"),
        ("src/runner/suite/testing.rs", "tests, attempts, better code"),
    ]);
    let mut found = BTreeSet::new();
    let mut open = vec![crate::common::root().join("src")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if starts(&path) {
                found.insert(path.strip_prefix(crate::common::root()).expect("inside").display().to_string());
            }
        }
    }
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        known.keys().copied().collect::<Vec<_>>()
    );
}

/// Whether a file outside of `worker` runs a pool or a program.
fn starts(path: &Path) -> bool {
    let text = fs::read_to_string(path).expect("a source");
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    !path.to_str().expect("a plain path").contains("/src/worker/")
        && ["pool.run(", "launcher.run("].iter().any(|call| text.contains(call))
}

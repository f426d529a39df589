//! What a person sees, as it is.

use crate::report_samples::*;
use cargo_sandbox::event::*;
use cargo_sandbox::exit_status::ExitStatus;
use cargo_sandbox::report::Reporter as _;
use cargo_sandbox::report::human::{Human, Options};
use insta::assert_snapshot;
use sandbox_policy::access::{Access, Evidence, Operation, Resource, Wall};
use std::time::Duration;

fn show_with(options: Options, events: &[RunEvent], report: &Report) -> String {
    let mut human = Human::new(Vec::new(), options);
    for event in events {
        human.event(event);
    }
    human.finish(report).expect("a vector can be written to");
    String::from_utf8(std::mem::take(human.get_mut())).expect("only text is printed")
}

fn show(events: &[RunEvent], report: &Report) -> String {
    show_with(formats::options(), events, report)
}

/// Violations without what else a run prints.
fn show_violations(violations: Vec<Violation>) -> String {
    let mut report = run(ExitStatus::Violation, violations);
    report.targets[0].grants.clear();
    show(&[], &report)
}

#[test]
fn a_violation() {
    assert_snapshot!(show_violations(vec![violation()]), @r#"
    error[fs-read]: unexpected access: read `/etc/passwd`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by the wasi wall; no grant of copy-file covers it
    help: to allow it, add to Cargo.toml
       |
       | [package.metadata.sandbox.fs]
       | read = ["/etc/passwd"]

        Violated 1 unexpected access · exit status 77 · landlock ABI 7
    "#);
}

#[test]
fn the_same_access_from_the_same_place_is_one() {
    let in_test = |name: &str, count| Violation { test: Some(name.to_owned()), count, ..violation() };
    let tests = ["a::one", "a::two", "b::one", "b::two", "b::three"];
    let violations = tests.into_iter().map(|name| in_test(name, 4)).chain([in_test("a::one", 1)]).collect();
    assert_snapshot!(show_violations(violations), @r#"
    error[fs-read]: unexpected access: read `/etc/passwd`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by the wasi wall; no grant of copy-file covers it
       = note: 21 times, in tests `a::one`, `a::two`, `b::one` and 2 more
    help: to allow it, add to Cargo.toml
       |
       | [package.metadata.sandbox.fs]
       | read = ["/etc/passwd"]

        Violated 1 unexpected access · exit status 77 · landlock ABI 7
    "#);
    assert_snapshot!(show_violations(vec![in_test("a::one", 12)]), @r#"
    error[fs-read]: unexpected access: read `/etc/passwd`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by the wasi wall; no grant of copy-file covers it
       = note: 12 times, in test `a::one`
    help: to allow it, add to Cargo.toml
       |
       | [package.metadata.sandbox.fs]
       | read = ["/etc/passwd"]

        Violated 1 unexpected access · exit status 77 · landlock ABI 7
    "#);
}

#[test]
fn a_dependency_without_its_source() {
    let mut violation = violation();
    violation.access =
        Access { operation: Operation::EnvRead, resource: Resource::Env(b"AWS_SECRET_ACCESS_KEY".to_vec()) };
    violation.snippet = None;
    violation.suggestion = None;
    let origin = violation.origin.as_mut().expect("an origin");
    origin.package = "left-pad".to_owned();
    origin.version = Some("1.3.0".to_owned());
    origin.frame.function = "left_pad::pad::{closure#0}".to_owned();
    origin.frame.file = "/home/me/.cargo/registry/src/left-pad-1.3.0/src/x.rs".to_owned();
    (origin.frame.line, origin.frame.column) = (3, 4);
    assert_snapshot!(show_violations(vec![violation]), @r#"
    error[env-read]: unexpected access: read environment variable `AWS_SECRET_ACCESS_KEY`
    --> /home/me/.cargo/registry/src/left-pad-1.3.0/src/x.rs:3:4
     = note: from `left_pad::pad::{closure#0}`, in left-pad v1.3.0
     = note: denied by the wasi wall; no grant of copy-file covers it

        Violated 1 unexpected access · exit status 77 · landlock ABI 7
    "#);
}

#[test]
fn an_artifact_without_names() {
    let violation =
        Violation { origin: None, snippet: None, evidence: Evidence::Wasm(vec![]), ..violation() };
    assert_snapshot!(show_violations(vec![violation]), @r#"
    error[fs-read]: unexpected access: read `/etc/passwd`
     |
     = note: denied by the wasi wall; no grant of copy-file covers it
     = note: the artifact has no names, so where the access comes from is not known
    help: to allow it, add to Cargo.toml
     |
     | [package.metadata.sandbox.fs]
     | read = ["/etc/passwd"]

        Violated 1 unexpected access · exit status 77 · landlock ABI 7
    "#);
}

#[test]
fn an_exception_and_a_protected_place() {
    let exception = Some(GrantPlace { key: "deny".to_owned(), ..place(7, "assets/secret.pem") });
    let protected = Some(place(0, ""));
    let mut denied = Violation { exception, suggestion: None, ..violation() };
    denied.access.resource = Resource::Path(b"/w/assets/secret.pem".to_vec());
    let modified =
        Access { operation: Operation::Modify, resource: Resource::Path(b"/w/Cargo.toml".to_vec()) };
    let protected = Violation {
        exception: protected,
        suggestion: None,
        access: modified,
        wall: Wall::Landlock,
        note: "opening a file for writing may truncate it".to_owned(),
        ..violation()
    };
    assert_snapshot!(show_violations(vec![denied, protected]), @r#"
    error[fs-read]: unexpected access: read `/w/assets/secret.pem`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by exception `assets/secret.pem` at Cargo.toml:7

    error[fs-modify]: unexpected access: modify `/w/Cargo.toml`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by the landlock wall; it is a protected place
       = note: opening a file for writing may truncate it

        Violated 2 unexpected accesses · exit status 77 · landlock ABI 7
    "#);
}

#[test]
fn an_audit_warns() {
    let mut report = run(ExitStatus::Guest(3), vec![Violation { allowed: true, ..violation() }]);
    report.audit = true;
    report.targets[0].grants.clear();
    report.notes.push("`--audit` did not enforce the grants of copy-file".to_owned());
    assert_snapshot!(show(&[], &report), @r#"
    warning[fs-read]: unexpected access: read `/etc/passwd`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: allowed by `--audit`; no grant of copy-file covers it
    help: to allow it, add to Cargo.toml
       |
       | [package.metadata.sandbox.fs]
       | read = ["/etc/passwd"]

    note: `--audit` did not enforce the grants of copy-file

          Exited 1 unexpected access · exit status 3, the guest's own · audit: grants were not enforced · landlock ABI 7
    "#);
}

/// A person sees both ends of what a failing test printed; a program reads all of it.
#[test]
fn a_long_output_is_cut_for_people_alone() {
    let mut failed = test("floods", TestVerdict::Failed);
    failed.output = (0..100_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let output = String::from_utf8(failed.output.clone()).unwrap();
    let report = tests(ExitStatus::Failed, vec![failed.clone()]);
    let shown = show(&[RunEvent::TestFinished(failed)], &report);
    assert!(shown.len() < 70_000, "{}", shown.len());
    assert!(shown.contains("\nline 0\n") && shown.contains("\nline 99999\n"), "both ends are shown");
    assert!(shown.contains(" bytes left out; all that was kept is in `--report` and `--junit` …]\n"));
    let json = serde_json::to_value(cargo_sandbox::report::json::Report::from(&report)).unwrap();
    assert!(json["targets"][0]["tests"][0]["output"]["text"] == output.as_str(), "the report is cut too");
}

#[test]
fn a_run_of_tests() {
    let names =
        ["from_slice", "retry", "advance", "reads", "reads_and_fails", "hangs", "dies", "slow", "panics"];
    let all: Vec<_> = names.into_iter().zip(VERDICTS).map(|(name, verdict)| test(name, verdict)).collect();
    let report = tests(ExitStatus::Violation, all);
    let mut events = vec![
        RunEvent::Status { verb: "Running", text: "bytes v1.0.0".to_owned() },
        RunEvent::TestsStarted { tests: 9, filtered: 2, targets: 1 },
        RunEvent::TestStarted { test: id("retry"), attempt: 2 },
        RunEvent::TestSlow { test: id("hangs"), elapsed: Duration::from_secs(60) },
    ];
    events.extend(report.targets[0].tests.iter().cloned().map(RunEvent::TestFinished));
    assert_snapshot!(show(&events, &report), @r#"
         Running bytes v1.0.0
        Starting 9 tests in 1 target, 2 filtered out
           TRY 2 [          ] bytes::test_buf retry
            SLOW [   60.000s] bytes::test_buf hangs
            PASS [    0.004s] bytes::test_buf from_slice
           FLAKY [    0.004s] bytes::test_buf retry (2 attempts)
            FAIL [    0.004s] bytes::test_buf advance
    ──── output of bytes::test_buf advance ────
    thread panicked
    left: 1

        VIOLATED [    0.004s] bytes::test_buf reads
                 read `/etc/passwd`
        VIOLATED [    0.004s] bytes::test_buf reads_and_fails (and failed)
                 read `/etc/passwd`
         TIMEOUT [    0.004s] bytes::test_buf hangs (ended at its time limit of 60s)
          KILLED [    0.004s] bytes::test_buf dies (killed by signal 9)
         NOT RUN [          ] bytes::test_buf panics (should panic)

    error[fs-read]: unexpected access: read `/etc/passwd`
      --> src/main.rs:14:13
       |
    14 |     let s = fs::read_to_string("/etc/passwd");
       |             ^^^^^^^^^^^^^^^^^^ `copy_file::main`, in copy-file v0.1.0
       |
       = note: denied by the wasi wall; no grant of copy-file covers it
       = note: 2 times, in tests `reads`, `reads_and_fails`
    help: to allow it, add to Cargo.toml
       |
       | [package.metadata.sandbox.fs]
       | read = ["/etc/passwd"]

    warning[unused-grant]: unused grant: `assets/*.json` in `package.metadata.sandbox.fs.read`
    --> Cargo.toml:7
     = note: no access of copy-file needed it in this run

            FAIL [    0.004s] bytes::test_buf advance
        VIOLATED [    0.004s] bytes::test_buf reads
                 read `/etc/passwd`
        VIOLATED [    0.004s] bytes::test_buf reads_and_fails (and failed)
                 read `/etc/passwd`
         TIMEOUT [    0.004s] bytes::test_buf hangs (ended at its time limit of 60s)
          KILLED [    0.004s] bytes::test_buf dies (killed by signal 9)
        Violated 1 unexpected access · 2 tests passed · 1 flaky · 1 failed · 2 violated · 1 timed out · 1 killed · 1 ignored · 1 not run · exit status 77 · landlock ABI 7
    "#);

    let quiet = Options { quiet: true, ..Options::default() };
    assert_snapshot!(show_with(quiet, &events, &tests(ExitStatus::Success, vec![test("a", TestVerdict::Passed)])), @r#"
            FAIL [    0.004s] bytes::test_buf advance
    ──── output of bytes::test_buf advance ────
    thread panicked
    left: 1

        VIOLATED [    0.004s] bytes::test_buf reads
                 read `/etc/passwd`
        VIOLATED [    0.004s] bytes::test_buf reads_and_fails (and failed)
                 read `/etc/passwd`
         TIMEOUT [    0.004s] bytes::test_buf hangs (ended at its time limit of 60s)
          KILLED [    0.004s] bytes::test_buf dies (killed by signal 9)

            FAIL [    0.004s] bytes::test_buf advance
        VIOLATED [    0.004s] bytes::test_buf reads
                 read `/etc/passwd`
        VIOLATED [    0.004s] bytes::test_buf reads_and_fails (and failed)
                 read `/etc/passwd`
         TIMEOUT [    0.004s] bytes::test_buf hangs (ended at its time limit of 60s)
          KILLED [    0.004s] bytes::test_buf dies (killed by signal 9)
    "#);
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let report = tests(ExitStatus::Success, vec![test("a", TestVerdict::Passed)]);
    let quiet = Options { quiet: true, ..Options::default() };
    assert_eq!(show_with(quiet, &events(&report)[..2], &report), "");
}

#[test]
fn a_guest_that_exits_with_a_number_of_ours() {
    let mut report = run(ExitStatus::Guest(77), vec![]);
    report.targets[0].grants.clear();
    report.kernel.landlock_abi = None;
    assert_snapshot!(show(&[], &report), @r#"
          Exited exit status 77, the guest's own · no landlock
    "#);
}

#[test]
fn what_is_enforced_is_told_from_what_a_newer_kernel_has_and_an_older_one_lacks() {
    let mut report = run(ExitStatus::Success, vec![]);
    report.targets[0].grants.clear();
    report.kernel.landlock_abi = Some(9);
    report.kernel.landlock_kernel_abi = Some(11);
    let last = |report: &Report| show(&[], report).trim_end().rsplit("   ").next().unwrap().to_owned();
    assert_eq!(last(&report), "Passed landlock ABI 9 of this kernel's 11");
    report.kernel = Default::default();
    report.kernel.landlock_abi = Some(4);
    report.kernel.landlock_kernel_abi = Some(4);
    report.kernel.missing = vec!["device ioctls".to_owned(), "abstract sockets and signals".to_owned()];
    assert_eq!(last(&report), "Passed landlock ABI 4 (without device ioctls, abstract sockets and signals)");
    report.kernel.landlock_level = "off".to_owned();
    assert_eq!(last(&report), "Passed landlock off");
}

#[test]
fn messages_and_unused_grants() {
    let report = run(ExitStatus::Unused, vec![]);
    assert_snapshot!(show(&[RunEvent::Message(warning())], &report), @r#"
    warning[fs-missing]: no such folder: `assets`
     --> Cargo.toml:7:5
      |
    7 |     "assets/*.json",
      |     ^^^^^^^^^^^^^^^ this can never match
      |
      = note: the pattern is relative to the package root
      = help: remove it
    help: or make it `input`
      |
      | read = ["input"]

    error[unused-grant]: unused grant: `assets/*.json` in `package.metadata.sandbox.fs.read`
    --> Cargo.toml:7
     = note: no access of copy-file needed it in this run

          Unused exit status 79 · landlock ABI 7
    "#);
}

#[test]
fn how_a_guest_ended() {
    let ends = [
        GuestOutcome::Exited(3),
        GuestOutcome::Trapped("stack overflow".to_owned()),
        GuestOutcome::Limit("memory".to_owned()),
        GuestOutcome::TimedOut(Duration::from_millis(1500)),
        GuestOutcome::Killed(9),
        GuestOutcome::Interrupted,
    ];
    let events: Vec<_> = ends
        .into_iter()
        .map(|end| RunEvent::TargetFinished(TargetReport { outcome: Some(end), ..target() }))
        .collect();
    let mut report = run(ExitStatus::TimedOut, vec![]);
    report.targets[0].grants.clear();
    assert_snapshot!(show(&events, &report), @r#"
        Ended copy-file copy-file: trapped: stack overflow
        Ended copy-file copy-file: reached its limit of memory
        Ended copy-file copy-file: ended at its time limit of 1.5s
        Ended copy-file copy-file: killed by signal 9
        Ended copy-file copy-file: interrupted
    Timed out exit status 124 · landlock ABI 7
    "#);
}

#[test]
fn colour_is_only_ours() {
    let report = tests(ExitStatus::Failed, vec![test("a", TestVerdict::Failed)]);
    let styled = show_with(Options { styled: true, ..formats::options() }, &events(&report), &report);
    assert!(styled.contains("\x1b[1m\x1b[31m        FAIL\x1b[0m"), "{styled:?}");
    let plain = show(&events(&report), &report);
    assert!(!plain.contains('\x1b'));
    assert_eq!(anstream::adapter::strip_str(&styled).to_string(), plain);
}

#[test]
fn output_that_does_not_end_its_line_is_not_run_into() {
    let output = |bytes: &[u8]| RunEvent::Output { test: None, bytes: bytes.to_vec() };
    let status = RunEvent::Status { verb: "Running", text: "next".to_owned() };
    let shown = show(&[output(b"one "), output(b"two"), status], &run(ExitStatus::Success, vec![]));
    assert!(shown.starts_with("one two\n     Running next\n"), "{shown}");
}

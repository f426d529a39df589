//! `cargo sandbox runner` in the hands of cargo and nextest: nothing of ours on standard output, and a violation
//! fails whoever asked.

use crate::common::{Fixture, Run, binary, command, run};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Makes `program` run guests with ours.
fn with_runner(program: &str, fixture: &Fixture, args: &[&str]) -> Command {
    let mut command = command(program);
    let mut runner = OsString::from(binary());
    runner.push(" runner");
    command
        .current_dir(fixture.dir())
        .args(args)
        .args(["--target", "wasm32-wasip1"])
        .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
    command
}

/// The test artifact of the library, built as the user would build it.
fn artifact(fixture: &Fixture) -> PathBuf {
    run(with_runner("cargo", fixture, &["test", "--lib", "--no-run"])).expect(0);
    let deps = fixture.path("target/wasm32-wasip1/debug/deps");
    let files = std::fs::read_dir(&deps).expect("cargo has built something");
    let wasm =
        files.flatten().map(|file| file.path()).find(|path| path.extension().is_some_and(|e| e == "wasm"));
    wasm.unwrap_or_else(|| panic!("no wasm file in {}", deps.display()))
}

fn ran(fixture: &Fixture, artifact: &std::path::Path, args: &[&str]) -> Run {
    let mut all = vec![OsString::from("runner"), artifact.into()];
    all.extend(args.iter().map(OsString::from));
    run(fixture.command(all))
}

#[test]
fn the_contract_of_nextest_holds() {
    let fixture = Fixture::copy("tests-case");
    let artifact = artifact(&fixture);
    let ran = |args: &[&str]| ran(&fixture, &artifact, args);
    let list = ran(&["--list", "--format", "terse"]).expect(0);
    assert_eq!(
        list.stdout,
        "export::cannot_read: test\nimport::reads_csv: test\nother::touches_nothing: test\n"
    );
    assert_eq!(list.stderr, "", "a list is no news");
    assert_eq!(ran(&["--list", "--format", "terse", "--ignored"]).expect(0).stdout, "");
    let good = ran(&["other::touches_nothing", "--exact", "--nocapture"]).expect(0);
    assert!(good.stdout.contains("1 passed"), "{}", good.stdout);
    assert_eq!(good.stderr, "", "all is well");
    // The case of a test holds for a runner that is asked for that test.
    let granted = ran(&["import::reads_csv", "--exact", "--nocapture"]).expect(0);
    assert_eq!(granted.stderr, "");
    let violated = ran(&["export::cannot_read", "--exact", "--nocapture"]).expect(77);
    assert!(violated.stdout.contains("1 passed"), "libtest's word: {}", violated.stdout);
    assert!(!violated.stdout.contains("unexpected"), "{}", violated.stdout);
    assert!(violated.stderr.contains("error[fs-read]"), "{}", violated.stderr);
}

#[test]
fn cargo_test_fails_on_a_violation_that_the_test_swallowed() {
    let fixture = Fixture::copy("tests-case");
    let test = |name: &str| run(with_runner("cargo", &fixture, &["test", "--lib", name]));
    let good = test("other").expect(0);
    assert!(good.stdout.contains("1 passed"), "{}", good.stdout);
    // Cargo hands on what the one test binary exited with.
    let bad = test("export").expect(77);
    assert!(bad.stdout.contains("1 passed"), "{}", bad.stdout);
    assert!(bad.stderr.contains("error[fs-read]"), "{}", bad.stderr);
}

#[test]
fn grants_of_the_command_line_and_another_root() {
    let fixture = Fixture::copy("tests-case");
    let artifact = artifact(&fixture);
    let wasm = artifact.to_str().expect("a plain path");
    let name = ["import::reads_csv", "--exact", "--nocapture"];
    let with = |flags: &[&str]| {
        let all = [&["runner"], flags, &[wasm], &name].concat();
        run(fixture.command(all))
    };
    with(&["--no-manifest"]).expect(77);
    with(&["--no-manifest", "--read", "tests/data"]).expect(0);
    // The folder of the fixture as the guest's whole world.
    let root = fixture.dir();
    let root = root.to_str().expect("a plain path");
    with(&["--root", root, "--cwd", "/", "--read", "/tests/data"]).expect(0);
    with(&["--root", root, "--cwd", "/"]).expect(77);
}

#[test]
fn beneath_another_root_nothing_stands_in_the_place_of_tmp() {
    let fixture = Fixture::copy("any-access").file("root/tmp/f", "of this root\n");
    run(fixture.command(["run", "-q"])).expect(0);
    let artifact = fixture.path("target/sandbox/wasm32-wasip1/debug/any-access.wasm");
    let (root, wasm) = (fixture.path("root"), artifact.to_str().expect("a plain path"));
    let audit =
        ["runner", "-q", "--audit", "--cwd", "/", "--root", root.to_str().expect("a plain path"), wasm];
    let tried = |operation: &str, name: &str| {
        run(fixture.command([&audit[..], &[operation, name]].concat())).expect(0).stdout.trim().to_owned()
    };
    assert_eq!(tried("read", "/tmp/f"), "works");
    assert_eq!(tried("create", "/tmp/new"), "works");
    assert!(fixture.path("root/tmp/new").is_dir());
}

#[test]
fn nextest_passes_and_fails_with_our_runner() {
    let fixture = Fixture::copy("tests-case");
    let there = std::process::Command::new("cargo").args(["nextest", "--version"]).output();
    assert!(
        there.is_ok_and(|there| there.status.success()),
        "needs cargo-nextest: `make nextest` installs it"
    );
    let nextest = |filter: &str| run(with_runner("cargo", &fixture, &["nextest", "run", filter]));
    nextest("other").expect(0);
    nextest("import").expect(0);
    let bad = nextest("export").expect(100);
    assert!(bad.stderr.contains("error[fs-read]"), "{}", bad.stderr);
}

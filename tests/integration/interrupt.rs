//! Ctrl-C, at every stage: status 130, and nobody and nothing is left behind.

use crate::common::fixtures::Edit::{Append, Without};
use crate::common::{Fixture, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// Every process that was started, directly or not, by this one.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        for child in children
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        {
            if found.insert(child) {
                open.push(child);
            }
        }
    }
    found
}

/// What a process was started as; `None` when it is gone or only waits to be reaped.
fn words(pid: u32) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|words| !words.is_empty())?;
    Some(String::from_utf8_lossy(&words).replace('\0', " "))
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn start(mut command: Command, tmp: &Path) -> Child {
    command.env("TMPDIR", tmp).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Waits until one of the processes below it matches, sends it the signal, and asserts that all of them go.
fn stopped(child: Child, signal: Signal, busy: &str, tmp: &Path) {
    stopped_but(child, signal, busy, tmp, |_| false);
}

/// The same where others may leave something.
fn stopped_but(mut child: Child, signal: Signal, busy: &str, tmp: &Path, others: impl Fn(&str) -> bool) {
    let found = until(busy, || {
        let all = descendants(child.id());
        let busy = |pid: &u32| words(*pid).is_some_and(|words| words.contains(busy));
        if let Some(status) = child.try_wait().expect("waiting for a child of ours") {
            panic!("it ended by itself: {status}");
        }
        all.iter().any(busy).then_some(all)
    });
    // A guest that has begun to run: it has used the processor since.
    thread::sleep(Duration::from_millis(300));
    let before: Vec<(u32, String)> = found.iter().filter_map(|pid| Some((*pid, words(*pid)?))).collect();
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("it is ours");
    let status = wait(&mut child, SOON);
    assert_eq!(status, Some(130), "{busy} {signal:?}");
    for (pid, was) in before {
        until(&format!("{was} ends"), || (words(pid).as_ref() != Some(&was)).then_some(()));
    }
    let names = fs::read_dir(tmp).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|name| !others(&name.to_string_lossy())).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_run_that_is_interrupted_leaves_no_worker_and_no_private_directory() {
    let fixture = Fixture::copy("endless-loop")
        .manifest(|text| Without("time =").apply(&text))
        .manifest(|text| Append("[package.metadata.sandbox.fs]\nwrite = [\"{tmp}\"]").apply(&text));
    let tmp = fixture.path("tmp");
    fs::create_dir(&tmp).expect("a copy is ours");
    crate::common::run(fixture.command(["run", "--", "end"])).expect(0);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let child = start(fixture.command(["run"]), &tmp);
        until("a private directory", || {
            fs::read_dir(&tmp).expect("it is there").next().is_some().then_some(())
        });
        stopped(child, signal, "__worker", &tmp);
    }
}

#[test]
fn a_build_that_is_interrupted_leaves_no_cargo_and_nothing_it_started() {
    let fixture = Fixture::copy("copy-file")
        .file("build.rs", "fn main() { std::thread::sleep(std::time::Duration::from_secs(600)); }");
    let tmp = fixture.path("tmp");
    fs::create_dir(&tmp).expect("a copy is ours");
    stopped(start(fixture.command(["run"]), &tmp), Signal::INT, "build-script-build", &tmp);
    assert_eq!(fixture.read("output.txt"), None);
}

#[test]
fn doc_tests_that_are_interrupted_leave_no_worker_and_no_private_directory() {
    let fixture = Fixture::copy("lib-only")
        .manifest(|text| Append("[package.metadata.sandbox.fs]\nwrite = [\"{tmp}\"]").apply(&text))
        .file("src/lib.rs", "//! ```\n//! loop {}\n//! ```\n");
    let tmp = fixture.path("tmp");
    fs::create_dir(&tmp).expect("a copy is ours");
    let child = start(fixture.command(["test", "--doc"]), &tmp);
    until("a private directory", || {
        let names = fs::read_dir(&tmp).expect("it is there").flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.as_encoded_bytes().starts_with(b"cargo-sandbox-")).then_some(())
    });
    // rustdoc has no chance to remove its own.
    stopped_but(child, Signal::INT, "__worker", &tmp, |name| !name.starts_with("cargo-sandbox-"));
}

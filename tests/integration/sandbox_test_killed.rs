//! `cargo sandbox test` when a worker is killed from outside, with very many tests, and with documentation.

use crate::common::{Fixture, run, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

fn verdicts(report: &Value) -> BTreeMap<&str, &str> {
    let targets = report["targets"].as_array().expect("targets").iter();
    let tests = targets.flat_map(|target| target["tests"].as_array().expect("tests"));
    tests
        .map(|test| (test["name"].as_str().expect("a name"), test["verdict"].as_str().expect("a verdict")))
        .collect()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Whether a process has used more than 0.3 s of processor time.
fn busy(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(11)?.parse::<u64>().ok())
        .is_some_and(|ticks| ticks > 30)
}

#[test]
fn a_killed_worker_costs_the_test_that_it_ran() {
    let mut source = "#[test] fn endless() { while std::hint::black_box(true) {} }\n".to_owned();
    for i in 0..30 {
        source += &format!("#[test] fn t{i:02}() {{}}\n#[test] fn z{i:02}() {{}}\n");
    }
    let fixture = Fixture::copy("tests-case").rewrite("src/lib.rs", |_| source);
    run(fixture.command(["test", "--no-run"])).expect(0);
    let report = fixture.path("report.json");
    let mut command = fixture.command(["test", "--timeout", "60s", "--report", "report.json"]);
    let mut supervisor =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary can be started");
    let deadline = Instant::now() + Duration::from_secs(60);
    let worker = loop {
        assert!(Instant::now() < deadline, "no worker with a busy child was seen");
        // A worker's child, not a child of cargo's, which has ended by then.
        let found =
            children(supervisor.id()).into_iter().find(|worker| children(*worker).into_iter().any(busy));
        match found {
            Some(worker) => break worker,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let worker = Pid::from_raw(i32::try_from(worker).expect("a process id")).expect("not zero");
    kill_process(worker, Signal::KILL).expect("a process of this user");
    assert_eq!(wait(&mut supervisor, Duration::from_secs(50)), Some(101));
    let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let verdicts = verdicts(&report);
    assert_eq!(verdicts.len(), 61);
    for (name, verdict) in verdicts {
        assert_eq!(verdict, if name == "endless" { "killed" } else { "passed" }, "{name}");
    }
}

/// Not a timed test: it prints what `--nocapture` shows.
#[test]
fn a_thousand_tests_all_pass() {
    let fixture = Fixture::copy("thousand");
    run(fixture.command(["test", "--no-run"])).expect(0);
    // The second time nothing is to be compiled.
    for _ in 0..2 {
        let (run, report) = fixture.run_with_report("test", &["-q"], &[]);
        let run = run.expect(0);
        assert_eq!(report["counts"]["passed"], 1000);
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("", ""),
            "nothing is wrong, and nothing is said"
        );
        println!(
            "1,000 tests: {:?}, of which {} µs ran them",
            run.elapsed, report["targets"][0]["duration_us"]
        );
    }
}

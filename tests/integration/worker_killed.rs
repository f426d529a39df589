//! A zygote that is killed from outside.

use crate::support::suite::{run, test};
use cargo_sandbox::event::GuestOutcome;
use cargo_sandbox::worker::protocol::TestRun;
use cargo_sandbox::worker::supervisor::RunEnd;
use std::time::{Duration, Instant};

#[test]
fn a_killed_zygote_costs_one_test() {
    let starter = rustix::thread::gettid().as_raw_pid();
    let killer = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < deadline, "no zygote was seen");
            std::thread::sleep(Duration::from_millis(50));
            if let Some(pid) = zygote_with_a_busy_child(starter) {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                return rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
    });
    let mut tests: Vec<_> = (0..10).map(|id| test(id, "exit")).collect();
    tests.insert(4, TestRun { time: Some(Duration::from_secs(30)), ..test(99, "loop") });
    let suite = run(1, tests);
    killer.join().unwrap();
    assert_eq!(suite.results.len(), 11);
    assert_eq!(*suite.end(99), RunEnd::Guest(GuestOutcome::Killed(9)));
    for id in 0..10 {
        assert_eq!(*suite.end(id), RunEnd::Guest(GuestOutcome::Exited(3)));
    }
}

/// A child of this thread, and no other test's, with a child that uses the processor.
fn zygote_with_a_busy_child(starter: i32) -> Option<i32> {
    // By its one thread, or the number of a thread of ours.
    let children = |of: &str, thread: i32| -> Vec<i32> {
        let list = std::fs::read_to_string(format!("/proc/{of}/task/{thread}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let busy = |pid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(11)?.parse::<u64>().ok())
            .is_some_and(|ticks| ticks > 20)
    };
    let own = children("self", starter);
    own.into_iter().find(|zygote| children(&zygote.to_string(), *zygote).into_iter().any(busy))
}

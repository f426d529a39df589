//! A list of tests for a pool, and what became of them.

use super::{artifact, launcher, package, root};
use cargo_sandbox::compile::Strategy;
use cargo_sandbox::worker::protocol::{Confinement, TestRun, TestsTask};
use cargo_sandbox::worker::supervisor::{Artifact, PoolJob, RunEnd, RunResult, TestPool, Tests};
use sandbox_policy::access::RawFrame;
use sandbox_policy::{Bindings, PackagePolicy};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

#[derive(Default)]
pub(crate) struct Suite {
    pub(crate) waiting: VecDeque<TestRun>,
    pub(crate) results: BTreeMap<u64, RunResult>,
    pub(crate) started: Vec<u64>,
    pub(crate) stop_after: Option<usize>,
}

impl Tests for Suite {
    fn next(&mut self) -> Option<TestRun> {
        self.waiting.pop_front()
    }
    fn started(&mut self, id: u64) {
        self.started.push(id);
    }
    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|n| self.results.len() >= n)
    }
    fn finished(&mut self, id: u64, result: RunResult) {
        assert!(self.results.insert(id, result).is_none(), "a test has ended twice");
    }
    fn origin(&mut self, _id: u64, _backtrace: &[RawFrame]) -> Option<String> {
        Some("actor".to_owned())
    }
}

impl Suite {
    pub(crate) fn end(&self, id: u64) -> &RunEnd {
        &self.results[&id].end
    }
}

pub(crate) fn test(id: u64, what: &str) -> TestRun {
    TestRun {
        id,
        test: Some(format!("test{id}")),
        args: vec![b"actor".to_vec(), what.as_bytes().to_vec()],
        ..TestRun::default()
    }
}

pub(crate) fn on(id: u64, what: &str, path: &std::path::Path) -> TestRun {
    let mut run = test(id, what);
    run.args.push(path.to_str().unwrap().as_bytes()[1..].to_vec());
    run
}

pub(crate) fn run_in(
    package: PackagePolicy,
    tmps: Option<PathBuf>,
    workers: usize,
    tests: Vec<TestRun>,
) -> Suite {
    let suite = Suite { waiting: tests.into(), ..Suite::default() };
    run_suite(package, tmps, workers, suite)
}

pub(crate) fn run_suite(
    package: PackagePolicy,
    tmps: Option<PathBuf>,
    workers: usize,
    suite: Suite,
) -> Suite {
    run_artifact(&artifact(Strategy::Cranelift), package, tmps, workers, suite)
}

pub(crate) fn run_artifact(
    artifact: &Artifact,
    package: PackagePolicy,
    tmps: Option<PathBuf>,
    workers: usize,
    mut suite: Suite,
) -> Suite {
    let root = root();
    let job = job(artifact, &root, Strategy::Cranelift, package, tmps);
    let mut pool = TestPool::new(&launcher(), PoolJob { workers, ..job });
    assert!(!pool.run(&mut suite).unwrap());
    suite
}

/// Two workers behind all walls.
pub(crate) fn job<'a>(
    artifact: &'a Artifact,
    root: &'a OwnedFd,
    strategy: Strategy,
    package: PackagePolicy,
    tmps: Option<PathBuf>,
) -> PoolJob<'a> {
    let bindings = Bindings { tmp: tmps, current_dir: PathBuf::from("/") };
    PoolJob {
        code: artifact.code.as_fd(),
        root: root.as_fd(),
        task: TestsTask {
            confinement: Confinement::new(strategy),
            union: package.for_all_tests(&bindings),
            start: artifact.module_info.start,
            package,
            target: "actor".to_owned(),
            env: Vec::new(),
            current_dir: PathBuf::from("/"),
        },
        workers: 2,
        live: false,
        tick: None,
        tier_up: None,
        interrupt: None,
    }
}

pub(crate) fn run(workers: usize, tests: Vec<TestRun>) -> Suite {
    run_in(package(&[]), None, workers, tests)
}

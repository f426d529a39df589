//! What a pool of workers is asked to do, and what it says of it.

use super::tier::TierUp;
use crate::event::KernelReport;
use crate::worker::protocol::{TestRun, TestsTask};
use crate::worker::supervisor::observations::{OutputStream, RunResult};
use sandbox_policy::access::RawFrame;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The tests of one artifact, and where they run.
#[derive(Debug)]
pub struct PoolJob<'a> {
    /// Finished machine code.
    pub code: BorrowedFd<'a>,
    /// What the guests see as `/`: an `O_PATH` descriptor.
    pub root: BorrowedFd<'a>,
    /// What their processes are given.
    pub task: TestsTask,
    /// Number of zygotes.
    pub workers: usize,
    /// Pass output on as it comes.
    pub live: bool,
    /// How often [`Tests::tick`] is called.
    pub tick: Option<Duration>,
    /// What to do about tests that run for long.
    pub tier_up: Option<TierUp>,
    /// Becomes readable when everything is to be interrupted.
    pub interrupt: Option<BorrowedFd<'a>>,
}

/// Gives tests to a pool and hears of them.
pub trait Tests {
    /// The next test to run; `None` if there is none for now. Asked again whenever a test has ended
    /// (a failed one may be tried again); a pool is done when there is none and none runs.
    fn next(&mut self) -> Option<TestRun>;
    /// A zygote is confined and ready.
    fn ready(&mut self, _kernel: &KernelReport) {}
    /// A test was started.
    fn started(&mut self, _id: u64) {}
    /// A test wrote something ([`PoolJob::live`]).
    fn output(&mut self, _id: u64, _stream: OutputStream, _bytes: &[u8]) {}
    /// A test has ended.
    fn finished(&mut self, id: u64, result: RunResult);
    /// The crate that a backtrace originates from; see [`super::RunListener::origin`].
    fn origin(&mut self, _id: u64, _backtrace: &[RawFrame]) -> Option<String> {
        None
    }
    /// Called every [`PoolJob::tick`] with what runs and for how long.
    fn tick(&mut self, _running: &[(u64, Duration)]) {}
    /// Whether no further test shall be started, not even one that was given already.
    fn stopped(&self) -> bool {
        false
    }
}

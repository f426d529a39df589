//! What a pool of workers is asked to do, and what it says of it.

use super::tier::TierUp;
use crate::access::RawFrame;
use crate::event::{GuestOutcome, KernelReport};
use crate::policy::{PackagePolicy, Policy};
use crate::worker::protocol::{InjectedFault, Patch};
use crate::worker::supervisor::observations::{Output, OutputStream};
use crate::worker::supervisor::observed::Observed;
use crate::worker::supervisor::run::Confined;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What all tests of one artifact have in common.
#[derive(Debug)]
pub struct PoolJob<'a> {
    /// Finished machine code.
    pub code: BorrowedFd<'a>,
    /// What the guests see as `/`: an `O_PATH` descriptor.
    pub root: BorrowedFd<'a>,
    /// How they are confined. [`Confined::kernel_policy`] is not used for tests.
    pub confined: Confined,
    /// The union of what the tests may do; `{tmp}` bound to the folder that holds all of theirs.
    pub union: Policy,
    /// What each test's own policy is cut from.
    pub package: PackagePolicy,
    /// The code has a start function, which runs when it is instantiated: [`crate::compile::ModuleInfo::start`].
    pub start: bool,
    /// Name of the target whose tests they are.
    pub target: String,
    /// The environment of a test that is not given its own, already reduced to what is granted.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The current directory of every test.
    pub current_dir: PathBuf,
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

/// One test to run, or the listing of tests.
#[derive(Clone, Debug, Default)]
pub struct TestRun {
    /// The caller's number for it; different for all that run at one time.
    pub id: u64,
    /// Its name, for the grants of test cases.
    pub test: Option<String>,
    /// It is asked for a list of tests, which may be longer than what a test may print.
    pub listing: bool,
    /// Arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// Environment, already reduced to what is granted; `None`: [`PoolJob::env`].
    pub env: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Its private directory, which exists.
    pub tmp: Option<PathBuf>,
    /// Changes to its memory before it starts.
    pub patches: Vec<Patch>,
    /// Wall-clock time it may take.
    pub time: Option<Duration>,
    /// It may be ended and run again from its beginning once there is better code for it: it can change
    /// nothing that lasts. Its caller is told by [`TestEnd::Superseded`] and gives it again.
    pub repeatable: bool,
    /// Bytes of output to keep of its beginning; 0 stands for 1 MiB.
    pub keep_output: usize,
    /// Only in builds with `test-walls`: what its process does instead.
    pub fault: Option<InjectedFault>,
}

/// How a test's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestEnd {
    /// The guest ran and ended so.
    Guest(GuestOutcome),
    /// What [`Patch::expect`] wants was not there. Nothing ran.
    PatchMismatch,
    /// It was ended, to be run again with better code ([`TestRun::repeatable`]) or because nothing is to
    /// be run any more ([`Tests::stopped`]). What was heard of it until then still holds.
    Superseded,
    /// What happened cannot be told, in words: its process could not be set up, or says one thing
    /// and does another. Never a pass.
    Fault(String),
}

/// What is known of a test that has ended.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// See [`TestRun::id`].
    pub id: u64,
    /// How it ended.
    pub end: TestEnd,
    /// Frames of a trap, innermost first.
    pub backtrace: Vec<RawFrame>,
    /// What it did.
    pub observed: Observed,
    /// One more sentence, or empty.
    pub note: String,
    /// What it wrote.
    pub output: Output,
    /// Wall-clock time.
    pub duration: Duration,
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
    fn finished(&mut self, result: TestResult);
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

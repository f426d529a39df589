//! `sandbox-test`: every chosen test of every artifact, each in a process of its own.

mod filter;
mod judge;
mod listing;
mod panics;
mod plan;
mod schedule;
mod stacks;
mod summing;
mod terms;

pub use filter::{Filter, Ignored, Shard};
pub use plan::{ListedSuite, list};
pub use schedule::Tell;

use super::interrupt::Interrupt;
use super::libtest::Layout;
use super::run::{FindPackages, Subject};
use super::tmp::TmpRoot;
use super::{Failure, Setup, attribute};
use crate::event::{KernelReport, RunEvent, TargetReport, TestVerdict};
use crate::worker::{Launcher, Symboliser};
use schedule::{Schedule, State};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use summing::Summing;

/// One artifact of tests.
#[derive(Debug)]
pub struct Suite<'a> {
    /// Whose permissions.
    pub subject: Subject<'a>,
    /// The wasm file.
    pub artifact: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Its kind as cargo names it.
    pub cargo_kind: String,
    /// As nextest names it: `package`, `package::test`, `package::bin/name`.
    pub binary: String,
    /// The current directory of its tests: the package root, canonical.
    pub current_dir: PathBuf,
}

impl Suite<'_> {
    /// The name that the guest was called by.
    fn program(&self) -> Vec<u8> {
        OsString::from(self.artifact.clone()).into_vec()
    }
}

/// Which tests are run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which.
    pub filter: Filter,
    /// How many at one time.
    pub workers: usize,
    /// Output is told as it comes.
    pub live: bool,
    /// Output of tests that pass is told too.
    pub show_output: bool,
    /// How often a failed test is tried again.
    pub retries: u32,
    /// Nothing is started after a test has failed.
    pub fail_fast: bool,
    /// Time limit of one test, besides that of the manifest.
    pub timeout: Option<Duration>,
    /// A test that runs longer is told of, and again after as long.
    pub slow: Duration,
}

/// What everything runs with.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Starts processes.
    pub launcher: &'a Launcher,
    /// How guests are compiled and confined.
    pub setup: &'a Setup,
    /// Ends everything.
    pub interrupt: &'a Interrupt,
    /// How libtest's descriptors lie in memory, or why that is not known.
    pub layout: Result<&'a Layout, &'a str>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tested {
    /// A report for each artifact, in their order.
    pub targets: Vec<TargetReport>,
    /// What the kernel enforced.
    pub kernel: KernelReport,
    /// Somebody pressed Ctrl-C.
    pub interrupted: bool,
}

/// Lists the tests of all artifacts, then runs those that are meant.
///
/// # Errors
/// An artifact cannot be run at all, or a fault of ours.
pub fn run<'p>(
    suites: &[Suite<'_>],
    options: &Options,
    means: Means<'_>,
    find_packages: &mut FindPackages<'p>,
    tell: &mut Tell<'p>,
) -> Result<Tested, Failure> {
    let mut tmp_root = plan::tmp_root(suites, means.setup)?;
    let tmps = tmp_root.as_ref().map(|root| root.path().to_owned());
    let tested = plan::with_plans(suites, options, means, tmps.as_deref(), tell, |plans, tell| {
        let running = plans.iter().flat_map(|plan| &plan.planned);
        tell(RunEvent::TestsStarted {
            tests: running.count(),
            filtered: plans.iter().map(|plan| plan.filtered).sum(),
            targets: plans.len(),
        });
        let mut tested = Tested::default();
        let mut packages = None;
        let mut stopped: Option<&str> = None;
        for plan in plans {
            let plan::Plan {
                suite,
                guest,
                mut pool,
                mut terms,
                union,
                envelope,
                listed,
                planned,
                panics,
                ..
            } = plan;
            if tested.kernel == KernelReport::default() {
                tested.kernel = listed.kernel.clone().unwrap_or_default();
            }
            let begun = Instant::now();
            let mut symboliser = Symboliser::new(means.launcher, guest.wasm.try_clone()?);
            let mut state = State::new(&planned);
            for one in planned.iter().filter(|one| one.skipped) {
                let message = one.test.as_ref().map_or("", |test| &test.ignore_message);
                let report = Summing::untried(one, TestVerdict::Ignored, message);
                tell(RunEvent::TestFinished(report.clone()));
                state.done.push(report.into());
            }
            if stopped.is_none() {
                let mut schedule = Schedule {
                    suite,
                    options,
                    planned: &planned,
                    panics: &panics,
                    terms: &mut terms,
                    listed: plan::counted(&listed.listing),
                    audit: means.setup.audit,
                    tmp_root: tmp_root.as_mut().map(|root: &mut TmpRoot| root),
                    symboliser: &mut symboliser,
                    find_packages: &mut *find_packages,
                    packages: &mut packages,
                    tell: &mut *tell,
                    state,
                };
                tested.interrupted |= pool.run(&mut schedule)?;
                state = schedule.state;
                if let Some(fault) = state.fault.take() {
                    return Err(Failure::fault(fault));
                }
                if tested.interrupted {
                    stopped = Some("interrupted");
                } else if state.stopped {
                    stopped = Some("another test had failed");
                }
            }
            // Zygotes that have nothing to do any more.
            drop(pool);
            if let Some(reason) = stopped {
                for index in state.left(&planned) {
                    let report = Summing::untried(&planned[index], TestVerdict::NotRun, reason);
                    tell(RunEvent::TestFinished(report.clone()));
                    state.done.push(report.into());
                }
            }
            let failed = state.done.iter().any(|done| done.report.verdict == TestVerdict::Failed);
            let notes = summing::stuck(attribute::stuck_notes(&guest.facts), failed);
            let summing = Summing {
                suite,
                planned: &planned,
                union: &union,
                envelope: envelope.as_ref(),
                symboliser: &mut symboliser,
                packages: &mut packages,
                find_packages: &mut *find_packages,
            };
            let target = summing.report(state, &listed.violations, notes, begun.elapsed());
            tell(RunEvent::TargetFinished(target.clone()));
            tested.targets.push(target);
        }
        Ok(tested)
    });
    if let Some(warning) = tmp_root.and_then(TmpRoot::end) {
        tell(RunEvent::Message(warning));
    }
    tested
}

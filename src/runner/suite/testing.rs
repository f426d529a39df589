//! Lists the tests of all artifacts, then runs those that are meant, one artifact after the other.

use super::super::run::FindPackages;
use super::super::tmp::TmpRoot;
use super::super::{Failure, attribute};
use super::job::{Context, Options, Suite, Tell};
use super::libtest::ListedTest;
use super::plan::{self, Plan};
use super::report::{self, Reporting};
use super::schedule::{Done, Schedule, State};
use crate::cargo::owner::Packages;
use crate::event::{KernelReport, RunEvent, TargetReport, TestReport, TestVerdict};
use crate::exit_status::ExitStatus;
use std::time::{Duration, Instant};

/// What came of it.
#[derive(Debug, Default)]
pub struct Tested {
    /// A report for each artifact that was started, in their order.
    pub targets: Vec<TargetReport>,
    /// What the kernel enforced.
    pub kernel: KernelReport,
    /// Somebody pressed Ctrl-C.
    pub interrupted: bool,
    /// Why not everything was done that was asked for. What was done until then is reported all the same.
    pub failure: Option<Failure>,
}

/// The tests of one artifact.
#[derive(Debug)]
pub struct ListedSuite {
    /// See [`Suite::binary`].
    pub binary: String,
    /// Those that are meant.
    pub tests: Vec<ListedTest>,
}

/// Lists the tests that are meant, and runs none. With what the artifacts did while they were asked.
///
/// # Errors
/// As for [`run`].
pub fn list<'p>(
    suites: &[Suite<'_>],
    options: &Options,
    context: Context<'_>,
    find_packages: &mut FindPackages<'p>,
    tell: &mut Tell<'p>,
) -> Result<(Vec<ListedSuite>, Tested), Failure> {
    plan::with_plans(suites, options, context, tell, |plans, failure, _, tell| {
        let mut testing = Testing::new(options, context, find_packages, tell, failure);
        let mut listed = Vec::new();
        for mut plan in plans {
            let planned = std::mem::take(&mut plan.planned).into_iter();
            let whole = || plan::whole(&plan.suite.target);
            let tests = planned.map(|one| one.test.unwrap_or_else(whole)).collect();
            listed.push(ListedSuite { binary: plan.suite.binary.clone(), tests });
            testing.only_listed(plan);
        }
        (listed, testing.tested)
    })
}

/// Lists the tests of all artifacts, then runs those that are meant.
///
/// # Errors
/// Nothing was started. What goes wrong later is [`Tested::failure`].
pub fn run<'p>(
    suites: &[Suite<'_>],
    options: &Options,
    context: Context<'_>,
    find_packages: &mut FindPackages<'p>,
    tell: &mut Tell<'p>,
) -> Result<Tested, Failure> {
    plan::with_plans(suites, options, context, tell, |plans, failure, mut tmp_root, tell| {
        let mut testing = Testing::new(options, context, find_packages, tell, failure);
        if testing.tested.failure.is_some() {
            plans.into_iter().for_each(|plan| testing.only_listed(plan));
            return testing.tested;
        }
        let running = plans.iter().flat_map(|plan| &plan.planned);
        (testing.tell)(RunEvent::TestsStarted {
            tests: running.count(),
            filtered: plans.iter().map(|plan| plan.filtered).sum(),
            targets: plans.len(),
        });
        for plan in plans {
            testing.run(plan, tmp_root.as_deref_mut());
        }
        testing.tested
    })
}

/// Runs one artifact after the other, and keeps what came of it.
struct Testing<'a, 'p> {
    options: &'a Options,
    context: Context<'a>,
    find_packages: &'a mut FindPackages<'p>,
    packages: Option<Packages>,
    tell: &'a mut Tell<'p>,
    /// Why nothing is run any more.
    stopped: Option<&'static str>,
    tested: Tested,
}

impl<'a, 'p> Testing<'a, 'p> {
    fn new(
        options: &'a Options,
        context: Context<'a>,
        find_packages: &'a mut FindPackages<'p>,
        tell: &'a mut Tell<'p>,
        failure: Option<Failure>,
    ) -> Self {
        let interrupted = failure.as_ref().is_some_and(|why| why.status == ExitStatus::Interrupted);
        let tested = Tested { interrupted, failure, ..Tested::default() };
        Self { options, context, find_packages, packages: None, tell, stopped: None, tested }
    }

    /// Reports an artifact none of whose tests is run.
    fn only_listed(&mut self, mut plan: Plan<'_>) {
        plan.planned.clear();
        let done = self.broken(&plan);
        self.report(plan, done, false, Duration::ZERO);
    }

    /// An artifact whose process must not have ended as it did is one test that has failed, whichever
    /// tests are meant.
    fn broken(&mut self, plan: &Plan<'_>) -> Vec<Done> {
        let Some(broken) = &plan.listed.broken else { return Vec::new() };
        let report = TestReport {
            id: plan.id(&plan.suite.target),
            verdict: broken.verdict,
            outcome: broken.outcome.clone(),
            reason: broken.reason.clone(),
            duration: Duration::ZERO,
            attempts: 1,
            violations: Vec::new(),
            output: Vec::new(),
        };
        (self.tell)(RunEvent::TestFinished(report.clone()));
        vec![report.into()]
    }

    /// Runs the tests of an artifact that are meant, and reports them.
    fn run(&mut self, mut plan: Plan<'_>, tmp_root: Option<&mut TmpRoot>) {
        let begun = Instant::now();
        let mut state = State::new(&plan.planned);
        state.done = self.broken(&plan);
        for one in plan.planned.iter().filter(|one| one.skipped) {
            let message = one.test.as_ref().map_or("", |test| &test.ignore_message);
            let report = Reporting::untried(one, TestVerdict::Ignored, message);
            (self.tell)(RunEvent::TestFinished(report.clone()));
            state.done.push(report.into());
        }
        if self.stopped.is_none() {
            let mut schedule = Schedule {
                suite: plan.suite,
                options: self.options,
                planned: &plan.planned,
                panics: &plan.panics,
                envs: &mut plan.envs,
                listed: plan::counted(&plan.listed.listing),
                audit: self.context.setup.audit,
                tmp_root,
                symboliser: &mut plan.symboliser,
                find_packages: &mut *self.find_packages,
                packages: &mut self.packages,
                tell: &mut *self.tell,
                state,
            };
            let ended = plan.pool.run(&mut schedule);
            state = schedule.state;
            let fault = state.fault.take().map(Failure::fault);
            self.stopped = match (ended, fault) {
                (Ok(true), _) => {
                    self.tested.interrupted = true;
                    Some("interrupted")
                }
                (Ok(false), None) => state.stopped.then_some("another test had failed"),
                (Ok(false), Some(failure)) => self.failed(failure),
                (Err(error), _) => self.failed(error.into()),
            };
        }
        if let Some(reason) = self.stopped {
            for (index, earlier) in state.left(&plan.planned) {
                let untried = || Reporting::untried(&plan.planned[index], TestVerdict::NotRun, reason).into();
                let done: Done = earlier.unwrap_or_else(untried);
                (self.tell)(RunEvent::TestFinished(done.report.clone()));
                state.done.push(done);
            }
        }
        self.report(plan, state.done, true, begun.elapsed());
    }

    /// Keeps why tests are not run, and says so in a few words.
    fn failed(&mut self, failure: Failure) -> Option<&'static str> {
        self.tested.failure = Some(failure);
        Some("something else went wrong before")
    }

    fn report(&mut self, plan: Plan<'_>, done: Vec<Done>, whole: bool, duration: Duration) {
        let Plan { suite, guest, mut symboliser, pool, union, envelope, listed, planned, .. } = plan;
        // Zygotes that have nothing to do any more.
        drop(pool);
        if self.tested.kernel == KernelReport::default() {
            self.tested.kernel = listed.kernel.clone().unwrap_or_default();
        }
        let failed = done.iter().any(|done| done.report.verdict == TestVerdict::Failed);
        let notes = report::unsupported(attribute::unsupported_notes(&guest.module_info), failed);
        let report = Reporting {
            suite,
            planned: &planned,
            whole,
            union: &union,
            envelope: envelope.as_ref(),
            symboliser: &mut symboliser,
            packages: &mut self.packages,
            find_packages: &mut *self.find_packages,
        };
        let target = report.report(done, &listed, notes, duration);
        (self.tell)(RunEvent::TargetFinished(target.clone()));
        self.tested.targets.push(target);
    }
}

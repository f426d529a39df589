//! Runs the chosen tests of one artifact: gives them to the pool, hears how they end, tries failed
//! ones again, and tells of everything as it happens.

use super::super::attribute::Attribution;
use super::super::run::FindPackages;
use super::super::tmp::TmpRoot;
use super::job::{Options, Suite, Tell};
use super::judge::{Context, judge};
use super::libtest::{self, ListedTest};
use super::panics::Panics;
use super::stacks::Stacks;
use super::test_env::TestEnvs;
use crate::cargo::owner::Packages;
use crate::event::{GuestOutcome, KernelReport, RunEvent, TestId, TestReport, TestVerdict};
use crate::should_panic::Stack;
use crate::worker::protocol::TestRun;
use crate::worker::supervisor::{Observed, OutputStream, RunEnd, RunResult, Symboliser, Tests};
use sandbox_policy::access::{RawFrame, RawViolation};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

/// A test that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its number in the listing.
    pub(super) index: usize,
    /// As listed; `None` if the artifact as a whole is one test.
    pub(super) test: Option<ListedTest>,
    pub(super) id: TestId,
    /// It is named and not run.
    pub(super) skipped: bool,
}

/// A test that has ended, its violations still in raw form.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) report: TestReport,
    /// In all its instances.
    pub(super) observed: Observed,
    /// The private directory of each.
    pub(super) tmps: Vec<PathBuf>,
    /// Of a trap that needs explaining.
    pub(super) backtrace: Vec<RawFrame>,
}

impl From<TestReport> for Done {
    /// A test that did not run.
    fn from(report: TestReport) -> Self {
        Self { report, observed: Observed::default(), tmps: Vec::new(), backtrace: Vec::new() }
    }
}

/// An attempt under way.
#[derive(Debug)]
struct Attempt {
    planned: usize,
    number: u32,
    tmp: Option<PathBuf>,
    /// Multiples of the slow period that were told of.
    slow: u32,
}

pub(super) struct Schedule<'a, 'p> {
    pub(super) suite: &'a Suite<'a>,
    pub(super) options: &'a Options,
    pub(super) planned: &'a [Planned],
    pub(super) panics: &'a Panics,
    pub(super) envs: &'a mut TestEnvs,
    pub(super) listed: Option<usize>,
    pub(super) audit: bool,
    pub(super) tmp_root: Option<&'a mut TmpRoot>,
    pub(super) symboliser: &'a mut Symboliser,
    pub(super) find_packages: &'a mut FindPackages<'p>,
    pub(super) packages: &'a mut Option<Packages>,
    pub(super) tell: &'a mut Tell<'p>,
    pub(super) state: State,
}

/// What there is to do and what was done.
#[derive(Debug, Default)]
pub(super) struct State {
    waiting: VecDeque<(usize, u32)>,
    running: HashMap<u64, Attempt>,
    /// Tests that start again, by their place in the plan: what is said of them if they do not, and what
    /// was observed until then.
    earlier: HashMap<usize, Done>,
    next_id: u64,
    stacks: Stacks,
    pub(super) done: Vec<Done>,
    pub(super) kernel: Option<KernelReport>,
    pub(super) stopped: bool,
    /// Something of ours went wrong: no private directory could be made.
    pub(super) fault: Option<String>,
}

impl State {
    pub(super) fn new(planned: &[Planned]) -> Self {
        let waiting = planned.iter().enumerate().filter(|(_, planned)| !planned.skipped);
        Self { waiting: waiting.map(|(index, _)| (index, 1)).collect(), ..Self::default() }
    }

    /// What was chosen and has not ended, because everything was stopped; and what is known of it, if it
    /// was started.
    pub(super) fn left(&mut self, planned: &[Planned]) -> Vec<(usize, Option<Done>)> {
        let ended: std::collections::HashSet<&TestId> =
            self.done.iter().map(|done| &done.report.id).collect();
        let left = planned.iter().enumerate().filter(|(_, one)| !one.skipped && !ended.contains(&one.id));
        let left: Vec<usize> = left.map(|(index, _)| index).collect();
        left.into_iter().map(|index| (index, self.earlier.remove(&index))).collect()
    }
}

impl Schedule<'_, '_> {
    fn run_of(&mut self, planned: usize, tmp: Option<PathBuf>, id: u64) -> TestRun {
        let one = &self.planned[planned];
        let envs = self.envs.of(Some(&one.id.name));
        let mut args = vec![self.suite.program()];
        let mut env = envs.own_environment(tmp.as_deref());
        let mut patches = Vec::new();
        if let Some(test) = &one.test {
            args.extend(libtest::run_arguments(&test.name, test.ignored).into_iter().map(String::into_bytes));
            if let Ok(descriptor) = self.panics.of(one.index)
                && let Some(patch) = &descriptor.patch
            {
                let (name, value) = libtest::SHOULD_PANIC_ENVIRONMENT;
                let env = env.get_or_insert_with(|| envs.environment(tmp.as_deref()));
                env.retain(|(known, _)| known != name.as_bytes());
                env.push((name.into(), value.into()));
                patches.push(patch.clone());
            }
        }
        let time = [envs.time, self.options.timeout].into_iter().flatten().min();
        // What was shown as it came cannot be taken back.
        let repeatable = envs.repeatable && !self.options.live;
        let test = Some(one.id.name.clone());
        TestRun { id, test, args, env, tmp, patches, time, repeatable, ..TestRun::default() }
    }

    /// Violations in words, as far as that needs no symbols: those come for all tests together at
    /// the end.
    fn violations(&self, id: &TestId, raw: &[(RawViolation, u64)]) -> Vec<crate::event::Violation> {
        let nobody = Packages::default();
        let subject = &self.suite.subject;
        let workspace = &subject.places.workspace;
        let attribution =
            Attribution::new(subject.policy, subject.manifest.clone(), workspace, &nobody, self.audit);
        raw.iter().map(|(raw, count)| attribution.violation(raw, *count, Some(&id.name), None)).collect()
    }
}

impl Tests for Schedule<'_, '_> {
    fn next(&mut self) -> Option<TestRun> {
        if self.state.stopped {
            return None;
        }
        let (planned, number) = self.state.waiting.pop_front()?;
        let tmp = match self.tmp_root.as_mut().map(|root| root.make()).transpose() {
            Ok(tmp) => tmp,
            Err(error) => {
                self.state.fault = Some(format!("a private directory cannot be made: {error}"));
                self.state.stopped = true;
                return None;
            }
        };
        let id = self.state.next_id;
        self.state.next_id += 1;
        let run = self.run_of(planned, tmp.clone(), id);
        self.state.running.insert(id, Attempt { planned, number, tmp, slow: 0 });
        Some(run)
    }

    fn ready(&mut self, kernel: &KernelReport) {
        self.state.kernel = Some(kernel.clone());
    }

    fn started(&mut self, id: u64) {
        if let Some(attempt) = self.state.running.get(&id) {
            let test = self.planned[attempt.planned].id.clone();
            (self.tell)(RunEvent::TestStarted { test, attempt: attempt.number });
        }
    }

    fn output(&mut self, id: u64, _stream: OutputStream, bytes: &[u8]) {
        if let Some(attempt) = self.state.running.get(&id) {
            let test = Some(self.planned[attempt.planned].id.clone());
            (self.tell)(RunEvent::Output { test, bytes: bytes.to_vec() });
        }
    }

    fn finished(&mut self, id: u64, mut result: RunResult) {
        let Some(attempt) = self.state.running.remove(&id) else { return };
        if let (Some(root), Some(tmp)) = (&self.tmp_root, &attempt.tmp) {
            // Its process is dead.
            root.remove(tmp);
        }
        let earlier = self.state.earlier.remove(&attempt.planned);
        let (mut observed, mut tmps, last) = match earlier {
            Some(Done { report, observed, tmps, backtrace }) => (observed, tmps, Some((report, backtrace))),
            None => (Observed::default(), Vec::new(), None),
        };
        observed.unite(std::mem::take(&mut result.observed));
        tmps.extend(attempt.tmp);
        // It is judged by all that its instances did.
        result.observed = observed;
        let planned = &self.planned[attempt.planned];
        let stack = if self.panics.must_panic(planned.index) {
            let subject = &self.suite.subject;
            self.state.stacks.read(&result.backtrace, self.symboliser, subject)
        } else {
            Stack::UNWOUND
        };
        let context = Context {
            test: planned.test.as_ref(),
            index: planned.index,
            panics: self.panics,
            stack: &stack,
            listed: self.listed,
            audit: self.audit,
        };
        let (mut said, outcome) = judge(context, &result);
        let superseded = result.end == RunEnd::Superseded;
        // An access that nothing grants is one, however another attempt ends.
        let failed =
            matches!(said.verdict, TestVerdict::Failed | TestVerdict::TimedOut | TestVerdict::Killed)
                && outcome != Some(GuestOutcome::Interrupted)
                && attempt.number <= self.options.retries;
        if said.verdict == TestVerdict::Passed && attempt.number > 1 {
            said.verdict = TestVerdict::Flaky;
        }
        let bad = !matches!(
            said.verdict,
            TestVerdict::Passed | TestVerdict::Flaky | TestVerdict::Ignored | TestVerdict::NotRun
        );
        let report = TestReport {
            id: planned.id.clone(),
            verdict: said.verdict,
            outcome,
            duration: result.duration,
            attempts: attempt.number,
            violations: self.violations(&planned.id, &result.observed.violations),
            output: result.output.bytes(),
            reason: said.reason,
        };
        let trapped = matches!(report.outcome, Some(GuestOutcome::Trapped(_)));
        let backtrace = if bad && trapped { result.backtrace } else { Vec::new() };
        let mut done = Done { report, observed: result.observed, tmps, backtrace };
        if failed || superseded {
            let next = if failed { attempt.number + 1 } else { attempt.number };
            self.state.waiting.push_front((attempt.planned, next));
            // One that failed and was then ended for better code has still failed.
            if let Some((report, backtrace)) = last.filter(|_| superseded && !bad) {
                (done.report, done.backtrace) = (report, backtrace);
            }
            self.state.earlier.insert(attempt.planned, done);
            return;
        }
        self.state.stopped |= bad && self.options.fail_fast;
        let report = &done.report;
        let mut told = report.clone();
        if self.options.live {
            // It was shown as it came.
            told.output.clear();
        } else if self.options.show_output && !bad && !report.output.is_empty() {
            let (test, bytes) = (Some(report.id.clone()), report.output.clone());
            (self.tell)(RunEvent::Output { test, bytes });
        }
        (self.tell)(RunEvent::TestFinished(told));
        self.state.done.push(done);
    }

    fn origin(&mut self, _id: u64, backtrace: &[RawFrame]) -> Option<String> {
        let packages = self.packages.get_or_insert_with(|| (self.find_packages)());
        let frames = self.symboliser.symbolise(backtrace).ok()?;
        let subject = &self.suite.subject;
        let workspace = &subject.places.workspace;
        let attribution = Attribution::new(subject.policy, String::new(), workspace, packages, self.audit);
        attribution.origin(&frames.concat()).map(|origin| origin.package)
    }

    fn tick(&mut self, running: &[(u64, Duration)]) {
        for (id, elapsed) in running {
            let Some(attempt) = self.state.running.get_mut(id) else { continue };
            let times = (elapsed.as_secs() / self.options.slow.as_secs().max(1)) as u32;
            if times > attempt.slow {
                attempt.slow = times;
                let test = self.planned[attempt.planned].id.clone();
                (self.tell)(RunEvent::TestSlow { test, elapsed: *elapsed });
            }
        }
    }

    fn stopped(&self) -> bool {
        self.state.stopped
    }
}

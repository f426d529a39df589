//! Before the first test runs: every artifact is compiled, while the one before it lists its tests,
//! and it is known which of them are meant.

use super::super::interrupt::Interrupt;
use super::super::run::{confinement, wants_tmp};
use super::super::tmp::TmpRoot;
use super::super::{Failure, Guest, Setup, prepare, test_strategies, tier_up};
use super::filter::{Counted, Ignored};
use super::job::{Context, Options, Suite, Tell};
use super::libtest::{ListedTest, Listing};
use super::listing::{self, Listed};
use super::panics::Panics;
use super::schedule::Planned;
use super::test_env::TestEnvs;
use crate::event::{RunEvent, TestId};
use crate::worker::protocol::TestsTask;
use crate::worker::supervisor::{PoolJob, Symboliser, TestPool, real_root};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::{Bindings, Decider, Policy};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How often it is looked whether a test is slow.
const TICK: Duration = Duration::from_secs(1);

/// An artifact that is ready to run its tests.
pub(super) struct Plan<'p> {
    pub(super) index: usize,
    pub(super) suite: &'p Suite<'p>,
    pub(super) guest: &'p Guest,
    pub(super) symboliser: Symboliser,
    pub(super) pool: TestPool<'p>,
    pub(super) envs: TestEnvs,
    pub(super) union: Policy,
    /// What an audit lets through.
    pub(super) envelope: Option<Decider>,
    pub(super) listed: Listed,
    pub(super) planned: Vec<Planned>,
    pub(super) filtered: usize,
    pub(super) panics: Panics,
}

/// The folder for the private directories of all tests, if any policy speaks of `{tmp}`.
fn tmp_root(suites: &[Suite<'_>], setup: &Setup) -> Result<Option<TmpRoot>, Failure> {
    let wanted = setup.audit || suites.iter().any(|suite| wants_tmp(suite.subject.policy));
    Ok(if wanted { Some(TmpRoot::new()?) } else { None })
}

impl Plan<'_> {
    /// Names one of its tests.
    pub(super) fn id(&self, name: &str) -> TestId {
        TestId { target: self.index, binary: self.suite.binary.clone(), name: name.to_owned() }
    }
}

/// How many tests libtest counts; another harness counts as it likes.
pub(super) fn counted(listing: &Listing) -> Option<usize> {
    match listing {
        Listing::Tests(tests) if tests.iter().all(|test| test.place.is_some()) => Some(tests.len()),
        _ => None,
    }
}

/// Compiles and lists all artifacts, and does `then` while they are ready to run. With why not all of
/// them are, if it could not be done or was interrupted: what those did that were listed is to be told.
pub(super) fn with_plans<'t, R>(
    suites: &[Suite<'_>],
    options: &Options,
    context: Context<'_>,
    tell: &mut Tell<'t>,
    then: impl FnOnce(Vec<Plan<'_>>, Option<Failure>, Option<&mut TmpRoot>, &mut Tell<'t>) -> R,
) -> Result<R, Failure> {
    let root = real_root()?;
    let mut tmp_root = tmp_root(suites, context.setup)?;
    let slots: Vec<OnceLock<Guest>> = suites.iter().map(|_| OnceLock::new()).collect();
    let done = thread::scope(|scope| {
        let (ready, compiled) = mpsc::channel();
        let slots = &slots;
        scope.spawn(move || compile(suites, context, slots, &ready));
        let mut counted = Counted::default();
        let (mut plans, mut failure) = (Vec::new(), None);
        for (index, warnings, failed) in &compiled {
            for warning in warnings {
                tell(RunEvent::Message(warning));
            }
            failure = failed;
            if let Some(guest) = slots[index].get() {
                let place = TestPlace { index, root: &root, tmp_root: tmp_root.as_mut() };
                match plan(&suites[index], guest, options, context, place, &mut counted) {
                    Ok(mut plan) => {
                        failure = plan.listed.failure.take();
                        plans.push(plan);
                    }
                    Err(failed) => failure = Some(failed),
                }
            }
            if failure.is_some() {
                break;
            }
        }
        // Nothing more is to be compiled.
        drop(compiled);
        Ok(then(plans, failure, tmp_root.as_mut(), tell))
    });
    if let Some(warning) = tmp_root.and_then(TmpRoot::end) {
        tell(RunEvent::Message(warning));
    }
    done
}

/// What came of compiling one artifact: its number, warnings, and why there is no code, if so.
type Compiled = (usize, Vec<Diagnostic>, Option<Failure>);

/// Compiles one artifact after the other. Each is compiled on all cores.
fn compile(
    suites: &[Suite<'_>],
    context: Context<'_>,
    slots: &[OnceLock<Guest>],
    ready: &mpsc::Sender<Compiled>,
) {
    let Context { launcher, setup, interrupt, .. } = context;
    for (index, (suite, slot)) in suites.iter().zip(slots).enumerate() {
        if Interrupt::happened(interrupt) {
            let _ = ready.send((index, Vec::new(), Some(Failure::interrupted())));
            return;
        }
        let mut warnings = Vec::new();
        let mut warn = |warning| warnings.push(warning);
        let strategies = test_strategies(setup);
        let guest = prepare(launcher, &suite.artifact, setup, true, strategies, interrupt, &mut warn);
        let failure = match guest {
            Ok(guest) => {
                // Nobody else writes to it.
                let _ = slot.set(guest);
                None
            }
            Err(failure) => Some(failure),
        };
        let failed = failure.is_some();
        if ready.send((index, warnings, failure)).is_err() || failed {
            return;
        }
    }
}

/// Where an artifact runs.
struct TestPlace<'p, 't> {
    index: usize,
    root: &'p OwnedFd,
    tmp_root: Option<&'t mut TmpRoot>,
}

fn plan<'p>(
    suite: &'p Suite<'p>,
    guest: &'p Guest,
    options: &Options,
    context: Context<'p>,
    place: TestPlace<'p, '_>,
    counted: &mut Counted,
) -> Result<Plan<'p>, Failure> {
    let filter = &options.filter;
    let tmps = place.tmp_root.as_ref().map(|root| root.path().to_owned());
    let (tmp, audit) = (tmps.is_some(), context.setup.audit);
    let symboliser = Symboliser::new(context.launcher, guest.wasm.try_clone()?);
    let mut envs = TestEnvs::new(&suite.subject, &suite.target, &suite.current_dir, tmp, audit);
    let bind = Bindings { tmp: tmps.clone(), current_dir: suite.current_dir.clone() };
    let union = envs.package.for_all_tests(&bind);
    let confinement = confinement(guest, context.setup, &union, &suite.subject, tmps.as_deref());
    let envelope = confinement.audit.as_ref().map(Decider::new);
    let job = PoolJob {
        code: guest.code.as_fd(),
        root: place.root.as_fd(),
        task: TestsTask {
            confinement,
            union: union.clone(),
            start: guest.module_info.start,
            package: envs.package.clone(),
            target: suite.target.clone(),
            env: envs.of(None).environment(None),
            current_dir: suite.current_dir.clone(),
        },
        workers: options.workers,
        live: options.live,
        tick: Some(TICK),
        tier_up: tier_up(guest, context.setup),
        interrupt: Some(context.interrupt.as_fd()),
    };
    let mut pool = TestPool::new(context.launcher, job);
    let listed = listing::list(&mut pool, suite, &mut envs, place.tmp_root, guest.module_info.libtest);
    let id = |name: &str| TestId { target: place.index, binary: suite.binary.clone(), name: name.to_owned() };
    let (mut planned, mut filtered) = (Vec::new(), 0);
    let mut panics = Panics::default();
    match &listed.listing {
        _ if listed.failure.is_some() || listed.broken.is_some() => {}
        Listing::Tests(tests) => {
            for (index, test) in tests.iter().enumerate() {
                if filter.selects(counted, &suite.binary, test) {
                    let skipped = test.ignored && filter.ignored == Ignored::Skip;
                    planned.push(Planned { index, test: Some(test.clone()), id: id(&test.name), skipped });
                } else {
                    filtered += 1;
                }
            }
            if planned.iter().any(|one| !one.skipped) {
                panics = Panics::find(&guest.wasm, context.layout, tests);
            }
        }
        Listing::Whole(_) => {
            if filter.selects(counted, &suite.binary, &whole(&suite.target)) {
                planned.push(Planned { index: 0, test: None, id: id(&suite.target), skipped: false });
            } else {
                filtered += 1;
            }
        }
    }
    let index = place.index;
    Ok(Plan {
        index,
        suite,
        guest,
        symboliser,
        pool,
        envs,
        union,
        envelope,
        listed,
        planned,
        filtered,
        panics,
    })
}

/// A binary that is one test, as it is listed: by the name of its target.
pub(super) fn whole(target: &str) -> ListedTest {
    ListedTest {
        name: target.to_owned(),
        bench: false,
        ignored: false,
        ignore_message: String::new(),
        place: None,
    }
}

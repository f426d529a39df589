//! Before the first test runs: every artifact is compiled, while the one before it lists its tests,
//! and it is known which of them are meant.

use super::super::interrupt::Interrupt;
use super::super::libtest::{ListedTest, Listing};
use super::super::run::{confined, wants_tmp};
use super::super::tmp::TmpRoot;
use super::super::{Failure, Guest, Setup, prepare, test_strategies, tier_up};
use super::filter::{Counted, Ignored};
use super::listing::{self, Listed};
use super::panics::Panics;
use super::schedule::{Planned, Tell};
use super::terms::AllTerms;
use super::{Means, Options, Suite};
use crate::event::{RunEvent, TestId};
use crate::policy::{Bindings, Decider, Policy};
use crate::worker::{PoolJob, TestPool, real_root};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How often it is looked whether a test is slow.
const TICK: Duration = Duration::from_secs(1);

/// An artifact that is ready to run its tests.
pub(super) struct Plan<'p> {
    pub(super) suite: &'p Suite<'p>,
    pub(super) guest: &'p Guest,
    pub(super) pool: TestPool<'p>,
    pub(super) terms: AllTerms,
    pub(super) union: Policy,
    /// What an audit lets through.
    pub(super) envelope: Option<Decider>,
    pub(super) listed: Listed,
    pub(super) planned: Vec<Planned>,
    pub(super) filtered: usize,
    pub(super) panics: Panics,
}

/// The tests of one artifact.
#[derive(Debug)]
pub struct ListedSuite {
    /// See [`Suite::binary`].
    pub binary: String,
    /// Those that are meant.
    pub tests: Vec<ListedTest>,
}

/// Lists the tests that are meant, and runs none.
///
/// # Errors
/// As for [`super::run`].
pub fn list(
    suites: &[Suite<'_>],
    options: &Options,
    means: Means<'_>,
    tell: &mut Tell<'_>,
) -> Result<Vec<ListedSuite>, Failure> {
    let tmp_root = tmp_root(suites, means.setup)?;
    let tmps = tmp_root.as_ref().map(|root| root.path().to_owned());
    with_plans(suites, options, means, tmps.as_deref(), tell, |plans, _| {
        let listed = plans.into_iter().map(|plan| ListedSuite {
            binary: plan.suite.binary.clone(),
            tests: plan
                .planned
                .into_iter()
                .map(|one| one.test.unwrap_or_else(|| whole(&plan.suite.target)))
                .collect(),
        });
        Ok(listed.collect())
    })
}

/// The folder for the private directories of all tests, if any policy speaks of `{tmp}`.
pub(super) fn tmp_root(suites: &[Suite<'_>], setup: &Setup) -> Result<Option<TmpRoot>, Failure> {
    let wanted = setup.audit || suites.iter().any(|suite| wants_tmp(suite.subject.policy));
    Ok(if wanted { Some(TmpRoot::new()?) } else { None })
}

/// How many tests libtest counts; another harness counts as it likes.
pub(super) fn counted(listing: &Listing) -> Option<usize> {
    match listing {
        Listing::Tests(tests) if tests.iter().all(|test| test.place.is_some()) => Some(tests.len()),
        _ => None,
    }
}

/// Compiles and lists all artifacts, and does `then` while they are ready to run.
pub(super) fn with_plans<'t, R>(
    suites: &[Suite<'_>],
    options: &Options,
    means: Means<'_>,
    tmps: Option<&Path>,
    tell: &mut Tell<'t>,
    then: impl FnOnce(Vec<Plan<'_>>, &mut Tell<'t>) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let root = real_root()?;
    let slots: Vec<OnceLock<Result<Guest, Failure>>> = suites.iter().map(|_| OnceLock::new()).collect();
    let failures = thread::scope(|scope| {
        let (ready, compiled) = mpsc::channel();
        let slots = &slots;
        scope.spawn(move || compile(suites, means, slots, &ready));
        let mut counted = Counted::default();
        let mut plans = Vec::new();
        for (index, warnings) in &compiled {
            for warning in warnings {
                tell(RunEvent::Message(warning));
            }
            let Some(Ok(guest)) = slots[index].get() else { return Ok(Err(index)) };
            let place = Place { index, root: &root, tmps };
            let plan = plan(&suites[index], guest, options, means, place, &mut counted)?;
            if plan.listed.interrupted {
                return Err(Failure::interrupted());
            }
            plans.push(plan);
        }
        then(plans, tell).map(Ok)
    })?;
    match failures {
        Ok(done) => Ok(done),
        Err(index) => {
            let failed = slots.into_iter().nth(index).and_then(OnceLock::into_inner);
            Err(failed.and_then(Result::err).unwrap_or_else(Failure::interrupted))
        }
    }
}

/// Compiles one artifact after the other. Each is compiled on all cores.
fn compile(
    suites: &[Suite<'_>],
    means: Means<'_>,
    slots: &[OnceLock<Result<Guest, Failure>>],
    ready: &mpsc::Sender<(usize, Vec<crate::diagnostic::Diagnostic>)>,
) {
    let Means { launcher, setup, interrupt, .. } = means;
    for (index, (suite, slot)) in suites.iter().zip(slots).enumerate() {
        if Interrupt::happened(interrupt) {
            // The slot stays empty.
            let _ = ready.send((index, Vec::new()));
            return;
        }
        let mut warnings = Vec::new();
        let mut warn = |warning| warnings.push(warning);
        let strategies = test_strategies(setup);
        let guest = prepare(launcher, &suite.artifact, setup, true, strategies, interrupt, &mut warn);
        let failed = guest.is_err();
        // Nobody else writes to it.
        let _ = slot.set(guest);
        if ready.send((index, warnings)).is_err() || failed {
            return;
        }
    }
}

/// Where an artifact runs.
struct Place<'p> {
    index: usize,
    root: &'p OwnedFd,
    tmps: Option<&'p Path>,
}

fn plan<'p>(
    suite: &'p Suite<'p>,
    guest: &'p Guest,
    options: &Options,
    means: Means<'p>,
    place: Place<'p>,
    counted: &mut Counted,
) -> Result<Plan<'p>, Failure> {
    let filter = &options.filter;
    let (tmp, audit) = (place.tmps.is_some(), means.setup.audit);
    let mut terms = AllTerms::new(&suite.subject, &suite.target, &suite.current_dir, tmp, audit);
    let bind = Bindings { tmp: place.tmps.map(Path::to_owned), current_dir: suite.current_dir.clone() };
    let union = terms.package.for_all_tests(&bind);
    let confined = confined(guest, means.setup, &union, &suite.subject, place.tmps);
    let envelope = confined.audit.as_ref().map(Decider::new);
    let job = PoolJob {
        code: guest.code.as_fd(),
        root: place.root.as_fd(),
        confined,
        union: union.clone(),
        start: guest.facts.start,
        package: terms.package.clone(),
        target: suite.target.clone(),
        env: terms.of(None).environment(None),
        current_dir: suite.current_dir.clone(),
        workers: options.workers,
        live: options.live,
        tick: Some(TICK),
        tier_up: tier_up(guest, means.setup),
        interrupt: Some(means.interrupt.as_fd()),
    };
    let mut pool = TestPool::new(means.launcher, job);
    let listed = listing::list(&mut pool, &mut terms, &suite.program(), guest.facts.libtest)?;
    let id = |name: &str| TestId { target: place.index, binary: suite.binary.clone(), name: name.to_owned() };
    let (mut planned, mut filtered) = (Vec::new(), 0);
    let mut panics = Panics::default();
    match &listed.listing {
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
                panics = Panics::find(&guest.wasm, means.layout, tests);
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
    Ok(Plan { suite, guest, pool, terms, union, envelope, listed, planned, filtered, panics })
}

/// A binary that is one test, as it is listed: by the name of its target.
fn whole(target: &str) -> ListedTest {
    ListedTest {
        name: target.to_owned(),
        bench: false,
        ignored: false,
        ignore_message: String::new(),
        place: None,
    }
}

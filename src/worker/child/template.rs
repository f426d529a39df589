//! What every test's process begins with, made once in the zygote; and the life of such a process, which
//! a fork begins.
//!
//! Most tests of a package have one policy, in the same words: no case names them, and they have no
//! private directory. For them the zygote makes all that a test needs and that no test can tell from
//! its own: the Landlock rules, their files opened; the policy as it is decided by; and an instance
//! in which nothing has run. A fork has copies of its own, fresh as if it had made them, puts the
//! rules in force for itself, and adds what is this test's alone: its channel, arguments, environment.
//! A test with another policy makes its own rules and its own world, after the fork.

use super::channel_sink::ChannelSink;
use super::confine::{self, Unconfined};
use super::guest::{self, End, Guest, Loaded, Ready};
use crate::wasi::{Host, Preopens, Stdio, Turns};
use crate::worker::protocol::wire;
use crate::worker::protocol::{Ended, TestRun, TestsTask};
use rustix::process::getpid;
use sandbox_policy::{Bindings, Policy, TargetKind};
use sandbox_walls::{Enclosure, Prepared, process::Attributes, seccomp::Profile};
use std::io;
use std::num::NonZeroI32;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// See the module.
pub(crate) struct Template {
    makings: Makings,
    /// The walls of a test with the policy of most.
    enclosure: Prepared,
    /// An instance in that test's world. `None` if instantiating runs code of the guest, which nothing
    /// may in a zygote, or has failed: then it fails in each child again, which can say so.
    ready: Option<Ready>,
}

/// What worlds are made of.
struct Makings {
    /// This process.
    zygote: NonZeroI32,
    task: TestsTask,
    root: OwnedFd,
    preopens: Preopens,
    turns: Arc<Turns>,
    /// See [`guest::folding`].
    folding: Vec<Vec<u8>>,
    loaded: Loaded,
    /// Whom they tell of what happens in them. It has no channel in the zygote.
    sink: ChannelSink,
}

impl Template {
    /// To be made when the zygote is confined.
    pub(crate) fn new(
        task: TestsTask,
        root: OwnedFd,
        preopens: Preopens,
        turns: Arc<Turns>,
        folding: Vec<Vec<u8>>,
        loaded: Loaded,
    ) -> Result<Self, Unconfined> {
        let zygote = getpid().as_raw_nonzero();
        let makings = Makings {
            zygote,
            task,
            root,
            preopens,
            turns,
            folding,
            loaded,
            sink: ChannelSink::unconnected(),
        };
        let policy = makings.policy(None, None);
        let enclosure = makings.enclosure(&policy).prepare()?;
        let ready = if makings.task.start { None } else { makings.ready(policy).ok() };
        Ok(Self { makings, enclosure, ready })
    }

    /// The whole life of a test's process, just forked. Returns its exit status.
    /// `test` is a [`TestRun`] in its encoding.
    pub(crate) fn live(self, test: &[u8], channel: OwnedFd, asking: Option<OwnedFd>) -> u8 {
        let sink = self.makings.sink.clone();
        sink.connect(channel, asking);
        let test = wire::decode(test).map_err(|error| (Ended::Failed(error.to_string()), Vec::new()));
        let run = |mut test: TestRun| {
            let patches = std::mem::take(&mut test.patches);
            Ok(self.begin(test)?.run(&patches, &sink))
        };
        let (ended, backtrace) = test.and_then(run).unwrap_or_else(|end| end);
        let status = ended.status();
        // If it cannot be said, the supervisor sees a status without words.
        let _ = sink.end(ended, backtrace);
        status
    }

    /// Puts up the test's own walls, inside the zygote's, and its guest behind them. Nothing of it has
    /// run.
    fn begin(self, test: TestRun) -> Result<Ready, End> {
        let Self { makings, enclosure, ready } = self;
        let unconfined = |why: Unconfined| (Ended::Failed(why.text()), Vec::new());
        let own = makings.own_policy(test.test.as_deref(), test.tmp, test.listing);
        match &own {
            None => enclosure.enforce(),
            Some(policy) => makings.enclosure(policy).enforce(),
        }
        .map_err(|error| unconfined(error.into()))?;
        #[cfg(feature = "test-walls")]
        if let Some(fault) = test.fault {
            super::fault_injection::inject(fault, &makings.sink, &makings.turns);
        }
        let mut ready = match (own, ready) {
            (None, Some(ready)) => ready,
            (Some(policy), Some(ready)) => ready.within(makings.host(policy)?, &makings.loaded)?,
            (own, None) => makings.ready(own.unwrap_or_else(|| makings.policy(None, None)))?,
        };
        ready.host().give_args(test.args);
        if let Some(env) = test.env {
            ready.host().give_env(env);
        }
        Ok(ready)
    }
}

impl Makings {
    /// What the process of a test with this policy is enclosed in, besides what its zygote is.
    fn enclosure<'a>(&'a self, policy: &'a Policy) -> Enclosure<'a> {
        let attributes = Attributes { dies_with: Some(self.zygote), ..Attributes::default() };
        let confinement = &self.task.confinement;
        Enclosure { attributes, ..confine::enclosure(confinement, policy, Profile::TestChild) }
    }

    /// The policy of a test, if it is not that of most.
    fn own_policy(&self, test: Option<&str>, tmp: Option<PathBuf>, listing: bool) -> Option<Policy> {
        if !listing && test.is_some_and(|test| self.task.package.is_ordinary(test, tmp.is_some())) {
            return None;
        }
        let mut policy = self.policy(test, tmp);
        if listing {
            // A limit of the manifest is meant for what a test prints, not for a long list of tests;
            // the supervisor has one for that.
            policy.limits.output = None;
        }
        Some(policy)
    }

    fn policy(&self, test: Option<&str>, tmp: Option<PathBuf>) -> Policy {
        let TestsTask { package, target, current_dir, .. } = &self.task;
        let bindings = Bindings { tmp, current_dir: current_dir.clone() };
        package.for_target(TargetKind::Test, target, test, &bindings)
    }

    /// The world of a guest that has no arguments yet.
    fn host(&self, policy: Policy) -> Result<Host, End> {
        let failed = |error: io::Error| (Ended::Failed(format!("root directory: {error}")), Vec::new());
        let guest = Guest {
            policy,
            args: Vec::new(),
            env: self.task.env.clone(),
            root: self.root.try_clone().map_err(failed)?,
            stdio: Stdio::Channel,
            preopens: self.preopens.clone(),
            turns: Arc::clone(&self.turns),
            folding: self.folding.clone(),
        };
        guest::host(&self.task.confinement, guest, &self.sink)
    }

    fn ready(&self, policy: Policy) -> Result<Ready, End> {
        Ready::new(&self.loaded, self.host(policy)?)
    }
}

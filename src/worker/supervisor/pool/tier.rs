//! Better code for tests that run for long: once they have, their artifact is compiled again by the
//! optimising compiler, in a child beside them, and zygotes that start after that load what it made.
//!
//! Nothing waits for it, and nothing depends on it: a test never changes its code under way, and what
//! fails here leaves everything as it is.

use crate::compile::{Cache, Stamp, Strategy, cache::Miss};
use crate::worker::supervisor::spawn::Launcher;
use crate::worker::supervisor::tools::Compiling;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// When to make better code, and from what.
#[derive(Debug)]
pub struct TierUp {
    /// The artifact, opened for this alone: a child reads it from where it stands.
    pub wasm: File,
    /// What it was when the first code was made: better code of anything else is none.
    pub stamp: Stamp,
    /// Who compiles it.
    pub strategy: Strategy,
    /// Where the code goes too, for the next run.
    pub cache: Option<Cache>,
    /// How long the tests of the artifact must have been running.
    pub after: Duration,
}

/// How far that is.
#[derive(Debug)]
pub(super) struct Tier {
    wanted: Option<TierUp>,
    compiling: Option<(Compiling, TierUp, Option<Miss>)>,
    code: Option<(File, Strategy)>,
}

impl Tier {
    pub(super) fn new(wanted: Option<TierUp>) -> Self {
        Self { wanted, compiling: None, code: None }
    }

    /// The better code, once it is there.
    pub(super) fn code(&self) -> Option<(BorrowedFd<'_>, Strategy)> {
        self.code.as_ref().map(|(file, strategy)| (file.as_fd(), *strategy))
    }

    /// Becomes readable when there is something to do.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.compiling.as_ref().map(|(compiling, ..)| compiling.socket())
    }

    /// When there is something to do at the latest, for tests that run since `begun`.
    pub(super) fn due(&self, begun: Instant) -> Option<Instant> {
        let wanted = self.wanted.as_ref().map(|wanted| begun + wanted.after);
        wanted.or(self.compiling.as_ref().map(|(compiling, ..)| compiling.deadline()))
    }

    /// Does what there is to do. Whether there is better code from now on.
    pub(super) fn step(&mut self, launcher: &Launcher, begun: Instant) -> bool {
        if let Some(mut wanted) = self.wanted.take_if(|wanted| begun.elapsed() >= wanted.after) {
            let TierUp { wasm, strategy, cache, .. } = &mut wanted;
            let miss = cache.as_ref().and_then(|cache| launcher.missing(wasm, *strategy, cache));
            let compiling = launcher.start_compiling(wasm, *strategy);
            self.compiling = compiling.ok().map(|compiling| (compiling, wanted, miss));
        }
        let Some((compiling, ..)) = &mut self.compiling else { return false };
        let Some(result) = compiling.hear() else { return false };
        let Some((_, job, miss)) = self.compiling.take() else { return false };
        let Ok((mut code, module_info)) = result else { return false };
        if !Stamp::of(&job.wasm).is_ok_and(|stamp| stamp == job.stamp) {
            return false;
        }
        if let (Some(cache), Some(miss)) = (&job.cache, &miss) {
            // As in `Launcher::prepare`.
            let _ = cache.put(miss, &job.wasm, &mut code, &module_info);
        }
        self.code = Some((code, job.strategy));
        true
    }

    /// No more tests run: what is not finished is not needed.
    pub(super) fn stop(&mut self) {
        self.compiling = None;
    }
}

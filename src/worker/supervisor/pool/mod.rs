//! The supervisor's side of tests: as many zygotes as asked for, one test in each at a time, one
//! loop over all of them.
//!
//! Who says what is believed for what: a zygote says that the child of a test has ended and how, and
//! it never runs guest code. A child says what its guest did, over a socket made for this one test,
//! and both must agree. So a child that was taken over can lie about its own test, as any guest
//! can, and about nothing else.

mod job;
mod tier;

use super::observations::{Cut, STARTUP};
use super::run::{WorkerError, kernel_report};
use super::spawn::{Launcher, Process, Streams, in_words, message, timespec};
use super::test_process::{Reaped, Running};
use crate::worker::protocol::wire::{self, Progress, WireError};
use crate::worker::protocol::{FromWorker, Task, TestRun, ToWorker};
pub use job::{PoolJob, Tests};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};
use tier::Tier;
pub use tier::TierUp;

/// A test that has run for longer starts again where there is better code: what is lost by that is
/// less than what the old code will take if it takes as long once more.
const LONG: Duration = Duration::from_secs(5);
/// How long a zygote may take to end a child, or itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Runs tests, each in a process of its own.
#[derive(Debug)]
pub struct TestPool<'a> {
    launcher: Launcher,
    job: PoolJob<'a>,
    tier: Tier,
    zygotes: Vec<Zygote>,
    /// Tests whose zygote died before they were started.
    again: VecDeque<TestRun>,
    /// A `by` grant depends on the origin of an access, which a test's process has to ask for.
    asks: bool,
    /// Listen to every test at once: a caller wants its output, or a `by` grant its origin.
    eager: bool,
    grants: usize,
}

#[derive(Debug)]
struct Zygote {
    process: Process,
    ready: bool,
    current: Option<Running>,
    /// Sent already, so that the zygote never waits for us. If it is taken back, it stays here until the
    /// zygote has said whether it had been started by then.
    queued: Option<Running>,
    /// Others have better code by now: it is given no more tests.
    retired: bool,
    /// When it was told to end a child that has not ended since.
    told: Option<Instant>,
}

impl<'a> TestPool<'a> {
    /// A pool without zygotes; they are started as there are tests for them.
    pub fn new(launcher: &Launcher, mut job: PoolJob<'a>) -> Self {
        let asks = job.task.package.grants.iter().any(|grant| !grant.by.is_empty());
        let eager = job.live || asks;
        let grants = job.task.package.grants.len();
        Self {
            launcher: launcher.clone(),
            tier: Tier::new(job.tier_up.take()),
            job,
            zygotes: Vec::new(),
            again: VecDeque::new(),
            asks,
            eager,
            grants,
        }
    }

    /// Runs tests until there are no more. Returns whether it was interrupted; then running tests were
    /// ended and reported as such.
    ///
    /// # Errors
    ///
    /// The artifact cannot be run at all, or a fault of ours. Tests that had ended were reported, and those
    /// that ran as interrupted.
    pub fn run(&mut self, tests: &mut dyn Tests) -> Result<bool, WorkerError> {
        let result = self.serve(tests);
        if !matches!(result, Ok(false)) {
            self.interrupt(tests);
        }
        result
    }

    fn serve(&mut self, tests: &mut dyn Tests) -> Result<bool, WorkerError> {
        let begun = Instant::now();
        let mut next_tick = self.job.tick.map(|tick| begun + tick);
        loop {
            self.feed(tests)?;
            if self.zygotes.iter().all(|zygote| zygote.current.is_none()) {
                self.tier.stop();
                return Ok(false);
            }
            if self.wait(next_tick, begun)? {
                return Ok(true);
            }
            if self.tier.step(&self.launcher, begun) {
                self.zygotes.iter_mut().for_each(|zygote| zygote.retired = true);
            }
            for index in 0..self.zygotes.len() {
                self.attend(index, tests)?;
            }
            self.zygotes.retain(|zygote| !zygote.gone());
            if let (Some(tick), Some(due)) = (self.job.tick, &mut next_tick)
                && *due <= Instant::now()
            {
                *due = Instant::now() + tick;
                let running: Vec<_> = self
                    .zygotes
                    .iter()
                    .filter_map(|zygote| zygote.current.as_ref())
                    .map(|running| (running.test.id, running.started.elapsed()))
                    .collect();
                tests.tick(&running);
            }
        }
    }

    /// Gives every zygote a test to run and one to run next, starting zygotes as needed.
    fn feed(&mut self, tests: &mut dyn Tests) -> Result<(), WorkerError> {
        if tests.stopped() {
            self.again.clear();
            for zygote in &mut self.zygotes {
                if let Some(queued) = &mut zygote.queued
                    && queued.cut.is_none()
                {
                    queued.cut = Some(Cut::Withdrawn);
                    let id = queued.test.id;
                    zygote.kill(id);
                }
            }
            return Ok(());
        }
        for round in 0..2 {
            for index in 0..self.job.workers.max(1) {
                if let Some(zygote) = self.zygotes.get(index)
                    && (zygote.retired
                        || zygote.queued.is_some()
                        || (round == 0 && zygote.current.is_some())
                        || zygote.told.is_some())
                {
                    continue;
                }
                let Some(test) = self.again.pop_front().or_else(|| tests.next()) else { return Ok(()) };
                if index >= self.zygotes.len() {
                    let zygote = self.start()?;
                    self.zygotes.push(zygote);
                }
                let index = index.min(self.zygotes.len() - 1);
                self.send(index, test, tests)?;
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<Zygote, WorkerError> {
        let nothing = std::fs::File::open("/dev/null")?;
        let mut task = self.job.task.clone();
        let mut code = self.job.code;
        if let Some((better, strategy)) = self.tier.code() {
            (code, task.confinement.strategy) = (better, strategy);
        }
        let task = Task::Tests(Box::new(task));
        let turns = self.launcher.turns()?;
        let [door, room] = turns.fds();
        let fds = [nothing.as_fd(), code, self.job.root, door, room];
        let process = self.launcher.start(&task, &fds, Streams::Null)?;
        Ok(Zygote { process, ready: false, current: None, queued: None, retired: false, told: None })
    }

    fn send(&mut self, index: usize, test: TestRun, tests: &mut dyn Tests) -> Result<(), WorkerError> {
        let (ours, theirs) = wire::pipe()?;
        let questions = if self.asks { Some(wire::pair()?) } else { None };
        let message = ToWorker::Run(test.id, postcard::to_stdvec(&test).map_err(io::Error::other)?);
        let (answers, asking) = questions.unzip();
        let running = Running::new(test, ours, answers, self.grants);
        let zygote = &mut self.zygotes[index];
        let fds: Vec<_> = [&theirs].into_iter().chain(&asking).map(AsFd::as_fd).collect();
        match zygote.process.tell(&message, &fds) {
            Ok(()) => {}
            // It has just died; that is noticed in a moment, and the test is run by another one.
            Err(WireError::Io(_)) => zygote.process.kill(),
            Err(WireError::Malformed(what)) => return Err(WorkerError::Fault(what.to_owned())),
        }
        if zygote.current.is_none() {
            tests.started(running.test.id);
            zygote.current = Some(running);
        } else {
            zygote.queued = Some(running);
        }
        Ok(())
    }

    /// Sleeps until something is to be done. Whether it is to end.
    fn wait(&self, next_tick: Option<Instant>, begun: Instant) -> Result<bool, WorkerError> {
        let now = Instant::now();
        let mut wake = self.tier.due(begun).into_iter().chain(next_tick).min();
        let mut fds = Vec::with_capacity(2 * self.zygotes.len() + 2);
        let compiling = self.tier.socket();
        if let Some(socket) = &compiling {
            fds.push(PollFd::new(socket, PollFlags::IN));
        }
        for zygote in &self.zygotes {
            fds.push(PollFd::new(&zygote.process.socket, PollFlags::IN));
            let Some(running) = &zygote.current else { continue };
            let loud = self.eager || now >= running.next;
            if loud && !running.deaf {
                fds.push(PollFd::new(&running.channel, PollFlags::IN));
            }
            let limit = zygote.limit(running).filter(|_| running.cut.is_none());
            let due = [
                limit.map(|limit| running.started + limit),
                (!loud).then_some(running.next),
                zygote.told.map(|told| told + PATIENCE),
                (zygote.retired && running.may_be_superseded()).then_some(running.started + LONG),
            ];
            wake = due.into_iter().flatten().chain(wake).min();
        }
        let interrupt = fds.len();
        if let Some(fd) = &self.job.interrupt {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let left = wake.map(|wake| timespec(wake.saturating_duration_since(now)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => Ok(fds.get(interrupt).is_some_and(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Hears one zygote and its test, and looks at the clock.
    fn attend(&mut self, index: usize, tests: &mut dyn Tests) -> Result<(), WorkerError> {
        let eager = self.eager;
        let live = self.job.live;
        let zygote = &mut self.zygotes[index];
        if let Some(running) = &mut zygote.current {
            let elapsed = running.started.elapsed();
            if eager || running.next <= Instant::now() {
                // Once: a child that never stops writing does not keep us from the others.
                running.listen_once(tests, live);
            }
            if !zygote.ready && elapsed >= STARTUP {
                return Err(WorkerError::Fault("a zygote is not ready in time".to_owned()));
            }
            if let Some(limit) = running.test.time
                && zygote.ready
                && elapsed >= limit
                && running.cut.is_none()
            {
                running.cut = Some(Cut::TimedOut(limit));
            }
            if zygote.retired && elapsed >= LONG && running.may_be_superseded() && !tests.stopped() {
                running.cut = Some(Cut::Superseded);
            }
            if running.cut.is_some() && zygote.told.is_none() {
                let id = running.test.id;
                zygote.kill(id);
                zygote.told = Some(Instant::now());
            }
            if zygote.told.is_some_and(|told| told.elapsed() >= PATIENCE) {
                zygote.process.kill();
            }
        }
        let progress = zygote.process.reader.read(&zygote.process.socket).map_err(fault)?;
        loop {
            let zygote = &mut self.zygotes[index];
            let Some(frame) = zygote.process.reader.frame().map_err(fault)? else { break };
            match message(&frame).map_err(fault)? {
                FromWorker::Ready(enforced, seccomp) if !zygote.ready => {
                    zygote.ready = true;
                    // A test's time does not include the start of its zygote.
                    if let Some(running) = &mut zygote.current {
                        running.start_now();
                    }
                    tests.ready(&kernel_report(self.job.task.confinement.landlock, enforced, seccomp));
                }
                FromWorker::Reaped(id, code, signal) if zygote.ready => {
                    let ours = zygote.current.take_if(|running| running.test.id == id);
                    let Some(running) = ours else {
                        return Err(WorkerError::Fault(
                            "a zygote spoke of a test that it does not run".to_owned(),
                        ));
                    };
                    zygote.told = None;
                    // So that it is not idle while we look at this one.
                    if let Some(mut queued) = zygote.queued.take() {
                        queued.start_now();
                        let id = queued.test.id;
                        zygote.current = Some(queued);
                        tests.started(id);
                        self.feed(tests)?;
                    }
                    let result = running.finish(Reaped { code, signal }, tests, live);
                    tests.finished(id, result);
                }
                FromWorker::Withdrawn(id)
                    if zygote
                        .queued
                        .take_if(|queued| queued.test.id == id && queued.cut.is_some())
                        .is_some() => {}
                other if !zygote.ready => return Err(WorkerError::early(other)),
                _ => return Err(WorkerError::Fault("a zygote spoke out of place".to_owned())),
            }
        }
        if progress == Progress::End { self.bury(index, tests) } else { Ok(()) }
    }

    /// A zygote has died. The test it was running died with it; the one after it goes to another, unless it
    /// had begun too.
    fn bury(&mut self, index: usize, tests: &mut dyn Tests) -> Result<(), WorkerError> {
        let zygote = &mut self.zygotes[index];
        // Its socket closes a moment before it is seen to have ended.
        let status = zygote.process.wait(Duration::from_secs(1))?;
        if !zygote.ready {
            return Err(WorkerError::Fault(in_words(status)));
        }
        zygote.told = None;
        zygote.ready = false;
        let (current, mut queued) = (zygote.current.take(), zygote.queued.take());
        let started = queued.take_if(|queued| queued.was_started(tests, self.job.live));
        self.again.extend(queued.filter(|queued| queued.cut.is_none()).map(|queued| queued.test));
        for running in current.into_iter().chain(started) {
            let reaped = Reaped { code: -1, signal: status.signal().unwrap_or(0) };
            let id = running.test.id;
            let result = running.finish(reaped, tests, self.job.live);
            tests.finished(id, result);
        }
        Ok(())
    }

    /// Ends everything and reports what was running.
    fn interrupt(&mut self, tests: &mut dyn Tests) {
        for zygote in &self.zygotes {
            // Its child dies with it.
            zygote.process.kill();
        }
        for mut zygote in std::mem::take(&mut self.zygotes) {
            // One that does not end is killed again when it is dropped; the others are heard all the same.
            let _ = zygote.process.wait(PATIENCE);
            let live = self.job.live;
            let current = zygote.current.take_if(|one| zygote.ready || one.was_started(tests, live));
            let queued = zygote.queued.take_if(|one| one.was_started(tests, live));
            for mut running in current.into_iter().chain(queued) {
                running.cut = Some(Cut::Interrupted);
                let id = running.test.id;
                let result = running.finish(Reaped { code: -1, signal: 9 }, tests, live);
                tests.finished(id, result);
            }
        }
        self.again.clear();
    }
}

impl Zygote {
    fn kill(&self, id: u64) {
        if self.process.tell(&ToWorker::Kill(id), &[]).is_err() {
            self.process.kill();
        }
    }

    /// What is next due of a test: its own end, or that of its zygote's start.
    fn limit(&self, running: &Running) -> Option<Duration> {
        if self.ready { running.test.time } else { Some(STARTUP) }
    }

    /// It was [buried](TestPool::bury), or has nothing to do any more.
    fn gone(&self) -> bool {
        (!self.ready || self.retired) && self.current.is_none() && self.queued.is_none()
    }
}

fn fault(error: WireError) -> WorkerError {
    WorkerError::Fault(format!("a zygote does not keep to the protocol: {error}"))
}

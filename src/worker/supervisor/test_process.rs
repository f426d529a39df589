//! One test that runs: what its process says, and what becomes of that in the end.

use super::observations::{Collected, Cut, Heard, KEEP_HEAD, KILL, RunEnd, RunResult};
use super::pool::Tests;
use super::run::{about_signal, outcome};
use super::spawn::timespec;
use crate::event::GuestOutcome;
use crate::worker::protocol::wire::{self, Progress, Reader, WireError};
use crate::worker::protocol::{Ended, TestRun, ToWorker};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use sandbox_policy::access::RawFrame;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes that are still read from a child that has ended. Its socket holds less, unless another
/// process writes to it.
const LAST_WORDS: usize = 8 << 20;

/// A test younger than this is not listened to until it ends: most end sooner, and are then heard in
/// one go. Its channel holds what it says meanwhile.
const QUIET: Duration = Duration::from_millis(5);

/// How long a test is not listened to when all that it had said was heard. A pipe is full no sooner
/// than that if its guest prints in small pieces; if in large ones, there is more right away.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the channel of a process that is dead, or is about to be, may stay open.
const CLOSING: Duration = Duration::from_secs(1);

/// A test under way, or about to be.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) test: TestRun,
    /// What its process says.
    pub(crate) channel: OwnedFd,
    /// Where its questions are answered, if it may ask any.
    answers: Option<OwnedFd>,
    reader: Reader,
    collected: Collected,
    /// Its process has said something, so it was started.
    spoke: bool,
    pub(crate) started: Instant,
    pub(crate) cut: Option<Cut>,
    /// When it is next worth listening to it; in a hurry there is no need to wait.
    pub(crate) next: Instant,
    /// The channel is at its end, or not to be listened to.
    pub(crate) deaf: bool,
}

/// What a zygote, or the kernel, says of a test's process.
pub(crate) struct Reaped {
    pub(crate) code: i32,
    pub(crate) signal: i32,
}

impl Running {
    /// A test that is started now, over our ends of its channels, in a package with so many grants.
    pub(crate) fn new(test: TestRun, channel: OwnedFd, answers: Option<OwnedFd>, grants: usize) -> Self {
        let started = Instant::now();
        let keep = if test.keep_output == 0 { KEEP_HEAD } else { test.keep_output };
        Self {
            test,
            channel,
            answers,
            reader: Reader::default(),
            collected: Collected::new(grants, keep),
            spoke: false,
            started,
            next: started + QUIET,
            cut: None,
            deaf: false,
        }
    }

    /// The clock of a test that waited for its process runs from now on.
    pub(crate) fn start_now(&mut self) {
        self.started = Instant::now();
        self.next = self.started + QUIET;
    }

    /// Whether nothing is lost but time if it is ended and run again: nothing that lasts can have been
    /// changed, and nothing was heard that must be told.
    pub(crate) fn may_be_superseded(&self) -> bool {
        self.test.repeatable && self.cut.is_none() && !self.collected.observed.violated()
    }

    /// Reads once from the test's process. Whether there may be more.
    pub(crate) fn listen_once(&mut self, tests: &mut dyn Tests, live: bool) -> bool {
        if self.deaf {
            return false;
        }
        match self.hear(tests, live) {
            Ok(Progress::Some) => true,
            Ok(Progress::Empty) => false,
            Ok(Progress::End) => {
                self.deaf = true;
                false
            }
            Err(error) => {
                self.deaf = true;
                self.cut.get_or_insert(Cut::Hostile(error.to_string()));
                false
            }
        }
    }

    fn hear(&mut self, tests: &mut dyn Tests, live: bool) -> Result<Progress, WireError> {
        let progress = self.reader.read_pipe(&self.channel)?;
        if !self.reader.was_full() {
            // There was no more: a guest that prints in small pieces is not worth waking up for each.
            self.next = Instant::now() + PAUSE;
        }
        while let Some(frame) = self.reader.frame()? {
            self.spoke = true;
            match self.collected.hear(&frame)? {
                Heard::Nothing | Heard::Violation(_) => {}
                Heard::Output(stream) if live => tests.output(self.test.id, stream, frame.body),
                Heard::Output(_) => {}
                Heard::Origin(frames) => {
                    let Some(answers) = &self.answers else {
                        return Err(WireError::Malformed("it asked what makes no difference to it"));
                    };
                    let answer = ToWorker::Origin(tests.origin(self.test.id, &frames));
                    wire::send(answers.as_fd(), &answer, &[], SendFlags::DONTWAIT)?;
                }
            }
        }
        Ok(progress)
    }

    /// Hears the last words and puts together what was said and what was done.
    pub(crate) fn finish(mut self, reaped: Reaped, tests: &mut dyn Tests, live: bool) -> RunResult {
        let duration = self.started.elapsed();
        self.hear_out(tests, live);
        let (end, backtrace, note) = self.end(&reaped);
        self.collected.into_result(end, backtrace, note, duration)
    }

    /// Whether a test that was sent to a process which is dead was started there.
    pub(crate) fn was_started(&mut self, tests: &mut dyn Tests, live: bool) -> bool {
        self.hear_out(tests, live);
        self.spoke
    }

    /// Hears everything that is said until the channel closes.
    fn hear_out(&mut self, tests: &mut dyn Tests, live: bool) {
        let (begun, mut reads) = (Instant::now(), 0);
        while !self.deaf && reads < LAST_WORDS {
            if self.listen_once(tests, live) {
                reads += 64 << 10;
                continue;
            }
            let left = CLOSING.saturating_sub(begun.elapsed());
            if self.deaf || left.is_zero() {
                break;
            }
            let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    fn end(&mut self, reaped: &Reaped) -> (RunEnd, Vec<RawFrame>, String) {
        let signal = (reaped.signal != 0).then_some(reaped.signal);
        let fault = |why: &str| (RunEnd::Fault { why: why.to_owned(), signal }, Vec::new(), String::new());
        let guest = |outcome, note| (RunEnd::Guest(outcome), Vec::new(), note);
        let superseded = || (RunEnd::Superseded, Vec::new(), String::new());
        match (self.collected.ended.take(), self.cut.take()) {
            (_, Some(Cut::Hostile(why))) => {
                fault(&format!("its process does not keep to the protocol: {why}"))
            }
            (Some((ended, backtrace)), cut) => {
                if reaped.signal == 0 && reaped.code == i32::from(ended.status()) {
                    return match ended {
                        Ended::PatchMismatch => (RunEnd::PatchMismatch, Vec::new(), String::new()),
                        Ended::Failed(why) => fault(&why),
                        ended => match outcome(ended) {
                            Some(outcome) => (RunEnd::Guest(outcome), backtrace, String::new()),
                            None => fault("its guest did not run"),
                        },
                    };
                }
                match cut {
                    // It had said its last word just before.
                    Some(Cut::TimedOut(limit)) => guest(GuestOutcome::TimedOut(limit), String::new()),
                    Some(Cut::Interrupted) => guest(GuestOutcome::Interrupted, String::new()),
                    Some(Cut::Superseded | Cut::Withdrawn) if reaped.signal == KILL => superseded(),
                    _ if reaped.signal != 0 => {
                        guest(GuestOutcome::Killed(reaped.signal), about_signal(reaped.signal))
                    }
                    _ => fault("its process says one thing and does another"),
                }
            }
            (None, Some(Cut::TimedOut(limit))) => guest(GuestOutcome::TimedOut(limit), String::new()),
            (None, Some(Cut::Interrupted)) => guest(GuestOutcome::Interrupted, String::new()),
            (None, Some(Cut::Superseded | Cut::Withdrawn)) if reaped.signal == KILL => superseded(),
            (None, _) if reaped.signal != 0 => {
                guest(GuestOutcome::Killed(reaped.signal), about_signal(reaped.signal))
            }
            (None, _) => fault("its process ended without a word"),
        }
    }
}

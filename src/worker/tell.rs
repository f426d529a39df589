//! The worker's side of what a guest's process says: each violation once and then counts, over the
//! socket that belongs to this guest alone.

use super::protocol::{Ended, FromWorker, MAX_BACKTRACE, MAX_TEXT, MAX_VIOLATIONS, ToWorker, bounded};
use super::wire::{self, Kind, WireError};
use crate::access::{GrantId, RawFrame, RawViolation, Resource};
use crate::wasi::{Sink, Stream};
use rustix::net::SendFlags;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Answers that are remembered: a kilobyte each at most.
const MAX_ORIGINS: usize = 4096;

/// Speaks for one guest. Clones speak for the same.
#[derive(Clone)]
pub(super) struct Teller(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    channel: Option<OwnedFd>,
    /// Where questions are answered, if that is not the channel.
    asking: Option<OwnedFd>,
    violations: HashMap<RawViolation, (u32, u64)>,
    overflow: u64,
    origins: HashMap<Vec<RawFrame>, Option<String>>,
}

impl Teller {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let teller = Self::unconnected();
        teller.connect(socket, None);
        teller
    }

    /// With nobody to tell yet: whatever is said is an error.
    pub(super) fn unconnected() -> Self {
        Self(Arc::default())
    }

    /// From now on it speaks over this channel, a socket or the end of a pipe; then it is answered over
    /// the other one, if at all.
    pub(super) fn connect(&self, channel: OwnedFd, asking: Option<OwnedFd>) {
        let mut state = self.state();
        (state.channel, state.asking) = (Some(channel), asking);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how often a grant was used in all.
    pub(super) fn uses(&self, grant: GrantId, count: u64) -> Result<(), WireError> {
        if count > 1 { self.state().send(&FromWorker::Used(grant, count)) } else { Ok(()) }
    }

    /// Says that a limit was reached.
    pub(super) fn limit(&self, name: &str) -> Result<(), WireError> {
        self.state().send(&FromWorker::Limited(name.to_owned()))
    }

    /// Says when each step was reached.
    pub(super) fn phases(&self) -> Result<(), WireError> {
        self.state().send(&FromWorker::Phases(super::phases::noted()))
    }

    /// Says how the guest ended, after the counts that were not sent yet.
    pub(super) fn end(&self, ended: Ended, backtrace: Vec<RawFrame>) -> Result<(), WireError> {
        let state = self.state();
        for &(number, count) in state.violations.values() {
            if !count.is_power_of_two() {
                state.send(&FromWorker::Count(number, count))?;
            }
        }
        if state.overflow > 0 {
            state.send(&FromWorker::Overflow(state.overflow))?;
        }
        state.send(&FromWorker::Ended(ended, backtrace))
    }
}

#[cfg(feature = "test-walls")]
impl Teller {
    /// Sends anything at all.
    pub(super) fn raw(&self, message: &FromWorker) -> Result<(), WireError> {
        self.state().send(message)
    }

    pub(super) fn with_channel<T>(&self, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        act(self.state().channel().expect("a child has a channel"))
    }
}

impl State {
    fn channel(&self) -> Result<BorrowedFd<'_>, WireError> {
        let channel = self.channel.as_ref().ok_or(WireError::Malformed("nobody listens yet"))?;
        Ok(channel.as_fd())
    }

    /// Without a supervisor there is nobody to tell: this process is about to be killed too.
    fn send(&self, message: &FromWorker) -> Result<(), WireError> {
        wire::send(self.channel()?, message, &[], SendFlags::empty())
    }

    fn violation(&mut self, violation: RawViolation) -> Result<(), WireError> {
        if let Some((number, count)) = self.violations.get_mut(&violation) {
            *count += 1;
            let (number, count) = (*number, *count);
            // So that what is known when the process is killed is at least half of the truth.
            return if count.is_power_of_two() {
                self.send(&FromWorker::Count(number, count))
            } else {
                Ok(())
            };
        }
        if self.violations.len() >= MAX_VIOLATIONS {
            self.overflow += 1;
            return if self.overflow.is_power_of_two() {
                self.send(&FromWorker::Overflow(self.overflow))
            } else {
                Ok(())
            };
        }
        let number = self.violations.len() as u32;
        self.violations.insert(violation.clone(), (number, 1));
        self.send(&FromWorker::Violation(Box::new(violation)))
    }

    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        let frames = &backtrace[..backtrace.len().min(MAX_BACKTRACE)];
        if let Some(known) = self.origins.get(frames) {
            return known.clone();
        }
        self.send(&FromWorker::Origin(frames.to_vec())).ok()?;
        let answers = self.asking.as_ref().or(self.channel.as_ref())?;
        let Ok(Some((ToWorker::Origin(answer), _))) = wire::receive(answers.as_fd()) else { return None };
        // A guest can have as many stacks as it likes; what is forgotten is asked again.
        if self.origins.len() >= MAX_ORIGINS {
            self.origins.clear();
        }
        self.origins.insert(frames.to_vec(), answer.clone());
        answer
    }
}

impl Sink for Teller {
    fn violation(&mut self, mut violation: RawViolation) {
        violation.backtrace.truncate(MAX_BACKTRACE);
        violation.note = bounded(violation.note);
        let (Resource::Path(bytes) | Resource::Env(bytes)) = &mut violation.access.resource;
        bytes.truncate(MAX_TEXT);
        let _ = self.state().violation(violation);
    }

    fn used(&mut self, grant: GrantId) {
        let _ = self.state().send(&FromWorker::Used(grant, 1));
    }

    fn saw_tmp(&mut self) {
        let _ = self.state().send(&FromWorker::SawTmp);
    }

    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        self.state().origin(backtrace)
    }

    fn output(&mut self, stream: Stream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let kind = match stream {
            Stream::Output => Kind::Stdout,
            Stream::Error => Kind::Stderr,
        };
        let state = self.state();
        let sent = state.channel().and_then(|channel| wire::send_output(channel, kind, bufs));
        sent.map_err(|error| match error {
            WireError::Io(error) => error,
            WireError::Malformed(what) => io::Error::other(what),
        })
    }
}

//! The worker's side of what a guest's process says: each violation once and then counts, over the
//! socket that belongs to this guest alone. Whatever the guest does, what is said stays within the bounds that the
//! reader has: what is beyond them is counted.

use crate::wasi::{Sink, Stream};
use crate::worker::protocol::wire::{self, Kind, WireError};
use crate::worker::protocol::{
    Ended, FromWorker, MAX_BACKTRACE, MAX_ORIGINS, MAX_TEXT, MAX_VIOLATION_BYTES, MAX_VIOLATIONS, ToWorker,
    bounded, weight,
};
use rustix::net::SendFlags;
use sandbox_policy::MountPoint;
use sandbox_policy::access::{Evidence, GrantId, Operation, RawFrame, RawViolation, Resource};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Violations of each operation for which there is room after any number of others, of so many bytes each.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 8 << 10;

/// Speaks for one guest. Clones speak for the same.
#[derive(Clone)]
pub(crate) struct ChannelSink(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    channel: Option<OwnedFd>,
    /// Where questions are answered, if that is not the channel.
    asking: Option<OwnedFd>,
    violations: HashMap<RawViolation, (u32, u64)>,
    /// What they weigh together, and how many of each operation they are.
    bytes: usize,
    kinds: [usize; Operation::ALL.len()],
    overflow: u64,
    /// What was answered, for each backtrace that was asked about.
    origins: HashMap<Vec<RawFrame>, Option<String>>,
}

impl ChannelSink {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let sink = Self::unconnected();
        sink.connect(socket, None);
        sink
    }

    /// With nobody to tell yet: whatever is said is an error.
    pub(crate) fn unconnected() -> Self {
        Self(Arc::default())
    }

    /// From now on it speaks over this channel, a socket or the end of a pipe; then it is answered over
    /// the other one, if at all.
    pub(crate) fn connect(&self, channel: OwnedFd, asking: Option<OwnedFd>) {
        let mut state = self.state();
        (state.channel, state.asking) = (Some(channel), asking);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how often a grant was used in all.
    pub(crate) fn uses(&self, grant: GrantId, count: u64) -> Result<(), WireError> {
        if count > 1 { self.state().send(&FromWorker::Used(grant, count)) } else { Ok(()) }
    }

    /// Says that a limit was reached.
    pub(crate) fn limit(&self, name: &str) -> Result<(), WireError> {
        self.state().send(&FromWorker::Limited(bounded(name.to_owned())))
    }

    /// Says when each step was reached.
    pub(crate) fn phases(&self) -> Result<(), WireError> {
        self.state().send(&FromWorker::Phases(crate::worker::protocol::timings::noted()))
    }

    /// Says how the guest ended, after the counts that were not sent yet.
    pub(crate) fn end(&self, ended: Ended, mut backtrace: Vec<RawFrame>) -> Result<(), WireError> {
        backtrace.truncate(MAX_BACKTRACE);
        let state = self.state();
        for &(number, count) in state.violations.values() {
            if !count.is_power_of_two() {
                state.send(&FromWorker::Count(number, count))?;
            }
        }
        if state.overflow > 0 {
            state.send(&FromWorker::Overflow(state.overflow))?;
        }
        state.send(&FromWorker::Ended(ended.bounded(), backtrace))
    }
}

#[cfg(feature = "test-walls")]
impl ChannelSink {
    /// Sends anything at all.
    pub(crate) fn raw(&self, message: &FromWorker) -> Result<(), WireError> {
        self.state().send(message)
    }

    pub(crate) fn with_channel<T>(&self, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
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
        let bytes = self.bytes + weight(&violation);
        let kind = &mut self.kinds[violation.access.operation as usize];
        // However many there are of one kind, some of each other kind are told.
        let crowded = self.violations.len() >= MAX_VIOLATIONS - KEPT * Operation::ALL.len();
        let heavy = bytes > MAX_VIOLATION_BYTES - KEPT * Operation::ALL.len() * KEPT_BYTES;
        let kept = *kind < KEPT && bytes <= MAX_VIOLATION_BYTES && self.violations.len() < MAX_VIOLATIONS;
        if (crowded || heavy) && !kept {
            self.overflow += 1;
            return if self.overflow.is_power_of_two() {
                self.send(&FromWorker::Overflow(self.overflow))
            } else {
                Ok(())
            };
        }
        *kind += 1;
        self.bytes = bytes;
        let number = self.violations.len() as u32;
        self.violations.insert(violation.clone(), (number, 1));
        self.send(&FromWorker::Violation(Box::new(violation)))
    }

    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        let frames = &backtrace[..backtrace.len().min(MAX_BACKTRACE)];
        if let Some(known) = self.origins.get(frames) {
            return known.clone();
        }
        // A guest has as many stacks as it likes. Where nobody is asked any more, the access is nobody's: denied, and
        // a violation.
        if self.origins.len() >= MAX_ORIGINS {
            return None;
        }
        let answer = self.ask(frames);
        self.origins.insert(frames.to_vec(), answer.clone());
        answer
    }

    fn ask(&self, frames: &[RawFrame]) -> Option<String> {
        self.send(&FromWorker::Origin(frames.to_vec())).ok()?;
        let answers = self.asking.as_ref().or(self.channel.as_ref())?;
        // It comes with no descriptors, and a guest's process has no system call to receive any.
        let Ok(Some(ToWorker::Origin(answer))) = wire::receive_plain(answers.as_fd()) else { return None };
        answer
    }
}

impl Sink for ChannelSink {
    fn violation(&mut self, mut violation: RawViolation) {
        match &mut violation.evidence {
            Evidence::Wasm(frames) => frames.truncate(MAX_BACKTRACE),
        }
        violation.note = bounded(violation.note);
        let (Resource::Path(bytes) | Resource::Env(bytes)) = &mut violation.access.resource;
        bytes.truncate(MAX_TEXT);
        let _ = self.state().violation(violation);
    }

    fn used(&mut self, grant: GrantId) {
        let _ = self.state().send(&FromWorker::Used(grant, 1));
    }

    fn mounted(&mut self, point: MountPoint) {
        let _ = self.state().send(&FromWorker::Mounted(point));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::supervisor::observations::{Collected, Heard};
    use proptest::prelude::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use sandbox_policy::access::{Access, Wall};
    use std::thread;

    /// What a guest makes its host say, so and so often.
    #[derive(Clone, Debug)]
    enum Act {
        /// With a resource, a note and a backtrace of these lengths.
        Violate(usize, usize, usize),
        Ask(usize),
        Use(u32),
        Print(usize),
        Limit(usize),
    }

    fn frames(number: usize, length: usize) -> Vec<RawFrame> {
        (0..length as u32).map(|offset| RawFrame { function: number as u32, offset }).collect()
    }

    /// Plays the acts through a real channel to a real listener. Gives what was heard, and how many origins were asked for.
    fn play(acts: &[(usize, Act)], ended: Ended, backtrace: usize) -> Result<(Collected, usize), WireError> {
        let (ours, theirs) = wire::pair().unwrap();
        thread::scope(|scope| {
            let listener = scope.spawn(move || {
                let mut reader = wire::Reader::default();
                let (mut heard, mut asked) = (Collected::new(8, 100), 0);
                loop {
                    while let Some(frame) = reader.frame()? {
                        if let Heard::Origin(_) = heard.hear(&frame)? {
                            asked += 1;
                            let answer = ToWorker::Origin(Some("krate".to_owned()));
                            wire::send(ours.as_fd(), &answer, &[], SendFlags::empty())?;
                        }
                    }
                    poll(&mut [PollFd::new(&ours, PollFlags::IN)], None).unwrap();
                    if reader.read(&ours)? == wire::Progress::End {
                        return Ok((heard, asked));
                    }
                }
            });
            let mut sink = ChannelSink::new(theirs);
            for (times, act) in acts {
                for number in 0..*times {
                    match act {
                        Act::Violate(resource, note, length) => {
                            let mut name = format!("/{number}/").into_bytes();
                            name.resize(name.len().max(*resource), b'x');
                            sink.violation(RawViolation {
                                access: Access { operation: Operation::Read, resource: Resource::Path(name) },
                                wall: Wall::Wasi,
                                exception: None,
                                note: "ü".repeat(*note),
                                let_through: false,
                                evidence: Evidence::Wasm(frames(number, *length)),
                            });
                        }
                        Act::Ask(length) => drop(sink.origin(&frames(number, *length))),
                        Act::Use(grant) => sink.used(GrantId(*grant)),
                        Act::Print(length) => {
                            drop(sink.output(Stream::Error, &[IoSlice::new(&vec![b'.'; *length])]))
                        }
                        Act::Limit(length) => sink.limit(&"l".repeat(*length)).unwrap(),
                    }
                }
            }
            sink.mounted(MountPoint::Tmp);
            sink.end(ended, frames(0, backtrace)).unwrap();
            drop(sink);
            listener.join().unwrap()
        })
    }

    fn violated(heard: &Collected) -> u64 {
        heard.observed.violations.iter().map(|(_, count)| count).sum::<u64>() + heard.observed.overflow
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_a_worker_says_is_never_malformed(
            acts in prop::collection::vec((1_usize..40, prop_oneof![
                (0_usize..200_000, 0_usize..70_000, 0_usize..300).prop_map(|(r, n, b)| Act::Violate(r, n, b)),
                (0_usize..300).prop_map(Act::Ask),
                (0_u32..8).prop_map(Act::Use),
                (0_usize..200_000).prop_map(Act::Print),
            ]), 0..12),
            limit in 0_usize..100_000, why in 0_usize..100_000, backtrace in 0_usize..300, end in 0_u8..4,
        ) {
            let why = "ü".repeat(why);
            let ended = match end {
                0 => Ended::Exited(3),
                1 => Ended::Trapped(why),
                2 => Ended::Limit(why),
                _ => Ended::Failed(why),
            };
            let acts = [acts, vec![(3, Act::Limit(limit))]].concat();
            let (heard, _) = play(&acts, ended, backtrace).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let tried: usize = acts.iter().map(|(n, act)| if let Act::Violate(..) = act { *n } else { 0 }).sum();
            prop_assert_eq!(violated(&heard), tried as u64, "each is told, or counted");
            prop_assert!(heard.ended.is_some() && heard.observed.mounted.contains(&MountPoint::Tmp));
        }
    }

    #[test]
    fn a_flood_is_told_as_far_as_it_fits_and_counted_beyond() {
        // By number, and by size.
        for (times, act, kept) in [
            (MAX_VIOLATIONS + 100, Act::Violate(20, 0, 3), MAX_VIOLATIONS - 7 * KEPT),
            (2000, Act::Violate(MAX_TEXT, 0, 1), MAX_VIOLATION_BYTES * 8 / 10 / MAX_TEXT),
        ] {
            let acts = [(times, act), (3, Act::Violate(1, 0, 1))];
            let (heard, _) = play(&acts, Ended::Exited(0), 0).unwrap();
            assert!(heard.observed.violations.len() >= kept, "{} of {kept}", heard.observed.violations.len());
            assert_eq!(violated(&heard), times as u64 + 3);
        }
        let acts = [(MAX_ORIGINS + 100, Act::Ask(2)), (1, Act::Violate(1, 0, 1))];
        let (heard, asked) = play(&acts, Ended::Exited(0), 0).unwrap();
        assert_eq!((asked, violated(&heard)), (MAX_ORIGINS, 1));
    }
}

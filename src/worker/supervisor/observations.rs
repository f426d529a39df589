//! What the supervisor keeps of what a guest's process says. All of it is bounded, and what does
//! not make sense ends the process that said it.

use super::observed::Observed;
use super::spawn::message;
use crate::event::GuestOutcome;
use crate::worker::protocol::wire::{Frame, Kind, WireError};
use crate::worker::protocol::{Ended, FromWorker, MAX_ORIGINS, MAX_VIOLATIONS, weight};
use sandbox_policy::access::RawFrame;
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of all violations of one guest together. A worker keeps to less.
const MAX_BYTES: usize = 64 << 20;
/// The signal with which a process is ended.
pub(crate) const KILL: i32 = 9;
/// How long a worker may take to confine itself and to load the code.
pub(crate) const STARTUP: Duration = Duration::from_secs(60);
/// Kept of the beginning of a guest's output unless asked for more, in bytes.
pub const KEEP_HEAD: usize = 1 << 20;
/// Kept of the end of a guest's output, in bytes.
pub const KEEP_TAIL: usize = 1 << 20;

/// One of a guest's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// A guest's output: its beginning and its end if it is too long to keep all.
#[derive(Clone, Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    /// Where each run of one stream ends in `head`.
    marks: Vec<(bool, usize)>,
    tail: VecDeque<u8>,
    dropped: u64,
    keep: usize,
}

impl Output {
    pub(crate) fn keeping(head: usize) -> Self {
        Self { keep: head, ..Self::default() }
    }

    pub(crate) fn push(&mut self, stream: OutputStream, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.keep.saturating_sub(self.head.len())));
        if !head.is_empty() {
            self.head.extend_from_slice(head);
            let stdout = stream == OutputStream::Stdout;
            match self.marks.last_mut() {
                Some((last, end)) if *last == stdout => *end = self.head.len(),
                _ => self.marks.push((stdout, self.head.len())),
            }
        }
        if !rest.is_empty() {
            let rest = if rest.len() > KEEP_TAIL {
                self.dropped += (rest.len() - KEEP_TAIL) as u64;
                &rest[rest.len() - KEEP_TAIL..]
            } else {
                rest
            };
            let over = (self.tail.len() + rest.len()).saturating_sub(KEEP_TAIL);
            self.tail.drain(..over);
            self.dropped += over as u64;
            self.tail.extend(rest);
        }
    }

    /// Bytes that were not kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Both streams in the order in which they were written; a line says so where something was
    /// left out.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[… {} bytes left out …]\n", self.dropped).as_bytes());
        }
        bytes.extend(&self.tail);
        bytes
    }

    /// The kept beginning of one stream.
    pub fn stream(&self, stream: OutputStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut start = 0;
        for &(stdout, end) in &self.marks {
            if stdout == (stream == OutputStream::Stdout) {
                bytes.extend_from_slice(&self.head[start..end]);
            }
            start = end;
        }
        bytes
    }
}

/// How a guest's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The guest ran and ended so.
    Guest(GuestOutcome),
    /// What [`Patch::expect`](crate::worker::protocol::Patch::expect) wants was not there. Nothing ran.
    PatchMismatch,
    /// It was ended, to be run again with better code ([`TestRun::repeatable`](crate::worker::protocol::TestRun))
    /// or because nothing is to be run any more ([`Tests::stopped`](super::Tests::stopped)). What was heard of
    /// it until then still holds.
    Superseded,
    /// What happened cannot be told: a process could not be set up, says one thing and does another, or
    /// failed while its guest ran. What is known is what was heard until then. Never a pass.
    Fault {
        /// In words.
        why: String,
        /// By which signal the process ended, as far as that is known.
        signal: Option<i32>,
    },
}

/// What is known of a guest that has ended.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// How it ended.
    pub end: RunEnd,
    /// Frames of a trap, innermost first.
    pub backtrace: Vec<RawFrame>,
    /// What it did.
    pub observed: Observed,
    /// One more sentence where its end would puzzle, or empty.
    pub note: String,
    /// What it wrote, if that did not go to the caller's own streams.
    pub output: Output,
    /// Wall-clock time: of a test from its start, of a program from that of its worker.
    pub duration: Duration,
}

/// Why the supervisor ends a guest's process.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    TimedOut(Duration),
    Interrupted,
    /// It is to be run again, with better code.
    Superseded,
    /// Nothing is to be run any more.
    Withdrawn,
    /// It does not keep to the protocol.
    Hostile(String),
}

/// What is to be done about a frame.
pub(crate) enum Heard {
    Nothing,
    /// The violation with this index is new.
    Violation(usize),
    /// Output was added; it is the frame's body.
    Output(OutputStream),
    /// An answer is waited for.
    Origin(Vec<RawFrame>),
}

/// Everything that one guest's process has said.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) observed: Observed,
    pub(crate) ended: Option<(Ended, Vec<RawFrame>)>,
    pub(crate) output: Output,
    bytes: usize,
    origins: usize,
    grants: usize,
}

impl Collected {
    /// For a guest whose package has this many grants.
    pub(crate) fn new(grants: usize, keep_output: usize) -> Self {
        Self {
            observed: Observed::default(),
            ended: None,
            output: Output::keeping(keep_output),
            bytes: 0,
            origins: 0,
            grants,
        }
    }

    /// With how its process ended, all that is known of it.
    pub(crate) fn into_result(
        self,
        end: RunEnd,
        backtrace: Vec<RawFrame>,
        note: String,
        duration: Duration,
    ) -> RunResult {
        RunResult { end, backtrace, observed: self.observed, note, output: self.output, duration }
    }

    /// Takes a frame of a guest's process.
    ///
    /// # Errors
    ///
    /// It makes no sense: the process is not to be listened to any longer.
    pub(crate) fn hear(&mut self, frame: &Frame<'_>) -> Result<Heard, WireError> {
        if self.ended.is_some() {
            return Err(WireError::Malformed("it spoke after its end"));
        }
        let stream = match frame.kind {
            Kind::Message => return self.hear_message(message(frame)?),
            Kind::Stdout => OutputStream::Stdout,
            Kind::Stderr => OutputStream::Stderr,
        };
        self.output.push(stream, frame.body);
        Ok(Heard::Output(stream))
    }

    pub(crate) fn hear_message(&mut self, message: FromWorker) -> Result<Heard, WireError> {
        let observed = &mut self.observed;
        match message {
            FromWorker::Violation(violation) => {
                self.bytes += weight(&violation);
                if observed.violations.len() >= MAX_VIOLATIONS || self.bytes > MAX_BYTES {
                    return Err(WireError::Malformed("it reported more violations than it may"));
                }
                observed.violations.push((*violation, 1));
                return Ok(Heard::Violation(observed.violations.len() - 1));
            }
            FromWorker::Count(number, count) => match observed.violations.get_mut(number as usize) {
                // A count only ever grows: nothing that was said is taken back.
                Some((_, known)) => *known = count.max(*known),
                None => return Err(WireError::Malformed("it counted a violation that it did not report")),
            },
            FromWorker::Overflow(count) => observed.overflow = count.max(observed.overflow),
            FromWorker::Used(grant, count) => {
                if grant.0 as usize >= self.grants {
                    return Err(WireError::Malformed("it used a grant that does not exist"));
                }
                let known = observed.uses.entry(grant).or_default();
                *known = count.max(*known);
            }
            FromWorker::Mounted(point) => drop(observed.mounted.insert(point)),
            FromWorker::Origin(frames) => {
                self.origins += 1;
                if self.origins > MAX_ORIGINS {
                    return Err(WireError::Malformed("it asked for more origins than it may"));
                }
                return Ok(Heard::Origin(frames));
            }
            FromWorker::Limited(name) => {
                if observed.limits.len() >= 16 {
                    return Err(WireError::Malformed("it reached more limits than there are"));
                }
                observed.limits.push(name);
            }
            FromWorker::Phases(times) => crate::worker::protocol::timings::learn(&times),
            FromWorker::Ended(ended, backtrace) => self.ended = Some((ended, backtrace)),
            _ => return Err(WireError::Malformed("a message out of place")),
        }
        Ok(Heard::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_policy::MountPoint;
    use sandbox_policy::access::{Access, Evidence, GrantId, Operation, RawViolation, Resource, Wall};

    fn violation(path: &str) -> FromWorker {
        FromWorker::Violation(Box::new(RawViolation {
            access: Access { operation: Operation::Read, resource: Resource::Path(path.into()) },
            wall: Wall::Wasi,
            exception: None,
            note: String::new(),
            let_through: false,
            evidence: Evidence::Wasm(Vec::new()),
        }))
    }

    #[test]
    fn nothing_that_was_said_can_be_taken_back() {
        let mut heard = Collected::new(3, 10);
        heard.hear_message(violation("/a")).unwrap();
        heard.hear_message(FromWorker::Count(0, 8)).unwrap();
        heard.hear_message(FromWorker::Count(0, 1)).unwrap();
        heard.hear_message(FromWorker::Used(GrantId(2), 5)).unwrap();
        heard.hear_message(FromWorker::Used(GrantId(2), 0)).unwrap();
        assert!(!heard.observed.mounted.contains(&MountPoint::Tmp));
        for _ in 0..2 {
            heard.hear_message(FromWorker::Mounted(MountPoint::Tmp)).unwrap();
        }
        assert!(heard.observed.mounted.contains(&MountPoint::Tmp));
        assert_eq!(heard.observed.violations[0].1, 8);
        assert_eq!(heard.observed.uses[&GrantId(2)], 5);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let mut heard = Collected::new(3, 10);
        assert!(heard.hear_message(FromWorker::Count(0, 1)).is_err());
        assert!(heard.hear_message(FromWorker::Used(GrantId(3), 1)).is_err());
        assert!(heard.hear_message(FromWorker::Reaped(7, 0, 0)).is_err());
        assert!(heard.hear_message(FromWorker::Refused("no".to_owned())).is_err());
        for i in 0..MAX_VIOLATIONS {
            heard.hear_message(violation(&format!("/{i}"))).unwrap();
        }
        assert!(heard.hear_message(violation("/one more")).is_err());
        for _ in 0..MAX_ORIGINS {
            heard.hear_message(FromWorker::Origin(vec![])).unwrap();
        }
        assert!(heard.hear_message(FromWorker::Origin(vec![])).is_err());
        for _ in 0..16 {
            heard.hear_message(FromWorker::Limited("memory".to_owned())).unwrap();
        }
        assert!(heard.hear_message(FromWorker::Limited("memory".to_owned())).is_err());
        heard.hear_message(FromWorker::Ended(Ended::Exited(0), vec![])).unwrap();
        assert!(heard.hear(&Frame { kind: Kind::Stdout, body: b"late" }).is_err());
    }

    #[test]
    fn long_output_keeps_its_beginning_and_its_end() {
        let mut output = Output::keeping(10);
        output.push(OutputStream::Stdout, b"begin");
        output.push(OutputStream::Stderr, b"oops");
        for _ in 0..40 {
            output.push(OutputStream::Stdout, &[b'.'; 100_000]);
        }
        output.push(OutputStream::Stdout, b"end");
        assert_eq!(output.stream(OutputStream::Stdout), b"begin.");
        assert_eq!(output.stream(OutputStream::Stderr), b"oops");
        let bytes = output.bytes();
        assert!(bytes.starts_with(b"beginoops.") && bytes.ends_with(b"..end"));
        assert_eq!(output.dropped(), 4_000_000 - 1 + 3 - KEEP_TAIL as u64);
        assert!(bytes.len() < KEEP_TAIL + 100);
    }
}

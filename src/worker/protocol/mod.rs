//! The messages between supervisor and worker. What a worker says is a hostile guest's word once
//! guest code has run in it: every message from it is [checked](FromWorker::check) against the
//! bounds below before anything is done with it.

pub mod timings;
pub mod wire;

use crate::access::{Frame, GrantId, RawFrame, RawViolation};
use crate::compile::{ModuleInfo, Strategy, child::CompileError};
use crate::kernel::{Enforced, LandlockLevel};
use crate::policy::{MountPoint, PackagePolicy, Policy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Both ends are the same binary; a mismatch says that it was replaced under way.
pub(in crate::worker) const VERSION: u32 = 1;

/// Frames of one backtrace.
pub(in crate::worker) const MAX_BACKTRACE: usize = 128;
/// Different violations of one guest instance that are told apart.
pub(in crate::worker) const MAX_VIOLATIONS: usize = 4096;
/// Bytes of one path, name or text.
pub(in crate::worker) const MAX_TEXT: usize = 64 << 10;
/// Questions for an origin that one guest instance may ask.
pub(in crate::worker) const MAX_ORIGINS: usize = 4096;
/// Bytes of all violations of one guest instance that are told apart, as [`weight`] counts them. The reader's own bound
/// is wider: what a worker says within this one is never refused.
pub(in crate::worker) const MAX_VIOLATION_BYTES: usize = 32 << 20;
/// Symbol frames of one raw frame: inlined calls.
pub(in crate::worker) const MAX_INLINED: usize = 256;

/// Largest machine code that is taken from a compile child, in bytes.
pub(in crate::worker) const MAX_CODE: u64 = 1 << 30;
/// The second argument of one that is started before there is a task.
pub(in crate::worker) const EARLY_ARGUMENT: &str = "early";
/// See [`COMPILE_SPACE`].
pub(in crate::worker) const COMPILE_MEMORY: u64 = 3 << 30;

/// Which walls stand. Other than [`ALL`](Self::ALL) only in builds with the feature `test-walls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Our own host functions.
    pub wasi: bool,
    /// Landlock.
    pub landlock: bool,
    /// The system call filter.
    pub seccomp: bool,
}

impl Walls {
    /// All three.
    pub const ALL: Self = Self { wasi: true, landlock: true, seccomp: true };

    /// What is really switched off: nothing, but in test builds.
    pub const fn effective(self) -> Self {
        if cfg!(feature = "test-walls") { self } else { Self::ALL }
    }
}

impl Default for Walls {
    fn default() -> Self {
        Self::ALL
    }
}

/// How directories are offered to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// `/` alone: for artifacts with our marker.
    #[default]
    Root,
    /// `.` and one preopen per top-level directory: for artifacts built elsewhere.
    TopLevel,
}

/// The first message: what this process is for. Descriptors come with it, in the order of
/// [`Task`]'s documentation.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::worker) struct Start {
    pub(in crate::worker) version: u32,
    /// The supervisor's process, to die with.
    pub(in crate::worker) supervisor: i32,
    /// Bytes of the [`Task`] in the descriptor that follows standard input.
    pub(in crate::worker) task: u64,
}

/// What a worker does. Trusted: it comes from the supervisor, in a descriptor of its own because a
/// policy may be larger than a frame.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::worker) enum Task {
    /// Run one guest. Descriptors: standard input, task, code, root directory, those of [`Turns`](crate::wasi::Turns).
    Run(Box<RunTask>),
    /// Be a zygote. Descriptors: the same.
    Tests(Box<TestsTask>),
    /// Compile. Descriptors: input, task, output.
    Compile(Strategy),
    /// Answer [`ToWorker::Symbolise`]. Descriptors: the module, task.
    Symbolise,
}

/// What both kinds of guest process need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::worker) struct Confinement {
    /// What Landlock enforces if it is not what the wasi wall decides by (`--audit`, `--root`).
    pub(in crate::worker) kernel_policy: Option<Policy>,
    /// The wasi wall reports, and lets through what this allows.
    pub(in crate::worker) audit: Option<Policy>,
    pub(in crate::worker) landlock: LandlockLevel,
    pub(in crate::worker) strategy: Strategy,
    pub(in crate::worker) walls: Walls,
    pub(in crate::worker) layout: Layout,
    /// Beneath these a name may be folded: see [`kernel::folding`](crate::kernel::folding).
    pub(in crate::worker) folding: Vec<Vec<u8>>,
    /// The worker says when it reached what.
    pub(in crate::worker) timings: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::worker) struct RunTask {
    pub(in crate::worker) confinement: Confinement,
    pub(in crate::worker) policy: Policy,
    pub(in crate::worker) args: Vec<Vec<u8>>,
    pub(in crate::worker) env: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::worker) struct TestsTask {
    pub(in crate::worker) confinement: Confinement,
    /// The union of what the tests may do.
    pub(in crate::worker) union: Policy,
    /// Instantiating runs code of the guest.
    pub(in crate::worker) start: bool,
    /// What each test's own policy is cut from.
    pub(in crate::worker) package: PackagePolicy,
    pub(in crate::worker) target: String,
    /// The environment of a test that is not given its own.
    pub(in crate::worker) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(in crate::worker) current_dir: PathBuf,
}

/// A change to the guest's memory before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Address in linear memory.
    pub address: u32,
    /// What must be there; otherwise the test is not run.
    pub expect: Vec<u8>,
    /// What is put there instead.
    pub bytes: Vec<u8>,
}

/// One test for a zygote; its own channel comes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::worker) struct RunTest {
    /// The test's name where grants of a case may apply to it.
    pub(in crate::worker) test: Option<String>,
    /// A list of tests is no output of a test: the limit of that does not hold.
    pub(in crate::worker) listing: bool,
    pub(in crate::worker) args: Vec<Vec<u8>>,
    /// `None`: [`TestsTask::env`].
    pub(in crate::worker) env: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(in crate::worker) tmp: Option<PathBuf>,
    pub(in crate::worker) patches: Vec<Patch>,
    /// In builds with `test-walls`: how the child misbehaves.
    pub(in crate::worker) fault: Option<InjectedFault>,
}

/// What a test child that was taken over does. Only in builds with the feature `test-walls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InjectedFault {
    /// Says that it passed, and exits with another status.
    Lie,
    /// Sends messages that only a zygote may send, for another test's number.
    SpeakForAnother,
    /// Sends violations without end.
    Flood,
    /// Sends bytes that are no frames.
    Garbage,
    /// Looks for sockets that are not its own, then goes on as it should.
    Reach,
    /// Says which capabilities it has, and whether the memory of its zygote or its supervisor can be had;
    /// then goes on as it should.
    Pry,
    /// Takes its turn to be alone in changing names, and does not give it up.
    Hold,
    /// Forks.
    Fork,
    /// Kills its zygote.
    Signal,
    /// Uses up its time.
    Spin,
    /// Exits without a word.
    Silent,
    /// Is killed.
    Die,
    /// Asks for origins without end and never reads an answer.
    Ask,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::worker) enum ToWorker {
    /// To a zygote: the number of a test, and the [`RunTest`] in its encoding. A zygote hands that on as it
    /// is, so that what it takes apart is not strewn over memory that it shares with its children.
    Run(u64, Vec<u8>),
    /// To a zygote: end this test's child if it runs or waits.
    Kill(u64),
    /// The answer to [`FromWorker::Origin`].
    Origin(Option<String>),
    /// To a symbolise child.
    Symbolise(Vec<RawFrame>),
}

/// Where a worker gave up before any guest code ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The process could not be set up.
    Setup,
    /// The machine code is not usable: compile again.
    Load,
    /// The module imports or exports what it must not, or lacks `_start`.
    Link,
}

/// How a guest ended, in its process' own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::worker) enum Ended {
    Exited(i32),
    Panicked,
    Trapped(String),
    Limit(String),
    /// [`Patch::expect`] was not there; the guest did not start.
    PatchMismatch,
    /// The process could not be confined, or the guest not instantiated; the guest did not start.
    Failed(String),
}

impl Ended {
    /// The same with its words within [`MAX_TEXT`].
    pub(in crate::worker) fn bounded(self) -> Self {
        match self {
            Self::Trapped(why) => Self::Trapped(bounded(why)),
            Self::Limit(what) => Self::Limit(bounded(what)),
            Self::Failed(why) => Self::Failed(bounded(why)),
            Self::Exited(_) | Self::Panicked | Self::PatchMismatch => self,
        }
    }

    /// The status that the process of this guest exits with.
    pub(in crate::worker) const fn status(&self) -> u8 {
        match self {
            Self::Exited(0) => 0,
            Self::Exited(_) => 1,
            Self::Panicked => 2,
            Self::Trapped(_) => 3,
            Self::Limit(_) => 4,
            Self::PatchMismatch => 5,
            Self::Failed(_) => 6,
        }
    }
}

/// From a worker, a test child, a compile child or a symbolise child.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::worker) enum FromWorker {
    /// Confined and loaded.
    Ready(Enforced, bool),
    /// The kernel cannot give the confinement asked for. Nothing ran.
    Refused(String),
    /// Nothing ran.
    Failed(Stage, String),
    /// Seen for the first time; `0..` in the order in which they are sent.
    Violation(Box<RawViolation>),
    /// The violation with this number has been seen so often by now.
    Count(u32, u64),
    /// Violations beyond [`MAX_VIOLATIONS`] different ones, so far.
    Overflow(u64),
    /// This grant has been used so often by now.
    Used(GrantId, u64),
    /// The guest came somewhere by this mount.
    Mounted(MountPoint),
    /// Which crate does this backtrace originate from?
    Origin(Vec<RawFrame>),
    /// A limit of the manifest was reached, by the name of its key.
    Limited(String),
    /// When each step was reached, if that was asked for; see [`super::phases`].
    Phases(Vec<u64>),
    /// The guest has ended. With the backtrace of a trap.
    Ended(Ended, Vec<RawFrame>),
    /// From a zygote: the child of this test has ended, with this code or by this signal.
    Reaped(u64, i32, i32),
    /// From a zygote: this test was taken back before it was started.
    Withdrawn(u64),
    /// From a compile child.
    Compiled(Result<Box<ModuleInfo>, CompileError>),
    /// From a symbolise child: the next of the frames asked for.
    Symbols(Vec<Frame>),
}

impl FromWorker {
    /// Whether everything in it is within the bounds.
    pub(in crate::worker) fn check(&self) -> bool {
        let text = |text: &str| text.len() <= MAX_TEXT;
        match self {
            Self::Ready(enforced, _) => {
                enforced.enforced.iter().chain(&enforced.missing).all(|word| text(word))
                    && enforced.enforced.len() + enforced.missing.len() <= 256
            }
            Self::Refused(why) | Self::Failed(_, why) | Self::Limited(why) => text(why),
            Self::Violation(violation) => {
                violation.access.resource.bytes().len() <= MAX_TEXT
                    && text(&violation.note)
                    && violation.backtrace.len() <= MAX_BACKTRACE
            }
            Self::Count(number, _) => (*number as usize) < MAX_VIOLATIONS,
            Self::Origin(frames) => frames.len() <= MAX_BACKTRACE,
            Self::Ended(ended, frames) => {
                frames.len() <= MAX_BACKTRACE
                    && match ended {
                        Ended::Trapped(why) | Ended::Limit(why) | Ended::Failed(why) => text(why),
                        Ended::Exited(_) | Ended::Panicked | Ended::PatchMismatch => true,
                    }
            }
            Self::Compiled(Ok(module_info)) => module_info.within_bounds(),
            Self::Compiled(Err(
                CompileError::Module(why) | CompileError::TooMuch(why) | CompileError::Machine(why),
            )) => text(why),
            Self::Symbols(frames) => {
                frames.len() <= MAX_INLINED
                    && frames.iter().all(|f| text(&f.krate) && text(&f.function) && text(&f.file))
            }
            Self::Phases(times) => times.len() <= 32,
            Self::Overflow(_) | Self::Used(..) | Self::Mounted(_) | Self::Reaped(..) | Self::Withdrawn(_) => {
                true
            }
        }
    }
}

/// Bytes that a violation takes, as both sides count them.
pub(in crate::worker) fn weight(violation: &RawViolation) -> usize {
    violation.access.resource.bytes().len()
        + violation.note.len()
        + violation.backtrace.len() * size_of::<RawFrame>()
}

/// Cut at a character, to be within [`MAX_TEXT`].
pub(in crate::worker) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, Operation, Resource, Wall};
    use crate::worker::protocol::wire::{self, Kind, MAX_FRAME, Reader};
    use proptest::prelude::*;

    fn violation(path: usize, note: usize, frames: usize) -> FromWorker {
        FromWorker::Violation(Box::new(RawViolation {
            access: Access { operation: Operation::Read, resource: Resource::Path(vec![b'x'; path]) },
            wall: Wall::Wasi,
            exception: None,
            note: "n".repeat(note),
            let_through: false,
            backtrace: vec![RawFrame { function: 1, offset: 2 }; frames],
        }))
    }

    #[test]
    fn the_bounds_are_where_they_are_said_to_be() {
        assert!(violation(MAX_TEXT, MAX_TEXT, MAX_BACKTRACE).check());
        assert!(!violation(MAX_TEXT + 1, 0, 0).check());
        assert!(!violation(0, MAX_TEXT + 1, 0).check());
        assert!(!violation(0, 0, MAX_BACKTRACE + 1).check());
        assert!(!FromWorker::Count(MAX_VIOLATIONS as u32, 1).check());
        assert!(!FromWorker::Ended(Ended::Trapped("x".repeat(MAX_TEXT + 1)), vec![]).check());
    }

    #[test]
    fn statuses_tell_outcomes_apart() {
        let all = [
            Ended::Exited(0),
            Ended::Exited(7),
            Ended::Panicked,
            Ended::Trapped(String::new()),
            Ended::Limit(String::new()),
            Ended::PatchMismatch,
            Ended::Failed(String::new()),
        ];
        let statuses: std::collections::BTreeSet<_> = all.iter().map(Ended::status).collect();
        assert_eq!(statuses.len(), all.len());
    }

    #[test]
    fn a_message_of_a_worker_survives_the_wire() {
        let body = postcard::to_stdvec(&violation(5, 3, 2)).unwrap();
        let FromWorker::Violation(back) = wire::decode(&body).unwrap() else { panic!("another message") };
        assert_eq!((back.access.resource.bytes().len(), back.backtrace.len()), (5, 2));
        assert!(wire::decode::<FromWorker>(&[&body[..], &[0]].concat()).is_err());
    }

    proptest! {
        /// Whatever a worker sends, the supervisor neither panics nor holds more than a frame and
        /// one read of it.
        #[test]
        fn random_bytes_are_frames_or_an_error(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..30),
        ) {
            let mut reader = Reader::default();
            'all: for chunk in chunks {
                reader.push(&chunk);
                loop {
                    match reader.frame() {
                        Ok(Some(frame)) => {
                            prop_assert!(frame.body.len() < MAX_FRAME);
                            if let (Kind::Message, Ok(message)) =
                                (frame.kind, wire::decode::<FromWorker>(frame.body))
                            {
                                message.check();
                            }
                        }
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(reader.held() <= MAX_FRAME + (64 << 10));
            }
        }

        /// Plausible messages with random contents: decoding allocates no more than a small
        /// multiple of what was sent.
        #[test]
        fn lengths_that_lie_are_an_error(tag in 0_u8..16, lie in any::<u64>(), rest in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut body = vec![tag];
            body.extend(postcard::to_stdvec(&lie).unwrap());
            body.extend(rest);
            if let Ok(message) = wire::decode::<FromWorker>(&body) {
                message.check();
            }
        }
    }
}

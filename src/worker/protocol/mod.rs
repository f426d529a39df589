//! The messages between supervisor and worker. What a worker says is a hostile guest's word once
//! guest code has run in it: every message from it is [checked](FromWorker::check) against the
//! bounds below before anything is done with it.

pub mod timings;
pub mod wire;

use crate::compile::{ModuleInfo, Strategy, child::CompileError};
use sandbox_policy::access::{Evidence, Frame, GrantId, RawFrame, RawViolation};
use sandbox_policy::{MountPoint, PackagePolicy, Policy};
use sandbox_walls as kernel;
use sandbox_walls::{Enforced, LandlockLevel, Walls};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

pub use crate::should_panic::Patch;

/// Both ends are the same binary; a mismatch says that it was replaced under way.
pub(crate) const VERSION: u32 = 1;

/// Frames of one backtrace.
pub(crate) const MAX_BACKTRACE: usize = 128;
/// Different violations of one guest instance that are told apart.
pub(crate) const MAX_VIOLATIONS: usize = 4096;
/// Bytes of one path, name or text.
pub(crate) const MAX_TEXT: usize = 64 << 10;
/// Questions for an origin that one guest instance may ask.
pub(crate) const MAX_ORIGINS: usize = 4096;
/// Bytes of all violations of one guest instance that are told apart, as [`weight`] counts them. The reader's own bound
/// is wider: what a worker says within this one is never refused.
pub(crate) const MAX_VIOLATION_BYTES: usize = 32 << 20;
/// Symbol frames of one raw frame: inlined calls.
pub(crate) const MAX_INLINED: usize = 256;

/// Largest machine code that is taken from a compile child, in bytes.
pub(crate) const MAX_CODE: u64 = 1 << 30;
/// The second argument of one that is started before there is a task.
pub(crate) const EARLY_ARGUMENT: &str = "early";
/// See [`COMPILE_SPACE`].
pub(crate) const COMPILE_MEMORY: u64 = 3 << 30;

/// How directories are offered to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreopenLayout {
    /// `/` alone: for artifacts with our marker.
    #[default]
    Root,
    /// `.` and one preopen per top-level directory: for artifacts built elsewhere.
    TopLevel,
}

/// The first message: what this process is for. Descriptors come with it, in the order of
/// [`Task`]'s documentation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) version: u32,
    /// The supervisor's process, to die with.
    pub(crate) supervisor: i32,
    /// Bytes of the [`Task`] in the descriptor that follows standard input.
    pub(crate) task: u64,
}

/// What a worker does. Trusted: it comes from the supervisor, in a descriptor of its own because a
/// policy may be larger than a frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Run one guest. Descriptors: standard input, task, code, root directory, those of [`Turns`](crate::wasi::Turns).
    Run(Box<RunTask>),
    /// Be a zygote. Descriptors: the same.
    Tests(Box<TestsTask>),
    /// Compile. Descriptors: input, task, output.
    Compile(Strategy),
    /// Answer [`ToWorker::Symbolise`]. Descriptors: the module, task.
    Symbolise,
}

/// How a guest's process is confined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confinement {
    /// What Landlock enforces if that is not the policy itself: with `--audit` what both walls still
    /// hold, with `--root` the policy's paths as they are outside.
    pub kernel_policy: Option<Policy>,
    /// `--audit`: report, and let through what this allows.
    pub audit: Option<Policy>,
    /// How much of Landlock must be there.
    pub landlock: LandlockLevel,
    /// With which compiler the code was made.
    pub strategy: Strategy,
    /// Which walls stand.
    pub walls: Walls,
    /// How directories are offered.
    pub layout: PreopenLayout,
    /// Beneath these a name may be folded: see [`kernel::folding`](sandbox_walls::folding).
    pub folding: Vec<Vec<u8>>,
    /// The worker notes when it reached what; see [`timings`].
    pub timings: bool,
}

impl Confinement {
    /// Everything enforced, for code of this compiler.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            kernel_policy: None,
            audit: None,
            landlock: LandlockLevel::default(),
            strategy,
            walls: Walls::ALL,
            layout: PreopenLayout::Root,
            folding: kernel::folding::places().to_vec(),
            timings: false,
        }
    }
}

/// One program to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunTask {
    /// How it is confined.
    pub confinement: Confinement,
    /// What it may do. The supervisor keeps its time limit, the worker the others.
    pub policy: Policy,
    /// Arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// Environment, already reduced to what is granted.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What all tests of one artifact have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestsTask {
    /// How they are confined.
    pub confinement: Confinement,
    /// The union of what the tests may do; `{tmp}` bound to the folder that holds all of theirs.
    pub union: Policy,
    /// The code has a start function, which runs when it is instantiated: [`ModuleInfo::start`].
    pub start: bool,
    /// What each test's own policy is cut from.
    pub package: PackagePolicy,
    /// Name of the target whose tests they are.
    pub target: String,
    /// The environment of a test that is not given its own, already reduced to what is granted.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The current directory of every test.
    pub current_dir: PathBuf,
}

/// One test to run, or the listing of tests. A zygote gets it with a channel of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TestRun {
    /// The caller's number for it; different for all that run at one time.
    #[serde(skip)]
    pub id: u64,
    /// Its name, for the grants of test cases.
    pub test: Option<String>,
    /// It is asked for a list of tests, which may be longer than what a test may print.
    pub listing: bool,
    /// Arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// Environment, already reduced to what is granted; `None`: [`TestsTask::env`].
    pub env: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Its private directory, which exists.
    pub tmp: Option<PathBuf>,
    /// Changes to its memory before it starts.
    pub patches: Vec<Patch>,
    /// Only in builds with `test-walls`: what its process does instead.
    pub fault: Option<InjectedFault>,
    /// Wall-clock time it may take. The supervisor's own, as is what follows.
    #[serde(skip)]
    pub time: Option<Duration>,
    /// It may be ended and run again from its beginning once there is better code for it: it can change
    /// nothing that lasts. Its caller is told by `RunEnd::Superseded` and gives it again.
    #[serde(skip)]
    pub repeatable: bool,
    /// Bytes of output to keep of its beginning; 0 stands for 1 MiB.
    #[serde(skip)]
    pub keep_output: usize,
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
pub(crate) enum ToWorker {
    /// To a zygote: the number of a test, and the [`TestRun`] in its encoding. A zygote hands that on as it
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
pub(crate) enum Ended {
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
    pub(crate) fn bounded(self) -> Self {
        match self {
            Self::Trapped(why) => Self::Trapped(bounded(why)),
            Self::Limit(what) => Self::Limit(bounded(what)),
            Self::Failed(why) => Self::Failed(bounded(why)),
            Self::Exited(_) | Self::Panicked | Self::PatchMismatch => self,
        }
    }

    /// The status that the process of this guest exits with.
    pub(crate) const fn status(&self) -> u8 {
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
pub(crate) enum FromWorker {
    /// Confinement and loaded.
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
    pub(crate) fn check(&self) -> bool {
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
                    && match &violation.evidence {
                        Evidence::Wasm(frames) => frames.len() <= MAX_BACKTRACE,
                    }
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
pub(crate) fn weight(violation: &RawViolation) -> usize {
    violation.access.resource.bytes().len()
        + violation.note.len()
        + match &violation.evidence {
            Evidence::Wasm(frames) => size_of_val(&frames[..]),
        }
}

/// Cut at a character, to be within [`MAX_TEXT`].
pub(crate) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::protocol::wire::{self, Kind, MAX_FRAME, Reader};
    use proptest::prelude::*;
    use sandbox_policy::access::{Access, Operation, Resource, Wall};

    fn violation(path: usize, note: usize, frames: usize) -> FromWorker {
        FromWorker::Violation(Box::new(RawViolation {
            access: Access { operation: Operation::Read, resource: Resource::Path(vec![b'x'; path]) },
            wall: Wall::Wasi,
            exception: None,
            note: "n".repeat(note),
            let_through: false,
            evidence: Evidence::Wasm(vec![RawFrame { function: 1, offset: 2 }; frames]),
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
        assert_eq!(back.access.resource.bytes().len(), 5);
        assert_eq!(back.evidence, Evidence::Wasm(vec![RawFrame { function: 1, offset: 2 }; 2]));
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

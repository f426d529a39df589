//! The supervisor's side of one run: it starts a worker, listens, keeps the time, and ends it.

use super::observations::{Collected, Cut, Heard, KILL, RunEnd, RunResult, STARTUP};
use super::spawn::{Launcher, Process, Streams, in_words, message, timespec};
use crate::event::{GuestOutcome, KernelReport};
use crate::worker::protocol::wire::{Progress, WireError};
use crate::worker::protocol::{Ended, FromWorker, RunTask, Stage, Task, ToWorker};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sandbox_policy::access::{RawFrame, RawViolation};
use sandbox_walls as kernel;
use sandbox_walls::{Enforced, LandlockLevel};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long a worker that has said its last word may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// One run of one artifact.
#[derive(Debug)]
pub struct RunJob<'a> {
    /// Finished machine code.
    pub code: BorrowedFd<'a>,
    /// What the guest sees as `/`: an `O_PATH` descriptor, see [`super::real_root`].
    pub root: BorrowedFd<'a>,
    /// What is run, and how.
    pub task: RunTask,
    /// Number of grants in the package's table: an upper bound of their ids.
    pub grants: usize,
    /// Becomes readable when the run is to be interrupted.
    pub interrupt: Option<BorrowedFd<'a>>,
}

/// Hears what happens as it happens.
pub trait RunListener {
    /// The worker is confined and about to start the guest.
    fn ready(&mut self, kernel: &KernelReport);
    /// An unexpected access was seen for the first time.
    fn violation(&mut self, violation: &RawViolation);
    /// The crate that a backtrace originates from; `None` if it cannot be told. Asked only where a
    /// grant says `by`. The guest waits for the answer, and its time limit runs.
    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String>;
}

/// Why a guest did not run, or what it did cannot be told.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerError {
    /// The kernel cannot give the confinement asked for: exit status 69. Nothing ran.
    Unavailable(String),
    /// The code cannot be used: compile it again, without the cache. Nothing ran.
    Load(String),
    /// The module is not one that can run here: its imports, its exports. Nothing ran.
    Link(String),
    /// A fault of ours or of the machine: exit status 70.
    Fault(String),
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => f.write_str(why),
            Self::Load(why) => write!(f, "the compiled code cannot be loaded: {why}"),
            Self::Link(why) => write!(f, "the module cannot run here: {why}"),
            Self::Fault(why) => write!(f, "a worker failed: {why}"),
        }
    }
}

impl std::error::Error for WorkerError {}

impl From<io::Error> for WorkerError {
    fn from(error: io::Error) -> Self {
        Self::Fault(match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => format!("{error}; raise the limit of descriptors: `ulimit -n 1024`"),
            _ => error.to_string(),
        })
    }
}

impl WorkerError {
    pub(crate) fn early(message: FromWorker) -> Self {
        match message {
            FromWorker::Refused(why) => Self::Unavailable(why),
            FromWorker::Failed(Stage::Load, why) => Self::Load(why),
            FromWorker::Failed(Stage::Link, why) => Self::Link(why),
            FromWorker::Failed(Stage::Setup, why) => Self::Fault(why),
            _ => Self::Fault("it spoke before it was ready".to_owned()),
        }
    }
}

pub(crate) fn kernel_report(level: LandlockLevel, enforced: Enforced, seccomp: bool) -> KernelReport {
    KernelReport {
        landlock_abi: enforced.abi,
        landlock_kernel_abi: kernel::status().landlock_abi,
        landlock_level: level.to_string(),
        enforced: enforced.enforced,
        missing: enforced.missing,
        seccomp,
    }
}

/// In the supervisor's words. `None` if no guest ran.
pub(crate) fn outcome(ended: Ended) -> Option<GuestOutcome> {
    Some(match ended {
        Ended::Exited(code) => GuestOutcome::Exited(code),
        Ended::Panicked => GuestOutcome::Panicked,
        Ended::Trapped(why) => GuestOutcome::Trapped(why),
        Ended::Limit(what) => GuestOutcome::Limit(what),
        Ended::PatchMismatch | Ended::Failed(_) => return None,
    })
}

/// One more sentence about a signal, or nothing.
pub(crate) fn about_signal(signal: i32) -> String {
    match signal {
        31 => "the seccomp wall ended it: it made a system call that no guest needs".to_owned(),
        9 => "killed from outside: by the kernel for lack of memory, or by a person".to_owned(),
        _ => String::new(),
    }
}

impl Launcher {
    /// Runs a guest with the caller's standard streams and returns when it has ended.
    ///
    /// # Errors
    ///
    /// See [`WorkerError`]; nothing ran. What fails later is [`RunEnd::Fault`], with all that was heard before.
    pub fn run(&self, job: RunJob<'_>, listener: &mut dyn RunListener) -> Result<RunResult, WorkerError> {
        let begun = Instant::now();
        let limit = job.task.policy.limits.time;
        let level = job.task.confinement.landlock;
        let task = Task::Run(Box::new(job.task));
        let stdin = io::stdin();
        let turns = self.turns()?;
        let [door, room] = turns.fds();
        let fds = [stdin.as_fd(), job.code, job.root, door, room];
        let process = self.start(&task, &fds, Streams::Inherit)?;
        // They are the worker's alone: what it holds is given up with its end.
        drop((task, turns));
        let collected = Collected::new(job.grants, 0);
        let mut run = Run { process, collected, started: begun, begun: None, more: false, over: false };
        let cut = loop {
            // A worker that never stops talking is no reason not to look at the clock.
            match run.listen(listener, level) {
                Ok(Progress::End) => break None,
                Ok(_) => {}
                Err(WorkerError::Fault(why)) if run.begun.is_some() => break Some(Cut::Hostile(why)),
                Err(error) => return Err(error),
            }
            let left = run.left(limit);
            if left == Some(Duration::ZERO) {
                if run.begun.is_none() {
                    return Err(WorkerError::Fault("it is not ready in time".to_owned()));
                }
                break Some(Cut::TimedOut(limit.unwrap_or_default()));
            }
            let mut fds = vec![PollFd::new(&run.process.socket, PollFlags::IN)];
            if let Some(interrupt) = &job.interrupt {
                fds.push(PollFd::new(interrupt, PollFlags::IN));
            }
            let left = if run.more { Some(Duration::ZERO) } else { left };
            match poll(&mut fds, left.map(timespec).as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
                break Some(Cut::Interrupted);
            }
        };
        if cut.is_some() {
            run.process.kill();
            run.over = true;
        }
        // A worker that has closed its socket is not waited for: nothing can come from it.
        let status = run.process.wait(PATIENCE)?;
        crate::worker::protocol::timings::reached(crate::worker::protocol::timings::Phase::End);
        if matches!(cut, Some(Cut::TimedOut(_) | Cut::Interrupted)) {
            // What was sent before the end still counts.
            while matches!(run.listen(listener, level), Ok(Progress::Some)) {}
        }
        let (end, backtrace, note) = run.end(cut, status)?;
        Ok(run.collected.into_result(end, backtrace, note, begun.elapsed()))
    }
}

/// A run under way.
struct Run {
    process: Process,
    collected: Collected,
    started: Instant,
    /// When the guest was started, which is after its worker was.
    begun: Option<Instant>,
    /// Frames may be here already that were not looked at.
    more: bool,
    /// It was ended: nobody waits for an answer.
    over: bool,
}

impl Run {
    /// What is left of the guest's time, or of that for its worker to start.
    fn left(&self, limit: Option<Duration>) -> Option<Duration> {
        match self.begun {
            Some(begun) => Some(limit?.saturating_sub(begun.elapsed())),
            None => Some(STARTUP.saturating_sub(self.started.elapsed())),
        }
    }

    /// How it ended, with the frames of a trap and what else there is to say.
    fn end(
        &mut self,
        cut: Option<Cut>,
        status: ExitStatus,
    ) -> Result<(RunEnd, Vec<RawFrame>, String), WorkerError> {
        // Its guest did not even begin to do anything.
        let quiet = !self.collected.observed.violated();
        let signal = status.signal();
        let fault =
            |why| (RunEnd::Fault { why, signal: Some(signal.unwrap_or(KILL)) }, Vec::new(), String::new());
        let guest_ended = |outcome, note| (RunEnd::Guest(outcome), Vec::new(), note);
        Ok(match (cut, self.collected.ended.take(), signal) {
            (None, Some((Ended::Failed(why), _)), _) if quiet => return Err(WorkerError::Fault(why)),
            (Some(Cut::Hostile(why)), _, _) | (_, Some((Ended::Failed(why), _)), _) => fault(why),
            (_, Some((ended, backtrace)), _) => match outcome(ended) {
                Some(outcome) => (RunEnd::Guest(outcome), backtrace, String::new()),
                None => fault("nothing was to be patched".to_owned()),
            },
            (Some(Cut::TimedOut(limit)), None, _) => {
                guest_ended(GuestOutcome::TimedOut(limit), String::new())
            }
            (Some(Cut::Interrupted), None, _) => guest_ended(GuestOutcome::Interrupted, String::new()),
            (Some(Cut::Superseded | Cut::Withdrawn), None, _) => {
                fault("a program is not run again".to_owned())
            }
            (None, None, Some(signal)) if self.begun.is_some() => {
                guest_ended(GuestOutcome::Killed(signal), about_signal(signal))
            }
            (None, None, _) if self.begun.is_some() => fault(in_words(status)),
            (None, None, _) => return Err(WorkerError::Fault(in_words(status))),
        })
    }

    /// Does what the complete frames ask for, and reads once from the worker when there are none left.
    /// An answer can take long: after each one the caller looks at the clock again.
    fn listen(
        &mut self,
        listener: &mut dyn RunListener,
        level: LandlockLevel,
    ) -> Result<Progress, WorkerError> {
        while let Some(frame) = self.process.reader.frame().map_err(hostile)? {
            if self.begun.is_none() {
                match message(&frame).map_err(hostile)? {
                    FromWorker::Ready(enforced, seccomp) => {
                        self.begun = Some(Instant::now());
                        listener.ready(&kernel_report(level, enforced, seccomp));
                    }
                    other => return Err(WorkerError::early(other)),
                }
                continue;
            }
            match self.collected.hear(&frame).map_err(hostile)? {
                Heard::Nothing => {}
                Heard::Violation(index) => listener.violation(&self.collected.observed.violations[index].0),
                Heard::Output(_) => return Err(hostile(WireError::Malformed("output out of place"))),
                Heard::Origin(_) if self.over => {}
                Heard::Origin(frames) => {
                    let answer = listener.origin(&frames);
                    self.process.answer(&ToWorker::Origin(answer)).map_err(hostile)?;
                    self.more = true;
                    return Ok(Progress::Some);
                }
            }
        }
        let progress = self.process.reader.read(&self.process.socket).map_err(hostile)?;
        self.more = progress == Progress::Some;
        Ok(progress)
    }
}

fn hostile(error: WireError) -> WorkerError {
    WorkerError::Fault(format!("it does not keep to the protocol: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Strategy;
    use crate::worker::protocol::Confinement;
    use sandbox_policy::Policy;

    #[test]
    fn what_is_said_before_a_guest_runs_becomes_the_right_error() {
        let early = WorkerError::early;
        assert!(matches!(early(FromWorker::Refused(String::new())), WorkerError::Unavailable(_)));
        let failed = |stage| early(FromWorker::Failed(stage, String::new()));
        assert!(matches!(failed(Stage::Load), WorkerError::Load(_)));
        assert!(matches!(failed(Stage::Link), WorkerError::Link(_)));
        assert!(matches!(failed(Stage::Setup), WorkerError::Fault(_)));
        assert!(matches!(early(FromWorker::Ended(Ended::Exited(0), vec![])), WorkerError::Fault(_)));
    }

    /// A program that does as a worker: says `once`, and then `again` without end.
    fn flooding(folder: &std::path::Path, once: &[u8], again: &[u8]) -> Launcher {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.join("once"), once).unwrap();
        std::fs::write(folder.join("again"), again).unwrap();
        let program = folder.join("worker");
        let folder = folder.display();
        let text = format!("#!/bin/sh\ncat {folder}/once >&0\nwhile cat {folder}/again >&0; do :; done\n");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Launcher::at(program)
    }

    fn frame(message: &FromWorker) -> Vec<u8> {
        let body = postcard::to_stdvec(message).unwrap();
        [&(body.len() as u32).to_le_bytes()[..], &[0], &body].concat()
    }

    struct Slow;
    impl RunListener for Slow {
        fn ready(&mut self, _kernel: &KernelReport) {}
        fn violation(&mut self, _violation: &RawViolation) {}
        fn origin(&mut self, _backtrace: &[RawFrame]) -> Option<String> {
            std::thread::sleep(Duration::from_millis(100));
            None
        }
    }

    /// Runs a worker that says these things, and then the last of them without end.
    fn outcome_of(once: &[u8], again: &[u8]) -> Result<RunResult, WorkerError> {
        let folder = tempfile::tempdir().unwrap();
        let launcher = flooding(folder.path(), once, again);
        let nothing = std::fs::File::open("/dev/null").unwrap();
        let job = RunJob {
            code: nothing.as_fd(),
            root: nothing.as_fd(),
            task: RunTask {
                confinement: Confinement::new(Strategy::Cranelift),
                policy: Policy::default(),
                args: Vec::new(),
                env: Vec::new(),
            },
            grants: 1,
            interrupt: None,
        };
        launcher.run(job, &mut Slow)
    }

    #[test]
    fn what_was_heard_before_a_fault_is_kept() {
        let ready = frame(&FromWorker::Ready(Enforced::default(), true));
        let violation = frame(&FromWorker::Violation(Box::new(RawViolation {
            access: sandbox_policy::access::Access {
                operation: sandbox_policy::access::Operation::Read,
                resource: sandbox_policy::access::Resource::Path(b"/etc/passwd".to_vec()),
            },
            wall: sandbox_policy::access::Wall::Wasi,
            exception: None,
            note: String::new(),
            let_through: false,
            evidence: sandbox_policy::access::Evidence::Wasm(Vec::new()),
        })));
        let heard = [&ready[..], &violation].concat();
        for nonsense in [b"\xff\xff\xff\xffgarbage".to_vec(), ready.clone(), frame(&FromWorker::Count(9, 1))]
        {
            let result = outcome_of(&heard, &nonsense).expect("what was heard");
            assert_eq!(result.observed.violations.len(), 1);
            assert!(
                matches!(&result.end, RunEnd::Fault { why, .. } if why.contains("does not keep to the protocol")),
                "{:?}",
                result.end
            );
        }
        assert!(outcome_of(&violation, &violation).is_err(), "no guest had begun");
    }

    #[test]
    fn a_worker_that_never_stops_talking_is_ended_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let ready = frame(&FromWorker::Ready(Enforced::default(), true));
        let question = FromWorker::Origin(vec![RawFrame { function: 1, offset: 1 }]);
        let again = frame(&question).repeat(1000);
        let launcher = flooding(folder.path(), &ready, &again);
        let (said, heard) = std::sync::mpsc::channel();
        // Its thread outlives the run, as a worker's must.
        std::thread::spawn(move || {
            let nothing = std::fs::File::open("/dev/null").unwrap();
            let mut policy = Policy::default();
            policy.limits.time = Some(Duration::from_millis(300));
            let job = RunJob {
                code: nothing.as_fd(),
                root: nothing.as_fd(),
                task: RunTask {
                    confinement: Confinement::new(Strategy::Cranelift),
                    policy,
                    args: Vec::new(),
                    env: Vec::new(),
                },
                grants: 1,
                interrupt: None,
            };
            let _ = said.send(launcher.run(job, &mut Slow).map(|result| result.end));
        });
        let end = heard.recv_timeout(Duration::from_secs(5)).expect("the time limit holds");
        assert_eq!(end.unwrap(), RunEnd::Guest(GuestOutcome::TimedOut(Duration::from_millis(300))));
    }
}

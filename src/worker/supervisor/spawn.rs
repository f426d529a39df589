//! Starting a worker: this binary again, with an empty environment, the control socket as its standard
//! input and nothing else; everything it needs follows through that socket.

use crate::wasi::Turns;
use crate::worker::protocol::EARLY_ARGUMENT;
use crate::worker::protocol::wire::{self, Progress, Reader, WireError};
use crate::worker::protocol::{FromWorker, Start, Task, ToWorker, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The hidden first argument of a worker.
pub const WORKER_ARGUMENT: &str = "__worker";

/// How long a worker may take to read what the supervisor sends it, before it counts as hung.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Knows how to start workers.
///
/// A worker dies with the *thread* that started it (that is how the kernel's parent death signal
/// works): use it on a thread that outlives them.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    /// Started by [`start_early`](Self::start_early) and not given a task yet.
    waiting: Arc<Mutex<Option<Process>>>,
    /// Made for the first guest, and shared by all.
    turns: Arc<Mutex<Option<Turns>>>,
}

impl Default for Launcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Launcher {
    /// Workers are this very program, even if its file is replaced under way.
    pub fn new() -> Self {
        Self::at("/proc/self/exe")
    }

    /// Workers are another file of the same build: for tests, which are programs of their own.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), waiting: Arc::default(), turns: Arc::default() }
    }

    /// Starts the worker of a run that is about to come, so that it is loaded and made ready while
    /// permissions are read and cargo builds. It knows nothing and has nothing but the standard
    /// output and error; without a task it ends with this launcher. The run must come from the same
    /// thread.
    pub fn start_early(&self) {
        // Whatever is wrong, the run will find it too and say so.
        *self.waiting() = self.spawn(Streams::Inherit, true).ok();
    }

    /// For one more worker that runs guests.
    pub(crate) fn turns(&self) -> io::Result<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match turns.take() {
            Some(first) => first,
            None => Turns::new()?,
        };
        turns.insert(first).another()
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Process>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker. `fds` are those that the task's documentation names, without the task's
    /// own: the first one becomes the standard input.
    pub(crate) fn start(&self, task: &Task, fds: &[BorrowedFd<'_>], streams: Streams) -> io::Result<Process> {
        let task = memory_file(&postcard::to_stdvec(task).map_err(io::Error::other)?)?;
        seal(&task)?;
        let mut all = vec![fds[0], task.as_fd()];
        all.extend_from_slice(&fds[1..]);
        let waiting = if streams == Streams::Inherit { self.waiting().take() } else { None };
        // One that waited may have met a signal meanwhile.
        if let Some(process) = waiting
            && process.give(&task, &all).is_ok()
        {
            return Ok(process);
        }
        let process = self.spawn(streams, false)?;
        process.give(&task, &all)?;
        Ok(process)
    }

    fn spawn(&self, streams: Streams, early: bool) -> io::Result<Process> {
        let (ours, theirs) = wire::pair()?;
        let stream = || match streams {
            Streams::Inherit => Stdio::inherit(),
            Streams::Null => Stdio::null(),
        };
        let child = Command::new(&self.program)
            .arg0("cargo-sandbox")
            .arg(WORKER_ARGUMENT)
            .args(early.then_some(EARLY_ARGUMENT))
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(stream())
            .stderr(stream())
            .spawn()?;
        // Not reaped before `Process` is dropped, so the number is still this child's.
        let pid = Pid::from_child(&child);
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        let process = Process { child, pidfd, socket: ours, reader: Reader::default(), status: None };
        rustix::net::sockopt::set_socket_timeout(
            &process.socket,
            rustix::net::sockopt::Timeout::Send,
            Some(SEND_TIMEOUT),
        )?;
        Ok(process)
    }
}

/// Where a worker's standard output and standard error go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    Inherit,
    Null,
}

pub(crate) fn memory_file(contents: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("cargo-sandbox", flags)?);
    file.write_all(contents)?;
    Ok(file)
}

/// Nobody can change a file in memory any more: not through another descriptor, and not by opening it
/// anew through `/proc`, which Landlock does not check for such files.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, all)?)
}

/// A running worker. Killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
    pub(crate) reader: Reader,
    status: Option<ExitStatus>,
}

impl Process {
    /// Gives it its task, in a descriptor that is among `fds`.
    fn give(&self, task: &File, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let start = Start {
            version: VERSION,
            supervisor: rustix::process::getpid().as_raw_nonzero().get(),
            task: task.metadata()?.len(),
        };
        wire::send(self.socket.as_fd(), &start, fds, SendFlags::empty()).map_err(io::Error::other)
    }

    pub(crate) fn kill(&self) {
        // It may have ended already: then there is nothing to do.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Sends a message that the worker must be ready for: never waits.
    pub(crate) fn answer(&self, message: &ToWorker) -> Result<(), WireError> {
        wire::send(self.socket.as_fd(), message, &[], SendFlags::DONTWAIT)
    }

    /// Sends a message, waiting for [`SEND_TIMEOUT`] at most.
    pub(crate) fn tell(&self, message: &ToWorker, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        wire::send(self.socket.as_fd(), message, fds, SendFlags::empty())
    }

    /// Waits until the process has ended, killing it after `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if !readable(self.pidfd.as_fd(), patience)? {
            self.kill();
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// The next message within `patience`, for processes that only answer. `None` if they end or
    /// take too long instead.
    pub(crate) fn next_message(&mut self, patience: Duration) -> Result<Option<FromWorker>, WireError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.reader.frame()? {
                return message(&frame).map(Some);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !readable(self.socket.as_fd(), left)? || self.reader.read(&self.socket)? == Progress::End {
                return Ok(None);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.wait(Duration::ZERO);
    }
}

/// A worker's message, within its bounds.
pub(crate) fn message(frame: &wire::Frame<'_>) -> Result<FromWorker, WireError> {
    if frame.kind != wire::Kind::Message {
        return Err(WireError::Malformed("output where a message was due"));
    }
    let message: FromWorker = wire::decode(frame.body)?;
    if message.check() { Ok(message) } else { Err(WireError::Malformed("a message is out of bounds")) }
}

/// Waits until `fd` is readable or at its end.
pub(crate) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Exit code or signal in words.
pub(crate) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(31)) => "it made a system call that the seccomp wall forbids".to_owned(),
        (None, Some(6)) => "it gave up, most likely for lack of memory".to_owned(),
        (None, Some(24)) => "it used more processor time than it may".to_owned(),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended for an unknown reason".to_owned(),
    }
}

//! Ctrl-C and its relatives, as a descriptor that becomes readable.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;

/// Catches SIGINT, SIGTERM and SIGHUP from its making on: the descriptor becomes readable at the
/// first one and stays so. Nothing is read from it, so that everyone who waits sees it.
#[derive(Debug)]
pub struct Interrupt(OwnedFd);

impl Interrupt {
    /// Installs the handlers. Called once, before the first child process starts.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn install() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(Self(reader))
    }

    /// Does `work`, and meanwhile calls `stop` once if it happens.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn during<T>(&self, work: impl FnOnce() -> T, stop: impl FnOnce() + Send) -> io::Result<T> {
        let (ended, end) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(std::thread::scope(|scope| {
            scope.spawn(move || {
                use rustix::event::{PollFd, PollFlags, poll};
                let mut fds = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
                while matches!(poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
                if !fds[0].revents().is_empty() {
                    stop();
                }
            });
            let result = work();
            drop(end);
            result
        }))
    }

    /// Whether it has happened.
    pub fn happened(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! Ctrl-C and its relatives, as a descriptor that becomes readable.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use std::io;
use std::sync::Arc;

/// The signals with which a person or a system ends a program, and which would otherwise end this one
/// with everything left where it is.
const SIGNALS: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGVTALRM, SIGXCPU, SIGUSR1, SIGUSR2];

/// Catches [`SIGNALS`] from its making on: the descriptor becomes readable at the first one and stays
/// so. Nothing is read from it, so that everyone who waits sees it.
#[derive(Debug)]
pub struct Interrupt(OwnedFd);

impl Interrupt {
    /// Installs the handlers. Called once, before the first child process starts.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn install() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        for signal in SIGNALS {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        // A file that grows too large is an error of writing it then.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
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

    /// Does `work` in a thread of its own and waits for it; `None` if it happens before that is done. Then
    /// nobody waits for `work`, which may hang in a read that nothing ends.
    ///
    /// # Errors
    /// When the process has no descriptors or threads left.
    pub fn unless<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        use rustix::event::{PollFd, PollFlags, poll};
        let (ended, end) = pipe_with(PipeFlags::CLOEXEC)?;
        let worker = std::thread::Builder::new().spawn(move || {
            let result = work();
            drop(end);
            result
        })?;
        let mut fds = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        while matches!(poll(&mut fds, None), Err(rustix::io::Errno::INTR)) {}
        if fds[1].revents().is_empty() {
            return Ok(None);
        }
        match worker.join() {
            Ok(result) => Ok(Some(result)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn what_hangs_is_not_waited_for() {
        let interrupt = Interrupt::install().unwrap();
        assert_eq!(interrupt.unless(|| 1).unwrap(), Some(1));
        // A read that nothing ends.
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        kill_process(getpid(), Signal::USR2).unwrap();
        let hangs = move || rustix::io::read(&reader, &mut [0; 1]).is_ok();
        assert_eq!(interrupt.unless(hangs).unwrap(), None);
        assert!(interrupt.happened());
        drop(writer);
    }
}

//! Turns: guests of one command do not change names at the same moment.
//!
//! A move is decided by what is in a directory, and a creation by where its directory is; the kernel has no
//! call that looks and acts at once. So whoever gives an existing thing another name does it alone, and those
//! who make and remove names do that together: the look and the act of one guest are then one step for
//! every other. Who is no guest of this command knows no turns; against them there is the second look
//! (`links::arrived`, `links::keep`).
//!
//! The turns are locks (flock(2)) on two empty files in memory that only the supervisor and its workers
//! have, so that nobody else can hold one; the kernel takes them back from a process that is
//! killed. The room is where names are changed. Everybody comes through the door, which whoever waits to be
//! alone keeps shut behind him, or a stream of creations could keep him waiting for ever.
//!
//! That costs a creation four calls, about a microsecond where making a file takes ten.
//!
//! A guest that has taken its worker over can ignore them, as it can all of this wall, and can keep the
//! others waiting until its time is up.

use rustix::fs::{FlockOperation, MemfdFlags, Mode as Bits, OFlags, SealFlags, flock};
use rustix::io::Errno as Native;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One participant's own descriptors. What is forked shares them, and so counts as the same one.
#[derive(Debug)]
pub struct Turns {
    door: OwnedFd,
    room: OwnedFd,
}

impl Turns {
    /// The first participant.
    ///
    /// # Errors
    /// No descriptors or no memory are left.
    pub fn new() -> io::Result<Self> {
        let file = || {
            let file = rustix::fs::memfd_create("turns", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            // It stays empty: nobody hands anything on in it.
            let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&file, all)?;
            Ok::<_, io::Error>(file)
        };
        Ok(Self { door: file()?, room: file()? })
    }

    /// Another participant who shares them with this one, which is not for a confined process to make.
    ///
    /// # Errors
    /// `/proc` is not there, or no descriptors are left.
    pub fn another(&self) -> io::Result<Self> {
        let open = |fd: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Bits::empty())
        };
        Ok(Self { door: open(&self.door)?, room: open(&self.room)? })
    }

    /// What a worker is sent.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.door.as_fd(), self.room.as_fd()]
    }

    /// What a worker was sent.
    pub fn of([door, room]: [OwnedFd; 2]) -> Self {
        Self { door, room }
    }

    /// Gives up what a process that shared these descriptors held when it was killed.
    pub fn give_up(&self) {
        for fd in self.fds() {
            // It has no reason to fail.
            let _ = lock(fd, FlockOperation::Unlock);
        }
    }

    /// Waits until nobody is there alone.
    pub(crate) fn together(self: &Arc<Self>) -> Result<Turn, Native> {
        let turn = Turn { turns: Arc::clone(self), alone: false };
        lock(self.door.as_fd(), FlockOperation::LockShared)?;
        let entered = lock(self.room.as_fd(), FlockOperation::LockShared);
        lock(self.door.as_fd(), FlockOperation::Unlock)?;
        entered.map(|()| turn)
    }

    /// Waits until nobody is there.
    pub(crate) fn alone(self: &Arc<Self>) -> Result<Turn, Native> {
        let turn = Turn { turns: Arc::clone(self), alone: true };
        lock(self.door.as_fd(), FlockOperation::LockExclusive)?;
        lock(self.room.as_fd(), FlockOperation::LockExclusive)?;
        Ok(turn)
    }
}

fn lock(fd: BorrowedFd<'_>, how: FlockOperation) -> Result<(), Native> {
    loop {
        match flock(fd, how) {
            Err(Native::INTR) => {}
            result => return result,
        }
    }
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    alone: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = lock(self.turns.room.as_fd(), FlockOperation::Unlock);
        if self.alone {
            let _ = lock(self.turns.door.as_fd(), FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    fn shared(count: usize) -> Vec<Arc<Turns>> {
        let first = Turns::new().unwrap();
        (0..count).map(|_| Arc::new(first.another().unwrap())).collect()
    }

    #[test]
    fn nobody_is_there_with_whoever_is_alone() {
        let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for (number, turns) in shared(4).into_iter().enumerate() {
                let (inside, most) = (&inside, &most);
                scope.spawn(move || {
                    for round in 0..2000 {
                        let alone = (number + round) % 3 == 0;
                        let turn = if alone { turns.alone() } else { turns.together() }.unwrap();
                        let before = inside.fetch_add(1, Ordering::SeqCst);
                        most.fetch_max(before, Ordering::SeqCst);
                        thread::yield_now();
                        assert!(!alone || inside.load(Ordering::SeqCst) == 1 && before == 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert!(most.into_inner() > 0, "others were there together");
    }

    /// Each of two stays until the other one has come, so that the room is never empty.
    #[test]
    fn a_stream_of_others_does_not_keep_the_one_waiting() {
        let all = shared(3);
        let stop = AtomicBool::new(false);
        let (come, begun) = ([AtomicU64::new(0), AtomicU64::new(0)], Instant::now());
        thread::scope(|scope| {
            for own in 0..2 {
                let (turns, come, stop) = (&all[own], &come, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let _turn = turns.together().unwrap();
                        come[own].fetch_add(1, Ordering::SeqCst);
                        let seen = come[1 - own].load(Ordering::SeqCst);
                        let since = Instant::now();
                        while come[1 - own].load(Ordering::SeqCst) == seen
                            && since.elapsed() < Duration::from_millis(100)
                        {
                            thread::yield_now();
                        }
                    }
                });
            }
            while come.iter().any(|count| count.load(Ordering::SeqCst) < 10) {
                thread::yield_now();
            }
            drop(all[2].alone().unwrap());
            stop.store(true, Ordering::SeqCst);
        });
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_a_killed_process_held_is_given_up_by_who_shares_it() {
        let all = shared(2);
        std::mem::forget(all[0].alone().unwrap());
        all[0].give_up();
        drop(all[1].alone().unwrap());
        // And without that when its last descriptor is closed.
        let third = Arc::new(all[1].another().unwrap());
        let turn = third.alone().unwrap();
        let closed = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop((turn, third));
        });
        drop(all[1].together().unwrap());
        closed.join().unwrap();
    }
}

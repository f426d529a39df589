//! `poll_oneoff`: sleeping, and waiting for files.

use super::clocks;
use super::gate::Fault;
use super::host::Host;
use super::memory::{put, put_u32, range, records, u32_at, u64_at};
use super::table::Entry;
use super::types::{Errno, Kind};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno as Native;
use rustix::time::ClockId;
use std::os::fd::{AsFd, BorrowedFd};

/// As many subscriptions as one call may have.
const MAX: u32 = 1024;
const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;

const CLOCK: u8 = 0;
const READ: u8 = 1;
const WRITE: u8 = 2;
const ABSOLUTE: u16 = 1;
const HANGUP: u16 = 1;

enum What {
    /// Due at this time of the monotonic clock, in nanoseconds.
    Due(u64),
    /// Ready at once: regular files and directories are.
    Ready,
    /// Waits for the descriptor with this number in the list for the kernel.
    Wait(usize),
    Wrong(Errno),
}

struct Subscription {
    userdata: u64,
    tag: u8,
    what: What,
}

impl Host {
    /// `poll_oneoff`.
    pub(crate) fn poll(
        &self,
        memory: &mut [u8],
        input: u32,
        output: u32,
        count: u32,
        events: u32,
    ) -> Result<(), Fault> {
        if count == 0 || count > MAX {
            return Err(Errno::INVAL.into());
        }
        range(memory, output, count * EVENT)?;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut waiting: Vec<PollFd<'_>> = Vec::new();
        let mut subscriptions = Vec::with_capacity(count as usize);
        let all = records(memory, input, count, SUBSCRIPTION)?;
        for raw in all.chunks_exact(SUBSCRIPTION as usize) {
            let tag = raw[8];
            let what = match tag {
                CLOCK => clock(raw).map_or_else(What::Wrong, What::Due),
                READ | WRITE => self.file(u32_at(raw, 16), tag, streams, &mut waiting),
                _ => return Err(Errno::INVAL.into()),
            };
            subscriptions.push(Subscription { userdata: u64_at(raw, 0), tag, what });
        }
        let now = wait(&subscriptions, &mut waiting)?;
        let mut written = 0;
        for subscription in &subscriptions {
            let (error, flags) = match subscription.what {
                What::Due(due) if due > now => continue,
                What::Due(_) | What::Ready => (Errno(0), 0),
                What::Wrong(errno) => (errno, 0),
                What::Wait(index) => {
                    let got = waiting[index].revents();
                    if got.is_empty() {
                        continue;
                    }
                    let error = if got.contains(PollFlags::NVAL) { Errno::BADF } else { Errno(0) };
                    (error, if got.contains(PollFlags::HUP) { HANGUP } else { 0 })
                }
            };
            let mut event = [0; EVENT as usize];
            event[..8].copy_from_slice(&subscription.userdata.to_le_bytes());
            event[8..10].copy_from_slice(&error.0.to_le_bytes());
            event[10] = subscription.tag;
            if subscription.tag != CLOCK && error == Errno(0) {
                // At least one byte; how many there are is what reading says.
                event[16..24].copy_from_slice(&1u64.to_le_bytes());
                event[24..26].copy_from_slice(&flags.to_le_bytes());
            }
            put(memory, output + written * EVENT, &event)?;
            written += 1;
        }
        put_u32(memory, events, written)
    }

    fn file<'a>(
        &'a self,
        fd: u32,
        tag: u8,
        streams: [BorrowedFd<'a>; 3],
        waiting: &mut Vec<PollFd<'a>>,
    ) -> What {
        let native = match self.table.get(fd) {
            Ok(Entry::Input) => streams[0],
            Ok(Entry::Output) => streams[1],
            Ok(Entry::Error) => streams[2],
            Ok(Entry::File(file)) if file.kind != Kind::RegularFile => file.fd.as_fd(),
            Ok(Entry::File(_) | Entry::Directory(_)) => return What::Ready,
            Err(_) => return What::Wrong(Errno::BADF),
        };
        let events = if tag == READ { PollFlags::IN } else { PollFlags::OUT };
        waiting.push(PollFd::from_borrowed_fd(native, events));
        What::Wait(waiting.len() - 1)
    }
}

/// When the clock subscription is due, by the monotonic clock.
fn clock(raw: &[u8]) -> Result<u64, Errno> {
    let errno = |fault| if let Fault::Errno(errno) = fault { errno } else { Errno::IO };
    let clock = clocks::id(u32_at(raw, 16)).map_err(errno)?;
    if !matches!(clock, ClockId::Realtime | ClockId::Monotonic) {
        return Err(Errno::NOTSUP);
    }
    let timeout = u64_at(raw, 24);
    let mut left = timeout;
    if u32_at(raw, 40) as u16 & ABSOLUTE != 0 {
        left = timeout.saturating_sub(clocks::now(clock).map_err(errno)?);
    }
    Ok(clocks::now(ClockId::Monotonic).map_err(errno)?.saturating_add(left))
}

/// Waits until at least one subscription has something to say; answers the time.
fn wait(subscriptions: &[Subscription], waiting: &mut [PollFd<'_>]) -> Result<u64, Fault> {
    let at_once = subscriptions.iter().any(|one| matches!(one.what, What::Ready | What::Wrong(_)));
    let due =
        subscriptions.iter().filter_map(|one| if let What::Due(at) = one.what { Some(at) } else { None });
    let due = due.min();
    loop {
        let now = clocks::now(ClockId::Monotonic)?;
        let left = if at_once { Some(0) } else { due.map(|due| due.saturating_sub(now)) };
        if waiting.is_empty() && left == Some(0) {
            return Ok(now);
        }
        // A time beyond what the kernel's form holds is waited for in pieces.
        let timeout = left.map(|left| clocks::timespec(left.min(1 << 60)));
        match rustix::event::poll(waiting, timeout.as_ref()) {
            Ok(0) if left != Some(0) => {}
            Ok(_) => return clocks::now(ClockId::Monotonic),
            Err(Native::INTR) => {}
            Err(native) => return Err(native.into()),
        }
    }
}

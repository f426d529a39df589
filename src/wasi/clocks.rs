//! Clocks and randomness: granted to every guest.

use super::gate::Fault;
use super::types::{Errno, clock};
use rustix::time::{ClockId, Timespec};

/// The kernel's clock for the guest's number of it.
pub(crate) fn id(number: u32) -> Result<ClockId, Fault> {
    Ok(match number {
        clock::REALTIME => ClockId::Realtime,
        clock::MONOTONIC => ClockId::Monotonic,
        clock::PROCESS_CPUTIME => ClockId::ProcessCPUTime,
        clock::THREAD_CPUTIME => ClockId::ThreadCPUTime,
        _ => return Err(Errno::INVAL.into()),
    })
}

/// The clock's time in nanoseconds.
pub(crate) fn now(id: ClockId) -> Result<u64, Fault> {
    nanoseconds(rustix::time::clock_gettime(id))
}

/// The clock's resolution in nanoseconds.
pub(crate) fn resolution(id: ClockId) -> Result<u64, Fault> {
    nanoseconds(rustix::time::clock_getres(id))
}

fn nanoseconds(time: Timespec) -> Result<u64, Fault> {
    let all = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(all).map_err(|_| Errno::OVERFLOW.into())
}

/// Nanoseconds in the kernel's form.
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / 1_000_000_000) as i64, tv_nsec: (nanoseconds % 1_000_000_000) as i64 }
}

/// Fills the buffer with random bytes.
pub(crate) fn random(mut out: &mut [u8]) -> Result<(), Fault> {
    while !out.is_empty() {
        match rustix::rand::getrandom(&mut *out, rustix::rand::GetRandomFlags::empty()) {
            Ok(filled) => out = &mut out[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(native) => return Err(native.into()),
        }
    }
    Ok(())
}

//! Arguments of `fd_*` and `path_*` in the kernel's terms.

use crate::wasi::gate::Fault;
use crate::wasi::types::{Errno, fstflags};
use rustix::fs::Timestamps;
use rustix::io::Errno as Native;
use rustix::time::Timespec;

/// Where `fd_seek` counts from, by its numbers.
pub(super) enum Whence {
    Start,
    Current,
    End,
}

impl Whence {
    pub(super) fn of(number: u32) -> std::result::Result<Self, Fault> {
        match number {
            0 => Ok(Self::Start),
            1 => Ok(Self::Current),
            2 => Ok(Self::End),
            _ => Err(Errno::INVAL.into()),
        }
    }
}

/// Times for the kernel from the guest's, and flags which of them are meant.
pub(super) fn times(atim: u64, mtim: u64, which: u32) -> std::result::Result<Timestamps, Fault> {
    let which = u16::try_from(which).map_err(|_| Errno::INVAL)?;
    if which & !fstflags::ALL != 0 {
        return Err(Errno::INVAL.into());
    }
    let one = |value: u64, set: u16, now: u16| match (which & set != 0, which & now != 0) {
        (true, true) => Err(Fault::Errno(Errno::INVAL)),
        (true, false) => Ok(crate::wasi::clocks::timespec(value)),
        (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW }),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }),
    };
    Ok(Timestamps {
        last_access: one(atim, fstflags::ATIM, fstflags::ATIM_NOW)?,
        last_modification: one(mtim, fstflags::MTIM, fstflags::MTIM_NOW)?,
    })
}

/// A position in a file that the kernel's signed numbers have.
pub(super) fn position(offset: u64) -> std::result::Result<u64, Fault> {
    if i64::try_from(offset).is_ok() { Ok(offset) } else { Err(Errno::INVAL.into()) }
}

/// Calls again what a signal interrupted.
pub(super) fn uninterrupted<T>(
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> std::result::Result<T, Fault> {
    loop {
        match call() {
            Err(Native::INTR) => {}
            result => return Ok(result?),
        }
    }
}

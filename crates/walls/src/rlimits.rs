//! Resource limits of a confined process, by setrlimit(2).
//!
//! `RLIMIT_NPROC` is not used: it counts the processes of the user, not of this one. The stack is
//! left as it is: a guest's stack is wasmtime's own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::io;

/// What a process may use up. `None` leaves a limit as it is; core dumps are always off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimits {
    /// Open descriptors, ours included.
    pub open_files: Option<u64>,
    /// Size of any file it writes, in bytes. A write beyond it fails with `EFBIG`.
    pub file_size: Option<u64>,
    /// Virtual memory, in bytes: for a child that compiles or symbolises, never for one that runs a
    /// guest, whose memories are reserved gigabytes ahead.
    pub address_space: Option<u64>,
    /// Memory of its own that it can write to, in bytes: what it takes, where `address_space` also counts what
    /// threads only reserve.
    pub data: Option<u64>,
    /// Processor time, in seconds: then `SIGXCPU`, and a second later `SIGKILL`.
    pub cpu_seconds: Option<u64>,
}

/// Puts the limits in force, soft and hard, for this process and its later children. A limit that
/// is lower already stays.
///
/// # Errors
/// Those of setrlimit(2).
pub fn apply(limits: &Rlimits) -> io::Result<()> {
    lower(Resource::Core, 0, 0)?;
    if let Some(files) = limits.open_files {
        lower(Resource::Nofile, files, files)?;
    }
    if let Some(bytes) = limits.file_size {
        super::sys::ignore_file_size_signal()?;
        lower(Resource::Fsize, bytes, bytes)?;
    }
    if let Some(bytes) = limits.address_space {
        lower(Resource::As, bytes, bytes)?;
    }
    if let Some(bytes) = limits.data {
        lower(Resource::Data, bytes, bytes)?;
    }
    if let Some(seconds) = limits.cpu_seconds {
        lower(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    }
    Ok(())
}

fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let maximum = now.maximum.map_or(hard, |now| now.min(hard));
    let current = now.current.map_or(soft, |now| now.min(soft)).min(maximum);
    Ok(setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?)
}

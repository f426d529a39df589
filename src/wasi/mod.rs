//! Wall 1: the gate, and WASI preview1 behind it, on rustix.
//!
//! The guest's only preopened directory is `/`, so every path it names reaches [`gate::Gate`]:
//! resolve → decide → act on the same file. Everything from the guest is hostile: pointers,
//! lengths, paths, cookies, offsets and counts. What the guest calls a file descriptor is an index
//! into our own table and never a descriptor of the process.

mod clocks;
mod cwd_cache;
mod dir;
mod env;
mod fault;
mod folding;
mod fs;
mod gate;
mod host;
mod links;
mod memory;
mod moves;
mod p1;
mod poll;
mod resolve;
mod stdio;
mod table;
mod turns;
mod types;

pub use folding::{Folding, is_beneath, other_name};
pub use gate::{real_root, root_at};
pub use host::{Host, top_level};
pub use p1::add_to_linker;
pub use turns::Turns;

use sandbox_policy::access::{GrantId, RawFrame, RawViolation};
use sandbox_policy::{Decider, MountPoint, Policy};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How far the gate enforces the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is not granted is denied and reported.
    Enforce,
    /// What is not granted is reported, and let through if [`HostConfig::audit`] allows it.
    Audit,
    /// Everything is allowed, and paths are resolved as the kernel does it: so that the tests of
    /// this project see what the other walls stop alone.
    Off,
}

/// Which directories the guest finds opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preopens {
    /// Descriptor 3 is `/`, for guests that our build linked the current directory into.
    Root,
    /// `.` (the policy's current directory) and one for each directory directly beneath the root
    /// ([`top_level`]), for guests built elsewhere: they start in the current directory and know
    /// absolute paths.
    TopLevel(Vec<Vec<u8>>),
}

/// Where the guest's output goes. Its input is always descriptor 0 of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Straight to descriptors 1 and 2 of the process.
    Inherit,
    /// To [`Sink::output`].
    Channel,
}

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Everything a guest runs with.
pub struct HostConfig {
    /// What it may do.
    pub policy: Policy,
    /// How far that is enforced.
    pub mode: Mode,
    /// With [`Mode::Audit`]: what is let through although the policy does not have it.
    pub audit: Option<Decider>,
    /// An `O_PATH` descriptor of what the guest sees as `/`; policy and violations speak of paths
    /// beneath it. See [`real_root`].
    pub root: OwnedFd,
    /// What it finds opened.
    pub preopens: Preopens,
    /// Its arguments, the program's name first. None may contain a NUL byte.
    pub args: Vec<Vec<u8>>,
    /// Its environment, already reduced to what is granted. Neither names nor values may contain
    /// a NUL byte.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where its output goes.
    pub stdio: Stdio,
    /// The process has one thread and nothing but this guest: its current directory is the host's to
    /// change, which makes looking at metadata faster.
    pub alone: bool,
    /// Shared with the other guests of this command.
    pub turns: Arc<Turns>,
    /// What is known of directories that may take one name for another.
    pub folding: Folding,
    /// Who is told about it.
    pub sink: Box<dyn Sink>,
}

/// What the host tells, and asks, whoever runs it.
pub trait Sink: Send {
    /// A wall stopped an access, or would have ([`Mode::Audit`]).
    fn violation(&mut self, violation: RawViolation);
    /// A grant was used for the first time. [`Host::grant_uses`] has the counts.
    fn used(&mut self, grant: GrantId);
    /// The guest came somewhere by a mount: said once of each.
    fn mounted(&mut self, _point: MountPoint) {}
    /// The crate that a call comes from, given the guest's stack, innermost frame first; `None` if
    /// it cannot be told. Asked only where a grant says `by`.
    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String>;
    /// Output of the guest, with [`Stdio::Channel`]. Answers how many bytes were taken.
    ///
    /// # Errors
    /// Passed on to the guest.
    fn output(&mut self, stream: Stream, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize>;
}

/// Why a guest ended other than by returning or by a trap of its own: what `wasmtime` hands on
/// from a host call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It called `exit` with this status.
    Exit(i32),
    /// It used up this limit of the manifest, by the name of its key.
    Limit(&'static str),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exited with status {status}"),
            Self::Limit(name) => write!(f, "reached its limit of `{name}`"),
        }
    }
}

impl std::error::Error for Stop {}

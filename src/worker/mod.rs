//! The confined processes. The supervisor never runs guest code and never parses a module: it starts
//! this same binary again, hands it what it needs through a socket, and listens with limits.
//!
//! - [`Launcher::prepare`] compiles (or finds compiled) in a child without rights.
//! - [`Launcher::run`] runs one guest in a worker.
//! - [`TestPool`] runs tests, each in a child of its own that a zygote forks.
//! - [`Symboliser`] turns raw frames into source lines in a child without rights.
//!
//! Supervisor's side: [`spawn`], [`run`], [`pool`], [`tools`], [`collect`]. Worker's side: [`mod@main`],
//! `confine`, `guest`, `zygote`, `template`, `tell`. Both: [`wire`], [`protocol`].
//! What the supervisor knows of a guest in the end is an [`Observed`], in every phase the same.

pub mod collect;
mod confine;
mod guest;
mod main;
#[cfg(feature = "test-walls")]
mod misbehave;
mod observed;
pub mod phases;
pub mod pool;
pub mod protocol;
pub mod run;
mod running;
pub mod spawn;
mod tell;
mod template;
pub mod tools;
pub mod wire;
mod zygote;

pub use collect::{Output, OutputStream};
pub use main::main;
pub use observed::Observed;
pub use pool::{PoolJob, TestEnd, TestPool, TestResult, TestRun, Tests, TierUp};
#[cfg(feature = "test-walls")]
pub use protocol::Misbehaviour;
pub use protocol::{Layout, Patch, Walls};
pub use run::{Confined, RunJob, RunListener, RunResult, WorkerError};
pub use spawn::{Launcher, WORKER_ARGUMENT};
pub use tools::{Artifact, Symboliser};

/// The name that a folding directory has itself for what is at a path, if that is another one.
pub fn other_name(path: &std::path::Path) -> Option<Vec<u8>> {
    let text = path.as_os_str().as_encoded_bytes();
    let folds = crate::kernel::folding::places().iter().any(|place| crate::wasi::is_beneath(text, place));
    folds.then(|| crate::wasi::other_name(path)).flatten()
}

pub use crate::kernel::LandlockLevel;
pub use crate::wasi::{real_root, root_at};

//! The unconfined side. It never runs guest code, and what it hears is bounded, checked and only
//! believed for the report that it belongs to.
//!
//! - [`Launcher::prepare`] compiles (or finds compiled) in a child without rights.
//! - [`Launcher::run`] runs one guest in a worker.
//! - [`TestPool`] runs tests, each in a child of its own that a zygote forks.
//! - [`Symboliser`] turns raw frames into source lines in a child without rights.
//!
//! What is known of a guest in the end is an [`Observed`], in every phase the same.

pub mod observations;
mod observed;
pub mod pool;
pub mod run;
pub mod spawn;
mod test_process;
pub mod tools;

pub use observations::{Output, OutputStream, RunEnd, RunResult};
pub use observed::Observed;
pub use pool::{PoolJob, TestPool, Tests, TierUp};
pub use run::{RunJob, RunListener, WorkerError};
pub use spawn::{Launcher, WORKER_ARGUMENT};
pub use tools::{Artifact, Symboliser};

pub use crate::wasi::{real_root, root_at};

/// The name that a folding directory has itself for what is at a path, if that is another one.
pub fn other_name(path: &std::path::Path) -> Option<Vec<u8>> {
    let text = path.as_os_str().as_encoded_bytes();
    let folds = sandbox_walls::folding::places().iter().any(|place| crate::wasi::is_beneath(text, place));
    folds.then(|| crate::wasi::other_name(path)).flatten()
}
pub use sandbox_walls::{LandlockLevel, Walls};

//! Runs programs and tests, and finds the verdict. Tells everything it does as events.

pub mod attribute;
mod envelope;
mod failure;
pub mod fs_lookup;
pub mod interrupt;
pub mod libtest;
mod prepare;
pub mod run;
pub mod source;
pub mod test;
pub mod tmp;
pub mod verdict;

pub use envelope::{audit_note, let_through, looks_secret};
pub use failure::{Failure, current_dir};
pub use prepare::{
    Guest, cache_dir, environment, home_dir, metadata_dir, own_folder, prepare, strategies, test_strategies,
    tier_up,
};

use crate::worker::supervisor::{LandlockLevel, Walls};

/// How guests are compiled and confined.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What the kernel must enforce.
    pub landlock: LandlockLevel,
    /// Which compiler.
    pub strategy: StrategyChoice,
    /// Which walls stand.
    pub walls: Walls,
    /// Use the code cache.
    pub cache: bool,
    /// Report instead of enforcing, within the envelope.
    pub audit: bool,
    /// Say when each step was reached.
    pub timings: bool,
}

/// `--compiler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategyChoice {
    /// Always Cranelift.
    Cranelift,
    /// Always Winch.
    Winch,
    /// Whatever is done sooner.
    Auto,
}

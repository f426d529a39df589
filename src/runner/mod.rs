//! Runs programs and tests, and finds the verdict. Tells everything it does as events.

pub mod attribute;
pub mod doctest;
mod failure;
pub mod fs_lookup;
mod guest_options;
pub mod interrupt;
mod prepare;
pub mod run;
pub mod source;
pub mod suite;
mod target;
pub mod tmp;
pub mod verdict;

pub use failure::{Failure, current_dir};
pub use guest_options::{GuestOptions, PolicyOptions};
pub use prepare::{
    Guest, cache_dir, environment, home_dir, metadata_dir, own_folder, prepare, strategies, test_strategies,
    tier_up,
};
pub use target::Target;

use crate::worker::supervisor::{LandlockLevel, Walls};
use serde::{Deserialize, Serialize};

/// How guests are compiled and confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrategyChoice {
    /// Always Cranelift.
    Cranelift,
    /// Always Winch.
    Winch,
    /// Whatever is done sooner.
    Auto,
}

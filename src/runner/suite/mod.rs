//! `sandbox-test`: every chosen test of every artifact, each in a process of its own.

mod filter;
mod job;
mod judge;
pub mod libtest;
mod listing;
pub mod outcome;
mod panics;
mod plan;
mod report;
mod schedule;
mod stacks;
mod test_env;
mod testing;

pub use filter::{Filter, Ignored, Shard};
pub use job::{Context, Options, Suite, Tell};
pub use testing::{ListedSuite, Tested, list, run};

//! What the kernel can put around a process: Landlock, seccomp, resource limits and a few attributes. And the list of
//! the walls, of which it holds all but the first.
//!
//! An [`Enclosure`] says as plain data what a process is enclosed in, and puts it in force in one order: attributes,
//! [`rlimits`], [`landlock`], [`seccomp`]. [`wall`] says what each wall makes of a policy. Nothing in here is best
//! effort: what was asked for and cannot be enforced is an error. Each part only ever takes away, so that a process
//! can be enclosed further: a worker is before it loads an artifact, and again before it runs it.

mod answer;
pub mod capabilities;
pub mod enclosure;
mod error;
pub mod folding;
pub mod landlock;
pub mod process;
pub mod rlimits;
pub mod seccomp;
pub mod status;
pub mod sys;
pub mod wall;

pub use answer::Answer;
pub use enclosure::{Enclosure, Files, Prepared};
pub use error::Error;
pub use landlock::{
    Enforced, FileKind, LandlockLevel, Layer, Narrower, NotCovered, Plan, Rights, Rule, Unavailable, check,
    look, plan, predict, restrict, usable_abi,
};
pub use status::{KernelStatus, Needs, status};
pub use wall::{Planned, Verdict, Walls};

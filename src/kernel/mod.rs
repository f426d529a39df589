//! Walls 2 and 3: Landlock, seccomp and resource limits on a process, and the few process
//! attributes that go with them.
//!
//! [`plan()`] turns a policy into Landlock rules without touching anything; [`restrict()`] enforces
//! them on the calling thread and its later children. Nothing in here is best effort: what was
//! asked for and cannot be enforced is an error.
//!
//! The order in a worker, while it is single-threaded: [`process`], [`rlimits`], [`restrict()`],
//! [`seccomp::install()`] with [`seccomp::Profile::Load`], load the artifact, and the profile of what
//! it runs next. Each filter and each Landlock layer only ever takes away.

pub mod capabilities;
pub mod folding;
pub mod landlock;
pub mod process;
pub mod rlimits;
pub mod seccomp;
pub mod status;
pub mod sys;

pub use landlock::{
    Answer, Enforced, FileKind, LandlockLevel, Layer, Narrower, NotCovered, Plan, Rights, Rule, Unavailable,
    check, look, plan, predict, restrict, usable_abi,
};
pub use status::{Error, KernelStatus, Needs, status};

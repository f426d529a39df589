//! Walls 2 and 3: Landlock, seccomp and resource limits on a process, and the few process
//! attributes that go with them.
//!
//! [`plan()`] turns a policy into Landlock rules without touching anything; [`restrict()`] enforces
//! them on the calling thread and its later children. Nothing in here is best effort: what was
//! asked for and cannot be enforced is an error, on other systems always.
//!
//! The order in a worker, while it is single-threaded: [`process`], [`rlimits`], [`restrict()`],
//! [`seccomp::install()`] with [`seccomp::Profile::Load`], load the artifact, and the profile of what
//! it runs next. Each filter and each Landlock layer only ever takes away.

pub mod abi;
#[cfg(target_os = "linux")]
pub mod folding;
pub mod foretell;
pub mod plan;
pub mod rights;
pub mod status;

#[cfg(target_os = "linux")]
pub mod landlock;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod rlimits;
#[cfg(target_os = "linux")]
pub mod seccomp;
#[cfg(target_os = "linux")]
pub mod sys;

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{folding, landlock, process, rlimits, seccomp, sys};

pub use foretell::{Answer, foretell};
pub use landlock::{Layer, look, restrict, usable_abi};
pub use plan::{Look, Narrower, NotCovered, Plan, Rule, plan};
pub use rights::Rights;
pub use status::{Enforced, Error, KernelStatus, LandlockLevel, Needs, Unavailable, check, status};

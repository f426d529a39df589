//! The policy: schema (raw, with spans) → validate → merge → resolve → decide.
//!
//! Pure: nothing here touches the file system, an environment or wasmtime. What it needs to know
//! of the machine comes in through [`Places`] and the [`Lookup`] trait.

pub mod decide;
pub mod model;

pub use decide::Decider;
pub use model::{
    Component, EnvPattern, Exception, ExceptionKind, Grant, GrantPattern, Limits, PackagePolicy, PathBase,
    PathPattern, Policy, Provenance, Scope,
};

//! The policy: schema (raw, with spans) → validate → merge → resolve → decide.
//!
//! Pure: nothing here touches the file system, an environment or wasmtime. What it needs to know
//! of the machine comes in through [`Places`] and the [`Lookup`] trait.

mod ceiling;
mod command_line;
pub mod compare;
pub mod decide;
mod document;
mod entry;
pub mod folded;
mod limits;
pub mod lint;
pub mod matching;
mod membership;
pub mod model;
mod mounts;
pub mod pattern;
mod places;
pub mod protected;
mod resolve;
mod schema;
mod select;
mod suggest;
mod trie;
pub mod units;
mod words;

pub use ceiling::Ceiling;
pub use command_line::CommandLineGrants;
pub use decide::{Decider, Recent, Rights};
pub use document::parse;
pub use entry::Entry;
pub use limits::{LIMITS, LimitRow, Limits, LimitsPatch, Unit};
pub use membership::{Membership, Root};
pub use model::{
    Component, EnvPattern, Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase,
    PathPattern, Policy, Provenance, Scope,
};
pub use mounts::{Kept, Mount, MountPoint, Mounts};
pub use places::{Lookup, Places, Resolved};
pub use resolve::{Loaded, MOST_MISTAKES, Manifests, Wasi, load};
pub use select::{Bindings, TargetKind, case_matches};
pub use suggest::{Suggested, Suggestion, Target, suggest};

#[cfg(test)]
mod tests;

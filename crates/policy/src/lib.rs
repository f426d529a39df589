//! The policy: schema (raw, with spans) → validate → merge → resolve → decide.
//!
//! Pure: nothing here touches the file system, an environment or wasmtime. What it needs to know
//! of the machine comes in through [`Places`] and the [`Lookup`] trait.

pub mod access;
mod ceiling;
mod command_line;
pub mod compare;
pub mod decide;
pub mod diagnostic;
mod document;
mod entry;
pub mod folded;
mod limits;
pub mod lint;
mod load;
mod manifests;
pub mod matching;
mod membership;
pub mod model;
mod mounted;
mod mounts;
pub mod pattern;
mod places;
pub mod protected;
mod resolve;
mod schema;
mod select;
mod suggest;
pub mod text;
mod trie;
pub mod units;
mod words;

pub use ceiling::Ceiling;
pub use command_line::CommandLineGrants;
pub use decide::{Decider, Recent, Rights};
pub use document::parse;
pub use entry::Entry;
pub use limits::{LIMITS, LimitRow, Limits, LimitsPatch, Unit};
pub use load::{Loaded, Wasi, load};
pub use manifests::Manifests;
pub use membership::{Membership, Root};
pub use model::{
    Component, EnvPattern, Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase,
    PathPattern, Policy, Provenance, Scope,
};
pub use mounts::{Kept, Mount, MountPoint, Mounts};
pub use places::{Bindings, Lookup, Places, Resolved};
pub use resolve::MOST_MISTAKES;
pub use select::{TargetKind, case_matches};
pub use suggest::{Suggested, Suggestion, Target, suggest};

#[cfg(test)]
mod tests;

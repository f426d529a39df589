//! From an access to a decision: a trie over path components. Pure, and at most a microsecond
//! among 10,000 grants.

use super::model::Policy;
use crate::access::{Decision, Operation, OperationSet, Resource};

/// A policy, compiled for deciding.
#[derive(Debug)]
pub struct Decider {}

impl Decider {
    /// Compiles a policy.
    pub fn new(_policy: &Policy) -> Self {
        todo!()
    }

    /// Decides an access whose origin is not known.
    pub fn decide(&self, _operation: Operation, _resource: &Resource) -> Decision {
        todo!()
    }

    /// The same for a path, without building a [`Resource`]: the gate's hot path.
    pub fn decide_path(&self, _operation: Operation, _path: &[u8]) -> Decision {
        todo!()
    }

    /// Decides again after [`Decision::DependsOnOrigin`], with the crate it originates from.
    pub fn decide_by(&self, _operation: Operation, _resource: &Resource, _krate: &str) -> Decision {
        todo!()
    }

    /// Every operation that is allowed on `path`, `by` grants included only if `with_by`.
    pub fn operations(&self, _path: &[u8], _with_by: bool) -> OperationSet {
        todo!()
    }

    /// Whether the guest may learn that `path` exists as a step on the way to something: it is an
    /// ancestor of a grant, of a link of the policy or of the current directory, or has an
    /// operation granted itself. Resolution of `..` and links stops elsewhere.
    pub fn is_on_the_way(&self, _path: &[u8]) -> bool {
        todo!()
    }

    /// Whether the symbolic link at `path` may be followed: it is one of the policy's links, or
    /// its `stat` is granted.
    pub fn may_follow(&self, _path: &[u8]) -> bool {
        todo!()
    }

    /// Whether renaming or hard-linking `from` to `to` gains nothing: each operation allowed at
    /// `to` is allowed at `from`, and, for a directory, no grant or exception lies beneath either
    /// that would make it so for something inside.
    pub fn may_move(&self, _from: &[u8], _to: &[u8], _directory: bool) -> bool {
        todo!()
    }
}

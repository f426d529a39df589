//! What one walk through the trie has gathered about a path, and what follows from it.

use super::{Best, Grants, Node, OPERATIONS, index};
use crate::access::{Decision, ExceptionId, GrantId, Operation, OperationSet};

/// What covers a path, gathered in one walk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    deny: Best,
    hide: Best,
    protected: Best,
    /// The deepest component at which a protected name matched.
    pub(super) protected_depth: u32,
    all: [Best; OPERATIONS],
    /// The deepest component at which a grant with `protected = true` matched, and which.
    named: [(u32, Best); OPERATIONS],
    by: OperationSet,
    by_named: [u32; OPERATIONS],
}

impl Found {
    /// `deny` and `hide`, which shut off everything.
    pub(crate) fn exception(&self) -> Option<Decision> {
        if let Some((_, id)) = self.deny.0 {
            return Some(Decision::Denied(Some(ExceptionId(id))));
        }
        self.hide.0.map(|(_, id)| Decision::Hidden(ExceptionId(id)))
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.deny.0.is_some() || self.hide.0.is_some()
    }

    pub(super) fn is_protected(&self, operation: Operation) -> bool {
        self.protected.0.is_some() && OperationSet::FS_CHANGE.contains(operation)
    }

    /// The grant that allows it. Depths count from 1, so that 0 is "none".
    pub(crate) fn grant(&self, operation: Operation) -> Option<GrantId> {
        let best = if self.is_protected(operation) {
            let (depth, best) = self.named[index(operation)];
            if depth < self.protected_depth { Best(None) } else { best }
        } else {
            self.all[index(operation)]
        };
        best.0.map(|(_, id)| GrantId(id))
    }

    /// Whether a grant with `by` covers it.
    pub(crate) fn by_grant(&self, operation: Operation) -> bool {
        if self.is_protected(operation) {
            self.by_named[index(operation)] >= self.protected_depth
        } else {
            self.by.contains(operation)
        }
    }

    /// What is said where nothing allows it.
    pub(crate) fn refusal(&self, operation: Operation) -> Decision {
        match self.protected.0 {
            Some((_, id)) if self.is_protected(operation) => Decision::Denied(Some(ExceptionId(id))),
            _ => Decision::Denied(None),
        }
    }

    fn add(&mut self, grants: &Grants, rank: u32, depth: u32) {
        for i in 0..OPERATIONS {
            if let Some(id) = grants.all[i] {
                self.all[i].offer(rank, id);
            }
            if let Some(id) = grants.protected[i] {
                let (deepest, best) = &mut self.named[i];
                if depth > *deepest {
                    (*deepest, *best) = (depth, Best::default());
                }
                if depth == *deepest {
                    best.offer(rank, id);
                }
            }
        }
        self.by = self.by.union(grants.by);
        for operation in grants.by_protected.iter() {
            let deepest = &mut self.by_named[index(operation)];
            *deepest = (*deepest).max(depth);
        }
    }
}

impl Found {
    /// Takes in a node: what covers the path and all beneath, or (`exact`) what covers only it.
    pub(super) fn visit(&mut self, node: &Node, depth: u32, exact: bool) {
        let rank = node.rank * 2;
        if exact {
            if let Some(grants) = &node.exact {
                self.add(grants, rank + 1, depth);
            }
            return;
        }
        if let Some(grants) = &node.grants {
            self.add(grants, rank, depth);
        }
        let offer = |best: &mut Best, id: Option<u32>| {
            if let Some(id) = id {
                best.offer(rank, id);
            }
        };
        offer(&mut self.deny, node.deny);
        offer(&mut self.hide, node.hide);
        offer(&mut self.protected, node.protected);
        if node.protected.is_some() {
            self.protected_depth = self.protected_depth.max(depth);
        }
    }
}

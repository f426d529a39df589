//! The trie that decisions are made in: one node per distinct beginning of a pattern.
//!
//! A path is walked once, component by component, with the set of nodes it has reached so far. A
//! `**` node stays reached, everything else is reached for one component, so the work is at most
//! components × reached nodes: there is no backtracking. The sets live on the stack; only a policy
//! with more than [`INLINE`] wildcard branches alive at once makes them spill to the heap.

mod found;
mod globs;
mod recent;

pub(super) use self::found::Found;
pub(super) use self::recent::Recent;

use self::globs::Globs;
use super::model::Component;
use crate::access::{GrantId, Operation, OperationSet};

/// Reached nodes that need no allocation.
const INLINE: usize = 32;
/// The operations that entries here are about: those on paths, by their place in [`Operation::ALL`].
const OPERATIONS: usize = Operation::PATHS;

/// What an entry does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Grant { operations: OperationSet, by: bool, protected: bool },
    Deny,
    Hide,
    Protected,
}

/// One grant or exception at the end of its pattern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: u32,
    /// Only the match itself. Exceptions always cover what is beneath, which is the safe side.
    pub(super) exact: bool,
}

/// The best grant for one operation so far: the highest rank, then the lowest number.
#[derive(Clone, Copy, Debug, Default)]
struct Best(Option<(u32, u32)>);

impl Best {
    fn offer(&mut self, rank: u32, id: u32) {
        let better = self.0.is_none_or(|(best, best_id)| rank > best || (rank == best && id < best_id));
        if better {
            self.0 = Some((rank, id));
        }
    }
}

fn index(operation: Operation) -> usize {
    operation as usize
}

#[derive(Debug)]
struct Grants {
    /// Lowest number by operation, among grants without `by`.
    all: [Option<u32>; OPERATIONS],
    /// The same among those with `protected = true`.
    protected: [Option<u32>; OPERATIONS],
    by: OperationSet,
    by_protected: OperationSet,
    by_list: Vec<(u32, OperationSet, bool)>,
}

impl Grants {
    fn changes(&self) -> bool {
        let all = OperationSet::FS_CHANGE.iter().any(|operation| self.all[index(operation)].is_some());
        all || !self.by.intersection(OperationSet::FS_CHANGE).is_empty()
    }

    fn changes_protected(&self) -> bool {
        let all = OperationSet::FS_CHANGE.iter().any(|operation| self.protected[index(operation)].is_some());
        all || !self.by_protected.intersection(OperationSet::FS_CHANGE).is_empty()
    }
}

#[derive(Debug, Default)]
struct Node {
    literals: Vec<(Box<[u8]>, u32)>,
    globs: Globs,
    any: Option<u32>,
    is_any: bool,
    /// How specific patterns that end here are.
    rank: u32,
    deny: Option<u32>,
    hide: Option<u32>,
    protected: Option<u32>,
    grants: Option<Box<Grants>>,
    exact: Option<Box<Grants>>,
    /// A grant, a link or the current directory is here or below.
    way: bool,
    /// Grants that change something are below; some of them say `protected = true`.
    changes_below: bool,
    named_below: bool,
    exceptions_below: bool,
}

impl Node {
    fn is_excepted(&self) -> bool {
        self.deny.is_some() || self.hide.is_some() || self.protected.is_some()
    }

    fn children(&self) -> impl Iterator<Item = u32> + '_ {
        self.literals
            .iter()
            .map(|(_, child)| *child)
            .chain(self.globs.each().map(|(_, child)| child))
            .chain(self.any)
    }
}

/// A set of nodes on the stack.
#[derive(Clone, Debug)]
struct NodeSet {
    inline: [u32; INLINE],
    len: usize,
    spill: Vec<u32>,
}

impl Default for NodeSet {
    fn default() -> Self {
        Self { inline: [0; INLINE], len: 0, spill: Vec::new() }
    }
}

impl NodeSet {
    fn push(&mut self, node: u32) {
        if self.len < INLINE {
            self.inline[self.len] = node;
            self.len += 1;
        } else {
            self.spill.push(node);
        }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.spill.clear();
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.inline[..self.len].iter().chain(&self.spill).copied()
    }

    fn count(&self) -> usize {
        self.len + self.spill.len()
    }

    fn get(&self, at: usize) -> Option<u32> {
        if at < self.len { Some(self.inline[at]) } else { self.spill.get(at - self.len).copied() }
    }
}

/// The nodes reached at the end of a walk.
#[derive(Clone, Debug, Default)]
pub(super) struct Active {
    current: NodeSet,
    next: NodeSet,
    /// `**` nodes: once reached, reached for good.
    sticky: NodeSet,
}

impl Active {
    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> + '_ {
        self.current.iter().chain(self.sticky.iter())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

/// An order in which most names are told apart without looking at their letters.
fn by_length(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// The components of a path, if it is one that a resolver could have produced.
fn components(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let rest = path.strip_prefix(b"/")?;
    let well_formed = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    let fine = rest.is_empty() || (!rest.contains(&0) && rest.split(|byte| *byte == b'/').all(well_formed));
    let parts = (!rest.is_empty()).then(|| rest.split(|byte| *byte == b'/'));
    fine.then(|| parts.into_iter().flatten())
}

impl Trie {
    /// Adds an entry. Call [`finish`](Self::finish) after the last one.
    pub(super) fn insert(&mut self, pattern: &[Component], entry: Entry) {
        let mut node = 0;
        for component in pattern {
            node = self.child(node, component);
        }
        let node = &mut self.nodes[node as usize];
        let lowest = |place: &mut Option<u32>| *place = Some(place.map_or(entry.id, |id| id.min(entry.id)));
        match entry.kind {
            Kind::Deny => lowest(&mut node.deny),
            Kind::Hide => lowest(&mut node.hide),
            Kind::Protected => lowest(&mut node.protected),
            Kind::Grant { operations, by, protected } => {
                let grants = if entry.exact { &mut node.exact } else { &mut node.grants };
                let grants = grants.get_or_insert_with(|| {
                    Box::new(Grants {
                        all: [None; OPERATIONS],
                        protected: [None; OPERATIONS],
                        by: OperationSet::EMPTY,
                        by_protected: OperationSet::EMPTY,
                        by_list: Vec::new(),
                    })
                });
                let operations = operations.intersection(OperationSet::FS_ALL);
                if by {
                    grants.by = grants.by.union(operations);
                    if protected {
                        grants.by_protected = grants.by_protected.union(operations);
                    }
                    grants.by_list.push((entry.id, operations, protected));
                    return;
                }
                for operation in operations.iter() {
                    lowest(&mut grants.all[index(operation)]);
                    if protected {
                        lowest(&mut grants.protected[index(operation)]);
                    }
                }
            }
        }
    }

    /// Makes a path and all above it lead somewhere.
    pub(super) fn mark_way(&mut self, path: &[u8]) {
        let mut node = 0;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            node = self.child(node, &Component::Literal(name.to_vec()));
        }
        self.nodes[node as usize].way = true;
    }

    fn child(&mut self, parent: u32, component: &Component) -> u32 {
        let new = self.nodes.len() as u32;
        let node = &mut self.nodes[parent as usize];
        let rank = node.rank;
        let (child, rank, is_any) = match component {
            Component::Literal(name) => {
                match node.literals.binary_search_by(|(literal, _)| by_length(literal, name)) {
                    Ok(at) => return node.literals[at].1,
                    Err(at) => node.literals.insert(at, (name.clone().into_boxed_slice(), new)),
                }
                (new, rank + (1 << 16) + 1, false)
            }
            Component::Glob(pieces) => {
                let child = node.globs.child(pieces, new);
                if child != new {
                    return child;
                }
                (new, rank + (1 << 16), false)
            }
            // Two in a row say no more than one.
            Component::AnyDepth if node.is_any => return parent,
            Component::AnyDepth => match node.any {
                Some(child) => return child,
                None => {
                    node.any = Some(new);
                    (new, rank, true)
                }
            },
        };
        self.nodes.push(Node { rank, is_any, ..Node::default() });
        child
    }

    /// Computes what lies below each node. Children come after their parents.
    pub(super) fn finish(&mut self) {
        for i in (0..self.nodes.len()).rev() {
            let node = &self.nodes[i];
            let has_grant = |node: &Node| node.grants.is_some() || node.exact.is_some();
            let has = |node: &Node, what: fn(&Grants) -> bool| {
                node.grants.iter().chain(&node.exact).any(|grants| what(grants))
            };
            let (mut changes, mut named, mut exceptions) = (false, false, false);
            let mut way = node.way || has_grant(node);
            for child in node.children() {
                let child = &self.nodes[child as usize];
                changes |= child.changes_below || has(child, Grants::changes);
                named |= child.named_below || has(child, Grants::changes_protected);
                exceptions |= child.exceptions_below || child.is_excepted();
                way |= child.way;
            }
            let node = &mut self.nodes[i];
            (node.changes_below, node.named_below) = (changes, named);
            (node.exceptions_below, node.way) = (exceptions, way);
        }
    }

    /// What covers a path; `None` for a malformed one.
    pub(super) fn find(&self, path: &[u8]) -> Option<Found> {
        self.walk(path, &mut Active::default())
    }

    /// The same, and which nodes are reached at its end.
    pub(super) fn walk(&self, path: &[u8], active: &mut Active) -> Option<Found> {
        let mut found = Found::default();
        self.each(path, active, |node, depth, exact| found.visit(node, depth, exact))?;
        Some(found)
    }

    /// The most specific grant with `by` among those that `usable` says yes to.
    pub(super) fn find_by(
        &self,
        path: &[u8],
        operation: Operation,
        usable: impl Fn(u32) -> bool,
    ) -> Option<GrantId> {
        let found = self.find(path)?;
        let protected = found.is_protected(operation);
        let mut best = Best::default();
        self.each(path, &mut Active::default(), |node, depth, exact| {
            let Some(grants) = (if exact { &node.exact } else { &node.grants }) else { return };
            for (id, operations, named) in &grants.by_list {
                let holds = !protected || (*named && depth >= found.protected_depth);
                if operations.contains(operation) && holds && usable(*id) {
                    best.offer(node.rank * 2 + u32::from(exact), *id);
                }
            }
        })?;
        best.0.map(|(_, id)| GrantId(id))
    }

    /// Calls `visit` for each node whose pattern the path or one above it matches, with the number
    /// of components matched plus one, and for the path itself once more with `true`.
    fn each<'a>(
        &'a self,
        path: &[u8],
        active: &mut Active,
        mut visit: impl FnMut(&'a Node, u32, bool),
    ) -> Option<()> {
        let components = components(path)?;
        let mut depth = 1;
        self.begin(active, &mut visit);
        for name in components {
            depth += 1;
            self.advance(name, active, depth, &mut visit);
        }
        self.end(active, depth, &mut visit);
        Some(())
    }

    fn begin<'a>(&'a self, active: &mut Active, visit: &mut impl FnMut(&'a Node, u32, bool)) {
        self.enter(0, active, 1, visit);
        std::mem::swap(&mut active.current, &mut active.next);
    }

    fn advance<'a>(
        &'a self,
        name: &[u8],
        active: &mut Active,
        depth: u32,
        visit: &mut impl FnMut(&'a Node, u32, bool),
    ) {
        active.next.clear();
        // `**` nodes that this component reaches for the first time are for the next one.
        let sticky = active.sticky.count();
        let mut at = 0;
        while let Some(node) = active.current.get(at) {
            at += 1;
            self.step(node, name, active, depth, visit);
        }
        for at in 0..sticky {
            let Some(node) = active.sticky.get(at) else { break };
            self.step(node, name, active, depth, visit);
        }
        std::mem::swap(&mut active.current, &mut active.next);
    }

    fn end<'a>(&'a self, active: &Active, depth: u32, visit: &mut impl FnMut(&'a Node, u32, bool)) {
        for node in active.nodes() {
            visit(&self.nodes[node as usize], depth, true);
        }
    }

    fn step<'a>(
        &'a self,
        node: u32,
        name: &[u8],
        active: &mut Active,
        depth: u32,
        visit: &mut impl FnMut(&'a Node, u32, bool),
    ) {
        let node = &self.nodes[node as usize];
        if let Ok(at) = node.literals.binary_search_by(|(literal, _)| by_length(literal, name)) {
            self.enter(node.literals[at].1, active, depth, visit);
        }
        node.globs.matching(name, |child| self.enter(child, active, depth, visit));
    }

    fn enter<'a>(
        &'a self,
        index: u32,
        active: &mut Active,
        depth: u32,
        visit: &mut impl FnMut(&'a Node, u32, bool),
    ) {
        let node = &self.nodes[index as usize];
        visit(node, depth, false);
        active.next.push(index);
        if let Some(any) = node.any
            && !active.sticky.iter().any(|known| known == any)
        {
            visit(&self.nodes[any as usize], depth, false);
            active.sticky.push(any);
        }
    }

    /// Whether a reached node is on the way to a grant, a link or the current directory.
    pub(super) fn leads_on(&self, active: &Active) -> bool {
        active.nodes().any(|node| self.nodes[node as usize].way)
    }

    /// Whether what is directly beneath, or beneath that, depends on its name.
    pub(super) fn tells_apart(&self, active: &Active) -> bool {
        active.nodes().any(|node| {
            let node = &self.nodes[node as usize];
            !node.literals.is_empty() || node.globs.each().next().is_some()
        })
    }

    /// Whether a grant that changes something is below.
    pub(super) fn changes_below(&self, active: &Active) -> bool {
        active.nodes().any(|node| self.nodes[node as usize].changes_below)
    }

    /// Whether all that exceptions take below `here` they take below `there` as well, by the same
    /// patterns, and no grant names a protected place below `there` only.
    pub(super) fn excepts_as_much(&self, there: &Active, here: &Active) -> bool {
        let excepted = here.nodes().filter(|node| self.nodes[*node as usize].exceptions_below);
        let named = there.nodes().filter(|node| self.nodes[*node as usize].named_below);
        named.into_iter().all(|node| here.nodes().any(|other| other == node))
            && excepted.into_iter().all(|node| there.nodes().any(|other| self.excepts_below(other, node)))
    }

    /// Whether the patterns that go on from `one` take at least what those from `other` take.
    fn excepts_below(&self, one: u32, other: u32) -> bool {
        if one == other {
            return true;
        }
        let (one, other) = (&self.nodes[one as usize], &self.nodes[other as usize]);
        let takes = |one: u32, other: u32| {
            let (own, others) = (&self.nodes[one as usize], &self.nodes[other as usize]);
            let shuts = |node: &Node| node.deny.is_some() || node.hide.is_some();
            (shuts(own) || !shuts(others))
                && (own.is_excepted() || others.protected.is_none())
                && self.excepts_below(one, other)
        };
        let matters = |child: &u32| {
            let child = &self.nodes[*child as usize];
            child.is_excepted() || child.exceptions_below
        };
        let literal = |name: &[u8]| {
            let at = one.literals.binary_search_by(|(literal, _)| by_length(literal, name)).ok()?;
            Some(one.literals[at].1)
        };
        let literals = other.literals.iter().filter(|(_, child)| matters(child));
        let literals = literals.map(|(name, child)| (literal(name), *child));
        let globs = other.globs.each().filter(|(_, child)| matters(child));
        let globs = globs.map(|(pieces, child)| (one.globs.get(pieces), child));
        let any = other.any.filter(matters).map(|child| (one.any, child));
        // A `**` that was reached goes on for good.
        (one.is_any || !other.is_any)
            && literals
                .chain(globs)
                .chain(any)
                .all(|(twin, child)| twin.is_some_and(|twin| takes(twin, child)))
    }
}

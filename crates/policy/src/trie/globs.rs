//! Children reached through a wildcard, found by how they begin or end: of ten thousand like
//! `file-7*` or `*.json` in one directory only those with the right literal are tried.

use crate::matching::glob_matches;
use std::collections::{BTreeMap, BTreeSet};

type Pieces = Vec<Option<Vec<u8>>>;

/// Patterns that share a literal.
#[derive(Debug, Default)]
struct Group {
    by_literal: BTreeMap<Vec<u8>, Vec<(Pieces, u32)>>,
    /// The lengths of the literals, each once.
    lengths: BTreeSet<usize>,
}

impl Group {
    fn bucket(&mut self, literal: &[u8]) -> &mut Vec<(Pieces, u32)> {
        self.lengths.insert(literal.len());
        self.by_literal.entry(literal.to_vec()).or_default()
    }

    fn matching(&self, name: &[u8], literal: impl Fn(usize) -> usize, mut found: impl FnMut(u32)) {
        for length in self.lengths.iter().copied().take_while(|length| *length <= name.len()) {
            let start = literal(length);
            for (pieces, child) in self.by_literal.get(&name[start..start + length]).into_iter().flatten() {
                if glob_matches(pieces, name) {
                    found(*child);
                }
            }
        }
    }
}

/// All children of one node that are reached through a wildcard.
#[derive(Debug, Default)]
pub(super) struct Globs {
    /// By the literal they begin with.
    beginning: Group,
    /// The others, by the literal they end with, which may be empty.
    ending: Group,
}

impl Globs {
    /// The child for these pieces: `new` if there was none.
    pub(super) fn child(&mut self, pieces: &Pieces, new: u32) -> u32 {
        let bucket = match (pieces.first(), pieces.last()) {
            (Some(Some(beginning)), _) => self.beginning.bucket(beginning),
            (_, Some(Some(ending))) => self.ending.bucket(ending),
            _ => self.ending.bucket(b""),
        };
        if let Some((_, child)) = bucket.iter().find(|(known, _)| known == pieces) {
            return *child;
        }
        bucket.push((pieces.clone(), new));
        new
    }

    /// Calls `found` with each child whose pattern matches.
    pub(super) fn matching(&self, name: &[u8], mut found: impl FnMut(u32)) {
        self.beginning.matching(name, |_| 0, &mut found);
        self.ending.matching(name, |length| name.len() - length, &mut found);
    }

    /// Every child, with its pieces.
    pub(super) fn each(&self) -> impl Iterator<Item = (&[Option<Vec<u8>>], u32)> + '_ {
        let groups = [&self.beginning, &self.ending].into_iter();
        groups.flat_map(|group| {
            group.by_literal.values().flatten().map(|(pieces, child)| (pieces.as_slice(), *child))
        })
    }

    /// The child for exactly these pieces.
    pub(super) fn get(&self, pieces: &[Option<Vec<u8>>]) -> Option<u32> {
        self.each().find(|(known, _)| *known == pieces).map(|(_, child)| child)
    }
}

//! What a guest did that is told of it, whichever phase it ran in.

use sandbox_policy::MountPoint;
use sandbox_policy::access::{GrantId, RawViolation};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was observed of one instance of a guest, or of several that are spoken of as one: attempts of a
/// test, the questions of a listing. It only ever grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every violation with its count, in the order in which they were first seen. After a time-out
    /// or a kill a count is at least half of the truth.
    pub violations: Vec<(RawViolation, u64)>,
    /// Violations that are not told apart, because there were too many different ones.
    pub overflow: u64,
    /// Accesses that each grant allowed. After a time-out or a kill only whether.
    pub uses: BTreeMap<GrantId, u64>,
    /// Limits that were reached, by their keys, whether that ended the guest or not.
    pub limits: Vec<String>,
    /// The mounts by which it came somewhere.
    pub mounted: BTreeSet<MountPoint>,
}

impl Observed {
    /// Adds what was observed of another instance.
    pub fn unite(&mut self, other: Self) {
        // Without `..`: a field that is added and not united here does not compile.
        let Self { violations, overflow, uses, limits, mounted } = other;
        if self.violations.is_empty() {
            self.violations = violations;
        } else if !violations.is_empty() {
            let places: HashMap<RawViolation, usize> = self
                .violations
                .iter()
                .zip(0..)
                .map(|((violation, _), place)| (violation.clone(), place))
                .collect();
            for (violation, count) in violations {
                match places.get(&violation) {
                    Some(place) => {
                        let known = &mut self.violations[*place].1;
                        *known = known.saturating_add(count);
                    }
                    None => self.violations.push((violation, count)),
                }
            }
        }
        self.overflow = self.overflow.saturating_add(overflow);
        for (grant, count) in uses {
            let known = self.uses.entry(grant).or_default();
            *known = known.saturating_add(count);
        }
        for limit in limits {
            if !self.limits.contains(&limit) {
                self.limits.push(limit);
            }
        }
        self.mounted.extend(mounted);
    }

    /// Whether there was an access that nothing grants.
    pub fn violated(&self) -> bool {
        !self.violations.is_empty() || self.overflow > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sandbox_policy::access::{Access, Evidence, Operation, RawFrame, Resource, Wall};

    fn violation(path: u8, frame: u32) -> RawViolation {
        RawViolation {
            access: Access { operation: Operation::Read, resource: Resource::Path(vec![b'/', path]) },
            wall: Wall::Wasi,
            exception: None,
            note: String::new(),
            let_through: false,
            evidence: Evidence::Wasm(vec![RawFrame { function: frame, offset: 0 }]),
        }
    }

    fn observed() -> impl Strategy<Value = Observed> {
        let violations = prop::collection::btree_map((0_u8..4, 0_u32..3), 1_u64..9, 0..6);
        let uses = prop::collection::btree_map((0_u32..4).prop_map(GrantId), 1_u64..9, 0..4);
        let limits = prop::collection::btree_set("[ab]", 0..3);
        (violations, 0_u64..3, uses, limits, any::<bool>()).prop_map(
            |(violations, overflow, uses, limits, mounted)| Observed {
                violations: violations
                    .into_iter()
                    .map(|((path, frame), count)| (violation(path, frame), count))
                    .collect(),
                overflow,
                uses,
                limits: limits.into_iter().collect(),
                mounted: mounted.then_some(MountPoint::Tmp).into_iter().collect(),
            },
        )
    }

    proptest! {
        /// However instances follow each other, each thing that was seen of any is there with the sum of its
        /// counts, each once, and nothing else.
        #[test]
        fn nothing_is_lost_where_instances_are_united(all in prop::collection::vec(observed(), 0..6)) {
            let mut united = Observed::default();
            let mut violations: HashMap<RawViolation, u64> = HashMap::new();
            let mut uses: BTreeMap<GrantId, u64> = BTreeMap::new();
            for one in &all {
                united.unite(one.clone());
                for (violation, count) in &one.violations {
                    *violations.entry(violation.clone()).or_default() += count;
                }
                for (grant, count) in &one.uses {
                    *uses.entry(*grant).or_default() += count;
                }
            }
            prop_assert_eq!(united.violations.len(), violations.len());
            prop_assert_eq!(united.violations.iter().cloned().collect::<HashMap<_, _>>(), violations);
            prop_assert_eq!(&united.uses, &uses);
            prop_assert_eq!(united.overflow, all.iter().map(|one| one.overflow).sum::<u64>());
            let mounted = |one: &Observed| one.mounted.contains(&MountPoint::Tmp);
            prop_assert_eq!(mounted(&united), all.iter().any(mounted));
            prop_assert_eq!(united.violated(), all.iter().any(Observed::violated));
            for limit in all.iter().flat_map(|one| &one.limits) {
                prop_assert_eq!(united.limits.iter().filter(|known| *known == limit).count(), 1);
            }
        }
    }
}

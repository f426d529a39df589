//! The same access from the same place, once; and the grants that nothing used.

use super::json::wire::{Grant, GrantPlace, Report, UnusedGrant, Violation};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

/// One violation for all the tests it happened in.
#[derive(Clone, Debug)]
pub struct Distinct<'r> {
    /// The first of them.
    pub violation: &'r Violation,
    /// How often in total.
    pub count: u64,
    /// The tests, each once, in order of appearance.
    pub tests: Vec<&'r str>,
    known: HashSet<&'r str>,
}

impl<'r> Distinct<'r> {
    fn new(violation: &'r Violation) -> Self {
        let mut distinct =
            Self { violation, count: violation.count, tests: Vec::new(), known: HashSet::new() };
        distinct.in_tests(violation.test.as_deref());
        distinct
    }

    fn in_tests(&mut self, tests: impl IntoIterator<Item = &'r str>) {
        self.tests.extend(tests.into_iter().filter(|test| self.known.insert(test)));
    }

    /// Counts another one with it.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.in_tests(other.tests.iter().copied());
    }
}

/// Every different violation of a report, in order of appearance.
pub fn wire(report: &Report) -> Vec<Distinct<'_>> {
    violations(report.violations().map(|(_, violation)| violation))
}

/// The different ones among some violations.
pub fn violations<'r>(all: impl IntoIterator<Item = &'r Violation>) -> Vec<Distinct<'r>> {
    let mut distinct: Vec<Distinct<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for violation in all {
        match places.entry(violation.key()) {
            Entry::Vacant(place) => {
                place.insert(distinct.len());
                distinct.push(Distinct::new(violation));
            }
            Entry::Occupied(place) => {
                let known = &mut distinct[*place.get()];
                known.count = known.count.saturating_add(violation.count);
                known.in_tests(violation.test.as_deref());
            }
        }
    }
    distinct
}

/// The grants of manifests that no target used, in the order of the manifests. A grant that several
/// packages inherit is unused if none of them used it. Grants of the command line are not asked for:
/// they last for one run.
pub fn unused(report: &Report) -> Vec<UnusedGrant> {
    let mut uses: BTreeMap<(&GrantPlace, usize), (&str, &[String], u64)> = BTreeMap::new();
    for target in &report.targets {
        // The same entry twice on one line is two grants.
        let mut seen: BTreeMap<&GrantPlace, usize> = BTreeMap::new();
        for grant in target.grants.iter().filter(|grant| !grant.place.manifest.is_empty()) {
            let before = seen.entry(&grant.place).or_default();
            let (_, _, sum) = uses.entry((&grant.place, *before)).or_insert((&target.package, &grant.by, 0));
            *sum = sum.saturating_add(grant.uses);
            *before += 1;
        }
    }
    uses.into_iter()
        .filter(|(_, (_, _, uses))| *uses == 0)
        .map(|((place, _), (package, by, _))| UnusedGrant {
            package: package.to_owned(),
            place: place.clone(),
            by: by.to_vec(),
        })
        .collect()
}

/// The grants for single crates that were used, each with its uses in all targets.
pub fn used_by_crates(report: &Report) -> Vec<(&Grant, u64)> {
    let mut used: Vec<(&Grant, u64)> = Vec::new();
    let mut places = BTreeMap::new();
    let grants = report.targets.iter().flat_map(|target| &target.grants);
    for grant in grants.filter(|grant| !grant.by.is_empty() && grant.uses > 0) {
        match places.entry((&grant.place, &grant.by)) {
            Entry::Occupied(place) => {
                let (_, uses): &mut (&Grant, u64) = &mut used[*place.get()];
                *uses = uses.saturating_add(grant.uses);
            }
            Entry::Vacant(place) => {
                place.insert(used.len());
                used.push((grant, grant.uses));
            }
        }
    }
    used
}

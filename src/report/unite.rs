//! The same access from the same place, once; and the grants that nothing used.

use super::json::wire::{Grant, Place, Report, UnusedGrant, Violation};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// One violation for all the tests it happened in.
#[derive(Clone, Debug)]
pub struct United<'r> {
    /// The first of them.
    pub violation: &'r Violation,
    /// How often in total.
    pub count: u64,
    /// The tests, each once, in order of appearance.
    pub tests: Vec<&'r str>,
}

/// Every different violation of a report, in order of appearance.
pub fn wire(report: &Report) -> Vec<United<'_>> {
    violations(report.violations().map(|(_, violation)| violation))
}

/// The different ones among some violations.
pub fn violations<'r>(all: impl IntoIterator<Item = &'r Violation>) -> Vec<United<'r>> {
    let mut united: Vec<United<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for violation in all {
        let test = violation.test.as_deref();
        match places.entry(violation.key()) {
            Entry::Vacant(place) => {
                place.insert(united.len());
                united.push(United { violation, count: violation.count, tests: test.into_iter().collect() });
            }
            Entry::Occupied(place) => {
                let known = &mut united[*place.get()];
                known.count = known.count.saturating_add(violation.count);
                known.tests.extend(test.filter(|test| !known.tests.contains(test)));
            }
        }
    }
    united
}

/// The grants of manifests that no target used, in the order of the manifests. A grant that several
/// packages inherit is unused if none of them used it. Grants of the command line are not asked for:
/// they last for one run.
pub fn unused(report: &Report) -> Vec<UnusedGrant> {
    let mut uses: BTreeMap<(&Place, usize), (&str, &[String], u64)> = BTreeMap::new();
    for target in &report.targets {
        // The same entry twice on one line is two grants.
        let mut seen: BTreeMap<&Place, usize> = BTreeMap::new();
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
    let grants = report.targets.iter().flat_map(|target| &target.grants);
    for grant in grants.filter(|grant| !grant.by.is_empty() && grant.uses > 0) {
        match used.iter_mut().find(|(known, _)| known.place == grant.place && known.by == grant.by) {
            Some((_, uses)) => *uses = uses.saturating_add(grant.uses),
            None => used.push((grant, grant.uses)),
        }
    }
    used
}

//! Which grants nothing needed.

use super::audited::{Audited, table_of};
use super::edit::Removal;
use crate::event::Report;
use crate::report::escape;
use sandbox_policy::access::GrantId;
use sandbox_policy::{Grant, PackagePolicy, compare};
use std::collections::BTreeMap;

/// An access counts for the narrowest grant that covers it. Where a wider one is needed as well, the
/// narrow one is not: its uses go to the wider one.
pub fn credit_wider(report: &mut Report, policy: &PackagePolicy) {
    let mut used: BTreeMap<GrantId, u64> = BTreeMap::new();
    for grant in report.targets.iter().filter(|t| t.package == policy.package).flat_map(|t| &t.grants) {
        *used.entry(GrantId(grant.id)).or_default() += grant.uses;
    }
    used.retain(|_, uses| *uses > 0);
    let mut needed: Vec<&Grant> = policy.grants.iter().filter(|grant| used.contains_key(&grant.id)).collect();
    let mut needless = Vec::new();
    // The later one first, so that of two that cover each other the earlier one stays.
    for index in (0..needed.len()).rev() {
        let grant = needed[index];
        let others = || needed.iter().copied().filter(|other| other.id != grant.id);
        if compare::covered(others(), grant) == grant.operations {
            let wider = others().find(|other| !compare::covered(std::iter::once(*other), grant).is_empty());
            needless.push((grant.id, wider.map(|grant| grant.id)));
            needed.remove(index);
        }
    }
    for target in report.targets.iter_mut().filter(|target| target.package == policy.package) {
        for (needless, wider) in &needless {
            let taken = target
                .grants
                .iter_mut()
                .find(|grant| grant.id == needless.0)
                .map_or(0, |grant| std::mem::take(&mut grant.uses));
            let wider = target.grants.iter_mut().find(|grant| Some(GrantId(grant.id)) == *wider);
            if let Some(wider) = wider {
                wider.uses = wider.uses.saturating_add(taken);
            }
        }
    }
}

/// Unused grants of the package's own manifest, and, in words, those written elsewhere.
pub fn removals(report: &Report, audited: &Audited<'_>) -> (Vec<Removal>, Vec<String>) {
    let mut uses: BTreeMap<u32, u64> = BTreeMap::new();
    for grant in audited.targets(report).flat_map(|target| &target.grants) {
        *uses.entry(grant.id).or_default() += grant.uses;
    }
    let (mut removals, mut kept) = (Vec::new(), Vec::new());
    for (id, _) in uses.into_iter().filter(|(_, uses)| *uses == 0) {
        let Some(grant) = audited.policy.grants.get(id as usize) else { continue };
        let place = &grant.provenance;
        if place.line == 0 {
            // The command line says so for this run only.
        } else if place.file == audited.manifest.path && place.table.starts_with("package.") {
            let (table, case) = table_of(&grant.scope, place.table.rsplit('.').next().unwrap_or("fs"));
            removals.push(Removal { table, case, key: place.key.clone(), entry: grant.entry() });
        } else {
            kept.push(format!("`{}` in `{}.{}`", escape::line(&place.text), place.table, place.key));
        }
    }
    (removals, kept)
}

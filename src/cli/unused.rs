//! `--unused`: which grants nothing needed, and what is made of that.

use super::args::{PolicyArgs, Unused};
use crate::access::GrantId;
use crate::event::Report;
use crate::exit_status::ExitStatus;
use crate::policy::{Grant, PackagePolicy, compare};
use crate::report::{self, json, merge};
use std::collections::BTreeMap;

/// What unused grants are. `full` says that every test of the packages runs: only then does the
/// absence of a use say something by itself. An audit is for finding out, not for judging.
pub(super) fn level(args: &PolicyArgs, full: bool) -> Unused {
    let learning = args.audit || !args.fix.is_empty();
    args.unused.unwrap_or(if full && !learning { Unused::Warn } else { Unused::Allow })
}

/// The level in the words of the reporters.
pub(super) fn to_report(level: Unused) -> report::Unused {
    match level {
        Unused::Allow => report::Unused::Allow,
        Unused::Warn => report::Unused::Warn,
        Unused::Deny => report::Unused::Deny,
    }
}

/// Counts uses for the grants that would do without the others, and judges: 79 under `deny` if a
/// grant is unused, every test ran, and nothing worse holds. To be called once, before the outputs are
/// finished.
pub(super) fn apply(report: &mut Report, policies: &[&PackagePolicy], level: Unused) {
    if level == Unused::Allow {
        return;
    }
    for policy in policies {
        credit_wider(report, policy);
    }
    let wire: json::Report = (&*report).into();
    if level == Unused::Deny && !wire.unused.is_empty() {
        if wire.every_test_ran() {
            report.status = report.status.or(ExitStatus::Unused);
        } else {
            report.notes.push(merge::NOT_DENIED.to_owned());
        }
    }
}

/// An access counts for the narrowest grant that covers it. Where a wider one is needed as well, the
/// narrow one is not: its uses go to the wider one.
pub(super) fn credit_wider(report: &mut Report, policy: &PackagePolicy) {
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

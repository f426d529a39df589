//! `--unused`: which grants nothing needed, and what is made of that.

use super::args::{PolicyArgs, Unused};
use crate::audit::unused::credit_wider;
use crate::event::Report;
use crate::exit_status::ExitStatus;
use crate::report::{self, json, merge};
use sandbox_policy::PackagePolicy;

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

//! From everything that happened to one exit status.

use crate::event::{GuestOutcome, TargetReport, TestVerdict};
use crate::exit_status::ExitStatus;
use sandbox_policy::diagnostic::Severity;

/// The status that a guest's end stands for, violations aside.
pub fn of_guest(outcome: &GuestOutcome) -> ExitStatus {
    match outcome {
        GuestOutcome::Exited(0) => ExitStatus::Success,
        // What a process can exit with has eight bits, as everywhere on Unix.
        GuestOutcome::Exited(code) => ExitStatus::Guest(*code as u8),
        GuestOutcome::Panicked => ExitStatus::Failed,
        GuestOutcome::Trapped(_) | GuestOutcome::Limit(_) => ExitStatus::Trapped,
        GuestOutcome::TimedOut(_) => ExitStatus::TimedOut,
        GuestOutcome::Killed(_) => ExitStatus::Trapped,
        GuestOutcome::Interrupted => ExitStatus::Interrupted,
    }
}

/// The status that a test's verdict stands for.
pub fn of_test(verdict: TestVerdict) -> ExitStatus {
    match verdict {
        TestVerdict::Passed | TestVerdict::Flaky | TestVerdict::Ignored | TestVerdict::NotRun => {
            ExitStatus::Success
        }
        TestVerdict::Failed | TestVerdict::Killed => ExitStatus::Failed,
        TestVerdict::Violated { .. } => ExitStatus::Violation,
        TestVerdict::TimedOut => ExitStatus::TimedOut,
    }
}

/// The status of one target. In audit, violations were allowed and do not count.
pub fn of_target(target: &TargetReport, audit: bool) -> ExitStatus {
    let mut status = target.outcome.as_ref().map_or(ExitStatus::Success, of_guest);
    // What was heard before a fault counts too; the fault ranks above it.
    if target.notes.iter().any(|note| note.severity == Severity::Error) {
        status = ExitStatus::Fault;
    }
    for test in &target.tests {
        status = status.or(of_test(test.verdict));
        if let (TestVerdict::Violated { passed: false }, Some(outcome)) = (test.verdict, &test.outcome) {
            status = status.or(match of_guest(outcome) {
                ExitStatus::Guest(_) => ExitStatus::Failed,
                other => other,
            });
        }
    }
    let violated =
        |violations: &[crate::event::Violation]| violations.iter().any(|violation| !violation.allowed);
    if !audit && (violated(&target.violations) || target.tests.iter().any(|test| violated(&test.violations)))
    {
        status = status.or(ExitStatus::Violation);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_keeps_its_status_and_a_limit_has_its_own() {
        assert_eq!(of_guest(&GuestOutcome::Exited(3)).code(), 3);
        assert_eq!(of_guest(&GuestOutcome::Exited(256)).code(), 0);
        assert_eq!(of_guest(&GuestOutcome::Panicked).code(), 101);
        assert_eq!(of_guest(&GuestOutcome::Limit("memory".into())).code(), 134);
    }

    #[test]
    fn a_fault_ranks_above_what_was_heard_before_it() {
        let named = crate::runner::Target {
            package: "",
            version: "",
            name: "",
            kind: "",
            artifact: std::path::Path::new("/x"),
            wasi: "",
        };
        let target = |notes| TargetReport { outcome: Some(GuestOutcome::Exited(0)), notes, ..named.report() };
        let fault = crate::runner::attribute::fault_note("why".to_owned());
        assert_eq!(of_target(&target(vec![fault]), false), ExitStatus::Fault);
        let note = sandbox_policy::diagnostic::Diagnostic::warning("", "x");
        assert_eq!(of_target(&target(vec![note]), false), ExitStatus::Success);
    }

    #[test]
    fn what_could_not_run_is_not_a_pass_of_a_violation() {
        assert_eq!(of_test(TestVerdict::NotRun), ExitStatus::Success);
        assert_eq!(of_test(TestVerdict::Violated { passed: true }), ExitStatus::Violation);
        assert_eq!(of_test(TestVerdict::Killed), ExitStatus::Failed);
    }
}

//! What is said of one run of one test, walls included.

use super::libtest::ListedTest;
use super::outcome::{self, Ended};
use super::panics::Panics;
use crate::event::{GuestOutcome, TestVerdict};
use crate::should_panic::{Said, Stack};
use crate::worker::supervisor::{OutputStream, RunEnd, RunResult};

/// What is known of the test and of the artifact that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// The test; `None` if the artifact as a whole is one.
    pub(super) test: Option<&'a ListedTest>,
    /// Its number in the listing.
    pub(super) index: usize,
    pub(super) panics: &'a Panics,
    /// Of a trap, where it matters.
    pub(super) stack: &'a Stack,
    /// How many tests libtest counts; `None` for another harness.
    pub(super) listed: Option<usize>,
    /// Unexpected accesses are let through.
    pub(super) audit: bool,
}

/// The verdict, how the instance ended if it ran, and why.
pub(super) fn judge(context: Context<'_>, result: &RunResult) -> (Said, Option<GuestOutcome>) {
    let (mut said, outcome) = match &result.end {
        RunEnd::Guest(outcome) => (judge_guest(context, outcome, result), Some(outcome.clone())),
        RunEnd::PatchMismatch => {
            let reason = "its descriptor is not in memory where the artifact has it".to_owned();
            (Said { verdict: TestVerdict::NotRun, reason }, None)
        }
        RunEnd::Superseded => {
            let reason = "it was ended, and not run again".to_owned();
            (Said { verdict: TestVerdict::NotRun, reason }, None)
        }
        // Never a pass: whoever spoke may have been taken over.
        RunEnd::Fault { why, .. } => (Said { verdict: TestVerdict::Failed, reason: why.clone() }, None),
    };
    if !context.audit && result.observed.violated() {
        let passed = said.verdict == TestVerdict::Passed;
        said.verdict = TestVerdict::Violated { passed };
    }
    if !result.note.is_empty() && !said.reason.contains(&result.note) {
        if !said.reason.is_empty() {
            said.reason.push_str("; ");
        }
        said.reason.push_str(&result.note);
    }
    (said, outcome)
}

fn judge_guest(context: Context<'_>, outcome: &GuestOutcome, result: &RunResult) -> Said {
    let Some(test) = context.test else { return outcome::judge_whole(outcome) };
    let (mut stdout, mut stderr) =
        (result.output.stream(OutputStream::Stdout), result.output.stream(OutputStream::Stderr));
    let all = result.output.bytes();
    // What is kept of the end of a long output is not told apart by stream.
    if all.len() != stdout.len() + stderr.len() {
        (stdout, stderr) = (all.clone(), all);
    }
    let (stack, listed) = (context.stack, context.listed);
    let ended = Ended { outcome, stdout: &stdout, stderr: &stderr, stack, listed };
    let mut said = outcome::judge(test, context.panics.of(context.index), &ended);
    // The reporters say how an instance ended.
    if matches!(outcome, GuestOutcome::Trapped(words) if *words == said.reason)
        || matches!(outcome, GuestOutcome::Limit(_) | GuestOutcome::TimedOut(_) | GuestOutcome::Killed(_))
    {
        said.reason.clear();
    }
    said
}

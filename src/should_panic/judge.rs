//! Whether a `#[should_panic]` test did panic, and with the expected text.

use super::descriptor::ShouldPanic;
use super::panic_message::{PanicMessage, has_panic_message, panic_message};
use super::stack::{Stack, Way};
use crate::event::TestVerdict;

/// How std words what it cannot do on WASI: processes and sockets, threads, a folder for temporary
/// files, the number of a process.
const UNSUPPORTED: [&str; 4] = [
    "operation not supported on this platform",
    "Os { code: 58, kind: Unsupported,",
    "not supported by WASI yet",
    "no pids on this platform",
];

/// A verdict on one run, walls apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Passed, failed, ignored, timed out, killed or not run.
    pub verdict: TestVerdict,
    /// Why, where the output does not say; empty if there is nothing to add.
    pub reason: String,
}

impl Said {
    /// With the reason, or an empty one.
    pub fn new(verdict: TestVerdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into() }
    }

    /// Nothing to add.
    pub fn passed() -> Self {
        Self::new(TestVerdict::Passed, "")
    }

    /// With the reason, or an empty one where the output says it.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::new(TestVerdict::Failed, reason)
    }

    pub fn not_run(reason: impl Into<String>) -> Self {
        Self::new(TestVerdict::NotRun, reason)
    }
}

/// Says what became of a test that ended as a panic does, with this on its standard error.
pub fn judge(expected: &ShouldPanic, stderr: &[u8], stack: &Stack) -> Said {
    let text = match expected {
        // The message is in the output, if there is one.
        ShouldPanic::No if has_panic_message(stderr) => return Said::failed(""),
        ShouldPanic::No => return Said::failed("it aborted, or panicked without a message"),
        ShouldPanic::Yes => None,
        ShouldPanic::YesWithMessage(text) => Some(text.as_bytes()),
    };
    let Stack { panicked, way } = stack;
    let message = panic_message(stderr);
    // These end the process wherever they happen.
    if message == PanicMessage::Abort {
        return Said::failed("a panic that cannot unwind aborted it");
    }
    // Whatever was printed: a hook that aborts does so before the panic's own end.
    if *panicked == Some(false) {
        return Said::failed("it aborted without a panic");
    }
    let said = judge_message(message, text, *panicked == Some(true));
    match way {
        Way::Caught => Said::not_run("it panicked inside `catch_unwind`, which catches nothing on wasm"),
        Way::Barred(name) => {
            Said::not_run(format!("its panic left `{name}`, which may not unwind: natively it aborts there"))
        }
        Way::Unknown(why) if said.verdict == TestVerdict::Passed => Said::not_run(*why),
        Way::Free | Way::Unknown(_) => said,
    }
}

/// Says whether a panic with this message is the expected one.
fn judge_message(message: PanicMessage<'_>, expected: Option<&[u8]>, panicked: bool) -> Said {
    match (message, expected) {
        (PanicMessage::Abort, _) => Said::failed(""),
        (PanicMessage::None, None) if panicked => Said::passed(),
        (PanicMessage::None, _) => Said::not_run(
            "it ended without std's panic message; a panic hook of its own and an abort look the same here",
        ),
        (PanicMessage::Text(readings), _) if readings.first().is_some_and(|text| needs_a_host(text)) => {
            Said::not_run("it panicked because std cannot do in a guest what it tried")
        }
        (_, None) => Said::passed(),
        (PanicMessage::NotText, Some(_)) => Said::failed("the panic's payload is not a string"),
        (PanicMessage::Open, Some(_)) => {
            Said::not_run("the end of the panic's text cannot be told: a panic hook of its own printed it")
        }
        (PanicMessage::Text(readings), Some(text)) => {
            let holds = |reading: &&[u8]| contains(reading, text);
            // The first reading holds all others: if the last agrees with it, so do those between.
            match (readings.first().is_some_and(holds), readings.last().is_some_and(holds)) {
                (true, true) => Said::passed(),
                (false, _) => Said::failed("panic did not contain expected string"),
                (true, false) => {
                    Said::not_run("it printed something that looks like a panic message before it")
                }
            }
        }
    }
}

/// Whether a panic's text holds std's own words for what WASI has not. Natively there would have been
/// no such panic.
fn needs_a_host(text: &[u8]) -> bool {
    UNSUPPORTED.iter().any(|words| contains(text, words.as_bytes()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

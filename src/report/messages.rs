//! `--message-format json`: one JSON object per line, as things happen, for programs that follow a
//! run. Each has a `reason`, as cargo's messages do; `docs/report.md` lists them.

use super::json::wire::{Message, Report as WireReport, Target, Test, Text};
use super::{Reporter, escape};
use crate::event::{RunEvent, TestId};
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// Writes a line per event.
#[derive(Debug)]
pub struct Messages<W: Write> {
    out: W,
    failed: Option<io::Error>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "reason")]
enum Line {
    #[serde(rename = "sandbox-message")]
    Message { message: Message },
    #[serde(rename = "sandbox-status")]
    Status { verb: &'static str, text: String },
    #[serde(rename = "sandbox-tests-started")]
    TestsStarted { tests: usize, filtered: usize, targets: usize },
    #[serde(rename = "sandbox-test-started")]
    TestStarted { test: Name, attempt: u32 },
    #[serde(rename = "sandbox-test-slow")]
    TestSlow { test: Name, elapsed_us: u64 },
    #[serde(rename = "sandbox-output")]
    Output { test: Option<Name>, output: Text },
    #[serde(rename = "sandbox-test-finished")]
    TestFinished { target: usize, test: Test },
    #[serde(rename = "sandbox-target-finished")]
    TargetFinished { target: Target },
    #[serde(rename = "sandbox-finished")]
    Finished { report: WireReport },
}

/// Names a test.
#[derive(Debug, Serialize)]
struct Name {
    target: usize,
    binary: String,
    name: String,
}

impl From<&TestId> for Name {
    fn from(test: &TestId) -> Self {
        Self { target: test.target, binary: test.binary.clone(), name: test.name.clone() }
    }
}

impl<W: Write> Messages<W> {
    /// A reporter that writes to `out`, which should be standard output.
    pub fn new(out: W) -> Self {
        Self { out, failed: None }
    }

    fn line(&mut self, line: &Line) {
        if self.failed.is_some() {
            return;
        }
        // Whole lines only, and at once: a reader follows them.
        let result = serde_json::to_string(line).map_err(io::Error::from).and_then(|text| {
            self.out.write_all((escape::json(text) + "\n").as_bytes())?;
            self.out.flush()
        });
        if let Err(error) = result {
            self.failed = Some(error);
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl<W: Write> Reporter for Messages<W> {
    fn event(&mut self, event: &RunEvent) {
        let line = match event {
            RunEvent::Message(message) => Line::Message { message: message.into() },
            RunEvent::Status { verb, text } => Line::Status { verb, text: text.clone() },
            RunEvent::TestsStarted { tests, filtered, targets } => {
                Line::TestsStarted { tests: *tests, filtered: *filtered, targets: *targets }
            }
            RunEvent::TestStarted { test, attempt } => {
                Line::TestStarted { test: test.into(), attempt: *attempt }
            }
            RunEvent::TestSlow { test, elapsed } => {
                Line::TestSlow { test: test.into(), elapsed_us: microseconds(*elapsed) }
            }
            RunEvent::Output { test, bytes } => {
                Line::Output { test: test.as_ref().map(Into::into), output: Text::new(bytes) }
            }
            RunEvent::TestFinished(test) => Line::TestFinished { target: test.id.target, test: test.into() },
            RunEvent::TargetFinished(target) => Line::TargetFinished { target: target.into() },
        };
        self.line(&line);
    }

    fn finish_wire(&mut self, report: &WireReport) -> io::Result<()> {
        self.line(&Line::Finished { report: report.clone() });
        self.failed.take().map_or(Ok(()), Err)
    }
}

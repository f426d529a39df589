//! Everything a person or another program sees of a run. Each output is one [`Reporter`] in one
//! file; none of them decides anything: the verdict and the exit status come from the runner.
//!
//! The wire format ([`json::wire`]) is a set of types of its own, versioned apart from the crate's
//! own words. The end of the human output, JUnit, SARIF and annotations are made from it, so that
//! they can be made from a merged report too.

pub mod dedup;
pub mod escape;
mod excerpt;
pub mod fold;
pub mod github;
pub mod human;
pub mod json;
pub mod junit;
pub mod locate;
pub mod merge;
pub mod messages;
pub mod progress;
pub mod render;
pub mod sarif;
pub mod summary;

use crate::event::{Report, RunEvent};
use sandbox_policy::diagnostic::Severity;
use std::io;

/// One output. An error of writing that an event meets is kept and returned by `finish`.
pub trait Reporter {
    /// Takes note of what happens.
    fn event(&mut self, event: &RunEvent);
    /// Writes what is known at the end, and flushes.
    fn finish(&mut self, report: &Report) -> io::Result<()> {
        self.finish_wire(&report.into())
    }
    /// The same from the wire format, such as a merged report.
    fn finish_wire(&mut self, report: &json::Report) -> io::Result<()>;
    /// Ends without anything to report but `report`'s status: the command could not be done, and the
    /// messages have said why.
    fn stop(&mut self, report: &json::Report) -> io::Result<()> {
        self.finish_wire(report)
    }
}

/// `--unused`: what grants that nothing used are to the outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unused {
    /// Not spoken of.
    #[default]
    Allow,
    Warn,
    /// Errors, unless a test that was not run may need them.
    Deny,
}

impl Unused {
    /// How bad each unused grant of a report is; `None` if nothing is said. What decides the exit status
    /// is an error always, as where shards are merged.
    pub fn severity(self, report: &json::Report) -> Option<Severity> {
        match self {
            _ if report.verdict == json::wire::Verdict::Unused => Some(Severity::Error),
            Self::Deny if report.every_test_ran() => Some(Severity::Error),
            Self::Deny | Self::Warn => Some(Severity::Warning),
            Self::Allow => None,
        }
    }
}

/// Several outputs as one: each gets everything, whether or not another one fails.
#[derive(Default)]
pub struct All(pub Vec<Box<dyn Reporter>>);

impl Reporter for All {
    fn event(&mut self, event: &RunEvent) {
        for reporter in &mut self.0 {
            reporter.event(event);
        }
    }

    /// Finishes all of them; the first error is returned.
    fn finish_wire(&mut self, report: &json::Report) -> io::Result<()> {
        let mut result = Ok(());
        for reporter in &mut self.0 {
            result = result.and(reporter.finish_wire(report));
        }
        result
    }

    fn stop(&mut self, report: &json::Report) -> io::Result<()> {
        let mut result = Ok(());
        for reporter in &mut self.0 {
            result = result.and(reporter.stop(report));
        }
        result
    }
}

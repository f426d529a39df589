//! The JSON report: `--report FILE`, and what `report merge` and `diff` read back.

mod convert;
mod violation;
pub mod wire;

pub use wire::Report;

use crate::event;
use crate::report::{Reporter, dedup, escape};
use std::io::{self, Write};

/// The largest report that is read back, in bytes.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Writes the report at the end.
#[derive(Debug)]
pub struct Json<W: Write> {
    out: W,
}

impl<W: Write> Json<W> {
    /// A reporter that writes one report to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, _event: &event::RunEvent) {}

    fn finish_wire(&mut self, report: &Report) -> io::Result<()> {
        write(report, &mut self.out)
    }
}

/// Writes a report, ending in a line feed. What a terminal would not show is written as `\uXXXX`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    out.write_all(escape::json(text).as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Why a report cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is larger than [`MAX_BYTES`].
    TooLarge,
    /// Another version of the schema, or none.
    Version(Option<u64>),
    /// It is not a report.
    Malformed(serde_json::Error),
    /// Verdict and exit status say different things.
    Contradiction,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the report is larger than {} MiB", MAX_BYTES / 1024 / 1024),
            Self::Version(Some(found)) => {
                write!(f, "schema version {found} is not known here, only {}", wire::SCHEMA_VERSION)
            }
            Self::Version(None) => f.write_str("this is not a report: it has no `schema_version`"),
            Self::Malformed(error) => {
                write!(f, "the report cannot be read: {}", escape::line(&error.to_string()))
            }
            Self::Contradiction => f.write_str("the report's verdict and exit status contradict each other"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads a report back. Strict: an unknown field or another version is an error.
pub fn read(bytes: &[u8]) -> Result<Report, ReadError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema_version: Option<u64>,
    }
    if bytes.len() > MAX_BYTES {
        return Err(ReadError::TooLarge);
    }
    let version: Version = serde_json::from_slice(bytes).map_err(ReadError::Malformed)?;
    if version.schema_version != Some(wire::SCHEMA_VERSION.into()) {
        return Err(ReadError::Version(version.schema_version));
    }
    let report: Report = serde_json::from_slice(bytes).map_err(ReadError::Malformed)?;
    if report.status().code() != report.exit_status {
        return Err(ReadError::Contradiction);
    }
    Ok(report)
}

impl Report {
    /// Every violation with the target it belongs to, those of tests included.
    pub fn violations(&self) -> impl Iterator<Item = (&wire::Target, &wire::Violation)> {
        self.targets.iter().flat_map(|target| {
            let of_tests = target.tests.iter().flat_map(|test| &test.violations);
            target.violations.iter().chain(of_tests).map(move |violation| (target, violation))
        })
    }

    /// Sets `counts` and `unused` from the targets.
    pub fn recount(&mut self) {
        let mut counts = wire::Counts { violations: dedup::wire(self).len() as u64, ..Default::default() };
        for test in self.targets.iter().flat_map(|target| &target.tests) {
            *match test.verdict {
                wire::TestVerdict::Passed => &mut counts.passed,
                wire::TestVerdict::Flaky => &mut counts.flaky,
                wire::TestVerdict::Failed => &mut counts.failed,
                wire::TestVerdict::Violated => &mut counts.violated,
                wire::TestVerdict::TimedOut => &mut counts.timed_out,
                wire::TestVerdict::Killed => &mut counts.killed,
                wire::TestVerdict::Ignored => &mut counts.ignored,
                wire::TestVerdict::NotRun => &mut counts.not_run,
            } += 1;
        }
        self.counts = counts;
        self.unused = dedup::unused(self);
    }
}

impl wire::Violation {
    /// Whether two are the same access from the same place, whichever tests they happened in.
    pub fn same_place(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// What makes it the same cause: the same operation from the same place, for the same reason.
    pub(crate) fn cause(&self) -> impl Ord + '_ {
        let Self { operation, wall, package, exception, origin, allowed, .. } = self;
        (*operation, *wall, package, exception.as_ref(), origin.as_ref(), *allowed)
    }

    /// What makes it the same access from the same place.
    pub(crate) fn key(&self) -> impl Ord + '_ {
        (
            self.operation,
            &self.resource,
            self.wall,
            &self.package,
            self.exception.as_ref(),
            &self.note,
            self.origin.as_ref(),
            self.allowed,
        )
    }
}

//! From the crate's own words to the wire format.

use super::wire;
use crate::event;
use crate::exit_status::ExitStatus;
use sandbox_policy::access::{self, Evidence, Resource};
use sandbox_policy::diagnostic::{Diagnostic, Severity, Span};
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// Whole microseconds.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Lossy text, and the bytes in hexadecimal if it is not all of them.
fn lossy(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(hex(bytes))),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
    out
}

/// The bytes that [`hex`] wrote; `None` if it is something else.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(value(*high)? << 4 | value(*low)?).ok()).collect()
}

impl wire::Text {
    /// Text of bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let (text, text_bytes) = lossy(bytes);
        Self { text, text_bytes }
    }
}

impl From<&Path> for wire::Text {
    fn from(path: &Path) -> Self {
        Self::new(path.as_os_str().as_bytes())
    }
}

impl From<ExitStatus> for wire::Verdict {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Success | ExitStatus::Guest(0) => Self::Passed,
            ExitStatus::Guest(_) => Self::Exited,
            ExitStatus::Usage => Self::Usage,
            ExitStatus::Unavailable => Self::Unavailable,
            ExitStatus::Fault => Self::Fault,
            ExitStatus::Violation => Self::Violated,
            ExitStatus::Manifest => Self::Manifest,
            ExitStatus::Unused => Self::Unused,
            ExitStatus::Gained => Self::Gained,
            ExitStatus::Failed => Self::Failed,
            ExitStatus::TimedOut => Self::TimedOut,
            ExitStatus::Interrupted => Self::Interrupted,
            ExitStatus::Trapped => Self::Trapped,
        }
    }
}

impl wire::Verdict {
    /// The word as every format prints it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Exited => "exited",
            Self::Usage => "usage",
            Self::Unavailable => "unavailable",
            Self::Fault => "fault",
            Self::Violated => "violated",
            Self::Manifest => "manifest",
            Self::Unused => "unused",
            Self::Gained => "gained",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
            Self::Trapped => "trapped",
        }
    }
}

impl wire::Report {
    /// The status that the verdict and the number stand for.
    pub fn status(&self) -> ExitStatus {
        match self.verdict {
            wire::Verdict::Passed => ExitStatus::Success,
            wire::Verdict::Exited => ExitStatus::Guest(self.exit_status),
            wire::Verdict::Usage => ExitStatus::Usage,
            wire::Verdict::Unavailable => ExitStatus::Unavailable,
            wire::Verdict::Fault => ExitStatus::Fault,
            wire::Verdict::Violated => ExitStatus::Violation,
            wire::Verdict::Manifest => ExitStatus::Manifest,
            wire::Verdict::Unused => ExitStatus::Unused,
            wire::Verdict::Gained => ExitStatus::Gained,
            wire::Verdict::Failed => ExitStatus::Failed,
            wire::Verdict::TimedOut => ExitStatus::TimedOut,
            wire::Verdict::Interrupted => ExitStatus::Interrupted,
            wire::Verdict::Trapped => ExitStatus::Trapped,
        }
    }

    /// Sets verdict and number together.
    pub fn set_status(&mut self, status: ExitStatus) {
        self.verdict = status.into();
        self.exit_status = status.code();
    }
}

impl From<&event::Report> for wire::Report {
    fn from(report: &event::Report) -> Self {
        let mut wire = Self {
            schema_version: wire::SCHEMA_VERSION,
            tool: wire::Tool {
                name: "cargo-sandbox".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            command: report.command.clone(),
            verdict: report.status.into(),
            exit_status: report.status.code(),
            audit: report.audit,
            duration_us: microseconds(report.duration),
            kernel: (&report.kernel).into(),
            counts: wire::Counts::default(),
            targets: report.targets.iter().map(Into::into).collect(),
            unused: Vec::new(),
            notes: report.notes.clone(),
        };
        wire.recount();
        wire
    }
}

impl From<&event::KernelReport> for wire::Kernel {
    fn from(kernel: &event::KernelReport) -> Self {
        Self {
            landlock_abi: kernel.landlock_abi,
            landlock_kernel_abi: kernel.landlock_kernel_abi,
            landlock_level: kernel.landlock_level.clone(),
            enforced: kernel.enforced.clone(),
            missing: kernel.missing.clone(),
            seccomp: kernel.seccomp,
        }
    }
}

impl From<&event::TargetReport> for wire::Target {
    fn from(target: &event::TargetReport) -> Self {
        let mut wire = Self {
            package: target.package.clone(),
            version: target.version.clone(),
            name: target.name.clone(),
            kind: target.kind.clone(),
            artifact: target.artifact.as_path().into(),
            wasi: target.wasi.clone(),
            duration_us: microseconds(target.duration),
            outcome: target.outcome.as_ref().map(Into::into),
            grants: target
                .grants
                .iter()
                .map(|grant| wire::Grant {
                    id: grant.id,
                    place: (&grant.place).into(),
                    by: grant.by.clone(),
                    uses: grant.uses,
                })
                .collect(),
            violations: Vec::new(),
            tests: target.tests.iter().map(Into::into).collect(),
            notes: target.notes.iter().map(Into::into).collect(),
            output: wire::Text::new(&target.output),
        };
        // A violation of a test stands with the test, wherever else the runner lists it.
        wire.violations = target
            .violations
            .iter()
            .map(wire::Violation::from)
            .filter(|violation| !wire.tests.iter().any(|test| test.has(violation)))
            .collect();
        wire
    }
}

impl wire::Test {
    fn has(&self, violation: &wire::Violation) -> bool {
        violation.test.as_deref() == Some(self.name.as_str())
            && self.violations.iter().any(|own| own.same_place(violation))
    }
}

impl From<&event::GuestOutcome> for wire::Outcome {
    fn from(outcome: &event::GuestOutcome) -> Self {
        use event::GuestOutcome as From;
        match outcome {
            From::Exited(status) => Self::Exited { status: *status },
            From::Panicked => Self::Panicked {},
            From::Trapped(trap) => Self::Trapped { trap: trap.clone() },
            From::Limit(limit) => Self::Limit { limit: limit.clone() },
            From::TimedOut(limit) => Self::TimedOut { limit_us: microseconds(*limit) },
            From::Killed(signal) => Self::Killed { signal: *signal },
            From::Interrupted => Self::Interrupted {},
        }
    }
}

impl From<&event::GrantPlace> for wire::GrantPlace {
    fn from(place: &event::GrantPlace) -> Self {
        Self {
            manifest: place.manifest.clone(),
            line: place.line,
            table: place.table.clone(),
            key: place.key.clone(),
            entry: place.text.clone(),
        }
    }
}

impl From<&event::Violation> for wire::Violation {
    fn from(violation: &event::Violation) -> Self {
        Self {
            operation: violation.access.operation,
            resource: (&violation.access.resource).into(),
            wall: violation.wall,
            package: violation.package.clone(),
            exception: violation.exception.as_ref().map(Into::into),
            note: violation.note.clone(),
            count: violation.count,
            test: violation.test.clone(),
            origin: violation.origin.as_ref().map(Into::into),
            snippet: violation.snippet.as_ref().map(|snippet| wire::Snippet {
                path: snippet.path.clone(),
                line: snippet.line,
                text: snippet.text.clone(),
                start: snippet.range.start as u64,
                end: snippet.range.end as u64,
            }),
            backtrace: match &violation.evidence {
                Evidence::Wasm(frames) => frames.iter().map(Into::into).collect(),
            },
            suggestion: violation.suggestion.as_ref().map(|suggestion| wire::Suggestion {
                manifest: suggestion.manifest.clone(),
                table: suggestion.table.clone(),
                key: suggestion.key.clone(),
                entry: suggestion.entry.text.clone(),
                paste: suggestion.paste.clone(),
            }),
            allowed: violation.allowed,
        }
    }
}

impl From<&Resource> for wire::Resource {
    fn from(resource: &Resource) -> Self {
        let (name, name_bytes) = lossy(resource.bytes());
        let kind = match resource {
            Resource::Path(_) => wire::ResourceKind::Path,
            Resource::Env(_) => wire::ResourceKind::Env,
        };
        Self { kind, name, name_bytes }
    }
}

impl wire::Resource {
    /// The exact bytes.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.name_bytes.as_deref().and_then(unhex) {
            Some(bytes) => Cow::Owned(bytes),
            None => Cow::Borrowed(self.name.as_bytes()),
        }
    }
}

impl wire::Text {
    /// The exact bytes.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.text_bytes.as_deref().and_then(unhex) {
            Some(bytes) => Cow::Owned(bytes),
            None => Cow::Borrowed(self.text.as_bytes()),
        }
    }
}

impl From<&access::Origin> for wire::Origin {
    fn from(origin: &access::Origin) -> Self {
        Self {
            package: origin.package.clone(),
            version: origin.version.clone(),
            frame: (&origin.frame).into(),
        }
    }
}

impl From<&access::Frame> for wire::Frame {
    fn from(frame: &access::Frame) -> Self {
        Self {
            krate: frame.krate.clone(),
            function: frame.function.clone(),
            file: frame.file.clone(),
            line: frame.line,
            column: frame.column,
        }
    }
}

impl From<event::TestVerdict> for wire::TestVerdict {
    fn from(verdict: event::TestVerdict) -> Self {
        use event::TestVerdict as From;
        match verdict {
            From::Passed => Self::Passed,
            From::Flaky => Self::Flaky,
            From::Failed => Self::Failed,
            From::Violated { .. } => Self::Violated,
            From::TimedOut => Self::TimedOut,
            From::Killed => Self::Killed,
            From::Ignored => Self::Ignored,
            From::NotRun => Self::NotRun,
        }
    }
}

impl From<&event::TestReport> for wire::Test {
    fn from(test: &event::TestReport) -> Self {
        Self {
            binary: test.id.binary.clone(),
            name: test.id.name.clone(),
            verdict: test.verdict.into(),
            passed: match test.verdict {
                event::TestVerdict::Violated { passed } => Some(passed),
                _ => None,
            },
            outcome: test.outcome.as_ref().map(Into::into),
            duration_us: microseconds(test.duration),
            attempts: test.attempts,
            violations: test.violations.iter().map(Into::into).collect(),
            output: wire::Text::new(&test.output),
            reason: test.reason.clone(),
        }
    }
}

impl From<&Diagnostic> for wire::Message {
    fn from(message: &Diagnostic) -> Self {
        Self {
            severity: match message.severity {
                Severity::Error => wire::Severity::Error,
                Severity::Warning => wire::Severity::Warning,
                Severity::Note => wire::Severity::Note,
            },
            code: message.code.to_owned(),
            message: message.message.clone(),
            spans: message.spans.iter().map(Into::into).collect(),
            notes: message.notes.clone(),
            help: message
                .help
                .iter()
                .map(|help| wire::Help { message: help.message.clone(), paste: help.paste.clone() })
                .collect(),
        }
    }
}

impl From<&Span> for wire::Span {
    fn from(span: &Span) -> Self {
        let at = |offset: usize| span.file.line_column(offset.min(span.file.text.len()));
        let (line, column) = at(span.range.start);
        let (end_line, end_column) = at(span.range.end.max(span.range.start));
        Self {
            file: span.file.path.as_path().into(),
            line,
            column,
            end_line,
            end_column,
            label: span.label.clone(),
        }
    }
}

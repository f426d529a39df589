//! The JSON report, schema version 1, as types. `docs/report.md` explains it field by field and
//! `schema/report-v1.schema.json` says the same to a validator; a test holds the three together.
//!
//! A field is added here, never renamed or given another meaning, without a new schema version.

pub use super::violation::*;
use serde::{Deserialize, Serialize};

/// The version that this program writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub schema_version: u32,
    /// What wrote it.
    pub tool: Tool,
    /// `sandbox-run`, `sandbox-test`, `runner`.
    pub command: String,
    /// The exit status in a word.
    pub verdict: Verdict,
    /// What the process exits with.
    pub exit_status: u8,
    /// The walls only reported.
    pub audit: bool,
    /// Wall-clock time in microseconds; of merged reports, the sum.
    pub duration_us: u64,
    /// What the kernel enforced.
    pub kernel: Kernel,
    /// How many of what.
    pub counts: Counts,
    /// One per artifact that ran.
    pub targets: Vec<Target>,
    /// Grants that no access of any target used.
    pub unused: Vec<UnusedGrant>,
    /// Notes on the run as a whole.
    pub notes: Vec<String>,
}

/// The program that wrote a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `cargo-sandbox`.
    pub name: String,
    pub version: String,
}

/// The exit status in a word; see [`crate::exit_status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// 0.
    Passed,
    /// The guest's own status, not 0.
    Exited,
    /// 2: wrong use of the command line.
    Usage,
    /// 69: the kernel cannot give the confinement asked for.
    Unavailable,
    /// 70: a fault of this program.
    Fault,
    /// 77: a violation.
    Violated,
    /// 78: the manifest is wrong.
    Manifest,
    /// 79: unused grants were to be denied.
    Unused,
    /// 80: something was gained.
    Gained,
    /// 101: the build or a test failed, or the guest panicked.
    Failed,
    /// 124: a time limit.
    TimedOut,
    /// 130: Ctrl-C.
    Interrupted,
    /// 134: a trap or another limit.
    Trapped,
}

/// The kernel's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Landlock's ABI that was enforced, or null without Landlock.
    pub landlock_abi: Option<u32>,
    /// The kernel's own, which may be newer, or null without Landlock.
    #[serde(default)]
    pub landlock_kernel_abi: Option<u32>,
    /// `full`, `required` or `off`.
    pub landlock_level: String,
    /// What Landlock enforced.
    pub enforced: Vec<String>,
    /// What Landlock would enforce at the level `full`, and this kernel cannot.
    pub missing: Vec<String>,
    /// The system call filter was installed.
    pub seccomp: bool,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Different unexpected accesses; the same from the same place in several tests is one.
    pub violations: u64,
    /// Tests that passed at the first attempt.
    pub passed: u64,
    /// Tests that passed at a later one.
    pub flaky: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that touched something ungranted.
    pub violated: u64,
    /// Tests ended at a time limit.
    pub timed_out: u64,
    /// Tests whose process was killed.
    pub killed: u64,
    /// Tests marked `#[ignore]`.
    pub ignored: u64,
    /// Tests that cannot be run here.
    pub not_run: u64,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Package name.
    pub package: String,
    /// Package version.
    pub version: String,
    /// Target name.
    pub name: String,
    /// `bin`, `example`, `lib`, `test`, …, or `doc` for the doc tests of a package.
    pub kind: String,
    /// The wasm file.
    pub artifact: Text,
    /// `p1` or `p2`; empty for a native program.
    pub wasi: String,
    /// Wall-clock time in microseconds.
    pub duration_us: u64,
    /// How the guest ended; null for tests.
    pub outcome: Option<Outcome>,
    /// Every grant that applied.
    pub grants: Vec<Grant>,
    /// Unexpected accesses outside any test.
    pub violations: Vec<Violation>,
    /// Tests in the order in which they ended.
    pub tests: Vec<Test>,
    /// Messages about the artifact.
    pub notes: Vec<Message>,
    /// Captured output.
    pub output: Text,
}

/// Text that may have been bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The text; what is not UTF-8 is replaced by U+FFFD.
    pub text: String,
    /// The exact bytes in lowercase hexadecimal, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<String>,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It exited by itself.
    Exited { status: i32 },
    /// It panicked.
    // Braces, because serde lets unknown fields pass in a variant without them.
    Panicked {},
    /// It trapped otherwise.
    Trapped {
        /// What the trap was.
        trap: String,
    },
    /// It hit a limit.
    Limit {
        /// `memory`, `output`, `disk`, `files`.
        limit: String,
    },
    /// It was ended at its time limit.
    TimedOut {
        /// The limit in microseconds.
        limit_us: u64,
    },
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// Ctrl-C.
    Interrupted {},
}

/// A grant and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its number in the package's table.
    pub id: u32,
    /// Where it was written.
    pub place: GrantPlace,
    /// The only crates whose accesses it allows; empty for all.
    pub by: Vec<String>,
    /// Accesses that it allowed.
    pub uses: u64,
}

/// A grant that nothing used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnusedGrant {
    /// The package whose policy has it.
    pub package: String,
    /// Where it was written.
    pub place: GrantPlace,
    /// The only crates that it is for; empty for all.
    pub by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// `package::target`.
    pub binary: String,
    /// The test's name.
    pub name: String,
    /// What is said of it.
    pub verdict: TestVerdict,
    /// For a violated test, whether libtest said that it passed; null otherwise.
    pub passed: Option<bool>,
    /// How its instance ended, or null.
    pub outcome: Option<Outcome>,
    /// Wall-clock time in microseconds.
    pub duration_us: u64,
    /// Attempts made.
    pub attempts: u32,
    /// Unexpected accesses of all attempts.
    pub violations: Vec<Violation>,
    /// What it printed.
    pub output: Text,
    /// Why it was not run or failed, or empty.
    pub reason: String,
}

/// What is said of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestVerdict {
    Passed,
    /// It passed at a later attempt.
    Flaky,
    Failed,
    /// It touched something ungranted.
    Violated,
    /// It was ended at its time limit.
    TimedOut,
    /// Its process was killed.
    Killed,
    /// `#[ignore]`.
    Ignored,
    /// It cannot be run here.
    NotRun,
}

/// A message about a manifest, the build or an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `error`, `warning` or `note`.
    pub severity: Severity,
    /// Its code, or empty.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// Places; the first is the primary one.
    pub spans: Vec<Span>,
    /// Further sentences.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Vec<Help>,
}

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Stops the command.
    Error,
    /// Should be read.
    Warning,
    /// Worth knowing.
    Note,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    pub file: Text,
    /// Line from 1.
    pub line: u32,
    /// Column from 1 in characters.
    pub column: u32,
    pub end_line: u32,
    /// Column after the end.
    pub end_column: u32,
    /// What is said of it, or empty.
    pub label: String,
}

/// A suggestion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Help {
    /// The sentence.
    pub message: String,
    /// Lines to paste, or empty.
    pub paste: String,
}

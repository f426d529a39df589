//! All that a runner tells a reporter: [`RunEvent`]s while it goes, and one [`Report`] at the end.
//!
//! These are the crate's own words. The wire formats (JSON, JUnit, SARIF, …) are separate types in
//! `report`, versioned on their own.

use crate::exit_status::ExitStatus;
use sandbox_policy::Suggestion;
use sandbox_policy::access::{Access, Evidence, Frame, Origin, Wall};
use sandbox_policy::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What happens, as it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RunEvent {
    /// A message about the manifest, the build, or the run as a whole.
    Message(Diagnostic),
    /// A status line as cargo prints them: `   Compiling wasm (3 ms)`.
    Status {
        /// Right-aligned, at most 12 characters: `Running`.
        verb: &'static str,
        /// The rest of the line.
        text: String,
    },
    /// The tests of all targets are known; the first is about to start.
    TestsStarted {
        /// How many will run.
        tests: usize,
        /// How many the filter left out.
        filtered: usize,
        /// In how many artifacts.
        targets: usize,
    },
    /// A test was started (again, if `attempt` is above 1).
    TestStarted {
        /// Which.
        test: TestId,
        /// From 1.
        attempt: u32,
    },
    /// A test has been running for a multiple of the slow period.
    TestSlow {
        /// Which.
        test: TestId,
        /// For how long.
        elapsed: Duration,
    },
    /// Output of a test as it comes (`--nocapture`) or of a run whose output is captured.
    Output {
        /// The test it comes from.
        test: Option<TestId>,
        /// Raw bytes, to be escaped for a terminal.
        bytes: Vec<u8>,
    },
    /// A test has ended.
    TestFinished(TestReport),
    /// A target has ended; it is the same value that [`Report::targets`] holds at the end.
    TargetFinished(TargetReport),
}

/// Names a test within one run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TestId {
    /// Index of its target in [`Report::targets`].
    pub target: usize,
    /// `package::target`, as nextest prints it: `bytes`, `bytes::test_buf`, `bytes::bin/tool`.
    pub binary: String,
    /// The test's own name: `import::reads_csv`. The guest's word, to be escaped.
    pub name: String,
}

/// Everything known at the end of a command.
#[derive(Clone, Debug)]
pub struct Report {
    /// `sandbox-run`, `sandbox-test`, `runner`.
    pub command: String,
    /// In words: `passed`, `violated`, `failed`, … derived from `status`.
    pub status: ExitStatus,
    /// What the kernel can do and what of it was enforced.
    pub kernel: KernelReport,
    /// The walls were told to only report (`--audit`).
    pub audit: bool,
    /// One per artifact that ran.
    pub targets: Vec<TargetReport>,
    /// Wall-clock time of the command.
    pub duration: Duration,
    /// Further notes for the summary, such as what `--audit` did not enforce.
    pub notes: Vec<String>,
}

/// The kernel's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// The Landlock ABI whose rules are in force; `None` without Landlock.
    pub landlock_abi: Option<u32>,
    /// The kernel's own, which may be newer; `None` if it has no Landlock.
    pub landlock_kernel_abi: Option<u32>,
    /// `full`, `required` or `off`, as asked for.
    pub landlock_level: String,
    /// What Landlock enforced, in words.
    pub enforced: Vec<String>,
    /// What it would have enforced at the level `full`, and this kernel cannot.
    pub missing: Vec<String>,
    /// The seccomp filter was installed.
    pub seccomp: bool,
}

/// One artifact.
#[derive(Clone, Debug)]
pub struct TargetReport {
    /// Package name.
    pub package: String,
    /// Package version.
    pub version: String,
    /// Target name.
    pub name: String,
    /// `bin`, `example`, `lib`, `test`, …, or `doc` for the doc tests of a package.
    pub kind: String,
    /// The wasm file.
    pub artifact: PathBuf,
    /// `p1` or `p2`; empty for a native program, which is not run.
    pub wasi: String,
    /// From the start of its worker to its end.
    pub duration: Duration,
    /// How the guest ended; `None` for a target of tests.
    pub outcome: Option<GuestOutcome>,
    /// Every grant that applied, with how often it was used.
    pub grants: Vec<GrantUse>,
    /// Unexpected accesses, each once with a count.
    pub violations: Vec<Violation>,
    /// Tests, in the order in which they ended.
    pub tests: Vec<TestReport>,
    /// Notes such as calls that can never reach the host.
    pub notes: Vec<Diagnostic>,
    /// Captured output when the guest's output was captured (not for `sandbox-run`).
    pub output: Vec<u8>,
}

/// How one guest instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestOutcome {
    /// `proc_exit`, or a return from `main` (0).
    Exited(i32),
    /// It panicked: a panic message on standard error and then `unreachable`.
    Panicked,
    /// Another trap, in words: `stack overflow`, `out of bounds memory access`.
    Trapped(String),
    /// It hit one of its limits: `memory`, `output`, `disk`, `files`.
    Limit(String),
    /// The supervisor ended it at its time limit.
    TimedOut(Duration),
    /// A signal ended the process it ran in: the kernel's walls, the OOM killer, or a person.
    Killed(i32),
    /// Ctrl-C.
    Interrupted,
}

/// A violation with its origin found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// What was tried.
    pub access: Access,
    /// Which wall stopped it.
    pub wall: Wall,
    /// Name of the crate whose manifest applies; empty if only the command line does.
    pub package: String,
    /// The exception that forbids it: text, file and line.
    pub exception: Option<GrantPlace>,
    /// One more sentence, or empty.
    pub note: String,
    /// How often, from the same place.
    pub count: u64,
    /// The test it happened in.
    pub test: Option<String>,
    /// The frame it is attributed to; `None` if the artifact has no names.
    pub origin: Option<Origin>,
    /// The origin's source line, checked and read by the supervisor, if it could be.
    pub snippet: Option<Snippet>,
    /// Who made it.
    pub evidence: Evidence<Frame>,
    /// What would allow it, if anything may.
    pub suggestion: Option<Suggestion>,
    /// Audit: it was allowed all the same.
    pub allowed: bool,
}

/// A source line with the place to underline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippet {
    /// As shown: relative to the workspace if it is beneath it.
    pub path: String,
    /// Number of the line, from 1.
    pub line: u32,
    /// Its text, without the line end, tabs kept.
    pub text: String,
    /// Bytes of `text` to underline: the call.
    pub range: std::ops::Range<usize>,
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantPlace {
    /// Manifest as shown, or empty for the command line.
    pub manifest: String,
    /// Line, from 1, or 0.
    pub line: u32,
    /// Full table name.
    pub table: String,
    pub key: String,
    /// The entry as written.
    pub text: String,
}

/// A grant and how often it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUse {
    /// Number in the package's table.
    pub id: u32,
    /// Where it was written.
    pub place: GrantPlace,
    /// The only crates whose accesses it allows; empty for all.
    pub by: Vec<String>,
    /// Accesses that it allowed.
    pub uses: u64,
}

#[derive(Clone, Debug)]
pub struct TestReport {
    /// Which.
    pub id: TestId,
    pub verdict: TestVerdict,
    /// How its instance ended, if it ran.
    pub outcome: Option<GuestOutcome>,
    /// Wall-clock time.
    pub duration: Duration,
    /// Attempts made, from 1.
    pub attempts: u32,
    /// Unexpected accesses of all attempts.
    pub violations: Vec<Violation>,
    /// What it printed, both streams in order, cut at the output limit.
    pub output: Vec<u8>,
    /// Why it was not run, or why it failed where the output does not say: `should panic`.
    pub reason: String,
}

/// What is said of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// It passed and touched nothing it was not granted.
    Passed,
    /// It passed after failing at first.
    Flaky,
    Failed,
    /// It touched something ungranted, whether it passed or not.
    Violated {
        /// What libtest said of it.
        passed: bool,
    },
    /// The supervisor ended it.
    TimedOut,
    /// Its process was killed by something else.
    Killed,
    /// `#[ignore]`.
    Ignored,
    /// It cannot be run here; never counted as passed.
    NotRun,
}

//! Reports to render: ordinary ones and hostile ones.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod formats;

use cargo_sandbox::event::*;
use cargo_sandbox::exit_status::ExitStatus;
use sandbox_policy::access::{Access, Evidence, Frame, Operation, Origin, Resource, Wall};
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use sandbox_policy::{Entry, Scope, Suggestion};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const MANIFEST: &str = "[package]\nname = \"copy-file\"\n\n[package.metadata.sandbox.fs]\nread = [\n    \"input.txt\",\n    \"assets/*.json\",\n]\n";

pub(crate) fn manifest() -> Arc<SourceFile> {
    Arc::new(SourceFile { path: "/w/Cargo.toml".into(), text: MANIFEST.to_owned() })
}

pub(crate) fn place(line: u32, text: &str) -> GrantPlace {
    GrantPlace {
        manifest: "Cargo.toml".to_owned(),
        line,
        table: "package.metadata.sandbox.fs".to_owned(),
        key: "read".to_owned(),
        text: text.to_owned(),
    }
}

/// The violation of the design: `copy-file` reads `/etc/passwd`.
pub(crate) fn violation() -> Violation {
    let frame = Frame {
        krate: "copy_file".to_owned(),
        function: "copy_file::main".to_owned(),
        file: "src/main.rs".to_owned(),
        line: 14,
        column: 13,
    };
    Violation {
        access: Access { operation: Operation::Read, resource: Resource::Path(b"/etc/passwd".to_vec()) },
        wall: Wall::Wasi,
        package: "copy-file".to_owned(),
        exception: None,
        note: String::new(),
        count: 1,
        test: None,
        origin: Some(Origin {
            package: "copy-file".to_owned(),
            version: Some("0.1.0".to_owned()),
            frame: frame.clone(),
        }),
        snippet: Some(Snippet {
            path: "src/main.rs".to_owned(),
            line: 14,
            text: "    let s = fs::read_to_string(\"/etc/passwd\");".to_owned(),
            range: 12..30,
        }),
        evidence: Evidence::Wasm(vec![frame]),
        suggestion: Some(Suggestion {
            manifest: "Cargo.toml".to_owned(),
            table: "package.metadata.sandbox.fs".to_owned(),
            key: "read".to_owned(),
            entry: Entry { text: "/etc/passwd".to_owned(), ..Entry::default() },
            scope: Scope::Always,
            paste: "[package.metadata.sandbox.fs]\nread = [\"/etc/passwd\"]".to_owned(),
        }),
        allowed: false,
    }
}

pub(crate) fn id(name: &str) -> TestId {
    TestId { target: 0, binary: "bytes::test_buf".to_owned(), name: name.to_owned() }
}

pub(crate) fn test(name: &str, verdict: TestVerdict) -> TestReport {
    let outcome = match verdict {
        TestVerdict::Passed | TestVerdict::Flaky => Some(GuestOutcome::Exited(0)),
        TestVerdict::Violated { passed } => Some(GuestOutcome::Exited(if passed { 0 } else { 101 })),
        TestVerdict::Failed => Some(GuestOutcome::Panicked),
        TestVerdict::TimedOut => Some(GuestOutcome::TimedOut(Duration::from_secs(60))),
        TestVerdict::Killed => Some(GuestOutcome::Killed(9)),
        TestVerdict::Ignored | TestVerdict::NotRun => None,
    };
    let violations = match verdict {
        TestVerdict::Violated { .. } => vec![Violation { test: Some(name.to_owned()), ..violation() }],
        _ => Vec::new(),
    };
    TestReport {
        id: id(name),
        verdict,
        outcome,
        duration: Duration::from_micros(4321),
        attempts: if verdict == TestVerdict::Flaky { 2 } else { 1 },
        violations,
        output: if verdict == TestVerdict::Failed {
            b"thread panicked\nleft: 1\n".to_vec()
        } else {
            Vec::new()
        },
        reason: match verdict {
            TestVerdict::NotRun => "should panic".to_owned(),
            _ => String::new(),
        },
    }
}

pub(crate) const VERDICTS: [TestVerdict; 9] = [
    TestVerdict::Passed,
    TestVerdict::Flaky,
    TestVerdict::Failed,
    TestVerdict::Violated { passed: true },
    TestVerdict::Violated { passed: false },
    TestVerdict::TimedOut,
    TestVerdict::Killed,
    TestVerdict::Ignored,
    TestVerdict::NotRun,
];

pub(crate) fn target() -> TargetReport {
    TargetReport {
        package: "copy-file".to_owned(),
        version: "0.1.0".to_owned(),
        name: "copy-file".to_owned(),
        kind: "bin".to_owned(),
        artifact: "/w/target/sandbox/wasm32-wasip1/debug/copy-file.wasm".into(),
        wasi: "p1".to_owned(),
        duration: Duration::from_millis(7),
        outcome: Some(GuestOutcome::Exited(0)),
        grants: vec![
            GrantUse { id: 0, place: place(6, "input.txt"), by: Vec::new(), uses: 3 },
            GrantUse { id: 1, place: place(7, "assets/*.json"), by: Vec::new(), uses: 0 },
        ],
        violations: Vec::new(),
        tests: Vec::new(),
        notes: Vec::new(),
        output: Vec::new(),
    }
}

pub(crate) fn report(command: &str, status: ExitStatus, targets: Vec<TargetReport>) -> Report {
    Report {
        command: command.to_owned(),
        status,
        kernel: KernelReport {
            landlock_abi: Some(7),
            landlock_kernel_abi: Some(7),
            landlock_level: "required".to_owned(),
            enforced: vec!["READ_FILE".to_owned(), "WRITE_FILE".to_owned()],
            missing: vec![],
            seccomp: true,
        },
        audit: false,
        targets,
        duration: Duration::from_millis(35),
        notes: Vec::new(),
    }
}

/// `sandbox-run` of a guest with these violations.
pub(crate) fn run(status: ExitStatus, violations: Vec<Violation>) -> Report {
    report("sandbox-run", status, vec![TargetReport { violations, ..target() }])
}

/// `sandbox-test` with these tests.
pub(crate) fn tests(status: ExitStatus, tests: Vec<TestReport>) -> Report {
    report(
        "sandbox-test",
        status,
        vec![TargetReport { outcome: None, kind: "test".to_owned(), tests, ..target() }],
    )
}

pub(crate) const STATUSES: [ExitStatus; 16] = [
    ExitStatus::Success,
    ExitStatus::Guest(0),
    ExitStatus::Guest(3),
    ExitStatus::Guest(77),
    ExitStatus::Guest(101),
    ExitStatus::Usage,
    ExitStatus::Unavailable,
    ExitStatus::Fault,
    ExitStatus::Violation,
    ExitStatus::Manifest,
    ExitStatus::Unused,
    ExitStatus::Gained,
    ExitStatus::Failed,
    ExitStatus::TimedOut,
    ExitStatus::Interrupted,
    ExitStatus::Trapped,
];

pub(crate) fn warning() -> Diagnostic {
    let file = manifest();
    let at = file.text.find("assets").expect("it is there");
    Diagnostic::warning("fs-missing", "no such folder: `assets`")
        .at(&file, at - 1..at + 14, "this can never match")
        .note("the pattern is relative to the package root")
        .help("remove it")
        .help_paste("or make it `input`", "read = [\"input\"]")
}

/// What a hostile guest would like to be called.
pub(crate) const HOSTILE: [&str; 11] = [
    "a\nb",
    "a\r\n::error file=x,line=1::pwned",
    "%0A::error::pwned",
    "::error::pwned",
    " ##[error]pwned",
    "x\x1b[2J\x1b]0;title\x07\x1b[31m",
    "]]><!--</testcase><x a=\"'&lt;",
    "\u{202e}gpj.exe\u{2066}\u{200f}",
    "\u{200b}\u{feff}\u{2028}\u{e0041}",
    "\0\u{7f}\u{9b}31m\u{fffe}\u{ffff}",
    "title=x,line=1,a:b",
];

/// A report in which everything that a guest chooses is `text`, and bytes have an invalid tail.
pub(crate) fn hostile(text: &str) -> Report {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(b"\xff\xc3");
    let frame = Frame {
        krate: text.to_owned(),
        function: text.to_owned(),
        file: text.to_owned(),
        line: 3,
        column: 4,
    };
    let origin = Origin { package: text.to_owned(), version: Some(text.to_owned()), frame: frame.clone() };
    let first = Violation {
        access: Access { operation: Operation::Delete, resource: Resource::Path(bytes.clone()) },
        wall: Wall::Landlock,
        package: text.to_owned(),
        exception: Some(GrantPlace {
            manifest: text.to_owned(),
            line: 2,
            table: text.to_owned(),
            key: text.to_owned(),
            text: text.to_owned(),
        }),
        note: text.to_owned(),
        count: 3,
        test: Some(text.to_owned()),
        origin: Some(origin.clone()),
        snippet: None,
        evidence: Evidence::Wasm(vec![frame]),
        suggestion: Some(Suggestion {
            manifest: text.to_owned(),
            table: text.to_owned(),
            key: text.to_owned(),
            entry: Entry { text: text.to_owned(), ..Entry::default() },
            scope: Scope::Always,
            paste: text.to_owned(),
        }),
        allowed: false,
    };
    let second = Violation {
        access: Access { operation: Operation::EnvRead, resource: Resource::Env(bytes.clone()) },
        snippet: Some(Snippet {
            path: text.to_owned(),
            line: 3,
            text: text.replace(['\r', '\n'], " "),
            range: 1..text.len() + 7,
        }),
        exception: None,
        ..first.clone()
    };
    let third = Violation { origin: None, test: None, ..first.clone() };
    let test = |verdict| TestReport {
        id: TestId { target: 0, binary: text.to_owned(), name: format!("{text}{verdict:?}") },
        violations: vec![first.clone(), second.clone()],
        output: bytes.clone(),
        reason: text.to_owned(),
        outcome: Some(GuestOutcome::Trapped(text.to_owned())),
        ..self::test("x", verdict)
    };
    let file = Arc::new(SourceFile { path: text.into(), text: text.to_owned() });
    let message = Diagnostic::warning("hostile", text)
        .at(&file, 0..1, text)
        .note(text)
        .help(text)
        .help_paste(text, text);
    Report {
        notes: vec![text.to_owned()],
        ..report(
            "sandbox-test",
            ExitStatus::Violation,
            vec![TargetReport {
                package: text.to_owned(),
                version: text.to_owned(),
                name: text.to_owned(),
                artifact: text.into(),
                outcome: Some(GuestOutcome::Limit(text.to_owned())),
                grants: vec![GrantUse {
                    id: 0,
                    place: GrantPlace { manifest: text.to_owned(), text: text.to_owned(), ..place(1, "") },
                    by: vec![text.to_owned()],
                    uses: 0,
                }],
                violations: vec![third],
                tests: VERDICTS.into_iter().map(test).collect(),
                notes: vec![message],
                output: bytes.clone(),
                ..target()
            }],
        )
    }
}

/// The events that lead to a report.
pub(crate) fn events(report: &Report) -> Vec<RunEvent> {
    let mut events = vec![RunEvent::Status { verb: "Running", text: report.command.clone() }];
    events.extend(report.notes.iter().map(|note| RunEvent::Status { verb: "Noting", text: note.clone() }));
    for target in &report.targets {
        let tests = target.tests.len();
        if tests > 0 {
            events.push(RunEvent::TestsStarted { tests, filtered: 1, targets: 1 });
        }
        for test in &target.tests {
            let elapsed = Duration::from_secs(60);
            events.push(RunEvent::TestStarted { test: test.id.clone(), attempt: 1 });
            events.push(RunEvent::TestStarted { test: test.id.clone(), attempt: 2 });
            events.push(RunEvent::TestSlow { test: test.id.clone(), elapsed });
            events.push(RunEvent::Output { test: Some(test.id.clone()), bytes: test.output.clone() });
            events.push(RunEvent::TestFinished(test.clone()));
        }
        events.push(RunEvent::Output { test: None, bytes: target.output.clone() });
        events.push(RunEvent::TargetFinished(target.clone()));
    }
    events
}

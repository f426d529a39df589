//! No format changes the verdict: every format for every outcome gives the same status, through the
//! real binary; and hostile names leave every format well-formed and harmless.

use crate::common::{Fixture, Run, run};
use serde_json::Value;

/// Formats and files, each alone and all at once.
const FORMATS: &[&[&str]] = &[
    &[],
    &["--message-format", "human", "-q"],
    &["--message-format", "json"],
    &["--message-format", "github"],
    &["--report", "r.json"],
    &["--junit", "r.xml"],
    &["--sarif", "r.sarif"],
    &[
        "--message-format",
        "github",
        "--report",
        "r.json",
        "--junit",
        "r.xml",
        "--sarif",
        "r.sarif",
        "--color",
        "always",
    ],
];

/// A fixture, flags, the guest's arguments, and the status.
const OUTCOMES: &[(&str, &[&str], &[&str], i32)] = &[
    ("copy-file", &["run"], &[], 0),
    ("exit-code", &["run"], &["3"], 3),
    ("any-access", &["run"], &["read", "src/main.rs"], 77),
    ("copy-file", &["run", "--read", "src", "--unused", "deny"], &[], 0),
    ("any-access", &["run", "--unused", "deny"], &["read", "data/one"], 79),
    ("copy-file", &["run", "--bin", "absent"], &[], 2),
    ("copy-file", &["run", "--read", "{nowhere}"], &[], 78),
    ("panic", &["run"], &[], 101),
    ("build-fails", &["run"], &[], 101),
    ("endless-loop", &["run"], &[], 124),
    ("trap", &["run"], &[], 134),
    ("tests-verdicts", &["test"], &[], 77),
    ("folders", &["test", "--audit"], &[], 0),
    ("any-access", &["check"], &[], 0),
    ("any-access", &["why", "Cargo.toml"], &[], 77),
    ("any-access", &["diff", "no-such-revision"], &[], 2),
];

fn with_format(fixture: &Fixture, flags: &[&str], format: &[&str], guest: &[&str]) -> Run {
    let mut args: Vec<&str> = flags.to_vec();
    args.extend(format);
    if !guest.is_empty() {
        args.push("--");
        args.extend(guest);
    }
    run(fixture.command(args))
}

#[test]
fn every_format_gives_every_outcome_its_status() {
    for (name, flags, guest, status) in OUTCOMES {
        let fixture = Fixture::copy(name);
        for format in FORMATS {
            let run = with_format(&fixture, flags, format, guest);
            assert_eq!(run.status, *status, "{name} {flags:?} {format:?}\n{}\n{}", run.stdout, run.stderr);
            parse(&fixture, format, &run, *status);
        }
    }
}

/// Every output that was asked for is well-formed, and says the status.
fn parse(fixture: &Fixture, format: &[&str], run: &Run, status: i32) {
    if format.contains(&"r.json") {
        let report: Value = serde_json::from_str(&fixture.read("r.json").expect("a report")).expect("JSON");
        assert_eq!(report["exit_status"], status, "{report:#}");
    }
    if format.contains(&"r.xml") {
        let text = fixture.read("r.xml").expect("JUnit");
        let mut reader = quick_xml::Reader::from_str(&text);
        let mut failed = false;
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{error}:\n{text}")) {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                    failed |= matches!(tag.name().as_ref(), b"failure" | b"error");
                }
                _ => {}
            }
        }
        assert_eq!(failed, status != 0, "{text}");
    }
    if format.contains(&"r.sarif") {
        let sarif: Value = serde_json::from_str(&fixture.read("r.sarif").expect("SARIF")).expect("JSON");
        assert_eq!(sarif["version"], "2.1.0");
    }
    if format.contains(&"json") {
        let mut ours = run.stdout.lines().filter(|line| line.starts_with("{\"reason\""));
        let last: Value = serde_json::from_str(ours.next_back().expect("lines")).expect("JSON");
        assert_eq!(last["report"]["exit_status"], status, "{last}");
    }
    if format.contains(&"github") {
        assert_commands(&run.stderr);
    }
}

/// What GitHub would take for a command is only ever ours.
fn assert_commands(text: &str) {
    let mut stopped: Option<&str> = None;
    for line in text.lines() {
        let command = line.trim_start();
        match stopped {
            None if command.starts_with("::stop-commands::") => stopped = command.rsplit("::").next(),
            Some(token) if command == format!("::{token}::") => stopped = None,
            Some(_) => {}
            None if command.starts_with("::") => {
                let word = command.trim_start_matches(':').split(' ').next().unwrap_or_default();
                assert!(["error", "warning", "notice"].contains(&word), "{line}");
            }
            None => {}
        }
    }
    assert_eq!(stopped, None, "commands stay stopped:\n{text}");
}

/// Names that mean something to a terminal, to GitHub, to XML or to a reader.
const HOSTILE: &[&str] = &[
    "new\nline",
    "a\n::error::owned",
    "%0A::error file=x::owned",
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "]]><evil/>",
    "\u{202e}txt.exe\u{2066}",
    "quote\"'`back\\slash",
    "##[error]owned",
    "<a>&amp;",
];

#[test]
fn hostile_names_leave_every_format_harmless() {
    let fixture = Fixture::copy("any-access");
    for name in HOSTILE {
        for format in FORMATS {
            let run = with_format(&fixture, &["run"], format, &["read", name]).expect(77);
            parse(&fixture, format, &run, 77);
            harmless(&run.stderr, name);
            let why = with_format(&fixture, &["why"], format, &[name]).expect(77);
            harmless(&why.stdout, name);
        }
        let fixed = with_format(&fixture, &["run", "--fix", "--allow-dirty"], &[], &["read", name]).expect(0);
        harmless(&fixed.stderr, name);
        with_format(&fixture, &["check"], &[], &[]).expect(0);
    }
}

/// Nothing that a terminal obeys, but our own colours, and nothing that hides.
fn harmless(text: &str, name: &str) {
    let colours = text.replace("\u{1b}[", "");
    for forbidden in ['\u{7}', '\u{202e}', '\u{2066}', '\u{0}'] {
        assert!(!colours.contains(forbidden), "{name:?}:\n{text:?}");
    }
    assert!(!text.contains("\u{1b}]") && !text.contains("\u{1b}[31mred"), "{name:?}:\n{text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::error::owned")), "{name:?}:\n{text}");
}

#[test]
fn names_that_are_no_text_are_reported_by_their_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::copy("any-access").rewrite("src/main.rs", |text| {
        text.replace("let (Some(operation), Some(name))", "let (Some(operation), Some(_))").replace(
            "attempt(&operation, &name)",
            "attempt(&operation).map(|()| println!(\"\\u{1b}[31m::error::owned ]]>\"))",
        ).replace("fn attempt(operation: &str, name: &str) -> io::Result<()> {", "fn attempt(operation: &str) -> io::Result<()> {\n    use std::os::wasi::ffi::OsStrExt;\n    let name = std::ffi::OsStr::from_bytes(b\"bad\\xff\\xfename\");")
    });
    std::fs::write(fixture.dir().join(std::ffi::OsStr::from_bytes(b"bad\xff\xfename")), "x").expect("ours");
    for format in FORMATS {
        let run = with_format(&fixture, &["run"], format, &["read", "x"]).expect(77);
        parse(&fixture, format, &run, 77);
        harmless(&run.stderr, "bytes");
    }
    let report: Value = serde_json::from_str(&fixture.read("r.json").expect("a report")).expect("JSON");
    let bytes = report["targets"][0]["violations"][0]["resource"]["name_bytes"].as_str();
    assert!(bytes.is_some_and(|bytes| bytes.ends_with("626164fffe6e616d65")), "{report:#}");
    let fixed = with_format(&fixture, &["run", "--fix", "--allow-dirty"], &[], &["read", "x"]).expect(0);
    assert!(fixed.stderr.contains("was not granted"), "{}", fixed.stderr);
}

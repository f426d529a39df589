//! The examples of a library's documentation: rustdoc builds them and has them run by our `runner`,
//! behind the same walls. What became of each is read from rustdoc's output.

use super::args::{PolicyArgs, TestArgs, WallArgs};
use super::output::Outputs;
use crate::build::command::{CargoCommand, Goal, TargetFlags};
use crate::build::metadata::{Package, TargetKind, Workspace};
use crate::build::{CargoFlags, WASIP1};
use crate::diagnostic::Diagnostic;
use crate::event::{RunEvent, TargetReport, TestId, TestReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::runner::Failure;
use crate::runner::interrupt::Interrupt;
use crate::runner::test::{Filter, Ignored};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Names a folder in which `runner` leaves a file for each example that violated the policy.
pub(super) const VIOLATED: &str = "CARGO_SANDBOX_DOC_TESTS";
/// More output of rustdoc is not read.
const MAX_OUTPUT: u64 = 64 << 20;

/// The documentation of one package.
#[derive(Clone, Copy)]
pub(super) struct Documented<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) package: &'a Package,
    /// Number of its target in the report.
    pub(super) index: usize,
}

/// What came of it.
pub(super) enum Done {
    /// There are no examples.
    Nothing,
    /// They cannot be run here.
    NotRun(String),
    Interrupted,
    Ran(Box<TargetReport>),
}

/// Whether the command line asks for them: as cargo does it, unless it names other targets.
pub(super) fn wanted(args: &TestArgs) -> bool {
    let named = args.lib || args.bins || args.examples || args.tests || args.all_targets;
    let chosen = [&args.bin, &args.example, &args.test].iter().any(|names| !names.is_empty());
    // They are not listed beforehand, so they all go to one shard.
    args.doc || (!named && !chosen && args.partition.is_none_or(|part| part.shard == 1))
}

/// Builds and runs the examples of one package.
///
/// # Errors
/// Cargo cannot be started, or the library cannot be built.
pub(super) fn run(
    args: &TestArgs,
    flags: &CargoFlags,
    documented: Documented<'_>,
    filter: &Filter,
    interrupt: &Interrupt,
    outputs: &mut Outputs,
) -> Result<Done, Failure> {
    let Documented { workspace, package, .. } = documented;
    let Some(library) = package.targets.iter().find(|target| target.kind == TargetKind::Lib) else {
        return Ok(Done::Nothing);
    };
    if !args.doc && !has_examples(library.source.parent().unwrap_or(&package.root), 0) {
        return Ok(Done::Nothing);
    }
    let begun = Instant::now();
    let only = CargoFlags { packages: vec![package.name.clone()], workspace: false, ..flags.clone() };
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let runner = runner(&program, &args.policy, &args.walls)?;
    let command = CargoCommand::build(&program, Goal::DocTests, workspace, &only, &TargetFlags::default())?
        .args(["--config", &format!("target.{WASIP1}.runner={runner}"), "--"])
        .args(libtest_words(filter))
        .env(VIOLATED, folder.path());
    outputs.event(&RunEvent::Status { verb: "Doc-tests", text: package.name.clone() });
    let Some((stdout, stderr, good)) = output(&command, interrupt)? else { return Ok(Done::Interrupted) };
    let both = format!("{stdout}\n{stderr}");
    if let Some(why) = both.lines().find(|line| is_the_toolchains_fault(line)) {
        let why = why.trim().trim_start_matches("error: ");
        return Ok(Done::NotRun(format!("rustdoc of this toolchain cannot compile them: {why}")));
    }
    let violated = fs::read_dir(folder.path())?.count() > 0;
    let mut tests = tests(&stdout, package, documented.index);
    if !good && tests.is_empty() && !violated {
        // It has not come to the examples.
        let message = Diagnostic::error("", format!("the doc tests of {} cannot be built", package.name));
        return Err(Failure::new(ExitStatus::Failed, message.note(stderr.trim().to_owned())));
    }
    let told = tests.iter().any(|test| matches!(test.verdict, TestVerdict::Violated { .. }));
    let failed = tests.iter().any(|test| test.verdict == TestVerdict::Failed);
    if (violated && !told) || (!good && !violated && !failed) {
        // Examples of the 2024 edition run in one process, which fails as a whole.
        let verdict = if violated { TestVerdict::Violated { passed: !failed } } else { TestVerdict::Failed };
        let whole = test(package, documented.index, "all in one process", verdict, stderr.into_bytes());
        // What our runner said of it is the only place where the accesses are named.
        outputs.event(&RunEvent::Output { test: None, bytes: whole.output.clone() });
        tests.push(whole);
    }
    for test in &tests {
        outputs.event(&RunEvent::TestFinished(test.clone()));
    }
    Ok(Done::Ran(Box::new(TargetReport {
        package: package.name.clone(),
        version: package.version.clone(),
        name: library.name.clone(),
        kind: "doc".to_owned(),
        artifact: library.source.clone(),
        wasi: "p1".to_owned(),
        duration: begun.elapsed(),
        outcome: None,
        grants: Vec::new(),
        violations: Vec::new(),
        tests,
        notes: Vec::new(),
        output: Vec::new(),
    })))
}

/// A toolchain that is wrapped in scripts can be one that rustdoc cannot call back.
fn is_the_toolchains_fault(line: &str) -> bool {
    line.contains("given more than once") || line.contains("can't find crate for `std`")
}

/// Whether a source file beneath `folder` has documentation with code in it. It spares a run of
/// rustdoc where there is none; what looks like code and is none costs only that.
fn has_examples(folder: &Path, depth: usize) -> bool {
    let indented = |line: &str| {
        let line = line.trim_start();
        line.starts_with("///     ") || line.starts_with("//!     ")
    };
    let code = |path: &Path| {
        fs::read_to_string(path).is_ok_and(|text| {
            text.contains("```") || text.contains("include_str!") || text.lines().any(indented)
        })
    };
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => depth < 16 && has_examples(&path, depth + 1),
            Ok(_) => path.extension().is_some_and(|extension| extension == "rs") && code(&path),
            Err(_) => false,
        }
    })
}

/// Our `runner` as a TOML array, with the flags that concern guests.
fn runner(program: &Path, policy: &PolicyArgs, walls: &WallArgs) -> Result<String, Failure> {
    let program = program.to_str().ok_or_else(|| Failure::fault("the path of this program is not UTF-8"))?;
    let mut words = vec![program.to_owned(), "runner".to_owned()];
    let lists = [
        ("--read", &policy.read),
        ("--write", &policy.write),
        ("--list", &policy.list),
        ("--stat", &policy.stat),
        ("--create", &policy.create),
        ("--modify", &policy.modify),
        ("--delete", &policy.delete),
        ("--deny", &policy.deny),
        ("--hide", &policy.hide),
        ("--env", &policy.env),
        ("--ceiling", &policy.ceiling),
    ];
    for (flag, values) in lists {
        words.extend(values.iter().map(|value| format!("{flag}={value}")));
    }
    if policy.audit || !policy.fix.is_empty() {
        words.push("--audit".to_owned());
    }
    if walls.no_cache {
        words.push("--no-cache".to_owned());
    }
    for (flag, value) in [
        ("--landlock", clap::ValueEnum::to_possible_value(&walls.landlock)),
        ("--compiler", clap::ValueEnum::to_possible_value(&walls.compiler)),
    ] {
        words.extend(value.map(|value| format!("{flag}={}", value.get_name())));
    }
    serde_json::to_string(&words).map_err(|error| Failure::fault(error.to_string()))
}

fn libtest_words(filter: &Filter) -> Vec<String> {
    let mut words = filter.names.clone();
    words.extend(filter.skip.iter().flat_map(|skip| ["--skip".to_owned(), skip.clone()]));
    let flags = [
        (filter.exact, "--exact"),
        (filter.ignored == Ignored::Include, "--include-ignored"),
        (filter.ignored == Ignored::Only, "--ignored"),
    ];
    words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned()));
    words
}

/// Both outputs and whether it went well; `None` if it was interrupted.
fn output(command: &CargoCommand, interrupt: &Interrupt) -> Result<Option<(String, String, bool)>, Failure> {
    let mut child = command
        .to_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own, so that all that it starts can be ended together.
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<Box<dyn Read>>| {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What came before it broke still counts.
            let _ = stream.take(MAX_OUTPUT).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stop = || {
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    };
    let (out, err, status) = interrupt.during(
        || {
            let errors = thread::spawn(move || read(stderr.map(|stream| Box::new(stream) as Box<dyn Read>)));
            let out = read(stdout.map(|stream| Box::new(stream) as Box<dyn Read>));
            (out, errors.join().unwrap_or_default(), child.wait())
        },
        stop,
    )?;
    Ok(if interrupt.happened() { None } else { Some((out, err, status?.success())) })
}

/// Reads `test src/lib.rs - name (line 5) ... ok` and the output of those that failed.
fn tests(stdout: &str, package: &Package, index: usize) -> Vec<TestReport> {
    let mut tests = Vec::new();
    for line in stdout.lines() {
        let Some((name, end)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        let output = failure_of(name, stdout);
        let verdict = match end.split(',').next().unwrap_or_default().trim() {
            "ok" => TestVerdict::Passed,
            "ignored" => TestVerdict::Ignored,
            "FAILED" if output.contains("(exit status: 77)") => TestVerdict::Violated { passed: false },
            "FAILED" => TestVerdict::Failed,
            _ => continue,
        };
        tests.push(test(package, index, name, verdict, output.as_bytes().to_vec()));
    }
    tests
}

/// What stands below `---- NAME stdout ----`.
fn failure_of<'a>(name: &str, stdout: &'a str) -> &'a str {
    let head = format!("---- {name} stdout ----\n");
    let Some((_, rest)) = stdout.split_once(&head) else { return "" };
    let end = rest.find("\n---- ").or_else(|| rest.find("\nfailures:\n")).unwrap_or(rest.len());
    rest[..end].trim_end()
}

fn test(package: &Package, target: usize, name: &str, verdict: TestVerdict, output: Vec<u8>) -> TestReport {
    TestReport {
        id: TestId { target, binary: format!("{}::doc", package.name), name: name.to_owned() },
        verdict,
        outcome: None,
        duration: Duration::ZERO,
        attempts: 1,
        violations: Vec::new(),
        output,
        reason: String::new(),
    }
}

#[cfg(test)]
mod tests_of_parsing {
    use super::failure_of;

    #[test]
    fn the_output_of_one_failure_is_its_own() {
        let text = "failures:\n\n---- a (line 1) stdout ----\none\n\n---- b (line 2) stdout ----\ntwo\n\nfailures:\n    a\n";
        assert_eq!(failure_of("a (line 1)", text), "one");
        assert_eq!(failure_of("b (line 2)", text), "two");
        assert_eq!(failure_of("c", text), "");
    }
}

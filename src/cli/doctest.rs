//! The examples of a library's documentation: rustdoc builds them and has them run by our `runner`,
//! behind the same walls. rustdoc's output says what became of each, and our runners hand over what it
//! touched.

mod handover;
mod told;

pub(super) use handover::Handed;
pub(super) use told::CRATES;

use super::args::{PolicyArgs, TestArgs, WallArgs};
use super::output::Outputs;
use crate::build::command::{CargoCommand, Goal, TargetFlags};
use crate::build::metadata::{Package, TargetKind, Workspace};
use crate::build::{CargoFlags, WASIP1};
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::{GrantUse, KernelReport, RunEvent, TargetReport, TestId, TestReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::runner::interrupt::Interrupt;
use crate::runner::test::{Filter, Ignored};
use crate::runner::{Failure, verdict};
use handover::{Inbox, Ran, unmarked};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};
use told::Told;

/// The kind of their target in reports.
pub(super) const KIND: &str = "doc";
/// How long runners have to end by themselves when they are interrupted.
const TO_END: Duration = Duration::from_secs(2);
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
    Interrupted,
    Ran {
        target: Box<TargetReport>,
        /// What the kernel enforced, if anything ran.
        kernel: Option<KernelReport>,
        /// Worse than what the tests say, if a runner could not run its guest.
        status: ExitStatus,
    },
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
    let id =
        TestId { target: documented.index, binary: format!("{}::doc", package.name), name: String::new() };
    let only = CargoFlags { packages: vec![package.name.clone()], workspace: false, ..flags.clone() };
    let inbox = Inbox::new()?;
    let program = std::env::current_exe()?;
    let runner = runner(&program, &inbox.place(), &args.policy, &args.walls)?;
    let command = CargoCommand::build(&program, Goal::DocTests, workspace, &only, &TargetFlags::default())?
        .args(["--config", &format!("target.{WASIP1}.runner={runner}"), "--"])
        .args(libtest_words(filter));
    outputs.event(&RunEvent::Status { verb: "Doc-tests", text: package.name.clone() });
    let Some((stdout, stderr, good)) = output(&command, interrupt)? else { return Ok(Done::Interrupted) };
    let all = inbox.read()?;
    let failed = all.iter().filter_map(Handed::failed).reduce(ExitStatus::or);
    let mut sum = Sum::default();
    all.iter().filter_map(|handed| handed.ran.as_ref()).for_each(|ran| sum.add(ran));
    let both = format!("{stdout}\n{stderr}");
    let told = if let Some(why) = both.lines().find(|line| is_the_toolchains_fault(line)) {
        let why = why.trim().trim_start_matches("error: ");
        Told::not_run(id, &format!("rustdoc of this toolchain cannot compile them: {why}"))
    } else {
        let mut told = Told::by_rustdoc(&stdout, id);
        let none = told.tests.is_empty() && all.is_empty();
        let filtered = !filter.names.is_empty() || !filter.skip.is_empty();
        told.by_runners(all, &stderr, filtered);
        told.locate(&workspace.root, &package.root);
        if !good && none {
            // It has not come to the examples.
            let message = Diagnostic::error("", format!("the doc tests of {} cannot be built", package.name));
            return Err(Failure::new(ExitStatus::Failed, message.note(stderr.trim().to_owned())));
        }
        let fine = |test: &TestReport| verdict::of_test(test.verdict) == ExitStatus::Fine;
        if !good && failed.is_none() && told.tests.iter().all(fine) {
            let output = unmarked(&stderr).into_bytes();
            told.add("all in one process".to_owned(), TestVerdict::Failed, output, "");
        }
        told
    };
    if failed.is_some() {
        // What our runner said of it is nowhere else.
        outputs.event(&RunEvent::Output { test: None, bytes: unmarked(&both).into_bytes() });
    }
    for test in &told.tests {
        outputs.event(&RunEvent::TestFinished(test.clone()));
    }
    let target = TargetReport {
        package: package.name.clone(),
        version: package.version.clone(),
        name: library.name.clone(),
        kind: KIND.to_owned(),
        artifact: library.source.clone(),
        wasi: "p1".to_owned(),
        duration: begun.elapsed(),
        outcome: None,
        grants: sum.grants,
        violations: Vec::new(),
        tests: told.tests,
        notes: sum.notes.into_iter().map(|note| Diagnostic::new(Severity::Note, "", note)).collect(),
        output: Vec::new(),
    };
    outputs.event(&RunEvent::TargetFinished(target.clone()));
    Ok(Done::Ran { target: Box::new(target), kernel: sum.kernel, status: failed.unwrap_or(ExitStatus::Fine) })
}

/// What all runners of a package's examples said.
#[derive(Default)]
struct Sum {
    grants: Vec<GrantUse>,
    kernel: Option<KernelReport>,
    notes: BTreeSet<String>,
}

impl Sum {
    fn add(&mut self, ran: &Ran) {
        for grant in &ran.grants {
            match self.grants.iter_mut().find(|known| known.id == grant.id) {
                Some(known) => known.uses = known.uses.saturating_add(grant.uses),
                None => self.grants.push(grant.clone()),
            }
        }
        self.kernel.get_or_insert_with(|| ran.kernel.clone());
        self.notes.extend(ran.notes.iter().cloned());
    }
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
fn runner(program: &Path, inbox: &Path, policy: &PolicyArgs, walls: &WallArgs) -> Result<String, Failure> {
    let program = program.to_str().ok_or_else(|| Failure::fault("the path of this program is not UTF-8"))?;
    let mut words = vec![program.to_owned(), "runner".to_owned()];
    words.push(format!("--doc-tests={}", inbox.display()));
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
        let Some(group) = group else { return };
        // Our runners have something to remove; the others have ended before.
        let _ = kill_process_group(group, Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < TO_END && test_kill_process_group(group).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
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

//! The examples of a library's documentation: cargo builds the library, rustdoc builds the examples and
//! has them run by our `runner`, behind the same walls.
//!
//! rustdoc is run here and not by cargo (`build::rustdoc`): once for the names of the examples, and once
//! to build and run them. What came of each, its runner hands over; no word of rustdoc makes one pass.

mod results_channel;
mod rustdoc_output;

pub use results_channel::{BY_ORDERS, Orders, RUNNER, RunnerRecord};
pub use rustdoc_output::CRATES;

use super::interrupt::Interrupt;
use super::suite::{Filter, Ignored, Tell};
use super::{Failure, GuestOptions};
use crate::cargo::command::{CargoCommand, Goal, TargetFlags};
use crate::cargo::metadata::{Package, Target, TargetKind, Workspace};
use crate::cargo::rustdoc::{Rustdoc, RustdocDir};
use crate::cargo::{CargoFlags, config};
use crate::event::{GrantUse, KernelReport, RunEvent, TargetReport, TestId, TestReport};
use crate::exit_status::ExitStatus;
use crate::runner;
use results_channel::{GuestResult, Inbox};
use rustdoc_output::{ALL, DocTestResults, Lines, Mode, Word, listed};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The kind of their target in reports.
const KIND: &str = "doc";
/// Why examples were not run when somebody pressed Ctrl-C.
const INTERRUPTED: &str = "interrupted";
/// How long runners may take to put their things in order after an interrupt.
const PATIENCE: Duration = Duration::from_secs(2);
/// More output of rustdoc is not read.
const MAX_OUTPUT: u64 = 64 << 20;

/// The documentation of one package, and what its examples are run with.
#[derive(Clone, Copy, Debug)]
pub struct Documentation<'a> {
    /// Where the package is.
    pub workspace: &'a Workspace,
    /// Whose documentation.
    pub package: &'a Package,
    /// Number of its target in the report.
    pub index: usize,
    /// How cargo builds it.
    pub flags: &'a CargoFlags,
    /// Which examples.
    pub filter: &'a Filter,
    /// How they are run.
    pub guests: &'a GuestOptions,
    /// Ends everything.
    pub interrupt: &'a Interrupt,
}

/// What came of it.
#[derive(Debug)]
pub struct Documented {
    /// All examples.
    pub target: TargetReport,
    /// What the kernel enforced, if anything ran.
    pub kernel: Option<KernelReport>,
    /// Worse than what the tests say, if a runner could not run its guest, or nothing could be built.
    pub status: ExitStatus,
}

/// What is known before it is put into a report.
struct Found {
    tests: Vec<TestReport>,
    sum: Sum,
    status: ExitStatus,
}

impl Found {
    fn not_run<'a>(
        id: TestId,
        names: impl IntoIterator<Item = &'a str>,
        why: &str,
        status: ExitStatus,
    ) -> Self {
        Self { tests: DocTestResults::not_run(id, names, why).tests, sum: Sum::default(), status }
    }
}

/// Builds and runs the examples of one package; `None` if there are none. Whatever goes wrong is told and is in what
/// comes of it: the verdict on everything else stands. `stopped` says why none is run.
pub fn run(
    documentation: Documentation<'_>,
    stopped: Option<&str>,
    tell: &mut Tell<'_>,
) -> Option<Documented> {
    let Documentation { package, interrupt, .. } = documentation;
    // A library that says `doctest = false` has none.
    let library = package.targets.iter().find(|target| target.kind == TargetKind::Lib && target.doctest)?;
    let begun = Instant::now();
    let id =
        TestId { target: documentation.index, binary: format!("{}::doc", package.name), name: String::new() };
    let job = Job { documentation, library, id: id.clone() };
    let found = match stopped {
        Some(why) => Ok(Some(Found::not_run(id.clone(), [ALL], why, ExitStatus::Success))),
        None => job.find(tell),
    };
    let found = match found {
        Ok(Some(found)) => found,
        // Whatever else it seems to be.
        _ if interrupt.happened() => Found::not_run(id, [ALL], INTERRUPTED, ExitStatus::Success),
        Ok(None) => return None,
        Err(failure) => {
            let status = said(failure, tell);
            Found::not_run(id, [ALL], "they could not be built", status)
        }
    };
    for test in &found.tests {
        tell(RunEvent::TestFinished(test.clone()));
    }
    let Found { tests, sum, status } = found;
    let named = runner::Target {
        package: &package.name,
        version: &package.version,
        name: &library.name,
        kind: KIND,
        artifact: &library.source,
        wasi: "p1",
    };
    let target = TargetReport {
        duration: begun.elapsed(),
        grants: sum.grants,
        tests,
        notes: sum.notes.into_iter().map(|note| Diagnostic::new(Severity::Note, "", note)).collect(),
        ..named.report()
    };
    tell(RunEvent::TargetFinished(target.clone()));
    Some(Documented { target, kernel: sum.kernel, status })
}

/// Says what went wrong.
fn said(failure: Failure, tell: &mut Tell<'_>) -> ExitStatus {
    failure.messages.into_iter().for_each(|message| tell(RunEvent::Message(message)));
    failure.status
}

/// All that is needed for the examples of one package.
struct Job<'a> {
    documentation: Documentation<'a>,
    library: &'a Target,
    id: TestId,
}

impl Job<'_> {
    /// `None` if there is none.
    ///
    /// # Errors
    /// The library or the list of its examples cannot be made, or a fault of ours.
    fn find(&self, tell: &mut Tell<'_>) -> Result<Option<Found>, Failure> {
        let Documentation { workspace, package, flags, .. } = self.documentation;
        let program = std::env::current_exe()?;
        let place = RustdocDir::new(&program, &workspace.target_dir)?;
        let not_run = |names: &[String], why: &str, status| {
            let names = names.iter().map(String::as_str);
            Ok(Some(Found::not_run(self.id.clone(), names, why, status)))
        };
        let all = [ALL.to_owned()];

        // By its id, as another version of it may be among the dependencies.
        let only = CargoFlags {
            packages: vec![package.spec()],
            workspace: false,
            exclude: Vec::new(),
            quiet: false,
            verbose: 0,
            ..flags.clone()
        };
        let cargo = CargoCommand::build(&program, Goal::DocTests, workspace, &only, &TargetFlags::default())?
            .env("RUSTDOC", place.link());
        let built = self.output(&mut cargo.to_command())?;
        if !built.good {
            return Err(self.failure("built", &built.stderr));
        }
        let Some(call) = place.call()? else {
            return not_run(&all, "cargo does not call rustdoc for another target", ExitStatus::Success);
        };
        let rustdoc = config::rustdoc(flags, &workspace.current_dir);
        let rustdoc = Rustdoc::new(rustdoc, call, &self.library.source, &program);

        let words = libtest_words(self.documentation.filter);
        let list = self.output(&mut rustdoc.list(&words))?;
        let names = match listed(&list.stdout) {
            Ok(names) if list.good => names,
            listed => {
                if let Some(why) = self.cannot(&rustdoc)? {
                    return not_run(&all, &why, ExitStatus::Success);
                }
                let why = listed.err().unwrap_or_default();
                return Err(self.failure("listed", &format!("{}\n{why}", list.stderr)));
            }
        };
        if names.is_empty() {
            return Ok(None);
        }
        if !rustdoc.is_for_guests() {
            let why = "examples of a procedural macro are native programs, which no wall would hold";
            return not_run(&names, why, ExitStatus::Success);
        }
        if !rustdoc.dropped.is_empty() {
            let options: Vec<_> = rustdoc.dropped.iter().map(|option| format!("`{option}`")).collect();
            let text = format!("{} of `rustdocflags` has no effect on doc tests here", options.join(", "));
            tell(RunEvent::Message(Diagnostic::new(Severity::Note, "", text)));
        }
        tell(RunEvent::Status { verb: "Doc-tests", text: package.name.clone() });
        self.run(&rustdoc, &place, &names, &words, tell).map(Some)
    }

    fn run(
        &self,
        rustdoc: &Rustdoc,
        place: &RustdocDir,
        names: &[String],
        words: &[String],
        tell: &mut Tell<'_>,
    ) -> Result<Found, Failure> {
        let Documentation { workspace, package, interrupt, .. } = self.documentation;
        let inbox = Inbox::new()?;
        let orders = Orders::new(self.documentation.guests.for_examples(), &inbox, &package.root).leave()?;
        let runner = [std::env::current_exe()?.into(), BY_ORDERS.into(), orders.place().into()];
        let ended = self.output(&mut rustdoc.run(words, &runner, &place.examples()))?;
        // What runners have said counts after an interrupt too.
        let interrupted = interrupt.happened();
        let (handed, wrong) = inbox.read();
        let mut lines = Lines::read(&ended.stdout);
        if !interrupted && lines.any(Mode::CompileFail, Word::Failed) && !rustdoc.is_nightly() {
            // Which error it is to fail with is looked at only where unstable options are allowed.
            let stable = self.output(&mut rustdoc.only_build(words))?;
            lines.correct(&Lines::read(&stable.stdout));
        }
        if !interrupted
            && handed.is_empty()
            && lines.any(Mode::Run, Word::Failed)
            && let Some(why) = self.cannot(rustdoc)?
        {
            let names = names.iter().map(String::as_str);
            return Ok(Found::not_run(self.id.clone(), names, &why, ExitStatus::Success));
        }
        let failed = handed.iter().filter_map(RunnerRecord::failed).reduce(ExitStatus::or);
        let mut status = failed.unwrap_or(ExitStatus::Success);
        let mut sum = Sum::default();
        handed.iter().filter_map(|handed| handed.ran.as_ref()).for_each(|ran| sum.add(ran));
        if failed.is_some() {
            // What our runner said of it is nowhere else.
            let both = format!("{}\n{}", ended.stdout, ended.stderr);
            tell(RunEvent::Output { test: None, bytes: both.into_bytes() });
        }
        if let Some(wrong) = wrong {
            let why = format!("not all that the doc tests did can be told: {wrong}");
            status = status.or(said(Failure::fault(why), tell));
        }
        if !ended.good && !interrupted && !Lines::read(&ended.stdout).any_failed() {
            status = status.or(said(self.failure("run to their end", &ended.stderr), tell));
        }
        let mut told = DocTestResults::new(self.id.clone());
        let missing = if interrupted { INTERRUPTED } else { "rustdoc ended before it" };
        told.judge(names, &lines, handed, &ended.stdout, missing);
        told.locate(&workspace.root, &package.root);
        Ok(Found { tests: told.tests, sum, status })
    }

    /// Why rustdoc of this toolchain can build no example at all, if that is so. No example of the package
    /// has a word in that.
    fn cannot(&self, rustdoc: &Rustdoc) -> Result<Option<String>, Failure> {
        let folder = tempfile::tempdir()?;
        let trial = self.output(&mut rustdoc.trial(folder.path())?)?;
        let both = [trial.stderr, trial.stdout].concat();
        let error = both.lines().map(str::trim).find(|line| line.starts_with("error"));
        let why = error.map_or("it does not say why", |error| error.trim_start_matches("error: "));
        Ok((!trial.good).then(|| format!("rustdoc of this toolchain cannot compile them: {why}")))
    }

    fn failure(&self, what: &str, stderr: &str) -> Failure {
        let text = format!("the doc tests of {} cannot be {what}", self.documentation.package.name);
        Failure::new(ExitStatus::Failed, Diagnostic::error("", text).note(stderr.trim().to_owned()))
    }

    /// Runs a command to its end, or to an interrupt.
    fn output(&self, command: &mut Command) -> Result<Ended, Failure> {
        let cannot = |command: &Command, error: io::Error| {
            let program = command.get_program().to_string_lossy().into_owned();
            let text = format!("cannot run `{program}`: {error}");
            Failure::new(ExitStatus::Failed, Diagnostic::error("", text))
        };
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own, so that all that it starts can be ended together.
            .process_group(0)
            .spawn();
        let mut child = spawned.map_err(|error| cannot(command, error))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = |stream: Option<Box<dyn Read>>| {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // What came before it broke still counts.
                let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
                // The rest must not stop whoever writes it.
                let _ = io::copy(&mut stream, &mut io::sink());
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let stop = || {
            if let Some(group) = group {
                // It may have ended by itself. Runners take their guests along, and tidy up.
                let _ = kill_process_group(group, Signal::TERM);
            }
        };
        let (stdout, stderr, status) = self.documentation.interrupt.during(
            || {
                let errors =
                    thread::spawn(move || read(stderr.map(|stream| Box::new(stream) as Box<dyn Read>)));
                let out = read(stdout.map(|stream| Box::new(stream) as Box<dyn Read>));
                (out, errors.join().unwrap_or_default(), child.wait())
            },
            stop,
        )?;
        if let Some(group) = group.filter(|_| self.documentation.interrupt.happened()) {
            let begun = Instant::now();
            while test_kill_process_group(group).is_ok() && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(Ended { stdout, stderr, good: status?.success() })
    }
}

/// How a command ended.
struct Ended {
    stdout: String,
    stderr: String,
    /// With status 0.
    good: bool,
}

/// What all runners of a package's examples said.
#[derive(Default)]
struct Sum {
    grants: Vec<GrantUse>,
    kernel: Option<KernelReport>,
    notes: BTreeSet<String>,
}

impl Sum {
    fn add(&mut self, ran: &GuestResult) {
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

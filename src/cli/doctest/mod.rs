//! The examples of a library's documentation: cargo builds the library, rustdoc builds the examples and
//! has them run by our `runner`, behind the same walls.
//!
//! rustdoc is run here and not by cargo (`build::rustdoc`): once for the names of the examples, and once
//! to build and run them. What came of each, its runner hands over; no word of rustdoc makes one pass.

mod results_channel;
mod rustdoc_output;

pub(super) use results_channel::{BY_ORDERS, RunnerRecord};
pub(super) use rustdoc_output::CRATES;

use super::args::{Compiler, Landlock, PolicyArgs, TestArgs, WallArgs};
use super::output::Outputs;
use crate::cargo::command::{CargoCommand, Goal, TargetFlags};
use crate::cargo::metadata::{Package, Target, TargetKind, Workspace};
use crate::cargo::rustdoc::{Place, Rustdoc};
use crate::cargo::{CargoFlags, config};
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::{GrantUse, KernelReport, RunEvent, TargetReport, TestId, TestReport};
use crate::exit_status::ExitStatus;
use crate::runner::Failure;
use crate::runner::interrupt::Interrupt;
use crate::runner::test::{Filter, Ignored};
use clap::ValueEnum as _;
use results_channel::{GuestResult, Inbox, Orders};
use rustdoc_output::{ALL, DocTestResults, Lines, Mode, Word, listed};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The kind of their target in reports.
pub(super) const KIND: &str = "doc";
/// Why examples were not run when somebody pressed Ctrl-C.
const INTERRUPTED: &str = "interrupted";
/// How long runners may take to put their things in order after an interrupt.
const PATIENCE: Duration = Duration::from_secs(2);
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
    GuestResult {
        target: Box<TargetReport>,
        /// What the kernel enforced, if anything ran.
        kernel: Option<KernelReport>,
        /// Worse than what the tests say, if a runner could not run its guest, or nothing could be built.
        status: ExitStatus,
    },
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

/// Becomes the runner of an example that `test` has ordered at this place. Returns only if it cannot.
pub(super) fn follow(orders: &OsStr, rest: &[OsString]) -> io::Error {
    Orders::follow(Path::new(orders), rest)
}

/// Whether the command line asks for them: as cargo does it, unless it names other targets.
pub(super) fn wanted(args: &TestArgs) -> bool {
    let named = args.lib || args.bins || args.examples || args.tests || args.all_targets;
    let chosen = [&args.bin, &args.example, &args.test].iter().any(|names| !names.is_empty());
    // They are not listed beforehand, so they all go to one shard.
    args.doc || (!named && !chosen && args.partition.is_none_or(|part| part.shard == 1))
}

/// Builds and runs the examples of one package. Whatever goes wrong is said and is in what comes of it:
/// the verdict on everything else stands. `stopped` says why none is run.
pub(super) fn run(
    args: &TestArgs,
    flags: &CargoFlags,
    documented: Documented<'_>,
    filter: &Filter,
    stopped: Option<&str>,
    interrupt: &Interrupt,
    outputs: &mut Outputs,
) -> Done {
    let package = documented.package;
    // A library that says `doctest = false` has none.
    let library = package.targets.iter().find(|target| target.kind == TargetKind::Lib && target.doctest);
    let Some(library) = library else { return Done::Nothing };
    let begun = Instant::now();
    let id =
        TestId { target: documented.index, binary: format!("{}::doc", package.name), name: String::new() };
    let job = Job { args, flags, documented, library, filter, interrupt, id: id.clone() };
    let found = match stopped {
        Some(why) => Ok(Some(Found::not_run(id.clone(), [ALL], why, ExitStatus::Success))),
        None => job.find(outputs),
    };
    let found = match found {
        Ok(Some(found)) => found,
        // Whatever else it seems to be.
        _ if interrupt.happened() => Found::not_run(id, [ALL], INTERRUPTED, ExitStatus::Success),
        Ok(None) => return Done::Nothing,
        Err(failure) => {
            let status = outputs.said(failure);
            Found::not_run(id, [ALL], "they could not be built", status)
        }
    };
    for test in &found.tests {
        outputs.event(&RunEvent::TestFinished(test.clone()));
    }
    let Found { tests, sum, status } = found;
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
        tests,
        notes: sum.notes.into_iter().map(|note| Diagnostic::new(Severity::Note, "", note)).collect(),
        output: Vec::new(),
    };
    outputs.event(&RunEvent::TargetFinished(target.clone()));
    Done::GuestResult { target: Box::new(target), kernel: sum.kernel, status }
}

/// All that is needed for the examples of one package.
struct Job<'a> {
    args: &'a TestArgs,
    flags: &'a CargoFlags,
    documented: Documented<'a>,
    library: &'a Target,
    filter: &'a Filter,
    interrupt: &'a Interrupt,
    id: TestId,
}

impl Job<'_> {
    /// `None` if there is none.
    ///
    /// # Errors
    /// The library or the list of its examples cannot be made, or a fault of ours.
    fn find(&self, outputs: &mut Outputs) -> Result<Option<Found>, Failure> {
        let Documented { workspace, package, .. } = self.documented;
        let program = std::env::current_exe()?;
        let place = Place::new(&program, &workspace.target_dir)?;
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
            ..self.flags.clone()
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
        let rustdoc = config::rustdoc(self.flags, &workspace.current_dir);
        let rustdoc = Rustdoc::new(rustdoc, call, &self.library.source, &program);

        let words = libtest_words(self.filter);
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
            outputs.event(&RunEvent::Message(Diagnostic::new(Severity::Note, "", text)));
        }
        outputs.event(&RunEvent::Status { verb: "Doc-tests", text: package.name.clone() });
        self.run(&rustdoc, &place, &names, &words, outputs).map(Some)
    }

    fn run(
        &self,
        rustdoc: &Rustdoc,
        place: &Place,
        names: &[String],
        words: &[String],
        outputs: &mut Outputs,
    ) -> Result<Found, Failure> {
        let Documented { workspace, package, .. } = self.documented;
        let inbox = Inbox::new()?;
        let orders = Orders::new(runner_words(&inbox.place(), self.args), &package.root).leave()?;
        let runner = [std::env::current_exe()?.into(), BY_ORDERS.into(), orders.place().into()];
        let ended = self.output(&mut rustdoc.run(words, &runner, &place.examples()))?;
        // What runners have said counts after an interrupt too.
        let interrupted = self.interrupt.happened();
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
            outputs.event(&RunEvent::Output { test: None, bytes: both.into_bytes() });
        }
        if let Some(wrong) = wrong {
            let why = format!("not all that the doc tests did can be told: {wrong}");
            status = status.or(outputs.said(Failure::fault(why)));
        }
        if !ended.good && !interrupted && !Lines::read(&ended.stdout).any_failed() {
            status = status.or(outputs.said(self.failure("run to their end", &ended.stderr)));
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
        let text = format!("the doc tests of {} cannot be {what}", self.documented.package.name);
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
        let (stdout, stderr, status) = self.interrupt.during(
            || {
                let errors =
                    thread::spawn(move || read(stderr.map(|stream| Box::new(stream) as Box<dyn Read>)));
                let out = read(stdout.map(|stream| Box::new(stream) as Box<dyn Read>));
                (out, errors.join().unwrap_or_default(), child.wait())
            },
            stop,
        )?;
        if let Some(group) = group.filter(|_| self.interrupt.happened()) {
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

/// Our `runner` with all flags of `test` that concern guests. Whoever adds a flag has to say here what it
/// means for examples: nothing is left out by `..`.
fn runner_words(inbox: &Path, args: &TestArgs) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["runner".into()];
    words.push(format!("--doc-tests={}", inbox.display()).into());
    if let Some(timeout) = args.timeout {
        words.push(format!("--timeout={}ms", timeout.as_millis()).into());
    }
    policy_words(&args.policy, &mut words);
    wall_words(&args.walls, &mut words);
    words
}

fn policy_words(policy: &PolicyArgs, words: &mut Vec<OsString>) {
    let PolicyArgs {
        grants,
        ceiling,
        audit,
        fix,
        // `test` has looked at the working directory, and looks for unused grants itself.
        allow_dirty: _,
        allow_no_vcs: _,
        unused: _,
    } = policy;
    let flags = grants.0.flags.iter();
    words.extend(flags.map(|(key, value)| OsString::from(format!("--{}={value}", key.row().flag))));
    for given in ceiling {
        // The runner is started in another folder.
        let file = std::path::absolute(given).ok().filter(|file| file.is_file());
        let mut word = OsString::from("--ceiling=");
        word.push(file.unwrap_or_else(|| given.into()));
        words.push(word);
    }
    if *audit || !fix.is_empty() {
        words.push("--audit".into());
    }
}

fn wall_words(walls: &WallArgs, words: &mut Vec<OsString>) {
    let WallArgs {
        landlock,
        compiler,
        no_cache,
        // It is for standard error, where nobody would see it.
        timings: _,
        #[cfg(feature = "test-walls")]
        walls,
    } = walls;
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let values = [
        ("landlock", name(Landlock::to_possible_value(landlock))),
        ("compiler", name(Compiler::to_possible_value(compiler))),
        #[cfg(feature = "test-walls")]
        ("walls", walls.as_ref().map(|walls| walls.join(","))),
    ];
    for (flag, value) in values {
        words.extend(value.map(|value| OsString::from(format!("--{flag}={value}"))));
    }
    if *no_cache {
        words.push("--no-cache".into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::{CommandFactory as _, Parser as _};

    /// Every flag of policy and walls that `runner` has reaches it, and as it was typed.
    #[test]
    fn every_flag_about_guests_reaches_the_runner() {
        let quiet = ["allow_dirty", "allow_no_vcs", "unused", "fix", "timings"];
        let command = Cli::command();
        let runner = command.find_subcommand("runner").unwrap();
        let mut typed = Vec::new();
        for arg in runner.get_arguments() {
            let heading = arg.get_help_heading().unwrap_or_default();
            if !["Policy", "Walls"].contains(&heading) || quiet.contains(&arg.get_id().as_str()) {
                continue;
            }
            let flag = format!("--{}", arg.get_long().unwrap());
            let values = arg.get_possible_values();
            typed.push(match values.iter().rfind(|_| arg.get_action().takes_values()) {
                Some(value) => format!("{flag}={}", value.get_name()),
                None if !arg.get_action().takes_values() => flag,
                None if arg.get_id() == "walls" => format!("{flag}=wasi,seccomp"),
                None => format!("{flag}=x {flag} y"),
            });
        }
        assert!(typed.len() > 12, "{typed:?}");
        for flag in &typed {
            let mut line = vec!["cargo-sandbox", "test"];
            // A value with a space in it, then one with a dash before it.
            line.push(flag);
            let Cli { command: crate::cli::args::Command::Test(args) } = Cli::try_parse_from(&line).unwrap()
            else {
                panic!("not `test`");
            };
            let words = runner_words(Path::new("/inbox"), &args);
            assert!(words.iter().any(|word| word == flag.as_str()), "{flag}: {words:?}");
            let again = std::iter::once("cargo-sandbox".into()).chain(words).chain(["file".into()]);
            Cli::try_parse_from(again).unwrap();
        }
    }
}

//! Which reporters there are, and what is said when there is nothing to report.

use super::args::{Color, MessageFormat, OutputArgs};
use super::atomic_file::AtomicFile;
use super::options::ci;
use crate::event::{KernelReport, Report, RunEvent};
use crate::exit_status::ExitStatus;
use crate::report::locate::Prefix;
use crate::report::progress::Progress;
use crate::report::{All, Reporter, Unused, escape, github, human, json, junit, messages, sarif};
use crate::runner::Failure;
use sandbox_policy::diagnostic::Diagnostic;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Everything that hears of a run.
pub(super) struct Outputs {
    reporters: All,
    begun: Instant,
    /// As reports name it; set by the commands that write one.
    pub(super) command: &'static str,
}

impl Outputs {
    /// Finds what the command is about, opens the outputs with paths relative to the folder that
    /// comes with it, and does the rest. A failure of either is said.
    pub(super) fn during<T>(
        args: &OutputArgs,
        find: impl FnOnce() -> Result<(T, PathBuf), Failure>,
        rest: impl FnOnce(&mut Self, T) -> Result<ExitStatus, Failure>,
    ) -> ExitStatus {
        Self::during_judging(args, Unused::Allow, find, rest)
    }

    /// The same where unused grants may be spoken of.
    pub(super) fn during_judging<T>(
        args: &OutputArgs,
        unused: Unused,
        find: impl FnOnce() -> Result<(T, PathBuf), Failure>,
        rest: impl FnOnce(&mut Self, T) -> Result<ExitStatus, Failure>,
    ) -> ExitStatus {
        let found = find();
        let base = found.as_ref().ok().map(|(_, base)| base.as_path());
        let mut outputs = match Self::open(args, base, unused) {
            Ok(outputs) => outputs,
            Err(status) => return status,
        };
        match found.and_then(|(found, _)| rest(&mut outputs, found)) {
            Ok(status) => status,
            Err(failure) => outputs.failure(failure),
        }
    }

    /// Opens the outputs. Files are made now, so that a wrong path is known before anything runs.
    ///
    /// # Errors
    /// A file that cannot be made; said already.
    pub(super) fn open(
        args: &OutputArgs,
        workspace: Option<&Path>,
        unused: Unused,
    ) -> Result<Self, ExitStatus> {
        let mut reporters: Vec<Box<dyn Reporter>> = Vec::new();
        let prefix = workspace.map(prefix).unwrap_or_default();
        let terminal = io::stderr().is_terminal();
        let term = std::env::var("TERM").ok();
        let options = human::Options {
            styled: color(args).on_stderr(),
            quiet: args.quiet,
            verbose: args.verbose > 0,
            progress: Progress::wanted(args.quiet, terminal, ci(), term.as_deref()),
            unused,
            base: workspace.map(Path::to_owned),
        };
        match args.message_format {
            MessageFormat::Human => reporters.push(Box::new(human::Human::new(io::stderr(), options))),
            MessageFormat::Json => {
                reporters.push(Box::new(human::Human::new(io::stderr(), options)));
                reporters.push(Box::new(messages::Messages::new(io::stdout())));
            }
            MessageFormat::Github => {
                let github = github::Github::new(io::stderr(), options, prefix.clone());
                reporters.push(Box::new(github.map_err(|error| {
                    fatal(&format!("cannot write annotations: {error}"));
                    ExitStatus::Fault
                })?));
            }
        }
        let [report, junit, sarif] = files(args)?;
        reporters.extend(report.map(|file| Box::new(json::Json::new(file)) as Box<dyn Reporter>));
        reporters.extend(junit.map(|file| Box::new(junit::Junit::new(file)) as Box<dyn Reporter>));
        reporters
            .extend(sarif.map(|file| Box::new(sarif::Sarif::new(file, prefix, unused)) as Box<dyn Reporter>));
        Ok(Self { reporters: All(reporters), begun: Instant::now(), command: "" })
    }

    /// Passes an event on.
    pub(super) fn event(&mut self, event: &RunEvent) {
        self.reporters.event(event);
    }

    /// Says each of these.
    pub(super) fn messages(&mut self, messages: Vec<Diagnostic>) {
        for message in messages {
            self.event(&RunEvent::Message(message));
        }
    }

    /// Writes lines to standard error as they are. They must have been escaped.
    #[expect(clippy::unused_self, reason = "only while the outputs are open are commands to GitHub stopped")]
    pub(super) fn block(&mut self, text: &str) {
        // Nobody to tell if this fails.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Says why there is no report, and ends.
    pub(super) fn failure(&mut self, failure: Failure) -> ExitStatus {
        let status = self.said(failure);
        self.close(status)
    }

    /// Says what went wrong. The status is for the caller to pass on.
    pub(super) fn said(&mut self, failure: Failure) -> ExitStatus {
        self.messages(failure.messages);
        failure.status
    }

    /// The end of a command that has nothing to report but a status.
    pub(super) fn close(&mut self, status: ExitStatus) -> ExitStatus {
        let nothing = Report {
            command: self.command.to_owned(),
            status,
            kernel: KernelReport::default(),
            audit: false,
            targets: Vec::new(),
            duration: self.begun.elapsed(),
            notes: Vec::new(),
        };
        let result = self.reporters.stop(&(&nothing).into());
        Self::ended(status, result)
    }

    /// The end: the report's own status, unless it could not be written.
    pub(super) fn finish(&mut self, report: &Report) -> ExitStatus {
        self.finish_wire(&report.into())
    }

    /// The same where a person is told nothing: for a report in which there is nothing to tell.
    pub(super) fn finish_silently(&mut self, report: &Report) -> ExitStatus {
        let result = self.reporters.stop(&report.into());
        Self::ended(report.status, result)
    }

    /// The same for a report that was read from files.
    pub(super) fn finish_wire(&mut self, report: &json::Report) -> ExitStatus {
        let result = self.reporters.finish_wire(report);
        Self::ended(report.status(), result)
    }

    fn ended(status: ExitStatus, result: io::Result<()>) -> ExitStatus {
        match result {
            Ok(()) => status,
            // A reader that is gone has seen enough; the verdict stands.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => status,
            Err(error) => {
                fatal(&format!("cannot write the report: {error}"));
                let interrupted = error.kind() == io::ErrorKind::Interrupted;
                status.or(if interrupted { ExitStatus::Interrupted } else { ExitStatus::Fault })
            }
        }
    }
}

/// The files that were asked for, all of them or none.
fn files(args: &OutputArgs) -> Result<[Option<AtomicFile>; 3], ExitStatus> {
    let named = [("--report", &args.report), ("--junit", &args.junit), ("--sarif", &args.sarif)];
    let mut opened: [Option<AtomicFile>; 3] = [None, None, None];
    let wrong = open_all(&named, args.message_format, &mut opened).err();
    let Some(message) = wrong else { return Ok(opened) };
    opened.into_iter().flatten().for_each(AtomicFile::undo);
    fatal(&message);
    Err(ExitStatus::Usage)
}

fn open_all(
    named: &[(&str, &Option<PathBuf>); 3],
    format: MessageFormat,
    opened: &mut [Option<AtomicFile>; 3],
) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("cannot create `{}`: {error}", path.display());
    for (index, (flag, path)) in named.iter().enumerate() {
        let Some(path) = path else { continue };
        let file = AtomicFile::open(path).map_err(|error| failed(path, error))?;
        let (before, rest) = opened.split_at_mut(index);
        let file = rest[0].insert(file);
        let same =
            before.iter().zip(named).find(|(other, _)| other.as_ref().is_some_and(|other| file.is(other)));
        if let Some((_, (other, _))) = same {
            return Err(format!("`{other}` and `{flag}` both go to `{}`", path.display()));
        }
        if format == MessageFormat::Json && file.is(io::stdout()) {
            let path = path.display();
            return Err(format!("`{flag}` and `--message-format json` both go to `{path}`"));
        }
    }
    for file in opened.iter().flatten() {
        file.begin().map_err(|error| failed(file.path(), error))?;
    }
    Ok(())
}

pub(super) fn color(args: &OutputArgs) -> human::Color {
    match args.color {
        Color::Auto => human::Color::Auto,
        Color::Always => human::Color::Always,
        Color::Never => human::Color::Never,
    }
}

/// The way from the root of the repository to the workspace.
fn prefix(workspace: &Path) -> Prefix {
    let root = workspace.ancestors().find(|folder| folder.join(".git").exists());
    let way = root.and_then(|root| workspace.strip_prefix(root).ok());
    Prefix(way.and_then(Path::to_str).unwrap_or_default().to_owned())
}

/// One line on standard error, as it is.
pub(super) fn plain(line: &str) {
    // Nobody to tell if this fails.
    let _ = writeln!(io::stderr(), "{line}");
}

/// One line on standard error, for when there is no reporter (yet).
pub(super) fn fatal(message: &str) {
    plain(&format!("error: {}", escape::line(message)));
}

/// Writes to standard output; a reader that is gone has seen enough.
pub(super) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

//! What a person reads, on standard error: status lines, tests as they end, the output of those
//! that failed, and at the end every violation once and one line that sums it up.

use super::excerpt::excerpt;
use super::json::{Report as Wire, wire};
use super::progress::Progress;
use super::{Reporter, Unused, escape, render, summary, unite};
use crate::diagnostic::Severity;
use crate::event::{GuestOutcome, RunEvent, TestId, TestReport, TestVerdict};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default().bold();
const NAME: Style = AnsiColor::Magenta.on_default().bold();
const TEST: Style = AnsiColor::Cyan.on_default().bold();

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// If it is a terminal and the environment has nothing against it (`NO_COLOR`).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to use colour on standard error.
    pub fn on_stderr(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never,
        }
    }
}

/// How much is said, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Colour and other styles.
    pub styled: bool,
    /// Only what went wrong.
    pub quiet: bool,
    /// A progress bar; see [`Progress::wanted`].
    pub progress: bool,
    /// Also which grants for single crates were used.
    pub verbose: bool,
    /// What unused grants are.
    pub unused: Unused,
    /// Paths beneath it are shown relative to it.
    pub base: Option<PathBuf>,
}

/// The reporter for people.
#[derive(Debug)]
pub struct Human<W: Write> {
    out: W,
    options: Options,
    progress: Progress,
    failures: Vec<String>,
    failed: Option<io::Error>,
    /// The beginning of a character that the last piece of output ended in, and whose it is.
    rest: (Option<TestId>, Vec<u8>),
    /// Output was printed that did not end its line.
    open_line: bool,
    /// Anything was printed.
    said: bool,
}

impl<W: Write> Human<W> {
    /// A reporter that writes to `out`, which should be standard error.
    pub fn new(out: W, options: Options) -> Self {
        let progress = Progress::new(options.progress);
        Self {
            out,
            options,
            progress,
            failures: Vec::new(),
            failed: None,
            rest: (None, Vec::new()),
            open_line: false,
            said: false,
        }
    }

    /// Where it writes to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes what has been escaped already.
    fn print(&mut self, text: &str) {
        let Self { out, progress, failed, open_line, said, .. } = self;
        if text.is_empty() || failed.is_some() {
            return;
        }
        *said = true;
        let broken = std::mem::take(open_line);
        let result = progress.suspend(|| {
            if broken {
                out.write_all(b"\n")?;
            }
            out.write_all(text.as_bytes())
        });
        if let Err(error) = result {
            *failed = Some(error);
        }
    }

    /// An empty line between what was said and what comes.
    fn gap(&mut self) {
        if self.said {
            self.print("\n");
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.options.styled { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn status(&mut self, style: Style, verb: &str, text: &str) {
        let line = format!("{} {}\n", self.paint(style, &format!("{verb:>12}")), escape::line(text));
        self.print(&line);
    }

    /// `        PASS [   0.004s] bytes::test_buf from_slice`
    fn test_line(&self, style: Style, verb: &str, elapsed: Option<Duration>, test: &TestId) -> String {
        let time = elapsed.map_or_else(|| " ".repeat(10), |time| format!("{:>9.3}s", time.as_secs_f64()));
        format!(
            "{} [{time}] {} {}",
            self.paint(style, &format!("{verb:>12}")),
            self.paint(NAME, &escape::line(&test.binary)),
            self.paint(TEST, &escape::line(&test.name))
        )
    }

    fn output(&mut self, test: Option<&TestId>, bytes: &[u8]) {
        if self.rest.0.as_ref() != test {
            self.flush_rest();
        }
        let mut all = std::mem::take(&mut self.rest.1);
        all.extend_from_slice(bytes);
        let cut = all.len() - incomplete_tail(&all);
        let text = escape::block(&all[..cut]);
        self.rest = (test.cloned(), all.split_off(cut));
        self.print_output(&text);
    }

    fn flush_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest.1);
        self.print_output(&escape::block(&rest));
    }

    fn print_output(&mut self, text: &str) {
        if !text.is_empty() {
            // It goes on where the last piece ended.
            self.open_line = false;
            self.print(text);
            self.open_line = !text.ends_with('\n');
        }
    }

    fn test_finished(&mut self, test: &TestReport) {
        self.progress.test_finished(&test.id);
        let (verb, style) = verb(test.verdict);
        let elapsed = test.outcome.is_some().then_some(test.duration);
        let mut text = self.test_line(style, verb, elapsed, &test.id);
        if let TestVerdict::Violated { passed: false } = test.verdict {
            text += " (and failed)";
        }
        if test.attempts > 1 {
            _ = write!(text, " ({} attempts)", test.attempts);
        }
        if let Some(end) = test.outcome.as_ref().filter(|_| is_bad(test.verdict)).and_then(ending) {
            _ = write!(text, " ({})", escape::line(&end));
        }
        if !test.reason.is_empty() {
            _ = write!(text, " ({})", escape::line(&test.reason));
        }
        text.push('\n');
        let violations: Vec<_> = test.violations.iter().map(wire::Violation::from).collect();
        for united in unite::violations(&violations) {
            _ = writeln!(text, "{:>12} {}", "", render::attempt(united.violation));
        }
        if is_bad(test.verdict) {
            self.failures.push(text.clone());
            // A test that passed and was violated has nothing to say about it.
            if !test.output.is_empty() && test.verdict != (TestVerdict::Violated { passed: true }) {
                _ = writeln!(text, "{}", self.header(style, &test.id));
                let output = escape::block(&excerpt(&test.output));
                text += &output;
                if !output.ends_with('\n') {
                    text.push('\n');
                }
                text.push('\n');
            }
        } else if self.options.quiet || test.verdict == TestVerdict::Ignored {
            return;
        }
        self.print(&text);
    }

    fn header(&self, style: Style, test: &TestId) -> String {
        let name = format!("{} {}", escape::line(&test.binary), escape::line(&test.name));
        self.paint(style, &format!("──── output of {name} ────"))
    }
}

impl<W: Write> Reporter for Human<W> {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Message(message) => {
                if !self.options.quiet || message.severity == Severity::Error {
                    let renderer = render::renderer(self.options.styled);
                    let text = render::diagnostic(message, self.options.base.as_deref(), &renderer);
                    self.print(&format!("{text}\n"));
                    self.said = false;
                }
            }
            RunEvent::Status { .. } | RunEvent::TestsStarted { .. } | RunEvent::TestSlow { .. }
                if self.options.quiet => {}
            RunEvent::Status { verb, text } => self.status(GOOD, verb, text),
            RunEvent::TestsStarted { tests, filtered, targets } => {
                self.progress.start(*tests);
                let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
                let mut text = format!("{} in {}", plural(*tests, "test"), plural(*targets, "target"));
                if *filtered > 0 {
                    _ = write!(text, ", {filtered} filtered out");
                }
                self.status(GOOD, "Starting", &text);
            }
            RunEvent::TestStarted { test, attempt } => {
                if *attempt == 1 {
                    self.progress.test_started(test);
                } else if !self.options.quiet {
                    let line = self.test_line(ODD, &format!("TRY {attempt}"), None, test);
                    self.print(&format!("{line}\n"));
                }
            }
            RunEvent::TestSlow { test, elapsed } => {
                let line = self.test_line(ODD, "SLOW", Some(*elapsed), test);
                self.print(&format!("{line}\n"));
            }
            RunEvent::Output { test, bytes } => self.output(test.as_ref(), bytes),
            RunEvent::TestFinished(test) => {
                self.flush_rest();
                self.test_finished(test);
            }
            RunEvent::TargetFinished(target) => {
                self.flush_rest();
                if let Some(end) = target.outcome.as_ref().and_then(ending) {
                    let text = format!("{} {}: {end}", target.package, target.name);
                    self.status(BAD, "Ended", &text);
                }
                for note in &target.notes {
                    self.event(&RunEvent::Message(note.clone()));
                }
            }
        }
    }

    /// Writes the end of a report: violations, failures, unused grants, notes and the summary.
    fn finish_wire(&mut self, report: &Wire) -> io::Result<()> {
        self.flush_rest();
        self.progress.finish();
        let renderer = render::renderer(self.options.styled);
        for united in unite::wire(report) {
            self.gap();
            self.print(&render::violation(&united, &renderer));
        }
        let severity = self.options.unused.severity(report);
        let unused = if severity.is_some() { report.unused.as_slice() } else { &[] };
        for grant in unused {
            self.gap();
            self.print(&render::unused(grant, severity, &renderer));
        }
        if self.options.verbose {
            for (grant, uses) in unite::used_by_crates(report) {
                self.status(GOOD, "Granted", &render::used_by_crates(grant, uses));
            }
        }
        for note in &report.notes {
            self.gap();
            let note = format!("{}: {}\n", self.paint(GOOD, "note"), escape::block(note.as_bytes()));
            self.print(&note);
        }
        let news = report.counts.violations > 0 || !unused.is_empty() || !report.notes.is_empty();
        if news || !self.failures.is_empty() {
            self.gap();
        }
        for failure in std::mem::take(&mut self.failures) {
            self.print(&failure);
        }
        let fine = matches!(report.verdict, wire::Verdict::Passed);
        let silent = report.counts.violations == 0 && report.counts.not_run == 0;
        if !(fine && self.options.quiet && silent) {
            let style = match report.verdict {
                wire::Verdict::Passed => GOOD,
                wire::Verdict::Exited => ODD,
                _ => BAD,
            };
            self.status(style, summary::verb(report.verdict), &summary::facts(report));
        }
        if let Err(error) = self.out.flush() {
            self.failed.get_or_insert(error);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The messages have said everything.
    fn stop(&mut self, _report: &Wire) -> io::Result<()> {
        self.flush_rest();
        self.progress.finish();
        let flushed = self.out.flush();
        self.failed.take().map_or(flushed, Err)
    }
}

fn is_bad(verdict: TestVerdict) -> bool {
    !matches!(verdict, TestVerdict::Passed | TestVerdict::Flaky | TestVerdict::Ignored | TestVerdict::NotRun)
}

fn verb(verdict: TestVerdict) -> (&'static str, Style) {
    match verdict {
        TestVerdict::Passed => ("PASS", GOOD),
        TestVerdict::Flaky => ("FLAKY", ODD),
        TestVerdict::Failed => ("FAIL", BAD),
        TestVerdict::Violated { .. } => ("VIOLATED", BAD),
        TestVerdict::TimedOut => ("TIMEOUT", BAD),
        TestVerdict::Killed => ("KILLED", BAD),
        TestVerdict::Ignored => ("IGNORED", ODD),
        TestVerdict::NotRun => ("NOT RUN", ODD),
    }
}

/// How a guest ended where that is worth a word: not for exits, which libtest or the guest chose.
fn ending(outcome: &GuestOutcome) -> Option<String> {
    Some(match outcome {
        GuestOutcome::Exited(_) | GuestOutcome::Panicked => return None,
        GuestOutcome::Trapped(trap) => format!("trapped: {trap}"),
        GuestOutcome::Limit(limit) => format!("reached its limit of {limit}"),
        GuestOutcome::TimedOut(limit) => format!("ended at its time limit of {}s", limit.as_secs_f64()),
        GuestOutcome::Killed(signal) => format!("killed by signal {signal}"),
        GuestOutcome::Interrupted => "interrupted".to_owned(),
    })
}

/// Length of a character at the end of `bytes` that more bytes could complete, at most 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match std::str::from_utf8(&bytes[bytes.len().saturating_sub(3)..]) {
        Ok(_) => 0,
        Err(_) => (1..=bytes.len().min(3))
            .find(|tail| {
                let end = &bytes[bytes.len() - tail..];
                matches!(std::str::from_utf8(end), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
            })
            .unwrap_or(0),
    }
}

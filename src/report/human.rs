//! What a person reads, on standard error: status lines, tests as they end, the output of those
//! that failed, and at the end every cause of violations once and one line that sums it up. Whatever a guest
//! does, it is no more than a person reads: [`fold`] has the bounds.

use super::excerpt::excerpt;
use super::json::{Report as Wire, wire};
use super::progress::Progress;
use super::{Reporter, Unused, dedup, escape, fold, render, summary};
use crate::event::{GuestOutcome, RunEvent, TestId, TestReport, TestVerdict};
use annotate_snippets::Renderer;
use anstyle::{AnsiColor, Style};
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default().bold();
const NAME: Style = AnsiColor::Magenta.on_default().bold();
const TEST: Style = AnsiColor::Cyan.on_default().bold();

/// Lines that stay for the parts of the end, as each of them begins.
const FOR_THE_END: usize = 110;
const FOR_WHAT_FOLLOWS_VIOLATIONS: usize = 40;
const FOR_WHAT_FOLLOWS_UNUSED: usize = 20;
const FOR_FAILURES: usize = 12;
/// Accesses that are named beside a test's line.
const MOST_ATTEMPTS: usize = 4;
/// Lines of the output of all failed tests together. What a guest prints is no word of ours.
const MOST_OUTPUT: usize = 1000;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// If it is a terminal and the environment has nothing against it (`NO_COLOR`).
    #[default]
    Auto,
    Always,
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
    /// The tests that went wrong, in a line or two each, and how many there are.
    failures: Vec<String>,
    failure_count: usize,
    room: fold::Room,
    /// Messages that were not shown for lack of room.
    left_out: [usize; 3],
    /// Lines of the output of failed tests that may still be shown.
    output_lines: usize,
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
            failure_count: 0,
            room: fold::Room::default(),
            left_out: [0; 3],
            output_lines: MOST_OUTPUT,
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
            self.paint(NAME, &fold::short(&escape::line(&test.binary))),
            self.paint(TEST, &fold::short(&escape::line(&test.name)))
        )
    }

    /// Shows a message, or counts it where there is no room.
    fn message(&mut self, message: &Diagnostic) {
        let kind = message.severity as usize;
        // An error is worth more than what was said before it.
        let later = if message.severity == Severity::Error { FOR_THE_END / 2 } else { FOR_THE_END };
        // What does not fit is not even looked at: each is as long as the file that it is about.
        let shown = (self.left_out[kind] == 0).then(|| {
            let renderer = render::renderer(self.options.styled);
            let text = render::diagnostic(message, self.options.base.as_deref(), &renderer);
            self.room.take(&format!("{text}\n"), later)
        });
        match shown.flatten() {
            Some(text) => {
                self.print(&text);
                self.said = false;
            }
            None => self.left_out[kind] += 1,
        }
    }

    /// Says how many messages were not shown.
    fn say_left_out(&mut self) {
        let counts = std::mem::take(&mut self.left_out);
        let words = [("error", Severity::Error), ("warning", Severity::Warning), ("note", Severity::Note)];
        let parts: Vec<String> = words
            .into_iter()
            .map(|(word, severity)| (word, counts[severity as usize]))
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| format!("{count} more {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        if !parts.is_empty() {
            self.gap();
            self.note(&format!("{}; `--message-format json` has all of them", parts.join(", ")));
        }
    }

    /// Each cause of violations as long as there is room, one of each kind first; then how many more there are.
    fn violations(&mut self, report: &Wire, renderer: &Renderer) {
        let causes = fold::causes(dedup::wire(report));
        let mut shown: BTreeMap<usize, String> = BTreeMap::new();
        for index in fold::by_kind(&causes) {
            let text = format!("{}\n", render::cause(&causes[index], renderer));
            let Some(text) = self.room.take(&text, FOR_WHAT_FOLLOWS_VIOLATIONS) else { break };
            shown.insert(index, text);
        }
        for text in shown.values() {
            self.gap();
            self.print(text.strip_suffix('\n').unwrap_or(text));
        }
        let left_out = causes.iter().enumerate().filter(|(index, _)| !shown.contains_key(index));
        if let Some(rest) = fold::rest(left_out.map(|(_, cause)| cause)) {
            self.gap();
            self.note(&format!("{rest}; `--report` has all of them"));
        }
    }

    fn note(&mut self, text: &str) {
        let note = format!("{}: {}\n", self.paint(GOOD, "note"), escape::line(text));
        self.print(&note);
    }

    /// What was tried, beneath the line of a test.
    fn attempts(&mut self, test: &TestReport) -> String {
        let mut text = String::new();
        let violations: Vec<_> = test.violations.iter().map(wire::Violation::from).collect();
        let distinct = dedup::violations(&violations);
        for (index, one) in distinct.iter().enumerate() {
            if !self.room.take_line(FOR_THE_END - 10) {
                break;
            }
            if index == MOST_ATTEMPTS {
                _ = writeln!(text, "{:>12} and {} more", "", distinct.len() - index);
                break;
            }
            _ = writeln!(text, "{:>12} {}", "", render::short_attempt(one.violation));
        }
        text
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
            _ = write!(text, " ({})", fold::short(&escape::line(&end)));
        }
        if !test.reason.is_empty() {
            _ = write!(text, " ({})", fold::short(&escape::line(&test.reason)));
        }
        text.push('\n');
        text += &self.attempts(test);
        if is_bad(test.verdict) {
            self.failure_count += 1;
            if self.failures.len() < fold::MOST_LINES {
                self.failures.push(text.clone());
            }
            // A test that passed and was violated has nothing to say about it.
            if !test.output.is_empty() && test.verdict != (TestVerdict::Violated { passed: true }) {
                _ = writeln!(text, "{}", self.header(style, &test.id));
                let output = self.excerpt(&test.output);
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

    /// What is shown of an output.
    fn excerpt(&mut self, output: &[u8]) -> String {
        let shown = escape::block(&excerpt(output));
        let lines = shown.lines().count();
        match self.output_lines.checked_sub(lines) {
            Some(left) => {
                self.output_lines = left;
                shown
            }
            None => format!("[… {} bytes; they are in `--report` and `--junit` …]\n", output.len()),
        }
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
                    self.message(message);
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
        self.violations(report, &renderer);
        let severity = self.options.unused.severity(report);
        let unused = if severity.is_some() { report.unused.as_slice() } else { &[] };
        for (index, grant) in unused.iter().enumerate() {
            let text = render::unused(grant, severity, &renderer);
            let Some(text) = self.room.take(&format!("{text}\n"), FOR_WHAT_FOLLOWS_UNUSED) else {
                self.gap();
                self.note(&format!(
                    "{} more unused grants; `--report` has all of them",
                    unused.len() - index
                ));
                break;
            };
            self.gap();
            self.print(text.strip_suffix('\n').unwrap_or(&text));
        }
        if self.options.verbose {
            let granted = dedup::used_by_crates(report);
            for (index, (grant, uses)) in granted.iter().enumerate() {
                if !self.room.take_line(FOR_FAILURES) {
                    self.note(&format!("{} more grants for single crates were used", granted.len() - index));
                    break;
                }
                self.status(GOOD, "Granted", &render::used_by_crates(grant, *uses));
            }
        }
        for (index, note) in report.notes.iter().enumerate() {
            self.gap();
            if !(self.room.take_line(FOR_FAILURES) && self.room.take_line(FOR_FAILURES)) {
                self.note(&format!("{} more notes; `--report` has all of them", report.notes.len() - index));
                break;
            }
            self.note(note);
        }
        self.say_left_out();
        let news = report.counts.violations > 0 || !unused.is_empty() || !report.notes.is_empty();
        if news || !self.failures.is_empty() {
            self.gap();
        }
        let mut shown = 0;
        for failure in std::mem::take(&mut self.failures) {
            let Some(failure) = self.room.take(&failure, 0) else { break };
            self.print(&failure);
            shown += 1;
        }
        if shown < self.failure_count {
            let text = format!("{} more tests that did not pass, above", self.failure_count - shown);
            self.note(&text);
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
        self.say_left_out();
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

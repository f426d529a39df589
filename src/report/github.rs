//! `--message-format github`: what a person reads, and annotations for GitHub's pages.
//!
//! GitHub takes any line that begins with `::`, on either stream, as a command to itself, and the
//! older `##[…]` anywhere in a line. So from the first to the last byte of the run, commands are
//! stopped by a token that no guest can know; only then do our own annotations follow, on the same
//! stream, so that their order is certain.

use super::human::{Human, Options};
use super::json::wire::{Severity, TestVerdict, Verdict};
use super::json::{Report as Wire, wire};
use super::locate::{Location, Prefix};
use super::{Reporter, Unused, dedup, escape, fold, render, summary};
use crate::event::RunEvent;
use sandbox_policy::diagnostic;
use std::fmt::Write as _;
use std::io::{self, Write};

/// The reporter for a job of GitHub Actions.
#[derive(Debug)]
pub struct Github<W: Write> {
    human: Human<W>,
    prefix: Prefix,
    unused: Unused,
    base: Option<std::path::PathBuf>,
    token: String,
    messages: Vec<wire::Message>,
    left_out: usize,
    failed: Option<io::Error>,
}

impl<W: Write> Github<W> {
    /// A reporter that writes to `out`, which should be standard error; commands are stopped from
    /// now on. An error if the kernel gives no random token.
    pub fn new(mut out: W, options: Options, prefix: Prefix) -> io::Result<Self> {
        let token = token()?;
        out.write_all(format!("::stop-commands::{token}\n").as_bytes())?;
        out.flush()?;
        let unused = options.unused;
        let base = options.base.clone();
        let human = Human::new(out, options);
        Ok(Self { human, prefix, unused, base, token, messages: Vec::new(), left_out: 0, failed: None })
    }

    /// Where it writes to.
    pub fn get_mut(&mut self) -> &mut W {
        self.human.get_mut()
    }

    /// Lets GitHub take commands again, and gives it ours.
    fn annotate(&mut self, annotations: &str) -> io::Result<()> {
        let mut text = format!("::{}::\n", self.token);
        for message in &self.messages {
            text += &self.message(message);
        }
        if self.left_out > 0 {
            text += &command("warning", None, "cargo-sandbox", &format!("{} more messages", self.left_out));
        }
        text += annotations;
        let out = self.human.get_mut();
        let annotated = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.failed.take().map_or(annotated, Err)
    }

    fn message(&self, message: &wire::Message) -> String {
        let level = match message.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let place = message.spans.first().and_then(|span| {
            let base = self.base.as_ref()?.to_str()?;
            let file = span.file.text.strip_prefix(base)?.trim_start_matches('/');
            self.prefix.file(file, span.line)
        });
        let notes = message.notes.iter().chain(message.help.iter().map(|help| &help.message));
        let mut body = escape::line(&message.message).into_owned();
        for note in notes {
            _ = write!(body, "\n{}", escape::line(note));
        }
        let title = if message.code.is_empty() { "cargo-sandbox" } else { &message.code };
        command(level, place.as_ref(), title, &body)
    }
}

impl<W: Write> Reporter for Github<W> {
    fn event(&mut self, event: &RunEvent) {
        let messages = match event {
            RunEvent::Message(message) => std::slice::from_ref(message),
            RunEvent::TargetFinished(target) => target.notes.as_slice(),
            _ => &[],
        };
        let room = MOST_ANNOTATIONS.saturating_sub(self.messages.len()).min(messages.len());
        self.messages.extend(messages[..room].iter().map(Into::into));
        self.left_out += messages.len() - room;
        self.human.event(event);
    }

    fn finish_wire(&mut self, report: &Wire) -> io::Result<()> {
        let human = self.human.finish_wire(report);
        let text = annotations(report, &self.prefix, self.unused);
        self.annotate(&text).and(human)
    }

    fn stop(&mut self, report: &Wire) -> io::Result<()> {
        let human = self.human.stop(report);
        self.annotate("").and(human)
    }
}

/// Annotations of one kind that are written; the rest is counted. GitHub shows far fewer of a step.
const MOST_ANNOTATIONS: usize = 50;

/// The annotations of a report, one line each: causes of violations, tests that did not pass, unused grants
/// as `unused` says, and the verdict.
pub fn annotations(report: &Wire, prefix: &Prefix, unused: Unused) -> String {
    let mut text = String::new();
    let causes = fold::causes(dedup::wire(report));
    let mut shown = fold::by_kind(&causes);
    let rest = shown.split_off(shown.len().min(MOST_ANNOTATIONS));
    shown.sort_unstable();
    for cause in shown.into_iter().map(|index| &causes[index]) {
        let violation = cause.first.violation;
        let mut body = render::title(violation);
        let attribution = render::attribution(violation);
        if !attribution.is_empty() {
            _ = write!(body, "\nfrom {attribution}");
        }
        for note in render::notes_of_cause(cause) {
            _ = write!(body, "\n{note}");
        }
        if let Some(suggestion) = &cause.suggestion() {
            let manifest = super::render::place_to_add(&suggestion.manifest);
            let paste = escape::block(suggestion.paste.as_bytes());
            _ = write!(body, "\nto allow it, add to {manifest}:\n{paste}");
        }
        let level = if violation.allowed { "warning" } else { "error" };
        let place = prefix.violation(violation);
        text += &command(level, place.as_ref(), violation.operation.code(), &body);
    }
    if let Some(rest) = fold::rest(rest.into_iter().map(|index| &causes[index])) {
        text += &command("error", None, "cargo-sandbox", &rest);
    }
    let mut failed = 0;
    for test in report.targets.iter().flat_map(|target| &target.tests) {
        let what = match test.verdict {
            TestVerdict::Failed => "failed",
            TestVerdict::TimedOut => "timed out",
            TestVerdict::Killed => "was killed",
            // Said by its violations, unless it failed as well.
            TestVerdict::Violated if test.passed == Some(false) => "failed",
            _ => continue,
        };
        failed += 1;
        if failed <= MOST_ANNOTATIONS {
            let name = format!("{} {}", escape::line(&test.binary), escape::line(&test.name));
            text += &command("error", None, "test", &format!("test {} {what}", fold::short(&name)));
        }
    }
    if failed > MOST_ANNOTATIONS {
        let more = format!("{} more tests did not pass", failed - MOST_ANNOTATIONS);
        text += &command("error", None, "test", &more);
    }
    let not_run = summary::not_run(report);
    for line in not_run.iter().take(MOST_ANNOTATIONS) {
        text += &command("notice", None, "not run", line);
    }
    if not_run.len() > MOST_ANNOTATIONS {
        let more = format!("{} more reasons why tests were not run", not_run.len() - MOST_ANNOTATIONS);
        text += &command("notice", None, "not run", &more);
    }
    let severity = unused.severity(report);
    if severity.is_some() && report.unused.len() > MOST_ANNOTATIONS {
        let more = format!("{} more unused grants", report.unused.len() - MOST_ANNOTATIONS);
        text += &command("warning", None, "unused-grant", &more);
    }
    for grant in report.unused.iter().filter(|_| severity.is_some()).take(MOST_ANNOTATIONS) {
        let level = if severity == Some(diagnostic::Severity::Error) { "error" } else { "warning" };
        let place = prefix.grant(&grant.place);
        text += &command(level, place.as_ref(), "unused-grant", &render::unused_title(grant));
    }
    let level = match report.verdict {
        Verdict::Passed => "notice",
        _ => "error",
    };
    let title = format!("cargo-sandbox {} (exit status {})", report.verdict.word(), report.exit_status);
    text + &command(level, None, &title, &summary::facts(report))
}

fn command(level: &str, place: Option<&Location>, title: &str, message: &str) -> String {
    let mut line = format!("::{level} ");
    if let Some(Location { file, line: number, columns }) = place {
        _ = write!(line, "file={},line={number},", escape::github_property(file));
        if let Some((first, last)) = columns {
            _ = write!(line, "col={first},endColumn={last},");
        }
    }
    _ = writeln!(line, "title={}::{}", escape::github_property(title), escape::github_message(message));
    line
}

/// 128 random bits in hexadecimal.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

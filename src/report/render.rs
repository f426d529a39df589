//! Diagnostics as rustc prints them, through annotate-snippets. Every text is escaped here, so that
//! what comes out may be written to a terminal as it is.

use super::dedup::Distinct;
use super::escape;
use super::fold::{self, Cause};
use super::json::wire::{Grant, GrantPlace, Suggestion, UnusedGrant, Violation};
use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Padding, Renderer, Snippet, Title,
};
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use std::path::Path;

/// How many tests are named where a violation happened in several.
const TESTS_NAMED: usize = 3;

/// Renders with or without colour.
pub fn renderer(styled: bool) -> Renderer {
    if styled { Renderer::styled() } else { Renderer::plain() }
}

/// What was tried, escaped for one line: ``read `/etc/passwd` ``.
pub fn attempt(violation: &Violation) -> String {
    format!("{} `{}`", violation.operation, escape::line_bytes(&violation.resource.bytes()))
}

/// The title of a violation without its code.
pub fn title(violation: &Violation) -> String {
    format!("unexpected access: {}", attempt(violation))
}

/// Whose call it was: ```copy_file::main`, in copy-file v0.1.0``. Empty if unknown.
pub fn attribution(violation: &Violation) -> String {
    let Some(origin) = &violation.origin else { return String::new() };
    let package = escape::line(&origin.package);
    let whose = match &origin.version {
        Some(version) => format!("in {package} v{}", escape::line(version)),
        None => format!("in {package}"),
    };
    match &*origin.frame.function {
        "" => whose,
        function => format!("`{}`, {whose}", escape::line(function)),
    }
}

/// The sentence that says which wall denied it, and why.
pub fn reason(violation: &Violation) -> String {
    let package = escape::line(&violation.package);
    let why = match &violation.exception {
        Some(exception) if exception.entry.is_empty() => "it is a protected place".to_owned(),
        Some(exception) => {
            let place = match &*exception.manifest {
                "" => "on the command line".to_owned(),
                manifest => format!("at {}:{}", escape::line(manifest), exception.line),
            };
            let by = format!("exception `{}` {place}", escape::line(&exception.entry));
            return match violation.allowed {
                true => format!("allowed by `--audit`; {by} would deny it"),
                false => format!("denied by {by}"),
            };
        }
        None if package.is_empty() => "no grant on the command line covers it".to_owned(),
        None => format!("no grant of {package} covers it"),
    };
    match violation.allowed {
        true => format!("allowed by `--audit`; {why}"),
        false => format!("denied by the {} wall; {why}", violation.wall),
    }
}

/// All notes of a violation, the reason first.
pub fn notes(distinct: &Distinct<'_>) -> Vec<String> {
    let violation = distinct.violation;
    let mut notes = vec![reason(violation)];
    if !violation.note.is_empty() {
        notes.push(escape::line(&violation.note).into_owned());
    }
    let times = if distinct.count == 1 { String::new() } else { format!("{} times", distinct.count) };
    let tests: Vec<_> =
        distinct.tests.iter().take(TESTS_NAMED).map(|test| format!("`{}`", escape::line(test))).collect();
    let mut place = match tests.len() {
        0 => String::new(),
        1 => format!("in test {}", tests[0]),
        _ => format!("in tests {}", tests.join(", ")),
    };
    if distinct.tests.len() > TESTS_NAMED {
        place += &format!(" and {} more", distinct.tests.len() - TESTS_NAMED);
    }
    let both = [times, place].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    if !both.is_empty() {
        notes.push(both);
    }
    if violation.origin.is_none() {
        notes.push("the artifact has no names, so where the access comes from is not known".to_owned());
    }
    notes
}

/// The notes of all that has one cause.
pub fn notes_of_cause(cause: &Cause<'_>) -> Vec<String> {
    let mut notes = notes(&cause.first);
    if let Some(more) = cause.more() {
        notes.insert(0, more);
    }
    notes
}

/// All that has one cause, for a person.
pub fn cause(cause: &Cause<'_>, renderer: &Renderer) -> String {
    let violation = cause.first.violation;
    let title = format!("unexpected access: {}", short_attempt(violation));
    shown(violation, title, notes_of_cause(cause), cause.suggestion().as_ref(), renderer)
}

/// [`attempt`] with no more of a long name than a person reads.
pub fn short_attempt(violation: &Violation) -> String {
    let name = escape::line_bytes(&violation.resource.bytes());
    format!("{} `{}`", violation.operation, fold::short(&name))
}

/// A violation with its source line, its notes and what would allow it.
pub fn violation(distinct: &Distinct<'_>, renderer: &Renderer) -> String {
    let violation = distinct.violation;
    shown(violation, title(violation), notes(distinct), violation.suggestion.as_ref(), renderer)
}

fn shown(
    violation: &Violation,
    title: String,
    notes: Vec<String>,
    allowing: Option<&Suggestion>,
    renderer: &Renderer,
) -> String {
    let level = if violation.allowed { Level::WARNING } else { Level::ERROR };
    let mut group = level.primary_title(title).id(violation.operation.code()).elements(None::<Padding>);
    let label = attribution(violation);
    if let Some(snippet) = &violation.snippet {
        let range = to_usize(snippet.start)..to_usize(snippet.end);
        let (text, ranges) = escape::source(&snippet.text, &[range]);
        group = group.element(
            Snippet::source(text)
                .line_start(snippet.line as usize)
                .path(escape::line(&snippet.path))
                .annotation(AnnotationKind::Primary.span(ranges[0].clone()).label(label)),
        );
        group = group.element(Padding);
    } else if let Some(origin) = &violation.origin {
        let frame = &origin.frame;
        if !frame.file.is_empty() {
            let mut place = Origin::path(escape::line(&frame.file));
            if frame.line > 0 {
                place = place.line(frame.line as usize);
                place = if frame.column > 0 { place.char_column(frame.column as usize) } else { place };
            }
            group = group.element(place);
        }
        group = group.element(Level::NOTE.message(format!("from {label}")));
    }
    group = group.elements(notes.into_iter().map(|note| Level::NOTE.message(note)));
    let mut groups = vec![group];
    groups.extend(allowing.map(suggestion));
    finish(renderer, &groups)
}

fn suggestion(suggestion: &Suggestion) -> Group<'static> {
    let message = format!("to allow it, add to {}", place_to_add(&suggestion.manifest));
    paste(Level::HELP.secondary_title(message), &suggestion.paste)
}

/// What a suggestion is to be added to.
pub fn place_to_add(manifest: &str) -> std::borrow::Cow<'_, str> {
    if manifest.is_empty() { "the command line".into() } else { escape::line(manifest) }
}

/// Text to paste. It is made by us for the guest's name and escaped for TOML; what is hidden in it
/// all the same is made visible.
fn paste<'t>(title: Title<'t>, text: &str) -> Group<'t> {
    if text.is_empty() {
        return Group::with_title(title);
    }
    let text = escape::block(text.as_bytes());
    title.element(Snippet::<Annotation<'_>>::source(text).line_numbering(false).fold(false))
}

/// A message about a manifest, the build or the run. Paths beneath `base` are shown relative to it.
pub fn diagnostic(message: &Diagnostic, base: Option<&Path>, renderer: &Renderer) -> String {
    let level = match message.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut title = level.primary_title(escape::line(&message.message));
    if !message.code.is_empty() {
        title = title.id(message.code);
    }
    let mut group = title.elements(None::<Padding>);
    let mut files: Vec<&std::sync::Arc<sandbox_policy::diagnostic::SourceFile>> = Vec::new();
    for span in &message.spans {
        if !files.iter().any(|file| file.path == span.file.path) {
            files.push(&span.file);
        }
    }
    for file in files {
        let spans: Vec<_> =
            message.spans.iter().enumerate().filter(|(_, span)| span.file.path == file.path).collect();
        let ranges: Vec<_> = spans.iter().map(|(_, span)| span.range.clone()).collect();
        let (text, ranges) = escape::source(&file.text, &ranges);
        let shown = base.and_then(|base| file.path.strip_prefix(base).ok()).unwrap_or(&file.path);
        let mut snippet = Snippet::source(text)
            .path(escape::line_bytes(std::os::unix::ffi::OsStrExt::as_bytes(shown.as_os_str())));
        for ((index, span), range) in spans.into_iter().zip(ranges) {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let mut annotation = kind.span(range);
            if !span.label.is_empty() {
                annotation = annotation.label(escape::line(&span.label).into_owned());
            }
            snippet = snippet.annotation(annotation);
        }
        group = group.element(snippet);
    }
    let notes = message.notes.iter().map(|note| Level::NOTE.message(escape::line(note)));
    group = group.elements(notes);
    let (sentences, pastes): (Vec<_>, Vec<_>) = message.help.iter().partition(|help| help.paste.is_empty());
    group =
        group.elements(sentences.into_iter().map(|help| Level::HELP.message(escape::line(&help.message))));
    let mut groups = vec![group];
    groups.extend(
        pastes
            .into_iter()
            .map(|help| paste(Level::HELP.secondary_title(escape::line(&help.message)), &help.paste)),
    );
    finish(renderer, &groups)
}

/// A grant for single crates that was used, in a line that is not yet escaped.
pub fn used_by_crates(grant: &Grant, uses: u64) -> String {
    let GrantPlace { manifest, line, entry, .. } = &grant.place;
    let accesses = if uses == 1 { "access" } else { "accesses" };
    format!("`{entry}` at {manifest}:{line}: {uses} {accesses}, by {} only", grant.by.join(" and "))
}

/// What is said of a grant that nothing used.
pub fn unused_title(grant: &UnusedGrant) -> String {
    let GrantPlace { entry, table, key, .. } = &grant.place;
    let by = if grant.by.is_empty() { String::new() } else { format!(" for {}", grant.by.join(" and ")) };
    format!(
        "unused grant: `{}`{} in `{}.{}`",
        escape::line(entry),
        escape::line(&by),
        escape::line(table),
        escape::line(key)
    )
}

/// A grant that nothing used: an error or else a warning.
pub fn unused(grant: &UnusedGrant, severity: Option<Severity>, renderer: &Renderer) -> String {
    let place = &grant.place;
    let title = unused_title(grant);
    let level = if severity == Some(Severity::Error) { Level::ERROR } else { Level::WARNING };
    let group = level
        .primary_title(title)
        .id("unused-grant")
        .element(Origin::path(escape::line(&place.manifest)).line(place.line.max(1) as usize))
        .element(
            Level::NOTE
                .message(format!("no access of {} needed it in this run", escape::line(&grant.package))),
        );
    finish(renderer, &[group])
}

fn finish(renderer: &Renderer, groups: &[Group<'_>]) -> String {
    let mut text = renderer.render(groups);
    // Text to paste ends in an empty line of the margin, which says nothing.
    if let Some((before, last)) = text.rsplit_once('\n')
        && anstream::adapter::strip_str(last).to_string().trim() == "|"
    {
        text.truncate(before.len());
    }
    text.push('\n');
    text
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

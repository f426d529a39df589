//! One kind of message for everything we say about a manifest, a build or a run: a severity, a
//! code, a place in a file, and help. Rendering is `report`'s.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Stops the command.
    Error,
    /// Does not stop it, but should be read.
    Warning,
    /// Worth knowing.
    Note,
}

/// A text file that diagnostics point into, read once.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text, lossily decoded if need be.
    pub text: String,
}

impl SourceFile {
    /// Line and column of a byte offset, both from 1, columns in characters.
    pub fn line_column(&self, offset: usize) -> (u32, u32) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        (line as u32, column as u32)
    }

    /// The bytes from a line and column (as [`line_column`](Self::line_column) counts) on, at most
    /// `length` and not beyond the line.
    pub fn range(&self, line: u32, column: u32, length: usize) -> Option<Range<usize>> {
        let begin: usize =
            self.text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
        let text = self.text.get(begin..)?.lines().next()?;
        let skipped: usize = text.chars().take(column.checked_sub(1)? as usize).map(char::len_utf8).sum();
        let length = text[skipped..].floor_char_boundary(length);
        Some(begin + skipped..begin + skipped + length)
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Bytes of [`SourceFile::text`].
    pub range: Range<usize>,
    /// What is said right at the underlined place; may be empty.
    pub label: String,
}

/// A suggestion, with the text to paste if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// `to allow it, add to Cargo.toml`
    pub message: String,
    /// Lines to paste, without a trailing newline; empty if the message says it all.
    pub paste: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error, warning or note.
    pub severity: Severity,
    /// Stable short name such as `fs-read` or `unknown-key`; empty for messages without one.
    pub code: &'static str,
    /// Lower case, no final period, literals in backticks.
    pub message: String,
    /// The first one is the primary place.
    pub spans: Vec<Span>,
    /// Further sentences, each rendered as `= note: …`.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Vec<Help>,
}

impl Diagnostic {
    /// A message of the given severity without a place.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            spans: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// Adds a place; the first one added is the primary one.
    #[must_use]
    pub fn at(mut self, file: &Arc<SourceFile>, range: Range<usize>, label: impl Into<String>) -> Self {
        self.spans.push(Span { file: Arc::clone(file), range, label: label.into() });
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds help in one sentence.
    #[must_use]
    pub fn help(self, message: impl Into<String>) -> Self {
        self.help_paste(message, "")
    }

    /// Adds help with text to paste.
    #[must_use]
    pub fn help_paste(mut self, message: impl Into<String>, paste: impl Into<String>) -> Self {
        self.help.push(Help { message: message.into(), paste: paste.into() });
        self
    }
}

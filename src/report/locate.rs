//! Where an annotation or a SARIF result points to, relative to the root of the repository.

use super::escape;
use super::json::wire::{GrantPlace, Violation};

/// A place in a file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Relative to the root of the repository, with `/`.
    pub file: String,
    /// Line from 1.
    pub line: u32,
    /// First and last character to mark, from 1, if known.
    pub columns: Option<(u32, u32)>,
}

/// The way from the root of the repository to the workspace: `""`, or `crates/tool`. What reports
/// show is relative to the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(pub String);

impl Prefix {
    fn join(&self, file: &str) -> Option<String> {
        let file = escape::relative_path(file)?;
        match self.0.trim_end_matches('/') {
            "" => Some(file.to_owned()),
            prefix => Some(format!("{prefix}/{file}")),
        }
    }

    /// The source line of a violation, if it is in the repository; otherwise the manifest that
    /// would allow it. `None` if neither is a path beneath the root.
    pub fn violation(&self, violation: &Violation) -> Option<Location> {
        let snippet = violation.snippet.as_ref().and_then(|snippet| {
            let bytes = |end: u64| usize::try_from(end).unwrap_or(usize::MAX).min(snippet.text.len());
            let characters = |end: u64| {
                snippet.text[..snippet.text.floor_char_boundary(bytes(end))].chars().count() as u32
            };
            let (start, end) = (characters(snippet.start), characters(snippet.end));
            Some(Location {
                file: self.join(&snippet.path)?,
                line: snippet.line.max(1),
                columns: (end > start).then_some((start + 1, end)),
            })
        });
        let frame = || {
            let frame = &violation.origin.as_ref().filter(|origin| origin.frame.line > 0)?.frame;
            Some(Location { file: self.join(&frame.file)?, line: frame.line, columns: None })
        };
        let manifest = || {
            let manifest = Some(&violation.suggestion.as_ref()?.manifest).filter(|file| !file.is_empty())?;
            Some(Location { file: self.join(manifest)?, line: 1, columns: None })
        };
        snippet.or_else(frame).or_else(manifest)
    }

    /// Where a grant was written.
    pub fn grant(&self, place: &GrantPlace) -> Option<Location> {
        Some(Location { file: self.join(&place.manifest)?, line: place.line.max(1), columns: None })
    }

    pub fn file(&self, file: &str, line: u32) -> Option<Location> {
        Some(Location { file: self.join(file)?, line: line.max(1), columns: None })
    }
}

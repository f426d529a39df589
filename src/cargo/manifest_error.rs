//! What cargo says when it refuses a manifest, as one diagnostic that points at the place.

use super::{Error, ErrorKind};
use sandbox_policy as policy;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// From what `cargo metadata`, run in `current_dir`, wrote to standard error.
pub(super) fn error(stderr: &str, current_dir: &Path) -> Error {
    let mut lines = stderr.lines().filter(|line| !line.starts_with("warning: "));
    let first = lines.by_ref().find(|line| !line.trim().is_empty()).unwrap_or("cargo failed without a word");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let rest: Vec<&str> = lines.collect();
    let mut diagnostic = Diagnostic::error("manifest", lower_first(first));
    if let Some(found) = path_in(stderr, current_dir).and_then(syntax_error) {
        return Error::new(ErrorKind::Manifest, found);
    }
    for cause in causes(&rest) {
        diagnostic = match cause.strip_prefix("help: ") {
            Some(help) => diagnostic.help(help),
            None => diagnostic.note(cause),
        };
    }
    if first.starts_with("could not find `Cargo.toml`") {
        diagnostic = diagnostic.help("run this in a cargo package, or give `--manifest-path`");
    }
    let kind = if ["manifest", "Cargo.toml", "workspace", "package", "target"]
        .iter()
        .any(|word| stderr.contains(word))
    {
        ErrorKind::Manifest
    } else {
        ErrorKind::Failed
    };
    Error::new(kind, diagnostic)
}

/// Cargo's further paragraphs, without its layout.
fn causes(lines: &[&str]) -> Vec<String> {
    let mut causes = Vec::new();
    let mut paragraph = String::new();
    for line in lines.iter().map(|line| line.trim_end()).chain([""]) {
        if line.is_empty() || line == "Caused by:" {
            if !paragraph.is_empty() {
                causes.push(std::mem::take(&mut paragraph));
            }
            continue;
        }
        if !paragraph.is_empty() {
            paragraph.push('\n');
        }
        paragraph.push_str(line.strip_prefix("  ").unwrap_or(line));
    }
    causes
}

/// The manifest that the message is about: the first path in it that ends in `.toml` and is a file.
fn path_in(stderr: &str, current_dir: &Path) -> Option<PathBuf> {
    let quoted = stderr.split('`').skip(1).step_by(2);
    let pointed = stderr.lines().filter_map(|line| {
        let place = line.trim_start().strip_prefix("--> ")?;
        place.split_once(".toml:").map(|(path, _)| path)
    });
    let pointed: Vec<String> = pointed.map(|path| format!("{path}.toml")).collect();
    quoted
        .map(str::to_owned)
        .chain(pointed)
        .map(|path| current_dir.join(path))
        .find(|path| path.extension().is_some_and(|extension| extension == "toml") && path.is_file())
}

/// The same error in our own words and with a place, if it is one of TOML's syntax.
fn syntax_error(path: PathBuf) -> Option<Diagnostic> {
    let text = String::from_utf8(std::fs::read(&path).ok()?).ok()?;
    let mut error = policy::parse(&Arc::new(SourceFile { path, text })).err()?;
    error.code = "manifest";
    error.message.insert_str(0, "not valid TOML: ");
    Some(error)
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_are_kept_in_order_without_cargos_layout() {
        let stderr = "error: failed to load manifest for workspace member `/ws/a`\n\nCaused by:\n  failed to read \
                      `/ws/a/Cargo.toml`\n\nCaused by:\n  Permission denied (os error 13)\n";
        let error = error(stderr, Path::new("/"));
        assert_eq!(error.kind, ErrorKind::Manifest);
        let diagnostic = error.diagnostic.unwrap();
        assert_eq!(diagnostic.message, "failed to load manifest for workspace member `/ws/a`");
        assert_eq!(
            diagnostic.notes,
            ["failed to read `/ws/a/Cargo.toml`", "Permission denied (os error 13)"]
        );
    }

    #[test]
    fn a_syntax_error_points_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Cargo.toml");
        std::fs::write(&path, "[package]\nname = \"a\nversion = \"1\"\n").unwrap();
        let error =
            error(&format!("error: failed to parse manifest at `{}`\n", path.display()), Path::new("/"));
        let diagnostic = error.diagnostic.unwrap();
        let span = &diagnostic.spans[0];
        assert_eq!(span.file.path, path);
        assert_eq!(span.file.line_column(span.range.start).0, 2);
        assert!(diagnostic.message.starts_with("not valid TOML: "), "{}", diagnostic.message);
    }

    #[test]
    fn what_is_not_about_a_manifest_is_a_failure() {
        assert_eq!(error("error: no such command: `metadata`\n", Path::new("/")).kind, ErrorKind::Failed);
    }
}

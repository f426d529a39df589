//! Reads the source line of a violation. Where it is, is the guest's word (debug information), so
//! a line is only ever shown from a regular `.rs` file beneath the root of a package that cargo
//! names, opened without following any link. By then the guest may have changed what it was granted, so
//! the folders that sources lie in are opened before it starts.

use crate::event::Snippet;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// The largest source file that is looked into, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The longest line that is shown, in bytes.
const MAX_LINE: usize = 1024;

/// The folders that were opened before any guest started, by the names that they had then.
static HELD: OnceLock<Vec<Held>> = OnceLock::new();

/// A folder by the name that it had, and itself.
type Held = (PathBuf, OwnedFd);

/// Opens the workspace and the folder of cargo's registries: once for a command, and before it starts any
/// guest. What is in neither is read from below the root, and not if there is a link on its whole way.
pub fn hold(workspace: &Path) {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let canonical = std::fs::canonicalize(workspace).ok();
    // Each of which may be a link to where a machine keeps it.
    let parts = ["", "registry", "registry/src", "git", "git/checkouts"];
    let homes = cargo_home.iter().flat_map(|home| parts.map(|part| home.join(part)));
    let folders = [Some(workspace.to_owned()), canonical, Some(PathBuf::from("/"))];
    HELD.get_or_init(|| folders.into_iter().flatten().chain(homes).filter_map(open).collect());
}

/// What is not there holds no sources.
fn open(folder: PathBuf) -> Option<Held> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&folder, flags, Mode::empty()).ok()?;
    folder.is_absolute().then_some((folder, opened))
}

/// Reads the line of `file` that a call is on.
///
/// `package_roots` are the absolute folders of the packages that cargo names; `workspace` is where
/// cargo ran rustc, which a relative `file` is relative to and a shown path is made relative to.
/// `line` and `column` count from 1, the column in bytes as rustc writes it; column 0 underlines the
/// whole line.
///
/// `None` if anything is not as it should be: the violation is then shown without its line.
pub fn read_snippet(
    package_roots: &[PathBuf],
    workspace: &Path,
    file: &Path,
    line: u32,
    column: u32,
) -> Option<Snippet> {
    let (path, text) = read_package_file(package_roots, workspace, file)?;
    let wanted = text.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
    if wanted.len() > MAX_LINE {
        return None;
    }
    let shown = path.strip_prefix(workspace).unwrap_or(&path);
    Some(Snippet {
        path: shown.to_str()?.to_owned(),
        line,
        text: wanted.to_owned(),
        range: call_range(wanted, column as usize),
    })
}

/// The whole of a file that [`read_snippet`] would show a line of.
pub fn read_source(package_roots: &[PathBuf], workspace: &Path, file: &Path) -> Option<String> {
    read_package_file(package_roots, workspace, file).map(|(_, text)| text)
}

fn read_package_file(package_roots: &[PathBuf], workspace: &Path, file: &Path) -> Option<(PathBuf, String)> {
    let path = workspace.join(file);
    // The path is compared as text, so a `..` could leave the root that it seems to be in; the
    // kernel refuses that too.
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain || path.extension()? != "rs" {
        return None;
    }
    if !package_roots.iter().any(|root| path.starts_with(root)) {
        return None;
    }
    let text = read_held(HELD.get().map_or(&[], Vec::as_slice), &path)?;
    Some((path, text))
}

fn read_held(held: &[Held], path: &Path) -> Option<String> {
    let (folder, opened) = held
        .iter()
        .filter(|(folder, _)| path.starts_with(folder))
        .max_by_key(|(folder, _)| folder.as_os_str().len())?;
    read_beneath(opened, path.strip_prefix(folder).ok()?)
}

fn read_beneath(folder: &OwnedFd, relative: &Path) -> Option<String> {
    let file = rustix::fs::openat2(
        folder,
        relative,
        // A pipe must not hang us, nor a terminal become ours, before we can see what it is.
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?;
    let file = File::from(file);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_FILE {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// The bytes of `line` that name what is called at `column` (from 1, in bytes): a path or a chain
/// of methods, up to its parenthesis.
fn call_range(line: &str, column: usize) -> Range<usize> {
    let whole = || {
        let start = line.len() - line.trim_start().len();
        start..line.trim_end().len().max(start)
    };
    let Some(start) = column.checked_sub(1).filter(|start| *start < line.len()) else { return whole() };
    let start = line.floor_char_boundary(start);
    let length = callee_length(&line[start..]);
    if length == 0 {
        let first = line[start..].chars().next().map_or(0, char::len_utf8);
        return start..start + first;
    }
    start..start + length
}

/// Length of the identifiers, `::`, `.` and generic arguments at the beginning of `text`.
fn callee_length(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = &text[end..];
        let name = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        if name == 0 {
            break;
        }
        end += name;
        let mut rest = &text[end..];
        if let Some(generic) = rest.strip_prefix("::<").and_then(generic_length) {
            end += "::<".len() + generic;
            rest = &text[end..];
        }
        let joint = if rest.starts_with("::") {
            2
        } else if rest.starts_with('.') {
            1
        } else {
            if rest.starts_with('!') && !rest.starts_with("!=") {
                end += 1;
            }
            break;
        };
        if !rest[joint..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            break;
        }
        end += joint;
    }
    end
}

/// Length up to and with the `>` that closes an argument list which is already open.
fn generic_length(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            '(' | ';' | '{' => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn underlined(line: &str, column: usize) -> &str {
        &line[call_range(line, column)]
    }

    #[test]
    fn the_call_is_underlined() {
        assert_eq!(underlined("    let s = fs::read_to_string(\"/etc/passwd\");", 13), "fs::read_to_string");
        assert_eq!(underlined("    path.exists();", 10), "exists");
        assert_eq!(underlined("self.inner.open(x)?", 1), "self.inner.open");
        assert_eq!(underlined("read::<Vec<u8>, _>(x)", 1), "read::<Vec<u8>, _>");
        assert_eq!(underlined("include!(\"x\")", 1), "include!");
        assert_eq!(underlined("a != b", 1), "a");
        assert_eq!(underlined("  (f)(x)", 3), "(");
        assert_eq!(underlined("  whole line  ", 0), "whole line");
        assert_eq!(underlined("short", 99), "short");
        assert_eq!(underlined("é.x()", 2), "é.x");
        assert_eq!(underlined("", 1), "");
    }

    #[test]
    fn only_sources_of_packages_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().canonicalize().expect("it exists");
        let root = base.join("ws/a");
        fs::create_dir_all(root.join("src")).expect("folders");
        fs::write(root.join("src/lib.rs"), "one\n  two::three(4)\n").expect("a file");
        fs::write(root.join("src/secret.txt"), "one\nsecret\n").expect("a file");
        fs::write(root.join("src/latin.rs"), b"one\n\xe9\n").expect("a file");
        fs::write(root.join("src/big.rs"), "x\n".repeat(600_000)).expect("a file");
        fs::write(root.join("src/long.rs"), "x".repeat(2000)).expect("a file");
        fs::write(base.join("outside.rs"), "one\nsecret\n").expect("a file");
        std::os::unix::fs::symlink(base.join("outside.rs"), root.join("src/link.rs")).expect("a link");
        std::os::unix::fs::symlink(&base, root.join("up")).expect("a link");
        fs::create_dir(root.join("src/folder.rs")).expect("a folder");
        let workspace = base.join("ws");
        let roots = [base.join("ws/other"), root.clone()];
        hold(Path::new("/"));
        let read = |file: &str, line| read_snippet(&roots, &workspace, Path::new(file), line, 3);

        let snippet = read("a/src/lib.rs", 2).expect("a source of the package");
        assert_eq!((snippet.path.as_str(), snippet.line), ("a/src/lib.rs", 2));
        assert_eq!(&snippet.text[snippet.range.clone()], "two::three");
        let absolute = root.join("src/lib.rs");
        assert_eq!(read(absolute.to_str().expect("UTF-8"), 2), Some(snippet));

        let outside = base.join("outside.rs");
        for (file, line) in [
            ("a/src/lib.rs", 0),
            ("a/src/lib.rs", 3),
            ("a/src/secret.txt", 2),
            ("a/src/latin.rs", 1),
            ("a/src/big.rs", 1),
            ("a/src/long.rs", 1),
            ("a/src/link.rs", 2),
            ("a/up/outside.rs", 2),
            ("a/src/../../../outside.rs", 2),
            ("a/src/folder.rs", 1),
            ("a/src/missing.rs", 1),
            ("/dev/null", 1),
            (outside.to_str().expect("UTF-8"), 2),
        ] {
            assert_eq!(read(file, line), None, "{file}:{line}");
        }
    }

    #[test]
    fn what_was_put_in_the_place_of_a_folder_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().canonicalize().expect("it exists");
        for root in ["ws/a", "secret/a"] {
            fs::create_dir_all(base.join(root)).expect("folders");
            fs::write(base.join(root).join("lib.rs"), root).expect("a file");
        }
        let held = [open(base.join("ws")).expect("it is there"), open("/".into()).expect("it is there")];
        let read = |path: &str| read_held(&held, &base.join(path));
        assert_eq!(read("ws/a/lib.rs").as_deref(), Some("ws/a"));
        assert_eq!(read("secret/a/lib.rs").as_deref(), Some("secret/a"), "beneath the root");
        fs::rename(base.join("ws"), base.join("moved")).expect("ours");
        std::os::unix::fs::symlink(base.join("secret"), base.join("ws")).expect("a link");
        assert_eq!(read("ws/a/lib.rs").as_deref(), Some("ws/a"), "what was opened is what is read");
        fs::rename(base.join("moved/a"), base.join("moved/b")).expect("ours");
        std::os::unix::fs::symlink(base.join("secret/a"), base.join("moved/a")).expect("a link");
        assert_eq!(read("ws/a/lib.rs"), None);
        assert_eq!(read_held(&held[1..], &base.join("ws/a/lib.rs")), None, "no link on the whole way");
    }

    #[test]
    fn a_pipe_does_not_hang() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("it exists");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe.rs"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        hold(Path::new("/"));
        let roots = [root.clone()];
        assert_eq!(read_snippet(&roots, &root, Path::new("pipe.rs"), 1, 1), None);
    }
}

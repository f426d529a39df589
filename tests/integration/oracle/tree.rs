//! The tree that a program starts on, and pictures of it.

use super::random::Random;
use super::rules::split;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Files: granted at times, never granted, protected, excepted, sensitive.
const FILES: &[&str] = &[
    "pkg/Cargo.toml",
    "pkg/build.rs",
    "pkg/src/main.rs",
    "pkg/.git/config",
    "pkg/.cargo/config.toml",
    "pkg/notes.txt",
    "pkg/data/a.txt",
    "pkg/data/secret.pem",
    "pkg/data/sub/b.txt",
    "pkg/data/sub/key.pem",
    "pkg/data/sub/deep/c.csv",
    "pkg/data/sub/deep/Cargo.toml",
    "pkg/crates/a/Cargo.toml",
    "pkg/crates/a/build.rs",
    "pkg/crates/a/x.txt",
    "pkg/crates/b/x.txt",
    "pkg/crates/b/.cargo/config.toml",
    "pkg/out/o.txt",
    "pkg/out/d/p.txt",
    "pkg/out/d/q.pem",
    "pkg/out/d/.git/config",
    "pkg/target/debug/bin",
    "pkg/target/tmp/t.txt",
    "ext/e.txt",
    "ext/k.pem",
    "ext/sub/f.txt",
    "ext/sub/Makefile",
    "other/s.txt",
    "other/d/g.txt",
    "home/.ssh/id",
    "home/n.txt",
    "tmp/t0/w.txt",
    "tmp/t0/d/v.txt",
    "tmp/t1/z.txt",
];

/// Directories that are there in any case.
const DIRECTORIES: &[&str] =
    &["pkg/data/e", "pkg/out/e", "ext/e", "tmp/t0/e", "home", "pkg/src", "pkg/target"];

/// One thing in the tree, by its path beneath the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Directory(String),
    File(String),
    /// A second name, and the first.
    Hard(String, String),
    /// Path and text, where `^` at the beginning stands for the root of the tree.
    Link(String, String),
}

/// What is there at the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Tree(pub Vec<Item>);

/// What is only in this file: the token is in it several times, so that a piece of it is enough.
pub(crate) fn secret(path: &str) -> String {
    format!("<<{path}>>")
}

/// Text of a link with the root filled in.
pub(crate) fn with_root(text: &str, root: &Path) -> String {
    match text.strip_prefix('^') {
        Some(rest) => format!("{}{rest}", root.display()),
        None => text.to_owned(),
    }
}

impl Tree {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut items: Vec<Item> =
            DIRECTORIES.iter().map(|path| Item::Directory((*path).to_owned())).collect();
        let files: Vec<&str> = FILES.iter().copied().filter(|_| random.chance(70)).collect();
        items.extend(files.iter().map(|path| Item::File((*path).to_owned())));
        let folders: Vec<&str> = FILES.iter().chain(DIRECTORIES).map(|path| above(path)).collect();
        for number in 0..random.below(3) {
            let path = format!("{}/h{number}", random.of(&folders));
            items.push(Item::Hard(path, (*random.of(&files)).to_owned()));
        }
        for number in 0..random.below(6) {
            let path = format!("{}/l{number}", random.of(&folders));
            let to = if random.chance(50) { *random.of(FILES) } else { *random.of(&folders) };
            // Each text is another one, so that whoever reads it is known to have read that link.
            let text = match random.below(10) {
                0 => format!("{}nowhere", "./".repeat(number)),
                1 => format!("{}l{number}", "./".repeat(number)),
                2..=4 => format!("^{}/{to}", "/.".repeat(number)),
                _ => format!("{}{}", "./".repeat(number), relative(&path, to)),
            };
            items.push(Item::Link(path, text));
        }
        Self(items)
    }

    /// All paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |item: &Item| match item {
            Item::Directory(path) | Item::File(path) | Item::Hard(path, _) | Item::Link(path, _) => {
                path.clone()
            }
        };
        let mut all: Vec<String> = self.0.iter().map(path).collect();
        for path in all.clone() {
            let mut path = path.as_str();
            while let Some((folder, _)) = path.rsplit_once('/') {
                all.push(folder.to_owned());
                path = folder;
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// Makes it beneath `root`. What finds its place taken, or has lost what it is a name of, is left out.
    pub(crate) fn make(&self, root: &Path) {
        for folder in ["pkg", "tmp/t0", "home"] {
            fs::create_dir_all(root.join(folder)).expect("a fresh tree");
        }
        for item in &self.0 {
            let (Item::Directory(path) | Item::File(path) | Item::Hard(path, _) | Item::Link(path, _)) = item;
            let at = root.join(path);
            if fs::create_dir_all(at.parent().expect("beneath the root")).is_err() {
                continue;
            }
            let _ = match item {
                Item::Directory(_) => fs::create_dir_all(at),
                Item::File(path) => fs::write(at, format!("{0}{0}{0}{0}\n", secret(path))),
                Item::Hard(_, first) => fs::hard_link(root.join(first), at),
                Item::Link(_, text) => symlink(with_root(text, root), at),
            };
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.0 {
            match item {
                Item::Directory(path) => writeln!(f, "    {path}/")?,
                Item::File(path) => writeln!(f, "    {path}")?,
                Item::Hard(path, first) => writeln!(f, "    {path} = {first}")?,
                Item::Link(path, text) => writeln!(f, "    {path} -> {text}")?,
            }
        }
        Ok(())
    }
}

/// The folder of a path.
pub(crate) fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// How `from`, a link, says `to`.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let (here, there) = (split(above(from)), split(to));
    let common = here.iter().zip(&there).take_while(|(one, other)| one == other).count();
    let up = here.len() - common;
    let all: Vec<&str> = std::iter::repeat_n("..", up).chain(there[common..].iter().copied()).collect();
    if all.is_empty() { ".".to_owned() } else { all.join("/") }
}

/// What is at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Directory,
    /// Its text.
    Link(String),
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) inode: u64,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

/// The tree as it is at one moment, by paths beneath its root. The root itself is `""`.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) nodes: BTreeMap<String, Node>,
    root: String,
    /// While it is held, the number of an inode means that inode.
    held: Vec<OwnedFd>,
}

impl Picture {
    pub(crate) fn take(root: &Path) -> Self {
        let mut picture = Self { nodes: BTreeMap::new(), root: root.display().to_string(), held: Vec::new() };
        picture.walk(root, "");
        picture
    }

    fn walk(&mut self, root: &Path, path: &str) {
        let at = root.join(path);
        let data = fs::symlink_metadata(&at).expect("nobody else is here");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.held.push(rustix::fs::open(&at, flags, Mode::empty()).expect("nobody else is here"));
        let kind = match data.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_file() => Kind::File(fs::read(&at).expect("nobody else is here")),
            kind if kind.is_symlink() => {
                Kind::Link(fs::read_link(&at).expect("nobody else is here").display().to_string())
            }
            _ => Kind::Other,
        };
        let folder = kind == Kind::Directory;
        let modified = (data.mtime(), data.mtime_nsec());
        self.nodes.insert(path.to_owned(), Node { inode: data.ino(), kind, mode: data.mode(), modified });
        if folder {
            for entry in fs::read_dir(&at).expect("nobody else is here") {
                let name = entry.expect("nobody else is here").file_name();
                let name = name.to_str().expect("all names are text");
                self.walk(root, &if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") });
            }
        }
    }

    /// By inode: its names.
    pub(crate) fn names(&self) -> BTreeMap<u64, Vec<&str>> {
        let mut names: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            names.entry(node.inode).or_default().push(path);
        }
        names
    }

    /// Where the text of a link at `path` leads, going up by the text alone.
    pub(crate) fn step(&self, path: &str, text: &str) -> Result<String, String> {
        let base =
            if text.starts_with('/') { String::new() } else { format!("{}/{}", self.root, above(path)) };
        let mut at: Vec<&str> = split(&base);
        for part in split(text) {
            match part {
                "." => {}
                ".." => drop(at.pop()),
                name => at.push(name),
            }
        }
        let whole = format!("/{}", at.join("/"));
        match whole.strip_prefix(&self.root) {
            Some(beneath) if beneath.is_empty() || beneath.starts_with('/') => {
                Ok(beneath.trim_matches('/').to_owned())
            }
            _ => Err(whole),
        }
    }

    /// Where a path leads when every link in it is followed; what is missing is taken as it is written. `Err` has the
    /// absolute path of a place outside of the tree; `None` is a loop.
    pub(crate) fn lead(&self, path: &str) -> Option<Result<String, String>> {
        let mut rest: Vec<String> = split(path).into_iter().rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "." => continue,
                ".." if at.pop().is_none() => return Some(Err("above the tree".to_owned())),
                ".." => continue,
                _ => at.push(part),
            }
            let Some(Node { kind: Kind::Link(text), .. }) = self.nodes.get(&at.join("/")) else { continue };
            links += 1;
            if links > 40 {
                return None;
            }
            let mut parts = split(text);
            if text.starts_with('/') {
                parts.retain(|part| *part != ".");
                let plain = format!("/{}", parts.join("/"));
                at.clear();
                match plain.strip_prefix(&self.root) {
                    Some(beneath) if beneath.is_empty() || beneath.starts_with('/') => {
                        rest.extend(split(beneath).into_iter().rev().map(str::to_owned));
                    }
                    _ => return Some(Err(plain)),
                }
                continue;
            }
            at.pop();
            rest.extend(parts.into_iter().rev().map(str::to_owned));
        }
        Some(Ok(at.join("/")))
    }
}

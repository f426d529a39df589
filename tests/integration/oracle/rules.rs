//! What a guest may do with a name, found without any code of the policy: entries of a manifest are matched against the
//! text of a path, one after the other. Slow, short, and meant to be believed on sight.

use std::collections::BTreeSet;
use std::fmt;

/// Operations that are allowed, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rights(u8);

impl Rights {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const READ: Self = Self(1);
    pub(crate) const LIST: Self = Self(2);
    pub(crate) const STAT: Self = Self(4);
    pub(crate) const CREATE: Self = Self(8);
    pub(crate) const MODIFY: Self = Self(16);
    pub(crate) const DELETE: Self = Self(32);
    const LOOK: Self = Self(7);
    const CHANGE: Self = Self(56);
    const ALL: Self = Self(63);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What a key of the manifest grants.
    fn of_key(key: &str) -> Self {
        match key {
            "read" => Self::LOOK,
            "write" => Self::CHANGE.and(Self::STAT),
            "list" => Self::LIST,
            "stat" => Self::STAT,
            "create" => Self::CREATE,
            "modify" => Self::MODIFY,
            "delete" => Self::DELETE,
            _ => Self::NONE,
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["read", "list", "stat", "create", "modify", "delete"];
        let mine =
            names.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name);
        f.write_str(&mine.collect::<Vec<_>>().join("+"))
    }
}

/// One entry of `[package.metadata.sandbox.fs]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    /// As in the manifest; `^` at its beginning stands for the root of the tree.
    pub(crate) text: String,
    /// `protected = true`.
    pub(crate) protected: bool,
    /// `as = "/tmp"`.
    pub(crate) as_tmp: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, text, protected, as_tmp } = self;
        match protected {
            false if *as_tmp => write!(f, "{key} = [{{ path = \"{text}\", as = \"/tmp\" }}]"),
            false => write!(f, "{key} = [\"{text}\"]"),
            true => write!(f, "{key} = [{{ path = \"{text}\", protected = true }}]"),
        }
    }
}

impl Entry {
    fn is_exception(&self) -> bool {
        matches!(self.key, "deny" | "hide")
    }
}

/// Names that nobody may change below a grant that changes files. Only those that the trees and programs have.
const PROTECTED: &[&str] =
    &["Cargo.toml", "Cargo.lock", "*.rs", ".cargo", ".git", ".github", "Makefile", ".config", ".vscode"];

/// Where things are; paths relative to the root of the tree.
pub(crate) const PACKAGE: &str = "pkg";
pub(crate) const TARGET: &str = "pkg/target";
pub(crate) const HOME: &str = "home";
pub(crate) const TMP: &str = "tmp/t0";

/// Places in the home directory that an audit does not show.
const SENSITIVE: &[&str] = &["home/.ssh", "home/.aws"];

/// A pattern, component by component.
type Pattern = Vec<String>;

/// The rules of one program.
#[derive(Debug)]
pub(crate) struct Rules {
    grants: Vec<(Pattern, Rights, bool)>,
    exceptions: Vec<(Pattern, bool)>,
    /// Below these, [`PROTECTED`] names are protected.
    guarded: BTreeSet<Pattern>,
    audit: bool,
}

pub(crate) fn split(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn owned(path: &str) -> Pattern {
    split(path).into_iter().map(str::to_owned).collect()
}

/// The pattern of an entry, beneath the root of the tree.
fn pattern(text: &str) -> Pattern {
    if let Some(rest) = text.strip_prefix('^') {
        owned(rest)
    } else if let Some(rest) = text.strip_prefix("{tmp}") {
        owned(&format!("{TMP}/{rest}"))
    } else {
        owned(&format!("{PACKAGE}/{text}")).into_iter().filter(|part| part != ".").collect()
    }
}

/// The components before the first wildcard.
fn literal(pattern: &Pattern) -> usize {
    pattern.iter().position(|part| part.contains('*')).unwrap_or(pattern.len())
}

impl Rules {
    /// `lead` says where a path leads when the links in it are followed, at the beginning.
    pub(crate) fn new(entries: &[Entry], audit: bool, lead: impl Fn(&str) -> String) -> Self {
        let mut rules = Self { grants: vec![], exceptions: vec![], guarded: BTreeSet::new(), audit };
        for entry in entries {
            let own = pattern(&entry.text);
            let mut patterns = vec![own.clone()];
            if !entry.text.starts_with("{tmp}") {
                // A grant that passes a link is on where that leads, too.
                let (before, after) = own.split_at(literal(&own));
                let mut other = owned(&lead(&before.join("/")));
                other.extend_from_slice(after);
                patterns.push(other);
            }
            for pattern in patterns {
                let rights = Rights::of_key(entry.key);
                if entry.is_exception() {
                    rules.exceptions.push((pattern, entry.key == "hide"));
                    continue;
                }
                if rights.without(Rights::CHANGE) != rights && !entry.text.starts_with("{tmp}") {
                    rules.guarded.insert(pattern[..literal(&pattern)].to_vec());
                }
                rules.grants.push((pattern, rights, entry.protected));
            }
        }
        rules
    }

    /// What may be done with the name `path`, relative to the root of the tree.
    pub(crate) fn rights(&self, path: &str) -> Rights {
        let path = split(path);
        if self.excepted(&path) {
            return Rights::NONE;
        }
        let rights = self.granted(&path);
        if self.audit { rights.and(self.envelope(&path)) } else { rights }
    }

    fn excepted(&self, path: &[&str]) -> bool {
        self.exceptions.iter().any(|(pattern, _)| covers(pattern, path))
    }

    /// What the manifest grants there.
    fn granted(&self, path: &[&str]) -> Rights {
        let rights = allowed(&self.grants, self.protected_depth(path), path);
        // The current directory may be looked at.
        if path == split(PACKAGE) { rights.and(Rights::STAT) } else { rights }
    }

    /// Whether the name is one that the guest is told not to exist.
    pub(crate) fn hidden(&self, path: &str) -> bool {
        let path = split(path);
        let covered = |hide: bool| self.exceptions.iter().any(|(p, kind)| *kind == hide && covers(p, &path));
        covered(true) && !covered(false)
    }

    /// Whether a link may lead there: to where something is granted, or where an audit lets something be changed. That
    /// it lets nearly everything be read is not enough.
    pub(crate) fn may_lead(&self, path: &str) -> bool {
        let path = split(path);
        let changes = |rights: Rights| rights.without(Rights::CHANGE) != rights;
        !self.excepted(&path)
            && (self.granted(&path) != Rights::NONE || self.audit && changes(self.envelope(&path)))
    }

    /// What an audit lets through beside the grants.
    fn envelope(&self, path: &[&str]) -> Rights {
        let mut grants = self.grants.clone();
        grants.push((owned(PACKAGE), Rights::ALL, false));
        grants.push((owned(TMP), Rights::ALL, false));
        for tmp in ["tmp", "sandbox/tmp"] {
            grants.push((owned(&format!("{TARGET}/{tmp}")), Rights::ALL, true));
        }
        let sensitive = SENSITIVE.iter().any(|place| covers(&owned(place), path));
        if !sensitive {
            grants.push((Vec::new(), Rights::LOOK, false));
        }
        let package = named_depth(&owned(PACKAGE), path);
        let target = covers(&owned(TARGET), path).then(|| split(TARGET).len());
        let depth = self.protected_depth(path).max(package).max(target);
        allowed(&grants, depth, path)
    }

    /// How many components of `path` make up the deepest protected place that it is or lies in.
    fn protected_depth(&self, path: &[&str]) -> Option<usize> {
        self.guarded.iter().filter_map(|folder| named_depth(folder, path)).max()
    }
}

/// The deepest component of `path` below `folder` that is a protected name.
fn named_depth(folder: &[String], path: &[&str]) -> Option<usize> {
    let below = path.len() > folder.len() && folder.iter().zip(path).all(|(one, other)| one == other);
    let first = if below { folder.len() } else { path.len() };
    (first..path.len()).rev().find(|at| PROTECTED.iter().any(|name| glob(name, path[*at]))).map(|at| at + 1)
}

/// The union of what grants allow; what changes a protected place only by a grant that names it or something in it.
fn allowed(grants: &[(Pattern, Rights, bool)], protected: Option<usize>, path: &[&str]) -> Rights {
    grants.iter().fold(Rights::NONE, |all, (pattern, rights, named)| {
        let Some(depth) = lengths(pattern, path).into_iter().max() else { return all };
        let free = protected.is_none_or(|protected| *named && depth >= protected);
        all.and(if free { *rights } else { rights.without(Rights::CHANGE) })
    })
}

fn covers(pattern: &[String], path: &[&str]) -> bool {
    !lengths(pattern, path).is_empty()
}

/// The lengths of all beginnings of `path` that match the whole pattern.
fn lengths(pattern: &[String], path: &[&str]) -> Vec<usize> {
    let Some((first, rest)) = pattern.split_first() else { return vec![0] };
    let mut found = Vec::new();
    if first == "**" {
        for skipped in 0..=path.len() {
            found.extend(lengths(rest, &path[skipped..]).into_iter().map(|length| length + skipped));
        }
    } else if let Some((name, below)) = path.split_first()
        && glob(first, name)
    {
        found.extend(lengths(rest, below).into_iter().map(|length| length + 1));
    }
    found
}

/// Whether a name matches, where `*` stands for any characters.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let Some(rest) = name.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(after, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(audit: bool, entries: &[(&'static str, &str, bool)]) -> Rules {
        let entry = |(key, text, protected): &(&'static str, &str, bool)| Entry {
            key,
            text: (*text).to_owned(),
            protected: *protected,
            as_tmp: false,
        };
        Rules::new(&entries.iter().map(entry).collect::<Vec<_>>(), audit, str::to_owned)
    }

    #[test]
    fn the_model_says_what_the_manifest_means() {
        let rules = rules(
            false,
            &[
                ("read", "data", false),
                ("write", "crates", false),
                ("modify", "crates/a/Cargo.toml", true),
                ("deny", "data/**/*.pem", false),
                ("hide", "^ext", false),
            ],
        );
        assert_eq!(rules.rights("pkg/data/sub/a.txt"), Rights::LOOK);
        assert_eq!(rules.rights("pkg/data/sub/a.pem"), Rights::NONE);
        assert_eq!(rules.rights("pkg/data/a.pem/x"), Rights::NONE);
        assert_eq!(rules.rights("pkg/crates/b/Cargo.toml"), Rights::STAT);
        assert_eq!(rules.rights("pkg/crates/b/.git/x"), Rights::STAT);
        assert_eq!(rules.rights("pkg/crates/a/Cargo.toml"), Rights::STAT.and(Rights::MODIFY));
        assert_eq!(rules.rights("pkg/crates/x"), Rights::CHANGE.and(Rights::STAT));
        assert_eq!((rules.rights("pkg"), rules.rights("other/x")), (Rights::STAT, Rights::NONE));
        assert!(rules.hidden("ext/e.txt") && !rules.hidden("pkg/data/a.pem"));
    }

    #[test]
    fn the_model_of_an_audit_says_what_the_envelope_is() {
        let rules = rules(true, &[("deny", "data/secret.pem", false), ("read", "{tmp}", false)]);
        assert_eq!(rules.rights("other/x"), Rights::LOOK);
        assert_eq!(rules.rights("pkg/new/x"), Rights::ALL);
        assert_eq!(rules.rights("pkg/src/main.rs"), Rights::LOOK);
        assert_eq!(rules.rights("pkg/data/secret.pem"), Rights::NONE);
        assert_eq!(rules.rights("pkg/target/debug/x"), Rights::LOOK);
        assert_eq!(rules.rights("pkg/target/tmp/x"), Rights::ALL);
        assert_eq!(rules.rights("pkg/target/tmp/Cargo.toml"), Rights::LOOK);
        assert_eq!(rules.rights("tmp/t0/Cargo.toml"), Rights::ALL);
        assert_eq!(rules.rights("home/.ssh/id"), Rights::NONE);
    }
}

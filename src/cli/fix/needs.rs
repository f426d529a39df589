//! What a run needed and was not granted, as entries of a manifest.

use super::{Fixing, table_of};
use crate::access::{Access, Operation, OperationSet, Resource};
use crate::cli::doctest;
use crate::diagnostic::Diagnostic;
use crate::edit::{Addition, Need, case_index, generalise};
use crate::event::{Report, TargetReport, Violation};
use crate::policy::protected::Protected;
use crate::policy::{self, Bindings, PathPattern, Scope, Target, TargetKind, compare, lint};
use crate::report::escape;
use crate::runner::looks_secret;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory with more files than this is not counted, and so not granted as a whole.
const MOST_FILES: usize = 10_000;

/// What is to be written, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Entries, sorted.
    pub(super) additions: Vec<Addition>,
    /// Accesses that no entry can allow, and entries that a person should look at.
    pub(super) left: Vec<Diagnostic>,
}

/// Where an entry goes to, and for whom: `by`, empty for all.
#[derive(Clone, Debug)]
struct Group {
    scope: Scope,
    by: Vec<String>,
    needs: Vec<Need>,
    tmp: OperationSet,
    env: BTreeSet<Vec<u8>>,
}

/// One entry before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    scope: Scope,
    by: Vec<String>,
    key: &'static str,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Path(PathBuf),
    Tmp,
    Env(Vec<u8>),
}

/// Finds the entries for one package.
pub(super) fn find(report: &Report, fixing: &Fixing<'_>, by_crate: bool) -> Found {
    let mut found = Found::default();
    let mut groups: Vec<Group> = Vec::new();
    for target in report.targets.iter().filter(|target| target.package == fixing.package.name) {
        let of_tests = target.tests.iter().flat_map(|test| &test.violations);
        for violation in target.violations.iter().chain(of_tests) {
            sort_in(report, target, violation, fixing, by_crate, &mut groups, &mut found.left);
        }
    }
    let mut entries: Vec<Entry> = Vec::new();
    for group in &groups {
        entries.extend(entries_of(group, fixing));
    }
    unite_crates(&mut entries);
    let kept: Vec<Entry> = entries
        .iter()
        .filter(|entry| !entries.iter().any(|wide| wide != *entry && covers(wide, entry)))
        .cloned()
        .collect();
    for entry in kept {
        write(&entry, fixing, &mut found);
    }
    // What has a comment needs a line of its own, and the rest then follows in that style.
    let order = |one: &Addition| {
        (one.table.clone(), one.case.clone(), one.key.clone(), one.comment.is_empty(), one.entry.clone())
    };
    found.additions.sort_by_key(order);
    found.additions.dedup();
    found
}

fn sort_in(
    report: &Report,
    target: &TargetReport,
    violation: &Violation,
    fixing: &Fixing<'_>,
    by_crate: bool,
    groups: &mut Vec<Group>,
    left: &mut Vec<Diagnostic>,
) {
    let suggestion = match &violation.suggestion {
        Some(suggestion) if violation.exception.is_none() => suggestion,
        _ => return left.push(cannot(violation)),
    };
    let scope = scope_of(report, target, violation, fixing);
    let by = match &violation.origin {
        Some(origin) if by_crate => vec![origin.package.clone()],
        _ => Vec::new(),
    };
    let place = groups.iter().position(|group| group.scope == scope && group.by == by).unwrap_or_else(|| {
        groups.push(Group { scope, by, needs: Vec::new(), tmp: OperationSet::EMPTY, env: BTreeSet::new() });
        groups.len() - 1
    });
    let operation = OperationSet::of(violation.access.operation);
    match &violation.access.resource {
        Resource::Env(name) => {
            groups[place].env.insert(name.clone());
        }
        _ if suggestion.entry == "{tmp}" => groups[place].tmp = groups[place].tmp.union(operation),
        resource => groups[place]
            .needs
            .push(Need { path: PathBuf::from(OsStr::from_bytes(resource.bytes())), operations: operation }),
    }
}

/// An access that stays denied.
fn cannot(violation: &Violation) -> Diagnostic {
    let what = escape::line_bytes(violation.access.resource.bytes());
    let diagnostic =
        Diagnostic::warning("not-fixed", format!("{} `{what}` was not granted", violation.access.operation));
    match (&violation.exception, violation.note.as_str()) {
        (Some(exception), _) if exception.text.is_empty() => diagnostic.note("it is a protected place"),
        (Some(exception), _) => {
            let at = format!("{}:{}", exception.manifest, exception.line);
            diagnostic.note(format!("`{}` at {at} forbids it", exception.text))
        }
        (None, "") => diagnostic,
        (None, note) => diagnostic.note(note),
    }
}

/// The scope that the manifest has a table for: a case only if it is in this very file.
fn scope_of(report: &Report, target: &TargetReport, violation: &Violation, fixing: &Fixing<'_>) -> Scope {
    let suggested = suggest(report, target, violation, fixing);
    let scope = suggested.suggestion.map_or(Scope::Always, |suggestion| suggestion.scope);
    match scope {
        Scope::Case { name, .. } => match case_index(&fixing.package.manifest.text, &name) {
            Some(index) => Scope::Case { index: index as u32, name },
            None => Scope::Test,
        },
        scope => scope,
    }
}

fn suggest(
    report: &Report,
    target: &TargetReport,
    violation: &Violation,
    fixing: &Fixing<'_>,
) -> policy::Suggested {
    let kind = match (report.command.as_str(), target.kind.as_str()) {
        ("sandbox-test", _) | (_, "test") => TargetKind::Test,
        (_, "example") => TargetKind::Example,
        _ => TargetKind::Bin,
    };
    let bind = Bindings { tmp: None, current_dir: fixing.permissions.places.package.clone() };
    // The name of an example is only known when it is over, so no case can be for it.
    let test = violation.test.as_deref().filter(|_| target.kind != doctest::KIND);
    let target = Target { kind, name: &target.name, test, bind: &bind };
    let permissions = fixing.permissions;
    policy::suggest(
        &permissions.policy,
        &permissions.places,
        &permissions.manifest,
        &violation.access,
        &target,
    )
}

fn entries_of(group: &Group, fixing: &Fixing<'_>) -> Vec<Entry> {
    let entry = |key, what| Entry { scope: group.scope.clone(), by: group.by.clone(), key, what };
    let places = &fixing.permissions.places;
    let protected = Protected::new(places);
    let holds = |folder: &Path| {
        // What holds a protected place is not granted as a whole, whichever the operation.
        let pattern = PathPattern::at(folder.as_os_str().as_bytes());
        if protected.conflict(OperationSet::FS_ALL, &pattern).is_some() {
            return None;
        }
        // What was asked for and is not there, such as a file that a test removed, counts as well.
        let absent = group.needs.iter().filter(|need| need.path.starts_with(folder) && !need.path.is_file());
        let absent: BTreeSet<&Path> = absent.map(|need| need.path.as_path()).collect();
        Some(count(folder, MOST_FILES)? + absent.len())
    };
    let mut entries: Vec<Entry> = generalise(&group.needs, &places.package, &holds)
        .into_iter()
        .map(|one| entry(one.key, What::Path(one.path)))
        .collect();
    let tmp = Need { path: PathBuf::from("/tmp"), operations: group.tmp };
    if !group.tmp.is_empty() {
        let all = generalise(&[tmp], Path::new("/"), &|_| None);
        entries.extend(all.into_iter().map(|one| entry(one.key, What::Tmp)));
    }
    let names = group.env.iter().filter(|name| group.tmp.is_empty() || name.as_slice() != b"TMPDIR");
    entries.extend(names.map(|name| entry("read", What::Env(name.clone()))));
    entries
}

/// The regular files beneath a folder; `None` if there are more than `most`, or it cannot be read.
fn count(folder: &Path, most: usize) -> Option<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        files += match entry.file_type().ok()? {
            kind if kind.is_dir() => count(&entry.path(), most.checked_sub(files)?)?,
            _ => 1,
        };
        if files > most {
            return None;
        }
    }
    Some(files)
}

/// The same entry for several crates becomes one that names them all.
fn unite_crates(entries: &mut Vec<Entry>) {
    let mut united: Vec<Entry> = Vec::new();
    for entry in entries.drain(..) {
        let same = |known: &&mut Entry| {
            known.scope == entry.scope && known.key == entry.key && known.what == entry.what
        };
        match united.iter_mut().find(same) {
            Some(known) if known.by.is_empty() || entry.by.is_empty() => known.by.clear(),
            Some(known) => {
                known.by.extend(entry.by);
                known.by.sort();
                known.by.dedup();
            }
            None => united.push(entry),
        }
    }
    *entries = united;
}

/// Whether one entry makes another needless.
fn covers(wide: &Entry, narrow: &Entry) -> bool {
    let place = match (&wide.what, &narrow.what) {
        (What::Path(wide), What::Path(narrow)) => narrow.starts_with(wide),
        (wide, narrow) => wide == narrow,
    };
    place
        && compare::scope_covers(&wide.scope, &narrow.scope)
        && (wide.by.is_empty()
            || (!narrow.by.is_empty() && narrow.by.iter().all(|name| wide.by.contains(name))))
        && operations(wide).contains_all(operations(narrow))
}

fn operations(entry: &Entry) -> OperationSet {
    match (&entry.what, entry.key) {
        (What::Env(_), _) => OperationSet::of(Operation::EnvRead),
        (_, "read") => OperationSet::FS_READ,
        (_, "write") => OperationSet::FS_WRITE,
        (_, key) => OperationSet::of(operation_of(key)),
    }
}

/// An operation for which an entry with this key is suggested.
fn operation_of(key: &str) -> Operation {
    match key {
        "write" => Operation::Create,
        "list" => Operation::List,
        "stat" => Operation::Stat,
        "delete" => Operation::Delete,
        _ => Operation::Read,
    }
}

fn write(entry: &Entry, fixing: &Fixing<'_>, found: &mut Found) {
    let permissions = fixing.permissions;
    let (table, case) = table_of(&entry.scope, if matches!(entry.what, What::Env(_)) { "env" } else { "fs" });
    let mut addition = Addition {
        table,
        case,
        key: entry.key.to_owned(),
        entry: "{tmp}".to_owned(),
        by: entry.by.clone(),
        protected: false,
        comment: String::new(),
    };
    let resource = match &entry.what {
        What::Tmp => return found.additions.push(addition),
        What::Path(path) => Resource::Path(path.as_os_str().as_bytes().to_vec()),
        What::Env(name) => Resource::Env(name.clone()),
    };
    let operation = if let What::Env(_) = entry.what { Operation::EnvRead } else { operation_of(entry.key) };
    let bind = Bindings { tmp: None, current_dir: permissions.places.package.clone() };
    let target = Target { kind: TargetKind::Bin, name: "", test: None, bind: &bind };
    let access = Access { operation, resource };
    let suggested = policy::suggest(&permissions.policy, &permissions.places, "", &access, &target);
    let Some(suggestion) = suggested.suggestion else {
        let what = escape::line_bytes(access.resource.bytes());
        let mut left = Diagnostic::warning("not-fixed", format!("{operation} `{what}` was not granted"));
        left.notes.extend(suggested.note);
        return found.left.push(left);
    };
    if suggestion.protected && operation != Operation::Read && operation != Operation::List {
        // What confines a guest, or runs later outside, is for a person to hand out.
        let message = format!(
            "{operation} `{}` was not granted: it is a protected place",
            escape::line(&suggestion.entry)
        );
        let left = Diagnostic::warning("not-fixed", message);
        return found.left.push(left.help_paste("if that is meant, write it by hand", suggestion.paste));
    }
    addition.entry = suggestion.entry;
    addition.protected = suggestion.protected;
    if let Some(why) = mark(&access, fixing, suggestion.protected) {
        let message =
            format!("`{}` was granted and should be looked at: {why}", escape::line(&addition.entry));
        found.left.push(Diagnostic::warning("sensitive-grant", message));
        addition.comment = format!("sensitive: {why}");
    }
    found.additions.push(addition);
}

/// Why a person should look at this entry.
fn mark(access: &Access, fixing: &Fixing<'_>, protected: bool) -> Option<String> {
    let places = &fixing.permissions.places;
    match &access.resource {
        Resource::Env(name) => looks_secret(name).then(|| "it looks like a secret".to_owned()),
        Resource::Path(path) if protected => {
            let conflict = Protected::new(places).conflict(OperationSet::FS_ALL, &PathPattern::at(path));
            Some(conflict.map_or("it is a protected place".to_owned(), |conflict| conflict.why.to_owned()))
        }
        resource => lint::marked(places, resource.bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scope: Scope, by: &[&str], key: &'static str, path: &str) -> Entry {
        let by = by.iter().map(|name| (*name).to_owned()).collect();
        Entry { scope, by, key, what: What::Path(path.into()) }
    }

    #[test]
    fn what_several_crates_need_names_them_all_and_what_nobody_did_is_for_all() {
        let mut entries = vec![
            entry(Scope::Always, &["b"], "read", "/p/x"),
            entry(Scope::Always, &["a"], "read", "/p/x"),
            entry(Scope::Always, &["a"], "read", "/p/y"),
            entry(Scope::Always, &[], "read", "/p/y"),
        ];
        unite_crates(&mut entries);
        assert_eq!(
            entries,
            [entry(Scope::Always, &["a", "b"], "read", "/p/x"), entry(Scope::Always, &[], "read", "/p/y")]
        );
    }

    #[test]
    fn an_entry_for_every_test_makes_that_of_a_case_needless() {
        let case = Scope::Case { index: 0, name: "a::*".into() };
        let wide = entry(Scope::Test, &[], "read", "/p/data");
        assert!(covers(&wide, &entry(case.clone(), &[], "read", "/p/data/x")));
        assert!(covers(&wide, &entry(case.clone(), &["a"], "stat", "/p/data/x")));
        assert!(!covers(&wide, &entry(Scope::Always, &[], "read", "/p/data/x")));
        assert!(!covers(&wide, &entry(case, &[], "write", "/p/data/x")));
        assert!(!covers(&entry(Scope::Test, &["a"], "read", "/p/data"), &wide));
    }
}

//! What a run needed and was not granted, as entries of a manifest.

mod entry;

use super::audited::{Audited, table_of};
use super::edit::{Addition, case_index};
use super::envelope::looks_secret;
use super::generalise::{Need, generalise};
use crate::event::{Report, Violation};
use crate::report::escape;
use entry::{Entry, What, covers, operation_of, unite_crates, unite_views};
use sandbox_policy as policy;
use sandbox_policy::access::{Access, Effect, Key, Operation, OperationSet, Resource};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::protected::Protected;
use sandbox_policy::{
    Bindings, GrantPattern, MountPoint, PathBase, PathPattern, Scope, Suggestion, Target, TargetKind,
    compare, lint,
};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory with more files than this is not counted, and so not granted as a whole.
const MOST_FILES: usize = 10_000;

/// What is to be written, and what cannot be.
#[derive(Debug, Default)]
pub struct Found {
    /// Entries, sorted.
    pub additions: Vec<Addition>,
    /// Accesses that no entry can allow, and entries that a person should look at.
    pub left: Vec<Diagnostic>,
}

/// Where an entry goes to, and for whom: `by`, empty for all.
#[derive(Clone, Debug, Default)]
struct Group {
    scope: Scope,
    by: Vec<String>,
    needs: Vec<Need>,
    tmp: OperationSet,
    /// Where that was seen.
    mount: Option<MountPoint>,
    env: BTreeSet<Vec<u8>>,
    /// Directories that are not there, in which something was to be made.
    absent: BTreeSet<PathBuf>,
}

/// Finds the entries for one package.
pub fn find(report: &Report, audited: &Audited<'_>, by_crate: bool) -> Found {
    let mut found = Found::default();
    let mut groups: Vec<Group> = Vec::new();
    for target in audited.targets(report) {
        let of_tests = target.tests.iter().flat_map(|test| &test.violations);
        for violation in target.violations.iter().chain(of_tests) {
            sort_in(violation, audited, by_crate, &mut groups, &mut found.left);
        }
    }
    let mut entries: Vec<Entry> = Vec::new();
    for group in &mut groups {
        found.additions.extend(only_seen(group, audited));
        entries.extend(entries_of(group, audited));
    }
    unite_crates(&mut entries);
    unite_views(&mut entries);
    let kept: Vec<Entry> = entries
        .iter()
        .filter(|entry| !entries.iter().any(|wide| wide != *entry && covers(wide, entry)))
        .cloned()
        .collect();
    for entry in kept {
        write(&entry, audited, &mut found);
    }
    // What has a comment needs a line of its own, and the rest then follows in that style.
    let order = |one: &Addition| {
        (one.table.clone(), one.case.clone(), one.key.clone(), one.comment.is_empty(), one.entry.text.clone())
    };
    found.additions.sort_by_key(order);
    found.additions.dedup();
    found
}

fn sort_in(
    violation: &Violation,
    audited: &Audited<'_>,
    by_crate: bool,
    groups: &mut Vec<Group>,
    left: &mut Vec<Diagnostic>,
) {
    let suggestion = match &violation.suggestion {
        Some(suggestion) if violation.exception.is_none() => suggestion,
        _ => return left.push(cannot(violation)),
    };
    let scope = scope_of(suggestion, audited);
    let by = match &violation.origin {
        Some(origin) if by_crate => vec![origin.package.clone()],
        _ => Vec::new(),
    };
    let place = groups.iter().position(|group| group.scope == scope && group.by == by).unwrap_or_else(|| {
        groups.push(Group { scope, by, ..Group::default() });
        groups.len() - 1
    });
    let operation = OperationSet::of(violation.access.operation);
    match &violation.access.resource {
        Resource::Env(name) => {
            groups[place].env.insert(name.clone());
        }
        _ if suggestion.entry.text == "{tmp}" => {
            groups[place].tmp = groups[place].tmp.union(operation);
            groups[place].mount = groups[place].mount.or(suggestion.entry.mount);
        }
        resource => {
            let path = PathBuf::from(OsStr::from_bytes(resource.bytes()));
            let made = violation.access.operation == Operation::Create && !violation.allowed;
            match absent_above(&path).filter(|_| made) {
                Some(absent) => drop(groups[place].absent.insert(absent)),
                None => groups[place].needs.push(Need { path, operations: operation }),
            }
        }
    }
}

/// The outermost directory on the way to a path that is not there. To make something in it can only fail,
/// which it does as well where it is hidden; a grant would be good for something once it is there.
fn absent_above(path: &Path) -> Option<PathBuf> {
    let absent =
        |path: &&Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    path.ancestors().skip(1).take_while(absent).last().map(Path::to_owned)
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
fn scope_of(suggestion: &Suggestion, audited: &Audited<'_>) -> Scope {
    match &suggestion.scope {
        Scope::Case { name, .. } => match case_index(&audited.manifest.text, name) {
            Some(index) => Scope::Case { index: index as u32, name: name.clone() },
            None => Scope::Test,
        },
        scope => scope.clone(),
    }
}

/// Grants of the private directory that a group would have been content with, had it been seen where the
/// group looked for it: they are written anew with `as`, and the group no longer needs what they give.
fn only_seen(group: &mut Group, audited: &Audited<'_>) -> Vec<Addition> {
    let mut additions = Vec::new();
    let tmp = PathPattern { base: PathBase::Tmp, components: Vec::new(), exact: false };
    for grant in audited.policy.grants.iter().filter(|_| group.mount.is_some()) {
        let place = &grant.provenance;
        let given = grant.operations.intersection(group.tmp);
        let ours = place.file == audited.manifest.path && place.table.starts_with("package.");
        if !ours
            || given.is_empty()
            || grant.pattern != GrantPattern::Path(tmp.clone())
            || !compare::scope_covers(&grant.scope, &group.scope)
            || !(grant.by.is_empty() || group.by.iter().any(|name| grant.by.contains(name)))
        {
            continue;
        }
        group.tmp = group.tmp.difference(given);
        let (table, case) = table_of(&grant.scope, "fs");
        let mut seen = addition(table, case, place.key.clone());
        (seen.entry.by, seen.entry.mount) = (grant.by.clone(), group.mount);
        additions.push(seen);
    }
    additions
}

fn addition(table: Vec<String>, case: Option<(usize, String)>, key: String) -> Addition {
    let entry = policy::Entry { text: "{tmp}".to_owned(), ..policy::Entry::default() };
    Addition { table, case, key, entry, comment: String::new() }
}

fn entries_of(group: &Group, audited: &Audited<'_>) -> Vec<Entry> {
    let entry = |key, what| {
        let mount = group.mount.filter(|_| what == What::Tmp);
        Entry { scope: group.scope.clone(), by: group.by.clone(), key, what, mount }
    };
    let places = audited.places;
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
    let hidden = |need: &Need| group.absent.iter().any(|absent| need.path.starts_with(absent));
    let needs: Vec<Need> = group.needs.iter().filter(|need| !hidden(need)).cloned().collect();
    let mut entries: Vec<Entry> = generalise(&needs, &places.package, &holds)
        .into_iter()
        .map(|one| entry(one.key, What::Path(one.path)))
        .collect();
    // An exception is one for every crate.
    let hide = |absent: &PathBuf| Entry { by: Vec::new(), ..entry(Key::Hide, What::Path(absent.clone())) };
    entries.extend(group.absent.iter().map(hide));
    let tmp = Need { path: PathBuf::from("/tmp"), operations: group.tmp };
    if !group.tmp.is_empty() {
        let all = generalise(&[tmp], Path::new("/"), &|_| None);
        entries.extend(all.into_iter().map(|one| entry(one.key, What::Tmp)));
    }
    let names = group.env.iter().filter(|name| group.tmp.is_empty() || name.as_slice() != b"TMPDIR");
    entries.extend(names.map(|name| entry(Key::Of(Operation::EnvRead), What::Env(name.clone()))));
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

fn write(entry: &Entry, audited: &Audited<'_>, found: &mut Found) {
    let (table, case) = table_of(&entry.scope, entry.key.row().table);
    let mut addition = addition(table, case, entry.key.name().to_owned());
    addition.entry.by.clone_from(&entry.by);
    addition.entry.mount = entry.mount;
    let resource = match &entry.what {
        What::Tmp => return found.additions.push(addition),
        What::Path(path) => Resource::Path(path.as_os_str().as_bytes().to_vec()),
        What::Env(name) => Resource::Env(name.clone()),
    };
    let operation = operation_of(entry.key);
    let bind = Bindings { tmp: None, current_dir: audited.places.package.clone() };
    let target =
        Target { kind: TargetKind::Bin, name: "", test: None, bind: &bind, mounted: &BTreeSet::new() };
    let access = Access { operation, resource };
    let suggested = policy::suggest(audited.policy, audited.places, audited.shown, &access, &target);
    let Some(suggestion) = suggested.suggestion else {
        let what = escape::line_bytes(access.resource.bytes());
        let mut left = Diagnostic::warning("not-fixed", format!("{operation} `{what}` was not granted"));
        left.notes.extend(suggested.note);
        return found.left.push(left);
    };
    if suggestion.entry.protected && operation.effect() != Effect::Reveals {
        // What confines a guest, or runs later outside, is for a person to hand out.
        let message = format!(
            "{operation} `{}` was not granted: it is a protected place",
            escape::line(&suggestion.entry.text)
        );
        let left = Diagnostic::warning("not-fixed", message);
        return found.left.push(left.help_paste("if that is meant, write it by hand", suggestion.paste));
    }
    addition.entry = policy::Entry { by: entry.by.clone(), ..suggestion.entry };
    if let Some(why) = mark(&access, audited, addition.entry.protected) {
        let message =
            format!("`{}` was granted and should be looked at: {why}", escape::line(&addition.entry.text));
        found.left.push(Diagnostic::warning("sensitive-grant", message));
        addition.comment = format!("sensitive: {why}");
    }
    found.additions.push(addition);
}

/// Why a person should look at this entry.
fn mark(access: &Access, audited: &Audited<'_>, protected: bool) -> Option<String> {
    let places = audited.places;
    match &access.resource {
        Resource::Env(name) => looks_secret(name).then(|| "it looks like a secret".to_owned()),
        Resource::Path(path) if protected => {
            let conflict = Protected::new(places).conflict(OperationSet::FS_ALL, &PathPattern::at(path));
            Some(conflict.map_or("it is a protected place".to_owned(), |conflict| conflict.why.to_owned()))
        }
        resource => lint::marked(places, resource.bytes()),
    }
}

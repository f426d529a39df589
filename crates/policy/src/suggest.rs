//! The smallest entry that would have allowed an access.

use super::decide::Decider;
use super::entry::Entry;
use super::matching::covers_path;
use super::model::{Exception, PackagePolicy, PathPattern, Scope};
use super::mounts::MountPoint;
use super::pattern::{escape, parse_env, parse_path, shown};
use super::places::{Bindings, Places, bytes};
use super::protected::{Conflict, Protected, entry_for};
use super::select::TargetKind;
use crate::access::{Access, Decision, Key, Operation, OperationSet, Resource};
use crate::text::toml_string as quoted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Who tried.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What kind of target.
    pub kind: TargetKind,
    /// Its name.
    pub name: &'a str,
    /// The test, if it was one.
    pub test: Option<&'a str>,
    /// As it was bound for that run.
    pub bind: &'a Bindings,
    /// The mounts by which it came somewhere.
    pub mounted: &'a BTreeSet<MountPoint>,
}

/// TOML, or a flag, that would allow an access.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The manifest to add it to, as shown; empty for the command line.
    pub manifest: String,
    /// Table header without brackets: `package.metadata.sandbox.fs`. For a test that has a case it is
    /// `package.metadata.sandbox.test.case.fs`, in the case that the note names.
    pub table: String,
    /// Key: `read`.
    pub key: String,
    /// The entry.
    pub entry: Entry,
    /// The scope of the table.
    pub scope: Scope,
    /// The lines to paste.
    pub paste: String,
}

/// A suggestion, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggested {
    /// What would allow it.
    pub suggestion: Option<Suggestion>,
    /// A sentence about it, without final period.
    pub note: Option<String>,
}

impl Suggested {
    fn none(note: impl Into<String>) -> Self {
        Self { suggestion: None, note: Some(note.into()) }
    }
}

/// Finds what to add for a denied access. `places` must be canonical
/// ([`Places::canonical`]) as the paths of accesses are; `manifest` is the package's `Cargo.toml` as shown,
/// or empty if there is none.
///
/// Creating and modifying are suggested as `write`: opening a file for writing needs both.
pub fn suggest(
    policy: &PackagePolicy,
    places: &Places,
    manifest: &str,
    access: &Access,
    target: &Target<'_>,
) -> Suggested {
    if is_above(policy, access, target) {
        return Suggested::none("the manifest grants it, but that is above the ceiling");
    }
    let key = access.operation.suggested();
    let (scope, prefix, note) = table(policy, target);
    let (entry, conflict) = match &access.resource {
        Resource::Env(name) => match std::str::from_utf8(name).ok().map(escape) {
            Some(entry) if parse_env(&entry).is_ok() => (Entry { text: entry, ..Entry::default() }, None),
            _ => return Suggested::none("a manifest cannot name this variable"),
        },
        Resource::Path(path) => match path_entry(policy, places, access.operation, path, target, &scope) {
            Ok(found) => found,
            Err(note) => return Suggested::none(note),
        },
    };
    if manifest.is_empty() {
        return on_command_line(key, entry, scope);
    }
    let meant = conflict.map(|conflict| {
        let word = if conflict.sensitive { "sensitive" } else { "protected" };
        format!("`{}` is a {word} place: {}", conflict.place, conflict.why)
    });
    let note = [note, meant].into_iter().flatten().reduce(|note, more| format!("{note}; {more}"));
    let key_name = key.name();
    let table = format!("{prefix}.{}", access.operation.table());
    let value = entry.toml("path", quoted);
    let paste = match &scope {
        // A second header would start a second case.
        Scope::Case { .. } => format!("{}.{key_name} = [{value}]", access.operation.table()),
        _ => format!("[{table}]\n{key_name} = [{value}]"),
    };
    let key = key_name.to_owned();
    let suggestion = Some(Suggestion { manifest: manifest.to_owned(), table, key, entry, scope, paste });
    Suggested { suggestion, note }
}

/// The flag that would allow it. Whoever types it names a protected place without a further word.
fn on_command_line(key: Key, entry: Entry, scope: Scope) -> Suggested {
    if entry.mount.is_some() {
        return Suggested::none("only a manifest can put a private directory in the place of `/tmp`");
    }
    let flag = key.row().flag;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    let word = match !entry.text.is_empty() && entry.text.bytes().all(plain) {
        true => entry.text.clone(),
        false => format!("'{}'", entry.text.replace('\'', r"'\''")),
    };
    let paste = format!("--{flag} {word}");
    let entry = Entry { protected: false, ..entry };
    let suggestion = Some(Suggestion { key: flag.to_owned(), entry, scope, paste, ..Suggestion::default() });
    Suggested { suggestion, note: None }
}

/// Whether the manifest would allow it without its ceiling.
fn is_above(policy: &PackagePolicy, access: &Access, target: &Target<'_>) -> bool {
    if policy.above.is_empty() {
        return false;
    }
    let (grants, kept) = (policy.above.clone(), policy.kept.clone());
    let above = PackagePolicy { grants, kept, ..PackagePolicy::default() };
    let above = above.for_target(target.kind, target.name, target.test, target.bind);
    let seen = above.mounts.to_host(access.resource.bytes());
    let resource = seen.map_or_else(|| access.resource.clone(), Resource::Path);
    let decision = Decider::new(&above).decide(access.operation, &resource);
    matches!(decision, Decision::Allowed(Some(_)) | Decision::DependsOnOrigin)
}

/// The entry, and the place that it names in spite of its protection.
fn path_entry(
    policy: &PackagePolicy,
    places: &Places,
    operation: Operation,
    path: &[u8],
    target: &Target<'_>,
    scope: &Scope,
) -> Result<(Entry, Option<Conflict>), String> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let binds = |exception: &Exception| {
        std::iter::once(&exception.pattern).chain(&exception.target).any(|own| covers_path(own, &names))
    };
    let mut excepted = policy.excepted(target.kind, target.name, target.test, target.bind);
    if let Some(exception) = excepted.find(binds) {
        let place = &exception.provenance;
        let at = match place.line {
            0 => String::new(),
            line => format!(", line {line} of {}", shown(&place.file.display().to_string())),
        };
        return Err(format!("`{}` in `{}` forbids it{at}", shown(&place.text), place.table));
    }
    let beneath = |folder: Option<&Path>| {
        let folder = folder.map(bytes).filter(|folder| folder.len() > 1);
        let rest = folder.and_then(|folder| path.strip_prefix(folder));
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let tmp_as = |mounted: bool| {
        let mount = mounted.then_some(MountPoint::Tmp);
        (Entry { text: "{tmp}".to_owned(), mount, ..Entry::default() }, None)
    };
    if let Some(tmp) = target.bind.tmp.as_deref() {
        if beneath(Some(tmp)) {
            return Ok(tmp_as(target.mounted.contains(&MountPoint::Tmp)));
        }
        if beneath(tmp.parent()) {
            return Err("no entry can allow it: what holds `{tmp}` has another name each time".to_owned());
        }
    }
    if let [b"proc", process, ..] = names[..]
        && (process.iter().all(u8::is_ascii_digit) || [&b"self"[..], b"thread-self"].contains(&process))
    {
        let note = "no entry can allow it: the folder of a process in `/proc` has another name each time";
        return Err(note.to_owned());
    }
    // Whoever changes something there means a place for temporary files; whoever only looks may mean
    // what others have put there.
    if OperationSet::FS_CHANGE.contains(operation) && path.starts_with(b"/tmp") {
        let cut = policy.for_target(target.kind, target.name, target.test, target.bind);
        if policy.could_stand(path, scope, &cut, target.bind) {
            return Ok(tmp_as(true));
        }
    }
    let Some(entry) = entry_for(path, places) else {
        return Err("a manifest cannot name this path: it is not valid UTF-8".to_owned());
    };
    let means = PathPattern::at(path);
    match parse_path(&entry, places, bytes(&places.package)) {
        Ok(parsed) if parsed == means => {}
        _ => return Err("a manifest cannot name this path".to_owned()),
    }
    let protected = Protected::new(places);
    if operation == Operation::Stat
        && let Some(inside) = holds_everything(&protected, places, &means)
    {
        return Err(format!(
            "no entry can allow it: one for a directory covers all beneath it, `{inside}` too"
        ));
    }
    match protected.conflict(operation.suggested().operations(), &means) {
        Some(conflict) if !conflict.exact => Err(format!(
            "no entry can allow it: it contains the {} place `{}` ({})",
            if conflict.sensitive { "sensitive" } else { "protected" },
            conflict.place,
            conflict.why
        )),
        conflict => {
            let protected = conflict.is_some();
            Ok((Entry { text: entry, protected, ..Entry::default() }, conflict))
        }
    }
}

/// What a directory holds that nobody would want to be looked at along with it: a place with keys, or all that the user
/// works on. An entry covers what is beneath it, so there is none for such a directory alone.
fn holds_everything(protected: &Protected, places: &Places, means: &PathPattern) -> Option<String> {
    let conflict = protected.conflict(OperationSet::FS_READ, means).filter(|conflict| !conflict.exact);
    let roots = [Some(&places.workspace), Some(&places.package), places.home.as_ref()];
    let beneath = |root: &&std::path::PathBuf| {
        let root = PathPattern::at(bytes(root)).components;
        root.len() > means.components.len() && root.starts_with(&means.components)
    };
    conflict
        .map(|conflict| conflict.place)
        .or_else(|| roots.into_iter().flatten().find(beneath).map(|root| shown(&root.display().to_string())))
}

/// The table that the entry belongs to, and a note where that is not plain.
fn table(policy: &PackagePolicy, target: &Target<'_>) -> (Scope, String, Option<String>) {
    const BASE: &str = "package.metadata.sandbox";
    if let Some(scope @ Scope::Case { name, .. }) = target.test.and_then(|test| policy.case_of(test)) {
        let note = format!("in the `[[{BASE}.test.case]]` whose name is `{}`", shown(name));
        return (scope.clone(), format!("{BASE}.test.case"), Some(note));
    }
    if target.test.is_some() || target.kind == TargetKind::Test {
        return (Scope::Test, format!("{BASE}.test"), None);
    }
    let (scope, word) = match target.kind {
        TargetKind::Example => (Scope::Example(target.name.to_owned()), "example"),
        _ => (Scope::Bin(target.name.to_owned()), "bin"),
    };
    if policy.limits.iter().any(|(known, _)| *known == scope) {
        let bare = !target.name.is_empty()
            && target.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let name = if bare { target.name.to_owned() } else { quoted(target.name) };
        return (scope, format!("{BASE}.{word}.{name}"), None);
    }
    (Scope::Always, BASE.to_owned(), None)
}

//! Entries before they are written: which of them say the same, and which make others needless.

use crate::access::{Operation, OperationSet};
use crate::policy::{MountPoint, Scope, compare};
use std::path::PathBuf;

/// One entry before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    pub(super) by: Vec<String>,
    pub(super) key: &'static str,
    pub(super) what: What,
    /// Where the guest is to see it.
    pub(super) mount: Option<MountPoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Path(PathBuf),
    Tmp,
    Env(Vec<u8>),
}

/// The same entry for several crates becomes one that names them all.
pub(super) fn unite_crates(entries: &mut Vec<Entry>) {
    let mut united: Vec<Entry> = Vec::new();
    for entry in entries.drain(..) {
        let same = |known: &&mut Entry| {
            known.scope == entry.scope && known.key == entry.key && known.what == entry.what
        };
        let mut known = united.iter_mut().find(same);
        if let Some(known) = &mut known {
            known.mount = known.mount.or(entry.mount);
        }
        match known {
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

/// An entry that makes another needless lets the directory be seen as that one would.
pub(super) fn unite_views(entries: &mut [Entry]) {
    for index in 0..entries.len() {
        let wide = &entries[index];
        let mount = entries.iter().filter(|narrow| covers(wide, narrow)).find_map(|narrow| narrow.mount);
        entries[index].mount = wide.mount.or(mount);
    }
}

/// Whether one entry makes another needless.
pub(super) fn covers(wide: &Entry, narrow: &Entry) -> bool {
    // What is hidden is granted by nothing, and grants nothing.
    if (wide.key == "hide") != (narrow.key == "hide") {
        return false;
    }
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
pub(super) fn operation_of(key: &str) -> Operation {
    match key {
        "write" => Operation::Create,
        "list" => Operation::List,
        "stat" | "hide" => Operation::Stat,
        "delete" => Operation::Delete,
        _ => Operation::Read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scope: Scope, by: &[&str], key: &'static str, path: &str) -> Entry {
        let by = by.iter().map(|name| (*name).to_owned()).collect();
        Entry { scope, by, key, what: What::Path(path.into()), mount: None }
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
    fn what_is_hidden_needs_no_grant_and_gives_none() {
        let read = entry(Scope::Always, &[], "read", "/none");
        let hide = entry(Scope::Always, &[], "hide", "/none");
        assert!(!covers(&read, &hide) && !covers(&hide, &entry(Scope::Always, &[], "stat", "/none/x")));
        assert!(covers(&hide, &entry(Scope::Test, &[], "hide", "/none/x")));
    }

    #[test]
    fn an_entry_that_covers_another_is_seen_as_that_one() {
        let tmp = |scope: Scope, key, mount| Entry { scope, by: Vec::new(), key, what: What::Tmp, mount };
        let seen = Some(MountPoint::Tmp);
        let case = Scope::Case { index: 0, name: "a".into() };
        let mut entries =
            [tmp(Scope::Test, "write", None), tmp(case, "write", seen), tmp(Scope::Test, "read", None)];
        unite_views(&mut entries);
        assert_eq!(entries.map(|entry| entry.mount), [seen, seen, None]);
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

//! Entries before they are written: which of them say the same, and which make others needless.

use sandbox_policy::access::{Key, Operation};
use sandbox_policy::{MountPoint, Scope, compare};
use std::path::PathBuf;

/// One entry before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    pub(super) by: Vec<String>,
    pub(super) key: Key,
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
    if (wide.key == Key::Hide) != (narrow.key == Key::Hide) {
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
        && wide.key.operations().contains_all(narrow.key.operations())
}

/// An operation for which an entry with this key is suggested.
pub(super) fn operation_of(key: Key) -> Operation {
    match key {
        Key::Of(operation) => operation,
        Key::Write => Operation::Create,
        Key::Deny | Key::Hide => Operation::Stat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Key = Key::Of(Operation::Read);

    fn entry(scope: Scope, by: &[&str], key: Key, path: &str) -> Entry {
        let by = by.iter().map(|name| (*name).to_owned()).collect();
        Entry { scope, by, key, what: What::Path(path.into()), mount: None }
    }

    #[test]
    fn what_several_crates_need_names_them_all_and_what_nobody_did_is_for_all() {
        let mut entries = vec![
            entry(Scope::Always, &["b"], READ, "/p/x"),
            entry(Scope::Always, &["a"], READ, "/p/x"),
            entry(Scope::Always, &["a"], READ, "/p/y"),
            entry(Scope::Always, &[], READ, "/p/y"),
        ];
        unite_crates(&mut entries);
        assert_eq!(
            entries,
            [entry(Scope::Always, &["a", "b"], READ, "/p/x"), entry(Scope::Always, &[], READ, "/p/y")]
        );
    }

    #[test]
    fn what_is_hidden_needs_no_grant_and_gives_none() {
        let read = entry(Scope::Always, &[], READ, "/none");
        let hide = entry(Scope::Always, &[], Key::Hide, "/none");
        assert!(
            !covers(&read, &hide)
                && !covers(&hide, &entry(Scope::Always, &[], Key::Of(Operation::Stat), "/none/x"))
        );
        assert!(covers(&hide, &entry(Scope::Test, &[], Key::Hide, "/none/x")));
    }

    #[test]
    fn an_entry_that_covers_another_is_seen_as_that_one() {
        let tmp = |scope: Scope, key, mount| Entry { scope, by: Vec::new(), key, what: What::Tmp, mount };
        let seen = Some(MountPoint::Tmp);
        let case = Scope::Case { index: 0, name: "a".into() };
        let mut entries =
            [tmp(Scope::Test, Key::Write, None), tmp(case, Key::Write, seen), tmp(Scope::Test, READ, None)];
        unite_views(&mut entries);
        assert_eq!(entries.map(|entry| entry.mount), [seen, seen, None]);
    }

    #[test]
    fn an_entry_for_every_test_makes_that_of_a_case_needless() {
        let case = Scope::Case { index: 0, name: "a::*".into() };
        let wide = entry(Scope::Test, &[], READ, "/p/data");
        assert!(covers(&wide, &entry(case.clone(), &[], READ, "/p/data/x")));
        assert!(covers(&wide, &entry(case.clone(), &["a"], Key::Of(Operation::Stat), "/p/data/x")));
        assert!(!covers(&wide, &entry(Scope::Always, &[], READ, "/p/data/x")));
        assert!(!covers(&wide, &entry(case, &[], Key::Write, "/p/data/x")));
        assert!(!covers(&entry(Scope::Test, &["a"], READ, "/p/data"), &wide));
    }
}

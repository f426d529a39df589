//! From the accesses of a run to the smallest grants that cover them, generalised with restraint.

use sandbox_policy::access::{Key, OperationSet};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was needed on one path in one place of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Absolute host path.
    pub path: PathBuf,
    /// Everything that was tried there.
    pub operations: OperationSet,
}

/// One grant to write: a path and the key it goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generalised {
    /// One that is suggested for an operation.
    pub key: Key,
    /// Absolute host path: one that was used, or a directory most of which was.
    pub path: PathBuf,
}

/// At least so many files of a directory must have been used before it is granted as a whole.
const MANY: usize = 3;

/// Finds the grants. `package` is the directory above which nothing is generalised; `holds` counts
/// the regular files beneath a directory, or says `None` where it must not be generalised (a
/// protected place lies beneath it, or it cannot be counted).
pub fn generalise(
    needs: &[Need],
    package: &Path,
    holds: &dyn Fn(&Path) -> Option<usize>,
) -> BTreeSet<Generalised> {
    let mut by_path: BTreeMap<&Path, OperationSet> = BTreeMap::new();
    for need in needs {
        let operations = by_path.entry(&need.path).or_default();
        *operations = operations.union(need.operations);
    }
    let mut found: BTreeSet<Generalised> = BTreeSet::new();
    for (path, operations) in by_path {
        for key in keys(operations) {
            found.insert(Generalised { key, path: path.to_owned() });
        }
    }
    for key in Key::of_table("fs").filter(|key| key.gathers()) {
        widen(&mut found, key, package, holds);
    }
    let covered: Vec<Generalised> = found.iter().filter(|one| is_covered(one, &found)).cloned().collect();
    for one in covered {
        found.remove(&one);
    }
    found
}

/// The keys that grant a set of operations on one path, without overlap.
fn keys(operations: OperationSet) -> Vec<Key> {
    let mut left = operations;
    let mut keys = Vec::new();
    for key in Key::of_table("fs") {
        if left.iter().any(|operation| operation.suggested() == key) {
            keys.push(key);
            left = left.difference(key.operations());
        }
    }
    keys
}

/// Replaces entries by their directory, innermost first, where most files of it were used.
fn widen(
    found: &mut BTreeSet<Generalised>,
    key: Key,
    package: &Path,
    holds: &dyn Fn(&Path) -> Option<usize>,
) {
    let mut directories: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for one in found.iter().filter(|one| one.key == key) {
        let mut directory = one.path.parent();
        while let Some(above) = directory.filter(|above| above.starts_with(package) && *above != package) {
            *directories.entry(above.to_owned()).or_default() += 1;
            directory = above.parent();
        }
    }
    // Deeper directories first, so that a directory is widened only by what it really needs.
    for (directory, used) in directories.into_iter().rev() {
        let all = if used >= MANY { holds(&directory) } else { None };
        if all.is_some_and(|all| used * 2 > all) {
            found.retain(|one| one.key != key || !one.path.starts_with(&directory));
            found.insert(Generalised { key, path: directory });
        }
    }
}

/// Whether other grants that are found give all that this one does.
fn is_covered(one: &Generalised, found: &BTreeSet<Generalised>) -> bool {
    let others = found
        .iter()
        .filter(|other| *other != one && one.path.starts_with(&other.path))
        .fold(OperationSet::EMPTY, |all, other| all.union(other.key.operations()));
    others.contains_all(one.key.operations())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_policy::access::Operation;

    fn need(path: &str, operations: &[Operation]) -> Need {
        let operations =
            operations.iter().fold(OperationSet::EMPTY, |all, one| all.union(OperationSet::of(*one)));
        Need { path: path.into(), operations }
    }

    fn found(needs: &[Need], holds: impl Fn(&Path) -> Option<usize>) -> Vec<String> {
        let all = generalise(needs, Path::new("/p"), &holds);
        all.into_iter().map(|one| format!("{} {}", one.key.name(), one.path.display())).collect()
    }

    use Operation::*;

    #[test]
    fn each_path_gets_what_it_needs_and_no_more() {
        let needs = [
            need("/p/a", &[Read, Stat]),
            need("/p/b", &[Stat]),
            need("/p/c", &[Create, Modify]),
            need("/p/d", &[Delete]),
            need("/p/e", &[List]),
        ];
        assert_eq!(
            found(&needs, |_| None),
            ["delete /p/d", "list /p/e", "read /p/a", "stat /p/b", "write /p/c"]
        );
    }

    #[test]
    fn a_directory_only_when_most_of_it_was_used() {
        let needs: Vec<Need> = (0..4).map(|i| need(&format!("/p/data/{i}"), &[Read])).collect();
        assert_eq!(found(&needs, |_| Some(5)), ["read /p/data"]);
        assert_eq!(found(&needs, |_| Some(8)).len(), 4, "half is not most");
        assert_eq!(found(&needs, |_| None).len(), 4, "a protected place beneath it");
        assert_eq!(found(&needs[..2], |_| Some(2)).len(), 2, "two are not many");
    }

    #[test]
    fn never_the_package_itself_nor_anything_outside() {
        let inside: Vec<Need> = (0..9).map(|i| need(&format!("/p/{i}"), &[Read])).collect();
        assert_eq!(found(&inside, |_| Some(9)).len(), 9);
        let outside: Vec<Need> = (0..9).map(|i| need(&format!("/etc/{i}"), &[Read])).collect();
        assert_eq!(found(&outside, |_| Some(9)).len(), 9);
    }

    #[test]
    fn what_another_grant_gives_is_not_written_twice() {
        let needs = [need("/p/out", &[Create]), need("/p/out/x", &[Create, Stat]), need("/p/out/y", &[Stat])];
        assert_eq!(found(&needs, |_| None), ["write /p/out"]);
        let needs = [need("/p/out", &[Create]), need("/p/out/x", &[Read])];
        assert_eq!(found(&needs, |_| None), ["read /p/out/x", "write /p/out"]);
    }
}

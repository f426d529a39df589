//! From a policy to Landlock rules: pure data that `check` prints and [`restrict`](super::restrict())
//! enforces.
//!
//! Landlock grants rights on a directory with all that is beneath it, or on one file. It knows no
//! exceptions, no patterns and no files that do not exist yet. Where that makes a rule wider than
//! its grant, [`Rule::overgrant`] says how; where it makes it narrower, [`Plan::narrower`] does; what it
//! does not check at all is in [`Plan::not_covered`]. What decides between wider and narrower:
//!
//! - Each access that the policy allows works, or `narrower` names it.
//! - One file that may be created, or deleted, needs rights on its directory, which reach all files
//!   beneath that. A program that works while the file is absent must work when it exists.
//! - A directory that exists gets its rights for itself alone. To remove it is a right on its
//!   parent; a directory made in its place is another one, without a rule.
//! - What is absent and cannot be created by the guest needs no rule.
//! - Who may move a directory must be able to list it: the wasi wall looks at all that would move along.

mod place;

use super::rights::Rights;
use place::{RulePlace, is_beneath, parent, show};
use sandbox_policy::access::{GrantId, Operation, OperationSet};
use sandbox_policy::matching::covers_path;
use sandbox_policy::model::{Exception, ExceptionKind, Grant, GrantPattern, PathPattern, Policy};
use serde::{Deserialize, Serialize};

/// What is at a path, without following any symbolic link on the way or at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// It is a symbolic link or passes one.
    Link,
    /// Nothing, or nothing that may be looked at.
    Missing,
    /// A device, socket or pipe.
    Other,
}

/// One Landlock rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is on: absolute, and without symbolic links when the plan was made.
    pub path: Vec<u8>,
    /// Whether that is a directory, and the rights reach all that is beneath it.
    pub directory: bool,
    /// What it grants. Never empty.
    pub rights: Rights,
    /// The grant it is for.
    pub grant: GrantId,
    /// How the kernel lets through more than the grant says; `None`: as exact as the grant.
    pub overgrant: Option<String>,
}

/// Something that a grant or the policy is about and that Landlock does not check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCovered {
    /// The grant; `None` if it holds for every policy.
    pub grant: Option<GrantId>,
    /// What, in a sentence.
    pub what: String,
}

/// Something that the policy allows and Landlock will deny.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrower {
    /// The grant.
    pub grant: GrantId,
    /// The path it is about.
    pub path: Vec<u8>,
    /// What, in a sentence.
    pub what: String,
}

/// A policy as Landlock will enforce it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The ABI it is for. All that this ABI checks is denied unless a rule grants it.
    pub abi: u32,
    /// The rules, in the order of the grants.
    pub rules: Vec<Rule>,
    /// What Landlock does not check.
    pub not_covered: Vec<NotCovered>,
    /// Where Landlock denies what the policy allows.
    pub narrower: Vec<Narrower>,
}

/// Plans the rules for a policy on a kernel with this Landlock ABI. `look` says what is at an absolute
/// path; [`super::look`] asks the file system.
pub fn plan(policy: &Policy, abi: u32, look: &dyn Fn(&[u8]) -> FileKind) -> Plan {
    let creates = policy
        .grants
        .iter()
        .filter(|grant| grant.operations.contains(Operation::Create))
        .flat_map(places)
        .filter_map(RulePlace::of)
        .collect();
    let mut planner = Planner {
        policy,
        look,
        creates,
        exceptions: exceptions(policy),
        plan: Plan { abi, ..Plan::default() },
    };
    planner.uncovered_by_every_policy();
    for grant in &policy.grants {
        planner.grant(grant);
    }
    planner.plan
}

fn places(grant: &Grant) -> impl Iterator<Item = &PathPattern> {
    let pattern = match &grant.pattern {
        GrantPattern::Path(pattern) => Some(pattern),
        _ => None,
    };
    pattern.into_iter().chain(&grant.target)
}

/// One place of an exception.
struct Except<'a> {
    exception: &'a Exception,
    pattern: &'a PathPattern,
    place: RulePlace,
}

fn exceptions(policy: &Policy) -> Vec<Except<'_>> {
    let places = policy.exceptions.iter().flat_map(|exception| {
        std::iter::once(&exception.pattern).chain(&exception.target).map(move |pattern| (exception, pattern))
    });
    places
        .filter_map(|(exception, pattern)| {
            Some(Except { exception, pattern, place: RulePlace::of(pattern)? })
        })
        .collect()
}

struct Planner<'a> {
    policy: &'a Policy,
    look: &'a dyn Fn(&[u8]) -> FileKind,
    creates: Vec<RulePlace>,
    exceptions: Vec<Except<'a>>,
    plan: Plan,
}

impl Planner<'_> {
    fn uncovered_by_every_policy(&mut self) {
        let mut say = |what: &str| self.plan.not_covered.push(NotCovered { grant: None, what: what.into() });
        say("metadata, existence and link targets (`stat`) and times: only the wasi wall decides on them");
        say("modes, owners and extended attributes: seccomp forbids to change them");
        if self.plan.abi < 3 {
            say("truncation: on this kernel what may be read can also be truncated");
        }
        if !self.policy.set.is_empty() {
            say("environment variables: the worker has none but those of the policy");
        }
    }

    fn grant(&mut self, grant: &Grant) {
        let operations = grant.operations.intersection(OperationSet::FS_ALL);
        if matches!(grant.pattern, GrantPattern::Env(_)) {
            self.not_covered(grant, "environment variables: the worker has none but those of the policy");
        } else if operations.difference(OperationSet::of(Operation::Stat)).is_empty() {
            self.not_covered(grant, "metadata (`stat`): only the wasi wall decides on it");
        }
        for pattern in places(grant) {
            match RulePlace::of(pattern) {
                Some(place) => self.place(grant, operations, &place),
                None => self.not_covered(grant, "`{tmp}` is not made yet"),
            }
        }
    }

    fn place(&mut self, grant: &Grant, operations: OperationSet, place: &RulePlace) {
        let path = place.prefix.as_slice();
        let found = (self.look)(path);
        let file = matches!(found, FileKind::File | FileKind::Other);
        let operations = self.without_excepted(grant, operations, path, file);
        match found {
            FileKind::Dir if place.glob => {
                let why = format!(
                    "`{}` becomes all that is beneath {}, as the kernel matches no patterns",
                    grant.provenance.text.escape_debug(),
                    show(path)
                );
                self.rule(grant, path, true, rights_beneath(operations), Some(why));
            }
            FileKind::Dir => {
                let why = place.exact.then(|| format!("all that is beneath {}, too", show(path)));
                self.rule(grant, path, true, rights_beneath(operations), why);
                self.directory_itself(grant, path, operations);
            }
            // Nothing beneath a file can match.
            FileKind::File | FileKind::Other if place.glob => {}
            FileKind::File | FileKind::Other => {
                self.rule(grant, path, false, rights_on_file(operations), None);
                self.file_itself(grant, path, operations);
            }
            // What is granted on the other side of the link has a place of its own, the target.
            FileKind::Link if grant.target.is_some() => self.file_itself(grant, path, operations),
            FileKind::Link => {
                self.narrower(grant, path, "it has become a symbolic link, through which nothing is granted");
            }
            FileKind::Missing => self.missing(grant, path, operations),
        }
    }

    /// Removing the directory itself is a right on its parent.
    fn directory_itself(&mut self, grant: &Grant, path: &[u8], operations: OperationSet) {
        // Nobody grants `{tmp}` to have the guest remove it, and beside it lie those of other tests.
        let is_tmp = grant.provenance.text.trim_end_matches("/**").trim_end_matches('/') == "{tmp}";
        let (Some(parent), true, false) = (parent(path), operations.contains(Operation::Delete), is_tmp)
        else {
            return;
        };
        let again = operations.contains(Operation::Create);
        let rights = Rights::of(&[(true, Rights::REMOVE_DIR), (again, Rights::MAKE_DIR)]);
        let what = if again { "made, removed and renamed" } else { "removed" };
        let why = format!(
            "to remove {} itself, every empty directory beneath {} can be {what}",
            show(path),
            show(parent)
        );
        self.rule(grant, parent, true, rights, Some(why));
        if again {
            self.narrower(
                grant,
                path,
                "a directory made in the place of this one, once removed, has no rights",
            );
        }
    }

    /// Removing a file, and making it again, are rights on its directory.
    fn file_itself(&mut self, grant: &Grant, path: &[u8], operations: OperationSet) {
        let (Some(parent), true) = (parent(path), operations.contains(Operation::Delete)) else { return };
        let mut rights = Rights::REMOVE_FILE.union(Rights::REFER);
        let mut what = "removed";
        if operations.contains(Operation::Create) {
            rights =
                rights.union(Rights::MAKE_REG).union(rights_on_file(operations)).union(Rights::WRITE_FILE);
            what = "removed, replaced, overwritten and truncated";
            if operations.contains(Operation::Read) {
                what = "removed, replaced, overwritten, truncated and read";
            }
        }
        let why =
            format!("to do so to {} itself, every file beneath {} can be {what}", show(path), show(parent));
        self.rule(grant, parent, true, rights, Some(why));
    }

    /// What does not exist yet gets its rights from the directory in which it can be made.
    fn missing(&mut self, grant: &Grant, path: &[u8], operations: OperationSet) {
        if operations.difference(OperationSet::of(Operation::Stat)).is_empty() {
            return;
        }
        let mut below = path;
        let directory = loop {
            let above = parent(below).filter(|_| self.creates.iter().any(|place| place.may_cover(below)));
            match above.map(|above| (above, (self.look)(above))) {
                Some((above, FileKind::Dir)) => break above,
                Some((above, FileKind::Missing)) => below = above,
                _ => {
                    let what = "it does not exist and the guest cannot make it; if another process does, it stays denied";
                    return self.narrower(grant, path, what);
                }
            }
        };
        let why = format!(
            "{} does not exist yet, so all that is beneath {} gets its rights",
            show(path),
            show(directory)
        );
        self.rule(grant, directory, true, rights_beneath(operations), Some(why));
    }

    /// Leaves out what an exception takes from the whole place: a file, or a directory with all
    /// that is beneath it.
    fn without_excepted(
        &self,
        grant: &Grant,
        operations: OperationSet,
        path: &[u8],
        file: bool,
    ) -> OperationSet {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let whole = |except: &&Except<'_>| {
            let place = &except.place;
            let directory = !place.glob && !place.exact && is_beneath(path, &place.prefix);
            directory || file && covers_path(except.pattern, &names)
        };
        self.exceptions.iter().filter(whole).fold(operations, |left, except| match except.exception.kind {
            ExceptionKind::Deny | ExceptionKind::Hide => OperationSet::EMPTY,
            ExceptionKind::Protected if grant.protected => left,
            ExceptionKind::Protected => left.difference(OperationSet::FS_CHANGE),
        })
    }

    /// What the policy takes out of all that is beneath `path`.
    fn exceptions_within(&self, grant: &Grant, path: &[u8], rights: Rights) -> Option<String> {
        let within = |Except { exception, place, .. }: &&Except<'_>| {
            let overlaps = is_beneath(&place.prefix, path) || place.glob && is_beneath(path, &place.prefix);
            let matters = match exception.kind {
                // Whoever says `protected = true` names a place, not what else is protected beneath it.
                ExceptionKind::Protected => {
                    let named = grant.protected && !place.glob && is_beneath(path, &place.prefix);
                    !named && !Rights::READ_FILE.union(Rights::READ_DIR).contains(rights)
                }
                ExceptionKind::Deny | ExceptionKind::Hide => true,
            };
            overlaps && matters
        };
        let mut names: Vec<String> = self
            .exceptions
            .iter()
            .filter(within)
            .map(|Except { exception, place, .. }| match exception.provenance.text.as_str() {
                "" => show(&place.prefix),
                text => format!("`{}`", text.escape_debug()),
            })
            .collect();
        names.dedup();
        let more = names.len().saturating_sub(3);
        names.truncate(3);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{}{rest}, as the kernel knows no exceptions", names.join(", ")))
    }

    fn rule(
        &mut self,
        grant: &Grant,
        path: &[u8],
        directory: bool,
        rights: Rights,
        overgrant: Option<String>,
    ) {
        let rights = rights.intersection(Rights::handled(self.plan.abi));
        if rights.is_empty() {
            return;
        }
        let mut reasons: Vec<String> = overgrant.into_iter().collect();
        let only_create = grant.operations.contains(Operation::Create)
            && !grant.operations.contains(Operation::Modify)
            && rights.contains(Rights::WRITE_FILE);
        if only_create && directory {
            reasons.push(format!("files that exist beneath {} can be overwritten", show(path)));
        }
        let lists = grant.operations.contains(Operation::List);
        if directory && rights.contains(Rights::READ_DIR) && !lists {
            reasons.push(format!("names in directories beneath {} can be read", show(path)));
        }
        if directory && let Some(exceptions) = self.exceptions_within(grant, path, rights) {
            reasons.push(exceptions);
        }
        if !grant.by.is_empty() {
            reasons.push("any crate, not only those of `by`".into());
        }
        let overgrant = (!reasons.is_empty()).then(|| reasons.join("; "));
        self.plan.rules.push(Rule { path: path.to_vec(), directory, rights, grant: grant.id, overgrant });
    }

    fn not_covered(&mut self, grant: &Grant, what: &str) {
        self.plan.not_covered.push(NotCovered { grant: Some(grant.id), what: what.into() });
    }

    fn narrower(&mut self, grant: &Grant, path: &[u8], what: &str) {
        self.plan.narrower.push(Narrower { grant: grant.id, path: path.to_vec(), what: what.into() });
    }
}

fn rights_on_file(operations: OperationSet) -> Rights {
    let rights = operations.iter().map(|operation| match operation {
        Operation::Read => Rights::READ_FILE,
        Operation::Modify => Rights::WRITE_FILE.union(Rights::TRUNCATE),
        Operation::List | Operation::Stat | Operation::Create | Operation::Delete | Operation::EnvRead => {
            Rights::NONE
        }
    });
    rights.fold(Rights::NONE, Rights::union)
}

fn rights_beneath(operations: OperationSet) -> Rights {
    let rights = operations.iter().map(|operation| match operation {
        Operation::List => Rights::READ_DIR,
        // The first contents of a new file need WRITE_FILE where the file will be; O_TRUNC on a file
        // that the same open makes needs no TRUNCATE.
        Operation::Create => Rights::MAKE_REG
            .union(Rights::MAKE_DIR)
            .union(Rights::MAKE_SYM)
            .union(Rights::WRITE_FILE)
            .union(Rights::REFER),
        // A directory is looked through before it is moved.
        Operation::Delete => {
            Rights::REMOVE_FILE.union(Rights::REMOVE_DIR).union(Rights::READ_DIR).union(Rights::REFER)
        }
        Operation::Read | Operation::Stat | Operation::Modify | Operation::EnvRead => Rights::NONE,
    });
    rights.fold(rights_on_file(operations), Rights::union)
}

//! From an access to a decision: a trie over path components. Pure, and at most a microsecond
//! among 10,000 grants.
//!
//! The laws, each a property test in `crates/policy/tests/laws/main.rs`: `deny` wins over everything, then
//! `hide`, then protected places, then grants; the order of entries does not matter; what no entry
//! covers is denied.

use super::matching::{glob_matches, is_secret_env};
use super::model::{EnvPattern, ExceptionKind, GrantPattern, PathBase, PathPattern, Policy};
use super::trie::{self, Active, Entry, Found, Kind, Trie};
use crate::access::{Decision, GrantId, Operation, OperationSet, Resource};
use std::collections::{BTreeMap, BTreeSet};

/// Names that std, libtest, the linked object and the usual colour conventions ask for by
/// themselves, found in the strings of libstd and libtest 1.97. Asking is no violation; a *value*
/// is only passed to the guest where a grant or `env.set` says so.
pub const IMPLIED_ENV: &[&str] = &[
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "FORCE_COLOR",
    "MSYSCON",
    "NO_COLOR",
    "PWD",
    "RUSTC_BOOTSTRAP",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    "TERM",
    "TERMINFO",
    "TERMINFO_DIRS",
];

/// The same, by how they begin.
const IMPLIED_ENV_PREFIXES: &[&str] =
    &["RUST_TEST_", "__RUST_TEST_INVOKE", "__RUST_TEST_BENCH_BENCHMARKS", "__CARGO_SANDBOX"];

/// A policy, compiled for deciding.
#[derive(Debug)]
pub struct Decider {
    trie: Trie,
    names: BTreeMap<Vec<u8>, EnvGrants>,
    name_patterns: Vec<(EnvPattern, EnvGrants)>,
    /// `by` of the grants that have one.
    by: BTreeMap<u32, Vec<String>>,
    /// Every crate that is named there, once.
    crates: Vec<String>,
    set: BTreeSet<Vec<u8>>,
    links: BTreeSet<Vec<u8>>,
    current_dir: Vec<u8>,
}

/// What [`Decider::decide_again`] remembers: to be used with one decider only.
#[derive(Debug, Default)]
pub struct Recent(trie::Recent);

/// What may be done on one path: by everybody, and by each crate that some grant of the policy names.
/// To be compared with others of the same decider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    all: OperationSet,
    by: Vec<OperationSet>,
}

impl Rights {
    /// Lets everybody do these, too.
    pub fn add(&mut self, operations: OperationSet) {
        self.all = self.all.union(operations);
        self.by.iter_mut().for_each(|by| *by = by.union(operations));
    }

    /// Whether everybody and each crate may do what they may do with `other`.
    pub fn contains_all(&self, other: &Self) -> bool {
        self.all.contains_all(other.all)
            && self.by.len() == other.by.len()
            && self.by.iter().zip(&other.by).all(|(had, has)| had.contains_all(*has))
    }
}

#[derive(Debug, Default)]
struct EnvGrants {
    all: Option<GrantId>,
    by: Vec<GrantId>,
}

impl EnvGrants {
    fn add(&mut self, id: GrantId, by: bool) {
        if by {
            self.by.push(id);
        } else {
            self.all = Some(self.all.map_or(id, |all| all.min(id)));
        }
    }
}

impl Decider {
    /// Compiles a policy. Patterns relative to a `{tmp}` that was not bound match nothing.
    pub fn new(policy: &Policy) -> Self {
        let mut decider = Self {
            trie: Trie::default(),
            names: BTreeMap::new(),
            name_patterns: Vec::new(),
            by: BTreeMap::new(),
            crates: Vec::new(),
            set: policy.set.keys().map(|name| name.as_bytes().to_vec()).collect(),
            links: policy.links.iter().cloned().collect(),
            current_dir: policy.current_dir.clone(),
        };
        for grant in &policy.grants {
            let by = !grant.by.is_empty();
            if by {
                decider.by.insert(grant.id.0, grant.by.iter().map(|name| normal(name)).collect());
            }
            match &grant.pattern {
                GrantPattern::Env(pattern) => {
                    if !grant.operations.contains(Operation::EnvRead) {
                        continue;
                    }
                    match pattern.0.as_slice() {
                        [Some(name)] => decider.names.entry(name.clone()).or_default().add(grant.id, by),
                        _ => {
                            let mut grants = EnvGrants::default();
                            grants.add(grant.id, by);
                            decider.name_patterns.push((pattern.clone(), grants));
                        }
                    }
                }
                GrantPattern::Path(path) => {
                    let kind = Kind::Grant { operations: grant.operations, by, protected: grant.protected };
                    for pattern in std::iter::once(path).chain(&grant.target) {
                        decider.insert(pattern, kind, grant.id.0);
                    }
                }
            }
        }
        for exception in &policy.exceptions {
            let kind = match exception.kind {
                ExceptionKind::Deny => Kind::Deny,
                ExceptionKind::Hide => Kind::Hide,
                ExceptionKind::Protected => Kind::Protected,
            };
            for pattern in std::iter::once(&exception.pattern).chain(&exception.target) {
                decider.insert(pattern, kind, exception.id.0);
            }
        }
        for path in policy.links.iter().chain([&policy.current_dir]) {
            if path.first() == Some(&b'/') {
                decider.trie.mark_way(path);
            }
        }
        decider.trie.finish();
        decider.crates =
            decider.by.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        decider
    }

    fn insert(&mut self, pattern: &PathPattern, kind: Kind, id: u32) {
        if pattern.base == PathBase::Root {
            self.trie.insert(&pattern.components, Entry { kind, id, exact: pattern.exact });
        }
    }

    /// Decides an access whose origin is not known.
    pub fn decide(&self, operation: Operation, resource: &Resource) -> Decision {
        match resource {
            Resource::Path(path) => self.decide_path(operation, path),
            Resource::Env(name) => self.decide_env(operation, name, None),
        }
    }

    /// The same for a path, without building a [`Resource`]: the gate's hot path. A path that is
    /// not absolute, or has empty, `.` or `..` components or a NUL, is denied.
    pub fn decide_path(&self, operation: Operation, path: &[u8]) -> Decision {
        if !operation.is_on_path() {
            return Decision::Denied(None);
        }
        match self.trie.find(path) {
            Some(found) => self.judge(operation, path, &found),
            None => Decision::Denied(None),
        }
    }

    /// The same, with what the last such decision of this decider has left in `recent`: for whoever
    /// decides again and again about neighbours.
    pub fn decide_again(&self, operation: Operation, path: &[u8], recent: &mut Recent) -> Decision {
        if !operation.is_on_path() {
            return Decision::Denied(None);
        }
        match self.trie.find_again(path, &mut recent.0) {
            Some(found) => self.judge(operation, path, found),
            None => Decision::Denied(None),
        }
    }

    fn judge(&self, operation: Operation, path: &[u8], found: &Found) -> Decision {
        if let Some(exception) = found.exception() {
            return exception;
        }
        if let Some(grant) = found.grant(operation) {
            return Decision::Allowed(Some(grant));
        }
        if operation == Operation::Stat && path == self.current_dir {
            return Decision::Allowed(None);
        }
        if found.by_grant(operation) { Decision::DependsOnOrigin } else { found.refusal(operation) }
    }

    /// Decides again after [`Decision::DependsOnOrigin`], with the crate it originates from.
    pub fn decide_by(&self, operation: Operation, resource: &Resource, krate: &str) -> Decision {
        let path = match resource {
            Resource::Env(name) => return self.decide_env(operation, name, Some(krate)),
            Resource::Path(path) => path,
        };
        let decision = self.decide_path(operation, path);
        if decision != Decision::DependsOnOrigin {
            return decision;
        }
        let krate = normal(krate);
        match self.trie.find_by(path, operation, |id| self.may_use(id, &krate)) {
            Some(grant) => Decision::Allowed(Some(grant)),
            None => self.trie.find(path).map_or(Decision::Denied(None), |found| found.refusal(operation)),
        }
    }

    fn may_use(&self, grant: u32, krate: &str) -> bool {
        self.by.get(&grant).is_some_and(|names| names.iter().any(|name| name == krate))
    }

    fn decide_env(&self, operation: Operation, name: &[u8], krate: Option<&str>) -> Decision {
        if operation != Operation::EnvRead {
            return Decision::Denied(None);
        }
        let literal = self.names.get(name);
        if let Some(id) = literal.and_then(|grants| grants.all) {
            return Decision::Allowed(Some(id));
        }
        let matching = || {
            // Whoever writes `CARGO_*` does not mean `CARGO_REGISTRY_TOKEN`: a secret is named in full.
            let secret = is_secret_env(name);
            let matches = move |pattern: &EnvPattern| !secret && glob_matches(&pattern.0, name);
            let patterns = self.name_patterns.iter().filter(move |(pattern, _)| matches(pattern));
            patterns.map(|(_, grants)| grants)
        };
        if let Some(id) = matching().filter_map(|grants| grants.all).min() {
            return Decision::Allowed(Some(id));
        }
        if self.set.contains(name) || is_implied_env(name) {
            return Decision::Allowed(None);
        }
        let mut by = literal.into_iter().chain(matching()).flat_map(|grants| &grants.by).copied();
        match krate {
            None if by.next().is_some() => Decision::DependsOnOrigin,
            None => Decision::Denied(None),
            Some(krate) => {
                let krate = normal(krate);
                match by.filter(|id| self.may_use(id.0, &krate)).min() {
                    Some(id) => Decision::Allowed(Some(id)),
                    None => Decision::Denied(None),
                }
            }
        }
    }

    /// Every operation that is allowed on `path`, `by` grants included only if `with_by`.
    pub fn operations(&self, path: &[u8], with_by: bool) -> OperationSet {
        match self.trie.find(path) {
            Some(found) => self.allowed(path, &found, with_by),
            None => OperationSet::EMPTY,
        }
    }

    fn allowed(&self, path: &[u8], found: &Found, with_by: bool) -> OperationSet {
        let allowed = |operation: &Operation| match self.judge(*operation, path, found) {
            Decision::Allowed(_) => true,
            Decision::DependsOnOrigin => with_by,
            _ => false,
        };
        OperationSet::FS_ALL
            .iter()
            .filter(allowed)
            .map(OperationSet::of)
            .fold(OperationSet::EMPTY, OperationSet::union)
    }

    /// Whether the guest may learn that `path` exists as a step on the way to something: it is an
    /// ancestor of a grant, of a link of the policy or of the current directory, or has an
    /// operation granted itself. Resolution of `..` and links stops elsewhere.
    pub fn is_on_the_way(&self, path: &[u8]) -> bool {
        let mut active = Active::default();
        let Some(found) = self.trie.walk(path, &mut active) else { return false };
        if found.is_shut() {
            return false;
        }
        self.trie.leads_on(&active) || !self.allowed(path, &found, true).is_empty()
    }

    /// Whether the decision about something beneath a directory depends on how it is called.
    pub fn tells_apart_in(&self, directory: &[u8]) -> bool {
        let mut active = Active::default();
        self.trie.walk(directory, &mut active).is_none() || self.trie.tells_apart(&active)
    }

    /// Whether the symbolic link at `path` may be followed: it is one of the policy's links, or
    /// its `stat` is granted.
    pub fn may_follow(&self, path: &[u8]) -> bool {
        let Some(found) = self.trie.find(path) else { return false };
        if found.is_shut() {
            return false;
        }
        self.links.contains(path) || self.allowed(path, &found, true).contains(Operation::Stat)
    }

    /// What may be done on a path, and by whom. `None` for a malformed one.
    pub fn rights(&self, path: &[u8]) -> Option<Rights> {
        let found = self.trie.find(path)?;
        let all = self.allowed(path, &found, false);
        let conditional = self.allowed(path, &found, true).difference(all);
        let of = |krate: &String| {
            let may = |operation: &Operation| {
                self.trie.find_by(path, *operation, |id| self.may_use(id, krate)).is_some()
            };
            conditional.iter().filter(may).map(OperationSet::of).fold(all, OperationSet::union)
        };
        Some(Rights { all, by: self.crates.iter().map(of).collect() })
    }

    /// Whether renaming or hard-linking `from` to `to` gains nothing: what may be done at `to` may be
    /// done at `from`, by each crate.
    ///
    /// That is about these two names. They are not asked about themselves: whoever moves needs `delete`
    /// at `from` and `create` at `to` as well. And of a directory each name beneath it moves too.
    pub fn may_move(&self, from: &[u8], to: &[u8]) -> bool {
        match (self.rights(from), self.rights(to)) {
            (Some(had), Some(has)) => had.contains_all(&has),
            _ => false,
        }
    }

    /// Whether a symbolic link at `link` to `to` shows nothing below it that could not be made there:
    /// each exception below `link` holds below `to` as well, or nothing can be changed there. Whoever
    /// else follows the link sees a `Cargo.toml` of the one place in the other.
    ///
    /// May say no where that is so, never yes where it is not.
    pub fn may_show(&self, link: &[u8], to: &[u8]) -> bool {
        let (mut at_link, mut at_to) = (Active::default(), Active::default());
        let (Some(_), Some(found)) = (self.trie.walk(link, &mut at_link), self.trie.walk(to, &mut at_to))
        else {
            return false;
        };
        let changes = self.allowed(to, &found, true).intersection(OperationSet::FS_CHANGE);
        (changes.is_empty() && !self.trie.changes_below(&at_to))
            || self.trie.excepts_as_much(&at_to, &at_link)
    }
}

/// Whether a name is one of those that every guest may ask for.
pub fn is_implied_env(name: &[u8]) -> bool {
    IMPLIED_ENV.iter().any(|implied| implied.as_bytes() == name)
        || IMPLIED_ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Crate names with `-` and `_` are the same to everyone but cargo.
fn normal(krate: &str) -> String {
    krate.replace('-', "_")
}

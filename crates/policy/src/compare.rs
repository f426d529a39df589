//! What one policy grants that another does not: for ceilings, `diff`, and grants that another
//! grant makes needless.

use super::matching::{env_covers, literal_prefix, path_covers};
use super::model::{
    Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase, PathPattern, Scope,
};
use super::pattern::joined;
use crate::access::OperationSet;
use std::collections::HashMap;

/// Grants by what their patterns begin with, so that each is compared only with those that could cover it.
#[derive(Debug)]
pub struct Index<'a> {
    grants: &'a [Grant],
    /// By the base and the literal beginning of a pattern or its target.
    paths: HashMap<(bool, Vec<u8>), Vec<usize>>,
    /// Of variables: by the whole name, and those with a wildcard.
    names: HashMap<&'a [u8], Vec<usize>>,
    patterns: Vec<usize>,
}

impl<'a> Index<'a> {
    /// Of these grants.
    pub fn new(grants: &'a [Grant]) -> Self {
        let mut index = Self { grants, paths: HashMap::new(), names: HashMap::new(), patterns: Vec::new() };
        for (at, grant) in grants.iter().enumerate() {
            match &grant.pattern {
                GrantPattern::Env(name) => match name.0.as_slice() {
                    [Some(name)] => index.names.entry(name).or_default().push(at),
                    _ => index.patterns.push(at),
                },
                GrantPattern::Path(path) => {
                    for path in std::iter::once(path).chain(&grant.target) {
                        let key = (path.base == PathBase::Tmp, joined(literal_prefix(&path.components)));
                        index.paths.entry(key).or_default().push(at);
                    }
                }
            }
        }
        index
    }

    /// Those that could cover a grant, with their positions, in order: a literal is only covered by what begins with
    /// the same literals, or with fewer.
    pub fn candidates(&self, narrow: &Grant) -> impl Iterator<Item = (usize, &'a Grant)> + Clone + use<'a> {
        let mut found: Vec<usize> = match &narrow.pattern {
            GrantPattern::Env(name) => match name.0.as_slice() {
                [Some(name)] => self
                    .names
                    .get(name.as_slice())
                    .into_iter()
                    .flatten()
                    .chain(&self.patterns)
                    .copied()
                    .collect(),
                _ => self.patterns.clone(),
            },
            GrantPattern::Path(path) => std::iter::once(path)
                .chain(&narrow.target)
                .flat_map(|path| {
                    let prefix = literal_prefix(&path.components);
                    let keys =
                        (0..=prefix.len()).map(|end| (path.base == PathBase::Tmp, joined(&prefix[..end])));
                    keys.filter_map(|key| self.paths.get(&key)).flatten().copied().collect::<Vec<_>>()
                })
                .collect(),
        };
        found.sort_unstable();
        found.dedup();
        let grants = self.grants;
        found.into_iter().map(move |at| (at, &grants[at]))
    }
}

/// The operations of a grant that some of `others` cover, each as a whole: everything that the
/// grant allows by it, in its scope and for its crates. May miss some, never names one too many.
pub fn covered<'a>(others: impl Iterator<Item = &'a Grant> + Clone, grant: &Grant) -> OperationSet {
    let one = |operation: &_| {
        let wanted = OperationSet::of(*operation);
        let able = |wide: &&Grant| {
            wide.operations.contains_all(wanted)
                && scope_covers(&wide.scope, &grant.scope)
                && (wide.by.is_empty()
                    || (!grant.by.is_empty() && grant.by.iter().all(|name| wide.by.contains(name))))
                && (wide.protected || !grant.protected)
                && [None, wide.provenance.mount].contains(&grant.provenance.mount)
        };
        match &grant.pattern {
            GrantPattern::Env(narrow) => others
                .clone()
                .filter(able)
                .any(|wide| matches!(&wide.pattern, GrantPattern::Env(wide) if env_covers(wide, narrow))),
            GrantPattern::Path(narrow) => std::iter::once(narrow)
                .chain(&grant.target)
                .all(|narrow| others.clone().filter(able).any(|wide| covers(wide, narrow))),
        }
    };
    grant.operations.iter().filter(one).map(OperationSet::of).fold(OperationSet::EMPTY, OperationSet::union)
}

/// The grants of `new` with the operations that `old` does not cover.
pub fn gained<'a>(old: &PackagePolicy, new: &'a PackagePolicy) -> Vec<(&'a Grant, OperationSet)> {
    let index = Index::new(&old.grants);
    let covered = |grant| covered(index.candidates(grant).map(|(_, wide)| wide), grant);
    new.grants
        .iter()
        .map(|grant| (grant, grant.operations.difference(covered(grant))))
        .filter(|(_, operations)| !operations.is_empty())
        .collect()
}

/// The exceptions of `old` that no exception of `new` holds up any more.
pub fn dropped<'a>(old: &'a PackagePolicy, new: &PackagePolicy) -> Vec<&'a Exception> {
    let kept = |exception: &&Exception| {
        let places = std::iter::once(&exception.pattern).chain(&exception.target);
        places.clone().all(|narrow| {
            new.exceptions.iter().any(|wide| {
                wide.kind != ExceptionKind::Protected
                    && scope_covers(&wide.scope, &exception.scope)
                    && std::iter::once(&wide.pattern)
                        .chain(&wide.target)
                        .any(|wide| path_covers(wide, narrow))
            })
        })
    };
    let of_manifest = |exception: &&Exception| exception.kind != ExceptionKind::Protected;
    old.exceptions.iter().filter(of_manifest).filter(|exception| !kept(exception)).collect()
}

fn covers(wide: &Grant, narrow: &PathPattern) -> bool {
    let own = match &wide.pattern {
        GrantPattern::Path(path) => Some(path),
        GrantPattern::Env(_) => None,
    };
    own.into_iter().chain(&wide.target).any(|wide| path_covers(wide, narrow))
}

/// Whether what has the scope `wide` applies wherever `narrow` does.
pub fn scope_covers(wide: &Scope, narrow: &Scope) -> bool {
    match (wide, narrow) {
        (Scope::Always, _) | (Scope::Test, Scope::Case { .. }) => true,
        (Scope::Case { name: wide, .. }, Scope::Case { name: narrow, .. }) => wide == narrow,
        _ => wide == narrow,
    }
}

//! What one policy grants that another does not: for ceilings, `diff`, and grants that another
//! grant makes needless.

use super::matching::{env_covers, path_covers};
use super::model::{Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathPattern, Scope};
use crate::access::OperationSet;

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
                && (wide.as_tmp || !grant.as_tmp)
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
    new.grants
        .iter()
        .map(|grant| (grant, grant.operations.difference(covered(old.grants.iter(), grant))))
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

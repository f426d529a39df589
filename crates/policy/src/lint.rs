//! What is allowed in a manifest and still not what anybody wants: grants of nothing, grants inside
//! another, exceptions that except nothing, and grants of places to look at twice.

use super::compare::{Index, covered};
use super::matching::{literal_prefix, may_contain};
use super::model::literals;
use super::model::{Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase, PathPattern};
use super::pattern::{joined, shown};
use super::places::{Lookup, Places, bytes};
use super::protected::Protected;
use crate::access::{Operation, OperationSet};
use std::path::Path;

/// What is odd about one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint<'a> {
    /// Stable short name: `missing-path`, `needless-grant`, `needless-exception`, `sensitive-grant`.
    pub code: &'static str,
    /// The entry it is about.
    pub about: About<'a>,
    /// In a sentence.
    pub message: String,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// A grant.
    Grant(&'a Grant),
    /// An exception.
    Exception(&'a Exception),
}

/// Looks at every entry of a package. `places` must be canonical.
pub fn lint<'a>(policy: &'a PackagePolicy, places: &Places, lookup: &dyn Lookup) -> Vec<Lint<'a>> {
    let protected = Protected::new(places);
    let index = Index::new(&policy.grants);
    let mut lints = Vec::new();
    for (at, grant) in policy.grants.iter().enumerate() {
        let mut add = |code, message| lints.push(Lint { code, about: About::Grant(grant), message });
        let text = shown(&grant.provenance.text);
        if let Some(other) = wider(&index, at, grant) {
            add(
                "needless-grant",
                format!(
                    "`{text}` in `{}` lies inside `{}` and adds nothing",
                    grant.provenance.key,
                    shown(&other.provenance.text)
                ),
            );
        }
        let GrantPattern::Path(pattern) = &grant.pattern else { continue };
        if pattern.base == PathBase::Root && is_missing(&index, grant, pattern, lookup) {
            add("missing-path", format!("`{text}` does not exist, and nothing may create it"));
        }
        if let Some(why) = sensitive(&protected, places, grant, pattern) {
            add("sensitive-grant", format!("`{text}` is a place to look at twice: {why}"));
        }
    }
    // What a workspace denies is meant for every package, whatever this one grants.
    let own = |exception: &&Exception| !exception.provenance.table.starts_with("workspace.");
    let denied = policy.exceptions.iter().filter(|exception| exception.kind == ExceptionKind::Deny);
    for exception in denied.filter(own) {
        if !excepts(policy, exception) {
            let text = shown(&exception.provenance.text);
            let message = format!("`{text}` in `deny` excepts nothing: no grant reaches it");
            lints.push(Lint { code: "needless-exception", about: About::Exception(exception), message });
        }
    }
    lints
}

/// Another grant that gives all that this one gives. Of two that say the same, the later one is
/// needless.
fn wider<'a>(index: &Index<'a>, at: usize, grant: &Grant) -> Option<&'a Grant> {
    let gives_all =
        |wide: &Grant, narrow: &Grant| covered(std::iter::once(wide), narrow).contains_all(narrow.operations);
    let mut others = index.candidates(grant).filter(|(other, _)| *other != at);
    let found =
        others.find(|(other, wide)| gives_all(wide, grant) && (*other < at || !gives_all(grant, wide)));
    found.map(|(_, wide)| wide)
}

fn is_missing(index: &Index<'_>, grant: &Grant, pattern: &PathPattern, lookup: &dyn Lookup) -> bool {
    let prefix = literal_prefix(&pattern.components);
    if lookup.resolve(&joined(prefix)).exists {
        return false;
    }
    let creates = |other: &&Grant| match &other.pattern {
        GrantPattern::Path(path) => {
            other.operations.contains(Operation::Create) && may_contain(&path.components, prefix)
        }
        GrantPattern::Env(_) => false,
    };
    // A file that may be there or not is looked at with `stat`.
    grant.operations != OperationSet::of(Operation::Stat)
        && !index.candidates(grant).any(|(_, other)| creates(&other))
}

fn sensitive(protected: &Protected, places: &Places, grant: &Grant, pattern: &PathPattern) -> Option<String> {
    if let Some(conflict) = protected.conflict(grant.operations, pattern) {
        return Some(format!("`{}`, {}", conflict.place, conflict.why));
    }
    marked(places, &joined(literal_prefix(&pattern.components))).filter(|_| pattern.base == PathBase::Root)
}

/// Whether a path lies where a grant should be a person's decision: outside of the package and its
/// workspace, in the home directory or among the system's own files.
pub fn marked(places: &Places, path: &[u8]) -> Option<String> {
    let names = literals(path);
    let beneath = |root: &Path| {
        let root = literals(bytes(root));
        !root.is_empty() && names.starts_with(&root)
    };
    if [&places.package, &places.workspace, &places.target_dir].into_iter().any(|root| beneath(root)) {
        return None;
    }
    if places.home.as_deref().is_some_and(beneath) {
        return Some("it lies in the home directory, outside of the package".to_owned());
    }
    let system = ["/etc", "/proc", "/sys", "/dev", "/run", "/var", "/root", "/home"];
    let of_system = system.into_iter().find(|place| beneath(Path::new(place)));
    of_system.map(|place| format!("it lies in `{place}`"))
}

/// Whether an exception takes anything from any grant.
fn excepts(policy: &PackagePolicy, exception: &Exception) -> bool {
    let places = || std::iter::once(&exception.pattern).chain(&exception.target);
    policy.grants.iter().any(|grant| {
        let GrantPattern::Path(pattern) = &grant.pattern else { return false };
        std::iter::once(pattern).chain(&grant.target).any(|own| {
            places().any(|place| {
                own.base == place.base
                    && (may_contain(&own.components, &place.components)
                        || may_contain(&place.components, &own.components))
            })
        })
    })
}

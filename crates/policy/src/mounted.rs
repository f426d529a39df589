//! What a guest's mounts are, by what its package's policy speaks of.

use super::matching::literal_prefix;
use super::model::{
    Component, Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase, PathPattern, Policy,
    Provenance, Scope, literals,
};
use super::mounts::{Kept, Mount, MountPoint, Mounts};
use super::pattern::shown;
use super::places::{Bindings, Places, bytes};
use std::collections::BTreeSet;
use std::path::Path;

impl Kept {
    pub(super) fn of(places: &Places) -> Self {
        let mut names = Self::default();
        let of_build = [&places.package, &places.workspace, &places.target_dir];
        for place in of_build.into_iter().chain(&places.home) {
            match below(&literals(bytes(place))) {
                Below::Name(name) => drop(names.places.insert(name.to_vec())),
                Below::Whole => names.whole |= Some(place) != places.home.as_ref(),
                Below::Not => {}
            }
        }
        names
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.places.extend(other.places);
        self.whole |= other.whole;
        self
    }

    /// For an audit: every guest sees its private directory in the place of `/tmp`, whatever its grants
    /// say, but for these names, which were there before.
    pub fn audit(&mut self, found: BTreeSet<Vec<u8>>) {
        self.found = Some(found);
    }

    /// Whether whoever has a private directory sees it so.
    pub(super) fn is_for_audit(&self) -> bool {
        self.found.is_some()
    }

    /// What a guest with these grants and exceptions sees; patterns are bound.
    pub(super) fn mounts(
        &self,
        grants: &[Grant],
        exceptions: &[Exception],
        bind: &Bindings,
    ) -> Option<Mounts> {
        let to = bytes(bind.tmp.as_deref()?);
        let granted = grants.iter().any(|grant| grant.provenance.mount == Some(MountPoint::Tmp));
        let mut kept = match &self.found {
            _ if granted => BTreeSet::new(),
            Some(found) => found.clone(),
            None => return None,
        };
        let whole = self.kept(grants, exceptions, bind, &mut kept);
        (granted || !whole).then(|| Mount::new(MountPoint::Tmp, to, kept, granted).into())
    }

    /// Collects names that stay what they are. Whether something speaks of `/tmp` as a whole.
    fn kept(
        &self,
        grants: &[Grant],
        exceptions: &[Exception],
        bind: &Bindings,
        kept: &mut BTreeSet<Vec<u8>>,
    ) -> bool {
        kept.extend(self.places.iter().cloned());
        if let Below::Name(name) = below(&literals(bytes(&bind.current_dir))) {
            kept.insert(name.to_vec());
        }
        let mut whole = self.whole;
        let named = grants.iter().flat_map(of_grant).chain(exceptions.iter().flat_map(of_exception));
        for pattern in named {
            match below(&pattern.components) {
                Below::Name(name) => drop(kept.insert(name.to_vec())),
                Below::Whole => whole = true,
                Below::Not => {}
            }
        }
        whole
    }
}

impl PackagePolicy {
    /// Whether `as = "/tmp"` in this scope would make `path` one in the private directory, for a guest
    /// that sees no such thing yet.
    pub(super) fn could_stand(&self, path: &[u8], scope: &Scope, cut: &Policy, bind: &Bindings) -> bool {
        let Below::Name(_) = below(&literals(path)) else { return false };
        let mut kept = BTreeSet::new();
        let whole = self.kept.kept(&cut.grants, &cut.exceptions, bind, &mut kept);
        let to = bytes(bind.tmp.as_deref().unwrap_or(Path::new("/")));
        !cut.mounts.is_granted(MountPoint::Tmp)
            && !whole
            && self.speaks_of_tmp(scope).is_none()
            && Mounts::from(Mount::new(MountPoint::Tmp, to, kept, true)).to_host(path).is_some()
    }

    /// What speaks of `/tmp` as a whole to some guest to which `scope` applies, in words.
    pub(super) fn speaks_of_tmp(&self, scope: &Scope) -> Option<String> {
        if self.kept.whole {
            return Some("the package or its target directory is `/tmp` itself".to_owned());
        }
        let whole = |pattern: &PathPattern| matches!(below(&pattern.components), Below::Whole);
        let grants = self.grants.iter().filter(|grant| meet(&grant.scope, scope));
        let exceptions = self.exceptions.iter().filter(|exception| meet(&exception.scope, scope));
        let grant = grants.filter(|grant| of_grant(grant).any(whole)).map(|grant| &grant.provenance);
        let exception = exceptions
            .filter(|exception| exception.kind != ExceptionKind::Protected)
            .filter(|exception| of_exception(exception).any(whole))
            .map(|exception| &exception.provenance);
        grant.chain(exception).next().map(entry)
    }
}

fn entry(place: &Provenance) -> String {
    let text = shown(&place.text);
    match place.line {
        0 => format!("`{} {text}` speaks of `/tmp` too", place.table),
        line => format!("`{text}` in `{}.{}`, line {line}, speaks of `/tmp` too", place.table, place.key),
    }
}

/// What a path or pattern has to do with `/tmp`.
enum Below<'a> {
    Not,
    /// It is `/tmp`, or something in it of no certain name.
    Whole,
    /// It lies below this name in it.
    Name(&'a [u8]),
}

fn below(components: &[Component]) -> Below<'_> {
    match literal_prefix(components) {
        [Component::Literal(tmp), rest @ ..] if tmp == b"tmp" => match rest {
            [Component::Literal(name), ..] => Below::Name(name),
            _ => Below::Whole,
        },
        _ => Below::Not,
    }
}

/// The patterns of a grant that are absolute paths.
fn of_grant(grant: &Grant) -> impl Iterator<Item = &PathPattern> {
    let own = match &grant.pattern {
        GrantPattern::Path(path) => Some(path),
        GrantPattern::Env(_) => None,
    };
    absolute(own.into_iter().chain(&grant.target))
}

fn of_exception(exception: &Exception) -> impl Iterator<Item = &PathPattern> {
    absolute(std::iter::once(&exception.pattern).chain(&exception.target))
}

fn absolute<'a>(patterns: impl Iterator<Item = &'a PathPattern>) -> impl Iterator<Item = &'a PathPattern> {
    patterns.filter(|pattern| pattern.base == PathBase::Root)
}

/// Whether two scopes can apply to one guest.
fn meet(one: &Scope, other: &Scope) -> bool {
    let test = |scope: &Scope| matches!(scope, Scope::Test | Scope::Case { .. });
    *one == Scope::Always || *other == Scope::Always || one == other || (test(one) && test(other))
}

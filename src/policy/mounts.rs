//! The paths of a guest and those of the host, where they differ: `as = "/tmp"` puts the private directory in
//! the place of `/tmp`, for a guest that will have no other.
//!
//! What the guest names is translated once, before anything is decided: decisions, rules and
//! reports speak of the private directory by its own path. Names below `/tmp` that the policy or the
//! run speaks of by themselves stay what they are.

use super::matching::literal_prefix;
use super::model::{
    Component, Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathPattern, Provenance, Scope,
};
use super::pattern::literals;
use super::places::{Places, bytes};
use super::select::Bindings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Where a guest can find something else than its machine has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MountPoint {
    /// `/tmp`, in the place of which its private directory can stand.
    Tmp,
}

impl MountPoint {
    /// What the guest calls it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Tmp => "/tmp",
        }
    }
}

/// A directory in the place of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    point: MountPoint,
    to: Vec<u8>,
    kept: BTreeSet<Vec<u8>>,
    granted: bool,
}

impl Mount {
    /// `to` is the directory on the host: absolute, without links. `kept` are names directly below the point
    /// that stay what they are, as does the one on the way to `to`. Without `granted` it is an audit
    /// that shows it so, and no grant covers what the guest does there by this name.
    pub fn new(point: MountPoint, to: &[u8], mut kept: BTreeSet<Vec<u8>>, granted: bool) -> Self {
        // Else a translated path would be translated again.
        if let Below::Name(name) = below(&literals(to)) {
            kept.insert(name.to_vec());
        }
        Self { point, to: to.to_vec(), kept, granted }
    }

    /// Where the guest sees it.
    pub fn point(&self) -> MountPoint {
        self.point
    }

    /// The directory on the host.
    pub fn to(&self) -> &[u8] {
        &self.to
    }

    /// Whether a path on the host is the directory or lies beneath it.
    pub fn holds(&self, path: &[u8]) -> bool {
        rest_below(path, &self.to).is_some()
    }
}

/// The one mapping of the paths that a guest names to those of the host. The first that fits counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounts(Vec<Mount>);

impl From<Mount> for Mounts {
    fn from(mount: Mount) -> Self {
        Self(vec![mount])
    }
}

impl Mounts {
    /// What the guest means by an absolute path without `.` and empty components, if that is another one.
    pub fn to_host(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.enter(path, None).map(|(_, host)| host)
    }

    /// The same of a path that goes on with `next`, and the point by which it is meant.
    pub fn enter(&self, path: &[u8], next: Option<&[u8]>) -> Option<(MountPoint, Vec<u8>)> {
        self.0.iter().find_map(|mount| {
            let rest = rest_below(path, mount.point.path().as_bytes())?;
            let next = rest.split(|byte| *byte == b'/').nth(1).or(next);
            let meant = next.is_none_or(|next| !mount.kept.contains(next));
            meant.then(|| (mount.point, [&mount.to, rest].concat()))
        })
    }

    /// Whether a path is that of a point itself.
    pub fn has_point(&self, path: &[u8]) -> bool {
        self.0.iter().any(|mount| mount.point.path().as_bytes() == path)
    }

    /// The points at which the guest sees a path of the host.
    pub fn holding(&self, path: &[u8]) -> impl Iterator<Item = MountPoint> {
        self.0.iter().filter(|mount| mount.holds(path)).map(|mount| mount.point)
    }

    /// Those that an audit shows without a grant.
    pub fn ungranted(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(|mount| !mount.granted)
    }

    fn is_granted(&self, point: MountPoint) -> bool {
        self.0.iter().any(|mount| mount.point == point && mount.granted)
    }
}

/// What follows `above` in a path that is it or lies beneath it.
fn rest_below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(above).filter(|rest| rest.is_empty() || rest[0] == b'/')
}

/// What a package's mounts leave as it is, besides what its grants and exceptions name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Names on the way to the package, its workspace, the target directory and home.
    places: BTreeSet<Vec<u8>>,
    /// One of these but home is `/tmp` itself.
    whole: bool,
    /// In an audit: what was in `/tmp` when it began.
    found: Option<BTreeSet<Vec<u8>>>,
}

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
    pub(super) fn could_stand(
        &self,
        path: &[u8],
        scope: &Scope,
        cut: &super::Policy,
        bind: &Bindings,
    ) -> bool {
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
    let text = super::pattern::shown(&place.text);
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
    patterns.filter(|pattern| pattern.base == super::PathBase::Root)
}

/// Whether two scopes can apply to one guest.
fn meet(one: &Scope, other: &Scope) -> bool {
    let test = |scope: &Scope| matches!(scope, Scope::Test | Scope::Case { .. });
    *one == Scope::Always || *other == Scope::Always || one == other || (test(one) && test(other))
}

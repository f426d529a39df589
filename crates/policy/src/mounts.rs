//! The paths of a guest and those of the host, where they differ: `as = "/tmp"` puts the private directory in
//! the place of `/tmp`, for a guest that will have no other.
//!
//! What the guest names is translated once, before anything is decided: decisions, rules and
//! reports speak of the private directory by its own path. Names below `/tmp` that the policy or the
//! run speaks of by themselves stay what they are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
        let rest = rest_below(to, point.path().as_bytes()).unwrap_or_default();
        kept.extend(rest.split(|byte| *byte == b'/').nth(1).map(<[u8]>::to_vec));
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

    pub(super) fn is_granted(&self, point: MountPoint) -> bool {
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
    pub(super) places: BTreeSet<Vec<u8>>,
    /// One of these but home is `/tmp` itself.
    pub(super) whole: bool,
    /// In an audit: what was in `/tmp` when it began.
    pub(super) found: Option<BTreeSet<Vec<u8>>>,
}

//! Where a guest finds something else than the host has there: see [`Mounts`](sandbox_policy::Mounts).

use super::Gate;

impl Gate {
    /// Whether no grant counts here: in an audit the guest came here by a mount, which without
    /// the audit would have led elsewhere.
    pub(super) fn strays(&self, path: &[u8]) -> bool {
        let came_by = |point| self.mounted.borrow().contains(&point);
        self.policy.mounts.ungranted().any(|mount| came_by(mount.point()) && mount.holds(path))
    }

    /// Whether a step of an audit is above or in a mounted directory. Whatever is granted there in the
    /// end will make it one on the way: to have passed it is nothing to be granted by itself.
    pub(super) fn leads_to_mount(&self, path: &[u8]) -> bool {
        let above = |to: &[u8]| to.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        self.policy.mounts.ungranted().any(|mount| mount.holds(path) || above(mount.to()))
    }

    /// What the guest means by a path that goes on with `next`, if that is another one: from now on it is
    /// known to have come that way.
    pub(crate) fn to_host(&self, path: &[u8], next: Option<&[u8]>) -> Option<Vec<u8>> {
        let (point, host) = self.policy.mounts.enter(path, next)?;
        if self.mounted.borrow_mut().insert(point) {
            self.untold.borrow_mut().push(point);
        }
        Some(host)
    }

    /// The same where a resolver has come to, step by step: only a point itself leads elsewhere.
    pub(crate) fn step_to_host(&self, path: &[u8], next: Option<&[u8]>) -> Option<Vec<u8>> {
        if self.policy.mounts.has_point(path) { self.to_host(path, next) } else { None }
    }
}

//! The private directory in the place of `/tmp`: see [`TmpView`](crate::policy::TmpView).

use super::Gate;

impl Gate {
    /// Whether no grant counts here: in an audit the guest came here by the name `/tmp`, which without
    /// the audit would have led elsewhere.
    pub(super) fn strays(&self, path: &[u8]) -> bool {
        self.saw_tmp.get()
            && self.policy.tmp_view.as_ref().is_some_and(|view| !view.is_granted() && view.holds(path))
    }

    /// Whether a step of an audit is above or in the private directory. Whatever is granted there in the
    /// end will make it one on the way: to have passed it is nothing to be granted by itself.
    pub(super) fn leads_to_tmp(&self, path: &[u8]) -> bool {
        let view = self.policy.tmp_view.as_ref().filter(|view| !view.is_granted());
        let above = |to: &[u8]| to.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        view.is_some_and(|view| view.holds(path) || above(view.to()))
    }

    /// What the guest sees in the place of `/tmp`, if that goes on with `next`: from now on it is known
    /// to have come that way.
    pub(crate) fn in_place_of_tmp(&self, next: Option<&[u8]>) -> Option<&[u8]> {
        let view = self.policy.tmp_view.as_ref().filter(|view| view.stands_before(next))?;
        self.saw_tmp.set(true);
        Some(view.to())
    }

    /// Replaces a path by the one that the guest means by it: see [`TmpView`](crate::policy::TmpView).
    /// Whether it is another one.
    pub(crate) fn translate(&self, path: &mut Vec<u8>) -> bool {
        let Some(real) = self.policy.tmp_view.as_ref().and_then(|view| view.real(path)) else { return false };
        *path = real;
        self.saw_tmp.set(true);
        true
    }
}

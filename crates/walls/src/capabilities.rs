//! Capabilities (capabilities(7)): a confined process has none.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Gives up every capability, whoever started this process, root included: what it may do is what any
/// process of its user may. No later exec brings one back ([`no_new_privs`](super::process::no_new_privs)), and a process that still has
/// one cannot be traced, nor its memory reached, by one without (security/commoncap.c,
/// `cap_ptrace_access_check`).
///
/// # Errors
/// Those of prctl(2) and capset(2), and `Other` if a set does not read back as empty.
pub fn give_up() -> io::Result<()> {
    // Those that the kernel knows, and those of a newer one.
    for number in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            // The kernel knows no more; or who has no `CAP_SETPCAP` keeps a bound on what it cannot gain.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    if rustix::thread::capabilities(None)? == none {
        Ok(())
    } else {
        Err(io::Error::other("a capability stayed"))
    }
}

/// The outermost folder on the way to `folder`, itself included, that this user enters by a capability only.
/// `None` for all but root, who alone has one.
pub fn closed_without(folder: &Path) -> Option<&Path> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let groups = rustix::process::getgroups().unwrap_or_default();
    let is_closed = |folder: &&Path| {
        let Ok(found) = folder.metadata() else { return false };
        let ours = found.gid() == 0 || groups.iter().any(|group| group.as_raw() == found.gid());
        let bits = match (found.uid(), ours) {
            (0, _) => found.mode() >> 6,
            (_, true) => found.mode() >> 3,
            (_, false) => found.mode(),
        };
        bits & 1 == 0
    };
    folder.ancestors().filter(is_closed).last()
}

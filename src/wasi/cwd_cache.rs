//! Metadata by path with one look at one name: a third of the time where many files of one directory
//! are looked at.
//!
//! The process stands in the directory that holds the name (`fchdir` to what [`Gate::open_path`](super::gate::Gate::open_path) has
//! opened: no link on the way). Before each use the kernel is asked where that is (`getcwd`), and
//! only if the answer is the decided path, byte for byte, the name is looked at in there, without
//! following a link. So the directory was at that path during the call, found through no link, and
//! the name was looked at in it afterwards: what the kernel's own walk of the whole path gives, whose
//! steps are as little atomic. A directory that the guest or anyone else has renamed, moved or removed
//! since has another path or none, and the whole path is walked as ever.
//!
//! As with any current directory, what is not seen is that permission to pass through a directory
//! above was taken away meanwhile, and that something was mounted over one: neither is in a guest's
//! power. Opening a file gains nothing in this way: asking costs as much as the walk.

use super::gate::Place;
use rustix::fs::{AtFlags, CWD, FileType, Stat, StatxFlags};
use rustix::io::Errno as Native;
use std::os::fd::{BorrowedFd, OwnedFd};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct CwdCache {
    /// Where the process was sent; empty: nowhere.
    directory: Vec<u8>,
    /// The directory of the last name that was not in there: going there pays from the second name on.
    asked: Vec<u8>,
}

impl CwdCache {
    /// `None` if the guest's root is not the process', whose paths the kernel speaks of.
    pub(crate) fn new(root: BorrowedFd<'_>) -> Option<Self> {
        let identity = |directory, path| {
            let stat =
                rustix::fs::statx(directory, path, AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID);
            stat.ok().map(|stat| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mnt_id))
        };
        let own = identity(CWD, c"/")?;
        (identity(root, c"") == Some(own)).then(Self::default)
    }

    /// Metadata of the place; `None` if this is no way to it. `open` opens a directory, through no link.
    pub(crate) fn stat(
        &mut self,
        place: Place<'_>,
        open: impl FnOnce(&[u8]) -> Option<OwnedFd>,
    ) -> Option<Result<Stat, Native>> {
        let slash = place.path.iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0)?;
        let (directory, name) = (&place.path[..slash], &place.path[slash + 1..]);
        if self.directory != directory {
            self.go(directory, open)?;
        }
        if !self.is_there() {
            self.directory.clear();
            return None;
        }
        let stat = match rustix::fs::statat(CWD, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(native) => return Some(Err(native)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => None,
            FileType::Directory => Some(Ok(stat)),
            _ if place.directory => Some(Err(Native::NOTDIR)),
            _ => Some(Ok(stat)),
        }
    }

    fn go(&mut self, directory: &[u8], open: impl FnOnce(&[u8]) -> Option<OwnedFd>) -> Option<()> {
        if self.asked != directory {
            self.asked.clear();
            self.asked.extend_from_slice(directory);
            return None;
        }
        self.directory.clear();
        rustix::process::fchdir(open(directory)?).ok()?;
        self.directory.extend_from_slice(directory);
        Some(())
    }

    /// Whether the process still is where it was sent.
    fn is_there(&self) -> bool {
        let room = Vec::with_capacity(256);
        rustix::process::getcwd(room).is_ok_and(|path| path.as_bytes() == self.directory)
    }
}

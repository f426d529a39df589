//! The private directories that `{tmp}` stands for: one per run or test, made before the worker
//! starts, removed when it is dead.

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder that holds every `{tmp}` of one command. Removed with all its contents on drop.
#[derive(Debug)]
pub struct TmpRoot {
    directory: tempfile::TempDir,
    made: u64,
}

impl TmpRoot {
    /// Makes the folder, for this user only, in the system's directory for temporary files.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub fn new() -> io::Result<Self> {
        let base = fs::canonicalize(std::env::temp_dir())?;
        let directory = tempfile::Builder::new().prefix("cargo-sandbox-").tempdir_in(base)?;
        Ok(Self { directory, made: 0 })
    }

    /// The folder itself: an absolute path without symbolic links.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes one fresh, empty `{tmp}`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&mut self) -> io::Result<PathBuf> {
        let path = self.directory.path().join(format!("t{}", self.made));
        self.made += 1;
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Removes one `{tmp}` whose guest is dead. It follows no link, so what the guest left behind cannot
    /// lead it elsewhere.
    pub fn remove(&self, path: &Path) {
        debug_assert!(path.starts_with(self.directory.path()));
        // A failure leaves it to the removal of the whole folder.
        let _ = self.clear(path.file_name().and_then(|name| CString::new(name.as_bytes()).ok()));
    }

    /// Removes what is in the folder by this name, or all of it. With one open directory at a time and
    /// without recursion: a guest can nest directories far deeper than any path is long, by moving them.
    fn clear(&self, one: Option<CString>) -> io::Result<()> {
        let mut at = rustix::fs::open(self.directory.path(), DIRECTORY, Mode::empty())?;
        let rest = match one {
            Some(name) => vec![name],
            None => names(&at)?,
        };
        let mut levels = vec![Level { name: CString::default(), id: id(&at)?, rest }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.rest.pop() {
                if !remove_one(&at, &name)? {
                    at = openat(&at, &name, DIRECTORY, Mode::empty())?;
                    levels.push(Level { name, id: id(&at)?, rest: names(&at)? });
                }
                continue;
            }
            let Some(empty) = levels.pop() else { break };
            let Some(above) = levels.last() else { break };
            at = openat(&at, c"..", DIRECTORY, Mode::empty())?;
            if id(&at)? != above.id {
                return Err(io::Error::other("a directory was moved while it was removed"));
            }
            unlinkat(&at, &empty.name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is being removed.
struct Level {
    /// Its name in the one above.
    name: CString,
    /// Device and inode: what `..` must lead back to.
    id: (u64, u64),
    /// What it still holds.
    rest: Vec<CString>,
}

fn id(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl Drop for TmpRoot {
    fn drop(&mut self) {
        // What is left goes with the folder itself, which follows.
        let _ = self.clear(None);
    }
}

/// The names in a directory.
fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a file, a link or an empty directory; `false` for a directory that is not empty.
fn remove_one(directory: &OwnedFd, name: &CString) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::TmpRoot;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn removal_follows_no_link_and_takes_everything() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        let mut root = TmpRoot::new().unwrap();
        let (first, second) = (root.make().unwrap(), root.make().unwrap());
        assert_ne!(first, second);
        symlink(outside.path(), first.join("link")).unwrap();
        fs::create_dir_all(first.join("a/b")).unwrap();
        root.remove(&first);
        assert!(!first.exists());
        let folder = root.path().to_owned();
        symlink(outside.path(), second.join("link")).unwrap();
        drop(root);
        assert!(!folder.exists());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        // A guest gets there by moving a deep tree to the bottom of another one, again and again.
        use rustix::fs::{Mode, OFlags, mkdirat, openat};
        let mut root = TmpRoot::new().unwrap();
        let tmp = root.make().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&tmp, flags, Mode::empty()).unwrap();
        for _ in 0..2000 {
            mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = openat(&at, c"d", flags, Mode::empty()).unwrap();
        }
        std::os::unix::fs::symlink("/", tmp.join("d/link")).unwrap();
        fs::write(tmp.join("d/f"), "x").unwrap();
        drop(at);
        let folder = root.path().to_owned();
        // On a stack that has 64 bytes for each directory.
        let remover = std::thread::Builder::new().stack_size(128 << 10).spawn(move || drop(root));
        remover.unwrap().join().unwrap();
        assert!(!folder.exists(), "nothing is left behind");
    }
}

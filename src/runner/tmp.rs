//! The private directories that `{tmp}` stands for: one per run or test, made before the worker
//! starts, removed when it is dead.

use std::fs::{self, DirBuilder};
use std::io;
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

    /// Removes one `{tmp}` whose guest is dead. `remove_dir_all` works through descriptors and
    /// follows no link, so what the guest left behind cannot lead it elsewhere.
    pub fn remove(&self, path: &Path) {
        debug_assert!(path.starts_with(self.directory.path()));
        // A failure leaves it to the removal of the whole folder.
        let _ = fs::remove_dir_all(path);
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
}

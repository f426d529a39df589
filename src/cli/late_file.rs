//! A report's file. The guest may have been granted the folder that it lies in, so what it did to
//! the file meanwhile must not count: it is written as a new file when every guest is dead.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Takes a report, and puts it in its place when it is flushed.
#[derive(Debug)]
pub(super) enum LateFile {
    /// A pipe, a terminal, a device: written as it comes.
    Stream(File),
    /// A file that is replaced as a whole.
    Replaced {
        /// Its place.
        path: PathBuf,
        /// What it is to hold.
        contents: Vec<u8>,
    },
}

impl LateFile {
    /// Makes the file empty, so that a wrong path is known before anything runs and an older report
    /// is never taken for this one.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        if !file.metadata()?.is_file() {
            return Ok(Self::Stream(file));
        }
        // Where a link leads now is where the report goes.
        Ok(Self::Replaced { path: path.canonicalize()?, contents: Vec::new() })
    }
}

impl Write for LateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(file) => file.write(bytes),
            Self::Replaced { contents, .. } => contents.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let (path, contents) = match self {
            Self::Stream(file) => return file.flush(),
            Self::Replaced { path, contents } => (path, contents),
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new()
            .prefix(".cargo-sandbox-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        file.write_all(contents)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_a_guest_put_in_its_place_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("r.json"), folder.path().join("victim"));
        fs::write(&path, "an older report").unwrap();
        fs::write(&victim, "kept").unwrap();
        let mut file = LateFile::create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        file.write_all(b"the verdict").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"the verdict");
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert!(!path.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn a_folder_that_is_not_there_is_known_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LateFile::create(&folder.path().join("no/r.json")).is_err());
    }
}

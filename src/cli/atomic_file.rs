//! A report's file. The guest may have been granted the folder that it lies in, so what it did to
//! that meanwhile must not count: everything on the way to the file is opened before any guest starts,
//! and used through those descriptors when every guest is dead.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::fs::{fstat, openat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use sandbox_walls::sys;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// How often somebody else may make or remove a report between two looks.
const MOST_RACES: usize = 64;
/// Links that are followed on the way to a file, as the kernel does it.
const MOST_LINKS: usize = 40;
/// What `/proc` calls itself (linux/magic.h).
const PROC: u64 = 0x9fa0;

/// A name in a directory, which stays that directory whatever becomes of the way that led there.
#[derive(Debug)]
pub(super) struct Destination {
    folder: OwnedFd,
    name: OsString,
}

/// What a path leads to.
enum Found {
    Name(Destination),
    /// One of our own descriptors: `/dev/stdout`, `/dev/fd/63`, `/proc/self/fd/1`.
    Descriptor(i32),
    /// Another link of `/proc`, whose text need not be a path.
    Nameless,
}

impl Destination {
    /// Where a path leads to now, with all links followed.
    ///
    /// # Errors
    /// There is no such directory, or the path names none of its files.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        match find(path)? {
            Found::Name(place) => Ok(place),
            Found::Descriptor(_) | Found::Nameless => Err(io::Error::other("it is no file of a directory")),
        }
    }

    /// What has the name now. A link is not followed.
    pub(super) fn stat(&self) -> rustix::io::Result<Stat> {
        statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens what has the name.
    pub(super) fn open(&self, flags: OFlags) -> rustix::io::Result<File> {
        // A pipe must not hang us, nor a terminal become ours, before it is seen what it is.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(openat(
            &self.folder,
            &self.name,
            flags,
            Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH,
        )?
        .into())
    }

    /// Opens what has the name for writing, or makes it; and whether it was made. Several runners that are
    /// started with the same report do so at one time.
    fn open_or_make(&self) -> io::Result<(File, bool)> {
        for _ in 0..MOST_RACES {
            match self.open(OFlags::WRONLY) {
                Err(Errno::NOENT) => {}
                Err(Errno::NXIO) if self.stat().is_ok_and(|stat| kind(&stat) == FileType::Fifo) => {
                    return Err(io::Error::other("no process reads from this pipe"));
                }
                result => return Ok((result?, false)),
            }
            match self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL) {
                Err(Errno::EXIST) => {}
                result => return Ok((result?, true)),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Writes a new file beside it, under a name that nobody can have foreseen, with the owner, as far as
    /// that may be given, and the mode of another one.
    ///
    /// # Errors
    /// It cannot be made or written; nothing is left behind.
    pub(super) fn prepare(&self, like: &File, contents: &[u8]) -> io::Result<Prepared<'_>> {
        let like = fstat(like)?;
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!(".cargo-sandbox-{:016x}", u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.folder, &name, flags, Mode::RUSR | Mode::WUSR)?);
        let mut prepared = Prepared { place: self, name: Some(name), file };
        prepared.file.write_all(contents)?;
        let own = fstat(&prepared.file)?;
        if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid) {
            // Only root may, and everyone else keeps what is theirs.
            let _ = std::os::unix::fs::fchown(&prepared.file, Some(like.st_uid), Some(like.st_gid));
        }
        rustix::fs::fchmod(&prepared.file, Mode::from_raw_mode(like.st_mode & 0o777))?;
        Ok(prepared)
    }

    /// Removes what has the name, if it is this file.
    fn remove(&self, file: &File) {
        if self.stat().is_ok_and(|there| is(file, &there)) {
            // An empty file that stays is no harm.
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// A finished file that has not got its name yet. Removed on drop.
#[derive(Debug)]
pub(super) struct Prepared<'p> {
    place: &'p Destination,
    name: Option<String>,
    pub(super) file: File,
}

impl Prepared<'_> {
    /// Puts it in the place of whatever has the name.
    pub(super) fn put(mut self) -> rustix::io::Result<File> {
        let Destination { folder, name } = self.place;
        let Some(own) = &self.name else { return Err(Errno::NOENT) };
        match renameat(folder, own, folder, name) {
            // A guest may have made a directory there. What is in it stays, under our name.
            Err(Errno::ISDIR) => {
                renameat_with(folder, own, folder, name, RenameFlags::EXCHANGE)?;
                let _ = unlinkat(folder, own, AtFlags::REMOVEDIR);
            }
            result => result?,
        }
        self.name = None;
        self.file.try_clone().map_err(|_| Errno::MFILE)
    }

    /// Swaps it with what has the name, if that is `old` and `fine` says so of it when nobody can change
    /// it by its name any more; `false` if not, and then everything is as it was. `old` is removed.
    pub(super) fn swap(mut self, old: &File, fine: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let Destination { folder, name } = self.place;
        let Some(own) = self.name.take() else { return Ok(false) };
        let swap = || renameat_with(folder, &own, folder, name, RenameFlags::EXCHANGE);
        match swap() {
            // Not every file system can. Then there is an instant between looking and replacing.
            Err(Errno::INVAL | Errno::NOSYS) => {
                let fine = self.place.stat().is_ok_and(|there| is(old, &there)) && fine()?;
                if fine {
                    renameat(folder, &own, folder, name)?;
                } else {
                    unlinkat(folder, &own, AtFlags::empty())?;
                }
                return Ok(fine);
            }
            Err(error) => {
                let _ = unlinkat(folder, &own, AtFlags::empty());
                return Err(error.into());
            }
            Ok(()) => {}
        }
        let there = statat(folder, &own, AtFlags::SYMLINK_NOFOLLOW)?;
        let fine = is(old, &there) && fine()?;
        if !fine {
            swap()?;
        }
        unlinkat(folder, &own, AtFlags::empty())?;
        Ok(fine)
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // It is what there is to be done.
            let _ = unlinkat(&self.place.folder, name, AtFlags::empty());
        }
    }
}

/// Whether an open file is what was found.
pub(super) fn is(file: impl AsFd, there: &Stat) -> bool {
    fstat(file).is_ok_and(|own| (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
}

fn find(path: &Path) -> io::Result<Found> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let text = path.as_os_str().as_bytes();
        let name = match path.components().next_back() {
            // `a/` and `a/.` have `a` as their last component, too.
            Some(Component::Normal(name)) if text.ends_with(name.as_bytes()) => name.to_owned(),
            _ => return Err(Errno::ISDIR.into()),
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&parent, flags, Mode::empty())?;
        match rustix::fs::readlinkat(&folder, &name, Vec::new()) {
            Ok(_) if rustix::fs::fstatfs(&folder)?.f_type as u64 == PROC => {
                return Ok(own_descriptor(&folder, &name).map_or(Found::Nameless, Found::Descriptor));
            }
            Ok(target) => path = parent.join(OsStr::from_bytes(target.to_bytes())),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(Found::Name(Destination { folder, name })),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::LOOP.into())
}

/// The number of a descriptor, if this is the directory of our own.
fn own_descriptor(folder: &OwnedFd, name: &OsStr) -> Option<i32> {
    let here = fstat(folder).ok()?;
    let own = ["/proc/self/fd", "/proc/thread-self/fd"].iter().any(|own| {
        rustix::fs::stat(*own).is_ok_and(|own| (own.st_dev, own.st_ino) == (here.st_dev, here.st_ino))
    });
    name.to_str().filter(|_| own)?.parse().ok()
}

/// Takes a report, and puts it in its place when it is flushed.
#[derive(Debug)]
pub(super) struct AtomicFile {
    /// As it was named.
    path: PathBuf,
    /// What is there, opened for writing.
    file: File,
    /// Where it is replaced as a whole; without one, `file` is written to.
    place: Option<Destination>,
    /// It was not there before.
    new: bool,
    /// What it is to hold.
    contents: Vec<u8>,
    /// As much of it was put there.
    done: usize,
}

impl AtomicFile {
    /// Opens it, so that a wrong path is known before anything runs. A file that is there stays as it is
    /// until [`begin`](Self::begin).
    ///
    /// # Errors
    /// It is not there and cannot be made, cannot be written to, or is a pipe that nobody reads.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, place, new) = match find(path)? {
            Found::Descriptor(number) => (File::from(sys::inherited(number)?), None, false),
            Found::Nameless => {
                let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY | OFlags::NONBLOCK;
                (openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?.into(), None, false)
            }
            Found::Name(place) => {
                let (file, new) = place.open_or_make()?;
                if file.metadata()?.is_file() {
                    match standard(&file) {
                        // What else is written there must not be lost.
                        Some(stream) => (stream?, None, false),
                        None => (file, Some(place), new),
                    }
                } else {
                    (file, None, false)
                }
            }
        };
        let flags = rustix::fs::fcntl_getfl(&file)?;
        if flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(io::Error::other("it is not open for writing"));
        }
        Ok(Self { path: path.to_owned(), file, place, new, contents: Vec::new(), done: 0 })
    }

    /// Whether this is where another one writes, too.
    pub(super) fn is(&self, other: impl AsFd) -> bool {
        fstat(other).is_ok_and(|other| {
            // What is written to the null device disturbs nobody.
            let null = kind(&other) == FileType::CharacterDevice && other.st_rdev == NULL;
            !null && is(&self.file, &other)
        })
    }

    /// The name it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it empty, so that an older report is never taken for this one.
    ///
    /// # Errors
    /// It cannot be changed.
    pub(super) fn begin(&self) -> io::Result<()> {
        if self.place.is_some() && self.file.metadata()?.len() > 0 { self.file.set_len(0) } else { Ok(()) }
    }

    /// Leaves everything as it was before it was opened.
    pub(super) fn undo(self) {
        if let Some(place) = self.place.filter(|_| self.new) {
            place.remove(&self.file);
        }
    }

    fn put(&mut self) -> io::Result<()> {
        let Some(place) = &self.place else {
            return write_patiently(&self.file, &self.contents[self.done..]);
        };
        let put = place
            .prepare(&self.file, &self.contents)
            .and_then(|prepared| prepared.put().map_err(io::Error::from));
        let written = match put {
            Ok(written) => written,
            // A mounted file has its name for good, and not everyone who may write to a file may do so in
            // its folder.
            Err(error) if cannot_be_replaced(&error) => {
                self.file.set_len(0)?;
                self.file.rewind()?;
                self.file.write_all(&self.contents)?;
                self.file.try_clone()?
            }
            Err(error) => return Err(error),
        };
        // Whoever reads it there must not find what the guest has put in the place of a folder or a link.
        if rustix::fs::stat(&self.path).is_ok_and(|there| is(&written, &there)) {
            return Ok(());
        }
        Err(io::Error::other("its path was changed while the program ran, and leads elsewhere now"))
    }
}

/// Writes to what may take nothing for as long as nobody reads it, and hears a signal meanwhile.
fn write_patiently(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    let interrupted = || io::Error::new(io::ErrorKind::Interrupted, "interrupted before all of it was read");
    while !bytes.is_empty() {
        if let Err(Errno::INTR) = poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
            return Err(interrupted());
        }
        // A pipe that is ready takes as much without waiting (pipe(7), `PIPE_BUF`).
        match file.write(&bytes[..bytes.len().min(4096)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(interrupted()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `/dev/null`: major 1, minor 3.
const NULL: u64 = 0x103;

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Our own standard output or error, if a file is the same.
fn standard(file: &File) -> Option<io::Result<File>> {
    let found = fstat(file).ok()?;
    let (out, err) = (io::stdout(), io::stderr());
    let stream = [out.as_fd(), err.as_fd()].into_iter().find(|stream| is(stream, &found))?;
    Some(stream.try_clone_to_owned().map(File::from))
}

fn cannot_be_replaced(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::BUSY | Errno::XDEV | Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

impl AsFd for AtomicFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.contents.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.done == self.contents.len() {
            return Ok(());
        }
        if let Err(error) = self.put() {
            return Err(io::Error::new(error.kind(), format!("`{}`: {error}", self.path.display())));
        }
        self.done = self.contents.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn report(path: &Path, change: impl FnOnce()) -> io::Result<()> {
        let mut file = AtomicFile::open(path)?;
        file.begin()?;
        change();
        file.write_all(b"the ")?;
        file.write_all(b"verdict")?;
        file.flush()
    }

    #[test]
    fn many_open_one_that_is_not_there_at_the_same_moment() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..200 {
            let path = folder.path().join(format!("r{round}.json"));
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        AtomicFile::open(&path).expect("it can be made, or is there");
                    });
                }
            });
        }
    }

    #[test]
    fn what_a_guest_put_in_its_place_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("r.json"), folder.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        let changes: [&dyn Fn(); 5] = [
            &|| {},
            &|| fs::remove_file(&path).unwrap(),
            &|| {
                fs::remove_file(&path).unwrap();
                symlink(&victim, &path).unwrap();
            },
            &|| {
                fs::remove_file(&path).unwrap();
                fs::hard_link(&victim, &path).unwrap();
            },
            &|| {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            },
        ];
        for change in changes {
            fs::write(&path, "an older report").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            report(&path, || {
                assert_eq!(fs::read(&path).unwrap(), b"", "an older report is never taken for this one");
                change();
            })
            .unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"the verdict");
            assert_eq!(fs::read(&victim).unwrap(), b"kept");
            assert!(!path.is_symlink());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640, "as it was");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left behind");
        }
    }

    #[test]
    fn another_folder_in_the_place_of_its_own_gets_nothing_and_is_said() {
        let base = tempfile::tempdir().unwrap();
        let (folder, moved, elsewhere) =
            (base.path().join("sub"), base.path().join("moved"), base.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("r.json"), "kept").unwrap();
        let by_link: &dyn Fn() = &|| symlink(&elsewhere, &folder).unwrap();
        let by_folder: &dyn Fn() = &|| {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("r.json"), "forged").unwrap();
        };
        for swap in [by_link, by_folder] {
            fs::create_dir(&folder).unwrap();
            let error = report(&folder.join("r.json"), || {
                fs::rename(&folder, &moved).unwrap();
                swap();
            })
            .unwrap_err();
            assert!(error.to_string().contains("leads elsewhere"), "{error}");
            assert_eq!(fs::read(moved.join("r.json")).unwrap(), b"the verdict", "where it was to be");
            assert_eq!(fs::read(elsewhere.join("r.json")).unwrap(), b"kept");
            fs::remove_dir_all(&moved).unwrap();
            let _ = fs::remove_file(&folder).or_else(|_| fs::remove_dir_all(&folder));
        }
    }

    #[test]
    fn a_link_to_a_report_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("r.json"), folder.path().join("link"));
        symlink("r.json", &link).unwrap();
        report(&link, || {}).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"the verdict");
    }

    #[test]
    fn what_cannot_be_written_is_known_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), "x").unwrap();
        symlink("loop", at("loop")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, at("pipe"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for name in ["no/r.json", "folder", "folder/", "folder/.", "file/", "file/..", "loop", "pipe", "."] {
            assert!(AtomicFile::open(&at(name)).is_err(), "{name}");
        }
        // None but those that were inherited: this is one of ours.
        let own = fs::File::open(at("file")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&own);
        assert!(AtomicFile::open(Path::new(&format!("/dev/fd/{number}"))).is_err());
    }

    #[test]
    fn a_name_that_is_given_back_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, "kept").unwrap();
        for path in [&new, &old] {
            AtomicFile::open(path).unwrap().undo();
        }
        assert!(!new.exists());
        assert_eq!(fs::read(&old).unwrap(), b"kept");
    }
}

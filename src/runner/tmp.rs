//! The private directories that `{tmp}` stands for: one per run or test, made before the worker
//! starts, removed when it is dead.
//!
//! They lie in a folder of this command's own, whose descriptor is held from its making to its end:
//! whoever moves or replaces what its name leads to changes nothing here. It is locked (flock(2)) for
//! as long, so that the next command knows which folders a killed one has left behind.

use super::Failure;
use crate::exit_status::ExitStatus;
use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat,
};
use rustix::io::Errno;
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, io};

/// How the name of the folder begins; 16 hexadecimal digits follow.
const PREFIX: &str = "cargo-sandbox-";
/// As many names of the base folder are looked at for what killed commands left behind.
const MOST_NAMES: usize = 8192;
/// For as long it is removed.
const LONGEST: Duration = Duration::from_secs(2);
/// As many places are named that could not be removed.
const MOST_LEFT: usize = 4;
/// A longer way to such a place is cut, in bytes.
const LONGEST_WAY: usize = 256;

/// The folder that holds every `{tmp}` of one command. Removed with all its contents on drop.
#[derive(Debug)]
pub struct TmpRoot {
    base: OwnedFd,
    name: CString,
    directory: OwnedFd,
    path: PathBuf,
    made: u64,
    gone: bool,
}

impl TmpRoot {
    /// Makes the folder, for this user only, in `TMPDIR` or `/tmp`, and removes what commands of this
    /// user that were killed have left there.
    ///
    /// # Errors
    /// 69: it cannot be made there, or others could put another one in its place.
    pub fn new() -> Result<Self, Failure> {
        let named = env::var_os("TMPDIR").filter(|named| !named.is_empty());
        let whose = if named.is_some() { ", which `TMPDIR` names" } else { "" };
        let named = named.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let failed = |why: String| {
            let message = format!("no private directory can be made in `{}`{whose}: {why}", named.display());
            Failure::new(
                ExitStatus::Unavailable,
                Diagnostic::error("tmp", message)
                    .note("nothing was run")
                    .help("name a folder of your own with `TMPDIR`"),
            )
        };
        let path = fs::canonicalize(&named).map_err(|error| failed(error.to_string()))?;
        let base = open_trusted(&path).map_err(failed)?;
        remove_stale(&base);
        Self::beneath(base, &path).map_err(|error| failed(error.to_string()))
    }

    fn beneath(base: OwnedFd, path: &Path) -> io::Result<Self> {
        for _ in 0..16 {
            let mut random = [0; 8];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let name = CString::new(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)))?;
            let directory = match make(&base, &name) {
                Ok(directory) => directory,
                // Another command found it before it was locked, and took it for left behind.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::EXIST | Errno::NOENT)) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !lock(&directory, &base, &name) {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            return Ok(Self { base, name, directory, path, made: 0, gone: false });
        }
        Err(io::Error::other("every name is taken"))
    }

    /// The folder itself: an absolute path without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes one fresh, empty `{tmp}`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&mut self) -> io::Result<PathBuf> {
        let name = format!("t{}", self.made);
        self.made += 1;
        let path = self.path.join(&name);
        make(&self.directory, &CString::new(name)?)
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))?;
        Ok(path)
    }

    /// Removes one `{tmp}` whose guest is dead. It follows no link, so what the guest left behind cannot
    /// lead it elsewhere.
    pub fn remove(&self, path: &Path) {
        debug_assert!(path.starts_with(&self.path));
        if let Some(name) = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok()) {
            // A failure leaves it to the removal of the whole folder.
            let _ = clear(&self.directory, Some(name), None);
        }
    }

    /// Removes the folder, and says what could not be removed of it.
    pub fn end(mut self) -> Option<Diagnostic> {
        self.clear()
    }

    fn clear(&mut self) -> Option<Diagnostic> {
        if std::mem::replace(&mut self.gone, true) {
            return None;
        }
        let warning = |place: PathBuf, why: &dyn std::fmt::Display| {
            let message = format!("`{}` was not removed: {why}", place.display());
            Diagnostic::new(Severity::Warning, "tmp", message)
        };
        let left = clear(&self.directory, None, None);
        let gone = unlinkat(&self.base, &self.name, AtFlags::REMOVEDIR);
        match (left, gone) {
            // Somebody else was faster.
            (_, Ok(()) | Err(Errno::NOENT)) => None,
            (Err(error), _) => Some(warning(self.path.clone(), &error)),
            (Ok(left), Err(error)) => {
                let mut left = left.into_iter();
                let Some((way, why)) = left.next() else { return Some(warning(self.path.clone(), &error)) };
                let said = match why {
                    Errno::BUSY | Errno::XDEV => {
                        "something is mounted there, which was left as it is".to_owned()
                    }
                    why => why.to_string(),
                };
                let mut warning = warning(self.path.join(way), &said);
                for (way, why) in left {
                    let place = self.path.join(way);
                    warning = warning.note(format!("neither was `{}`: {why}", place.display()));
                }
                Some(warning)
            }
        }
    }
}

impl Drop for TmpRoot {
    fn drop(&mut self) {
        // Where it ends early there are other things to say.
        let _ = self.clear();
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a folder is no place for what others must not reach: whoever owns it, or may write there without
/// the sticky bit, can put another one in the place of ours. `root` is the owner of `/`: 0, but where a
/// user namespace does not know that user.
fn untrusted(owner: u32, mode: u32, me: u32, root: u32) -> Option<&'static str> {
    if ![0, me, root].contains(&owner) {
        return Some("belongs to another user");
    }
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Some("can be changed by others, and has no sticky bit");
    }
    None
}

/// Opens a folder, with every one on the way to it.
fn open_trusted(path: &Path) -> Result<OwnedFd, String> {
    let me = rustix::process::geteuid().as_raw();
    let text = |error: Errno| error.to_string();
    let mut at = rustix::fs::open("/", WAY, Mode::empty()).map_err(text)?;
    let root = rustix::fs::fstat(&at).map_err(text)?.st_uid;
    let mut way = PathBuf::from("/");
    let mut parts = path.components().filter(|part| !matches!(part, Component::RootDir));
    loop {
        let stat = rustix::fs::fstat(&at).map_err(text)?;
        if let Some(why) = untrusted(stat.st_uid, stat.st_mode, me, root) {
            return Err(format!("`{}` {why}", way.display()));
        }
        let Some(part) = parts.next() else { return Ok(at) };
        way.push(part);
        at = openat(&at, part.as_os_str(), WAY, Mode::empty())
            .map_err(|error| format!("`{}`: {error}", way.display()))?;
    }
}

/// Makes a directory that is this user's alone, whatever the umask, and opens it.
fn make(at: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    mkdirat(at, name, Mode::RWXU)?;
    let made = openat(at, name, WAY, Mode::empty())?;
    let ours = |made: &OwnedFd| -> io::Result<bool> {
        let stat = rustix::fs::fstat(made)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("what was made belongs to another user"));
        }
        Ok(stat.st_mode & 0o7777 == 0o700)
    };
    if !ours(&made)? {
        open_up(&made)?;
        if !ours(&made)? {
            return Err(io::Error::other("the file system does not keep the mode 0700"));
        }
    }
    Ok(openat(&made, ".", DIRECTORY, Mode::empty())?)
}

/// Sets the mode of an open directory to 0700. It need not be readable, so it is opened as a way only,
/// for which there is no fchmod(2).
fn open_up(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), Mode::RWXU)?)
}

/// Locks a folder that is still there by its name.
fn lock(directory: &OwnedFd, base: &OwnedFd, name: &CStr) -> bool {
    // Where a file system has no locks nobody gets one, and nothing is taken for left behind.
    if matches!(
        rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive),
        Err(Errno::WOULDBLOCK)
    ) {
        return false;
    }
    let there = rustix::fs::statat(base, name, AtFlags::SYMLINK_NOFOLLOW);
    there.is_ok_and(|there| id(directory).is_ok_and(|id| id == (there.st_dev, there.st_ino)))
}

/// Removes the folders of commands that were killed: of this user, locked by nobody, and with nothing in
/// them but what a command makes. It does not take long; what is left is for the next one.
fn remove_stale(base: &OwnedFd) {
    let until = Instant::now() + LONGEST;
    let Ok(base) = openat(base, ".", DIRECTORY, Mode::empty()) else { return };
    let Ok(entries) = Dir::read_from(&base) else { return };
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let names = entries.take(MOST_NAMES).filter_map(|entry| Some(entry.ok()?.file_name().to_owned()));
    for name in names.filter(|name| {
        name.to_bytes().strip_prefix(PREFIX.as_bytes()).is_some_and(|rest| rest.len() == 16 && digits(rest))
    }) {
        if Instant::now() >= until {
            return;
        }
        let Ok(directory) = enter(&base, &name) else { continue };
        let ours = rustix::fs::fstat(&directory).is_ok_and(|stat| {
            stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o777 == 0o700
        });
        let locked = || rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok();
        let made = |name: &CString| name.to_bytes().strip_prefix(b"t").is_some_and(digits);
        if ours && locked() && self::names(&directory).is_ok_and(|names| names.iter().all(made)) {
            let _ = clear(&directory, None, Some(until));
            let _ = unlinkat(&base, &name, AtFlags::REMOVEDIR);
        }
    }
}

/// Opens a directory, unless it is a link or something is mounted there.
fn enter(at: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(at, name, DIRECTORY, Mode::empty(), resolve) {
        // Made under an odd umask.
        Err(Errno::ACCESS) => {
            let closed = openat2(at, name, WAY, Mode::empty(), resolve)?;
            open_up(&closed).map_err(|_| Errno::ACCESS)?;
            openat2(at, name, DIRECTORY, Mode::empty(), resolve)
        }
        result => result,
    }
}

/// A directory that is being removed.
struct Level {
    /// Its name in the one above.
    name: CString,
    /// Device and inode: what `..` must lead back to.
    id: (u64, u64),
    /// What it still holds.
    rest: Vec<CString>,
    /// Something in it was left, and that is known.
    kept: bool,
}

/// Removes what is in a directory by this name, or all of it. With one open directory at a time and
/// without recursion: a guest can nest directories far deeper than any path is long, by moving them.
/// Answers what was left, and why.
fn clear(
    directory: &OwnedFd,
    one: Option<CString>,
    until: Option<Instant>,
) -> io::Result<Vec<(PathBuf, Errno)>> {
    let mut at = openat(directory, ".", DIRECTORY, Mode::empty())?;
    let rest = match one {
        Some(name) => vec![name],
        None => names(&at)?,
    };
    let mut left: Vec<(PathBuf, Errno)> = Vec::new();
    let mut levels = vec![Level { name: CString::default(), id: id(&at)?, rest, kept: false }];
    while let Some(level) = levels.last_mut() {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let failed = if let Some(name) = level.rest.pop() {
            let inner = match remove_one(&at, &name) {
                Ok(true) => continue,
                Ok(false) => enter(&at, &name).and_then(|inner| Ok((self::names(&inner)?, inner))),
                Err(error) => Err(error),
            };
            match inner {
                Ok((rest, inner)) => {
                    at = inner;
                    levels.push(Level { name, id: id(&at)?, rest, kept: false });
                    continue;
                }
                Err(error) => Some((name, error)),
            }
        } else {
            let (Some(empty), Some(above)) = (levels.pop(), levels.last()) else { break };
            at = openat(&at, c"..", DIRECTORY, Mode::empty())?;
            if id(&at)? != above.id {
                return Err(io::Error::other("a directory was moved while it was removed"));
            }
            match unlinkat(&at, &empty.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => None,
                Err(_) if empty.kept => {
                    levels.last_mut().into_iter().for_each(|above| above.kept = true);
                    None
                }
                Err(error) => Some((empty.name, error)),
            }
        };
        if let Some((name, error)) = failed {
            if left.len() < MOST_LEFT {
                left.push((way(&levels, &name), error));
            }
            levels.last_mut().into_iter().for_each(|level| level.kept = true);
        }
    }
    Ok(left)
}

/// The way to a name in the innermost directory.
fn way(levels: &[Level], name: &CString) -> PathBuf {
    let names = levels.iter().skip(1).map(|level| &level.name).chain([name]);
    let mut way = PathBuf::new();
    for name in names {
        if way.as_os_str().len() + name.as_bytes().len() > LONGEST_WAY {
            way.push("…");
            break;
        }
        way.push(OsStr::from_bytes(name.as_bytes()));
    }
    way
}

fn id(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
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
fn remove_one(directory: &OwnedFd, name: &CString) -> rustix::io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// One in a folder of its own, so that tests do not meet in `/tmp`.
    fn root_in(base: &Path) -> TmpRoot {
        let base = fs::canonicalize(base).unwrap();
        TmpRoot::beneath(open_trusted(&base).unwrap(), &base).unwrap()
    }

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
        assert!(root.end().is_none());
        assert!(!folder.exists());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        // A guest gets there by moving a deep tree to the bottom of another one, again and again.
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

    #[test]
    fn only_who_could_change_it_anyway_may_own_the_way_to_it() {
        for owner in [0, 1000, 1001, 65534] {
            for mode in 0..=0o1777 {
                for (me, root) in [(1000, 0), (0, 0), (0, 65534)] {
                    let foreign = owner != 0 && owner != me && owner != root;
                    let open = mode & 0o022 != 0 && mode & 0o1000 == 0;
                    let refused = untrusted(owner, mode, me, root).is_some();
                    assert_eq!(refused, foreign || open, "{owner} {mode:o} {me} {root}");
                }
            }
        }
    }

    #[test]
    fn what_was_put_in_its_place_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let mut root = root_in(base.path());
        let path = root.path().to_owned();
        fs::rename(&path, base.path().join("moved")).unwrap();
        fs::create_dir_all(path.join("t0/kept")).unwrap();
        // What is made is made where the descriptor is.
        let made = root.make().unwrap();
        assert!(base.path().join("moved/t0").is_dir());
        fs::write(base.path().join("moved/t0/f"), "x").unwrap();
        root.remove(&made);
        assert!(!base.path().join("moved/t0").exists());
        assert!(root.end().is_some(), "it is said that something is there");
        assert!(path.join("t0/kept").exists());
    }

    #[test]
    fn what_killed_commands_left_goes_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let killed = |name: &str, inside: &str, mode: u32| {
            let path = base.path().join(name);
            fs::create_dir_all(path.join(inside)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let stale = killed("cargo-sandbox-0123456789abcdef", "t0/deep/er", 0o700);
        let kept = [
            killed("cargo-sandbox-0123456789abcdee", "src", 0o700),
            killed("cargo-sandbox-0123456789abcded", "t0", 0o755),
            killed("cargo-sandbox-main", "t0", 0o700),
            killed("other-0123456789abcdef", "t0", 0o700),
        ];
        let elsewhere = killed("elsewhere", "t0", 0o700);
        let link = base.path().join("cargo-sandbox-0123456789abcdec");
        symlink(&elsewhere, &link).unwrap();
        let mut living = root_in(base.path());
        let tmp = living.make().unwrap();
        remove_stale(&open_trusted(&fs::canonicalize(base.path()).unwrap()).unwrap());
        assert!(!stale.exists());
        for path in kept.iter().chain([&elsewhere]) {
            assert!(fs::read_dir(path).unwrap().next().is_some(), "{}", path.display());
        }
        assert!(link.is_symlink() && tmp.is_dir(), "what a living command has is its own");
        assert_eq!(fs::metadata(living.path()).unwrap().mode() & 0o7777, 0o700);
    }
}

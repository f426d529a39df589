//! The code cache: machine code by content and engine, in the user's cache folder.
//!
//! Layout of the folder (mode 0700):
//!
//! - `code-<key>`: machine code, then what is known of the module, then a trailer with a checksum
//!   of both. Written under another name, renamed into place, never modified afterwards.
//! - `seen-<device and inode>`: for an artifact that was hashed before, its size and times, its
//!   key, and the same of the entry whose checksum was verified. With it, a warm start reads
//!   neither the artifact nor the entry.
//!
//! What that trusts: that the kernel changes a file's `ctime` when its contents change. A process of
//! the same user can get around it (through a mapping that was dirty all along, or the clock), but
//! the same process could as well write here: see `load` for why a worker confines itself before it
//! loads anything. A file changed so recently that its time might not tell is always hashed.
//!
//! Nothing that is found here is an error: what is damaged, foreign or half written is not there.

use super::module_info::ModuleInfo;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use sandbox_policy::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// Size that the folder is kept below, in bytes.
pub const DEFAULT_BOUND: u64 = 2 << 30;

const MAGIC: &[u8; 8] = b"cgsbx\0\x02\n";
/// Magic, length of the code, length of the facts, checksum.
const TRAILER: usize = 8 + 8 + 8 + 32;
const MAX_FACTS: u64 = 64 << 10;
/// Files about seen artifacts that are kept.
const MAX_SEEN: usize = 4096;

/// Machine code is found by this: a hash of the wasm and of all that compiling it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a file's contents, from its beginning, under an engine's
    /// [`fingerprint`](super::fingerprint).
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn of(wasm: &mut File, fingerprint: &[u8; 32]) -> io::Result<Self> {
        wasm.rewind()?;
        let mut hasher = blake3::Hasher::new_keyed(fingerprint);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match wasm.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            };
        }
        wasm.rewind()?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    fn entry(&self) -> String {
        format!("code-{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// An artifact without an entry.
#[derive(Debug)]
pub struct Miss {
    /// The key its code will have.
    pub key: Key,
    stamp: Stamp,
}

/// Finished machine code and what is known of its module.
#[derive(Debug)]
pub struct Entry {
    /// Open for reading; machine code from its beginning.
    pub code: File,
    /// Known of the module.
    pub module_info: ModuleInfo,
}

/// What tells whether a file is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of an open file.
    ///
    /// # Errors
    ///
    /// The file system does not say.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether a change right now would show in the times: they are older than the coarsest clock
    /// that a file system like this one uses.
    fn settled(&self) -> bool {
        let grain = if self.changed.1 == 0 { Duration::from_secs(3) } else { Duration::from_millis(100) };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        SystemTime::now().duration_since(changed).is_ok_and(|age| age > grain)
    }
}

#[derive(Serialize, Deserialize)]
struct Seen {
    artifact: Stamp,
    key: Key,
    entry: Stamp,
}

/// The open folder. Usable by any number of processes at once.
#[derive(Debug)]
pub struct Cache {
    dir: OwnedFd,
    bound: u64,
}

impl Cache {
    /// Opens the folder, making it if need be, and keeps it below `bound` bytes.
    ///
    /// # Errors
    ///
    /// A warning, to go on without a cache: it cannot be made, belongs to another user, or others
    /// may write to it.
    pub fn open(path: &Path, bound: u64) -> Result<Self, Diagnostic> {
        let unusable = |why: String| {
            Diagnostic::warning("cache", format!("the code cache `{}` is not used: {why}", path.display()))
                .help("remove it, or name another folder; without a cache every run compiles")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unusable(e.to_string()))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| unusable(e.to_string()))?;
        let stat = rustix::fs::fstat(&dir).map_err(|e| unusable(e.to_string()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(unusable("it belongs to another user".to_owned()));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(unusable("others may write to it".to_owned()));
        }
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&dir, Mode::RWXU).map_err(|e| unusable(e.to_string()))?;
        }
        Ok(Self { dir, bound })
    }

    /// Looks for the code of an artifact, without reading it if it was seen before. Without an
    /// entry, returns what [`put`](Self::put) needs to add it.
    ///
    /// # Errors
    ///
    /// The artifact cannot be read.
    pub fn find(&self, artifact: &mut File, fingerprint: &[u8; 32]) -> io::Result<Result<Entry, Miss>> {
        let stamp = Stamp::of(artifact)?;
        let seen_name = seen_name(&stamp, fingerprint);
        if let Some(seen) = self.seen(&seen_name, &stamp)
            && let Some(entry) = self.entry(&seen.key, Some(&seen.entry))
        {
            return Ok(Ok(entry));
        }
        let settled = stamp.settled();
        let key = Key::of(artifact, fingerprint)?;
        let Some(entry) = self.entry(&key, None) else { return Ok(Err(Miss { key, stamp })) };
        if settled
            && Stamp::of(artifact)? == stamp
            && let Ok(entry) = Stamp::of(&entry.code)
        {
            // Only the next start is slower if this fails.
            let _ =
                self.write(&seen_name, |file| file.write_all(&sealed(&Seen { artifact: stamp, key, entry })));
        }
        Ok(Ok(entry))
    }

    /// Adds an entry and makes room for it. `code` is read from its beginning. An artifact that has
    /// changed since it was looked for is not added: the code may be that of other contents.
    ///
    /// # Errors
    ///
    /// It could not be written; nothing is left behind, and the code can be used all the same.
    pub fn put(
        &self,
        miss: &Miss,
        artifact: &File,
        code: &mut File,
        module_info: &ModuleInfo,
    ) -> io::Result<()> {
        if Stamp::of(artifact)? == miss.stamp { self.store(&miss.key, code, module_info) } else { Ok(()) }
    }

    fn store(&self, key: &Key, code: &mut File, module_info: &ModuleInfo) -> io::Result<()> {
        let module_info = postcard::to_stdvec(module_info).map_err(io::Error::other)?;
        code.rewind()?;
        self.write(&key.entry(), |file| {
            let mut hasher = checksum_of(key, &module_info);
            let mut buffer = vec![0; 1 << 20];
            let mut length = 0_u64;
            loop {
                let n = code.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
                file.write_all(&buffer[..n])?;
                length += n as u64;
            }
            let mut end = module_info.clone();
            end.extend_from_slice(MAGIC);
            end.extend_from_slice(&length.to_le_bytes());
            end.extend_from_slice(&(module_info.len() as u64).to_le_bytes());
            end.extend_from_slice(hasher.finalize().as_bytes());
            file.write_all(&end)
        })?;
        code.rewind()?;
        self.evict(&key.entry())
    }

    /// Opens an entry. Its checksum is verified unless it is as it was when that was last done.
    fn entry(&self, key: &Key, verified: Option<&Stamp>) -> Option<Entry> {
        let code = self.open_own(&key.entry())?;
        let stamp = Stamp::of(&code).ok()?;
        let facts_end = stamp.size.checked_sub(TRAILER as u64)?;
        let mut trailer = [0; TRAILER];
        code.read_exact_at(&mut trailer, facts_end).ok()?;
        let (magic, rest) = trailer.split_at(8);
        let (length, rest) = rest.split_at(8);
        let (facts_length, checksum) = rest.split_at(8);
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let facts_length = u64::from_le_bytes(facts_length.try_into().ok()?);
        if magic != MAGIC || facts_length > MAX_FACTS || length.checked_add(facts_length)? != facts_end {
            return None;
        }
        let mut module_info = vec![0; facts_length as usize];
        code.read_exact_at(&mut module_info, length).ok()?;
        if verified != Some(&stamp) {
            let mut hasher = checksum_of(key, &module_info);
            let mut buffer = vec![0; 1 << 20];
            let mut offset = 0;
            while offset < length {
                let n = buffer.len().min((length - offset) as usize);
                code.read_exact_at(&mut buffer[..n], offset).ok()?;
                hasher.update(&buffer[..n]);
                offset += n as u64;
            }
            // Compared as hashes: in constant time, not that it mattered here.
            if hasher.finalize() != blake3::Hash::from_bytes(checksum.try_into().ok()?) {
                return None;
            }
        }
        Some(Entry { code, module_info: postcard::from_bytes(&module_info).ok()? })
    }

    fn seen(&self, name: &str, stamp: &Stamp) -> Option<Seen> {
        let mut bytes = Vec::new();
        self.open_own(name)?.take(1024).read_to_end(&mut bytes).ok()?;
        let seen: Seen = unsealed(&bytes)?;
        (seen.artifact == *stamp).then_some(seen)
    }

    /// Opens a file of the folder if it is a regular one of ours that others cannot write to.
    fn open_own(&self, name: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty()).ok()?);
        let meta = file.metadata().ok()?;
        let ours = meta.is_file()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.mode() & 0o022 == 0
            // None, if another process has just put the same in its place.
            && meta.nlink() <= 1;
        ours.then_some(file)
    }

    /// Writes a file under another name and renames it into place.
    fn write(&self, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let temporary = format!("new-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match openat(&self.dir, &*temporary, flags, mode) {
            // Left behind by a process of the same number that was killed.
            Err(Errno::EXIST) => {
                unlinkat(&self.dir, &*temporary, AtFlags::empty())?;
                openat(&self.dir, &*temporary, flags, mode)?
            }
            other => other?,
        };
        let mut file = File::from(file);
        let done = fill(&mut file).and_then(|()| Ok(renameat(&self.dir, &*temporary, &self.dir, name)?));
        if done.is_err() {
            let _ = unlinkat(&self.dir, &*temporary, AtFlags::empty());
        }
        done
    }

    /// Removes the entries that were used least recently (as far as `relatime` tells) until the
    /// folder is below three quarters of its bound, and what killed processes left behind.
    fn evict(&self, keep: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut seen = Vec::new();
        let mut total = 0_u64;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        for item in Dir::read_from(&self.dir)? {
            let item = item?;
            let name = item.file_name();
            // Another process may remove what this one has just read.
            let Ok(stat) = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let used = stat.st_mtime.max(stat.st_atime);
            let bytes = name.to_bytes();
            if bytes.starts_with(b"new-") && used < now - 3600 {
                let _ = unlinkat(&self.dir, name, AtFlags::empty());
            } else if bytes.starts_with(b"seen-") {
                seen.push((used, name.to_owned()));
            } else if bytes.starts_with(b"code-") {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                total = total.saturating_add(size);
                if bytes != keep.as_bytes() {
                    entries.push((used, size, name.to_owned()));
                }
            }
        }
        if total > self.bound {
            entries.sort();
            for (_, size, name) in entries {
                if total <= self.bound / 4 * 3 {
                    break;
                }
                if unlinkat(&self.dir, &name, AtFlags::empty()).is_ok() {
                    total -= size;
                }
            }
        }
        if seen.len() > MAX_SEEN {
            seen.sort();
            for (_, name) in &seen[..seen.len() - MAX_SEEN / 2] {
                let _ = unlinkat(&self.dir, name, AtFlags::empty());
            }
        }
        Ok(())
    }
}

fn checksum_of(key: &Key, module_info: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0).update(&(module_info.len() as u64).to_le_bytes()).update(module_info);
    hasher
}

fn seen_name(stamp: &Stamp, fingerprint: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new_keyed(fingerprint);
    hasher.update(&stamp.device.to_le_bytes()).update(&stamp.inode.to_le_bytes());
    format!("seen-{}", &hasher.finalize().to_hex()[..32])
}

/// A small value with its checksum before it.
fn sealed(seen: &Seen) -> Vec<u8> {
    let value = postcard::to_stdvec(seen).unwrap_or_default();
    let mut bytes = blake3::hash(&value).as_bytes().to_vec();
    bytes.extend_from_slice(&value);
    bytes
}

fn unsealed(bytes: &[u8]) -> Option<Seen> {
    let (checksum, value) = bytes.split_at_checked(32)?;
    (blake3::hash(value).as_bytes() == checksum).then(|| postcard::from_bytes(value).ok())?
}

#[cfg(test)]
mod tests;

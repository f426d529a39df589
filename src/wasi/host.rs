//! The data of a guest's store: what it has open, what it has used, what it runs with.

use super::gate::{Fault, Gate, Target};
use super::stdio::Output;
use super::table::{Directory, Entry, Table};
use super::types::{Errno, SYMLINK_FOLLOW};
use super::{HostConfig, Preopens};
use rustix::fs::{Dir, FileType, Mode as Bits, OFlags};
use sandbox_policy::Limits;
use std::io;
use wasmtime::{Memory, ResourceLimiter};

/// Elements that a table may have, whatever its module says: the host's memory, eight bytes each.
const MAX_TABLE: usize = 10_000_000;

/// Everything that the host functions of one guest work on: the data of its
/// [`wasmtime::Store`], and the store's limiter for memory.
pub struct Host {
    pub(crate) gate: Gate,
    pub(crate) table: Table,
    pub(crate) output: Output,
    pub(crate) args: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) memory: Option<Memory>,
    /// Bytes that may still be written to files, if that is limited; the limit itself.
    disk: Option<(u64, u64)>,
    /// Files, directories and links that may still be created, if that is limited.
    files: Option<u64>,
    memory_limit: Option<u64>,
    /// Bytes of memories and tables so far.
    memory_used: u64,
    limits_hit: Vec<&'static str>,
}

impl Host {
    /// A host for one guest.
    ///
    /// # Errors
    /// None at present.
    pub fn new(config: HostConfig) -> io::Result<Self> {
        let HostConfig { policy, mode, audit, root, preopens, args, env, stdio, alone, turns, folding, sink } =
            config;
        // The supervisor keeps the time.
        let Limits { memory: memory_limit, time: _, output, open_files, disk, files } = policy.limits;
        let mut table = Table::new(open_files);
        table.push(Entry::Input);
        table.push(Entry::Output);
        table.push(Entry::Error);
        let mut preopen = |name: &[u8], path: &[u8]| {
            table.push(Entry::Directory(Directory {
                path: path.into(),
                fd: None,
                listing: None,
                preopen: Some(name.into()),
            }))
        };
        match preopens {
            Preopens::Root => {
                preopen(b"/", b"/");
            }
            Preopens::TopLevel(paths) => {
                let current: &[u8] = if policy.current_dir.is_empty() { b"/" } else { &policy.current_dir };
                preopen(b".", current);
                for path in paths {
                    preopen(&path, &policy.mounts.to_host(&path).unwrap_or_else(|| path.clone()));
                }
            }
        }
        let mut host = Self {
            gate: Gate::new(policy, (mode, audit), root, alone, turns, folding, sink),
            table,
            output: Output::new(stdio, output),
            args,
            env: Vec::new(),
            memory: None,
            disk: disk.map(|limit| (limit, limit)),
            files,
            memory_limit,
            memory_used: 0,
            limits_hit: Vec::new(),
        };
        host.give_env(env);
        Ok(host)
    }

    /// Gives the guest other arguments; see [`HostConfig::args`].
    pub fn give_args(&mut self, args: Vec<Vec<u8>>) {
        self.args = args;
    }

    /// Gives the guest another environment; see [`HostConfig::env`].
    pub fn give_env(&mut self, env: Vec<(Vec<u8>, Vec<u8>)>) {
        let joined = env.into_iter().map(|(mut name, value)| {
            name.push(b'=');
            name.extend_from_slice(&value);
            name
        });
        self.env = joined.collect();
    }

    /// Puts this host in the place of another one, whose guest was instantiated and has not run: its
    /// memory counts as this guest's. Whether that is within this one's limit.
    pub fn succeed(&mut self, other: &Self) -> bool {
        self.memory = other.memory;
        self.grow(other.memory_used)
    }

    /// Tells the host which memory is the guest's, once it is instantiated. Without it the first
    /// call looks for the export `memory`.
    pub fn attach(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// How often each grant was used so far; the index is the grant's id.
    pub fn grant_uses(&self) -> &[u64] {
        self.gate.uses()
    }

    /// Whether a panic message went to standard error.
    pub fn panicked(&self) -> bool {
        self.output.panicked()
    }

    /// The limits that were reached, by the names of their keys, each once: `memory`, `output`,
    /// `open-files`, `disk`, `files`.
    pub fn limits_hit(&self) -> &[&'static str] {
        &self.limits_hit
    }

    /// Takes the host's sink back, when the guest has ended.
    pub fn into_sink(self) -> Box<dyn super::Sink> {
        self.gate.sink
    }

    pub(crate) fn hit(&mut self, limit: &'static str) {
        if !self.limits_hit.contains(&limit) {
            self.limits_hit.push(limit);
        }
    }

    /// Makes sure that one more descriptor can be opened.
    pub(crate) fn room_for_descriptor(&mut self) -> Result<(), Fault> {
        let room = self.table.has_room();
        if room.is_err() {
            self.hit("open-files");
        }
        room
    }

    /// Takes `bytes` from what may still be written. `end` is the size the file would have.
    pub(crate) fn take_disk(&mut self, bytes: u64, end: u64) -> Result<(), Fault> {
        let Some((limit, left)) = &mut self.disk else { return Ok(()) };
        if bytes > *left || end > *limit {
            self.hit("disk");
            return Err(Errno::DQUOT.into());
        }
        *left -= bytes;
        Ok(())
    }

    /// Gives back what a call took and did not use.
    pub(crate) fn return_disk(&mut self, bytes: u64) {
        if let Some((_, left)) = &mut self.disk {
            *left += bytes;
        }
    }

    /// Whether writing to files is limited.
    pub(crate) fn counts_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether one more file, directory or link may be created.
    pub(crate) fn room_for_file(&mut self) -> Result<(), Fault> {
        if self.files == Some(0) {
            self.hit("files");
            return Err(Errno::DQUOT.into());
        }
        Ok(())
    }

    /// Whether creating files is limited.
    pub(crate) fn counts_files(&self) -> bool {
        self.files.is_some()
    }

    /// One more was created.
    pub(crate) fn created(&mut self) {
        if let Some(left) = &mut self.files {
            *left = left.saturating_sub(1);
        }
    }

    fn grow(&mut self, by: u64) -> bool {
        let wanted = self.memory_used.saturating_add(by);
        if self.memory_limit.is_some_and(|limit| wanted > limit) {
            self.hit("memory");
            return false;
        }
        self.memory_used = wanted;
        true
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(possible && self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // An element is a pointer.
        let possible = maximum.is_none_or(|maximum| desired <= maximum) && desired <= MAX_TABLE;
        Ok(possible && self.grow((desired.saturating_sub(current) as u64).saturating_mul(8)))
    }
}

/// The target of a `path_*` call: `path` relative to the directory `fd`.
pub(crate) fn target<'a>(
    table: &'a Table,
    fd: u32,
    relative: &'a [u8],
    lookup: u32,
) -> Result<Target<'a>, Fault> {
    let directory = table.directory(fd)?;
    let follow = lookup & SYMLINK_FOLLOW != 0;
    // By the name that the guest knows: what is below `/tmp` is not all below one directory.
    let base = directory.preopen.as_deref().filter(|name| name.starts_with(b"/")).unwrap_or(&directory.path);
    Ok(Target { base, pinned: directory.preopen.is_none(), relative, follow })
}

/// Every directory, and every link to one, directly beneath the root.
pub fn top_level(root: &std::os::fd::OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = Dir::new(rustix::fs::openat(root, c".", flags, Bits::empty())?)?;
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(root, name, rustix::fs::AtFlags::empty());
        if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            paths.push([b"/", name.to_bytes()].concat());
        }
    }
    paths.sort();
    Ok(paths)
}

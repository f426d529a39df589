//! The guest's file descriptors: indices into a table, lowest free one first.

use super::dir::Listing;
use super::gate::Fault;
use super::types::{Errno, Kind};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// What a descriptor of the guest stands for.
pub(crate) enum Entry {
    Input,
    Output,
    Error,
    File(File),
    Directory(Directory),
}

/// An open file that is not a directory.
pub(crate) struct File {
    pub(crate) fd: OwnedFd,
    /// What it was decided as when it was opened.
    pub(crate) path: Box<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// `fdflags` as the guest set them.
    pub(crate) flags: u16,
}

/// An open directory.
///
/// What the guest names relative to it is looked up by this path from the root again, not through
/// the descriptor. The policy speaks about paths: a directory that was moved elsewhere meanwhile
/// would carry the grants of its old place with it, or escape the exceptions of its new one. By
/// its path, what is decided is always what is opened. The price: a guest that goes on using a
/// directory that was renamed under it finds it gone, where POSIX would still find it. That the
/// path has become a link meanwhile is treated as gone too ([`super::gate::Target::pinned`]), so
/// that a tree that is being removed cannot be exchanged for another one.
pub(crate) struct Directory {
    pub(crate) path: Box<[u8]>,
    /// For listing; opened on the first one where it was opened as a mere base.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) listing: Option<Box<Listing>>,
    /// The name of a preopened directory.
    pub(crate) preopen: Option<Box<[u8]>>,
}

/// As many descriptors as any manifest can allow.
const MAX_OPEN: u32 = 1 << 16;

pub(crate) struct Table {
    entries: Vec<Option<Entry>>,
    /// No lower one is free.
    lowest_free: usize,
    open: u32,
    limit: u32,
    /// Rights, and inherited ones, that the guest gave up of a descriptor. Nothing of ours relies on them: they
    /// are the guest's way to hold itself to something. Nearly every guest has none.
    given_up: BTreeMap<u32, (u64, u64)>,
}

impl Table {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            entries: Vec::with_capacity(16),
            lowest_free: 0,
            open: 0,
            limit: limit.min(MAX_OPEN),
            given_up: BTreeMap::new(),
        }
    }

    /// Whether one more can be opened: asked before the kernel is.
    pub(crate) fn has_room(&self) -> Result<(), Fault> {
        if self.open < self.limit { Ok(()) } else { Err(Errno::MFILE.into()) }
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> Result<u32, Fault> {
        self.has_room()?;
        Ok(self.push(entry))
    }

    /// Inserts whatever the limit says: the streams and directories that a guest starts with.
    pub(crate) fn push(&mut self, entry: Entry) -> u32 {
        let mut at = self.lowest_free;
        while self.entries.get(at).is_some_and(Option::is_some) {
            at += 1;
        }
        if at == self.entries.len() {
            self.entries.push(Some(entry));
        } else {
            self.entries[at] = Some(entry);
        }
        self.lowest_free = at + 1;
        self.open += 1;
        at as u32
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Entry, Fault> {
        self.entries.get(fd as usize).and_then(Option::as_ref).ok_or(Fault::Errno(Errno::BADF))
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Entry, Fault> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Fault::Errno(Errno::BADF))
    }

    /// What the guest gave up of a descriptor.
    pub(crate) fn given_up(&self, fd: u32) -> (u64, u64) {
        self.given_up.get(&fd).copied().unwrap_or_default()
    }

    /// Takes rights from a descriptor, and from those that are opened through it. None ever comes back.
    pub(crate) fn give_up(&mut self, fd: u32, base: u64, inheriting: u64) {
        let (all, inherited) = self.given_up.entry(fd).or_default();
        (*all, *inherited) = (*all | base, *inherited | inheriting);
    }

    /// Whether the guest has kept these rights of a descriptor.
    pub(crate) fn keeps(&self, fd: u32, rights: u64) -> Result<(), Fault> {
        if self.given_up.is_empty() || self.given_up(fd).0 & rights == 0 {
            Ok(())
        } else {
            Err(Errno::NOTCAPABLE.into())
        }
    }

    pub(crate) fn file(&self, fd: u32) -> Result<&File, Fault> {
        match self.get(fd)? {
            Entry::File(file) => Ok(file),
            Entry::Directory(_) => Err(Errno::ISDIR.into()),
            Entry::Input | Entry::Output | Entry::Error => Err(Errno::SPIPE.into()),
        }
    }

    pub(crate) fn directory(&self, fd: u32) -> Result<&Directory, Fault> {
        match self.get(fd)? {
            Entry::Directory(directory) => Ok(directory),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Fault> {
        let slot = self.entries.get_mut(fd as usize).ok_or(Fault::Errno(Errno::BADF))?;
        slot.take().ok_or(Fault::Errno(Errno::BADF))?;
        self.given_up.remove(&fd);
        self.open -= 1;
        self.lowest_free = self.lowest_free.min(fd as usize);
        Ok(())
    }

    /// Forgets listings of what was moved away from `path`: where it is now, another name decides.
    pub(crate) fn moved(&mut self, path: &[u8]) {
        for entry in self.entries.iter_mut().flatten() {
            let Entry::Directory(directory) = entry else { continue };
            let rest = directory.path.strip_prefix(path);
            if rest.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/')) {
                (directory.fd, directory.listing) = (None, None);
            }
        }
    }

    /// Moves `from` to `to`, closing what was there: unlike `dup2`, there must be something.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(());
        }
        self.close(to)?;
        self.entries[to as usize] = self.entries[from as usize].take();
        if let Some(rights) = self.given_up.remove(&from) {
            self.given_up.insert(to, rights);
        }
        self.lowest_free = self.lowest_free.min(from as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno<T>(result: Result<T, Fault>) -> Errno {
        match result {
            Err(Fault::Errno(errno)) => errno,
            _ => panic!("an error number was expected"),
        }
    }

    #[test]
    fn the_lowest_free_number_is_used() {
        let mut table = Table::new(4);
        assert_eq!([0; 3].map(|_| table.insert(Entry::Input).unwrap()), [0, 1, 2]);
        table.close(0).unwrap();
        table.close(1).unwrap();
        assert_eq!(errno(table.close(1)), Errno::BADF);
        assert_eq!([0; 3].map(|_| table.insert(Entry::Input).unwrap()), [0, 1, 3]);
        assert_eq!(errno(table.insert(Entry::Input)), Errno::MFILE);
    }

    #[test]
    fn renumber_closes_the_old_and_frees_the_number() {
        let mut table = Table::new(8);
        table.insert(Entry::Input).unwrap();
        table.insert(Entry::Output).unwrap();
        table.renumber(0, 1).unwrap();
        assert!(matches!(table.get(1), Ok(Entry::Input)));
        assert_eq!(errno(table.renumber(0, 1)), Errno::BADF);
        assert_eq!(table.insert(Entry::Error).unwrap(), 0);
        for free in [2, 5, 4_000_000_000] {
            assert_eq!(errno(table.renumber(1, free)), Errno::BADF);
        }
        assert!(matches!(table.get(1), Ok(Entry::Input)));
        table.renumber(1, 1).unwrap();
    }

    #[test]
    fn what_was_given_up_stays_with_its_descriptor_and_ends_with_it() {
        let mut table = Table::new(8);
        let (one, other) = (table.insert(Entry::Input).unwrap(), table.insert(Entry::Output).unwrap());
        table.give_up(one, 2, 0);
        table.give_up(one, 4, 8);
        assert_eq!(table.given_up(one), (6, 8));
        assert!(table.keeps(one, 1).is_ok() && table.keeps(other, 6).is_ok());
        assert_eq!(errno(table.keeps(one, 3)), Errno::NOTCAPABLE);
        table.renumber(one, other).unwrap();
        assert_eq!((table.given_up(one), table.given_up(other)), ((0, 0), (6, 8)));
        table.close(other).unwrap();
        assert_eq!(table.insert(Entry::Input).unwrap(), one);
        assert_eq!(table.insert(Entry::Input).unwrap(), other);
        assert!(table.keeps(other, 6).is_ok());
    }
}

//! Listing a directory: `getdents` in large pieces, translated once into the guest's form.
//!
//! A cookie is the number of entries before it. The piece that the guest reads from is kept, so
//! that going on after a call that cut an entry costs nothing and deleting entries while listing
//! skips none; where each piece began is remembered, so that an earlier cookie finds its place by
//! the file system's own offset.

use super::gate::{Fault, Gate, Verdict};
use super::types::{Errno, Kind};
use rustix::fs::{RawDir, SeekFrom};
use sandbox_policy::access::Operation;
use std::os::fd::BorrowedFd;

/// Bytes asked for in one system call.
const PIECE: usize = 32 * 1024;

/// The bytes of a `dirent` before the name.
const HEADER: usize = 24;

/// Where the guest is in a directory.
#[derive(Default)]
pub(crate) struct Listing {
    /// Entries of the current piece as the guest gets them, one after the other.
    bytes: Vec<u8>,
    /// Where each of them begins in `bytes`.
    starts: Vec<u32>,
    /// The cookie of the first of them.
    first: u64,
    /// Cookie and offset at which each piece read so far began.
    pieces: Vec<(u64, u64)>,
    /// The offset at which the next piece begins.
    next_offset: u64,
    end: bool,
}

impl Listing {
    /// Fills `out` with entries from `cookie` on; the last one may be cut. Answers how many bytes
    /// there are: fewer than fit mean the end.
    pub(crate) fn read(
        &mut self,
        gate: &Gate,
        fd: BorrowedFd<'_>,
        path: &[u8],
        mut cookie: u64,
        out: &mut [u8],
    ) -> Result<usize, Fault> {
        if cookie == 0 && !self.pieces.is_empty() {
            // From the start means to look again.
            self.go_to(fd, 0, 0)?;
            self.pieces.clear();
        } else if cookie < self.first {
            let piece = self.pieces.partition_point(|(first, _)| *first <= cookie).saturating_sub(1);
            let (first, offset) = self.pieces[piece];
            self.pieces.truncate(piece);
            self.go_to(fd, first, offset)?;
        }
        let mut filled = 0;
        while filled < out.len() {
            let index = usize::try_from(cookie - self.first).map_err(|_| Errno::INVAL)?;
            if let Some(start) = self.starts.get(index) {
                let rest = &self.bytes[*start as usize..];
                let take = rest.len().min(out.len() - filled);
                out[filled..filled + take].copy_from_slice(&rest[..take]);
                filled += take;
                cookie = self.first + self.starts.len() as u64;
            } else if self.end {
                break;
            } else {
                self.next_piece(gate, fd, path)?;
            }
        }
        Ok(filled)
    }

    fn go_to(&mut self, fd: BorrowedFd<'_>, first: u64, offset: u64) -> Result<(), Fault> {
        rustix::fs::seek(fd, SeekFrom::Start(offset))?;
        self.bytes.clear();
        self.starts.clear();
        self.first = first;
        self.next_offset = offset;
        self.end = false;
        Ok(())
    }

    fn next_piece(&mut self, gate: &Gate, fd: BorrowedFd<'_>, path: &[u8]) -> Result<(), Fault> {
        self.first += self.starts.len() as u64;
        self.bytes.clear();
        self.starts.clear();
        self.pieces.push((self.first, self.next_offset));
        let mut buffer = Vec::<u8>::with_capacity(PIECE);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut joined = Vec::new();
        let mut next = self.first;
        self.end = true;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            self.next_offset = entry.next_entry_cookie();
            let hidden = gate.hides() && name != b"." && name != b".." && {
                joined.clear();
                joined.extend_from_slice(if path == b"/" { b"" } else { path });
                joined.push(b'/');
                joined.extend_from_slice(name);
                matches!(gate.peek(Operation::Stat, &joined), Ok(Verdict::Hidden))
            };
            if !hidden {
                // What is above the directory is not the guest's to know: `..` gets its own number.
                let inode = if name == b".." { rustix::fs::fstat(fd)?.st_ino } else { entry.ino() };
                next += 1;
                self.starts.push(self.bytes.len() as u32);
                let mut header = [0; HEADER];
                header[..8].copy_from_slice(&next.to_le_bytes());
                header[8..16].copy_from_slice(&inode.to_le_bytes());
                header[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
                header[20] = Kind::from(entry.file_type()) as u8;
                self.bytes.extend_from_slice(&header);
                self.bytes.extend_from_slice(name);
            }
            if entries.is_buffer_empty() {
                self.end = false;
                break;
            }
        }
        Ok(())
    }
}

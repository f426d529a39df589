//! `fd_*`.

use super::call::{MODULE, call};
use super::words::{Whence, position, times, uninterrupted};
use crate::wasi::Stream;
use crate::wasi::fs::status;
use crate::wasi::gate::{Fault, Verdict};
use crate::wasi::host::Host;
use crate::wasi::memory::{bytes_mut, gather, put, put_u32, put_u64, scatter, u64_at};
use crate::wasi::table::{Entry, File};
use crate::wasi::types::{Errno, Kind, fdflags, fdstat, filestat, rights};
use rustix::fs::{Advice, FallocateFlags, Mode as Bits, OFlags, SeekFrom};
use sandbox_policy::access::Operation;
use wasmtime::{Caller, Linker, Result};

type Outcome = std::result::Result<(), Fault>;

impl Host {
    fn fd_read(&self, memory: &mut [u8], fd: u32, iovs: u32, count: u32, out: u32) -> Outcome {
        let read = match self.table.get(fd)? {
            // What was opened to be made or truncated can natively be read as well.
            Entry::File(File { read: false, .. }) => return Err(Errno::BADF.into()),
            Entry::File(File { fd, .. }) => scatter(memory, iovs, count, |bufs| match bufs {
                [buf] => uninterrupted(|| rustix::io::read(fd, &mut **buf)),
                bufs => uninterrupted(|| rustix::io::readv(fd, bufs)),
            })?,
            Entry::Input => scatter(memory, iovs, count, |bufs| {
                uninterrupted(|| rustix::io::readv(std::io::stdin(), bufs))
            })?,
            Entry::Directory(_) => return Err(Errno::ISDIR.into()),
            Entry::Output | Entry::Error => return Err(Errno::BADF.into()),
        };
        put_u32(memory, out, read as u32)
    }

    fn fd_write(&mut self, memory: &mut [u8], fd: u32, iovs: u32, count: u32, out: u32) -> Outcome {
        let counted = self.counts_disk();
        let Self { table, output, gate, .. } = self;
        let written = match table.get(fd)? {
            Entry::Output => {
                gather(memory, iovs, count, |bufs| output.write(&mut *gate.sink, Stream::Output, bufs))?
            }
            Entry::Error => {
                gather(memory, iovs, count, |bufs| output.write(&mut *gate.sink, Stream::Error, bufs))?
            }
            Entry::File(File { fd, .. }) if !counted => gather(memory, iovs, count, |bufs| match bufs {
                [buf] => uninterrupted(|| rustix::io::write(fd, buf)),
                bufs => uninterrupted(|| rustix::io::writev(fd, bufs)),
            })?,
            Entry::File(_) => self.write_counted(memory, fd, iovs, count, None)?,
            Entry::Directory(_) | Entry::Input => return Err(Errno::BADF.into()),
        };
        put_u32(memory, out, written as u32)
    }

    /// Writes at `offset`, or where the descriptor is, within the limit of `disk`.
    fn write_counted(
        &mut self,
        memory: &[u8],
        fd: u32,
        iovs: u32,
        count: u32,
        offset: Option<u64>,
    ) -> std::result::Result<usize, Fault> {
        gather(memory, iovs, count, |bufs| {
            let wanted: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
            let file = self.table.file(fd)?;
            if !file.write {
                return Err(Errno::BADF.into());
            }
            let regular = file.kind == Kind::RegularFile;
            let start = match offset {
                _ if !regular => 0,
                _ if file.flags & fdflags::APPEND != 0 => rustix::fs::fstat(&file.fd)?.st_size as u64,
                Some(offset) => offset,
                None => rustix::fs::tell(&file.fd)?,
            };
            if regular {
                self.take_disk(wanted, start.saturating_add(wanted))?;
            }
            let file = self.table.file(fd)?;
            let written = match offset {
                Some(offset) => uninterrupted(|| rustix::io::pwritev(&file.fd, bufs, offset)),
                None => uninterrupted(|| rustix::io::writev(&file.fd, bufs)),
            };
            if regular {
                self.return_disk(wanted - *written.as_ref().unwrap_or(&0) as u64);
            }
            written
        })
    }

    fn fd_pread(&self, memory: &mut [u8], fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Outcome {
        let file = self.table.file(fd)?;
        let offset = position(offset)?;
        if !file.read {
            return Err(Errno::BADF.into());
        }
        let read = scatter(memory, iovs, count, |bufs| {
            uninterrupted(|| rustix::io::preadv(&file.fd, bufs, offset))
        })?;
        put_u32(memory, out, read as u32)
    }

    fn fd_pwrite(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        iovs: u32,
        count: u32,
        offset: u64,
        out: u32,
    ) -> Outcome {
        let offset = position(offset)?;
        let written = if self.counts_disk() {
            self.write_counted(memory, fd, iovs, count, Some(offset))?
        } else {
            let file = self.table.file(fd)?;
            gather(memory, iovs, count, |bufs| uninterrupted(|| rustix::io::pwritev(&file.fd, bufs, offset)))?
        };
        put_u32(memory, out, written as u32)
    }

    fn fd_seek(&mut self, memory: &mut [u8], fd: u32, offset: i64, whence: u32, out: u32) -> Outcome {
        let from = match Whence::of(whence)? {
            Whence::Start => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::INVAL)?),
            Whence::Current => SeekFrom::Current(offset),
            Whence::End => SeekFrom::End(offset),
        };
        let position = rustix::fs::seek(&self.table.file(fd)?.fd, from)?;
        put_u64(memory, out, position)
    }

    fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Outcome {
        let end = position(offset.checked_add(len).ok_or(Errno::FBIG)?)?;
        let file = self.table.file(fd)?;
        if !file.write {
            return Err(Errno::BADF.into());
        }
        if self.counts_disk() {
            // Room that is there already is paid for again: an upper bound without a race.
            self.take_disk(len, end)?;
        }
        let file = self.table.file(fd)?;
        uninterrupted(|| rustix::fs::fallocate(&file.fd, FallocateFlags::empty(), offset, len))
    }

    fn fd_set_size(&mut self, fd: u32, size: u64) -> Outcome {
        let size = position(size)?;
        let file = self.table.file(fd)?;
        if !file.write {
            return Err(Errno::INVAL.into());
        }
        if self.counts_disk() {
            let before = rustix::fs::fstat(&file.fd)?.st_size as u64;
            self.take_disk(size.saturating_sub(before), size)?;
        }
        let file = self.table.file(fd)?;
        uninterrupted(|| rustix::fs::ftruncate(&file.fd, size))
    }

    fn fd_set_times(&mut self, fd: u32, atim: u64, mtim: u64, which: u32) -> Outcome {
        let times = times(atim, mtim, which)?;
        match self.table.get(fd)? {
            // Opened for writing, it was decided as that; what was opened to read is decided now.
            Entry::File(file) => {
                if !file.write {
                    self.gate.check(Operation::Modify, &file.path)?;
                }
                Ok(rustix::fs::futimens(&file.fd, &times)?)
            }
            Entry::Directory(directory) => {
                self.gate.check(Operation::Modify, &directory.path)?;
                let native = self.gate.open_path(&directory.path, false, true)?;
                Ok(rustix::fs::utimensat(native, c"", &times, rustix::fs::AtFlags::EMPTY_PATH)?)
            }
            Entry::Input | Entry::Output | Entry::Error => Err(Errno::BADF.into()),
        }
    }

    /// Metadata of something open. A file that was opened may be looked at; a directory may have
    /// been opened as a mere step on the way, so there it is decided.
    fn fd_filestat(&mut self, memory: &mut [u8], fd: u32, out: u32) -> Outcome {
        let stat = match self.table.get(fd)? {
            Entry::File(file) => filestat(&rustix::fs::fstat(&file.fd)?),
            Entry::Directory(directory) => match &directory.fd {
                Some(native) => filestat(&rustix::fs::fstat(native)?),
                None => {
                    self.gate.check(Operation::Stat, &directory.path)?;
                    let native = self.gate.open_path(&directory.path, directory.preopen.is_some(), true)?;
                    filestat(&rustix::fs::fstat(native)?)
                }
            },
            Entry::Input | Entry::Output | Entry::Error => {
                let mut stat = [0; 64];
                stat[16] = self.output.kind(fd_of_stream(self.table.get(fd)?)) as u8;
                stat
            }
        };
        put(memory, out, &stat)
    }

    fn fd_fdstat(&self, memory: &mut [u8], fd: u32, out: u32) -> Outcome {
        let mut stat = self.fdstat(fd)?;
        let (base, inheriting) = self.table.given_up(fd);
        for (at, given_up) in [(8, base), (16, inheriting)] {
            let kept = u64_at(&stat, at) & !given_up;
            stat[at..at + 8].copy_from_slice(&kept.to_le_bytes());
        }
        put(memory, out, &stat)
    }

    /// Only ever gives rights up.
    fn fd_set_rights(&mut self, fd: u32, base: u64, inheriting: u64) -> Outcome {
        let stat = self.fdstat(fd)?;
        let (no_base, no_inheriting) = self.table.given_up(fd);
        let (all_base, all_inheriting) = (u64_at(&stat, 8), u64_at(&stat, 16));
        if base & !(all_base & !no_base) != 0 || inheriting & !(all_inheriting & !no_inheriting) != 0 {
            return Err(Errno::NOTCAPABLE.into());
        }
        let (base, inheriting) = (all_base & !base, all_inheriting & !inheriting);
        if (base, inheriting) != (0, 0) {
            self.table.give_up(fd, base, inheriting);
        }
        Ok(())
    }

    /// What there is to say of a descriptor, whatever was given up.
    fn fdstat(&self, fd: u32) -> std::result::Result<[u8; 24], Fault> {
        Ok(match self.table.get(fd)? {
            Entry::File(file) => {
                let mut base = rights::FILE;
                base |= if file.read { rights::FD_READ } else { 0 };
                base |= if file.write { rights::FILE_WRITE } else { 0 };
                if file.kind != Kind::RegularFile {
                    // `isatty` takes a character device that can seek for something else.
                    base &= !(rights::FD_SEEK | rights::FD_TELL);
                }
                fdstat(file.kind, file.flags, base, 0)
            }
            Entry::Directory(_) => fdstat(Kind::Directory, 0, rights::DIRECTORY, rights::ALL),
            stream => self.output.fdstat(fd_of_stream(stream)),
        })
    }

    fn fd_set_flags(&mut self, fd: u32, flags: u32) -> Outcome {
        let flags =
            u16::try_from(flags).ok().filter(|flags| flags & !fdflags::ALL == 0).ok_or(Errno::INVAL)?;
        match self.table.get_mut(fd)? {
            Entry::File(file) => {
                let mut native = status(flags);
                native.set(OFlags::NONBLOCK, flags & fdflags::NONBLOCK != 0);
                rustix::fs::fcntl_setfl(&file.fd, native)?;
                file.flags = flags;
                Ok(())
            }
            // The streams are shared with whoever started us: their flags are not the guest's.
            Entry::Input | Entry::Output | Entry::Error | Entry::Directory(_) => Err(Errno::NOTSUP.into()),
        }
    }

    fn fd_readdir(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        ptr: u32,
        len: u32,
        cookie: u64,
        out: u32,
    ) -> Outcome {
        let Self { table, gate, .. } = self;
        let Entry::Directory(directory) = table.get_mut(fd)? else { return Err(Errno::NOTDIR.into()) };
        let buffer = bytes_mut(memory, ptr, len)?;
        if directory.fd.is_none() {
            gate.check(Operation::List, &directory.path)?;
        } else if directory.listing.is_none()
            && let Verdict::Allowed(grant) = gate.peek(Operation::List, &directory.path)?
        {
            // Opened for listing, it was decided then; now the grant is used.
            gate.count(grant);
        }
        if directory.fd.is_none() {
            let mut flags = OFlags::RDONLY | OFlags::DIRECTORY;
            flags.set(OFlags::NOFOLLOW, directory.preopen.is_none());
            let native = gate
                .open(&directory.path, flags, Bits::empty())
                .map_err(|native| gate.refused(native, Operation::List, &directory.path))?;
            directory.fd = Some(native);
        }
        let (Some(native), listing) = (&directory.fd, directory.listing.get_or_insert_default()) else {
            return Err(Errno::BADF.into());
        };
        let used = listing.read(gate, std::os::fd::AsFd::as_fd(native), &directory.path, cookie, buffer)?;
        put_u32(memory, out, used as u32)
    }

    fn fd_sync(&self, fd: u32, data_only: bool) -> Outcome {
        match self.table.get(fd)? {
            Entry::File(file) if data_only => uninterrupted(|| rustix::fs::fdatasync(&file.fd)),
            Entry::File(file) => uninterrupted(|| rustix::fs::fsync(&file.fd)),
            Entry::Directory(directory) => match &directory.fd {
                Some(native) => uninterrupted(|| rustix::fs::fsync(native)),
                None => Ok(()),
            },
            Entry::Input | Entry::Output | Entry::Error => Err(Errno::INVAL.into()),
        }
    }

    fn fd_advise(&self, fd: u32, offset: u64, len: u64, advice: u32) -> Outcome {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => return Err(Errno::INVAL.into()),
        };
        let file = self.table.file(fd)?;
        Ok(rustix::fs::fadvise(&file.fd, position(offset)?, std::num::NonZeroU64::new(len), advice)?)
    }

    fn fd_prestat(&self, memory: &mut [u8], fd: u32, out: u32) -> Outcome {
        let name = self.preopen_name(fd)?;
        // Tag 0 is a directory, the only one there is.
        put_u32(memory, out, 0)?;
        put_u32(memory, out.checked_add(4).ok_or(Errno::FAULT)?, name.len() as u32)
    }

    fn fd_prestat_name(&self, memory: &mut [u8], fd: u32, ptr: u32, len: u32) -> Outcome {
        let name = self.preopen_name(fd)?;
        if name.len() > len as usize {
            return Err(Errno::NAMETOOLONG.into());
        }
        put(memory, ptr, name)
    }

    fn preopen_name(&self, fd: u32) -> std::result::Result<&[u8], Fault> {
        match self.table.get(fd)? {
            Entry::Directory(directory) => directory.preopen.as_deref().ok_or(Fault::Errno(Errno::BADF)),
            _ => Err(Errno::BADF.into()),
        }
    }
}

fn fd_of_stream(entry: &Entry) -> usize {
    match entry {
        Entry::Output => 1,
        Entry::Error => 2,
        _ => 0,
    }
}

/// Defines the `fd_*` functions of up to five numbers, in the order of their parameters, with the right that
/// the guest must have kept of the first one.
macro_rules! define {
    ($linker:expr, $($name:literal $right:expr, ($fd:ident: u32 $(, $arg:ident: $ty:ty)*) $host:ident $memory:ident
        => $body:expr;)*) => {
        $($linker.func_wrap(MODULE, $name, |c: Caller<'_, Host>, $fd: u32 $(, $arg: $ty)*| {
            call(c, |$host, $memory| {
                $host.table.keeps($fd, $right)?;
                $body
            })
        })?;)*
    };
}

/// No right is needed.
const NONE: u64 = 0;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    define! { linker,
        "fd_read" rights::FD_READ, (fd: u32, iovs: u32, count: u32, out: u32) h m => h.fd_read(m, fd, iovs, count, out);
        "fd_write" rights::FD_WRITE, (fd: u32, iovs: u32, count: u32, out: u32) h m => h.fd_write(m, fd, iovs, count, out);
        "fd_pread" rights::FD_READ, (fd: u32, iovs: u32, count: u32, offset: u64, out: u32) h m =>
            h.fd_pread(m, fd, iovs, count, offset, out);
        "fd_pwrite" rights::FD_WRITE, (fd: u32, iovs: u32, count: u32, offset: u64, out: u32) h m =>
            h.fd_pwrite(m, fd, iovs, count, offset, out);
        "fd_seek" rights::FD_SEEK, (fd: u32, offset: i64, whence: u32, out: u32) h m => h.fd_seek(m, fd, offset, whence, out);
        "fd_tell" rights::FD_TELL, (fd: u32, out: u32) h m => h.fd_seek(m, fd, 0, 1, out);
        "fd_close" NONE, (fd: u32) h _m => h.table.close(fd);
        "fd_renumber" NONE, (from: u32, to: u32) h _m => h.table.renumber(from, to);
        "fd_filestat_get" rights::FD_FILESTAT_GET, (fd: u32, out: u32) h m => h.fd_filestat(m, fd, out);
        "fd_filestat_set_size" rights::FD_FILESTAT_SET_SIZE, (fd: u32, size: u64) h _m => h.fd_set_size(fd, size);
        "fd_filestat_set_times" rights::FD_FILESTAT_SET_TIMES, (fd: u32, atim: u64, mtim: u64, which: u32) h _m =>
            h.fd_set_times(fd, atim, mtim, which);
        "fd_fdstat_get" NONE, (fd: u32, out: u32) h m => h.fd_fdstat(m, fd, out);
        "fd_fdstat_set_flags" rights::FD_FDSTAT_SET_FLAGS, (fd: u32, flags: u32) h _m => h.fd_set_flags(fd, flags);
        "fd_fdstat_set_rights" NONE, (fd: u32, base: u64, inheriting: u64) h _m =>
            h.fd_set_rights(fd, base, inheriting);
        "fd_readdir" rights::FD_READDIR, (fd: u32, ptr: u32, len: u32, cookie: u64, out: u32) h m =>
            h.fd_readdir(m, fd, ptr, len, cookie, out);
        "fd_sync" rights::FD_SYNC, (fd: u32) h _m => h.fd_sync(fd, false);
        "fd_datasync" rights::FD_DATASYNC, (fd: u32) h _m => h.fd_sync(fd, true);
        "fd_advise" rights::FD_ADVISE, (fd: u32, offset: u64, len: u64, advice: u32) h _m => h.fd_advise(fd, offset, len, advice);
        "fd_allocate" rights::FD_ALLOCATE, (fd: u32, offset: u64, len: u64) h _m => h.fd_allocate(fd, offset, len);
        "fd_prestat_get" NONE, (fd: u32, out: u32) h m => h.fd_prestat(m, fd, out);
        "fd_prestat_dir_name" NONE, (fd: u32, ptr: u32, len: u32) h m => h.fd_prestat_name(m, fd, ptr, len);
    }
    Ok(())
}

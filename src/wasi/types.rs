//! Numbers and byte layouts of WASI preview1, as `wasi_snapshot_preview1.witx` defines them.

use rustix::fs::FileType;
use rustix::io::Errno as Native;

/// An error number as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u16);

impl Errno {
    pub(crate) const ACCES: Self = Self(2);
    pub(crate) const AGAIN: Self = Self(6);
    pub(crate) const BADF: Self = Self(8);
    pub(crate) const DQUOT: Self = Self(19);
    pub(crate) const EXIST: Self = Self(20);
    pub(crate) const FAULT: Self = Self(21);
    pub(crate) const FBIG: Self = Self(22);
    pub(crate) const INVAL: Self = Self(28);
    pub(crate) const IO: Self = Self(29);
    pub(crate) const ISDIR: Self = Self(31);
    pub(crate) const LOOP: Self = Self(32);
    pub(crate) const MFILE: Self = Self(33);
    pub(crate) const NAMETOOLONG: Self = Self(37);
    pub(crate) const NOENT: Self = Self(44);
    pub(crate) const NOSYS: Self = Self(52);
    pub(crate) const NOTDIR: Self = Self(54);
    pub(crate) const NOTSOCK: Self = Self(57);
    pub(crate) const NOTSUP: Self = Self(58);
    pub(crate) const OVERFLOW: Self = Self(61);
    pub(crate) const PERM: Self = Self(63);
    pub(crate) const SPIPE: Self = Self(70);
    pub(crate) const NOTCAPABLE: Self = Self(76);
}

impl From<Native> for Errno {
    /// What Linux answered, in WASI's numbers. What WASI has no number for becomes `EIO`.
    fn from(native: Native) -> Self {
        Self(match native {
            Native::TOOBIG => 1,
            Native::ACCESS => 2,
            Native::AGAIN => 6,
            Native::BADF => 8,
            Native::BUSY => 10,
            Native::DQUOT => 19,
            Native::EXIST => 20,
            Native::FAULT => 21,
            Native::FBIG => 22,
            Native::ILSEQ => 25,
            Native::INTR => 27,
            Native::INVAL => 28,
            Native::ISDIR => 31,
            Native::LOOP => 32,
            Native::MFILE => 33,
            Native::MLINK => 34,
            Native::NAMETOOLONG => 37,
            Native::NFILE => 41,
            Native::NODEV => 43,
            Native::NOENT => 44,
            Native::NOLCK => 46,
            Native::NOMEM => 48,
            Native::NOSPC => 51,
            Native::NOSYS => 52,
            Native::NOTDIR => 54,
            Native::NOTEMPTY => 55,
            Native::NOTSUP => 58,
            Native::NOTTY => 59,
            Native::NXIO => 60,
            Native::OVERFLOW => 61,
            Native::PERM => 63,
            Native::PIPE => 64,
            Native::ROFS => 69,
            Native::SPIPE => 70,
            Native::STALE => 72,
            Native::TIMEDOUT => 73,
            Native::TXTBSY => 74,
            Native::XDEV => 75,
            _ => Self::IO.0,
        })
    }
}

/// What a descriptor is, in WASI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    Socket = 6,
    SymbolicLink = 7,
}

impl From<FileType> for Kind {
    fn from(native: FileType) -> Self {
        match native {
            FileType::RegularFile => Self::RegularFile,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::SymbolicLink,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Socket => Self::Socket,
            // WASI has no number for a FIFO.
            FileType::Fifo | FileType::Unknown => Self::Unknown,
        }
    }
}

/// Bits of `rights`.
pub(crate) mod rights {
    pub(crate) const FD_DATASYNC: u64 = 1;
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub(crate) const FD_SYNC: u64 = 1 << 4;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_ADVISE: u64 = 1 << 7;
    pub(crate) const FD_ALLOCATE: u64 = 1 << 8;
    pub(crate) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub(crate) const PATH_CREATE_FILE: u64 = 1 << 10;
    pub(crate) const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub(crate) const PATH_LINK_TARGET: u64 = 1 << 12;
    pub(crate) const PATH_OPEN: u64 = 1 << 13;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_READLINK: u64 = 1 << 15;
    pub(crate) const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub(crate) const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub(crate) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub(crate) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub(crate) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(crate) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(crate) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub(crate) const PATH_SYMLINK: u64 = 1 << 24;
    pub(crate) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub(crate) const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;
    /// Everything but the socket calls.
    pub(crate) const ALL: u64 = (1 << 28) - 1;
    /// What a regular file can do whatever it was opened for.
    pub(crate) const FILE: u64 = FD_SEEK
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_TELL
        | FD_ADVISE
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_TIMES
        | POLL_FD_READWRITE;
    /// What writing to it adds.
    pub(crate) const FILE_WRITE: u64 = FD_DATASYNC | FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
    /// What a directory can do: every `path_*` call, listing, and metadata.
    pub(crate) const DIRECTORY: u64 = FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_ADVISE
        | (((1 << 27) - 1) & !((1 << 9) - 1) & !FD_FILESTAT_SET_SIZE)
        | FD_READDIR;
    /// A standard stream.
    pub(crate) const STREAM: u64 = FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_FILESTAT_GET | POLL_FD_READWRITE;
}

/// Bits of `fdflags`.
pub(crate) mod fdflags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const DSYNC: u16 = 2;
    pub(crate) const NONBLOCK: u16 = 4;
    pub(crate) const RSYNC: u16 = 8;
    pub(crate) const SYNC: u16 = 16;
    pub(crate) const ALL: u16 = 31;
}

/// Bits of `oflags`.
pub(crate) mod oflags {
    pub(crate) const CREAT: u16 = 1;
    pub(crate) const DIRECTORY: u16 = 2;
    pub(crate) const EXCL: u16 = 4;
    pub(crate) const TRUNC: u16 = 8;
    pub(crate) const ALL: u16 = 15;
}

/// Bit of `lookupflags`.
pub(crate) const SYMLINK_FOLLOW: u32 = 1;

/// Bits of `fstflags`.
pub(crate) mod fstflags {
    pub(crate) const ATIM: u16 = 1;
    pub(crate) const ATIM_NOW: u16 = 2;
    pub(crate) const MTIM: u16 = 4;
    pub(crate) const MTIM_NOW: u16 = 8;
    pub(crate) const ALL: u16 = 15;
}

/// Values of `clockid`.
pub(crate) mod clock {
    pub(crate) const REALTIME: u32 = 0;
    pub(crate) const MONOTONIC: u32 = 1;
    pub(crate) const PROCESS_CPUTIME: u32 = 2;
    pub(crate) const THREAD_CPUTIME: u32 = 3;
}

/// The 64 bytes of a `filestat`.
pub(crate) fn filestat(stat: &rustix::fs::Stat) -> [u8; 64] {
    let mut out = [0; 64];
    let kind = Kind::from(FileType::from_raw_mode(stat.st_mode));
    out[0..8].copy_from_slice(&stat.st_dev.to_le_bytes());
    out[8..16].copy_from_slice(&stat.st_ino.to_le_bytes());
    out[16] = kind as u8;
    out[24..32].copy_from_slice(&wide(stat.st_nlink).to_le_bytes());
    out[32..40].copy_from_slice(&wide(stat.st_size).to_le_bytes());
    out[40..48].copy_from_slice(&nanoseconds(stat.st_atime, stat.st_atime_nsec));
    out[48..56].copy_from_slice(&nanoseconds(stat.st_mtime, stat.st_mtime_nsec));
    out[56..64].copy_from_slice(&nanoseconds(stat.st_ctime, stat.st_ctime_nsec));
    out
}

/// A number whose type is another on each architecture; negative ones become 0.
fn wide(value: impl Into<i128>) -> u64 {
    u64::try_from(value.into()).unwrap_or(0)
}

/// A time in WASI's form, which has none before 1970.
fn nanoseconds(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> [u8; 8] {
    wide(seconds.into() * 1_000_000_000 + nanoseconds.into()).to_le_bytes()
}

/// The 24 bytes of an `fdstat`.
pub(crate) fn fdstat(kind: Kind, flags: u16, base: u64, inheriting: u64) -> [u8; 24] {
    let mut out = [0; 24];
    out[0] = kind as u8;
    out[2..4].copy_from_slice(&flags.to_le_bytes());
    out[8..16].copy_from_slice(&base.to_le_bytes());
    out[16..24].copy_from_slice(&inheriting.to_le_bytes());
    out
}

//! Opening, and metadata by path.

use super::folding;
use super::gate::{Denial, Fault, Gate, Place, Verdict};
use super::host::{Host, target};
use super::links::keep;
use super::table::{Directory, Entry, File};
use super::types::{Errno, Kind, fdflags, oflags};
use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, Stat, Timestamps};
use rustix::io::Errno as Native;
use sandbox_policy::access::{GrantId, Operation};
use std::os::fd::OwnedFd;

/// Permission bits of a new file, before the umask.
const NEW_FILE: Bits = Bits::from_raw_mode(0o666);

/// What `path_open` was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// `oflags`.
    pub(crate) how: u16,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// `fdflags`.
    pub(crate) flags: u16,
    /// Creations are counted, so they must be told from opening what exists.
    pub(crate) count: bool,
    /// No more may be created.
    pub(crate) full: bool,
}

impl Request {
    fn has(self, flag: u16) -> bool {
        self.how & flag != 0
    }

    fn native(self) -> OFlags {
        // NONBLOCK so that a FIFO without a writer does not hang us; it means nothing to a
        // regular file, and `opened` takes it off again where the guest did not ask for it.
        let mut flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        flags |= match (self.read, self.write) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (true, false) => OFlags::RDONLY,
            // Neither to read nor to write: a mere name for other calls. `O_PATH` goes with
            // nothing that changes the file, so truncating needs an ordinary descriptor.
            (false, false) if self.how & (oflags::TRUNC | oflags::CREAT) != 0 => OFlags::RDONLY,
            (false, false) => return OFlags::PATH,
        };
        flags.set(OFlags::TRUNC, self.has(oflags::TRUNC));
        flags | status(self.flags)
    }
}

/// `fdflags` as the kernel has them.
pub(crate) fn status(flags: u16) -> OFlags {
    let mut native = OFlags::empty();
    native.set(OFlags::APPEND, flags & fdflags::APPEND != 0);
    native.set(OFlags::DSYNC, flags & fdflags::DSYNC != 0);
    native.set(OFlags::SYNC, flags & (fdflags::SYNC | fdflags::RSYNC) != 0);
    native
}

/// A file as the kernel gave it, and whether it is new.
struct Found {
    fd: OwnedFd,
    created: bool,
    /// The grant that allows its use, to tell a device that was meant.
    grant: Option<GrantId>,
    operation: Operation,
}

impl Host {
    /// `path_open`.
    pub(crate) fn open(
        &mut self,
        fd: u32,
        lookup: u32,
        relative: &[u8],
        mut request: Request,
    ) -> Result<u32, Fault> {
        self.room_for_descriptor()?;
        request.count = self.counts_files();
        request.full = request.count && request.has(oflags::CREAT) && self.room_for_file().is_err();
        let target = target(&self.table, fd, relative, lookup)?;
        let (entry, created) = self.gate.locate(target, |gate, place| open_here(gate, place, request))?;
        if created {
            self.created();
        }
        self.table.insert(entry)
    }

    /// `path_filestat_get`.
    pub(crate) fn stat(&mut self, fd: u32, lookup: u32, relative: &[u8]) -> Result<Stat, Fault> {
        let target = target(&self.table, fd, relative, lookup)?;
        self.gate.locate(target, |gate, place| {
            gate.check(Operation::Stat, place.path)?;
            Ok(gate.stat(place)?)
        })
    }

    /// `path_filestat_set_times`.
    pub(crate) fn set_times(
        &mut self,
        fd: u32,
        lookup: u32,
        relative: &[u8],
        times: &Timestamps,
    ) -> Result<(), Fault> {
        let target = target(&self.table, fd, relative, lookup)?;
        self.gate.locate(target, |gate, place| {
            gate.check(Operation::Modify, place.path)?;
            let fd = gate.open_path(place.path, place.follow, place.directory)?;
            Ok(rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH)?)
        })
    }
}

/// Decides and opens one path.
fn open_here(gate: &mut Gate, place: Place<'_>, request: Request) -> Result<(Entry, bool), Fault> {
    let path = place.path;
    if request.has(oflags::DIRECTORY) || (place.directory && !request.has(oflags::CREAT)) {
        if request.has(oflags::CREAT) {
            return Err(Errno::INVAL.into());
        }
        let directory = open_directory(gate, place, Operation::List)?;
        if request.write || request.has(oflags::TRUNC) {
            return Err(Errno::ISDIR.into());
        }
        return Ok((directory, false));
    }
    if request.has(oflags::CREAT)
        && request.has(oflags::EXCL)
        && let Verdict::Denied(exception) = gate.peek(Operation::Create, path)?
    {
        // Whatever else it is opened for: what it was about to do is to make it.
        return Err(Denial::of(Operation::Create, path, exception));
    }
    let mut readable = None;
    if request.read {
        match gate.peek(Operation::Read, path)? {
            Verdict::Allowed(grant) => readable = grant,
            Verdict::Hidden => return Err(Errno::NOENT.into()),
            // It may be a directory, which can be opened without its contents.
            Verdict::Denied(None) if !request.write && request.how == 0 => {
                return match open_directory(gate, place, Operation::Read) {
                    Ok(directory) => Ok((directory, false)),
                    Err(Fault::NeedsOrigin) => Err(Fault::NeedsOrigin),
                    Err(_) => Err(Denial::of(Operation::Read, path, None)),
                };
            }
            Verdict::Denied(exception) => return Err(Denial::of(Operation::Read, path, exception)),
        }
    }
    if path.starts_with(b"/dev/") {
        // Opening a device can already do something, so it is looked at before.
        refuse_device(gate, place, request)?;
    }
    let found = if request.has(oflags::CREAT) {
        create(gate, place, request, readable)?
    } else {
        existing(gate, place, request, readable)?
    };
    opened(gate, place, request, found)
}

/// The operation that using an existing file in this way needs.
fn needed(request: Request) -> Operation {
    if request.write || request.has(oflags::TRUNC) {
        Operation::Modify
    } else if request.read {
        Operation::Read
    } else {
        Operation::Stat
    }
}

fn with_follow(flags: OFlags, place: Place<'_>) -> OFlags {
    if place.follow { flags } else { flags | OFlags::NOFOLLOW }
}

/// Opens what is there. `readable` is the grant to read it, decided already if reading is asked for.
fn existing(
    gate: &mut Gate,
    place: Place<'_>,
    request: Request,
    readable: Option<GrantId>,
) -> Result<Found, Fault> {
    let operation = needed(request);
    let grant = if operation == Operation::Read { readable } else { gate.check(operation, place.path)? };
    gate.count(readable);
    let fd = gate
        .open(place.path, with_follow(request.native(), place), Bits::empty())
        .map_err(|native| gate.refused(native, operation, place.path))?;
    Ok(Found { fd, created: false, grant, operation })
}

/// Opens what is there, or creates it. Where only one of the two is granted, or where it matters
/// which of them happened, each is tried alone in a form that cannot do the other.
fn create(
    gate: &mut Gate,
    place: Place<'_>,
    request: Request,
    readable: Option<GrantId>,
) -> Result<Found, Fault> {
    let path = place.path;
    let native = with_follow(request.native(), place);
    let operation = needed(request);
    let open = |gate: &Gate| gate.open(path, native, Bits::empty());
    let create_verdict = gate.peek(Operation::Create, path)?;
    if create_verdict == Verdict::Hidden {
        return Err(Errno::NOENT.into());
    }
    if place.directory {
        gate.check(Operation::Create, path)?;
        return Err(Errno::ISDIR.into());
    }
    let full = || Err(Fault::Errno(Errno::DQUOT));
    if request.has(oflags::EXCL) {
        let grant = gate.check(Operation::Create, path)?;
        gate.count(readable);
        if request.full {
            return full();
        }
        let fd =
            make(gate, place, native)?.map_err(|native| gate.refused(native, Operation::Create, path))?;
        return Ok(Found { fd, created: true, grant, operation: Operation::Create });
    }
    match (gate.peek(operation, path)?, create_verdict) {
        (Verdict::Allowed(modify), Verdict::Allowed(create)) => {
            // Something outside may remove and create the file in between, but not for ever.
            for _ in 0..8 {
                match open(gate) {
                    Ok(fd) => {
                        gate.count(modify);
                        gate.count(readable);
                        return Ok(Found { fd, created: false, grant: modify, operation });
                    }
                    Err(Native::NOENT) if request.full => return full(),
                    Err(Native::NOENT) => {}
                    Err(native) => return Err(gate.refused(native, operation, path)),
                }
                match make(gate, place, native)? {
                    Ok(fd) => {
                        gate.count(create);
                        gate.count(readable);
                        return Ok(Found { fd, created: true, grant: create, operation: Operation::Create });
                    }
                    // A link that leads nowhere exists for the one and not for the other.
                    Err(Native::EXIST) if is_link(gate, place) => return Err(Errno::LOOP.into()),
                    Err(Native::EXIST) => {}
                    Err(native) => return Err(gate.refused(native, Operation::Create, path)),
                }
            }
            Err(Errno::AGAIN.into())
        }
        (Verdict::Allowed(modify), Verdict::Denied(exception)) => match open(gate) {
            Ok(fd) => {
                gate.count(modify);
                gate.count(readable);
                Ok(Found { fd, created: false, grant: modify, operation })
            }
            Err(Native::NOENT) => Err(Denial::of(Operation::Create, path, exception)),
            Err(native) => Err(gate.refused(native, operation, path)),
        },
        (Verdict::Denied(_), Verdict::Allowed(_)) if request.full => full(),
        (Verdict::Denied(exception), Verdict::Allowed(create)) => match make(gate, place, native)? {
            Ok(fd) => {
                gate.count(create);
                gate.count(readable);
                Ok(Found { fd, created: true, grant: create, operation: Operation::Create })
            }
            Err(Native::EXIST) if is_link(gate, place) => Err(Errno::LOOP.into()),
            Err(Native::EXIST) => Err(Denial::of(operation, path, exception)),
            Err(native) => Err(gate.refused(native, Operation::Create, path)),
        },
        (Verdict::Denied(modify), Verdict::Denied(create)) => {
            // The guest is told the same; whoever reads the report is told what it was about to do.
            let (operation, exception) =
                if exists(gate, place) { (operation, modify) } else { (Operation::Create, create) };
            Err(Denial::of(operation, path, exception))
        }
        (Verdict::Hidden, _) | (_, Verdict::Hidden) => Err(Errno::NOENT.into()),
    }
}

/// Makes a new file. Not by its whole path: whether its directory is still there is looked at afterwards,
/// and then it must be possible to take it back.
fn make(gate: &Gate, place: Place<'_>, flags: OFlags) -> Result<Result<OwnedFd, Native>, Fault> {
    let _turn = gate.turn_to_make()?;
    let (parent, name) = gate.parent(place)?;
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, NEW_FILE);
    if made.is_ok() {
        keep(gate, &parent, place, AtFlags::empty())?;
        folding::made(gate.pin(place.path), place, folding::remove(AtFlags::empty()))?;
    }
    Ok(made)
}

fn exists(gate: &Gate, place: Place<'_>) -> bool {
    gate.open_path(place.path, false, false).is_ok()
}

/// Whether the last component is a link that would be followed.
fn is_link(gate: &Gate, place: Place<'_>) -> bool {
    place.follow
        && gate
            .open_path(place.path, false, false)
            .and_then(rustix::fs::fstat)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Opens a directory: for listing if that is granted, otherwise as a base for paths, for which it
/// is enough to know that it is there. What is read from it later is decided then.
fn open_directory(gate: &mut Gate, place: Place<'_>, wanted: Operation) -> Result<Entry, Fault> {
    let path = place.path;
    let list = gate.peek(Operation::List, path)?;
    let (flags, operation) = match list {
        Verdict::Hidden => return Err(Errno::NOENT.into()),
        Verdict::Allowed(_) => (OFlags::RDONLY, Operation::List),
        Verdict::Denied(exception) => {
            match gate.peek(Operation::Stat, path)? {
                Verdict::Allowed(grant) => gate.count(grant),
                _ if gate.is_on_the_way(path) => {}
                _ => return Err(Denial::of(wanted, path, exception)),
            }
            (OFlags::PATH, Operation::Stat)
        }
    };
    let fd = gate
        .open(path, with_follow(flags | OFlags::DIRECTORY, place), Bits::empty())
        .map_err(|native| gate.refused(native, operation, path))?;
    let fd = (operation == Operation::List).then_some(fd);
    Ok(Entry::Directory(Directory { path: path.into(), fd, listing: None, preopen: None }))
}

/// Looks at what was opened: directories become what they are, FIFOs block as they should, and
/// devices are for those who named them.
fn opened(gate: &Gate, place: Place<'_>, request: Request, found: Found) -> Result<(Entry, bool), Fault> {
    let kind = Kind::from(FileType::from_raw_mode(rustix::fs::fstat(&found.fd)?.st_mode));
    match kind {
        Kind::RegularFile => {}
        Kind::Directory => {
            // Opened without saying so. Listing it is another operation, decided when it happens.
            let directory = Directory { path: place.path.into(), fd: None, listing: None, preopen: None };
            return Ok((Entry::Directory(directory), false));
        }
        Kind::SymbolicLink => return Err(Errno::LOOP.into()),
        Kind::CharacterDevice | Kind::BlockDevice if !gate.is_exact(found.grant, place.path) => {
            return Err(device_denied(found.operation, place.path));
        }
        Kind::Socket => return Err(Errno::NOTSUP.into()),
        Kind::CharacterDevice | Kind::BlockDevice | Kind::Unknown => {
            if request.flags & fdflags::NONBLOCK == 0 && (request.read || request.write) {
                rustix::fs::fcntl_setfl(&found.fd, status(request.flags))?;
            }
        }
    }
    let file = File {
        fd: found.fd,
        path: place.path.into(),
        kind,
        read: request.read,
        write: request.write,
        flags: request.flags,
    };
    Ok((Entry::File(file), found.created))
}

fn device_denied(operation: Operation, path: &[u8]) -> Fault {
    let note = "it is a device, which a grant must name by its own path".to_owned();
    Denial::noted(operation, path, None, note)
}

/// Refuses a device that no grant names exactly, without opening it.
fn refuse_device(gate: &Gate, place: Place<'_>, request: Request) -> Result<(), Fault> {
    let operation = needed(request);
    let Verdict::Allowed(grant) = gate.peek(operation, place.path)? else { return Ok(()) };
    if gate.is_exact(grant, place.path) {
        return Ok(());
    }
    let Ok(fd) = gate.open_path(place.path, place.follow, false) else { return Ok(()) };
    match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => Err(device_denied(operation, place.path)),
        _ => Ok(()),
    }
}

//! Calls that change what a directory holds: making, removing, linking and renaming.

use super::Mode;
use super::folding;
use super::gate::{Denial, Fault, Gate, Place};
use super::host::{Host, target};
use super::resolve::textual;
use super::types::Errno;
use crate::access::Operation;
use rustix::fs::{AtFlags, FileType, Mode as Bits, RenameFlags};
use rustix::io::Errno as Native;
use std::borrow::Cow;

/// Permission bits of a new directory, before the umask.
const NEW_DIRECTORY: Bits = Bits::from_raw_mode(0o777);

/// The name for the kernel, with the trailing slash that the guest wrote: what that means for a
/// file or a missing name is the kernel's to say. None of these calls follows a link in it.
fn name<'a>(place: Place<'_>, name: &'a [u8], with_slash: &'a mut Vec<u8>) -> &'a [u8] {
    if !place.directory {
        return name;
    }
    with_slash.clear();
    with_slash.extend_from_slice(name);
    with_slash.push(b'/');
    with_slash
}

/// Checks, and answers for names that cannot be created or removed: the root, `.` and `..`.
fn check_name(gate: &mut Gate, operation: Operation, place: Place<'_>, answer: Errno) -> Result<(), Fault> {
    gate.check(operation, place.path)?;
    if place.path == b"/" || place.dot { Err(answer.into()) } else { Ok(()) }
}

impl Host {
    /// `path_create_directory`.
    pub(crate) fn create_directory(&mut self, fd: u32, relative: &[u8]) -> Result<(), Fault> {
        let full = self.counts_files() && self.room_for_file().is_err();
        let target = target(&self.table, fd, relative, 0)?;
        self.gate.locate(target, |gate, place| {
            check_name(gate, Operation::Create, place, Errno::EXIST)?;
            if full {
                return Err(Errno::DQUOT.into());
            }
            let (parent, last) = gate.parent(place)?;
            rustix::fs::mkdirat(&parent, name(place, last, &mut Vec::new()), NEW_DIRECTORY)
                .map_err(|native| gate.refused(native, Operation::Create, place.path))?;
            folding::made(gate, place, folding::remove(AtFlags::REMOVEDIR))
        })?;
        self.created();
        Ok(())
    }

    /// `path_remove_directory` and `path_unlink_file`.
    pub(crate) fn remove(&mut self, fd: u32, relative: &[u8], directory: bool) -> Result<(), Fault> {
        let target = target(&self.table, fd, relative, 0)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.gate.locate(target, |gate, place| {
            check_name(gate, Operation::Delete, place, Errno::INVAL)?;
            let (parent, last) = gate.parent(place)?;
            rustix::fs::unlinkat(&parent, name(place, last, &mut Vec::new()), flags)
                .map_err(|native| gate.refused(native, Operation::Delete, place.path))
        })
    }

    /// `path_readlink`.
    pub(crate) fn read_link(&mut self, fd: u32, relative: &[u8]) -> Result<Vec<u8>, Fault> {
        let target = target(&self.table, fd, relative, 0)?;
        self.gate.locate(target, |gate, place| {
            gate.check(Operation::Stat, place.path)?;
            let link = gate.open_path(place.path, false, place.directory)?;
            match rustix::fs::readlinkat(link, c"", Vec::new()) {
                Ok(text) => Ok(text.into_bytes()),
                // What is no link is told so with another number when it is named by descriptor.
                Err(Native::NOENT) => Err(Errno::INVAL.into()),
                Err(native) => Err(native.into()),
            }
        })
    }

    /// `path_symlink`. A link is only made to where the guest may do something itself: others who
    /// follow it later are not held by this policy.
    pub(crate) fn symlink(&mut self, text: &[u8], fd: u32, relative: &[u8]) -> Result<(), Fault> {
        if text.contains(&0) {
            return Err(Errno::INVAL.into());
        }
        let full = self.counts_files() && self.room_for_file().is_err();
        let target = target(&self.table, fd, relative, 0)?;
        let mut text = Cow::Borrowed(text);
        if text.starts_with(b"/") && !goes_up_inside(&text) {
            // It says where it leads to everybody, not only to who sees another `/tmp`.
            let mut real = textual(b"/", &text);
            if self.gate.translate(&mut real) {
                text = Cow::Owned(real);
            }
        }
        let text = &*text;
        self.gate.locate(target, |gate, place| {
            check_name(gate, Operation::Create, place, Errno::EXIST)?;
            may_lead(gate, place.path, text)?;
            if full {
                return Err(Errno::DQUOT.into());
            }
            let (parent, last) = gate.parent(place)?;
            rustix::fs::symlinkat(text, &parent, name(place, last, &mut Vec::new()))
                .map_err(|native| gate.refused(native, Operation::Create, place.path))?;
            folding::made(gate, place, folding::remove(AtFlags::empty()))
        })?;
        self.created();
        Ok(())
    }

    /// `path_link`.
    pub(crate) fn link(
        &mut self,
        (old_fd, lookup, old): (u32, u32, &[u8]),
        (new_fd, new): (u32, &[u8]),
    ) -> Result<(), Fault> {
        let full = self.counts_files() && self.room_for_file().is_err();
        let source = target(&self.table, old_fd, old, lookup)?;
        let destination = target(&self.table, new_fd, new, 0)?;
        self.gate.locate(source, |gate, from| {
            // Naming it anew shows that it is there, which is what `stat` is about; that the new
            // name is no way to more is `may_move`'s.
            gate.check(Operation::Stat, from.path)?;
            let found = gate.open_path(from.path, from.follow, from.directory)?;
            let stat = rustix::fs::fstat(&found)?;
            let link = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Err(Errno::PERM.into()),
                FileType::Symlink => Some(rustix::fs::readlinkat(&found, c"", Vec::new())?),
                _ => None,
            };
            if from.directory {
                return Err(Errno::NOTDIR.into());
            }
            gate.locate(destination, |gate, to| {
                check_name(gate, Operation::Create, to, Errno::EXIST)?;
                may_move(gate, from.path, to.path, false)?;
                if let Some(text) = &link {
                    may_lead(gate, to.path, text.as_bytes())?;
                }
                if full {
                    return Err(Errno::DQUOT.into());
                }
                let (old_parent, old_name) = gate.parent(from)?;
                let (new_parent, new_name) = gate.parent(to)?;
                let mut slash = Vec::new();
                let new_name = name(to, new_name, &mut slash);
                rustix::fs::linkat(&old_parent, old_name, &new_parent, new_name, AtFlags::empty())
                    .map_err(|native| moved(gate, native, from.path, to.path, &old_parent, &new_parent))?;
                folding::made(gate, to, folding::remove(AtFlags::empty()))
            })
        })?;
        self.created();
        Ok(())
    }

    /// `path_rename`.
    pub(crate) fn rename(
        &mut self,
        (old_fd, old): (u32, &[u8]),
        (new_fd, new): (u32, &[u8]),
    ) -> Result<(), Fault> {
        let source = target(&self.table, old_fd, old, 0)?;
        let destination = target(&self.table, new_fd, new, 0)?;
        self.gate.locate(source, |gate, from| {
            check_name(gate, Operation::Delete, from, Errno::INVAL)?;
            // Whether it is a directory decides how much moves with it.
            let found = gate.open_path(from.path, false, false)?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
            let link = match kind {
                FileType::Symlink => Some(rustix::fs::readlinkat(&found, c"", Vec::new())?),
                _ => None,
            };
            gate.locate(destination, |gate, to| {
                check_name(gate, Operation::Create, to, Errno::INVAL)?;
                if from.path == to.path {
                    return Ok(());
                }
                may_move(gate, from.path, to.path, kind == FileType::Directory)?;
                if let Some(text) = &link {
                    may_lead(gate, to.path, text.as_bytes())?;
                }
                let (old_parent, old_name) = gate.parent(from)?;
                let (new_parent, new_name) = gate.parent(to)?;
                let (mut old_slash, mut new_slash) = (Vec::new(), Vec::new());
                let old_name = name(from, old_name, &mut old_slash);
                let new_name = name(to, new_name, &mut new_slash);
                // Replacing what is there deletes it. Tried without that first, the kernel itself
                // says whether something is there.
                let gentle = RenameFlags::NOREPLACE;
                let failed =
                    |gate: &Gate, native| moved(gate, native, from.path, to.path, &old_parent, &new_parent);
                match rustix::fs::renameat_with(&old_parent, old_name, &new_parent, new_name, gentle) {
                    Err(native @ (Native::EXIST | Native::INVAL | Native::NOSYS)) => {
                        may_replace(gate, to.path, native)?;
                        rustix::fs::renameat(&old_parent, old_name, &new_parent, new_name)
                            .map_err(|native| failed(gate, native))
                    }
                    result => result.map_err(|native| failed(gate, native)),
                }?;
                folding::made(gate, to, |directory, name| {
                    let _ = rustix::fs::renameat_with(directory, name, &old_parent, old_name, gentle);
                })
            })
        })
    }
}

/// Decides whether what is at `path` may be replaced.
fn may_replace(gate: &mut Gate, path: &[u8], why: Native) -> Result<(), Fault> {
    // Some file systems do not know `RENAME_NOREPLACE`; nothing can be there for sure only if
    // it is not found.
    if why != Native::EXIST && matches!(gate.open_path(path, false, false), Err(Native::NOENT)) {
        return Ok(());
    }
    gate.check(Operation::Delete, path).map(drop)
}

/// Whether `..` follows a name in the text of a link: if that name is or becomes a link itself, the
/// text alone does not tell what is above it.
fn goes_up_inside(text: &[u8]) -> bool {
    let mut components = text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    components.any(|name| name != b"..") && components.any(|name| name == b"..")
}

/// Decides whether a link at `path` may say `text`.
fn may_lead(gate: &Gate, path: &[u8], text: &[u8]) -> Result<(), Fault> {
    if gate.mode != Mode::Off && goes_up_inside(text) && !gate.was_excused(Operation::Create, path) {
        let note = "the link would go up with `..` after a name, so where it leads depends on what that is";
        return Err(Denial::noted(Operation::Create, path, None, note.to_owned()));
    }
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let leads_to = textual(&path[..slash], text);
    if gate.grants_something(&leads_to) || gate.was_excused(Operation::Create, path) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&leads_to);
    let note = format!("the link would lead to `{shown}`, where nothing is granted");
    Err(Denial::noted(Operation::Create, path, None, note))
}

fn may_move(gate: &Gate, from: &[u8], to: &[u8], directory: bool) -> Result<(), Fault> {
    if gate.may_move(from, to, directory) || gate.was_excused(Operation::Create, to) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(from);
    let note = format!("under this name more would be granted on it than under `{shown}`");
    Err(Denial::noted(Operation::Create, to, None, note))
}

/// A refused move: Landlock answers "another device" where it does not grant `refer`.
fn moved(
    gate: &Gate,
    native: Native,
    from: &[u8],
    to: &[u8],
    old: impl std::os::fd::AsFd,
    new: impl std::os::fd::AsFd,
) -> Fault {
    if native == Native::XDEV {
        let device = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_dev).ok();
        return if device(old.as_fd()) == device(new.as_fd()) {
            gate.landlock(Operation::Create, to)
        } else {
            native.into()
        };
    }
    match gate.refused(native, Operation::Create, to) {
        Fault::Denied(denial) => Fault::Denied(denial),
        _ => gate.refused(native, Operation::Delete, from),
    }
}

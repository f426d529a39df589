//! Calls that change what a directory holds: making, removing, linking and renaming.

use super::Mode;
use super::folding;
use super::gate::{Denial, Excuse, Fault, Gate, Parent, Place};
use super::host::{Host, target};
use super::moves::{By, Held, goes_up_inside, judge, may_lead};
use super::resolve::textual;
use super::types::Errno;
use rustix::fs::{AtFlags, Mode as Bits, RenameFlags};
use rustix::io::Errno as Native;
use sandbox_policy::access::Operation;
use std::borrow::Cow;

/// How often a move is undone that somebody else disturbs.
const ATTEMPTS: usize = 16;

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
        let _turn = self.gate.turn_to_make()?;
        let target = target(&self.table, fd, relative, 0)?;
        self.gate.locate(target, |gate, place| {
            check_name(gate, Operation::Create, place, Errno::EXIST)?;
            if full {
                return Err(Errno::DQUOT.into());
            }
            let (parent, last) = gate.parent(place)?;
            rustix::fs::mkdirat(&parent, name(place, last, &mut Vec::new()), NEW_DIRECTORY)
                .map_err(|native| gate.refused(native, Operation::Create, place.path))?;
            keep(gate, &parent, place, AtFlags::REMOVEDIR)?;
            folding::made(gate.pin(place.path), place, folding::remove(AtFlags::REMOVEDIR))
        })?;
        self.created();
        Ok(())
    }

    /// `path_remove_directory` and `path_unlink_file`.
    pub(crate) fn remove(&mut self, fd: u32, relative: &[u8], directory: bool) -> Result<(), Fault> {
        let _turn = self.gate.turn_to_make()?;
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
            // It says where it leads to everybody, not only to who sees something else there.
            if let Some(host) = self.gate.to_host(&textual(b"/", &text), None) {
                text = Cow::Owned(host);
            }
        }
        let text = &*text;
        let _turn = self.gate.turn_to_make()?;
        self.gate.locate(target, |gate, place| {
            check_name(gate, Operation::Create, place, Errno::EXIST)?;
            judge(gate, place.path, |gate, by| may_lead(gate, place.path, text, by))?;
            if full {
                return Err(Errno::DQUOT.into());
            }
            let (parent, last) = gate.parent(place)?;
            rustix::fs::symlinkat(text, &parent, name(place, last, &mut Vec::new()))
                .map_err(|native| gate.refused(native, Operation::Create, place.path))?;
            keep(gate, &parent, place, AtFlags::empty())?;
            folding::made(gate.pin(place.path), place, folding::remove(AtFlags::empty()))
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
        let _turn = self.gate.turn_to_move()?;
        let source = target(&self.table, old_fd, old, lookup)?;
        let destination = target(&self.table, new_fd, new, 0)?;
        self.gate.locate(source, |gate, from| {
            // Naming it anew shows that it is there, which is what `stat` is about; that the new
            // name is no way to more is decided with that.
            gate.check(Operation::Stat, from.path)?;
            if from.follow {
                // Links on the way are the kernel's to find.
                gate.open_path(from.path, true, from.directory)?;
            }
            let (old_parent, old_name) = gate.parent(from)?;
            let held = Held::at(&old_parent, old_name)?;
            if held.is_directory() {
                return Err(Errno::PERM.into());
            }
            if from.directory {
                return Err(Errno::NOTDIR.into());
            }
            gate.locate(destination, |gate, to| {
                check_name(gate, Operation::Create, to, Errno::EXIST)?;
                judge(gate, to.path, |gate, by| held.may_be(gate, from.path, to.path, by))?;
                if full {
                    return Err(Errno::DQUOT.into());
                }
                let (new_parent, new_name) = gate.parent(to)?;
                let mut slash = Vec::new();
                let shaped = name(to, new_name, &mut slash);
                rustix::fs::linkat(&old_parent, old_name, &new_parent, shaped, AtFlags::empty())
                    .map_err(|native| moved(gate, native, from.path, to.path, &old_parent, &new_parent))?;
                keep(gate, &new_parent, to, AtFlags::empty())?;
                folding::made(gate.pin(to.path), to, folding::remove(AtFlags::empty()))?;
                // Somebody may have put another file, or a link, into its place meanwhile.
                let (old, new) = ((from, &old_parent), (to, &new_parent));
                let arrived = arrived(gate, &held, old, new, new_name);
                arrived.map_err(|fault| unmake(&new_parent, to, AtFlags::empty()).err().unwrap_or(fault))
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
        let _turn = self.gate.turn_to_move()?;
        let source = target(&self.table, old_fd, old, 0)?;
        let destination = target(&self.table, new_fd, new, 0)?;
        let moved_away = self.gate.locate(source, |gate, from| {
            check_name(gate, Operation::Delete, from, Errno::INVAL)?;
            let (old_parent, old_name) = gate.parent(from)?;
            // What it is decides how much moves with it.
            let held = Held::at(&old_parent, old_name)?;
            gate.locate(destination, |gate, to| {
                check_name(gate, Operation::Create, to, Errno::INVAL)?;
                if from.path == to.path {
                    return Ok(None);
                }
                judge(gate, to.path, |gate, by| held.may_be(gate, from.path, to.path, by))?;
                let (new_parent, new_name) = gate.parent(to)?;
                let (mut old_slash, mut new_slash) = (Vec::new(), Vec::new());
                let old_shaped = name(from, old_name, &mut old_slash);
                let new_shaped = name(to, new_name, &mut new_slash);
                // Replacing what is there deletes it. Tried without that first, the kernel itself
                // says whether something is there.
                let gentle = RenameFlags::NOREPLACE;
                let failed =
                    |gate: &Gate, native| moved(gate, native, from.path, to.path, &old_parent, &new_parent);
                match rustix::fs::renameat_with(&old_parent, old_shaped, &new_parent, new_shaped, gentle) {
                    Err(native @ (Native::EXIST | Native::INVAL | Native::NOSYS)) => {
                        may_replace(gate, to.path, native)?;
                        rustix::fs::renameat(&old_parent, old_shaped, &new_parent, new_shaped)
                            .map_err(|native| failed(gate, native))?;
                    }
                    result => result.map_err(|native| failed(gate, native))?,
                }
                folding::made(gate.pin(to.path), to, |directory, name| {
                    let _ = rustix::fs::renameat_with(directory, name, &old_parent, old_name, gentle);
                })?;
                let (old, new) = ((from, &old_parent), (to, &new_parent));
                let Err(fault) = arrived(gate, &held, old, new, new_name) else {
                    return Ok(held.is_directory().then(|| from.path.to_vec()));
                };
                if move_back(gate, (from.path, &old_parent, old_name), (to.path, &new_parent, new_name)) {
                    return Err(fault);
                }
                let note =
                    "another process was at work there at the same moment, and it could not be moved back";
                Err(Denial::noted(Operation::Create, to.path, None, note.to_owned()).with(Excuse::Never))
            })
        })?;
        if let Some(path) = moved_away {
            self.table.moved(&path);
        }
        Ok(())
    }
}

/// Looks again after a move: that both directories are still where they were decided to be, and that what
/// is there now may be there. Between the first look and the move another process can have put something
/// into its place or into it: no guest of this command, whose turn it was not, but anybody else. Whoever
/// finds it so undoes the move.
fn arrived(
    gate: &Gate,
    held: &Held,
    (from, old_parent): (Place<'_>, &Parent),
    (to, new_parent): (Place<'_>, &Parent),
    new_name: &[u8],
) -> Result<(), Fault> {
    if gate.mode == Mode::Off {
        return Ok(());
    }
    if !gate.is_still_there(old_parent, from) || !gate.is_still_there(new_parent, to) {
        return Err(Errno::AGAIN.into());
    }
    let decided = match Held::at(new_parent, new_name) {
        Ok(now) if now.is(held) => now.may_stay(gate, from.path, to.path),
        Ok(now) => now.may_be(gate, from.path, to.path, By::Walls),
        // Somebody who knows no turns has taken it on: where it is now is by that move, not by this one.
        Err(Native::NOENT) => Ok(()),
        Err(native) => Err(native.into()),
    };
    decided.map_err(|fault| fault.with(Excuse::Never))
}

/// A path, what holds its last component, and that.
type Named<'a> = (&'a [u8], &'a Parent, &'a [u8]);

/// Undoes a move, from `there` to `here`. Whether nothing is left where it must not be. What comes back may again
/// be something else than what was looked at, so each step is followed by a look, and undone in its turn.
fn move_back<'a>(gate: &Gate, mut there: Named<'a>, mut here: Named<'a>) -> bool {
    // Whether what has one name may have another one; what is gone is no longer in question.
    let fits = |(at, parent, name): Named<'_>, to: &[u8]| match Held::at(parent, name) {
        Ok(held) => held.may_stay(gate, at, to).is_ok(),
        Err(native) => native == Native::NOENT,
    };
    for attempt in 0..ATTEMPTS {
        // The first time it goes back whatever its name: it was found to gain something by it.
        if attempt > 0 && fits(here, here.0) {
            return true;
        }
        if !fits(here, there.0) {
            return false;
        }
        let back = |how| rustix::fs::renameat_with(here.1, here.2, there.1, there.2, how);
        let moved = match back(RenameFlags::NOREPLACE) {
            Ok(()) => true,
            Err(Native::NOENT) => return true,
            // Something else has got the old name: the two change places, and both are looked at.
            Err(Native::EXIST) => match back(RenameFlags::EXCHANGE) {
                Ok(()) => fits(here, here.0),
                Err(Native::NOENT) => false,
                Err(_) => return false,
            },
            Err(_) => return false,
        };
        if moved {
            std::mem::swap(&mut there, &mut here);
        }
    }
    false
}

/// Removes again what was made in a directory that somebody has moved meanwhile.
pub(super) fn keep(gate: &Gate, parent: &Parent, place: Place<'_>, flags: AtFlags) -> Result<(), Fault> {
    if gate.is_still_there(parent, place) {
        return Ok(());
    }
    unmake(parent, place, flags)?;
    Err(Errno::AGAIN.into())
}

/// Removes what was just made; that it stays is a violation.
fn unmake(parent: &Parent, place: Place<'_>, flags: AtFlags) -> Result<(), Fault> {
    let slash = place.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    match rustix::fs::unlinkat(parent, &place.path[slash + 1..], flags) {
        Ok(()) | Err(Native::NOENT) => Ok(()),
        Err(_) => {
            let note =
                "another process moved its directory at the same moment, and it could not be removed again";
            Err(Denial::noted(Operation::Create, place.path, None, note.to_owned()).with(Excuse::Never))
        }
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

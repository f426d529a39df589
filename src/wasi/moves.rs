//! What a new name must not bring: hard links, renames and symbolic links.
//!
//! A move is a delete and a create of everything below it, and gains nothing: each name that moves may be
//! deleted where it was and created where it goes, and what may be done there might have been done
//! before. Of a directory all that is in it is looked at, through its own descriptor. Links that come
//! along must be ones that could be made there. What cannot be looked at does not move.
//!
//! In an audit its envelope is a policy like any other: it decides on the move as a whole.

use super::Mode;
use super::gate::{Denial, Excuse, Fault, Gate, Parent, Verdict};
use super::resolve::textual;
use super::types::Errno;
use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno as Native;
use sandbox_policy::access::{Decision, Operation, OperationSet};
use std::os::fd::OwnedFd;

/// A directory with more in it does not move: looking at each name takes microseconds.
const MOST: usize = 100_000;

/// Bytes of a directory asked for in one system call.
const PIECE: usize = 32 * 1024;

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The policy's: what it denies is a violation.
    Policy,
    /// What holds: in an audit that is the policy and its envelope.
    Walls,
}

/// Decides about a new name `at`. In an audit first by its envelope: what that denies is denied, whatever
/// of this call was let through before. What only the policy denies is reported, once.
pub(super) fn judge(
    gate: &Gate,
    at: &[u8],
    decide: impl Fn(&Gate, By) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match gate.mode {
        Mode::Off => Ok(()),
        Mode::Enforce => decide(gate, By::Policy),
        Mode::Audit => {
            decide(gate, By::Walls).map_err(|fault| fault.with(Excuse::Never))?;
            if gate.was_excused(Operation::Create, at) || gate.was_excused_move() {
                return Ok(());
            }
            decide(gate, By::Policy).map_err(|fault| fault.with(Excuse::Move))
        }
    }
}

/// Decides whether a link at `path` may say `text`: it must lead to where the guest may do something
/// itself, as others who follow it are not held by this policy, and must show nothing below it that could
/// not be made there. Reading by an audit's leave is not enough for the first.
pub(super) fn may_lead(gate: &Gate, path: &[u8], text: &[u8], by: By) -> Result<(), Fault> {
    let denied = |note: String| Err(Denial::noted(Operation::Create, path, None, note));
    if goes_up_inside(text) {
        let note = "the link would go up with `..` after a name, so where it leads depends on what that is";
        return denied(note.to_owned());
    }
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let leads_to = textual(&path[..slash], text);
    let shown = || String::from_utf8_lossy(&leads_to).into_owned();
    let (policy, envelope) = gate.deciders();
    let envelope = envelope.filter(|_| by == By::Walls);
    let changes = |audit| operations(Some(audit), &leads_to).intersection(OperationSet::FS_CHANGE);
    let nothing = policy.operations(&leads_to, true).is_empty()
        && envelope.is_none_or(|audit| changes(audit).is_empty());
    if nothing || gate.is_shut_when_folded(&leads_to) {
        return denied(format!("the link would lead to `{}`, where nothing is granted", shown()));
    }
    if ![Some(policy), envelope].into_iter().flatten().all(|decider| decider.may_show(path, &leads_to)) {
        let note = "what is protected below the link is not where it would lead";
        return denied(format!("{note}, `{}`", shown()));
    }
    Ok(())
}

/// Whether `..` follows a name in the text of a link: if that name is or becomes a link itself, the
/// text alone does not tell what is above it.
pub(super) fn goes_up_inside(text: &[u8]) -> bool {
    let mut components = text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    components.any(|name| name != b"..") && components.any(|name| name == b"..")
}

/// What has a name and is to get another one, held open without any right to it.
pub(super) struct Held {
    fd: OwnedFd,
    kind: FileType,
    /// What it says, if it is a link.
    text: Option<Vec<u8>>,
}

impl Held {
    /// What has this name in a directory, not what a link of that name leads to.
    pub(super) fn at(parent: &Parent, name: &[u8]) -> Result<Self, Native> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The root has no name of its own.
        let name = if name.is_empty() { b"." } else { name };
        let fd = rustix::fs::openat(parent, name, flags, Bits::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let text = match kind {
            FileType::Symlink => Some(rustix::fs::readlinkat(&fd, c"", Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok(Self { fd, kind, text })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Decides whether what is at `from` may be at `to`, too, or instead if it is a directory. That the two
    /// names may be deleted and created is decided already.
    pub(super) fn may_be(&self, gate: &Gate, from: &[u8], to: &[u8], by: By) -> Result<(), Fault> {
        gains_nothing(gate, from, to, by)?;
        if let Some(text) = &self.text {
            may_lead(gate, to, text, by)?;
        }
        let along = |old: &[u8], new: &[u8]| comes_along(gate, (from, to), old, new, by);
        if self.is_directory() { self.each(gate, (from, to), by, along) } else { Ok(()) }
    }

    /// Decides whether what was moved from `from` may stay at `to`. What has come into it at its new place
    /// was not moved, so nobody is asked about the old one.
    pub(super) fn may_stay(&self, gate: &Gate, from: &[u8], to: &[u8]) -> Result<(), Fault> {
        if let Some(text) = &self.text {
            may_lead(gate, to, text, By::Walls)?;
        }
        let along = |_: &[u8], new: &[u8]| may_come(gate, (from, to), new, By::Walls);
        if self.is_directory() { self.each(gate, (from, to), By::Walls, along) } else { Ok(()) }
    }

    /// Whether both are the same file or directory.
    pub(super) fn is(&self, other: &Self) -> bool {
        let identity = |held: &Self| rustix::fs::fstat(&held.fd).map(|stat| (stat.st_dev, stat.st_ino));
        identity(self).is_ok_and(|own| identity(other) == Ok(own))
    }

    /// Decides on all that is in a directory, name by name; links in it must be ones for their new place.
    fn each(
        &self,
        gate: &Gate,
        (from, to): (&[u8], &[u8]),
        by: By,
        along: impl Fn(&[u8], &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut pending = vec![Vec::new()];
        let mut left = MOST;
        let mut buffer = Vec::with_capacity(PIECE);
        while let Some(directory) = pending.pop() {
            let native = self.open(&directory).map_err(|native| unseen(native, from, &directory))?;
            let mut entries = RawDir::new(&native, buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry.map_err(|native| unseen(native, from, &directory))?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let Some(less) = left.checked_sub(1) else {
                    let note =
                        format!("there is more in it than the {MOST} names that are looked at before a move");
                    return Err(Denial::noted(Operation::Delete, from, None, note));
                };
                left = less;
                let below = [&directory, &b"/"[..], name.to_bytes()].concat();
                let (old, new) = ([from, &below].concat(), [to, &below].concat());
                along(&old, &new)?;
                let kind = match entry.file_type() {
                    FileType::Unknown => {
                        let stat = rustix::fs::statat(&native, name, AtFlags::SYMLINK_NOFOLLOW);
                        FileType::from_raw_mode(stat.map_err(|native| unseen(native, from, &below))?.st_mode)
                    }
                    kind => kind,
                };
                match kind {
                    FileType::Directory => pending.push(below),
                    FileType::Symlink => {
                        let text = rustix::fs::readlinkat(&native, name, Vec::new())
                            .map_err(|native| unseen(native, from, &below))?;
                        may_lead(gate, &new, text.as_bytes(), by)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Opens a directory in it to be listed. Beneath it, and through no link: nobody can turn the way elsewhere.
    fn open(&self, directory: &[u8]) -> Result<OwnedFd, Native> {
        let path = directory.strip_prefix(b"/").unwrap_or(b".");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let literal = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, path, flags, Bits::empty(), literal)
    }
}

/// What cannot be looked at stays where it is.
fn unseen(native: Native, from: &[u8], below: &[u8]) -> Fault {
    if matches!(native, Native::NOENT | Native::NOTDIR | Native::LOOP) {
        // Somebody else is at work in there.
        return Errno::AGAIN.into();
    }
    let note = "what is in it cannot be looked at, so nobody can tell what would come along with it";
    Denial::noted(Operation::Delete, &[from, below].concat(), None, note.to_owned())
}

/// Decides whether a name below `from` may get the same place below `to`.
fn comes_along(gate: &Gate, (from, to): (&[u8], &[u8]), old: &[u8], new: &[u8], by: By) -> Result<(), Fault> {
    let shown = String::from_utf8_lossy(from);
    // That nothing at all may be deleted there was said of the directory.
    if by == By::Walls || !gate.was_excused(Operation::Delete, from) {
        match verdict(gate, Operation::Delete, old, by)? {
            Verdict::Allowed(_) => {}
            Verdict::Denied(exception) => {
                let note = format!("it would be moved along with `{shown}`");
                return Err(Denial::noted(Operation::Delete, old, exception, note));
            }
            Verdict::Hidden => {
                let note = "it holds something hidden, which would be moved along with it";
                return Err(Denial::noted(Operation::Delete, from, None, note.to_owned()));
            }
        }
    }
    may_come(gate, (from, to), new, by)?;
    gains_nothing(gate, old, new, by)
}

/// The second half of that: whether it may be there.
fn may_come(gate: &Gate, (from, to): (&[u8], &[u8]), new: &[u8], by: By) -> Result<(), Fault> {
    let shown = String::from_utf8_lossy(from);
    match verdict(gate, Operation::Create, new, by)? {
        Verdict::Allowed(_) => Ok(()),
        Verdict::Denied(exception) => {
            let note = format!("it would come along with `{shown}`");
            Err(Denial::noted(Operation::Create, new, exception, note))
        }
        Verdict::Hidden => {
            let note = format!("something that is hidden there would come along with `{shown}`");
            Err(Denial::noted(Operation::Create, to, None, note))
        }
    }
}

fn gains_nothing(gate: &Gate, from: &[u8], to: &[u8], by: By) -> Result<(), Fault> {
    let (policy, envelope) = gate.deciders();
    let envelope = envelope.filter(|_| by == By::Walls);
    let rights = |path| {
        let mut rights = policy.rights(path)?;
        rights.add(operations(envelope, path));
        Some(rights)
    };
    if let (Some(had), Some(has)) = (rights(from), rights(to))
        && had.contains_all(&has)
    {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(from);
    let more = if envelope.is_some() { "be let through" } else { "be granted" };
    let note = format!("under this name more would {more} on it than under `{shown}`");
    Err(Denial::noted(Operation::Create, to, None, note))
}

/// What an envelope lets everybody do.
fn operations(envelope: Option<&sandbox_policy::Decider>, path: &[u8]) -> OperationSet {
    envelope.map_or(OperationSet::EMPTY, |audit| audit.operations(path, false))
}

fn verdict(gate: &Gate, operation: Operation, path: &[u8], by: By) -> Result<Verdict, Fault> {
    let verdict = gate.peek(operation, path)?;
    let envelope = gate.deciders().1.filter(|_| by == By::Walls);
    Ok(match (verdict, envelope.map(|audit| audit.decide_path(operation, path))) {
        (Verdict::Denied(_), Some(Decision::Allowed(_))) => Verdict::Allowed(None),
        (verdict, _) => verdict,
    })
}

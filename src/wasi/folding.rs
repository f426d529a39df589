//! Directories that may not tell all names apart: where `SECRET.PEM` opens `secret.pem`.
//!
//! The gate decides on names, so there it has to know the name that the directory itself has for what
//! a path leads to. Which file systems never fold a name is known when the worker starts
//! (`kernel::folding`); beneath all others ([`Folding::concerns`]) a path is looked at before it is
//! decided: each directory is opened on its own and listed. A name that is in the list, byte by
//! byte, is what it says. One that is not and is found all the same is another name of something in the
//! list; the path goes on with that one, as it would behind a link, and is decided by it. What is not
//! in the list and not found does not exist, and may be made, but never together with opening what
//! exists. What cannot be listed, or not be told apart, is refused.
//!
//! Acting goes through the directory that was listed ([`Gate::open`](super::gate::Gate::open)), so
//! that no other one can take its place in between. Within it, the name of something excepted cannot
//! be changed by a guest; and since exceptions cover all names that fold to theirs
//! ([`FoldedExceptions`]), nothing is won by being faster than this look either.
//!
//! Not looked at, since it is known: the names that the policy itself has written out on the way to its
//! grants, which were resolved when it was read; and what lies where the policy makes no difference
//! between names.

use super::gate::{Denial, Fault, Place, Verdict};
use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno as Native;
use sandbox_policy::access::Operation;
use sandbox_policy::folded::{FoldedExceptions, Hidden, key};
use sandbox_policy::{Component, Decider, GrantPattern, PathBase, PathPattern, Policy};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Why something is refused whose name is not known.
const UNLISTED: &str =
    "the directory may ignore case and cannot be listed, so its own name for this is not known";
const UNCLEAR: &str = "the directory finds it by another name and does not tell by which";
const RENAMED: &str = "the directory would have it under another name than this";

/// What is known of them for one guest.
#[derive(Debug, Default)]
pub struct Folding {
    /// Beneath these, absolute as the guest names them, a name may be folded.
    places: Vec<Vec<u8>>,
    /// Paths that the policy has written out.
    named: BTreeSet<Vec<u8>>,
    exceptions: Option<FoldedExceptions>,
    envelope: Option<FoldedExceptions>,
}

impl Folding {
    /// For a guest with this policy, and in an audit this envelope.
    pub fn new(places: Vec<Vec<u8>>, policy: &Policy, audit: Option<&Policy>) -> Self {
        if places.is_empty() {
            return Self::default();
        }
        let mut named = BTreeSet::new();
        let mut name = |path: &[u8]| {
            let ends = (1..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
            named.extend(ends.map(|end| path[..end].to_vec()));
        };
        for grant in &policy.grants {
            // What leads elsewhere by a link or by another name stands for nothing by itself.
            match (&grant.target, &grant.pattern) {
                (Some(path), _) | (None, GrantPattern::Path(path)) => name(&literal(path)),
                _ => {}
            }
        }
        policy.links.iter().for_each(|link| name(link));
        name(&policy.current_dir);
        Self {
            places,
            named,
            exceptions: Some(FoldedExceptions::new(policy)),
            envelope: audit.map(FoldedExceptions::new),
        }
    }

    /// Whether a name in this path may be another name of something.
    pub(crate) fn concerns(&self, path: &[u8]) -> bool {
        self.places.iter().any(|place| is_beneath(path, place))
    }

    /// Whether an exception covers what this path folds to.
    pub(crate) fn excepts(&self, operation: Operation, path: &[u8]) -> Option<Verdict> {
        let excepted = self.exceptions.as_ref()?.excepts(operation, path)?;
        Some(match excepted {
            Ok(exception) => Verdict::Denied(Some(exception)),
            Err(Hidden) => Verdict::Hidden,
        })
    }

    /// The same for what an audit lets through.
    pub(crate) fn is_outside_of_audit(&self, operation: Operation, path: &[u8]) -> bool {
        let envelope = || self.envelope.as_ref()?.excepts(operation, path);
        self.concerns(path) && envelope().is_some()
    }
}

/// Whether `path` lies beneath `place`.
pub fn is_beneath(path: &[u8], place: &[u8]) -> bool {
    place == b"/" || path.strip_prefix(place).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// The beginning of a pattern that is written out.
fn literal(pattern: &PathPattern) -> Vec<u8> {
    let mut path = Vec::new();
    if pattern.base == PathBase::Root {
        for component in &pattern.components {
            let Component::Literal(name) = component else { break };
            path.push(b'/');
            path.extend_from_slice(name);
        }
    }
    path
}

/// A path that was looked at, while it is acted on.
#[derive(Debug)]
pub(crate) struct Pin {
    path: Vec<u8>,
    /// What holds the last component; or why it was not come to, which any act is answered.
    directory: Result<Arc<OwnedFd>, Native>,
    /// The directory has no such name.
    absent: bool,
    /// Nothing may be done with it.
    refused: Option<&'static str>,
    /// And that is why something was not done that is allowed by the text.
    decided: Cell<bool>,
}

impl Pin {
    pub(crate) fn is_of(&self, path: &[u8]) -> bool {
        self.path == path
    }

    /// Whether nothing may be done with it, whatever its text allows.
    pub(crate) fn refuses(&self) -> bool {
        self.decided.set(self.refused.is_some());
        self.refused.is_some()
    }

    /// Why it was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refused.filter(|_| self.decided.get())
    }

    pub(crate) fn directory(&self) -> Result<Arc<OwnedFd>, Native> {
        self.directory.clone()
    }

    /// Opens it, as [`Gate::open`](super::gate::Gate::open) does.
    pub(crate) fn open(&self, flags: OFlags, bits: Bits) -> Result<OwnedFd, Native> {
        let directory = self.directory()?;
        if self.absent && !flags.contains(OFlags::CREATE | OFlags::EXCL) {
            return Err(Native::NOENT);
        }
        let literal = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(directory, last(&self.path), flags, bits, literal)
    }
}

fn last(path: &[u8]) -> &[u8] {
    &path[path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)..]
}

/// Replaces `path` by what the directories on its way call it. `None`: nothing is to be looked at. `open` opens a
/// directory without following a link, and `tells_apart` says whether the decision about something in one depends
/// on how it is called.
pub(crate) fn look(
    folding: &Folding,
    path: &mut Vec<u8>,
    open: &dyn Fn(&[u8]) -> Result<OwnedFd, Native>,
    tells_apart: &dyn Fn(&[u8]) -> bool,
) -> Option<Pin> {
    let concerned = folding.places.iter().filter(|place| is_beneath(path, place));
    // The outermost of them: what lies above tells its names apart.
    let place = concerned.min_by_key(|place| place.len())?;
    let mut known = if place == b"/" { Vec::new() } else { place.clone() };
    let text = path.split_off(known.len() + 1);
    let mut rest = text.split(|byte| *byte == b'/');
    // Not opened before something in it is to be looked at.
    let mut directory: Option<Result<Arc<OwnedFd>, Native>> = None;
    let (mut absent, mut refused, mut apart) = (false, None, true);
    while let Some(name) = rest.next() {
        let above = known.len();
        known.push(b'/');
        known.extend_from_slice(name);
        let open = |path: &[u8]| open(path).map(Arc::new);
        if matches!(directory, Some(Err(_))) {
            continue;
        }
        if !folding.named.contains(&known) {
            apart = tells_apart(&known[..above.max(1)]);
            if !apart {
                known.extend(rest.flat_map(|name| [b"/", name].concat()));
                break;
            }
            let within =
                directory.get_or_insert_with(|| open(if above == 0 { b"/" } else { &known[..above] }));
            match within.as_ref().map(|within| own_name(within.as_fd(), name)) {
                Ok(Own::Other(own)) => {
                    known.truncate(above + 1);
                    known.extend_from_slice(&own);
                }
                Ok(Own::Absent) => absent = true,
                Ok(Own::Unknown(why)) => (refused, directory) = (Some(why), Some(Err(Native::ACCESS))),
                Ok(Own::Failed(native)) => directory = Some(Err(native)),
                Ok(Own::Same) | Err(_) => {}
            }
        }
        let is_last = rest.clone().next().is_none();
        if is_last && directory.is_none() {
            directory = Some(open(if above == 0 { b"/" } else { &known[..above] }));
        } else if let (Some(Ok(within)), false) = (&directory, is_last) {
            let next = if absent { Err(Native::NOENT) } else { enter(within, last(&known)).map(Arc::new) };
            directory = Some(next);
        }
    }
    path.clone_from(&known);
    let directory = directory.unwrap_or(Err(Native::NOENT));
    apart.then_some(Pin { path: known, directory, absent, refused, decided: Cell::new(false) })
}

/// Opens a directory on the way. A link is what the resolver follows, and comes back with where it leads:
/// `ELOOP`, as from the kernel.
fn enter(directory: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Native> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Bits::empty()).map_err(|native| {
        let is_link = || {
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok::<_, Native>(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        if native == Native::NOTDIR && is_link() == Ok(true) { Native::LOOP } else { native }
    })
}

/// What a directory itself calls something.
#[derive(Debug, PartialEq, Eq)]
enum Own {
    /// By just that name.
    Same,
    Other(Vec<u8>),
    /// It has nothing of that name or any like it.
    Absent,
    Unknown(&'static str),
    /// It cannot be looked into.
    Failed(Native),
}

/// The name that `directory` has for what it finds as `name`.
fn own_name(directory: BorrowedFd<'_>, name: &[u8]) -> Own {
    let look = |name: &[u8]| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let found = match look(name) {
        Ok(found) => found,
        Err(Native::NOENT | Native::NAMETOOLONG | Native::INVAL | Native::ILSEQ) => return Own::Absent,
        Err(native) => return Own::Failed(native),
    };
    let mut alike = Vec::new();
    let listed = list(directory, |entry, inode| {
        if inode == found.st_ino {
            alike.push(entry.to_vec());
        }
        entry == name
    });
    match listed {
        Err(_) => return Own::Unknown(UNLISTED),
        Ok(true) => return Own::Same,
        Ok(false) => {}
    }
    let is_it = |stat: Stat| stat.st_ino == found.st_ino && stat.st_dev == found.st_dev;
    if alike.len() > 1 {
        // One file may have several names in here.
        let like = key(name);
        alike.retain(|own| key(own) == like);
    }
    match alike.as_mut_slice() {
        [own] if look(own).is_ok_and(is_it) => Own::Other(std::mem::take(own)),
        _ => Own::Unknown(UNCLEAR),
    }
}

/// The name that the directory of a path has itself for what is there, if that is another one.
pub fn other_name(path: &std::path::Path) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path.parent()?, flags, Bits::empty()).ok()?;
    match own_name(directory.as_fd(), path.file_name()?.as_encoded_bytes()) {
        Own::Other(own) => Some(own),
        _ => None,
    }
}

/// Calls `found` with each name and inode number until it says `true`. Whether it did.
fn list(directory: BorrowedFd<'_>, mut found: impl FnMut(&[u8], u64) -> bool) -> Result<bool, Native> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, c".", flags, Bits::empty())?;
    let mut buffer = Vec::<u8>::with_capacity(32 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if found(entry.file_name().to_bytes(), entry.ino()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// After something was made: whether its directory has it under the name that was decided on. If not, it
/// is taken back. With what is known of its path, if it lies beneath a folding directory.
pub(crate) fn made(
    pin: Option<&Pin>,
    place: Place<'_>,
    take_back: impl FnOnce(&OwnedFd, &[u8]),
) -> Result<(), Fault> {
    let Some(Ok(directory)) = pin.map(Pin::directory) else { return Ok(()) };
    let name = last(place.path);
    if list(directory.as_fd(), |entry, _| entry == name) == Ok(true) {
        return Ok(());
    }
    take_back(&directory, name);
    Err(Denial::noted(Operation::Create, place.path, None, RENAMED.to_owned()))
}

/// Takes back a file or link, or a directory.
pub(crate) fn remove(flags: AtFlags) -> impl FnOnce(&OwnedFd, &[u8]) {
    move |directory, name| {
        // What stays is empty, or what the guest may have made under any name.
        let _ = rustix::fs::unlinkat(directory, name, flags);
    }
}

/// Whether names in a directory are decided differently.
pub(crate) fn tells_apart(decider: &Decider, audit: Option<&Decider>, directory: &[u8]) -> bool {
    decider.tells_apart_in(directory) || audit.is_some_and(|audit| audit.tells_apart_in(directory))
}

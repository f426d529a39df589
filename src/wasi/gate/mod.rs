//! The gate: every access of the guest to something with a name passes through here.
//!
//! Resolve, decide, act, on the same file. [`Gate::locate`] tries the path as it is written: it is
//! decided on its text, and then acted on with [`Gate::open`], which refuses every symbolic link,
//! so that success proves that what was opened is what was decided. Only when the kernel meets a
//! link, or the path contains `..`, or its text is denied, the resolver (see
//! [`resolve`](super::resolve)) works out where it leads, and that path is tried in the same way.
//! The resolver only ever proposes; nothing is acted on but through the first way.

mod locate;
mod mounts;
mod parts;

pub(crate) use super::fault::{Denial, Excuse, Fault};
pub(crate) use parts::{Parent, Place, Target, Verdict, beneath};
pub use parts::{real_root, root_at};

use super::cwd_cache::CwdCache;
use super::folding::{self, Folding, Pin};
use super::turns::{Turn, Turns};
use super::types::Errno;
use super::{Mode, Sink};
use rustix::fs::{Access as Permission, AtFlags, Mode as Bits, OFlags, ResolveFlags, Stat};
use rustix::io::Errno as Native;
use sandbox_policy::access::{Decision, GrantId, Operation, Resource, Wall};
use sandbox_policy::{
    Component, Decider, ExceptionKind, GrantPattern, MountPoint, PathPattern, Policy, Recent,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What decides, and through which all files are opened.
pub(crate) struct Gate {
    pub(crate) mode: Mode,
    pub(crate) sink: Box<dyn Sink>,
    root: Arc<OwnedFd>,
    turns: Arc<Turns>,
    cwd_cache: Option<Box<CwdCache>>,
    policy: Policy,
    decider: Decider,
    recent: RefCell<Recent>,
    audit: Option<Decider>,
    folding: Folding,
    /// Paths beneath folding directories that are being acted on, the newest last.
    pins: Vec<Pin>,
    hides: bool,
    uses: Vec<u64>,
    /// The crate that the current call comes from, once it was asked for.
    pub(crate) origin: Option<Option<String>>,
    /// Accesses of the current call that were reported and are let through (`--audit`).
    excused: Vec<(Operation, Vec<u8>)>,
    /// The same of its move as a whole.
    excused_move: bool,
    /// The mounts by which the guest came somewhere; those of them that the sink is not told of yet.
    mounted: RefCell<BTreeSet<MountPoint>>,
    untold: RefCell<Vec<MountPoint>>,
    scratch: Vec<u8>,
}

impl Gate {
    pub(crate) fn new(
        policy: Policy,
        (mode, audit): (Mode, Option<Decider>),
        root: OwnedFd,
        alone: bool,
        turns: Arc<Turns>,
        folding: Folding,
        sink: Box<dyn Sink>,
    ) -> Self {
        let cwd_cache =
            (alone && mode != Mode::Off).then(|| CwdCache::new(root.as_fd())).flatten().map(Box::new);
        let highest = policy.grants.iter().map(|grant| grant.id.0 as usize + 1).max().unwrap_or(0);
        Self {
            mode,
            sink,
            root: Arc::new(root),
            turns,
            cwd_cache,
            decider: Decider::new(&policy),
            recent: RefCell::default(),
            audit,
            folding,
            pins: Vec::new(),
            hides: policy.exceptions.iter().any(|exception| exception.kind == ExceptionKind::Hide),
            uses: vec![0; highest],
            policy,
            origin: None,
            excused: Vec::new(),
            excused_move: false,
            mounted: RefCell::default(),
            untold: RefCell::default(),
            scratch: Vec::with_capacity(256),
        }
    }

    /// How often each grant was used, by its id.
    pub(crate) fn uses(&self) -> &[u64] {
        &self.uses
    }

    /// Whether the policy hides anything, so that listings have to be looked through.
    pub(crate) fn hides(&self) -> bool {
        self.hides && self.mode != Mode::Off
    }

    /// Decides without reporting and without counting a use.
    pub(crate) fn peek(&self, operation: Operation, path: &[u8]) -> Result<Verdict, Fault> {
        if self.mode == Mode::Off {
            return Ok(Verdict::Allowed(None));
        }
        let mut decision = self.decider.decide_again(operation, path, &mut self.recent.borrow_mut());
        if decision == Decision::DependsOnOrigin {
            decision = match &self.origin {
                None => return Err(Fault::NeedsOrigin),
                Some(None) => Decision::Denied(None),
                Some(Some(krate)) => self.decider.decide_by(operation, &Resource::Path(path.to_vec()), krate),
            };
        }
        if self.folding.concerns(path)
            && let Some(verdict) = self.folded(operation, path, &decision)
        {
            return Ok(verdict);
        }
        Ok(match decision {
            Decision::Allowed(Some(_)) if self.strays(path) && !self.is_excused(operation, path) => {
                Verdict::Denied(None)
            }
            Decision::Allowed(grant) => Verdict::Allowed(grant),
            Decision::Hidden(_) => Verdict::Hidden,
            Decision::Denied(_) if self.is_excused(operation, path) => Verdict::Allowed(None),
            Decision::Denied(exception) => Verdict::Denied(exception),
            Decision::DependsOnOrigin => Verdict::Denied(None),
        })
    }

    /// What stands in the way of an access beneath a folding directory that is allowed by its text.
    fn folded(&self, operation: Operation, path: &[u8], decision: &Decision) -> Option<Verdict> {
        let excused = self.is_excused(operation, path);
        if !matches!(decision, Decision::Allowed(_)) && !excused {
            return None;
        }
        if self.pin(path).is_some_and(Pin::refuses) {
            return Some(Verdict::Denied(None));
        }
        self.folding.excepts(operation, path).filter(|_| !excused)
    }

    /// Decides; what is not allowed ends the call.
    pub(crate) fn check(&mut self, operation: Operation, path: &[u8]) -> Result<Option<GrantId>, Fault> {
        match self.peek(operation, path)? {
            Verdict::Allowed(grant) => {
                self.count(grant);
                Ok(grant)
            }
            Verdict::Denied(exception) => Err(Denial::of(operation, path, exception)),
            Verdict::Hidden => Err(Errno::NOENT.into()),
        }
    }

    /// Decides whether the guest may learn the value of an environment variable that it asks for.
    pub(crate) fn check_env(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.mode == Mode::Off {
            return Ok(());
        }
        let resource = Resource::Env(name.to_vec());
        let mut decision = self.decider.decide(Operation::EnvRead, &resource);
        if decision == Decision::DependsOnOrigin {
            decision = match &self.origin {
                None => return Err(Fault::NeedsOrigin),
                Some(None) => Decision::Denied(None),
                Some(Some(krate)) => self.decider.decide_by(Operation::EnvRead, &resource, krate),
            };
        }
        match decision {
            Decision::Allowed(grant) => self.count(grant),
            Decision::Hidden(_) => {}
            _ if self.is_excused(Operation::EnvRead, name) => {}
            Decision::Denied(_) | Decision::DependsOnOrigin => {
                let exception = if let Decision::Denied(exception) = decision { exception } else { None };
                return Err(Fault::Denied(Box::new(Denial {
                    operation: Operation::EnvRead,
                    resource,
                    exception,
                    wall: Wall::Wasi,
                    note: String::new(),
                    excuse: Excuse::ByAccess,
                })));
            }
        }
        Ok(())
    }

    /// Counts a use of a grant; the first one is told to the sink.
    pub(crate) fn count(&mut self, grant: Option<GrantId>) {
        let Some(grant) = grant else { return };
        if let Some(uses) = self.uses.get_mut(grant.0 as usize) {
            *uses += 1;
            if *uses == 1 {
                self.sink.used(grant);
            }
        }
    }

    /// Whether `path` may be known as a step on the way to something.
    pub(crate) fn is_on_the_way(&self, path: &[u8]) -> bool {
        self.mode == Mode::Off
            || path == b"/"
            || (self.decider.is_on_the_way(path) && !self.is_shut_when_folded(path))
            || self.is_excused_beneath(path)
            || self.leads_to_mount(path)
    }

    /// Whether the link at `path` may be followed.
    pub(crate) fn may_follow(&self, path: &[u8]) -> bool {
        self.mode == Mode::Off
            || (self.decider.may_follow(path) && !self.is_shut_when_folded(path))
            || self.is_excused_beneath(path)
    }

    /// Whether an exception covers another spelling of this path, where names may be folded.
    pub(crate) fn is_shut_when_folded(&self, path: &[u8]) -> bool {
        self.folding.concerns(path) && self.folding.excepts(Operation::Stat, path).is_some()
    }

    /// The policy alone, and what an audit lets through besides it.
    pub(crate) fn deciders(&self) -> (&Decider, Option<&Decider>) {
        (&self.decider, self.audit.as_ref().filter(|_| self.mode == Mode::Audit))
    }

    /// Whether `grant` names exactly this path, neither a pattern nor a directory above it.
    pub(crate) fn is_exact(&self, grant: Option<GrantId>, path: &[u8]) -> bool {
        let Some(grant) = grant.and_then(|id| self.policy.grants.iter().find(|grant| grant.id == id)) else {
            return self.mode == Mode::Off;
        };
        let names = |pattern: &PathPattern| {
            let mut components = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
            pattern.components.iter().all(
                |component| matches!(component, Component::Literal(name) if components.next() == Some(name)),
            ) && components.next().is_none()
        };
        matches!(&grant.pattern, GrantPattern::Path(pattern) if names(pattern))
            || grant.target.as_ref().is_some_and(names)
    }

    fn is_excused(&self, operation: Operation, name: &[u8]) -> bool {
        self.excused.iter().any(|(excused, path)| *excused == operation && path == name)
    }

    fn is_excused_beneath(&self, prefix: &[u8]) -> bool {
        self.excused.iter().any(|(_, path)| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
        })
    }

    /// After a violation was reported: whether the call may be tried again, because this is an
    /// audit and its envelope has the access.
    pub(crate) fn excuse(&mut self, denial: &Denial) -> bool {
        let Some(audit) = &self.audit else { return false };
        let name = denial.resource.bytes();
        if denial.excuse != Excuse::ByAccess {
            self.excused_move = denial.excuse == Excuse::Move;
            return self.excused_move;
        }
        if self.mode != Mode::Audit
            || denial.wall != Wall::Wasi
            || self.is_excused(denial.operation, name)
            || !matches!(audit.decide(denial.operation, &denial.resource), Decision::Allowed(_))
            || self.folding.is_outside_of_audit(denial.operation, name)
        {
            return false;
        }
        self.excused.push((denial.operation, name.to_vec()));
        true
    }

    /// Whether this access of the current call was denied, reported and then let through.
    pub(crate) fn was_excused(&self, operation: Operation, path: &[u8]) -> bool {
        self.is_excused(operation, path)
    }

    /// Whether the move of the current call was denied, reported and then let through.
    pub(crate) fn was_excused_move(&self) -> bool {
        self.excused_move
    }

    /// Forgets what belongs to one call.
    pub(crate) fn end_call(&mut self) {
        self.origin = None;
        self.excused_move = false;
        self.excused.clear();
    }

    /// What is known of a path that is being acted on, if it lies beneath a folding directory.
    pub(crate) fn pin(&self, path: &[u8]) -> Option<&Pin> {
        self.pins.iter().rev().find(|pin| pin.is_of(path))
    }

    /// Whether the decision about something beneath a directory depends on how it is called.
    pub(crate) fn tells_apart_in(&self, directory: &[u8]) -> bool {
        folding::tells_apart(&self.decider, self.audit.as_ref(), directory)
    }

    /// Opens the path itself: `ELOOP` if any component is a link, unless it is the last one and
    /// `flags` say `PATH | NOFOLLOW`.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags, bits: Bits) -> Result<OwnedFd, Native> {
        let flags = flags | OFlags::CLOEXEC;
        if self.mode == Mode::Off {
            return rustix::fs::openat(&self.root, beneath(path), flags, bits);
        }
        // Unlike its elder, this call refuses permission bits where nothing can be created.
        let bits = if flags.contains(OFlags::CREATE) { bits } else { Bits::empty() };
        // Without links and `..` there is no way out of the root. `BENEATH` would say so once
        // more, for a tenth of the time of a `stat`; that a path has no `..` is what its decision
        // relies on too.
        if let Some(pin) = self.pin(path) {
            return pin.open(flags, bits);
        }
        let literal = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, beneath(path), flags, bits, literal)
    }

    /// Opens the path without any right to its contents; no wall but this one cares.
    pub(crate) fn open_path(&self, path: &[u8], follow: bool, directory: bool) -> Result<OwnedFd, Native> {
        let mut flags = OFlags::PATH;
        flags.set(OFlags::NOFOLLOW, !follow);
        flags.set(OFlags::DIRECTORY, directory);
        self.open(path, flags, Bits::empty())
    }

    /// Metadata of what is at the path.
    pub(crate) fn stat(&mut self, place: Place<'_>) -> Result<Stat, Native> {
        if self.pin(place.path).is_none()
            && let Some(mut cwd_cache) = self.cwd_cache.take()
        {
            let seen = cwd_cache.stat(place, |directory| self.open_path(directory, true, true).ok());
            self.cwd_cache = Some(cwd_cache);
            if let Some(seen) = seen {
                return seen;
            }
        }
        rustix::fs::fstat(self.open_path(place.path, place.follow, place.directory)?)
    }

    /// The directory that holds the last component, and that component: what `*at` calls that
    /// change a directory need. What such a call changes is an entry of the directory that was at
    /// the decided path when it was opened here, an instant before.
    pub(crate) fn parent<'a>(&self, place: Place<'a>) -> Result<(Parent, &'a [u8]), Fault> {
        let slash = place.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let name = &place.path[slash + 1..];
        let parent = if let Some(pin) = self.pin(place.path) {
            Parent::Held(pin.directory()?)
        } else if slash == 0 {
            Parent::Held(Arc::clone(&self.root))
        } else {
            Parent::Opened(self.open_path(&place.path[..slash], true, true)?)
        };
        Ok((parent, name))
    }

    /// Whether what [`parent`](Self::parent) has opened is still where it was: what was made in it
    /// is elsewhere if somebody has moved it meanwhile.
    pub(crate) fn is_still_there(&self, parent: &Parent, place: Place<'_>) -> bool {
        let slash = place.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if self.mode == Mode::Off || slash == 0 {
            return true;
        }
        let identity = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        // By its path, whatever is known of that: the question is what the path leads to now.
        let now = self.open_path(&place.path[..slash], true, true);
        now.is_ok_and(|now| identity(now.as_fd()) == identity(parent.as_fd()))
    }

    /// To be held from before the look at a directory until a name in it was made or removed: no guest of this
    /// command moves anything meanwhile.
    pub(crate) fn turn_to_make(&self) -> Result<Option<Turn>, Native> {
        if self.mode == Mode::Off { Ok(None) } else { self.turns.together().map(Some) }
    }

    /// To be held while something that exists is given another name: no guest of this command makes, removes or
    /// moves anything meanwhile.
    pub(crate) fn turn_to_move(&self) -> Result<Option<Turn>, Native> {
        if self.mode == Mode::Off { Ok(None) } else { self.turns.alone().map(Some) }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What to make of the kernel's refusal of something that the policy allows. Landlock does
    /// not take part in `faccessat`: if that would allow it, Landlock was it.
    pub(crate) fn refused(&self, native: Native, operation: Operation, path: &[u8]) -> Fault {
        if native != Native::ACCESS {
            return native.into();
        }
        let parent = || {
            let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            &path[..slash.max(1)]
        };
        let (place, permission) = match operation {
            Operation::Read | Operation::List => (path, Permission::READ_OK),
            Operation::Modify => (path, Permission::WRITE_OK),
            Operation::Create | Operation::Delete => {
                (parent(), Permission::WRITE_OK.union(Permission::EXEC_OK))
            }
            Operation::Stat | Operation::EnvRead => return native.into(),
        };
        match rustix::fs::accessat(&self.root, beneath(place), permission, AtFlags::EACCESS) {
            Ok(()) => self.landlock(operation, path),
            Err(_) => native.into(),
        }
    }

    /// A violation that Landlock stopped.
    pub(crate) fn landlock(&self, operation: Operation, path: &[u8]) -> Fault {
        Fault::Denied(Box::new(Denial {
            operation,
            resource: Resource::Path(path.to_vec()),
            exception: None,
            wall: Wall::Landlock,
            note: String::new(),
            excuse: Excuse::Never,
        }))
    }
}

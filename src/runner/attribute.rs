//! From a violation as the worker saw it to one a person can act on: which line of which crate did
//! it, and which line of TOML would allow it.

use super::source::read_snippet;
use crate::cargo::owner::{Packages, of_registry};
use crate::compile::ModuleInfo;
use crate::event::{GrantPlace, GrantUse, GuestOutcome, Snippet, Violation};
use crate::symbols::{self, UnsupportedCall};
use sandbox_policy::access::{Evidence, Frame, Origin, RawFrame, RawViolation};
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use sandbox_policy::{PackagePolicy, Provenance, Suggestion};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is asked to find symbols: raw frames in, their source-level frames out, in the same order.
pub type Symbolise<'a> = dyn FnMut(&[RawFrame]) -> Vec<Vec<Frame>> + 'a;

/// Turns the violations of one artifact into words.
pub struct Attribution<'a> {
    /// The policy that was violated.
    pub policy: &'a PackagePolicy,
    /// The manifest as shown, such as `crates/a/Cargo.toml`.
    pub manifest: String,
    /// The workspace root: what shown paths are relative to.
    pub workspace: &'a Path,
    /// Everything cargo knows of; asked for only once there is a violation.
    pub packages: &'a Packages,
    /// Violations were let through.
    pub audit: bool,
    known: HashMap<RawFrame, Vec<Frame>>,
    /// Bytes of backtraces that may still be told.
    room: Cell<usize>,
    snippets: RefCell<HashMap<(String, u32, u32), Option<Snippet>>>,
}

/// Frames that are told of one backtrace, inlined calls among them.
const MOST_FRAMES: usize = 256;
/// Bytes of all backtraces that are told of one artifact. What comes after keeps its origin: debug
/// information can give every frame names of a kilobyte, and a guest can make thousands of violations.
const MOST_BYTES: usize = 64 << 20;

impl<'a> Attribution<'a> {
    /// Nothing is known of any frame yet.
    pub fn new(
        policy: &'a PackagePolicy,
        manifest: String,
        workspace: &'a Path,
        packages: &'a Packages,
        audit: bool,
    ) -> Self {
        Self {
            policy,
            manifest,
            workspace,
            packages,
            audit,
            known: HashMap::new(),
            room: Cell::new(MOST_BYTES),
            snippets: RefCell::default(),
        }
    }

    /// Finds the symbols of all these backtraces at once, as far as they are not known.
    pub fn learn<'f>(
        &mut self,
        backtraces: impl Iterator<Item = &'f [RawFrame]>,
        symbolise: &mut Symbolise<'_>,
    ) {
        let mut wanted: Vec<RawFrame> = backtraces.flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|frame| !self.known.contains_key(frame));
        if !wanted.is_empty() {
            let found = symbolise(&wanted);
            self.known.extend(wanted.into_iter().zip(found));
        }
    }

    /// All source-level frames of a backtrace, innermost first.
    pub fn frames(&self, backtrace: &[RawFrame]) -> Vec<Frame> {
        backtrace.iter().filter_map(|raw| self.known.get(raw)).flatten().take(MOST_FRAMES).cloned().collect()
    }

    /// The backtrace as it is told: nothing once there was too much of it.
    fn told(&self, backtrace: Vec<Frame>) -> Vec<Frame> {
        let size = |f: &Frame| size_of::<Frame>() + f.krate.len() + f.function.len() + f.file.len();
        let left = self.room.get().checked_sub(backtrace.iter().map(size).sum());
        self.room.set(left.unwrap_or(0));
        if left.is_some() { backtrace } else { Vec::new() }
    }

    /// The origin of a backtrace, with its package as cargo names it.
    pub fn origin(&self, frames: &[Frame]) -> Option<Origin> {
        let frame = frames[symbols::origin(frames)?].clone();
        let owner = self.packages.owner_of(&frame.file, &frame.krate);
        let owner = owner.map(|package| (package.name.as_str(), package.version.as_str()));
        let (package, version) = match owner.or_else(|| of_registry(&frame.file)) {
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
            None => (frame.krate.clone(), None),
        };
        Some(Origin { package, version, frame })
    }

    /// The violation in words. Its [`stack`] must have been [learned](Self::learn).
    pub fn violation(
        &self,
        raw: &RawViolation,
        count: u64,
        test: Option<&str>,
        suggestion: Option<Suggestion>,
    ) -> Violation {
        let (origin, evidence) = match &raw.evidence {
            Evidence::Wasm(frames) => {
                let backtrace = self.frames(frames);
                (self.origin(&backtrace), Evidence::Wasm(self.told(backtrace)))
            }
        };
        let exception = raw.exception.and_then(|id| self.policy.exceptions.get(id.0 as usize));
        Violation {
            access: raw.access.clone(),
            wall: raw.wall,
            package: self.policy.package.clone(),
            exception: exception.map(|exception| place(&exception.provenance, self.workspace)),
            note: raw.note.clone(),
            count,
            test: test.map(str::to_owned),
            snippet: origin.as_ref().and_then(|origin| self.snippet(&origin.frame)),
            origin,
            evidence,
            suggestion,
            allowed: self.audit,
        }
    }

    /// Each line is read once, however often a guest comes by it.
    fn snippet(&self, frame: &Frame) -> Option<Snippet> {
        let place = (frame.file.clone(), frame.line, frame.column);
        let mut snippets = self.snippets.borrow_mut();
        let read = |(file, line, column): &(String, u32, u32)| {
            let roots: Vec<PathBuf> = self.packages.iter().map(|package| package.root.clone()).collect();
            read_snippet(&roots, self.workspace, Path::new(file), *line, *column)
        };
        snippets.entry(place).or_insert_with_key(read).clone()
    }
}

/// The frames of a violation whose symbols are to be found.
pub fn stack(raw: &RawViolation) -> &[RawFrame] {
    match &raw.evidence {
        Evidence::Wasm(frames) => frames,
    }
}

/// Where something was written, as shown.
pub fn place(provenance: &Provenance, workspace: &Path) -> GrantPlace {
    let file = provenance.file.strip_prefix(workspace).unwrap_or(&provenance.file);
    GrantPlace {
        manifest: file.to_string_lossy().into_owned(),
        line: provenance.line,
        table: provenance.table.clone(),
        key: provenance.key.clone(),
        text: provenance.text.clone(),
    }
}

/// The grants that applied, with how often each was used.
pub fn grant_uses(
    policy: &sandbox_policy::Policy,
    uses: &std::collections::BTreeMap<sandbox_policy::access::GrantId, u64>,
    workspace: &Path,
) -> Vec<GrantUse> {
    policy
        .grants
        .iter()
        .map(|grant| GrantUse {
            id: grant.id.0,
            place: place(&grant.provenance, workspace),
            by: grant.by.clone(),
            uses: uses.get(&grant.id).copied().unwrap_or(0),
        })
        .collect()
}

/// Notes of how a run went beyond its outcome.
pub fn run_notes(note: &str, overflow: u64, limits: &[String]) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    if !note.is_empty() {
        notes.push(Diagnostic::new(Severity::Note, "", note));
    }
    if overflow > 0 {
        let message = format!("{overflow} more unexpected accesses were too many to tell apart");
        notes.push(Diagnostic::warning("", message));
    }
    for limit in limits {
        notes.push(Diagnostic::new(Severity::Note, "", format!("the guest reached its limit `{limit}`")));
    }
    notes
}

/// What is said where a worker failed after its guest had begun: an error, which makes it the status of a target.
pub fn fault_note(why: String) -> Diagnostic {
    Diagnostic::error("fault", format!("a worker failed: {why}"))
        .note("what is reported is what was heard until then")
}

/// Where a trap happened.
pub fn trap_note(outcome: &GuestOutcome, origin: &Origin) -> Diagnostic {
    let GuestOutcome::Trapped(why) = outcome else { return Diagnostic::new(Severity::Note, "", "") };
    let frame = &origin.frame;
    let place = if frame.line > 0 { format!(" at {}:{}", frame.file, frame.line) } else { String::new() };
    Diagnostic::new(Severity::Note, "trap", format!("{why} in `{}`{place}", frame.function))
}

/// The code of [`unsupported_notes`].
pub const UNSUPPORTED: &str = "unreachable-call";

/// What the program contains that can never reach the host: it fails inside the guest, where no
/// wall sees it.
pub fn unsupported_notes(module_info: &ModuleInfo) -> Vec<Diagnostic> {
    module_info.unsupported_calls.iter().map(unsupported_note).collect()
}

fn unsupported_note(call: &UnsupportedCall) -> Diagnostic {
    let mut callers: Vec<String> =
        call.callers.iter().map(|caller| format!("`{}`", caller.function)).collect();
    callers.dedup();
    callers.truncate(3);
    let message = format!(
        "{} calls `{}`, which cannot reach the host on wasip1: it fails inside the guest",
        callers.join(", "),
        call.function
    );
    Diagnostic::new(Severity::Note, UNSUPPORTED, message)
}

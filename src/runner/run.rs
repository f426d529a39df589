//! One run of one program: `sandbox-run`, and `runner` for an artifact from elsewhere.

use super::attribute::{Attribution, grant_uses};
use super::interrupt::Interrupt;
use super::target::Target;
use super::tmp::TmpRoot;
use super::{Failure, Guest, Setup, attribute, environment};
use crate::audit::envelope::{beneath, envelope, let_through, tmp_as_text, with_tmp_view};
use crate::cargo::owner::Packages;
use crate::event::{GuestOutcome, KernelReport, TargetReport, Violation};
use crate::worker::protocol::{Confinement, RunTask};
use crate::worker::supervisor::{
    Launcher, RunEnd, RunJob, RunListener, RunResult, Symboliser, real_root, root_at,
};
use sandbox_policy as policy;
use sandbox_policy::access::{Access, RawFrame, RawViolation};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::{
    Bindings, Decider, GrantPattern, PackagePolicy, PathBase, Places, Policy, Suggestion, TargetKind,
};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose permissions apply, and what is shown of them.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The permissions.
    pub policy: &'a PackagePolicy,
    /// Canonical.
    pub places: &'a Places,
    /// The manifest as shown: `crates/a/Cargo.toml`.
    pub manifest: String,
    /// Package name.
    pub package: String,
    /// Package version.
    pub version: String,
    /// What cargo sets in the environment of a program or test that it runs.
    pub cargo_env: Vec<(String, String)>,
}

impl Subject<'_> {
    /// Names an artifact of its package.
    pub(super) fn target<'a>(&'a self, name: &'a str, kind: &'a str, artifact: &'a Path) -> Target<'a> {
        let (package, version) = (&self.package, &self.version);
        Target { package, version, name, kind, artifact, wasi: "p1" }
    }
}

/// What to run.
#[derive(Debug)]
pub struct Program<'a> {
    /// Whose permissions.
    pub subject: Subject<'a>,
    /// The wasm file.
    pub artifact: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Its kind, as far as permissions go.
    pub kind: TargetKind,
    /// Its kind as cargo names it.
    pub cargo_kind: String,
    /// The test, where a runner was asked to run just one.
    pub test: Option<String>,
    /// The guest's current directory; canonical.
    pub current_dir: PathBuf,
    /// What the guest sees as `/`, if that is not the real root.
    pub root: Option<PathBuf>,
    /// The guest's arguments, its name first.
    pub args: Vec<Vec<u8>>,
    /// A time limit besides that of the manifest.
    pub timeout: Option<Duration>,
}

/// What is asked for the packages of a build, once there is something to attribute.
pub type FindPackages<'a> = dyn FnMut() -> Packages + 'a;

/// Whether a policy speaks of `{tmp}`.
pub fn wants_tmp(policy: &PackagePolicy) -> bool {
    policy
        .grants
        .iter()
        .any(|grant| matches!(&grant.pattern, GrantPattern::Path(path) if path.base == PathBase::Tmp))
}

/// The policy of one run or test with what is known only now: the private directory if anything is
/// granted there, and what cargo says in the environment.
pub fn complete(mut policy: Policy, subject: &Subject<'_>, tmp: Option<&Path>) -> Policy {
    let tmp = tmp.filter(|_| wants_tmp(subject.policy));
    let tmp = tmp.map(|tmp| ("TMPDIR".to_owned(), tmp_as_text(tmp)));
    for (name, value) in subject.cargo_env.iter().cloned().chain(tmp) {
        policy.set.entry(name).or_insert(value);
    }
    policy
}

/// How the worker is confined: as the policy says, or in audit within the envelope.
pub fn confinement(
    guest: &Guest,
    setup: &Setup,
    policy: &Policy,
    subject: &Subject<'_>,
    tmp: Option<&Path>,
) -> Confinement {
    let mut confinement = Confinement::new(guest.strategy);
    confinement.landlock = setup.landlock;
    confinement.walls = setup.walls;
    confinement.layout = guest.layout;
    confinement.timings = setup.timings;
    if setup.audit {
        let around = envelope(subject.places, policy, tmp);
        confinement.kernel_policy = Some(around.clone());
        confinement.audit = Some(around);
    }
    confinement
}

/// Runs it with the caller's standard streams.
///
/// # Errors
/// Nothing ran, or what happened cannot be told.
pub fn run(
    program: &Program<'_>,
    guest: Guest,
    launcher: &Launcher,
    setup: &Setup,
    interrupt: &Interrupt,
    find_packages: &mut FindPackages<'_>,
) -> Result<(TargetReport, KernelReport), Failure> {
    let subject = &program.subject;
    let mut tmp_root = if wants_tmp(subject.policy) || setup.audit { Some(TmpRoot::new()?) } else { None };
    let tmp = tmp_root.as_mut().map(TmpRoot::make).transpose()?;
    let bind = Bindings { tmp: tmp.clone(), current_dir: program.current_dir.clone() };
    let audited = setup.audit.then(|| with_tmp_view(subject.policy.clone()));
    let package = audited.as_ref().unwrap_or(subject.policy);
    let mut policy = package.for_target(program.kind, &program.target, program.test.as_deref(), &bind);
    policy.limits.time = [policy.limits.time, program.timeout].into_iter().flatten().min();
    // Beneath another root there is no way to the private directory.
    if program.root.is_some() {
        policy.mounts = Default::default();
    }
    let policy = complete(policy, subject, tmp.as_deref());
    let root = match &program.root {
        None => real_root()?,
        Some(folder) => root_at(folder)?,
    };
    let mut confinement = confinement(&guest, setup, &policy, subject, tmp.as_deref());
    if let Some(folder) = &program.root {
        confinement.kernel_policy =
            Some(beneath(confinement.kernel_policy.as_ref().unwrap_or(&policy), folder));
    }
    let given = confinement.audit.as_ref().unwrap_or(&policy);
    let env = environment(given, &Decider::new(given), tmp.as_deref(), guest.layout);
    let envelope = confinement.audit.as_ref().map(Decider::new);
    let job = RunJob {
        code: guest.code.as_fd(),
        root: root.as_fd(),
        task: RunTask { confinement, policy: policy.clone(), args: program.args.clone(), env },
        grants: subject.policy.grants.len(),
        interrupt: Some(interrupt.as_fd()),
    };
    let mut listener = Listener {
        symboliser: Symboliser::new(launcher, guest.wasm.try_clone()?),
        find_packages,
        packages: None,
        subject,
        kernel: KernelReport::default(),
        envelope,
        warnings: Vec::new(),
    };
    let result = launcher.run(job, &mut listener)?;
    // The guest is dead: its private directory can go before anything else can fail.
    listener.warnings.extend(tmp_root.and_then(TmpRoot::end));
    let target = listener.report(program, &bind, &policy, &guest, result);
    Ok((target, listener.kernel))
}

struct Listener<'a, 'p> {
    symboliser: Symboliser,
    find_packages: &'a mut FindPackages<'p>,
    packages: Option<Packages>,
    subject: &'a Subject<'a>,
    kernel: KernelReport,
    /// What an audit lets through.
    envelope: Option<Decider>,
    warnings: Vec<Diagnostic>,
}

impl RunListener for Listener<'_, '_> {
    fn ready(&mut self, kernel: &KernelReport) {
        self.kernel = kernel.clone();
    }

    fn violation(&mut self, _violation: &RawViolation) {}

    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        let packages = self.packages.get_or_insert_with(|| (self.find_packages)());
        let frames = self.symboliser.symbolise(backtrace).ok()?;
        let attribution = Attribution::new(
            self.subject.policy,
            String::new(),
            &self.subject.places.workspace,
            packages,
            self.envelope.is_some(),
        );
        attribution.origin(&frames.concat()).map(|origin| origin.package)
    }
}

impl Listener<'_, '_> {
    fn report(
        &mut self,
        program: &Program<'_>,
        bind: &Bindings,
        policy: &Policy,
        guest: &Guest,
        result: RunResult,
    ) -> TargetReport {
        let subject = self.subject;
        let workspace = &subject.places.workspace;
        let mut notes = attribute::unsupported_notes(&guest.module_info);
        let (outcome, fault) = match result.end {
            RunEnd::Guest(outcome) => (Some(outcome), None),
            RunEnd::Fault { why, signal } => (signal.map(GuestOutcome::Killed), Some(why)),
            // Only tests are patched, and run again.
            RunEnd::PatchMismatch | RunEnd::Superseded => (None, Some("its guest did not run".to_owned())),
        };
        let trapped = outcome
            .as_ref()
            .filter(|outcome| !result.backtrace.is_empty() && matches!(outcome, GuestOutcome::Trapped(_)));
        let mut violations = Vec::new();
        if result.observed.violated() || trapped.is_some() {
            let packages = self.packages.take().unwrap_or_else(|| (self.find_packages)());
            let manifest = subject.manifest.clone();
            let audit = self.envelope.is_some();
            let mut attribution = Attribution::new(subject.policy, manifest, workspace, &packages, audit);
            let (symboliser, warnings) = (&mut self.symboliser, &mut self.warnings);
            let backtraces =
                result.observed.violations.iter().map(|(violation, _)| attribute::stack(violation));
            attribution.learn(backtraces.chain([&result.backtrace[..]]), &mut |frames| {
                symboliser.symbolise(frames).unwrap_or_else(|warning| {
                    warnings.push(warning);
                    Vec::new()
                })
            });
            for (raw, count) in &result.observed.violations {
                let target = policy::Target {
                    kind: program.kind,
                    name: &program.target,
                    test: program.test.as_deref(),
                    bind,
                    mounted: &result.observed.mounted,
                };
                let envelope = self.envelope.as_ref();
                violations.push(explained(subject, &attribution, envelope, (raw, *count), &target));
            }
            if let Some(outcome) = trapped
                && let Some(origin) = attribution.origin(&attribution.frames(&result.backtrace))
            {
                notes.push(attribute::trap_note(outcome, &origin));
            }
        }
        notes.append(&mut self.warnings);
        notes.extend(attribute::run_notes(&result.note, result.observed.overflow, &result.observed.limits));
        notes.extend(fault.map(attribute::fault_note));
        TargetReport {
            duration: result.duration,
            outcome,
            grants: grant_uses(policy, &result.observed.uses, workspace),
            violations,
            notes,
            ..subject.target(&program.target, &program.cargo_kind, &program.artifact).report()
        }
    }
}

/// A violation in the report's words: whose it is, what would allow it, and whether an audit let it through.
pub(super) fn explained(
    subject: &Subject<'_>,
    attribution: &Attribution<'_>,
    envelope: Option<&Decider>,
    (raw, count): (&RawViolation, u64),
    target: &policy::Target<'_>,
) -> Violation {
    let (suggestion, note) = suggestion(subject, &raw.access, target, raw.exception.is_some());
    let mut violation = attribution.violation(raw, count, target.test, suggestion);
    add_note(&mut violation.note, note);
    violation.allowed = envelope.is_some_and(|all| let_through(all, raw));
    violation
}

/// What would allow an access, in the report's words, and what there is to say about that.
pub fn suggestion(
    subject: &Subject<'_>,
    access: &Access,
    target: &policy::Target<'_>,
    excepted: bool,
) -> (Option<Suggestion>, Option<String>) {
    if excepted {
        return (None, None);
    }
    let suggested = policy::suggest(subject.policy, subject.places, &subject.manifest, access, target);
    (suggested.suggestion, suggested.note)
}

/// Adds a sentence to a note.
pub fn add_note(note: &mut String, more: Option<String>) {
    if let Some(more) = more {
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(&more);
    }
}

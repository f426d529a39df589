//! `cargo sandbox run`.

use super::args::RunArgs;
use super::first_look::{OF_PROGRAM, closed_to_guests, first_look};
use super::fix::{self, Fixing, Held};
use super::options;
use super::output::{self, Outputs};
use super::policies::{self, Permissions};
use super::{unused, vcs};
use crate::audit::envelope::audit_note;
use crate::cargo::command::{Built, CargoCommand, Goal, TargetFlags};
use crate::cargo::metadata::{Package, TargetKind as BuildKind, Workspace};
use crate::cargo::owner::Packages;
use crate::cargo::select::{self, Chosen};
use crate::cargo::{CargoFlags, WASIP1, target};
use crate::event::{KernelReport, Report, RunEvent, TargetReport};
use crate::exit_status::ExitStatus;
use crate::policy::TargetKind;
use crate::runner::interrupt::Interrupt;
use crate::runner::run::{self, Program, Subject};
use crate::runner::{Failure, Setup, metadata_dir, prepare, source, strategies, verdict};
use crate::worker::protocol::timings::{self, Phase, reached};
use crate::worker::supervisor::Launcher;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Instant;

/// `cargo sandbox run`.
pub(super) fn run(args: RunArgs) -> ExitStatus {
    let begun = Instant::now();
    let launcher = Launcher::new();
    launcher.start_early();
    let flags = options::cargo_flags(&args.cargo, &args.output);
    Outputs::during_judging(
        &args.output,
        unused::to_report(unused::level(&args.policy, false)),
        || {
            first_look(&options::setup(&args.walls, false), OF_PROGRAM)?;
            open_workspace(&flags)
        },
        |outputs, workspace| run_program(&args, begun, &launcher, &flags, &workspace, outputs),
    )
}

/// The workspace of the current directory, or of `--manifest-path`.
pub(super) fn open_workspace(flags: &CargoFlags) -> Result<(Workspace, PathBuf), Failure> {
    let workspace = Workspace::load(flags, &crate::runner::current_dir()?, metadata_dir().as_deref())?;
    reached(Phase::Metadata);
    source::hold(&workspace.root);
    let root = workspace.root.clone();
    Ok((workspace, root))
}

fn run_program(
    args: &RunArgs,
    begun: Instant,
    launcher: &Launcher,
    flags: &CargoFlags,
    workspace: &Workspace,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    outputs.command = "sandbox-run";
    let interrupt = Interrupt::install()?;
    let current_dir = &workspace.current_dir;
    let chosen = match (&args.bin, &args.example) {
        (Some(name), _) => Chosen::Bin(name),
        (_, Some(name)) => Chosen::Example(name),
        _ => Chosen::Default,
    };
    let (package, wanted) = select::program(workspace, flags, chosen)?;
    vcs::check(&package.manifest.path, &args.policy)?;
    let held = Held::new(&package.manifest, &args.policy)?;
    let mut permissions = policies::load(workspace, package, &args.policy)?;
    outputs.messages(std::mem::take(&mut permissions.warnings));
    outputs.messages(closed_to_guests(current_dir).into_iter().collect());
    reached(Phase::Policy);

    let mut targets = TargetFlags::default();
    match wanted.kind {
        BuildKind::Example => targets.example.push(wanted.name.clone()),
        _ => targets.bin.push(wanted.name.clone()),
    }
    let only =
        CargoFlags { packages: vec![package.spec()], workspace: false, exclude: Vec::new(), ..flags.clone() };
    let artifacts = build(Goal::Programs, workspace, &only, &targets, &interrupt, outputs)?;
    let artifact = artifacts
        .guests
        .into_iter()
        .find(|artifact| {
            artifact.package_id == package.id && artifact.name == wanted.name && artifact.kind == wanted.kind
        })
        .ok_or_else(|| Failure::fault(format!("cargo built no `{}`", wanted.name)))?;
    reached(Phase::Build);

    let mut words = vec![wanted.name.clone().into_bytes()];
    words.extend(args.args.iter().cloned().map(OsString::into_vec));
    let program = Program {
        subject: subject(&permissions, package),
        artifact: artifact.file,
        target: wanted.name.clone(),
        kind: if wanted.kind == BuildKind::Example { TargetKind::Example } else { TargetKind::Bin },
        cargo_kind: wanted.kind.as_str().to_owned(),
        test: None,
        current_dir: std::fs::canonicalize(current_dir)?,
        root: None,
        args: words,
        timeout: None,
    };
    let setup = options::setup(&args.walls, args.policy.audit || !args.policy.fix.is_empty());
    let mut find_packages = || Packages::load(flags, current_dir).unwrap_or_default();
    let (target, kernel) =
        execute(launcher, &program, &setup, true, &interrupt, &mut find_packages, outputs)?;
    let mut report = report("sandbox-run", target, kernel, setup.audit, begun);
    unused::apply(&mut report, &[&permissions.policy], unused::level(&args.policy, false));
    let fixing = Fixing { permissions: &permissions, package, held: held.as_ref() };
    fix::fix(&mut report, workspace, &[fixing], &args.policy.fix, outputs);
    Ok(outputs.finish(&report))
}

/// Builds through cargo, and once more if only the target was missing.
pub(super) fn build(
    goal: Goal,
    workspace: &Workspace,
    flags: &CargoFlags,
    targets: &TargetFlags,
    interrupt: &Interrupt,
    outputs: &mut Outputs,
) -> Result<Built, Failure> {
    let mut say = |text: &str| {
        outputs.event(&RunEvent::Status { verb: "Installing", text: text.to_owned() });
    };
    if !target::was_built_before(&workspace.target_dir, WASIP1) {
        target::ensure(WASIP1, flags, &workspace.current_dir, &mut say)?;
    }
    let command = CargoCommand::build(&std::env::current_exe()?, goal, workspace, flags, targets)?;
    match build_once(&command, workspace, interrupt) {
        Err(failure) if failure.status == ExitStatus::Failed && failure.messages.is_empty() => {
            // The target may have gone since it was last built for.
            if target::ensure(WASIP1, flags, &workspace.current_dir, &mut say)? {
                return build_once(&command, workspace, interrupt);
            }
            Err(failure)
        }
        result => result,
    }
}

fn build_once(
    command: &CargoCommand,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Built, Failure> {
    let build = command.spawn()?;
    let stop = build.interrupt();
    Ok(interrupt.during(|| build.artifacts(workspace), || stop.stop())??)
}

/// Whose permissions they are.
pub(super) fn subject<'a>(permissions: &'a Permissions, package: &Package) -> Subject<'a> {
    Subject {
        policy: &permissions.policy,
        places: &permissions.places,
        manifest: permissions.manifest.clone(),
        package: package.name.clone(),
        version: package.version.clone(),
        cargo_env: cargo_env(package),
    }
}

/// What cargo sets for a program that it runs, as far as it concerns the package.
fn cargo_env(package: &Package) -> Vec<(String, String)> {
    let root = package.root.to_string_lossy().into_owned();
    let mut version = package.version.split(['.', '-', '+']);
    let mut part = || version.next().unwrap_or_default().to_owned();
    [
        ("CARGO_MANIFEST_DIR", root.clone()),
        ("CARGO_MANIFEST_PATH", format!("{root}/Cargo.toml")),
        ("CARGO_PKG_NAME", package.name.clone()),
        ("CARGO_PKG_VERSION", package.version.clone()),
        ("CARGO_PKG_VERSION_MAJOR", part()),
        ("CARGO_PKG_VERSION_MINOR", part()),
        ("CARGO_PKG_VERSION_PATCH", part()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Compiles and runs it.
pub(super) fn execute(
    launcher: &Launcher,
    program: &Program<'_>,
    setup: &Setup,
    ours: bool,
    interrupt: &Interrupt,
    find_packages: &mut run::FindPackages<'_>,
    outputs: &mut Outputs,
) -> Result<(TargetReport, KernelReport), Failure> {
    let strategies = strategies(setup);
    let guest = prepare(launcher, &program.artifact, setup, ours, strategies, interrupt, &mut |warning| {
        outputs.event(&RunEvent::Message(warning));
    })?;
    reached(Phase::Code);
    let shown = program.artifact.strip_prefix(&program.subject.places.workspace).unwrap_or(&program.artifact);
    outputs.event(&RunEvent::Status { verb: "Running", text: format!("`{}`", shown.display()) });
    let result = run::run(program, guest, launcher, setup, interrupt, find_packages)?;
    outputs.event(&RunEvent::TargetFinished(result.0.clone()));
    if setup.timings {
        output::plain(&timings::line());
    }
    Ok(result)
}

pub(super) fn report(
    command: &str,
    target: TargetReport,
    kernel: KernelReport,
    audit: bool,
    begun: Instant,
) -> Report {
    let status = verdict::of_target(&target, audit);
    let targets = vec![target];
    let notes = if audit { vec![audit_note(&targets)] } else { Vec::new() };
    Report { command: command.to_owned(), status, kernel, audit, targets, duration: begun.elapsed(), notes }
}

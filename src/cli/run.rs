//! `cargo sandbox run`.

use super::args::RunArgs;
use super::first_look::OF_PROGRAM;
use super::fix::{self, Fixing, Held};
use super::options;
use super::output::{self, Outputs};
use super::session::{Asked, Session};
use super::unused;
use crate::audit::envelope::audit_note;
use crate::cargo::CargoFlags;
use crate::cargo::command::{Goal, TargetFlags};
use crate::cargo::metadata::{Package, Target, TargetKind as BuildKind};
use crate::cargo::select::{self, Chosen};
use crate::event::{KernelReport, Report, RunEvent, TargetReport};
use crate::exit_status::ExitStatus;
use crate::runner::interrupt::Interrupt;
use crate::runner::run::{self, Program};
use crate::runner::{Failure, Setup, prepare, strategies, verdict};
use crate::worker::protocol::timings::{self, Phase, reached};
use crate::worker::supervisor::Launcher;
use sandbox_policy::TargetKind;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Instant;

/// `cargo sandbox run`.
pub(super) fn run(args: RunArgs) -> ExitStatus {
    let begun = Instant::now();
    let launcher = Launcher::new();
    launcher.start_early();
    let asked = Asked {
        command: "sandbox-run",
        cargo: &args.cargo,
        output: &args.output,
        guests: options::guests(&args.policy, &args.walls, None),
        unused: unused::level(&args.policy, false),
        layers: Some(OF_PROGRAM),
    };
    asked.session(|session| run_program(&args, begun, &launcher, session))
}

fn run_program(
    args: &RunArgs,
    begun: Instant,
    launcher: &Launcher,
    session: &mut Session<'_>,
) -> Result<ExitStatus, Failure> {
    let interrupt = Interrupt::install()?;
    let (workspace, setup) = (session.workspace, &session.guests.setup);
    let chosen = match (&args.bin, &args.example) {
        (Some(name), _) => Chosen::Bin(name),
        (_, Some(name)) => Chosen::Example(name),
        _ => Chosen::Default,
    };
    let (package, wanted) = select::program(workspace, session.flags, chosen)?;
    let held = Held::new(&package.manifest, &args.policy)?;
    let permissions = session.permissions(package, &workspace.current_dir)?;
    reached(Phase::Policy);

    let artifact = build(session, package, wanted, &interrupt)?;
    reached(Phase::Build);

    let mut words = vec![wanted.name.clone().into_bytes()];
    words.extend(args.args.iter().cloned().map(OsString::into_vec));
    let program = Program {
        subject: permissions.subject(Some(package)),
        artifact,
        target: wanted.name.clone(),
        kind: if wanted.kind == BuildKind::Example { TargetKind::Example } else { TargetKind::Bin },
        cargo_kind: wanted.kind.as_str().to_owned(),
        test: None,
        current_dir: std::fs::canonicalize(&workspace.current_dir)?,
        root: None,
        args: words,
        timeout: None,
    };
    let mut find_packages = session.find_packages();
    let outputs = &mut *session.outputs;
    let (target, kernel) = execute(launcher, &program, setup, true, &interrupt, &mut find_packages, outputs)?;
    let mut report = report("sandbox-run", target, kernel, setup.audit, begun);
    unused::apply(&mut report, &[&permissions.policy], unused::level(&args.policy, false));
    let fixing = Fixing { permissions: &permissions, package, held: held.as_ref() };
    fix::fix(&mut report, workspace, &[fixing], &args.policy.fix, outputs);
    Ok(outputs.finish(&report))
}

/// Builds one program and nothing else; its wasm file.
fn build(
    session: &mut Session<'_>,
    package: &Package,
    wanted: &Target,
    interrupt: &Interrupt,
) -> Result<PathBuf, Failure> {
    let mut targets = TargetFlags::default();
    match wanted.kind {
        BuildKind::Example => targets.example.push(wanted.name.clone()),
        _ => targets.bin.push(wanted.name.clone()),
    }
    let only = CargoFlags {
        packages: vec![package.spec()],
        workspace: false,
        exclude: Vec::new(),
        ..session.flags.clone()
    };
    let built = session.build(Goal::Programs, &only, &targets, interrupt)?;
    let found = built.guests.into_iter().find(|artifact| {
        artifact.package_id == package.id && artifact.name == wanted.name && artifact.kind == wanted.kind
    });
    let none = || Failure::fault(format!("cargo built no `{}`", wanted.name));
    found.map(|artifact| artifact.file).ok_or_else(none)
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

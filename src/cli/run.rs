//! `cargo sandbox run`, and `cargo sandbox runner` for one file.

use super::args::{RunArgs, RunnerArgs};
use super::options;
use super::output::{self, Outputs};
use super::policies::{self, Permissions};
use crate::build::command::{CargoCommand, Goal, TargetFlags};
use crate::build::metadata::{Package, TargetKind as BuildKind, Workspace};
use crate::build::owner::Packages;
use crate::build::select::{self, Chosen};
use crate::build::{CargoFlags, WASIP1, target};
use crate::diagnostic::Diagnostic;
use crate::event::{KernelReport, Report, RunEvent, TargetReport};
use crate::exit_status::ExitStatus;
use crate::policy::TargetKind;
use crate::runner::interrupt::Interrupt;
use crate::runner::run::{self, Program, Subject};
use crate::runner::{Failure, Setup, metadata_dir, prepare, strategy, verdict};
use crate::worker::Launcher;
use crate::worker::phases::{self, Phase, reached};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// `cargo sandbox run`.
pub(super) fn run(args: RunArgs) -> ExitStatus {
    let begun = Instant::now();
    let launcher = Launcher::new();
    launcher.start_early();
    let flags = options::cargo_flags(&args.cargo, &args.output);
    Outputs::during(
        &args.output,
        || open_workspace(&flags),
        |outputs, workspace| run_program(&args, begun, &launcher, &flags, &workspace, outputs),
    )
}

/// The workspace of the current directory, or of `--manifest-path`.
pub(super) fn open_workspace(flags: &CargoFlags) -> Result<(Workspace, PathBuf), Failure> {
    let workspace = Workspace::load(flags, &std::env::current_dir()?, metadata_dir().as_deref())?;
    reached(Phase::Metadata);
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
    let interrupt = Interrupt::install()?;
    let current_dir = &workspace.current_dir;
    let chosen = match (&args.bin, &args.example) {
        (Some(name), _) => Chosen::Bin(name),
        (_, Some(name)) => Chosen::Example(name),
        _ => Chosen::Default,
    };
    let (package, wanted) = select::program(workspace, flags, chosen)?;
    let mut permissions = policies::load(workspace, package, &args.policy)?;
    outputs.messages(std::mem::take(&mut permissions.warnings));
    reached(Phase::Policy);

    let mut targets = TargetFlags::default();
    match wanted.kind {
        BuildKind::Example => targets.example.push(wanted.name.clone()),
        _ => targets.bin.push(wanted.name.clone()),
    }
    let only = CargoFlags { packages: vec![package.name.clone()], workspace: false, ..flags.clone() };
    let artifacts = build(Goal::Programs, workspace, &only, &targets, &interrupt, outputs)?;
    let artifact = artifacts
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
        artifact: artifact.wasm,
        target: wanted.name.clone(),
        kind: if wanted.kind == BuildKind::Example { TargetKind::Example } else { TargetKind::Bin },
        cargo_kind: wanted.kind.as_str().to_owned(),
        test: None,
        current_dir: std::fs::canonicalize(current_dir)?,
        root: None,
        args: words,
    };
    let setup = options::setup(&args.walls, args.policy.audit || !args.policy.fix.is_empty());
    let mut find_packages = || Packages::load(flags, current_dir).unwrap_or_default();
    let (target, kernel) =
        execute(launcher, &program, &setup, true, &interrupt, &mut find_packages, outputs)?;
    let report = report("sandbox-run", target, kernel, setup.audit, begun);
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
) -> Result<Vec<crate::build::command::Artifact>, Failure> {
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
) -> Result<Vec<crate::build::command::Artifact>, Failure> {
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

fn execute(
    launcher: &Launcher,
    program: &Program<'_>,
    setup: &Setup,
    ours: bool,
    interrupt: &Interrupt,
    find_packages: &mut run::FindPackages<'_>,
    outputs: &mut Outputs,
) -> Result<(TargetReport, KernelReport), Failure> {
    let strategy = strategy(setup);
    let guest = prepare(launcher, &program.artifact, setup, ours, strategy, &mut |warning| {
        outputs.event(&RunEvent::Message(warning));
    })?;
    reached(Phase::Code);
    let shown = program.artifact.strip_prefix(&program.subject.places.workspace).unwrap_or(&program.artifact);
    outputs.event(&RunEvent::Status { verb: "Running", text: format!("`{}`", shown.display()) });
    let result = run::run(program, guest, launcher, setup, interrupt, find_packages)?;
    outputs.event(&RunEvent::TargetFinished(result.0.clone()));
    if setup.timings {
        output::plain(&phases::line());
    }
    Ok(result)
}

fn report(command: &str, target: TargetReport, kernel: KernelReport, audit: bool, begun: Instant) -> Report {
    Report {
        command: command.to_owned(),
        status: verdict::of_target(&target, audit),
        kernel,
        audit,
        targets: vec![target],
        duration: begun.elapsed(),
        notes: Vec::new(),
    }
}

/// `cargo sandbox runner`.
pub(super) fn runner(args: RunnerArgs) -> ExitStatus {
    let begun = Instant::now();
    let launcher = Launcher::new();
    launcher.start_early();
    Outputs::during(
        &args.output,
        || find_file(&args),
        |outputs, found| run_file(&args, begun, &launcher, &found, outputs),
    )
}

/// The artifact, and the workspace it was built in, if it was.
struct Found {
    file: PathBuf,
    manifest: Option<PathBuf>,
    workspace: Option<Workspace>,
}

fn find_file(args: &RunnerArgs) -> Result<(Found, PathBuf), Failure> {
    let current_dir = std::env::current_dir()?;
    let file = std::fs::canonicalize(&args.file).map_err(|error| {
        let message = format!("cannot read `{}`: {error}", args.file.display());
        Failure::new(ExitStatus::Usage, Diagnostic::error("artifact", message))
    })?;
    let manifest = if args.no_manifest || args.root.is_some() { None } else { package_of(&file) };
    let flags = CargoFlags { manifest_path: manifest.clone(), ..CargoFlags::default() };
    let load = |_| Workspace::load(&flags, &current_dir, metadata_dir().as_deref());
    let workspace = manifest.as_ref().map(load).transpose()?;
    reached(Phase::Metadata);
    let base = workspace.as_ref().map_or(current_dir, |workspace| workspace.root.clone());
    Ok((Found { file, manifest, workspace }, base))
}

fn run_file(
    args: &RunnerArgs,
    begun: Instant,
    launcher: &Launcher,
    found: &Found,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    let interrupt = Interrupt::install()?;
    let Found { file, manifest, workspace } = found;
    let current_dir = std::env::current_dir()?;
    let package = workspace.as_ref().zip(manifest.as_ref()).and_then(|(workspace, manifest)| {
        workspace.packages.iter().find(|package| package.manifest.path == *manifest)
    });
    let guest_dir = match &args.cwd {
        Some(folder) => folder.clone(),
        None if args.root.is_some() => PathBuf::from("/"),
        None => std::fs::canonicalize(&current_dir)?,
    };
    let words: Vec<Vec<u8>> = std::iter::once(file.clone().into_os_string())
        .chain(args.args.iter().cloned())
        .map(OsString::into_vec)
        .collect();
    let (kind, target) = kind_of(file, package);
    let permissions = match (workspace, package) {
        (Some(workspace), Some(package)) => policies::load(workspace, package, &args.policy)?,
        _ => policies::without_package(&guest_dir, &args.policy)?,
    };
    let subject = match package {
        Some(package) => subject(&permissions, package),
        None => Subject {
            policy: &permissions.policy,
            places: &permissions.places,
            manifest: permissions.manifest.clone(),
            package: String::new(),
            version: String::new(),
            cargo_env: Vec::new(),
        },
    };
    outputs.messages(permissions.warnings.clone());
    reached(Phase::Policy);
    let program = Program {
        subject,
        artifact: file.clone(),
        target,
        kind,
        cargo_kind: match kind {
            TargetKind::Bin => "bin",
            TargetKind::Example => "example",
            TargetKind::Test => "test",
        }
        .to_owned(),
        test: (kind == TargetKind::Test).then(|| single_test(&args.args)).flatten(),
        current_dir: guest_dir,
        root: args.root.clone().map(std::fs::canonicalize).transpose()?,
        args: words,
    };
    let setup = options::setup(&args.walls, args.policy.audit);
    let flags = CargoFlags { manifest_path: manifest.clone(), ..CargoFlags::default() };
    let folder = manifest.as_deref().and_then(Path::parent).unwrap_or(&current_dir).to_owned();
    let mut find_packages = || Packages::load(&flags, &folder).unwrap_or_default();
    let (target, kernel) =
        execute(launcher, &program, &setup, false, &interrupt, &mut find_packages, outputs)?;
    let report = report("runner", target, kernel, setup.audit, begun);
    Ok(outputs.finish(&report))
}

/// The manifest of the package that an artifact was built from: the one cargo or nextest names in
/// the environment, or the nearest one above the file.
fn package_of(file: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    named
        .into_iter()
        .chain(file.ancestors().skip(1).map(Path::to_owned))
        .map(|folder| folder.join("Cargo.toml"))
        .find(|manifest| manifest.is_file())
}

/// What a file below `target/…/{deps,examples}` was made from: cargo puts test harnesses into
/// `deps`, with a hash in their names; programs are linked from there to where they are run.
fn kind_of(file: &Path, package: Option<&Package>) -> (TargetKind, String) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
    let plain = match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some(name)
        }
        _ => None,
    };
    match plain {
        Some(name) if folder == "deps" || folder == "examples" => (TargetKind::Test, name.to_owned()),
        _ if folder == "examples" => (TargetKind::Example, stem),
        _ => {
            let is = |target: &&crate::build::metadata::Target| {
                target.kind == BuildKind::Example && target.name == stem
            };
            let example = package.is_some_and(|package| package.targets.iter().any(|target| is(&target)));
            (if example && folder == "examples" { TargetKind::Example } else { TargetKind::Bin }, stem)
        }
    }
}

/// The test that libtest was asked for by `NAME --exact`, as nextest does it.
fn single_test(args: &[OsString]) -> Option<String> {
    let exact = args.iter().any(|arg| arg == "--exact");
    let mut names = args.iter().filter_map(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-'));
    let name = names.next()?;
    (exact && names.next().is_none()).then(|| name.to_owned())
}

//! `cargo sandbox runner`: one file that cargo, nextest or rustdoc built and runs.

use super::args::{OutputArgs, RunnerArgs, Unused};
use super::attempts::Attempts;
use super::first_look::{OF_PROGRAM, first_look};
use super::options;
use super::output::{Outputs, fatal};
use super::policies::Permissions;
use super::run::{execute, report};
use super::{policies, unused};
use crate::cargo::CargoFlags;
use crate::cargo::metadata::{Package, TargetKind as BuildKind, Workspace};
use crate::cargo::owner::Packages;
use crate::exit_status::ExitStatus;
use crate::runner::doctest::{CRATES, Orders, RunnerRecord};
use crate::runner::interrupt::Interrupt;
use crate::runner::run::Program;
use crate::runner::{Failure, GuestOptions, current_dir, metadata_dir, source, verdict};
use crate::worker::protocol::timings::{Phase, reached};
use crate::worker::supervisor::Launcher;
use sandbox_policy::TargetKind;
use sandbox_policy::diagnostic::Diagnostic;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a runner is asked for: as typed, or as `test` has ordered it for an example.
struct Asked {
    root: Option<PathBuf>,
    cwd: Option<PathBuf>,
    no_manifest: bool,
    guests: GuestOptions,
    output: OutputArgs,
    unused: Unused,
    /// Nothing is written into a manifest here, and that is said.
    fix: bool,
    file: PathBuf,
    /// The guest's, without its name.
    args: Vec<OsString>,
}

/// `cargo sandbox runner`.
pub(super) fn runner(args: RunnerArgs) -> ExitStatus {
    let (begun, launcher) = start();
    let RunnerArgs { root, cwd, no_manifest, policy, walls, output, mut words } = args;
    let asked = Asked {
        root,
        cwd,
        no_manifest,
        guests: options::guests(&policy, &walls, None),
        output,
        unused: unused::level(&policy, false),
        fix: !policy.fix.is_empty(),
        file: words.remove(0).into(),
        args: words,
    };
    run(asked, begun, &launcher, None)
}

/// The runner of an example of a documentation, whose orders are at a place that `test` has named.
pub(super) fn example(orders: &OsStr, words: &[OsString]) -> ExitStatus {
    let (begun, launcher) = start();
    // Opened before the guest runs, so that it is the file of whoever started us.
    let open = |orders: Orders| Ok((OpenOptions::new().append(true).open(&orders.inbox)?, orders.guests));
    let (inbox, guests) = match Orders::read(orders).and_then(open) {
        Ok(opened) => opened,
        Err(error) => return untold(&error, ExitStatus::Fault),
    };
    let Some((file, args)) = words.split_first() else {
        fatal("cannot run an example: no file is named");
        return ExitStatus::Usage;
    };
    let file = PathBuf::from(file);
    let mut record = RunnerRecord::of(&file);
    let asked = Asked {
        root: None,
        cwd: None,
        no_manifest: false,
        guests,
        output: OutputArgs::default(),
        unused: Unused::Allow,
        fix: false,
        file: file.clone(),
        args: args.to_vec(),
    };
    let status = run(asked, begun, &launcher, Some(&mut record));
    // There can be hundreds of them, and rustdoc would keep them to the end.
    let _ = std::fs::remove_file(file);
    let place = PathBuf::from(format!("/proc/self/fd/{}", inbox.as_raw_fd()));
    record.leave(&place, status).map_or_else(|error| untold(&error, status), |()| status)
}

fn start() -> (Instant, Launcher) {
    let begun = Instant::now();
    let launcher = Launcher::new();
    launcher.start_early();
    (begun, launcher)
}

fn untold(error: &std::io::Error, status: ExitStatus) -> ExitStatus {
    fatal(&format!("cannot tell what the doc test did: {error}"));
    status.or(ExitStatus::Fault)
}

/// `record` is where what an example did is kept, instead of being reported here.
fn run(
    mut asked: Asked,
    begun: Instant,
    launcher: &Launcher,
    record: Option<&mut RunnerRecord>,
) -> ExitStatus {
    // It is called once for each test, by a program that has a summary of its own.
    asked.output.quiet |= asked.output.verbose == 0;
    Outputs::during_judging(
        &asked.output,
        unused::to_report(asked.unused),
        || {
            first_look(&asked.guests.setup, OF_PROGRAM)?;
            find_file(&asked)
        },
        |outputs, found| run_file(&asked, begun, launcher, &found, record, outputs),
    )
}

/// The artifact, and the workspace it was built in, if it was.
struct Found {
    file: PathBuf,
    manifest: Option<PathBuf>,
    workspace: Option<Workspace>,
    current_dir: PathBuf,
}

impl Found {
    fn package(&self) -> Option<&Package> {
        let manifest = self.manifest.as_ref()?;
        self.workspace.as_ref()?.packages.iter().find(|package| package.manifest.path == *manifest)
    }

    fn permissions(
        &self,
        asked: &Asked,
        guest_dir: &Path,
        root: Option<&Path>,
    ) -> Result<Permissions, Failure> {
        let options = &asked.guests.policy;
        match self.workspace.as_ref().zip(self.package()) {
            Some((workspace, package)) => policies::load(workspace, package, options),
            None => policies::without_package(guest_dir, root, options),
        }
    }
}

fn find_file(asked: &Asked) -> Result<(Found, PathBuf), Failure> {
    let current_dir = current_dir()?;
    let file = std::fs::canonicalize(&asked.file).map_err(|error| {
        let message = format!("cannot read `{}`: {error}", asked.file.display());
        Failure::new(ExitStatus::Usage, Diagnostic::error("artifact", message))
    })?;
    let manifest = if asked.no_manifest || asked.root.is_some() { None } else { package_of(&file) };
    let flags = CargoFlags { manifest_path: manifest.clone(), ..CargoFlags::default() };
    let load = |_| Workspace::load(&flags, &current_dir, metadata_dir().as_deref());
    let workspace = manifest.as_ref().map(load).transpose()?;
    reached(Phase::Metadata);
    let base = workspace.as_ref().map_or_else(|| current_dir.clone(), |workspace| workspace.root.clone());
    source::hold(&base);
    Ok((Found { file, manifest, workspace, current_dir }, base))
}

fn run_file(
    asked: &Asked,
    begun: Instant,
    launcher: &Launcher,
    found: &Found,
    record: Option<&mut RunnerRecord>,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    outputs.command = "runner";
    if asked.fix {
        let message = "`runner` cannot fix a manifest, as the artifact may be older than that";
        return Err(Failure::new(
            ExitStatus::Usage,
            Diagnostic::error("fix", message)
                .help("use `cargo sandbox-run --fix` or `cargo sandbox-test --fix`"),
        ));
    }
    let interrupt = Interrupt::install()?;
    let package = found.package();
    let guest_dir = match &asked.cwd {
        Some(folder) => folder.clone(),
        None if asked.root.is_some() => PathBuf::from("/"),
        None => std::fs::canonicalize(&found.current_dir)?,
    };
    let root = asked.root.as_deref().map(root).transpose()?;
    let permissions = found.permissions(asked, &guest_dir, root.as_deref())?;
    outputs.messages(permissions.warnings.clone());
    reached(Phase::Policy);
    let is_example = record.is_some();
    let program = program(asked, found, &permissions, guest_dir, root, is_example);
    let attempts = Attempts::of(&found.file, &program.args);
    let setup = &asked.guests.setup;
    let flags = CargoFlags { manifest_path: found.manifest.clone(), ..CargoFlags::default() };
    // Here and not beside the file: cargo starts whatever its configuration there names.
    let mut find_packages = || {
        let packages = Packages::load(&flags, &found.current_dir).unwrap_or_default();
        match package.filter(|_| is_example) {
            Some(package) => packages.with_crates(package, &CRATES),
            None => packages,
        }
    };
    let (target, kernel) =
        execute(launcher, &program, setup, false, &interrupt, &mut find_packages, outputs)?;
    if let Some(record) = record {
        // `test` says it, with the name that only rustdoc knows.
        record.ran(&target, &kernel);
        let status = verdict::of_target(&target, setup.audit);
        return Ok(outputs.close(status));
    }
    let mut report = report("runner", target, kernel, setup.audit, begun);
    unused::apply(&mut report, &[&permissions.policy], asked.unused);
    attempts.judge(&mut report);
    Ok(outputs.finish(&report))
}

fn program<'a>(
    asked: &Asked,
    found: &Found,
    permissions: &'a Permissions,
    current_dir: PathBuf,
    root: Option<PathBuf>,
    is_example: bool,
) -> Program<'a> {
    let (kind, target) = kind_of(&found.file, found.package());
    // What rustdoc runs is named like a program.
    let kind = if is_example { TargetKind::Test } else { kind };
    let words = std::iter::once(found.file.clone().into_os_string()).chain(asked.args.iter().cloned());
    Program {
        subject: permissions.subject(found.package()),
        artifact: found.file.clone(),
        target,
        kind,
        cargo_kind: match kind {
            TargetKind::Bin => "bin",
            TargetKind::Example => "example",
            TargetKind::Test => "test",
        }
        .to_owned(),
        test: (kind == TargetKind::Test).then(|| single_test(&asked.args)).flatten(),
        current_dir,
        root,
        args: words.map(OsString::into_vec).collect(),
        timeout: asked.guests.timeout,
    }
}

/// What the guest is to see as `/`.
fn root(folder: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| {
        let message = format!("cannot use `{}` as `--root`: {why}", folder.display());
        Failure::new(ExitStatus::Usage, Diagnostic::error("root", message))
    };
    let found = std::fs::canonicalize(folder).map_err(|error| wrong(error.to_string()))?;
    if found.is_dir() { Ok(found) } else { Err(wrong("it is no directory".to_owned())) }
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
            let is = |target: &&crate::cargo::metadata::Target| {
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

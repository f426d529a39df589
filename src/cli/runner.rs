//! `cargo sandbox runner`: one file that cargo or nextest built and runs.

use super::args::RunnerArgs;
use super::attempts::Attempts;
use super::doctest::{CRATES, RunnerRecord};
use super::first_look::{OF_PROGRAM, first_look};
use super::options;
use super::output::{Outputs, fatal};
use super::run::{execute, report, subject};
use super::{policies, unused};
use crate::cargo::CargoFlags;
use crate::cargo::metadata::{Package, TargetKind as BuildKind, Workspace};
use crate::cargo::owner::Packages;
use crate::diagnostic::Diagnostic;
use crate::exit_status::ExitStatus;
use crate::policy::TargetKind;
use crate::runner::interrupt::Interrupt;
use crate::runner::run::{Program, Subject};
use crate::runner::{Failure, current_dir, metadata_dir, source, verdict};
use crate::worker::protocol::timings::{Phase, reached};
use crate::worker::supervisor::Launcher;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// `cargo sandbox runner`.
pub(super) fn runner(mut args: RunnerArgs) -> ExitStatus {
    let begun = Instant::now();
    // It is called once for each test, by a program that has a summary of its own.
    args.output.quiet |= args.output.verbose == 0;
    let launcher = Launcher::new();
    launcher.start_early();
    // Opened before the guest runs, so that it is the file of whoever started us.
    let inbox = args.doc_tests.as_ref().map(|place| OpenOptions::new().append(true).open(place));
    let inbox = match inbox.transpose() {
        Ok(inbox) => inbox,
        Err(error) => return untold(&error, ExitStatus::Fault),
    };
    let mut handed = args.doc_tests.as_ref().map(|_| RunnerRecord::of(file(&args)));
    let status = Outputs::during_judging(
        &args.output,
        unused::to_report(unused::level(&args.policy, false)),
        || {
            first_look(&options::setup(&args.walls, false), OF_PROGRAM)?;
            find_file(&args)
        },
        |outputs, found| run_file(&args, begun, &launcher, &found, handed.as_mut(), outputs),
    );
    if handed.is_some() {
        // There can be hundreds of them, and rustdoc would keep them to the end.
        let _ = std::fs::remove_file(file(&args));
    }
    let left = handed.zip(inbox).map_or(Ok(()), |(handed, inbox)| {
        let place = PathBuf::from(format!("/proc/self/fd/{}", inbox.as_raw_fd()));
        handed.leave(&place, status)
    });
    left.map_or_else(|error| untold(&error, status), |()| status)
}

fn untold(error: &std::io::Error, status: ExitStatus) -> ExitStatus {
    fatal(&format!("cannot tell what the doc test did: {error}"));
    status.or(ExitStatus::Fault)
}

fn file(args: &RunnerArgs) -> &Path {
    Path::new(&args.words[0])
}

/// The artifact, and the workspace it was built in, if it was.
struct Found {
    file: PathBuf,
    manifest: Option<PathBuf>,
    workspace: Option<Workspace>,
}

fn find_file(args: &RunnerArgs) -> Result<(Found, PathBuf), Failure> {
    let current_dir = current_dir()?;
    let file = std::fs::canonicalize(file(args)).map_err(|error| {
        let message = format!("cannot read `{}`: {error}", file(args).display());
        Failure::new(ExitStatus::Usage, Diagnostic::error("artifact", message))
    })?;
    let manifest = if args.no_manifest || args.root.is_some() { None } else { package_of(&file) };
    let flags = CargoFlags { manifest_path: manifest.clone(), ..CargoFlags::default() };
    let load = |_| Workspace::load(&flags, &current_dir, metadata_dir().as_deref());
    let workspace = manifest.as_ref().map(load).transpose()?;
    reached(Phase::Metadata);
    let base = workspace.as_ref().map_or(current_dir, |workspace| workspace.root.clone());
    source::hold(&base);
    Ok((Found { file, manifest, workspace }, base))
}

fn run_file(
    args: &RunnerArgs,
    begun: Instant,
    launcher: &Launcher,
    found: &Found,
    handed: Option<&mut RunnerRecord>,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    outputs.command = "runner";
    if !args.policy.fix.is_empty() {
        let message = "`runner` cannot fix a manifest, as the artifact may be older than that";
        return Err(Failure::new(
            ExitStatus::Usage,
            Diagnostic::error("fix", message)
                .help("use `cargo sandbox-run --fix` or `cargo sandbox-test --fix`"),
        ));
    }
    let interrupt = Interrupt::install()?;
    let Found { file, manifest, workspace } = found;
    let current_dir = current_dir()?;
    let package = workspace.as_ref().zip(manifest.as_ref()).and_then(|(workspace, manifest)| {
        workspace.packages.iter().find(|package| package.manifest.path == *manifest)
    });
    let guest_dir = match &args.cwd {
        Some(folder) => folder.clone(),
        None if args.root.is_some() => PathBuf::from("/"),
        None => std::fs::canonicalize(&current_dir)?,
    };
    let words: Vec<Vec<u8>> = std::iter::once(file.clone().into_os_string())
        .chain(args.words[1..].iter().cloned())
        .map(OsString::into_vec)
        .collect();
    let (mut kind, target) = kind_of(file, package);
    // What rustdoc runs is named like a program.
    if handed.is_some() {
        kind = TargetKind::Test;
    }
    let root = args.root.as_deref().map(root).transpose()?;
    let permissions = match (workspace, package) {
        (Some(workspace), Some(package)) => policies::load(workspace, package, &args.policy)?,
        _ => policies::without_package(&guest_dir, root.as_deref(), &args.policy)?,
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
    let attempts = Attempts::of(file, &words);
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
        test: (kind == TargetKind::Test).then(|| single_test(&args.words[1..])).flatten(),
        current_dir: guest_dir,
        root,
        args: words,
        timeout: args.timeout,
    };
    let setup = options::setup(&args.walls, args.policy.audit);
    let flags = CargoFlags { manifest_path: manifest.clone(), ..CargoFlags::default() };
    // Here and not beside the file: cargo starts whatever its configuration there names.
    let is_example = handed.is_some();
    let mut find_packages = || {
        let packages = Packages::load(&flags, &current_dir).unwrap_or_default();
        match package.filter(|_| is_example) {
            Some(package) => packages.with_crates(package, &CRATES),
            None => packages,
        }
    };
    let (target, kernel) =
        execute(launcher, &program, &setup, false, &interrupt, &mut find_packages, outputs)?;
    if let Some(handed) = handed {
        // `test` says it, with the name that only rustdoc knows.
        handed.ran(&target, &kernel);
        let status = verdict::of_target(&target, setup.audit);
        return Ok(outputs.close(status));
    }
    let mut report = report("runner", target, kernel, setup.audit, begun);
    unused::apply(&mut report, &[&permissions.policy], unused::level(&args.policy, false));
    attempts.judge(&mut report);
    Ok(outputs.finish(&report))
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

//! `cargo sandbox test`.

use super::args::{Fix, LibtestArgs, NotRun, TestArgs};
use super::doctest;
use super::first_look::{OF_TESTS, closed_to_guests, first_look};
use super::fix::{self, Fixing, Held};
use super::options;
use super::output::{Outputs, fatal};
use super::policies::{self, Permissions};
use super::run::{build, open_workspace, subject};
use super::{unused, vcs};
use crate::audit::envelope::audit_note;
use crate::cargo::command::{Artifact, Built, Goal, TargetFlags};
use crate::cargo::metadata::{Package, TargetKind, Workspace};
use crate::cargo::owner::Packages;
use crate::cargo::{CargoFlags, WASIP1, config, sandbox_dir, select};
use crate::diagnostic::{Diagnostic, Severity};
use crate::event::{KernelReport, Report, RunEvent, TargetReport, TestId, TestReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::policy::{MOST_MISTAKES, PackagePolicy};
use crate::report::{escape, merge};
use crate::runner::interrupt::Interrupt;
use crate::runner::libtest::{self, Layout};
use crate::runner::test::{self as tests, Context, Filter, Ignored, Options, Shard, Suite};
use crate::runner::{Failure, verdict};
use crate::worker::supervisor::Launcher;
use clap::Parser;
use std::io::{self, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// After this a test is called slow, as with nextest.
const SLOW: Duration = Duration::from_secs(60);

/// `cargo sandbox test`.
pub(super) fn test(args: TestArgs) -> ExitStatus {
    let begun = Instant::now();
    let libtest = match LibtestArgs::try_parse_from(&args.libtest) {
        Ok(libtest) => libtest,
        Err(error) => {
            // Help that cannot be written because its reader is gone is no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success };
        }
    };
    let format = libtest.format.as_deref();
    if !matches!(format, None | Some("terse" | "pretty")) {
        fatal(&format!(
            "`--format {}` is not supported; `--message-format json` is",
            format.unwrap_or_default()
        ));
        return ExitStatus::Usage;
    }
    let flags = options::cargo_flags(&args.cargo, &args.output);
    let level = unused::level(&args.policy, is_full(&args, &libtest));
    Outputs::during_judging(
        &args.output,
        unused::to_report(level),
        || {
            if !args.no_run {
                first_look(&options::setup(&args.walls, false), OF_TESTS)?;
            }
            open_workspace(&flags)
        },
        |outputs, workspace| run_tests(&args, &libtest, begun, &flags, &workspace, outputs),
    )
}

fn run_tests(
    args: &TestArgs,
    libtest: &LibtestArgs,
    begun: Instant,
    flags: &CargoFlags,
    workspace: &Workspace,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    outputs.command = "sandbox-test";
    let interrupt = Interrupt::install()?;
    let packages = select::packages(workspace, flags)?;
    let mut held = Vec::new();
    for package in &packages {
        vcs::check(&package.manifest.path, &args.policy)?;
        held.push(Held::new(&package.manifest, &args.policy)?);
    }
    let permissions = permissions(workspace, &packages, args, outputs)?;

    // By their ids, as other versions of them may be among the dependencies.
    let ids = || packages.iter().map(|package| package.spec()).collect();
    let only = CargoFlags {
        packages: if flags.packages.is_empty() || flags.workspace { flags.packages.clone() } else { ids() },
        ..flags.clone()
    };
    let (built, layout) = if args.doc {
        (Built::default(), Err("it was not asked for".to_owned()))
    } else {
        let measured = thread::scope(|scope| {
            // It takes as long as cargo needs to see that nothing is to be built.
            let measure = scope.spawn(|| layout(flags, workspace));
            let artifacts = build(Goal::Tests, workspace, &only, &targets(args), &interrupt, outputs);
            (artifacts, measure.join().unwrap_or_else(|_| Err("its measurement failed".to_owned())))
        });
        // The target may only have been installed meanwhile.
        let layout = measured.1.or_else(|_| layout(flags, workspace));
        (measured.0?, layout)
    };
    let mut suites = Vec::new();
    for artifact in built.guests.into_iter().filter(|artifact| artifact.test) {
        let owner = packages.iter().zip(&permissions).find(|(package, _)| package.id == artifact.package_id);
        if let Some((package, permissions)) = owner {
            suites.push(suite(artifact, package, permissions)?);
        }
    }
    let is_selected = |artifact: &Artifact| packages.iter().any(|package| package.id == artifact.package_id);
    // They cannot be listed, so they all go to one shard.
    let first_shard = args.partition.is_none_or(|part| part.shard == 1);
    let native: Vec<_> = built.native_tests.into_iter().filter(is_selected).filter(|_| first_shard).collect();
    let setup = options::setup(&args.walls, args.policy.audit || !args.policy.fix.is_empty());
    let mut report = Report {
        command: "sandbox-test".to_owned(),
        status: ExitStatus::Success,
        kernel: KernelReport::default(),
        audit: setup.audit,
        targets: Vec::new(),
        duration: Duration::ZERO,
        notes: Vec::new(),
    };
    if args.no_run {
        for suite in &suites {
            let shown = suite.artifact.strip_prefix(&workspace.root).unwrap_or(&suite.artifact);
            let text = format!("{} (`{}`)", suite.binary, shown.display());
            outputs.event(&RunEvent::Status { verb: "Executable", text });
        }
        for harness in &native {
            let text = format!("{} ({NATIVE})", binary_name(harness));
            outputs.event(&RunEvent::Status { verb: "Executable", text });
        }
        return Ok(ExitStatus::Success);
    }
    let launcher = Launcher::new();
    let context = Context {
        launcher: &launcher,
        setup: &setup,
        interrupt: &interrupt,
        layout: layout.as_ref().map_err(String::as_str),
    };
    let run = run_options(args, libtest);
    let mut find_packages = || Packages::load(flags, &workspace.current_dir).unwrap_or_default();
    let mut tell = |event| outputs.event(&event);
    let mut tested = if libtest.list {
        let (listed, tested) = tests::list(&suites, &run, context, &mut find_packages, &mut tell)?;
        for harness in &native {
            let text = format!("tests of {} are not listed: {NATIVE}", binary_name(harness));
            outputs.event(&RunEvent::Message(Diagnostic::new(Severity::Note, "", text)));
        }
        report.status = report.status.or(print(&listed, libtest.format.as_deref() == Some("terse")));
        tested
    } else {
        tests::run(&suites, &run, context, &mut find_packages, &mut tell)?
    };
    if !libtest.list {
        for harness in &native {
            let target = not_run(harness, tested.targets.len());
            target.tests.iter().for_each(|test| outputs.event(&RunEvent::TestFinished(test.clone())));
            outputs.event(&RunEvent::TargetFinished(target.clone()));
            tested.targets.push(target);
        }
    }
    if doctest::wanted(args) && !libtest.list {
        for package in &packages {
            let is_bad = |target| verdict::of_target(target, setup.audit) != ExitStatus::Success;
            let failed = args.fail_fast && tested.targets.iter().any(is_bad);
            let stopped = failed.then_some("another test had failed");
            let stopped =
                if tested.failure.is_some() { Some("not everything could be run") } else { stopped };
            let stopped = if tested.interrupted { Some("interrupted") } else { stopped };
            let documented = doctest::Documented { workspace, package, index: tested.targets.len() };
            match doctest::run(args, flags, documented, &run.filter, stopped, &interrupt, outputs) {
                doctest::Done::Nothing => {}
                doctest::Done::GuestResult { target, kernel, status } => {
                    report.status = report.status.or(status);
                    if tested.kernel == KernelReport::default() {
                        tested.kernel = kernel.unwrap_or_default();
                    }
                    let not_run = |test: &TestReport| test.verdict == TestVerdict::NotRun;
                    if let Some(test) = target.tests.first().filter(|_| target.tests.iter().all(not_run)) {
                        let why = &test.reason;
                        report.notes.push(format!("the doc tests of {} were not run: {why}", package.name));
                    }
                    tested.targets.push(*target);
                }
            }
            tested.interrupted |= interrupt.happened();
        }
    }
    for target in &tested.targets {
        report.status = report.status.or(verdict::of_target(target, setup.audit));
    }
    if tested.interrupted {
        report.status = report.status.or(ExitStatus::Interrupted);
    }
    // Grants may be needed by what was not run: then nothing is said of those that nothing used.
    let whole = tested.failure.is_none() && !libtest.list;
    let failed = tested.failure.is_some();
    if let Some(failure) = tested.failure.take() {
        report.status = report.status.or(outputs.said(failure));
    }
    (report.targets, report.kernel) = (tested.targets, tested.kernel);
    if setup.audit {
        report.notes.push(audit_note(&report.targets));
    }
    let policies: Vec<&PackagePolicy> = permissions.iter().map(|permissions| &permissions.policy).collect();
    not_run_level(&mut report, args.not_run);
    if whole {
        unused::apply(&mut report, &policies, unused::level(&args.policy, is_full(args, libtest)));
    }
    let fixing: Vec<Fixing<'_>> = packages
        .iter()
        .zip(permissions.iter().zip(&held))
        .map(|(package, (permissions, held))| Fixing { permissions, package, held: held.as_ref() })
        .collect();
    let mut how = args.policy.fix.clone();
    if failed && !how.is_empty() {
        report.notes.push("nothing was fixed, as not everything could be run".to_owned());
        how.clear();
    } else if libtest.list && how.contains(&Fix::Prune) {
        report.notes.push("no grant was removed, as no test was run that may need it".to_owned());
        how.iter_mut().filter(|how| **how == Fix::Prune).for_each(|how| *how = Fix::Grants);
    }
    fix::fix(&mut report, workspace, &fixing, &how, outputs);
    report.duration = begun.elapsed();
    let quiet = libtest.list && report.status == ExitStatus::Success && report.notes.is_empty();
    // A list is for whoever reads standard output: where all is well there is nothing else to say.
    Ok(if quiet { outputs.finish_silently(&report) } else { outputs.finish(&report) })
}

/// Whether every test of every target runs that a plain `cargo test` would run.
fn is_full(args: &TestArgs, libtest: &LibtestArgs) -> bool {
    if libtest.list {
        return false;
    }
    let one_target = args.lib || args.bins || args.examples || args.tests || args.doc;
    let named = args.bin.is_empty() && args.example.is_empty() && args.test.is_empty();
    let unfiltered = args.filters.is_empty() && libtest.filters.is_empty() && libtest.skip.is_empty();
    let whole = args.partition.is_none() && !args.fail_fast && !libtest.ignored;
    !one_target && named && unfiltered && whole
}

/// The permissions of all packages; every mistake of every manifest at once.
fn permissions(
    workspace: &Workspace,
    packages: &[&Package],
    args: &TestArgs,
    outputs: &mut Outputs,
) -> Result<Vec<Permissions>, Failure> {
    let mut all = Vec::new();
    let mut failed: Option<Failure> = None;
    for package in packages {
        match policies::load(workspace, package, &args.policy) {
            Ok(mut permissions) => {
                outputs.messages(std::mem::take(&mut permissions.warnings));
                outputs.messages(closed_to_guests(&package.root).into_iter().collect());
                all.push(permissions);
            }
            Err(failure) => match &mut failed {
                // There is more than enough to mend.
                Some(before) if before.messages.len() > MOST_MISTAKES => {}
                Some(before) => {
                    let new: Vec<_> =
                        failure.messages.into_iter().filter(|one| !before.messages.contains(one)).collect();
                    before.messages.extend(new);
                }
                None => failed = Some(failure),
            },
        }
    }
    failed.map_or(Ok(all), Err)
}

fn targets(args: &TestArgs) -> TargetFlags {
    TargetFlags {
        lib: args.lib,
        bins: args.bins,
        bin: args.bin.clone(),
        examples: args.examples,
        example: args.example.clone(),
        tests: args.tests,
        test: args.test.clone(),
        all_targets: args.all_targets,
        ..TargetFlags::default()
    }
}

/// How the user's own rustc lays out libtest's descriptors.
fn layout(flags: &CargoFlags, workspace: &Workspace) -> Result<Layout, String> {
    let rustc = || {
        let mut rustc = Command::new(config::rustc(flags, &workspace.current_dir));
        rustc.current_dir(&workspace.current_dir);
        rustc
    };
    let folder = sandbox_dir(&workspace.target_dir).join(".cargo-sandbox");
    libtest::layout(rustc, WASIP1, &folder).map_err(|error| error.0)
}

/// Why no test of a native harness is run.
const NATIVE: &str = "its harness is a native program, which no wall would hold";

/// As nextest names it.
fn binary_name(artifact: &Artifact) -> String {
    let (name, target) = (&artifact.package, &artifact.name);
    match artifact.kind {
        TargetKind::Lib => name.clone(),
        TargetKind::Test => format!("{name}::{target}"),
        kind => format!("{name}::{}/{target}", kind.as_str()),
    }
}

/// The report of a harness of native tests. Even to list them would be to run it.
fn not_run(harness: &Artifact, index: usize) -> TargetReport {
    let id = TestId { target: index, binary: binary_name(harness), name: "all".to_owned() };
    TargetReport {
        package: harness.package.clone(),
        version: harness.version.clone(),
        name: harness.name.clone(),
        kind: harness.kind.as_str().to_owned(),
        artifact: harness.file.clone(),
        wasi: String::new(),
        duration: Duration::ZERO,
        outcome: None,
        grants: Vec::new(),
        violations: Vec::new(),
        tests: vec![TestReport {
            id,
            verdict: TestVerdict::NotRun,
            outcome: None,
            duration: Duration::ZERO,
            attempts: 1,
            violations: Vec::new(),
            output: Vec::new(),
            reason: NATIVE.to_owned(),
        }],
        notes: Vec::new(),
        output: Vec::new(),
    }
}

/// Applies `--not-run`.
fn not_run_level(report: &mut Report, level: NotRun) {
    let mut tests = report.targets.iter().flat_map(|target| &target.tests);
    if level == NotRun::Deny && tests.any(|test| test.verdict == TestVerdict::NotRun) {
        report.status = report.status.or(ExitStatus::Failed);
        report.notes.push(merge::DENIED.to_owned());
    }
}

fn suite<'a>(
    artifact: Artifact,
    package: &Package,
    permissions: &'a Permissions,
) -> Result<Suite<'a>, Failure> {
    Ok(Suite {
        subject: subject(permissions, package),
        binary: binary_name(&artifact),
        artifact: artifact.file,
        target: artifact.name,
        cargo_kind: artifact.kind.as_str().to_owned(),
        current_dir: std::fs::canonicalize(&package.root)?,
    })
}

fn run_options(args: &TestArgs, libtest: &LibtestArgs) -> Options {
    let filter = Filter {
        names: args.filters.iter().chain(&libtest.filters).cloned().collect(),
        exact: libtest.exact,
        skip: libtest.skip.clone(),
        ignored: match (libtest.ignored, libtest.include_ignored) {
            (_, true) => Ignored::Include,
            (true, false) => Ignored::Only,
            (false, false) => Ignored::Skip,
        },
        shard: args.partition.map(|part| Shard { hash: part.hash, shard: part.shard, of: part.of }),
    };
    // One test at a time where output is shown as it comes, or nobody could read it.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = libtest.test_threads.unwrap_or(if libtest.nocapture { 1 } else { cores });
    Options {
        filter,
        workers: workers.max(1),
        live: libtest.nocapture,
        show_output: libtest.show_output,
        retries: args.retries,
        fail_fast: args.fail_fast,
        timeout: args.timeout,
        slow: SLOW,
    }
}

/// Prints lists of tests as libtest does it.
fn print(listed: &[tests::ListedSuite], terse: bool) -> ExitStatus {
    let mut text = String::new();
    for suite in listed {
        if !terse {
            text += &format!("{}:\n", escape::line(&suite.binary));
        }
        for test in &suite.tests {
            // A name is the guest's word: it must not reach a terminal as it is. No name that rustc allows is changed.
            let name = escape::line(&test.name);
            let indent = if terse { "" } else { "    " };
            text += &format!("{indent}{name}: {}\n", if test.bench { "benchmark" } else { "test" });
        }
    }
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitStatus::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitStatus::Success,
        Err(error) => {
            fatal(&format!("cannot write the list of tests: {error}"));
            ExitStatus::Fault
        }
    }
}

//! `cargo sandbox test`.

use super::args::{Fix, LibtestArgs, NotRun, TestArgs};
use super::first_look::OF_TESTS;
use super::fix::{self, Fixing, Held};
use super::options;
use super::output::fatal;
use super::policies::Permissions;
use super::session::{Asked, Session};
use super::unused;
use crate::audit::envelope::audit_note;
use crate::cargo::command::{Artifact, Built, Goal, TargetFlags};
use crate::cargo::metadata::{Package, TargetKind, Workspace};
use crate::cargo::{CargoFlags, WASIP1, config, sandbox_dir, select};
use crate::event::{KernelReport, Report, RunEvent, TargetReport, TestId, TestReport, TestVerdict};
use crate::exit_status::ExitStatus;
use crate::report::{escape, merge};
use crate::runner::interrupt::Interrupt;
use crate::runner::suite::{self as tests, Context, Filter, Ignored, Options, Shard, Suite, Tested};
use crate::runner::{self, Failure, doctest, verdict};
use crate::should_panic::{self, Layout};
use crate::worker::supervisor::Launcher;
use clap::Parser;
use sandbox_policy::diagnostic::{Diagnostic, Severity};
use sandbox_policy::{MOST_MISTAKES, PackagePolicy};
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
    let asked = Asked {
        command: "sandbox-test",
        cargo: &args.cargo,
        output: &args.output,
        guests: options::guests_of_test(&args),
        unused: unused::level(&args.policy, is_full(&args, &libtest)),
        layers: (!args.no_run).then_some(OF_TESTS),
    };
    asked.session(|session| run_tests(&args, &libtest, begun, session))
}

fn run_tests(
    args: &TestArgs,
    libtest: &LibtestArgs,
    begun: Instant,
    session: &mut Session<'_>,
) -> Result<ExitStatus, Failure> {
    let interrupt = Interrupt::install()?;
    let packages = select::packages(session.workspace, session.flags)?;
    let held = packages.iter().map(|package| Held::new(&package.manifest, &args.policy));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    let permissions = permissions(session, &packages)?;

    let (built, layout) = build(args, session, &packages, &interrupt)?;
    let harnesses = Harnesses::new(built, args, &packages, &permissions)?;
    if args.no_run {
        harnesses.name(session);
        return Ok(ExitStatus::Success);
    }

    let options = run_options(args, libtest);
    let mut report = Report {
        command: "sandbox-test".to_owned(),
        status: ExitStatus::Success,
        kernel: KernelReport::default(),
        audit: session.guests.setup.audit,
        targets: Vec::new(),
        duration: Duration::ZERO,
        notes: Vec::new(),
    };
    let launcher = Launcher::new();
    let context = Context {
        launcher: &launcher,
        setup: &session.guests.setup,
        interrupt: &interrupt,
        layout: layout.as_ref().map_err(String::as_str),
    };
    let mut tested = if libtest.list {
        harnesses.list(libtest, &options, context, session, &mut report)?
    } else {
        let mut tested = harnesses.run(&options, context, session)?;
        if wants_doc_tests(args) {
            doc_tests(args, &options.filter, &packages, &interrupt, session, &mut tested, &mut report);
        }
        tested
    };

    // Grants may be needed by what was not run: then nothing is said of those that nothing used.
    let failure = tested.failure.take();
    let failed = failure.is_some();
    judge(&mut report, tested);
    if let Some(failure) = failure {
        report.status = report.status.or(session.outputs.said(failure));
    }
    not_run_level(&mut report, args.not_run);
    if !failed && !libtest.list {
        let policies: Vec<&PackagePolicy> =
            permissions.iter().map(|permissions| &permissions.policy).collect();
        unused::apply(&mut report, &policies, unused::level(&args.policy, is_full(args, libtest)));
    }
    let how = how_to_fix(args, libtest, failed, &mut report);
    let fixing: Vec<Fixing<'_>> = packages
        .iter()
        .zip(permissions.iter().zip(&held))
        .map(|(package, (permissions, held))| Fixing { permissions, package, held: held.as_ref() })
        .collect();
    fix::fix(&mut report, session.workspace, &fixing, &how, session.outputs);
    report.duration = begun.elapsed();
    let quiet = libtest.list && report.status == ExitStatus::Success && report.notes.is_empty();
    // A list is for whoever reads standard output: where all is well there is nothing else to say.
    let outputs = &mut *session.outputs;
    Ok(if quiet { outputs.finish_silently(&report) } else { outputs.finish(&report) })
}

/// What cargo builds, and how libtest's descriptors lie in it, or why that is not known.
fn build(
    args: &TestArgs,
    session: &mut Session<'_>,
    packages: &[&Package],
    interrupt: &Interrupt,
) -> Result<(Built, Result<Layout, String>), Failure> {
    if args.doc {
        return Ok((Built::default(), Err("it was not asked for".to_owned())));
    }
    let (flags, workspace) = (session.flags, session.workspace);
    // By their ids, as other versions of them may be among the dependencies.
    let ids = || packages.iter().map(|package| package.spec()).collect();
    let only = CargoFlags {
        packages: if flags.packages.is_empty() || flags.workspace { flags.packages.clone() } else { ids() },
        ..flags.clone()
    };
    let (built, measured) = thread::scope(|scope| {
        // It takes as long as cargo needs to see that nothing is to be built.
        let measure = scope.spawn(|| layout(flags, workspace));
        let built = session.build(Goal::Tests, &only, &targets(args), interrupt);
        (built, measure.join().unwrap_or_else(|_| Err("its measurement failed".to_owned())))
    });
    // The target may only have been installed meanwhile.
    let layout = measured.or_else(|_| layout(flags, workspace));
    Ok((built?, layout))
}

/// What cargo has built for the chosen packages.
struct Harnesses<'a> {
    suites: Vec<Suite<'a>>,
    /// Programs of this machine, which are not run.
    native: Vec<Artifact>,
}

impl<'a> Harnesses<'a> {
    fn new(
        built: Built,
        args: &TestArgs,
        packages: &[&Package],
        permissions: &'a [Permissions],
    ) -> Result<Self, Failure> {
        let mut suites = Vec::new();
        for artifact in built.guests.into_iter().filter(|artifact| artifact.test) {
            let owner =
                packages.iter().zip(permissions).find(|(package, _)| package.id == artifact.package_id);
            if let Some((package, permissions)) = owner {
                suites.push(suite(artifact, package, permissions)?);
            }
        }
        let is_selected =
            |artifact: &Artifact| packages.iter().any(|package| package.id == artifact.package_id);
        // They cannot be listed, so they all go to one shard.
        let first_shard = args.partition.is_none_or(|part| part.shard == 1);
        let native = built.native_tests.into_iter().filter(is_selected).filter(|_| first_shard).collect();
        Ok(Self { suites, native })
    }

    /// `--no-run`: says what was built.
    fn name(&self, session: &mut Session<'_>) {
        let suites = self.suites.iter().map(|suite| {
            let shown = suite.artifact.strip_prefix(&session.workspace.root).unwrap_or(&suite.artifact);
            format!("{} (`{}`)", suite.binary, shown.display())
        });
        let native = self.native.iter().map(|harness| format!("{} ({NATIVE})", binary_name(harness)));
        for text in suites.chain(native) {
            session.outputs.event(&RunEvent::Status { verb: "Executable", text });
        }
    }

    /// `--list`: prints the chosen tests.
    fn list(
        &self,
        libtest: &LibtestArgs,
        options: &Options,
        context: Context<'_>,
        session: &mut Session<'_>,
        report: &mut Report,
    ) -> Result<Tested, Failure> {
        let mut find_packages = session.find_packages();
        let mut tell = |event| session.outputs.event(&event);
        let (listed, tested) = tests::list(&self.suites, options, context, &mut find_packages, &mut tell)?;
        for harness in &self.native {
            let text = format!("tests of {} are not listed: {NATIVE}", binary_name(harness));
            tell(RunEvent::Message(Diagnostic::new(Severity::Note, "", text)));
        }
        report.status = report.status.or(print(&listed, libtest.format.as_deref() == Some("terse")));
        Ok(tested)
    }

    /// Runs the chosen tests.
    fn run(
        &self,
        options: &Options,
        context: Context<'_>,
        session: &mut Session<'_>,
    ) -> Result<Tested, Failure> {
        let mut find_packages = session.find_packages();
        let mut tell = |event| session.outputs.event(&event);
        let mut tested = tests::run(&self.suites, options, context, &mut find_packages, &mut tell)?;
        for harness in &self.native {
            let target = not_run(harness, tested.targets.len());
            target.tests.iter().for_each(|test| tell(RunEvent::TestFinished(test.clone())));
            tell(RunEvent::TargetFinished(target.clone()));
            tested.targets.push(target);
        }
        Ok(tested)
    }
}

/// Whether the command line asks for doc tests: as cargo does it, unless it names other targets.
fn wants_doc_tests(args: &TestArgs) -> bool {
    let named = args.lib || args.bins || args.examples || args.tests || args.all_targets;
    let chosen = [&args.bin, &args.example, &args.test].iter().any(|names| !names.is_empty());
    // They are not listed beforehand, so they all go to one shard.
    args.doc || (!named && !chosen && args.partition.is_none_or(|part| part.shard == 1))
}

/// Runs the examples of the documentation of every package, and adds what came of them to the rest.
fn doc_tests(
    args: &TestArgs,
    filter: &Filter,
    packages: &[&Package],
    interrupt: &Interrupt,
    session: &mut Session<'_>,
    tested: &mut Tested,
    report: &mut Report,
) {
    for package in packages {
        let documentation = doctest::Documentation {
            workspace: session.workspace,
            package,
            index: tested.targets.len(),
            flags: session.flags,
            filter,
            guests: session.guests,
            interrupt,
        };
        let is_bad = |target| verdict::of_target(target, report.audit) != ExitStatus::Success;
        let stopped = if tested.interrupted {
            Some("interrupted")
        } else if tested.failure.is_some() {
            Some("not everything could be run")
        } else {
            let failed = args.fail_fast && tested.targets.iter().any(is_bad);
            failed.then_some("another test had failed")
        };
        let mut tell = |event| session.outputs.event(&event);
        if let Some(documented) = doctest::run(documentation, stopped, &mut tell) {
            let doctest::Documented { target, kernel, status } = documented;
            report.status = report.status.or(status);
            if tested.kernel == KernelReport::default() {
                tested.kernel = kernel.unwrap_or_default();
            }
            let not_run = |test: &TestReport| test.verdict == TestVerdict::NotRun;
            if let Some(test) = target.tests.first().filter(|_| target.tests.iter().all(not_run)) {
                let why = &test.reason;
                report.notes.push(format!("the doc tests of {} were not run: {why}", package.name));
            }
            tested.targets.push(target);
        }
        tested.interrupted |= interrupt.happened();
    }
}

/// Makes the verdict on what has run.
fn judge(report: &mut Report, tested: Tested) {
    for target in &tested.targets {
        report.status = report.status.or(verdict::of_target(target, report.audit));
    }
    if tested.interrupted {
        report.status = report.status.or(ExitStatus::Interrupted);
    }
    (report.targets, report.kernel) = (tested.targets, tested.kernel);
    if report.audit {
        report.notes.push(audit_note(&report.targets));
    }
}

/// What of `--fix` can be done after what was run.
fn how_to_fix(args: &TestArgs, libtest: &LibtestArgs, failed: bool, report: &mut Report) -> Vec<Fix> {
    let mut how = args.policy.fix.clone();
    if failed && !how.is_empty() {
        report.notes.push("nothing was fixed, as not everything could be run".to_owned());
        how.clear();
    } else if libtest.list && how.contains(&Fix::Prune) {
        report.notes.push("no grant was removed, as no test was run that may need it".to_owned());
        how.iter_mut().filter(|how| **how == Fix::Prune).for_each(|how| *how = Fix::Grants);
    }
    how
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
fn permissions(session: &mut Session<'_>, packages: &[&Package]) -> Result<Vec<Permissions>, Failure> {
    let mut all = Vec::new();
    let mut failed: Option<Failure> = None;
    for package in packages {
        match session.permissions(package, &package.root) {
            Ok(permissions) => all.push(permissions),
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
    should_panic::layout(rustc, WASIP1, &folder).map_err(|error| error.0)
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
    let named = runner::Target {
        package: &harness.package,
        version: &harness.version,
        name: &harness.name,
        kind: harness.kind.as_str(),
        artifact: &harness.file,
        wasi: "",
    };
    TargetReport {
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
        ..named.report()
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
        subject: permissions.subject(Some(package)),
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

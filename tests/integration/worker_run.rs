//! One guest in one worker: every way to end, and what is known of it.
use crate::support::{artifact, launcher, package, root, wasm};
use cargo_sandbox::compile::{Cache, Strategy};
use cargo_sandbox::event::{GuestOutcome, KernelReport};
use cargo_sandbox::worker::protocol::{Confinement, RunTask};
use cargo_sandbox::worker::supervisor::{RunEnd, RunJob, RunListener, RunResult, Symboliser, WorkerError};
use sandbox_policy::access::{
    Evidence, GrantId, Operation, OperationSet, RawFrame, RawViolation, Resource, Wall,
};
use sandbox_policy::{Bindings, PackagePolicy, Policy, Scope, TargetKind};
use sandbox_walls::Walls;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Heard {
    ready: Option<KernelReport>,
    violations: Vec<RawViolation>,
    questions: usize,
}

impl RunListener for Heard {
    fn ready(&mut self, kernel: &KernelReport) {
        self.ready = Some(kernel.clone());
    }
    fn violation(&mut self, violation: &RawViolation) {
        self.violations.push(violation.clone());
    }
    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        assert!(!backtrace.is_empty());
        self.questions += 1;
        Some("actor".to_owned())
    }
}

fn policy(package: &PackagePolicy) -> Policy {
    let bindings = Bindings { tmp: None, current_dir: PathBuf::from("/") };
    package.for_target(TargetKind::Bin, "actor", None, &bindings)
}

fn run_as(
    policy: Policy,
    args: &[&str],
    confinement: Confinement,
    heard: &mut Heard,
) -> Result<RunResult, WorkerError> {
    let artifact = artifact(confinement.strategy);
    let root = root();
    launcher().run(
        RunJob {
            code: artifact.code.as_fd(),
            root: root.as_fd(),
            task: RunTask {
                confinement,
                policy,
                args: std::iter::once("actor")
                    .chain(args.iter().copied())
                    .map(|a| a.as_bytes().to_vec())
                    .collect(),
                env: Vec::new(),
            },
            grants: 10,
            interrupt: None,
        },
        heard,
    )
}

fn run(policy: Policy, args: &[&str]) -> RunResult {
    run_as(policy, args, Confinement::new(Strategy::Cranelift), &mut Heard::default()).unwrap()
}

#[test]
fn every_end_of_a_guest_is_told_apart() {
    let ends = |what: &str| run(policy(&package(&[])), &[what]).end;
    assert_eq!(ends("ok"), RunEnd::Guest(GuestOutcome::Exited(0)));
    assert_eq!(ends("exit"), RunEnd::Guest(GuestOutcome::Exited(3)));
    assert_eq!(ends("trap"), RunEnd::Guest(GuestOutcome::Trapped("unreachable".to_owned())));
    assert_eq!(ends("x"), RunEnd::Guest(GuestOutcome::Panicked));
    assert_eq!(ends("stack"), RunEnd::Guest(GuestOutcome::Trapped("stack overflow".to_owned())));
}

#[test]
fn both_compilers_run_the_guest() {
    for strategy in [Strategy::Cranelift, Strategy::Winch] {
        let mut heard = Heard::default();
        let policy = policy(&package(&[]));
        let result = run_as(policy, &["stack"], Confinement::new(strategy), &mut heard).unwrap();
        assert_eq!(result.end, RunEnd::Guest(GuestOutcome::Trapped("stack overflow".to_owned())));
        assert!(!result.backtrace.is_empty());
        let kernel = heard.ready.unwrap();
        assert!(kernel.seccomp && !kernel.enforced.is_empty());
    }
}

#[test]
fn a_limit_of_time_ends_an_endless_loop_and_one_of_memory_a_glutton() {
    let mut limited = policy(&package(&[]));
    limited.limits.time = Some(Duration::from_millis(200));
    let begun = Instant::now();
    let result = run(limited, &["loop"]);
    assert_eq!(result.end, RunEnd::Guest(GuestOutcome::TimedOut(Duration::from_millis(200))));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut limited = policy(&package(&[]));
    limited.limits.memory = Some(8 << 20);
    let result = run(limited, &["memory"]);
    assert_eq!(result.end, RunEnd::Guest(GuestOutcome::Limit("memory".to_owned())));
}

#[test]
fn an_interruption_ends_the_run() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let artifact = artifact(Strategy::Cranelift);
    let root = root();
    let interrupter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        rustix::io::write(&write, b"!").unwrap();
        std::thread::sleep(Duration::from_millis(500));
    });
    let result = launcher()
        .run(
            RunJob {
                code: artifact.code.as_fd(),
                root: root.as_fd(),
                task: RunTask {
                    confinement: Confinement::new(Strategy::Cranelift),
                    policy: policy(&package(&[])),
                    args: vec![b"actor".to_vec(), b"loop".to_vec()],
                    env: Vec::new(),
                },
                grants: 0,
                interrupt: Some(read.as_fd()),
            },
            &mut Heard::default(),
        )
        .unwrap();
    assert_eq!(result.end, RunEnd::Guest(GuestOutcome::Interrupted));
    interrupter.join().unwrap();
}

#[test]
fn an_ungranted_access_is_reported_once_with_its_count_and_a_granted_one_counts_for_its_grant() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().canonicalize().unwrap().join("secret");
    std::fs::write(&file, "secret").unwrap();
    let path = file.to_str().unwrap();
    let mut heard = Heard::default();
    let confined = Confinement::new(Strategy::Cranelift);
    let result = run_as(policy(&package(&[])), &["a", &path[1..]], confined.clone(), &mut heard).unwrap();
    assert_eq!(result.end, RunEnd::Guest(GuestOutcome::Exited(0)));
    assert_eq!(heard.violations.len(), 1);
    let (violation, count) = &result.observed.violations[0];
    assert_eq!(*count, 10);
    assert_eq!(violation.access.operation, Operation::Read);
    assert_eq!(violation.access.resource, Resource::Path(path.into()));
    assert_eq!(violation.wall, Wall::Wasi);
    assert_ne!(violation.evidence, Evidence::Wasm(vec![]));

    let granted = policy(&package(&[(OperationSet::FS_READ, path, Scope::Always)]));
    let result = run_as(granted, &["a", &path[1..]], confined.clone(), &mut Heard::default()).unwrap();
    assert!(result.observed.violations.is_empty());
    assert_eq!(result.observed.uses.get(&GrantId(0)), Some(&10));

    let mut by = package(&[(OperationSet::FS_READ, path, Scope::Always)]);
    by.grants[0].by = vec!["actor".to_owned()];
    let mut heard = Heard::default();
    let result = run_as(policy(&by), &["a", &path[1..]], confined, &mut heard).unwrap();
    assert!(result.observed.violations.is_empty());
    assert_eq!(heard.questions, 1);
}

#[test]
fn each_wall_alone_stops_a_file_from_being_created() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap();
    let create = |walls: Walls, grants: &[(OperationSet, &str, Scope)], name: &str| {
        let confined = Confinement { walls, ..Confinement::new(Strategy::Cranelift) };
        let path = dir.join(name);
        let args = ["create", &path.to_str().unwrap()[1..]];
        run_as(policy(&package(grants)), &args, confined, &mut Heard::default()).unwrap();
        path.exists()
    };
    let dir_name = dir.to_str().unwrap();
    let granted = [(OperationSet::FS_WRITE, dir_name, Scope::Always)];
    assert!(create(Walls::ALL, &granted, "granted"));
    assert!(!create(Walls::ALL, &[], "all"));
    assert!(!create(Walls::ALL.without(Wall::Landlock), &[], "no-landlock"));
    assert!(!create(Walls::ALL.without(Wall::Wasi), &[], "no-wasi"));
    assert!(create(Walls::only(|wall| wall == Wall::Seccomp), &[], "neither"));
}

#[test]
fn an_audited_access_within_the_envelope_happens_and_is_reported_and_one_beyond_it_does_not_happen() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap();
    let (inside, outside) = (dir.join("inside"), dir.join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let envelope = package(&[(OperationSet::FS_ALL, inside.to_str().unwrap(), Scope::Always)]);
    let create = |path: PathBuf| {
        let confined = Confinement {
            audit: Some(policy(&envelope)),
            kernel_policy: Some(policy(&envelope)),
            ..Confinement::new(Strategy::Cranelift)
        };
        let args = ["create", &path.to_str().unwrap()[1..]];
        let result = run_as(policy(&package(&[])), &args, confined, &mut Heard::default()).unwrap();
        assert!(!result.observed.violations.is_empty());
        path.exists()
    };
    assert!(create(inside.join("x")));
    assert!(!create(outside.join("x")));
}

#[test]
fn damaged_code_is_an_error_that_asks_to_compile_again() {
    let mut code = tempfile::tempfile().unwrap();
    code.write_all(&[0x7f; 5000]).unwrap();
    let root = root();
    let job = RunJob {
        code: code.as_fd(),
        root: root.as_fd(),
        task: RunTask {
            confinement: Confinement::new(Strategy::Cranelift),
            policy: policy(&package(&[])),
            args: vec![b"actor".to_vec()],
            env: Vec::new(),
        },
        grants: 0,
        interrupt: None,
    };
    let error = launcher().run(job, &mut Heard::default()).unwrap_err();
    assert!(matches!(error, WorkerError::Load(_)), "{error}");
}

#[test]
fn code_of_the_other_compiler_is_refused() {
    let artifact = artifact(Strategy::Winch);
    let root = root();
    let job = RunJob {
        code: artifact.code.as_fd(),
        root: root.as_fd(),
        task: RunTask {
            confinement: Confinement::new(Strategy::Cranelift),
            policy: policy(&package(&[])),
            args: vec![b"actor".to_vec()],
            env: Vec::new(),
        },
        grants: 0,
        interrupt: None,
    };
    let error = launcher().run(job, &mut Heard::default()).unwrap_err();
    assert!(matches!(error, WorkerError::Load(_)), "{error}");
}

#[test]
fn code_from_the_cache_runs_and_a_module_that_is_none_is_said_to_be_none() {
    let tmp = tempfile::tempdir().unwrap();
    let cache = Cache::open(&tmp.path().join("cache"), 1 << 30).unwrap();
    let mut wasm = wasm();
    let prepare = |wasm: &mut std::fs::File| launcher().prepare(wasm, Strategy::Cranelift, Some(&cache));
    assert!(!prepare(&mut wasm).unwrap().cached);
    std::thread::sleep(Duration::from_millis(150));
    for _ in 0..2 {
        let artifact = prepare(&mut wasm).unwrap();
        assert!(artifact.cached && artifact.module_info.command);
        assert_eq!(artifact.module_info.marker, None);
        let root = root();
        let job = RunJob {
            code: artifact.code.as_fd(),
            root: root.as_fd(),
            task: RunTask {
                confinement: Confinement::new(Strategy::Cranelift),
                policy: policy(&package(&[])),
                args: vec![b"actor".to_vec(), b"exit".to_vec()],
                env: Vec::new(),
            },
            grants: 0,
            interrupt: None,
        };
        let result = launcher().run(job, &mut Heard::default()).unwrap();
        assert_eq!(result.end, RunEnd::Guest(GuestOutcome::Exited(3)));
    }
    let mut other = tempfile::tempfile().unwrap();
    other.write_all(b"\0asm, but not quite").unwrap();
    let error = prepare(&mut other).unwrap_err();
    assert!(error.message.contains("not a valid module"), "{}", error.message);
}

#[test]
fn symbols_come_from_a_child_and_nonsense_leaves_nothing() {
    let mut symbols = Symboliser::new(&launcher(), wasm());
    let frame = RawFrame { function: 9, offset: 0 };
    for _ in 0..2 {
        let names = symbols.symbolise(&[frame, frame]).unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!(names[0][0].function, "is");
    }
    let mut junk = tempfile::tempfile().unwrap();
    junk.write_all(&[0xfe; 3000]).unwrap();
    let names = Symboliser::new(&launcher(), junk).symbolise(&[frame]).unwrap();
    assert_eq!(names, [Vec::new()]);
}

/// What runs when a module is instantiated is not run for nothing.
#[test]
fn a_module_that_cannot_be_started_runs_nothing_at_all() {
    let text = include_str!("guests/actor.wat").replace("(func (export \"_start\")", "(func $work");
    let text = text.trim_end().strip_suffix(')').expect("a module").to_owned();
    for start in
        ["", "(func (export \"_start\") (param i32))", "(global (export \"_start\") i32 (i32.const 0))"]
    {
        let mut wasm = crate::support::assemble(&format!("{text} (start $work) {start})"));
        let artifact = launcher().prepare(&mut wasm, Strategy::Cranelift, None).unwrap();
        let mut heard = Heard::default();
        let root = root();
        let job = RunJob {
            code: artifact.code.as_fd(),
            root: root.as_fd(),
            task: RunTask {
                confinement: Confinement::new(Strategy::Cranelift),
                policy: policy(&package(&[])),
                args: ["actor", "read", "etc/passwd"].map(|word| word.as_bytes().to_vec()).into(),
                env: Vec::new(),
            },
            grants: 0,
            interrupt: None,
        };
        let ended = launcher().run(job, &mut heard);
        assert!(matches!(ended, Err(WorkerError::Link(_))), "{start}: {ended:?}");
        assert!(heard.ready.is_none() && heard.violations.is_empty(), "{start}");
    }
}

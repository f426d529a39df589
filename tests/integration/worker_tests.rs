//! Many tests in zygotes: each gets its own end, and none changes another's.
use crate::support::suite::{Suite, job, on, run, run_artifact, run_in, run_suite, test};
use crate::support::{artifact, assemble, launcher, package, root};
use cargo_sandbox::compile::{Cache, Stamp, Strategy};
use cargo_sandbox::event::{GuestOutcome, KernelReport};
use cargo_sandbox::worker::protocol::{InjectedFault, Patch, TestRun};
use cargo_sandbox::worker::supervisor::{PoolJob, RunEnd, RunResult, TestPool, Tests, TierUp};
use sandbox_policy::LimitsPatch;
use sandbox_policy::access::{GrantId, OperationSet, Wall};
use sandbox_policy::{PackagePolicy, Scope};
use sandbox_walls::{LandlockLevel, Walls};
use std::fs::File;
use std::time::{Duration, Instant};

fn guest(outcome: GuestOutcome) -> RunEnd {
    RunEnd::Guest(outcome)
}

fn guest_ended(status: i32) -> RunEnd {
    guest(GuestOutcome::Exited(status))
}

#[test]
fn each_test_has_its_own_end_in_any_order_and_with_any_number_of_workers() {
    for workers in [1, 2, 4] {
        for reverse in [false, true] {
            let mut tests = vec![
                test(0, "print"),
                test(1, "exit"),
                test(2, "trap"),
                test(3, "x"),
                test(4, "stack"),
                TestRun { time: Some(Duration::from_millis(150)), ..test(5, "loop") },
                test(6, "flood"),
                test(7, "ok"),
            ];
            if reverse {
                tests.reverse();
            }
            let suite = run(workers, tests);
            assert_eq!(*suite.end(0), guest(GuestOutcome::Exited(0)));
            assert_eq!(suite.results[&0].output.bytes(), b"hello from the guest\n");
            assert_eq!(*suite.end(1), guest(GuestOutcome::Exited(3)));
            assert_eq!(*suite.end(2), guest(GuestOutcome::Trapped("unreachable".to_owned())));
            assert_eq!(*suite.end(3), guest(GuestOutcome::Panicked));
            assert_eq!(*suite.end(4), guest(GuestOutcome::Trapped("stack overflow".to_owned())));
            assert_eq!(*suite.end(5), guest(GuestOutcome::TimedOut(Duration::from_millis(150))));
            assert_eq!(*suite.end(6), guest(GuestOutcome::Exited(0)));
            assert!(suite.results[&6].output.dropped() > 100_000_000);
            assert_eq!(*suite.end(7), guest(GuestOutcome::Exited(0)));
            assert_eq!(suite.results.len(), 8);
        }
    }
}

#[test]
fn a_child_that_was_taken_over_changes_no_other_verdict() {
    use InjectedFault::*;
    for workers in [1, 2] {
        let bad = [Lie, SpeakForAnother, Flood, Garbage, Fork, Signal, Silent, Die, Ask, Spin];
        let mut tests = vec![];
        for (i, fault) in (0..).zip(bad) {
            tests.push(test(2 * i, "exit"));
            // Only one has to be ended; the others may take their time on a busy machine.
            let time = Duration::from_millis(if fault == Spin { 500 } else { 60_000 });
            tests.push(TestRun { fault: Some(fault), time: Some(time), ..test(2 * i + 1, "ok") });
        }
        let suite = run(workers, tests);
        assert_eq!(suite.results.len(), 20);
        for (i, fault) in (0..).zip(bad) {
            assert_eq!(*suite.end(2 * i), guest(GuestOutcome::Exited(3)), "beside {fault:?}");
            let end = suite.end(2 * i + 1);
            assert_ne!(*end, guest(GuestOutcome::Exited(0)), "{fault:?} passed");
            match fault {
                Fork | Signal => assert_eq!(*end, guest(GuestOutcome::Killed(31)), "{fault:?}"),
                Die => assert_eq!(*end, guest(GuestOutcome::Killed(6)), "{fault:?}"),
                Spin => {
                    assert_eq!(*end, guest(GuestOutcome::TimedOut(Duration::from_millis(500))));
                }
                _ => assert!(matches!(end, RunEnd::Fault { .. }), "{fault:?}: {end:?}"),
            }
        }
    }
}

#[test]
fn a_child_has_no_socket_but_its_own() {
    let tests = (0..6).map(|id| TestRun { fault: Some(InjectedFault::Reach), ..test(id, "print") });
    let suite = run(2, tests.collect());
    for result in suite.results.values() {
        assert_eq!(String::from_utf8_lossy(&result.output.bytes()), "hello from the guest\n");
    }
}

#[test]
fn without_landlock_a_child_has_no_capability_and_reaches_no_memory_of_those_above() {
    // As the command does it; root reaches past that with its capabilities.
    sandbox_walls::process::set_not_dumpable().unwrap();
    let (artifact, root) = (artifact(Strategy::Cranelift), root());
    let mut job = job(&artifact, &root, Strategy::Cranelift, package(&[]), None);
    job.task.confinement.landlock = LandlockLevel::Off;
    let tests = (0..2).map(|id| TestRun { fault: Some(InjectedFault::Pry), ..test(id, "print") });
    let mut suite = Suite { waiting: tests.collect(), ..Suite::default() };
    assert!(!TestPool::new(&launcher(), job).run(&mut suite).unwrap());
    for result in suite.results.values() {
        let output = String::from_utf8_lossy(&result.output.bytes()).into_owned();
        let lines: Vec<&str> = output.lines().collect();
        // A user has a bounding set that needs a capability to be made smaller; it bounds nothing that there is.
        let bounding = |line: &&str| !line.starts_with("CapBnd") || rustix::process::geteuid().is_root();
        let capabilities: Vec<&str> = lines.iter().filter(|line| line.starts_with("Cap")).copied().collect();
        assert_eq!(capabilities.len(), 5, "{output}");
        assert!(
            capabilities.into_iter().filter(bounding).all(|line| line.ends_with("\t0000000000000000")),
            "{output}"
        );
        let denied = std::io::ErrorKind::PermissionDenied;
        let rest =
            [format!("zygote: {denied}"), format!("supervisor: {denied}"), "hello from the guest".to_owned()];
        assert_eq!(lines[5..], rest, "{output}");
    }
}

#[test]
fn two_tests_that_write_the_same_name_in_tmp_never_meet() {
    let tmp = tempfile::tempdir().unwrap();
    let tmps = tmp.path().canonicalize().unwrap();
    let package = package(&[(OperationSet::FS_ALL, "{tmp}", Scope::Test)]);
    let dirs: Vec<_> = (0..4).map(|id| tmps.join(format!("t{id}"))).collect();
    for dir in &dirs {
        std::fs::create_dir(dir).unwrap();
    }
    let mut tests = vec![];
    for (id, dir) in (0..).zip(&dirs) {
        // Its own, and that of the next one, which it must not reach.
        let own = TestRun { tmp: Some(dir.clone()), ..on(id, "create", &dir.join("x")) };
        let other = &dirs[(id as usize + 1) % dirs.len()];
        let foreign = TestRun { tmp: Some(dir.clone()), ..on(10 + id, "create", &other.join("y")) };
        tests.extend([own, foreign]);
    }
    let suite = run_in(package, Some(tmps), 2, tests);
    for (id, dir) in (0..).zip(&dirs) {
        assert_eq!(*suite.end(id), guest(GuestOutcome::Exited(0)));
        assert!(dir.join("x").exists() && !dir.join("y").exists());
        assert_eq!(suite.results[&(10 + id)].observed.violations.len(), 1);
    }
}

/// One that was taken over can keep others waiting until its time is up, and no longer; which shows that the
/// guests of all zygotes take turns.
#[test]
fn tests_take_turns_in_changing_names_and_get_back_that_of_one_that_is_killed() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap();
    let package = package(&[(OperationSet::FS_ALL, dir.to_str().unwrap(), Scope::Always)]);
    let held = Duration::from_secs(2);
    let holds = TestRun { fault: Some(InjectedFault::Hold), time: Some(held), ..test(0, "ok") };
    // While it is held the other zygote comes to the one that creates: one waits behind each that runs.
    let fill = (1..4).map(|id| TestRun { time: Some(Duration::from_millis(200)), ..test(id, "loop") });
    let creates = TestRun { time: Some(Duration::from_secs(20)), ..on(4, "create", &dir.join("f")) };
    let suite = run_in(package, None, 2, [holds].into_iter().chain(fill).chain([creates]).collect());
    assert_eq!(*suite.end(0), guest(GuestOutcome::TimedOut(held)));
    assert_eq!(*suite.end(4), guest(GuestOutcome::Exited(0)));
    let waited = suite.results[&4].duration;
    assert!(waited > held / 5, "it waited: {waited:?}");
}

#[test]
fn the_grant_of_a_case_is_its_own_in_the_kernel_too() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap();
    let case = Scope::Case { index: 0, name: "test1".to_owned() };
    let package = package(&[(OperationSet::FS_WRITE, dir.to_str().unwrap(), case)]);
    let walls_of_wasi = |wasi| {
        let artifact = artifact(Strategy::Cranelift);
        let root = root();
        let mut job = job(&artifact, &root, Strategy::Cranelift, package.clone(), None);
        job.task.confinement.walls = Walls::only(|wall| wall != Wall::Wasi || wasi);
        let mut pool = TestPool::new(&launcher(), PoolJob { workers: 1, ..job });
        let names = [dir.join(format!("one-{wasi}")), dir.join(format!("two-{wasi}"))];
        let tests = vec![on(1, "create", &names[0]), on(2, "create", &names[1])];
        let mut suite = Suite { waiting: tests.into(), ..Suite::default() };
        pool.run(&mut suite).unwrap();
        names.map(|name| name.exists())
    };
    assert_eq!(walls_of_wasi(true), [true, false]);
    assert_eq!(walls_of_wasi(false), [true, false]);
}

#[test]
fn a_patch_is_applied_before_the_start_and_a_wrong_one_keeps_the_test_from_running() {
    let patch = |expect: &[u8]| Patch { address: 5000, expect: expect.to_vec(), bytes: b"patched!".to_vec() };
    let far = Patch { address: u32::MAX - 3, expect: Vec::new(), bytes: vec![0; 8] };
    let suite = run(
        1,
        vec![
            TestRun { patches: vec![patch(b"original")], ..test(0, "v") },
            TestRun { patches: vec![patch(b"another")], ..test(1, "v") },
            TestRun { patches: vec![patch(b"original"), far], ..test(2, "v") },
            test(3, "v"),
        ],
    );
    assert_eq!(suite.results[&0].output.bytes(), b"patched!");
    assert_eq!(*suite.end(1), RunEnd::PatchMismatch);
    assert_eq!(*suite.end(2), RunEnd::PatchMismatch);
    assert_eq!(suite.results[&1].output.bytes(), b"");
    assert_eq!(suite.results[&3].output.bytes(), b"original");
}

/// The tests of a guest that is written for them.
fn run_guest(text: &str, package: PackagePolicy, tests: Vec<TestRun>) -> Suite {
    let artifact = launcher().prepare(&mut assemble(text), Strategy::Cranelift, None).unwrap();
    let suite = Suite { waiting: tests.into(), ..Suite::default() };
    run_artifact(&artifact, package, None, 1, suite)
}

#[test]
fn a_start_function_runs_in_every_test_and_not_in_the_zygote() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\06\00\00\00")
        (data (i32.const 16) "start\n")
        (func $write (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))))
        (start $write)
        (func (export "_start") (call $write)))"#;
    let suite = run_guest(guest, package(&[]), vec![test(0, "x"), test(1, "x")]);
    for id in [0, 1] {
        assert_eq!(*suite.end(id), guest_ended(0));
        assert_eq!(suite.results[&id].output.bytes(), b"start\nstart\n");
    }
}

#[test]
fn what_a_test_leaves_in_its_memory_globals_and_table_no_other_one_finds() {
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 1)
        (global $found (mut i32) (i32.const 0))
        (table 1 funcref)
        (elem declare func $leave)
        (func $leave
            (i32.store (i32.const 4096) (i32.const 1))
            (global.set $found (i32.const 2))
            (table.set (i32.const 0) (ref.func $leave)))
        (func (export "_start") (local $found i32)
            (local.set $found (i32.add (i32.load (i32.const 4096)) (global.get $found)))
            (if (i32.eqz (ref.is_null (table.get (i32.const 0)))) (then
                (local.set $found (i32.add (local.get $found) (i32.const 4)))))
            (call $leave)
            (call $proc_exit (local.get $found))))"#;
    let suite = run_guest(guest, package(&[]), (0..4).map(|id| test(id, "x")).collect());
    for id in 0..4 {
        assert_eq!(*suite.end(id), guest_ended(0), "{id}");
    }
}

#[test]
fn a_limit_of_a_case_counts_the_memory_that_the_guest_has_from_the_start() {
    // It has two pages, wants two more, and exits with what it is told: their number before, or -1.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (memory (export "memory") 2)
        (func (export "_start") (call $proc_exit (memory.grow (i32.const 2)))))"#;
    let mut limited = package(&[]);
    for (index, pages) in (0..).zip([1, 3, 4]) {
        let case = Scope::Case { index, name: format!("test{pages}") };
        limited.limits.push((case, LimitsPatch { memory: Some(pages << 16), ..LimitsPatch::default() }));
    }
    let suite = run_guest(guest, limited, [0, 1, 3, 4].map(|id| test(id, "x")).into());
    assert_eq!(*suite.end(0), guest_ended(2));
    assert!(matches!(suite.end(1), RunEnd::Guest(GuestOutcome::Trapped(_))), "{:?}", suite.end(1));
    assert_eq!(*suite.end(3), guest_ended(-1));
    assert_eq!(suite.results[&3].observed.limits, ["memory"]);
    assert_eq!(*suite.end(4), guest_ended(2));
}

#[test]
fn uses_violations_and_origins_belong_to_their_test() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().canonicalize().unwrap().join("f");
    std::fs::write(&file, "").unwrap();
    let mut granted = package(&[(OperationSet::FS_READ, file.to_str().unwrap(), Scope::Test)]);
    granted.grants[0].by = vec!["actor".to_owned()];
    let other = tmp.path().canonicalize().unwrap().join("g");
    let suite = run_in(granted, None, 2, vec![on(1, "a", &file), on(2, "a", &other), test(3, "ok")]);
    assert_eq!(suite.results[&1].observed.uses.get(&GrantId(0)), Some(&10));
    assert!(suite.results[&1].observed.violations.is_empty());
    assert_eq!(suite.results[&2].observed.violations[0].1, 10);
    assert!(suite.results[&2].observed.uses.is_empty());
    assert!(suite.results[&3].observed.violations.is_empty() && suite.results[&3].observed.uses.is_empty());
    let mut started = suite.started.clone();
    started.sort_unstable();
    assert_eq!(started, [1, 2, 3]);
}

#[test]
fn a_stopped_pool_starts_nothing_more_and_ends_well() {
    for after in 0..20 {
        let waiting = (0..100).map(|id| test(id, "print")).collect();
        let suite = Suite { waiting, stop_after: Some(after), ..Suite::default() };
        let suite = run_suite(package(&[]), None, 2, suite);
        // What runs then ends as it would, and that is at most two tests in each of two zygotes.
        assert!((after..=after + 4).contains(&suite.results.len()), "{} for {after}", suite.results.len());
    }
}

/// Waits for 0.3 s if it has no argument, and reaches for a file if it has two.
const WAITS_OR_READS: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "etc/passwd")
  (func $now (result i64)
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 8)))
    (i64.load (i32.const 8)))
  (func (export "_start") (local $end i64)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (if (i32.eq (i32.load (i32.const 0)) (i32.const 1)) (then
      (local.set $end (i64.add (call $now) (i64.const 300000000)))
      (loop $more (br_if $more (i64.lt_u (call $now) (local.get $end))))))
    (if (i32.eq (i32.load (i32.const 0)) (i32.const 3)) (then
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 10)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200)))))))"#;

/// Stops everything when the second test has ended, long after that.
#[derive(Default)]
struct Stopping(Suite);

impl Tests for Stopping {
    fn next(&mut self) -> Option<TestRun> {
        self.0.next()
    }
    fn finished(&mut self, id: u64, result: RunResult) {
        if id == 1 {
            std::thread::sleep(Duration::from_secs(1));
            self.0.stop_after = Some(0);
        }
        self.0.finished(id, result);
    }
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}

/// The first zygote has ended its test by then and begun the next one, which is taken back.
#[test]
fn a_test_that_had_begun_when_everything_stopped_is_heard() {
    let artifact =
        launcher().prepare(&mut assemble(WAITS_OR_READS), Strategy::Cranelift, None).expect("a module");
    let with = |id: u64, words: usize| TestRun { args: vec![b"word".to_vec(); words], ..test(id, "") };
    let waiting = [with(0, 1), with(1, 2), with(2, 3), with(3, 3)];
    let mut stopping = Stopping(Suite { waiting: waiting.into(), ..Suite::default() });
    let root = root();
    let job = job(&artifact, &root, Strategy::Cranelift, package(&[]), None);
    assert!(!TestPool::new(&launcher(), job).run(&mut stopping).expect("a run"));
    let results = stopping.0.results;
    assert_eq!(results.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    for id in [2, 3] {
        assert_eq!(results[&id].observed.violations.len(), 1, "{id}: {:?}", results[&id].end);
    }
}

/// Gives tests until somebody else's code runs them.
#[derive(Default)]
struct UntilBetter {
    given: u64,
    /// Zygotes that were started.
    ready: usize,
    /// Tests that were started when the last one was.
    after_that: u64,
    ended: u64,
}

impl Tests for UntilBetter {
    fn next(&mut self) -> Option<TestRun> {
        let enough = self.ready > 2 && self.given > self.after_that + 20;
        assert!(self.given < 20_000, "there never was better code");
        self.given += 1;
        (!enough).then(|| test(self.given, "print"))
    }
    fn ready(&mut self, _kernel: &KernelReport) {
        self.ready += 1;
        self.after_that = self.given;
    }
    fn finished(&mut self, _id: u64, result: RunResult) {
        assert_eq!(result.end, guest(GuestOutcome::Exited(0)));
        assert_eq!(result.output.bytes(), b"hello from the guest\n");
        self.ended += 1;
    }
}

#[test]
fn tests_that_run_for_long_get_better_code_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let cache = || Cache::open(&folder.path().join("cache"), 1 << 30).unwrap();
    let mut wasm = crate::support::wasm();
    let artifact = artifact(Strategy::Winch);
    let better = |wasm: &mut File| launcher().cached(wasm, Strategy::Cranelift, &cache()).unwrap();
    assert!(better(&mut wasm).is_none());
    let root = root();
    let tier_up = Some(TierUp {
        wasm: wasm.try_clone().unwrap(),
        stamp: Stamp::of(&wasm).unwrap(),
        strategy: Strategy::Cranelift,
        cache: Some(cache()),
        after: Duration::ZERO,
    });
    let job = job(&artifact, &root, Strategy::Winch, package(&[]), None);
    let mut tests = UntilBetter::default();
    let mut pool = TestPool::new(&launcher(), PoolJob { tier_up, ..job });
    assert!(!pool.run(&mut tests).unwrap());
    // A zygote of other code would have refused to load this: so it ran, and is there for the next run.
    assert!(better(&mut wasm).is_some());
    assert!(tests.ready > 2 && tests.ended >= tests.after_that);
}

#[test]
fn better_code_that_cannot_be_made_changes_nothing() {
    let (artifact, root) = (artifact(Strategy::Winch), root());
    let folder = tempfile::tempdir().unwrap();
    let cache = || Cache::open(&folder.path().join("cache"), 1 << 30).unwrap();
    let no_module = tempfile::tempfile().unwrap();
    let nothing = Stamp::of(&no_module).unwrap();
    // The other one is a module, but not the one that the tests began with.
    for (wasm, stamp) in [(no_module, nothing), (crate::support::wasm(), nothing)] {
        let (strategy, after) = (Strategy::Cranelift, Duration::ZERO);
        let tier_up = Some(TierUp { wasm, stamp, strategy, cache: Some(cache()), after });
        let job = job(&artifact, &root, Strategy::Winch, package(&[]), None);
        let mut pool = TestPool::new(&launcher(), PoolJob { tier_up, ..job });
        let mut suite = Suite { waiting: (0..500).map(|id| test(id, "print")).collect(), ..Suite::default() };
        assert!(!pool.run(&mut suite).unwrap());
        assert_eq!(suite.results.len(), 500);
        assert!(suite.results.values().all(|result| result.end == guest(GuestOutcome::Exited(0))));
    }
    assert!(launcher().cached(&mut crate::support::wasm(), Strategy::Cranelift, &cache()).unwrap().is_none());
}

/// Not a timed test: it prints what `--nocapture` shows.
#[test]
fn a_thousand_tests_all_end() {
    let begun = Instant::now();
    let suite = run(2, (0..1000).map(|id| test(id, "print")).collect());
    println!("1,000 tests: {:?}", begun.elapsed());
    assert_eq!(suite.results.len(), 1000);
    assert!(suite.results.values().all(|result| result.end == guest(GuestOutcome::Exited(0))));
}

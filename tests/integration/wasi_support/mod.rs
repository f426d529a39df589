//! Runs the guests of `fixtures/guests/wasi_*.rs` in this process, behind wall 1 alone.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of it")]

use crate::toolchain::tool;
use cargo_sandbox::wasi::{Folding, Host, HostConfig, Mode, Preopens, Sink, Stdio, Stop, Stream, Turns};
use sandbox_policy::access::{
    Evidence, ExceptionId, GrantId, Operation, OperationSet, RawFrame, RawViolation,
};
use sandbox_policy::{
    Component, Exception, ExceptionKind, Grant, GrantPattern, PathBase, PathPattern, Policy, Provenance,
    Scope,
};
use sandbox_policy::{Decider, EnvPattern, MountPoint};
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use wasmtime::{Config, Engine, Linker, Module, Store};

/// A guest, compiled once for each process.
pub fn guest(name: &str) -> (Engine, Module) {
    static GUESTS: OnceLock<Mutex<(Engine, HashMap<String, Module>)>> = OnceLock::new();
    let guests = GUESTS.get_or_init(|| {
        let mut config = Config::new();
        // The benchmark must stay a process of one thread.
        config.parallel_compilation(false);
        Mutex::new((Engine::new(&config).expect("a valid configuration"), HashMap::new()))
    });
    let mut guests = guests.lock().unwrap();
    let engine = guests.0.clone();
    if !guests.1.contains_key(name) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guests").join(format!("{name}.rs"));
        let output =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.wasm", std::process::id()));
        let built = tool("rustc")
            .args(["--target", "wasm32-wasip1", "--edition", "2024", "-O", "-C", "debuginfo=0", "-o"])
            .arg(&output)
            .arg(&source)
            .status()
            .expect("rustc starts");
        assert!(built.success(), "{name} does not compile");
        let module = Module::from_file(&engine, &output).expect("rustc makes valid modules");
        std::fs::remove_file(&output).expect("it was just made");
        guests.1.insert(name.to_owned(), module);
    }
    (engine, guests.1[name].clone())
}

/// What a run left.
#[derive(Default)]
pub struct Seen {
    pub violations: Vec<RawViolation>,
    pub used: Vec<GrantId>,
    pub mounted: u32,
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub origin: Option<String>,
    pub origins_asked: u32,
}

struct Recorder(Arc<Mutex<Seen>>, Option<Box<dyn FnMut(usize) + Send>>);

impl Sink for Recorder {
    fn violation(&mut self, violation: RawViolation) {
        self.0.lock().unwrap().violations.push(violation);
    }
    fn used(&mut self, grant: GrantId) {
        self.0.lock().unwrap().used.push(grant);
    }
    fn mounted(&mut self, _point: MountPoint) {
        self.0.lock().unwrap().mounted += 1;
    }
    fn origin(&mut self, backtrace: &[RawFrame]) -> Option<String> {
        assert!(!backtrace.is_empty(), "an origin is asked with a stack");
        let mut seen = self.0.lock().unwrap();
        seen.origins_asked += 1;
        seen.origin.clone()
    }
    fn output(&mut self, stream: Stream, bufs: &[IoSlice<'_>]) -> std::io::Result<usize> {
        let mut seen = self.0.lock().unwrap();
        let to = if stream == Stream::Output { &mut seen.output } else { &mut seen.errors };
        bufs.iter().for_each(|buf| to.extend_from_slice(buf));
        let lines = seen.output.iter().filter(|byte| **byte == b'\n').count();
        if let Some(after_line) = &mut self.1 {
            after_line(lines);
        }
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }
}

/// A run in preparation.
pub struct Run {
    pub policy: Policy,
    pub mode: Mode,
    pub audit: Option<Policy>,
    pub preopens: Preopens,
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    pub stdio: Stdio,
    pub root: Option<PathBuf>,
    pub origin: Option<String>,
    /// Directories that are taken for ones that may fold names.
    pub folding: Vec<PathBuf>,
    /// The test is the only one of its process.
    pub alone: bool,
    /// Its own, unless it is to be one of several guests of one command.
    pub turns: Arc<Turns>,
    /// Called with the number of lines that the guest has written, so that the test can act between steps.
    pub after_line: Option<Box<dyn FnMut(usize) + Send>>,
}

/// A run that is over.
pub struct Ended {
    pub lines: Vec<String>,
    pub seen: Seen,
    pub uses: Vec<u64>,
    pub limits_hit: Vec<&'static str>,
    pub panicked: bool,
    /// `None` if it trapped, with the trap's text in `trap`.
    pub stop: Option<Stop>,
    pub trap: Option<String>,
}

pub fn run() -> Run {
    Run {
        policy: Policy::default(),
        mode: Mode::Enforce,
        audit: None,
        preopens: Preopens::Root,
        env: Vec::new(),
        stdio: Stdio::Channel,
        root: None,
        origin: None,
        folding: Vec::new(),
        alone: false,
        turns: Arc::new(Turns::new().unwrap()),
        after_line: None,
    }
}

pub fn operations(key: &str) -> OperationSet {
    match key {
        "read" => OperationSet::FS_READ,
        "write" => OperationSet::FS_WRITE,
        "read-contents" => OperationSet::of(Operation::Read),
        "env" => OperationSet::of(Operation::EnvRead),
        key => OperationSet::of(
            Operation::ALL
                .into_iter()
                .find(|operation| operation.key() == key)
                .expect("a key of the manifest"),
        ),
    }
}

pub fn pattern(path: &Path) -> PathPattern {
    let components = path
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(|name| Component::Literal(name.to_vec()))
        .collect();
    PathPattern { base: PathBase::Root, components, exact: false }
}

impl Run {
    pub fn grant(mut self, key: &str, path: impl AsRef<Path>) -> Self {
        self.push(operations(key), GrantPattern::Path(pattern(path.as_ref())));
        self
    }

    pub fn grant_env(mut self, name: &str) -> Self {
        self.push(operations("env"), GrantPattern::Env(EnvPattern(vec![Some(name.as_bytes().to_vec())])));
        self
    }

    fn push(&mut self, operations: OperationSet, pattern: GrantPattern) {
        self.policy.grants.push(Grant {
            id: GrantId(self.policy.grants.len() as u32),
            operations,
            pattern,
            target: None,
            by: Vec::new(),
            scope: Scope::Always,
            protected: false,
            provenance: Provenance::default(),
        });
    }

    pub fn by(mut self, krate: &str) -> Self {
        self.policy.grants.last_mut().expect("a grant").by.push(krate.to_owned());
        self
    }

    pub fn except(mut self, kind: ExceptionKind, path: impl AsRef<Path>) -> Self {
        self.policy.exceptions.push(Exception {
            id: ExceptionId(self.policy.exceptions.len() as u32),
            kind,
            pattern: pattern(path.as_ref()),
            target: None,
            scope: Scope::Always,
            provenance: Provenance::default(),
        });
        self
    }

    pub fn audit(mut self, envelope: Run) -> Self {
        self.mode = Mode::Audit;
        self.audit = Some(envelope.policy);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Runs the probe with these steps, words separated by single spaces and steps by ` -- `.
    pub fn probe(self, steps: &str) -> Ended {
        self.start("wasi_probe", &steps.split(' ').collect::<Vec<_>>())
    }

    pub fn start(self, name: &str, args: &[&str]) -> Ended {
        let (engine, module) = guest(name);
        let seen = Arc::new(Mutex::new(Seen { origin: self.origin, ..Seen::default() }));
        let root = match &self.root {
            None => cargo_sandbox::wasi::real_root().unwrap(),
            Some(path) => std::fs::File::open(path).unwrap().into(),
        };
        let args = [name].iter().chain(args).map(|arg| arg.as_bytes().to_vec()).collect();
        let folding = self.folding.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let folding = Folding::new(folding, &self.policy, self.audit.as_ref());
        let host = Host::new(HostConfig {
            folding,
            alone: self.alone,
            policy: self.policy,
            mode: self.mode,
            audit: self.audit.as_ref().map(Decider::new),
            root,
            preopens: self.preopens,
            args,
            env: self.env,
            stdio: self.stdio,
            turns: self.turns,
            sink: Box::new(Recorder(Arc::clone(&seen), self.after_line)),
        })
        .unwrap();
        let mut linker = Linker::new(&engine);
        cargo_sandbox::wasi::add_to_linker(&mut linker).unwrap();
        let mut store = Store::new(&engine, host);
        store.limiter(|host| host);
        let result = linker.instantiate(&mut store, &module).and_then(|instance| {
            let memory = instance.get_memory(&mut store, "memory").expect("a memory");
            store.data_mut().attach(memory);
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
        });
        let (stop, trap) = match result {
            Ok(()) => (Some(Stop::Exit(0)), None),
            Err(error) => (error.downcast_ref::<Stop>().cloned(), Some(format!("{error:?}"))),
        };
        let host = store.into_data();
        let (uses, limits_hit, panicked) =
            (host.grant_uses().to_vec(), host.limits_hit().to_vec(), host.panicked());
        drop(host);
        let seen = Arc::into_inner(seen).expect("the host is gone").into_inner().unwrap();
        let lines = String::from_utf8_lossy(&seen.output).lines().map(str::to_owned).collect();
        Ended { lines, seen, uses, limits_hit, panicked, stop, trap }
    }
}

impl Ended {
    /// The violations as `code path`.
    pub fn violations(&self) -> Vec<String> {
        let shown = |violation: &RawViolation| {
            let name = String::from_utf8_lossy(violation.access.resource.bytes()).into_owned();
            format!("{} {name}", violation.access.operation.code())
        };
        self.seen.violations.iter().map(shown).collect()
    }

    /// Asserts what each step printed, and that nothing was reported.
    #[track_caller]
    pub fn fine(self, lines: &[&str]) -> Self {
        assert_eq!(self.lines, lines, "violations: {:?}, trap: {:?}", self.violations(), self.trap);
        assert_eq!(self.violations(), [""; 0]);
        assert_eq!(self.stop, Some(Stop::Exit(0)), "{:?}", self.trap);
        self
    }

    /// Asserts what each step printed, and what was reported.
    #[track_caller]
    pub fn violated(self, lines: &[&str], violations: &[&str]) -> Self {
        assert_eq!(self.lines, lines, "violations: {:?}, trap: {:?}", self.violations(), self.trap);
        assert_eq!(self.violations(), violations);
        assert!(self.seen.violations.iter().all(|violation| violation.evidence != Evidence::Wasm(vec![])));
        self
    }
}

/// `EACCES` as the probe prints it, and the other numbers used here.
pub const DENIED: &str = "error 2";
pub const EXISTS: &str = "error 20";
pub const INVALID: &str = "error 28";
pub const IS_DIRECTORY: &str = "error 31";
pub const LOOP: &str = "error 32";
pub const MISSING: &str = "error 44";
pub const NOT_DIRECTORY: &str = "error 54";

/// A fresh directory with a canonical path, and a helper for the paths in it.
pub struct Place(tempfile::TempDir, PathBuf);

pub fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    Place(directory, path)
}

impl Place {
    pub fn path(&self, relative: &str) -> PathBuf {
        self.1.join(relative)
    }

    /// `text` with `@` as this directory.
    pub fn in_it(&self, text: &str) -> String {
        text.replace('@', self.1.to_str().unwrap())
    }

    pub fn file(&self, relative: &str, text: &str) -> &Self {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn link(&self, relative: &str, target: &str) -> &Self {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(self.in_it(target), path).unwrap();
        self
    }

    pub fn read(&self, relative: &str) -> Option<String> {
        std::fs::read_to_string(self.path(relative)).ok()
    }

    /// The violations that a test expects, with `@` as this directory.
    pub fn these(&self, violations: &[&str]) -> Vec<String> {
        violations.iter().map(|text| self.in_it(text)).collect()
    }

    #[track_caller]
    pub fn violated(&self, ended: Ended, lines: &[&str], violations: &[&str]) -> Ended {
        let violations = self.these(violations);
        ended.violated(lines, &violations.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// `box` is granted to be read and written, `out` is not.
pub fn boxed() -> (Place, impl Fn() -> Run) {
    let place = place();
    place.file("box/f", "granted").file("box/sub/f", "granted").file("out/f", "secret");
    let granted = place.path("box");
    let run = move || run().grant("read", &granted).grant("write", &granted);
    (place, run)
}

/// Swaps two names again and again until told to stop.
pub fn swapping(a: PathBuf, b: PathBuf) -> (Arc<AtomicBool>, std::thread::JoinHandle<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut count = 0;
        while !flag.load(Ordering::Relaxed) {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, exchange)
                .expect("both exist");
            count += 1;
        }
        count
    });
    (stop, thread)
}

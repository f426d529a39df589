//! Where a guest runs: in this process behind the `wasi` wall alone, or in a worker.

use super::case::{Given, World};
use super::guest;
use cargo_sandbox::compile::{ModuleInfo, Stamp, Strategy};
use cargo_sandbox::event::{GuestOutcome, KernelReport};
use cargo_sandbox::runner::run::{Subject, confinement};
use cargo_sandbox::runner::{Guest, Setup, StrategyChoice};
use cargo_sandbox::wasi::{
    Folding, Host, HostConfig, Mode, Preopens, Sink, Stdio, Stream, Turns, real_root, top_level,
};
use cargo_sandbox::worker::protocol::{Confinement, PreopenLayout, RunTask};
use cargo_sandbox::worker::supervisor::{LandlockLevel, Launcher, RunEnd, RunJob, RunListener};
use sandbox_policy::access::{GrantId, RawFrame, RawViolation};
use sandbox_policy::{Decider, Policy};
use sandbox_walls::Walls;
use std::fs::File;
use std::io::{IoSlice, Seek, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::{Engine, Linker, Module, Store};

/// A command as the runner has it, so that an audit's envelope is the one that real audits have.
struct Command {
    guest: Guest,
    walls: Walls,
}

impl Command {
    fn new(code: File, module_info: ModuleInfo, walls: Walls) -> Self {
        let wasm = tempfile::tempfile().expect("a temporary file");
        let stamp = Stamp::of(&wasm).expect("an open file");
        let (strategy, layout) = (Strategy::Cranelift, PreopenLayout::Root);
        Self { guest: Guest { wasm, stamp, code, module_info, strategy, layout }, walls }
    }

    fn confinement(&self, given: &Given) -> Confinement {
        let subject = Subject {
            policy: &given.package,
            places: &given.places,
            manifest: "Cargo.toml".to_owned(),
            package: "oracle".to_owned(),
            version: "0.0.0".to_owned(),
            cargo_env: Vec::new(),
        };
        let setup = Setup {
            landlock: LandlockLevel::default(),
            strategy: StrategyChoice::Cranelift,
            walls: self.walls,
            cache: false,
            audit: given.audit,
            timings: false,
        };
        confinement(&self.guest, &setup, &given.policy, &subject, Some(&given.tmp))
    }
}

/// In this process.
pub(crate) struct Here {
    engine: Engine,
    module: Module,
    command: Command,
}

/// Counts violations.
struct Ear(Arc<AtomicUsize>);

impl Sink for Ear {
    fn violation(&mut self, _violation: RawViolation) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn used(&mut self, _grant: GrantId) {}
    fn origin(&mut self, _backtrace: &[RawFrame]) -> Option<String> {
        None
    }
    fn output(&mut self, _stream: Stream, bufs: &[IoSlice<'_>]) -> std::io::Result<usize> {
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }
}

impl Here {
    pub(crate) fn new() -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, guest::wasm()).expect("a valid module");
        let nothing = tempfile::tempfile().expect("a temporary file");
        Self { engine, module, command: Command::new(nothing, ModuleInfo::default(), Walls::ALL) }
    }
}

impl World for Here {
    fn run(&self, given: &Given, argument: Vec<u8>) -> Result<usize, String> {
        let heard = Arc::new(AtomicUsize::new(0));
        let root = real_root().expect("there is a root");
        let preopens = match given.layout {
            PreopenLayout::Root => Preopens::Root,
            PreopenLayout::TopLevel => Preopens::TopLevel(top_level(&root).expect("it can be listed")),
        };
        let envelope: Option<Policy> = if given.audit { self.command.confinement(given).audit } else { None };
        let mode = match (given.open, given.audit) {
            (true, _) => Mode::Off,
            (_, true) => Mode::Audit,
            _ => Mode::Enforce,
        };
        let host = Host::new(HostConfig {
            policy: given.policy.clone(),
            mode,
            audit: envelope.as_ref().map(Decider::new),
            root,
            preopens,
            args: vec![b"guest".to_vec(), argument],
            env: Vec::new(),
            stdio: Stdio::Channel,
            alone: false,
            turns: Arc::new(Turns::new().expect("files in memory")),
            folding: Folding::default(),
            sink: Box::new(Ear(Arc::clone(&heard))),
        });
        let mut linker = Linker::new(&self.engine);
        cargo_sandbox::wasi::add_to_linker(&mut linker).expect("each name once");
        let mut store = Store::new(&self.engine, host.expect("a world"));
        let instance = linker.instantiate(&mut store, &self.module).map_err(|error| format!("{error:?}"))?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("it is exported");
        start.call(&mut store, ()).map_err(|error| format!("{error:?}"))?;
        Ok(heard.load(Ordering::Relaxed))
    }

    fn name(&self) -> &'static str {
        "the wasi wall alone, in this process"
    }
}

/// In a worker.
pub(crate) struct There {
    launcher: Launcher,
    command: Command,
}

struct Silent;

impl RunListener for Silent {
    fn ready(&mut self, _kernel: &KernelReport) {}
    fn violation(&mut self, _violation: &RawViolation) {}
    fn origin(&mut self, _backtrace: &[RawFrame]) -> Option<String> {
        None
    }
}

impl There {
    pub(crate) fn new(walls: Walls) -> Self {
        let launcher = Launcher::at(env!("CARGO_BIN_EXE_cargo-sandbox"));
        let mut wasm = tempfile::tempfile().expect("a temporary file");
        wasm.write_all(&guest::wasm()).and_then(|()| wasm.rewind()).expect("our own file");
        let artifact = launcher.prepare(&mut wasm, Strategy::Cranelift, None).expect("it compiles");
        Self { launcher, command: Command::new(artifact.code, artifact.module_info, walls) }
    }
}

impl World for There {
    fn run(&self, given: &Given, argument: Vec<u8>) -> Result<usize, String> {
        let mut confinement = self.command.confinement(given);
        confinement.layout = given.layout;
        if given.open {
            confinement.walls = Walls::only(|_| false);
        }
        let root = real_root().expect("there is a root");
        let job = RunJob {
            code: self.command.guest.code.as_fd(),
            root: root.as_fd(),
            task: RunTask {
                confinement,
                policy: given.policy.clone(),
                args: vec![b"guest".to_vec(), argument],
                env: Vec::new(),
            },
            grants: given.package.grants.len(),
            interrupt: None,
        };
        match self.launcher.run(job, &mut Silent) {
            Ok(result) if result.end == RunEnd::Guest(GuestOutcome::Exited(0)) => {
                Ok(result.observed.violations.len())
            }
            Ok(result) => Err(format!("{:?}", result.end)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn name(&self) -> &'static str {
        match self.command.walls == Walls::ALL {
            true => "all walls",
            false => "the wasi wall alone, in a worker",
        }
    }
}

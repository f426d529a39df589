//! The worker's side: from finished code to a guest that has ended. Only ever in a confined process.

use super::channel_sink::ChannelSink;
use crate::compile::{Strategy, engine, load};
use crate::wasi::{self, Folding, Host, HostConfig, Mode, Preopens, Stdio, Stop, Turns};
use crate::worker::protocol::{Confinement, Ended, Patch, PreopenLayout, Stage, bounded};
use sandbox_policy::access::{GrantId, RawFrame, Wall};
use sandbox_policy::{Decider, Policy};
use sandbox_walls as kernel;
use sandbox_walls::seccomp::{self, Profile};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use wasmtime::{
    Engine, Error, ExternType, Instance, InstancePre, Linker, Memory, Store, Trap, TypedFunc, WasmBacktrace,
};

/// Code that is mapped and linked, ready for any number of instances.
pub(crate) struct Loaded(InstancePre<Host>);

impl Loaded {
    pub(crate) fn new(code: File, strategy: Strategy) -> Result<Self, (Stage, String)> {
        let made;
        let (engine, linker) = match WARM.get() {
            Some(warm) if strategy == WARM_STRATEGY => warm,
            _ => {
                made = tools(strategy).map_err(|error| (Stage::Load, format!("{error:#}")))?;
                &made
            }
        };
        // Its stack for signals, which a fork has too.
        Engine::tls_eager_initialize();
        let module = load(engine, code).map_err(|error| (Stage::Load, error.to_string()))?;
        let starts =
            |export| matches!(export, ExternType::Func(f) if f.params().len() + f.results().len() == 0);
        if !module.get_export("_start").is_some_and(starts) {
            // Known now, and not when instantiating has run code of the guest.
            return Err((Stage::Link, "it exports no `_start` without parameters and results".to_owned()));
        }
        let link = |error: Error| (Stage::Link, bounded(format!("{error:#}")));
        Ok(Self(linker.instantiate_pre(&module).map_err(link)?))
    }
}

type Tools = (Engine, Linker<Host>);

/// What is the same for every guest of a compiler.
fn tools(strategy: Strategy) -> wasmtime::Result<Tools> {
    let engine = engine(strategy)?;
    let mut linker = Linker::new(&engine);
    wasi::add_to_linker(&mut linker)?;
    Ok((engine, linker))
}

/// Made by [`warm_up`].
static WARM: OnceLock<Tools> = OnceLock::new();
/// The compiler of programs unless another one is asked for.
const WARM_STRATEGY: Strategy = Strategy::Cranelift;

/// Makes what loading will need.
pub(crate) fn warm_up() {
    // What fails here fails again, and is said, when it is needed.
    if let Ok(tools) = tools(WARM_STRATEGY) {
        let _ = WARM.set(tools);
    }
    seccomp::prepare(&[Profile::Load, Profile::Run]);
}

/// What one guest is given.
pub(crate) struct Guest {
    pub(crate) policy: Policy,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) root: OwnedFd,
    pub(crate) stdio: Stdio,
    pub(crate) preopens: Preopens,
    pub(crate) turns: Arc<Turns>,
    /// See [`folding`].
    pub(crate) folding: Vec<Vec<u8>>,
}

/// The directories beneath which a name may be folded, as the guest names them. To be asked for before the
/// process is confined.
pub(crate) fn folding(confinement: &Confinement, root: &OwnedFd) -> Vec<Vec<u8>> {
    let places = &confinement.folding;
    if places.is_empty() {
        return Vec::new();
    }
    match std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())) {
        Ok(root) => kernel::folding::within(places, root.as_os_str().as_bytes()),
        // Where it is cannot be told: then any name may be another one.
        Err(_) => vec![b"/".to_vec()],
    }
}

/// The directories that guests find opened. To be looked for before the process is confined: no
/// policy grants listing the root.
pub(crate) fn preopens(layout: PreopenLayout, root: &OwnedFd) -> std::io::Result<Preopens> {
    Ok(match layout {
        PreopenLayout::Root => Preopens::Root,
        PreopenLayout::TopLevel => Preopens::TopLevel(wasi::top_level(root)?),
    })
}

/// How a guest ended, with the frames of a trap.
pub(crate) type End = (Ended, Vec<RawFrame>);

fn failed(why: String) -> End {
    (Ended::Failed(bounded(why)), Vec::new())
}

/// The guest's world, which tells of what happens in it to `sink`.
pub(crate) fn host(confinement: &Confinement, guest: Guest, sink: &ChannelSink) -> Result<Host, End> {
    let mode = match (confinement.walls.stands(Wall::Wasi), &confinement.audit) {
        (false, _) => Mode::Off,
        (true, Some(_)) => Mode::Audit,
        (true, None) => Mode::Enforce,
    };
    let folding = Folding::new(guest.folding, &guest.policy, confinement.audit.as_ref());
    Host::new(HostConfig {
        policy: guest.policy,
        mode,
        audit: confinement.audit.as_ref().map(Decider::new),
        root: guest.root,
        preopens: guest.preopens,
        args: guest.args,
        env: guest.env,
        stdio: guest.stdio,
        alone: true,
        turns: guest.turns,
        folding,
        sink: Box::new(sink.clone()),
    })
    .map_err(|error| failed(format!("the guest's world could not be made: {error}")))
}

/// A fresh instance in its world. Nothing of the guest has run but its start function, if it has one.
pub(crate) struct Ready {
    store: Store<Host>,
    instance: Instance,
    start: TypedFunc<(), ()>,
}

impl Ready {
    pub(crate) fn new(loaded: &Loaded, host: Host) -> Result<Self, End> {
        let mut store = Store::new(loaded.0.module().engine(), host);
        store.limiter(|host| host);
        // A start function may have run, and a memory may be larger than its limit.
        let instance = loaded.0.instantiate(&mut store).map_err(|error| not_made(&error, store.data()))?;
        let start = instance
            .get_typed_func::<(), ()>(&mut store, "_start")
            .map_err(|error| failed(format!("the module cannot be started: {error:#}")))?;
        if let Some(memory) = instance.get_memory(&mut store, "memory") {
            store.data_mut().attach(memory);
        }
        Ok(Self { store, instance, start })
    }

    /// The same instance in another world, with its policy and limits.
    pub(crate) fn within(mut self, mut host: Host, loaded: &Loaded) -> Result<Self, End> {
        if !host.succeed(self.store.data()) {
            // It fails, and says why.
            return Self::new(loaded, host);
        }
        *self.store.data_mut() = host;
        Ok(self)
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// Runs it, and says what its host counted.
    pub(crate) fn run(mut self, patches: &[Patch], sink: &ChannelSink) -> End {
        let Self { store, instance, start } = &mut self;
        if !patches.is_empty() {
            let patched = instance
                .get_memory(&mut *store, "memory")
                .is_some_and(|memory| patch(memory, store, patches));
            if !patched {
                return (Ended::PatchMismatch, Vec::new());
            }
        }
        let outcome = match start.call(&mut *store, ()) {
            Ok(()) => (Ended::Exited(0), Vec::new()),
            Err(error) => ended(&error, store.data()),
        };
        for (grant, count) in (0..).zip(store.data().grant_uses()) {
            let _ = sink.uses(GrantId(grant), *count);
        }
        for limit in store.data().limits_hit() {
            let _ = sink.limit(limit);
        }
        // The process ends next, and the kernel takes everything back faster than destructors would.
        std::mem::forget(self);
        outcome
    }
}

/// All of the patches or none.
fn patch(memory: Memory, store: &mut Store<Host>, patches: &[Patch]) -> bool {
    let data = memory.data_mut(store);
    let range = |patch: &Patch, length: usize| {
        let start = patch.address as usize;
        start..start.saturating_add(length)
    };
    let all_match = patches.iter().all(|patch| {
        data.get(range(patch, patch.expect.len())) == Some(&patch.expect[..])
            && data.get(range(patch, patch.bytes.len())).is_some()
    });
    if all_match {
        for patch in patches {
            data[range(patch, patch.bytes.len())].copy_from_slice(&patch.bytes);
        }
    }
    all_match
}

/// Why there is no instance. Its start function may have ended it, or a limit; otherwise what it asks for,
/// within what a module may ask for, is not to be had.
fn not_made(error: &Error, host: &Host) -> End {
    if error.is::<Stop>() || error.is::<Trap>() || host.limits_hit().contains(&"memory") {
        return ended(error, host);
    }
    failed(format!("no room for the guest's memory and tables, which are reserved ahead: {error:#}"))
}

fn ended(error: &Error, host: &Host) -> (Ended, Vec<RawFrame>) {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    let ended = match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>()) {
        (Some(Stop::Exit(code)), _) => return (Ended::Exited(*code), Vec::new()),
        (Some(Stop::Limit(what)), _) => Ended::Limit((*what).to_owned()),
        // A guest that gets no memory aborts, if not at once: that is no fault of its own.
        (None, Some(_)) if host.limits_hit().contains(&"memory") => Ended::Limit("memory".to_owned()),
        (None, Some(Trap::UnreachableCodeReached)) if host.panicked() => Ended::Panicked,
        (None, Some(trap)) => Ended::Trapped(in_words(*trap)),
        (None, None) => Ended::Trapped(bounded(format!("{error:#}"))),
    };
    (ended, backtrace)
}

fn in_words(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "stack overflow".to_owned(),
        Trap::UnreachableCodeReached => "unreachable".to_owned(),
        Trap::MemoryOutOfBounds => "out of bounds memory access".to_owned(),
        Trap::TableOutOfBounds => "out of bounds table access".to_owned(),
        Trap::IndirectCallToNull => "call of an uninitialised table element".to_owned(),
        Trap::BadSignature => "indirect call of a function of another type".to_owned(),
        Trap::IntegerOverflow => "integer overflow".to_owned(),
        Trap::IntegerDivisionByZero => "integer division by zero".to_owned(),
        other => other.to_string().trim_start_matches("wasm trap: ").to_owned(),
    }
}

fn frames(backtrace: &WasmBacktrace) -> Vec<RawFrame> {
    let frame = |frame: &wasmtime::FrameInfo| RawFrame {
        function: frame.func_index(),
        offset: frame.module_offset().and_then(|offset| u32::try_from(offset).ok()).unwrap_or(0),
    };
    backtrace.frames().iter().map(frame).collect()
}

//! The least WASI that a libtest binary needs, on wasmtime alone: standard streams, arguments,
//! environment, clock. No file, no wall. It shows what libtest does by itself; the tests of the whole
//! program show the rest.

use crate::toolchain::tool;
use cargo_sandbox::event::GuestOutcome;
use cargo_sandbox::runner::suite::libtest::{self, Listing};
use cargo_sandbox::should_panic::Patch;
use sandbox_policy::access::RawFrame;
use std::process::Command;
use wasmtime::{Caller, Engine, Extern, Linker, Memory, Module, Store, Trap, WasmBacktrace};

/// How a guest ended, and what it printed.
pub(crate) struct Run {
    pub(crate) outcome: GuestOutcome,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    #[allow(dead_code, reason = "each test file uses its part")]
    pub(crate) frames: Vec<RawFrame>,
}

/// A compiled artifact.
pub(crate) struct Guest {
    pub(crate) wasm: Vec<u8>,
    linker: Linker<State>,
    module: Module,
}

#[derive(Default)]
struct State {
    args: Vec<u8>,
    arg_count: u32,
    env: Vec<u8>,
    env_count: u32,
    out: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Exit(i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}", self.0)
    }
}

impl std::error::Error for Exit {}

const BADF: i32 = 8;
const FAULT: i32 = 21;

impl Guest {
    pub(crate) fn new(wasm: Vec<u8>) -> Self {
        let mut config = wasmtime::Config::new();
        config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(100));
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, &wasm).expect("a module");
        let mut linker = Linker::new(&engine);
        add_wasi(&mut linker).expect("functions");
        linker.define_unknown_imports_as_traps(&module).expect("no unknown imports but functions");
        Self { wasm, linker, module }
    }

    pub(crate) fn run(&self, args: &[&str], env: &[(&str, &str)], patch: Option<&Patch>) -> Run {
        let mut state =
            State { arg_count: args.len() as u32 + 1, env_count: env.len() as u32, ..State::default() };
        for arg in std::iter::once(&"guest.wasm").chain(args) {
            state.args.extend(arg.bytes().chain([0]));
        }
        for (name, value) in env {
            state.env.extend(format!("{name}={value}\0").bytes());
        }
        let mut store = Store::new(self.module.engine(), state);
        let instance = self.linker.instantiate(&mut store, &self.module).expect("an instance");
        if let Some(patch) = patch {
            let memory = instance.get_memory(&mut store, "memory").expect("a memory");
            let range = patch.address as usize..patch.address as usize + patch.expect.len();
            let place = &mut memory.data_mut(&mut store)[range];
            assert_eq!(place, patch.expect, "the image is what the memory starts with");
            place.copy_from_slice(&patch.bytes);
        }
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
        let (outcome, frames) = match start.call(&mut store, ()) {
            Ok(()) => (GuestOutcome::Exited(0), Vec::new()),
            Err(error) => outcome(&error),
        };
        let [stdout, stderr] = std::mem::take(&mut store.data_mut().out);
        Run { outcome, stdout, stderr, frames }
    }

    /// Lists the tests as the runner does.
    pub(crate) fn list(&self) -> Listing {
        let output = |args: &[&str], env: &[(&str, &str)]| {
            let run = self.run(args, env, None);
            (run.outcome == GuestOutcome::Exited(0)).then_some(run.stdout)
        };
        let json = output(&libtest::LIST_JSON, &[libtest::LIST_ENVIRONMENT]);
        let terse = output(&libtest::LIST_TERSE, &[]);
        let ignored = output(&libtest::LIST_TERSE_IGNORED, &[]);
        Listing::from_answers(json.as_deref(), terse.as_deref(), ignored.as_deref())
    }

    /// Runs one test as the runner does.
    pub(crate) fn test(&self, name: &str, ignored: bool, patch: Option<&Patch>) -> Run {
        let arguments = libtest::run_arguments(name, ignored);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments, &[libtest::SHOULD_PANIC_ENVIRONMENT], patch)
    }
}

fn outcome(error: &wasmtime::Error) -> (GuestOutcome, Vec<RawFrame>) {
    if let Some(Exit(code)) = error.downcast_ref() {
        return (GuestOutcome::Exited(*code), Vec::new());
    }
    let trap = error.downcast_ref::<Trap>().expect("exit or trap");
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(Vec::new(), |backtrace| {
        let frame = |frame: &wasmtime::FrameInfo| RawFrame {
            function: frame.func_index(),
            offset: frame.module_offset().map_or(u32::MAX, |offset| offset as u32),
        };
        backtrace.frames().iter().map(frame).collect()
    });
    (GuestOutcome::Trapped(trap.to_string()), frames)
}

fn memory(caller: &mut Caller<'_, State>) -> Memory {
    caller.get_export("memory").and_then(Extern::into_memory).expect("a memory")
}

fn put(caller: &mut Caller<'_, State>, at: i32, bytes: &[u8]) -> i32 {
    let memory = memory(caller);
    memory.write(caller, at as u32 as usize, bytes).map_or(FAULT, |()| 0)
}

fn put_words(caller: &mut Caller<'_, State>, words: &[(i32, u32)]) -> i32 {
    words.iter().map(|(at, word)| put(caller, *at, &word.to_le_bytes())).max().unwrap_or(0)
}

/// Writes zero-ended strings and their addresses.
fn put_strings(caller: &mut Caller<'_, State>, strings: &[u8], pointers: i32, buffer: i32) -> i32 {
    let mut at = buffer;
    for (i, string) in strings.split_inclusive(|byte| *byte == 0).enumerate() {
        put_words(caller, &[(pointers + 4 * i as i32, at as u32)]);
        put(caller, at, string);
        at += string.len() as i32;
    }
    0
}

fn add_wasi(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    const P1: &str = "wasi_snapshot_preview1";
    linker.func_wrap(P1, "args_sizes_get", |mut c: Caller<'_, State>, count: i32, size: i32| {
        let words = [(count, c.data().arg_count), (size, c.data().args.len() as u32)];
        put_words(&mut c, &words)
    })?;
    linker.func_wrap(P1, "args_get", |mut c: Caller<'_, State>, pointers: i32, buffer: i32| {
        let strings = c.data().args.clone();
        put_strings(&mut c, &strings, pointers, buffer)
    })?;
    linker.func_wrap(P1, "environ_sizes_get", |mut c: Caller<'_, State>, count: i32, size: i32| {
        let words = [(count, c.data().env_count), (size, c.data().env.len() as u32)];
        put_words(&mut c, &words)
    })?;
    linker.func_wrap(P1, "environ_get", |mut c: Caller<'_, State>, pointers: i32, buffer: i32| {
        let strings = c.data().env.clone();
        put_strings(&mut c, &strings, pointers, buffer)
    })?;
    linker.func_wrap(P1, "clock_time_get", |mut c: Caller<'_, State>, _: i32, _: i64, at: i32| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
        put(&mut c, at, &now.to_le_bytes())
    })?;
    linker.func_wrap(P1, "random_get", |mut c: Caller<'_, State>, at: i32, length: i32| {
        put(&mut c, at, &vec![7; length as usize])
    })?;
    linker.func_wrap(P1, "sched_yield", || 0)?;
    linker.func_wrap(P1, "fd_prestat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(P1, "fd_fdstat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(P1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(Exit(code).into()) })?;
    linker.func_wrap(
        P1,
        "fd_write",
        |mut c: Caller<'_, State>, fd: i32, parts: i32, count: i32, written: i32| {
            let memory = memory(&mut c);
            let (data, state) = memory.data_and_store_mut(&mut c);
            let Some(out) = state.out.get_mut(fd as usize - 1) else { return BADF };
            let before = out.len();
            for part in data[parts as usize..].chunks_exact(8).take(count as usize) {
                let word =
                    |at: usize| u32::from_le_bytes(part[at..at + 4].try_into().expect("four")) as usize;
                out.extend(&data[word(0)..word(0) + word(4)]);
            }
            let length = (out.len() - before) as u32;
            put_words(&mut c, &[(written, length)])
        },
    )?;
    Ok(())
}

/// A command of the toolchain that has the wasm target, without what changes its builds.
pub(crate) fn toolchain(program: &str) -> Command {
    let mut command = tool(program);
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

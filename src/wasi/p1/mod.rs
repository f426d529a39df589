//! The functions of `wasi_snapshot_preview1`, by their witx names, over the methods of [`Host`].

mod fd;
mod path;
mod words;

use super::gate::{Denial, Fault};
use super::host::Host;
use super::table::Entry;
use super::types::Errno;
use super::{Stop, clocks, env};
use crate::access::{Access, Evidence, Operation, RawFrame, RawViolation};
use wasmtime::{Caller, Error, Extern, Linker, Memory, Result, WasmBacktrace};

const MODULE: &str = "wasi_snapshot_preview1";

/// Calls `body` with the host and the guest's memory, and does what follows from its fault: an
/// error number for the guest, the end of the guest, or a violation. `body` is called again with
/// the origin if a decision needs that, or with the access excused if this is an audit; so it
/// changes nothing before everything is decided.
fn call(
    mut caller: Caller<'_, Host>,
    mut body: impl FnMut(&mut Host, &mut [u8]) -> Result<(), Fault>,
) -> Result<u32> {
    let memory = memory_of(&mut caller)?;
    let mut repeated = false;
    let errno = loop {
        let (bytes, host) = memory.data_and_store_mut(&mut caller);
        match body(host, bytes) {
            Ok(()) => break 0,
            Err(Fault::Errno(errno)) => break errno.0,
            Err(Fault::Stop(stop)) => {
                if let Stop::Limit(name) = stop {
                    host.hit(name);
                }
                return Err(Error::from(stop));
            }
            Err(Fault::NeedsOrigin) => {
                let frames = backtrace(&caller);
                let host = caller.data_mut();
                host.gate.origin = Some(host.gate.sink.origin(&frames));
            }
            Err(Fault::Denied(denial)) => {
                // A variable is not to be had; that it is not granted shows only in the report.
                let is_env = denial.operation == Operation::EnvRead;
                if !report(&mut caller, *denial) {
                    repeated = true;
                    break if is_env { Errno::NOENT.0 } else { Errno::ACCES.0 };
                }
            }
        }
        repeated = true;
    };
    if repeated {
        caller.data_mut().gate.end_call();
    }
    Ok(u32::from(errno))
}

/// Tells the sink of a violation; answers whether the call may be tried again.
fn report(caller: &mut Caller<'_, Host>, denial: Denial) -> bool {
    let evidence = Evidence::Wasm(backtrace(caller));
    let gate = &mut caller.data_mut().gate;
    let let_through = gate.excuse(&denial);
    let Denial { operation, resource, exception, wall, note, excuse: _ } = denial;
    let access = Access { operation, resource };
    gate.sink.violation(RawViolation { access, wall, exception, note, let_through, evidence });
    let_through
}

/// The guest's stack, innermost frame first. Symbols are looked up later, elsewhere.
fn backtrace(caller: &Caller<'_, Host>) -> Vec<RawFrame> {
    WasmBacktrace::force_capture(caller)
        .frames()
        .iter()
        .map(|frame| RawFrame {
            function: frame.func_index(),
            offset: frame.module_offset().and_then(|offset| u32::try_from(offset).ok()).unwrap_or(0),
        })
        .collect()
}

fn memory_of(caller: &mut Caller<'_, Host>) -> Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(Error::msg("the module has no memory of the name `memory`"));
    };
    caller.data_mut().attach(memory);
    Ok(memory)
}

/// Defines every function of preview1.
///
/// # Errors
/// If one of them is defined already.
pub fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    fd::add_to_linker(linker)?;
    path::add_to_linker(linker)?;
    environment(linker)?;
    without_files(linker)
}

fn environment(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |c: Caller<'_, Host>, count: u32, size: u32| {
        call(c, |host, memory| env::sizes(&host.args, memory, count, size))
    })?;
    linker.func_wrap(MODULE, "args_get", |c: Caller<'_, Host>, pointers: u32, text: u32| {
        call(c, |host, memory| env::list(&host.args, memory, pointers, text))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |c: Caller<'_, Host>, count: u32, size: u32| {
        call(c, |host, memory| env::sizes(&host.env, memory, count, size))
    })?;
    linker.func_wrap(MODULE, "environ_get", |c: Caller<'_, Host>, pointers: u32, text: u32| {
        call(c, |host, memory| env::list(&host.env, memory, pointers, text))
    })?;
    Ok(())
}

fn without_files(linker: &mut Linker<Host>) -> Result<()> {
    use super::memory::{bytes_mut, put_u64};
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |c: Caller<'_, Host>, id: u32, _precision: u64, out: u32| {
            call(c, |_, memory| put_u64(memory, out, clocks::now(clocks::id(id)?)?))
        },
    )?;
    linker.func_wrap(MODULE, "clock_res_get", |c: Caller<'_, Host>, id: u32, out: u32| {
        call(c, |_, memory| put_u64(memory, out, clocks::resolution(clocks::id(id)?)?))
    })?;
    linker.func_wrap(MODULE, "random_get", |c: Caller<'_, Host>, ptr: u32, len: u32| {
        call(c, |_, memory| clocks::random(bytes_mut(memory, ptr, len)?))
    })?;
    linker.func_wrap(
        MODULE,
        "poll_oneoff",
        |c: Caller<'_, Host>, input: u32, output: u32, count: u32, events: u32| {
            call(c, |host, memory| host.poll(memory, input, output, count, events))
        },
    )?;
    linker.func_wrap(MODULE, "sched_yield", || {
        rustix::thread::sched_yield();
        0u32
    })?;
    linker.func_wrap(MODULE, "proc_exit", |status: u32| -> Result<()> {
        Err(Error::from(Stop::Exit(status as i32)))
    })?;
    linker.func_wrap(MODULE, "proc_raise", |_signal: u32| u32::from(Errno::NOSYS.0))?;
    // Preview1 can make no sockets, so no descriptor is one. A directory is not even a file.
    linker.func_wrap(MODULE, "sock_accept", |c: Caller<'_, Host>, fd: u32, _: u32, _: u32| {
        call(c, |host, _| Err(no_socket(host, fd)))
    })?;
    linker.func_wrap(
        MODULE,
        "sock_recv",
        |c: Caller<'_, Host>, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            call(c, |host, _| Err(no_socket(host, fd)))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "sock_send",
        |c: Caller<'_, Host>, fd: u32, _: u32, _: u32, _: u32, _: u32| {
            call(c, |host, _| Err(no_socket(host, fd)))
        },
    )?;
    linker.func_wrap(MODULE, "sock_shutdown", |c: Caller<'_, Host>, fd: u32, _: u32| {
        call(c, |host, _| Err(no_socket(host, fd)))
    })?;
    Ok(())
}

fn no_socket(host: &Host, fd: u32) -> Fault {
    match host.table.get(fd) {
        Ok(Entry::Directory(_)) => Errno::BADF.into(),
        Ok(_) => Errno::NOTSOCK.into(),
        Err(fault) => fault,
    }
}

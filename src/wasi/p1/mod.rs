//! The functions of `wasi_snapshot_preview1`, by their witx names, over the methods of [`Host`].

mod call;
mod fd;
mod path;
mod words;

use super::gate::Fault;
use super::host::Host;
use super::table::Entry;
use super::types::Errno;
use super::{Stop, clocks, env};
use call::{MODULE, call};
use wasmtime::{Caller, Error, Linker, Result};

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

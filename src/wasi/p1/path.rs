//! `path_*`.

use super::call::{MODULE, call};
use super::words::times;
use crate::wasi::env::getenv;
use crate::wasi::fs::Request;
use crate::wasi::gate::Fault;
use crate::wasi::host::Host;
use crate::wasi::memory::{put, put_u32, range, text};
use crate::wasi::table::Entry;
use crate::wasi::types::{Errno, fdflags, filestat, oflags, rights};
use wasmtime::{Caller, Linker, Result};

/// The 16-bit flags that came as a 32-bit number.
fn flags(value: u32, all: u16) -> Result<u16, Fault> {
    match u16::try_from(value) {
        Ok(flags) if flags & !all == 0 => Ok(flags),
        _ => Err(Errno::INVAL.into()),
    }
}

/// Whether `fd` is the preopened root, where the reserved paths are.
fn is_root(host: &Host, fd: u32) -> bool {
    matches!(host.table.get(fd), Ok(Entry::Directory(directory))
        if directory.preopen.is_some() && *directory.path == *b"/")
}

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MODULE,
        "path_open",
        |c: Caller<'_, Host>,
         fd: u32,
         lookup: u32,
         path: u32,
         len: u32,
         how: u32,
         base: u64,
         _inheriting: u64,
         status: u32,
         out: u32| {
            call(c, |host, memory| {
                range(memory, out, 4)?;
                let mut needed = rights::PATH_OPEN;
                needed |= if how & u32::from(oflags::CREAT) != 0 { rights::PATH_CREATE_FILE } else { 0 };
                needed |=
                    if how & u32::from(oflags::TRUNC) != 0 { rights::PATH_FILESTAT_SET_SIZE } else { 0 };
                host.table.keeps(fd, needed)?;
                let request = Request {
                    how: flags(how, oflags::ALL)?,
                    read: base & rights::FD_READ != 0,
                    write: base & rights::FD_WRITE != 0,
                    flags: flags(status, fdflags::ALL)?,
                    count: false,
                    full: false,
                };
                let opened = host.open(fd, lookup, text(memory, path, len)?, request)?;
                let (_, inherited) = host.table.given_up(fd);
                if inherited != 0 {
                    host.table.give_up(opened, inherited, inherited);
                }
                put_u32(memory, out, opened)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_get",
        |c: Caller<'_, Host>, fd: u32, lookup: u32, path: u32, len: u32, out: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_FILESTAT_GET)?;
                let path = text(memory, path, len)?;
                if is_root(host, fd)
                    && let Some(answer) = getenv(&mut host.gate, path)
                {
                    return Err(answer);
                }
                let stat = host.stat(fd, lookup, path)?;
                put(memory, out, &filestat(&stat))
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_set_times",
        |c: Caller<'_, Host>, fd: u32, lookup: u32, path: u32, len: u32, atim: u64, mtim: u64, which: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_FILESTAT_SET_TIMES)?;
                let times = times(atim, mtim, which)?;
                host.set_times(fd, lookup, text(memory, path, len)?, &times)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_create_directory",
        |c: Caller<'_, Host>, fd: u32, path: u32, len: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_CREATE_DIRECTORY)?;
                host.create_directory(fd, text(memory, path, len)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_remove_directory",
        |c: Caller<'_, Host>, fd: u32, path: u32, len: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_REMOVE_DIRECTORY)?;
                host.remove(fd, text(memory, path, len)?, true)
            })
        },
    )?;
    linker.func_wrap(MODULE, "path_unlink_file", |c: Caller<'_, Host>, fd: u32, path: u32, len: u32| {
        call(c, |host, memory| {
            host.table.keeps(fd, rights::PATH_UNLINK_FILE)?;
            host.remove(fd, text(memory, path, len)?, false)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "path_readlink",
        |c: Caller<'_, Host>, fd: u32, path: u32, len: u32, out: u32, room: u32, used: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_READLINK)?;
                let target = host.read_link(fd, text(memory, path, len)?)?;
                let taken = target.len().min(room as usize);
                put(memory, out, &target[..taken])?;
                put_u32(memory, used, taken as u32)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_symlink",
        |c: Caller<'_, Host>, target: u32, target_len: u32, fd: u32, path: u32, len: u32| {
            call(c, |host, memory| {
                host.table.keeps(fd, rights::PATH_SYMLINK)?;
                host.symlink(text(memory, target, target_len)?, fd, text(memory, path, len)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_link",
        |c: Caller<'_, Host>,
         old_fd: u32,
         lookup: u32,
         old: u32,
         old_len: u32,
         new_fd: u32,
         new: u32,
         new_len: u32| {
            call(c, |host, memory| {
                host.table.keeps(old_fd, rights::PATH_LINK_SOURCE)?;
                host.table.keeps(new_fd, rights::PATH_LINK_TARGET)?;
                let old = (old_fd, lookup, text(memory, old, old_len)?);
                host.link(old, (new_fd, text(memory, new, new_len)?))
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_rename",
        |c: Caller<'_, Host>, old_fd: u32, old: u32, old_len: u32, new_fd: u32, new: u32, new_len: u32| {
            call(c, |host, memory| {
                host.table.keeps(old_fd, rights::PATH_RENAME_SOURCE)?;
                host.table.keeps(new_fd, rights::PATH_RENAME_TARGET)?;
                let old = (old_fd, text(memory, old, old_len)?);
                host.rename(old, (new_fd, text(memory, new, new_len)?))
            })
        },
    )?;
    Ok(())
}

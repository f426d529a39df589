//! Crates made on the spot, built as `cargo sandbox-run` builds them, and a guest's world of a few
//! functions, enough to see what the linked object and the symbols say.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::toolchain::rustup_toolchain;
use cargo_sandbox::cargo::command::{Artifact, CargoCommand, Goal, TargetFlags};
use cargo_sandbox::cargo::metadata::Workspace;
use cargo_sandbox::cargo::{CargoFlags, Error};
use sandbox_policy::access::RawFrame;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use wasmtime::{Caller, Engine, Linker, Module, Store, WasmBacktrace};

/// A folder of files that vanishes with it.
pub(crate) struct Project(tempfile::TempDir);

impl Project {
    /// Files and their texts; folders are made.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self(folder);
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    pub(crate) fn workspace(&self, flags: &CargoFlags) -> Result<Workspace, Error> {
        Workspace::load(flags, &self.path(), None)
    }

    pub(crate) fn build(
        &self,
        goal: Goal,
        flags: &CargoFlags,
        targets: &TargetFlags,
    ) -> Result<Vec<Artifact>, Error> {
        let workspace = self.workspace(flags)?;
        let program = Path::new(env!("CARGO_BIN_EXE_cargo-sandbox"));
        let command = CargoCommand::build(program, goal, &workspace, flags, targets)?
            .env("RUSTUP_TOOLCHAIN", rustup_toolchain());
        Ok(command.spawn()?.artifacts(&workspace)?.guests)
    }

    /// Builds the one program of the package.
    pub(crate) fn program(&self, flags: &CargoFlags) -> Artifact {
        let mut artifacts = self.build(Goal::Programs, flags, &TargetFlags::default()).unwrap();
        assert_eq!(artifacts.len(), 1, "{artifacts:?}");
        artifacts.remove(0)
    }
}

pub(crate) fn flags(profile: &str) -> CargoFlags {
    CargoFlags { profile: Some(profile.into()), offline: true, quiet: true, ..CargoFlags::default() }
}

/// What a guest did.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) stdout: String,
    /// Paths of `path_filestat_get`, absolute.
    pub(crate) stats: Vec<String>,
    /// Paths of `path_open`, absolute, with the frames that asked.
    pub(crate) opens: Vec<(String, Vec<RawFrame>)>,
    pub(crate) exit: Option<i32>,
    pub(crate) trapped: bool,
    env: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
    files: HashMap<i32, (Vec<u8>, usize)>,
}

type Guest<'a> = Caller<'a, Seen>;

fn put(guest: &mut Guest<'_>, at: i32, bytes: &[u8]) {
    let memory = guest.get_export("memory").unwrap().into_memory().unwrap();
    memory.write(guest, at as usize, bytes).unwrap();
}

fn put_u32(guest: &mut Guest<'_>, at: i32, value: usize) {
    put(guest, at, &(value as u32).to_le_bytes());
}

fn take(guest: &mut Guest<'_>, at: i32, length: i32) -> Vec<u8> {
    let memory = guest.get_export("memory").unwrap().into_memory().unwrap();
    memory.data(&guest)[at as usize..][..length as usize].to_vec()
}

fn u32_at(guest: &mut Guest<'_>, at: i32) -> i32 {
    i32::from_le_bytes(take(guest, at, 4).try_into().unwrap())
}

fn absolute(guest: &mut Guest<'_>, at: i32, length: i32) -> String {
    format!("/{}", String::from_utf8(take(guest, at, length)).unwrap())
}

fn strings(guest: &mut Guest<'_>, strings: &[Vec<u8>], mut pointers: i32, mut bytes: i32) {
    for string in strings {
        put_u32(guest, pointers, bytes as usize);
        put(guest, bytes, &[string, &b"\0"[..]].concat());
        pointers += 4;
        bytes += string.len() as i32 + 1;
    }
}

fn sizes(guest: &mut Guest<'_>, strings: &[Vec<u8>], count: i32, bytes: i32) {
    put_u32(guest, count, strings.len());
    put_u32(guest, bytes, strings.iter().map(|string| string.len() + 1).sum());
}

/// Runs a program whose only preopen is `/`.
pub(crate) fn run(wasm: &Path, args: &[&str], env: &[(&str, &str)]) -> Seen {
    const BAD_FD: i32 = 8;
    const NO_ENTRY: i32 = 44;
    // Compiles three times faster.
    let engine = Engine::new(wasmtime::Config::new().strategy(wasmtime::Strategy::Winch)).unwrap();
    let module = Module::from_file(&engine, wasm).unwrap();
    let mut linker: Linker<Seen> = Linker::new(&engine);
    let p1 = "wasi_snapshot_preview1";
    let args = ["guest"].iter().chain(args).map(|arg| arg.as_bytes().to_vec()).collect();
    let env = env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
    let mut store = Store::new(&engine, Seen { args, env, ..Seen::default() });
    linker
        .func_wrap(p1, "environ_sizes_get", |mut guest: Guest<'_>, count: i32, bytes: i32| {
            let env = guest.data().env.clone();
            sizes(&mut guest, &env, count, bytes);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "environ_get", |mut guest: Guest<'_>, pointers: i32, bytes: i32| {
            let env = guest.data().env.clone();
            strings(&mut guest, &env, pointers, bytes);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "args_sizes_get", |mut guest: Guest<'_>, count: i32, bytes: i32| {
            let args = guest.data().args.clone();
            sizes(&mut guest, &args, count, bytes);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "args_get", |mut guest: Guest<'_>, pointers: i32, bytes: i32| {
            let args = guest.data().args.clone();
            strings(&mut guest, &args, pointers, bytes);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "fd_prestat_get", |mut guest: Guest<'_>, fd: i32, at: i32| {
            if fd != 3 {
                return BAD_FD;
            }
            put(&mut guest, at, &[0, 0, 0, 0, 1, 0, 0, 0]);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "fd_prestat_dir_name", |mut guest: Guest<'_>, _: i32, at: i32, _: i32| {
            put(&mut guest, at, b"/");
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "fd_fdstat_get", |mut guest: Guest<'_>, fd: i32, at: i32| {
            let kind: u8 = if fd == 3 { 3 } else { 4 };
            put(&mut guest, at, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0xff; 16]].concat());
            0
        })
        .unwrap();
    linker
        .func_wrap(
            p1,
            "path_filestat_get",
            |mut guest: Guest<'_>, _: i32, _: i32, at: i32, length: i32, out: i32| {
                let path = absolute(&mut guest, at, length);
                let found = fs::metadata(&path);
                guest.data_mut().stats.push(path);
                let Ok(found) = found else { return NO_ENTRY };
                let mut stat = [0_u8; 64];
                stat[16] = if found.is_dir() { 3 } else { 4 };
                stat[24] = 1;
                stat[32..40].copy_from_slice(&found.len().to_le_bytes());
                put(&mut guest, out, &stat);
                0
            },
        )
        .unwrap();
    linker
        .func_wrap(
            p1,
            "path_open",
            |mut guest: Guest<'_>,
             _: i32,
             _: i32,
             at: i32,
             length: i32,
             _: i32,
             _: i64,
             _: i64,
             _: i32,
             out: i32| {
                let path = absolute(&mut guest, at, length);
                let frames = WasmBacktrace::force_capture(&guest);
                let frames = frames
                    .frames()
                    .iter()
                    .map(|frame| RawFrame {
                        function: frame.func_index(),
                        offset: frame.module_offset().unwrap() as u32,
                    })
                    .collect();
                let found = fs::read(&path);
                guest.data_mut().opens.push((path, frames));
                let Ok(bytes) = found else { return NO_ENTRY };
                let fd = 4 + guest.data().files.len() as i32;
                guest.data_mut().files.insert(fd, (bytes, 0));
                put_u32(&mut guest, out, fd as usize);
                0
            },
        )
        .unwrap();
    linker
        .func_wrap(p1, "fd_filestat_get", |mut guest: Guest<'_>, fd: i32, out: i32| {
            let Some(length) = guest.data().files.get(&fd).map(|file| file.0.len()) else { return BAD_FD };
            let mut stat = [0_u8; 64];
            stat[16] = 4;
            stat[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            put(&mut guest, out, &stat);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "fd_read", |mut guest: Guest<'_>, fd: i32, vectors: i32, count: i32, out: i32| {
            let Some((bytes, at)) = guest.data().files.get(&fd).cloned() else { return BAD_FD };
            let mut read = 0;
            for vector in 0..count {
                let start = u32_at(&mut guest, vectors + vector * 8);
                let length = u32_at(&mut guest, vectors + vector * 8 + 4) as usize;
                let rest = &bytes[at + read..];
                let part = &rest[..rest.len().min(length)];
                put(&mut guest, start, part);
                read += part.len();
            }
            guest.data_mut().files.get_mut(&fd).unwrap().1 += read;
            put_u32(&mut guest, out, read);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "fd_seek", |mut guest: Guest<'_>, _: i32, _: i64, _: i32, out: i32| {
            put(&mut guest, out, &[0; 8]);
            0
        })
        .unwrap();
    linker.func_wrap(p1, "fd_close", |_: Guest<'_>, _: i32| 0).unwrap();
    linker
        .func_wrap(p1, "fd_write", |mut guest: Guest<'_>, _: i32, vectors: i32, count: i32, out: i32| {
            let mut written = 0;
            for vector in 0..count {
                let start = u32_at(&mut guest, vectors + vector * 8);
                let length = u32_at(&mut guest, vectors + vector * 8 + 4);
                let text = take(&mut guest, start, length);
                guest.data_mut().stdout.push_str(&String::from_utf8_lossy(&text));
                written += length as usize;
            }
            put_u32(&mut guest, out, written);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "random_get", |mut guest: Guest<'_>, at: i32, length: i32| {
            put(&mut guest, at, &vec![7; length as usize]);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "clock_time_get", |mut guest: Guest<'_>, _: i32, _: i64, out: i32| {
            put(&mut guest, out, &[1; 8]);
            0
        })
        .unwrap();
    linker
        .func_wrap(p1, "proc_exit", |mut guest: Guest<'_>, code: i32| -> wasmtime::Result<()> {
            guest.data_mut().exit = Some(code);
            Err(wasmtime::Error::msg("exit"))
        })
        .unwrap();
    linker.define_unknown_imports_as_traps(&module).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
    let ended = start.call(&mut store, ());
    store.data_mut().trapped = ended.is_err() && store.data().exit.is_none();
    store.into_data()
}

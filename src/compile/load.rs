//! Loading finished code. This file holds the only `unsafe` of `compile` and `worker`.
#![expect(unsafe_code, reason = "machine code from a file can only be trusted, not checked")]

use std::fs::File;
use wasmtime::{Engine, Module};

/// The code cannot be used: made for another configuration, or damaged.
#[derive(Debug)]
pub struct LoadError(String);

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// Maps finished code. To be called in a worker that has already confined itself, and nowhere else.
///
/// # Errors
///
/// The file is not a module compiled by this version of wasmtime under `engine`'s configuration.
pub fn load(engine: &Engine, code: File) -> Result<Module, LoadError> {
    // SAFETY: wasmtime asks that the file is the unmodified output of `precompile_module` and stays
    // so while it is mapped, because its contents become machine code of this process. Nothing can
    // check that of bytes that any process of the same user may have written, so it is not relied
    // upon for safety of the machine: the caller is the worker, a process that has given up every
    // right but those of the policy (Landlock, seccomp, no file but its own descriptors) before it
    // gets here. Whatever the bytes do, they do it as the guest could. For the honest case, the
    // cache's checksum and owner checks (`cache`) make the precondition true: an entry is written
    // once under another name, renamed into place and never modified afterwards.
    unsafe { Module::deserialize_open_file(engine, code) }.map_err(|error| LoadError(format!("{error:#}")))
}

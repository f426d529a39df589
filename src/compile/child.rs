//! What the compile child does once it is confined: hostile bytes in, machine code out.

use super::engine::{Strategy, engine};
use super::limits;
use super::module_info::ModuleInfo;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};

/// Largest wasm file that is read, in bytes.
pub const MAX_WASM: u64 = 512 << 20;

/// Why a module was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompileError {
    /// The module is at fault, in words.
    Module(String),
    /// The module has more in it than is compiled, in words.
    TooMuch(String),
    /// The machine is: no memory, no room for the output.
    Machine(String),
}

/// Compiles what `input` holds to `output`, and says what it read on the way. A component is not
/// compiled; its facts say that it is one.
///
/// # Errors
///
/// See [`CompileError`].
pub fn compile(input: &mut File, output: &mut File, strategy: Strategy) -> Result<ModuleInfo, CompileError> {
    let machine = |error: std::io::Error| CompileError::Machine(error.to_string());
    let mut wasm = Vec::new();
    input.take(MAX_WASM + 1).read_to_end(&mut wasm).map_err(machine)?;
    if wasm.len() as u64 > MAX_WASM {
        return Err(CompileError::TooMuch(format!("it is larger than {} MiB", MAX_WASM >> 20)));
    }
    let module_info = ModuleInfo::read(&wasm).map_err(CompileError::Module)?;
    if module_info.component {
        return Ok(module_info);
    }
    limits::check(&wasm).map_err(CompileError::TooMuch)?;
    let engine = engine(strategy).map_err(|error| CompileError::Machine(format!("{error:#}")))?;
    let code = engine.precompile_module(&wasm).map_err(|error| CompileError::Module(format!("{error:#}")))?;
    output.write_all(&code).map_err(machine)?;
    Ok(module_info)
}

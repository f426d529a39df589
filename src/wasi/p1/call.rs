//! One call of a guest, and what becomes of its fault.

use crate::wasi::Stop;
use crate::wasi::fault::{Denial, Fault};
use crate::wasi::host::Host;
use crate::wasi::types::Errno;
use sandbox_policy::access::{Access, Evidence, Operation, RawFrame, RawViolation};
use wasmtime::{Caller, Error, Extern, Memory, Result, WasmBacktrace};

/// The module that guests import preview1 from.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

/// Calls `body` with the host and the guest's memory, and does what follows from its fault: an
/// error number for the guest, the end of the guest, or a violation. `body` is called again with
/// the origin if a decision needs that, or with the access excused if this is an audit; so it
/// changes nothing before everything is decided.
pub(super) fn call(
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

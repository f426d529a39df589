//! The only place that configures wasmtime: code compiled under another configuration is refused.

use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

/// Which of wasmtime's compilers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// Optimising: slower to compile, faster to run.
    Cranelift,
    /// One pass: about three times faster to compile and three times slower to run.
    Winch,
}

/// Native stack that a guest may use, in bytes. More than wasmtime's 512 KiB, because unoptimised
/// code has large frames and a guest that recurses deeply should meet the end of its own shadow
/// stack (1 MiB in wasm-ld's default) as it does elsewhere; well below the 8 MiB that a main
/// thread has, so that the end of it is a trap and never a crash.
pub(super) const GUEST_STACK: usize = 2 << 20;

/// Frames kept of a backtrace, as many as a message holds. std and libtest take about 25 of them; a
/// `#[should_panic]` test with a deeper stack is not run.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// The engine for `strategy`, the same for compiling and for loading.
///
/// No fuel and no epochs: the supervisor keeps time and kills, so guest code pays nothing for it.
/// Backtraces hold raw frames only; symbols are found in another process.
///
/// # Errors
///
/// wasmtime refuses the configuration on this machine.
pub fn engine(strategy: Strategy) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(match strategy {
            Strategy::Cranelift => wasmtime::Strategy::Cranelift,
            Strategy::Winch => wasmtime::Strategy::Winch,
        })
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .signals_based_traps(true)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        // Only what rustc emits for WASI. Less to compile is less to attack.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    Engine::new(&config)
}

/// Identifies everything that machine code depends on besides the wasm: wasmtime's version, the
/// compiler, its settings and the processor features it may use, and this crate's version.
pub fn fingerprint(engine: &Engine, strategy: Strategy) -> [u8; 32] {
    let mut hasher = Blake(blake3::Hasher::new());
    hasher.write(concat!("cargo-sandbox ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    strategy.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    *hasher.0.finalize().as_bytes()
}

/// [`Hash`] values into a hash whose result does not depend on std's version.
struct Blake(blake3::Hasher);

impl Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_stable_and_differs_between_compilers() {
        let print = |strategy| fingerprint(&engine(strategy).unwrap(), strategy);
        assert_eq!(print(Strategy::Cranelift), print(Strategy::Cranelift));
        assert_ne!(print(Strategy::Cranelift), print(Strategy::Winch));
    }
}

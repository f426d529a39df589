//! The toolchain that compiles guests: found once, named in one place.
#![allow(dead_code, unreachable_pub, reason = "the benchmarks use a part of it")]

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Name of a rustup toolchain that compiles for wasm32-wasip1, or `None` where the one that is active does.
///
/// # Panics
/// If there is none: `make toolchain` finds or makes one.
pub fn toolchain() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            if let Ok(named) = std::env::var("CARGO_SANDBOX_TEST_TOOLCHAIN") {
                return Some(named);
            }
            let candidates = [None, Some("wasi")];
            let found = candidates.into_iter().find(|candidate| has_target(*candidate));
            let found = found
                .expect("no toolchain here compiles for wasm32-wasip1: run `make toolchain`, or `make test`");
            found.map(str::to_owned)
        })
        .as_deref()
}

/// The same as a value for `RUSTUP_TOOLCHAIN`, which takes nothing for the one that is active.
pub fn rustup_toolchain() -> OsString {
    toolchain().map_or_else(|| std::env::var_os("RUSTUP_TOOLCHAIN").unwrap_or_default(), OsString::from)
}

/// `rustc`, `cargo` or another tool of that toolchain.
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("RUSTUP_TOOLCHAIN", rustup_toolchain());
    command
}

fn has_target(toolchain: Option<&str>) -> bool {
    let mut rustc = Command::new("rustc");
    if let Some(toolchain) = toolchain {
        rustc.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    let Ok(output) = rustc.args(["--print", "target-libdir", "--target", "wasm32-wasip1"]).output() else {
        return false;
    };
    output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
}

//! `cargo sandbox-test` is `cargo sandbox test`: this only hands over.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_sandbox::cli::hand_over("test")
}

//! `cargo sandbox-run` is `cargo sandbox run`: this only hands over.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_sandbox::cli::hand_over("run")
}

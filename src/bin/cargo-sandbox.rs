//! `cargo-sandbox`: a worker, a compiler wrapper, or the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a worker has one thread and nothing open.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == cargo_sandbox::worker::supervisor::WORKER_ARGUMENT)
    {
        return cargo_sandbox::worker::child::main().into();
    }
    if let Some(status) = cargo_sandbox::cargo::wrapper::run_if_called() {
        return status;
    }
    cargo_sandbox::cli::main(std::env::args_os().collect())
}

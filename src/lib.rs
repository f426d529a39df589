//! Runs a crate under WASI with the permissions its `Cargo.toml` declares, behind three walls: our
//! own WASI host functions, Landlock and seccomp. ARCHITECTURE.md has the map.

pub mod audit;
pub mod cargo;
pub mod cli;
pub mod compile;
pub mod event;
pub mod exit_status;
pub mod report;
pub mod runner;
pub mod should_panic;
pub mod symbols;
pub mod wasi;
pub mod worker;

//! From wasm to machine code: the one place that configures wasmtime's engine, the code cache, and
//! what is read from a module before it runs.
//!
//! Compiling reads hostile bytes: [`child::compile`] runs in a limited process that `worker`
//! starts. Nothing here starts a process.

pub mod cache;
pub mod child;
mod engine;
mod limits;
mod load;
pub mod module_info;

pub use cache::{Cache, Key, Stamp};
pub use engine::{Strategy, engine, fingerprint};
pub use load::{LoadError, load};
pub use module_info::ModuleInfo;

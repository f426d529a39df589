//! From raw guest frames to source lines, and what else a module's own sections say of it.
//!
//! Pure functions over the bytes of a `.wasm` file. All of it is hostile input: nothing here panics,
//! every name is cut, every list bounded, and nothing of it is ever opened as a path. Time and
//! memory are limited by the process that runs it.

mod dwarf;
mod frames;
mod mangling;
mod module;
mod origin;
mod unsupported_calls;

use std::fmt;

pub use frames::{Symbols, functions, symbolise};
pub use module::marker;
pub use origin::{is_internal, is_std_path, origin};
pub use unsupported_calls::{Caller, UnsupportedCall, UnsupportedKind, plain_path, unsupported_calls};

/// Bytes of a function name, crate name or file name; what is longer is cut.
pub const LONGEST_NAME: usize = 1024;
/// Inlined calls that one raw frame is expanded to at most.
pub const MOST_INLINED: usize = 256;

/// Why a module cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not well-formed WebAssembly.
    Module(String),
    /// Its debug information cannot be read.
    Debug(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(reason) => write!(f, "not a WebAssembly module: {reason}"),
            Self::Debug(reason) => write!(f, "unreadable debug information: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

/// `text` without what is beyond [`LONGEST_NAME`] bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

//! From raw guest frames to source lines, and what else a module's own sections say of it.
//!
//! Pure functions over the bytes of a `.wasm` file. All of it is hostile input: nothing here panics,
//! every name is cut, every list bounded, and nothing of it is ever opened as a path. Time and
//! memory are limited by the process that runs it.

mod dwarf;
mod mangling;
mod module;
mod origin;
mod unsupported_calls;

use crate::access::{Frame, RawFrame};
use std::fmt;

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

/// What a module's own sections say of its frames: read once, asked often.
pub struct Symbols<'a> {
    module: module::Module<'a>,
    debug: Option<dwarf::Debug<'a>>,
}

impl<'a> Symbols<'a> {
    /// Names and lines come from DWARF; a frame without it gets what the `name` section says of its
    /// function, or empty strings.
    ///
    /// # Errors
    /// The module or its DWARF is malformed. Use [`Symbols::names_only`] then.
    pub fn read(wasm: &'a [u8]) -> Result<Self, Error> {
        let module = module::Module::parse(wasm)?;
        let debug = dwarf::Debug::load(&module)?;
        Ok(Self { module, debug })
    }

    /// [`Symbols::read`] without debug information: for a module whose DWARF is malformed.
    ///
    /// # Errors
    /// The module itself is malformed.
    pub fn names_only(wasm: &'a [u8]) -> Result<Self, Error> {
        Ok(Self { module: module::Module::parse(wasm)?, debug: None })
    }

    /// One entry per raw frame: its source-level frames, innermost first, and at least one.
    pub fn frames(&self, frames: &[RawFrame]) -> Vec<Vec<Frame>> {
        let names = self.module.names_of(frames.iter().map(|frame| frame.function));
        let of = |frame: &RawFrame| {
            let named = names.get(&frame.function).copied().unwrap_or_default();
            let mut found = self.debug.as_ref().map_or_else(Vec::new, |debug| debug.frames(frame.offset));
            match found.last_mut() {
                None => found.push(mangling::frame(named)),
                Some(outermost) if outermost.function.is_empty() || outermost.krate.is_empty() => {
                    // Line tables without function names: the `name` section has the function that
                    // everything else was inlined into.
                    let frame = mangling::frame(named);
                    if !frame.function.is_empty() {
                        (outermost.krate, outermost.function) = (frame.krate, frame.function);
                    }
                }
                Some(_) => {}
            }
            found
        };
        frames.iter().map(of).collect()
    }
}

/// [`Symbols::frames`] of a module that is asked once.
///
/// # Errors
/// As for [`Symbols::read`].
pub fn symbolise(wasm: &[u8], frames: &[RawFrame]) -> Result<Vec<Vec<Frame>>, Error> {
    Ok(Symbols::read(wasm)?.frames(frames))
}

/// Every named function of the module: its index, its crate (empty if unknown) and its path.
///
/// # Errors
/// The module is malformed.
pub fn functions(wasm: &[u8]) -> Result<Vec<(u32, Frame)>, Error> {
    let module = module::Module::parse(wasm)?;
    Ok(module.names().map(|(index, name)| (index, mangling::frame(name))).collect())
}

/// `text` without what is beyond [`LONGEST_NAME`] bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

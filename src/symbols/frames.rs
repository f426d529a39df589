//! Frames from debug information, or else from names.

use super::module::Module;
use super::{Error, dwarf, mangling};
use sandbox_policy::access::{Frame, RawFrame};

/// What a module's own sections say of its frames: read once, asked often.
pub struct Symbols<'a> {
    module: Module<'a>,
    debug: Option<dwarf::Debug<'a>>,
}

impl<'a> Symbols<'a> {
    /// Names and lines come from DWARF; a frame without it gets what the `name` section says of its
    /// function, or empty strings.
    ///
    /// # Errors
    /// The module or its DWARF is malformed. Use [`Symbols::names_only`] then.
    pub fn read(wasm: &'a [u8]) -> Result<Self, Error> {
        let module = Module::parse(wasm)?;
        let debug = dwarf::Debug::load(&module)?;
        Ok(Self { module, debug })
    }

    /// [`Symbols::read`] without debug information: for a module whose DWARF is malformed.
    ///
    /// # Errors
    /// The module itself is malformed.
    pub fn names_only(wasm: &'a [u8]) -> Result<Self, Error> {
        Ok(Self { module: Module::parse(wasm)?, debug: None })
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
    let module = Module::parse(wasm)?;
    Ok(module.names().map(|(index, name)| (index, mangling::frame(name))).collect())
}

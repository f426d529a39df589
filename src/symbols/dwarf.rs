//! Source lines from the DWARF that rustc put into custom sections.

use super::module::Module;
use super::{Error, MOST_INLINED, cut, mangling};
use gimli::{EndianSlice, LittleEndian};
use sandbox_policy::access::Frame;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The debug information of one module, read lazily, once for all frames.
pub(super) struct Debug<'a> {
    context: addr2line::Context<Reader<'a>>,
    code_start: u64,
}

impl<'a> Debug<'a> {
    /// `None` if the module carries none.
    pub(super) fn load(module: &Module<'a>) -> Result<Option<Self>, Error> {
        if module.custom(".debug_info").is_empty() {
            return Ok(None);
        }
        let dwarf = gimli::Dwarf::load(|section| {
            Ok::<_, gimli::Error>(EndianSlice::new(module.custom(section.name()), LittleEndian))
        })
        .map_err(|error| Error::Debug(error.to_string()))?;
        let context =
            addr2line::Context::from_dwarf(dwarf).map_err(|error| Error::Debug(error.to_string()))?;
        Ok(Some(Self { context, code_start: module.code_start as u64 }))
    }

    /// The frames at an offset in the module, innermost first; none if nothing is known of it.
    pub(super) fn frames(&self, offset: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(address) = u64::from(offset).checked_sub(self.code_start) else { return frames };
        let Ok(mut found) = self.context.find_frames(address).skip_all_loads() else { return frames };
        while frames.len() < MOST_INLINED {
            let Ok(Some(found)) = found.next() else { break };
            let name = found.function.as_ref().and_then(|function| function.raw_name().ok());
            let mut frame = mangling::frame(name.as_deref().unwrap_or_default());
            if let Some(location) = found.location {
                frame.file = cut(location.file.unwrap_or_default()).to_owned();
                frame.line = location.line.unwrap_or(0);
                frame.column = location.column.unwrap_or(0);
            }
            frames.push(frame);
        }
        frames
    }
}

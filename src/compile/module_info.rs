//! What is read from a module before it runs. All of it is the module's own word.

use crate::symbols::{self, UnsupportedCall};
use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};

/// Name of the custom section by which our linked object marks an artifact.
pub const MARKER_SECTION: &str = "cargo-sandbox";

/// In the data of every libtest: what it has been asking for since Rust 1.0.
const OF_LIBTEST: &[u8] = b"RUST_TEST_NOCAPTURE";
/// Longest text kept of a name or marker, in bytes.
const MAX_TEXT: usize = 256;
/// Most names kept of a kind.
const MAX_NAMES: usize = 64;

/// What is known of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Contents of the marker section: the module was linked with our object, so that paths and
    /// environment names reach the gate as they are meant to.
    pub marker: Option<String>,
    /// It is a component (wasip2), not a core module.
    pub component: bool,
    /// Imports that WASI preview1 does not have, as `module::name`. Such a module cannot run.
    pub foreign_imports: Vec<String>,
    /// It exports `_start`: a command, not a library.
    pub command: bool,
    /// It has a start function: code of the guest that runs while it is instantiated.
    pub start: bool,
    /// Calls of std that can never reach the host: processes, network, threads.
    pub unsupported_calls: Vec<UnsupportedCall>,
    /// It has a `name` section.
    pub names: bool,
    /// It has DWARF line information.
    pub debug_lines: bool,
    /// libtest is in it: it holds the name of a variable that libtest asks for at each start.
    pub libtest: bool,
}

impl ModuleInfo {
    /// Reads a module or component.
    ///
    /// # Errors
    ///
    /// The bytes are not WebAssembly, in words.
    pub fn read(wasm: &[u8]) -> Result<Self, String> {
        let mut module_info = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(|error| error.to_string())? {
                Payload::Version { encoding, .. } => {
                    module_info.component |= depth == 0 && encoding == Encoding::Component;
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(section) if !module_info.component => {
                    for import in section.into_imports() {
                        let import = import.map_err(|error| error.to_string())?;
                        if import.module != "wasi_snapshot_preview1"
                            && module_info.foreign_imports.len() < MAX_NAMES
                        {
                            module_info
                                .foreign_imports
                                .push(bounded(&format!("{}::{}", import.module, import.name)));
                        }
                    }
                }
                Payload::ExportSection(section) if !module_info.component => {
                    for export in section {
                        module_info.command |= export.map_err(|error| error.to_string())?.name == "_start";
                    }
                }
                Payload::DataSection(section) => {
                    for data in section {
                        let data = data.map_err(|error| error.to_string())?.data;
                        module_info.libtest |= data.windows(OF_LIBTEST.len()).any(|part| part == OF_LIBTEST);
                    }
                }
                Payload::StartSection { .. } => module_info.start = true,
                Payload::CustomSection(section) => match section.name() {
                    MARKER_SECTION => {
                        module_info.marker = Some(bounded(&String::from_utf8_lossy(section.data())));
                    }
                    "name" => module_info.names = true,
                    ".debug_line" => module_info.debug_lines = true,
                    _ => {}
                },
                _ => {}
            }
        }
        if !module_info.component {
            // What cannot be read has nothing to say.
            module_info.unsupported_calls = symbols::unsupported_calls(wasm).unwrap_or_default();
            module_info.unsupported_calls.truncate(MAX_NAMES);
        }
        Ok(module_info)
    }

    /// Whether it is as small as [`read`](Self::read) makes it: what a child said it read may not be.
    pub fn within_bounds(&self) -> bool {
        // Bytes that were no UTF-8 have become three each, and imports have two names.
        let small = |text: &String| text.len() <= 4 * MAX_TEXT;
        let calls = self.unsupported_calls.iter().flat_map(|call| {
            call.callers.iter().flat_map(|c| [&c.krate, &c.function]).chain([&call.function])
        });
        self.unsupported_calls.len() <= MAX_NAMES
            && calls.count() <= 64 * MAX_NAMES
            && self.marker.iter().chain(&self.foreign_imports).all(small)
            && self.foreign_imports.len() <= MAX_NAMES
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest module with a custom section.
    fn module_with(name: &str, data: &[u8]) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0\0".to_vec();
        wasm.push((1 + name.len() + data.len()) as u8);
        wasm.push(name.len() as u8);
        wasm.extend_from_slice(name.as_bytes());
        wasm.extend_from_slice(data);
        wasm
    }

    #[test]
    fn the_marker_is_found_and_its_absence_too() {
        let module_info = ModuleInfo::read(&module_with("cargo-sandbox", b"1")).unwrap();
        assert_eq!(module_info.marker.as_deref(), Some("1"));
        assert!(!module_info.component && !module_info.command && !module_info.names);
        let module_info = ModuleInfo::read(&module_with("name", b"")).unwrap();
        assert_eq!(module_info.marker, None);
        assert!(module_info.names);
    }

    #[test]
    fn a_start_function_is_seen() {
        let read = |text| ModuleInfo::read(&wat::parse_str(text).unwrap()).unwrap();
        assert!(read("(module (func) (start 0))").start);
        assert!(!read("(module (func (export \"_start\")))").start);
    }

    #[test]
    fn other_bytes_are_an_error_in_words() {
        assert!(ModuleInfo::read(b"not wasm at all").unwrap_err().contains("magic"));
        assert!(ModuleInfo::read(b"").is_err());
    }
}

//! The sections of a module that say something about its source.

use super::Error;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use wasmparser::{BinaryReader, FunctionBody, KnownCustom, Name, NameSectionReader, Parser, Payload};

/// The custom section with which [`crate::cargo::object`] marks a guest.
const MARKER_SECTION: &str = "cargo-sandbox";
/// Core modules that are looked at inside a component.
const MOST_MODULES: usize = 64;

/// A parsed core module.
pub(super) struct Module<'a> {
    /// Where the contents of the code section begin: DWARF counts from here.
    pub(super) code_start: usize,
    /// Number of imported functions: the first body has this index.
    pub(super) imported: u32,
    /// The function bodies, in order.
    pub(super) bodies: Vec<FunctionBody<'a>>,
    custom: HashMap<&'a str, &'a [u8]>,
    names: Option<(&'a [u8], usize)>,
}

impl<'a> Module<'a> {
    /// Reads a core module, or the largest core module inside a component. Offsets are then those
    /// inside that module.
    pub(super) fn parse(wasm: &'a [u8]) -> Result<Self, Error> {
        if Parser::is_component(wasm) {
            let inner = largest_module(wasm)?;
            return Self::parse_core(wasm.get(inner).unwrap_or_default());
        }
        Self::parse_core(wasm)
    }

    fn parse_core(wasm: &'a [u8]) -> Result<Self, Error> {
        let mut module =
            Self { code_start: 0, imported: 0, bodies: Vec::new(), custom: HashMap::new(), names: None };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(malformed)? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.map_err(malformed)?;
                        if matches!(
                            import.ty,
                            wasmparser::TypeRef::Func(_) | wasmparser::TypeRef::FuncExact(_)
                        ) {
                            module.imported = module.imported.saturating_add(1);
                        }
                    }
                }
                Payload::CodeSectionStart { range, .. } => module.code_start = range.start,
                Payload::CodeSectionEntry(body) => module.bodies.push(body),
                Payload::CustomSection(section) => {
                    if matches!(section.as_known(), KnownCustom::Name(_)) {
                        module.names = Some((section.data(), section.data_offset()));
                    } else {
                        module.custom.entry(section.name()).or_insert(section.data());
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }

    /// The contents of a custom section, empty if there is none.
    pub(super) fn custom(&self, name: &str) -> &'a [u8] {
        self.custom.get(name).copied().unwrap_or_default()
    }

    /// Functions and their names as linked (mangled). Ends early where the section is malformed.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &'a str)> {
        let (data, offset) = self.names.unwrap_or_default();
        NameSectionReader::new(BinaryReader::new(data, offset))
            .map_while(Result::ok)
            .filter_map(|name| if let Name::Function(map) = name { Some(map) } else { None })
            .flat_map(|map| map.into_iter().map_while(Result::ok))
            .map(|naming| (naming.index, naming.name))
    }

    /// The names of some functions.
    pub(super) fn names_of(&self, functions: impl Iterator<Item = u32>) -> HashMap<u32, &'a str> {
        let wanted: BTreeSet<u32> = functions.collect();
        self.names().filter(|(index, _)| wanted.contains(index)).collect()
    }
}

/// The version that the guest's marker states, or `None` if our object is not linked into it.
pub fn marker(wasm: &[u8]) -> Option<String> {
    let module = Module::parse(wasm).ok()?;
    let data = module.custom.get(MARKER_SECTION)?;
    Some(super::cut(&String::from_utf8_lossy(data)).to_owned())
}

fn largest_module(wasm: &[u8]) -> Result<Range<usize>, Error> {
    let mut largest = 0..0;
    let mut seen = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ModuleSection { unchecked_range, .. } = payload.map_err(malformed)? {
            seen += 1;
            if unchecked_range.len() > largest.len() {
                largest = unchecked_range;
            }
            if seen == MOST_MODULES {
                break;
            }
        }
    }
    Ok(largest)
}

fn malformed(error: wasmparser::BinaryReaderError) -> Error {
    Error::Module(error.to_string())
}

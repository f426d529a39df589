//! The linear memory of a module as its active data segments will initialise it: what the guest
//! finds there before its first instruction.

use std::ops::Range;
use wasmparser::{Data, DataKind, Operator, Parser, Payload};

/// More segments than this are refused; a linker makes two or three.
const MAX_SEGMENTS: usize = 100_000;

/// The initialised parts of memory 0.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// By address, none overlapping.
    segments: Vec<Segment<'a>>,
}

/// One run of initialised bytes.
#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    address: u32,
    bytes: &'a [u8],
    /// Where `bytes` begin in the file.
    offset: usize,
}

/// Why a module's memory cannot be known before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoImage(pub String);

impl std::fmt::Display for NoImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoImage {}

impl<'a> Image<'a> {
    /// Reads a core module, or the one module of a component that initialises the most memory (the
    /// program itself; the others are adapters). Copies nothing.
    ///
    /// # Errors
    /// It is no WebAssembly, or its memory is initialised by code (passive segments), at addresses
    /// that are not constants, twice at the same place, or by a start function.
    pub fn parse(wasm: &'a [u8]) -> Result<Self, NoImage> {
        let mut modules: Vec<Result<Vec<Segment<'a>>, NoImage>> = Vec::new();
        // Modules nest only inside components, and a module's sections follow each other.
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|error| NoImage(format!("it is not WebAssembly: {error}")))?;
            match payload {
                Payload::Version { encoding: wasmparser::Encoding::Module, .. } => {
                    modules.push(Ok(Vec::new()))
                }
                Payload::StartSection { .. } => {
                    if let Some(module) = modules.last_mut() {
                        *module = Err(NoImage("a start function may change its memory".to_owned()));
                    }
                }
                Payload::DataSection(reader) => {
                    let Some(module) = modules.last_mut() else { continue };
                    for data in reader {
                        let data =
                            data.map_err(|error| NoImage(format!("it is not WebAssembly: {error}")))?;
                        if let Ok(segments) = module {
                            match segment(&data) {
                                Ok(_) if segments.len() == MAX_SEGMENTS => {
                                    *module = Err(NoImage("it has too many data segments".to_owned()));
                                }
                                Ok(segment) => segments.push(segment),
                                Err(error) => *module = Err(error),
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        let size = |module: &Result<Vec<Segment<'_>>, NoImage>| match module {
            Ok(segments) => segments.iter().map(|segment| segment.bytes.len()).sum(),
            // A module that we cannot read must not be passed over for one that we can.
            Err(_) => usize::MAX,
        };
        let mut segments = modules
            .into_iter()
            .max_by_key(size)
            .unwrap_or_else(|| Err(NoImage("it holds no module".to_owned())))?;
        segments.retain(|segment| !segment.bytes.is_empty());
        segments.sort_by_key(|segment| segment.address);
        if segments.windows(2).any(|pair| pair[0].end() > u64::from(pair[1].address)) {
            return Err(NoImage("its data segments overlap".to_owned()));
        }
        Ok(Self { segments })
    }

    /// Runs of initialised bytes with their addresses, in order.
    pub fn runs(&self) -> impl Iterator<Item = (u32, &'a [u8])> + '_ {
        self.segments.iter().map(|segment| (segment.address, segment.bytes))
    }

    /// The bytes at an address, if all of them are initialised by one segment.
    pub fn bytes(&self, address: u32, length: u32) -> Option<&'a [u8]> {
        let (segment, range) = self.locate(address, length)?;
        Some(&segment.bytes[range])
    }

    /// The text at an address. An empty text may have any address.
    pub fn text(&self, address: u32, length: u32) -> Option<&'a str> {
        if length == 0 {
            return Some("");
        }
        std::str::from_utf8(self.bytes(address, length)?).ok()
    }

    /// Where in the file those bytes are.
    pub fn file_range(&self, address: u32, length: u32) -> Option<Range<usize>> {
        let (segment, range) = self.locate(address, length)?;
        Some(segment.offset + range.start..segment.offset + range.end)
    }

    fn locate(&self, address: u32, length: u32) -> Option<(&Segment<'a>, Range<usize>)> {
        let after = self.segments.partition_point(|segment| segment.address <= address);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let start = (address - segment.address) as usize;
        let end = start.checked_add(length as usize)?;
        (end <= segment.bytes.len()).then_some((segment, start..end))
    }
}

impl Segment<'_> {
    fn end(&self) -> u64 {
        u64::from(self.address) + self.bytes.len() as u64
    }
}

fn segment<'a>(data: &Data<'a>) -> Result<Segment<'a>, NoImage> {
    let DataKind::Active { memory_index: 0, offset_expr } = &data.kind else {
        return Err(NoImage("its memory is initialised by its own code".to_owned()));
    };
    let mut operators = offset_expr.get_operators_reader();
    let (Ok(Operator::I32Const { value }), Ok(Operator::End)) = (operators.read(), operators.read()) else {
        return Err(NoImage("its data segments have no constant address".to_owned()));
    };
    let segment = Segment {
        address: value.cast_unsigned(),
        bytes: data.data,
        offset: data.range.end - data.data.len(),
    };
    if segment.end() > 1 << 32 {
        return Err(NoImage("a data segment does not fit its memory".to_owned()));
    }
    Ok(segment)
}

//! What is known of `#[should_panic]` tests before they run.

use super::super::libtest::{self, Descriptor, Image, Layout, ListedTest};
use crate::access::RawFrame;
use crate::symbols;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};

/// Larger artifacts are not looked into; their `#[should_panic]` tests are not run.
const MAX_WASM: u64 = 512 << 20;
/// The functions by whose names a panic is told from an abort, and one that is caught natively.
const TELLING: [&str; 5] =
    ["rust_panic", "__rust_start_panic", "panic_with_hook", "catch_unwind", "__rust_begin_short_backtrace"];

/// What is known of the tests of one artifact, in the order of its listing.
#[derive(Debug, Default)]
pub(super) struct Panics {
    descriptors: Vec<Result<Descriptor, String>>,
    /// Telling functions; `None` if the artifact has no names.
    names: Option<HashMap<u32, String>>,
}

impl Panics {
    /// Looks for the descriptors of all tests.
    ///
    /// This reads an artifact's data and names in the supervisor, which otherwise parses no module:
    /// the code is pure and safe Rust, bounded in time and memory, and tried on damaged and forged
    /// modules. It finds bytes to compare with, nothing that is executed, and a wrong finding changes
    /// at most the verdict of the artifact's own tests.
    pub(super) fn find(wasm: &File, layout: Result<&Layout, &str>, tests: &[ListedTest]) -> Self {
        let nothing = |why: &str| Self { descriptors: vec![Err(why.to_owned()); tests.len()], names: None };
        let layout = match layout {
            Ok(layout) => layout,
            Err(why) => return nothing(why),
        };
        if tests.iter().all(|test| test.place.is_none()) {
            return nothing("the test binary does not say where its tests are written");
        }
        let bytes = match read(wasm) {
            Ok(bytes) => bytes,
            Err(error) => return nothing(&error.to_string()),
        };
        let image = match Image::parse(&bytes) {
            Ok(image) => image,
            Err(error) => return nothing(&error.0),
        };
        let found = libtest::find(&image, layout, tests);
        let descriptors: Vec<Result<Descriptor, String>> =
            found.into_iter().map(|found| found.map_err(|why| why.to_string())).collect();
        let any = descriptors.iter().flatten().any(|descriptor| descriptor.patch.is_some());
        let names = if any { symbols::functions_with(&bytes, &TELLING).ok().flatten() } else { None };
        Self { descriptors, names }
    }

    /// The descriptor of a test, or why it is not known.
    pub(super) fn of(&self, index: usize) -> Result<&Descriptor, &str> {
        match self.descriptors.get(index) {
            Some(found) => found.as_ref().map_err(String::as_str),
            None => Err("its descriptor was not looked for"),
        }
    }

    /// The functions on a stack, as far as their names matter; empty if the artifact has no names.
    pub(super) fn frames(&self, backtrace: &[RawFrame]) -> Vec<String> {
        let Some(names) = &self.names else { return Vec::new() };
        backtrace.iter().map(|frame| names.get(&frame.function).cloned().unwrap_or_default()).collect()
    }
}

fn read(mut wasm: &File) -> std::io::Result<Vec<u8>> {
    let length = wasm.metadata()?.len();
    if length > MAX_WASM {
        return Err(std::io::Error::other("the artifact is too large to be looked into"));
    }
    wasm.rewind()?;
    let mut bytes = Vec::with_capacity(length as usize);
    wasm.take(MAX_WASM).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! What is known of `#[should_panic]` tests before they run.

use super::libtest::ListedTest;
use crate::should_panic::{self, Descriptor, Image, Layout, Wanted};
use std::fs::File;
use std::io::{Read, Seek};

/// Larger artifacts are not looked into; their `#[should_panic]` tests are not run.
const MAX_WASM: u64 = 512 << 20;
/// What is known of the tests of one artifact, in the order of its listing.
#[derive(Debug, Default)]
pub(super) struct Panics {
    descriptors: Vec<Result<Descriptor, String>>,
}

impl Panics {
    /// Looks for the descriptors of all tests.
    ///
    /// This reads an artifact's data in the supervisor, which otherwise parses no module:
    /// the code is pure and safe Rust, bounded in time and memory, and tried on damaged and forged
    /// modules. It finds bytes to compare with, nothing that is executed, and a wrong finding changes
    /// at most the verdict of the artifact's own tests.
    pub(super) fn find(wasm: &File, layout: Result<&Layout, &str>, tests: &[ListedTest]) -> Self {
        let nothing = |why: &str| Self { descriptors: vec![Err(why.to_owned()); tests.len()] };
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
        let wanted: Vec<Wanted<'_>> = tests.iter().map(ListedTest::wanted).collect();
        let found = should_panic::find(&image, layout, &wanted);
        Self { descriptors: found.into_iter().map(|found| found.map_err(|why| why.to_string())).collect() }
    }

    /// The descriptor of a test, or why it is not known.
    pub(super) fn of(&self, index: usize) -> Result<&Descriptor, &str> {
        match self.descriptors.get(index) {
            Some(found) => found.as_ref().map_err(String::as_str),
            None => Err("its descriptor was not looked for"),
        }
    }

    /// Whether a test must panic, and was changed so that it can.
    pub(super) fn must_panic(&self, index: usize) -> bool {
        self.of(index).is_ok_and(|descriptor| descriptor.patch.is_some())
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

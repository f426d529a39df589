//! Finds the descriptors of listed tests in the memory an artifact starts with, and says which
//! bytes to change so that libtest runs a `#[should_panic]` test.

use super::image::Image;
use super::probe::{Layout, TextAt};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How many bytes of possible names are looked up for one artifact. Real ones need about as many as
/// all names are long; a forged one must not keep us busy.
const MAX_LOOKED_UP: u64 = 64 << 20;

/// What a test's `#[should_panic]` attribute says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShouldPanic {
    /// It has none.
    No,
    /// It must panic.
    Yes,
    /// It must panic with a text that contains this one.
    YesWithMessage(String),
}

/// A test's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What its attribute says.
    pub should_panic: ShouldPanic,
    /// What makes libtest run it; `None` for [`ShouldPanic::No`].
    pub patch: Option<Patch>,
}

/// Bytes to change in linear memory after instantiation and before `_start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Where.
    pub address: u32,
    /// What must be there now: a whole descriptor. If anything differs, the test is not run.
    pub expect: Vec<u8>,
    /// What to put there; as long as `expect`.
    pub bytes: Vec<u8>,
}

impl Patch {
    /// The same change in the artifact itself, for guests whose memory cannot be reached from
    /// outside (components): `wasm` is the file that `image` was read from.
    ///
    /// Returns false, with nothing changed, if the bytes are not what is expected.
    pub fn apply_to_file(&self, image_of: &Image<'_>, wasm: &mut [u8]) -> bool {
        let range = image_of.file_range(self.address, self.expect.len() as u32);
        let Some(place) = range.and_then(|range| wasm.get_mut(range)) else { return false };
        if place != self.expect || self.bytes.len() != place.len() {
            return false;
        }
        place.copy_from_slice(&self.bytes);
        true
    }
}

/// Why a test's descriptor was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The binary did not say where the test is written.
    NoPlace,
    /// Nothing in memory agrees with what the binary lists.
    Missing,
    /// More than one place does.
    Ambiguous,
}

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoPlace => "the test binary does not say where its tests are written",
            Self::Missing => "its descriptor was not found in the artifact",
            Self::Ambiguous => "more than one place in the artifact looks like its descriptor",
        })
    }
}

impl std::error::Error for NotFound {}

/// A test whose descriptor is wanted, as the binary lists it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its path: `import::reads_csv`.
    pub name: &'a str,
    /// `#[ignore]`.
    pub ignored: bool,
    /// The path of its source file as rustc was given it, and the line, from 1; `None` if the binary does not
    /// say.
    pub place: Option<(&'a str, u32)>,
}

/// Finds the descriptors of all `tests`, in their order, in one pass over the image.
///
/// A descriptor is a place where everything agrees with the listing: the name and its kind, the
/// source file, the line, `ignore`, and a valid `should_panic`. There must be exactly one.
pub fn find(image: &Image<'_>, layout: &Layout, tests: &[Wanted<'_>]) -> Vec<Result<Descriptor, NotFound>> {
    let by_name: HashMap<&str, usize> =
        tests.iter().enumerate().map(|(index, test)| (test.name, index)).collect();
    let longest = tests.iter().map(|test| test.name.len()).max().unwrap_or(0) as u32;
    let mut found: Vec<Result<Descriptor, NotFound>> = tests
        .iter()
        .map(|test| Err(if test.place.is_some() { NotFound::Missing } else { NotFound::NoPlace }))
        .collect();
    let size = layout.size as usize;
    let (tag_at, tag) = *layout.name_tag.last().expect("a sane layout tells names apart");
    let mut looked_up = 0;
    for (start, bytes) in image.runs() {
        let skip = (start.next_multiple_of(layout.align) - start) as usize;
        // Most places are ruled out by one byte of the name's kind, most others by its length.
        for at in (skip..(bytes.len() + 1).saturating_sub(size)).step_by(layout.align as usize) {
            if bytes[at + tag_at as usize] != tag {
                continue;
            }
            let raw = &bytes[at..at + size];
            let length = word(raw, layout.name.length);
            if length > longest || layout.name_tag.iter().any(|(at, byte)| raw[*at as usize] != *byte) {
                continue;
            }
            looked_up += u64::from(length);
            if looked_up > MAX_LOOKED_UP {
                return vec![Err(NotFound::Ambiguous); tests.len()];
            }
            let Some(index) = text(image, raw, layout.name).and_then(|name| by_name.get(name)) else {
                continue;
            };
            let Some(should_panic) = read(image, layout, raw, &tests[*index]) else { continue };
            let slot = &mut found[*index];
            *slot = match slot {
                Err(NotFound::Missing) => {
                    let patch =
                        (should_panic != ShouldPanic::No).then(|| patch(layout, start + at as u32, raw));
                    Ok(Descriptor { should_panic, patch })
                }
                _ => Err(NotFound::Ambiguous),
            };
        }
    }
    found
}

/// What a place with the right name says, if all else agrees with the listing too.
fn read(image: &Image<'_>, layout: &Layout, raw: &[u8], test: &Wanted<'_>) -> Option<ShouldPanic> {
    let (path, line) = test.place?;
    if raw[layout.ignore as usize] != u8::from(test.ignored)
        || word(raw, layout.start_line) != line
        || text(image, raw, layout.source_file)? != path
    {
        return None;
    }
    let at = layout.should_panic as usize;
    let kind = &raw[at..at + layout.no.len()];
    if kind == layout.no {
        Some(ShouldPanic::No)
    } else if kind == layout.yes {
        Some(ShouldPanic::Yes)
    } else if kind == layout.with_message {
        Some(ShouldPanic::YesWithMessage(text(image, raw, layout.message)?.to_owned()))
    } else {
        None
    }
}

fn patch(layout: &Layout, address: u32, raw: &[u8]) -> Patch {
    let mut bytes = raw.to_vec();
    let at = layout.should_panic as usize;
    bytes[at..at + layout.no.len()].copy_from_slice(&layout.no);
    Patch { address, expect: raw.to_vec(), bytes }
}

fn word(raw: &[u8], at: u32) -> u32 {
    let at = at as usize;
    u32::from_le_bytes(raw[at..at + 4].try_into().expect("four bytes"))
}

fn text<'a>(image: &Image<'a>, raw: &[u8], at: TextAt) -> Option<&'a str> {
    image.text(word(raw, at.pointer), word(raw, at.length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout like that of rustc 1.97, smaller.
    fn layout() -> Layout {
        Layout {
            size: 48,
            align: 4,
            name_tag: vec![(12, 0), (15, 128)],
            name: TextAt { pointer: 16, length: 20 },
            source_file: TextAt { pointer: 24, length: 28 },
            start_line: 32,
            ignore: 36,
            should_panic: 0,
            no: vec![0],
            yes: vec![1],
            with_message: vec![2],
            message: TextAt { pointer: 4, length: 8 },
        }
    }

    const BASE: u32 = 0x1000;

    /// A memory under construction.
    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Memory {
        fn put(&mut self, bytes: &[u8]) -> u32 {
            self.0.resize(self.0.len().next_multiple_of(4), 0);
            let at = BASE + self.0.len() as u32;
            self.0.extend(bytes);
            at
        }

        fn describe(&mut self, name: &str, line: u32, kind: u8, message: &str) -> u32 {
            let texts =
                [name, "src/lib.rs", message].map(|text| (self.put(text.as_bytes()), text.len() as u32));
            let mut raw = [0; 48];
            raw[0] = kind;
            raw[15] = 128;
            raw[32..36].copy_from_slice(&line.to_le_bytes());
            for ((pointer, length), at) in texts.into_iter().zip([16, 24, 4]) {
                raw[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
                raw[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
            }
            self.put(&raw)
        }

        /// A module with this data, active or passive.
        fn module(&self, passive: bool) -> Vec<u8> {
            let leb = |mut n: usize| {
                let mut bytes = Vec::new();
                while n > 127 {
                    bytes.push(n as u8 | 128);
                    n >>= 7;
                }
                bytes.push(n as u8);
                bytes
            };
            let mut data = if passive {
                vec![1, 1]
            } else {
                // Signed: 0x1000 needs no more than two bytes.
                vec![1, 0, 0x41, 0x80, 0x20, 0x0b]
            };
            data.extend(leb(self.0.len()));
            data.extend(&self.0);
            [b"\0asm\x01\0\0\0".to_vec(), vec![5, 3, 1, 0, 100], vec![11], leb(data.len()), data].concat()
        }
    }

    fn listed(name: &str, line: u32) -> Wanted<'_> {
        Wanted { name, ignored: false, place: Some(("src/lib.rs", line)) }
    }

    fn found(memory: &Memory, tests: &[Wanted<'_>]) -> Vec<Result<Descriptor, NotFound>> {
        find(&Image::parse(&memory.module(false)).expect("an image"), &layout(), tests)
    }

    #[test]
    fn each_kind_is_found_and_only_its_kind_is_patched() {
        let mut memory = Memory::default();
        memory.describe("a", 1, 0, "");
        let b = memory.describe("b", 2, 1, "");
        memory.describe("c", 3, 2, "boom");
        let all = found(&memory, &[listed("a", 1), listed("b", 2), listed("c", 3)]);
        let kinds: Vec<_> = all.iter().map(|one| one.as_ref().expect("found").should_panic.clone()).collect();
        let boom = ShouldPanic::YesWithMessage("boom".into());
        assert_eq!(kinds, [ShouldPanic::No, ShouldPanic::Yes, boom]);
        assert_eq!(all[0].as_ref().expect("found").patch, None);
        let patch = all[1].as_ref().expect("found").patch.clone().expect("a patch");
        assert_eq!((patch.address, patch.expect[0], patch.bytes[0]), (b, 1, 0));
        assert_eq!(patch.expect[1..], patch.bytes[1..]);

        let mut wasm = memory.module(false);
        let before = wasm.clone();
        let image = Image::parse(&before).expect("an image");
        assert!(patch.apply_to_file(&image, &mut wasm));
        assert_eq!(wasm.iter().zip(&before).filter(|(a, b)| a != b).count(), 1);
        assert!(!patch.apply_to_file(&image, &mut wasm), "it is no longer what is expected");
    }

    #[test]
    fn whatever_does_not_agree_is_not_found() {
        let mut memory = Memory::default();
        memory.describe("twice", 1, 1, "");
        memory.describe("twice", 1, 1, "");
        memory.describe("line", 2, 1, "");
        memory.describe("kind", 3, 7, "");
        memory.describe("ignored", 4, 1, "");
        let mut ignored = listed("ignored", 4);
        ignored.ignored = true;
        let mut unplaced = listed("line", 2);
        unplaced.place = None;
        let tests = [listed("twice", 1), listed("line", 9), listed("kind", 3), ignored, listed("none", 1)];
        use NotFound::{Ambiguous, Missing, NoPlace};
        let errors = [Ambiguous, Missing, Missing, Missing, Missing].map(Err);
        assert_eq!(found(&memory, &tests), errors);
        assert_eq!(found(&memory, &[unplaced]), [Err(NoPlace)]);
    }

    #[test]
    fn memory_that_code_initialises_is_not_guessed_at() {
        let mut memory = Memory::default();
        memory.describe("a", 1, 1, "");
        assert!(Image::parse(&memory.module(true)).is_err());
        let whole = memory.module(false);
        for end in 0..whole.len() {
            assert!(Image::parse(&whole[..end]).is_err() || end <= 13, "cut at {end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 127, 128, 255] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                if let Ok(image) = Image::parse(&damaged) {
                    find(&image, &layout(), &[listed("a", 1)]);
                }
            }
        }
    }

    #[test]
    fn a_forged_artifact_keeps_nobody_busy() {
        // Every word is the tag, a length or an address of a long text that is no test's name.
        let mut memory = Memory::default();
        let name = "a".repeat(4000);
        memory.put(name.as_bytes());
        for _ in 0..10_000 {
            let mut raw = [0; 48];
            raw[15] = 128;
            raw[16..20].copy_from_slice(&BASE.to_le_bytes());
            raw[20..24].copy_from_slice(&4000_u32.to_le_bytes());
            memory.put(&raw);
        }
        memory.describe("b", 1, 1, "");
        let long = "b".repeat(4000);
        let all = found(&memory, &[listed("b", 1), listed(&long, 1)]);
        assert_eq!(all[0].as_ref().map(|one| &one.should_panic), Ok(&ShouldPanic::Yes));
        memory.0.extend(memory.0.clone());
        let all = found(&memory, &[listed("b", 1), listed(&long, 1)]);
        assert_eq!(all, [Err(NotFound::Ambiguous), Err(NotFound::Ambiguous)]);
    }
}

//! Finds out what stood between a panic and libtest.

use super::super::run::Subject;
use super::super::source::read_source;
use crate::should_panic::Stack;
use crate::worker::supervisor::Symboliser;
use sandbox_policy::access::{Frame, RawFrame};
use std::collections::HashMap;
use std::path::Path;

/// What is known of the stacks of one artifact's tests.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// Most frames are the same in every test.
    known: HashMap<RawFrame, Vec<Frame>>,
    /// By the name of a source file: its functions that may not unwind.
    barred: HashMap<String, Vec<String>>,
}

impl Stacks {
    /// Reads a trap's stack, with the symbols that a child finds.
    pub(super) fn read(
        &mut self,
        backtrace: &[RawFrame],
        symboliser: &mut Symboliser,
        subject: &Subject<'_>,
    ) -> Stack {
        let mut wanted = backtrace.to_vec();
        wanted.retain(|frame| !self.known.contains_key(frame));
        if !wanted.is_empty() {
            // Without an answer nothing is known of them, and no test with them passes.
            let found = symboliser.symbolise(&wanted).unwrap_or_default();
            self.known.extend(wanted.into_iter().zip(found));
        }
        let frames: Vec<Vec<Frame>> =
            backtrace.iter().map(|raw| self.known.get(raw).cloned().unwrap_or_default()).collect();
        let places = subject.places;
        let roots = [places.package.clone(), places.workspace.clone()];
        Stack::read(&frames, &mut |file, function| {
            if !self.barred.contains_key(file) {
                let text = read_source(&roots, &places.workspace, Path::new(file));
                let names = text.as_deref().map(may_not_unwind).unwrap_or_default();
                self.barred.insert(file.to_owned(), names);
            }
            self.barred[file].iter().any(|name| name == function)
        })
    }
}

/// The functions that a source text defines with another ABI than Rust's, and without `-unwind`:
/// nothing in an artifact tells them from others. Those that a macro names are not found.
fn may_not_unwind(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter == '_' || letter.is_alphanumeric();
    let name_of = |(at, word): (usize, &str)| {
        if text[..at].ends_with(is_part) {
            return None;
        }
        let mut rest = text[at + word.len()..].trim_start();
        if let Some(abi) = rest.strip_prefix('"') {
            let (abi, after) = abi.split_once('"')?;
            if abi == "Rust" || abi.ends_with("-unwind") {
                return None;
            }
            rest = after.trim_start();
        }
        let name = rest.strip_prefix("fn")?.strip_prefix(char::is_whitespace)?.trim_start();
        let name = &name[..name.find(|letter| !is_part(letter)).unwrap_or(name.len())];
        (!name.is_empty()).then(|| name.to_owned())
    };
    text.match_indices("extern").filter_map(name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_may_not_unwind_are_found_in_their_source() {
        let text = r#"
            pub unsafe extern "C" fn one() {}
            extern fn two<T>(_: T) {}
            extern
                "system" fn three() {}
            extern "C-unwind" fn unwinds() {}
            extern "Rust" fn plain() {}
            extern "C" { fn declared(); }
            type Pointer = extern "C" fn(u8);
            extern crate test;
            fn not_extern() {}
            macro_rules! made { ($name:ident) => { extern "C" fn $name() {} } }
            fn my_extern () { let fn_x = 1; }
            extern "C"#;
        assert_eq!(may_not_unwind(text), ["one", "two", "three"]);
    }
}

//! Exceptions as a directory sees them that does not tell all names apart.
//!
//! Where a file system ignores case, or the form in which Unicode is written, a file made as `CARGO.TOML`
//! is what everybody finds who asks for `Cargo.toml`. So in such directories an exception covers each
//! name that any of them could take for one of its own: all that is beneath one [`key`]. That is more
//! than any single file system folds, which costs a refusal at worst. Grants are not widened.

use super::decide::Decider;
use super::model::{Component, GrantPattern, PathPattern, Policy};
use crate::access::{Decision, ExceptionId, Operation};

/// The exceptions of a policy, by the keys of their names.
#[derive(Debug)]
pub struct FoldedExceptions(Decider);

impl FoldedExceptions {
    /// Compiles them.
    pub fn new(policy: &Policy) -> Self {
        // The grants too: `protected = true` lifts an exception.
        let mut folded = policy.clone();
        for grant in &mut folded.grants {
            if let GrantPattern::Path(path) = &mut grant.pattern {
                fold(path);
            }
            grant.target.iter_mut().for_each(fold);
        }
        for exception in &mut folded.exceptions {
            fold(&mut exception.pattern);
            exception.target.iter_mut().for_each(fold);
        }
        Self(Decider::new(&folded))
    }

    /// Whether a name that folds as this path does is excepted: `Hidden`, or denied, by which exception.
    pub fn excepts(&self, operation: Operation, path: &[u8]) -> Option<Result<ExceptionId, Hidden>> {
        // Not every file system drops the end of a name; then it is a part of it.
        [true, false].into_iter().find_map(|drops_end| {
            match self.0.decide_path(operation, &folded_path(path, drops_end)) {
                Decision::Denied(Some(exception)) => Some(Ok(exception)),
                Decision::Hidden(_) => Some(Err(Hidden)),
                _ => None,
            }
        })
    }
}

/// It is as if there were no such file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden;

/// What is the same for two paths if any directory takes the one for the other, component by component:
/// without case, without what Unicode ignores or composes, without dots and spaces at the end. Short
/// names (`CARGO~1.TOM`) and parts of files (`name:stream`) are not known by their text: those the
/// directory itself has to be asked for.
pub fn key(path: &[u8]) -> Vec<u8> {
    folded_path(path, true)
}

fn folded_path(path: &[u8], drops_end: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        out.push(b'/');
        let start = out.len();
        runs(if drops_end { without_end(component) } else { component }, |piece| {
            if let Piece::Ascii(byte) = piece {
                out.push(byte);
            }
        });
        if matches!(out[start..], [] | [b'.'] | [b'.', b'.']) {
            // Something was there that is no part of a key; the decider takes no such name.
            out.push(b'?');
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// A name without dots and spaces at its end, also where something follows that no letter is.
fn without_end(name: &[u8]) -> &[u8] {
    let is_end = |char: char| matches!(char, '.' | ' ') || !(char.is_ascii() || char.is_alphanumeric());
    let end = match std::str::from_utf8(name) {
        Ok(text) => text.trim_end_matches(is_end).len(),
        Err(_) => trimmed(name).unwrap_or(0),
    };
    if end == 0 { name } else { &name[..end] }
}

/// The length without dots and spaces at the end, if there is anything else.
fn trimmed(name: &[u8]) -> Option<usize> {
    name.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map(|last| last + 1)
}

/// A part of a name.
enum Piece {
    Ascii(u8),
    /// What no folding makes ASCII. `true`: it may be a part of the letter before it.
    Other(bool),
}

fn runs(name: &[u8], mut say: impl FnMut(Piece)) {
    for chunk in name.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_ascii() {
                say(Piece::Ascii(char.to_ascii_lowercase() as u8));
                continue;
            }
            // To lower, upper and lower case again: `ẞ` is `ß` is `SS`, `K` (Kelvin) is `k`, `ſ` is `S`.
            let char = compatible(char);
            let folded = char.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
            for char in folded {
                match u8::try_from(char) {
                    Ok(byte) if byte.is_ascii() => say(Piece::Ascii(byte)),
                    _ => say(Piece::Other(!char.is_alphanumeric())),
                }
            }
        }
        if !chunk.invalid().is_empty() {
            say(Piece::Other(true));
        }
    }
}

/// The ASCII letter or digit that Unicode calls compatible with a character, where one is in order: wide,
/// circled and mathematical ones.
fn compatible(char: char) -> char {
    let code = char as u32;
    let letter = |offset: u32| match offset % 52 {
        small @ 26.. => b'a' + (small - 26) as u8,
        capital => b'A' + capital as u8,
    };
    let ascii = match code {
        0xff01..=0xff5e => (code - 0xff01) as u8 + b'!',
        0x24b6..=0x24cf => (code - 0x24b6) as u8 + b'A',
        0x24d0..=0x24e9 => (code - 0x24d0) as u8 + b'a',
        0x1d400..=0x1d6a3 => letter(code - 0x1d400),
        0x1d7ce..=0x1d7ff => ((code - 0x1d7ce) % 10) as u8 + b'0',
        _ => return char,
    };
    char::from(ascii)
}

/// Makes a pattern match the keys of all that folds as what it matches.
fn fold(pattern: &mut PathPattern) {
    for component in &mut pattern.components {
        let pieces = match component {
            Component::AnyDepth => continue,
            Component::Literal(name) => vec![Some(std::mem::take(name))],
            Component::Glob(pieces) => std::mem::take(pieces),
        };
        *component = folded(pieces);
    }
}

fn folded(pieces: Vec<Option<Vec<u8>>>) -> Component {
    let mut out: Vec<Option<Vec<u8>>> = Vec::new();
    let any = |out: &mut Vec<Option<Vec<u8>>>| {
        if out.last() != Some(&None) {
            out.push(None);
        }
    };
    let last = pieces.len().saturating_sub(1);
    for (at, piece) in pieces.into_iter().enumerate() {
        let Some(run) = piece else {
            any(&mut out);
            continue;
        };
        let whole = if last == 0 { run.len() } else { 0 };
        let run = if at == last { &run[..trimmed(&run).unwrap_or(whole)] } else { &run[..] };
        runs(run, |piece| match (piece, out.last_mut()) {
            (Piece::Ascii(byte), Some(Some(run))) => run.push(byte),
            (Piece::Ascii(byte), _) => out.push(Some(vec![byte])),
            // `é` in two characters is one in another form, of which the key has nothing.
            (Piece::Other(true), Some(Some(run))) => {
                run.pop();
                if run.is_empty() {
                    out.pop();
                }
                any(&mut out);
            }
            (Piece::Other(_), _) => any(&mut out),
        });
    }
    match out.as_mut_slice() {
        [Some(name)] => Component::Literal(std::mem::take(name)),
        [] => Component::Literal(b"?".to_vec()),
        _ => Component::Glob(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exception, ExceptionKind};
    use proptest::prelude::*;

    fn excepting(name: &str) -> FoldedExceptions {
        let pieces: Vec<_> = name
            .split_inclusive('*')
            .flat_map(|part| {
                let run = part.trim_end_matches('*');
                let run = (!run.is_empty()).then(|| Some(run.as_bytes().to_vec()));
                run.into_iter().chain(part.ends_with('*').then_some(None))
            })
            .collect();
        let component = match pieces.as_slice() {
            [Some(name)] => Component::Literal(name.clone()),
            _ => Component::Glob(pieces),
        };
        let mut exception = Exception::protected(7, PathPattern::of(vec![Component::AnyDepth, component]));
        exception.kind = ExceptionKind::Deny;
        FoldedExceptions::new(&Policy { exceptions: vec![exception], ..Policy::default() })
    }

    fn excepted(name: &str, path: &str) -> bool {
        excepting(name).excepts(Operation::Read, path.as_bytes()).is_some()
    }

    #[test]
    fn what_any_file_system_folds_to_an_exception_is_excepted() {
        for (name, path) in [
            ("*.pem", "/d/SECRET.PEM"),
            ("*.pem", "/d/secret.pem. ."),
            ("*.rs", "/d/BUILD.RS"),
            ("*.rs", "/d/build.r\u{17f}"),
            ("Cargo.toml", "/d/CARGO.TOML"),
            ("Cargo.toml", "/d/cargo.toml/x"),
            ("Cargo.toml", "/d/Car\u{200d}go.toml"),
            ("Cargo.toml", "/d/\u{feff}Cargo.toml"),
            ("Cargo.toml", "/d/\u{ff23}argo.toml"),
            ("Cargo.toml", "/d/\u{1d402}argo.toml"),
            ("Cargo.toml", "/d/Cargo.toml "),
            ("Makefile", "/d/MA\u{212a}EFILE"),
            ("Makefile", "/d/make\u{fb01}le"),
            (".git", "/d/.G\u{131}T"),
            (".git", "/d/.g\u{130}t"),
            (".git", "/.GIT/config"),
            ("strasse", "/STRA\u{1e9e}E"),
            ("straße", "/STRASSE"),
            ("straße", "/stra\u{1e9e}e"),
            ("schlüssel", "/SCHLÜSSEL"),
            ("schlüssel", "/Schlu\u{308}ssel"),
            ("schlu\u{308}ssel", "/schlüssel"),
            ("秘密.txt", "/秘密.TXT"),
            ("a.", "/A"),
            ("aé0.", "/aé0.\u{200b}"),
            ("a.ñ", "/a.ñ"),
        ] {
            assert!(excepted(name, path), "{name} {path}");
        }
    }

    #[test]
    fn what_none_of_them_folds_is_not() {
        for (name, path) in [
            ("*.pem", "/d/secret.txt"),
            ("*.pem", "/d/pem"),
            ("*.rs", "/d/out.txt"),
            ("*.rs", "/d/Übung.txt"),
            ("Cargo.toml", "/d/Cargo.tom"),
            ("Cargo.toml", "/d/資料"),
            ("Cargo.toml", "/Cargo/toml"),
            ("Makefile", "/d/Makefile.am"),
            ("schlüssel", "/d/schloss"),
        ] {
            assert!(!excepted(name, path), "{name} {path}");
        }
    }

    proptest! {
        /// Whoever changes the case of letters, or adds what is ignored, stays at the same exception.
        #[test]
        fn no_spelling_leads_past_an_exception(
            name in "[a-zA-Zäöüßéñ0-9._-]{1,12}",
            changes in prop::collection::vec(0u8..4, 12),
        ) {
            let mut spelled = String::from("/d/");
            for (char, change) in name.chars().zip(&changes) {
                match change {
                    0 => spelled.push(char),
                    1 => spelled.extend(char.to_uppercase()),
                    2 => spelled.extend(char.to_lowercase()),
                    _ => { spelled.push(char); spelled.push('\u{200b}'); }
                }
            }
            prop_assume!(name != "." && name != "..");
            prop_assert!(excepted(&name, &spelled), "{} {}", name, spelled);
        }

        /// A path that an exception covers as it is written is covered by its key too.
        #[test]
        fn folding_only_adds(name in "[a-cA-C.*~ ü]{1,8}", path in "(/[a-cA-C.~ ü]{1,8}){1,3}") {
            prop_assume!(path.split('/').all(|part| part != "." && part != ".."));
            let pieces = excepting(&name);
            let plain = {
                let mut exception = Exception::protected(7, PathPattern::of(vec![
                    Component::AnyDepth,
                    match name.contains('*') {
                        false => Component::Literal(name.clone().into_bytes()),
                        true => Component::Glob(name.split_inclusive('*').flat_map(|part| {
                            let run = part.trim_end_matches('*');
                            let run = (!run.is_empty()).then(|| Some(run.as_bytes().to_vec()));
                            run.into_iter().chain(part.ends_with('*').then_some(None))
                        }).collect()),
                    },
                ]));
                exception.kind = ExceptionKind::Deny;
                Decider::new(&Policy { exceptions: vec![exception], ..Policy::default() })
            };
            if matches!(plain.decide_path(Operation::Read, path.as_bytes()), Decision::Denied(Some(_))) {
                prop_assert!(pieces.excepts(Operation::Read, path.as_bytes()).is_some());
            }
        }
    }
}

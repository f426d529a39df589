//! Symbol names: the path to show, and the crate whose code it is.

use super::{LONGEST_NAME, cut};
use sandbox_policy::access::Frame;
use std::fmt::{self, Write};

/// Bytes of a demangled name that are looked at for its crate.
const LONGEST_DEMANGLED: usize = 16 * 1024;
/// Paths inside a path, or references back, that are followed.
const DEEPEST: usize = 200;

/// A frame with the names that a linked symbol tells.
pub(super) fn frame(symbol: &str) -> Frame {
    let Some(demangled) = demangle(symbol, LONGEST_DEMANGLED) else {
        // Not Rust's: C code, or a function exported under a name of its own.
        return Frame { function: cut(symbol).to_owned(), ..Frame::default() };
    };
    let krate = match v0_crate(symbol) {
        Some(Root::Crate(name)) => Some(name),
        Some(Root::TraitMethod) => trait_of(&demangled).and_then(head),
        None => legacy_crate(&demangled),
    };
    Frame {
        krate: cut(krate.unwrap_or_default()).to_owned(),
        function: cut(&demangled).to_owned(),
        ..Frame::default()
    }
}

/// The path without the hash, cut at `most` bytes; `None` if it is not a symbol of Rust.
pub(super) fn demangle(symbol: &str, most: usize) -> Option<String> {
    /// Stops the formatter: a symbol of 100 bytes can demangle to megabytes.
    struct Bounded(String, usize);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.1 - self.0.len().min(self.1);
            self.0.push_str(&text[..text.floor_char_boundary(room)]);
            if text.len() > room { Err(fmt::Error) } else { Ok(()) }
        }
    }
    // A mangled name longer than this is cut anyway and only costs time.
    if symbol.len() > 16 * LONGEST_NAME {
        return None;
    }
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    let mut text = Bounded(String::new(), most);
    let _ = write!(text, "{demangled:#}");
    Some(text.0)
}

/// What the beginning of a v0 symbol says about where its code was written.
enum Root<'a> {
    Crate(&'a str),
    /// It is a method that a trait provides (`<T as Trait>::method`): in the trait's crate.
    TraitMethod,
}

/// Follows the grammar of Rust's RFC 2603 to the crate root of the outermost path. Of an `impl` it
/// takes the crate that holds the `impl`, which the demangled text no longer shows.
fn v0_crate(symbol: &str) -> Option<Root<'_>> {
    let inner = symbol.strip_prefix("_R").or_else(|| symbol.strip_prefix("__R"))?;
    let bytes = inner.as_bytes();
    let mut at = 0;
    for _ in 0..DEEPEST {
        let tag = *bytes.get(at)?;
        at += 1;
        match tag {
            b'N' => at += 1,
            b'I' => {}
            b'M' | b'X' => at = skip_disambiguator(bytes, at)?,
            b'Y' => return Some(Root::TraitMethod),
            b'B' => at = base_62(bytes, at)?.0,
            b'C' => {
                at = skip_disambiguator(bytes, at)?;
                at += usize::from(bytes.get(at) == Some(&b'u'));
                let digits = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let length: usize = inner.get(at..at + digits)?.parse().ok()?;
                at += digits;
                at += usize::from(bytes.get(at) == Some(&b'_'));
                return inner.get(at..at.checked_add(length)?).map(Root::Crate);
            }
            _ => return None,
        }
    }
    None
}

fn skip_disambiguator(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b's') { Some(base_62(bytes, at + 1)?.1) } else { Some(at) }
}

/// A base-62 number and the position after its `_`.
fn base_62(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value: usize = 0;
    let start = at;
    loop {
        let digit = match *bytes.get(at)? {
            b'_' => break,
            digit @ b'0'..=b'9' => digit - b'0',
            digit @ b'a'..=b'z' => digit - b'a' + 10,
            digit @ b'A'..=b'Z' => digit - b'A' + 36,
            _ => return None,
        };
        value = value.checked_mul(62)?.checked_add(usize::from(digit))?;
        at += 1;
    }
    Some((if at == start { 0 } else { value.checked_add(1)? }, at + 1))
}

/// The crate of a legacy symbol, from its text. For `<foo::Bar as Trait>::f` it is that of the
/// type, or, where the type is std's or built in, that of the trait: one of both must be local.
fn legacy_crate(demangled: &str) -> Option<&str> {
    let Some(inner) = demangled.strip_prefix('<') else { return head(demangled) };
    let of_type = head(inner);
    match of_type {
        Some(name) if !super::origin::is_std_crate(name) => of_type,
        _ => trait_of(demangled).and_then(head).or(of_type),
    }
}

/// `Trait` in `<Type as Trait>::method`.
fn trait_of(demangled: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let bytes = demangled.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' => depth += 1,
            // The arrow of a function type closes nothing.
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return None;
                }
            }
            b' ' if depth == 1 && demangled.get(at..)?.starts_with(" as ") => return demangled.get(at + 4..),
            _ => {}
        }
    }
    None
}

/// The first identifier of a type or path that is followed by `::`: its crate.
fn head(path: &str) -> Option<&str> {
    let path = path.trim_start_matches(['&', '*', '[', '(', '<', ' ']);
    let path =
        ["mut ", "const ", "dyn "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let path = path.trim_start_matches(['&', '*', '[', '(', '<', ' ']);
    let end = path.find(|letter: char| letter != '_' && !letter.is_alphanumeric())?;
    let (name, rest) = path.split_at(end);
    (!name.is_empty() && rest.starts_with("::")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(symbol: &str) -> String {
        frame(symbol).krate
    }

    #[test]
    fn the_crate_of_a_v0_symbol_is_where_its_code_was_written() {
        assert_eq!(krate("_RNvCsdsp6YgVn8o4_9mid_crate2go"), "mid_crate");
        assert_eq!(krate("_RNCvCs76KvNilTtlF_9mid_crate2go0B3_"), "");
        assert_eq!(krate("_RNCNvCs76KvNilTtlF_9mid_crate2go0B3_"), "mid_crate");
        // An implementation is its own crate's, whatever the trait.
        assert_eq!(krate("_RNvXCs76KvNilTtlF_9mid_crateNtB2_1MNtCs6JJwBB6IlCa_4leaf2Go4name"), "mid_crate");
        // A provided method is the trait's crate's, whatever the type.
        assert_eq!(krate("_RNvYNtCs76KvNilTtlF_9mid_crate1MNtCs6JJwBB6IlCa_4leaf2Go3runB4_"), "leaf");
        // std's generics stay std's where they are instantiated.
        let read = "_RINvNtCs8NZnfvJOJlS_3std2fs14read_to_stringNtNtCsiQyXi22Ek22_5alloc6string6StringECs76KvNilTtlF_9mid_crate";
        assert_eq!(krate(read), "std");
        assert_eq!(
            krate("_RNvYFEuINtNtNtCsaeYBpMJDXx8_4core3ops8function6FnOnceuE9call_onceCs2iKvGTk25tc_3top"),
            "core"
        );
        // LLVM's suffixes do not matter.
        assert_eq!(krate("_RNvCsdsp6YgVn8o4_9mid_crate2go.llvm.1234"), "mid_crate");
    }

    fn legacy(segments: &[&str]) -> String {
        let path: String = segments.iter().map(|segment| format!("{}{segment}", segment.len())).collect();
        format!("_ZN{path}17h0123456789abcdefE")
    }

    #[test]
    fn the_crate_of_a_legacy_symbol_is_found_in_types_and_traits() {
        assert_eq!(krate(&legacy(&["mid_crate", "go"])), "mid_crate");
        assert_eq!(frame(&legacy(&["mid_crate", "go"])).function, "mid_crate::go");
        let of_type = "_$LT$foo..Bar$u20$as$u20$core..fmt..Display$GT$";
        assert_eq!(krate(&legacy(&[of_type, "fmt"])), "foo");
        let of_trait = "_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$foo..Extension$GT$";
        assert_eq!(krate(&legacy(&[of_trait, "run"])), "foo");
        let of_std = "_$LT$$RF$T$u20$as$u20$core..fmt..Display$GT$";
        assert_eq!(krate(&legacy(&[of_std, "fmt"])), "core");
        let inherent = "_$LT$impl$u20$leaf..Go$u20$for$u20$alloc..vec..Vec$LT$T$GT$$GT$";
        assert_eq!(krate(&legacy(&["mid_crate", inherent, "run"])), "mid_crate");
    }

    #[test]
    fn foreign_and_broken_names_are_kept_but_cut() {
        let c = frame("__wasilibc_find_relpath");
        assert_eq!((c.krate.as_str(), c.function.as_str()), ("", "__wasilibc_find_relpath"));
        assert_eq!(frame(&"é".repeat(5000)).function.len(), LONGEST_NAME);
        for broken in
            ["_R", "_RNv", "_RNvC", "_RNvCs", "_RNvC99999999999999999999x", "_RB_", "_RNvB_", "_RIB0_", "_ZN"]
        {
            assert_eq!(krate(broken), "", "{broken}");
        }
        // Doubles with every reference: would be 2^40 bytes.
        let bomb = format!("_RNvC1a{}", "TB6_B6_E".repeat(40));
        assert!(frame(&bomb).function.len() <= LONGEST_NAME);
    }
}

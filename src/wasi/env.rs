//! Arguments, the environment, and the reserved path by which a guest says that it asks for a
//! variable.

use super::gate::{Fault, Gate};
use super::memory::{put, put_u32};
use super::types::Errno;

/// Beneath it are names of environment variables in lowercase hexadecimal digits. The object that
/// our build links into a guest looks at such a path whenever the guest calls `getenv`.
const GETENV: &[u8] = b".cargo-sandbox/getenv/";

/// The longest name that is looked at.
const MAX_NAME: usize = 1024;

/// If `path` is the reserved path of a variable: decides on its name. The answer to the guest is
/// the same whatever is decided.
pub(crate) fn getenv(gate: &mut Gate, path: &[u8]) -> Option<Fault> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let digits = path.strip_prefix(GETENV)?;
    let Some(name) = decode(digits) else { return Some(Errno::NOENT.into()) };
    Some(gate.check_env(&name).err().unwrap_or(Fault::Errno(Errno::NOENT)))
}

fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.is_empty() || digits.len() > 2 * MAX_NAME || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

/// `args_sizes_get` and `environ_sizes_get`.
pub(crate) fn sizes(list: &[Vec<u8>], memory: &mut [u8], count: u32, size: u32) -> Result<(), Fault> {
    let bytes: usize = list.iter().map(|item| item.len() + 1).sum();
    put_u32(memory, count, u32::try_from(list.len()).map_err(|_| Errno::OVERFLOW)?)?;
    put_u32(memory, size, u32::try_from(bytes).map_err(|_| Errno::OVERFLOW)?)
}

/// `args_get` and `environ_get`.
pub(crate) fn list(
    list: &[Vec<u8>],
    memory: &mut [u8],
    mut pointers: u32,
    mut text: u32,
) -> Result<(), Fault> {
    for item in list {
        put_u32(memory, pointers, text)?;
        put(memory, text, item)?;
        text = text.checked_add(item.len() as u32).ok_or(Errno::FAULT)?;
        put(memory, text, &[0])?;
        text = text.checked_add(1).ok_or(Errno::FAULT)?;
        pointers = pointers.checked_add(4).ok_or(Errno::FAULT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_strictly() {
        assert_eq!(decode(b"484f4d45").as_deref(), Some(&b"HOME"[..]));
        assert_eq!(decode(b"2f00ff").as_deref(), Some(&b"/\0\xff"[..]));
        for bad in [&b""[..], b"4", b"4F", b"4g", b"48/4f", &[b'0'; 2050]] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lists_are_laid_out_as_c_strings() {
        let items = [b"a".to_vec(), b"bc".to_vec()];
        let mut memory = [0xAA; 32];
        list(&items, &mut memory, 0, 8).unwrap();
        assert_eq!(memory[..8], [8, 0, 0, 0, 10, 0, 0, 0]);
        assert_eq!(memory[8..13], *b"a\0bc\0");
        assert_eq!(memory[13], 0xAA);
        assert!(list(&items, &mut memory, 0, 28).is_err());
    }
}

//! Text of others as it may be shown and written down: which characters would mislead a reader, and how TOML hides none.

use std::fmt::Write as _;

/// Whether a character is invisible or moves what is around it, so that it must not reach a
/// terminal or a manifest as it is. Line feed and tab count as such.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' // zero-width, and marks of direction
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}') // tags and variation selectors
}

/// A TOML basic string that holds `text`, with everything hidden written as an escape.
pub fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_hidden(c) && u32::from(c) > 0xffff => _ = write!(quoted, "\\U{:08X}", u32::from(c)),
            c if is_hidden(c) => _ = write!(quoted, "\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_is_left() {
        assert_eq!(toml_string("a\"b\\c\td\n"), r#""a\"b\\c\td\n""#);
        assert_eq!(toml_string("\u{202e}\u{0}\u{7f}\u{3164}é"), r#""\u202E\u0000\u007F\u3164é""#);
        assert_eq!(toml_string("\u{e0041}😀"), r#""\U000E0041😀""#);
    }
}

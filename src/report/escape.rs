//! Makes the guest's text harmless where it is shown: paths, names, debug information and output.
//!
//! What cannot be seen (control characters, escape sequences, bidirectional overrides, zero-width
//! characters) becomes visible: `\x1b`, `\n`, `\u{202e}`; a byte that is not UTF-8 becomes `\xff`.
//! A backslash stays as it is: this is for reading, and the JSON report has the exact bytes.
//!
//! Every format then adds its own quoting: [`github_message`], [`github_property`], [`json`];
//! XML's is done by quick-junit, JSON's by serde_json.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

pub use sandbox_policy::text::is_hidden;

fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\x1f' | '\x7f' => _ = write!(out, "\\x{:02x}", c as u32),
        _ => _ = write!(out, "\\u{{{:x}}}", c as u32),
    }
}

fn visible(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hidden = |c: char| is_hidden(c) && !keep(c);
    let Some(first) = text.find(hidden) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if hidden(c) { push_visible(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Text for one line: no line feed or tab is left either.
pub fn line(text: &str) -> Cow<'_, str> {
    visible(text, |_| false)
}

/// [`line`] for bytes that need not be UTF-8.
pub fn line_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&line(chunk.valid()));
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Text of several lines: line feeds and tabs stay, and a carriage return before a line feed goes.
pub fn block(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        if text.contains("\r\n") {
            out.push_str(&visible(&text.replace("\r\n", "\n"), is_layout));
        } else {
            out.push_str(&visible(text, is_layout));
        }
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// Source text of which parts are to be underlined: [`block`], with the ranges moved along.
/// Ranges are cut to the text and to whole characters.
pub fn source<'t>(text: &'t str, ranges: &[Range<usize>]) -> (Cow<'t, str>, Vec<Range<usize>>) {
    let cut = |offset: usize| text.floor_char_boundary(offset.min(text.len()));
    let ranges: Vec<_> = ranges.iter().map(|r| cut(r.start)..cut(r.end.max(r.start))).collect();
    let hidden = |at: usize, c: char| {
        is_hidden(c) && !is_layout(c) && !(c == '\r' && text[at + 1..].starts_with('\n'))
    };
    if !text.char_indices().any(|(at, c)| hidden(at, c)) {
        return (Cow::Borrowed(text), ranges);
    }
    let mut moved = ranges.clone();
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        let before = out.len();
        if hidden(at, c) {
            push_visible(&mut out, c)
        } else {
            out.push(c)
        }
        let grown = out.len() - before - c.len_utf8();
        for (old, new) in ranges.iter().zip(&mut moved) {
            new.start += if old.start > at { grown } else { 0 };
            new.end += if old.end > at { grown } else { 0 };
        }
    }
    (Cow::Owned(out), moved)
}

/// The message of a GitHub workflow command, which may have several lines.
pub fn github_message(text: &str) -> String {
    visible(text, is_layout).replace('%', "%25").replace('\n', "%0A")
}

/// A property of a GitHub workflow command (`file=`, `title=`).
pub fn github_property(text: &str) -> String {
    line(text).replace('%', "%25").replace(':', "%3A").replace(',', "%2C")
}

/// Serialised JSON with every hidden character outside ASCII, and DEL, written as `\uXXXX`. They
/// can only stand in strings, so the value stays the same and a terminal can show it.
pub fn json(serialised: String) -> String {
    let hidden = |c: char| is_hidden(c) && (c == '\x7f' || !c.is_ascii());
    if !serialised.contains(hidden) {
        return serialised;
    }
    let mut out = String::with_capacity(serialised.len() + 64);
    for c in serialised.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A path of debug information as one that an annotation may name: relative, and going down only.
pub fn relative_path(file: &str) -> Option<&str> {
    let file = file.strip_prefix("./").unwrap_or(file);
    let fine = !file.is_empty()
        && !file.starts_with(['/', '\\'])
        && !file.contains(is_hidden)
        && !file.contains(':')
        && file.split(['/', '\\']).all(|part| !matches!(part, "" | "." | ".."));
    fine.then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_become_visible() {
        assert_eq!(line("plain é 漢"), "plain é 漢");
        assert_eq!(line("a\nb\r\tc\x1b[31m\x7f\u{9b}1m"), "a\\nb\\r\\tc\\x1b[31m\\x7f\\u{9b}1m");
        assert_eq!(line("\u{202e}x\u{200b}\u{feff}"), "\\u{202e}x\\u{200b}\\u{feff}");
        assert_eq!(line_bytes(b"/tmp/\xff\xfe\xc3"), "/tmp/\\xff\\xfe\\xc3");
        assert_eq!(block(b"a\r\nb\tc\rd\x07\xe2\x80\xae"), "a\nb\tc\\rd\\x07\\u{202e}");
    }

    #[test]
    fn ranges_follow_their_text() {
        let text = "\u{202e}let s = f(\u{200b});";
        let at = text.find("f(").expect("it is there");
        let (shown, ranges) = source(text, &[at..at + 1, at..text.len() + 9]);
        assert_eq!(&shown[ranges[0].clone()], "f");
        assert_eq!(&shown[ranges[1].clone()], "f(\\u{200b});");
        assert_eq!(source("a\r\nb", &[0..1, 3..4]), (Cow::Borrowed("a\r\nb"), vec![0..1, 3..4]));
        assert_eq!(source("é", &[1..9, 7..8]).1, [0..2, 2..2]);
    }

    #[test]
    fn workflow_commands_cannot_be_left() {
        assert_eq!(github_message("100%\n::error::x\r"), "100%25%0A::error::x\\r");
        assert_eq!(github_property("a,b:c%0A\nd"), "a%2Cb%3Ac%250A\\nd");
    }

    #[test]
    fn json_keeps_its_value() {
        let text = "\u{202e}\u{e0041}\x7f\x1b\u{fe0f}é".to_owned();
        let shown = json(serde_json::to_string(&text).expect("a string"));
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("still JSON"), text);
    }

    #[test]
    fn only_paths_that_go_down_are_named() {
        assert_eq!(relative_path("./src/main.rs"), Some("src/main.rs"));
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "C:\\x", "a\nb", "src/./a"] {
            assert_eq!(relative_path(bad), None, "{bad:?}");
        }
    }
}

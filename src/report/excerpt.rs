//! The beginning and the end of a long output, for a person's terminal or the log of a CI machine. Reports
//! for programs have all of it.

use std::borrow::Cow;

/// Bytes that are shown of the beginning.
const HEAD: usize = 16 << 10;
/// Bytes that are shown of the end, where a panic's message is.
const TAIL: usize = 48 << 10;

/// `output` itself, or what is shown of it with a line that says how much is not. Both parts are cut
/// at the end of a line if there is one in their last, or first, quarter.
pub(super) fn excerpt(output: &[u8]) -> Cow<'_, [u8]> {
    if output.len() <= HEAD + TAIL {
        return Cow::Borrowed(output);
    }
    let head = &output[..HEAD];
    let line = head.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let head = &head[..line.filter(|at| *at > HEAD - HEAD / 4).unwrap_or_else(|| character(output, HEAD))];
    let start = output.len() - TAIL;
    let line = output[start..].iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let start =
        line.filter(|at| *at < TAIL / 4).map_or_else(|| character(output, start), |line| start + line);
    let left_out = start - head.len();
    let note = format!("[… {left_out} bytes left out; all that was kept is in `--report` and `--junit` …]\n");
    let end = if head.ends_with(b"\n") { "" } else { "\n" };
    Cow::Owned([head, end.as_bytes(), note.as_bytes(), &output[start..]].concat())
}

/// The start of the character that the byte at `at` belongs to.
fn character(output: &[u8], at: usize) -> usize {
    let first = |at: &usize| output[*at] & 0xc0 != 0x80;
    (at.saturating_sub(3)..=at).rev().find(first).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: &str) -> String {
        String::from_utf8(excerpt(output.as_bytes()).into_owned()).expect("whole characters")
    }

    #[test]
    fn a_short_output_is_shown_whole() {
        let output = "x".repeat(HEAD + TAIL);
        assert_eq!(shown(&output), output);
    }

    #[test]
    fn a_long_one_is_cut_between_lines_and_says_how_much_is_missing() {
        let lines: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
        let shown = shown(&lines);
        assert!(shown.len() <= HEAD + TAIL + 100, "{}", shown.len());
        assert!(shown.starts_with("line 0\n") && shown.ends_with("\nline 99999\n"));
        let (head, rest) = shown.split_once("\n[… ").expect("a note");
        let (note, tail) = rest.split_once("…]\n").expect("its end");
        let left_out: usize = note.split_once(' ').expect("a number").0.parse().expect("a number");
        assert_eq!(head.len() + 1 + left_out + tail.len(), lines.len());
        assert!(tail.starts_with("line "), "{}", &tail[..20]);
    }

    #[test]
    fn characters_are_not_cut_where_there_is_no_line() {
        for shift in ["", "a", "ab"] {
            let shown = shown(&format!("{shift}{}", "€".repeat(50_000)));
            assert!(shown.contains("€\n[… ") && shown.contains("…]\n€"), "{shift}");
        }
        // Bytes that are no text stay bytes.
        assert!(excerpt(&[0x80; HEAD + TAIL + 9]).len() < HEAD + TAIL + 100);
    }
}

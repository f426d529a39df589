//! The beginning and the end of a long output, for a person's terminal or the log of a CI machine. Reports
//! for programs have all of it.

use std::borrow::Cow;

/// Bytes that are shown of the beginning.
const HEAD: usize = 16 << 10;
/// Bytes that are shown of the end, where a panic's message is.
const TAIL: usize = 48 << 10;

/// Lines that are shown of the beginning, and of the end.
const LINES: (usize, usize) = (25, 75);

/// `output` itself, or what is shown of it with a line that says how much is not. Both parts are cut
/// at the end of a line if there is one in their last, or first, quarter.
pub(super) fn excerpt(output: &[u8]) -> Cow<'_, [u8]> {
    let ends = || output.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    if output.len() <= HEAD + TAIL && ends().nth(LINES.0 + LINES.1).is_none() {
        return Cow::Borrowed(output);
    }
    let of_lines = ends().nth(LINES.0 - 1).unwrap_or(output.len());
    let head = if of_lines <= HEAD { of_lines } else { head(output) };
    let mut lines = output.iter().enumerate().rev().skip(1).filter(|(_, byte)| **byte == b'\n');
    let of_lines = lines.nth(LINES.1 - 1).map_or(0, |(at, _)| at + 1);
    let start = if output.len() - of_lines <= TAIL { of_lines } else { tail(output) }.max(head);
    let left_out = start - head;
    let note = format!("[… {left_out} bytes left out; all that was kept is in `--report` and `--junit` …]\n");
    let end = if output[..head].ends_with(b"\n") { "" } else { "\n" };
    Cow::Owned([&output[..head], end.as_bytes(), note.as_bytes(), &output[start..]].concat())
}

/// Where the beginning ends that is short enough.
fn head(output: &[u8]) -> usize {
    let end = HEAD.min(output.len());
    let line = output[..end].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    line.filter(|at| *at > HEAD - HEAD / 4).unwrap_or_else(|| character(output, end))
}

/// Where the end begins that is short enough.
fn tail(output: &[u8]) -> usize {
    let start = output.len().saturating_sub(TAIL);
    let line = output[start..].iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    line.filter(|at| *at < TAIL / 4).map_or_else(|| character(output, start), |line| start + line)
}

/// The start of the character that the byte at `at` belongs to.
fn character(output: &[u8], at: usize) -> usize {
    let first = |at: &usize| output.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
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
    fn many_short_lines_are_cut_too() {
        let (head, tail) = LINES;
        let few: String = (0..head + tail).map(|number| format!("{number}\n")).collect();
        assert_eq!(shown(&few), few);
        for text in
            ["\n".repeat(50_000), "x\n".repeat(5000), format!("{}\n{}", "y".repeat(70_000), "\n".repeat(500))]
        {
            let shown = shown(&text);
            assert!(shown.lines().count() <= head + tail + 2, "{}", shown.lines().count());
            assert!(shown.contains(" bytes left out"));
        }
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

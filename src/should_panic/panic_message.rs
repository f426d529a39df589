//! Finds what std's default panic hook printed on standard error.
//!
//! ```text
//!
//! thread 'main' (1) panicked at src/lib.rs:5:9:
//! the text, of one line or more
//! note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
//! ```
//!
//! Without the thread's number before Rust 1.91, without the empty line before 1.89. What follows
//! the note was printed by somebody else, such as a hook around the default one.

/// The line that ends the first panic's message.
const NOTE: &str = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

/// What std prints last when a panic may not unwind, and what it prints when a panic happens while
/// another is being handled. Where panics unwind, these end the whole program too.
const ABORTS: [&str; 3] = [
    "thread caused non-unwinding panic. aborting.",
    "thread panicked while processing panic. aborting.",
    "panicked after panic::always_abort(), aborting.",
];

/// What the hook prints for a payload that is no text.
const NO_TEXT: &[u8] = b"Box<dyn Any>";

/// What standard error tells of a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PanicMessage<'a> {
    /// No message of the default hook.
    None,
    /// A message that ends as it should. If the test printed something that looks like one, or the
    /// text quotes one, there are several readings; the first is the longest, and each of the
    /// others is an end of it.
    Text(Vec<&'a [u8]>),
    /// The payload is no text (`panic_any`).
    NotText,
    /// It begins like one, but the note at its end is missing: its text may hold anything that was
    /// printed after it.
    Open,
    /// std ended the program without unwinding, as it does everywhere.
    Abort,
}

/// Reads the standard error, or its end, of a guest that panicked.
pub(super) fn panic_message(stderr: &[u8]) -> PanicMessage<'_> {
    let headers = headers(stderr);
    let after = headers.last().copied().unwrap_or(0);
    let mut lines = stderr[after..].split(|byte| *byte == b'\n');
    if lines.any(|line| ABORTS.iter().any(|abort| line.ends_with(abort.as_bytes()))) {
        return PanicMessage::Abort;
    }
    let Some(last) = headers.last().copied() else { return PanicMessage::None };
    let Some(end) = rfind_line(&stderr[last..], NOTE.as_bytes()) else { return PanicMessage::Open };
    let end = last + end;
    // The text is followed by a line end of the hook's own.
    let texts: Vec<&[u8]> = headers.iter().map(|start| &stderr[*start..(end - 1).max(*start)]).collect();
    if texts.last().is_some_and(|text| *text == NO_TEXT) {
        PanicMessage::NotText
    } else {
        PanicMessage::Text(texts)
    }
}

/// Whether a panic message is on standard error at all.
pub(super) fn has_panic_message(stderr: &[u8]) -> bool {
    !headers(stderr).is_empty()
}

/// Where the text after each line that announces a panic begins.
fn headers(stderr: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in stderr.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if is_header(line) {
            starts.push(at);
        }
    }
    starts
}

/// `thread 'NAME' (NUMBER) panicked at FILE:LINE:COLUMN:`, perhaps after something that the test
/// printed without a line end.
fn is_header(line: &[u8]) -> bool {
    const AT: &[u8] = b" panicked at ";
    let Some(place) = line.strip_suffix(b":\n") else { return false };
    let Some(at) = place.windows(AT.len()).rposition(|window| window == AT) else { return false };
    let numbers = place[at + AT.len()..].rsplit(|byte| *byte == b':').take(2);
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let thread = place[..at].windows(7).any(|window| window == b"thread ");
    thread && numbers.filter(|text| is_number(text)).count() == 2
}

/// Where the last occurrence of `line` begins that is a whole line.
fn rfind_line(text: &[u8], line: &[u8]) -> Option<usize> {
    (0..=text.len().checked_sub(line.len())?)
        .rev()
        .find(|at| text[*at..].starts_with(line) && (*at == 0 || text[*at - 1] == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Vec<u8> {
        format!("\nthread 'main' (1) panicked at src/lib.rs:5:9:\n{text}\n{NOTE}").into_bytes()
    }

    #[test]
    fn a_text_of_any_form_is_found_whole() {
        for text in ["one", "two\nlines", "", "trailing\n\n", "no: note\nnote: run with nothing", "ä\u{0}"] {
            assert_eq!(panic_message(&message(text)), PanicMessage::Text(vec![text.as_bytes()]), "{text:?}");
        }
        let older = format!("unended thread 'a b' panicked at /x/y.rs:1:2:\nboom\n{NOTE}and a hook's line\n");
        assert_eq!(panic_message(older.as_bytes()), PanicMessage::Text(vec![b"boom"]));
    }

    #[test]
    fn what_cannot_be_told_is_said_to_be_so() {
        assert_eq!(panic_message(b""), PanicMessage::None);
        assert_eq!(panic_message(b"panicked at src/lib.rs:5:9:\nboom\n"), PanicMessage::None);
        assert_eq!(panic_message(b"thread 'main' panicked at the disco:\nboom\n"), PanicMessage::None);
        assert_eq!(
            panic_message(b"\nthread 'main' (1) panicked at a.rs:5:9:\nboom\nmore\n"),
            PanicMessage::Open
        );
        assert_eq!(panic_message(&message("Box<dyn Any>")), PanicMessage::NotText);
        let mut abort = message("unsafe precondition(s) violated");
        abort.extend(b"thread caused non-unwinding panic. aborting.\n");
        assert_eq!(panic_message(&abort), PanicMessage::Abort);
        let twice = [message("first"), message("second")].concat();
        let PanicMessage::Text(readings) = panic_message(&twice) else { panic!("two readings") };
        assert_eq!(readings.len(), 2);
        assert_eq!(readings[1], b"second");
    }

    #[test]
    fn no_cut_of_a_message_panics() {
        let whole = message("some\ntext");
        for start in 0..whole.len() {
            for end in start..whole.len() {
                panic_message(&whole[start..end]);
            }
        }
    }
}

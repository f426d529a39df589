//! What an edit does not touch stays byte for byte.
//!
//! `toml_edit` holds one key for all headers and dotted keys that begin with it, so it writes them with the spaces of one
//! of them: `[ a . b ]` may come out as `[a.b]`. And it ends lines with a newline alone. So what the edit left alone is
//! taken from the original: each line, and of lines that changed their beginning and end.

use similar::utils::TextDiffRemapper;
use similar::{ChangeTag, TextDiff};
use toml_edit::DocumentMut;

/// `edited` with the original's own spaces. `unedited` is the original as it would be written without any edit: what is
/// different between the two is the edit.
pub(super) fn spaces(original: &str, unedited: &str, edited: String) -> String {
    let diff = TextDiff::from_lines(unedited, &edited);
    let slices = TextDiffRemapper::from_text_diff(&diff, unedited, &edited);
    let changes = diff.ops().iter().flat_map(|op| match slices.iter_slices(op).collect::<Vec<_>>()[..] {
        [(ChangeTag::Delete, old), (ChangeTag::Insert, new)] => within(old, new).to_vec(),
        ref lines => lines.to_vec(),
    });
    let mut rest = original;
    let merged: Option<String> = changes
        .map(|(tag, text)| match tag {
            ChangeTag::Equal => own(&mut rest, text),
            ChangeTag::Delete => own(&mut rest, text).map(|_| ""),
            ChangeTag::Insert => Some(text),
        })
        .collect();
    merged.filter(|merged| merged.parse::<DocumentMut>().is_ok()).unwrap_or(edited)
}

/// The edit of lines: what is before it, what it takes and gives, and what is behind it.
fn within<'t>(old: &'t str, new: &'t str) -> [(ChangeTag, &'t str); 4] {
    let same = |(one, other): &(char, char)| one == other;
    let length = |(one, _): (char, char)| one.len_utf8();
    let head = old.chars().zip(new.chars()).take_while(same).map(length).sum();
    let ((head, old), (_, new)) = (old.split_at(head), new.split_at(head));
    let tail: usize = old.chars().rev().zip(new.chars().rev()).take_while(same).map(length).sum();
    let ((old, tail), new) = (old.split_at(old.len() - tail), &new[..new.len() - tail]);
    [(ChangeTag::Equal, head), (ChangeTag::Delete, old), (ChangeTag::Insert, new), (ChangeTag::Equal, tail)]
}

/// Cuts from `rest` what stands there for `text`, which has other spaces.
fn own<'t>(rest: &mut &'t str, text: &str) -> Option<&'t str> {
    let start = *rest;
    for wanted in text.chars() {
        *rest = match rest.strip_prefix(wanted) {
            Some(behind) => behind,
            None if matches!(wanted, ' ' | '\t') => rest,
            None => rest.trim_start_matches([' ', '\t', '\r']).strip_prefix(wanted)?,
        };
    }
    Some(&start[..start.len() - rest.len()])
}

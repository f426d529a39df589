//! What an edit does not touch stays byte for byte.
//!
//! `toml_edit` holds one key for all headers and dotted keys that begin with it, so it writes them with
//! the spaces of one of them: `[ a . b ]` may come out as `[a.b]`. Such losses only concern spaces within
//! a line. So each line that the edit did not change is taken from the original, and of a changed line
//! what is before and after the change.

use similar::{DiffOp, TextDiff};
use toml_edit::DocumentMut;

/// `edited` with the original's own spaces. `unedited` is the original as it would be written without
/// any edit: what is different between the two is the edit.
pub(super) fn spaces(original: &str, unedited: &str, edited: String) -> String {
    if original == unedited {
        return edited;
    }
    let merged = merge(original, unedited, &edited);
    // The texts must say the same, whatever became of the spaces.
    let written = |text: &str| text.parse::<DocumentMut>().ok().map(|document| bare(&document.to_string()));
    match merged {
        Some(merged) if written(&merged) == Some(bare(&edited)) => merged,
        _ => edited,
    }
}

/// A text without its spaces.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn merge(original: &str, unedited: &str, edited: &str) -> Option<String> {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (own, old, new) = (lines(original), lines(unedited), lines(edited));
    if own.len() != old.len() {
        return None;
    }
    let mut merged = String::new();
    for op in TextDiff::from_slices(&old, &new).ops() {
        match *op {
            DiffOp::Equal { old_index, len, .. } => {
                merged.extend(own[old_index..old_index + len].iter().copied())
            }
            DiffOp::Delete { .. } => {}
            DiffOp::Insert { new_index, new_len, .. } => {
                merged.extend(new[new_index..new_index + new_len].iter().copied());
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                let range = |lines: &[&str], at, len| lines[at..at + len].concat();
                merged += &splice(
                    &range(&own, old_index, old_len),
                    &range(&old, old_index, old_len),
                    &range(&new, new_index, new_len),
                )?;
            }
        }
    }
    Some(merged)
}

/// The change from `old` to `new`, made to `own`, which has other spaces than `old`.
fn splice(own: &str, old: &str, new: &str) -> Option<String> {
    let before = old.char_indices().zip(new.chars()).find(|((_, one), other)| one != other);
    let before = before.map_or(old.len().min(new.len()), |((at, _), _)| at);
    let both = old[before..].chars().rev().zip(new[before..].chars().rev());
    let after: usize = both.take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum();
    let head = same_place(own, old, before)?;
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    let tail = same_place(&reversed(own), &reversed(old), after)?;
    let end = own.len().checked_sub(tail)?.max(head);
    Some(format!("{}{}{}", &own[..head], &new[before..new.len() - after], &own[end..]))
}

/// Where in `own` the place `at` of `old` is, if the two only have different spaces up to there.
fn same_place(own: &str, old: &str, at: usize) -> Option<usize> {
    let mut rest = own;
    let mut wanted = old[..at].chars().peekable();
    while let Some(next) = wanted.peek().copied() {
        if let Some(left) = rest.strip_prefix(next) {
            rest = left;
        } else if next.is_whitespace() {
        } else {
            let left = rest.strip_prefix(char::is_whitespace)?;
            rest = left;
            continue;
        }
        wanted.next();
    }
    Some(own.len() - rest.len())
}

//! What a person can read of very much: one diagnostic for each cause, a bounded number of lines, and the rest counted.
//! The formats for programs have all of it.

use super::dedup::Distinct;
use super::escape;
use super::json::wire::{ResourceKind, Suggestion};
use sandbox_policy::access::Operation;
use std::collections::{BTreeMap, BTreeSet};

/// Lines that a person is shown of what we have to say in one command, whatever a guest does. Beside them stand a line
/// for each test as it ends, and an excerpt of what failed tests printed.
pub const MOST_LINES: usize = 200;
/// Lines of one diagnostic.
const MOST_OF_ONE: usize = 40;
/// Resources of a cause that are named one by one.
const NAMED: usize = 3;
/// Entries that are suggested for one cause.
const MOST_ENTRIES: usize = 8;

/// The same operation from the same place: one cause, whatever it was on.
#[derive(Clone, Debug)]
pub struct Cause<'r> {
    /// What is shown: its first access, with the counts and tests of all.
    pub first: Distinct<'r>,
    /// Its further accesses, each on another resource.
    pub others: Vec<Distinct<'r>>,
}

/// Puts accesses together by their causes, in order of appearance.
pub fn causes(distinct: Vec<Distinct<'_>>) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for one in distinct {
        let place = *places.entry(one.violation.cause()).or_insert(causes.len());
        match causes.get_mut(place) {
            Some(known) => {
                known.first.add(&one);
                known.others.push(one);
            }
            None => causes.push(Cause { first: one, others: Vec::new() }),
        }
    }
    causes
}

impl Cause<'_> {
    /// How many accesses it is.
    pub fn accesses(&self) -> usize {
        1 + self.others.len()
    }

    /// What else it was on, in a sentence; `None` if nothing.
    pub fn more(&self) -> Option<String> {
        let all = || std::iter::once(&self.first).chain(&self.others).map(|distinct| distinct.violation);
        let name = |bytes: &[u8]| format!("`{}`", short(&escape::line_bytes(bytes)));
        let named: Vec<String> = self
            .others
            .iter()
            .take(NAMED)
            .map(|distinct| name(&distinct.violation.resource.bytes()))
            .collect();
        match self.others.len() {
            0 => None,
            count if count <= NAMED => Some(format!("also {}", named.join(", "))),
            count => {
                let folder = all()
                    .filter(|violation| violation.resource.kind == ResourceKind::Path)
                    .map(|violation| violation.resource.bytes().into_owned())
                    .reduce(|one, other| common(&one, &other).to_vec());
                Some(match folder {
                    Some(folder) if folder.len() > 1 => {
                        format!("and {count} more below {}", name(&folder))
                    }
                    _ => format!("and {count} more: {}, …", named.join(", ")),
                })
            }
        }
    }

    /// One suggestion for all of it; that of the first access where there are too many, or they go to different tables.
    pub fn suggestion(&self) -> Option<Suggestion> {
        let first = self.first.violation.suggestion.as_ref()?;
        let mut entries = BTreeSet::new();
        let mut values = Vec::new();
        // A flag is no entry in a list.
        let Some((head, value)) = value_of(first) else { return Some(first.clone()) };
        for one in self.others.iter().map(|distinct| distinct.violation.suggestion.as_ref()) {
            let fits = one.filter(|one| {
                (&one.manifest, &one.table, &one.key) == (&first.manifest, &first.table, &first.key)
            });
            let Some((_, other)) = fits.and_then(value_of) else { return Some(first.clone()) };
            if other != value && entries.insert(other) {
                values.push(other);
            }
        }
        if values.is_empty() || values.len() >= MOST_ENTRIES {
            return Some(first.clone());
        }
        let lines: String =
            std::iter::once(&value).chain(&values).map(|value| format!("    {value},\n")).collect();
        Some(Suggestion { paste: format!("{head} = [\n{lines}]"), ..first.clone() })
    }
}

/// What is before the brackets of a suggestion that is one entry in a list, and what is in them.
fn value_of(suggestion: &Suggestion) -> Option<(&str, &str)> {
    let line = suggestion.paste.rfind('\n').map_or(0, |at| at + 1);
    let at = line + suggestion.paste[line..].find(" = [")?;
    Some((&suggestion.paste[..at], suggestion.paste[at + 4..].strip_suffix(']')?))
}

/// The folder that both lie in.
fn common<'b>(one: &'b [u8], other: &[u8]) -> &'b [u8] {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let ends = |path: &[u8]| path.get(same).is_none_or(|byte| *byte == b'/');
    if ends(one) && ends(other) {
        return &one[..same];
    }
    let folder = one[..same].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &one[..folder.max(1).min(one.len())]
}

/// A name that is no longer than a person reads: its beginning and its end.
pub fn short(name: &str) -> std::borrow::Cow<'_, str> {
    const MOST: usize = 256;
    if name.len() <= MOST {
        return name.into();
    }
    let (head, tail) = (name.floor_char_boundary(MOST / 2), name.ceil_char_boundary(name.len() - MOST / 2));
    format!("{}…{}", &name[..head], &name[tail..]).into()
}

/// The order in which causes are shown as long as there is room: the first of each operation and of each package comes
/// before many of one, so that no flood hides another kind of access.
pub fn by_kind(causes: &[Cause<'_>]) -> Vec<usize> {
    let (mut operations, mut packages) = (BTreeSet::new(), BTreeSet::new());
    let mut order: Vec<(u8, usize)> = Vec::with_capacity(causes.len());
    for (index, cause) in causes.iter().enumerate() {
        let violation = cause.first.violation;
        let operation = operations.insert((violation.operation, violation.allowed));
        let package = packages.insert(violation.origin.as_ref().map(|origin| &origin.package));
        order.push((if operation { 0 } else { u8::from(!package) + 1 }, index));
    }
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

/// What is said of causes that are not shown.
pub fn rest<'c, 'r: 'c>(left_out: impl Iterator<Item = &'c Cause<'r>>) -> Option<String> {
    let mut counts: BTreeMap<Operation, usize> = BTreeMap::new();
    let mut places = 0;
    for cause in left_out {
        places += 1;
        *counts.entry(cause.first.violation.operation).or_default() += cause.accesses();
    }
    let all: usize = counts.values().sum();
    let each: Vec<String> = counts.iter().map(|(operation, count)| format!("{count} {operation}")).collect();
    let plural =
        |count: usize, one: &str, many: &str| format!("{count} more {}", if count == 1 { one } else { many });
    let accesses = plural(all, "unexpected access", "unexpected accesses");
    (places > 0)
        .then(|| format!("{accesses} from {} ({})", plural(places, "place", "places"), each.join(", ")))
}

/// The lines that are left.
#[derive(Debug)]
pub struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        // The summary, and a line on what each kind of thing has more of.
        Self(MOST_LINES - 15)
    }
}

impl Room {
    /// Takes a text as far as one diagnostic is shown, if so many lines stay for what comes later.
    pub fn take(&mut self, text: &str, later: usize) -> Option<String> {
        let (lines, text) = cut(text);
        self.0 = self.0.checked_sub(lines + later)? + later;
        Some(text)
    }

    /// Takes single lines.
    pub fn take_line(&mut self, later: usize) -> bool {
        match self.0.checked_sub(1 + later) {
            Some(left) => self.0 = left + later,
            None => return false,
        }
        true
    }
}

fn cut(text: &str) -> (usize, String) {
    let lines = text.lines().count();
    if lines <= MOST_OF_ONE {
        return (lines, text.to_owned());
    }
    let kept: String = text.lines().take(MOST_OF_ONE - 1).map(|line| format!("{line}\n")).collect();
    (MOST_OF_ONE, format!("{kept}[… {} lines left out …]\n", lines - MOST_OF_ONE + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_two_paths_is_found() {
        for (one, other, folder) in [
            ("/a/b/c", "/a/b/d", "/a/b"),
            ("/a/b", "/a/bc", "/a"),
            ("/a/b", "/a/b/c", "/a/b"),
            ("/a", "/b", "/"),
            ("/", "/b", "/"),
            ("/x", "/x", "/x"),
        ] {
            assert_eq!(common(one.as_bytes(), other.as_bytes()), folder.as_bytes(), "{one} {other}");
            assert_eq!(common(other.as_bytes(), one.as_bytes()), folder.as_bytes(), "{other} {one}");
        }
    }

    #[test]
    fn room_is_kept_for_what_comes_later() {
        let mut room = Room::default();
        let mut shown = 0;
        while room.take("a\nb\n", 50).is_some() {
            shown += 2;
        }
        assert!((MOST_LINES - 67..=MOST_LINES - 65).contains(&shown), "{shown}");
        assert!(room.take(&"x\n".repeat(1000), 0).expect("one is cut").lines().count() == MOST_OF_ONE);
        while room.take_line(0) {
            shown += 1;
        }
        assert_eq!(shown + MOST_OF_ONE, MOST_LINES - 15);
    }

    #[test]
    fn names_are_cut_in_their_middle() {
        let long = short(&"ü".repeat(1000)).into_owned();
        assert!(long.len() < 300 && long.starts_with('ü') && long.contains("ü…ü") && long.ends_with('ü'));
    }
}

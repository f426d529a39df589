//! What patterns match, whether two can match the same, and whether one provably covers another.
//!
//! Everything here takes polynomial time in the length of its arguments: no pattern that a manifest
//! can hold makes it blow up.

use super::model::{Component, EnvPattern, PathPattern};

/// Pieces of a name pattern: `None` is `*`.
pub type Pieces = [Option<Vec<u8>>];

/// Whether a name matches. Leftmost-first search is enough since `*` is the only wildcard.
pub fn glob_matches(pieces: &Pieces, name: &[u8]) -> bool {
    let mut rest = name;
    let mut floating = false;
    for (i, piece) in pieces.iter().enumerate() {
        let Some(run) = piece else {
            floating = true;
            continue;
        };
        let last = i + 1 == pieces.len();
        if !floating {
            let Some(after) = rest.strip_prefix(run.as_slice()) else { return false };
            rest = after;
        } else if last {
            return rest.ends_with(run);
        } else {
            let Some(at) = find(rest, run) else { return false };
            rest = &rest[at + run.len()..];
        }
        floating = false;
    }
    floating || rest.is_empty()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Whether a component other than `**` matches a name.
pub fn component_matches(component: &Component, name: &[u8]) -> bool {
    match component {
        Component::Literal(literal) => literal == name,
        Component::Glob(pieces) => glob_matches(pieces, name),
        Component::AnyDepth => false,
    }
}

/// A name pattern as symbols: a byte, or `None` for `*`.
fn symbols(pieces: &Pieces) -> Vec<Option<u8>> {
    let mut symbols = Vec::new();
    for piece in pieces {
        match piece {
            None => symbols.push(None),
            Some(run) => symbols.extend(run.iter().copied().map(Some)),
        }
    }
    symbols
}

/// Whether some name matches both.
pub fn globs_overlap(a: &Pieces, b: &Pieces) -> bool {
    let (a, b) = (symbols(a), symbols(b));
    table(a.len(), b.len(), |reach, i, j| match (a.get(i).copied(), b.get(j).copied()) {
        (None, None) => true,
        (Some(None), Some(None)) => reach(i + 1, j) || reach(i, j + 1),
        (Some(None), other) => reach(i + 1, j) || (other.is_some() && reach(i, j + 1)),
        (other, Some(None)) => reach(i, j + 1) || (other.is_some() && reach(i + 1, j)),
        (Some(Some(x)), Some(Some(y))) => x == y && reach(i + 1, j + 1),
        _ => false,
    })
}

/// Whether every name that matches `narrow` provably matches `wide`: a `*` of `narrow` is only
/// ever swallowed by a `*` of `wide`. May say no where it is so, never yes where it is not.
pub fn glob_covers(wide: &Pieces, narrow: &Pieces) -> bool {
    let (w, n) = (symbols(wide), symbols(narrow));
    table(w.len(), n.len(), |reach, i, j| match (w.get(i).copied(), n.get(j).copied()) {
        (None, None) => true,
        (Some(None), other) => reach(i + 1, j) || (other.is_some() && reach(i, j + 1)),
        (Some(Some(x)), Some(Some(y))) => x == y && reach(i + 1, j + 1),
        _ => false,
    })
}

/// Fills a table of (i, j) from the ends to the beginnings; `step` may ask only for cells with a
/// larger i or j.
fn table(
    rows: usize,
    columns: usize,
    step: impl Fn(&dyn Fn(usize, usize) -> bool, usize, usize) -> bool,
) -> bool {
    let width = columns + 1;
    let mut cells = vec![false; (rows + 1) * width];
    for i in (0..=rows).rev() {
        for j in (0..=columns).rev() {
            let cell = {
                let reach = |i: usize, j: usize| cells[i * width + j];
                step(&reach, i, j)
            };
            cells[i * width + j] = cell;
        }
    }
    cells[0]
}

fn components_overlap(a: &Component, b: &Component) -> bool {
    match (a, b) {
        (Component::AnyDepth, _) | (_, Component::AnyDepth) => true,
        (Component::Literal(a), Component::Literal(b)) => a == b,
        (Component::Glob(glob), Component::Literal(name))
        | (Component::Literal(name), Component::Glob(glob)) => glob_matches(glob, name),
        (Component::Glob(a), Component::Glob(b)) => globs_overlap(a, b),
    }
}

fn component_covers(wide: &Component, narrow: &Component) -> bool {
    match (wide, narrow) {
        (Component::Literal(wide), Component::Literal(narrow)) => wide == narrow,
        (Component::Glob(wide), Component::Literal(narrow)) => glob_matches(wide, narrow),
        (Component::Glob(wide), Component::Glob(narrow)) => glob_covers(wide, narrow),
        _ => false,
    }
}

/// Both after the literals that both begin with; `None` if those differ. Almost all pairs do: no table
/// for those.
fn after_literals<'c>(
    one: &'c [Component],
    other: &'c [Component],
) -> Option<(&'c [Component], &'c [Component])> {
    let common = one.iter().zip(other).take_while(|(a, b)| is_literal(a) && is_literal(b)).count();
    (one[..common] == other[..common]).then(|| (&one[common..], &other[common..]))
}

/// Whether some path that `inner` matches itself is a match of `outer` or lies beneath one.
pub fn may_contain(outer: &[Component], inner: &[Component]) -> bool {
    let Some((outer, inner)) = after_literals(outer, inner) else { return false };
    table(outer.len(), inner.len(), |reach, i, j| match (outer.get(i), inner.get(j)) {
        (None, _) => true,
        (Some(Component::AnyDepth), None) => reach(i + 1, j),
        (Some(_), None) => false,
        (Some(Component::AnyDepth), Some(_)) => reach(i + 1, j) || reach(i, j + 1),
        (Some(_), Some(Component::AnyDepth)) => reach(i, j + 1) || reach(i + 1, j),
        (Some(a), Some(b)) => components_overlap(a, b) && reach(i + 1, j + 1),
    })
}

/// Whether everything that `narrow` covers is provably covered by `wide`. May say no where it is
/// so, never yes where it is not.
pub fn path_covers(wide: &PathPattern, narrow: &PathPattern) -> bool {
    if wide.base != narrow.base {
        return false;
    }
    if wide.exact {
        return narrow.exact && wide.components == narrow.components && literal(&narrow.components);
    }
    let Some((wide, narrow)) = after_literals(&wide.components, &narrow.components) else { return false };
    table(wide.len(), narrow.len(), |reach, i, j| match (wide.get(i), narrow.get(j)) {
        (None, _) => true,
        (Some(Component::AnyDepth), None) => reach(i + 1, j),
        (Some(_), None) => false,
        (Some(Component::AnyDepth), Some(_)) => reach(i + 1, j) || reach(i, j + 1),
        (Some(a), Some(b)) => component_covers(a, b) && reach(i + 1, j + 1),
    })
}

/// The same for names of environment variables. No wildcard covers the name of a secret.
pub fn env_covers(wide: &EnvPattern, narrow: &EnvPattern) -> bool {
    let secret = matches!(narrow.0.as_slice(), [Some(name)] if is_secret_env(name));
    glob_covers(&wide.0, &narrow.0) && (!secret || wide.0.iter().all(Option::is_some))
}

/// Words by which variables that hold a secret are named.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "COOKIE",
    "_KEY",
    "APIKEY",
    "_AUTH",
    "_PAT",
    "_DSN",
    "DATABASE_URL",
    "WEBHOOK",
];

/// Whether a variable is named as those are that hold a secret, such as `GITHUB_TOKEN`: a grant must name
/// it in full, wildcards leave it out.
pub fn is_secret_env(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| match word.strip_prefix('_') {
        // `_KEY` ends a word: `API_KEY` and `SSH_KEY_FILE`, not `KEYBOARD`.
        Some(_) => name.split(|byte| *byte == b'_').any(|part| part == &word.as_bytes()[1..]),
        None => find(&name, word.as_bytes()).is_some(),
    })
}

fn is_literal(component: &Component) -> bool {
    matches!(component, Component::Literal(_))
}

/// Whether nothing in the components is a wildcard.
pub fn literal(components: &[Component]) -> bool {
    components.iter().all(is_literal)
}

/// The leading components that are no wildcards.
pub fn literal_prefix(components: &[Component]) -> &[Component] {
    let end = components.iter().position(|component| !is_literal(component)).unwrap_or(components.len());
    &components[..end]
}

/// Whether the pattern covers a path given as components. For tests and rare questions: the
/// decider has its own, faster way, and a property test compares the two.
pub fn covers_path(pattern: &PathPattern, path: &[&[u8]]) -> bool {
    let components = &pattern.components;
    table(components.len(), path.len(), |reach, i, j| match (components.get(i), path.get(j)) {
        (None, None) => true,
        (None, Some(_)) => !pattern.exact,
        (Some(Component::AnyDepth), None) => reach(i + 1, j),
        (Some(_), None) => false,
        (Some(Component::AnyDepth), Some(_)) => reach(i + 1, j) || reach(i, j + 1),
        (Some(component), Some(name)) => component_matches(component, name) && reach(i + 1, j + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Vec<Option<Vec<u8>>> {
        let mut pieces = Vec::new();
        for (i, run) in text.split('*').enumerate() {
            if i > 0 {
                pieces.push(None);
            }
            if !run.is_empty() {
                pieces.push(Some(run.as_bytes().to_vec()));
            }
        }
        pieces
    }

    fn path(text: &str) -> Vec<Component> {
        text.split('/')
            .filter(|part| !part.is_empty())
            .map(|part| match part {
                "**" => Component::AnyDepth,
                _ if part.contains('*') => Component::Glob(glob(part)),
                _ => Component::Literal(part.as_bytes().to_vec()),
            })
            .collect()
    }

    #[test]
    fn names_match_whole() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonx", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "ab", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("*a*", "bab", true),
            ("x", "xx", false),
        ] {
            assert_eq!(glob_matches(&glob(pattern), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(glob_matches(&glob("*"), b"\xff\n\0"));
    }

    #[test]
    fn overlap_and_cover_of_names() {
        assert!(globs_overlap(&glob("a*"), &glob("*b")));
        assert!(!globs_overlap(&glob("a*"), &glob("b*")));
        assert!(globs_overlap(&glob("*.rs"), &glob("build*")));
        assert!(glob_covers(&glob("*"), &glob("a*b")));
        assert!(glob_covers(&glob("a*"), &glob("ab*")));
        assert!(!glob_covers(&glob("ab*"), &glob("a*")));
        assert!(!glob_covers(&glob("*a"), &glob("a*")));
    }

    #[test]
    fn containment_sees_through_globs() {
        for (outer, inner, expected) in [
            ("/p", "/p/.git", true),
            ("/p/*", "/p/.git", true),
            ("/p/**", "/p/.git", true),
            ("/p/**/config", "/p/.git", false),
            ("/p/**/.git", "/p/.git", true),
            ("/", "/etc", true),
            ("/**", "/etc", true),
            ("/p/.git/hooks", "/p/.git", false),
            ("/home/*/.ssh", "/home/u/.ssh", true),
            ("/p/out", "/p/output", false),
            ("/home/u/.a", "/home/u/.*", true),
        ] {
            assert_eq!(may_contain(&path(outer), &path(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let wide: Vec<Option<Vec<u8>>> = (0..200).flat_map(|_| [None, Some(b"a".to_vec())]).collect();
        let name = vec![b'a'; 100_000];
        assert!(glob_matches(&wide, &name));
        let mut long = path("/");
        for _ in 0..60 {
            long.extend([Component::AnyDepth, Component::Literal(b"a".to_vec())]);
        }
        let deep = vec![b"a".as_slice(); 2000];
        let mut narrow = long.clone();
        narrow.push(Component::Literal(b"b".to_vec()));
        let pattern = PathPattern::of(narrow);
        assert!(!covers_path(&pattern, &deep));
    }
}

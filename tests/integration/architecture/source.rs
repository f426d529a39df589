//! Reading Rust sources as far as the rules need it.
#![allow(unreachable_pub, reason = "it is the root's own")]

/// A Rust file with comments and literals blanked.
pub struct Source {
    /// Relative to the project, with `/`.
    pub path: String,
    /// The blanked text.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: blank(text) }
    }

    /// `policy` for `src/policy/model.rs` and `src/policy/mod.rs`; `bin` for the binaries; none for `lib.rs` and tests.
    pub fn module(&self) -> Option<&str> {
        if let Some((krate, _)) = self.path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"))
        {
            return Some(krate);
        }
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
        (module != "lib").then_some(module)
    }

    /// The same with a member of the workspace as a room of `src`, as far as its own imports go.
    pub fn as_room(&self) -> Self {
        let code = match self.path.strip_prefix("crates/").and_then(|path| path.split_once("/src/")) {
            Some((krate, inside)) => {
                let path = format!(
                    "src/{krate}/{}",
                    inside
                        .strip_suffix("lib.rs")
                        .map_or(inside.to_owned(), |folder| format!("{folder}mod.rs"))
                );
                return Self { path, code: self.code.replace("crate::", &format!("crate::{krate}::")) };
            }
            None => self.code.clone(),
        };
        Self { path: self.path.clone(), code }
    }

    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
    }
}

/// Replaces comments and the contents of string and character literals by spaces; line breaks stay.
pub fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let identifier = |c: char| c.is_alphanumeric() || c == '_';
    while i < chars.len() {
        let end = if at(i) == '/' && at(i + 1) == '/' {
            (i..chars.len()).find(|end| at(*end) == '\n').unwrap_or(chars.len())
        } else if at(i) == '/' && at(i + 1) == '*' {
            let (mut depth, mut end) = (1, i + 2);
            while end < chars.len() && depth > 0 {
                match (at(end), at(end + 1)) {
                    ('/', '*') => (depth, end) = (depth + 1, end + 2),
                    ('*', '/') => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
            }
            end
        } else if matches!(at(i), 'r' | 'b' | 'c')
            && (i == 0 || !identifier(at(i - 1)))
            && raw_end(&chars, i).is_some()
        {
            raw_end(&chars, i).expect("just asked")
        } else if at(i) == '"' {
            quoted_end(&chars, i, '"')
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            quoted_end(&chars, i, '\'')
        } else {
            out.push(at(i));
            i += 1;
            continue;
        };
        out.extend((i..end.min(chars.len())).map(|i| if at(i) == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

/// The end of the raw string literal that starts at `i` (`r"…"`, `br#"…"#`), if one does.
fn raw_end(chars: &[char], mut i: usize) -> Option<usize> {
    if chars[i] != 'r' {
        i += 1;
    }
    if chars.get(i) != Some(&'r') {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    let start = i + 1 + hashes;
    if chars.get(start) != Some(&'"') {
        return None;
    }
    let closes = |end: &usize| {
        chars[*end] == '"' && chars[*end + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (start + 1..chars.len()).find(closes).map(|end| end + 1 + hashes)
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Every module of the crate that the code names as `crate::NAME`, alone or in a `use crate::{…}`.
pub fn imported(code: &str) -> Vec<String> {
    let compact: String =
        code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::").replace(":: ", "::");
    let mut found = Vec::new();
    for prefix in ["crate::", "cargo_sandbox::"] {
        for (start, _) in compact.match_indices(prefix) {
            let before = compact[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &compact[start + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0;
                let mut name = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        name.push(c);
                    }
                }
                found.extend(name.split(',').map(first_name));
            } else {
                found.push(first_name(rest));
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

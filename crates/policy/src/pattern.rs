//! The syntax of entries: `assets/*.json`, `{home}/.config`, `a[*]b`.
//!
//! `*` stands for any characters within a component and `**` for any components. `[*]`, `[?]` and
//! `[[]` stand for the bracketed character, `{{` and `}}` for braces.

use super::model::{Component, EnvPattern, PathBase, PathPattern, literals};
use super::places::{Places, bytes};
use std::fmt;

/// More components than that are refused.
const MAX_COMPONENTS: usize = 128;
/// More `**` in one pattern than that are refused.
const MAX_ANY_DEPTH: usize = 8;
/// Longer entries than that are refused; the kernel's own limit for a path.
const MAX_LENGTH: usize = 4096;

/// What an entry starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Package,
    Workspace,
    TargetDir,
    Home,
    Tmp,
}

impl Variable {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("package", Self::Package),
        ("workspace", Self::Workspace),
        ("target-dir", Self::TargetDir),
        ("home", Self::Home),
        ("tmp", Self::Tmp),
    ];
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Stable short name.
    pub code: &'static str,
    /// What is wrong, lower case.
    pub message: String,
    /// What to write instead, or empty.
    pub help: String,
}

impl PatternError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: "bad-pattern", message: message.into(), help: help.into() }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Parses a path entry. Relative ones start from `relative_to`.
///
/// # Errors
/// Anything the syntax does not know, and `..` that leads above where it may.
pub(super) fn parse_path(
    text: &str,
    places: &Places,
    relative_to: &[u8],
) -> Result<PathPattern, PatternError> {
    common_mistakes(text)?;
    let (variable, rest) = leading_variable(text)?;
    let mut base = PathBase::Root;
    let mut components = Vec::new();
    match variable {
        Some(Variable::Tmp) => base = PathBase::Tmp,
        Some(Variable::Package) => components = literals(bytes(&places.package)),
        Some(Variable::Workspace) => components = literals(bytes(&places.workspace)),
        Some(Variable::TargetDir) => components = literals(bytes(&places.target_dir)),
        Some(Variable::Home) => match &places.home {
            Some(home) => components = literals(bytes(home)),
            None => {
                return Err(PatternError {
                    code: "unknown-variable",
                    message: "`{home}` has no meaning here: there is no home directory".to_owned(),
                    help: "set `HOME`".to_owned(),
                });
            }
        },
        None if text.starts_with('/') => {}
        None => components = literals(relative_to),
    }
    // A relative entry may climb above the package; one with a variable stays beneath it.
    let floor = if variable.is_some() { components.len() } else { 0 };
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if components.len() <= floor {
                    return Err(PatternError::new(
                        format!("`..` in `{}` leads above its beginning", shown(text)),
                        "",
                    ));
                }
                if components.pop().is_some_and(|last| !matches!(last, Component::Literal(_))) {
                    return Err(PatternError::new(
                        format!("`..` after a wildcard in `{}`", shown(text)),
                        "write the path without `..`",
                    ));
                }
            }
            "**" if components.last() == Some(&Component::AnyDepth) => {}
            _ => components.push(parse_component(part)?),
        }
        if components.len() > MAX_COMPONENTS + floor {
            return Err(PatternError::new(format!("more than {MAX_COMPONENTS} components"), ""));
        }
    }
    if components.iter().filter(|component| **component == Component::AnyDepth).count() > MAX_ANY_DEPTH {
        return Err(PatternError::new(format!("more than {MAX_ANY_DEPTH} `**` in one entry"), ""));
    }
    // What is beneath a match is covered anyway, so a final `**` would say nothing.
    if components.last() == Some(&Component::AnyDepth) {
        components.pop();
    }
    Ok(PathPattern { base, components, exact: false })
}

/// Parses the name of an environment variable, in which `*` may stand anywhere.
///
/// # Errors
/// Anything the syntax does not know, and characters that no name holds.
pub(super) fn parse_env(text: &str) -> Result<EnvPattern, PatternError> {
    common_mistakes(text)?;
    if text.contains('=') {
        return Err(PatternError::new(
            format!("the name of an environment variable cannot contain `=`: `{}`", shown(text)),
            "values are given in `env.set`",
        ));
    }
    if text.contains("**") {
        return Err(PatternError::new("`**` in the name of an environment variable", "use a single `*`"));
    }
    pieces(text).map(EnvPattern)
}

/// Parses the `name` of a test case: `*` stands for any characters.
///
/// # Errors
/// As for [`parse_env`].
pub(super) fn parse_name(text: &str) -> Result<Vec<Option<Vec<u8>>>, PatternError> {
    common_mistakes(text)?;
    pieces(text)
}

/// The path that literal components name.
pub(super) fn joined(components: &[Component]) -> Vec<u8> {
    let mut path = Vec::new();
    for component in components {
        if let Component::Literal(name) = component {
            path.push(b'/');
            path.extend_from_slice(name);
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Writes a literal in the syntax of entries, so that it means itself.
pub fn escape(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len());
    for c in literal.chars() {
        match c {
            '*' => escaped.push_str("[*]"),
            '?' => escaped.push_str("[?]"),
            '[' => escaped.push_str("[[]"),
            '{' => escaped.push_str("{{"),
            '}' => escaped.push_str("}}"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An entry as it may be repeated in a message: short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(100).flat_map(escape_control).collect();
    if text.chars().nth(100).is_some() {
        shown.push('…');
    }
    shown
}

fn escape_control(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}

fn common_mistakes(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError {
            code: "empty-entry",
            message: "an entry cannot be empty".to_owned(),
            help: "write `.` for the package root".to_owned(),
        });
    }
    if text.len() > MAX_LENGTH {
        return Err(PatternError::new(format!("an entry longer than {MAX_LENGTH} bytes"), ""));
    }
    if text.contains('\0') {
        return Err(PatternError::new("an entry cannot contain a NUL character", ""));
    }
    Ok(())
}

fn leading_variable(text: &str) -> Result<(Option<Variable>, &str), PatternError> {
    if !text.starts_with('{') || text.starts_with("{{") {
        return Ok((None, text));
    }
    let Some(end) = text.find('}') else {
        return Err(PatternError::new(
            format!("`{{` without `}}` in `{}`", shown(text)),
            "a literal brace is written `{{`",
        ));
    };
    let name = &text[1..end];
    let Some((_, variable)) = Variable::ALL.iter().find(|(known, _)| *known == name) else {
        let known = Variable::ALL.map(|(name, _)| name);
        return Err(PatternError {
            code: "unknown-variable",
            message: format!("unknown variable `{{{}}}`", shown(name)),
            help: match super::words::nearest(name, &known) {
                Some(nearest) => format!("did you mean `{{{nearest}}}`?"),
                None => {
                    "known are `{package}`, `{workspace}`, `{target-dir}`, `{home}` and `{tmp}`".to_owned()
                }
            },
        });
    };
    let rest = &text[end + 1..];
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(PatternError::new(
            format!("`{{{name}}}` must be followed by `/` or by nothing"),
            format!("write `{{{name}}}/…`"),
        ));
    }
    Ok((Some(*variable), rest))
}

fn parse_component(part: &str) -> Result<Component, PatternError> {
    if part == "**" {
        return Ok(Component::AnyDepth);
    }
    if part.contains("**") && !part.contains("[*]") {
        return Err(PatternError::new(
            format!("`**` must be a component of its own, not part of `{}`", shown(part)),
            "write `*` for any characters within a name, `**/` for any directories",
        ));
    }
    let mut pieces = pieces(part)?;
    Ok(match pieces.as_mut_slice() {
        [Some(name)] => Component::Literal(std::mem::take(name)),
        _ => Component::Glob(pieces),
    })
}

/// Splits a name into literal runs and stars.
fn pieces(text: &str) -> Result<Vec<Option<Vec<u8>>>, PatternError> {
    let mut pieces: Vec<Option<Vec<u8>>> = Vec::new();
    let mut run = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let literal = ["[*]", "[?]", "[[]", "{{", "}}"].into_iter().find(|escape| rest.starts_with(escape));
        if let Some(escape) = literal {
            let at = usize::from(escape.len() == 3);
            run.push(escape.as_bytes()[at]);
            rest = &rest[escape.len()..];
            continue;
        }
        match c {
            '*' => {
                if !run.is_empty() {
                    pieces.push(Some(std::mem::take(&mut run)));
                }
                if pieces.last() == Some(&None) {
                    return Err(PatternError::new(
                        format!("`**` must be a component of its own, not part of `{}`", shown(text)),
                        "write `*` for any characters within a name",
                    ));
                }
                pieces.push(None);
            }
            '?' => {
                return Err(PatternError::new(
                    format!("`?` is no wildcard here: `{}`", shown(text)),
                    "use `*`, or `[?]` for a question mark",
                ));
            }
            '[' => {
                return Err(PatternError::new(
                    format!("sets of characters are not supported: `{}`", shown(text)),
                    "use `*`, or `[[]` for a bracket",
                ));
            }
            '{' => {
                return Err(PatternError::new(
                    format!("a variable can only stand at the beginning: `{}`", shown(text)),
                    "a literal brace is written `{{`; alternatives are entries of their own",
                ));
            }
            '}' => {
                return Err(PatternError::new(
                    format!("`}}` without `{{` in `{}`", shown(text)),
                    "a literal brace is written `}}`",
                ));
            }
            c => run.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[c.len_utf8()..];
    }
    if !run.is_empty() {
        pieces.push(Some(run));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            package: "/w/p".into(),
            workspace: "/w".into(),
            target_dir: "/w/target".into(),
            home: Some("/home/u".into()),
            ..Places::default()
        }
    }

    fn parse(text: &str) -> Result<PathPattern, PatternError> {
        parse_path(text, &places(), b"/w/p")
    }

    fn path(text: &str) -> Vec<u8> {
        joined(&parse(text).unwrap().components)
    }

    #[test]
    fn relative_absolute_and_variables() {
        assert_eq!(path("assets/"), b"/w/p/assets");
        assert_eq!(path("."), b"/w/p");
        assert_eq!(path("./a//b/./c"), b"/w/p/a/b/c");
        assert_eq!(path("../shared"), b"/w/shared");
        assert_eq!(path("/etc/../usr"), b"/usr");
        assert_eq!(path("/"), b"/");
        assert_eq!(path("{home}/.config"), b"/home/u/.config");
        assert_eq!(path("{target-dir}"), b"/w/target");
        assert_eq!(path("{workspace}/x"), b"/w/x");
        assert_eq!(path("a[*]b[?]c[[]d]"), b"/w/p/a*b?c[d]");
        assert_eq!(path("{{home}}"), b"/w/p/{home}");
        let tmp = parse("{tmp}/x").unwrap();
        assert_eq!((tmp.base, tmp.components.len()), (PathBase::Tmp, 1));
    }

    #[test]
    fn a_final_any_depth_says_nothing_more_than_its_directory() {
        assert_eq!(parse("a/**").unwrap(), parse("a").unwrap());
        assert_eq!(parse("a/**/**/b").unwrap(), parse("a/**/b").unwrap());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("", "an entry cannot be empty"),
            ("a\0b", "an entry cannot contain a NUL character"),
            ("**.rs", "`**` must be a component of its own, not part of `**.rs`"),
            ("a?", "`?` is no wildcard here: `a?`"),
            ("[ab]", "sets of characters are not supported: `[ab]`"),
            ("{hoem}/x", "unknown variable `{hoem}`"),
            ("{home", "`{` without `}` in `{home`"),
            ("{home}x", "`{home}` must be followed by `/` or by nothing"),
            ("x/{home}", "a variable can only stand at the beginning: `{home}`"),
            ("a}", "`}` without `{` in `a}`"),
            ("{tmp}/..", "`..` in `{tmp}/..` leads above its beginning"),
            ("{package}/../x", "`..` in `{package}/../x` leads above its beginning"),
            ("../../../x", "`..` in `../../../x` leads above its beginning"),
            ("/..", "`..` in `/..` leads above its beginning"),
            ("**/..", "`..` after a wildcard in `**/..`"),
            ("*/../x", "`..` after a wildcard in `*/../x`"),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message, "{text}");
        }
        assert_eq!(parse("{hoem}").unwrap_err().help, "did you mean `{home}`?");
        assert!(parse(&"a/".repeat(200)).is_err());
        assert!(parse(&"**/a/".repeat(9)).is_err());
        assert!(parse(&"a".repeat(5000)).is_err());
    }

    #[test]
    fn what_is_escaped_means_itself() {
        for name in ["**", "{home}", "a[b]c", "what?", "}}{{", "[*]", "*"] {
            assert_eq!(
                parse(&escape(name)).unwrap().components.last(),
                Some(&Component::Literal(name.as_bytes().to_vec())),
                "{name}"
            );
        }
    }

    #[test]
    fn names_of_variables() {
        assert_eq!(parse_env("APP_*").unwrap().0, [Some(b"APP_".to_vec()), None]);
        assert!(parse_env("A=B").is_err());
        assert!(parse_env("**").is_err());
    }
}

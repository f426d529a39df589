//! Files of one room that import each other, in a circle: neither can be read without the other.

use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;

/// A path that a file names, from the crate's root on.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: Path,
    /// It is re-exported by name from a `mod.rs`, which is no import: who takes it from there imports the file that
    /// it comes from.
    reexported: bool,
}

/// The circles of files in the rooms of `src`, each in order. Test code may import what it tries out.
pub(super) fn circles(sources: &[Source]) -> Vec<Vec<&str>> {
    let files: BTreeMap<Path, &Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !source.path.split('/').any(is_test))
        .map(|source| (module_of(&source.path), source))
        .collect();
    let mut reexports = BTreeMap::new();
    let mut named = BTreeMap::new();
    for (module, source) in &files {
        let all = names(module, source, &|path| files.contains_key(path));
        for one in all.iter().filter(|one| one.reexported) {
            let name = one.path.last().expect("a path has a name");
            reexports.insert([&module[..], std::slice::from_ref(name)].concat(), one.path.clone());
        }
        named.insert(module, all);
    }
    let mut reach: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (module, all) in &named {
        let imported = all.iter().filter(|one| !one.reexported);
        let imported = imported.filter_map(|one| file_of(&one.path, &files, &reexports));
        reach.insert(*module, imported.filter(|other| other != module && other[0] == module[0]).collect());
    }
    // What is reached in any number of steps.
    loop {
        let further: BTreeMap<&Path, BTreeSet<&Path>> = reach
            .iter()
            .map(|(module, others)| {
                let next = others.iter().flat_map(|other| &reach[other]);
                (*module, others.iter().chain(next).copied().collect())
            })
            .collect();
        if further == reach {
            break;
        }
        reach = further;
    }
    let circles: BTreeSet<Vec<&str>> = reach
        .iter()
        .filter(|(module, others)| others.contains(*module))
        .map(|(module, others)| {
            let back = others.iter().filter(|other| reach[**other].contains(module));
            let mut paths: Vec<_> = back.map(|module| files[*module].path.as_str()).collect();
            paths.sort_unstable();
            paths
        })
        .collect();
    circles.into_iter().collect()
}

fn is_test(part: &str) -> bool {
    part == "tests" || part == "tests.rs"
}

fn module_of(path: &str) -> Path {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').map(str::to_owned).collect()
}

/// The file that a path leads into: where its module is, or where that has it from.
fn file_of<'f>(
    path: &[String],
    files: &'f BTreeMap<Path, &Source>,
    reexports: &BTreeMap<Path, Path>,
) -> Option<&'f Path> {
    let length = (1..=path.len()).rev().find(|length| files.contains_key(&path[..*length]))?;
    let taken = &path[..path.len().min(length + 1)];
    match reexports.get(taken).filter(|from| taken.len() > length && *from != taken) {
        Some(from) => file_of(&[from, &path[taken.len()..]].concat(), files, reexports),
        None => files.get_key_value(&path[..length]).map(|(module, _)| module),
    }
}

/// What a file names of this crate: by `crate`, `self` and `super`, and by its own modules.
fn names(module: &[String], source: &Source, is_file: &dyn Fn(&[String]) -> bool) -> Vec<Named> {
    let code = source.code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let tokens = tokens(code);
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut inner = Vec::new();
    let (mut found, mut depth, mut i) = (Vec::new(), 0, 0);
    while i < tokens.len() {
        let mut here = module.to_vec();
        here.extend(inner.iter().map(|(name, _): &(String, usize)| name.clone()));
        let mut name = |path: &[String], public: bool| {
            let Some(path) = absolute(&here, path, is_file) else { return };
            let by_name = path.last().is_some_and(|name| name != "*");
            let reexported = public && by_name && source.path.ends_with("/mod.rs");
            found.push(Named { path, reexported });
        };
        match at(i) {
            "mod" if at(i + 2) == "{" => {
                inner.push((at(i + 1).to_owned(), depth));
                depth += 1;
                i += 3;
            }
            "use" if at(i + 1) != "<" => {
                let end = (i..tokens.len()).find(|end| at(*end) == ";").unwrap_or(tokens.len());
                let public = i > 0 && matches!(at(i - 1), "pub" | ")");
                for path in leaves(&tokens[i + 1..end]) {
                    name(&path, public);
                }
                i = end + 1;
            }
            word if is_word(word) && at(i + 1) == "::" && (i == 0 || !matches!(at(i - 1), "::" | "in")) => {
                let mut path = vec![word.to_owned()];
                i += 1;
                while at(i) == "::" && is_word(at(i + 1)) {
                    path.push(at(i + 1).to_owned());
                    i += 2;
                }
                name(&path, false);
            }
            other => {
                depth = depth + usize::from(other == "{") - usize::from(other == "}");
                if inner.last().is_some_and(|(_, outside)| *outside == depth) {
                    inner.pop();
                }
                i += 1;
            }
        }
    }
    found
}

/// From the crate's root on; `None` for what is not this crate's.
fn absolute(here: &[String], path: &[String], is_file: &dyn Fn(&[String]) -> bool) -> Option<Path> {
    let mut base = match path[0].as_str() {
        "crate" => Vec::new(),
        "self" | "super" => here.to_vec(),
        first => {
            let child = [here, &[first.to_owned()]].concat();
            return is_file(&child).then(|| [here, path].concat());
        }
    };
    let mut rest = path;
    while let [first, others @ ..] = rest
        && ["crate", "self", "super"].contains(&first.as_str())
    {
        if first == "super" {
            base.pop();
        }
        rest = others;
    }
    let path = [base, rest.to_vec()].concat();
    (!path.is_empty()).then_some(path)
}

/// Every path of the tree of a `use`; a new name for it is left out.
fn leaves(tree: &[String]) -> Vec<Path> {
    let end = tree.iter().position(|token| token == "{" || token == "as").unwrap_or(tree.len());
    let start: Path = tree[..end].iter().filter(|token| *token != "::").cloned().collect();
    if tree.get(end).is_none_or(|token| token == "as") {
        return if start.is_empty() { Vec::new() } else { vec![start] };
    }
    let (mut found, mut depth, mut from) = (Vec::new(), 0, end + 1);
    for (i, token) in tree.iter().enumerate().skip(end) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if (depth == 1 && token == ",") || depth == 0 {
            found.extend(leaves(&tree[from..i]).into_iter().map(|rest| [&start[..], &rest].concat()));
            from = i + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Words, `::`, and single other characters.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
            }
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        found.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    found
}

/// On code that goes in a circle and on code that only seems to.
mod the_checker {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&sources)
            .iter()
            .map(|circle| circle.iter().map(|path| (*path).to_owned()).collect())
            .collect()
    }

    #[test]
    fn sees_circles_by_every_kind_of_path() {
        let pair = [["src/r/a.rs", "src/r/b.rs"]];
        for (a, b) in [
            ("use super::b::B;", "use crate::r::a::A;"),
            ("use super::{c::C, b::{self, B}};", "fn f() -> super::a::A {}"),
            ("use super::b as other;", "use crate::{r::a::*};"),
            // By what the room says of it.
            ("use super::B;", "use super::a;"),
        ] {
            let room = ("src/r/mod.rs", "mod a; mod b; pub use b::B;");
            assert_eq!(found(&[room, ("src/r/a.rs", a), ("src/r/b.rs", b)]), pair, "{a} {b}");
        }
        let parent = ("src/r/mod.rs", "mod a; fn f() { a::g() }");
        assert_eq!(found(&[parent, ("src/r/a.rs", "use super::f;")]), [["src/r/a.rs", "src/r/mod.rs"]]);
        let three = [
            ("src/r/a.rs", "use super::b;"),
            ("src/r/b.rs", "use super::c::{d, e};"),
            ("src/r/c.rs", "use super::a;"),
        ];
        assert_eq!(found(&three), [["src/r/a.rs", "src/r/b.rs", "src/r/c.rs"]]);
    }

    #[test]
    fn sees_none_where_there_is_none() {
        let room = ("src/r/mod.rs", "mod a; mod b; pub use a::A; pub(crate) use b::B; pub struct S;");
        for (a, b) in [
            ("use super::b::B; use super::S;", "use super::S;"),
            ("use super::b::B;", "// use super::a;\nuse crate::other::a;"),
            ("use super::b::B;", "mod inner { use super::super::b; }"),
            ("use super::b::B;", "#[cfg(test)]\nmod tests { use super::super::a; }"),
        ] {
            assert_eq!(
                found(&[room, ("src/r/a.rs", a), ("src/r/b.rs", b)]),
                Vec::<Vec<String>>::new(),
                "{a} {b}"
            );
        }
    }
}

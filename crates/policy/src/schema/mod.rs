//! The manifest as written: tables and entries with the places they stand at, nothing resolved.
//! Every key that is not known and every value of a wrong type is found here.

mod entries;
mod raw;

pub(super) use raw::{RawEntry, RawManifest, RawSandbox};

use super::document::{self, Key, Value};
use super::limits::{LIMITS, LimitsPatch, Parse};
use super::model::Scope;
use super::pattern::shown;
use super::words::nearest;
use crate::access::Key as EntryKey;
use crate::diagnostic::{Diagnostic, SourceFile};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// More entries in one manifest than that are refused.
const MAX_ENTRIES: usize = 20_000;

/// Where the tables are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A `Cargo.toml`.
    Manifest,
    /// A file of its own: the same tables at the top, unless it looks like a `Cargo.toml`.
    Standalone,
}

/// Reads a manifest. All mistakes go to `out`; what could be read is returned.
pub(super) fn read(file: &Arc<SourceFile>, form: Form, out: &mut Vec<Diagnostic>) -> RawManifest {
    let mut manifest = RawManifest::default();
    let root = match document::parse(file) {
        Ok(root) => root,
        Err(error) => {
            out.push(error);
            return manifest;
        }
    };
    let mut reader = Reader { file, lines: line_starts(&file.text), column: (0, 0, 0), entries: 0, out };
    if form == Form::Standalone && !root.contains_key("package") && !root.contains_key("workspace") {
        manifest.package = Some(reader.sandbox(&root, ""));
        return manifest;
    }
    if let Some(name) =
        root.get("package").and_then(|package| package.get_ref().get("name")?.get_ref().as_str())
    {
        name.clone_into(&mut manifest.name);
    }
    manifest.package = reader.find(&root, "package");
    manifest.workspace = reader.find(&root, "workspace");
    manifest
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
        .collect()
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    lines: Vec<usize>,
    /// A line, a place in it, and the characters before that: the next entry is seldom far from the last.
    column: (usize, usize, usize),
    entries: usize,
    out: &'a mut Vec<Diagnostic>,
}

fn dotted(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Whether it is written with headers (`[[x]]`), the first of which is the place of the whole.
fn has_headers(value: &Value<'_>) -> bool {
    value.get_ref().get(0).is_some_and(|first| first.span() == value.span())
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, message: impl Into<String>, range: Range<usize>) {
        self.out.push(Diagnostic::error(code, message).at(self.file, range, ""));
    }

    fn wrong_type(&mut self, name: &str, expected: &str, value: &Value<'_>) {
        let mut range = value.span();
        if let (true, Some(last)) =
            (has_headers(value), value.get_ref().as_array().and_then(|all| all.last()))
        {
            range.end = last.span().end;
        }
        let message = format!("`{name}` must be {expected}, not {}", self.kind(value));
        self.error("wrong-type", message, range);
    }

    /// What a value is, with an article.
    fn kind(&self, value: &Value<'_>) -> String {
        match value.get_ref() {
            DeValue::Table(_) if self.file.text[value.span()].starts_with('{') => {
                "an inline table".to_owned()
            }
            DeValue::Array(_) if has_headers(value) => "an array of tables".to_owned(),
            kind @ (DeValue::Array(_) | DeValue::Integer(_)) => format!("an {}", kind.type_str()),
            kind => format!("a {}", kind.type_str()),
        }
    }

    fn unknown(&mut self, key: &Key<'_>, name: &str, known: &[&str]) {
        let place = if name.is_empty() { String::new() } else { format!(" in `{name}`") };
        let word = key.get_ref();
        let mut diagnostic = Diagnostic::error(
            "unknown-key",
            format!("unknown key `{}`{place}", shown(word)),
        )
        .at(self.file, key.span(), "");
        if let Some(nearest) = nearest(word, known) {
            diagnostic = diagnostic.help(format!("did you mean `{nearest}`?"));
        } else if EntryKey::of_table("fs").any(|fs| fs.name() == word) && known.contains(&"fs") {
            diagnostic = diagnostic.help(format!("did you mean `fs.{word}`?"));
        } else {
            let list: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            diagnostic = diagnostic.note(format!("known are {}", list.join(", ")));
        }
        self.out.push(diagnostic);
    }

    fn table<'v, 't>(&mut self, name: &str, expected: &str, value: &'v Value<'t>) -> Option<&'v DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(name, expected, value);
        }
        table
    }

    fn string<'v>(&mut self, name: &str, expected: &str, value: &'v Value<'_>) -> Option<&'v str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.wrong_type(name, expected, value);
        }
        string
    }

    fn find(&mut self, root: &DeTable<'_>, owner: &str) -> Option<RawSandbox> {
        let value = root.get(owner)?.get_ref().get("metadata")?.get_ref().get("sandbox")?;
        let name = format!("{owner}.metadata.sandbox");
        let table = self.table(&name, "a table", value)?;
        Some(self.sandbox(table, &name))
    }

    fn sandbox(&mut self, table: &DeTable<'_>, name: &str) -> RawSandbox {
        let mut raw = RawSandbox::default();
        let in_workspace = name.starts_with("workspace");
        let keys = ["workspace", "wasi", "fs", "env", "limits", "test", "bin", "example"];
        let keys = if in_workspace || name.is_empty() { &keys[1..] } else { &keys[..] };
        for (key, value) in table {
            match &**key.get_ref() {
                word @ "workspace" if keys.contains(&word) => match value.get_ref().as_bool() {
                    Some(true) => raw.inherits = Some(value.span()),
                    Some(false) => self.error("wrong-type", "`workspace` can only be `true`", value.span()),
                    None => self.wrong_type(word, "`true`", value),
                },
                "wasi" => match self.string("wasi", "`\"p1\"`", value) {
                    Some("p1") | None => {}
                    Some("p2") => self.not_supported("`wasi = \"p2\"`", value.span()),
                    Some(_) => self.error("wrong-type", "`wasi` must be `\"p1\"`", value.span()),
                },
                "test" => self.scoped(value, &dotted(name, "test"), &Scope::Test, &mut raw),
                word @ ("bin" | "example") => {
                    let targets = self.table(word, &format!("a table of {word}s"), value);
                    for (target, value) in targets.into_iter().flatten() {
                        let target = target.get_ref().clone().into_owned();
                        let full = format!("{}.{target}", dotted(name, word));
                        let scope = if word == "bin" { Scope::Bin(target) } else { Scope::Example(target) };
                        self.scoped(value, &full, &scope, &mut raw);
                    }
                }
                _ if self.section(key, value, name, &Scope::Always, &mut raw) => {}
                _ => self.unknown(key, name, keys),
            }
        }
        raw.limits.insert(0, (Scope::Always, LimitsPatch::default()));
        raw
    }

    fn not_supported(&mut self, what: &str, range: Range<usize>) {
        self.error("not-supported", format!("{what} is not supported yet"), range);
    }

    /// A table that holds `fs`, `env` and `limits` for a narrower scope.
    fn scoped(&mut self, value: &Value<'_>, name: &str, scope: &Scope, raw: &mut RawSandbox) {
        let Some(table) = self.table(name, "a table", value) else { return };
        raw.limits.push((scope.clone(), LimitsPatch::default()));
        let known: &[&str] =
            if *scope == Scope::Test { &["fs", "env", "limits", "case"] } else { &["fs", "env", "limits"] };
        for (key, value) in table {
            if key.get_ref() == "case" && *scope == Scope::Test {
                self.cases(key, value, &dotted(name, "case"), raw);
            } else if !self.section(key, value, name, scope, raw) {
                self.unknown(key, name, known);
            }
        }
    }

    fn cases(&mut self, key: &Key<'_>, value: &Value<'_>, name: &str, raw: &mut RawSandbox) {
        let tables = value.get_ref().as_array();
        let tables: Option<Vec<_>> =
            tables.and_then(|tables| tables.iter().map(|table| table.get_ref().as_table()).collect());
        let Some(tables) = tables else {
            return self.wrong_type(name, &format!("an array of tables (`[[{name}]]`)"), value);
        };
        for (index, case) in tables.into_iter().enumerate() {
            let Some(value) = case.get("name") else {
                let span = case.keys().next().unwrap_or(key).span();
                self.error("missing-name", format!("`[[{name}]]` needs a `name`"), span);
                continue;
            };
            let Some(pattern) = self.string("name", "a string", value) else { continue };
            if let Err(error) = super::pattern::parse_name(pattern) {
                self.error(error.code, error.message, value.span());
                continue;
            }
            let scope = Scope::Case { index: index as u32, name: pattern.to_owned() };
            raw.limits.push((scope.clone(), LimitsPatch::default()));
            for (key, value) in case.iter().filter(|(key, _)| key.get_ref() != "name") {
                if !self.section(key, value, name, &scope, raw) {
                    self.unknown(key, name, &["name", "fs", "env", "limits"]);
                }
            }
        }
    }

    /// Reads `fs`, `env`, `limits` or `net`; says whether `key` is one of them.
    fn section(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        name: &str,
        scope: &Scope,
        raw: &mut RawSandbox,
    ) -> bool {
        let section = &**key.get_ref();
        match section {
            "net" => {
                self.not_supported("`net`", key.span());
                return true;
            }
            "fs" | "env" | "limits" => {}
            _ => return false,
        }
        let full = dotted(name, section);
        let Some(table) = self.table(section, "a table", value) else { return true };
        if section == "limits" {
            self.limits(table, &full, scope, raw);
            return true;
        }
        let set = (section == "env").then_some("set");
        for (key, value) in table {
            let word = &**key.get_ref();
            match EntryKey::of_table(section).find(|known| known.name() == word) {
                Some(entry) => self.entries(word, value, &full, entry, scope, raw),
                None if Some(word) == set => self.set(value, scope, raw),
                None => {
                    let known = EntryKey::of_table(section).map(EntryKey::name).chain(set);
                    self.unknown(key, &full, &known.collect::<Vec<_>>());
                }
            }
        }
        true
    }

    fn set(&mut self, value: &Value<'_>, scope: &Scope, raw: &mut RawSandbox) {
        let Some(values) = self.table("set", "a table of strings", value) else { return };
        let mut set = BTreeMap::new();
        for (key, value) in values {
            let name = &**key.get_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{}` cannot name an environment variable", shown(name));
                self.error("bad-pattern", message, key.span());
            }
            match self.string(name, "a string", value) {
                Some(text) if text.contains('\0') => {
                    let message = "the value of an environment variable cannot contain a NUL character";
                    self.error("bad-pattern", message, value.span());
                }
                Some(text) => drop(set.insert(name.to_owned(), text.to_owned())),
                None => {}
            }
        }
        raw.set.push((scope.clone(), set));
    }

    fn limits(&mut self, table: &DeTable<'_>, full: &str, scope: &Scope, raw: &mut RawSandbox) {
        let mut patch = LimitsPatch::default();
        for (key, value) in table {
            let word = &**key.get_ref();
            let Some(limit) = LIMITS.iter().find(|limit| limit.key == word) else {
                let known: Vec<&str> = LIMITS.iter().map(|limit| limit.key).collect();
                self.unknown(key, full, &known);
                continue;
            };
            let number = match limit.unit.text() {
                Some((expected, parse)) => self.measure(word, value, expected, parse),
                None => self.number(word, value),
            };
            match number {
                Some(number) if (1..=limit.most).contains(&number) => (limit.set)(&mut patch, number),
                Some(_) => self.error("bad-limit", format!("`{word}` is out of range"), value.span()),
                None => {}
            }
        }
        raw.limits.push((scope.clone(), patch));
    }

    fn measure(&mut self, key: &str, value: &Value<'_>, expected: &str, parse: Parse) -> Option<u64> {
        parse(self.string(key, expected, value)?)
            .map_err(|message| self.error("bad-limit", format!("`{key}`: {message}"), value.span()))
            .ok()
    }

    fn number(&mut self, key: &str, value: &Value<'_>) -> Option<u64> {
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, "a whole number", value);
            return None;
        };
        // What is no such number is out of every range, as 0 is.
        Some(u64::from_str_radix(number.as_str(), number.radix()).unwrap_or(0))
    }
}

//! The manifest as written: tables and entries with the places they stand at, nothing resolved.
//! Every key that is not known and every value of a wrong type is found here.

mod entries;
mod raw;

pub(super) use raw::{RawEntry, RawManifest, RawSandbox};

use super::limits::{LIMITS, LimitsPatch, Parse};
use super::model::Scope;
use super::pattern::shown;
use super::words::{lower_first, nearest};
use crate::access::Key as EntryKey;
use crate::diagnostic::{Diagnostic, SourceFile};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{Document, Item, Key, TableLike, Value};

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
    let document = match Document::parse(file.text.as_str()) {
        Ok(document) => document,
        Err(error) => {
            let range = error.span().unwrap_or(0..0);
            out.push(Diagnostic::error("toml-syntax", lower_first(error.message())).at(file, range, ""));
            return RawManifest::default();
        }
    };
    let mut reader = Reader { file, lines: line_starts(&file.text), column: (0, 0, 0), entries: 0, out };
    let root = document.as_table();
    let mut manifest = RawManifest::default();
    if form == Form::Standalone && !root.contains_key("package") && !root.contains_key("workspace") {
        manifest.package = Some(reader.sandbox(root, ""));
        return manifest;
    }
    if let Some(name) = root.get("package").and_then(|package| package.get("name")).and_then(Item::as_str) {
        name.clone_into(&mut manifest.name);
    }
    manifest.package = reader.find(root, "package");
    manifest.workspace = reader.find(root, "workspace");
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

fn key_span(table: &dyn TableLike, key: &str) -> Range<usize> {
    table.get_key_value(key).and_then(|(key, _)| Key::span(key)).unwrap_or(0..0)
}

fn item_span(table: &dyn TableLike, key: &str) -> Range<usize> {
    table.get(key).and_then(Item::span).unwrap_or_else(|| key_span(table, key))
}

fn dotted(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, message: impl Into<String>, range: Range<usize>) {
        self.out.push(Diagnostic::error(code, message).at(self.file, range, ""));
    }

    fn wrong_type(&mut self, name: &str, expected: &str, table: &dyn TableLike, key: &str) {
        let found = table.get(key).map_or("nothing", Item::type_name);
        let message = format!("`{name}` must be {expected}, not {}", with_article(found));
        self.error("wrong-type", message, item_span(table, key));
    }

    fn unknown(&mut self, table: &dyn TableLike, key: &str, name: &str, known: &[&str]) {
        let place = if name.is_empty() { String::new() } else { format!(" in `{name}`") };
        let mut diagnostic = Diagnostic::error("unknown-key", format!("unknown key `{}`{place}", shown(key)))
            .at(self.file, key_span(table, key), "");
        if let Some(nearest) = nearest(key, known) {
            diagnostic = diagnostic.help(format!("did you mean `{nearest}`?"));
        } else if EntryKey::of_table("fs").any(|fs| fs.name() == key) && known.contains(&"fs") {
            diagnostic = diagnostic.help(format!("did you mean `fs.{key}`?"));
        } else {
            let list: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            diagnostic = diagnostic.note(format!("known are {}", list.join(", ")));
        }
        self.out.push(diagnostic);
    }

    fn find(&mut self, root: &dyn TableLike, owner: &str) -> Option<RawSandbox> {
        let metadata = root.get(owner)?.as_table_like()?.get("metadata")?.as_table_like()?;
        let name = format!("{owner}.metadata.sandbox");
        let item = metadata.get("sandbox")?;
        let Some(table) = item.as_table_like() else {
            self.wrong_type(&name, "a table", metadata, "sandbox");
            return None;
        };
        Some(self.sandbox(table, &name))
    }

    fn sandbox(&mut self, table: &dyn TableLike, name: &str) -> RawSandbox {
        let mut raw = RawSandbox::default();
        let in_workspace = name.starts_with("workspace");
        let keys = ["workspace", "wasi", "fs", "env", "limits", "test", "bin", "example"];
        let keys = if in_workspace || name.is_empty() { &keys[1..] } else { &keys[..] };
        for (key, item) in table.iter() {
            match key {
                "workspace" if keys.contains(&key) => match item.as_bool() {
                    Some(true) => raw.inherits = Some(item_span(table, key)),
                    Some(false) => {
                        self.error("wrong-type", "`workspace` can only be `true`", item_span(table, key));
                    }
                    None => self.wrong_type("workspace", "`true`", table, key),
                },
                "wasi" => match item.as_str() {
                    Some("p1") => {}
                    Some("p2") => self.not_supported("`wasi = \"p2\"`", item_span(table, key)),
                    Some(_) => {
                        self.error("wrong-type", "`wasi` must be `\"p1\"`", item_span(table, key));
                    }
                    None => self.wrong_type("wasi", "`\"p1\"`", table, key),
                },
                "test" => self.scoped(table, key, name, &Scope::Test, &mut raw),
                "bin" | "example" => {
                    let Some(targets) = item.as_table_like() else {
                        self.wrong_type(key, &format!("a table of {key}s"), table, key);
                        continue;
                    };
                    for (target, _) in targets.iter() {
                        let scope = match key {
                            "bin" => Scope::Bin(target.to_owned()),
                            _ => Scope::Example(target.to_owned()),
                        };
                        self.scoped(targets, target, &dotted(name, key), &scope, &mut raw);
                    }
                }
                _ if self.section(table, key, name, &Scope::Always, &mut raw) => {}
                _ => self.unknown(table, key, name, keys),
            }
        }
        raw.limits.insert(0, (Scope::Always, LimitsPatch::default()));
        raw
    }

    fn not_supported(&mut self, what: &str, range: Range<usize>) {
        self.error("not-supported", format!("{what} is not supported yet"), range);
    }

    /// A table that holds `fs`, `env` and `limits` for a narrower scope.
    fn scoped(
        &mut self,
        parent: &dyn TableLike,
        key: &str,
        parent_name: &str,
        scope: &Scope,
        raw: &mut RawSandbox,
    ) {
        let name = dotted(parent_name, key);
        let Some(table) = parent.get(key).and_then(Item::as_table_like) else {
            self.wrong_type(&name, "a table", parent, key);
            return;
        };
        raw.limits.push((scope.clone(), LimitsPatch::default()));
        let known: &[&str] =
            if *scope == Scope::Test { &["fs", "env", "limits", "case"] } else { &["fs", "env", "limits"] };
        for (key, _) in table.iter() {
            if key == "case" && *scope == Scope::Test {
                self.cases(table, &name, raw);
            } else if !self.section(table, key, &name, scope, raw) {
                self.unknown(table, key, &name, known);
            }
        }
    }

    fn cases(&mut self, table: &dyn TableLike, parent: &str, raw: &mut RawSandbox) {
        let name = dotted(parent, "case");
        let cases: Vec<&dyn TableLike> = match table.get("case") {
            Some(Item::ArrayOfTables(array)) => array.iter().map(|table| table as &dyn TableLike).collect(),
            Some(Item::Value(Value::Array(array))) if array.iter().all(Value::is_inline_table) => {
                array.iter().filter_map(Value::as_inline_table).map(|table| table as &dyn TableLike).collect()
            }
            _ => {
                self.wrong_type(&name, &format!("an array of tables (`[[{name}]]`)"), table, "case");
                return;
            }
        };
        let whole = key_span(table, "case");
        for (index, case) in cases.into_iter().enumerate() {
            let pattern = match case.get("name") {
                Some(Item::Value(Value::String(pattern))) => pattern.value().clone(),
                Some(_) => {
                    self.wrong_type("name", "a string", case, "name");
                    continue;
                }
                None => {
                    let span = case.iter().next().map_or(whole.clone(), |(key, _)| key_span(case, key));
                    self.error("missing-name", format!("`[[{name}]]` needs a `name`"), span);
                    continue;
                }
            };
            if let Err(error) = super::pattern::parse_name(&pattern) {
                self.error(error.code, error.message, item_span(case, "name"));
                continue;
            }
            let scope = Scope::Case { index: index as u32, name: pattern };
            raw.limits.push((scope.clone(), LimitsPatch::default()));
            for (key, _) in case.iter().filter(|(key, _)| *key != "name") {
                if !self.section(case, key, &name, &scope, raw) {
                    self.unknown(case, key, &name, &["name", "fs", "env", "limits"]);
                }
            }
        }
    }

    /// Reads `fs`, `env`, `limits` or `net`; says whether `key` is one of them.
    fn section(
        &mut self,
        parent: &dyn TableLike,
        key: &str,
        name: &str,
        scope: &Scope,
        raw: &mut RawSandbox,
    ) -> bool {
        let full = dotted(name, key);
        match key {
            "net" => {
                self.not_supported("`net`", key_span(parent, key));
                return true;
            }
            "fs" | "env" | "limits" => {}
            _ => return false,
        }
        let Some(table) = parent.get(key).and_then(Item::as_table_like) else {
            self.wrong_type(key, "a table", parent, key);
            return true;
        };
        match key {
            "limits" => self.limits(table, &full, scope, raw),
            section => {
                let set = (section == "env").then_some("set");
                for (key, _) in table.iter() {
                    match EntryKey::of_table(section).find(|known| known.name() == key) {
                        Some(entry) => self.entries(table, key, &full, entry, scope, raw),
                        None if Some(key) == set => self.set(table, scope, raw),
                        None => {
                            let known = EntryKey::of_table(section).map(EntryKey::name).chain(set);
                            self.unknown(table, key, &full, &known.collect::<Vec<_>>());
                        }
                    }
                }
            }
        }
        true
    }

    fn set(&mut self, table: &dyn TableLike, scope: &Scope, raw: &mut RawSandbox) {
        let Some(values) = table.get("set").and_then(Item::as_table_like) else {
            self.wrong_type("set", "a table of strings", table, "set");
            return;
        };
        let mut set = BTreeMap::new();
        for (name, item) in values.iter() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{}` cannot name an environment variable", shown(name));
                self.error("bad-pattern", message, key_span(values, name));
            }
            match item.as_str() {
                Some(value) if value.contains('\0') => {
                    let message = "the value of an environment variable cannot contain a NUL character";
                    self.error("bad-pattern", message, item_span(values, name));
                }
                Some(value) => drop(set.insert(name.to_owned(), value.to_owned())),
                None => self.wrong_type(name, "a string", values, name),
            }
        }
        raw.set.push((scope.clone(), set));
    }

    fn limits(&mut self, table: &dyn TableLike, full: &str, scope: &Scope, raw: &mut RawSandbox) {
        let mut patch = LimitsPatch::default();
        for (key, _) in table.iter() {
            let Some(limit) = LIMITS.iter().find(|limit| limit.key == key) else {
                let known: Vec<&str> = LIMITS.iter().map(|limit| limit.key).collect();
                self.unknown(table, key, full, &known);
                continue;
            };
            let value = match limit.unit.text() {
                Some((expected, parse)) => self.measure(table, key, expected, parse),
                None => self.number(table, key),
            };
            match value {
                Some(value) if (1..=limit.most).contains(&value) => (limit.set)(&mut patch, value),
                Some(_) => self.error("bad-limit", format!("`{key}` is out of range"), item_span(table, key)),
                None => {}
            }
        }
        raw.limits.push((scope.clone(), patch));
    }

    fn measure(&mut self, table: &dyn TableLike, key: &str, expected: &str, parse: Parse) -> Option<u64> {
        let Some(text) = table.get(key).and_then(Item::as_str) else {
            self.wrong_type(key, expected, table, key);
            return None;
        };
        parse(text)
            .map_err(|message| self.error("bad-limit", format!("`{key}`: {message}"), item_span(table, key)))
            .ok()
    }

    fn number(&mut self, table: &dyn TableLike, key: &str) -> Option<u64> {
        let Some(number) = table.get(key).and_then(Item::as_integer) else {
            self.wrong_type(key, "a whole number", table, key);
            return None;
        };
        // What is negative is out of every range, as 0 is.
        Some(u64::try_from(number).unwrap_or(0))
    }
}

fn with_article(type_name: &str) -> String {
    match type_name {
        "array" | "integer" | "inline table" | "array of tables" => format!("an {type_name}"),
        "nothing" => type_name.to_owned(),
        _ => format!("a {type_name}"),
    }
}

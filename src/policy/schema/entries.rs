//! Lists of entries: strings, or tables with `path`, `by`, `protected` and `as`.

use super::{EntryKey, MAX_ENTRIES, RawEntry, RawSandbox, Reader, with_article};
use crate::policy::model::{Provenance, Scope};
use crate::policy::pattern::shown;
use toml_edit::{Item, TableLike, Value};

impl Reader<'_> {
    pub(super) fn entries(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        full: &str,
        entry: EntryKey,
        scope: &Scope,
        raw: &mut RawSandbox,
    ) {
        let Some(array) = table.get(key).and_then(Item::as_array) else {
            self.wrong_type(key, "an array of strings", table, key);
            return;
        };
        for value in array {
            self.entries += 1;
            if self.entries == MAX_ENTRIES + 1 {
                let span = value.span().unwrap_or(0..0);
                self.error(
                    "too-many-entries",
                    format!("more than {MAX_ENTRIES} entries in one manifest"),
                    span,
                );
            }
            if self.entries > MAX_ENTRIES {
                return;
            }
            if let Some(mut read) = self.entry(value, key, entry) {
                read.scope = scope.clone();
                read.provenance = self.provenance(&read, full, key);
                raw.entries.push(read);
            }
        }
    }

    fn provenance(&mut self, entry: &RawEntry, table: &str, key: &str) -> Provenance {
        let line = self.lines.partition_point(|start| *start <= entry.span.start);
        let (known, from, counted) = self.column;
        let (from, counted) = match known == line && from <= entry.span.start {
            true => (from, counted),
            false => (self.lines[line - 1], 0),
        };
        let before = counted + self.file.text[from..entry.span.start].chars().count();
        self.column = (line, entry.span.start, before);
        Provenance {
            file: self.file.path.clone(),
            line: line as u32,
            column: before as u32 + 1,
            table: table.to_owned(),
            key: key.to_owned(),
            text: entry.text.clone(),
        }
    }

    fn entry(&mut self, value: &Value, key: &str, entry: EntryKey) -> Option<RawEntry> {
        let span = value.span().unwrap_or(0..0);
        let mut read = RawEntry {
            key: entry,
            text: String::new(),
            span: span.clone(),
            by: Vec::new(),
            protected: false,
            as_tmp: false,
            scope: Scope::Always,
            provenance: Provenance::default(),
        };
        if let Some(text) = value.as_str() {
            text.clone_into(&mut read.text);
            return Some(read);
        }
        let what = if entry.is_on_path() { "path" } else { "name" };
        let Some(table) = value.as_inline_table() else {
            let message = format!(
                "an entry of `{key}` must be a string or `{{ {what} = \"…\" }}`, not {}",
                with_article(value.type_name())
            );
            self.error("wrong-type", message, span);
            return None;
        };
        let known: &[&str] = match entry {
            EntryKey::Deny | EntryKey::Hide => &["path"],
            _ if !entry.is_on_path() => &["name", "by"],
            _ => &["path", "by", "protected", "as"],
        };
        let mut found = false;
        let mut fine = true;
        for (key, value) in table.iter() {
            let span = value.span().unwrap_or(0..0);
            match key {
                _ if !known.contains(&key) => {
                    fine = false;
                    self.unknown(table, key, "", known);
                }
                "by" => match crates(value) {
                    Ok(by) => read.by = by,
                    Err(message) => {
                        fine = false;
                        self.error("wrong-type", message, span);
                    }
                },
                "protected" => match value.as_bool() {
                    Some(protected) => read.protected = protected,
                    None => {
                        fine = false;
                        self.wrong_type("protected", "`true`", table, key);
                    }
                },
                "as" => match value.as_str() {
                    Some("/tmp") => read.as_tmp = true,
                    Some(_) => {
                        fine = false;
                        self.error("bad-view", "`as` can only be `\"/tmp\"`".to_owned(), span);
                    }
                    None => {
                        fine = false;
                        self.wrong_type("as", "`\"/tmp\"`", table, key);
                    }
                },
                _ => match value.as_str() {
                    Some(text) => {
                        found = true;
                        read.span = span;
                        text.clone_into(&mut read.text);
                    }
                    None => {
                        fine = false;
                        self.wrong_type(key, "a string", table, key);
                    }
                },
            }
        }
        if !found && !table.contains_key(what) {
            self.error("wrong-type", format!("an entry of `{key}` needs `{what}`"), span);
        }
        if read.as_tmp && found && read.text != "{tmp}" {
            fine = false;
            let message =
                "only the private directory can stand in the place of `/tmp`: `as` needs the path `{tmp}`";
            self.error("bad-view", message.to_owned(), read.span.clone());
        }
        (found && fine).then_some(read)
    }
}

fn crates(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "`by` must be an array of crate names".to_owned();
    let names: Vec<String> = value
        .as_array()
        .ok_or_else(wrong)?
        .iter()
        .map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err("`by` names no crate: nobody could use this entry".to_owned());
    }
    let valid = |name: &String| {
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    match names.iter().find(|name| !valid(name)) {
        Some(name) => Err(format!("`{}` is no crate name", shown(name))),
        None => Ok(names),
    }
}

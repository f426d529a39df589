//! Lists of entries: strings, or tables with `path`, `by`, `protected` and `as`.

use super::{EntryKey, MAX_ENTRIES, RawEntry, RawSandbox, Reader, has_headers};
use crate::document::Value;
use crate::model::{Provenance, Scope};
use crate::mounts::MountPoint;
use crate::pattern::shown;
use toml::de::DeValue;

impl Reader<'_> {
    pub(super) fn entries(
        &mut self,
        key: &str,
        value: &Value<'_>,
        full: &str,
        entry: EntryKey,
        scope: &Scope,
        raw: &mut RawSandbox,
    ) {
        let Some(array) = value.get_ref().as_array().filter(|_| !has_headers(value)) else {
            return self.wrong_type(key, "an array of strings", value);
        };
        for value in array {
            self.entries += 1;
            if self.entries == MAX_ENTRIES + 1 {
                let message = format!("more than {MAX_ENTRIES} entries in one manifest");
                self.error("too-many-entries", message, value.span());
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
            mount: entry.provenance.mount,
        }
    }

    fn entry(&mut self, value: &Value<'_>, key: &str, entry: EntryKey) -> Option<RawEntry> {
        let span = value.span();
        let mut read = RawEntry {
            key: entry,
            text: String::new(),
            span: span.clone(),
            by: Vec::new(),
            protected: false,
            scope: Scope::Always,
            provenance: Provenance::default(),
        };
        if let Some(text) = value.get_ref().as_str() {
            text.clone_into(&mut read.text);
            return Some(read);
        }
        let what = if entry.is_on_path() { "path" } else { "name" };
        let Some(table) = value.get_ref().as_table() else {
            let message = format!(
                "an entry of `{key}` must be a string or `{{ {what} = \"…\" }}`, not {}",
                self.kind(value)
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
        let mistakes = self.out.len();
        for (key, value) in table {
            match &**key.get_ref() {
                word if !known.contains(&word) => self.unknown(key, "", known),
                "by" => match crates(value.get_ref()) {
                    Ok(by) => read.by = by,
                    Err(message) => self.error("wrong-type", message, value.span()),
                },
                word @ "protected" => match value.get_ref().as_bool() {
                    Some(protected) => read.protected = protected,
                    None => self.wrong_type(word, "`true`", value),
                },
                word @ "as" => match self.string(word, "`\"/tmp\"`", value) {
                    Some(path) if path == MountPoint::Tmp.path() => {
                        read.provenance.mount = Some(MountPoint::Tmp);
                    }
                    Some(_) => self.error("bad-view", "`as` can only be `\"/tmp\"`", value.span()),
                    None => {}
                },
                word => {
                    if let Some(text) = self.string(word, "a string", value) {
                        found = true;
                        read.span = value.span();
                        text.clone_into(&mut read.text);
                    }
                }
            }
        }
        if !found && !table.contains_key(what) {
            self.error("wrong-type", format!("an entry of `{key}` needs `{what}`"), span);
        }
        if read.provenance.mount.is_some() && found && read.text != "{tmp}" {
            let message =
                "only the private directory can stand in the place of `/tmp`: `as` needs the path `{tmp}`";
            self.error("bad-view", message, read.span.clone());
        }
        (found && self.out.len() == mistakes).then_some(read)
    }
}

fn crates(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wrong = || "`by` must be an array of crate names".to_owned();
    let names: Vec<String> = value
        .as_array()
        .ok_or_else(wrong)?
        .iter()
        .map(|name| name.get_ref().as_str().map(str::to_owned).ok_or_else(wrong))
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

//! Adds entries to and removes entries from the arrays of `[package.metadata.sandbox]`.

use sandbox_policy::Entry;
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::text::toml_string;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, RawString, Table, TableLike, Value};

/// One entry to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addition {
    /// Keys from the document's root to the table: `package`, `metadata`, `sandbox`, `fs`.
    pub table: Vec<String>,
    /// `test.case` of this index instead: `table` ends in `case`, and `inner` follows.
    pub case: Option<(usize, String)>,
    /// Key of the array: `read`.
    pub key: String,
    pub entry: Entry,
    /// A comment behind the entry, without `#`; may be empty.
    pub comment: String,
}

/// One entry to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// As for [`Addition::table`]: the table that the grant was written in.
    pub table: Vec<String>,
    /// Index of the case, and the table in it.
    pub case: Option<(usize, String)>,
    /// Key of the array.
    pub key: String,
    /// The entry as written.
    pub entry: Entry,
}

/// Applies the changes to a manifest's text and returns the new text. What stands in the text
/// already is left alone byte for byte, but for the arrays that grow or shrink.
///
/// # Errors
/// When the text is no TOML, or a key on the way is not a table.
pub fn apply(text: &str, additions: &[Addition], removals: &[Removal]) -> Result<String, Diagnostic> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Diagnostic::error("toml-syntax", error.message().to_owned())
    })?;
    let unedited = document.to_string();
    for removal in removals {
        remove(document.as_item_mut(), removal);
    }
    for addition in additions {
        add(document.as_item_mut(), addition)?;
    }
    Ok(super::keep::spaces(text, &unedited, document.to_string()))
}

fn add(root: &mut Item, addition: &Addition) -> Result<(), Diagnostic> {
    let table = match &addition.case {
        None => descend(root, &addition.table)?,
        Some((index, inner)) => {
            let cases = addition.table.iter().try_fold(root, |item, key| item.get_mut(key));
            let case = cases.and_then(|cases| cases.get_mut(*index));
            descend(case.ok_or_else(|| not_a("an array of tables", "case"))?, std::slice::from_ref(inner))?
        }
    };
    let table = table.as_table_like_mut().ok_or_else(|| not_a("a table", &addition.key))?;
    let item = table.entry(&addition.key).or_insert_with(|| Item::Value(Value::Array(Array::new())));
    let array = item.as_array_mut().ok_or_else(|| not_a("an array", &addition.key))?;
    let wanted = &addition.entry;
    let same = |value: &Value| is_entry(value, wanted);
    let Some(known) = array.iter().position(same) else {
        push(array, value_of(addition)?, &addition.comment);
        return Ok(());
    };
    if wanted.mount.is_some() && !array.iter().any(|value| same(value) && is_mounted(value)) {
        // All that it lacks is where it is seen. Its comment and its place in the list stay.
        array.replace(known, value_of(addition)?);
    }
    Ok(())
}

fn value_of(addition: &Addition) -> Result<Value, Diagnostic> {
    let name = if addition.table.last().is_some_and(|last| last == "env") { "name" } else { "path" };
    let text = addition.entry.toml(name, |text| written(text).to_string());
    text.parse().map_err(|error: toml_edit::TomlError| Diagnostic::error("fix", error.message().to_owned()))
}

/// A string that a guest may have chosen. What cannot be seen is written as an escape, so that a reader of the manifest
/// sees what is granted.
fn written(text: &str) -> Value {
    let plain = || Value::from(text);
    if text.contains(sandbox_policy::text::is_hidden) {
        toml_string(text).parse().unwrap_or_else(|_| plain())
    } else {
        plain()
    }
}

/// The same for a key.
fn key_of(text: &str) -> Key {
    let escaped = text.contains(sandbox_policy::text::is_hidden).then(|| toml_string(text).parse().ok());
    escaped.flatten().unwrap_or_else(|| Key::new(text))
}

/// Appends in the array's own style: on one line, or one entry a line with its indentation.
fn push(array: &mut Array, mut value: Value, comment: &str) {
    let multiline =
        |raw: Option<&RawString>| raw.and_then(RawString::as_str).is_some_and(|text| text.contains('\n'));
    let last = array.len().checked_sub(1).and_then(|last| array.get(last));
    let own_lines = last.is_some_and(|value| multiline(value.decor().prefix()));
    if own_lines || !comment.is_empty() {
        let indentation = last
            .filter(|_| own_lines)
            .and_then(|value| value.decor().prefix().and_then(RawString::as_str))
            .and_then(|prefix| prefix.rsplit_once('\n'))
            .map_or("    ".to_owned(), |(_, indentation)| indentation.to_owned());
        // A comment behind the last entry stands in the array's trailing text: it stays there,
        // ahead of what is added, and what the bracket is indented by stays behind it.
        let trailing = array.trailing().as_str().unwrap_or_default().to_owned();
        let (kept, bracket) = trailing.split_at(trailing.rfind('\n').unwrap_or(trailing.len()));
        let bracket = if bracket.is_empty() { "\n" } else { bracket };
        let above = if comment.is_empty() { String::new() } else { format!("\n{indentation}# {comment}") };
        value.decor_mut().set_prefix(format!("{kept}{above}\n{indentation}"));
        array.push_formatted(value);
        array.set_trailing(bracket);
        array.set_trailing_comma(true);
    } else {
        array.push(value);
    }
}

fn remove(root: &mut Item, removal: &Removal) {
    let Some(table) = find(root, removal) else { return };
    let Some(array) = table.get_mut(&removal.key).and_then(Item::as_array_mut) else { return };
    let is_it =
        |value: &Value| is_entry(value, &removal.entry) && is_mounted(value) == removal.entry.mount.is_some();
    array.retain(|value| !is_it(value));
    if array.is_empty() {
        table.remove(&removal.key);
        let emptied = table.is_empty();
        // What is left of a table that held nothing else is taken out too, but never `sandbox`.
        if emptied && removal.case.is_none() && removal.table.last().is_some_and(|last| last != "sandbox") {
            let Some((last, keys)) = removal.table.split_last() else { return };
            let parent = keys.iter().try_fold(root, |item, key| item.get_mut(key));
            if let Some(parent) = parent.and_then(Item::as_table_like_mut) {
                parent.remove(last);
            }
        }
    }
}

/// The index of the `[[package.metadata.sandbox.test.case]]` with this name, if the manifest has one.
pub fn case_index(text: &str, name: &str) -> Option<usize> {
    let document: DocumentMut = text.parse().ok()?;
    let keys = ["package", "metadata", "sandbox", "test", "case"];
    let cases = keys.iter().try_fold(document.as_item(), |item, key| item.get(key))?;
    let is = |found: Option<&str>| found == Some(name);
    match cases {
        Item::ArrayOfTables(cases) => {
            cases.iter().position(|case| is(case.get("name").and_then(Item::as_str)))
        }
        _ => cases.as_array()?.iter().position(|case| {
            is(case.as_inline_table().and_then(|case| case.get("name")).and_then(Value::as_str))
        }),
    }
}

fn find<'a>(root: &'a mut Item, removal: &Removal) -> Option<&'a mut dyn TableLike> {
    let item = removal.table.iter().try_fold(root, |item, key| item.get_mut(key))?;
    match &removal.case {
        None => item.as_table_like_mut(),
        Some((index, inner)) => item.get_mut(*index)?.get_mut(inner)?.as_table_like_mut(),
    }
}

/// Goes down the keys and makes what is missing, in the style of what is around: the last table
/// with a header of its own and those on the way without; inline or dotted where its parent is.
fn descend<'a>(item: &'a mut Item, keys: &[String]) -> Result<&'a mut Item, Diagnostic> {
    let Some((key, rest)) = keys.split_first() else { return Ok(item) };
    match item {
        Item::Table(table) if !table.contains_key(key) => {
            let mut new = Table::new();
            new.set_implicit(!rest.is_empty());
            new.set_dotted(table.is_dotted());
            table.insert_formatted(&key_of(key), Item::Table(new));
        }
        Item::Value(Value::InlineTable(table)) if !table.contains_key(key) => {
            table.insert_formatted(&key_of(key), Value::InlineTable(InlineTable::new()));
        }
        _ => {}
    }
    let inner =
        item.get_mut(key).filter(|inner| inner.is_table_like()).ok_or_else(|| not_a("a table", key))?;
    descend(inner, rest)
}

/// Whether it has the text and the crates of this entry.
fn is_entry(value: &Value, entry: &Entry) -> bool {
    let text = match value {
        Value::String(text) => text.value() == &entry.text,
        Value::InlineTable(table) => ["path", "name"]
            .iter()
            .any(|key| table.get(key).and_then(Value::as_str).is_some_and(|text| text == entry.text)),
        _ => false,
    };
    text && by(value) == entry.by
}

fn by(value: &Value) -> Vec<String> {
    let list = value.as_inline_table().and_then(|table| table.get("by")).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

fn is_mounted(value: &Value) -> bool {
    value.as_inline_table().is_some_and(|table| table.contains_key("as"))
}

fn not_a(what: &str, key: &str) -> Diagnostic {
    Diagnostic::error(
        "wrong-type",
        format!("`{key}` is not {what}: the manifest cannot be fixed automatically"),
    )
}

#[cfg(test)]
mod tests;

//! Adds entries to and removes entries from the arrays of `[package.metadata.sandbox]`.

use crate::diagnostic::Diagnostic;
use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

/// One entry to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addition {
    /// Keys from the document's root to the table: `package`, `metadata`, `sandbox`, `fs`.
    pub table: Vec<String>,
    /// `test.case` of this index instead: `table` ends in `case`, and `inner` follows.
    pub case: Option<(usize, String)>,
    /// Key of the array: `read`.
    pub key: String,
    /// The entry, in the manifest's pattern syntax.
    pub entry: String,
    /// Only for these crates (`by`).
    pub by: Vec<String>,
    /// It names a protected or sensitive place (`protected = true`).
    pub protected: bool,
    /// The private directory stands in the place of `/tmp` (`as = "/tmp"`).
    pub as_tmp: bool,
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
    pub entry: String,
    /// Its `by`.
    pub by: Vec<String>,
    /// It says `as = "/tmp"`.
    pub as_tmp: bool,
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
    let same = |value: &Value| is_entry(value, &addition.entry) && by(value) == addition.by;
    let Some(known) = array.iter().position(same) else {
        push(array, value_of(addition), &addition.comment);
        return Ok(());
    };
    if addition.as_tmp && !array.iter().any(|value| same(value) && as_tmp(value)) {
        // All that it lacks is where it is seen. Its comment and its place in the list stay.
        array.replace(known, value_of(addition));
    }
    Ok(())
}

fn value_of(addition: &Addition) -> Value {
    if addition.by.is_empty() && !addition.protected && !addition.as_tmp {
        return addition.entry.as_str().into();
    }
    let name = if addition.table.last().is_some_and(|last| last == "env") { "name" } else { "path" };
    let mut table = InlineTable::new();
    table.insert(name, addition.entry.as_str().into());
    if !addition.by.is_empty() {
        table.insert("by", Value::Array(addition.by.iter().map(String::as_str).collect()));
    }
    if addition.protected {
        table.insert("protected", true.into());
    }
    if addition.as_tmp {
        table.insert("as", "/tmp".into());
    }
    table.into()
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
    let is_it = |value: &Value| {
        is_entry(value, &removal.entry) && by(value) == removal.by && as_tmp(value) == removal.as_tmp
    };
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
            table.insert(key, Item::Table(new));
        }
        Item::Value(Value::InlineTable(table)) if !table.contains_key(key) => {
            table.insert(key, Value::InlineTable(InlineTable::new()));
        }
        _ => {}
    }
    let inner =
        item.get_mut(key).filter(|inner| inner.is_table_like()).ok_or_else(|| not_a("a table", key))?;
    descend(inner, rest)
}

fn is_entry(value: &Value, entry: &str) -> bool {
    match value {
        Value::String(text) => text.value() == entry,
        Value::InlineTable(table) => ["path", "name"]
            .iter()
            .any(|key| table.get(key).and_then(Value::as_str).is_some_and(|text| text == entry)),
        _ => false,
    }
}

fn by(value: &Value) -> Vec<String> {
    let list = value.as_inline_table().and_then(|table| table.get("by")).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

fn as_tmp(value: &Value) -> bool {
    value.as_inline_table().is_some_and(|table| table.contains_key("as"))
}

fn not_a(what: &str, key: &str) -> Diagnostic {
    Diagnostic::error(
        "wrong-type",
        format!("`{key}` is not {what}: the manifest cannot be fixed automatically"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addition(table: &str, key: &str, entry: &str) -> Addition {
        Addition {
            table: table.split('.').map(str::to_owned).collect(),
            case: None,
            key: key.into(),
            entry: entry.into(),
            by: Vec::new(),
            protected: false,
            as_tmp: false,
            comment: String::new(),
        }
    }

    const FS: &str = "package.metadata.sandbox.fs";

    #[test]
    fn a_manifest_without_a_table_gets_one_with_a_header() {
        let text = "[package]\nname = \"a\" # mine\n\n[dependencies]\n";
        let fixed = apply(text, &[addition(FS, "read", "x\"y")], &[]).unwrap();
        let added = "\n[package.metadata.sandbox.fs]\nread = ['x\"y']\n\n[dependencies]";
        assert_eq!(fixed, text.replace("\n[dependencies]", added));
        assert_eq!(apply(&fixed, &[addition(FS, "read", "x\"y")], &[]).unwrap(), fixed, "a second time");
    }

    #[test]
    fn odd_formatting_and_comments_stay() {
        let text = "[package]\nname='a'\n[package.metadata.sandbox]\n  fs.read=[ 'a'  ,   # first\n     'b' ] # both\n  env = {read=[\"A\"]}\n# end\n";
        let fixed = apply(
            text,
            &[addition(FS, "write", "out"), addition("package.metadata.sandbox.env", "read", "B")],
            &[],
        )
        .unwrap();
        assert!(fixed.contains("  fs.read=[ 'a'  ,   # first\n     'b' ] # both\n"), "{fixed}");
        assert!(
            fixed.contains("fs.write = [\"out\"]") && fixed.contains("env = {read=[\"A\", \"B\"]}"),
            "{fixed}"
        );
        assert!(fixed.ends_with("# end\n"), "{fixed}");
    }

    #[test]
    fn a_list_of_lines_grows_by_a_line() {
        let text = "[package.metadata.sandbox.fs]\nread = [\n  \"a\", # why a\n  \"b\", # why b\n]\n";
        let fixed = apply(text, &[addition(FS, "read", "c")], &[]).unwrap();
        assert_eq!(fixed, text.replace("# why b\n", "# why b\n  \"c\",\n"));
        let text = "[package.metadata.sandbox.fs]\nread = [\n  \"a\",\n  \"b\" # why b\n]\n";
        let fixed = apply(text, &[addition(FS, "read", "c")], &[]).unwrap();
        let document: DocumentMut = fixed.parse().unwrap();
        assert_eq!(document["package"]["metadata"]["sandbox"]["fs"]["read"].as_array().unwrap().len(), 3);
        assert!(fixed.contains("# why b"), "{fixed}");
    }

    /// Spaces, tabs or nothing.
    fn gap() -> impl Strategy<Value = String> {
        "[ \t]{0,2}"
    }

    /// `a . b .c` between gaps.
    fn path(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec((gap(), gap()), keys.len()).prop_map(|gaps| {
            let odd = |(key, (before, after)): (&&str, &(String, String))| format!("{before}{key}{after}");
            keys.iter().zip(&gaps).map(odd).collect::<Vec<_>>().join(".")
        })
    }

    /// What may stand at the end of a line, and between lines.
    fn end() -> impl Strategy<Value = String> {
        let comment = proptest::option::of("# [a-z\"\\[\\]=.]{0,6}");
        let newline = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n"), Just("\n# why\n")];
        (gap(), comment, newline)
            .prop_map(|(gap, comment, newline)| format!("{gap}{}{newline}", comment.unwrap_or_default()))
    }

    fn list() -> impl Strategy<Value = String> {
        let inner = prop_oneof![
            Just("[]".to_owned()),
            (gap(), gap(), gap()).prop_map(|(a, b, c)| format!("[{a}'a'{b},{c}\"b\"{a}]")),
            (gap(), end(), end(), any::<bool>()).prop_map(|(a, first, last, comma)| {
                let comma = if comma { "," } else { "" };
                format!("[{first}{a}\"a\",{first}{a}'b'{comma}{last}{a}]")
            }),
        ];
        (gap(), gap(), inner).prop_map(|(a, b, inner)| format!("{a}={b}{inner}"))
    }

    fn manifest() -> impl Strategy<Value = String> {
        let fs = (path(&["package", "metadata", "sandbox", "fs"]), list(), end(), gap())
            .prop_map(|(path, list, end, gap)| format!("{gap}[{path}]{end}{gap}read{list}{end}"));
        let dotted = (
            path(&["package", "metadata", "sandbox"]),
            path(&["fs", "read"]),
            path(&["fs", "stat"]),
            list(),
            end(),
        )
            .prop_map(|(header, read, stat, list, end)| {
                format!("[{header}]{end}{stat}{list}{end}{read}{list}{end}")
            });
        let none = Just(String::new());
        let test = (path(&["package", "metadata", "sandbox", "test", "env"]), list(), end())
            .prop_map(|(path, list, end)| format!("[{path}]{end}read{list}{end}"));
        (path(&["package"]), end(), prop_oneof![fs, dotted, none], test, path(&["dependencies", "x"]), end())
            .prop_map(|(package, end, fs, test, dependency, last)| {
                format!("[{package}]{end}name  =\t'a'{end}{fs}{test}[{dependency}]{end}path = 'x'{last}")
            })
    }

    /// The lines of `text` that are not, in their order, lines of `other`.
    fn lost<'t>(text: &'t str, other: &str) -> Vec<&'t str> {
        let diff = similar::TextDiff::from_lines(text, other);
        let lost = diff.iter_all_changes().filter(|change| change.tag() == similar::ChangeTag::Delete);
        lost.filter_map(|change| change.old_index())
            .filter_map(|line| text.split_inclusive('\n').nth(line))
            .collect()
    }

    fn entries(text: &str) -> Vec<String> {
        let document: DocumentMut = text.parse().unwrap();
        let fs = document["package"]["metadata"]["sandbox"].get("fs").and_then(|fs| fs.get("read"));
        let list = fs.and_then(Item::as_array).into_iter().flatten();
        list.map(|entry| entry.as_str().unwrap().to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_not_added_stays_byte_for_byte(text in manifest(), comment in any::<bool>()) {
            let mut wanted = addition(FS, "read", "new");
            if comment {
                wanted.comment = "look".into();
            }
            let fixed = apply(&text, &[wanted], &[]).unwrap();
            // Nothing is taken out, and no line is changed but the one that the list grows at.
            let mut rest = fixed.chars();
            prop_assert!(text.chars().all(|wanted| rest.any(|c| c == wanted)), "{text}\n---\n{fixed}");
            prop_assert!(lost(&text, &fixed).len() <= 2, "{text}\n---\n{fixed}");
            let mut before = entries(&text);
            before.push("new".to_owned());
            prop_assert_eq!(entries(&fixed), before);
        }
    }

    #[test]
    fn headers_keep_their_spaces() {
        let text = "[ package . metadata . sandbox . fs ] # odd\n read =[ 'a' ]\n[package.metadata .sandbox. env]\nread=[]\n";
        let fixed = apply(text, &[addition(FS, "read", "b")], &[]).unwrap();
        assert_eq!(fixed, text.replace("[ 'a' ]", "[ 'a' , \"b\"]"));
    }

    #[test]
    fn removing_the_last_entry_takes_the_table_but_not_its_neighbours() {
        let text = "[package.metadata.sandbox]\nworkspace = true\n[package.metadata.sandbox.fs]\nread = [\"a\"]\n[package.metadata.sandbox.env]\nread = [\"A\", \"B\"]\n";
        let removal = |table: &str, entry: &str| Removal {
            table: table.split('.').map(str::to_owned).collect(),
            case: None,
            key: "read".into(),
            entry: entry.into(),
            by: Vec::new(),
            as_tmp: false,
        };
        let fixed =
            apply(text, &[], &[removal(FS, "a"), removal("package.metadata.sandbox.env", "A")]).unwrap();
        assert_eq!(
            fixed.parse::<DocumentMut>().unwrap().to_string(),
            "[package.metadata.sandbox]\nworkspace = true\n[package.metadata.sandbox.env]\nread = [ \"B\"]\n"
        );
    }

    #[test]
    fn where_a_directory_is_seen_is_added_in_its_place() {
        let seen = "{ path = \"{tmp}\", as = \"/tmp\" }";
        let text = "[package.metadata.sandbox.fs]\nwrite = [\"out\", \"{tmp}\", \"more\"] # why\n";
        let wanted = Addition { as_tmp: true, ..addition(FS, "write", "{tmp}") };
        let fixed = apply(text, std::slice::from_ref(&wanted), &[]).unwrap();
        assert_eq!(fixed, text.replace("\"{tmp}\"", seen));
        assert_eq!(apply(&fixed, &[wanted], &[]).unwrap(), fixed);
        assert_eq!(apply(&fixed, &[addition(FS, "write", "{tmp}")], &[]).unwrap(), fixed, "it is there");
        let both = text.replace("\"more\"", seen);
        for (as_tmp, gone) in [(true, format!(", {seen}")), (false, ", \"{tmp}\"".to_owned())] {
            let (table, key, entry) =
                (FS.split('.').map(str::to_owned).collect(), "write".into(), "{tmp}".into());
            let removal = Removal { table, case: None, key, entry, by: Vec::new(), as_tmp };
            assert_eq!(apply(&both, &[], &[removal]).unwrap(), both.replace(&gone, ""));
        }
    }

    #[test]
    fn cases_and_crates_have_their_places() {
        let text = "[[package.metadata.sandbox.test.case]]\nname = \"a::*\"\n";
        let mut wanted = addition("package.metadata.sandbox.test.case", "read", "data");
        wanted.case = Some((0, "fs".into()));
        wanted.by = vec!["dep".into()];
        let fixed = apply(text, &[wanted.clone()], &[]).unwrap();
        assert!(fixed.contains("read = [{ path = \"data\", by = [\"dep\"] }]"), "{fixed}");
        assert_eq!(apply(&fixed, &[wanted.clone()], &[]).unwrap(), fixed);
        assert_eq!(case_index(&fixed, "a::*"), Some(0));
        assert_eq!(case_index(&fixed, "b::*"), None);
        wanted.case = Some((1, "fs".into()));
        assert!(apply(text, &[wanted], &[]).is_err());
    }
}

//! A manifest mistake each, with its line, column and message; and all of them at once.

use super::*;
use crate::diagnostic::Severity;

/// Line, column and message of each diagnostic of a manifest that has mistakes.
fn mistakes(text: &str) -> Vec<(u32, u32, String)> {
    let errors = try_load(text).expect_err("the manifest has a mistake");
    errors
        .iter()
        .map(|diagnostic| {
            let span = &diagnostic.spans[0];
            let (line, column) = span.file.line_column(span.range.start);
            (line, column, diagnostic.message.clone())
        })
        .collect()
}

fn help(text: &str) -> String {
    let errors = try_load(text).expect_err("the manifest has a mistake");
    errors[0].help[0].message.clone()
}

#[test]
fn each_mistake_has_its_place() {
    let fs = "[package.metadata.sandbox.fs]\n";
    for (text, line, column, message) in [
        (format!("{fs}raed = []"), 2, 1, "unknown key `raed` in `package.metadata.sandbox.fs`"),
        (format!("{fs}read = \"a\""), 2, 8, "`read` must be an array of strings, not a string"),
        (
            format!("{fs}read = [\"a\", 1]"),
            2,
            14,
            "an entry of `read` must be a string or `{ path = \"…\" }`, not an integer",
        ),
        (format!("{fs}read = [\"\"]"), 2, 9, "an entry cannot be empty"),
        (format!("{fs}read = [\"a?\"]"), 2, 9, "`?` is no wildcard here: `a?`"),
        (format!("{fs}read = [\"{{hoem}}\"]"), 2, 9, "unknown variable `{hoem}`"),
        (format!("{fs}read = [\"../../../x\"]"), 2, 9, "`..` in `../../../x` leads above its beginning"),
        (
            format!("{fs}read = [{{ path = \"a\", by = [] }}]"),
            2,
            28,
            "`by` names no crate: nobody could use this entry",
        ),
        (format!("{fs}read = [{{ path = \"a\", by = [\"a b\"] }}]"), 2, 28, "`a b` is no crate name"),
        (format!("{fs}read = [{{ by = [\"a\"] }}]"), 2, 9, "an entry of `read` needs `path`"),
        (format!("{fs}read = [{{ path = 1 }}]"), 2, 18, "`path` must be a string, not an integer"),
        (
            format!("{fs}read = [{{ path = \"a\", protected = 1 }}]"),
            2,
            35,
            "`protected` must be `true`, not an integer",
        ),
        (format!("{fs}deny = [{{ path = \"a\", by = [\"x\"] }}]"), 2, 23, "unknown key `by`"),
        (
            "[package.metadata]\nsandbox = 1".into(),
            2,
            11,
            "`package.metadata.sandbox` must be a table, not an integer",
        ),
        ("[package.metadata.sandbox]\nfs = 1".into(), 2, 6, "`fs` must be a table, not an integer"),
        (
            "[package.metadata.sandbox]\nread = [\"a\"]".into(),
            2,
            1,
            "unknown key `read` in `package.metadata.sandbox`",
        ),
        (
            "[package.metadata.sandbox.build]\n".into(),
            1,
            27,
            "unknown key `build` in `package.metadata.sandbox`",
        ),
        ("[package.metadata.sandbox.net]\nconnect = []".into(), 1, 27, "`net` is not supported yet"),
        ("[package.metadata.sandbox]\nwasi = \"p2\"".into(), 2, 8, "`wasi = \"p2\"` is not supported yet"),
        ("[package.metadata.sandbox]\nwasi = 1".into(), 2, 8, "`wasi` must be `\"p1\"`, not an integer"),
        ("[package.metadata.sandbox]\nworkspace = false".into(), 2, 13, "`workspace` can only be `true`"),
        (
            "[package.metadata.sandbox]\nworkspace = true".into(),
            2,
            13,
            "there is no `[workspace.metadata.sandbox]` to start from",
        ),
        (
            "[package.metadata.sandbox.env]\nread = [\"A=B\"]".into(),
            2,
            9,
            "the name of an environment variable cannot contain `=`: `A=B`",
        ),
        (
            "[package.metadata.sandbox.env]\nset = { A = 1 }".into(),
            2,
            13,
            "`A` must be a string, not an integer",
        ),
        (
            "[package.metadata.sandbox.env]\nset = []".into(),
            2,
            7,
            "`set` must be a table of strings, not an array",
        ),
        (
            "[package.metadata.sandbox.env]\nset = { \"A=\" = \"\" }".into(),
            2,
            9,
            "`A=` cannot name an environment variable",
        ),
        (
            "[package.metadata.sandbox.limits]\nmemory = \"256\"".into(),
            2,
            10,
            "`memory`: a size needs a unit, such as `256 MiB`",
        ),
        (
            "[package.metadata.sandbox.limits]\nmemory = 256".into(),
            2,
            10,
            "`memory` must be a size such as `\"256 MiB\"`, not an integer",
        ),
        (
            "[package.metadata.sandbox.limits]\ntime = \"5 days\"".into(),
            2,
            8,
            "`time`: unknown unit `days`; known are ms, s, m, h",
        ),
        ("[package.metadata.sandbox.limits]\nopen-files = 0".into(), 2, 14, "`open-files` is out of range"),
        (
            "[package.metadata.sandbox.limits]\nopen_files = 1".into(),
            2,
            1,
            "unknown key `open_files` in `package.metadata.sandbox.limits`",
        ),
        (
            "[package.metadata.sandbox.bin]\nx = 1".into(),
            2,
            5,
            "`package.metadata.sandbox.bin.x` must be a table, not an integer",
        ),
        (
            "[package.metadata.sandbox.bin.x]\ncase = 1".into(),
            2,
            1,
            "unknown key `case` in `package.metadata.sandbox.bin.x`",
        ),
        (
            "[[package.metadata.sandbox.test.case]]\nfs.read = [\"a\"]".into(),
            2,
            1,
            "`[[package.metadata.sandbox.test.case]]` needs a `name`",
        ),
        (
            "[[package.metadata.sandbox.test.case]]\nname = 1".into(),
            2,
            8,
            "`name` must be a string, not an integer",
        ),
        (
            "[package.metadata.sandbox.test.case]\nname = \"a\"".into(),
            1,
            1,
            "`package.metadata.sandbox.test.case` must be an array of tables (`[[package.metadata.sandbox.test.case]]`), not a table",
        ),
        (format!("{fs}read = {{}}"), 2, 8, "`read` must be an array of strings, not an inline table"),
        (format!("{fs}read.x = 1"), 2, 1, "`read` must be an array of strings, not a table"),
        (
            "[[package.metadata.sandbox.fs.read]]\npath = \"a\"".into(),
            1,
            1,
            "`read` must be an array of strings, not an array of tables",
        ),
        (
            "[package.metadata.sandbox.limits]\nfiles = 9223372036854775808".into(),
            2,
            9,
            "integer number overflowed",
        ),
        (format!("[x]\ny = [{{ z = -1e999 }}]\n{fs}"), 2, 12, "floating-point number overflowed"),
        ("[package]\nname = ".into(), 2, 8, "string values must be quoted, expected literal string"),
    ] {
        let found = mistakes(&text);
        assert_eq!(found, [(line, column, message.to_owned())], "{text}");
    }
}

#[test]
fn misspelt_words_get_the_nearest_one() {
    let fs = "[package.metadata.sandbox.fs]\n";
    assert_eq!(help(&format!("{fs}raed = []")), "did you mean `read`?");
    assert_eq!(help(&format!("{fs}reads = []")), "did you mean `read`?");
    assert_eq!(help(&format!("{fs}read = [\"{{target}}\"]")), "did you mean `{target-dir}`?");
    assert_eq!(help("[package.metadata.sandbox]\nread = []"), "did you mean `fs.read`?");
    assert_eq!(help("[package.metadata.sandbox.limits]\nopen_files = 1"), "did you mean `open-files`?");
    assert_eq!(help("[package.metadata.sandbox.tests]\n"), "did you mean `test`?");
}

#[test]
fn all_mistakes_come_at_once() {
    let text = "[package.metadata.sandbox]\nwasi = \"p3\"\n[package.metadata.sandbox.fs]\nraed = []\nread = [\"\", \"a?\"]\n\
                write = [\".\"]\n[package.metadata.sandbox.limits]\ntime = 1\n";
    let lines: Vec<u32> = mistakes(text).into_iter().map(|(line, _, _)| line).collect();
    assert_eq!(lines.len(), 6);
    for line in [2, 4, 5, 6, 8] {
        assert!(lines.contains(&line), "{lines:?}");
    }
}

#[test]
fn both_manifests_are_checked() {
    let package = "[package.metadata.sandbox.fs]\nraed = []";
    let workspace = "[workspace.metadata.sandbox.fs]\nwirte = []";
    let errors = load(&manifests(package, Some(workspace)), &machine(), &Links::default(), None).unwrap_err();
    let files: Vec<_> = errors.iter().map(|error| error.spans[0].file.path.clone()).collect();
    assert_eq!(files.len(), 2);
    assert_ne!(files[0], files[1]);
    assert!(errors.iter().all(|error| error.severity == Severity::Error));
}

#[test]
fn columns_count_characters_and_hostile_text_is_escaped() {
    let found = mistakes("[package.metadata.sandbox.fs]\nread = [\"äöü\", \"a\\u001b[31m?\"]");
    assert_eq!((found[0].0, found[0].1), (2, 16));
    assert!(!found[0].2.contains('\u{1b}'), "{:?}", found[0].2);
}

#[test]
fn a_huge_manifest_is_refused_not_chewed() {
    let entries = "\"**/a*b*c*/**/d\",".repeat(30_000);
    let found = mistakes(&format!("[package.metadata.sandbox.fs]\nread = [{entries}]"));
    assert!(found.iter().any(|(_, _, message)| message == "more than 20000 entries in one manifest"));
}

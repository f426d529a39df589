use super::*;
use proptest::prelude::*;
use sandbox_policy::MountPoint;

fn plain(text: &str) -> Entry {
    Entry { text: text.into(), ..Entry::default() }
}

fn addition(table: &str, key: &str, entry: &str) -> Addition {
    Addition {
        table: table.split('.').map(str::to_owned).collect(),
        case: None,
        key: key.into(),
        entry: plain(entry),
        comment: String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A reader of the manifest sees whatever name a guest chose.
    #[test]
    fn nothing_hidden_is_written(
        entry in "(?s)(\\PC|\\p{Cf}|[\u{0}-\u{20}\u{7f}\u{3164}\u{e0041}\"'\\\\]){1,20}",
        by in "(\\PC|\\p{Cf}){0,8}", bin in "(\\PC|\\p{Cf}){1,8}", mounted in any::<bool>(),
    ) {
        let mut one = addition(FS, "read", &entry);
        one.table.insert(3, bin.clone());
        one.table.insert(3, "bin".to_owned());
        one.entry.by = vec![by.clone()];
        one.entry.mount = mounted.then_some(MountPoint::Tmp);
        let plain = addition(FS, "read", &entry);
        let fixed = apply("[package]\nname = \"a\"\n", &[one, plain], &[]).unwrap();
        let shown = |c: char| sandbox_policy::text::is_hidden(c) && c != '\n';
        prop_assert!(!fixed.contains(shown), "{:?}", fixed);
        let document: DocumentMut = fixed.parse().unwrap();
        let sandbox = &document["package"]["metadata"]["sandbox"];
        prop_assert_eq!(sandbox["fs"]["read"][0].as_str(), Some(&*entry));
        let written = &sandbox["bin"][bin.as_str()]["fs"]["read"][0];
        prop_assert_eq!((written["path"].as_str(), written["by"][0].as_str()), (Some(&*entry), Some(&*by)));
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
fn what_stands_beside_an_entry_stays() {
    let multiline = "[ package .metadata.sandbox.fs]\nread = [' a  b', 'a b'] \n[ package . x ]\ny = '''\r\n [ c . d ]\n'''\n";
    for (text, from, to) in [
        // Line ends.
        (
            "[ a ]\r\n[package . metadata.sandbox.fs ]\t\r\nread = [\r\n  'a', # why\r\n]\r\n# end\r\n",
            "]\r\n#",
            "  \"b\",\n]\r\n#",
        ),
        (
            "[package. metadata . sandbox]\r\n fs . stat = []\n fs .read = ['a'] # why\r\n",
            "'a'",
            "'a', \"b\"",
        ),
        // Dotted keys and inline tables.
        (
            "package . metadata . sandbox = { fs . stat=[ ] , fs.read\t=['a'] }\npackage.name = 'a'\n",
            "'a']",
            "'a', \"b\"]",
        ),
        (
            "[package]\n metadata.sandbox.fs={ read = ['a'] }# x\r\n metadata . other = 1\n",
            "'a'",
            "'a', \"b\"",
        ),
        // Strings have spaces of their own.
        (multiline, "'a b'", "'a b', \"b\""),
    ] {
        let fixed = apply(text, &[addition(FS, "read", "b")], &[]).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{text}");
        assert_eq!(fixed, text.replace(from, to), "{text}");
    }
}

#[test]
fn removing_the_last_entry_takes_the_table_but_not_its_neighbours() {
    let text = "[package.metadata.sandbox]\nworkspace = true\n[package.metadata.sandbox.fs]\nread = [\"a\"]\n[package.metadata.sandbox.env]\nread = [\"A\", \"B\"]\n";
    let removal = |table: &str, entry: &str| Removal {
        table: table.split('.').map(str::to_owned).collect(),
        case: None,
        key: "read".into(),
        entry: plain(entry),
    };
    let fixed = apply(text, &[], &[removal(FS, "a"), removal("package.metadata.sandbox.env", "A")]).unwrap();
    assert_eq!(
        fixed.parse::<DocumentMut>().unwrap().to_string(),
        "[package.metadata.sandbox]\nworkspace = true\n[package.metadata.sandbox.env]\nread = [ \"B\"]\n"
    );
}

#[test]
fn where_a_directory_is_seen_is_added_in_its_place() {
    let seen = "{ path = \"{tmp}\", as = \"/tmp\" }";
    let text = "[package.metadata.sandbox.fs]\nwrite = [\"out\", \"{tmp}\", \"more\"] # why\n";
    let mut wanted = addition(FS, "write", "{tmp}");
    wanted.entry.mount = Some(MountPoint::Tmp);
    let fixed = apply(text, std::slice::from_ref(&wanted), &[]).unwrap();
    assert_eq!(fixed, text.replace("\"{tmp}\"", seen));
    assert_eq!(apply(&fixed, &[wanted], &[]).unwrap(), fixed);
    assert_eq!(apply(&fixed, &[addition(FS, "write", "{tmp}")], &[]).unwrap(), fixed, "it is there");
    let both = text.replace("\"more\"", seen);
    for (mount, gone) in [(Some(MountPoint::Tmp), format!(", {seen}")), (None, ", \"{tmp}\"".to_owned())] {
        let (table, key) = (FS.split('.').map(str::to_owned).collect(), "write".into());
        let removal = Removal { table, case: None, key, entry: Entry { mount, ..plain("{tmp}") } };
        assert_eq!(apply(&both, &[], &[removal]).unwrap(), both.replace(&gone, ""));
    }
}

#[test]
fn cases_and_crates_have_their_places() {
    let text = "[[package.metadata.sandbox.test.case]]\nname = \"a::*\"\n";
    let mut wanted = addition("package.metadata.sandbox.test.case", "read", "data");
    wanted.case = Some((0, "fs".into()));
    wanted.entry.by = vec!["dep".into()];
    let fixed = apply(text, &[wanted.clone()], &[]).unwrap();
    assert!(fixed.contains("read = [{ path = \"data\", by = [\"dep\"] }]"), "{fixed}");
    assert_eq!(apply(&fixed, &[wanted.clone()], &[]).unwrap(), fixed);
    assert_eq!(case_index(&fixed, "a::*"), Some(0));
    assert_eq!(case_index(&fixed, "b::*"), None);
    wanted.case = Some((1, "fs".into()));
    assert!(apply(text, &[wanted], &[]).is_err());
}

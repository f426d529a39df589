//! Tables and examples of the documents, compared with the code.

use super::document::{Document, documents};
use crate::common::root;
use cargo_sandbox::exit_status::ExitStatus;
use sandbox_policy::access::Key;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use sandbox_policy::{CommandLineGrants, LIMITS, Limits, Lookup, Manifests, Places, Resolved, load};
use sandbox_walls::LandlockLevel;
use sandbox_walls::landlock::abi::{NEWEST, TABLE, in_words, linux};
use sandbox_walls::seccomp::{Profile, table};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

/// The cells of every row of the tables in a text, without headers.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with('|') && !is_rule(line))
        .filter(|(at, _)| !lines.get(at + 1).is_some_and(|next| is_rule(next)))
        .map(|(_, line)| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// Number and meaning of each status, as the documentation comments of a source have them.
pub(crate) fn statuses_of(source: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in source.lines().map(str::trim) {
        let Some(comment) = line.strip_prefix("/// ") else {
            open = false;
            continue;
        };
        match comment.split_once(": ") {
            Some((status, meaning)) if comment.starts_with(|c: char| c.is_ascii_digit()) => {
                found.push((status.to_owned(), meaning.to_owned()));
                open = true;
            }
            _ if open && !comment.starts_with(char::is_uppercase) => {
                let (_, meaning) = found.last_mut().expect("one is open");
                meaning.push(' ');
                meaning.push_str(comment);
            }
            _ => open = false,
        }
    }
    for (_, meaning) in &mut found {
        meaning.truncate(meaning.trim_end_matches('.').len());
    }
    found
}

#[test]
fn exit_statuses_are_those_of_the_one_table() {
    let source = fs::read_to_string(root().join("src/exit_status.rs")).expect("the table");
    let readme = Document::named("README.md");
    let section = readme.section("## Exit statuses");
    let mut shown: Vec<_> =
        rows(section).into_iter().map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    let guests =
        shown.iter().position(|(status, _)| status == "the guest's").expect("the guest's own status");
    shown.remove(guests);
    assert_eq!(shown, statuses_of(&source), "README.md against src/exit_status.rs");
}

#[test]
fn the_order_of_statuses_is_the_one_that_decides() {
    let all = [
        ExitStatus::Usage,
        ExitStatus::Unavailable,
        ExitStatus::Fault,
        ExitStatus::Violation,
        ExitStatus::Manifest,
        ExitStatus::Unused,
        ExitStatus::Gained,
        ExitStatus::Failed,
        ExitStatus::TimedOut,
        ExitStatus::Interrupted,
        ExitStatus::Trapped,
    ];
    let readme = Document::named("README.md");
    let sentence = readme
        .section("## Exit statuses")
        .lines()
        .find_map(|line| line.strip_prefix("Where several hold, the first of these counts: "));
    let shown: Vec<ExitStatus> = sentence
        .expect("the order of statuses")
        .trim_end_matches('.')
        .split(", ")
        .map(|code| {
            let code: u8 = code.parse().expect("a number");
            *all.iter().find(|status| status.code() == code).expect("a status of ours")
        })
        .collect();
    assert_eq!(shown.len(), all.len());
    for (place, first) in shown.iter().enumerate() {
        for second in &shown[place..] {
            assert_eq!(first.or(*second), *first);
            assert_eq!(second.or(*first), *first);
        }
    }
}

#[test]
fn landlock_levels_need_what_the_readme_says() {
    let readme = Document::named("README.md");
    let rows = rows(readme.section("### How much of Landlock"));
    let cell = |first: &str, column: usize| {
        let row = rows.iter().find(|row| row[0] == first);
        row.unwrap_or_else(|| panic!("no row for {first}"))[column].clone()
    };
    for level in LandlockLevel::ALL {
        let smallest = level.smallest_abi().map_or("none".to_owned(), |abi| abi.to_string());
        assert_eq!(cell(&format!("`{level}`"), 1), smallest);
    }
    // What each ABI adds, in the words of the report.
    for abi in &TABLE {
        let number = abi.number.to_string();
        match abi.adds {
            Some(adds) => assert_eq!([cell(&number, 1), cell(&number, 2)], [abi.linux, adds]),
            None => assert!(rows.iter().all(|row| row[0] != number), "ABI {number} adds nothing"),
        }
    }
    for level in [LandlockLevel::Full, LandlockLevel::Required] {
        assert_eq!(cell(&format!("`{level}`"), 2), linux(level.smallest_abi().unwrap()));
    }
    let newer = format!("`{}`", in_words(NEWEST, Some(NEWEST + 2)));
    assert!(readme.section("### How much of Landlock").contains(&newer), "{newer}");
}

/// With `UPDATE_DOCUMENTS=1` in the environment it is written anew.
#[test]
fn the_system_calls_of_a_worker_are_those_of_the_filters() {
    let stages = Profile::ALL.map(|profile| match profile {
        Profile::TestChild => "test".to_owned(),
        profile => format!("{profile:?}").to_lowercase(),
    });
    let mut lines = format!("| call | if | {} | for |\n", stages.join(" | "));
    lines += &format!("|---|---|{}---|\n", "---|".repeat(stages.len()));
    for call in table::TABLE {
        let when: Vec<String> = call.when.iter().map(|condition| condition.words.to_owned()).collect();
        let answer = match call.errno {
            None => "x",
            Some(libc::EACCES) => "`EACCES`",
            Some(libc::ENOSYS) => "`ENOSYS`",
            Some(errno) => panic!("no name for {errno}"),
        };
        let marks = Profile::ALL.map(|profile| if call.profiles.contains(&profile) { answer } else { "" });
        let only =
            call.architecture.map(|architecture| format!(" ({architecture} only)")).unwrap_or_default();
        let (name, when, marks) = (call.name(), when.join(", "), marks.join(" | "));
        lines += &format!("| `{name}` | {when} | {marks} | {}{only} |\n", call.reason);
    }
    let document = Document::named("docs/seccomp.md");
    let begin = "<!-- made from crates/walls/src/seccomp/table.rs -->\n";
    let (before, shown) = document.text.split_once(begin).expect("the table begins");
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&document.path, format!("{before}{begin}{lines}")).expect("the document");
    } else {
        assert_eq!(shown, lines, "docs/seccomp.md (UPDATE_DOCUMENTS=1 writes it anew)");
    }
}

struct Nowhere;

impl Lookup for Nowhere {
    fn resolve(&self, path: &[u8]) -> Resolved {
        Resolved { target: path.to_vec(), links: Vec::new(), exists: false, is_dir: false }
    }
}

/// What is said of a manifest.
fn messages(text: &str) -> Vec<Diagnostic> {
    let places = Places {
        package: "/w/p".into(),
        workspace: "/w/p".into(),
        target_dir: "/w/p/target".into(),
        home: Some("/home/me".into()),
        ..Places::default()
    };
    let file = |name: &str, text: &str| Arc::new(SourceFile { path: name.into(), text: text.to_owned() });
    let manifests = Manifests {
        package: file("/w/p/Cargo.toml", text),
        workspace: None,
        extra: CommandLineGrants::default(),
    };
    match load(&manifests, &places, &Nowhere, None) {
        Ok(loaded) => loaded.warnings,
        Err(messages) => messages,
    }
}

/// The words in backticks of a sentence that lists all that is known.
fn listed(sentence: &str) -> BTreeSet<String> {
    sentence.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys of a table, from the message about a key that no table has.
fn keys(table: &str) -> BTreeSet<String> {
    let name = table.trim_start_matches('[').trim_end_matches(']');
    let head = if table.starts_with("[[") { format!("{table}\nname = \"x\"") } else { table.to_owned() };
    let found = messages(&format!("{head}\nqqqqqqqqqqqqqqqq = 1\n"));
    let message = found.iter().find(|message| message.code == "unknown-key");
    let message = message.unwrap_or_else(|| panic!("{name} knows every key: {found:?}"));
    let note = message.notes.iter().find(|note| note.starts_with("known are "));
    listed(note.unwrap_or_else(|| panic!("{message:?}")))
}

#[test]
fn every_key_of_the_manifest_is_in_its_reference() {
    let reference = Document::named("docs/manifest.md");
    let spans: BTreeSet<String> = reference.code_spans().into_iter().map(|(_, code)| code).collect();
    for (prefix, table) in [
        ("", "[package.metadata.sandbox]"),
        ("fs.", "[package.metadata.sandbox.fs]"),
        ("env.", "[package.metadata.sandbox.env]"),
        ("limits.", "[package.metadata.sandbox.limits]"),
        ("test.", "[package.metadata.sandbox.test]"),
        ("case.", "[[package.metadata.sandbox.test.case]]"),
    ] {
        let known = keys(table);
        assert!(known.len() >= 2, "{table}: {known:?}");
        for key in known {
            // Tables within narrower scopes are those of the package.
            let shared =
                ["test.", "case."].contains(&prefix) && ["fs", "env", "limits"].contains(&key.as_str());
            let name = if shared { key } else { format!("{prefix}{key}") };
            assert!(spans.contains(&name), "docs/manifest.md does not mention `{name}`");
        }
    }
}

#[test]
fn every_variable_is_in_the_reference() {
    let found = messages("[package.metadata.sandbox.fs]\nread = [\"{qqqqqqqqqqqqqqqqqqqqqqqq}/x\"]\n");
    let help = found.iter().flat_map(|message| &message.help).find(|help| help.message.contains("known are"));
    let known = listed(&help.expect("a list of the variables").message);
    assert!(known.len() >= 5, "{known:?}");
    let reference = Document::named("docs/manifest.md");
    let shown: BTreeSet<String> = rows(reference.section("## Variables"))
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    assert_eq!(shown, known);
}

#[test]
fn keys_and_limits_have_the_tables_of_the_reference() {
    let cells = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
    let mut reference = Document::named("docs/manifest.md");
    let keys: Vec<Vec<String>> =
        Key::of_table("fs").map(|key| cells(&[&format!("`fs.{}`", key.name()), key.row().grants])).collect();
    reference.expect_rows("## `fs`", &keys);
    let limits: Vec<Vec<String>> = LIMITS
        .iter()
        .map(|limit| cells(&[&format!("`limits.{}`", limit.key), limit.counts, limit.default, limit.reached]))
        .collect();
    reference.expect_rows("## `limits`", &limits);
    reference.store();
}

/// What the reference says of a limit's default is what a guest gets.
#[test]
fn limits_have_the_defaults_that_they_say() {
    let said = |key: &str| LIMITS.iter().find(|limit| limit.key == key).expect("a limit").default;
    let Limits { memory, time, output, open_files, disk, files } = Limits::default();
    for (key, is_none, none) in [
        ("memory", memory.is_none(), "4 GiB, all that wasm32 has"),
        ("time", time.is_none(), "none"),
        ("output", output.is_none(), "none"),
        ("disk", disk.is_none(), "none"),
        ("files", files.is_none(), "none"),
    ] {
        assert_eq!(is_none, said(key) == none, "{key}");
    }
    assert_eq!(said("open-files"), open_files.to_string());
}

/// The place in the first column of each row of a table of `crates/policy/src/protected.rs`.
fn places(source: &str, table: &str) -> Vec<String> {
    let start = source.find(&format!("const {table}: ")).unwrap_or_else(|| panic!("no table {table}"));
    let body = &source[start..];
    let body = &body[..body.find("\n];").expect("an end")];
    let quoted = |row: &str| row.split('"').nth(1).map(str::to_owned);
    let rows = body.split("\n    (").skip(1).filter_map(quoted).collect::<Vec<_>>();
    assert!(rows.len() > 10, "{table}: {rows:?}");
    rows
}

#[test]
fn every_protected_place_is_in_the_reference() {
    let source = fs::read_to_string(root().join("crates/policy/src/protected.rs")).expect("the tables");
    let reference = Document::named("docs/manifest.md");
    for (table, heading) in [
        ("NAMES", "### Names that stay protected everywhere"),
        ("TOOLS", "### Names that stay protected everywhere"),
        ("PROTECTED", "### Places that nothing may change"),
        ("SENSITIVE", "### Places that nothing may read"),
    ] {
        let section = reference.section(heading);
        let missing: Vec<String> = places(&source, table)
            .into_iter()
            .filter(|place| !section.contains(&format!("`{place}`")))
            .collect();
        assert!(missing.is_empty(), "docs/manifest.md, `{heading}` lacks {missing:?}");
    }
}

#[test]
fn every_manifest_in_the_documents_is_right() {
    let mut seen = 0;
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.info == "toml") {
            if !block.body.contains("metadata.sandbox") || block.body.contains("[workspace.metadata") {
                continue;
            }
            seen += 1;
            let found = messages(&block.body);
            let said: Vec<&str> = found.iter().map(|message| message.message.as_str()).collect();
            assert!(said.is_empty(), "{}:{}: {said:#?}", document.name, block.line);
        }
    }
    assert!(seen >= 3, "only {seen} manifests were found");
}

//! Keeps the documents true: their transcripts are run again, and their tables and help texts are compared with the
//! code and the binary.
//!
//! With `UPDATE_DOCUMENTS=1` in the environment, transcripts and help texts are written anew instead of compared. Look
//! at what changed before you commit it.

mod document;
mod tables;
mod transcript;

use crate::common::{cargo_sandbox, root, run};
use document::{Block, Document, documents};

/// The commands with a help text in docs/commands.md, as the binary's own help lists them.
fn commands() -> Vec<String> {
    let help = run(cargo_sandbox(root(), ["--help"])).expect(0).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<String> = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.contains(&"run".to_owned()), "this is no list of commands:\n{help}");
    names
}

#[test]
fn every_transcript_is_what_happens() {
    let mut seen = 0;
    for mut document in documents() {
        seen += transcript::play(&mut document);
        document.store();
    }
    assert!(seen >= 4, "only {seen} transcripts were found");
}

#[test]
fn every_command_has_its_help_text_in_the_documents() {
    let mut shown = Vec::new();
    for mut document in documents() {
        for index in 0..document.blocks.len() {
            let block = &document.blocks[index];
            let Some(words) = block.marker.strip_prefix("help:") else { continue };
            let mut args: Vec<&str> = words.split_whitespace().collect();
            shown.push(args.join(" "));
            args.push("-h");
            let help = run(cargo_sandbox(root(), args)).expect(0).stdout;
            let help: Vec<&str> = help.lines().map(str::trim_end).collect();
            document.expect(index, &format!("{}\n", help.join("\n")));
        }
        document.store();
    }
    let missing: Vec<String> = commands().into_iter().filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "docs/commands.md has no `<!-- help: … -->` for {missing:?}");
}

#[test]
fn every_block_says_what_it_is() {
    for document in documents() {
        for Block { marker, info, line, .. } in &document.blocks {
            let known = match info.as_str() {
                "console" => marker.starts_with("transcript:") || marker.starts_with("not run:"),
                "toml" | "sh" | "yaml" | "json" | "rust" | "" => true,
                "text" => marker.starts_with("help:") || marker.is_empty(),
                _ => false,
            };
            assert!(known, "{}:{line}: a block of `{info}` with the marker `{marker}`", document.name);
        }
    }
}

/// A file that a document names exists, and so does a test that it names as `tests/x.rs`, `some_test_name`.
#[test]
fn what_the_documents_name_exists() {
    for document in documents() {
        for (line, link) in document.links() {
            let (path, _) = link.split_once('#').unwrap_or((&link, ""));
            let target = document.path.parent().expect("a folder").join(path);
            assert!(path.is_empty() || target.exists(), "{}:{line}: no such file: {link}", document.name);
        }
        for (line, words) in document.code_spans() {
            let file = words.trim_end_matches('/');
            let project =
                ["src/", "crates/", "tests/", "scripts/", "fixtures/", "benches/", "schema/", "docs/"];
            let plain = file.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            // Without an ending it may be a place in somebody's package, such as `tests/data`.
            let ours = words.ends_with('/') || file.contains('.') || file.starts_with("fixtures/");
            if plain && ours && project.iter().any(|folder| file.starts_with(folder)) {
                assert!(root().join(file).exists(), "{}:{line}: no such file: {file}", document.name);
            }
        }
    }
}

/// From a checkout or a repository: a bare name on the registry may be somebody else's package.
#[test]
fn no_document_installs_a_package_by_its_bare_name() {
    let mut seen = 0;
    for document in documents() {
        for (number, line) in (1..).zip(document.text.lines()) {
            let Some((_, flags)) = line.split_once("cargo install ") else { continue };
            let mut words = flags.split_whitespace();
            let right = match words.find(|word| ["--path", "--git"].contains(word)) {
                Some("--path") => words.next() == Some("."),
                Some(_) => words.next_back() == Some(env!("CARGO_PKG_NAME")),
                None => false,
            };
            assert!(right, "{}:{number}: {line}", document.name);
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} installations were found");
}

/// Tests that ARCHITECTURE.md, SECURITY.md and the like rely on: `tests/file.rs::name`.
#[test]
fn tests_that_the_documents_name_exist() {
    let mut named = 0;
    for document in documents() {
        for (line, words) in document.code_spans() {
            let Some((file, name)) = words.split_once(".rs::") else { continue };
            let source = root().join(format!("{file}.rs"));
            let text = std::fs::read_to_string(&source)
                .unwrap_or_else(|error| panic!("{}:{line}: {file}.rs: {error}", document.name));
            let name = name.rsplit("::").next().expect("a split has a last part");
            let function = format!("fn {name}(");
            let row = format!("\"{name}\"");
            assert!(
                text.contains(&function) || text.contains(&row),
                "{}:{line}: {file}.rs has no `{name}`",
                document.name
            );
            named += 1;
        }
    }
    assert!(named > 10, "only {named} tests are named");
}

/// The checks on documents that break them.
mod the_checker {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new("made-up.md", root().join("made-up.md"), text.to_owned())
    }

    #[test]
    fn sees_blocks_with_their_markers() {
        let found = document("<!-- help: run -->\n```text\na\nb\n```\n\n```toml\nc\n```\n");
        let seen: Vec<_> =
            found.blocks.iter().map(|b| (b.marker.as_str(), b.info.as_str(), b.body.as_str())).collect();
        assert_eq!(seen, [("help: run", "text", "a\nb\n"), ("", "toml", "c\n")]);
    }

    #[test]
    fn sees_links_and_code_outside_of_blocks() {
        let found = document("see [a](b.md#c) and `src/x.rs` \n```\n[d](e.md) `f`\n```\n[g](https://h)\n");
        assert_eq!(found.links(), [(1, "b.md#c".to_owned())]);
        assert_eq!(found.code_spans(), [(1, "src/x.rs".to_owned())]);
    }

    #[test]
    fn notices_another_output_but_not_another_time() {
        let base = std::path::Path::new("/tmp/somewhere/1-2");
        let same = |a: &str, b: &str| transcript::normal(a, base) == transcript::normal(b, base);
        assert!(same("Finished in 1.36s", "Finished in 22ms"));
        assert!(same("PASS [    0.012s] x", "PASS [    0.004s] x"));
        assert!(same("read `/tmp/somewhere/1-2/a/x`", "read `/home/me/a/x`"));
        assert!(same("landlock ABI 7", "landlock ABI 6"));
        assert!(same("    Blocking waiting for file lock on package cache\nx", "x"));
        assert!(!same("exit status 77", "exit status 78"));
        assert!(!same("read `/tmp/other/x`", "read `/home/me/x`"));
    }

    #[test]
    fn knows_the_statuses_by_the_source() {
        let rows =
            tables::statuses_of("/// 0: fine.\nFine,\n/// 69 (`EX_X`): no\n/// good.\n/// What else\n");
        assert_eq!(
            rows,
            [("0".to_owned(), "fine".to_owned()), ("69 (`EX_X`)".to_owned(), "no good".to_owned())]
        );
    }
}

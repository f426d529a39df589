//! Moves and links through the real binary, behind all walls: what the manifest protects stays where it is, in an
//! audit too, and what may move does.
use crate::common::Fixture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Does what its arguments say, a step at a time, and prints what came of each.
const PROGRAM: &str = r#"
use std::{fs, io::{self, Write}};

#[allow(deprecated)]
fn step(words: &[String]) -> io::Result<()> {
    let tmp = std::env::var("TMPDIR").unwrap_or_default();
    let at = |n: usize| words[n].replace("TMP", &tmp);
    match &*words[0] {
        "rename" => fs::rename(at(1), at(2)),
        "link" => fs::hard_link(at(1), at(2)),
        "symlink" => fs::soft_link(at(1), at(2)),
        "mkdir" => fs::create_dir_all(at(1)),
        "append" => fs::OpenOptions::new().append(true).create(true).open(at(1))?.write_all(b"+"),
        "read" => fs::read(at(1)).map(drop),
        other => panic!("{other}"),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    for words in args.split(|word| word == "--") {
        match step(words) {
            Ok(()) => println!("{}: works", words.join(" ")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => println!("{}: denied", words.join(" ")),
            Err(error) => println!("{}: {error}", words.join(" ")),
        }
    }
}
"#;

fn package(permissions: &str) -> Fixture {
    let manifest = format!(
        "[package]\nname = \"copy-file\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [package.metadata.sandbox]\n{permissions}"
    );
    Fixture::copy("copy-file")
        .manifest(|_| manifest)
        .file("src/main.rs", PROGRAM)
        .file("examples/tour.rs", "fn main() {}\n")
        .file("crates/a/Cargo.toml", "a")
        .file("crates/a/src/lib.rs", "a")
        .file("crates/a/.cargo/config.toml", "a")
        .file("crates/plain/deep/data.txt", "plain")
        .file("crates/empty/x", "x")
        .file("data/secret.pem", "secret")
        .file("data/open.txt", "open")
        .file("docs/guide/text.md", "text")
        .file("out/a/deep/f", "a")
        .file("out/b/.keep", "b")
}

/// Every file and link with its inode and contents, but for what cargo makes.
fn look_at(root: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            if path.ends_with("target") || path.ends_with("Cargo.lock") {
                continue;
            }
            if data.is_dir() {
                pending.push(path);
            } else {
                let contents = if data.is_symlink() { b"link".to_vec() } else { fs::read(&path).unwrap() };
                all.insert(path.strip_prefix(root).unwrap().to_owned(), (data.ino(), contents));
            }
        }
    }
    all
}

/// Runs the steps, each of which must end as it says, and gives the report.
#[track_caller]
fn attempt(fixture: &Fixture, flags: &[&str], steps: &[(&str, &str)]) -> Value {
    let words = steps.iter().map(|(step, _)| *step).collect::<Vec<_>>().join(" -- ");
    let (run, report) =
        fixture.run_with_report("run", &[&["-q"], flags].concat(), &words.split(' ').collect::<Vec<_>>());
    let wanted: Vec<String> = steps.iter().map(|(step, end)| format!("{step}: {end}")).collect();
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), wanted, "{}", run.stderr);
    report
}

/// The violations as `code path (allowed)`, beneath the package or the private directory.
fn violations(fixture: &Fixture, report: &Value) -> Vec<String> {
    let root = format!("{}/", fixture.dir().display());
    let shown = |violation: &Value| {
        let path = violation["resource"]["name"].as_str().expect("a path").replace(&root, "");
        let allowed = if violation["allowed"] == true { " let through" } else { "" };
        format!("{} {path}{allowed}", violation["operation"].as_str().expect("a code"))
    };
    report["targets"][0]["violations"].as_array().expect("a list").iter().map(shown).collect()
}

#[test]
fn a_directory_moves_only_with_what_may_move() {
    let fixture = package(
        "fs.write = [\"crates\", \"out/a\", \"out/b\", \"{tmp}\"]\nfs.read = [\"crates\", \"{tmp}\"]\nfs.deny = [\"crates/plain/key\"]",
    );
    let before = look_at(&fixture.dir());
    let report = attempt(
        &fixture,
        &[],
        &[
            ("rename crates/a crates/b", "denied"),
            ("rename crates/a TMP/a", "denied"),
            ("rename crates crates2", "denied"),
            ("mkdir TMP/evil/.cargo", "works"),
            ("append TMP/evil/build.rs", "works"),
            ("append TMP/evil/.cargo/config.toml", "works"),
            ("rename TMP/evil crates/evil", "denied"),
            ("mkdir TMP/pair/key", "works"),
            ("rename TMP/pair crates/plain", "denied"),
            ("symlink ../../Cargo.toml TMP/link", "denied"),
            ("link crates/a/Cargo.toml crates/x", "denied"),
            ("link crates/a/Cargo.toml TMP/x", "denied"),
            ("symlink TMP/evil crates/examples", "denied"),
        ],
    );
    assert_eq!(look_at(&fixture.dir()), before);
    let found = violations(&fixture, &report);
    assert!(
        found.iter().any(|violation| violation.ends_with("crates/a/Cargo.toml")
            || violation.contains("crates/a/.cargo")
            || violation.contains("crates/a/src")),
        "{found:#?}"
    );
    assert!(found.iter().any(|violation| violation.starts_with("fs-create crates/evil/")), "{found:#?}");
}

#[test]
fn a_directory_moves_between_siblings_with_the_same_grants_that_are_not_even_readable() {
    let fixture = package("fs.write = [\"crates\", \"out/a\", \"out/b\", \"{tmp}\"]");
    fs::remove_file(fixture.path("out/b/.keep")).unwrap();
    let steps = [("rename crates/plain crates/other", "works"), ("rename out/a out/b", "works")];
    let report = attempt(&fixture, &[], &steps);
    assert_eq!(violations(&fixture, &report), [""; 0]);
    assert_eq!(fixture.read("crates/other/deep/data.txt").as_deref(), Some("plain"));
    assert_eq!(fixture.read("out/b/deep/f").as_deref(), Some("a"));
}

#[test]
fn an_audit_moves_nothing_that_its_envelope_does_not_let_through() {
    let fixture = package("fs.deny = [\"data/secret.pem\"]");
    let before = look_at(&fixture.dir());
    let report = attempt(
        &fixture,
        &["--audit"],
        &[
            ("link Cargo.toml TMP/x", "denied"),
            ("link Cargo.toml linked", "denied"),
            ("link src/main.rs linked", "denied"),
            ("mkdir TMP/evil/.cargo", "works"),
            ("append TMP/evil/build.rs", "works"),
            ("append TMP/evil/.cargo/config.toml", "works"),
            ("rename TMP/evil evil", "denied"),
            ("rename TMP/evil crates/evil", "denied"),
            ("rename src gone", "denied"),
            ("rename examples TMP/gone", "denied"),
            ("rename crates/a crates/b", "denied"),
            ("rename data moved", "denied"),
            ("read moved/secret.pem", "No such file or directory (os error 44)"),
            ("symlink /etc/passwd link", "denied"),
            ("symlink ../outside.txt link", "denied"),
            ("symlink a/../../outside.txt link", "denied"),
            ("symlink TMP/evil examples2", "denied"),
        ],
    );
    assert_eq!(look_at(&fixture.dir()), before);
    let found = violations(&fixture, &report);
    let denied = |text: &str| found.iter().any(|violation| violation == text);
    assert!(denied("fs-create linked"), "{found:#?}");
    assert!(denied("fs-delete data/secret.pem") && denied("fs-create link"), "{found:#?}");
    assert!(found.iter().any(|violation| violation == "fs-delete data let through"), "{found:#?}");

    let report = attempt(
        &fixture,
        &["--audit"],
        &[
            ("rename docs/guide docs/moved", "works"),
            ("rename crates/plain crates/other", "works"),
            ("link data/open.txt linked", "works"),
            ("symlink open.txt data/link", "works"),
        ],
    );
    let found = violations(&fixture, &report);
    assert!(
        !found.is_empty() && found.iter().all(|violation| violation.ends_with("let through")),
        "{found:#?}"
    );
    assert_eq!(fixture.read("docs/moved/text.md").as_deref(), Some("text"));
    assert_eq!(fixture.read("crates/other/deep/data.txt").as_deref(), Some("plain"));
}

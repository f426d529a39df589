//! Transcripts: what is typed in a copy of a fixture, and what is printed.

use super::document::Document;
use crate::common::{Fixture, binary, command, run};
use std::path::Path;

/// What stands for the folder that the copy of a fixture is in.
const SOMEBODY: &str = "/home/me";

/// Runs every transcript of a document. `<!-- transcript: NAME -->` starts with a fresh copy of that fixture,
/// `<!-- transcript: continued -->` goes on in the copy of the one before. Gives how many there are.
pub(crate) fn play(document: &mut Document) -> usize {
    let mut fixture: Option<Fixture> = None;
    let mut count = 0;
    for index in 0..document.blocks.len() {
        let block = &document.blocks[index];
        let Some(name) = block.marker.strip_prefix("transcript:") else { continue };
        count += 1;
        match name.trim() {
            "continued" => assert!(fixture.is_some(), "{}:{}: after nothing", document.name, block.line),
            name => fixture = Some(Fixture::copy(name)),
        }
        let fixture = fixture.as_ref().expect("one was just made or was there");
        let base = fixture.dir().parent().expect("a copy has a folder of its own").to_owned();
        let mut status = 0;
        let mut played = String::new();
        for line in block.body.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let output = typed(fixture, line, &mut status);
            played.push_str(&format!("$ {line}\n{}", output.replace(&show(&base), SOMEBODY)));
            if !played.ends_with('\n') {
                played.push('\n');
            }
        }
        if normal(&block.body, &base) != normal(&played, &base) {
            document.expect(index, &without_noise(&played));
        }
    }
    count
}

/// Runs one line as a person's shell would, with both streams together as a terminal has them.
fn typed(fixture: &Fixture, line: &str, status: &mut i32) -> String {
    let mut shell = command("bash");
    let folder = binary().parent().expect("a binary is in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    // `$?` of the line before.
    let script = format!("exec 2>&1; (exit {status}); {line}");
    shell.args(["--norc", "-c", &script]).current_dir(fixture.dir()).env("PATH", path).env("LC_ALL", "C");
    let run = run(shell);
    *status = run.status;
    run.stdout
}

fn show(base: &Path) -> String {
    base.to_str().expect("a plain path").to_owned()
}

/// Lines that say how busy the machine is.
fn without_noise(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.trim_start().starts_with("Blocking waiting for file lock"))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The text with the differences taken out that two runs may have: times, folders, the kernel's Landlock ABI.
pub(crate) fn normal(text: &str, base: &Path) -> String {
    let text = without_noise(&text.replace(&show(base), SOMEBODY));
    // What `check` says of this machine's kernel, down to what it lacks.
    let text: String = text
        .split_inclusive('\n')
        .map(|line| if line.starts_with("kernel: ") { "kernel: …\n" } else { line })
        .collect();
    let mut abi = false;
    let words = text.split_inclusive([' ', '\n']).map(|word| {
        let bare = word.trim_end_matches([' ', '\n', ']']);
        let number = abi && bare.parse::<u32>().is_ok();
        abi = bare == "ABI";
        if number || is_time(bare) { word.replace(bare, "…") } else { word.to_owned() }
    });
    words.collect()
}

fn is_time(word: &str) -> bool {
    let number =
        word.strip_suffix("ms").or_else(|| word.strip_suffix("µs")).or_else(|| word.strip_suffix('s'));
    number.is_some_and(|number| {
        number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

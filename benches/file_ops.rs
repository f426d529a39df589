//! File operations of one and the same guest: native, under `wasmtime run`, and ours with and without the
//! kernel's wall. Measured by the guest itself, so that starting up does not count.
//!
//! `cargo bench --bench file_ops [-- MEASURE…]`; `ROUNDS=7` as many rounds as that.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::{Guest, OURS, alternate, command, contestant, head, rounds, row, wasmtime};

/// Operations in a row inside of the guest, which takes the best of forty such rows: short enough that some of
/// them are not interrupted on a busy machine.
const REPETITIONS: &[(&str, u32)] = &[
    ("open-read-close", 400),
    ("stat", 800),
    ("read", 1_000),
    ("write", 1_000),
    ("create-delete", 50),
    ("list-1000", 3),
    ("line-output", 2_000),
    ("open-denied", 20),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wasmtime = wasmtime();
    let guest = Guest::build("file-ops");
    println!("folder: {}", guest.folder.display());
    head("operation", &["native", "`wasmtime run`", "ours", "ours, `--landlock off`"]);
    for (measure, repetitions) in REPETITIONS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == measure) {
            continue;
        }
        let repetitions = repetitions.to_string();
        let here = |mut command: Command| {
            command.current_dir(&guest.folder);
            command
        };
        let ours = |flags: &[&str]| {
            let mut command = here(command(OURS));
            command.args(["run", "--release", "--quiet"]).args(flags).args(["--", measure, &repetitions]);
            figure(command, measure)
        };
        let peer = |program: &Path| here(command(program));
        let mut contestants = [
            contestant("native", || {
                let mut command = peer(&guest.native);
                command.args([measure, &*repetitions]);
                figure(command, measure)
            }),
            contestant("wasmtime", || {
                let mut command = peer(&wasmtime);
                command.args(["run", "--dir", "."]).arg(&guest.wasm).args([measure, &*repetitions]);
                figure(command, measure)
            }),
            contestant("ours", || ours(&[])),
            contestant("ours, landlock off", || ours(&["--landlock", "off"])),
        ];
        println!("{}", row(measure, &alternate(rounds(7), &mut contestants)));
    }
}

/// What the guest says of itself. A denied access is what `open-denied` is about: there the exit
/// status is not 0 under our walls, and the report stands before the figure.
fn figure(mut command: Command, measure: &str) -> f64 {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || measure == "open-denied", "{command:?}: {}\n{text}", output.status);
    let line = text.lines().rev().find_map(|line| line.strip_prefix(measure)?.trim().parse::<f64>().ok());
    line.unwrap_or_else(|| panic!("{command:?}: no figure in\n{text}"))
}

//! Sorting 10,000 numbers: what the walls cost where nothing passes through them. Native, under `wasmtime run`,
//! and ours with each of the two compilers.
//!
//! `cargo bench --bench sort`; `ROUNDS=7` as many rounds as that.

mod support;

use std::process::{Command, Stdio};
use support::{Guest, OURS, alternate, command, contestant, head, rounds, row, wasmtime};

fn main() {
    let wasmtime = wasmtime();
    let guest = Guest::build("sort");
    let run = |program: &std::ffi::OsStr, args: &[&str]| {
        let mut command = command(program);
        command.current_dir(&guest.folder).args(args).args(["sort-10000", "50"]);
        figure(command)
    };
    let ours =
        |compiler: &str| run(OURS.as_ref(), &["run", "--release", "--quiet", "--compiler", compiler, "--"]);
    let wasm = guest.wasm.to_str().expect("a plain path");
    head("sorting", &["native", "`wasmtime run`", "ours, Cranelift", "ours, Winch"]);
    let medians = alternate(
        rounds(7),
        &mut [
            contestant("native", || run(guest.native.as_ref(), &[])),
            contestant("wasmtime", || run(wasmtime.as_ref(), &["run", "--dir", ".", wasm])),
            contestant("cranelift", || ours("cranelift")),
            contestant("winch", || ours("winch")),
        ],
    );
    println!("{}", row("10,000 numbers", &medians));
}

fn figure(mut command: Command) -> f64 {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    let line = text.lines().find_map(|line| line.strip_prefix("sort-10000 ")?.parse().ok());
    line.unwrap_or_else(|| panic!("{command:?}: no figure in\n{text}"))
}

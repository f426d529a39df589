//! From the start of the process to its end, with nothing to compile and nothing to build: whole, against
//! `wasmtime run`, and by phase, which is figure A–E of the thesis this grew from.
//!
//! `cargo bench --bench startup`; `ROUNDS=21` as many rounds as that.

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use support::{Guest, OURS, alternate, command, head, median, output, process, rounds, row, shown, wasmtime};

fn main() {
    let wasmtime = wasmtime();
    let guest = Guest::build("startup");
    let precompiled = guest.folder.join("bench-guest.cwasm");
    output(command(&wasmtime).arg("compile").arg(&guest.wasm).arg("-o").arg(&precompiled));
    let rounds = rounds(41);
    let here = |mut command: Command| {
        command.current_dir(&guest.folder);
        command
    };
    let runner = |file: &std::path::Path, flags: &[&str]| {
        let mut command = here(command(OURS));
        command.args(["runner", "--no-manifest", "--quiet"]).args(flags).arg(file).arg("nothing");
        command
    };

    head(
        "one program that does nothing, built",
        &[
            "native",
            "precompiled, `wasmtime run`",
            "cached, `wasmtime run`",
            "ours, `runner`",
            "ours, `--landlock off`",
        ],
    );
    let medians = alternate(
        rounds,
        &mut [
            process("native", || {
                let mut command = here(command(&guest.native));
                command.arg("nothing");
                command
            }),
            process("precompiled", || {
                let mut command = here(command(&wasmtime));
                command.args(["run", "--allow-precompiled", "--dir", "."]).arg(&precompiled).arg("nothing");
                command
            }),
            process("cached", || {
                let mut command = here(command(&wasmtime));
                command.args(["run", "-C", "cache", "--dir", "."]).arg(&guest.wasm).arg("nothing");
                command
            }),
            process("ours", || runner(&guest.ours, &[])),
            process("ours, landlock off", || runner(&guest.ours, &["--landlock", "off"])),
        ],
    );
    println!("{}", row("whole process", &medians));
    println!("\nours / `wasmtime run --allow-precompiled`: {:.2} ×", medians[3] / medians[1]);

    println!("\n`runner`: where the time goes, from the start of the process");
    phases(rounds, || runner(&guest.ours, &["--timings"]));

    head(
        "a package with nothing to build",
        &[
            "`cargo run`, `wasmtime` as runner",
            "`cargo sandbox-run`",
            "`cargo-sandbox run`",
            "`cargo build` alone",
        ],
    );
    let beside = std::path::Path::new(OURS).parent().expect("it lies in a folder");
    let path = std::env::join_paths(
        std::iter::once(beside.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .expect("no colons");
    let cargo = |args: &[&str]| {
        let mut command = here(command("cargo"));
        command.env("PATH", &path).env("CARGO_TARGET_WASM32_WASIP1_RUNNER", "wasmtime run --dir .");
        command.args(args).args(["--release", "--quiet"]);
        command
    };
    let medians = alternate(
        rounds,
        &mut [
            process("cargo run", || {
                let mut command = cargo(&["run", "--target", "wasm32-wasip1"]);
                command.args(["--", "nothing"]);
                command
            }),
            process("cargo sandbox-run", || {
                let mut command = cargo(&["sandbox-run"]);
                command.args(["--", "nothing"]);
                command
            }),
            process("cargo-sandbox run", || {
                let mut command = here(command(OURS));
                command.args(["run", "--release", "--quiet", "--", "nothing"]);
                command
            }),
            process("cargo build", || cargo(&["build", "--target", "wasm32-wasip1"])),
        ],
    );
    println!("{}", row("whole command", &medians));

    println!("\n`cargo sandbox-run`: where the time goes, from the start of cargo");
    phases(rounds, || {
        let mut command = cargo(&["sandbox-run", "--timings"]);
        command.args(["--", "nothing"]);
        command
    });
}

/// The medians of what `--timings` says, each phase from the end of the one before.
fn phases(rounds: usize, mut make: impl FnMut() -> Command) {
    let mut times: BTreeMap<usize, (String, Vec<f64>)> = BTreeMap::new();
    for _ in 0..rounds {
        let mut command = make();
        command.stdin(Stdio::null());
        let mut last = now();
        let output = command.output().expect("it starts");
        let end = now();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line =
            text.lines().find_map(|line| line.strip_prefix("timings: ")).unwrap_or_else(|| panic!("{text}"));
        let words: Vec<&str> = line.split(' ').collect();
        let mut add = |index: usize, name: &str, time: f64| {
            let took = time - std::mem::replace(&mut last, time);
            times.entry(index).or_insert_with(|| (name.to_owned(), Vec::new())).1.push(took);
        };
        for (index, pair) in words.chunks(2).enumerate() {
            add(index, pair[0], pair[1].parse().expect("nanoseconds"));
        }
        add(words.len(), "report", end);
    }
    println!("\n| phase | median | since the start |\n|---|---|---|");
    let mut sum = 0.0;
    for (name, times) in times.into_values() {
        let time = median(times);
        sum += time;
        println!("| {name} | {} | {} |", shown(time), shown(sum));
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
fn now() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

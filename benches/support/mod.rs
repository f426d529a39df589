//! What the benchmarks share: the peers, scratch folders, alternating rounds, medians and ratios.
//!
//! A figure is only ever a ratio within one run: the contestants take turns, round by round, and the
//! medians of their times are compared. What is missing stops a benchmark; nothing is left out in silence.

#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its own part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Our binary, as `cargo bench` has built it.
pub const OURS: &str = env!("CARGO_BIN_EXE_cargo-sandbox");

/// The peer: `wasmtime` of the version that we are built on.
pub fn wasmtime() -> PathBuf {
    let found = which("wasmtime").expect("`wasmtime` is in PATH (`make tools`)");
    let version = output(Command::new(&found).arg("--version"));
    eprintln!("peer: {}", String::from_utf8_lossy(&version.stdout).trim());
    found
}

/// A program in `PATH`.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command with the toolchain that builds for WASI, and without what cargo says to benchmarks.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &str| name.starts_with("CARGO_") && name != "CARGO_HOME";
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name) || name == "RUSTFLAGS" || name == "CI") {
        command.env_remove(name);
    }
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    if let Ok(toolchain) = std::env::var("CARGO_SANDBOX_TEST_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

/// Runs it to its successful end.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs it to its successful end without looking at what it writes, and says how long that took.
pub fn time(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let elapsed = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    elapsed
}

/// An empty folder for this benchmark, in `CARGO_SANDBOX_BENCH_DIR` if that is set: how deep a folder
/// lies matters to what opens files by their absolute paths.
pub fn scratch(name: &str) -> PathBuf {
    let base = std::env::var_os("CARGO_SANDBOX_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = base.join(format!("bench-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder.canonicalize().expect("it was just made")
}

/// Copies a folder of this repository, but for what was built in it.
pub fn copy(from: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
    copy_all(&from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

pub fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                copy_all(&path, &to)?;
            }
        } else {
            std::fs::copy(path, to)?;
        }
    }
    Ok(())
}

/// The benchmarks' guest in a folder of its own, built in release.
pub struct Guest {
    /// Its package.
    pub folder: PathBuf,
    /// Built for this machine.
    pub native: PathBuf,
    /// Built by plain cargo.
    pub wasm: PathBuf,
    /// Built by `cargo sandbox run`.
    pub ours: PathBuf,
}

impl Guest {
    /// Copies and builds it.
    pub fn build(name: &str) -> Self {
        let folder = scratch(name);
        copy("benches/native", &folder);
        let cargo = |args: &[&str]| {
            output(command("cargo").args(args).current_dir(&folder));
        };
        cargo(&["build", "--release", "--quiet"]);
        cargo(&["build", "--release", "--quiet", "--target", "wasm32-wasip1"]);
        output(command(OURS).args(["run", "--release", "--quiet", "--", "nothing"]).current_dir(&folder));
        let native = folder.join("target/release/bench-guest");
        output(Command::new(&native).arg("prepare").current_dir(&folder));
        Self {
            wasm: folder.join("target/wasm32-wasip1/release/bench-guest.wasm"),
            ours: folder.join("target/sandbox/wasm32-wasip1/release/bench-guest.wasm"),
            native,
            folder,
        }
    }
}

/// One way to do a thing; each call is one round and answers what was measured, in nanoseconds.
pub struct Contestant<'a> {
    /// What the table calls it.
    pub name: &'a str,
    /// One round.
    pub round: Box<dyn FnMut() -> f64 + 'a>,
}

/// For a vector of contestants.
pub fn contestant<'a>(name: &'a str, round: impl FnMut() -> f64 + 'a) -> Contestant<'a> {
    Contestant { name, round: Box::new(round) }
}

/// Runs a command in each round.
pub fn process<'a>(name: &'a str, mut make: impl FnMut() -> Command + 'a) -> Contestant<'a> {
    contestant(name, move || time(&mut make()).as_nanos() as f64)
}

/// Lets them take turns, after one round each that does not count; the medians, in their order.
pub fn alternate(rounds: usize, contestants: &mut [Contestant<'_>]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let time = (contestant.round)();
            if round > 0 {
                times.push(time);
            }
        }
    }
    times.into_iter().map(median).collect()
}

/// The middle one.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Number of rounds: `ROUNDS=` in the environment, or this.
pub fn rounds(usual: usize) -> usize {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A time that fits into a column.
pub fn shown(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 10_000.0 => format!("{n:.0} ns"),
        n if n < 10_000_000.0 => format!("{:.1} µs", n / 1e3),
        n if n < 10e9 => format!("{:.1} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// A row of a Markdown table: the first contestant's time, and of every other its time and how many
/// times as long it took.
pub fn row(what: &str, medians: &[f64]) -> String {
    let mut row = format!("| {what} | {} |", shown(medians[0]));
    for time in &medians[1..] {
        row.push_str(&format!(" {} ({:.2} ×) |", shown(*time), time / medians[0]));
    }
    row
}

/// The head of such a table.
pub fn head(what: &str, names: &[&str]) {
    println!("\n| {what} | {} |", names.join(" | "));
    println!("|{}", "---|".repeat(names.len() + 1));
}

//! Whole suites: a thousand tests that do next to nothing, each isolated from the others, which is what isolation
//! costs; and the suites of three crates as people have them, cold, which is mostly what compiling costs.
//!
//! `cargo bench --bench suite [-- thousand|cold]`; `ROUNDS=3` as many rounds as that.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{
    OURS, alternate, command, contestant, copy, copy_all, head, output, process, rounds, row, scratch, shown,
    time, wasmtime, which,
};

/// Crates whose suites are run cold: name and version.
const CRATES: [(&str, &str); 3] = [("semver", "1.0.28"), ("uuid", "1.29.1"), ("regex-syntax", "0.8.11")];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let wasmtime = wasmtime();
    if is_wanted("thousand") {
        thousand();
    }
    if is_wanted("cold") {
        cold(&wasmtime);
    }
}

fn thousand() {
    which("cargo-nextest").expect("`cargo-nextest` is in PATH (`make tools`)");
    let folder = scratch("thousand");
    copy("fixtures/thousand", &folder);
    let cargo = |args: &[&str]| {
        let mut command = command("cargo");
        command
            .current_dir(&folder)
            .args(args)
            .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", "wasmtime run -C cache --dir .");
        command
    };
    let ours = || {
        let mut command = command(OURS);
        command.current_dir(&folder).args(["test", "--lib", "--quiet"]);
        command
    };
    let target = ["--target", "wasm32-wasip1"];
    let nextest = ["nextest", "run", "--lib"];
    output(&mut cargo(&["test", "--no-run", "--lib"]));
    output(&mut cargo(&[&["test", "--no-run", "--lib"], &target[..]].concat()));
    let said = output(&mut ours());
    let said = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    eprintln!("{}", said.lines().last().unwrap_or_default());

    head(
        "1,000 tests, each alone",
        &["ours", "nextest, `wasmtime run`", "nextest, native", "`cargo test --no-run` alone"],
    );
    let medians = alternate(
        rounds(3),
        &mut [
            process("ours", ours),
            process("nextest, wasmtime", || cargo(&[&nextest[..], &target].concat())),
            process("nextest, native", || cargo(&nextest)),
            process("nothing to build", || cargo(&[&["test", "--no-run", "--lib"], &target[..]].concat())),
        ],
    );
    println!("{}", row("whole command", &medians));
    println!(
        "\nours without the check that there is nothing to build: about {}",
        shown(medians[0] - medians[3])
    );
}

fn cold(wasmtime: &Path) {
    let folders: Vec<_> =
        CRATES.iter().map(|(name, version)| (*name, version, source(name, version))).collect();
    head("suite, compiled and run", &["`wasmtime run`", "ours"]);
    let mut sums = vec![0.0; 2];
    for (name, version, folder) in folders {
        // What fails under plain `wasmtime` too is the crate's own affair; that it runs at all is not.
        let suites = suites(&folder);
        let ours = || {
            let mut command = command(OURS);
            command.current_dir(&folder).args(["test", "--lib", "--tests", "--no-cache", "--quiet"]);
            command
        };
        let built = ours().output().expect("it starts");
        assert!(
            matches!(built.status.code(), Some(0 | 1 | 77 | 100 | 101)),
            "{name}: {}\n{}",
            built.status,
            String::from_utf8_lossy(&built.stderr)
        );
        let medians = alternate(
            rounds(3),
            &mut [
                contestant("wasmtime", || {
                    let times = suites.iter().map(|suite| {
                        let mut command = command(wasmtime);
                        command.current_dir(&folder).args(["run", "-C", "cache=n", "--dir", "."]).arg(suite);
                        any_end(command)
                    });
                    times.sum()
                }),
                contestant("ours", || any_end(ours())),
            ],
        );
        println!("{}", row(&format!("{name} {version}"), &medians));
        sums.iter_mut().zip(&medians).for_each(|(sum, median)| *sum += median);
    }
    println!("{}", row("all", &sums));
}

/// How long it runs, whatever it thinks of its tests.
fn any_end(mut command: Command) -> f64 {
    let start = std::time::Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.code().is_some()), "{command:?}");
    start.elapsed().as_nanos() as f64
}

/// The crate's source as cargo has it, in a folder of its own.
fn source(name: &str, version: &str) -> PathBuf {
    let fetch = scratch(&format!("fetch-{name}"));
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n{name} = \"={version}\"\n"
    );
    std::fs::create_dir(fetch.join("src")).expect("a scratch folder");
    std::fs::write(fetch.join("src/lib.rs"), "").expect("a scratch file");
    std::fs::write(fetch.join("Cargo.toml"), manifest).expect("a scratch file");
    let metadata = output(command("cargo").args(["metadata", "--format-version", "1"]).current_dir(&fetch));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == name).expect("it was asked for");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    let folder = scratch(name);
    copy_all(manifest.parent().expect("it lies in a folder"), &folder).expect("a copy of the source");
    let own = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&own).expect("it was just copied");
    if !text.contains("[workspace]") {
        std::fs::write(&own, text + "\n[workspace]\n").expect("a scratch file");
    }
    time(command("cargo").arg("generate-lockfile").current_dir(&folder));
    folder
}

/// The test programs that plain cargo builds.
fn suites(folder: &Path) -> Vec<PathBuf> {
    let built = output(
        command("cargo")
            .args([
                "test",
                "--no-run",
                "--lib",
                "--tests",
                "--target",
                "wasm32-wasip1",
                "--message-format",
                "json",
            ])
            .current_dir(folder),
    );
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}

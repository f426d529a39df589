//! What the tests of the real binary share: copies of fixtures, and runs of the binary in a scrubbed environment.
//!
//! Nothing here skips. What is missing on the machine is a panic that says how to get it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it, as its own")]

pub mod fixtures;

pub use crate::toolchain::toolchain;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a run of the binary may take before the test fails: a first build of a fixture on a busy machine
/// takes some seconds, and a hang must still end the suite.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cargo-sandbox"))
}

/// A folder for everything that tests leave until the next `cargo clean`.
fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Variables of the machine that would change what the binary, cargo or rustc do.
fn is_ambient(name: &str) -> bool {
    const PREFIXES: [&str; 12] = [
        "CARGO", "RUST", "CI_", "GITHUB_", "GITLAB_", "NEXTEST", "INSTA_", "CLICOLOR", "LD_", "XDG_", "TERM",
        "APP_",
    ];
    const NAMES: [&str; 9] =
        ["CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PWD", "OLDPWD", "TMPDIR", "MAKEFLAGS"];
    // Where cargo and rustup live is not a setting of a build.
    const KEPT: [&str; 2] = ["CARGO_HOME", "RUSTUP_HOME"];
    !KEPT.contains(&name) && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// `Command` for `program` without the ambient variables, with the WASI toolchain and folders of our own for caches
/// and configuration. Each copy of a fixture has its own target directory, as it would in a user's hands: in a shared
/// one, copies of the same fixture would replace each other's artifacts.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_none_or(is_ambient) {
            command.env_remove(name);
        }
    }
    if let Some(toolchain) = toolchain() {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TERM_COLOR", "never")
        .env("XDG_CACHE_HOME", scratch().join("cache"))
        .env("XDG_CONFIG_HOME", scratch().join("config"))
        .env("TERM", "dumb");
    command
}

/// The binary with these arguments, to be run in `dir`.
pub fn cargo_sandbox<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(dir: &Path, args: I) -> Command {
    let mut command = command(binary());
    command.current_dir(dir).args(args);
    command
}

/// What a run gave.
#[derive(Debug)]
pub struct Run {
    /// The exit status, or 128 and the number of the signal that ended it, as shells say it.
    pub status: i32,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Run {
    /// Asserts the exit status, and shows everything if it is another.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\n---- stdout\n{}\n---- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command to its end with empty standard input.
///
/// # Panics
/// If it cannot be started or takes longer than [`PATIENCE`].
#[track_caller]
pub fn run(mut command: Command) -> Run {
    run_any(&mut command)
}

#[track_caller]
fn run_any(command: &mut Command) -> Run {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stdout = collect(child.stdout.take().expect("it was piped"));
    let stderr = collect(child.stderr.take().expect("it was piped"));
    let status = wait(&mut child, PATIENCE);
    let elapsed = started.elapsed();
    let (stdout, stderr) = (stdout.join().expect("reading"), stderr.join().expect("reading"));
    let Some(status) = status else {
        panic!("{command:?} took longer than {PATIENCE:?}\n---- stdout\n{stdout}\n---- stderr\n{stderr}");
    };
    Run { status, stdout, stderr, elapsed }
}

/// Waits for a child and gives its status as [`Run::status`] does; after `patience` kills it and gives `None`.
pub fn wait(child: &mut Child, patience: Duration) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child of ours") {
            return Some(
                status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal")),
            );
        }
        if started.elapsed() > patience {
            child.kill().expect("killing a child of ours");
            child.wait().expect("waiting for a child of ours");
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A stream cut off by a killed child still holds what came before.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Does `body` in a process that runs nothing but the test `name`, which calls this.
pub fn alone(name: &str, body: impl FnOnce()) {
    const ALONE: &str = "CARGO_SANDBOX_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|test| test == name) {
        return body();
    }
    let own = std::env::current_exe().expect("our own path");
    let mut command = Command::new(own);
    let run = run_any(command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, name));
    assert!(run.stdout.contains("test result: ok. 1 passed;"), "{}\n{}", run.stdout, run.stderr);
}

/// A copy of a fixture, in a folder of its own that goes away with it.
#[derive(Debug)]
pub struct Fixture {
    name: String,
    base: PathBuf,
}

impl Fixture {
    /// Copies `fixtures/NAME`. Symbolic links stay links.
    ///
    /// # Panics
    /// If there is no such fixture or it cannot be copied.
    #[track_caller]
    pub fn copy(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = scratch().join("fixtures").join(format!("{}-{number}", std::process::id()));
        // The last folder is named like the fixture, so that messages read as in the original.
        let to = base.join(name);
        copy_tree(&root().join("fixtures").join(name), &to)
            .unwrap_or_else(|error| panic!("cannot copy the fixture `{name}`: {error}"));
        let base = base.canonicalize().expect("it was just made");
        // Something outside the package that a guest could reach.
        fs::write(base.join("outside.txt"), "outside\n").expect("a copy is ours to write");
        Self { name: name.to_owned(), base }
    }

    /// The root of the copy.
    pub fn dir(&self) -> PathBuf {
        self.base.join(&self.name)
    }

    /// A path beneath the root.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir().join(relative)
    }

    /// Rewrites the copy's Cargo.toml.
    #[must_use]
    #[track_caller]
    pub fn manifest(self, change: impl FnOnce(String) -> String) -> Self {
        self.rewrite("Cargo.toml", change)
    }

    /// Rewrites a file of the copy.
    #[must_use]
    #[track_caller]
    pub fn rewrite(self, relative: &str, change: impl FnOnce(String) -> String) -> Self {
        let path = self.path(relative);
        let before = fs::read_to_string(&path).expect("a file of the fixture");
        let after = change(before.clone());
        assert_ne!(
            before, after,
            "the change of `{relative}` of the fixture `{}` changes nothing",
            self.name
        );
        fs::write(&path, after).expect("a copy is ours to write");
        self
    }

    /// Writes a file of the copy, with the folders above it.
    #[must_use]
    pub fn file(self, relative: &str, text: &str) -> Self {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a copy is ours to write");
        fs::write(path, text).expect("a copy is ours to write");
        self
    }

    /// The text of a file of the copy, or `None` if there is no such file.
    pub fn read(&self, relative: &str) -> Option<String> {
        match fs::read_to_string(self.path(relative)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{relative}: {error}"),
        }
    }

    /// The number, from 1, of the one line of a source file that contains `text`.
    #[track_caller]
    pub fn line(&self, relative: &str, text: &str) -> u32 {
        let source = self.read(relative).unwrap_or_else(|| panic!("the fixture has no {relative}"));
        let lines: Vec<_> = (1..).zip(source.lines()).filter(|(_, line)| line.contains(text)).collect();
        assert_eq!(lines.len(), 1, "`{text}` must be on one line of {relative}, but is on {lines:?}");
        lines[0].0
    }

    /// A command of the binary in the root of the copy; add to it, then [`run`] it.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        cargo_sandbox(&self.dir(), args)
    }

    /// `cargo-sandbox run [FLAGS]` with a report, and both.
    #[track_caller]
    pub fn run_with_report(&self, command: &str, flags: &[&str], guest: &[&str]) -> (Run, serde_json::Value) {
        let report = self.base.join("report.json");
        let mut args: Vec<OsString> = vec![command.into(), "--report".into(), report.clone().into()];
        args.extend(flags.iter().map(OsString::from));
        if !guest.is_empty() {
            args.push("--".into());
            args.extend(guest.iter().map(OsString::from));
        }
        let run = run(self.command(args));
        let text = fs::read_to_string(&report)
            .unwrap_or_else(|error| panic!("no report ({error})\n---- stderr\n{}", run.stderr));
        let value = serde_json::from_str(&text).expect("a report is JSON");
        (run, value)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !thread::panicking() {
            // What cannot be removed stays below the target directory, where `cargo clean` finds it.
            let _ = fs::remove_dir_all(&self.base);
        }
    }
}

/// Copies a folder, leaving out what cargo makes in it.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            if entry.file_name() != "target" {
                copy_tree(&source, &target)?;
            }
        } else if entry.file_name() != "Cargo.lock" && entry.file_name() != ".gitkeep" {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

//! How doc tests are taken from cargo: it builds what they need and calls us in place of rustdoc, and
//! we only write down what it wants. rustdoc is then run by `test` itself, with arguments that are
//! known one by one.
//!
//! Cargo mixes its own arguments with `rustdocflags`, which a repository's configuration sets: those
//! could replace our runner, skip examples, or have rustdoc do something else altogether. So this is an
//! allow-list. What is not on it has no effect, and is named.

use super::{Error, WASIP1, sandbox_dir, variables};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name that cargo calls us by. It says all that has to be said: a variable could be set to
/// something else by the configuration's `[env]`.
const CALLED_AS: &str = "cargo-sandbox-rustdoc";
/// Where the call is written down, beside the link.
const CALL: &str = "call.json";
/// A call larger than this is none of cargo's, in bytes.
const MAX_CALL: u64 = 16 << 20;

/// Options that cargo gives once: the first one is its own.
const ONCE: [&str; 6] = ["crate-type", "crate-name", "edition", "sysroot", "target", "test-run-directory"];
/// Options that say how the crate and its examples are compiled, as often as they are given.
const KEPT: [&str; 11] = [
    "allow",
    "cap-lints",
    "cfg",
    "check-cfg",
    "codegen",
    "deny",
    "extern",
    "forbid",
    "force-warn",
    "library-path",
    "warn",
];
/// Their short forms.
const KEPT_SHORT: &[u8] = b"ACDFLW";
/// What cargo gives and we give otherwise: nobody has to be told.
const CARGOS: [&str; 8] = [
    "color",
    "diagnostic-width",
    "error-format",
    "json",
    "test",
    "test-args",
    "test-runtool",
    "test-runtool-arg",
];
/// Those of them that have no value.
const FLAGS: [&str; 1] = ["test"];
/// What of these cargo does not give to us, so that it is of `rustdocflags`.
const TELLING: [&str; 1] = ["test-args"];

/// A private folder with the link that cargo gets as its rustdoc, and room for examples. Removed on drop.
#[derive(Debug)]
pub struct RustdocDir(tempfile::TempDir);

impl RustdocDir {
    /// Makes it. `program` is our own executable, which has to begin with [`run_if_called`](super::wrapper::run_if_called).
    ///
    /// # Errors
    /// The target directory cannot be written.
    pub fn new(program: &Path, target_dir: &Path) -> Result<Self, Error> {
        let folder = sandbox_dir(target_dir).join(".cargo-sandbox");
        let make = || {
            fs::create_dir_all(&folder)?;
            let place =
                tempfile::Builder::new().prefix("examples-").tempdir_in(fs::canonicalize(&folder)?)?;
            std::os::unix::fs::symlink(program, place.path().join(CALLED_AS))?;
            Ok(Self(place))
        };
        make().map_err(|error: io::Error| {
            Error::failed(format!("cannot write to `{}`: {error}", folder.display()))
        })
    }

    /// What cargo is to call as rustdoc.
    pub fn link(&self) -> PathBuf {
        self.0.path().join(CALLED_AS)
    }

    /// The folder for what rustdoc makes of the examples.
    pub fn examples(&self) -> PathBuf {
        self.0.path().join("built")
    }

    /// What cargo called; `None` if it did not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn call(&self) -> Result<Option<Call>, Error> {
        use std::io::Read;
        let failed = |error: &dyn std::fmt::Display| {
            Error::failed(format!("cannot read what cargo wanted of rustdoc: {error}"))
        };
        let mut text = Vec::new();
        match fs::File::open(self.0.path().join(CALL)) {
            Ok(file) => file.take(MAX_CALL).read_to_end(&mut text).map_err(|error| failed(&error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| failed(&error))
    }
}

/// One call of rustdoc by cargo.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    current_dir: OsString,
}

/// Writes the call down if cargo called us as its rustdoc: whether it could, or `None` if it did not.
pub(super) fn note_if_called() -> Option<io::Result<()>> {
    let called_as = PathBuf::from(std::env::args_os().next()?);
    let folder = called_as.parent().filter(|folder| folder.is_absolute())?;
    if called_as.file_name()? != CALLED_AS {
        return None;
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !args.iter().any(|arg| arg == "--test") {
        // A question such as `-vV`, whose answer does not matter here.
        return Some(Err(Command::new("rustdoc").args(args).exec()));
    }
    let note = || {
        let call = Call {
            args,
            env: std::env::vars_os().collect(),
            current_dir: std::env::current_dir()?.into_os_string(),
        };
        // Not a second one: which of two calls is meant nobody could tell.
        let file = OpenOptions::new().write(true).create_new(true).open(folder.join(CALL))?;
        Ok(serde_json::to_writer(file, &call)?)
    };
    Some(note())
}

/// rustdoc for the examples of one library.
#[derive(Clone, Debug)]
pub struct Rustdoc {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    current_dir: PathBuf,
    target: Option<OsString>,
    /// Our own executable: it stands where examples are to be run that must not be.
    ours: OsString,
    /// Options of `rustdocflags` that have no effect, as written.
    pub dropped: Vec<String>,
}

impl Rustdoc {
    /// From what cargo wanted of it. `program` is the rustdoc that cargo would have called, `source` the
    /// root of the library, `ours` our own executable.
    pub fn new(program: OsString, call: Call, source: &Path, ours: &Path) -> Self {
        let Call { args, env, current_dir } = call;
        let current_dir = PathBuf::from(current_dir);
        let (mut kept, target, dropped) = sorted_out(&args);
        // As cargo names it, which is how tests are named.
        let source = source.strip_prefix(&current_dir).unwrap_or(source);
        kept.extend(["--test".into(), source.into()]);
        Self { program, args: kept, env, current_dir, target, ours: ours.into(), dropped }
    }

    /// Whether the examples are built for guests. Those of a procedural macro are native programs.
    pub fn is_for_guests(&self) -> bool {
        self.target.as_deref().is_some_and(|target| target == WASIP1)
    }

    /// Whether unstable options need no permission; `false` also if it cannot be run.
    pub fn is_nightly(&self) -> bool {
        let allowed = self.env.iter().any(|(name, value)| name == "RUSTC_BOOTSTRAP" && value == "1");
        let version = || self.bare().arg("--version").stderr(Stdio::null()).output();
        allowed
            || version().is_ok_and(|output| {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.contains("-nightly") || text.contains("-dev")
            })
    }

    /// rustdoc without any of cargo's arguments.
    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().current_dir(&self.current_dir).stdin(Stdio::null());
        let harness = |name: &OsStr| name.as_bytes().starts_with(b"RUST_TEST_");
        let foreign = |name: &OsStr| variables::is_ours(name) || harness(name) || is_the_users(name);
        command.envs(self.env.iter().filter(|(name, _)| !foreign(name)).cloned());
        command.envs(std::env::vars_os().filter(|(name, _)| is_the_users(name)));
        command
    }

    /// rustdoc as cargo wants it, each example a program of its own, and run by `runner` only.
    fn command(&self, runner: &[OsString], words: &[String]) -> Command {
        let mut command = self.bare();
        command.args(&self.args);
        if let [program, args @ ..] = runner {
            command.arg("--test-runtool").arg(program);
            for arg in args {
                command.arg("--test-runtool-arg").arg(arg);
            }
        }
        // Only this has rustdoc put no two examples into one program, and so have it list tests without
        // running any.
        command.arg("--test-args=--show-output");
        command.args(words.iter().map(|word| format!("--test-args={word}")));
        command
    }

    /// Lists the examples that the words of libtest choose. Nothing is compiled or run.
    pub fn list(&self, words: &[String]) -> Command {
        let mut command = self.only_build(words);
        command.arg("--test-args=--list");
        command
    }

    /// Builds the chosen examples in `folder`, where each has a folder of its own, and runs them.
    pub fn run(&self, words: &[String], runner: &[OsString], folder: &Path) -> Command {
        let mut command = self.command(runner, words);
        if !self.is_nightly() {
            // To name the folder is unstable. What examples may use stays as it is.
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zallow-features=");
        }
        command.args(["-Zunstable-options", "--persist-doctests"]).arg(folder);
        command
    }

    /// Builds the chosen examples and runs none, without anything that is unstable.
    pub fn only_build(&self, words: &[String]) -> Command {
        self.command(&[self.ours.clone(), "__nothing".into()], words)
    }

    /// Builds an example of ours in an empty `folder`, which fails only if no other can be built.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn trial(&self, folder: &Path) -> io::Result<Command> {
        let source = folder.join("trial.rs");
        fs::write(&source, "/// ```\n/// ```\npub fn documented() {}\n")?;
        let mut command = self.bare();
        // What the configuration sets must not make it fail: only which toolchain it is, cargo may know alone.
        let known = |name: &OsStr| std::env::var_os(name).is_some();
        let toolchain = |name: &OsStr| name == "RUSTUP_TOOLCHAIN" || name == "LD_LIBRARY_PATH";
        command.env_clear().envs(std::env::vars_os());
        command.envs(self.env.iter().filter(|(name, _)| toolchain(name) && !known(name)).cloned());
        command.current_dir(folder).args(["--edition=2021", "--test", "--target", WASIP1]);
        command.arg("--test-runtool").arg(&self.ours).args(["--test-runtool-arg", "--version"]);
        command.arg(source);
        Ok(command)
    }
}

/// Whether this can be the value of an option that is kept: none of them looks like an option.
fn is_value(arg: &OsString) -> bool {
    !arg.as_bytes().starts_with(b"-")
}

/// Whether the configuration has no say in a variable: rustdoc needs it to work at all.
fn is_the_users(name: &OsStr) -> bool {
    ["HOME", "PATH", "TMPDIR"].iter().any(|users| name == *users)
}

/// The arguments that are kept, the target, and the options that are not, as written.
fn sorted_out(args: &[OsString]) -> (Vec<OsString>, Option<OsString>, Vec<String>) {
    let (mut kept, mut target, mut dropped) = (Vec::new(), None, Vec::<String>::new());
    let mut once: Vec<&str> = Vec::new();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if let Some(option) = bytes.strip_prefix(b"--").filter(|option| !option.is_empty()) {
            let (name, joined) = match option.iter().position(|byte| *byte == b'=') {
                Some(at) => (&option[..at], Some(OsString::from_vec(option[at + 1..].to_vec()))),
                None => (option, None),
            };
            let name = std::str::from_utf8(name).unwrap_or_default();
            let once_more = once.contains(&name);
            let known = ONCE.iter().chain(&KEPT).chain(&CARGOS).find(|known| **known == name);
            let is_flag = FLAGS.contains(&name);
            let has_value = joined.is_none() && known.is_some() && !is_flag;
            // What is missing in the configuration must not take cargo's next option.
            let any = CARGOS.contains(&name);
            let value = joined.or_else(|| args.next_if(|next| has_value && (any || is_value(next))).cloned());
            match (known, value) {
                (Some(known), Some(value)) if ONCE.contains(known) && !once_more => {
                    once.push(known);
                    if *known == "target" {
                        target = Some(value.clone());
                    }
                    kept.extend([OsString::from(format!("--{known}")), value]);
                }
                (Some(known), Some(value)) if KEPT.contains(known) && value != "help" => {
                    kept.extend([OsString::from(format!("--{known}")), value]);
                }
                (Some(known), _) if CARGOS.contains(known) && !TELLING.contains(known) => {}
                _ => dropped.push(format!("--{name}")),
            }
        } else if let [b'-', letter, joined @ ..] = bytes {
            let is_kept = KEPT_SHORT.contains(letter);
            let value = match joined {
                [] => args.next_if(|next| is_kept && is_value(next)).cloned(),
                _ => Some(OsString::from_vec(joined.to_vec())),
            };
            match value {
                Some(value) if is_kept && value != "help" => {
                    kept.extend([OsString::from(format!("-{}", char::from(*letter))), value]);
                }
                _ if bytes == b"--" => {}
                _ => dropped.push(arg.to_string_lossy().into_owned()),
            }
        }
        // Everything else names an input, and that is known.
    }
    dropped.sort();
    dropped.dedup();
    (kept, target, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cargo 1.95 calls it, with the configuration's flags where it puts them.
    fn call(flags: &[&str]) -> Vec<OsString> {
        let before = "--edition=2024 --crate-type lib --color auto --crate-name l --test src/lib.rs \
            --test-run-directory /l --target wasm32-wasip1 --test-runtool wasmtime \
            --test-runtool-arg --dir=/ --extern l=/l/libl.rlib -L dependency=/l/deps -C embed-bitcode=no \
            --check-cfg cfg(docsrs,test)";
        let words = before.split_whitespace().chain(flags.iter().copied()).chain(["--error-format", "human"]);
        words.map(OsString::from).collect()
    }

    fn kept(flags: &[&str]) -> (String, Vec<String>) {
        let (kept, target, dropped) = sorted_out(&call(flags));
        assert_eq!(target.unwrap(), "wasm32-wasip1");
        let kept: Vec<_> = kept.iter().map(|arg| arg.to_string_lossy()).collect();
        (kept.join(" "), dropped)
    }

    const PLAIN: &str = "--edition 2024 --crate-type lib --crate-name l --test-run-directory /l \
        --target wasm32-wasip1 --extern l=/l/libl.rlib -L dependency=/l/deps -C embed-bitcode=no \
        --check-cfg cfg(docsrs,test)";

    #[test]
    fn only_what_is_known_reaches_rustdoc() {
        assert_eq!(kept(&[]), (PLAIN.to_owned(), Vec::new()));
        for (flags, more) in [
            (&["--cfg", "docsrs"][..], " --cfg docsrs"),
            (&["--cfg=a", "-Dwarnings", "-A", "dead_code"], " --cfg a -D warnings -A dead_code"),
            (&["--codegen", "opt-level=1"], " --codegen opt-level=1"),
        ] {
            assert_eq!(kept(flags), (format!("{PLAIN}{more}"), Vec::new()));
        }
        for flags in [
            &["--test-args=--skip=a"][..],
            &["--test-args", "--list"],
            &["--help"],
            &["-h"],
            &["-hV"],
            &["--version"],
            &["--no-run"],
            &["--no-capture"],
            &["--persist-doctests", "/tmp"],
            &["--test-builder=/bin/true"],
            &["--test-builder-wrapper", "/bin/true"],
            &["--merge-doctests=yes"],
            &["--output-format", "json"],
            &["--show-coverage"],
            &["--print=cfg"],
            &["-Zunstable-options"],
            &["-Z", "parse-crate-root-only"],
            &["--target=x86_64-unknown-linux-gnu"],
            &["--crate-name", "other"],
            &["--test-run-directory", "/"],
            &["-Chelp"],
            &["--warn", "help"],
            &["--cfg"],
            &["-L"],
        ] {
            let (kept, dropped) = kept(flags);
            assert_eq!(kept, PLAIN, "{flags:?}");
            assert_eq!(dropped.len(), 1, "{dropped:?}");
        }
        // They take the place of what cargo gives, and so of what we give.
        for flags in [
            &["--test-runtool", "/bin/true"][..],
            &["--test-runtool=/bin/true", "--test-runtool-arg=x"],
            &["other.md", "@file", "-", "--"],
        ] {
            assert_eq!(kept(flags), (PLAIN.to_owned(), Vec::new()), "{flags:?}");
        }
    }

    #[test]
    fn a_call_without_a_target_is_a_native_one() {
        let call = |args: &[&str]| Call {
            args: args.iter().map(OsString::from).collect(),
            current_dir: "/l".into(),
            ..Call::default()
        };
        let rustdoc = |args: &[&str]| {
            Rustdoc::new("rustdoc".into(), call(args), Path::new("/l/src/lib.rs"), Path::new("/us"))
        };
        assert!(!rustdoc(&["--crate-type", "proc-macro"]).is_for_guests());
        assert!(!rustdoc(&["--target", "x86_64-unknown-linux-gnu"]).is_for_guests());
        let guests = rustdoc(&["--target", WASIP1]);
        assert!(guests.is_for_guests());
        assert_eq!(guests.args.last().unwrap(), "src/lib.rs");
    }
}

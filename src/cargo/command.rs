//! The cargo command that builds guests, and what it makes.

use super::workspace::{Package, TargetKind, Workspace};
use super::{CargoFlags, Error, ErrorKind, WASIP1, cargo, manifest_error, sandbox_dir, wrapper};
use cargo_metadata::Message;
use rustix::process::{Pid, Signal};
use sandbox_policy::diagnostic::Diagnostic;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which targets to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFlags {
    pub lib: bool,
    pub bins: bool,
    pub examples: bool,
    pub tests: bool,
    pub benches: bool,
    pub all_targets: bool,
    pub bin: Vec<String>,
    pub example: Vec<String>,
    pub test: Vec<String>,
    pub bench: Vec<String>,
}

/// What to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// `cargo build`: programs.
    Programs,
    /// `cargo test --no-run`: tests of every kind.
    Tests,
    /// `cargo test --doc`: what the examples of documentation need; rustdoc is to be ours.
    DocTests,
}

/// A child command. Its `Display` can be pasted into a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoCommand {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
}

impl CargoCommand {
    /// `cargo SUBCOMMAND`, with the cargo of [`cargo`].
    pub fn new(subcommand: &str) -> Self {
        Self { program: cargo(), args: vec![subcommand.into()], env: Vec::new(), current_dir: None }
    }

    /// The build of guests: the caller's flags, our target, our target directory, our wrapper.
    /// `program` is what cargo calls in place of rustc, and has to begin with
    /// [`wrapper::run_if_called`]: our own executable.
    ///
    /// # Errors
    /// The folder for our wrapper cannot be made.
    pub fn build(
        program: &Path,
        goal: Goal,
        workspace: &Workspace,
        flags: &CargoFlags,
        targets: &TargetFlags,
    ) -> Result<Self, Error> {
        let folder = sandbox_dir(&workspace.target_dir);
        let mut command = match goal {
            Goal::Programs => Self::new("build"),
            Goal::Tests => Self::new("test").args(["--no-run"]),
            Goal::DocTests => Self::new("test").args(["--doc"]),
        };
        flags.common(&mut command.args);
        flags.feature_flags(&mut command.args);
        command.selection(flags, targets);
        command = command
            .args(["--target", WASIP1, "--message-format", "json-render-diagnostics", "--target-dir"])
            .args([&folder]);
        command.env = wrapper::prepare(program, &folder, flags, &workspace.current_dir)?;
        if goal == Goal::Tests {
            command.env.extend(debug_of_dependencies(flags));
        }
        command.current_dir = Some(workspace.current_dir.clone());
        Ok(command)
    }

    /// The same command, run in `folder`.
    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.current_dir = Some(folder.to_owned());
        self
    }

    /// The same command with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    fn selection(&mut self, flags: &CargoFlags, targets: &TargetFlags) {
        let mut value = |flag: &str, value: &str| self.args.extend([flag.into(), value.into()]);
        flags.packages.iter().for_each(|package| value("--package", package));
        flags.exclude.iter().for_each(|package| value("--exclude", package));
        flags.profile.iter().for_each(|profile| value("--profile", profile));
        flags.jobs.iter().for_each(|jobs| value("--jobs", jobs));
        flags.color.iter().for_each(|color| value("--color", color));
        targets.bin.iter().for_each(|name| value("--bin", name));
        targets.example.iter().for_each(|name| value("--example", name));
        targets.test.iter().for_each(|name| value("--test", name));
        targets.bench.iter().for_each(|name| value("--bench", name));
        for (given, flag) in [
            (flags.workspace, "--workspace"),
            (flags.release, "--release"),
            (flags.quiet, "--quiet"),
            (targets.lib, "--lib"),
            (targets.bins, "--bins"),
            (targets.examples, "--examples"),
            (targets.tests, "--tests"),
            (targets.benches, "--benches"),
            (targets.all_targets, "--all-targets"),
        ] {
            if given {
                self.args.push(flag.into());
            }
        }
        self.args.extend((0..flags.verbose).map(|_| OsString::from("--verbose")));
    }

    /// The command for [`std::process`].
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        command
    }

    /// Runs `cargo metadata` to its end and returns what it says.
    ///
    /// # Errors
    /// Cargo cannot be started, or a manifest is missing or wrong.
    pub(super) fn answer(&self) -> Result<Vec<u8>, Error> {
        let output = self
            .to_command()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| Error::failed(format!("cannot run `{self}`: {error}")))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let folder = self.current_dir.as_deref().unwrap_or(Path::new(""));
        Err(manifest_error::error(&String::from_utf8_lossy(&output.stderr), folder))
    }

    /// Reads such an answer.
    ///
    /// # Errors
    /// It is not what was expected.
    pub(super) fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(answer)
            .map_err(|error| Error::failed(format!("cannot read what `{self}` says: {error}")))
    }

    /// Starts a build made by [`CargoCommand::build`]. What cargo and rustc say goes to our standard
    /// error as they write it.
    ///
    /// # Errors
    /// Cargo cannot be started.
    pub fn spawn(&self) -> Result<Build, Error> {
        // A group of its own, so that cargo and every rustc and build script can be ended together.
        let mut child =
            self.to_command().stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().map_err(
                |error| Error::failed(format!("cannot run `{}`: {error}", self.program.to_string_lossy())),
            )?;
        let stdout = child.stdout.take();
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let interrupt = Interrupt(Arc::new(Mutex::new(State { group, stopped: false })));
        Ok(Build { child, stdout, interrupt })
    }
}

impl fmt::Display for CargoCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{}={} ", name.to_string_lossy(), quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// Optimised dependencies tell with debug information alone what was inlined into their functions,
/// which decides over `#[should_panic]` tests. Those of the dev profile have it.
fn debug_of_dependencies(flags: &CargoFlags) -> Option<(OsString, OsString)> {
    let profile = flags.profile.as_deref().or(flags.release.then_some("release"))?;
    if matches!(profile, "dev" | "test") {
        return None;
    }
    let name = format!("CARGO_PROFILE_{}_DEBUG", profile.to_uppercase().replace('-', "_"));
    std::env::var_os(&name).is_none().then(|| (name.into(), "limited".into()))
}

/// As a POSIX shell reads it.
fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

struct State {
    /// `None` as soon as the child is reaped: its number may then be another process's.
    group: Option<Pid>,
    stopped: bool,
}

/// Ends a build from another thread.
#[derive(Clone)]
pub struct Interrupt(Arc<Mutex<State>>);

impl Interrupt {
    /// Ends cargo and all that it started: the first time by asking, then by force.
    pub fn stop(&self) {
        let mut state = self.lock();
        // Not SIGINT, which a shell that started us in the background has made everything here ignore.
        let signal = if state.stopped { Signal::KILL } else { Signal::TERM };
        state.stopped = true;
        if let Some(group) = state.group {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A build that goes on.
pub struct Build {
    child: Child,
    stdout: Option<std::process::ChildStdout>,
    interrupt: Interrupt,
}

impl Build {
    /// What ends it from elsewhere.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] without a diagnostic if cargo failed: it has said why; with one if its
    /// messages contradict each other; [`ErrorKind::Interrupted`] after [`Interrupt::stop`].
    pub fn artifacts(mut self, workspace: &Workspace) -> Result<Built, Error> {
        let mut built = Built::default();
        let mut unreadable = None;
        if let Some(stdout) = self.stdout.take() {
            for message in Message::parse_stream(BufReader::new(stdout)) {
                match message {
                    Ok(Message::CompilerArtifact(artifact)) => {
                        built.add(artifact, workspace);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        unreadable = Some(error);
                        break;
                    }
                }
            }
        }
        let status = self.child.wait();
        let mut state = self.interrupt.lock();
        state.group = None;
        if state.stopped {
            return Err(Error { kind: ErrorKind::Interrupted, diagnostic: None });
        }
        drop(state);
        match (status, unreadable) {
            (Ok(status), None) if status.success() => {
                let Built { guests, native_tests } = built;
                Ok(Built {
                    guests: consistent(guests, workspace)?,
                    native_tests: consistent(native_tests, workspace)?,
                })
            }
            (Ok(status), _) if status.code().is_some_and(|code| code != 0) => {
                Err(Error { kind: ErrorKind::Failed, diagnostic: None })
            }
            (Ok(_), Some(error)) => Err(Error::failed(format!("cannot read cargo's messages: {error}"))),
            (Ok(status), None) => Err(Error::failed(format!("cargo was ended by {status}"))),
            (Err(error), _) => Err(Error::failed(format!("cannot wait for cargo: {error}"))),
        }
    }
}

/// Cargo passes on what rustc prints, and with it what a procedural macro prints: that may look like a
/// message of cargo's. Building is trusted, but what runs must not depend on who prints first: each target
/// is one that its package has, and has one file.
fn consistent(mut artifacts: Vec<Artifact>, workspace: &Workspace) -> Result<Vec<Artifact>, Error> {
    artifacts.sort_by(|a, b| (&a.package, a.kind, &a.name).cmp(&(&b.package, b.kind, &b.name)));
    let mut files: HashMap<_, &Path> = HashMap::new();
    for artifact in &artifacts {
        let package = workspace.packages.iter().find(|package| package.id == artifact.package_id);
        let known = |package: &Package| {
            package.targets.iter().any(|one| one.kind == artifact.kind && one.name == artifact.name)
        };
        let key = (&artifact.package_id, artifact.kind, &artifact.name, artifact.test);
        let first = files.entry(key).or_insert(&artifact.file);
        let wrong = if *first != artifact.file {
            Some(format!("is both `{}` and `{}`", first.display(), artifact.file.display()))
        } else if package.is_some_and(known) {
            None
        } else {
            Some(format!("is `{}`, but there is no such target", artifact.file.display()))
        };
        if let Some(wrong) = wrong {
            let Artifact { name, package, .. } = artifact;
            let message = format!("cargo's messages cannot be trusted: `{name}` of {package} {wrong}");
            let diagnostic = Diagnostic::error("artifact", message).help(
                "something that runs during the build prints lines that look like cargo's; nothing was run",
            );
            return Err(Error::new(ErrorKind::Failed, diagnostic));
        }
    }
    artifacts.dedup_by(|a, b| a.file == b.file && a.package_id == b.package_id);
    Ok(artifacts)
}

/// A WebAssembly file, or a native test harness, that cargo made or found fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Cargo's name for exactly this package.
    pub package_id: String,
    /// Name of the package.
    pub package: String,
    pub version: String,
    /// The folder of its manifest: where `cargo test` runs tests.
    pub package_root: PathBuf,
    /// Name of the target.
    pub name: String,
    pub kind: TargetKind,
    pub file: PathBuf,
    /// It is a test harness (or takes the place of one).
    pub test: bool,
    /// The folder below the target's: `debug`, `release`, or the profile's name.
    pub profile: String,
    /// It was there already.
    pub fresh: bool,
}

/// What a build made, each by package, kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// The WebAssembly files that can run.
    pub guests: Vec<Artifact>,
    /// Test harnesses that are programs of this machine: cargo builds those of procedural macros so,
    /// whatever the target is. No wall would hold them.
    pub native_tests: Vec<Artifact>,
}

impl Built {
    fn add(&mut self, message: cargo_metadata::Artifact, workspace: &Workspace) {
        let Some(file) =
            message.executable.clone().map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
        else {
            return;
        };
        let is_guest = file.extension().is_some_and(|extension| extension == "wasm");
        if !is_guest && !message.profile.test {
            return;
        }
        let list = if is_guest { &mut self.guests } else { &mut self.native_tests };
        list.extend(Artifact::from_message(message, file, workspace));
    }
}

impl Artifact {
    fn from_message(message: cargo_metadata::Artifact, file: PathBuf, workspace: &Workspace) -> Option<Self> {
        let package = workspace.packages.iter().find(|package| package.id == message.package_id.repr)?;
        let below = file.strip_prefix(sandbox_dir(&workspace.target_dir).join(WASIP1)).ok();
        let profile = below.and_then(Path::iter_first).unwrap_or_default();
        Some(Self {
            package_id: message.package_id.repr,
            package: package.name.clone(),
            version: package.version.clone(),
            package_root: package.root.clone(),
            name: message.target.name.clone(),
            kind: TargetKind::of(&message.target),
            profile,
            file,
            test: message.profile.test,
            fresh: message.fresh,
        })
    }
}

/// The first component of a relative path, as text.
trait IterFirst {
    fn iter_first(&self) -> Option<String>;
}

impl IterFirst for Path {
    fn iter_first(&self) -> Option<String> {
        self.iter().next().map(|name| name.to_string_lossy().into_owned())
    }
}

//! Cargo: what it says of the workspace, the build, and what came out of it.
//!
//! Nothing here decides what a guest may do, and nothing here runs one.

pub mod command;
pub mod config;
mod manifest_error;
pub mod metadata;
mod metadata_cache;
pub mod object;
pub mod owner;
pub mod rustdoc;
pub mod select;
pub mod target;
mod variables;
mod workspace;
pub mod wrapper;

use sandbox_policy::diagnostic::Diagnostic;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The target that guests are built for.
pub const WASIP1: &str = "wasm32-wasip1";

/// Cargo's own flags, as the user gave them: each means what it means in cargo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CargoFlags {
    pub manifest_path: Option<PathBuf>,
    /// `-p`, `--package`
    pub packages: Vec<String>,
    pub workspace: bool,
    pub exclude: Vec<String>,
    /// `-F`, `--features`
    pub features: Vec<String>,
    pub all_features: bool,
    pub no_default_features: bool,
    pub profile: Option<String>,
    /// `-r`, `--release`
    pub release: bool,
    pub target_dir: Option<PathBuf>,
    pub locked: bool,
    pub offline: bool,
    pub frozen: bool,
    /// `-j`, `--jobs`
    pub jobs: Option<String>,
    /// `--config`, in order
    pub config: Vec<String>,
    pub color: Option<String>,
    /// `-q`, `--quiet`
    pub quiet: bool,
    /// `-v`, once or more often
    pub verbose: u8,
    /// `-Z`
    pub unstable: Vec<String>,
}

impl CargoFlags {
    /// Whether cargo was told not to use the network.
    pub fn is_offline(&self) -> bool {
        self.offline || self.frozen
    }

    /// Flags that every cargo command takes, `metadata` included.
    fn common(&self, args: &mut Vec<OsString>) {
        if let Some(path) = &self.manifest_path {
            args.extend(["--manifest-path".into(), path.into()]);
        }
        for (given, flag) in
            [(self.locked, "--locked"), (self.offline, "--offline"), (self.frozen, "--frozen")]
        {
            if given {
                args.push(flag.into());
            }
        }
        for (flag, values) in [("--config", &self.config), ("-Z", &self.unstable)] {
            for value in values {
                args.extend([flag.into(), value.into()]);
            }
        }
    }

    /// `--features` and its relatives.
    fn feature_flags(&self, args: &mut Vec<OsString>) {
        for features in &self.features {
            args.extend(["--features".into(), features.into()]);
        }
        if self.all_features {
            args.push("--all-features".into());
        }
        if self.no_default_features {
            args.push("--no-default-features".into());
        }
    }
}

/// What kind of failure it is, from which the exit status follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line asks for what is not there: no such binary, several and none chosen.
    Usage,
    /// A `Cargo.toml` is missing, unreadable or wrong.
    Manifest,
    /// The build failed, or cannot be started.
    Failed,
    /// Somebody stopped it.
    Interrupted,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What to say of it; `None` where cargo has said everything on standard error.
    pub diagnostic: Option<Box<Diagnostic>>,
}

impl Error {
    fn new(kind: ErrorKind, diagnostic: Diagnostic) -> Self {
        Self { kind, diagnostic: Some(Box::new(diagnostic)) }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, Diagnostic::error("", message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.diagnostic.as_ref().map_or("the build failed", |diagnostic| &diagnostic.message))
    }
}

impl std::error::Error for Error {}

/// The cargo to run: the one that runs us, or the first one on `PATH`.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").filter(|cargo| !cargo.is_empty()).unwrap_or_else(|| "cargo".into())
}

/// The folder all our builds go to, so that they never fight with the user's own.
pub fn sandbox_dir(target_dir: &Path) -> PathBuf {
    target_dir.join("sandbox")
}

//! Why a command could not do what it was asked: the status, and what is said of it.

use crate::exit_status::ExitStatus;
use crate::worker::supervisor::WorkerError;
use rustix::io::Errno;
use sandbox_policy::diagnostic::Diagnostic;
use std::path::PathBuf;

/// A command that ends early.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub status: ExitStatus,
    /// What is said; empty where somebody else (cargo) has said it.
    pub messages: Vec<Diagnostic>,
}

impl Failure {
    pub fn new(status: ExitStatus, message: Diagnostic) -> Self {
        Self { status, messages: vec![message] }
    }

    /// The same with a sentence on what to do.
    #[must_use]
    pub fn with_help(mut self, help: &str) -> Self {
        self.messages = self.messages.into_iter().map(|message| message.help(help)).collect();
        self
    }

    /// A fault of ours or of the machine, in words.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Fault, Diagnostic::error("fault", message))
    }

    /// What the system answered when something was done that needs to be named: with its path, if it has one.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let message = Diagnostic::error("fault", format!("{what}: {error}"));
        Self::new(
            ExitStatus::Fault,
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::MFILE) => message.help("raise the limit of descriptors: `ulimit -n 1024`"),
                Some(Errno::NOSPC | Errno::DQUOT) => message.help("make room there"),
                _ => message,
            },
        )
    }

    /// Mistakes of a manifest.
    pub fn manifest(messages: Vec<Diagnostic>) -> Self {
        Self { status: ExitStatus::Manifest, messages }
    }

    /// Somebody pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self { status: ExitStatus::Interrupted, messages: Vec::new() }
    }
}

impl From<crate::cargo::Error> for Failure {
    fn from(error: crate::cargo::Error) -> Self {
        let status = match error.kind {
            crate::cargo::ErrorKind::Usage => ExitStatus::Usage,
            crate::cargo::ErrorKind::Manifest => ExitStatus::Manifest,
            crate::cargo::ErrorKind::Failed => ExitStatus::Failed,
            crate::cargo::ErrorKind::Interrupted => ExitStatus::Interrupted,
        };
        Self { status, messages: error.diagnostic.map(|diagnostic| *diagnostic).into_iter().collect() }
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match &error {
            WorkerError::Unavailable(_) => Self::new(
                ExitStatus::Unavailable,
                Diagnostic::error("unavailable", error.to_string()).note("nothing was run"),
            ),
            WorkerError::Link(_) => {
                Self::new(ExitStatus::Failed, Diagnostic::error("module", error.to_string()))
            }
            _ => Self::fault(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::io("the system refused something", &error)
    }
}

/// Where this process is.
///
/// # Errors
/// The folder is gone, or cannot be reached from the root.
pub fn current_dir() -> Result<PathBuf, Failure> {
    let found = std::env::current_dir();
    found.map_err(|error| Failure::io("the current folder cannot be told: it may have been removed", &error))
}

//! Why a command could not do what it was asked: the status, and what is said of it.

use crate::build;
use crate::diagnostic::Diagnostic;
use crate::exit_status::ExitStatus;
use crate::worker::WorkerError;

/// A command that ends early.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub status: ExitStatus,
    /// What is said; empty where somebody else (cargo) has said it.
    pub messages: Vec<Diagnostic>,
}

impl Failure {
    /// A status and one message.
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

    /// Mistakes of a manifest.
    pub fn manifest(messages: Vec<Diagnostic>) -> Self {
        Self { status: ExitStatus::Manifest, messages }
    }

    /// Somebody pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self { status: ExitStatus::Interrupted, messages: Vec::new() }
    }
}

impl From<build::Error> for Failure {
    fn from(error: build::Error) -> Self {
        let status = match error.kind {
            build::ErrorKind::Usage => ExitStatus::Usage,
            build::ErrorKind::Manifest => ExitStatus::Manifest,
            build::ErrorKind::Failed => ExitStatus::Failed,
            build::ErrorKind::Interrupted => ExitStatus::Interrupted,
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
        Self::fault(error.to_string())
    }
}

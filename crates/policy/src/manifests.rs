//! The files that the permissions of a package are read from.

use super::command_line::CommandLineGrants;
use crate::diagnostic::SourceFile;
use std::sync::Arc;

/// What permissions are read from.
#[derive(Clone, Debug)]
pub struct Manifests {
    /// The package's `Cargo.toml`.
    pub package: Arc<SourceFile>,
    /// The workspace's, if that is another file.
    pub workspace: Option<Arc<SourceFile>>,
    /// Grants from the command line.
    pub extra: CommandLineGrants,
}

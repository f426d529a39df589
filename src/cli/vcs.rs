//! Whether a manifest may be changed: as `cargo fix` does it, only what version control can give
//! back.

use super::args::PolicyArgs;
use crate::exit_status::ExitStatus;
use crate::runner::Failure;
use sandbox_policy::diagnostic::Diagnostic;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Says no before anything is built, if `--fix` could not be undone.
///
/// # Errors
/// The manifest has changes that are not committed, or there is no version control: status 2.
pub(super) fn check(manifest: &Path, args: &PolicyArgs) -> Result<(), Failure> {
    if args.fix.is_empty() || args.allow_dirty {
        return Ok(());
    }
    let shown = manifest.display();
    let refused = |message: String, help: &str| {
        Err(Failure::new(ExitStatus::Usage, Diagnostic::error("fix", message).help(help)))
    };
    let Some(state) = status(manifest) else {
        if args.allow_no_vcs {
            return Ok(());
        }
        return refused(
            format!("no version control found for `{shown}`, which `--fix` may change"),
            "to fix it all the same, use `--allow-no-vcs`",
        );
    };
    if state.is_empty() {
        return Ok(());
    }
    refused(
        format!("`{shown}` has changes that are not committed, and `--fix` may change it"),
        "commit them, or use `--allow-dirty`",
    )
}

/// What git says of the file in its short format; empty: it is committed as it is. `None` without a
/// repository.
fn status(manifest: &Path) -> Option<Vec<u8>> {
    let folder = manifest.parent()?;
    let output = git(folder)
        .args(["status", "--porcelain", "--ignored", "--untracked-files=all", "--"])
        .arg(manifest.file_name().unwrap_or(OsStr::new("Cargo.toml")))
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

/// A git command in a folder. It takes objects for what they are, fetches nothing, starts nothing that a repository's
/// configuration names, and takes no folder of the tree for a repository that was put there.
pub(super) fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.args(["--no-pager", "--no-replace-objects"])
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["-c", "safe.bareRepository=explicit"])
        .arg("-C")
        .arg(folder)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_GRAFT_FILE", "/dev/null")
        // A clone without all objects would get them by whatever command its configuration names.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    git
}

//! What is looked at before cargo is asked for anything: whether this machine can do what will be needed.

use crate::exit_status::ExitStatus;
use crate::runner::{Failure, Setup};
use rustix::process::{Resource, getrlimit};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_walls::{Needs, capabilities};
use std::path::Path;

/// Landlock layers of a program's worker.
pub(super) const OF_PROGRAM: u32 = 1;
/// Those of a test's process: its zygote's, and its own.
pub(super) const OF_TESTS: u32 = 2;

/// What a guest's worker needs of virtual memory, in bytes: all that a wasm memory can ever be is reserved
/// ahead, with what lies around it.
const ADDRESS_SPACE: u64 = 5 << 30;
/// Descriptors without which a command comes to nothing.
const OPEN_FILES: u64 = 64;

/// Looks.
///
/// # Errors
/// The kernel cannot confine as it is asked to (69), or this process may use too little (70).
pub(super) fn first_look(setup: &Setup, layers: u32) -> Result<(), Failure> {
    let needs = Needs { level: setup.landlock, layers, walls: setup.walls };
    needs.look().map_err(|lack| Failure::new(ExitStatus::Unavailable, *lack))?;
    let space = getrlimit(Resource::As).current.filter(|space| *space < ADDRESS_SPACE);
    if let Some(space) = space {
        let message = format!(
            "there is too little address space: a guest needs {} MiB, reserved and hardly used, and the limit of \
             this process is {} MiB",
            ADDRESS_SPACE >> 20,
            space >> 20
        );
        return Err(lack("address-space", message, "raise it with `ulimit -v unlimited`"));
    }
    let files = getrlimit(Resource::Nofile).current.filter(|files| *files < OPEN_FILES);
    if let Some(files) = files {
        let message = format!(
            "there are too few descriptors: at least {OPEN_FILES} are needed, and the limit is {files}"
        );
        return Err(lack("open-files", message, "raise it with `ulimit -n 1024`"));
    }
    Ok(())
}

/// What to say where root works in a folder that only its capabilities open: a guest has none.
pub(super) fn closed_to_guests(folder: &Path) -> Option<Diagnostic> {
    let closed = capabilities::closed_without(folder)?;
    let message = format!("a guest cannot enter `{}`, which belongs to another user", closed.display());
    Some(
        Diagnostic::warning("no-capabilities", message)
            .note("a guest of root has none of its capabilities, and is held to the permissions of files")
            .help("run this command as that user, or open the folder to others"),
    )
}

fn lack(code: &'static str, message: String, help: &str) -> Failure {
    let message = Diagnostic::error(code, message).note("nothing was built or run").help(help);
    Failure::new(ExitStatus::Fault, message)
}

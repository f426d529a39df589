//! The object that is linked into every guest: it enters the current directory, tells the host which
//! environment variables are asked for, and marks the artifact.
//!
//! It is compiled by the user's own rustc when something is linked that needs it, so that an up-to-date
//! build costs nothing.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const SOURCE: &str = include_str!("guest/object.rs");
/// What the marker section of a guest holds if this version of the object is linked into it.
pub const MARKER: &str = "1";

/// How it is compiled: without anything that could panic, and without debug information.
const FLAGS: [&str; 19] = [
    "--crate-name=cargo_sandbox_guest",
    "--crate-type=lib",
    "--edition=2021",
    "--emit=obj",
    "--cap-lints=allow",
    "-C",
    "panic=abort",
    "-C",
    "opt-level=s",
    "-C",
    "codegen-units=1",
    "-C",
    "debuginfo=0",
    "-C",
    "overflow-checks=off",
    "-C",
    "debug-assertions=off",
    "-C",
    "lto=off",
];

/// A hash of the object's source and flags, for the names of what depends on it: 16 hex digits.
pub fn content_hash() -> String {
    hash([SOURCE.as_bytes(), FLAGS.join(" ").as_bytes()])
}

/// The object for a target, compiled into `folder` unless it is there. Two at once are safe.
///
/// # Errors
/// The compiler cannot be run or fails (it has said why on standard error), or the folder cannot be
/// written.
pub fn ensure(rustc: &OsStr, target: &str, folder: &Path) -> io::Result<PathBuf> {
    let version = Command::new(rustc).arg("-vV").stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !version.status.success() {
        return Err(io::Error::other(format!("`{} -vV` failed", rustc.to_string_lossy())));
    }
    let hash = hash([content_hash().as_bytes(), target.as_bytes(), &version.stdout]);
    let object = folder.join(format!("cargo-sandbox-{hash}.o"));
    // An empty file is what an interrupted copy leaves.
    if fs::read(&object).is_ok_and(|bytes| bytes.starts_with(b"\0asm")) {
        return Ok(object);
    }
    fs::create_dir_all(folder)?;
    // A folder of its own: rustc names intermediate files after the output up to its first dot, and
    // cargo links several test harnesses at once.
    let scratch = tempfile::tempdir_in(folder)?;
    let source = scratch.path().join("object.rs");
    let unfinished = scratch.path().join("object.o");
    fs::write(&source, SOURCE)?;
    let status = Command::new(rustc)
        .args(FLAGS)
        .args(["--target", target, "-o"])
        .args([&unfinished, &source])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !status?.success() {
        return Err(io::Error::other("rustc failed"));
    }
    fs::rename(&unfinished, &object)?;
    Ok(object)
}

/// 16 hex digits over parts and their lengths.
pub(super) fn hash<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

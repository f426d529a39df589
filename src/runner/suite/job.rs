//! What is to be run: artifacts, a choice of their tests, and with what.

use super::super::Setup;
use super::super::interrupt::Interrupt;
use super::super::run::Subject;
use super::filter::Filter;
use crate::event::RunEvent;
use crate::should_panic::Layout;
use crate::worker::supervisor::Launcher;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// What is told as it happens.
pub type Tell<'a> = dyn FnMut(RunEvent) + 'a;

/// One artifact of tests.
#[derive(Debug)]
pub struct Suite<'a> {
    /// Whose permissions.
    pub subject: Subject<'a>,
    /// The wasm file.
    pub artifact: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Its kind as cargo names it.
    pub cargo_kind: String,
    /// As nextest names it: `package`, `package::test`, `package::bin/name`.
    pub binary: String,
    /// The current directory of its tests: the package root, canonical.
    pub current_dir: PathBuf,
}

impl Suite<'_> {
    /// The name that the guest was called by.
    pub(super) fn program(&self) -> Vec<u8> {
        OsString::from(self.artifact.clone()).into_vec()
    }
}

/// Which tests are run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which.
    pub filter: Filter,
    /// How many at one time.
    pub workers: usize,
    /// Output is told as it comes.
    pub live: bool,
    /// Output of tests that pass is told too.
    pub show_output: bool,
    /// How often a failed test is tried again.
    pub retries: u32,
    /// Nothing is started after a test has failed.
    pub fail_fast: bool,
    /// Time limit of one test, besides that of the manifest.
    pub timeout: Option<Duration>,
    /// A test that runs longer is told of, and again after as long.
    pub slow: Duration,
}

/// What everything runs with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Starts processes.
    pub launcher: &'a Launcher,
    /// How guests are compiled and confined.
    pub setup: &'a Setup,
    /// Ends everything.
    pub interrupt: &'a Interrupt,
    /// How libtest's descriptors lie in memory, or why that is not known.
    pub layout: Result<&'a Layout, &'a str>,
}

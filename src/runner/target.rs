//! The one place where a target's report begins.

use crate::event::TargetReport;
use std::path::Path;
use std::time::Duration;

/// What a report calls an artifact.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Package name.
    pub package: &'a str,
    /// Package version.
    pub version: &'a str,
    /// Target name.
    pub name: &'a str,
    /// Its kind as cargo names it, or `doc`.
    pub kind: &'a str,
    /// The file.
    pub artifact: &'a Path,
    /// `p1`; empty for a native program, which is not run.
    pub wasi: &'a str,
}

impl Target<'_> {
    /// The report of an artifact in which nothing has happened.
    pub fn report(self) -> TargetReport {
        TargetReport {
            package: self.package.to_owned(),
            version: self.version.to_owned(),
            name: self.name.to_owned(),
            kind: self.kind.to_owned(),
            artifact: self.artifact.to_owned(),
            wasi: self.wasi.to_owned(),
            duration: Duration::ZERO,
            outcome: None,
            grants: Vec::new(),
            violations: Vec::new(),
            tests: Vec::new(),
            notes: Vec::new(),
            output: Vec::new(),
        }
    }
}

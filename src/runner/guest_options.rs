//! What the command line says of guests, as it is meant: one struct for every command, and for the runners of doc tests,
//! which get it as data. No flag is spelled a second time.

use super::Setup;
use sandbox_policy::CommandLineGrants;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How guests are run, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestOptions {
    /// What they may do.
    pub policy: PolicyOptions,
    /// How they are compiled and confined.
    pub setup: Setup,
    /// The time limit of one, besides that of the manifest.
    pub timeout: Option<Duration>,
}

/// What the command line adds to the manifests, and what it bounds them with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyOptions {
    /// Grants and exceptions.
    pub grants: CommandLineGrants,
    /// Files and revisions.
    pub ceilings: Vec<OsString>,
}

impl GuestOptions {
    /// The same for the example of a documentation, whose runner rustdoc starts in another folder. Whoever adds an
    /// option has to say here what it means for examples: nothing is left out by `..`.
    #[must_use]
    pub fn for_examples(&self) -> Self {
        let Self { policy: PolicyOptions { grants, ceilings }, setup, timeout } = self;
        let Setup { landlock, strategy, walls, cache, audit, timings: _ } = *setup;
        let ceilings = ceilings.iter().map(|given| {
            let file = std::path::absolute(Path::new(given)).ok().filter(|file| file.is_file());
            file.map_or_else(|| given.clone(), Into::into)
        });
        Self {
            policy: PolicyOptions { grants: grants.clone(), ceilings: ceilings.collect() },
            // Steps are told on standard error, where nobody would see it.
            setup: Setup { landlock, strategy, walls, cache, audit, timings: false },
            timeout: *timeout,
        }
    }
}

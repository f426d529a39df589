//! The worker's side: what it is enclosed in at each stage.

use crate::worker::protocol::{Confinement, MAX_TEXT, bounded};
use sandbox_policy::Policy;
use sandbox_policy::access::Wall;
use sandbox_walls::process::Attributes;
use sandbox_walls::{Enclosure, Error, Files, LandlockLevel, folding, rlimits::Rlimits, seccomp::Profile};
use std::borrow::Cow;

/// Why a process could not be confined.
pub(in crate::worker) enum Unconfined {
    /// The kernel cannot do what was asked for.
    Unavailable(String),
    /// Anything else.
    Failed(String),
}

impl From<Error> for Unconfined {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(unavailable) => Self::Unavailable(unavailable.to_string()),
            layers @ Error::Layers => Self::Unavailable(layers.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Unconfined {
    pub(in crate::worker) fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        let mut text = format!("{what}: {error}");
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Self::Failed(text)
    }

    pub(in crate::worker) fn text(self) -> String {
        let (Self::Unavailable(text) | Self::Failed(text)) = self;
        bounded(text)
    }
}

/// Descriptors of a worker besides those that the guest may have: standard streams, channels, the
/// root, preopens and those of one resolution under way.
const OWN_FILES: u64 = 64;

/// What a process that runs what is under `policy` is enclosed in, with the filter of its first stage.
pub(in crate::worker) fn enclosure<'a>(
    confinement: &'a Confinement,
    policy: &'a Policy,
    profile: Profile,
) -> Enclosure<'a> {
    let limits = Rlimits {
        open_files: Some(u64::from(policy.limits.open_files) + OWN_FILES),
        file_size: policy.limits.disk,
        ..Rlimits::default()
    };
    let policy = confinement.kernel_policy.as_ref().unwrap_or(policy);
    // Without `..`, as below: of a wall that is added, each says what it gets.
    Enclosure {
        attributes: Attributes::default(),
        limits: Some(limits),
        files: Some(Files {
            policy: folding::with_lists(policy, &confinement.folding),
            level: confinement.walls.level(confinement.landlock),
            dispensable: false,
        }),
        calls: filter(confinement, profile).calls,
    }
}

/// The filter of a later stage, alone.
pub(in crate::worker) fn filter(confinement: &Confinement, profile: Profile) -> Enclosure<'static> {
    let calls = confinement.walls.stands(Wall::Seccomp).then_some(profile);
    Enclosure { calls, ..Enclosure::default() }
}

/// For a child that only reads its input and writes its output: no file, no host, no process.
pub(in crate::worker) fn tool(profile: Profile, limits: Rlimits) -> Enclosure<'static> {
    Enclosure {
        attributes: Attributes::default(),
        limits: Some(limits),
        files: Some(Files {
            policy: Cow::Owned(Policy::default()),
            level: LandlockLevel::Required,
            // The filter knows no way to open anything. The same where a command goes without Landlock
            // because it is inside of 16 layers of others.
            dispensable: true,
        }),
        calls: Some(profile),
    }
}

//! The worker's side: giving everything up, in the one right order, while there is one thread.

use crate::kernel::{self, Enforced, Error, capabilities, landlock, process, rlimits, seccomp};
use crate::policy::Policy;
use crate::worker::protocol::{Confinement, MAX_TEXT, bounded};
use rustix::process::Pid;

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

/// Tied to `parent` and unable to gain anything.
pub(in crate::worker) fn settle(parent: Pid) -> Result<(), Unconfined> {
    process::no_new_privs().map_err(|e| Unconfined::failed("no_new_privs", e))?;
    capabilities::give_up().map_err(|e| Unconfined::failed("capabilities", e))?;
    process::die_with_parent(parent).map_err(|e| Unconfined::failed("parent death signal", e))?;
    process::set_not_dumpable().map_err(|e| Unconfined::failed("dumpable", e))
}

/// Resource limits and Landlock rules for what runs under a policy. Not in force yet.
pub(in crate::worker) struct Enclosure {
    limits: rlimits::Rlimits,
    layer: kernel::Layer,
}

impl Enclosure {
    pub(in crate::worker) fn new(confinement: &Confinement, policy: &Policy) -> Result<Self, Unconfined> {
        let limits = rlimits::Rlimits {
            open_files: Some(u64::from(policy.limits.open_files) + OWN_FILES),
            file_size: policy.limits.disk,
            ..rlimits::Rlimits::default()
        };
        let policy = confinement.kernel_policy.as_ref().unwrap_or(policy);
        let policy = &*kernel::folding::with_lists(policy, &confinement.folding);
        let walls = confinement.walls.effective();
        let level = if walls.landlock { confinement.landlock } else { kernel::LandlockLevel::Off };
        kernel::check(level, kernel::status().landlock_abi).map_err(Error::from)?;
        let mut attempts = 0;
        loop {
            let plan = kernel::plan(policy, landlock::usable_abi(), &kernel::look);
            match kernel::Layer::new(&plan, level) {
                // Something was made or removed between looking and opening.
                Err(Error::Path(..) | Error::Changed(_)) if attempts < 3 => attempts += 1,
                layer => return Ok(Self { limits, layer: layer? }),
            }
        }
    }

    /// Puts it in force for this process and all that it forks. The statuses that the kernel gives
    /// back are asserted by `kernel`.
    pub(in crate::worker) fn enter(self) -> Result<Enforced, Unconfined> {
        rlimits::apply(&self.limits).map_err(|e| Unconfined::failed("resource limits", e))?;
        Ok(self.layer.enter()?)
    }
}

/// Resource limits and Landlock for what runs under `policy`.
pub(in crate::worker) fn enclose(confinement: &Confinement, policy: &Policy) -> Result<Enforced, Unconfined> {
    Enclosure::new(confinement, policy)?.enter()
}

/// The system call filter.
pub(in crate::worker) fn filter(
    confinement: &Confinement,
    profile: seccomp::Profile,
) -> Result<(), Unconfined> {
    if confinement.walls.effective().seccomp { Ok(seccomp::install(profile)?) } else { Ok(()) }
}

/// For a child that only reads its input and writes its output: no file, no host, no process.
pub(in crate::worker) fn isolate(
    profile: seccomp::Profile,
    limits: rlimits::Rlimits,
    landlock_abi: u32,
) -> Result<(), Unconfined> {
    rlimits::apply(&limits).map_err(|e| Unconfined::failed("resource limits", e))?;
    // Without Landlock the filter, which knows no way to open anything, stands alone.
    if landlock_abi >= 2 {
        let plan = kernel::Plan { abi: landlock_abi, ..kernel::Plan::default() };
        match kernel::restrict(&plan, kernel::LandlockLevel::Required) {
            // The same where a command goes without Landlock because it is inside of 16 layers of others.
            Ok(_) | Err(Error::Layers) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seccomp::install(profile)?)
}

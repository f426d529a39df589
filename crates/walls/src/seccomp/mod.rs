//! Wall 3: allow-lists of system calls (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
//!
//! What is allowed is data: [`table`]. Here it is put in force, whatever it says.
//!
//! A call that is on no list kills the process with `SIGSYS`, it does not fail with `EPERM`: our host
//! functions never make one, so it is either a fault of ours or code that took the worker over, and
//! neither may go on or stay unseen. The supervisor reads `SIGSYS` from the exit status, which
//! a hostile worker cannot take back, and reports wall `seccomp`.
//! Only calls that the C library itself tries and can do without get an error number: `clone3`,
//! whose flags no filter can see (`ENOSYS`: it falls back to `clone`), and, where a profile opens no
//! files, the openings (`EACCES`).
//!
//! Filters stack and the strictest answer of all wins, so [`Profile::Load`] allows whatever a later
//! profile of the same process needs. A filter has one answer for its matches; hence each profile is
//! two filters. The x32 calls of x86-64 are numbers of their own, on no list; calls by the numbers
//! of another architecture (`int 0x80`) kill in the check that begins each filter.

mod child;
mod profile;
mod program;
pub mod table;

pub use profile::Profile;
pub use program::SUPPORTED;

use super::error::Error;
use program::programs;
use seccompiler::BpfProgram;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Puts a profile in force for the calling thread and all that it starts from then on, on top of those
/// that are in force. Sets `no_new_privs`.
///
/// # Errors
/// [`Error::Refused`] if the kernel has no seccomp or we have no lists for this architecture.
pub fn install(profile: Profile) -> Result<(), Error> {
    let programs = match (profile, CHILD.get()) {
        (Profile::TestChild, Some(prepared)) => vec![child::for_this_process(prepared)?],
        _ => match PREPARED.get().and_then(|prepared| prepared.get(&profile)) {
            // It names this very process.
            Some((process, programs)) if *process == std::process::id() => programs.clone(),
            _ => programs(profile)?,
        },
    };
    for program in programs {
        seccompiler::apply_filter(&program).map_err(|error| Error::Refused(error.to_string()))?;
    }
    if profile == Profile::Zygote {
        // Made once, before there is any child.
        let _ = CHILD.set(child::of_zygote()?);
    }
    Ok(())
}

/// Makes the filters of these profiles, so that [`install`] finds them. Installs nothing.
pub fn prepare(profiles: &[Profile]) {
    let made = |profile: &Profile| Some((*profile, (std::process::id(), programs(*profile).ok()?)));
    let _ = PREPARED.set(profiles.iter().filter_map(made).collect());
}

/// Filters by profile, and the process that they were made for.
static PREPARED: OnceLock<BTreeMap<Profile, (u32, Vec<BpfProgram>)>> = OnceLock::new();

/// What a [`Profile::TestChild`] installs if [`Profile::Zygote`] is in force in this process, or was in
/// the one it was forked from; with [`child::ANY_PROCESS`] where its own id belongs.
static CHILD: OnceLock<BpfProgram> = OnceLock::new();

#[cfg(test)]
mod tests;

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
pub mod table;

use super::status::Error;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, Gt, MaskedEq},
    SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use table::{Condition, Must, TABLE};

/// Whether the lists know this architecture.
pub const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// What a process is about to do, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Profile {
    /// A worker before it loads the artifact: what every later profile of a worker needs, and
    /// executable memory.
    Load,
    /// A worker that runs one guest. No executable memory, no new process, no further confinement.
    Run,
    /// A worker that forks a child per test, ends and awaits it. The child confines itself further.
    Zygote,
    /// The child that runs one test. The same as [`Run`](Self::Run).
    TestChild,
    /// Reads from and writes to what it was given, with threads. Opens nothing.
    Compile,
    /// The same, with one thread.
    Symbolise,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 6] =
        [Self::Load, Self::Run, Self::Zygote, Self::TestChild, Self::Compile, Self::Symbolise];
}

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

/// The filters of a profile in the order in which they are installed: the one that kills comes last,
/// as it may forbid the installing of filters.
fn programs(profile: Profile) -> Result<Vec<BpfProgram>, Error> {
    let mut allowed = rules(&allowed(profile))?;
    let mut programs = Vec::new();
    for (errno, calls) in failing(profile) {
        let rules: Rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        // They must pass the last filter, or it would kill.
        allowed.extend(rules.clone());
        programs.push(compile(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32))?);
    }
    programs.push(compile(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?);
    Ok(programs)
}

/// Each call that a profile may make, and what its arguments must be: all of any one of these.
type Allowed = BTreeMap<c_long, Vec<&'static [Condition]>>;

fn allowed(profile: Profile) -> Allowed {
    let mut allowed = Allowed::new();
    for call in TABLE.iter().filter(|call| call.errno.is_none() && call.is_for(profile)) {
        allowed.entry(call.number).or_default().push(call.when);
    }
    allowed
}

/// Calls that fail instead of killing, by the number that they fail with.
fn failing(profile: Profile) -> BTreeMap<i32, Vec<c_long>> {
    let mut failing = BTreeMap::<_, Vec<_>>::new();
    for call in TABLE.iter().filter(|call| call.is_for(profile)) {
        if let Some(errno) = call.errno {
            failing.entry(errno).or_default().push(call.number);
        }
    }
    failing
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn rules(allowed: &Allowed) -> Result<Rules, Error> {
    let rule = |when: &&[Condition]| rule(when.iter().map(condition).collect::<Result<_, _>>()?);
    let rules = |alternatives: &Vec<&[Condition]>| {
        // No rule at all is what seccompiler takes for any arguments.
        if alternatives.iter().any(|when| when.is_empty()) {
            return Ok(Vec::new());
        }
        alternatives.iter().map(rule).collect()
    };
    allowed.iter().map(|(call, alternatives)| Ok((*call, rules(alternatives)?))).collect()
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions).map_err(wrong)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, Error> {
    let (length, operator, value) = match condition.must {
        Must::Be(value) => (Dword, Eq, u64::from(value)),
        Must::Exceed(value) => (Dword, Gt, u64::from(value)),
        Must::HaveBits(mask, value) => (Dword, MaskedEq(u64::from(mask)), u64::from(value)),
        Must::HaveLongBits(mask, value) => (Qword, MaskedEq(mask), value),
        Must::BeOwnProcess => (Dword, Eq, u64::from(std::process::id())),
    };
    SeccompCondition::new(condition.argument, length, operator, value).map_err(wrong)
}

fn compile(rules: Rules, mismatch: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let arch = std::env::consts::ARCH
        .try_into()
        .ok()
        .filter(|_| SUPPORTED)
        .ok_or_else(|| Error::Refused(format!("no seccomp lists for {}", std::env::consts::ARCH)))?;
    SeccompFilter::new(rules, mismatch, matched, arch).and_then(BpfProgram::try_from).map_err(wrong)
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Refused(format!("a seccomp filter is wrong: {error}"))
}

#[cfg(test)]
mod tests;

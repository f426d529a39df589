//! From lines of the table to programs that the kernel runs.

use super::profile::Profile;
use super::table::{Condition, Must, TABLE};
use crate::error::Error;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, Gt, MaskedEq},
    SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Whether the lists know this architecture.
pub const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The filters of a profile in the order in which they are installed: the one that kills comes last,
/// as it may forbid the installing of filters.
pub(super) fn programs(profile: Profile) -> Result<Vec<BpfProgram>, Error> {
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
pub(super) type Allowed = BTreeMap<c_long, Vec<&'static [Condition]>>;

pub(super) fn allowed(profile: Profile) -> Allowed {
    let mut allowed = Allowed::new();
    for call in TABLE.iter().filter(|call| call.errno.is_none() && call.is_for(profile)) {
        allowed.entry(call.number).or_default().push(call.when);
    }
    allowed
}

/// Calls that fail instead of killing, by the number that they fail with.
pub(super) fn failing(profile: Profile) -> BTreeMap<i32, Vec<c_long>> {
    let mut failing = BTreeMap::<_, Vec<_>>::new();
    for call in TABLE.iter().filter(|call| call.is_for(profile)) {
        if let Some(errno) = call.errno {
            failing.entry(errno).or_default().push(call.number);
        }
    }
    failing
}

pub(super) type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

pub(super) fn rules(allowed: &Allowed) -> Result<Rules, Error> {
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

pub(super) fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions).map_err(wrong)
}

pub(super) fn condition(condition: &Condition) -> Result<SeccompCondition, Error> {
    let (length, operator, value) = match condition.must {
        Must::Be(value) => (Dword, Eq, u64::from(value)),
        Must::Exceed(value) => (Dword, Gt, u64::from(value)),
        Must::HaveBits(mask, value) => (Dword, MaskedEq(u64::from(mask)), u64::from(value)),
        Must::HaveLongBits(mask, value) => (Qword, MaskedEq(mask), value),
        Must::BeOwnProcess => (Dword, Eq, u64::from(std::process::id())),
    };
    SeccompCondition::new(condition.argument, length, operator, value).map_err(wrong)
}

pub(super) fn compile(
    rules: Rules,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    let arch = std::env::consts::ARCH
        .try_into()
        .ok()
        .filter(|_| SUPPORTED)
        .ok_or_else(|| Error::Refused(format!("no seccomp lists for {}", std::env::consts::ARCH)))?;
    SeccompFilter::new(rules, mismatch, matched, arch).and_then(BpfProgram::try_from).map_err(wrong)
}

pub(super) fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Refused(format!("a seccomp filter is wrong: {error}"))
}

//! The filter of a test's process: what its zygote may do and it may not.

use super::profile::Profile;
use super::program::{Rules, allowed, compile, rule, wrong};
use super::table::{Condition, Must};
use crate::error::Error;
use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Le, Ne};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompRule, sock_filter};

/// No process has this id: Linux gives out 22 bits.
pub(super) const ANY_PROCESS: u32 = 0x7a11_0b0e;

pub(super) fn for_this_process(prepared: &BpfProgram) -> Result<BpfProgram, Error> {
    let mut program = prepared.clone();
    let mut places: Vec<_> = program.iter_mut().filter(|instruction| instruction.k == ANY_PROCESS).collect();
    match places.as_mut_slice() {
        [place] => place.k = std::process::id(),
        _ => return Err(Error::Refused("a prepared seccomp filter is wrong".to_owned())),
    }
    Ok(program)
}

/// What makes a [`Profile::TestChild`] of a zygote: with the zygote's allow-list in force, it is enough
/// to kill what only the zygote may call. A tenth of the size, for a process that lives for one test.
pub(super) fn of_zygote() -> Result<BpfProgram, Error> {
    let child = allowed(Profile::TestChild);
    let mut killed = Vec::new();
    let mut rules = Rules::new();
    for (call, alternatives) in allowed(Profile::Zygote) {
        match child.get(&call) {
            None => killed.push(call),
            Some(own) if *own == alternatives || own.contains(&[].as_slice()) => {}
            Some(own) => {
                rules.insert(call, none_of(own)?);
            }
        }
    }
    let mut program = compile(rules, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // seccompiler takes five instructions for each call without conditions; one is enough, and each
    // child pays for them.
    program.splice(NUMBER_LOADED..NUMBER_LOADED, kill(&killed)?);
    Ok(program)
}

/// What no alternative allows: of each of them, something does not hold.
fn none_of(alternatives: &[&[Condition]]) -> Result<Vec<SeccompRule>, Error> {
    let mut broken = vec![Vec::new()];
    for when in alternatives {
        let conditions = when.iter().map(not).collect::<Result<Vec<_>, _>>()?;
        let with = |rule: &Vec<SeccompCondition>| {
            let rule = rule.clone();
            conditions
                .iter()
                .map(move |one| [&rule[..], std::slice::from_ref(one)].concat())
                .collect::<Vec<_>>()
        };
        broken = broken.iter().flat_map(with).collect();
    }
    broken.into_iter().map(rule).collect()
}

fn not(condition: &Condition) -> Result<SeccompCondition, Error> {
    let (operator, value) = match condition.must {
        Must::Be(value) => (Ne, value),
        Must::Exceed(value) => (Le, value),
        Must::BeOwnProcess => (Ne, ANY_PROCESS),
        // Nothing that a zygote and its children may do differently needs it.
        Must::HaveBits(..) | Must::HaveLongBits(..) => {
            return Err(wrong("seccompiler does not compare for inequality under a mask"));
        }
    };
    SeccompCondition::new(condition.argument, Dword, operator, u64::from(value)).map_err(wrong)
}

/// Instructions of a program of seccompiler after which the call's number is in the accumulator: three
/// check the architecture, one loads.
const NUMBER_LOADED: usize = 4;

/// Kills these calls by the number in the accumulator, and goes on with all others.
fn kill(calls: &[c_long]) -> Result<BpfProgram, Error> {
    let instruction = |code, k, jt| sock_filter { code: code as u16, jt, jf: 0, k };
    let mut program = Vec::with_capacity(calls.len() + 2);
    for (index, call) in calls.iter().enumerate() {
        let number = u32::try_from(*call).map_err(wrong)?;
        // To the last instruction of these.
        let ahead = u8::try_from(calls.len() - index).map_err(wrong)?;
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, ahead));
    }
    program.push(instruction(libc::BPF_JMP | libc::BPF_JA, 1, 0));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS, 0));
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer: as much of a classic BPF machine as these programs need.
    fn answer(program: &BpfProgram, call: u32, arguments: &[u64; 6]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = &program[at];
            at += 1;
            match u32::from(*code) {
                // seccomp_data: the number, the architecture, the instruction, six arguments of 64 bits.
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match k {
                        0 => call,
                        4 => ours(program),
                        k => (arguments[(*k as usize - 16) / 8] >> (8 * (k % 8))) as u32,
                    };
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if accumulator == *k { *jt } else { *jf });
                }
                code if code == libc::BPF_JMP | libc::BPF_JA => at += *k as usize,
                code if code == libc::BPF_RET | libc::BPF_K => return *k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    /// The architecture that a program was made for.
    fn ours(program: &BpfProgram) -> u32 {
        program[1].k
    }

    #[test]
    fn a_child_may_call_what_its_own_list_says_and_no_more() {
        let program = for_this_process(&of_zygote().unwrap()).unwrap();
        let (child, zygote) = (allowed(Profile::TestChild), allowed(Profile::Zygote));
        let own = std::process::id();
        let values = [0, 1, 6, 7, PR_SET_NAME, u64::MAX, own.into(), 0x4155_5856];
        let (mut kept, mut taken) = (0, 0);
        for (call, alternatives) in &zygote {
            for (first, third) in values.iter().flat_map(|first| values.map(|third| (*first, third))) {
                let arguments = [first, 0, third, 0, 0, 0];
                let holds = |alternatives: &Vec<&[Condition]>| {
                    alternatives.iter().any(|when| when.iter().all(|one| one.holds(&arguments, own)))
                };
                // What the zygote's own filter stops never gets to this one's.
                if holds(alternatives) {
                    let may = child.get(call).is_some_and(holds);
                    let killed = answer(&program, *call as u32, &arguments) == libc::SECCOMP_RET_KILL_PROCESS;
                    assert_eq!(may, !killed, "call {call} with {arguments:?}");
                    *if may { &mut kept } else { &mut taken } += 1;
                }
            }
        }
        assert!(kept > 1000 && taken > 500, "{kept} kept, {taken} taken");
    }

    const PR_SET_NAME: u64 = libc::PR_SET_NAME as u64;
}

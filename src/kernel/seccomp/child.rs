//! The filter of a test's process: what its zygote may do and it may not.

use super::{Error, PR_GET_AUXV, Profile, Rules, allowed, compile, fault, rule, wrong};
use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::Ne;
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, sock_filter};

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
    let child = allowed(Profile::TestChild)?;
    let killed = allowed(Profile::Zygote)?.into_keys().filter(|call| !child.contains_key(call));
    let mut rules = Rules::new();
    for (call, only) in [(libc::SYS_tgkill, u64::from(ANY_PROCESS)), (libc::SYS_prctl, PR_GET_AUXV)] {
        let other = SeccompCondition::new(0, Dword, Ne, only).map_err(|error| fault(&error))?;
        rules.insert(call, vec![rule([other])?]);
    }
    let mut program = compile(rules, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // seccompiler takes five instructions for each call without conditions; one is enough, and each
    // child pays for them.
    program.splice(NUMBER_LOADED..NUMBER_LOADED, kill(&killed.collect::<Vec<_>>())?);
    Ok(program)
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
    fn answer(program: &BpfProgram, call: u32, argument: u32) -> u32 {
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
                        k if (k - 16) % 8 == 0 => argument,
                        _ => 0,
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
        let (child, zygote) = (allowed(Profile::TestChild).unwrap(), allowed(Profile::Zygote).unwrap());
        let killed = libc::SECCOMP_RET_KILL_PROCESS;
        for call in zygote.keys().copied() {
            let may = |argument| answer(&program, call as u32, argument) != killed;
            let expected = match call {
                libc::SYS_tgkill => [may(std::process::id()), !may(1), !may(0)],
                libc::SYS_prctl => [may(PR_GET_AUXV as u32), !may(libc::PR_SET_NAME as u32), !may(38)],
                call if child.contains_key(&call) => [may(0), may(1), may(u32::MAX)],
                _ => [!may(0), !may(1), !may(u32::MAX)],
            };
            assert_eq!(expected, [true; 3], "call {call}");
        }
        assert!(zygote.len() > child.len() + 10, "there is something to take away");
    }
}

//! Wall 3: allow-lists of system calls (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
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

use super::status::Error;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, MaskedEq},
    SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;

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

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// The filters of a profile in the order in which they are installed: the one that kills comes last,
/// as it may forbid the installing of filters.
fn programs(profile: Profile) -> Result<Vec<BpfProgram>, Error> {
    let mut allowed = allowed(profile)?;
    let mut programs = Vec::new();
    for (calls, errno) in refused(profile) {
        let rules: Rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        // They must pass the last filter, or it would kill.
        allowed.extend(rules.clone());
        programs.push(compile(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32))?);
    }
    programs.push(compile(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?);
    Ok(programs)
}

fn compile(rules: Rules, mismatch: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let arch = std::env::consts::ARCH
        .try_into()
        .ok()
        .filter(|_| SUPPORTED)
        .ok_or_else(|| Error::Refused(format!("no seccomp lists for {}", std::env::consts::ARCH)))?;
    SeccompFilter::new(rules, mismatch, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| fault(&error))
}

fn fault(error: &seccompiler::BackendError) -> Error {
    wrong(error)
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Refused(format!("a seccomp filter is wrong: {error}"))
}

/// Calls that fail with an error number instead of killing.
fn refused(profile: Profile) -> Vec<(Vec<c_long>, i32)> {
    let mut refused = vec![(vec![libc::SYS_clone3], libc::ENOSYS)];
    if matches!(profile, Profile::Compile | Profile::Symbolise) {
        // The standard library looks for the processor quota of a control group.
        refused.push((vec![libc::SYS_openat, libc::SYS_openat2], libc::EACCES));
    }
    refused
}

/// Memory, time, signals to oneself and what is open already: what any process of ours needs.
const EVERYWHERE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the host functions of wall 1 do, and the messages to the supervisor. New sockets cannot be
/// made, so sending reaches only who holds the other end of an inherited one.
const WORKER: &[c_long] = &[
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_getcwd,
    libc::SYS_fchdir,
    // Guests take turns in changing names (`wasi::turns`). It names no file, and a lock on one that is
    // open hinders only who asks for such locks.
    libc::SYS_flock,
    // Wasmtime keeps the initial image of a memory in one, to map it copy-on-write.
    libc::SYS_memfd_create,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
];

/// The same by the older numbers, which the C library uses where they exist.
#[cfg(target_arch = "x86_64")]
const WORKER_OLDER: &[c_long] = &[
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_access,
];
#[cfg(not(target_arch = "x86_64"))]
const WORKER_OLDER: &[c_long] = &[];

/// What a zygote does beyond that, and its children before they install a profile of their own.
const ZYGOTE: &[c_long] = &[
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_prlimit64,
    libc::SYS_close_range,
    libc::SYS_setsid,
    libc::SYS_umask,
];

fn allowed(profile: Profile) -> Result<Rules, Error> {
    let worker = !matches!(profile, Profile::Compile | Profile::Symbolise);
    let zygote = matches!(profile, Profile::Load | Profile::Zygote);

    let mut rules = Rules::new();
    let mut allow = |calls: &[c_long]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    allow(EVERYWHERE);
    if worker {
        allow(WORKER);
        allow(WORKER_OLDER);
    }
    if zygote {
        allow(ZYGOTE);
    }
    if profile == Profile::Load {
        // The compiled code becomes executable once; on ARM its processors are told so.
        allow(&[libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_membarrier]);
    } else {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, vec![rule([argument(2, Bits(libc::PROT_EXEC as u64, 0))?])?]);
        }
    }
    if !zygote {
        // `abort` signals its own thread. A fork has another id and so another filter.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![rule([argument(0, Is(own))?])?]);
    }

    // Is it a terminal, how wide, how much is there to read; not to push input into it.
    rules.insert(libc::SYS_ioctl, one_of(1, &[TCGETS, TIOCGWINSZ, FIONREAD])?);
    rules.insert(libc::SYS_fcntl, one_of(1, &FCNTL.map(|n| n as u64))?);
    if worker {
        // Without a destination: what `send` is.
        let no_address = SeccompCondition::new(4, Qword, Eq, 0).map_err(|error| fault(&error))?;
        rules.insert(libc::SYS_sendto, vec![rule([no_address])?]);
    }
    rules.insert(libc::SYS_prctl, one_of(0, &[PR_GET_AUXV])?);
    if zygote {
        // Exactly what fork(2) is; a thread or a namespace is not.
        const FORK: u64 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
        rules.insert(libc::SYS_clone, vec![rule([argument(0, Bits(!FORK, libc::SIGCHLD as u64))?])?]);
        let modes = [libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_GET_ACTION_AVAIL];
        rules.insert(libc::SYS_seccomp, one_of(0, &modes.map(u64::from))?);
        rules.insert(libc::SYS_prctl, one_of(0, &CONFINING_PRCTL.map(|n| n as u64))?);
    }
    if profile == Profile::Compile {
        const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64;
        rules.insert(libc::SYS_clone, vec![rule([argument(0, Bits(THREAD, THREAD))?])?]);
        rules.insert(libc::SYS_prctl, one_of(0, &[PR_GET_AUXV, libc::PR_SET_NAME as u64])?);
        rules.extend([libc::SYS_set_robust_list, libc::SYS_rseq].map(|call| (call, Vec::new())));
    }
    Ok(rules)
}

// By number (asm-generic/ioctls.h), as the C libraries disagree on their type.
const TCGETS: u64 = 0x5401;
const TIOCGWINSZ: u64 = 0x5413;
const FIONREAD: u64 = 0x541b;

const FCNTL: [i32; 8] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

/// With it rustix finds the vDSO, at its first look at a clock (linux/prctl.h).
const PR_GET_AUXV: u64 = 0x4155_5856;

const CONFINING_PRCTL: [i32; 7] = [
    PR_GET_AUXV as i32,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_PDEATHSIG,
    libc::PR_SET_DUMPABLE,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_NAME,
];

/// What an argument must be.
enum Must {
    /// This value.
    Is(u64),
    /// The second under the mask of the first.
    Bits(u64, u64),
}
use Must::{Bits, Is};

fn argument(index: u8, must: Must) -> Result<SeccompCondition, Error> {
    // The arguments compared are ints: the kernel ignores the upper half of their registers, except
    // of flags and protections, which are longs.
    match must {
        Is(value) => SeccompCondition::new(index, Dword, Eq, value),
        Bits(mask, value) => SeccompCondition::new(index, Qword, MaskedEq(mask), value),
    }
    .map_err(|error| fault(&error))
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions.into()).map_err(|error| fault(&error))
}

fn one_of(index: u8, values: &[u64]) -> Result<Vec<SeccompRule>, Error> {
    values.iter().map(|value| rule([argument(index, Is(*value))?])).collect()
}

#[cfg(test)]
mod tests;

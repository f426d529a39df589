//! Which process may make which system call, and why: the one table that filters, tests and docs/seccomp.md are made of.
//!
//! It was made from a trace of the workers that the test suite starts, and what no trace shows is there for a reason that
//! is said: older kernels, other versions of the C library, ends of a process that no test has. The lines of a call
//! are alternatives. Numbers are those of the architecture that is compiled for, by name.

use super::profile::Profile::{self, Compile, Load, Run, Symbolise, TestChild, Zygote};
use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, F_DUPFD_CLOEXEC, F_GETFD, F_SETFL,
    FUTEX_CLOCK_REALTIME, FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, MADV_DONTNEED,
    MAP_PRIVATE, MEMBARRIER_CMD_GLOBAL, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MREMAP_MAYMOVE, PR_GET_NO_NEW_PRIVS, PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PROT_EXEC, PROT_READ, SECCOMP_GET_ACTION_AVAIL,
    SECCOMP_SET_MODE_FILTER, SIGABRT, SIGCHLD, SIGKILL, TIOCGWINSZ, c_long,
};
use rustix::fs::OFlags;

/// A system call that some processes may make.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    constant: &'static str,
    /// Its number.
    pub number: c_long,
    /// In which profiles.
    pub profiles: &'static [Profile],
    /// What must hold of its arguments, all of it.
    pub when: &'static [Condition],
    /// It does not happen, but fails with this number, where every other call kills: for what a library
    /// tries and does without.
    pub errno: Option<i32>,
    /// The only architecture that needs it, as in [`std::env::consts::ARCH`].
    pub architecture: Option<&'static str>,
    /// Why.
    pub reason: &'static str,
}

impl Call {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.constant.trim_start_matches("SYS_")
    }

    /// Whether it is for this profile, on this architecture.
    pub fn is_for(&self, profile: Profile) -> bool {
        self.profiles.contains(&profile)
            && self.architecture.is_none_or(|arch| arch == std::env::consts::ARCH)
    }

    const fn when(mut self, when: &'static [Condition]) -> Self {
        self.when = when;
        self
    }

    const fn fails_with(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    const fn only_on(mut self, architecture: &'static str) -> Self {
        self.architecture = Some(architecture);
        self
    }
}

/// What must hold of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which one, from 0.
    pub argument: u8,
    /// What it must be.
    pub must: Must,
    /// The same for people, with the manual's names.
    pub words: &'static str,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// This `int`. The kernel ignores the upper half of its register.
    Be(u32),
    /// An `int` that is more, without a sign: a descriptor, or `AT_FDCWD`.
    Exceed(u32),
    /// The second under the mask of the first, of an `int`.
    HaveBits(u32, u32),
    /// The second under the mask of the first, of a `long`.
    HaveLongBits(u64, u64),
    /// The process's own id.
    BeOwnProcess,
}

impl Condition {
    /// Whether it holds in the process of this id: what a filter must decide, said without one, for tests to compare.
    pub fn holds(&self, arguments: &[u64; 6], process: u32) -> bool {
        let long = arguments[usize::from(self.argument)];
        let int = long as u32;
        match self.must {
            Must::Be(value) => int == value,
            Must::Exceed(value) => int > value,
            Must::HaveBits(mask, value) => int & mask == value,
            Must::HaveLongBits(mask, value) => long & mask == value,
            Must::BeOwnProcess => int == process,
        }
    }
}

/// Every process.
const ALL: &[Profile] = &Profile::ALL;
/// Who runs a guest, or will.
const GUEST: &[Profile] = &[Load, Run, Zygote, TestChild];
/// Who starts tests, and each test's process until it is confined.
const ZYGOTE: &[Profile] = &[Load, Zygote];
/// Who only reads and writes.
const TOOLS: &[Profile] = &[Compile, Symbolise];

/// An `int` that is a constant of this name.
macro_rules! is {
    ($argument:literal, $name:ident, $constant:ident) => {
        Condition {
            argument: $argument,
            must: Must::Be($constant as u32),
            words: concat!(stringify!($name), " = ", stringify!($constant)),
        }
    };
}

const fn long(argument: u8, mask: u64, value: u64, words: &'static str) -> Condition {
    Condition { argument, must: Must::HaveLongBits(mask, value), words }
}

/// A file that the guest opened. The standard streams are shared with whoever started us, and where they lead
/// into a file, what was written there stays. A copy would get around that, so they cannot be copied either.
const FILE: Condition = Condition { argument: 0, must: Must::Exceed(2), words: "fd > 2" };
/// The same of a descriptor that may be `AT_FDCWD`.
const NO_STREAM: Condition = Condition { words: "dirfd > 2 or AT_FDCWD", ..FILE };

/// Shared with no other process and no file (linux/mman.h, `MAP_TYPE`).
const PRIVATE: Condition = long(3, 0xf, MAP_PRIVATE as u64, "flags with MAP_PRIVATE");
const NOT_EXECUTABLE: Condition = long(2, PROT_EXEC as u64, 0, "prot without PROT_EXEC");
const EXECUTABLE: Condition =
    long(2, u64::MAX, (PROT_READ | PROT_EXEC) as u64, "prot = PROT_READ with PROT_EXEC");

const fn futex(operation: i32, words: &'static str) -> Condition {
    let either = (FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME) as u32;
    Condition { argument: 1, must: Must::HaveBits(!either, operation as u32), words }
}

/// Since glibc 2.42 and Linux 6.13 (asm-generic/mman-common.h); libc has no name for it yet.
const MADV_GUARD_INSTALL: i32 = 102;

/// What the guest may set of a file (`fdflags` of WASI), and what rustix always does.
const STATUS_FLAGS: OFlags =
    OFlags::APPEND.union(OFlags::NONBLOCK).union(OFlags::DSYNC).union(OFlags::SYNC).union(OFlags::LARGEFILE);

/// Exactly what fork(2) is; a thread or a namespace is not.
const FORK: Condition = {
    const MAY: i32 = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    long(0, !(MAY as u64), SIGCHLD as u64, "flags as in fork(2)")
};
/// A thread of this process, and no namespace.
const THREAD: Condition = {
    const ALWAYS: i32 = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
    const MAY: i32 =
        CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    long(0, !(MAY as u64), ALWAYS as u64, "flags as in pthread_create(3)")
};

const ITSELF: Condition = Condition { argument: 0, must: Must::BeOwnProcess, words: "tgid = its own" };
const NO_OTHER: Condition = Condition { argument: 0, must: Must::Be(0), words: "pid = 0" };

/// With it rustix finds the vDSO, at its first look at a clock (linux/prctl.h).
const PR_GET_AUXV: i32 = 0x4155_5856;

macro_rules! call {
    ($constant:ident, $profiles:expr, $reason:literal) => {
        Call {
            constant: stringify!($constant),
            number: libc::$constant,
            profiles: $profiles,
            when: &[],
            errno: None,
            architecture: None,
            reason: $reason,
        }
    };
}

/// The table.
pub const TABLE: &[Call] = &[
    // What is open.
    call!(SYS_read, ALL, "reads files, the standard input and answers of the supervisor"),
    call!(SYS_readv, GUEST, "`fd_read` into several buffers"),
    call!(SYS_preadv, GUEST, "`fd_pread`").when(&[FILE]),
    call!(SYS_write, ALL, "output of a guest, finished code, and what a panic of ours says"),
    call!(SYS_writev, ALL, "`fd_write` from several buffers, and messages to the supervisor"),
    call!(SYS_pwritev, GUEST, "`fd_pwrite`, and `fd_write` to a file that is appended to").when(&[FILE]),
    call!(SYS_lseek, GUEST, "`fd_seek`; the position of a standard stream is others' too").when(&[FILE]),
    call!(SYS_ftruncate, GUEST, "`fd_filestat_set_size`").when(&[FILE]),
    call!(SYS_fallocate, GUEST, "`fd_allocate`").when(&[FILE]),
    call!(SYS_fadvise64, GUEST, "`fd_advise`").when(&[FILE]),
    call!(SYS_fsync, GUEST, "`fd_sync`").when(&[FILE]),
    call!(SYS_fdatasync, GUEST, "`fd_datasync`").when(&[FILE]),
    call!(SYS_fstat, GUEST, "`fd_filestat_get`, and what kind of file a standard stream is"),
    call!(SYS_getdents64, GUEST, "`fd_readdir`").when(&[FILE]),
    call!(
        SYS_flock,
        GUEST,
        "guests take turns in changing names; it names no file, and hinders only who asks for such locks"
    )
    .when(&[FILE]),
    call!(SYS_close, ALL, "whatever was opened"),
    call!(
        SYS_fcntl,
        GUEST,
        "copies what is open, so that it outlives the guest's own; never a standard stream"
    )
    .when(&[FILE, is!(1, op, F_DUPFD_CLOEXEC)]),
    call!(SYS_fcntl, TOOLS, "copies the standard input and the output, to read and write them as files")
        .when(&[is!(1, op, F_DUPFD_CLOEXEC)]),
    call!(SYS_fcntl, ALL, "a debug build of the standard library sees that what it closes is open")
        .when(&[is!(1, op, F_GETFD)]),
    call!(SYS_fcntl, GUEST, "`fd_fdstat_set_flags`; those of a standard stream are others' too").when(&[
        FILE,
        is!(1, op, F_SETFL),
        long(2, !(STATUS_FLAGS.bits() as u64), 0, "arg of O_APPEND, O_NONBLOCK, O_DSYNC and O_SYNC"),
    ]),
    call!(SYS_ioctl, GUEST, "whether a standard stream is a terminal, by asking for its size")
        .when(&[is!(1, op, TIOCGWINSZ)]),
    call!(SYS_ppoll, GUEST, "`poll_oneoff`, which also sleeps, and a zygote that waits for its child"),
    // Names. Landlock and our host functions decide which.
    call!(SYS_openat, GUEST, "opens below a directory that is open, and rules of Landlock for a test"),
    call!(SYS_openat, TOOLS, "the standard library looks for the processor quota of a control group")
        .fails_with(libc::EACCES),
    call!(SYS_openat2, GUEST, "opens a whole path that must not lead through links"),
    call!(
        SYS_newfstatat,
        GUEST,
        "`path_filestat_get`; where the kernel has no `statx`, the standard library too"
    ),
    call!(
        SYS_statx,
        GUEST,
        "whether a directory folds names, how large an artifact is, how many threads a fork would lose"
    ),
    call!(SYS_faccessat2, GUEST, "tells what Landlock refused from what permissions of files refuse"),
    call!(SYS_faccessat, GUEST, "the same before Linux 5.8"),
    call!(
        SYS_getuid,
        GUEST,
        "the same before Linux 5.8, where it is only right for whoever is not set-user-ID"
    ),
    call!(SYS_geteuid, GUEST, "the same before Linux 5.8"),
    call!(SYS_getgid, GUEST, "the same before Linux 5.8"),
    call!(SYS_getegid, GUEST, "the same before Linux 5.8"),
    call!(SYS_mkdirat, GUEST, "`path_create_directory`"),
    call!(SYS_unlinkat, GUEST, "`path_unlink_file` and `path_remove_directory`"),
    call!(SYS_renameat, GUEST, "`path_rename` onto what is there"),
    call!(SYS_renameat2, GUEST, "`path_rename` onto nothing, and takes a move back"),
    call!(SYS_linkat, GUEST, "`path_link`"),
    call!(SYS_symlinkat, GUEST, "`path_symlink`"),
    call!(SYS_readlinkat, GUEST, "`path_readlink`, and each link on the way of a path"),
    call!(SYS_utimensat, GUEST, "`path_filestat_set_times`, `fd_filestat_set_times`").when(&[NO_STREAM]),
    call!(SYS_getcwd, GUEST, "where the process stands, which looks at many names of one directory"),
    call!(SYS_fchdir, GUEST, "stands in a directory of which many names are looked at"),
    // Memory.
    call!(SYS_mmap, ALL, "memory, stacks, and the artifact's own copy of a memory's contents")
        .when(&[NOT_EXECUTABLE, PRIVATE]),
    call!(SYS_munmap, ALL, "gives memory back"),
    call!(SYS_mprotect, ALL, "makes room that was reserved usable, and the code's data read-only")
        .when(&[NOT_EXECUTABLE]),
    call!(SYS_mprotect, &[Load], "compiled code becomes executable, once").when(&[EXECUTABLE]),
    call!(SYS_mremap, ALL, "`realloc` of something large").when(&[is!(3, flags, MREMAP_MAYMOVE)]),
    call!(SYS_brk, ALL, "`malloc`"),
    call!(SYS_madvise, ALL, "`free` in an arena of its own, and the stack of a thread that has ended")
        .when(&[is!(2, advice, MADV_DONTNEED)]),
    call!(SYS_madvise, &[Compile], "the guard of a thread's stack, from glibc 2.42 on").when(&[is!(
        2,
        advice,
        MADV_GUARD_INSTALL
    )]),
    call!(SYS_membarrier, &[Load], "other processors forget what was at the place of new code")
        .when(&[is!(0, cmd, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)])
        .only_on("aarch64"),
    call!(SYS_membarrier, &[Load], "the same has to be announced")
        .when(&[is!(0, cmd, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)])
        .only_on("aarch64"),
    call!(SYS_membarrier, &[Load], "the same before Linux 4.16")
        .when(&[is!(0, cmd, MEMBARRIER_CMD_GLOBAL)])
        .only_on("aarch64"),
    // Threads and locks.
    call!(SYS_futex, ALL, "a lock of the C library that is held")
        .when(&[futex(FUTEX_WAIT, "op = FUTEX_WAIT")]),
    call!(SYS_futex, ALL, "a lock of the standard library that is held, and the end of a thread")
        .when(&[futex(FUTEX_WAIT_BITSET, "op = FUTEX_WAIT_BITSET")]),
    call!(SYS_futex, ALL, "wakes whoever waits for a lock").when(&[futex(FUTEX_WAKE, "op = FUTEX_WAKE")]),
    call!(
        SYS_sched_yield,
        &[Load, Run, Zygote, TestChild, Compile],
        "`sched_yield`, and idle threads of a compiler"
    ),
    call!(SYS_sched_getaffinity, &[Compile], "how many threads to compile with"),
    call!(
        SYS_clone3,
        ALL,
        "what it makes is in memory, which no filter sees; the C library falls back to `clone`"
    )
    .fails_with(libc::ENOSYS),
    call!(SYS_clone, ZYGOTE, "a process for each test").when(&[FORK]),
    call!(SYS_clone, &[Compile], "threads of a compiler").when(&[THREAD]),
    call!(
        SYS_set_robust_list,
        &[Load, Zygote, Compile],
        "what the C library does in each new thread or process"
    ),
    call!(SYS_rseq, &[Load, Zygote, Compile], "what the C library does in each new thread or process"),
    call!(SYS_gettid, ALL, "which thread `abort` ends, and what a new thread is called by"),
    call!(SYS_prctl, &[Compile], "names a thread").when(&[is!(0, op, PR_SET_NAME)]),
    call!(SYS_exit, &[Compile], "a thread ends"),
    // Time and chance.
    call!(SYS_clock_gettime, ALL, "clocks of processor time, and all where the kernel maps no code for that"),
    call!(SYS_clock_getres, GUEST, "`clock_res_get`"),
    call!(SYS_getrandom, ALL, "`random_get`, and the seeds of hash tables and of `malloc`"),
    call!(SYS_prctl, ALL, "where the kernel's code for clocks is mapped").when(&[is!(0, op, PR_GET_AUXV)]),
    // Signals.
    call!(SYS_rt_sigaction, ALL, "handlers of traps, and their end where a signal is none"),
    call!(SYS_rt_sigprocmask, ALL, "no signal interrupts `abort` or the start of a thread or process"),
    call!(SYS_rt_sigreturn, ALL, "the way back from a handler: each trap of a guest takes it"),
    call!(SYS_sigaltstack, ALL, "a stack for handlers, for each thread and when an instance is made"),
    call!(SYS_restart_syscall, ALL, "the kernel goes on with a wait that a stop and continue interrupted"),
    call!(SYS_getpid, ALL, "`abort`, and each filter that names its process"),
    call!(SYS_tgkill, &[Run, TestChild, Compile, Symbolise], "`abort`").when(&[ITSELF, is!(2, sig, SIGABRT)]),
    call!(SYS_tgkill, ZYGOTE, "`abort`, also of a child, which has another id and no filter of its own yet")
        .when(&[is!(2, sig, SIGABRT)]),
    call!(SYS_exit_group, ALL, "ends the process"),
    // A test's process, before and after, and its walls.
    call!(SYS_recvmsg, ZYGOTE, "a test comes with the descriptors of its channels"),
    call!(SYS_pidfd_open, ZYGOTE, "waits for a child and for the supervisor at once"),
    call!(SYS_pidfd_send_signal, ZYGOTE, "ends a child whose time is up").when(&[is!(1, sig, SIGKILL)]),
    call!(SYS_wait4, ZYGOTE, "how a child ended"),
    call!(SYS_getppid, ZYGOTE, "whether the zygote is still there, once its end is tied to the child's"),
    call!(SYS_prctl, ZYGOTE, "a child ends with its zygote").when(&[is!(0, op, PR_SET_PDEATHSIG)]),
    call!(SYS_prctl, ZYGOTE, "Landlock and seccomp want it set").when(&[is!(0, op, PR_SET_NO_NEW_PRIVS)]),
    call!(SYS_prctl, ZYGOTE, "whether it is set").when(&[is!(0, op, PR_GET_NO_NEW_PRIVS)]),
    call!(SYS_prlimit64, ZYGOTE, "the resource limits of a test").when(&[NO_OTHER]),
    call!(SYS_landlock_create_ruleset, ZYGOTE, "the Landlock rules of a test"),
    call!(SYS_landlock_add_rule, ZYGOTE, "the Landlock rules of a test"),
    call!(SYS_landlock_restrict_self, ZYGOTE, "the Landlock rules of a test"),
    call!(SYS_seccomp, ZYGOTE, "the next profile").when(&[is!(0, operation, SECCOMP_SET_MODE_FILTER)]),
    call!(SYS_seccomp, ZYGOTE, "whether a filter can kill, where a test's rules are made anew").when(&[is!(
        0,
        operation,
        SECCOMP_GET_ACTION_AVAIL
    )]),
];

//! The system calls that no safe wrapper offers. The only unsafe code of `kernel`.
#![expect(
    unsafe_code,
    reason = "fork, close_range, descriptors by number and three calls that only libc names"
)]

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// On which side of a [`fork`] the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// In the new process.
    Child,
    /// In the old one; this is the new one's id.
    Parent(Pid),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal. `SIGSYS` (31): a call that wall 3 forbids.
    Signal(i32),
}

impl Exit {
    /// Whether wall 3 ended it.
    pub fn by_seccomp(self) -> bool {
        self == Self::Signal(Signal::SYS.as_raw())
    }
}

/// The number of threads of this process: `stat` of `/proc/self/task` counts them as links, and no
/// Landlock rule is needed for a `stat`.
///
/// # Errors
/// Those of `stat`: without `/proc` it cannot be told.
pub fn threads() -> io::Result<u64> {
    // The directory itself has two links, and one per thread (fs/proc/base.c, proc_task_getattr).
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Forks. Only a process with a single thread may, so the child is a full copy in which everything
/// works: no lock can be held by a thread that does not exist there.
///
/// # Errors
/// Those of fork(2), and an error of kind `Other` if the process has more than one thread or its
/// threads cannot be counted.
pub fn fork() -> io::Result<Fork> {
    match threads()? {
        1 => {}
        threads => {
            return Err(io::Error::other(format!("a process with {threads} threads cannot be forked")));
        }
    }
    // SAFETY: fork(2) is memory-safe where the child runs only code that is sound without the other
    // threads. The kernel has just counted one thread, and a thread can only be started by one:
    // this one, which is here. So the child has no missing threads.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => Pid::from_raw(child)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("fork gave a process id of 0")),
    }
}

/// Waits until the child ended, and takes its status.
///
/// # Errors
/// Those of waitpid(2), except that an interruption is tried again.
pub fn wait(child: Pid) -> io::Result<Exit> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(exit_of(status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the status of a child if it has ended: with `None` for any child.
///
/// # Errors
/// Those of waitpid(2): `ECHILD` if there is no child.
pub fn try_wait(child: Option<Pid>) -> io::Result<Option<(Pid, Exit)>> {
    Ok(waitpid(child, WaitOptions::NOHANG)?.map(|(pid, status)| (pid, exit_of(status))))
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // Stops and continuations are not asked for.
        (None, None) => Exit::Signal(0),
    }
}

/// Ends the process at once: no destructor, no exit handler, no flush of what was inherited from
/// the parent by a fork.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory of the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// See [`super::KernelStatus::landlock_abi`].
pub(super) fn landlock_abi() -> Option<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel wants a null pointer and a size of 0, reads no memory of
    // ours and creates nothing (Documentation/userspace-api/landlock.rst).
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(answer).ok().filter(|abi| *abi > 0)
}

/// Whether the kernel has seccomp filters with the action that kills the whole process.
pub(super) fn seccomp_can_kill() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads the four bytes of `action`, which live until after the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, std::ptr::from_ref(&action))
    };
    answer == 0
}

/// Makes the kernel answer writes beyond `RLIMIT_FSIZE` with `EFBIG` instead of a signal that kills.
pub(super) fn ignore_file_size_signal() -> io::Result<()> {
    // SAFETY: SIG_IGN is no code of ours, so nothing runs in a signal context.
    match unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A descriptor that this process was started with, by its number, as one of our own.
///
/// # Errors
/// `EBADF` if it was started with none of that number; what was opened since is not given away.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: with these commands fcntl(2) touches no memory, and it changes nothing but adds a descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    // All that this process opens is closed on exec, and what an exec has left is not.
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: as above.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it for us, so nobody else owns it.
        own => Ok(unsafe { OwnedFd::from_raw_fd(own) }),
    }
}

/// See [`super::process::close_other_fds`].
pub(super) fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).chain([0, 1, 2]).collect();
    keep.sort_unstable();
    keep.dedup();
    let ends = keep.iter().copied().skip(1).map(|fd| fd - 1).chain([u32::MAX]);
    for (first, last) in keep.iter().map(|fd| fd + 1).zip(ends) {
        if first > last {
            continue;
        }
        // SAFETY: close_range(2) touches no memory. It may close only what nothing in the process
        // relies on: the caller promises to do so before anything but `keep` was opened, so what
        // is closed was inherited and has no owner here.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Calls that no part of the worker makes, so that a test can try them against wall 3. Not part of an
/// installed binary.
#[cfg(feature = "test-walls")]
pub mod probe {
    use std::io;

    /// Makes a page of memory executable, and unmaps it.
    ///
    /// # Errors
    /// Those of mmap(2) and mprotect(2).
    pub fn map_executable() -> io::Result<()> {
        const PAGE: usize = 4096;
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is the mapping just made, and nothing refers to it.
        let made = match unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: as above.
        unsafe { libc::munmap(page, PAGE) };
        made
    }

    /// Makes any call by its number, and ends the process: with 0, or with the error number of the call.
    /// Arguments are small, negative, or what an `int` holds, so that none is an address of this process.
    pub fn call_and_end(number: i64, arguments: [u64; 6]) -> ! {
        assert!(number != libc::SYS_rt_sigreturn, "it returns to wherever the stack says");
        assert!(arguments.iter().all(|argument| *argument <= u32::MAX.into() || *argument > u64::MAX / 2));
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: a position-independent process has nothing below 4 GiB, and the upper half of the addresses is
        // the kernel's: none of its memory is read, written, mapped or unmapped. What else the call may
        // do to the process is of no matter, because nothing of it is used any more but what follows; a process or
        // thread that it starts has its stack where there is none, or is a copy that ends here too.
        let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        let errno = if answer == -1 { io::Error::last_os_error().raw_os_error() } else { None };
        super::exit_now(errno.and_then(|errno| u8::try_from(errno).ok()).unwrap_or(0))
    }

    /// A call without arguments, by its number: `getpid` as an x32 call is `0x4000_0000 | 39`.
    #[cfg(target_arch = "x86_64")]
    pub fn call(number: i64) -> i64 {
        assert!(matches!(number, 39 | 0x4000_0027), "only `getpid` is known to touch no memory");
        // SAFETY: getpid(2) takes no argument and touches no memory, by either number.
        unsafe { libc::syscall(number) }
    }

    /// `clone3` without arguments: `EINVAL` where it is not filtered.
    pub fn clone3() -> io::Error {
        // SAFETY: the kernel refuses a size of 0 before it reads the null pointer.
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
        io::Error::last_os_error()
    }
}

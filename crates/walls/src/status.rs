//! What this kernel can enforce, what a command needs of it, and what is wrong if the two differ.

use super::error::NO_LAYERS;
use super::landlock::{Enforced, LandlockLevel, abi, check};
use super::wall::Walls;
use sandbox_policy::access::Wall;
use sandbox_policy::diagnostic::Diagnostic;

/// The kernel's abilities, asked of the kernel itself and not guessed from its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelStatus {
    /// The Landlock ABI as `landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION)` tells
    /// it; `None` if the kernel lacks Landlock, it was not enabled at boot, or a container's filter
    /// hides it.
    pub landlock_abi: Option<u32>,
    /// Whether seccomp filters that kill the process can be installed, and we know this
    /// architecture's system calls.
    pub seccomp: bool,
}

/// Asks the kernel.
pub fn status() -> KernelStatus {
    KernelStatus {
        landlock_abi: super::sys::landlock_abi(),
        seccomp: super::seccomp::SUPPORTED && super::sys::seccomp_can_kill(),
    }
}

impl KernelStatus {
    /// What there is of a wall, for people. `None` if it asks nothing of the kernel.
    pub fn words(&self, wall: Wall) -> Option<String> {
        match wall {
            Wall::Wasi => None,
            Wall::Landlock => {
                let used = abi::used(self.landlock_abi);
                let landlock =
                    used.map_or("no landlock".to_owned(), |abi| abi::in_words(abi, self.landlock_abi));
                let missing = Enforced::of(self.landlock_abi).missing.join(", ");
                Some(if missing.is_empty() { landlock } else { format!("{landlock} (without {missing})") })
            }
            Wall::Seccomp => Some(if self.seccomp { "seccomp" } else { "no seccomp" }.to_owned()),
        }
    }
}

/// What a command needs of the system before there is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// How much of Landlock.
    pub level: LandlockLevel,
    /// Landlock layers that its processes stack.
    pub layers: u32,
    /// Which walls must stand.
    pub walls: Walls,
}

impl Needs {
    /// Looks whether the kernel gives it, so that nothing is built in vain. Whether there is room for the
    /// layers is tried out in a process of its own, if this one has a single thread; otherwise it will be seen
    /// when they are needed.
    ///
    /// # Errors
    /// What is missing (exit status 69), with what to do about it.
    pub fn look(&self) -> Result<(), Box<Diagnostic>> {
        let status = status();
        let level = self.walls.level(self.level);
        for wall in Wall::all().filter(|wall| self.walls.stands(*wall)) {
            match wall {
                Wall::Wasi => {}
                Wall::Landlock => {
                    check(level, status.landlock_abi).map_err(|lack| Box::new(lack.diagnostic()))?
                }
                Wall::Seccomp if status.seccomp => {}
                Wall::Seccomp => {
                    let message =
                        "this system offers no seccomp filters that kill a process; nothing was run";
                    return Err(Box::new(
                        Diagnostic::error("seccomp-unavailable", message)
                            .help("use Linux 4.14 or newer on x86-64 or arm64; in a container, its own filter must allow `seccomp`"),
                    ));
                }
            }
        }
        if level != LandlockLevel::Off && !super::landlock::has_room_for(self.layers) {
            return Err(Box::new(
                Diagnostic::error("landlock-unavailable", format!("{NO_LAYERS}; nothing was run"))
                    .note("sandboxes around this command, such as those of agents and CI steps, put layers on what they start")
                    .help("start it outside of some of them")
                    .help("`--landlock off` goes without it: the wasi wall and seccomp still hold, and so do the layers around"),
            ));
        }
        Ok(())
    }
}

//! What this kernel can enforce, what the user asked for, and what is wrong if the two differ.

use super::abi;
use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
    #[cfg(target_os = "linux")]
    return KernelStatus {
        landlock_abi: super::sys::landlock_abi(),
        seccomp: super::seccomp::SUPPORTED && super::sys::seccomp_can_kill(),
    };
    #[cfg(not(target_os = "linux"))]
    return KernelStatus { landlock_abi: None, seccomp: false };
}

/// How much of wall 2 must be there: `--landlock full|required|off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LandlockLevel {
    /// ABI 6 (Linux 6.12) or newer: file rights with truncation, TCP ports, device ioctls, abstract
    /// sockets and signals.
    Full,
    /// ABI 2 (Linux 5.19) or newer: file rights and moves between directories. What the running
    /// kernel lacks beyond that is reported, not ignored in silence.
    #[default]
    Required,
    /// No Landlock: wall 1 and wall 3 stand alone.
    Off,
}

impl LandlockLevel {
    /// Every level, the strictest first.
    pub const ALL: [Self; 3] = [Self::Full, Self::Required, Self::Off];

    /// The smallest Landlock ABI that gives this level; `None` if it needs no Landlock.
    pub const fn smallest_abi(self) -> Option<u32> {
        match self {
            Self::Full => Some(6),
            Self::Required => Some(2),
            Self::Off => None,
        }
    }
}

impl fmt::Display for LandlockLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Required => "required",
            Self::Off => "off",
        })
    }
}

impl FromStr for LandlockLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|level| level.to_string() == text)
            .ok_or_else(|| format!("`{text}` is none of `full`, `required` and `off`"))
    }
}

/// This kernel cannot give the confinement that was asked for: exit status 69.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What was asked for.
    pub level: LandlockLevel,
    /// The kernel's Landlock ABI, if it has any.
    pub abi: Option<u32>,
}

impl Unavailable {
    /// What to do about it, one sentence each.
    pub fn help(&self) -> Vec<String> {
        let mut help = Vec::new();
        let since = |level: LandlockLevel| abi::linux(level.smallest_abi().unwrap_or_default());
        let oldest = since(LandlockLevel::Required);
        match (self.abi, self.level) {
            (Some(_), LandlockLevel::Full) => help.push(format!(
                "use Linux {} or newer, or `--landlock required`, which needs only {oldest} and reports what is missing",
                since(LandlockLevel::Full)
            )),
            (Some(_), _) => help.push(format!("use Linux {oldest} or newer")),
            (None, _) if cfg!(target_os = "linux") => {
                help.push(format!(
                    "use Linux {oldest} or newer, built with Landlock and booted with `landlock` in the list `lsm=` (see `/sys/kernel/security/lsm`)"
                ));
                help.push(
                    "in a container, its seccomp profile must allow `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`"
                        .into(),
                );
            }
            (None, _) => help.push(format!("run it on Linux {oldest} or newer")),
        }
        if cfg!(target_os = "linux") {
            help.push("`--landlock off` goes without it: the wasi wall and seccomp still hold".into());
        }
        help
    }

    /// The whole of it as one message with its help.
    pub fn diagnostic(&self) -> Diagnostic {
        self.help()
            .into_iter()
            .fold(Diagnostic::error("landlock-unavailable", self.headline()), Diagnostic::help)
    }

    fn headline(&self) -> String {
        let has = match self.abi {
            Some(abi) => format!("has only ABI {abi}"),
            None => "offers none".into(),
        };
        let needs = self.level.smallest_abi().unwrap_or_default();
        format!(
            "`--landlock {}` needs Landlock ABI {needs}, and this system {has}; nothing was run",
            self.level
        )
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.headline(), self.help().join("; "))
    }
}

impl std::error::Error for Unavailable {}

/// Whether a kernel with this Landlock ABI gives the level.
///
/// # Errors
/// [`Unavailable`], whose text says what to do.
pub fn check(level: LandlockLevel, abi: Option<u32>) -> Result<(), Unavailable> {
    match level.smallest_abi() {
        Some(smallest) if abi.is_none_or(|abi| abi < smallest) => Err(Unavailable { level, abi }),
        _ => Ok(()),
    }
}

/// What a command needs of the system before there is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// How much of Landlock.
    pub level: LandlockLevel,
    /// Landlock layers that its processes stack.
    pub layers: u32,
    /// Whether it filters system calls.
    pub seccomp: bool,
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
        check(self.level, status.landlock_abi).map_err(|unavailable| Box::new(unavailable.diagnostic()))?;
        if self.seccomp && !status.seccomp {
            let message = "this system offers no seccomp filters that kill a process; nothing was run";
            return Err(Box::new(
                Diagnostic::error("seccomp-unavailable", message)
                    .help("use Linux 4.14 or newer on x86-64 or arm64; in a container, its own filter must allow `seccomp`"),
            ));
        }
        #[cfg(target_os = "linux")]
        if self.level != LandlockLevel::Off && !super::landlock::has_room_for(self.layers) {
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

/// What wall 2 enforces in this process, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The ABI whose rights are handled, which may be older than the kernel's; `None` with `--landlock off`.
    pub abi: Option<u32>,
    /// What is enforced, in words.
    pub enforced: Vec<String>,
    /// What `--landlock full` would enforce and this kernel does not.
    pub missing: Vec<String>,
}

impl Enforced {
    /// What Landlock of this ABI enforces and what it lacks.
    pub fn of(abi: Option<u32>) -> Self {
        let full = LandlockLevel::Full.smallest_abi().unwrap_or_default();
        let has = abi::used(abi).unwrap_or_default();
        let words = |rows: &mut dyn Iterator<Item = &abi::Abi>| {
            rows.filter_map(|row| row.adds.map(str::to_owned)).collect()
        };
        Self {
            abi: abi::used(abi),
            enforced: words(&mut abi::known(has)),
            missing: words(&mut abi::known(full).skip_while(|row| row.number <= has)),
        }
    }
}

/// What there is to say of [`Error::Layers`].
const NO_LAYERS: &str =
    "this process is inside of as many Landlock layers as the kernel stacks, 16, and no more can be added";

/// Why a confinement was not put in force. The process must not go on to run a guest.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel lacks what was asked for.
    Unavailable(Unavailable),
    /// This process is inside of as many Landlock layers as can be stacked.
    Layers,
    /// The plan was made for a newer ABI than the kernel has.
    Abi {
        /// The plan's.
        plan: u32,
        /// The kernel's.
        kernel: Option<u32>,
    },
    /// The path of a rule cannot be opened without following a link.
    Path(PathBuf, std::io::Error),
    /// The path of a rule was a directory when the plan was made and is none now, or the reverse.
    Changed(PathBuf),
    /// The kernel refused a ruleset, a rule, a filter or an attribute.
    Refused(String),
    /// The kernel accepted everything and says that not all of it is in force.
    NotEnforced(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(unavailable) => unavailable.fmt(f),
            Self::Layers => write!(f, "{NO_LAYERS}"),
            Self::Abi { plan, kernel } => write!(
                f,
                "the rules are for Landlock ABI {plan}, the kernel has {}",
                kernel.map_or_else(|| "none".into(), |abi| abi.to_string())
            ),
            Self::Path(path, error) => {
                write!(f, "cannot open `{}` for a Landlock rule: {error}", path.display())
            }
            Self::Changed(path) => {
                write!(
                    f,
                    "`{}` changed between file and directory while it was being confined",
                    path.display()
                )
            }
            Self::Refused(what) => write!(f, "the kernel refused a confinement: {what}"),
            Self::NotEnforced(what) => write!(f, "a confinement is not in force: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_from_its_smallest_abi_on() {
        for level in LandlockLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            match level.smallest_abi() {
                Some(abi) => {
                    assert_eq!(check(level, Some(abi)), Ok(()));
                    assert_eq!(check(level, Some(abi - 1)), Err(Unavailable { level, abi: Some(abi - 1) }));
                    assert!(check(level, None).is_err());
                }
                None => assert_eq!(check(level, None), Ok(())),
            }
        }
        assert!("best-effort".parse::<LandlockLevel>().is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_message_says_what_to_do() {
        let text = check(LandlockLevel::Required, None).unwrap_err().to_string();
        for word in ["5.19", "`lsm=`", "container", "`--landlock off`", "nothing was run"] {
            assert!(text.contains(word), "no {word} in: {text}");
        }
        let text = check(LandlockLevel::Full, Some(4)).unwrap_err().to_string();
        assert!(text.contains("6.12") && text.contains("`--landlock required`"), "{text}");
    }

    #[test]
    fn what_an_old_kernel_lacks_is_said() {
        let old = Enforced::of(Some(2));
        assert!(old.missing.contains(&"truncation".to_owned()));
        assert_eq!((old.enforced.len(), old.missing.len()), (2, 4));
        assert!(Enforced::of(Some(7)).missing.is_empty());
        assert_eq!(Enforced::of(Some(11)), Enforced::of(Some(9)));
        assert_eq!(Enforced::of(Some(11)).abi, Some(9));
        assert!(Enforced::of(None).enforced.is_empty());
    }
}

//! What this kernel can enforce, what the user asked for, and what is wrong if the two differ.

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
        match (self.abi, self.level) {
            (Some(_), LandlockLevel::Full) => help.push(
                "use Linux 6.12 or newer, or `--landlock required`, which needs only 5.19 and reports what is missing"
                    .into(),
            ),
            (Some(_), _) => help.push("use Linux 5.19 or newer".into()),
            (None, _) if cfg!(target_os = "linux") => {
                help.push(
                    "use Linux 5.19 or newer, built with Landlock and booted with `landlock` in the list `lsm=` (see `/sys/kernel/security/lsm`)"
                        .into(),
                );
                help.push(
                    "in a container, its seccomp profile must allow `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`"
                        .into(),
                );
            }
            (None, _) => help.push("run it on Linux 5.19 or newer".into()),
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

/// What wall 2 enforces in this process, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The ABI whose rights are handled; `None` with `--landlock off`.
    pub abi: Option<u32>,
    /// What is enforced, in words.
    pub enforced: Vec<String>,
    /// What a newer kernel would enforce and this one does not.
    pub missing: Vec<String>,
}

impl Enforced {
    /// What Landlock of this ABI enforces and what it lacks.
    pub fn of(abi: Option<u32>) -> Self {
        const ABILITIES: [(u32, &str); 6] = [
            (1, "reading, writing, creating and removing files"),
            (2, "moves and hard links between directories"),
            (3, "truncation"),
            (4, "TCP bind and connect"),
            (5, "device ioctls"),
            (6, "abstract sockets and signals"),
        ];
        let has = |needs: u32| abi.is_some_and(|abi| abi >= needs);
        let (enforced, missing): (Vec<_>, Vec<_>) = ABILITIES.iter().partition(|(needs, _)| has(*needs));
        let words = |list: Vec<&(u32, &str)>| list.into_iter().map(|(_, what)| (*what).to_owned()).collect();
        Self { abi, enforced: words(enforced), missing: words(missing) }
    }
}

/// Why a confinement was not put in force. The process must not go on to run a guest.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel lacks what was asked for.
    Unavailable(Unavailable),
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
        assert!(Enforced::of(None).enforced.is_empty());
    }
}

//! How much of Landlock was asked for, whether a kernel gives it, and what is enforced then.

use super::abi;
use sandbox_policy::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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
            (None, _) => {
                help.push(format!(
                    "use Linux {oldest} or newer, built with Landlock and booted with `landlock` in the list `lsm=` (see `/sys/kernel/security/lsm`)"
                ));
                help.push(
                    "in a container, its seccomp profile must allow `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`"
                        .into(),
                );
            }
        }
        help.push("`--landlock off` goes without it: the wasi wall and seccomp still hold".into());
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

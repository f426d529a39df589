//! Why a process is not confined.

use super::landlock::Unavailable;
use std::fmt;
use std::path::PathBuf;

/// What there is to say of [`Error::Layers`].
pub(crate) const NO_LAYERS: &str =
    "this process is inside of as many Landlock layers as the kernel stacks, 16, and no more can be added";

/// Why a confinement was not put in force. The process must not go on to run a guest.
#[derive(Debug)]
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
    /// An attribute or limit of the process, by its name.
    Process(&'static str, std::io::Error),
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
            Self::Process(what, error) => write!(f, "{what}: {error}"),
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

//! Other systems than Linux: every confinement is an error, none a no-op.

/// See the Linux version.
pub mod folding {
    use crate::policy::Policy;
    use std::borrow::Cow;

    /// Any name may be folded.
    pub fn places() -> &'static [Vec<u8>] {
        static ALL: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        ALL.get_or_init(|| vec![b"/".to_vec()])
    }

    /// Also beneath another root.
    pub fn within(places: &[Vec<u8>], _root: &[u8]) -> Vec<Vec<u8>> {
        places.to_vec()
    }

    /// There are no rules.
    pub fn with_lists<'a>(policy: &'a Policy, _places: &[Vec<u8>]) -> Cow<'a, Policy> {
        Cow::Borrowed(policy)
    }
}

/// See the Linux version.
pub mod landlock {
    use crate::kernel::plan::{Look, Plan};
    use crate::kernel::status::{Enforced, Error, LandlockLevel, check};

    /// What is at a path; links on the way to it are followed.
    pub fn look(path: &[u8]) -> Look {
        let Ok(path) = std::str::from_utf8(path) else { return Look::Missing };
        match std::fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_dir() => Look::Dir,
            Ok(kind) if kind.is_file() => Look::File,
            Ok(kind) if kind.is_symlink() => Look::Link,
            Ok(_) => Look::Other,
            Err(_) => Look::Missing,
        }
    }

    /// No Landlock: 0.
    pub fn usable_abi() -> u32 {
        0
    }

    /// Off is off.
    ///
    /// # Errors
    /// Always, at any other level.
    pub fn restrict(plan: &Plan, level: LandlockLevel) -> Result<Enforced, Error> {
        Layer::new(plan, level)?.enter()
    }

    /// See the Linux version.
    #[derive(Debug)]
    pub struct Layer(());

    impl Layer {
        /// # Errors
        /// Always, unless it is off.
        pub fn new(_plan: &Plan, level: LandlockLevel) -> Result<Self, Error> {
            check(level, None)?;
            Ok(Self(()))
        }

        /// # Errors
        /// None.
        pub fn enter(self) -> Result<Enforced, Error> {
            Ok(Enforced::of(None))
        }
    }
}

/// See the Linux version.
pub mod seccomp {
    use crate::kernel::status::Error;

    /// See the Linux version.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the Linux version")]
    pub enum Profile {
        Load,
        Run,
        Zygote,
        TestChild,
        Compile,
        Symbolise,
    }

    /// # Errors
    /// Always.
    pub fn install(_profile: Profile) -> Result<(), Error> {
        Err(Error::Refused("there is no seccomp on this system".into()))
    }

    /// See the Linux version.
    pub fn prepare(_profiles: &[Profile]) {}
}

/// See the Linux version.
pub mod rlimits {
    /// See the Linux version.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[expect(missing_docs, reason = "documented in the Linux version")]
    pub struct Rlimits {
        pub open_files: Option<u64>,
        pub file_size: Option<u64>,
        pub address_space: Option<u64>,
        pub data: Option<u64>,
        pub cpu_seconds: Option<u64>,
    }

    /// # Errors
    /// Always.
    pub fn apply(_limits: &Rlimits) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// See the Linux version.
pub mod process {
    /// # Errors
    /// Always.
    pub fn set_not_dumpable() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// See the Linux version. Nothing there can be had here.
pub mod sys {}

//! The one table of exit statuses. The README prints it; a test compares the two.

/// What the process exits with, and why.
///
/// A guest may exit with any of these numbers itself: where that matters, the JSON report says
/// which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: fine.
    Success,
    /// What the guest exited with (`sandbox-run`, no violation).
    Guest(u8),
    /// 2: wrong use of the command line.
    Usage,
    /// 69 (`EX_UNAVAILABLE`): this kernel or machine cannot give the confinement asked for.
    Unavailable,
    /// 70 (`EX_SOFTWARE`): a fault of ours.
    Fault,
    /// 77 (`EX_NOPERM`): at least one violation, whatever the guest or its tests said.
    Violation,
    /// 78 (`EX_CONFIG`): the manifest is wrong.
    Manifest,
    /// 79: unused grants under `--unused deny`.
    Unused,
    /// 80: `diff` found something gained.
    Gained,
    /// 101: the build or a test failed, or the guest panicked, as in cargo.
    Failed,
    /// 124: a time limit ended it.
    TimedOut,
    /// 130: interrupted.
    Interrupted,
    /// 134: the guest trapped otherwise, or hit a limit.
    Trapped,
}

impl ExitStatus {
    /// The number the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Guest(code) => code,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Fault => 70,
            Self::Violation => 77,
            Self::Manifest => 78,
            Self::Unused => 79,
            Self::Gained => 80,
            Self::Failed => 101,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Trapped => 134,
        }
    }

    /// Which of two statuses that both hold is reported: the one named first in
    /// 130, 70, 78, 69, 77, 124, 134, 101, 79; anything before the guest's own, and that before 0.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Interrupted => 0,
            Self::Fault => 1,
            Self::Manifest => 2,
            Self::Unavailable => 3,
            Self::Usage => 4,
            Self::Violation => 5,
            Self::TimedOut => 6,
            Self::Trapped => 7,
            Self::Failed => 8,
            Self::Unused => 9,
            Self::Gained => 10,
            Self::Guest(0) | Self::Success => 12,
            Self::Guest(_) => 11,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus::{self, *};

    #[test]
    fn the_documented_order_decides_where_several_hold() {
        let order = [
            Interrupted,
            Fault,
            Manifest,
            Unavailable,
            Violation,
            TimedOut,
            Trapped,
            Failed,
            Unused,
            Guest(3),
            Success,
        ];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(first.or(*second), *first);
                assert_eq!(second.or(*first), *first);
            }
        }
    }

    #[test]
    fn numbers_are_the_documented_ones() {
        let codes: Vec<u8> =
            [Interrupted, Fault, Manifest, Unavailable, Violation, TimedOut, Trapped, Failed, Unused, Gained]
                .into_iter()
                .map(ExitStatus::code)
                .collect();
        assert_eq!(codes, [130, 70, 78, 69, 77, 124, 134, 101, 79, 80]);
    }
}

//! The stages of a process, each with its own list.

use serde::{Deserialize, Serialize};

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

//! When each step between the start of the program and the end of its guest was reached: what
//! `--timings` prints and `benches/startup.rs` reads. Each process notes its own steps; the worker
//! sends its own only if it was asked to.

use std::sync::atomic::{AtomicU64, Ordering};

/// A step that was just completed, in the order in which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// The program is loaded and `main` begins.
    Main,
    /// The command line is parsed.
    Arguments,
    /// The workspace is known: `cargo metadata`, or what was kept of it.
    Metadata,
    /// The permissions are read.
    Policy,
    /// Cargo has built, or found that there is nothing to build.
    Build,
    /// Compiled code is at hand.
    Code,
    /// The worker is loaded and its `main` begins.
    WorkerMain,
    /// The worker has its task and can gain nothing any more.
    Task,
    /// Landlock, limits and the first filter are in force.
    Confine,
    /// The code is mapped and linked, and the last filter in force.
    Load,
    /// The instance is there and the guest is about to begin.
    Instantiate,
    /// The guest has ended.
    Run,
    /// The supervisor has heard so, and the worker is gone.
    End,
}

const ALL: [Phase; 13] = [
    Phase::Main,
    Phase::Arguments,
    Phase::Metadata,
    Phase::Policy,
    Phase::Build,
    Phase::Code,
    Phase::WorkerMain,
    Phase::Task,
    Phase::Confine,
    Phase::Load,
    Phase::Instantiate,
    Phase::Run,
    Phase::End,
];

static REACHED: [AtomicU64; ALL.len()] = [const { AtomicU64::new(0) }; ALL.len()];

/// Notes that a step is completed. Costs a look at the clock.
pub fn reached(phase: Phase) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanoseconds = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
    REACHED[phase as usize].store(nanoseconds, Ordering::Relaxed);
}

/// One line: each step and the time at which it was completed, in nanoseconds of `CLOCK_MONOTONIC`,
/// which all processes of a machine share.
pub fn line() -> String {
    let mut line = "timings:".to_owned();
    for (phase, time) in ALL.iter().zip(&REACHED) {
        let time = time.load(Ordering::Relaxed);
        if time > 0 {
            line.push_str(&format!(" {} {time}", format!("{phase:?}").to_lowercase()));
        }
    }
    line
}

/// What this process has noted, for the one that asked.
pub(crate) fn noted() -> Vec<u64> {
    REACHED.iter().map(|time| time.load(Ordering::Relaxed)).collect()
}

/// Takes over what a worker has noted. Only ever printed: a worker may say what it likes.
pub(crate) fn learn(times: &[u64]) {
    for (own, &time) in REACHED.iter().zip(times) {
        if time > 0 {
            own.store(time, Ordering::Relaxed);
        }
    }
}

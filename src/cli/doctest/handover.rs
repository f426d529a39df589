//! What a `runner` that rustdoc started tells the `test` command that started rustdoc: a line of JSON
//! for each guest, in a file without a name.
//!
//! The file is memory of the `test` process. Its descriptor is inherited by cargo, rustdoc and the runners, which
//! nobody of another process can open it by: the `test` process cannot be looked into by others of its user. No
//! folder holds it, so no grant leads a guest there; its place is in the runner's arguments only, which a guest
//! does not get, and a worker closes the descriptor first thing. It is between two processes of this very program: what it holds has no version.

use crate::event::{GrantUse, GuestOutcome, KernelReport, TargetReport, Violation};
use crate::exit_status::ExitStatus;
use crate::runner::Failure;
use crate::runner::attribute::STUCK;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest line, in bytes. Backtraces are left out where they would make it longer.
const MAX_LINE: usize = 16 << 20;
/// More than this is not read, in bytes.
const MAX_ALL: u64 = 256 << 20;
/// How the line of a runner's standard error begins that says which line of the file is its own.
const MARK: &str = "cargo-sandbox: doc test ";

/// One runner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Handed {
    /// A number that no guest can know.
    id: u64,
    /// What the runner exits with.
    code: u8,
    /// What ran; nothing if it did not come to that.
    pub(super) ran: Option<Ran>,
}

/// One guest: the parts of its report that are not known without it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Ran {
    pub(super) outcome: GuestOutcome,
    pub(super) duration: Duration,
    pub(super) kernel: KernelReport,
    pub(super) grants: Vec<GrantUse>,
    pub(super) violations: Vec<Violation>,
    pub(super) notes: Vec<String>,
}

impl Handed {
    /// Marks this runner's standard error, which rustdoc shows with the test that it belongs to.
    pub(in crate::cli) fn begin() -> Self {
        let id = RandomState::new().hash_one(std::process::id());
        let handed = Self { id, code: ExitStatus::Fault.code(), ran: None };
        // Without it the test is still found by its name, if that is among its frames.
        let _ = writeln!(io::stderr(), "{}", handed.mark());
        handed
    }

    /// What the guest did.
    pub(in crate::cli) fn ran(&mut self, target: &TargetReport, kernel: &KernelReport) {
        self.ran = target.outcome.clone().map(|outcome| Ran {
            outcome,
            duration: target.duration,
            kernel: kernel.clone(),
            grants: target.grants.clone(),
            violations: target.violations.clone(),
            // What rustdoc's own harness calls is no news.
            notes: target
                .notes
                .iter()
                .filter(|note| note.code != STUCK)
                .map(|note| note.message.clone())
                .collect(),
        });
    }

    /// Adds it to the file at `place`, in one piece: several runners write at one time.
    ///
    /// # Errors
    /// It cannot be written, or is too long.
    pub(in crate::cli) fn leave(mut self, place: &Path, status: ExitStatus) -> io::Result<()> {
        self.code = status.code();
        let mut line = serde_json::to_vec(&self)?;
        if line.len() >= MAX_LINE {
            for violation in self.ran.iter_mut().flat_map(|ran| &mut ran.violations) {
                violation.backtrace.clear();
            }
            line = serde_json::to_vec(&self)?;
        }
        if line.len() >= MAX_LINE {
            return Err(io::Error::other("the report is too long"));
        }
        line.push(b'\n');
        match OpenOptions::new().append(true).open(place)?.write(&line)? {
            written if written == line.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// The line that marks its standard error.
    pub(super) fn mark(&self) -> String {
        format!("{MARK}{:016x}", self.id)
    }

    /// Why nothing ran, if that is so.
    pub(super) fn failed(&self) -> Option<ExitStatus> {
        let own = [ExitStatus::Usage, ExitStatus::Unavailable, ExitStatus::Manifest, ExitStatus::Interrupted];
        let named = own.into_iter().find(|status| status.code() == self.code);
        self.ran.is_none().then(|| named.unwrap_or(ExitStatus::Fault))
    }
}

/// Output without the marks.
pub(super) fn unmarked(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(MARK)).collect()
}

/// Where runners leave their lines.
#[derive(Debug)]
pub(super) struct Inbox(File);

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("doc-tests", MemfdFlags::empty())?.into()))
    }

    /// The path at which a process that is started from now on can open it, and what it starts.
    pub(super) fn place(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// All lines, in the order in which the runners ended.
    ///
    /// # Errors
    /// There is too much, or a line that none of our runners wrote.
    pub(super) fn read(&self) -> Result<Vec<Handed>, Failure> {
        let wrong = |why: String| Failure::fault(format!("what the doc tests did cannot be told: {why}"));
        // A new description, which begins at the beginning.
        let mut lines = BufReader::new(File::open(self.place())?.take(MAX_ALL));
        let mut all = Vec::new();
        loop {
            let mut line = Vec::new();
            let length = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
            match line.pop() {
                None => return Ok(all),
                Some(b'\n') => {}
                Some(_) => return Err(wrong(format!("a report of {length} bytes has no end"))),
            }
            all.push(serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed() -> Handed {
        Handed { id: 0x0102, code: 0, ran: None }
    }

    #[test]
    fn many_runners_at_one_time_leave_whole_lines() {
        let inbox = Inbox::new().unwrap();
        assert_eq!(inbox.read().unwrap().len(), 0);
        let place = inbox.place();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let ran = Ran {
                            outcome: GuestOutcome::Exited(0),
                            duration: Duration::ZERO,
                            kernel: KernelReport::default(),
                            grants: Vec::new(),
                            violations: Vec::new(),
                            notes: vec!["n\n".repeat(10_000)],
                        };
                        let handed = Handed { ran: Some(ran), ..handed() };
                        handed.leave(&place, ExitStatus::Guest(3)).unwrap();
                    }
                });
            }
        });
        let all = inbox.read().unwrap();
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|one| one.code == 3 && one.failed().is_none()));
    }

    #[test]
    fn what_no_runner_wrote_is_an_error() {
        for text in ["{}\n", "no end", "{\"id\":1,\"code\":0,\"ran\":null,\"more\":1}\n"] {
            let inbox = Inbox::new().unwrap();
            std::fs::write(inbox.place(), text).unwrap();
            assert!(inbox.read().is_err(), "{text}");
        }
    }

    #[test]
    fn a_runner_that_came_to_nothing_is_no_guest_that_failed() {
        let inbox = Inbox::new().unwrap();
        for status in [ExitStatus::Unavailable, ExitStatus::Failed, ExitStatus::Fine] {
            handed().leave(&inbox.place(), status).unwrap();
        }
        let failed: Vec<_> = inbox.read().unwrap().iter().map(Handed::failed).collect();
        let expected = [ExitStatus::Unavailable, ExitStatus::Fault, ExitStatus::Fault];
        assert_eq!(failed, expected.map(Some));
    }

    #[test]
    fn marks_are_of_one_runner_and_not_shown() {
        let text = format!("a\n{}\nb\n", handed().mark());
        assert!(text.contains("0000000000000102"));
        assert_eq!(unmarked(&text), "a\nb\n");
        assert_ne!(Handed::begin().id, Handed::begin().id);
    }
}

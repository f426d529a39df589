//! What `test` tells a `runner` that rustdoc starts, and what such a runner tells `test`: a line of JSON
//! for each guest. Both are files without a name.
//!
//! Such a file is memory of the `test` process. Its descriptor is inherited by rustdoc and the runners: nobody of
//! another process can open it by its number here, as the `test` process cannot be looked into by others of its user.
//! No folder holds it, so no grant leads a guest there; its place is in the runner's arguments only, which a guest
//! does not get, and a worker closes the descriptor first thing. It is between two processes of this very program:
//! what it holds has no version.

use crate::event::{GrantUse, GuestOutcome, KernelReport, TargetReport, Violation};
use crate::exit_status::ExitStatus;
use crate::runner::GuestOptions;
use crate::runner::attribute::UNSUPPORTED;
use rustix::fs::{MemfdFlags, memfd_create};
use sandbox_policy::access::Evidence;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest line, in bytes. Backtraces, and then all but the first violations, are left out where they
/// would make it longer.
const MAX_LINE: usize = 1 << 20;
/// More than this is not read, in bytes.
const MAX_ALL: u64 = 256 << 20;
/// The first argument of what rustdoc starts for an example: it becomes the runner. The place of its orders follows,
/// then the file and its arguments.
pub const BY_ORDERS: &str = "__example";
/// The same of that runner.
pub const RUNNER: &str = "__example-runner";

/// How a runner is to run an example: the options and the environment of `test` itself. rustdoc's own
/// environment is cargo's, with what the repository's configuration sets in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// As `test` understood them.
    pub guests: GuestOptions,
    /// Where to leave what the example did.
    pub inbox: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Orders {
    /// With the environment of this process, but for what is said of the package.
    pub(super) fn new(guests: GuestOptions, inbox: &Inbox, package: &Path) -> Self {
        const PACKAGE: &str = "CARGO_MANIFEST_DIR";
        let env = std::env::vars_os().filter(|(name, _)| name != PACKAGE);
        Self { guests, inbox: inbox.place(), env: env.chain([(PACKAGE.into(), package.into())]).collect() }
    }

    /// Leaves them where runners find them.
    pub(super) fn leave(&self) -> io::Result<Inbox> {
        let mut orders = Inbox::new()?;
        serde_json::to_writer(&mut orders.0, self)?;
        Ok(orders)
    }

    /// Reads those at `place`.
    ///
    /// # Errors
    /// There are none.
    pub fn read(place: &OsStr) -> io::Result<Self> {
        Ok(serde_json::from_reader(BufReader::new(File::open(place)?))?)
    }

    /// Becomes the runner that was ordered at `place`, for the file and arguments in `rest`. Returns only
    /// if that cannot be done.
    pub fn follow(place: &OsStr, rest: &[OsString]) -> io::Error {
        match Self::read(place).and_then(|orders| Ok((orders, std::env::current_exe()?))) {
            Ok((Self { env, .. }, program)) => {
                Command::new(program).arg(RUNNER).arg(place).args(rest).env_clear().envs(env).exec()
            }
            Err(error) => error,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerRecord {
    /// The folder that rustdoc has built the example in: its file, line and number.
    pub(super) example: String,
    /// What the runner exits with.
    code: u8,
    /// What ran; nothing if it did not come to that.
    pub(super) ran: Option<GuestResult>,
}

/// One guest: the parts of its report that are not known without it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuestResult {
    pub(super) outcome: GuestOutcome,
    pub(super) duration: Duration,
    pub(super) kernel: KernelReport,
    pub(super) grants: Vec<GrantUse>,
    pub(super) violations: Vec<Violation>,
    pub(super) notes: Vec<String>,
}

impl RunnerRecord {
    /// Of the example that is in this file.
    pub fn of(file: &Path) -> Self {
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        Self { example: folder.to_string_lossy().into_owned(), code: ExitStatus::Fault.code(), ran: None }
    }

    /// What the guest did.
    pub fn ran(&mut self, target: &TargetReport, kernel: &KernelReport) {
        self.ran = target.outcome.clone().map(|outcome| GuestResult {
            outcome,
            duration: target.duration,
            kernel: kernel.clone(),
            grants: target.grants.clone(),
            violations: target.violations.clone(),
            // What rustdoc's own harness calls is no news.
            notes: target
                .notes
                .iter()
                .filter(|note| note.code != UNSUPPORTED)
                .map(|note| note.message.clone())
                .collect(),
        });
    }

    /// Adds it to the file at `place`, in one piece: several runners write at one time.
    ///
    /// # Errors
    /// It cannot be written, or is too long.
    pub fn leave(mut self, place: &Path, status: ExitStatus) -> io::Result<()> {
        self.code = status.code();
        let mut line = serde_json::to_vec(&self)?;
        if line.len() >= MAX_LINE {
            for violation in self.ran.iter_mut().flat_map(|ran| &mut ran.violations) {
                match &mut violation.evidence {
                    Evidence::Wasm(frames) => frames.clear(),
                }
            }
            line = serde_json::to_vec(&self)?;
        }
        // However many there are: that there were some is never lost.
        let mut left_out = 0;
        while line.len() >= MAX_LINE
            && let Some(ran) = self.ran.as_mut().filter(|ran| ran.violations.len() > 1)
        {
            let keep = ran.violations.len() / 2;
            // What was denied goes last.
            ran.violations.sort_by_key(|violation| violation.allowed);
            left_out += ran.violations.len() - keep;
            ran.violations.truncate(keep);
            line = serde_json::to_vec(&self)?;
        }
        if let Some(ran) = self.ran.as_mut().filter(|_| left_out > 0) {
            ran.notes.push(format!(
                "an example did more than can be told: {left_out} unexpected accesses are left out"
            ));
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

    /// Whether the runner had nothing to say against its guest.
    pub(super) fn is_fine(&self) -> bool {
        self.code == 0
    }

    #[cfg(test)]
    pub(super) fn for_tests(example: &str, ran: Option<GuestResult>) -> Self {
        Self { example: example.to_owned(), code: 0, ran }
    }

    /// Why nothing ran, or not to its end: a worker may fail when its guest has begun, and what was heard
    /// until then is told all the same.
    pub(super) fn failed(&self) -> Option<ExitStatus> {
        if let Some(ran) = &self.ran {
            // A guest may exit with that number too.
            let own = self.code == ExitStatus::Fault.code();
            return (own && !matches!(ran.outcome, GuestOutcome::Exited(_))).then_some(ExitStatus::Fault);
        }
        let own = [ExitStatus::Usage, ExitStatus::Unavailable, ExitStatus::Manifest, ExitStatus::Interrupted];
        let named = own.into_iter().find(|status| status.code() == self.code);
        Some(named.unwrap_or(ExitStatus::Fault))
    }
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

    /// All lines, in the order in which the runners ended, and what is wrong with the rest: there is too
    /// much, or a line that none of our runners wrote. What was read before it counts.
    pub(super) fn read(&self) -> (Vec<RunnerRecord>, Option<String>) {
        let mut all = Vec::new();
        let wrong = self.read_into(&mut all).err();
        (all, wrong)
    }

    fn read_into(&self, all: &mut Vec<RunnerRecord>) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        // A new description, which begins at the beginning.
        let file = File::open(self.place()).map_err(|error| said(&error))?;
        let mut lines = BufReader::new(file.take(MAX_ALL));
        loop {
            let mut line = Vec::new();
            let length = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
            let length = length.map_err(|error| said(&error))?;
            match line.pop() {
                None => return Ok(()),
                Some(b'\n') => {}
                Some(_) => return Err(format!("a report of {length} bytes has no end")),
            }
            all.push(serde_json::from_slice(&line).map_err(|error| said(&error))?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed() -> RunnerRecord {
        RunnerRecord { example: "src_lib_rs_1_0".to_owned(), code: 0, ran: None }
    }

    #[test]
    fn many_runners_at_one_time_leave_whole_lines() {
        let inbox = Inbox::new().unwrap();
        assert_eq!(inbox.read().0.len(), 0);
        let place = inbox.place();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let ran = GuestResult {
                            outcome: GuestOutcome::Exited(0),
                            duration: Duration::ZERO,
                            kernel: KernelReport::default(),
                            grants: Vec::new(),
                            violations: Vec::new(),
                            notes: vec!["n\n".repeat(10_000)],
                        };
                        let handed = RunnerRecord { ran: Some(ran), ..handed() };
                        handed.leave(&place, ExitStatus::Guest(3)).unwrap();
                    }
                });
            }
        });
        let (all, wrong) = inbox.read();
        assert_eq!(wrong, None);
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|one| one.code == 3 && one.failed().is_none()));
    }

    #[test]
    fn what_no_runner_wrote_is_said_and_what_one_wrote_before_it_counts() {
        for text in ["{}\n", "no end", "{\"example\":\"a\",\"code\":0,\"ran\":null,\"more\":1}\n"] {
            let inbox = Inbox::new().unwrap();
            handed().leave(&inbox.place(), ExitStatus::Success).unwrap();
            OpenOptions::new().append(true).open(inbox.place()).unwrap().write_all(text.as_bytes()).unwrap();
            let (all, wrong) = inbox.read();
            assert_eq!((all.len(), wrong.is_some()), (1, true), "{text}");
        }
    }

    #[test]
    fn a_runner_that_came_to_nothing_is_no_guest_that_failed() {
        let inbox = Inbox::new().unwrap();
        for status in [ExitStatus::Unavailable, ExitStatus::Failed, ExitStatus::Success] {
            handed().leave(&inbox.place(), status).unwrap();
        }
        let failed: Vec<_> = inbox.read().0.iter().map(RunnerRecord::failed).collect();
        let expected = [ExitStatus::Unavailable, ExitStatus::Fault, ExitStatus::Fault];
        assert_eq!(failed, expected.map(Some));
    }

    #[test]
    fn a_worker_that_fails_is_a_fault_after_its_guest_began_too() {
        let failed = |code: u8, outcome| {
            let ran = GuestResult {
                outcome,
                duration: Duration::ZERO,
                kernel: KernelReport::default(),
                grants: Vec::new(),
                violations: Vec::new(),
                notes: Vec::new(),
            };
            RunnerRecord { code, ran: Some(ran), ..handed() }.failed()
        };
        let fault = ExitStatus::Fault.code();
        assert_eq!(failed(fault, GuestOutcome::Killed(9)), Some(ExitStatus::Fault));
        assert_eq!(failed(fault, GuestOutcome::Exited(fault.into())), None);
        assert_eq!(failed(ExitStatus::Trapped.code(), GuestOutcome::Killed(9)), None);
    }

    #[test]
    fn a_runner_knows_its_example_by_the_folder() {
        assert_eq!(RunnerRecord::of(Path::new("/t/src_lib_rs_5_0/rust_out.wasm")).example, "src_lib_rs_5_0");
        assert_eq!(RunnerRecord::of(Path::new("rust_out.wasm")).example, "");
    }
}

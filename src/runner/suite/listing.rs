//! Asks an artifact for its tests. Each question runs it: what it does then is observed as anything else.

use super::super::Failure;
use super::super::tmp::TmpRoot;
use super::job::Suite;
use super::libtest::{self, Listing};
use super::test_env::TestEnvs;
use crate::event::{GuestOutcome, KernelReport, TestVerdict};
use crate::worker::protocol::TestRun;
use crate::worker::supervisor::{Observed, OutputStream, RunEnd, RunResult, TestPool, Tests};
use std::path::PathBuf;
use std::time::Duration;

/// How long an artifact may take to list its tests. Limits of the manifest are those of a test.
const TIME: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) listing: Listing,
    /// What it did while it was asked.
    pub(super) observed: Observed,
    /// The private directories that it had.
    pub(super) tmps: Vec<PathBuf>,
    pub(super) kernel: Option<KernelReport>,
    /// Its process was killed, or kept to no rule: it is neither listed nor run.
    pub(super) broken: Option<Broken>,
    /// There was no answer, for a reason that is not the artifact's alone.
    pub(super) failure: Option<Failure>,
}

/// How the process of an artifact that was asked for its tests ended where it must not.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) verdict: TestVerdict,
    pub(super) outcome: Option<GuestOutcome>,
    pub(super) reason: String,
}

/// The questions, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Json,
    Terse,
    Ignored,
}

struct Lister<'a> {
    suite: &'a Suite<'a>,
    envs: &'a mut TestEnvs,
    tmp_root: Option<&'a mut TmpRoot>,
    next: Option<Question>,
    asked: Question,
    answers: [Option<Vec<u8>>; 3],
    listed: Listed,
}

/// Lists the tests of the artifact that `pool` runs. Each question runs it, and one that ignores its
/// arguments does all its work: only libtest knows the first one. So it may do what a test may that no
/// case names; and what is not libtest what the test may that it is as a whole, if it is one.
pub(super) fn list(
    pool: &mut TestPool<'_>,
    suite: &Suite<'_>,
    envs: &mut TestEnvs,
    tmp_root: Option<&mut TmpRoot>,
    libtest: bool,
) -> Listed {
    let first = if libtest { Question::Json } else { Question::Terse };
    let listed = Listed {
        listing: Listing::Tests(Vec::new()),
        observed: Observed::default(),
        tmps: Vec::new(),
        kernel: None,
        broken: None,
        failure: None,
    };
    let answers = [None, None, None];
    let mut lister = Lister { suite, envs, tmp_root, next: Some(first), asked: first, answers, listed };
    let ended = pool.run(&mut lister);
    let Lister { answers: [json, terse, ignored], mut listed, .. } = lister;
    match ended {
        Ok(false) => {}
        Ok(true) => listed.failure = Some(Failure::interrupted()),
        Err(error) => listed.failure = Some(error.into()),
    }
    listed.listing = Listing::from_answers(json.as_deref(), terse.as_deref(), ignored.as_deref());
    listed
}

impl Tests for Lister<'_> {
    fn next(&mut self) -> Option<TestRun> {
        self.asked = self.next.take()?;
        let (words, extra): (&[&str], _) = match self.asked {
            Question::Json => (&libtest::LIST_JSON, Some(libtest::LIST_ENVIRONMENT)),
            Question::Terse => (&libtest::LIST_TERSE, None),
            Question::Ignored => (&libtest::LIST_TERSE_IGNORED, None),
        };
        let tmp = match self.tmp_root.as_mut().map(|root| root.make()).transpose() {
            Ok(tmp) => tmp,
            Err(error) => {
                self.listed.failure =
                    Some(Failure::fault(format!("a private directory cannot be made: {error}")));
                return None;
            }
        };
        self.listed.tmps.extend(tmp.clone());
        let test = (self.asked != Question::Json).then_some(&self.suite.target);
        let mut env = self.envs.of(test.map(String::as_str)).environment(tmp.as_deref());
        env.extend(extra.map(|(name, value)| (name.into(), value.into())));
        let words = words.iter().map(|word| word.as_bytes().to_vec());
        Some(TestRun {
            test: test.cloned(),
            listing: true,
            args: std::iter::once(self.suite.program()).chain(words).collect(),
            env: Some(env),
            tmp,
            time: Some(TIME),
            keep_output: libtest::MAX_LISTING + 1,
            ..TestRun::default()
        })
    }

    fn ready(&mut self, kernel: &KernelReport) {
        self.listed.kernel = Some(kernel.clone());
    }

    fn finished(&mut self, _id: u64, result: RunResult) {
        if let (Some(root), Some(tmp)) = (&self.tmp_root, self.listed.tmps.last()) {
            // Its process is dead.
            root.remove(tmp);
        }
        self.listed.observed.unite(result.observed);
        let broken = |verdict, outcome, why: &str| {
            let colon = if why.is_empty() { "" } else { ": " };
            Some(Broken { verdict, outcome, reason: format!("while it listed its tests{colon}{why}") })
        };
        self.listed.broken = match result.end {
            RunEnd::Guest(outcome @ GuestOutcome::Killed(_)) => {
                broken(TestVerdict::Killed, Some(outcome), &result.note)
            }
            RunEnd::Fault { why, .. } => broken(TestVerdict::Failed, None, &why),
            RunEnd::Guest(outcome) => {
                self.answered(
                    (outcome == GuestOutcome::Exited(0)).then(|| result.output.stream(OutputStream::Stdout)),
                );
                None
            }
            RunEnd::PatchMismatch | RunEnd::Superseded => None,
        };
    }
}

impl Lister<'_> {
    /// Keeps the answer to a question, and knows the next one.
    fn answered(&mut self, answer: Option<Vec<u8>>) {
        self.next = match self.asked {
            Question::Json => {
                let known = answer.as_deref().is_some_and(|answer| libtest::parse_listing(answer).is_ok());
                (!known).then_some(Question::Terse)
            }
            Question::Terse => {
                let tests = libtest::parse_terse(answer.as_deref().unwrap_or_default(), b"");
                let known = tests.is_ok_and(|tests| !tests.is_empty());
                known.then_some(Question::Ignored)
            }
            Question::Ignored => None,
        };
        self.answers[self.asked as usize] = answer;
    }
}

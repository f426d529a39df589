//! Asks an artifact for its tests.

use super::super::libtest::{self, Listing};
use super::terms::AllTerms;
use crate::access::RawViolation;
use crate::event::{GuestOutcome, KernelReport};
use crate::worker::{OutputStream, TestEnd, TestPool, TestResult, TestRun, Tests, WorkerError};
use std::time::Duration;

/// How long an artifact may take to list its tests. Limits of the manifest are those of a test.
const TIME: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) listing: Listing,
    /// What it touched while it listed. A binary that is one test does the same when it is run.
    pub(super) violations: Vec<(RawViolation, u64)>,
    pub(super) kernel: Option<KernelReport>,
    pub(super) interrupted: bool,
}

/// The questions, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Json,
    Terse,
    Ignored,
}

struct Lister<'a> {
    terms: &'a mut AllTerms,
    program: Vec<u8>,
    first: Question,
    next: Option<Question>,
    asked: Question,
    answers: [Option<Vec<u8>>; 3],
    violations: Vec<(RawViolation, u64)>,
    kernel: Option<KernelReport>,
}

/// Lists the tests of the artifact that `pool` runs. Each question runs it, and one that ignores its
/// arguments does all its work: only libtest knows the first one.
///
/// # Errors
/// It cannot be run at all.
pub(super) fn list(
    pool: &mut TestPool<'_>,
    terms: &mut AllTerms,
    program: &[u8],
    libtest: bool,
) -> Result<Listed, WorkerError> {
    let first = if libtest { Question::Json } else { Question::Terse };
    let mut lister = Lister {
        terms,
        program: program.to_vec(),
        first,
        next: Some(first),
        asked: first,
        answers: [None, None, None],
        violations: Vec::new(),
        kernel: None,
    };
    let interrupted = pool.run(&mut lister)?;
    let [json, terse, ignored] = &lister.answers;
    let listing = Listing::from_answers(json.as_deref(), terse.as_deref(), ignored.as_deref());
    let mut violations = lister.violations;
    if matches!(listing, Listing::Whole(_)) {
        violations.clear();
    }
    Ok(Listed { listing, violations, kernel: lister.kernel, interrupted })
}

impl Tests for Lister<'_> {
    fn next(&mut self) -> Option<TestRun> {
        self.asked = self.next.take()?;
        let (words, extra): (&[&str], _) = match self.asked {
            Question::Json => (&libtest::LIST_JSON, Some(libtest::LIST_ENVIRONMENT)),
            Question::Terse => (&libtest::LIST_TERSE, None),
            Question::Ignored => (&libtest::LIST_TERSE_IGNORED, None),
        };
        let terms = self.terms.of(None);
        let mut env = terms.environment(None);
        env.extend(extra.map(|(name, value)| (name.into(), value.into())));
        let args =
            std::iter::once(self.program.clone()).chain(words.iter().map(|word| word.as_bytes().to_vec()));
        Some(TestRun {
            args: args.collect(),
            env: Some(env),
            time: Some(TIME),
            keep_output: libtest::list::MAX_LISTING + 1,
            ..TestRun::default()
        })
    }

    fn ready(&mut self, kernel: &KernelReport) {
        self.kernel = Some(kernel.clone());
    }

    fn finished(&mut self, result: TestResult) {
        let good = result.end == TestEnd::Guest(GuestOutcome::Exited(0));
        let answer = good.then(|| result.output.stream(OutputStream::Stdout));
        // Several runs that ask for the same are one.
        if self.asked == self.first {
            self.violations = result.violations;
        }
        self.next = match self.asked {
            Question::Json => {
                let known = answer.as_deref().is_some_and(|answer| libtest::parse_listing(answer).is_ok());
                (!known).then_some(Question::Terse)
            }
            Question::Terse => {
                let tests = libtest::list::parse_terse(answer.as_deref().unwrap_or_default(), b"");
                let known = tests.is_ok_and(|tests| !tests.is_empty());
                known.then_some(Question::Ignored)
            }
            Question::Ignored => None,
        };
        self.answers[self.asked as usize] = answer;
    }
}

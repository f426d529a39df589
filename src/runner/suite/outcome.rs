//! What is said of a test, from what libtest printed and how the guest ended.

use super::libtest::ListedTest;
use crate::event::{GuestOutcome, TestVerdict};
use crate::should_panic::{self, Descriptor, Said, ShouldPanic, Stack};

/// How many bytes of the end of each stream [`judge`] wants to see. More does no harm; with less a
/// longer panic text than that makes a `#[should_panic(expected = …)]` test *not run*.
pub const TAIL: usize = 1 << 20;

/// One run of one test.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// How its instance ended. A trap's words are wasmtime's; only `unreachable` can be a panic.
    pub outcome: &'a GuestOutcome,
    /// The end of its standard output.
    pub stdout: &'a [u8],
    /// The end of its standard error.
    pub stderr: &'a [u8],
    /// Of the trap of a `#[should_panic]` test: tells a panic from an abort, and one that natively
    /// reaches libtest from one that does not. Nothing else looks at it.
    pub stack: &'a Stack,
    /// How many tests and benchmarks the binary listed: libtest counts those it left out, and must
    /// agree. `None` for a harness that counts otherwise.
    pub listed: Option<usize>,
}

/// Says what became of a test that was run with [`super::libtest::run_arguments`].
///
/// `descriptor` is what was found of it, in which case its patch, if it has one, must have been
/// applied; or the reason why nothing was, in which case a `#[should_panic]` test is *not run*.
pub fn judge(test: &ListedTest, descriptor: Result<&Descriptor, &str>, ended: &Ended<'_>) -> Said {
    let expected = descriptor.map_or(&ShouldPanic::No, |descriptor| &descriptor.should_panic);
    let said = judge_run(expected, ended);
    // libtest ignores on wasm what must panic, whatever the listing says.
    if said.verdict == TestVerdict::Ignored && !test.ignored {
        let reason = descriptor.err().unwrap_or("libtest ignored it, for a reason that it does not say");
        return Said::not_run(format!("libtest runs no `#[should_panic]` test on wasm: {reason}"));
    }
    said
}

fn judge_run(expected: &ShouldPanic, ended: &Ended<'_>) -> Said {
    match ended.outcome {
        GuestOutcome::Exited(code) => judge_exit(expected, *code, ended),
        GuestOutcome::Panicked => should_panic::judge(expected, ended.stderr, ended.stack),
        GuestOutcome::Trapped(words) if words.contains("unreachable") => {
            should_panic::judge(expected, ended.stderr, ended.stack)
        }
        GuestOutcome::Trapped(words) => Said::failed(words.clone()),
        GuestOutcome::Limit(what) => Said::failed(format!("it hit its limit of `{what}`")),
        GuestOutcome::TimedOut(limit) => {
            Said::new(TestVerdict::TimedOut, format!("it ran longer than {} s", limit.as_secs_f64()))
        }
        GuestOutcome::Killed(signal) => Said::new(TestVerdict::Killed, format!("killed by signal {signal}")),
        GuestOutcome::Interrupted => Said::new(TestVerdict::Killed, "interrupted"),
    }
}

/// Says what became of a binary that is one test as a whole ([`super::libtest::Listing::Whole`]).
pub fn judge_whole(outcome: &GuestOutcome) -> Said {
    match outcome {
        GuestOutcome::Exited(0) => Said::passed(),
        GuestOutcome::Exited(code) => Said::failed(format!("it exited with {code}")),
        other => judge_run(
            &ShouldPanic::No,
            &Ended { outcome: other, stdout: b"", stderr: b"", stack: &Stack::UNWOUND, listed: None },
        ),
    }
}

fn judge_exit(expected: &ShouldPanic, code: i32, ended: &Ended<'_>) -> Said {
    let Some(counts) = closing_line(ended.stdout) else {
        return Said::failed(format!("it exited with {code} before the test ended"));
    };
    if ended.listed.is_some_and(|listed| counts.total() != listed as u64) {
        return Said::failed(format!("it exited with {code} before the test ended"));
    }
    match (counts.passed.saturating_add(counts.measured), counts.failed, counts.ignored, code) {
        (1, 0, 0, 0) if *expected == ShouldPanic::No => Said::passed(),
        (1, 0, 0, 0) => Said::failed("test did not panic as expected"),
        (0, 1, 0, 101) if *expected == ShouldPanic::No => Said::failed(""),
        // A guest built to unwind: libtest caught the panic, and took it for a failure.
        (0, 1, 0, 101) => should_panic::judge(expected, ended.stderr, &Stack::UNWOUND),
        (0, 0, 1, 0) if *expected == ShouldPanic::No => Said::new(TestVerdict::Ignored, ""),
        (0, 0, 1, 0) => Said::not_run("libtest ignored it: the compiler has folded its descriptor into code"),
        (0, 0, 0, 0) => Said::failed("the test binary no longer knows this test"),
        _ => Said::failed(format!("it exited with {code}, which contradicts what it printed")),
    }
}

/// libtest's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
    filtered_out: u64,
}

impl Counts {
    fn total(self) -> u64 {
        [self.passed, self.failed, self.ignored, self.measured, self.filtered_out]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Reads `test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; …`, which must
/// be the last line: libtest prints it when all is done, and nothing after it.
fn closing_line(stdout: &[u8]) -> Option<Counts> {
    let end = stdout.trim_ascii_end();
    let start = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = std::str::from_utf8(&end[start..]).ok()?.strip_prefix("test result: ")?;
    let mut parts = line.strip_prefix("ok. ").or_else(|| line.strip_prefix("FAILED. "))?.split("; ");
    let mut count = |word: &str| -> Option<u64> { parts.next()?.strip_suffix(word)?.trim_end().parse().ok() };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
        measured: count("measured")?,
        filtered_out: count("filtered out")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::should_panic::Way;
    use std::time::Duration;

    const LISTED: usize = 5;
    const CLOSING: &str =
        "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.00s\n\n";
    const BOOM: &str = "\nthread 'main' (1) panicked at src/lib.rs:5:9:\nboom\nnote: run with \
                        `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

    fn test(ignored: bool) -> ListedTest {
        ListedTest { name: "a".into(), bench: false, ignored, ignore_message: String::new(), place: None }
    }

    fn said(expected: ShouldPanic, outcome: GuestOutcome, out: &str, err: &str, stack: &Stack) -> Said {
        let (stdout, stderr, listed) = (out.as_bytes(), err.as_bytes(), Some(LISTED));
        let ended = Ended { outcome: &outcome, stdout, stderr, stack, listed };
        judge(&test(false), Ok(&Descriptor { should_panic: expected, patch: None }), &ended)
    }

    const FREE: Stack = Stack { panicked: Some(true), way: Way::Free };
    const ABORTED: Stack = Stack { panicked: Some(false), way: Way::Free };
    const UNKNOWN: Stack = Stack { panicked: None, way: Way::Unknown("why") };

    fn trap() -> GuestOutcome {
        GuestOutcome::Trapped("wasm trap: wasm `unreachable` instruction executed".into())
    }

    #[test]
    fn an_exit_is_only_believed_with_the_closing_line() {
        let verdict =
            |code, out: &str| said(ShouldPanic::No, GuestOutcome::Exited(code), out, "", &UNKNOWN).verdict;
        assert_eq!(verdict(0, &format!("\nrunning 1 test\ntest a ... ok\n\n{CLOSING}")), TestVerdict::Passed);
        for out in [
            "",
            "\nrunning 1 test\ntest a ... ",
            &format!("{CLOSING}something after it"),
            &CLOSING.replace("4 filtered", "3 filtered"),
            &CLOSING.replace("1 passed; 0 failed", "0 passed; 1 failed"),
            &CLOSING.replace("1 passed", "18446744073709551617 passed"),
            &CLOSING.replace("1 passed", "18446744073709551615 passed").replace("0 measured", "1 measured"),
            &CLOSING.replace("ok.", "fine."),
        ] {
            assert_eq!(verdict(0, out), TestVerdict::Failed, "{out}");
        }
        assert_eq!(verdict(1, CLOSING), TestVerdict::Failed);
        let failed = CLOSING.replace("ok. 1 passed; 0 failed", "FAILED. 0 passed; 1 failed");
        assert_eq!(verdict(101, &failed), TestVerdict::Failed);
    }

    #[test]
    fn what_libtest_ignores_without_being_told_is_not_run() {
        let out = CLOSING.replace("1 passed; 0 failed; 0 ignored", "0 passed; 0 failed; 1 ignored");
        let ended = Ended {
            outcome: &GuestOutcome::Exited(0),
            stdout: out.as_bytes(),
            stderr: b"",
            stack: &UNKNOWN,
            listed: Some(LISTED),
        };
        assert_eq!(judge(&test(true), Err("why"), &ended).verdict, TestVerdict::Ignored);
        let said = judge(&test(false), Err("why"), &ended);
        assert_eq!(said.verdict, TestVerdict::NotRun);
        assert!(said.reason.ends_with("why"), "{}", said.reason);
        let folded = Descriptor { should_panic: ShouldPanic::Yes, patch: None };
        assert_eq!(judge(&test(false), Ok(&folded), &ended).verdict, TestVerdict::NotRun);
    }

    #[test]
    fn only_a_panic_passes_a_test_that_must_panic() {
        use ShouldPanic::Yes;
        let with = |text: &str| ShouldPanic::YesWithMessage(text.into());
        let caught = Stack { way: Way::Caught, ..FREE };
        let barred = Stack { way: Way::Barred("boom".into()), ..FREE };
        let open = Stack { way: Way::Unknown("why"), ..FREE };
        assert_eq!(said(Yes, trap(), "", BOOM, &FREE), Said::passed());
        assert_eq!(said(Yes, trap(), "", "", &FREE), Said::passed());
        assert_eq!(said(with("oo"), trap(), "", BOOM, &FREE), Said::passed());
        let unwound = CLOSING.replace("ok. 1 passed; 0 failed", "FAILED. 0 passed; 1 failed");
        assert_eq!(said(Yes, GuestOutcome::Exited(101), &unwound, BOOM, &UNKNOWN), Said::passed());
        for (expected, outcome, err, stack) in [
            (Yes, GuestOutcome::Exited(0), BOOM, &FREE),
            (Yes, GuestOutcome::Exited(101), BOOM, &FREE),
            (Yes, GuestOutcome::Trapped("call stack exhausted".into()), BOOM, &FREE),
            (Yes, GuestOutcome::Limit("memory".into()), BOOM, &FREE),
            (Yes, trap(), "", &ABORTED),
            (Yes, trap(), BOOM, &ABORTED),
            (with("bang"), trap(), BOOM, &FREE),
            (with("bang"), trap(), BOOM, &open),
            (with("note: run"), trap(), BOOM, &FREE),
            (with("src/lib.rs"), trap(), BOOM, &FREE),
        ] {
            let said = said(expected.clone(), outcome, "", err, stack);
            assert_eq!(said.verdict, TestVerdict::Failed, "{expected:?} {err} {stack:?}: {}", said.reason);
        }
        let no_thread =
            BOOM.replace("boom", "Os { code: 58, kind: Unsupported, message: \"Not supported\" }");
        for (expected, err, stack) in [
            (Yes, "", &UNKNOWN),
            (Yes, BOOM, &UNKNOWN),
            (Yes, BOOM, &open),
            (Yes, "", &open),
            (Yes, BOOM, &caught),
            (Yes, BOOM, &barred),
            (with("boom"), "boom\n", &FREE),
            (Yes, no_thread.as_str(), &FREE),
            (with("Os"), no_thread.as_str(), &FREE),
        ] {
            let said = said(expected.clone(), trap(), "", err, stack);
            assert_eq!(said.verdict, TestVerdict::NotRun, "{expected:?} {err} {stack:?}");
        }
    }

    #[test]
    fn a_test_that_was_stopped_says_by_what() {
        let verdict = |outcome| said(ShouldPanic::No, outcome, CLOSING, "", &UNKNOWN).verdict;
        assert_eq!(verdict(GuestOutcome::TimedOut(Duration::from_secs(1))), TestVerdict::TimedOut);
        assert_eq!(verdict(GuestOutcome::Killed(9)), TestVerdict::Killed);
        assert_eq!(verdict(GuestOutcome::Limit("output".into())), TestVerdict::Failed);
        assert_eq!(verdict(GuestOutcome::Panicked), TestVerdict::Failed);
        assert_eq!(judge_whole(&GuestOutcome::Exited(0)).verdict, TestVerdict::Passed);
        assert_eq!(judge_whole(&GuestOutcome::Exited(1)).verdict, TestVerdict::Failed);
        assert_eq!(judge_whole(&trap()).verdict, TestVerdict::Failed);
    }
}

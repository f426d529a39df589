//! What rustdoc says of the examples, and what our runners say of the same ones, put together.
//!
//! Three things are known: which examples there are, from a run of rustdoc that runs none; what rustdoc
//! prints of each; and what a runner of ours reports, which knows its example by the folder that rustdoc
//! built it in. **An example has passed only if a runner reported it.** What was reported always counts,
//! whatever rustdoc printed; what was expected and not reported is *not run*.

use super::results_channel::{GuestResult, RunnerRecord};
use crate::event::{GuestOutcome, TestId, TestReport, TestVerdict, Violation};
use crate::runner::source::read_snippet;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The crates that rustdoc makes of examples: their code is the package's own.
pub const CRATES: [&str; 1] = ["rust_out"];
/// The name of a test that stands for all examples of a package.
pub(super) const ALL: &str = "all";
/// The name of one that no example is found for.
const UNNAMED: &str = "unnamed example";

/// The tests of one package.
#[derive(Debug)]
pub(super) struct DocTestResults {
    pub(super) tests: Vec<TestReport>,
    id: TestId,
}

/// What rustdoc is to do with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Run,
    /// `no_run`
    Compile,
    CompileFail,
}

/// What rustdoc says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Fine,
    Failed,
    Ignored,
}

/// What rustdoc printed of each example.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, (Mode, Word)>);

impl Lines {
    /// Reads `test src/lib.rs - name (line 5) ... ok`. Of two lines for one example the first counts:
    /// what its program printed comes after those of all examples.
    pub(super) fn read(stdout: &str) -> Self {
        let mut lines = BTreeMap::new();
        for line in stdout.lines() {
            let Some((name, end)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let word = match end.split(',').next().unwrap_or_default().trim() {
                "ok" => Word::Fine,
                "ignored" => Word::Ignored,
                "FAILED" => Word::Failed,
                _ => continue,
            };
            let (name, mode) = match (name.strip_suffix(" - compile"), name.strip_suffix(" - compile fail")) {
                (Some(name), _) => (name, Mode::Compile),
                (_, Some(name)) => (name, Mode::CompileFail),
                _ => (name, Mode::Run),
            };
            lines.entry(name.to_owned()).or_insert((mode, word));
        }
        Self(lines)
    }

    /// What is said of one example.
    pub(super) fn of(&self, name: &str) -> Option<(Mode, Word)> {
        self.0.get(name).copied()
    }

    /// Whether any is said this of.
    pub(super) fn any(&self, mode: Mode, word: Word) -> bool {
        self.0.values().any(|said| *said == (mode, word))
    }

    /// Whether any has failed.
    pub(super) fn any_failed(&self) -> bool {
        self.0.values().any(|(_, word)| *word == Word::Failed)
    }

    /// Takes what `other` says of examples that are not to compile, where they failed here.
    pub(super) fn correct(&mut self, other: &Self) {
        for (name, said) in &mut self.0 {
            if *said == (Mode::CompileFail, Word::Failed) {
                *said = other.of(name).unwrap_or(*said);
            }
        }
    }
}

/// The names of the examples that libtest lists: `NAME: test`, and how many there are.
///
/// # Errors
/// It is no list.
pub(super) fn listed(stdout: &str) -> Result<Vec<String>, String> {
    let lines: Vec<&str> = stdout.trim_end().lines().collect();
    let none = || "rustdoc printed no list of them".to_owned();
    let (last, lines) = lines.split_last().ok_or_else(none)?;
    let count =
        last.strip_suffix(" tests, 0 benchmarks").or_else(|| last.strip_suffix(" test, 0 benchmarks"));
    let count: usize = count.and_then(|count| count.parse().ok()).ok_or_else(none)?;
    let lines = lines.strip_suffix(&[""]).unwrap_or(lines);
    // A procedural macro may have printed something before it.
    let names = lines.get(lines.len().saturating_sub(count)..).filter(|names| names.len() == count);
    let name = |line: &&str| line.strip_suffix(": test").map(str::to_owned).ok_or_else(none);
    names.ok_or_else(none)?.iter().map(name).collect()
}

impl DocTestResults {
    /// No example yet. `id` is that of the target's tests, but for the name.
    pub(super) const fn new(id: TestId) -> Self {
        Self { tests: Vec::new(), id }
    }

    /// These examples, of which only is known why they were not run.
    pub(super) fn not_run<'a>(id: TestId, names: impl IntoIterator<Item = &'a str>, why: &str) -> Self {
        let mut told = Self::new(id);
        for name in names {
            told.add(name.to_owned(), TestVerdict::NotRun, Vec::new(), why);
        }
        told
    }

    /// Adds a test and returns its index.
    fn add(&mut self, name: String, verdict: TestVerdict, output: Vec<u8>, why: &str) -> usize {
        self.tests.push(TestReport {
            id: TestId { name, ..self.id.clone() },
            verdict,
            outcome: None,
            duration: Duration::ZERO,
            attempts: 1,
            violations: Vec::new(),
            output,
            reason: why.to_owned(),
        });
        self.tests.len() - 1
    }

    /// Judges the examples `names`. `stdout` is rustdoc's, for what programs have printed; `missing` says
    /// why nothing is known of an example.
    pub(super) fn judge(
        &mut self,
        names: &[String],
        lines: &Lines,
        handed: Vec<RunnerRecord>,
        stdout: &str,
        missing: &str,
    ) {
        let mut found = matched(names, lines, handed);
        for (index, name) in names.iter().enumerate() {
            let reported = found.remove(&Some(index)).unwrap_or_default();
            let (verdict, why) = first_verdict(lines.of(name), &reported, missing);
            let output = failure_of(name, stdout).as_bytes().to_vec();
            // Macros can make several of one name.
            let before = names[..index].iter().filter(|before| *before == name).count();
            let shown = if before == 0 { name.clone() } else { format!("{name} ({})", before + 1) };
            let test = self.add(shown, verdict, output, why);
            reported.into_iter().filter_map(|handed| handed.ran).for_each(|ran| self.ran(test, ran));
        }
        for handed in found.into_values().flatten() {
            let before = self.tests.iter().filter(|test| test.id.name.starts_with(UNNAMED)).count();
            let name = if before == 0 { UNNAMED.to_owned() } else { format!("{UNNAMED} ({})", before + 1) };
            let (verdict, why) = first_verdict(None, std::slice::from_ref(&handed), missing);
            let test = self.add(name, verdict, Vec::new(), why);
            handed.ran.into_iter().for_each(|ran| self.ran(test, ran));
        }
    }

    /// One example was run.
    fn ran(&mut self, index: usize, ran: GuestResult) {
        let test = &mut self.tests[index];
        test.duration += ran.duration;
        test.outcome = Some(ran.outcome);
        for mut violation in ran.violations {
            if !violation.allowed {
                test.verdict = match test.verdict {
                    TestVerdict::Violated { passed } => TestVerdict::Violated { passed },
                    verdict => TestVerdict::Violated { passed: verdict == TestVerdict::Passed },
                };
            }
            violation.test = Some(test.id.name.clone());
            test.violations.push(violation);
        }
    }

    /// Gives violations of the examples' own code, which has no debug information, the line that the
    /// example begins in.
    pub(super) fn locate(&mut self, workspace: &Path, package: &Path) {
        for test in &mut self.tests {
            let Some((file, line)) = place_of(&test.id.name) else { continue };
            for violation in &mut test.violations {
                let Some(origin) = &mut violation.origin else { continue };
                if origin.frame.line == 0 && CRATES.contains(&origin.frame.krate.as_str()) {
                    file.clone_into(&mut origin.frame.file);
                    origin.frame.line = line;
                    let roots = [PathBuf::from(package)];
                    violation.snippet = read_snippet(&roots, workspace, Path::new(file), line, 0);
                }
            }
        }
    }
}

/// What is said of an example before violations, and why.
fn first_verdict<'a>(
    said: Option<(Mode, Word)>,
    reported: &[RunnerRecord],
    missing: &'a str,
) -> (TestVerdict, &'a str) {
    use TestVerdict::{Failed, Ignored, NotRun, Passed};
    let mut worst = None;
    for handed in reported {
        let (verdict, why) = match (&handed.ran, said) {
            (None, _) => (NotRun, "its runner could not run it"),
            (Some(GuestResult { outcome: GuestOutcome::TimedOut(_), .. }), _) => (TestVerdict::TimedOut, ""),
            (Some(GuestResult { outcome: GuestOutcome::Killed(_), .. }), _) => (TestVerdict::Killed, ""),
            (Some(GuestResult { outcome: GuestOutcome::Interrupted, .. }), _) => (NotRun, "interrupted"),
            // It should panic, or ends well.
            (Some(_), Some((_, Word::Fine))) => (Passed, ""),
            (
                Some(GuestResult { outcome: GuestOutcome::Exited(0), violations, .. }),
                Some((_, Word::Failed)),
            ) => {
                // It failed for rustdoc as our runner did not say that all is well.
                if violates(violations) { (Passed, "") } else { (Failed, "it should panic") }
            }
            (Some(GuestResult { outcome: GuestOutcome::Exited(0), .. }), _) => (Passed, ""),
            (Some(_), _) => (Failed, ""),
        };
        if worst.is_none_or(|(before, _)| before == Passed) {
            worst = Some((verdict, why));
        }
    }
    worst.unwrap_or(match said {
        Some((_, Word::Ignored)) => (Ignored, ""),
        Some((_, Word::Failed)) => (Failed, ""),
        Some((Mode::Compile, Word::Fine)) => (Ignored, "it is only compiled: `no_run`"),
        Some((Mode::CompileFail, Word::Fine)) => (Ignored, "it is only compiled: `compile_fail`"),
        Some((Mode::Run, Word::Fine)) => (NotRun, "rustdoc says that it passed, and no runner ran it"),
        None => (NotRun, missing),
    })
}

/// What was reported, by the index of the example; `None` for what belongs to no example.
fn matched(
    names: &[String],
    lines: &Lines,
    handed: Vec<RunnerRecord>,
) -> BTreeMap<Option<usize>, Vec<RunnerRecord>> {
    // rustdoc numbers the examples that begin in one line of one file, of which only macros make several.
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some((file, line)) = place_of(name) {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let file: String = file.chars().map(plain).collect();
            places.entry(format!("{file}_{line}")).or_default().push(index);
        }
    }
    let mut found: BTreeMap<Option<usize>, Vec<RunnerRecord>> = BTreeMap::new();
    let number = |handed: &RunnerRecord| {
        let number = handed.example.rsplit_once('_')?.1;
        number.parse::<usize>().ok()
    };
    let mut handed = handed;
    handed.sort_by_key(number);
    for one in handed {
        let place = one.example.rsplit_once('_').and_then(|(place, _)| places.get(place));
        let alone = place.filter(|indices| indices.len() == 1).map(|indices| indices[0]);
        let index = alone.or_else(|| {
            let free = || place.into_iter().flatten().filter(|index| !found.contains_key(&Some(**index)));
            // Which is which is not known, but what it was called is.
            let word = if one.is_fine() { Word::Fine } else { Word::Failed };
            let fits = |index: &&usize| lines.of(&names[**index]) == Some((Mode::Run, word));
            let runs = |index: &&usize| lines.of(&names[**index]).is_none_or(|(mode, _)| mode == Mode::Run);
            free().find(fits).or_else(|| free().find(runs)).copied()
        });
        found.entry(index).or_default().push(one);
    }
    found
}

fn violates(violations: &[Violation]) -> bool {
    violations.iter().any(|violation| !violation.allowed)
}

/// File and line of `src/lib.rs - path::to::item (line 5)`. An item's path has no spaces in it.
fn place_of(name: &str) -> Option<(&str, u32)> {
    let (rest, line) = name.rsplit_once(" (line ")?;
    let line = line.strip_suffix(')')?.parse().ok()?;
    let file = rest.strip_suffix(" -").or_else(|| rest.rsplit_once(' ')?.0.strip_suffix(" -"))?;
    Some((file, line))
}

/// What stands below `---- NAME stdout ----`.
fn failure_of<'a>(name: &str, stdout: &'a str) -> &'a str {
    let head = format!("---- {name} stdout ----\n");
    let Some((_, rest)) = stdout.split_once(&head) else { return "" };
    let end = rest.find("\n---- ").or_else(|| rest.find("\nfailures:\n")).unwrap_or(rest.len());
    rest[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::KernelReport;
    use TestVerdict::{Failed, Ignored, NotRun, Passed};

    #[test]
    fn the_output_of_one_failure_is_its_own() {
        let text = "failures:\n\n---- a (line 1) stdout ----\none\n\n---- b (line 2) stdout ----\ntwo\n\nfailures:\n    a\n";
        assert_eq!(failure_of("a (line 1)", text), "one");
        assert_eq!(failure_of("b (line 2)", text), "two");
        assert_eq!(failure_of("c", text), "");
    }

    #[test]
    fn a_list_is_whole_or_none() {
        let names = |text: &str| listed(text).map(|names| names.join(", "));
        assert_eq!(names("a (line 1): test\nb: test\n\n2 tests, 0 benchmarks\n").unwrap(), "a (line 1), b");
        assert_eq!(names("a macro's: test\nwords\na: test\n\n1 test, 0 benchmarks\n").unwrap(), "a");
        assert_eq!(names("\n0 tests, 0 benchmarks\n").unwrap(), "");
        assert_eq!(names("0 tests, 0 benchmarks").unwrap(), "");
        for none in [
            "",
            "a: test\n",
            "a: test\n\n2 tests, 0 benchmarks",
            "a\nb: test\n\n2 tests, 0 benchmarks",
            "1.95.0\n",
        ] {
            assert!(names(none).is_err(), "{none}");
        }
    }

    #[test]
    fn names_say_where_their_example_is() {
        for (name, place) in [
            ("src/lib.rs - double (line 5)", Some(("src/lib.rs", 5))),
            ("src/lib.rs - (line 7)", Some(("src/lib.rs", 7))),
            ("src/a - b (line 3).rs - c::d (line 5)", Some(("src/a - b (line 3).rs", 5))),
            ("src/a - b.rs - (line 5)", Some(("src/a - b.rs", 5))),
            ("all", None),
            ("unnamed example (2)", None),
        ] {
            assert_eq!(place_of(name), place, "{name}");
        }
    }

    fn handed(example: &str, outcome: Option<GuestOutcome>) -> RunnerRecord {
        let ran = outcome.map(|outcome| GuestResult {
            outcome,
            duration: Duration::ZERO,
            kernel: KernelReport::default(),
            grants: Vec::new(),
            violations: Vec::new(),
            notes: Vec::new(),
        });
        RunnerRecord::for_tests(example, ran)
    }

    fn judged(names: &[&str], stdout: &str, handed: Vec<RunnerRecord>) -> Vec<(String, TestVerdict)> {
        let id = TestId { target: 0, binary: String::new(), name: String::new() };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut told = DocTestResults::new(id);
        told.judge(&names, &Lines::read(stdout), handed, stdout, "");
        told.tests.into_iter().map(|test| (test.id.name, test.verdict)).collect()
    }

    const NAME: &str = "src/lib.rs - a (line 1)";
    const EXAMPLE: &str = "src_lib_rs_1_0";

    /// Every way in which rustdoc can speak of an example, with every report of its runner.
    #[test]
    fn an_example_passes_only_where_a_runner_reported_it() {
        let words = ["ok", "FAILED", "ignored", "ok <0.1s>", "ignored, because", "nonsense", ""];
        let ends = [
            None,
            Some(None),
            Some(Some(GuestOutcome::Exited(0))),
            Some(Some(GuestOutcome::Exited(1))),
            Some(Some(GuestOutcome::Panicked)),
            Some(Some(GuestOutcome::TimedOut(Duration::ZERO))),
            Some(Some(GuestOutcome::Killed(9))),
        ];
        for mode in ["", " - compile", " - compile fail"] {
            for word in words {
                for end in &ends {
                    let line = if word.is_empty() {
                        String::new()
                    } else {
                        format!("test {NAME}{mode} ... {word}\n")
                    };
                    // A guest says what it likes, below.
                    let stdout = format!(
                        "{line}\nfailures:\n---- x stdout ----\ntest {NAME} ... ignored\ntest {NAME} ... ok\n"
                    );
                    let reports = end.iter().map(|end| handed(EXAMPLE, end.clone())).collect();
                    let all = judged(&[NAME], &stdout, reports);
                    assert_eq!(all.len(), 1, "{all:?}");
                    let verdict = all[0].1;
                    let case = format!("`{mode}` `{word}` {end:?}: {verdict:?}");
                    match end {
                        None => assert_ne!(verdict, Passed, "{case}"),
                        Some(None) => assert_eq!(verdict, NotRun, "{case}"),
                        Some(Some(GuestOutcome::TimedOut(_))) => {
                            assert_eq!(verdict, TestVerdict::TimedOut, "{case}")
                        }
                        Some(Some(GuestOutcome::Killed(_))) => {
                            assert_eq!(verdict, TestVerdict::Killed, "{case}")
                        }
                        Some(Some(_)) => assert!(matches!(verdict, Passed | Failed), "{case}"),
                    }
                    if word == "FAILED" && matches!(end, None | Some(Some(GuestOutcome::Exited(_)))) {
                        assert_eq!(verdict, Failed, "{case}");
                    }
                }
            }
        }
        assert_eq!(judged(&[NAME], "", Vec::new()), [(NAME.to_owned(), NotRun)]);
        let only = judged(&[NAME], &format!("test {NAME} - compile ... ok\n"), Vec::new());
        assert_eq!(only, [(NAME.to_owned(), Ignored)]);
    }

    #[test]
    fn examples_of_one_line_are_told_apart_as_far_as_it_goes() {
        let names = ["src/lib.rs - x (line 3)", "src/lib.rs - y (line 3)"];
        let ends = |ends: &[(usize, i32)]| {
            let one = |(number, end): &(usize, i32)| {
                handed(&format!("src_lib_rs_3_{number}"), Some(GuestOutcome::Exited(*end)))
            };
            ends.iter().map(one).collect::<Vec<_>>()
        };
        let said = |x: &str, y: &str| format!("test {} ... {x}\ntest {} ... {y}\n", names[0], names[1]);
        let verdicts = |stdout: &str, handed| {
            judged(&names, stdout, handed).into_iter().map(|(_, v)| v).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&said("ok", "ok"), ends(&[(0, 0), (1, 0)])), [Passed, Passed]);
        assert_eq!(verdicts(&said("ok", "FAILED"), ends(&[(0, 1), (1, 0)])), [Passed, Failed]);
        // One does not compile.
        assert_eq!(verdicts(&said("FAILED", "ok"), ends(&[(0, 0)])), [Failed, Passed]);
        assert_eq!(verdicts(&said("ok", "ok"), ends(&[(1, 0)])), [Passed, NotRun]);
    }

    #[test]
    fn what_belongs_to_no_example_is_a_test_of_its_own() {
        let reports = vec![handed("merged_doctest_2024_0", Some(GuestOutcome::Exited(0))), handed("", None)];
        let all = judged(&[NAME], &format!("test {NAME} ... ok\n"), reports);
        let names: Vec<_> = all.iter().map(|(name, verdict)| (name.as_str(), *verdict)).collect();
        assert_eq!(names, [(NAME, NotRun), ("unnamed example", NotRun), ("unnamed example (2)", Passed)]);
    }
}

//! What rustdoc says of the examples, and what our runners say of the same ones, put together.
//!
//! rustdoc names a test, its runner has only a program without a name. A program of its own is known by
//! the mark in its output, or by the function that rustdoc puts the example in, which has its file and
//! line. Examples of the 2024 edition are numbered functions of one program, in the order in which
//! libtest lists them. What no test can be found for becomes a test of its own: nothing is lost.

use super::handover::{Handed, Ran, unmarked};
use crate::event::{GuestOutcome, TestId, TestReport, TestVerdict, Violation};
use crate::runner::source::read_snippet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The crates that rustdoc makes of examples: their code is the package's own.
pub(in crate::cli) const CRATES: [&str; 2] = ["rust_out", BUNDLE];
/// The crate of those that share a program.
const BUNDLE: &str = "doctest_bundle_2024";

/// The tests of one package.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) tests: Vec<TestReport>,
    /// In the order of rustdoc's output.
    sections: Vec<Section>,
    id: TestId,
}

/// What follows `running 5 tests`: one program's tests, or those with a program each.
#[derive(Clone, Debug, Default)]
struct Section {
    /// How many were to run.
    of: usize,
    /// Those that are told of, in their order.
    tests: Vec<usize>,
    /// No more is told of any: what follows is output.
    over: bool,
}

impl Told {
    /// Reads `test src/lib.rs - name (line 5) ... ok` and the output of those that failed. `id` is that
    /// of the target's tests, but for the name.
    pub(super) fn by_rustdoc(stdout: &str, id: TestId) -> Self {
        let mut told = Self { tests: Vec::new(), sections: Vec::new(), id };
        for line in stdout.lines() {
            if let Some(of) = header(line) {
                told.sections.push(Section { of, ..Section::default() });
            }
            let Some(section) = told.sections.last_mut().filter(|section| !section.over) else { continue };
            section.over = line == "failures:";
            let Some((name, end)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
            else {
                continue;
            };
            let verdict = match end.split(',').next().unwrap_or_default().trim() {
                "ok" => TestVerdict::Passed,
                "ignored" => TestVerdict::Ignored,
                "FAILED" => TestVerdict::Failed,
                _ => {
                    // The process ended in the middle of it.
                    section.over = true;
                    TestVerdict::Failed
                }
            };
            section.tests.push(told.tests.len());
            let output = failure_of(name, stdout).as_bytes().to_vec();
            told.add(name.to_owned(), verdict, output, "");
        }
        told
    }

    /// Examples that nothing is known of but why.
    pub(super) fn not_run(id: TestId, why: &str) -> Self {
        let mut told = Self { tests: Vec::new(), sections: Vec::new(), id };
        told.add("all".to_owned(), TestVerdict::NotRun, Vec::new(), why);
        told
    }

    /// Adds a test and returns its index.
    pub(super) fn add(&mut self, name: String, verdict: TestVerdict, output: Vec<u8>, why: &str) -> usize {
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

    /// Puts what the runners said to the tests. `stderr` is rustdoc's own, to which programs of several
    /// examples write; `filtered` says that not all of those were run.
    pub(super) fn by_runners(&mut self, all: Vec<Handed>, stderr: &str, filtered: bool) {
        let mut bundles = 0;
        for handed in all {
            let mark = handed.mark();
            let Some(ran) = handed.ran else { continue };
            let has_mark = |output: &[u8]| String::from_utf8_lossy(output).contains(&mark);
            if let Some(index) = self.tests.iter().position(|test| has_mark(&test.output)) {
                self.alone(index, ran);
            } else if stderr.contains(&mark) {
                let section = self.sections.get(bundles).cloned().unwrap_or_default();
                bundles += 1;
                self.bundle(&section, filtered, ran, stderr);
            } else if !ran.violations.is_empty() {
                // rustdoc shows no output of what it takes for passed.
                match ran.violations.iter().find_map(|violation| self.example_of(violation)) {
                    Some(index) => self.alone(index, ran),
                    None => self.unnamed(ran, &[]),
                }
            }
        }
        for test in &mut self.tests {
            let output = unmarked(&String::from_utf8_lossy(&test.output));
            test.output = output.trim_end().as_bytes().to_vec();
        }
    }

    /// One example was the whole program.
    fn alone(&mut self, index: usize, ran: Ran) {
        let test = &mut self.tests[index];
        test.duration = ran.duration;
        if test.verdict == TestVerdict::Failed {
            test.verdict = match ran.outcome {
                GuestOutcome::TimedOut(_) => TestVerdict::TimedOut,
                GuestOutcome::Killed(_) => TestVerdict::Killed,
                // It failed for rustdoc as our runner did not say that all is well.
                GuestOutcome::Exited(0) if violates(&ran.violations) => TestVerdict::Passed,
                _ => TestVerdict::Failed,
            };
        }
        test.outcome = Some(ran.outcome);
        for violation in ran.violations {
            self.violated(index, violation);
        }
    }

    /// Several were: those of the section, numbered in its order if it has all of them.
    fn bundle(&mut self, section: &Section, filtered: bool, mut ran: Ran, stderr: &str) {
        let mut rest = Vec::new();
        for violation in std::mem::take(&mut ran.violations) {
            let number = number_of(&violation).filter(|_| !filtered);
            match number.and_then(|number| section.tests.get(number)) {
                Some(index) => self.violated(*index, violation),
                None => rest.push(violation),
            }
        }
        let ended = section.tests.last().filter(|_| section.over && ran.outcome != GuestOutcome::Exited(0));
        if let Some(index) = ended {
            // wasm cannot unwind: the first panic ends the process.
            self.alone(*index, Ran { violations: Vec::new(), ..ran.clone() });
            let left = section.of.saturating_sub(section.tests.len());
            if left > 0 {
                let why = "an example before them ended their process";
                self.add(format!("{left} more"), TestVerdict::NotRun, Vec::new(), why);
            }
        }
        if !rest.is_empty() || (ran.outcome != GuestOutcome::Exited(0) && ended.is_none()) {
            self.unnamed(Ran { violations: rest, ..ran }, stderr.as_bytes());
        }
    }

    /// A test for what none is found for.
    fn unnamed(&mut self, ran: Ran, output: &[u8]) {
        let before = self.tests.iter().filter(|test| test.id.name.starts_with(UNNAMED)).count();
        let name = if before == 0 { UNNAMED.to_owned() } else { format!("{UNNAMED} ({})", before + 1) };
        let index = self.add(name, TestVerdict::Failed, output.to_vec(), "");
        if ran.outcome == GuestOutcome::Exited(0) {
            self.tests[index].verdict = TestVerdict::Passed;
        }
        self.alone(index, ran);
    }

    fn violated(&mut self, index: usize, mut violation: Violation) {
        let test = &mut self.tests[index];
        if !violation.allowed {
            test.verdict = match test.verdict {
                TestVerdict::Violated { passed } => TestVerdict::Violated { passed },
                verdict => TestVerdict::Violated { passed: verdict == TestVerdict::Passed },
            };
        }
        violation.test = Some(test.id.name.clone());
        test.violations.push(violation);
    }

    /// The test whose example this function of rustdoc's holds: `_doctest_main_src_lib_rs_23_0`.
    fn example_of(&self, violation: &Violation) -> Option<usize> {
        self.tests.iter().position(|test| {
            let Some((file, line)) = place_of(&test.id.name) else { return false };
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let file: String = file.chars().map(plain).collect();
            let function = format!("_doctest_main_{file}_{line}_");
            violation.backtrace.iter().any(|frame| frame.function.contains(&function))
        })
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

/// The name of a test that stands for all those that cannot be told apart.
const UNNAMED: &str = "all in one process";

fn violates(violations: &[Violation]) -> bool {
    violations.iter().any(|violation| !violation.allowed)
}

/// File and line of `src/lib.rs - path::to::item (line 5) - compile`.
fn place_of(name: &str) -> Option<(&str, u32)> {
    let (file, rest) = name.split_once(" - ")?;
    let (_, rest) = rest.rsplit_once("(line ")?;
    Some((file, rest.split_once(')')?.0.parse().ok()?))
}

/// The number of an example among those of its program: `doctest_bundle_2024::__doctest_3::main`.
fn number_of(violation: &Violation) -> Option<usize> {
    violation.backtrace.iter().rev().find_map(|frame| {
        let (_, rest) = frame.function.split_once(BUNDLE)?.1.split_once("::__doctest_")?;
        rest.split_once("::")?.0.parse().ok()
    })
}

/// The number in `running 5 tests`.
fn header(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
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

    #[test]
    fn the_output_of_one_failure_is_its_own() {
        let text = "failures:\n\n---- a (line 1) stdout ----\none\n\n---- b (line 2) stdout ----\ntwo\n\nfailures:\n    a\n";
        assert_eq!(failure_of("a (line 1)", text), "one");
        assert_eq!(failure_of("b (line 2)", text), "two");
        assert_eq!(failure_of("c", text), "");
    }

    #[test]
    fn what_an_example_prints_is_no_test() {
        let text = "running 2 tests\ntest a (line 1) ... ok\ntest b (line 2) ... FAILED\n\nfailures:\n\n\
            ---- b (line 2) stdout ----\ntest c (line 3) ... ok\n\nfailures:\n    b\n\nrunning 1 test\ntest d ... ok\n";
        let id = TestId { target: 0, binary: String::new(), name: String::new() };
        let told = Told::by_rustdoc(text, id);
        let names: Vec<&str> = told.tests.iter().map(|test| test.id.name.as_str()).collect();
        assert_eq!(names, ["a (line 1)", "b (line 2)", "d"]);
        assert_eq!(told.sections.iter().map(|section| section.of).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn names_say_where_their_example_is() {
        assert_eq!(place_of("src/lib.rs - double (line 5)"), Some(("src/lib.rs", 5)));
        assert_eq!(place_of("src/a - b.rs - (line 5) - compile fail"), Some(("src/a", 5)));
        assert_eq!(place_of("all in one process"), None);
    }
}

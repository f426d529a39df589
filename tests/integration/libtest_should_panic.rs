//! Each test of fixtures/should-panic: what we say of it as a guest is what libtest says of it natively, in
//! debug, release, stripped and link-time optimised builds; what cannot be said is not run.

use crate::common::Fixture;
use crate::libtest_support::{Guest, toolchain};
use cargo_sandbox::event::TestVerdict::{self, Failed, NotRun, Passed};
use cargo_sandbox::runner::suite::libtest::{ListedTest, Listing};
use cargo_sandbox::runner::suite::outcome::{Ended, judge};
use cargo_sandbox::should_panic::{Image, Stack, find, layout};
use cargo_sandbox::symbols;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-wasip1";
const TESTS: usize = 64;

/// Verdict and reason of each test.
type Verdicts = BTreeMap<String, (TestVerdict, String)>;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/should-panic")
}

/// Builds the test binary of a crate without dependencies; `target` is `None` for the host's.
fn build(krate: &Path, name: &str, target: Option<&str>, args: &[&str], env: &[(&str, &str)]) -> PathBuf {
    let mut command = toolchain("cargo");
    command
        .args(["test", "--no-run", "--lib", "--offline", "--message-format=json", "--manifest-path"])
        .arg(krate.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
        .args(args)
        .envs(env.iter().copied());
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    let output = command.output().expect("cargo starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let messages =
        text.lines().rev().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().expect("cargo names the test binary")
}

/// What libtest itself says of each test in its own process; one that ends the process without a word
/// of libtest's has failed.
fn native(args: &[&str], names: &[(String, bool)]) -> Verdicts {
    let binary = build(&fixture(), "libtest-native", None, args, &[]);
    let run = |(name, ignored): &(String, bool)| {
        let mut command = Command::new(&binary);
        command.args([name, "--exact", "--test-threads=1"]).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        if *ignored {
            command.arg("--include-ignored");
        }
        let output = command.output().expect("the test binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let closing = format!("; 0 measured; {} filtered out;", names.len() - 1);
        let passed =
            output.status.success() && text.contains("1 passed; 0 failed") && text.contains(&closing);
        let verdict = if passed { Passed } else { Failed };
        (name.clone(), (verdict, text))
    };
    names.iter().map(run).collect()
}

/// What `cargo sandbox test` says of each test that it builds with these variables set.
fn ours(args: &[&str], env: &[(&str, &str)]) -> Verdicts {
    let fixture = Fixture::copy("should-panic");
    let report = fixture.path("report.json");
    let mut command = fixture.command(["test", "--report", report.to_str().expect("a path")]);
    command.args(args).args(["--", "--include-ignored"]).envs(env.iter().copied());
    let run = crate::common::run(command).expect(101);
    let report: serde_json::Value =
        serde_json::from_str(&fixture.read("report.json").expect("a report")).expect("JSON");
    let tests = report["targets"][0]["tests"].as_array().unwrap_or_else(|| panic!("{}", run.stderr));
    let verdict = |test: &serde_json::Value| {
        let verdict = match test["verdict"].as_str() {
            Some("passed") => Passed,
            Some("failed") => Failed,
            Some("not-run") => NotRun,
            other => panic!("{other:?} in {test:#}"),
        };
        let reason = test["reason"].as_str().unwrap_or_default().to_owned();
        (test["name"].as_str().expect("a name").to_owned(), (verdict, reason))
    };
    tests.iter().map(verdict).collect()
}

/// What is said of an artifact as cargo alone makes it, without our wrapper.
fn foreign(directory: &str, args: &[&str], env: &[(&str, &str)]) -> Verdicts {
    let artifact = build(&fixture(), directory, Some(TARGET), args, env);
    let guest = Guest::new(std::fs::read(artifact).expect("the artifact"));
    let Listing::Tests(tests) = guest.list() else { panic!("no listing") };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory);
    let layout = layout(|| toolchain("rustc"), TARGET, &folder).expect("a layout");
    let image = Image::parse(&guest.wasm).expect("an image");
    let symbols = symbols::Symbols::read(&guest.wasm).expect("symbols");
    let descriptors = find(&image, &layout, &tests.iter().map(ListedTest::wanted).collect::<Vec<_>>());
    let mut verdicts = Verdicts::new();
    for (test, descriptor) in tests.iter().zip(descriptors) {
        let descriptor = descriptor.unwrap_or_else(|error| panic!("{directory}: {}: {error}", test.name));
        let run = guest.test(&test.name, test.ignored, descriptor.patch.as_ref());
        let ended = Ended {
            outcome: &run.outcome,
            stdout: &run.stdout,
            stderr: &run.stderr,
            stack: &Stack::read(&symbols.frames(&run.frames), &mut |_, _| false),
            listed: Some(tests.len()),
        };
        let said = judge(test, Ok(&descriptor), &ended);
        verdicts.insert(test.name.clone(), (said.verdict, said.reason));
    }
    verdicts
}

/// What libtest says natively, for builds with these arguments.
fn natively(args: &[&str], ours: &Verdicts) -> Verdicts {
    assert_eq!(ours.len(), TESTS);
    let ignored = |name: &str| name.ends_with("ignored");
    native(args, &ours.keys().map(|name| (name.clone(), ignored(name))).collect::<Vec<_>>())
}

/// Compares, and checks that the only differences are the documented ones.
fn compare(args: &[&str], ours: &Verdicts, known: &[(&str, TestVerdict)]) {
    let native = natively(args, ours);
    let differences: Vec<String> = ours
        .iter()
        .filter(|(name, (verdict, _))| {
            let known = known.iter().find(|(known, _)| known == name).map(|(_, verdict)| *verdict);
            *verdict != known.unwrap_or(native[*name].0)
        })
        .map(|(name, said)| format!("{name}: {said:?}, natively {:?}", native[name]))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for (name, verdict) in known {
        assert_ne!(native[*name].0, *verdict, "`{name}` is no longer a difference");
    }
}

/// What docs/should-panic.md says of panics that do not end the program where they unwind, and of
/// messages that cannot be told apart.
const KNOWN: [(&str, TestVerdict); 18] = [
    ("catching::catches_a_deeper_panic", NotRun),
    ("catching::catches_and_panics_again", NotRun),
    ("catching::catches_in_a_dependency", NotRun),
    ("catching::catches_in_a_dependency_that_is_generic", NotRun),
    ("catching::catches_in_a_helper", NotRun),
    ("catching::catches_its_panic", NotRun),
    ("catching::catches_on_one_of_two_lines", NotRun),
    ("catching::catches_on_one_of_two_ways", NotRun),
    ("leaves_a_function_that_a_macro_names", Passed),
    ("leaves_a_function_that_is_inlined", NotRun),
    ("leaves_a_function_that_may_not_unwind", NotRun),
    ("panics_in_drop_while_unwinding", Passed),
    ("panics_too_deep_to_be_seen", NotRun),
    ("resumes_a_panic_with_text", NotRun),
    ("silent_hook_with_text", NotRun),
    ("text_that_looks_like_a_message", NotRun),
    ("waits_for_a_thread", NotRun),
    ("waits_for_a_thread_that_panics", NotRun),
];

#[test]
fn verdicts_are_libtests_own_in_debug_builds() {
    compare(&[], &ours(&[], &[]), &KNOWN);
}

#[test]
fn verdicts_are_libtests_own_in_release_builds() {
    compare(&["--release"], &ours(&["--release"], &[]), &KNOWN);
}

/// The user's own flags take names and debug information away: the workspace's crates get both back,
/// dependencies get names.
#[test]
fn verdicts_are_libtests_own_in_stripped_builds() {
    let env = [("CARGO_PROFILE_RELEASE_STRIP", "true"), ("RUSTFLAGS", "-Cdebuginfo=0 -Cstrip=symbols")];
    let known = [&KNOWN[..], &[("panics_in_a_dependency", NotRun)]].concat();
    compare(&["--release"], &ours(&["--release"], &env), &known);
}

#[test]
fn verdicts_are_libtests_own_with_fat_link_time_optimisation() {
    compare(&["--release"], &ours(&["--release"], &[("CARGO_PROFILE_RELEASE_LTO", "fat")]), &KNOWN);
}

/// An artifact may lack what tells, whatever our build adds. Then no test passes that natively fails,
/// and what is not known to agree is not run.
#[test]
fn without_names_or_debug_information_nothing_is_passed_on_trust() {
    for (directory, strip) in [("libtest-plain", "none"), ("libtest-strip", "symbols")] {
        let ours = foreign(directory, &["--release"], &[("CARGO_PROFILE_RELEASE_STRIP", strip)]);
        let native = natively(&["--release"], &ours);
        for (name, (verdict, reason)) in &ours {
            match (native[name].0, *verdict) {
                (Failed, Passed) => panic!("{directory}: `{name}` passes"),
                // The text of the first panic is wrong, and nobody knows that it would have been caught.
                (Passed, Failed) if name == "catching::catches_and_panics_again" => {}
                (Passed, Failed) => panic!("{directory}: `{name}` fails: {reason}"),
                _ => {}
            }
        }
        let why = if strip == "none" { "no exact debug information" } else { "no names" };
        for name in ["panics", "catching::catches_a_deeper_panic"] {
            let (verdict, reason) = &ours[name];
            assert_eq!(*verdict, NotRun, "{directory}: {name}");
            assert!(reason.contains(why), "{directory}: {name}: {reason}");
        }
        assert_eq!(ours["plain::passes"].0, Passed);
        assert_eq!(ours["does_not_panic"].0, Failed);
        assert_eq!(ours["wrong_text"].0, Failed);
    }
}

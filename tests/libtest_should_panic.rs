//! Each test of fixtures/should-panic, run alone: what we say of it as a guest is what libtest says
//! of it natively, in debug, release, stripped and link-time optimised builds.

mod libtest_support;

use cargo_sandbox::event::TestVerdict;
use cargo_sandbox::runner::libtest::{Ended, Image, Listing, find, judge, layout};
use libtest_support::{Guest, toolchain};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-wasip1";

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
        let verdict = if passed { TestVerdict::Passed } else { TestVerdict::Failed };
        (name.clone(), (verdict, text))
    };
    names.iter().map(run).collect()
}

/// What we say of each test, and all names, with whether they are ignored.
fn ours(directory: &str, args: &[&str], env: &[(&str, &str)]) -> (Verdicts, Vec<(String, bool)>) {
    let artifact = build(&fixture(), directory, Some(TARGET), args, env);
    let guest = Guest::new(std::fs::read(artifact).expect("the artifact"));
    let Listing::Tests(tests) = guest.list() else { panic!("no listing") };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory);
    let layout = layout(|| toolchain("rustc"), TARGET, &folder).expect("a layout");
    let image = Image::parse(&guest.wasm).expect("an image");
    let descriptors = find(&image, &layout, &tests);
    let mut verdicts = Verdicts::new();
    for (test, descriptor) in tests.iter().zip(descriptors) {
        let descriptor = descriptor.unwrap_or_else(|error| panic!("{directory}: {}: {error}", test.name));
        let run = guest.test(&test.name, test.ignored, descriptor.patch.as_ref());
        let ended = Ended {
            outcome: &run.outcome,
            stdout: &run.stdout,
            stderr: &run.stderr,
            frames: &run.frames,
            listed: Some(tests.len()),
        };
        let said = judge(test, Ok(&descriptor), &ended);
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{:50} {:?} {} {:?}", test.name, said.verdict, said.reason, run.outcome);
            eprintln!("{}", String::from_utf8_lossy(&run.stderr));
            eprintln!("{:#?}", run.frames);
        }
        verdicts.insert(test.name.clone(), (said.verdict, said.reason));
    }
    (verdicts, tests.iter().map(|test| (test.name.clone(), test.ignored)).collect())
}

/// Compares, and checks that the only differences are the documented ones.
fn compare(directory: &str, args: &[&str], env: &[(&str, &str)], known: &[(&str, TestVerdict)]) {
    let (ours, names) = ours(directory, args, env);
    let native = native(args, &names);
    assert_eq!(ours.len(), 41);
    let differences: Vec<String> = ours
        .iter()
        .filter(|(name, (verdict, _))| {
            let known = known.iter().find(|(known, _)| known == name).map(|(_, verdict)| *verdict);
            *verdict != known.unwrap_or(native[*name].0)
        })
        .map(|(name, said)| format!("{name}: {said:?}, natively {:?}", native[name]))
        .collect();
    assert!(differences.is_empty(), "{directory}:\n{}", differences.join("\n"));
    for (name, verdict) in known {
        assert_ne!(native[*name].0, *verdict, "`{name}` is no longer a difference");
    }
}

/// What docs/should-panic.md says of panics that do not end the program where they unwind, and of
/// messages that cannot be told apart.
const KNOWN: [(&str, TestVerdict); 5] = [
    ("catches_its_panic", TestVerdict::NotRun),
    ("leaves_a_function_that_may_not_unwind", TestVerdict::Passed),
    ("panics_in_drop_while_unwinding", TestVerdict::Passed),
    ("silent_hook_with_text", TestVerdict::NotRun),
    ("text_that_looks_like_a_message", TestVerdict::NotRun),
];

/// Without names there is no telling an abort from a silent panic, nor who would have caught one.
const KNOWN_STRIPPED: [(&str, TestVerdict); 7] = [
    ("aborts", TestVerdict::NotRun),
    ("catches_its_panic", TestVerdict::Passed),
    ("leaves_a_function_that_may_not_unwind", TestVerdict::Passed),
    ("panics_in_drop_while_unwinding", TestVerdict::Passed),
    ("silent_hook", TestVerdict::NotRun),
    ("silent_hook_with_text", TestVerdict::NotRun),
    ("text_that_looks_like_a_message", TestVerdict::NotRun),
];

#[test]
fn verdicts_are_libtests_own_in_debug_builds() {
    compare("libtest-debug", &[], &[], &KNOWN);
}

#[test]
fn verdicts_are_libtests_own_in_release_builds() {
    compare("libtest-release", &["--release"], &[], &KNOWN);
}

#[test]
fn verdicts_are_libtests_own_in_stripped_builds() {
    compare("libtest-strip", &["--release"], &[("CARGO_PROFILE_RELEASE_STRIP", "true")], &KNOWN_STRIPPED);
}

#[test]
fn verdicts_are_libtests_own_with_fat_link_time_optimisation() {
    compare("libtest-lto", &["--release"], &[("CARGO_PROFILE_RELEASE_LTO", "fat")], &KNOWN);
}

//! Doc tests through the real cargo and rustdoc: each is a test of the report, with what it touched.
//!
//! They need a toolchain whose rustdoc can compile them. None of this passes without.

use crate::common::{Fixture, Run, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const EDITIONS: [&str; 2] = ["2021", "2024"];

/// A library with these examples, each on a function of its own, from line 1 on, five lines each.
fn library(edition: &str, grants: &str, examples: &[&str]) -> Fixture {
    let mut text = String::new();
    for (number, example) in examples.iter().enumerate() {
        text += &format!(
            "/// ```{}\n/// ```\npub fn example_{number}() {{}}\n\n",
            example.replace('\n', "\n/// ")
        );
    }
    Fixture::copy("tests-doc")
        .manifest(|manifest| manifest.replace("2024", edition).replace("0.1.0", "0.1.1") + grants)
        .rewrite("src/lib.rs", |_| text)
        .file("input.txt", "some text\n")
}

/// Runs them. A toolchain that cannot is no reason to pass.
fn tested(fixture: &Fixture, flags: &[&str]) -> (Run, Value) {
    let (run, report) = fixture.run_with_report("test", flags, &[]);
    assert!(
        !run.stderr.contains("were not run"),
        "the toolchain {:?} cannot compile doc tests; `scripts/wasi-toolchain.sh` finds or makes one that can:\n{}",
        crate::common::toolchain(),
        run.stderr
    );
    (run, report)
}

/// The target of kind `doc`.
fn doc(report: &Value) -> &Value {
    let targets = report["targets"].as_array().expect("targets");
    targets
        .iter()
        .find(|target| target["kind"] == "doc")
        .unwrap_or_else(|| panic!("no doc tests: {report:#}"))
}

fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let word = |value: &'_ Value| value.as_str().expect("a word").to_owned().leak() as &str;
    doc(report)["tests"]
        .as_array()
        .expect("tests")
        .iter()
        .map(|t| (word(&t["name"]), word(&t["verdict"])))
        .collect()
}

const READS: &str = "\nassert!(std::fs::read(\"input.txt\").is_ok());";
const READS_SECRET: &str = "\nassert!(std::fs::read(\"/etc/passwd\").is_err());";
const GRANT: &str = "\n[package.metadata.sandbox.test.fs]\nread = [\"input.txt\"]\n";

#[test]
fn an_example_that_reaches_out_is_a_violated_test_in_every_format() {
    for edition in EDITIONS {
        let fixture = Fixture::copy("tests-doc").manifest(|text| text.replace("2024", edition) + "\n");
        let (run, report) = tested(&fixture, &["--doc", "--junit", "d.xml", "--sarif", "d.sarif"]);
        let run = run.expect(77);
        let line = fixture.line("src/lib.rs", "/etc/passwd") - 1;
        let name = format!("src/lib.rs - others (line {line})");
        let target = doc(&report);
        let test = |name: &str| {
            let all = target["tests"].as_array().expect("tests");
            all.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("no `{name}`: {target:#}"))
        };
        let violated = test(&name);
        assert_eq!(
            (&violated["verdict"], &violated["passed"]),
            (&"violated".into(), &true.into()),
            "{edition}"
        );
        assert_eq!(test("src/lib.rs - double (line 5)")["verdict"], "passed");
        assert_eq!(report["counts"]["violated"], 1);
        assert_eq!(report["counts"]["violations"], 1);
        assert_eq!(report["kernel"]["seccomp"], true, "{report:#}");
        let violation = &violated["violations"][0];
        assert_eq!(violation["operation"], "fs-read");
        assert_eq!(violation["test"], name);
        assert_eq!(violation["origin"]["package"], "tests-doc");
        assert_eq!(violation["origin"]["version"], "0.1.0");
        assert_eq!(violation["snippet"]["line"], line);
        assert_eq!(violation["suggestion"]["table"], "package.metadata.sandbox.test.fs");
        assert!(!violation["backtrace"].as_array().expect("frames").is_empty());
        assert_eq!(run.stderr.matches("error[fs-read]").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(&format!("--> src/lib.rs:{line}")), "{}", run.stderr);
        assert!(!run.stderr.contains("cargo-sandbox: doc test"), "{}", run.stderr);
        assert!(fixture.read("d.xml").expect("JUnit").contains("type=\"violated\""));
        let sarif: Value = serde_json::from_str(&fixture.read("d.sarif").expect("SARIF")).expect("JSON");
        let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        let file = place["artifactLocation"]["uri"].as_str().expect("a file");
        assert!(file.ends_with("tests-doc/src/lib.rs"), "{file}");
        assert_eq!(place["region"]["startLine"], line);
    }
}

#[test]
fn code_of_the_library_has_its_own_line() {
    for edition in EDITIONS {
        let fixture = library(edition, "", &["\ntests_doc::reads();"]).rewrite("src/lib.rs", |text| {
            text + "pub fn reads() {\n    let _ = std::fs::read(\"/etc/passwd\");\n}\n"
        });
        let (run, report) = tested(&fixture, &["--doc"]);
        run.expect(77);
        let violation = &doc(&report)["tests"][0]["violations"][0];
        let line = fixture.line("src/lib.rs", "/etc/passwd");
        assert_eq!(violation["origin"]["frame"]["line"], line, "{violation:#}");
        assert_eq!(violation["origin"]["package"], "tests-doc");
    }
}

#[test]
fn a_grant_that_only_an_example_needs_is_used() {
    for edition in EDITIONS {
        let fixture = library(edition, GRANT, &[READS, READS]);
        let (run, report) = tested(&fixture, &["--unused", "deny"]);
        run.expect(0);
        let grants = doc(&report)["grants"].as_array().expect("grants");
        assert_eq!(grants.len(), 1, "{report:#}");
        assert!(grants[0]["uses"].as_u64().expect("a number") >= 2, "{grants:?}");
        let more = fixture.manifest(|text| text.replace("[\"input.txt\"", "[\"input.txt\", \"never\""));
        let (run, report) = tested(&more, &["--unused", "deny"]);
        run.expect(79);
        assert_eq!(report["unused"][0]["place"]["entry"], "never");
    }
}

#[test]
fn fix_learns_from_examples() {
    for edition in EDITIONS {
        let fixture = library(edition, "", &[READS]);
        tested(&fixture, &["--doc"]).0.expect(77);
        tested(&fixture, &["--doc", "--fix", "--allow-dirty"]).0.expect(0);
        let fixed = fixture.read("Cargo.toml").expect("a manifest");
        assert!(fixed.contains("[package.metadata.sandbox.test.fs]\nread = [\"input.txt\"]"), "{fixed}");
        tested(&fixture, &["--doc", "--unused", "deny"]).0.expect(0);
    }
}

#[test]
fn nothing_that_an_example_did_is_lost_where_rustdoc_takes_it_for_passed() {
    // rustdoc is content with a test that should panic as soon as it ends badly.
    let by_name = format!("should_panic{READS_SECRET}\npanic!();");
    let unnamed = format!("should_panic\nfn main() {{{READS_SECRET}\npanic!();\n}}");
    for edition in EDITIONS {
        for example in [&by_name, &unnamed] {
            let (run, report) = tested(&library(edition, "", &[example]), &["--doc"]);
            run.expect(77);
            assert_eq!(verdicts(&report), [("src/lib.rs - example_0 (line 1)", "violated")]);
        }
        let fixture = library(edition, "", &[READS, READS_SECRET]);
        let (run, report) = tested(&fixture, &["--doc", "example_1"]);
        run.expect(77);
        assert_eq!(verdicts(&report), [("src/lib.rs - example_1 (line 6)", "violated")]);
    }
}

#[test]
fn ends_of_examples_are_told_apart() {
    let limit = "\n[package.metadata.sandbox.limits]\ntime = \"1s\"\n";
    let examples = ["\nloop {}", "\npanic!(\"on purpose\");", "\nstd::process::exit(77);", ""];
    let (run, report) = tested(&library("2021", limit, &examples), &["--doc"]);
    let run = run.expect(124);
    let mut found: Vec<&str> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
    found.sort_unstable();
    // 77 is the guest's own number here.
    assert_eq!(found, ["failed", "failed", "passed", "timed-out"], "{report:#}");
    assert!(run.stderr.contains("on purpose"), "{}", run.stderr);
    // The second panics: no other is lost.
    for edition in EDITIONS {
        let examples = [
            "",
            "\npanic!(\"on purpose\");",
            "",
            "",
            "no_run\nloop {}",
            "compile_fail,E0001\nlet a: u8 = 1.;",
        ];
        let (run, report) = tested(&library(edition, "", &examples), &["--doc"]);
        run.expect(101);
        let verdicts: Vec<_> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
        // Which error it is that keeps one from compiling is looked at only by an unstable rustdoc.
        let rustdoc = crate::common::command("rustdoc").arg("--version").output().expect("rustdoc");
        let is_nightly = String::from_utf8_lossy(&rustdoc.stdout).contains("-nightly");
        let last = if is_nightly { "failed" } else { "ignored" };
        assert_eq!(verdicts, ["passed", "failed", "passed", "passed", "ignored", last], "{report:#}");
    }
}

#[test]
fn a_time_limit_of_the_command_line_holds_for_examples() {
    let (run, report) = tested(&library("2024", "", &["\nloop {}", ""]), &["--doc", "--timeout", "1s"]);
    run.expect(124);
    let mut found: Vec<&str> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
    found.sort_unstable();
    assert_eq!(found, ["passed", "timed-out"]);
}

/// What decided before, what looks like rustdoc's or our own words, and what ends everything.
const HOSTILE: [&str; 11] = [
    "error: Option 'sysroot' given more than once",
    "error[E0463]: can't find crate for `std`",
    "test src/lib.rs - example_0 (line 1) ... ignored",
    "running 0 tests",
    "test result: ok. 0 passed; 0 failed",
    "failures:",
    "successes:",
    "---- src/lib.rs - example_0 (line 1) stdout ----",
    "cargo-sandbox: doc test 0000000000000000",
    "0 tests, 0 benchmarks",
    "error: doctest failed, to rerun pass `--doc`",
];

#[test]
fn no_words_of_a_guest_decide() {
    let says: String =
        HOSTILE.iter().map(|text| format!("\nprintln!(\"\\n{text}\"); eprintln!(\"\\n{text}\");")).collect();
    let text = HOSTILE.join("\\n");
    for edition in EDITIONS {
        let examples = [
            format!("{says}{READS_SECRET}"),
            format!("should_panic{READS_SECRET}{says}\npanic!(\"\\n{text}\");"),
            format!("{READS_SECRET}{says}\nstd::process::exit(0);"),
        ];
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        let (run, report) = tested(&library(edition, "", &examples), &[]);
        run.expect(77);
        let verdicts = verdicts(&report);
        assert_eq!(verdicts.len(), examples.len());
        assert!(verdicts.iter().all(|(_, verdict)| *verdict == "violated"), "{edition}: {verdicts:?}");
        let tests = doc(&report)["tests"].as_array().expect("tests");
        assert!(tests.iter().all(|test| test["passed"] == true), "{edition}: {report:#}");
    }
}

#[test]
fn no_configuration_of_the_repository_decides() {
    let examples = [READS_SECRET, &format!("should_panic{READS_SECRET}\npanic!();")];
    let flags = |key: &str, flags: &str| format!("[{key}]\nrustdocflags = [{flags}]\n");
    let target = "target.wasm32-wasip1";
    let mut configurations = vec![
        "[target.wasm32-wasip1]\nrunner = \"wasmtime\"\n".to_owned(),
        "[target.'cfg(target_os = \"wasi\")']\nrunner = \"true\"\n".to_owned(),
        // Where there is no rustup, cargo finds rustc by this `PATH`: without the folders of the machine nothing is built.
        format!(
            "[env]\nRUSTDOC = {{ value = \"true\", force = true }}\nRUST_TEST_NOCAPTURE = \"1\"\n\
             TMPDIR = {{ value = \"/nowhere\", force = true }}\nPATH = {{ value = \"/nowhere:{}\", force = true }}\n\
             CARGO_MANIFEST_DIR = {{ value = \"/\", force = true }}\nCI = \"1\"\n",
            std::env::var("PATH").expect("a path")
        ),
    ];
    // Each alone is tried in `src/cargo/rustdoc.rs`; here, that it is this list which counts.
    for given in [
        "'--test-args=--skip=example', '--test-args', '--list'",
        "'--help', '-hV', '--version', '-C', 'help'",
        "'--test-runtool', '/bin/true', '--test-runtool-arg=x'",
        "'-Zunstable-options', '--no-run', '--test-builder=/bin/true', '--output-format', 'doctest'",
        "'-Zunstable-options', '--no-capture', '--persist-doctests', 'here', 'other.md', '--cfg'",
    ] {
        configurations.push(flags(if configurations.len() % 2 == 0 { "build" } else { target }, given));
    }
    let fixture = library("2024", "", &examples);
    let hostile = |fixture: &Fixture, case: &str, env: &[(&str, &str)]| {
        let report = fixture.path("r.json");
        let mut command = fixture.command(["test", "--doc", "--report", "r.json"]);
        command.envs(env.iter().copied());
        let run = run(command);
        assert_eq!(run.status, 77, "{case}: {}", run.stderr);
        let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
        let verdicts = verdicts(&report);
        let verdicts: Vec<_> = verdicts.iter().map(|(_, verdict)| *verdict).collect();
        assert_eq!(verdicts, ["violated", "violated"], "{case}");
    };
    let mut fixture = fixture;
    for configuration in &configurations {
        fixture = fixture.file(".cargo/config.toml", configuration);
        hostile(&fixture, configuration, &[]);
    }
    fixture = fixture.file(".cargo/config.toml", "");
    hostile(&fixture, "a variable", &[("RUSTDOCFLAGS", "--test-args=--skip=example --test-runtool=true")]);
    hostile(&fixture, "a variable", &[("CARGO_ENCODED_RUSTDOCFLAGS", "--no-run\u{1f}--help")]);
    let others = [("CARGO_TARGET_WASM32_WASIP1_RUNNER", "true"), ("RUST_TEST_NOCAPTURE", "1")];
    hostile(&fixture, "variables", &others);
}

#[test]
fn flags_of_the_configuration_that_say_how_to_build_are_kept() {
    let hidden = "/// ```\n/// #[cfg(not(shown))] compile_error!();\n/// ```\npub fn a() {}\n\
        #[cfg_attr(shown, doc = \"```\\nassert_eq!(1, 1);\\n```\")]\npub fn b() {}\n";
    let fixture = library("2024", "", &[]).rewrite("src/lib.rs", |_| hidden.to_owned());
    let flags = "[build]\nrustdocflags = ['--cfg=shown', '--test-args=--skip=b', '--html-in-header', 'x']\n";
    let (run, report) = tested(&fixture.file(".cargo/config.toml", flags), &["--doc"]);
    let run = run.expect(0);
    assert_eq!(verdicts(&report).len(), 2, "{report:#}");
    assert!(verdicts(&report).iter().all(|(_, verdict)| *verdict == "passed"), "{report:#}");
    assert!(run.stderr.contains("`--html-in-header`, `--test-args` of `rustdocflags`"), "{}", run.stderr);
}

#[test]
fn a_users_own_ceiling_binds_examples_whatever_the_configuration_sets() {
    let fixture = library("2024", GRANT, &[READS])
        .file("config/cargo-sandbox/ceiling.toml", "[fs]\n")
        .file(".cargo/config.toml", "[env]\nXDG_CONFIG_HOME = { value = \"/nowhere\", force = true }\n");
    let outside = fixture.path("../config");
    fs::rename(fixture.path("config"), &outside).expect("ours");
    let mut command = fixture.command(["test", "--doc"]);
    command.env("XDG_CONFIG_HOME", &outside);
    run(command).expect(77);
}

/// Where an example stands: in words, what `src/lib.rs` holds, another file, and a part of the example's name.
type Position<'a> = (&'a str, String, Option<(&'a str, String)>, &'a str);

#[test]
fn examples_are_found_wherever_they_stand() {
    let code = "assert!(std::fs::read(\"/etc/passwd\").is_err());";
    let fenced = |mark: &str| format!("{mark} ```\n{mark} {code}\n{mark} ```\n");
    let escaped = code.replace('"', "\\\"");
    let places: [Position<'_>; 8] = [
        (
            "another folder",
            "#[path = \"../elsewhere/a.rs\"]\npub mod a;\n".to_owned(),
            Some(("elsewhere/a.rs", fenced("///") + "pub fn from() {}\n")),
            "a.rs - a::from",
        ),
        (
            "an included file",
            "include!(\"../elsewhere/b.in\");\n".to_owned(),
            Some(("elsewhere/b.in", fenced("///") + "pub fn from() {}\n")),
            "b.in - from",
        ),
        (
            "included text",
            "#![doc = include_str!(\"../README.md\")]\n".to_owned(),
            Some(("README.md", fenced(""))),
            "(line 1)",
        ),
        (
            "an attribute",
            format!("#[doc = concat!(\"``\", \"`\\n{escaped}\\n``\", \"`\")]\npub fn from() {{}}\n"),
            None,
            "from",
        ),
        ("a block", format!("/**\nText.\n\n~~~\n{code}\n~~~\n*/\npub fn from() {{}}\n"), None, "from"),
        ("tildes", format!("/// ~~~\n/// {code}\n/// ~~~\npub fn from() {{}}\n"), None, "from"),
        ("an indent", format!("/** Text.\n\n     {code}\n*/\npub fn from() {{}}\n"), None, "from"),
        (
            "a macro",
            format!(
                "macro_rules! made {{ ($($name:ident)*) => {{ $(\n{}pub fn $name() {{}}\n)* }} }}\nmade!(from);\n",
                fenced("///")
            ),
            None,
            "from",
        ),
    ];
    let mut fixture = library("2024", "", &[""]);
    for (place, text, file, name) in places {
        fixture = fixture.rewrite("src/lib.rs", |_| text);
        if let Some((path, text)) = file {
            fixture = fixture.file(path, &text);
        }
        let (run, report) = tested(&fixture, &[]);
        assert_eq!(run.status, 77, "{place}: {}", run.stderr);
        let verdicts = verdicts(&report);
        assert_eq!(verdicts.len(), 1, "{place}: {verdicts:?}");
        assert!(verdicts[0].0.contains(name) && verdicts[0].1 == "violated", "{place}: {verdicts:?}");
    }
}

#[test]
fn several_examples_of_one_line_are_several() {
    let text = "macro_rules! made { ($($name:ident $code:literal)*) => { $(\n#[doc = concat!(\"```\\n\", $code, \"\\n```\")]\n\
        pub fn $name() {}\n)* } }\n\
        made!(fine \"\" fails \"panic!();\" reads \"let _ = std::fs::read(\\\"/etc/passwd\\\");\");\n";
    let (run, report) =
        tested(&library("2024", "", &[""]).rewrite("src/lib.rs", |_| text.to_owned()), &["--doc"]);
    run.expect(77);
    let verdicts: Vec<_> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
    // Sorted by name: which of two that failed is which, nobody says.
    let mut sorted = verdicts.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["failed", "passed", "violated"], "{report:#}");
    assert_eq!(verdicts[1], "passed", "{report:#}");
}

#[test]
fn a_flood_of_accesses_is_a_violation_all_the_same() {
    let flood =
        "\nfor i in 0..20_000 { let _ = std::fs::read(format!(\"/etc/{i}{}\", \"long\".repeat(50))); }";
    let (run, report) = tested(&library("2024", "", &[flood, ""]), &["--doc"]);
    run.expect(77);
    let verdicts: Vec<_> = verdicts(&report).iter().map(|(_, verdict)| *verdict).collect();
    assert_eq!(verdicts, ["violated", "passed"]);
}

#[test]
fn what_was_heard_before_an_interrupt_is_reported() {
    let grants = "\n[package.metadata.sandbox.test.fs]\nwrite = [\"mark.txt\"]\n";
    let stays = format!("{READS_SECRET}\nstd::fs::write(\"mark.txt\", \"\").unwrap();\nloop {{}}");
    let fixture = library("2024", grants, &[&stays]);
    let mut command = fixture.command(["test", "--doc", "--report", "r.json"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("the binary");
    let begun = std::time::Instant::now();
    while !fixture.path("mark.txt").exists() {
        assert!(begun.elapsed() < crate::common::PATIENCE, "the example never ran");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(crate::common::wait(&mut child, crate::common::PATIENCE), Some(130));
    let report: Value = serde_json::from_str(&fixture.read("r.json").expect("a report")).expect("JSON");
    assert_eq!(verdicts(&report), [("src/lib.rs - example_0 (line 1)", "violated")], "{report:#}");
    assert_eq!(report["counts"]["violations"], 1);
}

#[test]
fn a_build_that_fails_leaves_the_verdict_on_everything_else() {
    let unit = "#[test]\nfn reads() { let _ = std::fs::read(\"/etc/passwd\"); }\n";
    for (bad, status) in [(true, 77), (false, 101)] {
        let fixture = library("2024", "", &[READS]).rewrite("src/lib.rs", |text| {
            let unit = if bad { unit } else { "#[test]\nfn fine() {}\n" };
            format!("#[cfg(doctest)]\ncompile_error!(\"on purpose\");\n{text}{unit}")
        });
        let (run, report) = fixture.run_with_report("test", &["--junit", "j.xml"], &[]);
        let run = run.expect(status);
        assert!(run.stderr.contains("the doc tests of tests-doc cannot be listed"), "{}", run.stderr);
        assert!(run.stderr.contains("on purpose"), "{}", run.stderr);
        assert_eq!(run.stderr.contains("error[fs-read]"), bad, "{}", run.stderr);
        assert_eq!(report["targets"].as_array().expect("targets").len(), 2, "{report:#}");
        assert_eq!(report["exit_status"], status);
        assert_eq!(verdicts(&report), [("all", "not-run")]);
        assert!(fixture.read("j.xml").expect("JUnit").contains("they could not be built"));
    }
}

#[test]
fn another_package_of_the_same_name_is_another_one() {
    let unit = "#[test]\nfn reads() { let _ = std::fs::read(\"/etc/passwd\"); }\n";
    let fixture = library(
        "2024",
        "\n[dependencies]\nother = { package = \"tests-doc\", path = \"other\" }\n",
        &[READS_SECRET],
    )
    .rewrite("src/lib.rs", |text| text + unit)
    .rewrite("Cargo.toml", |text| text.replace("[workspace]", "[workspace]\nexclude = [\"other\"]"))
    .file("other/Cargo.toml", "[package]\nname = \"tests-doc\"\nversion = \"0.2.0\"\nedition = \"2024\"\n")
    .file("other/src/lib.rs", "/// ```\n/// panic!();\n/// ```\npub fn other() {}\n")
    .file("src/main.rs", "fn main() {}\n");
    for flags in [&[][..], &["-p", "tests-doc"], &["-p", "tests-doc@0.1.1"], &["--workspace"]] {
        let (run, report) = tested(&fixture, flags);
        run.expect(77);
        assert_eq!(verdicts(&report).len(), 1, "{flags:?}: {report:#}");
        assert_eq!(report["counts"]["violated"], 2, "{flags:?}: {report:#}");
    }
    for flags in [&[][..], &["-p", "tests-doc"]] {
        let mut args = vec!["run"];
        args.extend(flags);
        run(fixture.command(args)).expect(0);
    }
}

/// A procedural macro whose tests and examples would read, write and start things if they ran.
fn procedural_macro(fixture: Fixture) -> Fixture {
    let reaches = "std::fs::write(\"../escaped.txt\", std::fs::read(\"/etc/passwd\").unwrap()).unwrap();";
    let code = format!(
        "//! ```\n//! {reaches}\n//! std::process::Command::new(\"true\").status().unwrap();\n//! ```\n\n\
         /// ```\n/// {reaches}\n/// ```\n#[proc_macro]\n\
         pub fn nothing(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    Default::default()\n}}\n\n\
         #[test]\nfn fails() {{\n    {reaches}\n    panic!();\n}}\n"
    );
    fixture
        .manifest(|text| text + "\n[lib]\nproc-macro = true\n")
        .rewrite("src/lib.rs", |_| code)
        .file("tests/guest.rs", "#[test]\nfn works() { tests_doc::nothing!(); }\n")
}

#[test]
fn nothing_native_is_run_and_nothing_of_it_vanishes() {
    for edition in EDITIONS {
        let fixture = procedural_macro(library(edition, "", &[]));
        let flags = ["--junit", "j.xml", "--sarif", "s.sarif", "--message-format", "json"];
        let (run, report) = fixture.run_with_report("test", &flags, &[]);
        let run = run.expect(0);
        assert!(!fixture.path("../escaped.txt").exists(), "{edition}");
        assert!(run.stderr.contains("1 test passed · 3 not run"), "{}", run.stderr);
        assert!(run.stderr.contains("NOT RUN"), "{}", run.stderr);
        assert_eq!((&report["counts"]["not_run"], &report["counts"]["passed"]), (&3.into(), &1.into()));
        let unit =
            report["targets"].as_array().expect("targets").iter().find(|target| target["kind"] == "lib");
        let unit = &unit.unwrap_or_else(|| panic!("{report:#}"))["tests"][0];
        assert_eq!(unit["verdict"], "not-run");
        assert!(unit["reason"].as_str().expect("a reason").contains("native program"), "{unit:#}");
        let names = verdicts(&report);
        assert_eq!(
            names,
            [("src/lib.rs - (line 1)", "not-run"), ("src/lib.rs - nothing (line 6)", "not-run")]
        );
        assert_eq!(fixture.read("j.xml").expect("JUnit").matches("<skipped").count(), 3);
        assert!(
            fixture
                .read("s.sarif")
                .expect("SARIF")
                .contains("2 tests not run: examples of a procedural macro")
        );
        let finished = run.stdout.lines().filter(|line| line.contains("sandbox-test-finished"));
        assert_eq!(finished.filter(|line| line.contains("\"not-run\"")).count(), 3, "{}", run.stdout);

        let (run, _) = fixture.run_with_report("test", &["--doc"], &[]);
        run.expect(0);
        let (run, _) = fixture.run_with_report("test", &["--lib", "--quiet"], &[]);
        assert!(run.expect(0).stderr.contains("1 not run"), "even where little is said");
        let listed = crate::common::run(fixture.command(["test", "--", "--list"])).expect(0);
        assert!(listed.stderr.contains("tests of tests-doc are not listed"), "{}", listed.stderr);
        let (run, _) = fixture.run_with_report("test", &["--partition", "count:2/2"], &[]);
        assert!(!run.expect(0).stderr.contains("not run"), "they are the first shard's");
        assert!(!fixture.path("../escaped.txt").exists(), "{edition}");
    }
}

#[test]
fn what_was_not_run_is_denied_where_that_is_asked_for() {
    let fixture = procedural_macro(library("2024", "", &[]));
    let (denied, report) = fixture.run_with_report("test", &["--not-run", "deny", "--junit", "j.xml"], &[]);
    let denied = denied.expect(101);
    assert_eq!((&report["verdict"], &report["exit_status"]), (&"failed".into(), &101.into()));
    assert!(denied.stderr.contains("tests that were not run are denied"), "{}", denied.stderr);
    assert!(
        denied.stderr.contains("Failed 1 test passed · 3 not run · exit status 101"),
        "{}",
        denied.stderr
    );
    assert!(fixture.read("j.xml").expect("JUnit").contains("<failure"));
    // What is worse comes first.
    let violated = "#[test]\nfn reads() { let _ = std::fs::read(\"/etc/passwd\"); }\n";
    let mixed = procedural_macro(library("2024", "", &[])).rewrite("tests/guest.rs", |_| violated.to_owned());
    mixed.run_with_report("test", &["--not-run", "deny"], &[]).0.expect(77);
    tested(&library("2024", "", &["", "no_run\nloop {}"]), &["--not-run", "deny"]).0.expect(0);
    // Annotations and merged reports.
    let mut github = fixture.command(["test", "--message-format", "github", "--report", "1.json"]);
    github.env("GITHUB_ACTIONS", "true");
    let text = run_of(github, 0);
    assert!(
        text.contains("::notice title=not run::2 tests not run: examples of a procedural macro"),
        "{text}"
    );
    run(fixture.command(["report", "merge", "1.json"])).expect(0);
    let merged = run(fixture.command(["report", "merge", "1.json", "--not-run", "deny"])).expect(101);
    assert!(merged.stderr.contains("tests that were not run are denied"), "{}", merged.stderr);
}

fn run_of(command: std::process::Command, status: i32) -> String {
    run(command).expect(status).stderr
}

#[test]
fn an_audit_reports_what_examples_do_and_lets_it() {
    for edition in EDITIONS {
        let (run, report) = tested(&library(edition, "", &[READS]), &["--doc", "--audit"]);
        run.expect(0);
        assert_eq!(verdicts(&report), [("src/lib.rs - example_0 (line 1)", "passed")]);
        assert_eq!(doc(&report)["tests"][0]["violations"][0]["allowed"], true, "{report:#}");
    }
}

#[test]
fn an_example_does_not_know_where_its_report_goes() {
    let looks = "\nlet args: Vec<String> = std::env::args().collect();\n\
        let vars: Vec<String> = std::env::vars().map(|(name, value)| name + &value).collect();\n\
        assert!(!vars.is_empty());\n\
        for text in args.iter().chain(&vars) { assert!(!text.contains(\"/proc/\") && !text.contains(\"doc-tests\"), \"{text}\"); }";
    let grants = "\n[package.metadata.sandbox.test.env]\nread = [\"CARGO*\", \"RUST*\", \"*DOC*\"]\n";
    for edition in EDITIONS {
        tested(&library(edition, grants, &[looks]), &["--doc"]).0.expect(0);
    }
}

#[test]
fn where_examples_cannot_run_no_grant_is_denied_or_removed_for_them() {
    let fixture = library("2021", GRANT, &[READS]);
    let rustdoc = fixture.path("rustdoc");
    let script = "#!/bin/sh\necho \"error: Option 'sysroot' given more than once\" >&2\nexit 1\n";
    fs::write(&rustdoc, script).expect("ours");
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).expect("ours");
    let broken = |args: &[&str]| {
        let mut command = fixture.command(["test"]);
        command.args(args).env("RUSTDOC", &rustdoc);
        run(command)
    };
    let denied = broken(&["--unused", "deny", "--report", "1.json", "--junit", "1.xml"]).expect(0);
    for said in [
        "the doc tests of tests-doc were not run: ",
        "not denied, as tests that were not run may",
        "`input.txt`",
    ] {
        assert!(denied.stderr.contains(said), "`{said}`: {}", denied.stderr);
    }
    let report: Value = serde_json::from_str(&fixture.read("1.json").expect("a report")).expect("JSON");
    assert_eq!(
        (&report["counts"]["not_run"], &doc(&report)["tests"][0]["verdict"]),
        (&1.into(), &"not-run".into())
    );
    assert!(fixture.read("1.xml").expect("JUnit").contains("<skipped"));
    let merged = run(fixture.command(["report", "merge", "1.json", "--unused", "deny"])).expect(0);
    assert!(merged.stderr.contains("not denied"), "{}", merged.stderr);
    broken(&["--fix=prune", "--allow-dirty"]).expect(0);
    assert!(fixture.read("Cargo.toml").expect("a manifest").contains("input.txt"));
    broken(&["--not-run", "deny"]).expect(101);
    // With a rustdoc that works, it is as it was.
    run(fixture.command(["test", "--unused", "deny"])).expect(0);
}

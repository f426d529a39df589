//! What test binaries answer when they are asked for their tests: libtest, and harnesses of other
//! makes.

use crate::libtest_support::{Guest, toolchain};
use cargo_sandbox::event::TestVerdict;
use cargo_sandbox::runner::suite::libtest::Listing;
use cargo_sandbox::runner::suite::outcome::{Ended, judge, judge_whole};
use cargo_sandbox::should_panic::{Image, ShouldPanic, Stack, find, layout};
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libtest-listing");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Compiles one source file for wasip1 or wasip2.
fn compile_for(target: &str, name: &str, source: &str, args: &[&str]) -> Vec<u8> {
    let input = folder().join(format!("{name}.rs"));
    let output = folder().join(format!("{name}-{target}.wasm"));
    std::fs::write(&input, source).expect("a source file");
    let mut command = toolchain("rustc");
    command.args(["--edition=2024", "--cap-lints=allow", "--target", target]).args(args);
    let status = command.arg("-o").arg(&output).arg(&input).status().expect("rustc starts");
    assert!(status.success());
    std::fs::read(output).expect("the artifact")
}

/// The same for wasip1, ready to run.
fn compile(name: &str, source: &str, args: &[&str]) -> Guest {
    Guest::new(compile_for("wasm32-wasip1", name, source, args))
}

#[test]
fn libtest_says_where_its_tests_are_written() {
    let source = "#[test]\nfn one() {}\nmod inner {\n    #[test]\n    #[ignore = \"a \\\"reason\\\"\"]\n    fn two() {}\n}\n";
    let guest = compile("two_tests", source, &["--test"]);
    let Listing::Tests(tests) = guest.list() else { panic!("no listing") };
    let names: Vec<_> = tests.iter().map(|test| (test.name.as_str(), test.ignored)).collect();
    assert_eq!(names, [("inner::two", true), ("one", false)]);
    assert_eq!(tests[0].ignore_message, "a \"reason\"");
    let places: Vec<_> = tests.iter().map(|test| test.place.as_ref().expect("a place")).collect();
    assert_eq!(places.iter().map(|place| place.line).collect::<Vec<_>>(), [6, 2]);
    assert!(places.iter().all(|place| place.path.ends_with("two_tests.rs")));
}

#[test]
fn a_listing_that_breaks_libtests_json_falls_back_to_names() {
    // libtest does not escape this message.
    let source = "#[test]\n#[ignore = \"\\n{ \\\"type\\\": \\\"\"]\nfn quiet() {}\n#[test]\n#[should_panic]\nfn loud() { panic!() }\n";
    let guest = compile("line_end", source, &["--test"]);
    let Listing::Tests(tests) = guest.list() else { panic!("no listing") };
    let names: Vec<_> = tests.iter().map(|test| (test.name.as_str(), test.ignored)).collect();
    assert_eq!(names, [("loud", false), ("quiet", true)]);
    assert!(tests.iter().all(|test| test.place.is_none()));

    // Without places no descriptor is sure, and what must panic is not run.
    let layout = layout(|| toolchain("rustc"), "wasm32-wasip1", &folder()).expect("a layout");
    let image = Image::parse(&guest.wasm).expect("an image");
    let error = find(&image, &layout, &[tests[0].wanted()])[0].clone().expect_err("no place").to_string();
    let run = guest.test("loud", false, None);
    let ended = Ended {
        outcome: &run.outcome,
        stdout: &run.stdout,
        stderr: &run.stderr,
        stack: &Stack::UNWOUND,
        listed: Some(tests.len()),
    };
    assert_eq!(judge(&tests[0], Err(&error), &ended).verdict, TestVerdict::NotRun);
}

/// docs/should-panic.md says of these that no artifact can tell them apart: natively the first of each
/// pair passes, and the second aborts.
#[test]
fn what_only_unwinding_would_show_is_in_no_artifact() {
    let drop = |body: &str| {
        format!(
            "struct Guard;\nimpl Drop for Guard {{ fn drop(&mut self) {{ {body} }} }}\n\
             #[test]\n#[should_panic]\nfn test() {{ let _guard = Guard; panic!(\"boom\") }}\n"
        )
    };
    let leave = |abi: &str| {
        format!(
            "#[inline(never)]\n{abi}\nfn boom(wrong: bool) {{ if wrong {{ panic!(\"boom\") }} }}\n\
             #[test]\n#[should_panic]\nfn test() {{ boom(std::hint::black_box(true)) }}\n"
        )
    };
    let pairs = [
        [drop("std::hint::black_box(0);"), drop("panic!(\"dropped\")")],
        [leave("extern \"Rust\""), leave("extern \"C\"")],
    ];
    for (pair, level) in pairs.iter().zip(["0", "3"]).chain(pairs.iter().zip(["3", "0"])) {
        let level = format!("opt-level={level}");
        // The older mangling ends a name in a hash of the function's type. It differs, and cannot be read back.
        let names = "-Csymbol-mangling-version=v0";
        let args = ["--test", "--crate-name=same", "-Cstrip=debuginfo", names, "-C", &level];
        let [passes, aborts] =
            pair.each_ref().map(|source| compile_for("wasm32-wasip1", "same", source, &args));
        assert!(passes == aborts, "an artifact tells more than the document says");
    }
}

#[test]
fn a_binary_without_a_harness_is_one_test() {
    for (name, source, verdict) in [
        ("prints", "fn main() { println!(\"hello: test of mine\") }", TestVerdict::Passed),
        ("is_silent", "fn main() {}", TestVerdict::Passed),
        ("fails", "fn main() { std::process::exit(3) }", TestVerdict::Failed),
        ("panics", "fn main() { panic!() }", TestVerdict::Failed),
    ] {
        let guest = compile(name, source, &[]);
        assert!(matches!(guest.list(), Listing::Whole(_)), "{name}");
        assert_eq!(judge_whole(&guest.run(&[], &[], None).outcome).verdict, verdict, "{name}");
    }
}

#[test]
fn a_rustc_that_cannot_measure_says_why() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libtest-no-layout");
    let error = layout(|| Command::new("/does/not/exist"), "wasm32-wasip1", &folder).expect_err("no rustc");
    assert!(error.0.contains("rustc"), "{error}");
    let error = layout(|| toolchain("rustc"), "wasm32-none-such", &folder).expect_err("no target");
    assert!(error.0.contains("wasm32-none-such"), "{error}");
}

#[test]
fn a_layout_is_measured_once_and_again_if_the_note_of_it_is_damaged() {
    let folder = tempfile::tempdir_in(folder()).expect("a folder");
    let rustc_calls = std::cell::Cell::new(0);
    let measure = || {
        let rustc = || {
            rustc_calls.set(rustc_calls.get() + 1);
            toolchain("rustc")
        };
        let layout = layout(rustc, "wasm32-wasip1", folder.path()).expect("a layout");
        (layout, rustc_calls.take())
    };
    let (first, calls) = measure();
    assert_eq!(calls, 2, "the version and the probe");
    assert_eq!(measure(), (first.clone(), 1));
    let note =
        std::fs::read_dir(folder.path()).expect("a folder").next().expect("one file").expect("a file").path();
    let text = std::fs::read_to_string(&note).expect("text");
    for damage in
        [String::new(), text.replace("\"size\":76", "\"size\":8"), text.replace("\"no\":[0]", "\"no\":[1]")]
    {
        assert_ne!(damage, text);
        std::fs::write(&note, damage).expect("written");
        assert_eq!(measure(), (first.clone(), 2));
    }
}

#[test]
fn the_descriptor_in_a_component_is_that_of_the_module_inside() {
    let source = "#[test]\n#[should_panic(expected = \"x\")]\nfn loud() { panic!(\"x\") }\n";
    let Listing::Tests(tests) = compile("component", source, &["--test"]).list() else {
        panic!("no listing")
    };
    let layout = layout(|| toolchain("rustc"), "wasm32-wasip2", &folder()).expect("a layout");
    let wasm = compile_for("wasm32-wasip2", "component", source, &["--test"]);
    let image = Image::parse(&wasm).expect("an image");
    let descriptor = find(&image, &layout, &[tests[0].wanted()])[0].clone().expect("a descriptor");
    assert_eq!(descriptor.should_panic, ShouldPanic::YesWithMessage("x".to_owned()));
    let mut changed = wasm.clone();
    assert!(descriptor.patch.expect("a patch").apply_to_file(&image, &mut changed));
    let image = Image::parse(&changed).expect("an image");
    assert_eq!(
        find(&image, &layout, &[tests[0].wanted()])[0].clone().expect("a descriptor").should_panic,
        ShouldPanic::No
    );
}

//! The object that is linked into guests: current directory, environment names, marker.

use crate::build_support::{Project, Seen, flags, run};
use crate::toolchain::{rustup_toolchain, tool};
use cargo_sandbox::cargo::command::{Goal, TargetFlags};
use cargo_sandbox::cargo::object;
use std::fs;

const MANIFEST: &str = r#"
[package]
name = "guest"
version = "0.1.0"
edition = "2021"
[workspace]
[profile.fat]
inherits = "release"
lto = "fat"
strip = true
codegen-units = 1
panic = "abort"
"#;

const MAIN: &str = r#"
fn say() {
    println!("at {}", std::env::current_dir().unwrap().display());
    println!("relative {:?}", std::fs::read_to_string("data/x"));
    std::env::set_current_dir("data").unwrap();
    println!("moved {:?}", std::fs::read_to_string("x"));
    println!("up {:?}", std::fs::read_to_string("../data/x"));
    let error = std::fs::metadata("absent").unwrap_err();
    let name = std::env::var("GIVEN");
    println!("errno {} {:?}", error.kind() == std::io::ErrorKind::NotFound, name);
    println!("odd {:?}", std::env::var_os("a/../../etc/passwd"));
    println!("long {:?}", std::env::var_os("n".repeat(5000)));
    println!("longest {:?}", std::env::var_os("m".repeat(1000)));
}
fn main() { say() }
#[test]
fn works() { say() }
"#;

fn project() -> Project {
    Project::new(&[("Cargo.toml", MANIFEST), ("src/main.rs", MAIN), ("data/x", "content")])
}

fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn check(project: &Project, seen: &Seen) {
    let here = project.path();
    let out = &seen.stdout;
    assert!(!seen.trapped, "{out}");
    for line in [
        &format!("at {}\n", here.display()),
        "relative Ok(\"content\")\n",
        "moved Ok(\"content\")\n",
        "up Ok(\"content\")\n",
        "errno true Ok(\"value\")\n",
        "odd None\n",
        "long None\n",
    ] {
        assert!(out.contains(line), "`{line}` is not in:\n{out}");
    }
    let asked: Vec<&str> =
        seen.stats.iter().filter_map(|path| path.strip_prefix("/.cargo-sandbox/getenv/")).collect();
    for name in ["GIVEN", "a/../../etc/passwd", &"m".repeat(1000)] {
        assert_eq!(asked.iter().filter(|asked| **asked == hex(name)).count(), 1, "{name}: {asked:?}");
    }
    assert!(asked.contains(&format!("{}~", hex(&"n".repeat(1000))).as_str()));
    // The constructor's own question is not the guest's.
    assert!(!asked.contains(&hex("PWD").as_str()), "{asked:?}");
}

#[test]
fn programs_and_tests_know_where_they_are_and_tell_what_they_ask_for() {
    let project = project();
    let here = project.path();
    let env = [("PWD", here.to_str().unwrap()), ("GIVEN", "value")];
    for profile in ["dev", "release", "fat"] {
        let program = project.program(&flags(profile));
        assert!(!program.test);
        let wasm = fs::read(&program.file).unwrap();
        assert_eq!(cargo_sandbox::symbols::marker(&wasm).as_deref(), Some(object::MARKER), "{profile}");
        check(&project, &run(&program.file, &[], &env));

        let tests = project.build(Goal::Tests, &flags(profile), &TargetFlags::default()).unwrap();
        let [test] = &tests[..] else { panic!("{tests:?}") };
        assert!(test.test);
        let wasm = fs::read(&test.file).unwrap();
        assert_eq!(cargo_sandbox::symbols::marker(&wasm).as_deref(), Some(object::MARKER), "{profile}");
        let seen = run(&test.file, &["--exact", "works", "--nocapture"], &env);
        check(&project, &seen);
        assert!(seen.stdout.contains("1 passed"), "{}", seen.stdout);
    }
}

#[test]
fn without_the_object_there_is_no_marker_and_no_current_directory() {
    let project = project();
    let here = project.path();
    let built = std::process::Command::new("cargo")
        .args(["build", "-q", "--offline", "--target", "wasm32-wasip1"])
        .current_dir(&here)
        .env("RUSTUP_TOOLCHAIN", rustup_toolchain())
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .unwrap();
    assert!(built.success());
    let wasm = here.join("target/wasm32-wasip1/debug/guest.wasm");
    assert_eq!(cargo_sandbox::symbols::marker(&fs::read(&wasm).unwrap()), None);
    let seen = run(&wasm, &[], &[("PWD", here.to_str().unwrap())]);
    assert!(seen.stdout.starts_with("at /\nrelative Err"), "{}", seen.stdout);
}

#[test]
fn many_at_once_make_one_whole_object() {
    let folder = tempfile::tempdir().unwrap();
    // Its own path: threads of one process cannot have toolchains of their own in the environment.
    let found = tool("rustc").args(["--print", "sysroot"]).output().expect("rustc");
    let rustc = std::path::Path::new(String::from_utf8(found.stdout).unwrap().trim()).join("bin/rustc");
    let rustc = rustc.as_os_str();
    let objects: Vec<_> = std::thread::scope(|scope| {
        let make = || object::ensure(rustc, "wasm32-wasip1", folder.path()).unwrap();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for object in &objects {
        assert_eq!(object, &objects[0]);
    }
    assert!(std::fs::read(&objects[0]).unwrap().starts_with(b"\0asm"));
    // Nothing else is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

//! Frames of real guests: crates two levels down, with and without debug information.

use crate::build_support::{Project, flags, run};
use cargo_sandbox::cargo::command::{Goal, TargetFlags};
use cargo_sandbox::cargo::owner::Packages;
use cargo_sandbox::symbols::{self, UnsupportedKind};
use std::fs;

fn project() -> Project {
    let manifest = |name: &str, version: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n{rest}")
    };
    let top = "[workspace]\n[dependencies]\nmid-crate = { path = \"mid\" }\n\
               [profile.lines]\ninherits = \"release\"\ndebug = 1\n\
               [profile.tables]\ninherits = \"release\"\ndebug = \"line-tables-only\"\n\
               [profile.stripped]\ninherits = \"release\"\nstrip = true\n";
    Project::new(&[
        ("Cargo.toml", &manifest("top", "0.1.0", top)),
        (
            "mid/Cargo.toml",
            &manifest("mid-crate", "0.2.0", "[dependencies]\nleaf = { path = \"../leaf\" }\n"),
        ),
        ("leaf/Cargo.toml", &manifest("leaf", "0.3.1", "")),
        (
            "src/main.rs",
            "fn main() {\n    mid_crate::go();\n    let _ = std::net::TcpStream::connect(\"127.0.0.1:1\");\n    \
             start();\n}\n#[inline(never)]\nfn start() {\n    let _ = std::process::Command::new(\"x\").spawn();\n}\n",
        ),
        (
            "mid/src/lib.rs",
            "pub struct M;\nimpl leaf::Go for M {\n    fn name(&self) -> String {\n        \"/etc/hostname\".into()\n    }\n}\n\
             pub fn go() {\n    use leaf::Go;\n    [1].iter().for_each(|_| M.run());\n}\n",
        ),
        (
            "leaf/src/lib.rs",
            "pub trait Go {\n    fn name(&self) -> String;\n    fn run(&self) {\n        \
             let found = std::fs::read_to_string(self.name());\n        println!(\"{}\", found.is_ok());\n    }\n}\n",
        ),
    ])
}

#[test]
fn the_origin_is_the_dependency_two_levels_down() {
    let project = project();
    let packages = {
        let _ = project.program(&flags("dev"));
        Packages::load(&flags("dev"), &project.path()).unwrap()
    };
    for (profile, lines) in [("dev", true), ("lines", true), ("tables", true), ("release", false)] {
        let program = project.program(&flags(profile));
        let wasm = fs::read(&program.file).unwrap();
        let seen = run(&program.file, &[], &[]);
        let (path, raw) = &seen.opens[0];
        assert_eq!(path, "/etc/hostname");
        let frames: Vec<_> = symbols::symbolise(&wasm, raw).unwrap().into_iter().flatten().collect();
        let origin = &frames[symbols::origin(&frames).unwrap()];
        if lines {
            assert!(origin.file.ends_with("leaf/src/lib.rs"), "{profile}: {frames:#?}");
            assert_eq!(origin.line, 4, "{profile}: {origin:?}");
            let owner = packages.owner_of(&origin.file, &origin.krate).unwrap();
            assert_eq!((owner.name.as_str(), owner.version.as_str()), ("leaf", "0.3.1"), "{profile}");
            let owners: Vec<&str> = frames
                .iter()
                .filter(|frame| !symbols::is_internal(frame))
                .filter_map(|frame| Some(packages.owner_of(&frame.file, &frame.krate)?.name.as_str()))
                .collect();
            assert!(owners.contains(&"mid-crate") && owners.contains(&"top"), "{profile}: {owners:?}");
        } else {
            // Without debug information only functions that were not inlined have a name.
            assert!(["leaf", "mid_crate", "top"].contains(&origin.krate.as_str()), "{profile}: {frames:#?}");
            assert_eq!(origin.line, 0);
        }
    }
}

#[test]
fn a_stripped_program_has_frames_without_an_origin() {
    let project = project();
    let program = project.program(&flags("stripped"));
    let wasm = fs::read(&program.file).unwrap();
    let seen = run(&program.file, &[], &[]);
    let frames = symbols::symbolise(&wasm, &seen.opens[0].1).unwrap();
    assert_eq!(frames.len(), seen.opens[0].1.len());
    let frames: Vec<_> = frames.into_iter().flatten().collect();
    assert_eq!(symbols::origin(&frames), None);
    assert_eq!(symbols::unsupported_calls(&wasm).unwrap(), []);
    assert_eq!(symbols::functions(&wasm).unwrap(), []);
}

#[test]
fn calls_that_never_reach_the_host_are_found_with_their_callers() {
    let project = project();
    let program = project.program(&flags("dev"));
    let wasm = fs::read(&program.file).unwrap();
    let calls = symbols::unsupported_calls(&wasm).unwrap();
    let all: Vec<(UnsupportedKind, &str, &str)> = calls
        .iter()
        .flat_map(|call| {
            call.callers.iter().map(|c| (call.kind, call.function.as_str(), c.function.as_str()))
        })
        .collect();
    assert_eq!(
        all,
        [
            (UnsupportedKind::Process, "std::process::Command::spawn", "top::start"),
            (UnsupportedKind::Tcp, "std::net::TcpStream::connect", "top::main"),
        ]
    );
    let lines: Vec<u32> = calls
        .iter()
        .map(|call| symbols::symbolise(&wasm, &[call.callers[0].site]).unwrap()[0].last().unwrap().line)
        .collect();
    assert_eq!(lines, [8, 3]);
    let crates: std::collections::BTreeSet<String> =
        symbols::functions(&wasm).unwrap().into_iter().map(|(_, frame)| frame.krate).collect();
    for krate in ["top", "mid_crate", "leaf", "std", "core"] {
        assert!(crates.contains(krate), "{krate} is not in {crates:?}");
    }
    let release = project.program(&flags("release"));
    let calls = symbols::unsupported_calls(&fs::read(&release.file).unwrap()).unwrap();
    assert!(calls.iter().any(|call| call.kind == UnsupportedKind::Process), "{calls:?}");
}

#[test]
fn what_the_test_harness_calls_is_not_the_programs_call() {
    let project = project();
    project.write("src/main.rs", "fn main() {}\n#[test]\nfn works() {\n    mid_crate::go();\n}\n");
    let tests = project.build(Goal::Tests, &flags("dev"), &TargetFlags::default()).unwrap();
    let wasm = fs::read(&tests[0].file).unwrap();
    assert_eq!(symbols::unsupported_calls(&wasm).unwrap(), []);
    let seen = run(&tests[0].file, &["works", "--nocapture"], &[]);
    let raw = &seen.opens.iter().find(|(path, _)| path == "/etc/hostname").unwrap().1;
    let frames: Vec<_> = symbols::symbolise(&wasm, raw).unwrap().into_iter().flatten().collect();
    assert_eq!(frames[symbols::origin(&frames).unwrap()].krate, "leaf");
    // Up to the test itself: the harness' frames lie further out.
    assert!(frames.iter().any(|frame| frame.function == "top::works"), "{frames:#?}");
}

#[test]
fn damaged_modules_are_errors_or_empty_answers() {
    let project = project();
    let program = project.program(&flags("lines"));
    let wasm = fs::read(&program.file).unwrap();
    let raw = run(&program.file, &[], &[]).opens[0].1.clone();
    assert!(symbols::symbolise(b"no module", &raw).is_err());
    let mut state = 1_u64;
    for _ in 0..40 {
        let mut damaged = wasm.clone();
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % damaged.len();
            damaged[at] = (state >> 24) as u8;
        }
        // Whatever comes out, it ends, and is bounded.
        if let Ok(frames) = symbols::symbolise(&damaged, &raw) {
            assert!(frames.iter().all(|frames| (1..=symbols::MOST_INLINED).contains(&frames.len())));
            let longest =
                frames.iter().flatten().map(|frame| frame.function.len().max(frame.file.len())).max();
            assert!(longest <= Some(symbols::LONGEST_NAME));
        }
        let _ = symbols::unsupported_calls(&damaged).map(|calls| assert!(calls.len() < 20));
    }
}

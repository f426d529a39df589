//! What a person gets wrong, and what a machine lacks: each is a clear message and the right status, never a panic
//! or a backtrace, and nothing has run.

use crate::common::fixtures::Edit::{self, Append, Replace};
use crate::common::{Fixture, Run, cargo_sandbox, command, run, toolchain};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Asserts the status, all the texts, and that nobody sees our insides.
#[track_caller]
fn said(run: Run, status: i32, texts: &[&str]) -> Run {
    let run = run.expect(status);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    for inside in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "src/"] {
        assert!(!run.stderr.contains(inside), "`{inside}` is in:\n{}", run.stderr);
    }
    run
}

/// `cargo-sandbox run` on copy-file, with backtraces asked for.
fn copy_file(edits: &[Edit], flags: &[&str]) -> (Fixture, Run) {
    let fixture = edits
        .iter()
        .fold(Fixture::copy("copy-file"), |fixture, edit| fixture.manifest(|text| edit.apply(&text)));
    let mut command = fixture.command([&["run"], flags].concat());
    command.env("RUST_BACKTRACE", "1");
    let run = run(command);
    assert_eq!(fixture.read("output.txt"), None, "nothing was run");
    assert_eq!(run.stdout, "");
    (fixture, run)
}

#[test]
fn every_mistake_of_a_manifest_is_said_with_its_place_before_anything_is_built() {
    let cases: &[(&[Edit], &[&str])] = &[
        (&[Append("[[[")], &["not valid TOML", "Cargo.toml:14:"]),
        (&[Replace("read =", "raed =")], &["unknown key `raed`", "Cargo.toml:11:1", "did you mean `read`?"]),
        (&[Replace("sandbox.fs", "sandbox.sf")], &["unknown key `sf`", "did you mean `fs`?"]),
        (&[Replace("[\"input.txt\"]", "7")], &["`read` must be an array of strings", "Cargo.toml:11:8"]),
        (&[Replace("[\"input.txt", "[\"[input.txt")], &["[input.txt", "Cargo.toml:11:"]),
        (&[Replace("[\"input.txt", "[\"{hoem}/x")], &["hoem", "did you mean `{home}`?", "Cargo.toml:11:"]),
        (&[Replace("[\"input.txt", "[\"{home")], &["{home", "Cargo.toml:11:"]),
        (&[Append("[package.metadata.sandbox.limits]\ntime = \"soon\"")], &["soon", "Cargo.toml:15:8"]),
        (&[Append("[package.metadata.sandbox]\nwasi = \"p2\"")], &["`wasi = \"p2\"` is not supported yet"]),
        (&[Append("[package.metadata.sandbox]\nwasi = \"p3\"")], &["p3", "Cargo.toml:15:8"]),
        (
            &[Append("[package.metadata.sandbox.net]\nconnect = [\"127.0.0.1:80\"]")],
            &["`net` is not supported yet", "Cargo.toml:14"],
        ),
        (&[Replace("\"output.txt", "\"/etc")], &["/etc", "Cargo.toml:12:"]),
        (&[Replace("\"output.txt", "\"Cargo.toml")], &["Cargo.toml:12:", "protected"]),
    ];
    for (edits, texts) in cases {
        let (fixture, run) = copy_file(edits, &[]);
        said(run, 78, texts);
        assert!(!fixture.path("target").exists(), "{edits:?}: nothing was built");
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let edits = [
        Replace("read =", "raed ="),
        Replace("[\"output.txt\"]", "3"),
        Append("[package.metadata.sandbox.evn]"),
    ];
    said(copy_file(&edits, &[]).1, 78, &["`raed`", "`write` must be", "`evn`", "did you mean `env`?"]);
}

#[test]
fn a_manifest_that_cannot_be_read() {
    // A folder without a package above it: not beneath the project's own.
    let empty = tempfile::tempdir().expect("a folder");
    let nowhere = |args: &[&str]| run(cargo_sandbox(empty.path(), args));
    said(nowhere(&["run"]), 78, &["could not find `Cargo.toml`", "--manifest-path"]);
    said(nowhere(&["run", "--manifest-path", "a/Cargo.toml"]), 78, &["`a/Cargo.toml` does not exist"]);
    fs::create_dir(empty.path().join("Cargo.toml")).expect("it is ours");
    said(nowhere(&["run"]), 78, &["Cargo.toml", "Is a directory"]);
    fs::remove_dir(empty.path().join("Cargo.toml")).expect("it is ours");
    fs::write(empty.path().join("Cargo.toml"), b"[package]\nname = \"\xff\"\n").expect("it is ours");
    said(nowhere(&["run"]), 78, &["Cargo.toml", "utf-8"]);
    fs::remove_file(empty.path().join("Cargo.toml")).expect("it is ours");
    std::os::unix::fs::symlink("loop", empty.path().join("loop")).expect("it is ours");
    std::os::unix::fs::symlink("loop", empty.path().join("Cargo.toml")).expect("it is ours");
    said(nowhere(&["run"]), 78, &["Cargo.toml"]);
}

#[test]
fn a_program_that_is_not_there_or_not_chosen() {
    said(copy_file(&[], &["--bin", "copy-fiel"]).1, 2, &["copy-fiel", "`copy-file`"]);
    said(copy_file(&[], &["--example", "none"]).1, 2, &["no example target named `none`"]);
    said(copy_file(&[], &["-p", "copy-fiel"]).1, 2, &["copy-fiel", "`copy-file`"]);
    said(copy_file(&[], &["--raed", "x"]).1, 2, &["--raed", "--read"]);
    said(copy_file(&[], &["--report", "no/folder/report.json"]).1, 2, &["no/folder/report.json"]);
    let fixture = Fixture::copy("two-bins");
    said(run(fixture.command(["run"])), 2, &["several binaries", "`one`, `two`", "--bin", "default-run"]);
    let fixture = Fixture::copy("lib-only");
    said(run(fixture.command(["run"])), 2, &["no binary to run", "lib-only"]);
}

#[test]
fn a_build_that_fails_is_cargos_to_explain() {
    let fixture = Fixture::copy("build-fails");
    let run = run(fixture.command(["run"])).expect(101);
    assert!(
        run.stderr.contains("error[E0308]") && run.stderr.contains("could not compile"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("backtrace"), "{}", run.stderr);
}

/// A `PATH` that begins with a rustc which says it is rustup's and has no WASI target until rustup has added it, and
/// with a rustup that only writes down how it was called, and adds it if it `adds`. The machine's own is not touched.
fn fake_toolchain(folder: &Path, adds: bool, sysroot: &Path) -> String {
    let real = run({
        let mut rustc = command("rustc");
        rustc.args(["--print", "sysroot"]);
        rustc
    })
    .expect(0);
    let real = Path::new(real.stdout.trim()).join("bin/rustc");
    let script = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    let (here, real, sysroot) = (folder.display(), real.display(), sysroot.display());
    script(
        "rustc",
        format!(
            "case \"$*\" in\n*'print sysroot'*) echo '{sysroot}' ;;\n*target-libdir*) if test -e '{here}/added'; then exec \
             '{real}' \"$@\"; fi; echo '{here}/lib' ;;\n*) exec '{real}' \"$@\" ;;\nesac\n"
        ),
    );
    let add = if adds { format!("touch '{here}/added'\n") } else { "exit 1\n".to_owned() };
    script("rustup", format!("echo \"$*\" >> '{here}/calls'\n{add}"));
    format!("{here}:{}", std::env::var("PATH").expect("a PATH"))
}

#[test]
fn a_missing_target_is_installed_and_said_or_the_command_is_named() {
    let home = std::env::var_os("RUSTUP_HOME")
        .map_or_else(|| std::env::home_dir().expect("a home").join(".rustup"), PathBuf::from);
    let rustups = home.join("toolchains/fake");
    let trial = |adds: bool, sysroot: &Path, flags: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let fixture = Fixture::copy("copy-file");
        let mut command = fixture.command([&["run"], flags].concat());
        command.env("PATH", fake_toolchain(folder.path(), adds, sysroot));
        let run = run(command);
        (run, fixture.read("output.txt").is_some(), fs::read_to_string(folder.path().join("calls")).ok())
    };
    let add = match toolchain() {
        Some(toolchain) => format!("target add --toolchain {toolchain} wasm32-wasip1\n"),
        None => "target add wasm32-wasip1\n".to_owned(),
    };
    let missing = ["target `wasm32-wasip1` is not installed", "rustup target add wasm32-wasip1"];

    let (run, ran, calls) = trial(true, &rustups, &[]);
    assert!(run.stderr.contains(&format!("rustup {}", add.trim())), "{}", run.stderr);
    assert!((run.status, ran) == (0, true), "{}", run.stderr);
    assert_eq!(calls.as_deref(), Some(add.as_str()));

    let (run, ran, calls) = trial(false, &rustups, &[]);
    said(run, 101, &missing);
    assert_eq!((ran, calls.as_deref()), (false, Some(add.as_str())));

    let (run, ran, calls) = trial(true, &rustups, &["--offline"]);
    said(run, 101, &[&missing[..], &["--offline"]].concat());
    assert_eq!((ran, calls), (false, None));

    // Not rustup's: the distribution has a package, and rustup is not called.
    let (run, ran, calls) = trial(true, Path::new("/usr"), &[]);
    said(run, 101, &[missing[0], "install"]);
    assert_eq!((ran, calls), (false, None));
}

#[test]
fn a_reader_that_goes_away_early_changes_no_verdict() {
    let gone = |args: &[&str], fixture: &Fixture| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = fixture.command(args).stdin(Stdio::null()).stdout(writer).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let quiet = "fn main() { std::fs::copy(\"input.txt\", \"output.txt\").unwrap(); }";
    let fixture = Fixture::copy("copy-file").rewrite("src/main.rs", |_| quiet.to_owned());
    for args in [&["run"][..], &["run", "--message-format", "json"], &["--help"], &["completions", "bash"]] {
        let (status, stderr) = gone(args, &fixture);
        assert_eq!(status, Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
    let fixture = fixture.manifest(|text| Edit::Without("read =").apply(&text));
    assert_eq!(gone(&["run", "--message-format", "json"], &fixture).0, Some(77));
    // A guest that insists on writing fails by its own doing, as it does without us.
    let (status, stderr) = gone(&["run"], &Fixture::copy("copy-file"));
    assert_eq!(status, Some(101));
    assert!(stderr.contains("failed printing to stdout") && !stderr.contains("stack backtrace"), "{stderr}");
}

#[test]
fn a_worker_that_nobody_started_or_an_older_one_did_says_so_and_ends() {
    let worker = || {
        let mut command = Command::new(crate::common::binary());
        command.arg("__worker").env_clear().env("RUST_BACKTRACE", "1").stderr(Stdio::piped());
        command
    };
    let alone = worker().stdin(Stdio::null()).output().expect("it starts");
    assert_eq!((alone.status.code(), alone.stderr), (Some(70), Vec::new()));

    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let child = worker().stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().expect("it starts");
    // Length and kind of the frame, then version, supervisor and size of the task as postcard writes them.
    (&ours).write_all(&[3, 0, 0, 0, 0, 99, 2, 0]).expect("it listens");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut &ours, &mut answer).expect("an answer");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("the program was replaced while it ran"), "{text:?}");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_worker_keeps_no_descriptor_that_it_was_not_meant_to_have() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    // The other end of our pipe is its descriptor 9, and nothing else.
    let mut child = command("sh")
        .args(["-c", "exec \"$0\" __worker 9>&1 >/dev/null"])
        .arg(crate::common::binary())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut kept = child.stdout.take().expect("a pipe");
    let mut end = [rustix::event::PollFd::new(&kept, rustix::event::PollFlags::IN)];
    let wait = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut end, Some(&wait)).expect("a pipe");
    let ended = child.try_wait().expect("a child");
    drop(ours);
    child.wait().expect("it ends");
    assert_eq!((ready, ended), (1, None), "it waits for its task, and has closed what it inherited");
    assert_eq!(std::io::Read::read(&mut kept, &mut [0]).expect("a pipe"), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn without_landlock_nothing_runs_and_the_message_says_what_to_do() {
    let fixture = Fixture::copy("copy-file");
    let without = |level: &'static str, errno: i32| {
        let command = fixture.command(["run", "--landlock", level]);
        // The filter holds this one thread and what it starts.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    refuse_landlock(errno);
                    run(command)
                })
                .join()
                .expect("the thread ran")
        })
    };
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP] {
        for level in ["required", "full"] {
            let texts = ["needs Landlock ABI", "nothing was run", "Linux", "`--landlock off`"];
            let run = said(without(level, errno), 69, &texts);
            assert_eq!((run.stdout.as_str(), fixture.read("output.txt")), ("", None));
            assert!(fixture.read("target/CACHEDIR.TAG").is_none(), "nothing is built before that is known");
        }
    }
    // It is the filter that makes the difference, and the other walls do not need Landlock.
    run(fixture.command(["run"])).expect(0);
    let run = without("off", libc::ENOSYS).expect(0);
    assert!(run.stdout.contains("copied 36 bytes"), "{}", run.stdout);
}

/// Answers the system calls of Landlock as a kernel without it does, or with it but not enabled at boot.
#[cfg(target_os = "linux")]
fn refuse_landlock(errno: i32) {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    let calls =
        [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture that seccompiler knows");
    let filter = SeccompFilter::new(
        calls.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        arch,
    )
    .expect("a filter");
    let program: seccompiler::BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("the kernel takes it");
}

//! What a file given to `cargo sandbox runner` brings along, and what that must not do.
use std::fs;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A module names its imports; a line of its own in a log would be a command to some.
#[test]
fn the_name_of_an_import_begins_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.wasm");
    let text = r#"(module (import "a\0a::error::pwned" "b\0d\0a::error::\e2\80\ae" (func)) (func (export "_start")))"#;
    fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-sandbox"))
        .args(["runner", "--no-cache", "--no-manifest"])
        .arg(&file)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("pwned"), "{said}");
    assert!(said.lines().all(|line| !line.trim_start().starts_with("::")), "{said}");
    assert!(!said.contains('\u{202e}'), "{said:?}");
}

/// The configuration of cargo beside a file is not the user's: a folder that came from elsewhere
/// could name any program there.
#[test]
fn the_folder_of_a_file_configures_no_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let (bundle, elsewhere) = (folder.join("bundle"), folder.join("elsewhere"));
    fs::create_dir_all(bundle.join("src")).unwrap();
    fs::create_dir_all(bundle.join(".cargo")).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    let manifest = "[package]\nname = \"bundle\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(bundle.join("Cargo.toml"), manifest).unwrap();
    fs::write(bundle.join("src/lib.rs"), "").unwrap();
    let program = bundle.join("evil.sh");
    let ran = folder.join("ran");
    fs::write(&program, format!("#!/bin/sh\ntouch {}\nexec rustc \"$@\"\n", ran.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(bundle.join(".cargo/config.toml"), format!("[build]\nrustc = {program:?}\n")).unwrap();
    // With the marker of our object, so that its only preopened directory is the root.
    let text = include_str!("guests/actor.wat").trim_end().strip_suffix(')').expect("a module ends so");
    let wasm = wat::parse_str(format!("{text} (@custom \"cargo-sandbox\" \"1\"))")).unwrap();
    fs::write(bundle.join("x.wasm"), wasm).unwrap();

    let output = Command::new(env!("CARGO_BIN_EXE_cargo-sandbox"))
        .args(["runner", "--no-cache"])
        .arg(bundle.join("x.wasm"))
        .args(["read", "etc/hostname"])
        .env_remove("CARGO_MANIFEST_DIR")
        .current_dir(&elsewhere)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/etc/hostname"), "the access is reported: {said}");
    assert!(!ran.exists(), "a program named beside the file was started: {said}");
}

/// The standard streams are shared with whoever started the command: a guest may add to them and read on, and
/// not go back, cut off, write over or change how they are waited for.
#[test]
fn what_a_redirected_stream_leads_to_stays() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("x.wasm");
    // Its status is how many calls were answered with anything but an error, of seven on three streams.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $cut (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_times"
            (func $times (param i32 i64 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\04\00\00\00") (data (i32.const 16) "more")
        (func $try (param $fd i32) (result i32)
            (i32.eqz (call $pwrite (local.get $fd) (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 32)))
            (i32.add (i32.eqz (call $pread (local.get $fd) (i32.const 64) (i32.const 1) (i64.const 0) (i32.const 32))))
            (i32.add (i32.eqz (call $seek (local.get $fd) (i64.const 0) (i32.const 0) (i32.const 32))))
            (i32.add (i32.eqz (call $cut (local.get $fd) (i64.const 0))))
            (i32.add (i32.eqz (call $times (local.get $fd) (i64.const 0) (i64.const 0) (i32.const 5))))
            (i32.add (i32.eqz (call $allocate (local.get $fd) (i64.const 0) (i64.const 99))))
            (i32.add (i32.eqz (call $flags (local.get $fd) (i32.const 4)))))
        (func (export "_start") (local $done i32)
            (local.set $done (call $try (i32.const 0)))
            (local.set $done (i32.add (local.get $done) (call $try (i32.const 1))))
            (local.set $done (i32.add (local.get $done) (call $try (i32.const 2))))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
            (call $exit (local.get $done))))"#;
    fs::write(&module, wat::parse_str(text).unwrap()).unwrap();
    let stream = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "written before\n").unwrap();
        let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file
    };
    let (input, output, error) = (stream("in"), stream("out"), stream("err"));
    let flags = |file: &fs::File| rustix::fs::fcntl_getfl(file).unwrap();
    let before = [&input, &output, &error].map(flags);
    let status = Command::new(env!("CARGO_BIN_EXE_cargo-sandbox"))
        .args(["runner", "--no-cache", "--no-manifest"])
        .arg(&module)
        .current_dir(folder.path())
        .stdin(input.try_clone().unwrap())
        .stdout(output.try_clone().unwrap())
        .stderr(error.try_clone().unwrap())
        .status()
        .unwrap();
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", text("err"));
    assert_eq!([text("in"), text("out")], ["written before\n", "written before\nmore"]);
    assert!(text("err").starts_with("written before\n"));
    assert_eq!([&input, &output, &error].map(flags), before);
}

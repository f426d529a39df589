//! What a file given to `cargo sandbox runner` brings along, and what that must not do.
use std::fs;
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

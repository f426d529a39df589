//! Which program is run, with which of cargo's flags, as cargo itself would take them.

use crate::common::fixtures::Edit::{Append, Replace};
use crate::common::{Fixture, run};
use std::fs;

#[test]
fn a_member_is_chosen_by_folder_manifest_path_package_or_binary() {
    let fixture = Fixture::copy("workspace");
    let several = run(fixture.command(["run"])).expect(2);
    assert!(several.stderr.contains("`alpha`, `beta`"), "{}", several.stderr);
    let shared = |args: &[&str], folder: &str| {
        let mut command = fixture.command(args);
        command.current_dir(fixture.path(folder));
        let run = run(command).expect(0);
        assert_eq!(run.stdout, "shared\n", "{args:?} in `{folder}`: {}", run.stderr);
    };
    shared(&["run"], "alpha");
    shared(&["run"], "alpha/src");
    shared(&["run", "--manifest-path", "../alpha/Cargo.toml"], "beta");
    shared(&["run", "-p", "alpha"], "beta");
    shared(&["run", "-p", "alpha@0.1.0"], "");
    shared(&["run", "--bin", "alpha"], "");
    shared(&["run", "--workspace", "--exclude", "beta"], "");
    shared(&["sandbox-run", "--package", "alpha"], "");
    shared(&["sandbox", "run", "--package", "alpha"], "");
    let both = run(fixture.command(["run", "-p", "alpha", "-p", "beta"])).expect(2);
    assert!(both.stderr.contains("several binaries"), "{}", both.stderr);
    let folder = run(fixture.command(["run", "--manifest-path", "alpha"])).expect(78);
    assert!(folder.stderr.contains("`alpha` is a directory"), "{}", folder.stderr);
}

#[test]
fn default_members_and_default_run_are_cargos() {
    let fixture = Fixture::copy("workspace").manifest(|text| {
        Replace("resolver = \"3\"", "resolver = \"3\"\ndefault-members = [\"alpha\"]").apply(&text)
    });
    assert_eq!(run(fixture.command(["run"])).expect(0).stdout, "shared\n");
    let fixture = Fixture::copy("two-bins")
        .manifest(|text| Replace("publish = false", "publish = false\ndefault-run = \"one\"").apply(&text));
    assert!(run(fixture.command(["run"])).expect(0).stdout.starts_with("one: "));
    run(fixture.command(["run", "--bin", "two"])).expect(77);
}

#[test]
fn a_member_named_like_one_of_its_dependencies_is_built() {
    let twin = "[package]\nname = \"copy-file\"\nversion = \"9.0.0\"\nedition = \"2024\"\n";
    let fixture = Fixture::copy("copy-file")
        .file("twin/Cargo.toml", twin)
        .file("twin/src/lib.rs", "")
        .manifest(|text| Replace("[workspace]", "[workspace]\nexclude = [\"twin\"]").apply(&text))
        .manifest(|text| {
            Append("[dependencies]\ntwin = { package = \"copy-file\", path = \"twin\" }").apply(&text)
        });
    run(fixture.command(["run"])).expect(0);
}

#[test]
fn the_binaries_for_cargo_hand_everything_over() {
    let fixture = Fixture::copy("exit-code");
    let beside = crate::common::binary().with_file_name("cargo-sandbox-run");
    assert!(beside.is_file(), "{}: it is built together with this", beside.display());
    for words in [&["sandbox-run"][..], &[]] {
        let mut command = crate::common::command(&beside);
        command.current_dir(fixture.dir()).args(words).args(["--quiet", "--", "5"]);
        run(command).expect(5);
    }
    // As cargo finds it.
    let folder = beside.parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").expect("a PATH");
    let mut command = crate::common::command("cargo");
    command.env("PATH", format!("{}:{path}", folder.display()));
    command.current_dir(fixture.dir()).args(["sandbox-run", "--quiet", "--", "6"]);
    run(command).expect(6);
}

const FLAGGED: &str = "
#[cfg(not(from_user))]
compile_error!(\"the user's flag is lost\");
fn main() {
    println!(\"{} {}\", cfg!(debug_assertions), cfg!(feature = \"extra\"));
}
";

/// A fixture that only compiles with `--cfg from_user`, and allows to ask for it.
fn flagged() -> Fixture {
    Fixture::copy("panic").rewrite("src/main.rs", |_| FLAGGED.to_owned()).manifest(|text| {
        Append("[lints.rust]\nunexpected_cfgs = \"allow\"\n[features]\nextra = []").apply(&text)
    })
}

#[test]
fn flags_of_every_origin_are_kept() {
    const CFG: &str = "--cfg=from_user";
    let fixture = flagged();
    run(fixture.command(["run"])).expect(101);
    let with = |name: &str, value: &str| {
        let mut command = fixture.command(["run"]);
        command.env(name, value);
        run(command).expect(0)
    };
    with("RUSTFLAGS", CFG);
    with("CARGO_ENCODED_RUSTFLAGS", CFG);
    with("CARGO_BUILD_RUSTFLAGS", CFG);
    with("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", CFG);
    run(fixture.command(["run", "--config", "build.rustflags='--cfg=from_user'"])).expect(0);
    let configs = [
        "[build]\nrustflags = [\"--cfg=from_user\"]\n",
        "[build]\nrustflags = \"--cfg=from_user\"\n",
        "[target.wasm32-wasip1]\nrustflags = [\"--cfg=from_user\"]\n",
        "[target.'cfg(target_os = \"wasi\")']\nrustflags = [\"--cfg=from_user\"]\n",
    ];
    for config in configs {
        let fixture = flagged().file(".cargo/config.toml", config);
        run(fixture.command(["run"])).expect(0);
    }
    // The user's own wrappers are called as well.
    let fixture = flagged().file("wrapper", "#!/bin/sh\nexec \"$@\" --cfg=from_user\n");
    let wrapper = fixture.path("wrapper");
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    for name in ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        let mut command = fixture.command(["run"]);
        command.env(name, &wrapper);
        run(command).expect(0);
    }
}

#[test]
fn profiles_features_and_target_directories_mean_what_they_mean_in_cargo() {
    let fixture = flagged()
        .file(".cargo/config.toml", "[build]\nrustflags = [\"--cfg=from_user\"]\n")
        .manifest(|text| Append("[profile.mine]\ninherits = \"release\"").apply(&text));
    let says = |args: &[&str], said: &str| {
        let mut all = vec!["run"];
        all.extend(args);
        assert_eq!(run(fixture.command(all)).expect(0).stdout, said, "{args:?}");
    };
    says(&[], "true false\n");
    says(&["--features", "extra"], "true true\n");
    says(&["--all-features", "--release"], "false true\n");
    says(&["-r"], "false false\n");
    says(&["--profile", "mine"], "false false\n");
    says(&["--target-dir", "elsewhere", "--locked"], "true false\n");
    assert!(fixture.path("elsewhere/sandbox/wasm32-wasip1/debug/panic.wasm").is_file());
    assert!(!fixture.path("target/debug").exists(), "the user's own builds are left alone");
}

#[test]
fn verbosity_is_cargos() {
    let fixture = Fixture::copy("exit-code");
    let quiet = run(fixture.command(["run", "--quiet", "--", "0"])).expect(0);
    assert_eq!(quiet.stderr, "");
    let loud = run(fixture.command(["run", "--verbose", "--", "0"])).expect(0);
    assert!(loud.stderr.contains("Fresh exit-code"), "{}", loud.stderr);
}

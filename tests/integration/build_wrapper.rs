//! Our wrapper keeps what the user has set, and cargo's errors become one clear message.

use crate::build_support::{Project, flags};
use cargo_sandbox::cargo::command::{CargoCommand, Goal, TargetFlags};
use cargo_sandbox::cargo::metadata::Workspace;
use cargo_sandbox::cargo::{CargoFlags, ErrorKind};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const MANIFEST: &str = "[package]\nname = \"guest\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n\
                        [dependencies]\ndependency = { path = \"dependency\" }\n";

/// Compiles only if the user's flags arrive.
fn project(config: &str) -> Project {
    let needs_flag = "#![allow(unexpected_cfgs)]\n#[cfg(not(user_flag))] compile_error!(\"flag lost\");\n";
    Project::new(&[
        ("Cargo.toml", MANIFEST),
        ("src/main.rs", &format!("{needs_flag}fn main() {{ dependency::f() }}")),
        (
            "dependency/Cargo.toml",
            "[package]\nname = \"dependency\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
        ),
        ("dependency/src/lib.rs", &format!("{needs_flag}pub fn f() {{}}")),
        (".cargo/config.toml", config),
    ])
}

fn is_marked(wasm: &Path) -> bool {
    cargo_sandbox::symbols::marker(&fs::read(wasm).unwrap()).is_some()
}

#[test]
fn rustflags_of_every_origin_survive() {
    for config in [
        "[build]\nrustflags = \"--cfg user_flag\"\n",
        "[build]\nrustflags = [\"--cfg\", \"user_flag\"]\n",
        "[target.wasm32-wasip1]\nrustflags = [\"--cfg\", \"user_flag\"]\n",
    ] {
        assert!(is_marked(&project(config).program(&flags("dev")).file), "{config}");
    }
    let flags = CargoFlags { config: vec!["build.rustflags = '--cfg user_flag'".into()], ..flags("dev") };
    assert!(is_marked(&project("").program(&flags).file));
}

#[test]
fn rustflags_of_the_environment_survive_and_a_second_build_is_fresh() {
    let project = project("");
    let flags = flags("dev");
    let workspace = project.workspace(&flags).unwrap();
    let build = || {
        CargoCommand::build(
            Path::new(env!("CARGO_BIN_EXE_cargo-sandbox")),
            Goal::Programs,
            &workspace,
            &flags,
            &TargetFlags::default(),
        )
        .unwrap()
        .env("RUSTUP_TOOLCHAIN", crate::toolchain::rustup_toolchain())
        .env("RUSTFLAGS", "--cfg user_flag")
        .spawn()
        .unwrap()
        .artifacts(&workspace)
        .unwrap()
        .guests
    };
    let first = build();
    assert!(is_marked(&first[0].file) && !first[0].fresh);
    assert_eq!((first[0].package.as_str(), first[0].version.as_str()), ("guest", "0.1.0"));
    assert_eq!(first[0].profile, "debug");
    assert!(build()[0].fresh);
}

#[test]
fn the_users_own_workspace_wrapper_is_chained() {
    let project = project("[build]\nrustflags = \"--cfg user_flag\"\nrustc-workspace-wrapper = \"./mine\"\n");
    project.write("mine", "#!/bin/sh\necho \"$*\" >> \"$(dirname \"$0\")/calls\"\nexec \"$@\"\n");
    let script = project.path().join("mine");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(is_marked(&project.program(&flags("dev")).file));
    let calls = fs::read_to_string(project.path().join("calls")).unwrap();
    let linked = calls.lines().find(|line| line.contains("--crate-name guest")).unwrap();
    assert!(linked.contains("link-arg=--wrap=getenv"), "{linked}");
    let library = calls.lines().find(|line| line.contains("--crate-name dependency")).unwrap();
    assert!(!library.contains("link-arg"), "{library}");
}

#[test]
fn a_build_that_fails_has_said_why_itself() {
    let error = project("").build(Goal::Programs, &flags("dev"), &TargetFlags::default()).unwrap_err();
    assert_eq!((error.kind, error.diagnostic), (ErrorKind::Failed, None));
}

#[test]
fn a_build_ends_when_it_is_interrupted() {
    let project = Project::new(&[
        ("Cargo.toml", "[package]\nname = \"slow\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n"),
        ("build.rs", "fn main() { std::thread::sleep(std::time::Duration::from_secs(600)) }"),
        ("src/main.rs", "fn main() {}"),
    ]);
    let flags = flags("dev");
    let workspace = project.workspace(&flags).unwrap();
    let build = CargoCommand::build(
        Path::new(env!("CARGO_BIN_EXE_cargo-sandbox")),
        Goal::Programs,
        &workspace,
        &flags,
        &TargetFlags::default(),
    )
    .unwrap()
    .env("RUSTUP_TOOLCHAIN", crate::toolchain::rustup_toolchain())
    .spawn()
    .unwrap();
    let interrupt = build.interrupt();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        interrupt.stop();
    });
    let error = build.artifacts(&workspace).unwrap_err();
    stopper.join().unwrap();
    assert_eq!(error.kind, ErrorKind::Interrupted);
}

#[test]
fn a_manifest_that_cargo_refuses_is_one_message() {
    let refused = |files: &[(&str, &str)]| {
        let error = Project::new(files).workspace(&flags("dev")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Manifest, "{error:?}");
        *error.diagnostic.unwrap()
    };
    let none = refused(&[]);
    assert!(none.message.starts_with("could not find `Cargo.toml`"), "{none:?}");
    let syntax = refused(&[("Cargo.toml", "[package]\nname = \"a\nversion = \"1.0.0\"\n")]);
    assert!(syntax.message.starts_with("not valid TOML"), "{syntax:?}");
    assert_eq!(syntax.spans[0].file.line_column(syntax.spans[0].range.start).0, 2);
    let unreadable = refused(&[("Cargo.toml/x", "")]);
    assert!(!unreadable.notes.is_empty(), "{unreadable:?}");
    let version =
        refused(&[("Cargo.toml", "[package]\nname = \"a\"\nversion = \"x\"\n"), ("src/main.rs", "")]);
    assert!(format!("{version:?}").contains("version"), "{version:?}");
}

#[test]
fn a_target_directory_of_the_users_gets_a_folder_of_ours() {
    let project = project("[build]\nrustflags = \"--cfg user_flag\"\n");
    let flags = CargoFlags { target_dir: Some("elsewhere".into()), ..flags("dev") };
    let wasm = project.program(&flags).file;
    assert_eq!(wasm, project.path().join("elsewhere/sandbox/wasm32-wasip1/debug/guest.wasm"));
    let workspace = project.workspace(&flags).unwrap();
    let shown = CargoCommand::new("build").args(["--features", "a b"]).env("X", "it's").to_string();
    assert!(shown.ends_with(" build --features 'a b'") && shown.starts_with("X='it'\\''s' "), "{shown}");
    assert_eq!(workspace.packages[0].manifest.text, MANIFEST);
    assert_eq!(workspace.packages[0].manifest, workspace.manifest);
}

#[test]
fn cargos_answer_is_kept_until_something_it_depends_on_changes() {
    let workspace = "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n";
    let member =
        |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    let project = Project::new(&[
        ("Cargo.toml", workspace),
        ("crates/a/Cargo.toml", &member("a")),
        ("crates/a/src/main.rs", "fn main() {}"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let load = || {
        // Only what is older than the clock's tick is kept.
        std::thread::sleep(std::time::Duration::from_millis(120));
        Workspace::load(&flags("dev"), &project.path(), Some(cache.path())).unwrap()
    };
    let kept = || {
        let files: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
        files.first().map(|file| file.metadata().unwrap().modified().unwrap())
    };
    let names = |workspace: &Workspace| {
        let mut names: Vec<String> = workspace
            .packages
            .iter()
            .flat_map(|package| package.targets.iter().map(|target| target.name.clone()))
            .collect();
        names.sort();
        names
    };
    let first = load();
    let written = kept().expect("an answer is kept");
    assert_eq!(load(), first);
    assert_eq!(kept(), Some(written), "cargo was asked again");

    project.write("crates/a/src/bin/second.rs", "fn main() {}");
    assert_eq!(names(&load()), ["a", "second"]);
    project.write("crates/a/examples/shown/main.rs", "fn main() {}");
    assert_eq!(names(&load()), ["a", "second", "shown"]);
    project.write("crates/b/Cargo.toml", &member("b"));
    project.write("crates/b/src/lib.rs", "");
    assert_eq!(names(&load()), ["a", "b", "second", "shown"]);
    project.write("crates/b/src/main.rs", "fn main() {}");
    assert_eq!(names(&load()), ["a", "b", "b", "second", "shown"]);
    project.write("crates/a/Cargo.toml", &format!("{}default-run = \"second\"\n", member("a")));
    assert_eq!(
        load().packages.iter().find_map(|package| package.default_run.clone()).as_deref(),
        Some("second")
    );
    project.write(".cargo/config.toml", "build.target-dir = \"elsewhere\"\n");
    assert_eq!(load().target_dir, project.path().join("elsewhere"));
}

/// Cargo hands on what a procedural macro prints.
#[test]
fn a_macro_that_prints_messages_of_cargo_names_no_file_that_is_run() {
    let macros = r##"
        #[proc_macro]
        pub fn forge(said: proc_macro::TokenStream) -> proc_macro::TokenStream {
            let root = std::env::var("CARGO_MANIFEST_DIR").unwrap();
            println!("{}", said.to_string().trim_matches(['r', '#', '"']).replace("ROOT", &root));
            Default::default()
        }"##;
    let message = |name: &str, file: &str| {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file://ROOT#guest@0.1.0","manifest_path":"ROOT/Cargo.toml","target":{{"kind":["bin"],"crate_types":["bin"],"name":"{name}","src_path":"ROOT/src/main.rs","edition":"2021","doc":true,"doctest":false,"test":true}},"profile":{{"opt_level":"0","debuginfo":0,"debug_assertions":true,"overflow_checks":true,"test":false}},"features":[],"filenames":[],"executable":"{file}","fresh":false}}"#
        )
    };
    let build = |printed: &str| {
        let project = Project::new(&[
            (
                "Cargo.toml",
                &MANIFEST.replace("dependency = { path = \"dependency\" }", "macros = { path = \"macros\" }"),
            ),
            ("src/main.rs", &format!("macros::forge!(r##\"{printed}\"##);\nfn main() {{}}")),
            (
                "macros/Cargo.toml",
                "[package]\nname = \"macros\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
            ),
            ("macros/src/lib.rs", macros),
        ]);
        project.build(Goal::Programs, &flags("dev"), &TargetFlags::default())
    };
    // What is no message is nobody's business, nor is one that says what is so.
    let own = build("just a line").unwrap();
    assert_eq!(own.len(), 1, "{own:?}");
    for (name, file, why) in [
        ("guest", "/elsewhere/forged.wasm", "is both"),
        ("other", "/elsewhere/forged.wasm", "there is no such target"),
    ] {
        let error = build(&message(name, file)).expect_err("it was forged");
        assert_eq!(error.kind, ErrorKind::Failed);
        let said = error.diagnostic.expect("it is said").message;
        assert!(said.contains(why) && said.contains(file), "{said}");
    }
}

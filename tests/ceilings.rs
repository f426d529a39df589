//! What bounds the manifest from outside: `--ceiling FILE`, `--ceiling REV`, and the user's own.

mod common;

use common::fixtures::Edit::{Replace, Without};
use common::{Fixture, Run, run};
use std::fs;
use std::path::PathBuf;

/// copy-file, with a repository around it that this project's own is not part of.
fn repository() -> Fixture {
    let fixture = Fixture::copy("copy-file");
    git(&fixture, &["init", "--quiet"]);
    commit(&fixture);
    fixture
}

fn git(fixture: &Fixture, args: &[&str]) -> String {
    let mut command = common::command("git");
    command.current_dir(fixture.dir()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.args(["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]).args(args);
    run(command).expect(0).stdout.trim().to_owned()
}

fn commit(fixture: &Fixture) {
    git(fixture, &["add", "--", "Cargo.toml", "src", "input.txt"]);
    git(fixture, &["commit", "--quiet", "--message", "state"]);
}

/// A file beside the repository.
fn outside(fixture: &Fixture, name: &str, text: &str) -> PathBuf {
    let path = fixture.dir().parent().expect("a copy has a folder of its own").join(name);
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("it is ours");
    fs::write(&path, text).expect("it is ours");
    path
}

fn under(fixture: &Fixture, ceilings: &[&str]) -> Run {
    let mut args = vec!["run"];
    ceilings.iter().for_each(|ceiling| args.extend(["--ceiling", ceiling]));
    run(fixture.command(args))
}

const BOTH: &str = "[fs]\nread = [\"input.txt\"]\nwrite = [\"output.txt\"]\n";
const READ: &str = "[fs]\nread = [\"input.txt\"]\n";

#[track_caller]
fn bounded(fixture: &Fixture, run: Run, name: &str) {
    let run = run.expect(77);
    for text in [
        "warning[above-ceiling]: `output.txt` in `write` is above the ceiling and not granted",
        "Cargo.toml:12:10",
        &format!("the ceiling is `{name}`"),
        "error[fs-create]",
        "the manifest grants it, but that is above the ceiling",
    ] {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("to allow it, add"), "it is there already:\n{}", run.stderr);
    assert_eq!(fixture.read("output.txt"), None);
}

#[test]
fn a_file_bounds_what_the_manifest_grants() {
    let fixture = repository();
    let wide = outside(&fixture, "wide.toml", BOTH).display().to_string();
    let narrow = outside(&fixture, "narrow.toml", READ).display().to_string();
    under(&fixture, &[&wide]).expect(0);
    fs::remove_file(fixture.path("output.txt")).expect("it was written");
    bounded(&fixture, under(&fixture, &[&narrow]), &narrow);
    bounded(&fixture, under(&fixture, &[&wide, &narrow]), &narrow);
    // It bounds the manifest; the person at the command line is bound by nobody.
    run(fixture.command(["run", "--ceiling", &narrow, "--write", "output.txt"])).expect(0);
}

#[test]
fn a_revision_bounds_what_the_manifest_grants_now() {
    let fixture = repository().manifest(|text| Without("write =").apply(&text));
    commit(&fixture);
    let fixture =
        fixture.manifest(|text| Replace("read = [", "write = [\"output.txt\"]\nread = [").apply(&text));
    let bound = under(&fixture, &["HEAD"]).expect(77);
    assert!(
        bound.stderr.contains("`output.txt` in `write` is above the ceiling and not granted"),
        "{}",
        bound.stderr
    );
    assert!(bound.stderr.contains("HEAD:"), "{}", bound.stderr);
    assert_eq!(fixture.read("output.txt"), None);
    under(&fixture, &["HEAD~1"]).expect(0);
    for wrong in ["no-such-branch", "HEAD~9", "--upload-pack=x"] {
        let run = run(fixture.command(["run", &format!("--ceiling={wrong}")])).expect(2);
        assert!(run.stderr.contains("neither a file nor a revision"), "{}", run.stderr);
    }
}

#[test]
fn a_ceiling_within_what_it_is_to_bound_is_refused() {
    let fixture = repository().file("ceiling.toml", BOTH).file("ci/ceiling.toml", BOTH);
    let far = outside(&fixture, "far.toml", BOTH);
    std::os::unix::fs::symlink(&far, fixture.path("link.toml")).expect("it is ours");
    std::os::unix::fs::symlink(fixture.path("ceiling.toml"), far.with_file_name("back.toml"))
        .expect("it is ours");
    for inside in
        ["ceiling.toml", "./ci/../ceiling.toml", "ci/ceiling.toml", "link.toml", "../back.toml", "Cargo.toml"]
    {
        let run = under(&fixture, &[inside]).expect(2);
        assert!(run.stderr.contains("which it is to bound"), "{inside}: {}", run.stderr);
        assert!(run.stderr.contains("`origin/main`"), "{}", run.stderr);
        assert_eq!(fixture.read("output.txt"), None);
    }
    // The repository counts, not only the workspace in it.
    let inner = Fixture::copy("copy-file");
    let above = outside(&inner, "ceiling.toml", BOTH);
    fs::create_dir(above.with_file_name(".git")).expect("it is ours");
    under(&inner, &["../ceiling.toml"]).expect(2);
    fs::remove_dir(above.with_file_name(".git")).expect("it is ours");
}

#[test]
fn a_linked_folder_makes_no_ceiling_of_a_branch_name() {
    let fixture = repository();
    let far = outside(&fixture, "elsewhere/main", BOTH);
    let link = fixture.path("origin");
    std::os::unix::fs::symlink(far.parent().expect("a folder"), &link).expect("it is ours");
    let run = under(&fixture, &["origin/main"]).expect(2);
    assert!(run.stderr.contains("which it is to bound"), "{}", run.stderr);
}

#[test]
fn a_package_that_leaves_its_workspace_stays_bound_by_its_denials() {
    let fixture =
        repository().file("inner/input.txt", "x").file("inner/src/main.rs", "").file("inner/Cargo.toml", "");
    fs::copy(fixture.path("src/main.rs"), fixture.path("inner/src/main.rs")).expect("they are ours");
    let inner = fixture.read("Cargo.toml").expect("it is there").replace("\"copy-file\"", "\"inner\"");
    let member = inner.replace("[workspace]", "");
    let root =
        "[workspace]\nmembers = [\"inner\"]\n[workspace.metadata.sandbox.fs]\ndeny = [\"inner/input.txt\"]\n";
    fs::write(fixture.path("inner/Cargo.toml"), member).expect("it is ours");
    fs::write(fixture.path("Cargo.toml"), root).expect("it is ours");
    git(&fixture, &["add", "--", "Cargo.toml", "inner"]);
    git(&fixture, &["commit", "--quiet", "--message", "denied"]);
    let with = |ceiling: &[&str]| {
        let mut command = fixture.command([&["run"], ceiling].concat());
        run({
            command.current_dir(fixture.path("inner"));
            command
        })
    };
    let bound = || with(&["--ceiling", "HEAD"]);
    bound().expect(77);
    // The change under review makes the package a workspace of its own.
    fs::write(fixture.path("inner/Cargo.toml"), inner).expect("it is ours");
    fs::write(fixture.path("Cargo.toml"), "[workspace]\nexclude = [\"inner\"]\n").expect("it is ours");
    with(&[]).expect(0);
    let run = bound().expect(77);
    assert!(run.stderr.contains("inner/input.txt"), "{}", run.stderr);
}

#[test]
fn mistakes_of_a_ceiling_are_mistakes_of_a_manifest() {
    let fixture = repository();
    let wrong = outside(&fixture, "wrong.toml", "[fs]\nraed = [\"x\"]\n");
    let run = under(&fixture, &[wrong.to_str().expect("a plain path")]).expect(78);
    assert!(
        run.stderr.contains("wrong.toml:2:1") && run.stderr.contains("did you mean `read`?"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_users_own_ceiling_always_holds() {
    let fixture = repository();
    let ceiling = outside(&fixture, "config/cargo-sandbox/ceiling.toml", READ);
    let config = fixture.dir().parent().expect("a folder of its own").join("config");
    let home = fixture.dir().parent().expect("a folder of its own").join("home");
    let with = |name: &str, value: &PathBuf| {
        let mut command = fixture.command(["run", "--offline"]);
        // Cargo's and rustup's own folders are found by `HOME`, too.
        for (kept, below) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let now = std::env::var_os(kept).map(PathBuf::from);
            command.env(kept, now.unwrap_or_else(|| std::env::home_dir().expect("a home").join(below)));
        }
        command.env_remove("XDG_CONFIG_HOME").env(name, value);
        run(command)
    };
    let shown = ceiling.display().to_string();
    bounded(&fixture, with("XDG_CONFIG_HOME", &config), &shown);
    fs::create_dir_all(home.join(".config")).expect("it is ours");
    std::os::unix::fs::symlink(config.join("cargo-sandbox"), home.join(".config/cargo-sandbox"))
        .expect("it is ours");
    bounded(
        &fixture,
        with("HOME", &home),
        &home.join(".config/cargo-sandbox/ceiling.toml").display().to_string(),
    );
    // One that cannot be read bounds as much as it can: nothing runs.
    fs::write(&ceiling, b"\xff").expect("it is ours");
    let unreadable = with("XDG_CONFIG_HOME", &config).expect(78);
    assert!(unreadable.stderr.contains("cannot read the ceiling"), "{}", unreadable.stderr);
    fs::remove_file(&ceiling).expect("it is ours");
    std::os::unix::fs::symlink("nowhere", &ceiling).expect("it is ours");
    with("XDG_CONFIG_HOME", &config).expect(78);
    fs::remove_file(&ceiling).expect("it is ours");
    with("XDG_CONFIG_HOME", &config).expect(0);
}

#[test]
fn limits_are_bounded_too() {
    let fixture = Fixture::copy("endless-loop").manifest(|text| Replace("1s", "1h").apply(&text));
    git(&fixture, &["init", "--quiet"]);
    let ceiling = outside(&fixture, "ceiling.toml", "[limits]\ntime = \"1s\"\n");
    let run = under(&fixture, &[ceiling.to_str().expect("a plain path")]).expect(124);
    assert!(run.elapsed.as_secs() < 60, "{:?}", run.elapsed);
}

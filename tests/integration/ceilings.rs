//! What bounds the manifest from outside: `--ceiling FILE`, `--ceiling REV`, and the user's own.

use crate::common::fixtures::Edit::{Replace, Without};
use crate::common::{Fixture, Run, run};
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
    let mut command = crate::common::command("git");
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

/// copy-file as a member `inner` of a workspace with this root, committed; and its manifest as a workspace of its own.
fn member(root: &str) -> (Fixture, String) {
    let fixture =
        repository().file("inner/input.txt", "x").file("inner/Cargo.toml", "").file("inner/src/main.rs", "");
    fs::copy(fixture.path("src/main.rs"), fixture.path("inner/src/main.rs")).expect("they are ours");
    let alone = fixture.read("Cargo.toml").expect("it is there").replace("\"copy-file\"", "\"inner\"");
    write(&fixture, "inner/Cargo.toml", &alone.replace("[workspace]", ""));
    write(&fixture, "Cargo.toml", root);
    git(&fixture, &["add", "--", "Cargo.toml", "inner"]);
    git(&fixture, &["commit", "--quiet", "--message", "a workspace"]);
    (fixture, alone)
}

fn write(fixture: &Fixture, file: &str, text: &str) {
    let path = fixture.path(file);
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("it is ours");
    fs::write(path, text).expect("it is ours");
}

/// Runs the package in a folder of the fixture.
fn in_folder(fixture: &Fixture, folder: &str, args: &[&str]) -> Run {
    let mut command = fixture.command([&["run"], args].concat());
    command.current_dir(fixture.path(folder));
    run(command)
}

#[test]
fn a_package_that_leaves_its_workspace_stays_bound_by_its_denials() {
    for root in [
        "[workspace]\nmembers = [\"inner\"]\n[workspace.metadata.sandbox.fs]\ndeny = [\"inner/input.txt\"]\n",
        "workspace.members = [\"inner\"]\nworkspace.metadata.sandbox.fs.deny = [\"inner/input.txt\"]\n",
        "\"work\\u0073pace\" = { members = [\"inner\"], metadata.sandbox.fs = { deny = [\"inner/input.txt\"] } }\n",
    ] {
        let (fixture, alone) = member(root);
        let bound = || in_folder(&fixture, "inner", &["--ceiling", "HEAD"]);
        bound().expect(77);
        // The change under review makes the package a workspace of its own.
        write(&fixture, "inner/Cargo.toml", &alone);
        write(&fixture, "Cargo.toml", "[workspace]\nexclude = [\"inner\"]\n");
        in_folder(&fixture, "inner", &[]).expect(0);
        let run = bound().expect(77);
        assert!(run.stderr.contains("inner/input.txt"), "{}", run.stderr);
    }
}

#[test]
fn a_package_that_moves_to_another_workspace_inherits_what_its_own_gave() {
    let own = "[workspace]\nmembers = [\"inner\"]\n[workspace.metadata.sandbox.fs]\nread = [\"input.txt\"]\n";
    let (fixture, alone) = member(own);
    let start = alone.find("[package.metadata.sandbox").expect("it has permissions");
    let package = alone[..start].replace("[workspace]", "");
    let member = format!("{package}\n[package.metadata.sandbox]\nworkspace = true\n");
    write(&fixture, "inner/Cargo.toml", &member);
    let wide = "[workspace]\nmembers = [\"../inner\"]\n[workspace.metadata.sandbox.fs]\nread = [\"input.txt\"]\nwrite = [\"output.txt\"]\n";
    write(&fixture, "other/Cargo.toml", wide);
    git(&fixture, &["add", "--", "inner", "other"]);
    git(&fixture, &["commit", "--quiet", "--message", "two workspaces"]);
    in_folder(&fixture, "inner", &["--ceiling", "HEAD"]).expect(77);
    write(&fixture, "inner/Cargo.toml", &member.replace("[package]", "[package]\nworkspace = \"../other\""));
    write(&fixture, "Cargo.toml", "[workspace]\nexclude = [\"inner\"]\n");
    in_folder(&fixture, "inner", &[]).expect(0);
    let run = in_folder(&fixture, "inner", &["--ceiling", "HEAD"]).expect(77);
    assert!(run.stderr.contains("`output.txt` in `write` is above the ceiling"), "{}", run.stderr);
}

#[test]
fn another_package_in_the_place_of_one_has_none_of_its_permissions() {
    let fixture = repository();
    under(&fixture, &["HEAD"]).expect(0);
    let fixture = fixture.manifest(|text| text.replace("name = \"copy-file\"", "name = \"other\""));
    let run = under(&fixture, &["HEAD"]).expect(77);
    assert!(run.stderr.contains("which was another package's"), "{}", run.stderr);
}

/// What the repository says of the target directory is nothing to a ceiling.
#[test]
fn the_target_directory_of_a_ceiling_is_the_users_word() {
    let fixture = repository();
    let secret = outside(&fixture, "notes/input.txt", "mine");
    let notes = secret.parent().expect("a folder").display().to_string();
    let ceiling = "[fs]\nread = [\"{target-dir}/input.txt\"]\nwrite = [\"output.txt\"]\n";
    let ceiling = outside(&fixture, "ceiling.toml", ceiling).display().to_string();
    let source = format!(
        "fn main() {{ std::fs::write(\"output.txt\", std::fs::read({:?}).unwrap()).unwrap() }}",
        secret.display().to_string()
    );
    let fixture = fixture
        .file("src/main.rs", &source)
        .manifest(|text| text.replace("read = [", "read = [\"{target-dir}/input.txt\", "));
    let with = |args: &[&str], variable: Option<&str>| {
        let mut command = fixture.command([&["run"], args].concat());
        if let Some(folder) = variable {
            command.env("CARGO_TARGET_DIR", folder);
        }
        run(command)
    };
    // The configuration, and a link of the usual name.
    write(&fixture, ".cargo/config.toml", &format!("build.target-dir = {notes:?}\n"));
    with(&[], None).expect(0);
    with(&["--ceiling", &ceiling], None).expect(77);
    fs::remove_dir_all(fixture.path(".cargo")).expect("it is ours");
    let _ = fs::remove_dir_all(fixture.path("target"));
    std::os::unix::fs::symlink(&notes, fixture.path("target")).expect("it is ours");
    with(&[], None).expect(0);
    with(&["--ceiling", &ceiling], None).expect(77);
    // The word of the user is another matter, but not where it leads through the repository.
    with(&["--ceiling", &ceiling], Some("target")).expect(77);
    with(&["--ceiling", &ceiling], Some(&notes)).expect(0);
    with(&["--ceiling", &ceiling, "--target-dir", &notes], None).expect(0);
}

#[test]
fn a_workspace_cannot_be_moved_out_of_its_repository() {
    let fixture = repository();
    outside(&fixture, "input.txt", "mine");
    outside(&fixture, "Cargo.toml", "[workspace]\nmembers = [\"copy-file\"]\n");
    let ceiling = "[fs]\nread = [\"{workspace}/input.txt\"]\nwrite = [\"output.txt\"]\n";
    // The workspace around it is in a repository too.
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::write(elsewhere.path().join("ceiling.toml"), ceiling).expect("it is ours");
    let ceiling = elsewhere.path().join("ceiling.toml").display().to_string();
    let source =
        "fn main() { std::fs::write(\"output.txt\", std::fs::read(\"../input.txt\").unwrap()).unwrap() }";
    let fixture = fixture
        .file("src/main.rs", source)
        .manifest(|text| text.replace("[workspace]", "").replace("\"input.txt\"", "\"../input.txt\""));
    under(&fixture, &[]).expect(0);
    let run = under(&fixture, &[&ceiling]).expect(77);
    assert!(run.stderr.contains("`../input.txt` in `read` is above the ceiling"), "{}", run.stderr);
}

#[test]
fn a_link_to_a_package_elsewhere_has_no_ceiling() {
    let fixture = repository();
    let elsewhere = Fixture::copy("copy-file").manifest(|text| text.replace("[workspace]", ""));
    write(&fixture, "Cargo.toml", "[workspace]\nmembers = [\"inner\"]\n");
    std::os::unix::fs::symlink(elsewhere.dir(), fixture.path("inner")).expect("it is ours");
    let ceiling = outside(&fixture, "ceiling.toml", BOTH).display().to_string();
    run(fixture.command(["run", "-p", "copy-file"]));
    let run = run(fixture.command(["run", "-p", "copy-file", "--ceiling", &ceiling])).expect(2);
    assert!(run.stderr.contains("so a ceiling cannot bound it"), "{}", run.stderr);
}

/// A folder of the tree that looks like a repository is none: it came with the change under review.
#[test]
fn a_repository_in_the_tree_is_not_asked() {
    let (fixture, alone) = member("[workspace]\nmembers = [\"inner\"]\n");
    let wide = alone.replace("[workspace]", "");
    write(&fixture, "inner/Cargo.toml", &wide.replace("\"output.txt\"", ""));
    git(&fixture, &["commit", "--quiet", "--all", "--message", "less"]);
    write(&fixture, "inner/Cargo.toml", &wide);
    let forged = Fixture::copy("copy-file").file("Cargo.toml", &wide);
    git(&forged, &["init", "--quiet"]);
    commit(&forged);
    git(&forged, &["config", "core.worktree", &fixture.path("inner").display().to_string()]);
    git(&forged, &["config", "core.fsmonitor", &format!("touch {};", fixture.path("ran").display())]);
    for part in ["HEAD", "config", "objects", "refs"] {
        let mut copy = crate::common::command("cp");
        copy.arg("-r").arg(forged.path(".git").join(part)).arg(fixture.path("inner"));
        run(copy).expect(0);
    }
    let bound = in_folder(&fixture, "inner", &["--ceiling", "HEAD~0"]).expect(77);
    assert!(bound.stderr.contains("above the ceiling"), "{}", bound.stderr);
    // Nor is it asked whether a manifest may be changed, which would start what its configuration names.
    in_folder(&fixture, "inner", &["--fix"]).expect(2);
    assert!(!fixture.path("ran").exists(), "a program of the repository was started");
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

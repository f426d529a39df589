//! `--audit` and `--fix` through the real binary: what is learned, what is left alone, and that the
//! grants that are found are the smallest ones.

use crate::common::{Fixture, Run, command, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A fixture without any table of permissions.
fn bare(name: &str) -> Fixture {
    Fixture::copy(name).manifest(|text| {
        let table = text.find("\n[package.metadata.sandbox").or_else(|| text.find("\n[[package.metadata"));
        text[..=table.expect("a fixture has a table")].to_owned()
    })
}

fn fix(fixture: &Fixture, command: &str, flags: &[&str], guest: &[&str]) -> Run {
    let mut args = vec![command, "--fix", "--allow-dirty"];
    args.extend(flags);
    if !guest.is_empty() {
        args.push("--");
        args.extend(guest);
    }
    run(fixture.command(args))
}

#[test]
fn an_audit_allows_and_says_so_and_keeps_the_guests_status() {
    let fixture = bare("copy-file");
    let (run, report) = fixture.run_with_report("run", &["--audit"], &[]);
    let run = run.expect(0);
    assert_eq!(fixture.read("output.txt"), fixture.read("input.txt"));
    assert!(run.stderr.contains("NOT enforced"), "{}", run.stderr);
    assert!(run.stderr.contains("allowed by `--audit`"), "{}", run.stderr);
    assert_eq!(report["audit"], true);
    let violations = report["targets"][0]["violations"].as_array().expect("violations");
    assert_eq!(violations.len(), 2, "{violations:#?}");
    assert!(violations.iter().all(|violation| violation["allowed"] == true), "{violations:#?}");
    // The guest's own status, whatever was tried.
    let fixture = bare("dependency");
    crate::common::run(fixture.command(["run", "--audit"])).expect(0);
}

#[test]
fn an_audit_stays_within_its_envelope() {
    let fixture = Fixture::copy("any-access");
    let dir = fixture.dir();
    let outside = dir.parent().expect("a copy has a folder").join("outside.txt");
    let tried = |operation: &str, name: &str| {
        let run = run(fixture.command(["run", "-q", "--audit", "--", operation, name])).expect(0);
        run.stdout.trim().to_owned()
    };
    let inside = fixture.path("changed.log");
    assert_eq!(tried("modify", inside.to_str().expect("plain")), "works");
    assert_eq!(tried("read", outside.to_str().expect("plain")), "works");
    assert_eq!(tried("modify", outside.to_str().expect("plain")), "denied");
    assert_eq!(tried("delete", outside.to_str().expect("plain")), "denied");
    for protected in ["Cargo.toml", "src/main.rs"] {
        assert_eq!(tried("modify", protected), "denied", "{protected}");
    }
    assert_eq!(tried("read", "/proc/self/environ"), "denied");
    assert_eq!(tried("read", "/etc/shadow"), "denied");
    assert_eq!(tried("read", "data/secret"), "denied", "an exception holds in an audit");
}

/// A guest chooses the names that it asks for: a reader of the manifest sees them, and one of them is not everything.
#[test]
fn a_fix_hides_no_name_and_grants_nothing_by_the_way() {
    let source = r#"
        fn main() {
            let _ = std::fs::metadata("assets\u{202e}x\u{200b}/\u{e0041}\u{3164}");
            let _ = std::fs::read("two\nlines::error::");
            for everything in ["/", "/home", "..", "../.."] {
                let _ = std::fs::metadata(everything);
            }
        }
    "#;
    let fixture = bare("copy-file").file("src/main.rs", source);
    let run = fix(&fixture, "run", &[], &[]);
    let manifest = fixture.read("Cargo.toml").expect("it is there");
    let hidden = |c: char| cargo_sandbox::report::escape::is_hidden(c) && c != '\n';
    assert!(!manifest.contains(hidden), "{manifest:?}");
    assert!(!run.stderr.contains(|c| hidden(c) && c != '\t'), "{:?}", run.stderr);
    for text in ["\"assets\\u202Ex\\u200B/\\U000E0041\\u3164\"", "two\\nlines::error::"] {
        assert!(manifest.contains(text), "`{text}` is not in:\n{manifest}");
    }
    assert_eq!(manifest.matches("stat = [").count(), 1, "{manifest}");
    assert!(!manifest.contains("\"/") && !manifest.contains("\".."), "{manifest}");
    for text in
        ["stat `/` was not granted", "no entry can allow it: one for a directory covers all beneath it"]
    {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
}

#[test]
fn a_fix_writes_the_smallest_grants_and_a_second_one_nothing() {
    let fixture = bare("copy-file");
    let first = fix(&fixture, "run", &[], &[]).expect(0);
    assert!(first.stderr.contains("+read = [\"input.txt\"]\n+write = [\"output.txt\"]"), "{}", first.stderr);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    let second = fix(&fixture, "run", &[], &[]).expect(0);
    assert_eq!(fixture.read("Cargo.toml").as_deref(), Some(fixed.as_str()));
    assert!(second.stderr.contains("has all the grants"), "{}", second.stderr);
    run(fixture.command(["run", "--unused", "deny"])).expect(0);
    assert_least(&fixture, "run", &[]);
}

/// The entries of an array: strings without commas, and tables.
fn split(array: &str) -> Vec<&str> {
    let inside = |text: &str| text.matches('{').count() > text.matches('}').count();
    let ends = array.match_indices(", ").map(|(at, _)| at).filter(|at| !inside(&array[..*at]));
    let mut start = 0;
    let mut entries = Vec::new();
    for end in ends.chain([array.len()]) {
        entries.push(&array[start..end]);
        start = end + 2;
    }
    entries
}

/// Without any one entry it is 77, with one more it is 79.
fn assert_least(fixture: &Fixture, command: &str, guest: &[&str]) {
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    let with = |text: &str| {
        fs::write(fixture.path("Cargo.toml"), text).expect("a copy is ours to write");
        let mut args = vec![command, "-q", "--unused", "deny"];
        if !guest.is_empty() {
            args.push("--");
            args.extend(guest);
        }
        run(fixture.command(args))
    };
    with(&fixed).expect(0);
    let mut removed = 0;
    for key in ["read", "write", "list", "stat", "delete"] {
        for (start, _) in fixed.match_indices(&format!("\n{key} = [")) {
            let open = start + fixed[start..].find('[').expect("just matched");
            let close = open + fixed[open..].find("]\n").expect("an array ends");
            let entries = split(&fixed[open + 1..close]);
            for left_out in 0..entries.len() {
                let mut kept = entries.clone();
                kept.remove(left_out);
                let text = format!("{}[{}{}", &fixed[..open], kept.join(", "), &fixed[close..]);
                let run = with(&text);
                assert_eq!(run.status, 77, "without {}:\n{text}\n{}", entries[left_out], run.stderr);
                removed += 1;
            }
            let plain = entries[0].trim_matches(['"', '\'']).replace(']', "x");
            let other = if entries[0].starts_with('{') { "{tmp}" } else { &plain };
            for more in ["never/used", other] {
                let text = format!("{}[\"{more}\", {}", &fixed[..open], &fixed[open + 1..]);
                let run = with(&text);
                assert_eq!(run.status, 79, "with {more}:\n{text}\n{}", run.stderr);
            }
        }
    }
    assert!(removed > 0, "there was nothing to remove:\n{fixed}");
    fs::write(fixture.path("Cargo.toml"), fixed).expect("a copy is ours to write");
}

#[test]
fn tests_get_their_own_table_and_folders_of_fixtures_become_one_entry() {
    let fixture = Fixture::copy("folders");
    fix(&fixture, "test", &[], &[]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("[package.metadata.sandbox.test.fs]"), "{fixed}");
    assert!(fixed.contains("\"tests/data/many\""), "most of it was used:\n{fixed}");
    assert!(fixed.contains("\"tests/data/few/one.txt\""), "little of it was used:\n{fixed}");
    assert!(!fixed.contains("tests/data/few\""), "{fixed}");
    fix(&fixture, "test", &[], &[]).expect(0);
    assert_eq!(fixture.read("Cargo.toml"), Some(fixed), "a second time");
    assert_least(&fixture, "test", &[]);
}

#[test]
fn one_tests_grant_goes_to_its_case() {
    let fixture =
        Fixture::copy("tests-case").manifest(|text| text.replace("fs.read = [\"tests/data\"]\n", ""));
    fix(&fixture, "test", &["import"], &[]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    let case = fixed.find("[[package.metadata.sandbox.test.case]]").expect("it was there");
    assert!(fixed[case..].contains("tests/data"), "{fixed}");
    assert!(!fixed[..case].contains("\"tests/data"), "{fixed}");
    run(fixture.command(["test", "--unused", "deny", "import"])).expect(0);
}

#[test]
fn temporary_names_become_tmp() {
    let fixture = bare("tmp");
    fix(&fixture, "run", &[], &[]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("read = [\"{tmp}\"]\nwrite = [\"{tmp}\"]"), "{fixed}");
    assert!(!fixed.contains("TMPDIR"), "{fixed}");
    run(fixture.command(["run", "--unused", "deny"])).expect(0);
}

const AS: &str = "{ path = \"{tmp}\", as = \"/tmp\" }";

#[test]
fn tests_that_insist_on_tmp_find_their_private_directory_there() {
    let fixture = bare("tests-as-tmp");
    let first = fix(&fixture, "test", &[], &[]).expect(0);
    assert!(
        first.stderr.contains("What a guest called `/tmp` was its private directory"),
        "{}",
        first.stderr
    );
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains(&format!("\nread = [{AS}]\nwrite = [{AS}]\n")), "{fixed}");
    assert!(
        !fs::exists("/tmp/cargo-sandbox-fixture").expect("it can be looked for"),
        "nothing is left behind"
    );
    fix(&fixture, "test", &[], &[]).expect(0);
    assert_eq!(fixture.read("Cargo.toml"), Some(fixed), "a second time");
    assert_least(&fixture, "test", &[]);
}

#[test]
fn a_grant_that_lacks_only_where_it_is_seen_gets_that() {
    let fixture = Fixture::copy("as-tmp").manifest(|text| {
        text.replace(AS, "\n    # why\n    \"{tmp}\", # because\n    \"out\",\n").replace("read =", "list =")
    });
    let audit = run(fixture.command(["run", "--audit"])).expect(0);
    assert!(audit.stderr.contains(&format!("write = [{AS}]")), "{}", audit.stderr);
    fix(&fixture, "run", &[], &[]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    let written = format!("\nwrite = [\n    # why\n    {AS}, # because\n    \"out\",\n]\n");
    for part in [&written, &format!("\nlist = [{AS}]\n"), &format!("\nread = [{AS}]\n")] {
        assert!(fixed.contains(part), "{part} is not in:\n{fixed}");
    }
    run(fixture.command(["run"])).expect(0);
    run(fixture.command(["run", "--fix=prune", "--allow-dirty"])).expect(0);
    let pruned = fixture.read("Cargo.toml").expect("a manifest");
    assert!(!pruned.contains("list =") && !pruned.contains("out") && pruned.contains("# why"), "{pruned}");
    run(fixture.command(["run", "--unused", "deny"])).expect(0);
}

#[test]
fn what_was_in_tmp_before_is_what_it_was_in_an_audit() {
    let real = tempfile::tempdir_in("/tmp").expect("a folder in /tmp");
    let file = real.path().join("f");
    let name = file.to_str().expect("plain");
    fs::write(&file, "real").expect("it is ours");
    let fixture = bare("any-access");
    fix(&fixture, "run", &[], &["read", name]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains(&format!("read = [\"{name}\"]")), "{fixed}");
    let audited = |operation: &str| {
        let run = run(fixture.command(["run", "-q", "--audit", "--", operation, name])).expect(0);
        run.stdout.trim().to_owned()
    };
    assert_eq!((&*audited("modify"), &*audited("delete"), &*audited("read")), ("denied", "denied", "works"));
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "real");
    // Beside it, what was not there is made and is not seen afterwards.
    fix(&fixture, "run", &[], &["create", "/tmp/cargo-sandbox-made"]).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains(&format!("write = [{AS}]")), "{fixed}");
    assert!(!fs::exists("/tmp/cargo-sandbox-made").expect("it can be looked for"));
    let tried = |operation: &str, name: &str, status| {
        run(fixture.command(["run", "-q", "--", operation, name])).expect(status).stdout.trim().to_owned()
    };
    assert_eq!(tried("create", "/tmp/cargo-sandbox-made", 0), "works");
    assert_eq!(tried("read", name, 0), "works");
    assert_eq!(tried("modify", name, 77), "denied");
    assert_eq!(tried("modify", "/tmp/../etc/passwd", 77), "denied");
}

#[test]
fn what_can_only_fail_is_hidden_and_not_granted() {
    let fixture = bare("any-access");
    let audit = fix(&fixture, "run", &[], &["create", "/cargo-sandbox-none/a/b"]).expect(0);
    assert_eq!(audit.stdout.trim(), "denied", "an audit lets nothing be made there");
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("[package.metadata.sandbox.fs]\nhide = [\"/cargo-sandbox-none\"]\n"), "{fixed}");
    let other = ["run", "-q", "--unused", "deny", "--", "create", "/cargo-sandbox-none/c"];
    let run = run(fixture.command(other)).expect(0);
    assert!(run.stdout.contains("No such file"), "{}", run.stdout);
    let without = fixture.manifest(|text| text.replace("hide =", "deny ="));
    crate::common::run(without.command(other)).expect(77);
}

#[test]
fn names_with_a_meaning_get_no_wider_grant() {
    for name in ["**", "{home}", "a\"b", "[x]", "b'\"c", "{{tmp}}", "*.txt", "new\nline", "\u{202e}gnp.x"] {
        let fixture = bare("any-access").file(name, "odd\n").file("other.txt", "other\n");
        fix(&fixture, "run", &[], &["read", name]).expect(0);
        let run_it = |name: &str| run(fixture.command(["run", "-q", "--unused", "deny", "--", "read", name]));
        run_it(name).expect(0);
        for other in ["other.txt", "top.txt", "data/one"] {
            run_it(other).expect(77);
        }
    }
}

#[test]
fn sensitive_places_are_marked_one_by_one() {
    let fixture = bare("dependency");
    let run = fix(&fixture, "run", &[], &[]).expect(0);
    assert!(run.stderr.contains("should be looked at"), "{}", run.stderr);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("# sensitive: it lies in `/etc`\n    \"/etc/passwd\","), "{fixed}");
    // By crate: the dependency may, and the crate itself may not.
    let fixture = bare("dependency");
    crate::common::run(fixture.command(["run", "--fix=by-crate", "--allow-dirty"])).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("{ path = \"/etc/passwd\", by = [\"deep-reader\"] }"), "{fixed}");
    crate::common::run(fixture.command(["run", "--unused", "deny"])).expect(0);
    let other = fixture.manifest(|text| text.replace("deep-reader\"]", "middle\"]"));
    let run = crate::common::run(other.command(["run"])).expect(77);
    assert!(run.stderr.contains("deep-reader v"), "{}", run.stderr);
}

#[test]
fn variables_are_learned_and_secrets_are_marked() {
    let fixture = bare("any-access");
    let mut command = fixture.command(["run", "--fix", "--allow-dirty", "--", "env", "MY_API_TOKEN"]);
    command.env("MY_API_TOKEN", "hunter2");
    let run = run(command).expect(0);
    assert!(!run.stdout.contains("works"), "an audit does not hand out secrets: {}", run.stdout);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(fixed.contains("# sensitive: it looks like a secret\n    \"MY_API_TOKEN\""), "{fixed}");
    fix(&fixture, "run", &[], &["env", "HARMLESS"]).expect(0);
    crate::common::run(fixture.command(["run", "-q", "--", "env", "HARMLESS"])).expect(0);
}

#[test]
fn exceptions_and_protected_places_are_never_granted() {
    let fixture = Fixture::copy("any-access");
    let before = fixture.read("Cargo.toml");
    for (operation, name) in [("read", "data/secret"), ("modify", "Cargo.toml"), ("modify", "src/main.rs")] {
        let run = fix(&fixture, "run", &[], &[operation, name]);
        assert!(run.stderr.contains("was not granted"), "{operation} {name}: {}", run.stderr);
        assert_eq!(fixture.read("Cargo.toml"), before, "{operation} {name}");
    }
}

#[test]
fn comments_order_style_and_mode_stay() {
    let odd = "\n[package.metadata.sandbox]   # mine\n  env = { read=['GREETING'] } # inline\n\
        [package.metadata.sandbox.fs]\nread=[ 'data'  ,  # all of it\n]\n# the end\n";
    let fixture = bare("any-access").manifest(|text| text + odd);
    fs::set_permissions(fixture.path("Cargo.toml"), fs::Permissions::from_mode(0o640)).expect("ours");
    let before = fixture.read("Cargo.toml").expect("a manifest");
    fix(&fixture, "run", &[], &["modify", "changed.log"]).expect(0);
    let after = fixture.read("Cargo.toml").expect("a manifest");
    assert_ne!(before, after);
    let mut rest = after.lines();
    for line in before.lines() {
        assert!(rest.any(|kept| kept == line), "`{line}` was changed:\n{after}");
    }
    let mode = fs::metadata(fixture.path("Cargo.toml")).expect("a manifest").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn prune_takes_out_what_was_not_used() {
    let fixture = Fixture::copy("copy-file").manifest(|text| text.replace("read = [", "read = [\"never\", "));
    run(fixture.command(["run", "--fix=prune", "--allow-dirty"])).expect(0);
    let fixed = fixture.read("Cargo.toml").expect("a manifest");
    assert!(!fixed.contains("never") && fixed.contains("input.txt"), "{fixed}");
    run(fixture.command(["run", "--unused", "deny"])).expect(0);
}

#[test]
fn only_what_version_control_can_give_back_is_changed() {
    let fixture = bare("copy-file");
    let before = fixture.read("Cargo.toml");
    let git = |args: &[&str]| {
        let mut git = command("git");
        git.current_dir(fixture.dir()).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(args);
        run(git).expect(0)
    };
    git(&["init", "-q"]);
    let refused = run(fixture.command(["run", "--fix"])).expect(2);
    assert!(refused.stderr.contains("--allow-dirty"), "{}", refused.stderr);
    assert!(fixture.read("output.txt").is_none(), "nothing was run");
    git(&["add", "-A"]);
    run(fixture.command(["run", "--fix"])).expect(2);
    git(&["commit", "-qm", "all"]);
    assert_eq!(fixture.read("Cargo.toml"), before);
    run(fixture.command(["run", "--fix"])).expect(0);
    assert_ne!(fixture.read("Cargo.toml"), before);
    git(&["diff", "--stat", "--", "Cargo.toml"]);
}

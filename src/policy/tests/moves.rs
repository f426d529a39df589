//! Renames and hard links must gain nothing.

use super::*;

fn moves(table: &str, from: &str, to: &str, directory: bool) -> bool {
    fs(table).may_move(from.as_bytes(), to.as_bytes(), directory)
}

#[test]
fn within_one_grant_everything_moves() {
    let table = "write = [\"out\"]\nread = [\"out\"]";
    assert!(moves(table, "/w/p/out/a", "/w/p/out/b", false));
    assert!(moves(table, "/w/p/out/a", "/w/p/out/b/c", true));
}

#[test]
fn a_file_does_not_move_to_where_more_is_granted() {
    let table = "write = [\"in\", \"out\"]\nread = [\"out\"]";
    assert!(!moves(table, "/w/p/in/a", "/w/p/out/a", false));
    assert!(moves(table, "/w/p/out/a", "/w/p/in/a", false));
    assert!(!moves("read = [\"out\"]", "/home/u/.ssh/id", "/w/p/out/a", false));
    let table = "write = [\"out\"]\nread = [\"out\"]\ndeny = [\"out/secret\"]\nhide = [\"out/hidden\"]";
    assert!(!moves(table, "/w/p/out/secret", "/w/p/out/open", false));
    assert!(!moves(table, "/w/p/out/hidden", "/w/p/out/open", false));
}

#[test]
fn what_lies_beneath_a_directory_counts() {
    let out = "write = [\"out\"]\nread = [\"out\"]";
    for (more, from, to, fine) in [
        ("deny = [\"out/a/secret\"]", "a", "b", false),
        ("deny = [\"out/a/secret\"]", "b", "a", false),
        ("deny = [\"out/*/secret\"]", "a", "b", true),
        ("deny = [\"out/*/secret\"]", "a", "b/c", false),
        ("deny = [\"out/**/secret\"]", "a", "b/c", true),
        ("deny = [\"out/a\"]", "a", "b", false),
        ("hide = [\"out/a/x\"]", "a", "b", false),
    ] {
        let found =
            moves(&format!("{out}\n{more}"), &format!("/w/p/out/{from}"), &format!("/w/p/out/{to}"), true);
        assert_eq!(found, fine, "{more}: {from} to {to}");
    }
    let below = "write = [\"out\"]\nread = [\"out/b/open\"]";
    assert!(!moves(below, "/w/p/out/a", "/w/p/out/b", true));
    assert!(!moves(below, "/w/p/out/a", "/w/p/out/b/open", false));
}

#[test]
fn a_denied_directory_gains_nothing_from_a_grant_at_any_depth() {
    let table = "read = [\"**/open\"]\ndeny = [\"a\"]";
    assert!(!moves(table, "/w/p/a", "/w/p/b", true));
}

#[test]
fn a_private_directory_smuggles_no_protected_name() {
    let table = "write = [\"out\", \"{tmp}\"]";
    assert!(!moves(table, "/w/target/sandbox/run/1/d", "/w/p/out/d", true));
    assert!(moves(table, "/w/target/sandbox/run/1/f", "/w/p/out/f", false));
    assert!(moves(table, "/w/p/out/d", "/w/target/sandbox/run/1/d", false));
}

#[test]
fn grants_of_crates_count_one_by_one() {
    let by = |name: &str, crates: &str| format!("{{ path = \"{name}\", by = [{crates}] }}");
    let table = format!("read = [{}, {}]", by("a", "\"one\", \"two\""), by("b", "\"one\""));
    assert!(moves(&table, "/w/p/a/x", "/w/p/b/x", false));
    assert!(!moves(&table, "/w/p/b/x", "/w/p/a/x", false));
}

#[test]
fn a_grant_on_a_directory_alone_does_not_stand_for_its_contents() {
    let mut policy = loaded("[package.metadata.sandbox.fs]\nread = [\"a\", \"b\"]").policy;
    if let GrantPattern::Path(path) = &mut policy.grants[0].pattern {
        path.exact = true;
    }
    let decider = decider(&policy);
    assert!(decider.may_move(b"/w/p/a", b"/w/p/b", false));
    assert!(!decider.may_move(b"/w/p/a", b"/w/p/b", true));
}

#[test]
fn malformed_names_never_move() {
    for odd in ["", "a", "/w/p/out/", "/w/p/out/../x", "/w/p//out", "/w/p/out\0"] {
        assert!(!moves("write = [\"out\"]", "/w/p/out/a", odd, false), "{odd:?}");
        assert!(!moves("write = [\"out\"]", odd, "/w/p/out/a", false), "{odd:?}");
    }
}

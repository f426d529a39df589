//! Renames and hard links must gain nothing, and links must show nothing.

use super::*;

fn moves(table: &str, from: &str, to: &str) -> bool {
    fs(table).may_move(from.as_bytes(), to.as_bytes())
}

fn shows(table: &str, link: &str, to: &str) -> bool {
    fs(table).may_show(format!("/w/p/{link}").as_bytes(), format!("/w/p/{to}").as_bytes())
}

#[test]
fn within_one_grant_everything_moves() {
    let table = "write = [\"out\"]\nread = [\"out\"]";
    assert!(moves(table, "/w/p/out/a", "/w/p/out/b"));
    assert!(moves(table, "/w/p/out/a", "/w/p/out/b/c"));
    assert!(moves("write = [\"out/a\", \"out/b\"]", "/w/p/out/a", "/w/p/out/b"));
}

#[test]
fn a_file_does_not_move_to_where_more_is_granted() {
    let table = "write = [\"in\", \"out\"]\nread = [\"out\"]";
    assert!(!moves(table, "/w/p/in/a", "/w/p/out/a"));
    assert!(moves(table, "/w/p/out/a", "/w/p/in/a"));
    assert!(!moves("read = [\"out\"]", "/home/u/.ssh/id", "/w/p/out/a"));
    let table = "write = [\"out\"]\nread = [\"out\"]\ndeny = [\"out/secret\"]\nhide = [\"out/hidden\"]";
    assert!(!moves(table, "/w/p/out/secret", "/w/p/out/open"));
    assert!(!moves(table, "/w/p/out/hidden", "/w/p/out/open"));
    assert!(!moves("write = [\"out\"]", "/w/p/out/Cargo.toml", "/w/p/out/x"), "a hard link, say");
}

#[test]
fn grants_of_crates_count_one_by_one() {
    let by = |name: &str, crates: &str| format!("{{ path = \"{name}\", by = [{crates}] }}");
    let table = format!("read = [{}, {}]", by("a", "\"one\", \"two\""), by("b", "\"one\""));
    assert!(moves(&table, "/w/p/a/x", "/w/p/b/x"));
    assert!(!moves(&table, "/w/p/b/x", "/w/p/a/x"));
}

#[test]
fn the_current_directory_gives_nothing_to_what_is_moved_onto_it() {
    let mut policy = Policy { current_dir: b"/w/p/run".to_vec(), ..Policy::default() };
    policy.current_dir = b"/w/p/run".to_vec();
    assert!(!Decider::new(&policy).may_move(b"/w/p/a", b"/w/p/run"));
}

#[test]
fn a_link_does_not_show_what_is_protected_below_it() {
    // `*.rs` may be made below `/tmp`, and `Cargo.toml` in the private directory.
    let table = "write = [\"crates\", \"crates/a/out\", \"more\", \"/tmp/x\", \"{tmp}\"]\nread = [\"data\"]";
    for (link, to, fine) in [
        ("crates/l", "crates/a/src", true),
        ("crates/l", "more/a", true),
        ("more/l", "crates/a/out/x", true),
        ("crates/l", "data", true),
        ("crates/a/examples", "../../tmp/x/evil", false),
        ("../../tmp/x/l", "crates/a", true),
        ("../target/sandbox/run/1/l", "crates", true),
        ("crates/l", "../target/sandbox/run/1/d", false),
    ] {
        let clean = |path: &str| match path.strip_prefix("../../") {
            Some(rest) => format!("/{rest}"),
            None => path.strip_prefix("../").map_or(format!("/w/p/{path}"), |rest| format!("/w/{rest}")),
        };
        let found = fs(table).may_show(clean(link).as_bytes(), clean(to).as_bytes());
        assert_eq!(found, fine, "{link} to {to}");
    }
    let deny = "write = [\"out\"]\ndeny = [\"out/a/key\", \"out/*/lock\"]";
    assert!(!shows(deny, "out/a", "out/b") && shows(deny, "out/b", "out/a"));
    assert!(shows(deny, "out/c/d/e", "out/c") && shows(deny, "out/c", "out/d"));
    assert!(!shows(deny, "out/c", "out/c/d"));
    let named = "write = [\"out\", { path = \"out/b/Makefile\", protected = true }]";
    assert!(!shows(named, "out/a", "out/b") && shows(named, "out/b", "out/a"));
}

#[test]
fn malformed_names_never_move() {
    for odd in ["", "a", "/w/p/out/", "/w/p/out/../x", "/w/p//out", "/w/p/out\0"] {
        assert!(!moves("write = [\"out\"]", "/w/p/out/a", odd), "{odd:?}");
        assert!(!moves("write = [\"out\"]", odd, "/w/p/out/a"), "{odd:?}");
    }
}

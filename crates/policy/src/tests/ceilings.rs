//! `--ceiling`.

use super::*;

fn ceiling(text: &str) -> Ceiling {
    Ceiling::from_file(&file("/etc/sandbox.toml", text), &machine(), &Links::default()).unwrap()
}

/// The texts that stay, and the messages, of a manifest under a ceiling.
fn under(text: &str, ceiling: &Ceiling) -> (Vec<String>, Vec<String>) {
    let loaded = load(&manifests(text, None), &machine(), &Links::default(), Some(ceiling)).unwrap();
    (
        loaded.policy.grants.iter().map(|grant| grant.provenance.text.clone()).collect(),
        loaded.warnings.iter().map(|warning| warning.message.clone()).collect(),
    )
}

#[test]
fn what_is_above_is_dropped_and_said() {
    let text = "[package.metadata.sandbox.fs]\nread = [\"a/x\", \"b\", \"c/*.json\", \"**/d\"]\nwrite = [\"out\"]\n\
                [package.metadata.sandbox.env]\nread = [\"APP_X\", \"PATH\"]";
    let ceiling = ceiling("[fs]\nread = [\"a\", \"c\"]\nmodify = [\"out\"]\n[env]\nread = [\"APP_*\"]");
    let (kept, said) = under(text, &ceiling);
    assert_eq!(kept, ["a/x", "c/*.json", "out", "APP_X"]);
    assert_eq!(
        said,
        [
            "`b` in `read` is above the ceiling and not granted",
            "`**/d` in `read` is above the ceiling and not granted",
            "`out` in `write` is partly above the ceiling: stat, create, delete not granted",
            "`PATH` in `read` is above the ceiling and not granted",
        ]
    );
}

#[test]
fn warnings_have_their_place_and_numbers_stay_indices() {
    let text = "[package.metadata.sandbox.fs]\nread = [\"b\", \"a\"]";
    let loaded =
        load(&manifests(text, None), &machine(), &Links::default(), Some(&ceiling("[fs]\nread = [\"a\"]")))
            .unwrap();
    let span = &loaded.warnings[0].spans[0];
    assert_eq!(&span.file.text[span.range.clone()], "\"b\"");
    assert_eq!(loaded.policy.grants[0].id, GrantId(0));
}

#[test]
fn a_manifest_is_a_ceiling_too_and_an_empty_one_allows_nothing() {
    let text = "[package.metadata.sandbox.fs]\nread = [\"a\"]";
    assert_eq!(under(text, &ceiling(text)).1.len(), 0);
    assert_eq!(under(text, &ceiling("[package]\nname = \"p\"")).0.len(), 0);
    assert_eq!(under(text, &ceiling("")).0.len(), 0);
    let old = manifests(
        "[package.metadata.sandbox]\nworkspace = true",
        Some("[workspace.metadata.sandbox.fs]\nread = [\".\"]"),
    );
    let old = Ceiling::from_manifests(&old, &machine(), &Links::default()).unwrap();
    assert_eq!(under(text, &old).1.len(), 0);
}

#[test]
fn several_ceilings_all_bind() {
    let text = "[package.metadata.sandbox.fs]\nread = [\"a\", \"b\"]";
    let both = ceiling("[fs]\nread = [\"a\"]").and(ceiling("[fs]\nread = [\"b\"]"));
    assert_eq!(under(text, &both).0.len(), 0);
    let both = ceiling("[fs]\nread = [\"a\"]").and(ceiling("[fs]\nread = [\"*\"]"));
    assert_eq!(under(text, &both).0, ["a"]);
}

#[test]
fn scopes_crates_and_protected_places_count() {
    for (text, bound, kept) in [
        ("[package.metadata.sandbox.fs]\nread = [\"a\"]", "[test.fs]\nread = [\"a\"]", 0),
        ("[package.metadata.sandbox.test.fs]\nread = [\"a\"]", "[fs]\nread = [\"a\"]", 1),
        ("[package.metadata.sandbox.fs]\nread = [\"a\"]", "[fs]\nread = [{ path = \"a\", by = [\"x\"] }]", 0),
        ("[package.metadata.sandbox.fs]\nread = [{ path = \"a\", by = [\"x\"] }]", "[fs]\nread = [\"a\"]", 1),
        (
            "[package.metadata.sandbox.fs]\nwrite = [{ path = \".git\", protected = true }]",
            "[fs]\nwrite = [\".\"]",
            0,
        ),
        (
            "[package.metadata.sandbox.fs]\nwrite = [{ path = \".git\", protected = true }]",
            "[fs]\nwrite = [{ path = \".git\", protected = true }]",
            1,
        ),
    ] {
        assert_eq!(under(text, &ceiling(bound)).0.len(), kept, "{text} under {bound}");
    }
}

#[test]
fn its_exceptions_and_limits_bind() {
    let bound =
        ceiling("[fs]\nread = [\".\"]\ndeny = [\"secret\"]\n[limits]\ntime = \"10s\"\nmemory = \"1 GiB\"");
    let text = "[package.metadata.sandbox.fs]\nread = [\".\"]\n[package.metadata.sandbox.limits]\ntime = \"60s\"\noutput = \"1 MiB\"";
    let policy = load(&manifests(text, None), &machine(), &Links::default(), Some(&bound)).unwrap().policy;
    assert!(!allowed(&decider(&policy), Operation::Read, "/w/p/secret"));
    let limits = policy.for_target(TargetKind::Bin, "main", None, &bindings()).limits;
    assert_eq!(limits.time, Some(std::time::Duration::from_secs(10)));
    assert_eq!((limits.memory, limits.output), (Some(1 << 30), Some(1 << 20)));
}

#[test]
fn a_link_must_stay_below_with_both_ends() {
    let links = Links::of(&[("/data", "/srv")]);
    let text = "[package.metadata.sandbox.fs]\nread = [\"/data/x\"]";
    let bound =
        Ceiling::from_file(&file("/c", "[fs]\nread = [\"/data\"]"), &machine(), &Links::default()).unwrap();
    let policy = load(&manifests(text, None), &machine(), &links, Some(&bound)).unwrap().policy;
    assert_eq!(policy.grants.len(), 0);
}

#[test]
fn a_broken_ceiling_is_an_error() {
    for text in ["[fs", "[fs]\nraed = []", "[sf]\n"] {
        assert!(Ceiling::from_file(&file("/c", text), &machine(), &Links::default()).is_err(), "{text}");
    }
}

#[test]
fn a_link_put_below_a_ceiling_does_not_raise_it() {
    let links = Links::of(&[("/w/p/assets", "/home/u/notes")]);
    let bound = Ceiling::from_file(&file("/c", "[fs]\nread = [\"assets\"]"), &machine(), &links).unwrap();
    let text = "[package.metadata.sandbox.fs]\nread = [\"{home}/notes\"]";
    let policy = load(&manifests(text, None), &machine(), &links, Some(&bound)).unwrap().policy;
    assert_eq!(policy.grants.len(), 0);
}

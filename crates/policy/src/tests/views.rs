//! `as = "/tmp"`.

use super::*;
use std::collections::BTreeSet;

const AS: &str = "{ path = \"{tmp}\", as = \"/tmp\" }";

fn table(entries: &str) -> String {
    format!("[package.metadata.sandbox.fs]\n{entries}")
}

/// What a guest of the main binary means by a path below `/tmp`.
fn meant(loaded: &Loaded, path: &str) -> String {
    let tmp = Some("/tmp/cargo-sandbox-x/t0".into());
    let bind = Bindings { tmp, current_dir: "/tmp/cwd/p".into() };
    let policy = loaded.policy.for_target(TargetKind::Bin, "main", None, &bind);
    let real = policy.mounts.to_host(path.as_bytes());
    real.map_or(path.to_owned(), |real| String::from_utf8(real).unwrap())
}

#[test]
fn an_entry_is_read_as_it_is_written() {
    for (text, mount, protected) in
        [("{tmp}", None, false), ("{tmp}", Some(MountPoint::Tmp), false), ("Cargo.toml", None, true)]
    {
        for by in [vec![], vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]] {
            let entry = Entry { text: text.to_owned(), by, protected, mount };
            let text = entry.toml("path", crate::text::toml_string);
            assert_eq!(
                loaded(&table(&format!("write = [{text}]"))).policy.grants[0].entry(),
                entry,
                "{text}"
            );
        }
    }
}

#[test]
fn only_the_private_directory_can_be_seen_there() {
    let message = |entry: &str| {
        let errors = try_load(&table(&format!("write = [{entry}]"))).expect_err("it is wrong");
        let span = &errors[0].spans[0];
        (errors[0].code, errors[0].message.clone(), span.file.text[span.range.clone()].to_owned())
    };
    let needs = "only the private directory can stand in the place of `/tmp`: `as` needs the path `{tmp}`";
    for path in ["out", "{tmp}/x", "/tmp"] {
        let quoted = format!("\"{path}\"");
        assert_eq!(
            message(&format!("{{ path = {quoted}, as = \"/tmp\" }}")),
            ("bad-view", needs.to_owned(), quoted)
        );
    }
    for place in ["\"/var/tmp\"", "\"/tmp/\"", "\"tmp\"", "\"\""] {
        let (code, message, span) = message(&format!("{{ path = \"{{tmp}}\", as = {place} }}"));
        assert_eq!((code, &*message, &*span), ("bad-view", "`as` can only be `\"/tmp\"`", place));
    }
    let (_, wrong, _) = message("{ path = \"{tmp}\", as = true }");
    assert_eq!(wrong, "`as` must be `\"/tmp\"`, not a boolean");
    let errors = try_load(&table(&format!("deny = [{AS}]"))).expect_err("an exception is seen nowhere");
    assert_eq!(errors[0].message, "unknown key `as`");
    loaded(&table(&format!(
        "write = [{AS}]\nread = [{{ path = \"{{tmp}}\", as = \"/tmp\", by = [\"a\"] }}]"
    )));
}

#[test]
fn names_that_something_else_speaks_of_stay_what_they_are() {
    let found = loaded(&table(&format!(
        "write = [{AS}, \"/tmp/written/x\"]\nread = [\"/tmp/read/**/*.txt\"]\ndeny = [\"/tmp/no\"]\nhide = [\"/tmp/none\"]"
    )));
    for kept in ["written", "read", "no", "none", "cwd", "cargo-sandbox-x"] {
        let path = format!("/tmp/{kept}/f");
        assert_eq!(meant(&found, &path), path);
        assert_eq!(meant(&found, &format!("/tmp/{kept}")), format!("/tmp/{kept}"));
    }
    let to = "/tmp/cargo-sandbox-x/t0";
    assert_eq!(meant(&found, "/tmp"), to);
    assert_eq!(meant(&found, "/tmp/writtenx"), format!("{to}/writtenx"));
    assert_eq!(meant(&found, "/tmp/other/written"), format!("{to}/other/written"));
    assert_eq!(meant(&found, "/tmp/.."), format!("{to}/.."));
    assert_eq!((meant(&found, "/tmpx"), meant(&found, "/var/tmp/x")), ("/tmpx".into(), "/var/tmp/x".into()));
    let places = Places { package: "/tmp/p/q".into(), home: Some("/tmp/home".into()), ..machine() };
    let text = manifests(&table(&format!("write = [{AS}]")), None);
    let moved = load(&text, &places, &Links::of(&[("/tmp/p", "/tmp/real")]), None).unwrap();
    for kept in ["p", "real", "home"] {
        assert_eq!(meant(&moved, &format!("/tmp/{kept}/x")), format!("/tmp/{kept}/x"));
    }
}

#[test]
fn it_stands_for_no_tmp_that_something_speaks_of_as_a_whole() {
    for other in ["read = [\"/tmp\"]", "stat = [\"/tmp/*\"]", "deny = [\"/tmp/**/x\"]", "list = [\"/link\"]"]
    {
        let text = manifests(&table(&format!("write = [{AS}]\n{other}")), None);
        let errors = load(&text, &machine(), &Links::of(&[("/link", "/tmp")]), None).expect_err(other);
        let span = &errors[0].spans[0];
        assert_eq!(
            (errors[0].code, &span.file.text[span.range.clone()]),
            ("bad-view", "\"{tmp}\""),
            "{other}"
        );
        assert!(errors[0].notes[0].contains("line 3, speaks of `/tmp` too"), "{:?}", errors[0].notes);
    }
    // What never meets may say both.
    let apart = "[package.metadata.sandbox.bin.a]\nfs.read = [\"/tmp\"]\n[package.metadata.sandbox.test]\nfs.write = ";
    loaded(&format!("{apart}[{AS}]"));
    let places = Places { package: "/tmp".into(), ..machine() };
    let text = manifests(&table(&format!("write = [{AS}]")), None);
    let errors = load(&text, &places, &Links::default(), None).expect_err("the package is all of it");
    assert_eq!(errors[0].notes, ["the package or its target directory is `/tmp` itself"]);
}

#[test]
fn whoever_has_one_such_entry_sees_it_so_and_nobody_else() {
    let text = format!(
        "[package.metadata.sandbox.fs]\nread = [\"{{tmp}}\"]\n[package.metadata.sandbox.test]\nfs.write = [{AS}]"
    );
    let found = loaded(&text);
    assert_eq!(meant(&found, "/tmp/x"), "/tmp/x", "a program is no test");
    let view = |tmp: Option<&str>| {
        let bind = Bindings { tmp: tmp.map(Into::into), current_dir: "/w/p".into() };
        found.policy.for_target(TargetKind::Test, "main", Some("t"), &bind).mounts
    };
    let there = view(Some("/private"));
    assert_eq!(there.ungranted().count(), 0);
    assert_eq!(there.to_host(b"/tmp"), Some(b"/private".to_vec()));
    assert_eq!(view(None), Mounts::default(), "nothing stands for it where there is none");
}

#[test]
fn an_audit_shows_it_to_all_but_for_what_was_there() {
    let mut found = loaded(&table("read = [\"/tmp/named\"]"));
    found.policy.kept.audit(["there".into()].into());
    let to = "/tmp/cargo-sandbox-x/t0";
    assert_eq!(meant(&found, "/tmp/x"), format!("{to}/x"));
    for kept in ["/tmp/there/x", "/tmp/named"] {
        assert_eq!(meant(&found, kept), kept);
    }
    // What the manifest says comes first: names that were there are not looked at.
    let mut granted = loaded(&table(&format!("write = [{AS}]")));
    granted.policy.kept.audit(["there".into()].into());
    assert_eq!(meant(&granted, "/tmp/there"), format!("{to}/there"));
    let mut whole = loaded(&table("read = [\"/tmp\"]"));
    whole.policy.kept.audit(Default::default());
    assert_eq!(meant(&whole, "/tmp/x"), "/tmp/x");
}

fn found(text: &str, operation: Operation, path: &str, mounted: bool) -> Suggested {
    let bind = Bindings { tmp: Some("/tmp/cargo-sandbox-x/t0".into()), current_dir: "/w/p".into() };
    let mounted = &mounted.then_some(MountPoint::Tmp).into_iter().collect();
    let target = Target { kind: TargetKind::Bin, name: "main", test: None, bind: &bind, mounted };
    let access = Access { operation, resource: Resource::Path(path.into()) };
    suggest(&loaded(text).policy, &machine(), "Cargo.toml", &access, &target)
}

fn suggested(text: &str, operation: Operation, path: &str, mounted: bool) -> String {
    found(text, operation, path, mounted).suggestion.expect("there is an entry for it").paste
}

#[test]
fn whoever_changes_something_in_tmp_is_told_of_it_and_pasted_it_works() {
    let written = table(&format!("write = [{AS}]"));
    for operation in [Operation::Create, Operation::Modify] {
        assert_eq!(suggested("", operation, "/tmp/x/y", false), written);
    }
    assert_eq!(meant(&loaded(&written), "/tmp/x/y"), "/tmp/cargo-sandbox-x/t0/x/y");
    assert_eq!(suggested("", Operation::Delete, "/tmp/x", false), table(&format!("delete = [{AS}]")));
    // Whoever only looks may mean what is there, and so does who has been granted what is there.
    assert_eq!(suggested("", Operation::Read, "/tmp/x", false), table("read = [\"/tmp/x\"]"));
    for has in ["read = [\"/tmp/x\"]", "read = [\"/tmp\"]"] {
        let paste = suggested(&table(has), Operation::Create, "/tmp/x", false);
        assert_eq!(paste, table("write = [\"/tmp/x\"]"), "{has}");
    }
    assert_eq!(suggested("", Operation::Create, "/tmp", false), table("write = [\"/tmp\"]"));
    let elsewhere = format!("{}[package.metadata.sandbox.test]\nfs.read = [\"/tmp\"]", table("\n"));
    assert_eq!(suggested(&elsewhere, Operation::Create, "/tmp/x", false), table("write = [\"/tmp/x\"]"));
    // By its own path, as it was called.
    let own = "/tmp/cargo-sandbox-x/t0/f";
    assert_eq!(suggested("", Operation::Read, own, true), table(&format!("read = [{AS}]")));
    assert_eq!(suggested("", Operation::Read, own, false), table("read = [\"{tmp}\"]"));
    // That of another test has another name each time.
    assert!(found("", Operation::Create, "/tmp/cargo-sandbox-x/t1/f", false).suggestion.is_none());
}

#[test]
fn a_ceiling_with_the_directory_allows_it_there_and_one_without_says_so() {
    let text = table(&format!("write = [{AS}]"));
    let bound = |ceiling: &str| {
        let ceiling = Ceiling::from_file(&file("/c.toml", ceiling), &machine(), &Links::default()).unwrap();
        load(&manifests(&text, None), &machine(), &Links::default(), Some(&ceiling)).unwrap()
    };
    assert_eq!(meant(&bound("[fs]\nwrite = [\"{tmp}\"]"), "/tmp/x"), "/tmp/cargo-sandbox-x/t0/x");
    let above = bound("");
    assert_eq!(meant(&above, "/tmp/x"), "/tmp/x");
    let bind = Bindings { tmp: Some("/private".into()), current_dir: "/w/p".into() };
    let target =
        Target { kind: TargetKind::Bin, name: "main", test: None, bind: &bind, mounted: &BTreeSet::new() };
    let access = Access { operation: Operation::Create, resource: Resource::Path(b"/tmp/x".to_vec()) };
    let found = suggest(&above.policy, &machine(), "Cargo.toml", &access, &target);
    assert_eq!(found.note.as_deref(), Some("the manifest grants it, but that is above the ceiling"));
}

#[test]
fn to_be_seen_there_is_something_gained() {
    let (plain, seen) =
        (loaded(&table("write = [\"{tmp}\"]")).policy, loaded(&table(&format!("write = [{AS}]"))).policy);
    assert_eq!(compare::gained(&plain, &seen).len(), 1);
    assert!(compare::gained(&seen, &plain).is_empty() && compare::gained(&seen, &seen).is_empty());
}

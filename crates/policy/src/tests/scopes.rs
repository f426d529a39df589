//! Inheritance, targets and tests, the command line, suggestions.

use super::*;
use crate::access::Key;
use crate::access::{Access, Resource};
use std::collections::BTreeSet;

#[test]
fn a_workspace_is_inherited_only_when_asked_but_its_deny_always_binds() {
    let workspace =
        "[workspace.metadata.sandbox.fs]\nread = [\"shared\"]\ndeny = [\"secret\"]\nhide = [\"hidden\"]";
    let own = "[package.metadata.sandbox.fs]\nread = [\".\"]";
    for (package, shared) in
        [(own.to_owned(), false), (format!("[package.metadata.sandbox]\nworkspace = true\n{own}"), true)]
    {
        let policy =
            load(&manifests(&package, Some(workspace)), &machine(), &Links::default(), None).unwrap().policy;
        assert_eq!(policy.grants.len(), 1 + usize::from(shared));
        let decider = decider(&policy);
        assert!(!allowed(&decider, Operation::Read, "/w/p/secret"), "{shared}");
        assert_eq!(allowed(&decider, Operation::Read, "/w/p/hidden"), !shared);
    }
    // A relative deny of the workspace means its own folder, too.
    let policy = load(
        &manifests("[package.metadata.sandbox.fs]\nread = [\"..\"]", Some(workspace)),
        &machine(),
        &Links::default(),
        None,
    )
    .unwrap()
    .policy;
    assert!(!allowed(&decider(&policy), Operation::Read, "/w/secret/x"));
}

#[test]
fn a_root_package_is_its_own_workspace() {
    let text =
        "[package.metadata.sandbox]\nworkspace = true\n[workspace.metadata.sandbox.fs]\nread = [\"a\"]";
    assert_eq!(loaded(text).policy.grants.len(), 1);
    let both = Manifests { workspace: Some(file("/w/p/Cargo.toml", text)), ..manifests(text, None) };
    let policy = load(&both, &machine(), &Links::default(), None).unwrap().policy;
    assert_eq!(policy.grants.len(), 1);
}

const SCOPED: &str = r#"
[package.metadata.sandbox.fs]
read = ["all"]
[package.metadata.sandbox.bin.tool.fs]
read = ["bin"]
[package.metadata.sandbox.example.demo.fs]
read = ["example"]
[package.metadata.sandbox.test]
fs.read = ["test"]
fs.write = ["{tmp}"]
limits.time = "5s"
[[package.metadata.sandbox.test.case]]
name = "import::*"
fs.read = ["case"]
limits.time = "9s"
env.set = { TZ = "CET" }
[package.metadata.sandbox.limits]
time = "1s"
[package.metadata.sandbox.env]
set = { TZ = "UTC" }
"#;

#[test]
fn each_target_gets_its_own() {
    let policy = loaded(SCOPED).policy;
    for (kind, name, test, expected, time, zone) in [
        (TargetKind::Bin, "tool", None, "all bin", 1, "UTC"),
        (TargetKind::Bin, "other", None, "all", 1, "UTC"),
        (TargetKind::Example, "demo", None, "all example", 1, "UTC"),
        (TargetKind::Test, "tool", None, "all test", 5, "UTC"),
        (TargetKind::Bin, "tool", Some("x"), "all test", 5, "UTC"),
        (TargetKind::Test, "it", Some("import::csv"), "all test case", 9, "CET"),
    ] {
        let cut = policy.for_target(kind, name, test, &bindings());
        let decider = Decider::new(&cut);
        let names = ["all", "bin", "example", "test", "case"];
        let open: Vec<_> = names
            .into_iter()
            .filter(|name| allowed(&decider, Operation::Read, &format!("/w/p/{name}")))
            .collect();
        assert_eq!(open.join(" "), expected);
        assert_eq!(cut.limits.time, Some(std::time::Duration::from_secs(time)));
        assert_eq!(cut.set["TZ"], zone);
    }
}

#[test]
fn the_union_of_tests_covers_each_and_keeps_ids() {
    let text =
        format!("{SCOPED}\n[[package.metadata.sandbox.test.case]]\nname = \"b\"\nfs.deny = [\"test\"]");
    let policy = loaded(&text).policy;
    let parent = Bindings { tmp: Some("/w/target/sandbox/run".into()), current_dir: "/w/p".into() };
    let union = Decider::new(&policy.for_all_tests(&parent));
    for path in ["/w/p/all", "/w/p/test", "/w/p/case"] {
        assert!(allowed(&union, Operation::Read, path), "{path}");
    }
    assert!(allowed(&union, Operation::Create, "/w/target/sandbox/run/2/x"));
    assert!(!allowed(&union, Operation::Read, "/w/p/bin"));
    let one = Decider::new(&policy.for_target(TargetKind::Test, "it", Some("b"), &bindings()));
    assert!(!allowed(&one, Operation::Read, "/w/p/test"));
    assert!(!allowed(&one, Operation::Create, "/w/target/sandbox/run/2/x"));
    let cut = policy.for_target(TargetKind::Test, "it", Some("b"), &bindings());
    assert!(cut.grants.iter().all(|grant| policy.grants[grant.id.0 as usize].id == grant.id));
}

#[test]
fn grants_on_tmp_need_a_binding() {
    let policy = loaded("[package.metadata.sandbox.fs]\nwrite = [\"{tmp}\"]").policy;
    let unbound = Bindings { tmp: None, current_dir: "/w/p".into() };
    assert_eq!(policy.for_target(TargetKind::Bin, "m", None, &unbound).grants.len(), 0);
}

fn with_flags(text: &str, flags: &[(Key, &str)]) -> Result<Loaded, Vec<Diagnostic>> {
    let flags = flags.iter().map(|(flag, value)| (*flag, (*value).to_owned())).collect();
    let manifests = Manifests { extra: CommandLineGrants { flags }, ..manifests(text, None) };
    load(&manifests, &machine(), &Links::default(), None)
}

#[test]
fn the_command_line_adds() {
    let flags = [
        (Key::Of(Operation::Read), "a"),
        (Key::Of(Operation::EnvRead), "TZ=CET"),
        (Key::Of(Operation::EnvRead), "LANG"),
        (Key::Deny, "a/b"),
        (Key::Write, ".git"),
    ];
    let policy = with_flags("[package.metadata.sandbox.env]\nset = { TZ = \"UTC\" }", &flags).unwrap().policy;
    let cut = policy.for_target(TargetKind::Bin, "m", None, &bindings());
    assert_eq!(cut.set["TZ"], "CET");
    assert_eq!((policy.grants[0].provenance.table.as_str(), policy.grants[0].provenance.line), ("--read", 0));
    let decider = Decider::new(&cut);
    assert!(
        allowed(&decider, Operation::Read, "/w/p/a/x") && !allowed(&decider, Operation::Read, "/w/p/a/b")
    );
    assert!(allowed(&decider, Operation::Create, "/w/p/.git/x"));
    let errors = with_flags(
        "",
        &[(Key::Of(Operation::Read), "a?"), (Key::Write, "."), (Key::Of(Operation::EnvRead), "=x")],
    )
    .unwrap_err();
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[0].notes, ["given as `--read a?`"]);
}

#[test]
fn names_of_variables_are_decided() {
    let text = "[package.metadata.sandbox.env]\nread = [\"RUST_LOG\", \"APP_*\", { name = \"TOKEN\", by = [\"my-dep\"] }]\nset = { TZ = \"UTC\" }";
    let decider = decider(&loaded(text).policy);
    let decide = |name: &[u8]| decider.decide(Operation::EnvRead, &Resource::Env(name.to_vec()));
    assert_eq!(decide(b"RUST_LOG"), Decision::Allowed(Some(GrantId(0))));
    assert_eq!(decide(b"APP_\xff"), Decision::Allowed(Some(GrantId(1))));
    assert_eq!(decide(b"TZ"), Decision::Allowed(None));
    assert_eq!(decide(b"RUST_BACKTRACE"), Decision::Allowed(None));
    assert_eq!(decide(b"RUST_TEST_THREADS"), Decision::Allowed(None));
    assert_eq!(decide(b"PATH"), Decision::Denied(None));
    assert_eq!(decide(b"RUST_LOG\0x"), Decision::Denied(None));
    assert_eq!(decide(b"TOKEN"), Decision::DependsOnOrigin);
    let token = Resource::Env(b"TOKEN".to_vec());
    assert_eq!(decider.decide_by(Operation::EnvRead, &token, "my_dep"), Decision::Allowed(Some(GrantId(2))));
    assert_eq!(decider.decide_by(Operation::EnvRead, &token, "other"), Decision::Denied(None));
}

fn suggestion(
    text: &str,
    operation: Operation,
    resource: Resource,
    kind: TargetKind,
    test: Option<&str>,
) -> Suggested {
    let bind = bindings();
    let target = Target { kind, name: "main", test, bind: &bind, mounted: &BTreeSet::new() };
    suggest(&loaded(text).policy, &machine(), "Cargo.toml", &Access { operation, resource }, &target)
}

fn path(path: &str) -> Resource {
    Resource::Path(path.as_bytes().to_vec())
}

#[test]
fn what_is_suggested_pasted_allows_it() {
    for (operation, name, paste) in [
        (Operation::Create, "/w/p/output.txt", "[package.metadata.sandbox.fs]\nwrite = [\"output.txt\"]"),
        (Operation::Modify, "/w/p/output.txt", "[package.metadata.sandbox.fs]\nwrite = [\"output.txt\"]"),
        (Operation::Delete, "/w/p/a b", "[package.metadata.sandbox.fs]\ndelete = [\"a b\"]"),
        (Operation::Read, "/etc/passwd", "[package.metadata.sandbox.fs]\nread = [\"/etc/passwd\"]"),
        (Operation::List, "/w/p", "[package.metadata.sandbox.fs]\nlist = [\".\"]"),
        (Operation::Stat, "/w/other", "[package.metadata.sandbox.fs]\nstat = [\"{workspace}/other\"]"),
        (Operation::Read, "/w/p/**", "[package.metadata.sandbox.fs]\nread = [\"[*][*]\"]"),
        (Operation::Read, "/w/p/{home}", "[package.metadata.sandbox.fs]\nread = [\"{{home}}\"]"),
        (
            Operation::Read,
            "/w/p/a\"b\n\u{202e}",
            "[package.metadata.sandbox.fs]\nread = [\"a\\\"b\\n\\u202E\"]",
        ),
        (
            Operation::Read,
            "/home/u/.config/x",
            "[package.metadata.sandbox.fs]\nread = [\"{home}/.config/x\"]",
        ),
        (
            Operation::Create,
            "/w/target/sandbox/run/1/r4nd",
            "[package.metadata.sandbox.fs]\nwrite = [\"{tmp}\"]",
        ),
        (
            Operation::Read,
            "/home/u/.ssh/id",
            "[package.metadata.sandbox.fs]\nread = [{ path = \"{home}/.ssh/id\", protected = true }]",
        ),
        (
            Operation::Create,
            "/w/p/src/new.rs",
            "[package.metadata.sandbox.fs]\nwrite = [{ path = \"src/new.rs\", protected = true }]",
        ),
    ] {
        let found = suggestion("", operation, path(name), TargetKind::Bin, None).suggestion.unwrap();
        assert_eq!(found.paste, paste);
        assert!(allowed(&decider(&loaded(paste).policy), operation, name), "{name}");
    }
    let env = suggestion("", Operation::EnvRead, Resource::Env(b"A*".to_vec()), TargetKind::Bin, None);
    assert_eq!(env.suggestion.unwrap().paste, "[package.metadata.sandbox.env]\nread = [\"A[*]\"]");
}

#[test]
fn a_suggestion_goes_to_the_table_of_its_target() {
    let table = |text: &str, kind, test| {
        let found = suggestion(text, Operation::Read, path("/w/p/a"), kind, test);
        (found.suggestion.unwrap().table, found.note)
    };
    assert_eq!(table("", TargetKind::Test, Some("t")).0, "package.metadata.sandbox.test.fs");
    assert_eq!(table("", TargetKind::Bin, None).0, "package.metadata.sandbox.fs");
    let bin = "[package.metadata.sandbox.bin.main]";
    assert_eq!(table(bin, TargetKind::Bin, None).0, "package.metadata.sandbox.bin.main.fs");
    let case = "[[package.metadata.sandbox.test.case]]\nname = \"t*\"";
    let (name, note) = table(case, TargetKind::Test, Some("tx"));
    assert_eq!(name, "package.metadata.sandbox.test.case.fs");
    assert_eq!(note.as_deref(), Some("in the `[[package.metadata.sandbox.test.case]]` whose name is `t*`"));
}

#[test]
fn what_cannot_be_allowed_says_why() {
    let deny = "[package.metadata.sandbox.fs]\ndeny = [\"no\"]";
    let found = suggestion(deny, Operation::Read, path("/w/p/no/x"), TargetKind::Bin, None);
    let note = "`no` in `package.metadata.sandbox.fs` forbids it, line 2 of /w/p/Cargo.toml";
    assert_eq!((found.suggestion, found.note.as_deref()), (None, Some(note)));
    let raw = Resource::Path(b"/w/p/\xff".to_vec());
    assert!(suggestion("", Operation::Read, raw, TargetKind::Bin, None).suggestion.is_none());
    assert!(suggestion("", Operation::List, path("/"), TargetKind::Bin, None).suggestion.is_none());
    // A name that is another one each time: of the folder around `{tmp}`, and of a process.
    for name in [
        "/w/target/sandbox/run",
        "/w/target/sandbox/run/2",
        "/proc/self/mem",
        "/proc/7",
        "/proc/thread-self/x",
    ] {
        let found = suggestion("", Operation::List, path(name), TargetKind::Bin, None);
        let note = found.note.unwrap_or_default();
        assert!(found.suggestion.is_none() && note.contains("another name each time"), "{name}: {note}");
    }
    assert!(
        suggestion("", Operation::Read, path("/w/target/tmp"), TargetKind::Bin, None).suggestion.is_some()
    );
    assert!(
        suggestion("", Operation::Read, path("/proc/cpuinfo"), TargetKind::Bin, None).suggestion.is_some()
    );
    let found = suggestion("", Operation::Read, path("/home/u/.ssh/id"), TargetKind::Bin, None);
    assert_eq!(found.note.as_deref(), Some("`{home}/.ssh` is a sensitive place: it holds private keys"));
    let found = suggestion("", Operation::Delete, path("/w/p/src"), TargetKind::Bin, None);
    let note = "no entry can allow it: it contains the protected place `{package}/src` (it holds the sources of the package)";
    assert_eq!((found.suggestion, found.note.as_deref()), (None, Some(note)));
    let bad = Resource::Env(b"A=B".to_vec());
    assert!(suggestion("", Operation::EnvRead, bad, TargetKind::Bin, None).suggestion.is_none());
}

#[test]
fn a_wildcard_passes_on_no_secret() {
    let decide = |entries: &str, name: &str| {
        let text = format!("[package.metadata.sandbox.env]\nread = {entries}\n");
        decider(&loaded(&text).policy).decide(Operation::EnvRead, &Resource::Env(name.as_bytes().to_vec()))
    };
    for secret in ["CARGO_REGISTRY_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "api_key", "NPM_AUTH"] {
        assert_eq!(decide("[\"*\", \"C*\", \"*N\"]", secret), Decision::Denied(None), "{secret}");
        assert_eq!(decide(&format!("[\"*\", \"{secret}\"]"), secret), Decision::Allowed(Some(GrantId(1))));
    }
    for fine in ["CARGO_TARGET_DIR", "KEYBOARD", "PATH", "AUTHOR", "MONKEY"] {
        assert_eq!(decide("[\"*\"]", fine), Decision::Allowed(Some(GrantId(0))), "{fine}");
    }
}

#[test]
fn an_ordinary_test_has_the_policy_of_no_test_at_all() {
    let with = bindings();
    let without = Bindings { tmp: None, ..bindings() };
    let ordinary = |policy: &PackagePolicy| {
        let of = |test, bind| policy.for_target(TargetKind::Test, "tool", test, bind);
        let mut ordinary = 0;
        for test in ["import::a", "export::a", ""] {
            for bind in [&without, &with] {
                let same = of(Some(test), bind) == of(None, &without);
                assert_eq!(policy.is_ordinary(test, bind.tmp.is_some()), same, "{test} {bind:?}");
                ordinary += usize::from(same);
            }
        }
        ordinary
    };
    assert_eq!(ordinary(&loaded(SCOPED).policy), 2);
    let mut plain = loaded("").policy;
    assert_eq!(ordinary(&plain), 6);
    // An audit shows each its own directory, whatever is granted.
    plain.kept.audit(BTreeSet::new());
    assert_eq!(ordinary(&plain), 3);
    // What differs may be a limit, a variable or an exception alone.
    for of_case in ["limits.files = 3", "env.set = { TZ = \"CET\" }", "fs.deny = [\"all/x\"]"] {
        let case = "[[package.metadata.sandbox.test.case]]\nname = \"import::*\"\n";
        let policy =
            loaded(&format!("{case}{of_case}\n[package.metadata.sandbox.fs]\nread = [\"all\"]")).policy;
        assert!(!policy.is_ordinary("import::a", false), "{of_case}");
        assert!(policy.is_ordinary("export::a", false) && policy.is_ordinary("export::a", true));
    }
}

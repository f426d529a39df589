//! A build that takes our object out of what it links: nothing runs as if it were there, and nothing more may be done.

use crate::common::{Fixture, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A workspace wrapper of the repository's own, which ours calls last.
fn without_our_object() -> Fixture {
    let drops = "#!/bin/sh\ni=0\nn=$#\nwhile [ $i -lt $n ]; do\n  arg=$1; shift\n  case \"$arg\" in\n    \
        link-arg=*) arg=debug-assertions=on ;;\n  esac\n  set -- \"$@\" \"$arg\"; i=$((i+1))\ndone\nexec \"$@\"\n";
    let fixture = Fixture::copy("any-access")
        .file(".cargo/config.toml", "[build]\nrustc-workspace-wrapper = \"./drops\"\n")
        .file("drops", drops);
    fs::set_permissions(fixture.path("drops"), fs::Permissions::from_mode(0o700)).expect("a copy is ours");
    fixture
}

#[test]
fn what_is_linked_without_our_object_is_not_run() {
    let fixture = without_our_object();
    for command in [&["run", "--", "read", "/etc/passwd"][..], &["test"], &["run", "--audit"]] {
        let ran = run(fixture.command(command)).expect(101);
        assert!(ran.stderr.contains("was not linked with the object of cargo-sandbox"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

/// The marker is no secret: who builds can put it anywhere. What it stands for is comfort, and no wall.
#[test]
fn a_forged_marker_opens_nothing() {
    let fixture = without_our_object().rewrite("src/main.rs", |text| {
        format!("{text}\n#[used]\n#[unsafe(link_section = \"cargo-sandbox\")]\nstatic MARKER: [u8; 1] = *b\"1\";\n")
    });
    let dir = fixture.dir();
    let path = |name: &str| dir.join(name).to_str().expect("a plain path").to_owned();
    for (operation, name) in [
        ("read", "/etc/passwd".to_owned()),
        ("read", path("data/secret")),
        ("list", path("src")),
        ("create", path("new")),
        ("modify", path("Cargo.toml")),
        ("delete", path("src/main.rs")),
    ] {
        let ran = run(fixture.command(["run", "-q", "--", operation, &name])).expect(77);
        assert_eq!(ran.stdout, "denied\n", "{operation} {name}");
    }
    // It has no variable that is not granted, though its asking is not heard.
    let mut command = fixture.command(["run", "-q", "--", "env", "HOME"]);
    command.env("HOME", std::env::var_os("HOME").expect("a home"));
    assert_eq!(run(command).expect(0).stdout, "environment variable not found\n");
    let granted = run(fixture.command(["run", "-q", "--", "read", &path("data/one")]));
    assert_eq!(granted.expect(0).stdout, "works\n");
}

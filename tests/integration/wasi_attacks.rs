//! What a guest tries to get out, each beside the same access when it is granted.

use crate::wasi_support::*;
use sandbox_policy::ExceptionKind;
use std::os::unix::ffi::OsStrExt;

/// Runs steps twice: in the box alone, where each must print the first of its lines and all
/// together must report the violations, and with `out` granted too, where each prints the second.
#[track_caller]
fn both(steps: &[(&str, &str, &str)], violations: &[&str], set_up: impl Fn(&Place)) {
    for outside_too in [false, true] {
        let (place, run) = boxed();
        set_up(&place);
        let mut run = run();
        if outside_too {
            run = run.grant("read", place.path("out")).grant("write", place.path("out"));
        }
        let all: Vec<&str> = steps.iter().map(|(step, ..)| *step).collect();
        let ended = run.probe(&place.in_it(&all.join(" -- ")));
        if outside_too {
            let lines: Vec<String> = steps.iter().map(|(_, _, with)| place.in_it(with)).collect();
            ended.fine(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        } else {
            place.violated(
                ended,
                &steps.iter().map(|(_, without, _)| *without).collect::<Vec<_>>(),
                violations,
            );
            assert_eq!(place.read("out/f").as_deref(), Some("secret"), "nothing outside has changed");
            assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1);
        }
    }
}

#[test]
fn dots_lead_nowhere_that_is_not_granted() {
    both(
        &[
            ("read @/box/../out/f", DENIED, "ok secret"),
            ("read @/box/sub/../../out/f", DENIED, "ok secret"),
            ("stat @/box/../out/no/../f", DENIED, MISSING),
            ("read @/box/sub/../f", "ok granted", "ok granted"),
            ("read @/box/./sub/..//../box/f", "ok granted", "ok granted"),
            ("list @/box/../out", DENIED, "ok f"),
            ("write @/box/../out/g 1", DENIED, "ok"),
        ],
        &["fs-read @/out/f", "fs-read @/out/f", "fs-stat @/out", "fs-list @/out", "fs-create @/out/g"],
        |_| {},
    );
}

#[test]
fn dots_do_not_tell_what_exists_beside_the_way() {
    let (place, run) = boxed();
    let steps = place.in_it("read @/out/../box/f -- read @/nothing/../box/f -- read @/out/f/../../box/f");
    let ended = run().probe(&steps);
    place.violated(ended, &[DENIED; 3], &["fs-stat @/out", "fs-stat @/nothing", "fs-stat @/out"]);
    // With `stat` on the place it is a way like any other, and then it shows what is there.
    let ended = run().grant("stat", place.path("out")).grant("stat", place.path("nothing")).probe(&steps);
    ended.fine(&["ok granted", MISSING, NOT_DIRECTORY]);
}

#[test]
fn ungranted_places_look_the_same_whether_they_exist_or_not() {
    both(
        &[
            ("stat @/out/f", DENIED, "ok file 6"),
            ("stat @/out/no", DENIED, MISSING),
            ("stat @/out/f/x", DENIED, NOT_DIRECTORY),
            ("read @/out/no/x", DENIED, MISSING),
            ("remove @/out/no", DENIED, MISSING),
            ("mkdir @/out/f", DENIED, EXISTS),
            ("readlink @/out/f", DENIED, INVALID),
            ("create-new @/out/f x", DENIED, EXISTS),
        ],
        &[
            "fs-stat @/out/f",
            "fs-stat @/out/no",
            "fs-stat @/out/f/x",
            "fs-read @/out/no/x",
            "fs-delete @/out/no",
            "fs-create @/out/f",
            "fs-stat @/out/f",
            "fs-create @/out/f",
        ],
        |_| {},
    );
}

#[test]
fn links_are_followed_only_to_what_is_granted() {
    both(
        &[
            ("read @/box/absolute", DENIED, "ok secret"),
            ("read @/box/relative", DENIED, "ok secret"),
            ("read @/box/dir/f", DENIED, "ok secret"),
            ("read @/box/dir/../box/f", DENIED, "ok granted"),
            ("list @/box/dir", DENIED, "ok f"),
            ("stat @/box/absolute", DENIED, "ok file 6"),
            ("lstat @/box/relative", "ok link 8", "ok link 8"),
            ("readlink @/box/relative", "ok ../out/f", "ok ../out/f"),
            ("open-nofollow @/box/relative", LOOP, LOOP),
            ("read @/box/chain", DENIED, "ok secret"),
            ("read @/box/inside", "ok granted", "ok granted"),
            ("read @/box/round", LOOP, LOOP),
            ("write @/box/dangling x", DENIED, "ok"),
            ("modify @/box/relative x", DENIED, "ok"),
            ("remove @/box/dangling", "ok", "ok"),
        ],
        &[
            "fs-read @/out/f",
            "fs-read @/out/f",
            "fs-read @/out/f",
            "fs-stat @/out",
            "fs-list @/out",
            "fs-stat @/out/f",
            "fs-read @/out/f",
            "fs-create @/out/new",
            "fs-modify @/out/f",
        ],
        |place| {
            place.link("box/absolute", "@/out/f").link("box/relative", "../out/f").link("box/dir", "../out");
            place.link("box/chain", "sub/next").link("box/sub/next", "../relative");
            place
                .link("box/inside", "sub/../f")
                .link("box/round", "round")
                .link("box/dangling", "../out/new");
        },
    );
}

#[test]
fn a_link_outside_that_leads_into_a_grant_is_not_followed() {
    let (place, run) = boxed();
    place.link("out/in", "../box").link("way", "box");
    let steps = place.in_it("read @/out/in/f -- read @/way/f");
    let ended = run().probe(&steps);
    place.violated(ended, &[DENIED, DENIED], &["fs-read @/out/in/f", "fs-read @/way/f"]);
    let granted = run().grant("stat", place.path("out/in")).with(|run| {
        run.policy.links.push(place.path("way").as_os_str().as_bytes().to_vec());
    });
    granted.probe(&steps).fine(&["ok granted", "ok granted"]);
}

#[test]
fn links_are_not_planted_and_not_carried_outside() {
    both(
        &[
            ("symlink ../out/f @/box/new", DENIED, "ok"),
            ("symlink @/out @/box/absolute", DENIED, "ok"),
            ("symlink ../../out @/box/sub/deep", DENIED, "ok"),
            ("symlink f @/box/fine", "ok", "ok"),
            ("symlink ../f @/box/sub/fine", "ok", "ok"),
            // From one directory up the same text leads elsewhere.
            ("rename @/box/sub/up @/box/up", DENIED, "ok"),
            ("link @/box/sub/out @/box/out", DENIED, "ok"),
        ],
        &[
            "fs-create @/box/new",
            "fs-create @/box/absolute",
            "fs-create @/box/sub/deep",
            "fs-create @/box/up",
            "fs-create @/box/out",
        ],
        |place| {
            place.link("box/sub/up", "../out/f").link("box/sub/out", "../out");
        },
    );
}

#[test]
fn a_link_that_goes_up_after_a_name_is_not_made() {
    // By its text `sub/deep/up/../../out` stays in the box; by the link `up` it leaves it.
    let (place, run) = boxed();
    place.file("box/sub/deep/f", "x");
    let steps = place.in_it(
        "symlink @/box @/box/sub/deep/up -- symlink sub/deep/up/../../out @/box/evil \
         -- symlink @/box/sub/../f @/box/absolute -- symlink sub/./f @/box/fine",
    );
    let ended = run().probe(&steps);
    place.violated(
        ended,
        &["ok", DENIED, DENIED, "ok"],
        &["fs-create @/box/evil", "fs-create @/box/absolute"],
    );
    assert!(std::fs::symlink_metadata(place.path("box/evil")).is_err());
}

#[test]
fn a_file_that_may_be_made_is_not_read() {
    let place = place();
    place.file("f", "secret");
    let steps = place.in_it("open-create-read @/f -- open-create-pread @/f");
    let ended = run().grant("write", place.path("f")).grant("stat", place.path("f")).probe(&steps);
    assert_eq!(ended.lines, ["error 8", "error 8"], "{:?}", ended.violations());
    assert_eq!(ended.seen.violations.len(), 0);
}

#[test]
fn hard_links_and_renames_gain_nothing() {
    both(
        &[
            ("link @/out/f @/box/linked", DENIED, "ok"),
            ("link @/box/f @/out/linked", DENIED, "ok"),
            ("rename @/box/f @/out/moved", DENIED, "ok"),
            ("rename @/out/f @/box/moved", DENIED, "ok"),
        ],
        &["fs-stat @/out/f", "fs-create @/out/linked", "fs-create @/out/moved", "fs-delete @/out/f"],
        |_| {},
    );
    // Read and write are granted in different places: a file cannot be carried from one to the other.
    let place = place();
    place.file("readable/f", "1").file("dropbox/f", "2").file("dropbox/d/f", "3");
    let split = || run().grant("read", place.path("readable")).grant("write", place.path("dropbox"));
    let steps = place.in_it(
        "link @/readable/f @/dropbox/x -- rename @/dropbox/f @/readable/y -- rename @/dropbox/d @/readable/d",
    );
    let ended = split().grant("create", place.path("readable")).probe(&steps);
    assert_eq!(ended.lines, [DENIED; 3], "{:?}", ended.violations());
    assert!(ended.seen.violations.iter().all(|violation| violation.note.contains("more would be granted")));
    let all = split().grant("read", place.path("dropbox")).grant("write", place.path("readable"));
    all.probe(&steps).fine(&["ok"; 3]);
}

#[test]
fn exceptions_cannot_be_renamed_or_linked_away() {
    let (place, run) = boxed();
    place.file("box/key", "secret").file("box/keys/k", "secret");
    let steps = place.in_it("read @/box/key -- rename @/box/key @/box/x -- link @/box/key @/box/y -- rename @/box/keys @/box/z -- read @/box/sub/../key");
    let excepted = || {
        run()
            .except(ExceptionKind::Deny, place.path("box/key"))
            .except(ExceptionKind::Deny, place.path("box/keys/k"))
    };
    let ended = excepted().probe(&steps);
    assert_eq!(ended.lines, [DENIED; 5], "{:?}", ended.violations());
    assert_eq!(ended.seen.violations.len(), 5);
    assert!(place.path("box/keys/k").exists());
    run().probe(&steps).fine(&["ok secret", "ok", MISSING, "ok", MISSING]);
}

#[test]
fn a_renamed_directory_does_not_carry_its_grants_away() {
    let place = place();
    place.file("a/d/f", "granted").file("a/d2/f", "other").file("b/x", "");
    let all = || run().grant("read", place.path("a")).grant("write", place.path("a"));
    // Opened first, renamed then: it is gone under its old name, and what took its place is used.
    all().probe(&place.in_it("beneath @/a/d f rename @/a/d @/a/e")).fine(&[MISSING]);
    all().probe(&place.in_it("beneath @/a/e f -- beneath @/a/e ../d2/f")).fine(&["ok granted", "ok other"]);
    // A link in its place is not followed, even to what is granted.
    let swapped = all()
        .probe(&place.in_it("beneath @/a/d2 f rename @/a/d2 @/a/d3 -- symlink e @/a/d2 -- beneath @/a/d2 f"));
    swapped.fine(&[MISSING, "ok", "ok granted"]);
}

#[test]
fn a_directory_that_became_a_link_is_gone() {
    let (place, run) = boxed();
    place.file("box/t/f", "granted");
    let steps = place.in_it("beneath @/box/t f rename @/box/t @/box/away");
    run().probe(&steps).fine(&[MISSING]);
    // `..` from an open directory is its parent by name.
    let ended = run()
        .probe(&place.in_it("beneath @/box ../out/f -- beneath @/box/sub ../f -- beneath @/box /etc/passwd"));
    place.violated(ended, &[DENIED, "ok granted", "error 63"], &["fs-read @/out/f"]);
}

#[test]
fn trailing_slashes_mean_a_directory() {
    both(
        &[
            ("read @/box/f/", NOT_DIRECTORY, NOT_DIRECTORY),
            ("list @/box/sub/", "ok f", "ok f"),
            ("open-raw @/out/f/", DENIED, NOT_DIRECTORY),
            ("open-write-raw @/box/sub/", IS_DIRECTORY, IS_DIRECTORY),
            ("open-write-raw @/box/link/", DENIED, IS_DIRECTORY),
            ("list @/box/link/", DENIED, "ok f"),
            ("rmdir-raw @/box/link/", NOT_DIRECTORY, NOT_DIRECTORY),
            ("mkdir-raw @/box/made/", "ok", "ok"),
            ("rmdir-raw @/box/made/.", INVALID, INVALID),
            ("rmdir-raw @/box/made/", "ok", "ok"),
            ("remove-raw @/box/f/", NOT_DIRECTORY, NOT_DIRECTORY),
            ("rename-raw @/box/f/ @/box/g", NOT_DIRECTORY, NOT_DIRECTORY),
            ("write @/box/new/ x", IS_DIRECTORY, IS_DIRECTORY),
        ],
        &["fs-list @/out/f", "fs-list @/out", "fs-list @/out"],
        |place| {
            place.link("box/link", "../out");
        },
    );
}

#[test]
fn a_read_grant_neither_truncates_nor_touches() {
    let place = place();
    place.file("f", "granted");
    let steps = place
        .in_it("open-read-trunc @/f -- truncate @/f -- set-len @/f 0 -- set-times @/f -- set-times-open @/f");
    let ended = run().grant("read", place.path("f")).probe(&steps);
    place.violated(ended, &[DENIED; 5], &["fs-modify @/f"; 5]);
    assert_eq!(place.read("f").as_deref(), Some("granted"));
    run().grant("read", place.path("f")).grant("modify", place.path("f")).probe(&steps).fine(&["ok"; 5]);
    assert_eq!(place.read("f").as_deref(), Some(""));
}

#[test]
fn proc_is_no_way_round() {
    let (place, granted) = boxed();
    let open = std::fs::File::open(place.path("out/f")).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&open);
    let out = place.in_it("@/out/f");
    let steps = format!(
        "read /proc/self/root{out} -- read /proc/self/fd/{fd} -- read /proc/self/cwd/Cargo.toml -- list /proc/self/fd"
    );
    let ended = granted().probe(&steps);
    assert_eq!(ended.lines, [DENIED; 4], "{:?}", ended.violations());
    assert_eq!(ended.seen.violations.len(), 4);
    // With all of /proc granted its links are still read as text, and what they say is decided.
    let ended = granted().grant("read", "/proc").probe(&steps);
    assert_eq!(ended.lines[..3], [DENIED; 3], "{:?}", ended.violations());
    let cwd = std::env::current_dir().unwrap().join("Cargo.toml");
    let wanted = [format!("fs-read {out}"), format!("fs-read {out}"), format!("fs-read {}", cwd.display())];
    assert_eq!(ended.violations(), wanted);
    let ended =
        granted().grant("read", "/proc").grant("read", place.path("out")).grant("read", &cwd).probe(&steps);
    assert_eq!(ended.lines[..2], ["ok secret"; 2], "{:?}", ended.violations());
    assert!(ended.lines[2].starts_with("ok [package]"));
    assert_eq!(ended.violations(), [""; 0]);
}

#[test]
fn long_and_odd_names() {
    let (place, run) = boxed();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe\n%");
    std::fs::write(place.path("box").join(odd), "granted").unwrap();
    std::fs::write(place.path("out").join(odd), "secret").unwrap();
    let long = "x".repeat(300);
    let deep = "d/".repeat(1900);
    let longest = "y/".repeat(2100);
    let steps = place.in_it(&format!(
        "stat-raw @/box/%ff%fe%0a%25 -- stat-raw @/out/%ff%fe%0a%25 -- stat @/box/{long} -- stat @/out/{long} \
         -- stat @/box/{deep}f -- stat @/out/{deep}f -- open-raw @/box/{longest}f -- open-raw @/box/f%00 -- stat-raw @/box/%2e%2e/out/f"
    ));
    let ended = run().probe(&steps);
    let lines = ["ok 7", DENIED, "error 37", DENIED, MISSING, DENIED, "error 37", INVALID, DENIED];
    assert_eq!(ended.lines, lines);
    let path = ended.seen.violations[0].access.resource.bytes();
    assert!(path.ends_with(b"/out/\xff\xfe\n%"), "the name is reported byte for byte");
    let ended = run().grant("read", place.path("out")).probe(&steps);
    assert_eq!(
        ended.lines,
        ["ok 7", "ok 6", "error 37", "error 37", MISSING, MISSING, "error 37", INVALID, "ok 6"]
    );
}

#[test]
fn fifos_devices_and_sockets() {
    let (place, run) = boxed();
    let fifo = place.path("box/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("box/socket")).unwrap();
    // Nobody writes: it must not hang. Nobody reads: "no such device or address".
    run()
        .probe(&place.in_it("read @/box/fifo -- modify @/box/fifo x -- open-raw @/box/socket"))
        .fine(&["ok", "error 60", "error 60"]);
    let ended =
        run().grant("read", "/dev").grant("write", "/dev").probe("read /dev/null -- modify /dev/null x");
    ended.violated(&[DENIED, DENIED], &["fs-read /dev/null", "fs-modify /dev/null"]);
    let exact = run().grant("read", "/dev/null").grant("write", "/dev/null");
    exact.probe("read /dev/null -- modify /dev/null x -- append /dev/null x").fine(&["ok"; 3]);
    run().probe("read /dev/null").violated(&[DENIED], &["fs-read /dev/null"]);
}

#[test]
fn hidden_places_are_missing_however_they_are_reached() {
    let (place, run) = boxed();
    place.file("box/hidden/f", "secret").link("box/link", "hidden/f").link("box/dir", "hidden");
    let steps = place.in_it(
        "stat @/box/hidden -- read @/box/hidden/f -- read @/box/link -- read @/box/dir/f -- list @/box/dir -- read @/box/hidden/../f \
         -- remove @/box/hidden/f -- rename @/box/hidden @/box/seen -- list @/box",
    );
    let hidden = run().except(ExceptionKind::Hide, place.path("box/hidden"));
    let mut lines = vec![MISSING; 8];
    lines.push("ok dir,f,link,sub");
    hidden.probe(&steps).fine(&lines);
    let ended = run().probe(&steps);
    assert_eq!(ended.lines[1..4], ["ok secret"; 3]);
    assert_eq!(ended.lines[8], "ok dir,f,link,seen,sub");
    assert_eq!(ended.violations(), [""; 0]);
}

//! What a guest can do through our preview1, when it may.

use crate::wasi_support::*;
use cargo_sandbox::wasi::{Preopens, Stop};
use sandbox_policy::access::{GrantId, Wall};
use sandbox_policy::{ExceptionKind, Limits};

#[test]
fn hello_world_needs_nothing() {
    run().probe("hello").fine(&["hello", "ok"]);
}

#[test]
fn copy_file_with_its_grants_and_without() {
    let place = place();
    place.file("input.txt", "text");
    let steps = place.in_it("copy @/input.txt @/output.txt");
    let ended = run().grant("read", place.path("input.txt")).probe(&steps);
    place.violated(ended, &[DENIED], &["fs-create @/output.txt"]);
    assert_eq!(place.read("output.txt"), None);
    let granted = run().grant("read", place.path("input.txt")).grant("write", place.path("output.txt"));
    let ended = granted.probe(&steps).fine(&["ok"]);
    assert_eq!(place.read("output.txt").as_deref(), Some("text"));
    assert_eq!(ended.uses, [1, 1]);
    assert_eq!(ended.seen.used, [GrantId(0), GrantId(1)]);
}

#[test]
fn clocks_randomness_arguments_and_environment() {
    let ended = run()
        .with(|run| run.env = vec![(b"A".to_vec(), b"1".to_vec()), (b"B".to_vec(), b"".to_vec())])
        .probe("sleep -- clock -- random -- args -- env");
    ended.fine(&["ok true", "ok true", "ok true", "ok 10", "ok A=1,B="]);
}

#[test]
fn a_guest_ends_in_each_way() {
    assert_eq!(run().probe("exit 3").stop, Some(Stop::Exit(3)));
    let panic = run().probe("panic");
    assert!(panic.panicked);
    assert_eq!(panic.stop, None, "a panic traps");
    assert!(!run().probe("exit 1").panicked);
}

#[test]
fn every_operation_with_its_own_grant_only() {
    let place = place();
    let cases: &[(&str, &[&str], &str, &str)] = &[
        // operation, keys that suffice, step, what it prints
        ("read", &["read-contents"], "read @/old", "ok text"),
        ("read", &["read-contents"], "open-raw @/old", "ok"),
        ("stat", &["stat"], "stat @/old", "ok file 4"),
        ("stat", &["stat"], "open-nothing @/old", "ok"),
        ("stat", &["stat"], "readlink @/link", "ok old"),
        ("modify", &["modify"], "modify @/old TE", "ok"),
        ("modify", &["modify"], "truncate @/old", "ok"),
        ("modify", &["modify"], "create @/old TE", "ok"),
        ("modify", &["modify"], "set-len @/old 2", "ok"),
        ("modify", &["modify"], "set-times @/old", "ok"),
        ("modify", &["modify"], "append @/old x", "ok"),
        ("modify", &["read-contents", "modify"], "open-read-trunc @/old", "ok"),
        ("create", &["create"], "write @/new text", "ok"),
        ("create", &["create"], "create-new @/new text", "ok"),
        ("create", &["create"], "mkdir @/new", "ok"),
        ("create", &["create"], "symlink new @/new", "ok"),
        ("delete", &["delete"], "remove @/old", "ok"),
        ("delete", &["delete"], "rmdir @/dir", "ok"),
        ("list", &["list"], "list @/dir", "ok "),
        ("read-write", &["read-contents", "modify"], "read-write @/old TE", "ok TExt"),
        ("read-write", &["read-contents", "create"], "read-write @/new TE", "ok TE"),
    ];
    for (number, (operation, keys, step, printed)) in cases.iter().enumerate() {
        let set_up = || {
            for name in ["old", "new", "link"] {
                let _ = std::fs::remove_file(place.path(name));
                let _ = std::fs::remove_dir(place.path(name));
            }
            let _ = std::fs::create_dir(place.path("dir"));
            place.file("old", "text").link("link", "old");
        };
        let path = place.in_it(
            step.split(' ')
                .next_back()
                .filter(|last| last.contains('@'))
                .unwrap_or_else(|| step.split(' ').nth(1).unwrap()),
        );
        set_up();
        let mut granted = run();
        for key in *keys {
            granted = granted.grant(key, &path);
        }
        let ended = granted.probe(&place.in_it(step));
        assert_eq!(
            ended.lines,
            [printed.trim_end()],
            "case {number}: {operation}: {step}: {:?}",
            ended.violations()
        );
        assert_eq!(ended.violations(), [""; 0], "case {number}: {step}");
        assert!(ended.uses.iter().all(|uses| *uses > 0), "case {number}: {step}: {:?}", ended.uses);
        // Without any single one of the keys, and with every other operation, it is denied.
        for missing in *keys {
            set_up();
            let mut others = run();
            for key in ["read-contents", "list", "stat", "create", "modify", "delete"] {
                if key != *missing && !(*operation == "read-write" && key == "create" && step.contains("new"))
                {
                    others = others.grant(key, &path);
                }
            }
            let ended = others.probe(&place.in_it(step));
            assert_eq!(ended.lines, [DENIED], "case {number}: {step} without {missing}");
            assert_eq!(ended.seen.violations.len(), 1, "case {number}: {step}: {:?}", ended.violations());
            assert_eq!(ended.seen.violations[0].wall, Wall::Wasi);
        }
    }
}

#[test]
fn files_directories_links_and_times() {
    let place = place();
    place.file("d/a", "granted");
    let all = || run().grant("read", place.path("d")).grant("write", place.path("d"));
    let does = |steps: &str, lines: &[&str]| all().probe(&place.in_it(steps)).fine(lines);
    does("seek @/d/a", &["ok 5 ed true"]);
    does("mkdirs @/d/x/y/z -- write @/d/x/y/z/f 1 -- read @/d/x/y/z/f", &["ok", "ok", "ok 1"]);
    does("remove-all @/d/x -- stat @/d/x", &["ok", MISSING]);
    does("rename @/d/a @/d/b -- read @/d/b -- stat @/d/a", &["ok", "ok granted", MISSING]);
    does("write @/d/c 2 -- rename @/d/b @/d/c -- read @/d/c", &["ok", "ok", "ok granted"]);
    does("link @/d/c @/d/hard -- read @/d/hard", &["ok", "ok granted"]);
    does("symlink c @/d/soft -- read @/d/soft -- readlink @/d/soft", &["ok", "ok granted", "ok c"]);
    does("lstat @/d/soft -- stat @/d/soft -- open-nofollow @/d/soft", &["ok link 1", "ok file 7", LOOP]);
    does("rename @/d/soft @/d/moved -- readlink @/d/moved -- remove @/d/moved", &["ok", "ok c", "ok"]);
    does(
        "mkdir @/d/c -- rmdir @/d/c -- remove @/d -- rmdir @/d",
        &[EXISTS, NOT_DIRECTORY, IS_DIRECTORY, "error 55"],
    );
    does(
        "readlink @/d/c -- stat @/d/c/ -- stat @/d/./c -- stat @//d//c",
        &[INVALID, NOT_DIRECTORY, "ok file 7", "ok file 7"],
    );
    does("set-times-open @/d/c -- set-times @/d/c", &["ok", "ok"]);
    does("beneath @/d c", &["ok granted"]);
    let modified = std::fs::metadata(place.path("d/c")).unwrap().modified().unwrap();
    assert_eq!(modified, std::time::UNIX_EPOCH + std::time::Duration::from_secs(2));
}

#[test]
fn listings_are_complete_whatever_the_buffer() {
    let place = place();
    let mut names: Vec<String> =
        (0..3000).map(|number| format!("{number:04}-{}", "n".repeat(number % 60))).collect();
    for name in &names {
        place.file(&format!("d/{name}"), "");
    }
    let ended = run().grant("list", place.path("d")).probe(&place.in_it("list @/d"));
    assert_eq!(ended.lines, [format!("ok {}", names.join(","))]);
    names.extend([".".into(), "..".into()]);
    names.sort();
    for size in [90, 128, 1000, 4096, 1_000_000] {
        let ended = run().grant("list", place.path("d")).probe(&place.in_it(&format!("list-raw @/d {size}")));
        assert_eq!(ended.lines, [format!("ok {}", names.join(","))], "with {size} bytes");
    }
}

#[test]
fn a_tree_is_removed_while_it_is_listed() {
    let place = place();
    for number in 0..2500 {
        place.file(&format!("d/t/{number}"), "");
    }
    let all = run().grant("read", place.path("d")).grant("write", place.path("d"));
    all.probe(&place.in_it("remove-all @/d/t")).fine(&["ok"]);
    assert!(!place.path("d/t").exists());
}

#[test]
fn the_way_to_a_grant_can_be_walked_but_not_read() {
    let place = place();
    place.file("d/e/f", "granted").file("d/other", "");
    let granted = || run().grant("read", place.path("d/e/f"));
    granted()
        .probe(&place.in_it("read @/d/e/../e/./f -- beneath @/d e/f"))
        .fine(&["ok granted", "ok granted"]);
    let ended = granted().probe(&place.in_it("list @/d -- stat @/d -- stat @/d/other -- stat @/d/no"));
    place.violated(
        ended,
        &[DENIED; 4],
        &["fs-list @/d", "fs-stat @/d", "fs-stat @/d/other", "fs-stat @/d/no"],
    );
    // A directory beside the way cannot even be opened.
    let ended = granted()
        .probe(&place.in_it("open-directory @/d/e -- open-directory @/d/other -- open-directory @/d/no"));
    place.violated(ended, &["ok", DENIED, DENIED], &["fs-list @/d/other", "fs-list @/d/no"]);
}

#[test]
fn create_only_and_modify_only_are_exact() {
    let place = place();
    place.file("old", "text");
    let ended = run()
        .grant("create", place.path(""))
        .probe(&place.in_it("write @/new 1 -- write @/old 2 -- truncate @/old"));
    place.violated(ended, &["ok", DENIED, DENIED], &["fs-modify @/old", "fs-modify @/old"]);
    assert_eq!(place.read("old").as_deref(), Some("text"));
    let ended = run().grant("modify", place.path("")).probe(&place.in_it("write @/old 2 -- write @/newer 1"));
    place.violated(ended, &["ok", DENIED], &["fs-create @/newer"]);
    assert!(!place.path("newer").exists());
    // Two grants are each counted when they are used, and not before.
    let both = || run().grant("create", place.path("")).grant("modify", place.path(""));
    assert_eq!(both().probe(&place.in_it("write @/old 3")).fine(&["ok"]).uses, [0, 1]);
    assert_eq!(both().probe(&place.in_it("write @/newest 3")).fine(&["ok"]).uses, [1, 0]);
}

#[test]
fn rename_over_a_file_needs_delete_there() {
    let place = place();
    place.file("a/x", "1").file("b/y", "2");
    let some = || {
        run()
            .grant("delete", place.path("a"))
            .grant("create", place.path("a"))
            .grant("create", place.path("b"))
    };
    let ended = some().probe(&place.in_it("rename @/a/x @/b/y"));
    place.violated(ended, &[DENIED], &["fs-delete @/b/y"]);
    assert_eq!(place.read("b/y").as_deref(), Some("2"));
    let ended = some().grant("delete", place.path("b")).probe(&place.in_it("rename @/a/x @/b/y"));
    assert_eq!(ended.lines, ["ok"], "{:?}", ended.seen.violations);
    assert_eq!(place.read("b/y").as_deref(), Some("1"));
}

#[test]
fn environment_names_reach_the_gate() {
    // HOME and PATH, then digits that are none.
    let steps = "getenv-path /.cargo-sandbox/getenv/484f4d45 -- getenv-path /.cargo-sandbox/getenv/50415448";
    run().grant_env("PATH").probe(steps).violated(&["ok", "ok"], &["env-read HOME"]);
    run().grant_env("PATH").grant_env("HOME").probe(steps).fine(&["ok", "ok"]);
    let ended = run().probe("getenv-path /.cargo-sandbox/getenv/4G -- stat /.cargo-sandbox/getenv/484f4d45");
    ended.violated(&["ok", MISSING], &["env-read HOME"]);
}

#[test]
fn a_grant_of_one_crate_asks_for_the_origin() {
    let place = place();
    place.file("f", "granted");
    let granted = || run().grant("read", place.path("f")).by("right");
    let steps = place.in_it("read @/f");
    let ended = granted().with(|run| run.origin = Some("right".into())).probe(&steps).fine(&["ok granted"]);
    assert!(ended.seen.origins_asked > 0);
    let ended = granted().with(|run| run.origin = Some("wrong".into())).probe(&steps);
    place.violated(ended, &[DENIED], &["fs-read @/f"]);
    let ended = granted().probe(&steps);
    place.violated(ended, &[DENIED], &["fs-read @/f"]);
}

#[test]
fn an_audit_reports_and_allows_within_its_envelope() {
    let place = place();
    place.file("in/f", "granted").file("out/f", "granted").link("in/link", "f").file("in/old", "x");
    let audit = || run().audit(run().grant("read", place.path("in")).grant("write", place.path("in")));
    let ended = audit().probe(&place.in_it("read @/in/f -- read @/out/f"));
    place.violated(ended, &["ok granted", DENIED], &["fs-read @/in/f", "fs-read @/out/f"]);
    let ended = audit().probe(&place.in_it("write @/in/new 1 -- rename @/in/new @/in/old -- list @/in"));
    let wanted = [
        "fs-create @/in/new",
        "fs-delete @/in/new",
        "fs-create @/in/old",
        "fs-delete @/in/old",
        "fs-list @/in",
    ];
    place.violated(ended, &["ok", "ok", "ok f,link,old"], &wanted);
    let ended = audit().probe(&place.in_it("read @/in/link"));
    assert_eq!(ended.lines, ["ok granted"], "{:?}", ended.violations());
    let ended = audit().probe(&place.in_it("read @/out/../in/f"));
    assert_eq!(ended.lines, [DENIED], "{:?}", ended.violations());
}

#[test]
fn limits_stop_or_refuse_and_are_named() {
    let place = place();
    place.file("f", "granted");
    let all = |limits: Limits| {
        run()
            .grant("read", place.path(""))
            .grant("write", place.path(""))
            .with(|run| run.policy.limits = limits)
    };
    let ended = all(Limits { output: Some(2500), ..Limits::default() }).probe("flood");
    assert_eq!(ended.stop, Some(Stop::Limit("output")));
    assert_eq!(ended.seen.output.len(), 2500);
    assert_eq!(ended.limits_hit, ["output"]);
    let ended = all(Limits { disk: Some(4500), ..Limits::default() })
        .probe(&place.in_it("write-many @/big -- set-len @/f 100000"));
    assert_eq!(ended.fine(&["ok 4000 then 19", "error 19"]).limits_hit, ["disk"]);
    let ended = all(Limits { files: Some(2), ..Limits::default() })
        .probe(&place.in_it(
            "write @/1 x -- write @/1 y -- mkdir @/2 -- write @/3 x -- create-new @/4 x -- mkdir @/5",
        ));
    let ended = ended.fine(&["ok", "ok", "ok", "error 19", "error 19", "error 19"]);
    assert_eq!(ended.limits_hit, ["files"]);
    let ended =
        all(Limits { open_files: 10, ..Limits::default() }).probe(&place.in_it("open-until-error @/f"));
    assert_eq!(ended.fine(&["ok 6 then 33"]).limits_hit, ["open-files"]);
    let ended = all(Limits { memory: Some(8 << 20), ..Limits::default() }).probe("grow");
    assert_eq!(ended.fine(&["ok refused"]).limits_hit, ["memory"]);
    all(Limits::default()).probe("grow").fine(&["ok grown"]);
}

#[test]
fn waiting_for_a_file_and_a_clock() {
    let place = place();
    place.file("f", "granted");
    run().grant("read", place.path("f")).probe(&place.in_it("poll @/f")).fine(&["ok 1 7 1"]);
}

#[test]
fn nonsense_is_answered_and_hurts_nothing() {
    let place = place();
    place.file("f", "granted");
    let ended = run().grant("read", place.path("f")).probe(&place.in_it("hostile @/f -- read @/f"));
    assert_eq!(ended.lines.last().map(String::as_str), Some("ok granted"), "{:?}", ended.trap);
    let answers: Vec<&str> = ended.lines[0].split(' ').skip(1).collect();
    assert_eq!(answers.len(), 29);
    let succeeded: Vec<usize> = (0..29).filter(|index| answers[*index] == "0").collect();
    assert_eq!(succeeded, [0; 0], "{answers:?}");
}

#[test]
fn guests_built_elsewhere_find_the_top_level_and_the_current_directory() {
    let place = place();
    place.file("d/f", "granted");
    let ended = run()
        .grant("read", place.path("d"))
        .with(|run| {
            run.preopens = Preopens::TopLevel(
                cargo_sandbox::wasi::top_level(&cargo_sandbox::wasi::real_root().unwrap()).unwrap(),
            );
            run.policy.current_dir = place.in_it("@/d").into_bytes();
        })
        .probe(&place.in_it("read f -- read @/d/f -- read ../d/f"));
    ended.fine(&["ok granted", "ok granted", "ok granted"]);
}

#[test]
fn another_root_is_the_guests_whole_world() {
    let place = place();
    place.file("d/f", "granted").link("d/link", "/d/f").file("top", "no");
    let at = |path: &str| run().grant("read", path).with(|run| run.root = Some(place.path("")));
    at("/d").probe("read /d/f -- read /d/link -- read /d/../d/f").fine(&["ok granted"; 3]);
    at("/d").probe("read /../../top").violated(&[DENIED], &["fs-read /top"]);
    at("/top").probe("read /../../top").fine(&["ok no"]);
}

#[test]
fn hidden_names_are_left_out() {
    let place = place();
    place.file("d/shown", "").file("d/secret/f", "1").file("d/s", "2");
    let granted = || run().grant("read", place.path("d")).grant("write", place.path("d"));
    let hidden = || granted().except(ExceptionKind::Hide, place.path("d/secret"));
    let steps = place.in_it(
        "list @/d -- stat @/d/secret -- read @/d/secret/f -- read @/d/secret/../s -- write @/d/secret/n 1",
    );
    hidden().probe(&steps).fine(&["ok s,shown", MISSING, MISSING, MISSING, MISSING]);
    let ended = granted().probe(&steps);
    assert_eq!(ended.lines[0], "ok s,secret,shown");
    assert!(ended.lines[1].starts_with("ok dir "), "{:?}", ended.lines);
    assert_eq!(ended.lines[2..], ["ok 1", "ok 2", "ok"]);
    assert_eq!(ended.violations(), [""; 0]);
}

#[test]
fn what_was_to_be_made_is_told_as_that() {
    let (place, run) = boxed();
    let steps =
        place.in_it("create-new-read @/out/new -- create-new-read @/out/f -- create-new-read @/out/no/new");
    let wanted = ["fs-create @/out/new", "fs-create @/out/f", "fs-create @/out/no/new"];
    place.violated(run().probe(&steps), &[DENIED; 3], &wanted);
    let hidden = run().except(ExceptionKind::Hide, place.path("out/no")).grant("write", place.path("out"));
    place.violated(
        hidden.probe(&steps),
        &[DENIED, DENIED, MISSING],
        &["fs-read @/out/new", "fs-read @/out/f"],
    );
    let both = run().grant("read", place.path("out")).grant("write", place.path("out"));
    both.probe(&steps).fine(&["ok", EXISTS, MISSING]);
}

//! Looking at metadata from inside of the directory (`src/wasi/cwd_cache.rs`) gives what walking the whole path
//! gives, whatever the guest or anyone else does to the directories meanwhile.
//!
//! A process of its own: it changes its current directory.

use crate::wasi_support::*;

const MISSING: &str = "error 44";

#[test]
fn a_directory_that_was_moved_is_not_looked_into_under_its_old_name() {
    crate::common::alone(
        "wasi_cwd_cache::a_directory_that_was_moved_is_not_looked_into_under_its_old_name",
        || {
            by_the_guest();
            by_others();
        },
    );
}

fn by_the_guest() {
    let place = place();
    place.file("d/a/f", "1").file("d/a/g", "22");
    let run =
        run().grant("read", place.path("d")).grant("write", place.path("d")).with(|run| run.alone = true);
    let steps = "stat @/d/a/f -- stat @/d/a/g -- stat @/d/a/f -- stat @/d/a/none -- stat @/d/a/f/ \
        -- rename @/d/a @/d/b -- stat @/d/a/f -- stat @/d/a/f -- stat @/d/b/f -- stat @/d/b/g -- stat @/d/b/f \
        -- mkdir @/d/a -- write @/d/a/f 333 -- stat @/d/a/f -- stat @/d/a/f -- stat @/d/b/f -- stat @/d/a/f \
        -- remove @/d/a/f -- stat @/d/a/f -- rmdir @/d/a -- stat @/d/a/f -- symlink b @/d/a -- stat @/d/a/f \
        -- stat @/d/a/f -- symlink f @/d/b/l -- stat @/d/b/l -- stat @/d/b/l -- lstat @/d/b/l";
    let ended = run.probe(&place.in_it(steps));
    let (one, two, three) = ("ok file 1", "ok file 2", "ok file 3");
    let expected: [&[&str]; 5] = [
        &[one, two, one, MISSING, "error 54"],
        &["ok", MISSING, MISSING, one, two, one],
        &["ok", "ok", three, three, one, three],
        &["ok", MISSING, "ok", MISSING, "ok", one],
        &[one, "ok", one, one, "ok link 1"],
    ];
    assert_eq!(ended.lines, expected.concat());
    assert!(ended.seen.violations.is_empty(), "{:?}", ended.seen.violations);
}

fn by_others() {
    let place = place();
    place.file("d/a/f", "1").file("out/f", "4444");
    let (at, out) = (place.path("d/a"), place.path("out"));
    let act = move |lines: usize| match lines {
        // Out of the granted tree, where it gets other contents.
        2 => {
            std::fs::rename(&at, out.join("a")).unwrap();
            std::fs::write(out.join("a/f"), "333").unwrap();
        }
        // In its place a link to where it is now.
        4 => std::os::unix::fs::symlink(out.join("a"), &at).unwrap(),
        6 => {
            std::fs::remove_file(&at).unwrap();
            std::fs::rename(out.join("a"), &at).unwrap();
        }
        _ => {}
    };
    let run = run().grant("read", place.path("d")).with(|run| {
        run.alone = true;
        run.after_line = Some(Box::new(act));
    });
    let ended = run.probe(&place.in_it(&["stat @/d/a/f"; 8].join(" -- ")));
    let denied = "error 2";
    let expected = ["ok file 1", "ok file 1", MISSING, MISSING, denied, denied, "ok file 3", "ok file 3"];
    assert_eq!(ended.lines, expected);
}

//! What happens while the guest is at work, and who stops it: links swapped in, this wall switched off, and the kernel's.

mod wasi_support;

use std::sync::atomic::Ordering;
use wasi_support::*;

#[test]
fn a_directory_swapped_with_a_link_never_leads_out() {
    let (place, run) = boxed();
    // `box/sub` is now the directory, now a link to `out`.
    place.link("box/other", "../out");
    let (stop, thread) = swapping(place.path("box/sub"), place.path("box/other"));
    let ended = run().probe(&place.in_it("swap @/box/sub/f 20000"));
    let with_grant = run().grant("read", place.path("out")).probe(&place.in_it("swap @/box/sub/f 20000"));
    stop.store(true, Ordering::Relaxed);
    assert!(thread.join().unwrap() > 1000, "it was swapped");
    assert_eq!(ended.lines, ["ok true true []"], "both forms were met, and nothing else");
    assert!(
        ended.violations().iter().all(|violation| violation.ends_with("/out/f")),
        "{:?}",
        ended.violations().first()
    );
    assert!(with_grant.lines[0].contains("secret"), "the same way leads out when it is granted");
}

#[test]
fn a_file_swapped_with_a_link_never_leads_out() {
    let (place, run) = boxed();
    place.link("box/other", "../out/f");
    let (stop, thread) = swapping(place.path("box/f"), place.path("box/other"));
    let ended = run().probe(&place.in_it("swap @/box/f 20000 -- swap @/box/sub/../f 5000"));
    let with_grant = run().grant("read", place.path("out")).probe(&place.in_it("swap @/box/f 20000"));
    stop.store(true, Ordering::Relaxed);
    assert!(thread.join().unwrap() > 1000, "it was swapped");
    assert_eq!(ended.lines, ["ok true true []"; 2]);
    assert!(with_grant.lines[0].contains("secret"));
}

#[test]
fn without_this_wall_the_kernel_alone_resolves() {
    let (place, run) = boxed();
    place.link("box/link", "../out/f");
    let steps = place.in_it(
        "read @/box/../out/f -- read @/box/link -- read @/out/f -- open-nofollow @/box/link -- list @/out",
    );
    let ended = run().probe(&steps);
    assert_eq!(ended.lines, [DENIED, DENIED, DENIED, LOOP, DENIED]);
    let off = run().with(|run| run.mode = cargo_sandbox::wasi::Mode::Off).probe(&steps);
    off.fine(&["ok secret", "ok secret", "ok secret", LOOP, "ok f"]);
}

#[test]
fn what_landlock_stops_is_reported_as_such() {
    use landlock::{
        ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
        RulesetStatus,
    };
    let (place, run) = boxed();
    place.file("box/own", "granted");
    // Not even the owner may write this one; so says the file, not Landlock.
    let steps = place.in_it("read @/box/f -- read @/box/sub/f -- write @/box/new 1 -- list @/box -- rename @/box/f @/box/sub/g -- remove @/box/f");
    run().probe(&place.in_it("read @/box/f")).fine(&["ok granted"]);
    let granted = run();
    let readable = place.path("box/sub");
    // It holds the calling thread only, and does not come off.
    let ended = std::thread::spawn(move || {
        guest("wasi_probe");
        let all = AccessFs::from_all(ABI::V3);
        let rules = Ruleset::default().handle_access(all).unwrap().create().unwrap();
        let rules =
            rules.add_rule(PathBeneath::new(PathFd::new(readable).unwrap(), AccessFs::ReadFile)).unwrap();
        assert_eq!(rules.restrict_self().unwrap().ruleset, RulesetStatus::FullyEnforced);
        granted.probe(&steps)
    })
    .join()
    .unwrap();
    assert!(
        ended.seen.violations.iter().all(|violation| violation.wall == cargo_sandbox::access::Wall::Landlock)
    );
    let wanted = [
        "fs-read @/box/f",
        "fs-create @/box/new",
        "fs-list @/box",
        "fs-create @/box/sub/g",
        "fs-delete @/box/f",
    ];
    place.violated(ended, &[DENIED, "ok granted", DENIED, DENIED, DENIED, DENIED], &wanted);
}

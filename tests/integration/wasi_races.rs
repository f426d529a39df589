//! What happens while the guest is at work, and who stops it: links swapped in, this wall switched off, and the kernel's;
//! two guests and somebody outside of any wall in one directory.
//!
//! `CARGO_SANDBOX_RACE_ROUNDS=1000000` lets those two try so many things, behind each wall.

use crate::wasi_support::*;
use cargo_sandbox::kernel::landlock::{look, usable_abi};
use cargo_sandbox::kernel::{LandlockLevel, plan, restrict};
use cargo_sandbox::policy::{Component, Exception, Policy};
use cargo_sandbox::wasi::Mode;
use std::sync::atomic::Ordering;

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

/// In `free` all may be made, in `safe` no `k`; the rest of the box is granted, and nothing outside of it.
fn shared(place: &Place) -> Policy {
    let mut run = run().grant("read", place.path("box")).grant("write", place.path("box"));
    let mut pattern = pattern(&place.path("box/safe"));
    pattern.components.extend([Component::AnyDepth, Component::Literal(b"k".to_vec())]);
    run.policy.exceptions.push(Exception::protected(0, pattern));
    run.policy
}

/// What is where it must not be: a `k` in `safe`, a link that leads out of the box, a change outside.
fn escaped(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![place.path("box")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::symlink_metadata(&path).unwrap();
            if data.is_dir() {
                pending.push(path.clone());
            }
            if path.ends_with("k") && path.starts_with(place.path("box/safe")) {
                found.push(format!("{} was made", path.display()));
            }
            // The outsider's own link leads out.
            if data.is_symlink() && !path.ends_with("sub") && !path.ends_with("other") {
                let mut to = directory.clone();
                for part in std::fs::read_link(&path).unwrap().iter() {
                    if part == ".." {
                        to.pop();
                    } else {
                        to.push(part);
                    }
                }
                if !to.starts_with(place.path("box")) {
                    found.push(format!("{} leads to {}", path.display(), to.display()));
                }
            }
        }
    }
    let outside: Vec<_> =
        std::fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if outside != ["f"] || place.read("out/f").as_deref() != Some("secret") {
        found.push(format!("outside: {outside:?} {:?}", place.read("out/f")));
    }
    found
}

/// Two guests and an outsider, so many rounds each. What got out, and how many rounds went well.
fn race(rounds: u64, seed: u64, mode: Mode, landlock: bool) -> (Vec<String>, u64) {
    let place = place();
    place.file("box/sub/f", "granted").file("box/x", "").file("box/f", "").file("out/f", "secret");
    for directory in ["box/free/deep", "box/safe/deep"] {
        std::fs::create_dir_all(place.path(directory)).unwrap();
    }
    place.link("box/other", "../out");
    guest("wasi_race");
    let (stop, outsider) = swapping(place.path("box/sub"), place.path("box/other"));
    let guests = [seed, seed + 1].map(|seed| {
        let mut run = run();
        (run.policy, run.mode) = (shared(&place), mode);
        let confined = landlock.then(|| plan(&run.policy, usable_abi(), &look));
        let (at, rounds, seed) =
            (place.in_it("@/box"), rounds.to_string(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string());
        std::thread::spawn(move || {
            if let Some(plan) = confined {
                restrict(&plan, LandlockLevel::Required).expect("it is enforced");
            }
            run.start("wasi_race", &[&at, &rounds, &seed])
        })
    });
    let ended = guests.map(|guest| guest.join().expect("it ends"));
    stop.store(true, Ordering::Relaxed);
    assert!(outsider.join().unwrap() > 0, "somebody was at work outside");
    let mut found = escaped(&place);
    let mut well = 0;
    for ended in ended {
        found.extend(ended.lines.iter().filter(|line| line.starts_with("escape")).cloned());
        well += ended.lines.last().and_then(|line| line.parse::<u64>().ok()).expect("a count");
    }
    (found, well)
}

/// Many short races, since what gets out could be moved away again.
#[track_caller]
fn races(mode: Mode, landlock: bool, escapes: impl Fn(&str) -> bool) {
    let all: u64 =
        std::env::var("CARGO_SANDBOX_RACE_ROUNDS").map_or(6_000, |text| text.parse().expect("a number"));
    let each = 1_000;
    let (mut tried, mut well, mut seed) = (0, 0, 1);
    let mut found = Vec::new();
    while tried < all {
        let (escaped, done) = race(each, seed, mode, landlock);
        found.extend(
            escaped.into_iter().filter(|text| escapes(text)).map(|text| format!("seed {seed}: {text}")),
        );
        (tried, well, seed) = (tried + 2 * each, well + done, seed + 2);
    }
    println!("{tried} rounds, of which {well} went well; {} escapes", found.len());
    assert!(found.is_empty(), "{} in {tried} rounds: {:#?}", found.len(), &found[..found.len().min(8)]);
    assert!(well > tried / 50, "{well} of {tried}");
}

#[test]
fn two_guests_and_an_outsider_get_nothing_out_by_the_wasi_wall_alone() {
    races(Mode::Enforce, false, |_| true);
}

#[test]
fn two_guests_and_an_outsider_get_nothing_out_by_both_walls() {
    races(Mode::Enforce, true, |_| true);
}

/// Landlock knows no exceptions and no link texts: what it holds alone is the box.
#[test]
fn two_guests_and_an_outsider_get_nothing_out_by_landlock_alone() {
    races(Mode::Off, true, |text| text.starts_with("escape") || text.starts_with("outside"));
}

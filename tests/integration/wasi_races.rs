//! What happens while the guest is at work, and who stops it: links swapped in, this wall switched off, and the kernel's;
//! two guests and somebody outside of any wall in one directory.
//!
//! `CARGO_SANDBOX_RACE_ROUNDS=1000000` lets those two try so many things, behind each wall.
//!
//! Who did it: outsiders may write everywhere, so what they make or move to `safe` is no escape. These never do.
//! One only changes a directory with a link, the other only two directories of `free` with each other; so a
//! `k` in `safe` was made or brought there by a guest.

use crate::wasi_support::*;
use cargo_sandbox::wasi::{Mode, Turns};
use sandbox_policy::{Component, Exception, Policy};
use sandbox_walls::landlock::{look, usable_abi};
use sandbox_walls::{LandlockLevel, plan, restrict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        ended
            .seen
            .violations
            .iter()
            .all(|violation| violation.wall == sandbox_policy::access::Wall::Landlock)
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

/// What an outsider does in the directories that the guests move.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    /// It watches: not even for a moment may a `k` be in `safe`.
    Watches,
    /// It moves them too. Then a guest may bring a wrong one, but must take it back.
    Moves,
}

/// A `k` that was in `safe` while it was looked at.
fn seen_in_safe(place: &Place) -> Option<String> {
    use rustix::fs::{AtFlags, CWD, Mode as Bits, OFlags, fstat, open, openat, statat};
    for name in ["a", "b", "deep/a"] {
        let path = place.path("box/safe").join(name);
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(held) = open(&path, directory, Bits::empty()) else { continue };
        // Held, so that no other file gets its number.
        let k = || openat(&held, "k", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Bits::empty());
        let Ok(first) = k() else { continue };
        // The directory may have been moved away before somebody made it, and back when it was gone.
        let is_there = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|there| there.st_ino == fstat(&held).unwrap().st_ino);
        if is_there && k().is_ok_and(|k| fstat(k).unwrap().st_ino == fstat(&first).unwrap().st_ino) {
            return Some(format!("safe/{name}/k was there for a moment"));
        }
    }
    None
}

/// Does what an outsider does until told to stop.
fn outside(place: &Place, outside: Outside, stop: &AtomicBool) -> Vec<String> {
    let (a, b) = (place.path("box/free/a"), place.path("box/free/b"));
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match outside {
            Outside::Watches => seen.extend(seen_in_safe(place)),
            Outside::Moves => {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                // Often one of the two is not there.
                let _ = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            }
        }
    }
    seen
}

/// Two guests and outsiders, so many rounds each. What got out, and how many rounds went well.
fn race(rounds: u64, seed: u64, mode: Mode, landlock: bool, moves: Outside) -> (Vec<String>, u64) {
    let place = place();
    place.file("box/sub/f", "granted").file("box/x", "").file("box/f", "").file("out/f", "secret");
    for directory in ["box/free/deep", "box/safe/deep"] {
        std::fs::create_dir_all(place.path(directory)).unwrap();
    }
    place.link("box/other", "../out");
    guest("wasi_race");
    let (stop, outsider) = swapping(place.path("box/sub"), place.path("box/other"));
    let turns = Turns::new().unwrap();
    let guests = [seed, seed + 1].map(|seed| {
        let mut run = run();
        // As two tests of one command have them, each in a worker of its own.
        run.turns = Arc::new(turns.another().unwrap());
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
    let (ended, mut found) = std::thread::scope(|scope| {
        let other = scope.spawn(|| outside(&place, moves, &stop));
        let ended = guests.map(|guest| guest.join().expect("it ends"));
        stop.store(true, Ordering::Relaxed);
        (ended, other.join().unwrap())
    });
    assert!(outsider.join().unwrap() > 0, "somebody was at work outside");
    found.extend(escaped(&place));
    let mut well = 0;
    for ended in ended {
        found.extend(ended.lines.iter().filter(|line| line.starts_with("escape")).cloned());
        well += ended.lines.last().and_then(|line| line.parse::<u64>().ok()).expect("a count");
    }
    (found, well)
}

/// Many short races, since what gets out could be moved away again.
#[track_caller]
fn races(mode: Mode, landlock: bool, outside: Outside, escapes: impl Fn(&str) -> bool) {
    let all: u64 =
        std::env::var("CARGO_SANDBOX_RACE_ROUNDS").map_or(6_000, |text| text.parse().expect("a number"));
    let each = 1_000;
    let (mut tried, mut well, mut seed) = (0, 0, 1);
    let mut found = Vec::new();
    while tried < all {
        let (escaped, done) = race(each, seed, mode, landlock, outside);
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
    races(Mode::Enforce, false, Outside::Watches, |_| true);
}

#[test]
fn two_guests_and_an_outsider_get_nothing_out_by_both_walls() {
    races(Mode::Enforce, true, Outside::Watches, |_| true);
}

#[test]
fn an_outsider_who_moves_what_they_move_gets_nothing_out_by_the_wasi_wall_alone() {
    races(Mode::Enforce, false, Outside::Moves, |_| true);
}

#[test]
fn an_outsider_who_moves_what_they_move_gets_nothing_out_by_both_walls() {
    races(Mode::Enforce, true, Outside::Moves, |_| true);
}

/// Landlock knows no exceptions and no link texts: what it holds alone is the box.
#[test]
fn two_guests_and_an_outsider_get_nothing_out_by_landlock_alone() {
    races(Mode::Off, true, Outside::Moves, |text| text.starts_with("escape") || text.starts_with("outside"));
}

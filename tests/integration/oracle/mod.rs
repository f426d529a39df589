//! A search for holes: random programs of file operations run as guests on random trees under random policies, and
//! what is there before and after, and what the guest brought out, is held against a plain model of the rules.
//!
//! `CARGO_SANDBOX_ORACLE_PROGRAMS` says how many programs run in this process in each mode (and an eighth of that in
//! workers, in each mode and behind each set of walls), `CARGO_SANDBOX_ORACLE_SEED` with which number they begin, and
//! `CARGO_SANDBOX_ORACLE_SHOWN` how many different faults are looked for before a search ends. A program depends on its
//! own number alone, so that a fault that was found is found again with one program.
mod case;
mod guest;
mod judge;
mod maker;
mod program;
mod random;
mod rules;
mod tree;
mod world;

use cargo_sandbox::worker::protocol::PreopenLayout;
use case::{Broken, Case, Ground, World};
use judge::{Fault, Law};
use program::{At, Base, Call};
use sandbox_policy::access::Wall;
use sandbox_walls::Walls;
use std::collections::{BTreeMap, BTreeSet};
use tree::{Item, Tree};
use world::{Here, There};

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{name}` is no number: {text}")),
        Err(_) => otherwise,
    }
}

/// Runs programs in one mode; those that break a law are made smaller and shown.
fn search(world: &dyn World, audit: bool, programs: u64) {
    let seed = number("CARGO_SANDBOX_ORACLE_SEED", 1);
    let most = number("CARGO_SANDBOX_ORACLE_SHOWN", 3) as usize;
    let ground = Ground::new();
    let (mut calls, mut broke) = (0, 0);
    let mut done: BTreeMap<String, usize> = BTreeMap::new();
    // By what was broken with which calls: more of the same is only counted.
    let mut found: BTreeMap<(Vec<Law>, Vec<String>), String> = BTreeMap::new();
    for seed in seed..seed + programs {
        let mut case = Case::random(seed, audit);
        let (faults, answers) = case.tried(&ground, world, Broken::No);
        calls += answers.len();
        for (call, _) in case.calls.iter().zip(answers).filter(|(_, errno)| *errno == 0) {
            *done.entry(call.kind()).or_default() += 1;
        }
        let Some(law) = faults.first().map(|fault| fault.0) else { continue };
        broke += 1;
        let mut smallest = case.shrink(&ground, world, Broken::No, law);
        let laws = laws(&smallest.run(&ground, world, Broken::No));
        let kinds = smallest.calls.iter().map(Call::kind).collect();
        found.entry((laws, kinds)).or_insert_with(|| smallest.explained(&ground, world, Broken::No));
        if found.len() >= most {
            break;
        }
    }
    let all: usize = done.values().sum();
    println!(
        "{programs} programs from number {seed}, {}, {}: {calls} calls, {all} done ({done:?}), {broke} broke a law",
        world.name(),
        if audit { "audited" } else { "enforced" },
    );
    assert!(found.is_empty(), "{}", found.into_values().collect::<Vec<_>>().join("\n"));
    // Where nothing is ever done, nothing is shown.
    assert!(
        programs < 300 || done.len() == program::KINDS,
        "only some kinds of calls were ever done: {done:?}"
    );
}

/// Each law that was broken, once.
fn laws(faults: &[Fault]) -> Vec<Law> {
    let laws: BTreeSet<Law> = faults.iter().map(|fault| fault.0).collect();
    laws.into_iter().collect()
}

fn programs() -> u64 {
    number("CARGO_SANDBOX_ORACLE_PROGRAMS", 120)
}

#[test]
fn no_program_gets_around_what_is_enforced() {
    search(&Here::new(), false, programs());
}

#[test]
fn no_program_gets_out_of_the_envelope_of_an_audit() {
    search(&Here::new(), true, programs());
}

#[test]
fn no_program_gets_around_the_walls_of_a_worker() {
    let wasi = Walls::only(|wall| wall == Wall::Wasi);
    for walls in [Walls::ALL, wasi] {
        let world = There::new(walls);
        for audit in [false, true] {
            search(&world, audit, programs().div_ceil(8));
        }
    }
}

/// The judge sees each kind of fault, when a gate decides nothing.
#[test]
fn each_law_is_seen_to_be_broken() {
    use program::{DIRECTORY, Opening};
    let at = |path: &str| At(Base::Tree, path.to_owned());
    let read = Opening { read: true, follow: true, ..Opening::default() };
    let write = Opening { write: true, follow: true, ..Opening::default() };
    let list = Opening { flags: DIRECTORY, ..read };
    let open = |path, how| Call::Open(0, at(path), how);
    let programs: [(&[Law], Vec<Call>); 14] = [
        (&[Law::Changed], vec![open("ext/e.txt", write), Call::SetSize(0, 3)]),
        (&[Law::Changed], vec![Call::SetTimesOf(at("pkg/src"), true)]),
        (&[Law::Gone], vec![Call::Remove(at("pkg/Cargo.toml"))]),
        (&[Law::Gone], vec![Call::RemoveDirectory(at("ext/e"))]),
        (&[Law::Made], vec![Call::MakeDirectory(at("pkg/data/sub/.git"))]),
        (&[Law::Read], vec![open("pkg/data/secret.pem", read), Call::Read(0)]),
        (&[Law::Listed], vec![open("ext/sub", list), Call::List(0)]),
        (&[Law::Listed], vec![open("pkg/data/sub", list), Call::List(0)]),
        (&[Law::Seen], vec![Call::Stat(at("other"), true)]),
        (&[Law::Seen], vec![Call::ReadLink(at("ext/l0"))]),
        (&[Law::Leads], vec![Call::Symlink("../../ext/e.txt".to_owned(), at("pkg/data/new"))]),
        (&[Law::Gained], vec![Call::Link(at("ext/e.txt"), false, at("pkg/data/new"))]),
        (
            &[Law::Shown],
            vec![
                Call::MakeDirectory(at("tmp/t0/.cargo")),
                Call::Symlink("^/tmp/t0".to_owned(), at("pkg/data/new")),
            ],
        ),
        // A directory takes what is in it along, and a link in it comes to lead elsewhere.
        (
            &[Law::Gone, Law::Made, Law::Leads, Law::Gained],
            vec![Call::Rename(at("pkg/data/sub"), at("pkg/data/e/sub"))],
        ),
    ];
    let entry =
        |key, text: &str| rules::Entry { key, text: text.to_owned(), protected: false, as_tmp: false };
    let entries = vec![
        entry("read", "data"),
        entry("write", "data"),
        entry("write", "{tmp}"),
        entry("deny", "data/secret.pem"),
        entry("hide", "data/sub/key.pem"),
    ];
    let (ground, world) = (Ground::new(), Here::new());
    for (laws_broken, calls) in programs {
        let item = |path: &str| match path.split_once(" -> ") {
            Some((path, text)) => Item::Link(path.to_owned(), text.to_owned()),
            None => Item::File(path.to_owned()),
        };
        let mut items: Vec<Item> = [
            "pkg/Cargo.toml",
            "pkg/data/a.txt",
            "pkg/data/secret.pem",
            "pkg/data/sub/key.pem",
            "pkg/data/sub/deep/Cargo.toml",
            "pkg/data/sub/l1 -> ../../../ext/e.txt",
            "ext/e.txt",
            "ext/sub/f.txt",
            "other/s.txt",
            "ext/l0 -> e.txt",
        ]
        .map(item)
        .to_vec();
        items.extend(["pkg/src", "ext/e", "pkg/data/e"].map(|path| Item::Directory(path.to_owned())));
        let mut case = Case {
            seed: 0,
            tree: Tree(items),
            entries: entries.clone(),
            audit: false,
            layout: PreopenLayout::Root,
            calls,
        };
        let seen = laws(&case.run(&ground, &world, Broken::Open));
        assert_eq!(seen, laws_broken, "{}", case.explained(&ground, &world, Broken::Open));
        let faults = case.run(&ground, &world, Broken::No);
        if laws_broken.len() == 1 {
            assert!(faults.is_empty(), "{}", case.explained(&ground, &world, Broken::No));
        }
    }
}

/// A gate with one fault of its own is found by random programs, in this process and in a worker.
#[test]
fn a_gate_that_is_broken_on_purpose_is_noticed() {
    let here = Here::new();
    let there = There::new(Walls::ALL);
    let ground = Ground::new();
    for (broken, law) in [
        (Broken::Open, Law::Read),
        (Broken::NoExceptions, Law::Read),
        (Broken::NoProtected, Law::Made),
        (Broken::ReadIsWrite, Law::Changed),
        (Broken::WriteIsRead, Law::Read),
    ] {
        let breaks = |seed: u64, world: &dyn World| {
            Case::random(seed, false).run(&ground, world, broken).iter().any(|fault| fault.0 == law)
        };
        let found = (1..400).find(|seed| breaks(*seed, &here));
        let found = found.unwrap_or_else(|| panic!("{broken:?} breaks {law:?} in no program"));
        assert!(breaks(found, &there), "{broken:?} does not break {law:?} in a worker: program {found}");
    }
}

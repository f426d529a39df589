//! What Landlock rules cost: 1 to 10,000 of them, planned and put in force as a worker does it, and what an open
//! costs behind them; and one rule with 1 to 13 rights. The last figures of the thesis this grew from.
//!
//! `cargo bench --bench rules`. Each case is a process of its own, since a confinement is for life.

mod support;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use sandbox_policy::access::{GrantId, Operation, OperationSet};
use sandbox_policy::{Component, Grant, GrantPattern, PathBase, PathPattern, Policy, Provenance, Scope};
use sandbox_walls::{LandlockLevel, landlock as wall, look, plan, restrict};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{alternate, contestant, output, rounds, scratch, shown};

const COUNTS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// Opens behind the rules, for a mean.
const OPENS: u32 = 200;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, word, kind, number, folder] = args.as_slice()
        && word == "case"
    {
        let number = number.parse().expect("a number");
        let figures =
            if kind == "rules" { rules(number, folder.as_ref()) } else { rights(number, folder.as_ref()) };
        println!("{}", figures.map(|figure| figure.to_string()).join(" "));
        return;
    }
    let folder = scratch("rules");
    for index in 0..COUNTS[COUNTS.len() - 1] {
        std::fs::write(folder.join(index.to_string()), "").expect("a scratch file");
    }

    println!(
        "\n| rules | plan | put in force | both, each rule | an open behind them |\n|---|---|---|---|---|"
    );
    for (count, [plan, restrict, open]) in COUNTS.into_iter().zip(measure("rules", &COUNTS, &folder)) {
        let each = (plan + restrict) / f64::from(count);
        println!("| {count} | {} | {} | {} | {} |", shown(plan), shown(restrict), shown(each), shown(open));
    }
    let numbers: Vec<u32> = (0..=13).collect();
    println!("\n| rights of one rule | put in force | an open behind it |\n|---|---|---|");
    for (number, [_, restrict, open]) in numbers.iter().zip(measure("rights", &numbers, &folder)) {
        let number = if *number == 0 { "no confinement".to_owned() } else { number.to_string() };
        println!("| {number} | {} | {} |", shown(restrict), shown(open));
    }
}

/// The medians of all cases' figures; the cases take turns.
fn measure(kind: &str, numbers: &[u32], folder: &Path) -> Vec<[f64; 3]> {
    let figures = |index: usize| {
        move |number: u32| {
            let program = std::env::current_exe().expect("this program");
            let case = output(Command::new(program).args(["case", kind, &number.to_string()]).arg(folder));
            let text = String::from_utf8_lossy(&case.stdout).into_owned();
            let mut words = text.split_whitespace().map(|word| word.parse::<f64>().expect("a figure"));
            words.nth(index).expect("three figures")
        }
    };
    let mut all = vec![[0.0; 3]; numbers.len()];
    for index in 0..3 {
        let mut contestants: Vec<_> =
            numbers.iter().map(|&number| contestant("", move || figures(index)(number))).collect();
        for (all, median) in all.iter_mut().zip(alternate(rounds(7), &mut contestants)) {
            all[index] = median;
        }
    }
    all
}

/// Nanoseconds: planning, putting in force, one open.
fn rules(count: u32, folder: &Path) -> [f64; 3] {
    let policy = Policy {
        grants: (0..count).map(|id| grant(id, &folder.join(id.to_string()))).collect(),
        ..Policy::default()
    };
    let start = processor_time();
    let plan = plan(&policy, wall::usable_abi(), &look);
    let planned = processor_time();
    restrict(&plan, LandlockLevel::Required).expect("Landlock");
    let restricted = processor_time();
    assert_eq!(plan.rules.len(), count as usize);
    [planned - start, restricted - planned, open(&folder.join("0"))]
}

fn rights(number: u32, folder: &Path) -> [f64; 3] {
    let start = processor_time();
    if number > 0 {
        let all = AccessFs::from_all(ABI::V1);
        // Reading first, or the open would be denied.
        let others = all.iter().filter(|right| *right != AccessFs::ReadFile);
        let some: BitFlags<AccessFs> =
            std::iter::once(AccessFs::ReadFile).chain(others).take(number as usize).collect();
        Ruleset::default()
            .handle_access(all)
            .and_then(|ruleset| ruleset.create())
            .and_then(|ruleset| {
                ruleset.add_rule(PathBeneath::new(PathFd::new(folder).expect("it exists"), some))
            })
            .and_then(|ruleset| ruleset.restrict_self())
            .expect("Landlock");
    }
    [0.0, processor_time() - start, open(&folder.join("0"))]
}

/// The best of some rows, as noise only ever adds.
fn open(file: &PathBuf) -> f64 {
    let row = || {
        let start = processor_time();
        for _ in 0..OPENS {
            File::open(file).expect("it is granted");
        }
        (processor_time() - start) / f64::from(OPENS)
    };
    (0..20).map(|_| row()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds that this process has computed: waiting for a processor is not what is measured.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn grant(id: u32, path: &Path) -> Grant {
    let names = path
        .components()
        .skip(1)
        .map(|name| Component::Literal(name.as_os_str().as_encoded_bytes().to_vec()));
    Grant {
        id: GrantId(id),
        operations: OperationSet::of(Operation::Read),
        pattern: GrantPattern::Path(PathPattern {
            base: PathBase::Root,
            components: names.collect(),
            exact: false,
        }),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance::default(),
    }
}

//! Nanoseconds per decision among 10 to 10,000 grants: `cargo bench --bench decide`.
//!
//! The goal is a microsecond. `literal` is a policy as people write them; in `globs` every entry
//! is a wildcard in the same directory.

use sandbox_policy::access::{Decision, GrantId, Operation, OperationSet};
use sandbox_policy::{
    Component, Decider, Grant, GrantPattern, PathBase, PathPattern, Policy, Provenance, Scope,
};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    println!("{:>8} {:>8} {:>10} {:>10} {:>12}", "kind", "grants", "allowed", "denied", "compile");
    for count in [10, 100, 1_000, 10_000] {
        measure("literal", count, |i| {
            let name = Component::Literal(format!("file-{i}.json").into_bytes());
            let group = Component::Literal(format!("group-{}", i % 97).into_bytes());
            [literal("work"), literal("project"), literal("assets"), group, name].to_vec()
        });
        measure("globs", count, |i| {
            let name = Component::Glob(vec![Some(format!("file-{i}").into_bytes()), None]);
            [literal("work"), literal("project"), literal("assets"), literal("group-0"), name].to_vec()
        });
    }
}

fn literal(name: &str) -> Component {
    Component::Literal(name.as_bytes().to_vec())
}

fn measure(kind: &str, count: u32, components: impl Fn(u32) -> Vec<Component>) {
    let grants = (0..count).map(|i| Grant {
        id: GrantId(i),
        operations: OperationSet::FS_READ,
        pattern: GrantPattern::Path(PathPattern {
            base: PathBase::Root,
            components: components(i),
            exact: false,
        }),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance::default(),
    });
    let policy = Policy { grants: grants.collect(), current_dir: b"/work".to_vec(), ..Policy::default() };
    let start = Instant::now();
    let decider = Decider::new(&policy);
    let compile = start.elapsed();
    // Paths spread over the whole policy, so that it does not all stay in the nearest cache.
    let paths = |name: &str| -> Vec<Vec<u8>> {
        let numbers = (0..1_000).map(|i| (i * 7919) % count);
        let group = |i: u32| if kind == "globs" { 0 } else { i % 97 };
        numbers
            .map(|i| format!("/work/project/assets/group-{}/{name}-{i}.json", group(i)).into_bytes())
            .collect()
    };
    let time = |paths: &[Vec<u8>], expected: bool| {
        let rounds =
            (2_000_000 / (paths.len() as u32 * if kind == "globs" { count.min(1_000) } else { 1 })).max(3);
        let start = processor_time();
        for _ in 0..rounds {
            for path in paths {
                let decision = black_box(&decider).decide_path(Operation::Read, black_box(path));
                assert_eq!(matches!(decision, Decision::Allowed(_)), expected);
            }
        }
        (processor_time() - start) / (u128::from(rounds) * paths.len() as u128)
    };
    let (allowed, denied) = (time(&paths("file"), true), time(&paths("none"), false));
    println!("{kind:>8} {count:>8} {allowed:>7} ns {denied:>7} ns {:>9} µs", compile.as_micros());
}

/// Nanoseconds that this process has computed: waiting for a processor is not what is measured.
fn processor_time() -> u128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u128::from(time.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs())
}

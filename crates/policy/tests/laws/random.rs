//! Random policies and paths, and the plain search that the trie must agree with.
#![allow(unreachable_pub, reason = "it is the root's own")]

use proptest::prelude::*;
use sandbox_policy::access::{Decision, ExceptionId, GrantId, Operation, OperationSet};
use sandbox_policy::matching::covers_path;
use sandbox_policy::{
    Component, Exception, ExceptionKind, Grant, GrantPattern, PathBase, PathPattern, Policy, Provenance,
    Scope,
};

pub type Pieces = Vec<Option<Vec<u8>>>;

pub const NAMES: [&str; 4] = ["a", "b", "ab", "aa"];
pub const CRATES: [&str; 2] = ["one", "two"];
pub const SHUTTING: &[ExceptionKind] = &[ExceptionKind::Deny, ExceptionKind::Hide];
pub const ALL: &[ExceptionKind] = &[ExceptionKind::Deny, ExceptionKind::Hide, ExceptionKind::Protected];

pub fn pieces() -> impl Strategy<Value = Pieces> {
    prop::collection::vec(prop_oneof![Just("*"), Just("a"), Just("b"), Just("ab")], 1..5).prop_map(|parts| {
        let mut pieces: Pieces = Vec::new();
        for part in parts {
            match (part, pieces.last_mut()) {
                ("*", Some(None)) => {}
                ("*", _) => pieces.push(None),
                (run, Some(Some(last))) => last.extend_from_slice(run.as_bytes()),
                (run, _) => pieces.push(Some(run.as_bytes().to_vec())),
            }
        }
        pieces
    })
}

pub fn component() -> impl Strategy<Value = Component> {
    prop_oneof![
        5 => prop::sample::select(&NAMES[..]).prop_map(|name| Component::Literal(name.as_bytes().to_vec())),
        2 => pieces().prop_map(Component::Glob),
        1 => Just(Component::AnyDepth),
    ]
}

pub fn pattern() -> impl Strategy<Value = PathPattern> {
    prop::collection::vec(component(), 0..4).prop_map(|components| PathPattern {
        base: PathBase::Root,
        components,
        exact: false,
    })
}

pub fn operation() -> impl Strategy<Value = Operation> {
    prop::sample::select(&Operation::ALL[..Operation::PATHS])
}

pub fn grant() -> impl Strategy<Value = Grant> {
    let operations = prop::collection::vec(operation(), 1..4).prop_map(|operations| {
        operations.into_iter().map(OperationSet::of).fold(OperationSet::EMPTY, OperationSet::union)
    });
    let by = prop::collection::vec(prop::sample::select(&CRATES[..]).prop_map(str::to_owned), 0..2);
    let target = prop::option::weighted(0.2, pattern());
    (operations, pattern(), target, by, prop::bool::weighted(0.2)).prop_map(
        |(operations, path, target, by, protected)| Grant {
            id: GrantId(0),
            operations,
            pattern: GrantPattern::Path(path),
            target,
            by,
            scope: Scope::Always,
            protected,
            provenance: Provenance::default(),
        },
    )
}

pub fn exception(kinds: &'static [ExceptionKind]) -> impl Strategy<Value = Exception> {
    let target = prop::option::weighted(0.2, pattern());
    (prop::sample::select(kinds), pattern(), target).prop_map(|(kind, pattern, target)| Exception {
        id: ExceptionId(0),
        kind,
        pattern,
        target,
        scope: Scope::Always,
        provenance: Provenance::default(),
    })
}

pub fn policy(kinds: &'static [ExceptionKind]) -> impl Strategy<Value = Policy> {
    let grants = prop::collection::vec(grant(), 0..6);
    let exceptions = prop::collection::vec(exception(kinds), 0..3);
    (grants, exceptions, path()).prop_map(|(grants, exceptions, current_dir)| {
        numbered(Policy { grants, exceptions, current_dir, ..Policy::default() })
    })
}

pub fn numbered(mut policy: Policy) -> Policy {
    for (index, grant) in policy.grants.iter_mut().enumerate() {
        grant.id = GrantId(index as u32);
    }
    for (index, exception) in policy.exceptions.iter_mut().enumerate() {
        exception.id = ExceptionId(index as u32);
    }
    policy
}

/// What no resolver produces.
pub fn malformed() -> impl Strategy<Value = Vec<u8>> {
    let bad = ["", "a", "/a/", "//", "/a//b", "/a/.", "/a/..", "/./a", "/../a", "/a\0", "/a\0/b", "/a/b/"];
    prop::sample::select(bad.to_vec()).prop_map(|text| text.as_bytes().to_vec())
}

pub fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..5)
        .prop_map(|names| names.iter().flat_map(|name| [b"/", name.as_bytes()].concat()).collect())
}

pub fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub fn covered(own: &PathPattern, target: Option<&PathPattern>, path: &[u8]) -> bool {
    let path = split(path);
    std::iter::once(own).chain(target).any(|pattern| covers_path(pattern, &path))
}

pub fn grant_covers(grant: &Grant, operation: Operation, path: &[u8]) -> bool {
    let GrantPattern::Path(own) = &grant.pattern else { return false };
    grant.operations.contains(operation) && covered(own, grant.target.as_ref(), path)
}

pub fn excepted(policy: &Policy, kind: ExceptionKind, path: &[u8]) -> bool {
    policy.exceptions.iter().any(|e| e.kind == kind && covered(&e.pattern, e.target.as_ref(), path))
}

/// What the decision must be, found by looking at every entry in turn.
pub fn expected(policy: &Policy, operation: Operation, path: &[u8]) -> &'static str {
    let covering = || policy.grants.iter().filter(|grant| grant_covers(grant, operation, path));
    let current = operation == Operation::Stat && path == policy.current_dir;
    if excepted(policy, ExceptionKind::Deny, path) {
        "denied"
    } else if excepted(policy, ExceptionKind::Hide, path) {
        "hidden"
    } else if covering().any(|grant| grant.by.is_empty()) || current {
        "allowed"
    } else if covering().next().is_some() {
        "depends"
    } else {
        "ungranted"
    }
}

pub fn outcome(decision: Decision) -> &'static str {
    match decision {
        Decision::Denied(Some(_)) => "denied",
        Decision::Denied(None) => "ungranted",
        Decision::Hidden(_) => "hidden",
        Decision::Allowed(_) => "allowed",
        Decision::DependsOnOrigin => "depends",
    }
}

/// Every path beneath a directory, three levels deep.
pub fn beneath(directory: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![directory.to_vec()];
    let mut level = all.clone();
    for _ in 0..3 {
        let below = |path: &Vec<u8>| NAMES.map(|name| joined(&[path, b"/", name.as_bytes()]));
        level = level.iter().flat_map(below).collect();
        all.extend(level.iter().cloned());
    }
    all
}

pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_global_rejects: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

//! The policy as a whole: manifest in, decision or diagnostics out.

mod ceilings;
mod mistakes;
mod moves;
mod places;
mod scopes;
mod views;

use super::*;
use crate::access::{Access, Decision, GrantId, Operation, Resource};
use crate::diagnostic::{Diagnostic, SourceFile};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A file system of symbolic links only: everything else exists as named.
#[derive(Default)]
struct Links(BTreeMap<Vec<u8>, Vec<u8>>);

impl Links {
    fn of(links: &[(&str, &str)]) -> Self {
        Self(links.iter().map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec())).collect())
    }
}

impl Lookup for Links {
    fn resolve(&self, path: &[u8]) -> Resolved {
        let mut target: Vec<u8> = Vec::new();
        let mut links = Vec::new();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            target.push(b'/');
            target.extend_from_slice(name);
            if let Some(to) = self.0.get(&target) {
                links.push(std::mem::replace(&mut target, to.clone()));
            }
        }
        if target.is_empty() {
            target.push(b'/');
        }
        Resolved { target, links, exists: true, is_dir: true }
    }
}

fn machine() -> Places {
    Places {
        root: None,
        package: "/w/p".into(),
        workspace: "/w".into(),
        target_dir: "/w/target".into(),
        home: Some("/home/u".into()),
        cache: Some("/home/u/.cache/cargo-sandbox".into()),
        cargo_home: Some("/home/u/.cargo".into()),
        rustup_home: Some("/home/u/.rustup".into()),
    }
}

fn file(path: &str, text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: path.into(), text: text.to_owned() })
}

fn manifests(package: &str, workspace: Option<&str>) -> Manifests {
    Manifests {
        package: file("/w/p/Cargo.toml", package),
        workspace: workspace.map(|text| file("/w/Cargo.toml", text)),
        extra: CommandLineGrants::default(),
    }
}

fn try_load(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    load(&manifests(text, None), &machine(), &Links::default(), None)
}

fn loaded(text: &str) -> Loaded {
    try_load(text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn bindings() -> Bindings {
    Bindings { tmp: Some("/w/target/sandbox/run/1".into()), current_dir: "/w/p".into() }
}

/// The decider of a binary `main` of a package with this `fs` table.
fn fs(table: &str) -> Decider {
    decider(&loaded(&format!("[package.metadata.sandbox.fs]\n{table}")).policy)
}

fn decider(policy: &PackagePolicy) -> Decider {
    Decider::new(&policy.for_target(TargetKind::Bin, "main", None, &bindings()))
}

fn allowed(decider: &Decider, operation: Operation, path: &str) -> bool {
    matches!(decider.decide_path(operation, path.as_bytes()), Decision::Allowed(_))
}

#[test]
fn no_table_grants_nothing() {
    let policy = loaded("[package]\nname = \"p\"").policy;
    assert_eq!((policy.package.as_str(), policy.grants.len()), ("p", 0));
    let decider = decider(&policy);
    assert_eq!(decider.decide_path(Operation::Read, b"/etc/passwd"), Decision::Denied(None));
    assert_eq!(decider.decide_path(Operation::Stat, b"/w/p"), Decision::Allowed(None));
    assert_eq!(decider.decide_path(Operation::List, b"/w/p"), Decision::Denied(None));
}

#[test]
fn the_thesis_example() {
    let decider = fs("read = [\"input.txt\"]\nwrite = [\"output.txt\"]");
    assert_eq!(decider.decide_path(Operation::Read, b"/w/p/input.txt"), Decision::Allowed(Some(GrantId(0))));
    assert_eq!(
        decider.decide_path(Operation::Create, b"/w/p/output.txt"),
        Decision::Allowed(Some(GrantId(1)))
    );
    assert_eq!(decider.decide_path(Operation::Read, b"/w/p/output.txt"), Decision::Denied(None));
    assert_eq!(decider.decide_path(Operation::Create, b"/w/p/other.txt"), Decision::Denied(None));
    assert_eq!(decider.decide_path(Operation::Create, b"/w/p/input.txt"), Decision::Denied(None));
}

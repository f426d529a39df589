//! What the tests of `worker` share.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod suite;

use cargo_sandbox::compile::Strategy;
use cargo_sandbox::worker::supervisor::{Artifact, Launcher};
use sandbox_policy::access::{GrantId, OperationSet};
use sandbox_policy::{
    Component, Grant, GrantPattern, PackagePolicy, PathBase, PathPattern, Provenance, Scope,
};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

pub(crate) fn launcher() -> Launcher {
    Launcher::at(env!("CARGO_BIN_EXE_cargo-sandbox"))
}

pub(crate) fn wasm() -> File {
    assemble(include_str!("../guests/actor.wat"))
}

pub(crate) fn assemble(text: &str) -> File {
    let bytes = wat::parse_str(text).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file.rewind().unwrap();
    file
}

pub(crate) fn artifact(strategy: Strategy) -> Artifact {
    launcher().prepare(&mut wasm(), strategy, None).unwrap()
}

pub(crate) fn root() -> OwnedFd {
    cargo_sandbox::wasi::real_root().unwrap()
}

fn grant(id: u32, operations: OperationSet, base: PathBase, path: &str, scope: Scope) -> Grant {
    let components = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| Component::Literal(part.as_bytes().to_vec()))
        .collect();
    Grant {
        id: GrantId(id),
        operations,
        pattern: GrantPattern::Path(PathPattern { base, components, exact: false }),
        target: None,
        by: Vec::new(),
        scope,
        protected: false,
        provenance: Provenance::default(),
    }
}

/// A package with these grants: operations, path (`{tmp}` for the private directory), scope.
pub(crate) fn package(grants: &[(OperationSet, &str, Scope)]) -> PackagePolicy {
    let grants = (0..).zip(grants).map(|(id, (operations, path, scope))| match path.strip_prefix("{tmp}") {
        Some(rest) => grant(id, *operations, PathBase::Tmp, rest, scope.clone()),
        None => grant(id, *operations, PathBase::Root, path, scope.clone()),
    });
    PackagePolicy { package: "actor".to_owned(), grants: grants.collect(), ..PackagePolicy::default() }
}

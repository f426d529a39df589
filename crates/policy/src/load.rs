//! From the manifests of a package to its policy.

use super::ceiling::Ceiling;
use super::manifests::Manifests;
use super::model::{PackagePolicy, Scope};
use super::mounts::Kept;
use super::places::{Lookup, Places};
use super::resolve::{Files, Resolver, bounded, span_of};
use super::schema::{self, Form};
use crate::diagnostic::{Diagnostic, Severity};

/// The WASI version to build for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wasi {
    /// `wasm32-wasip1`.
    #[default]
    P1,
}

/// A policy and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: PackagePolicy,
    /// See [`Wasi`].
    pub wasi: Wasi,
    /// What does not stop the command.
    pub warnings: Vec<Diagnostic>,
}

/// Reads, merges and resolves the permissions of one package.
///
/// Entries are relative to the package root, those that a package inherits too. `deny` and `hide` of the
/// workspace's table hold below the workspace's root as well, so that a relative one can never
/// miss what it meant; its `deny` binds every package.
///
/// # Errors
/// Every mistake at once, each with its place. Warnings come after the errors.
pub fn load(
    manifests: &Manifests,
    places: &Places,
    lookup: &dyn Lookup,
    ceiling: Option<&Ceiling>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut out = Vec::new();
    let mut resolver = Resolver::new(places, lookup);
    let package = schema::read(&manifests.package, Form::Manifest, &mut out);
    let other = manifests.workspace.as_ref().filter(|file| file.path != manifests.package.path);
    let workspace = other.map(|file| schema::read(file, Form::Manifest, &mut out));
    let files = Files { package: &manifests.package, workspace: other.unwrap_or(&manifests.package) };
    let mut policy = resolver.merge(&package, workspace.as_ref(), &files, &mut out);
    resolver.command_line(&manifests.extra, &mut policy, &mut out);
    if let Some(ceiling) = ceiling {
        ceiling.apply(&mut policy, &files, &mut out);
    }
    resolver.protect(&mut policy);
    policy.kept = Kept::of(places).and(Kept::of(&resolver.places));
    mounts(&policy, &files, &mut out);
    policy.links = resolver.links.into_iter().collect();
    let out = bounded(out);
    if out.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(out);
    }
    Ok(Loaded { policy, wasi: Wasi::P1, warnings: out })
}

/// The private directory cannot stand for a `/tmp` that something else speaks of as a whole.
fn mounts(policy: &PackagePolicy, files: &Files<'_>, out: &mut Vec<Diagnostic>) {
    let mut known: Option<(&Scope, Option<String>)> = None;
    for grant in policy.grants.iter().filter(|grant| grant.provenance.mount.is_some()) {
        if known.as_ref().is_none_or(|(scope, _)| *scope != &grant.scope) {
            known = Some((&grant.scope, policy.speaks_of_tmp(&grant.scope)));
        }
        let Some(why) = known.clone().and_then(|(_, why)| why) else { continue };
        let message = "the private directory cannot stand in the place of `/tmp` here";
        let diagnostic = Diagnostic::error("bad-view", message).note(why);
        out.push(match span_of(&grant.provenance, files) {
            Some((file, range)) => diagnostic.at(&file, range, ""),
            None => diagnostic,
        });
    }
}

//! `--ceiling`: what bounds the manifests. A grant that the ceiling does not provably cover is not
//! granted, and said.

use super::compare::{Index, covered};
use super::limits::LimitsPatch;
use super::manifests::Manifests;
use super::model::{ExceptionKind, Grant, PackagePolicy, Scope};
use super::pattern::shown;
use super::places::{Lookup, Places};
use super::resolve::{Files, MOST_MISTAKES, Resolver, bounded, span_of};
use super::schema::{self, Form};
use crate::access::{ExceptionId, GrantId, OperationSet};
use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use std::sync::Arc;

/// One or several bounds; a grant must be below each.
#[derive(Clone, Debug, Default)]
pub struct Ceiling {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    name: String,
    policy: PackagePolicy,
}

impl Ceiling {
    /// Reads a file with the tables at its top (`[fs]`), or a `Cargo.toml`. Its variables mean `places` as they are
    /// given: canonical, but found without the word of whom it is to bound.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_file(
        file: &Arc<SourceFile>,
        places: &Places,
        lookup: &dyn Lookup,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::read(file, None, Form::Standalone, places, lookup)
    }

    /// Reads the manifests of another revision. Its command-line grants are not looked at. `places` are as for
    /// [`from_file`](Self::from_file).
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn from_manifests(
        manifests: &Manifests,
        places: &Places,
        lookup: &dyn Lookup,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::read(&manifests.package, manifests.workspace.as_ref(), Form::Manifest, places, lookup)
    }

    /// Both bounds at once.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.layers.extend(other.layers);
        self
    }

    fn read(
        file: &Arc<SourceFile>,
        workspace: Option<&Arc<SourceFile>>,
        form: Form,
        places: &Places,
        lookup: &dyn Lookup,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut out = Vec::new();
        let mut resolver = Resolver::of_ceiling(places, lookup);
        let package = schema::read(file, form, &mut out);
        let other = workspace.filter(|other| other.path != file.path);
        let shared = other.map(|file| schema::read(file, Form::Manifest, &mut out));
        let files = Files { package: file, workspace: other.unwrap_or(file) };
        let policy = resolver.merge(&package, shared.as_ref(), &files, &mut out);
        if out.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(bounded(out));
        }
        let name = file.path.display().to_string();
        Ok(Self { layers: vec![Layer { name, policy }] })
    }

    /// Takes from `policy` what is above, with a warning for each entry, and adds the exceptions
    /// and limits of every layer. Grants without a file come from the command line and stay.
    pub(super) fn apply(&self, policy: &mut PackagePolicy, files: &Files<'_>, out: &mut Vec<Diagnostic>) {
        for layer in &self.layers {
            let grants = std::mem::take(&mut policy.grants);
            let index = Index::new(&layer.policy.grants);
            let mut said = 0;
            for mut grant in grants {
                let covered = if grant.provenance.file.as_os_str().is_empty() {
                    grant.operations
                } else {
                    // Where the private directory is seen is no matter of what may be done there.
                    let mut grant = grant.clone();
                    grant.provenance.mount = None;
                    covered(index.candidates(&grant).map(|(_, wide)| wide), &grant)
                };
                if covered != grant.operations {
                    said += 1;
                    // What nobody is shown needs no place.
                    let shown = said <= MOST_MISTAKES;
                    out.push(if shown {
                        layer.above(&grant, covered, files)
                    } else {
                        Diagnostic::warning("above-ceiling", "")
                    });
                    let lost = grant.operations.difference(covered);
                    policy.above.push(Grant { operations: lost, ..grant.clone() });
                    grant.operations = covered;
                }
                if !grant.operations.is_empty() {
                    policy.grants.push(grant);
                }
            }
            for exception in &layer.policy.exceptions {
                if exception.kind != ExceptionKind::Protected {
                    policy.exceptions.push(exception.clone());
                }
            }
            layer.bound(&mut policy.limits);
        }
        for (index, grant) in policy.grants.iter_mut().enumerate() {
            grant.id = GrantId(index as u32);
        }
        for (index, exception) in policy.exceptions.iter_mut().enumerate() {
            exception.id = ExceptionId(index as u32);
        }
    }
}

impl Layer {
    fn above(&self, grant: &Grant, covered: OperationSet, files: &Files<'_>) -> Diagnostic {
        let text = shown(&grant.provenance.text);
        let key = &grant.provenance.key;
        let message = if covered.is_empty() {
            format!("`{text}` in `{key}` is above the ceiling and not granted")
        } else {
            let lost: Vec<String> =
                grant.operations.difference(covered).iter().map(|o| o.to_string()).collect();
            format!("`{text}` in `{key}` is partly above the ceiling: {} not granted", lost.join(", "))
        };
        let diagnostic = Diagnostic::warning("above-ceiling", message);
        let diagnostic = match span_of(&grant.provenance, files) {
            Some((file, range)) => diagnostic.at(&file, range, ""),
            None => diagnostic,
        };
        diagnostic.note(format!("the ceiling is `{}`", shown(&self.name)))
    }

    /// No value may exceed the smallest that the ceiling says for any scope.
    fn bound(&self, limits: &mut Vec<(Scope, LimitsPatch)>) {
        let mut bound = LimitsPatch::default();
        for (_, patch) in &self.policy.limits {
            bound = patch.clamp(&bound, true);
        }
        for (_, patch) in limits.iter_mut() {
            *patch = patch.clamp(&bound, false);
        }
        limits.insert(0, (Scope::Always, bound));
    }
}

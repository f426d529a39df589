//! From manifests to a [`PackagePolicy`]: merge, resolve, and check against protected places.

mod parts;

pub use parts::MOST_MISTAKES;
pub(super) use parts::{Files, bounded, span_of};

use super::limits::LimitsPatch;
use super::matching::literal_prefix;
use super::model::literals;
use super::model::{Component, Exception, ExceptionKind, GrantPattern, PackagePolicy, PathBase, PathPattern};
use super::pattern::{joined, parse_env, parse_path, shown};
use super::places::{Lookup, Places, bytes};
use super::protected::{Conflict, Protected};
use super::schema::{RawEntry, RawManifest, RawSandbox};
use crate::access::{Key, OperationSet};
use crate::diagnostic::{Diagnostic, SourceFile};
use parts::{diagnose, push_exception, push_grant, rank};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) struct Resolver<'a> {
    pub(super) places: Places,
    lookup: &'a dyn Lookup,
    protected: Protected,
    /// Whether grants are checked against protected places and against links that leave the
    /// package. A ceiling grants nothing, so it may name what it likes.
    checks: bool,
    pub(super) links: BTreeSet<Vec<u8>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(places: &Places, lookup: &'a dyn Lookup) -> Self {
        let (places, links) = places.canonical(lookup);
        let protected = Protected::new(&places);
        Self { places, lookup, protected, checks: true, links: links.into_iter().collect() }
    }

    /// For a ceiling. Its places are taken as they are: a link on the way to one could be the word of whom the
    /// ceiling is to bound.
    pub(super) fn of_ceiling(places: &Places, lookup: &'a dyn Lookup) -> Self {
        let protected = Protected::new(places);
        Self { places: places.clone(), lookup, protected, checks: false, links: BTreeSet::new() }
    }

    /// What the manifests say, merged: the workspace's table first.
    pub(super) fn merge(
        &mut self,
        package: &RawManifest,
        workspace: Option<&RawManifest>,
        files: &Files<'_>,
        out: &mut Vec<Diagnostic>,
    ) -> PackagePolicy {
        let mut policy = PackagePolicy { package: package.name.clone(), ..PackagePolicy::default() };
        let shared = workspace.unwrap_or(package).workspace.as_ref();
        let own = package.package.as_ref();
        let inherits = own.and_then(|own| own.inherits.clone());
        if let (Some(range), None) = (&inherits, shared) {
            out.push(
                Diagnostic::error(
                    "no-workspace-table",
                    "there is no `[workspace.metadata.sandbox]` to start from",
                )
                .at(files.package, range.clone(), "asked for here"),
            );
        }
        if let Some(shared) = shared {
            self.table(shared, files.workspace, inherits.is_some(), true, &mut policy, out);
        }
        if let Some(own) = own {
            self.table(own, files.package, true, false, &mut policy, out);
        }
        // A narrower table replaces single values of a wider one, wherever it stands.
        policy.set.sort_by_key(|(scope, _)| rank(scope));
        policy.limits.sort_by_key(|(scope, _)| rank(scope));
        policy
    }

    fn table(
        &mut self,
        raw: &RawSandbox,
        file: &Arc<SourceFile>,
        applies: bool,
        shared: bool,
        policy: &mut PackagePolicy,
        out: &mut Vec<Diagnostic>,
    ) {
        for entry in &raw.entries {
            // What does not apply is checked all the same: the mistake is in the file.
            let mut unused = PackagePolicy::default();
            let binds = applies || entry.key == Key::Deny;
            let policy = if binds { &mut *policy } else { &mut unused };
            self.entry(entry, Some(file), shared, policy, out);
        }
        if applies {
            policy.set.extend(raw.set.iter().cloned());
            policy.limits.extend(
                raw.limits.iter().filter(|(_, patch)| !shared || *patch != LimitsPatch::default()).cloned(),
            );
        }
    }

    /// Adds one entry to the policy.
    pub(super) fn entry(
        &mut self,
        entry: &RawEntry,
        file: Option<&Arc<SourceFile>>,
        shared: bool,
        policy: &mut PackagePolicy,
        out: &mut Vec<Diagnostic>,
    ) {
        let report = |diagnostic: Diagnostic, out: &mut Vec<Diagnostic>| {
            out.push(match file {
                Some(file) => diagnostic.at(file, entry.span.clone(), ""),
                None => {
                    diagnostic.note(format!("given as `{} {}`", entry.provenance.table, shown(&entry.text)))
                }
            });
        };
        if !entry.key.is_on_path() {
            match parse_env(&entry.text) {
                Ok(pattern) => {
                    if self.checks && pattern.0.iter().all(Option::is_none) {
                        let message = "`*` passes on every variable whose name does not sound like a secret";
                        report(Diagnostic::warning("every-variable", message), out);
                    }
                    push_grant(
                        policy,
                        entry,
                        entry.key.operations(),
                        GrantPattern::Env(pattern),
                        None,
                        false,
                    );
                }
                Err(error) => report(diagnose(&error), out),
            }
            return;
        }
        let package = bytes(&self.places.package).to_vec();
        let pattern = match parse_path(&entry.text, &self.places, &package) {
            Ok(pattern) => pattern,
            Err(error) => return report(diagnose(&error), out),
        };
        let (mut target, links) = self.follow(&pattern);
        let kind = match entry.key {
            Key::Deny => Some(ExceptionKind::Deny),
            Key::Hide => Some(ExceptionKind::Hide),
            _ => None,
        };
        if let Some(kind) = kind {
            push_exception(policy, entry, kind, pattern.clone(), target);
            let workspace = bytes(&self.places.workspace).to_vec();
            if let Ok(again) = parse_path(&entry.text, &self.places, &workspace)
                && shared
                && again != pattern
            {
                let (target, _) = self.follow(&again);
                push_exception(policy, entry, kind, again, target);
            }
            return;
        }
        let operations = entry.key.operations();
        let mut protected = false;
        if self.checks {
            if let Some(diagnostic) = self.leaves(&pattern, target.as_ref(), &entry.text) {
                return report(diagnostic, out);
            }
            let mut fine = true;
            for pattern in std::iter::once(&pattern).chain(&target) {
                match self.protected.conflict(operations, pattern) {
                    Some(conflict) if conflict.exact && entry.protected => protected = true,
                    Some(conflict) => {
                        report(self.refuse(&conflict, entry), out);
                        fine = false;
                        break;
                    }
                    None => {}
                }
            }
            if !fine {
                return;
            }
            if entry.protected && !protected && file.is_some() {
                let message = format!(
                    "`{}` is no protected place: `protected = true` does nothing",
                    shown(&entry.text)
                );
                report(Diagnostic::warning("not-protected", message), out);
            }
        } else {
            protected = entry.protected;
            // A ceiling follows no link: whoever it bounds could have put one there.
            target = None;
        }
        self.links.extend(links);
        push_grant(policy, entry, operations, GrantPattern::Path(pattern), target, protected);
    }

    /// Where the literal beginning of a pattern leads, if links are on the way.
    fn follow(&self, pattern: &PathPattern) -> (Option<PathPattern>, Vec<Vec<u8>>) {
        if pattern.base == PathBase::Tmp {
            return (None, Vec::new());
        }
        let prefix = literal_prefix(&pattern.components);
        let resolved = self.lookup.resolve(&joined(prefix));
        let mut components = literals(&resolved.target);
        if components == prefix {
            return (None, resolved.links);
        }
        components.extend_from_slice(&pattern.components[prefix.len()..]);
        (Some(PathPattern { base: PathBase::Root, components, exact: pattern.exact }), resolved.links)
    }

    /// An entry beneath the package or workspace must not be carried out of it by a link.
    fn leaves(&self, pattern: &PathPattern, target: Option<&PathPattern>, text: &str) -> Option<Diagnostic> {
        let target = target?;
        let roots = [literals(bytes(&self.places.package)), literals(bytes(&self.places.workspace))];
        let beneath = |components: &[Component]| {
            roots.iter().any(|root| !root.is_empty() && components.starts_with(root))
        };
        if !beneath(&pattern.components) || beneath(&target.components) {
            return None;
        }
        let leads_to = joined(literal_prefix(&target.components));
        let leads_to = shown(&String::from_utf8_lossy(&leads_to));
        let message =
            format!("`{}` passes a symbolic link that leaves the package, to `{leads_to}`", shown(text));
        Some(
            Diagnostic::error("leaves-package", message)
                .help(format!("name the place it leads to: `{leads_to}`, if that is what is meant")),
        )
    }

    fn refuse(&self, conflict: &Conflict, entry: &RawEntry) -> Diagnostic {
        let (code, word) = match conflict.sensitive {
            true => ("sensitive-place", "sensitive"),
            false => ("protected-place", "protected"),
        };
        let text = shown(&entry.text);
        let place = &conflict.place;
        let why = conflict.why;
        if conflict.exact {
            let flag = crate::text::toml_string(&entry.text);
            return Diagnostic::error(code, format!("`{text}` is in a {word} place, `{place}`: {why}"))
                .help_paste("if that is meant, say so", format!("{{ path = {flag}, protected = true }}"));
        }
        let verb = if entry.text.contains('*') { "could reach" } else { "contains" };
        let help = if conflict.sensitive {
            "name only what is needed; a sensitive place must be named exactly, with `protected = true`"
        } else {
            "name a directory of its own for what is written, such as `out` or `{tmp}`"
        };
        Diagnostic::error(code, format!("`{text}` {verb} the {word} place `{place}`: {why}")).help(help)
    }

    /// Names that stay protected below grants that change files: one exception for each name below
    /// the literal beginning of each such grant. `{tmp}` is free.
    pub(super) fn protect(&self, policy: &mut PackagePolicy) {
        let mut prefixes: Vec<Vec<Component>> = Vec::new();
        for grant in &policy.grants {
            let GrantPattern::Path(path) = &grant.pattern else { continue };
            if grant.operations.intersection(OperationSet::FS_CHANGE).is_empty() || path.base == PathBase::Tmp
            {
                continue;
            }
            prefixes.extend(
                std::iter::once(path)
                    .chain(&grant.target)
                    .map(|path| literal_prefix(&path.components).to_vec()),
            );
        }
        let mut outer = outermost(prefixes);
        // Many in one directory share the exceptions below that: there are hundreds of names.
        for parent in crowded(&outer).into_iter().filter(|parent| !self.protected.is_above_work(parent)) {
            outer.retain(|prefix| !prefix.starts_with(&parent));
            outer.push(parent);
        }
        for prefix in outermost(outer) {
            for name in self.protected.names_below(&prefix) {
                let mut components = prefix.clone();
                components.extend([Component::AnyDepth, name.clone()]);
                let id = policy.exceptions.len();
                policy.exceptions.push(Exception::protected(id, PathPattern::of(components)));
            }
        }
    }
}

/// Without those that lie beneath others.
fn outermost(mut prefixes: Vec<Vec<Component>>) -> Vec<Vec<Component>> {
    prefixes.sort_by_key(|prefix| joined(prefix));
    let mut outer: Vec<Vec<Component>> = Vec::new();
    for prefix in prefixes {
        if !outer.last().is_some_and(|last| prefix.starts_with(last)) {
            outer.push(prefix);
        }
    }
    outer
}

/// Directories that hold more than a few of these themselves.
fn crowded(prefixes: &[Vec<Component>]) -> Vec<Vec<Component>> {
    const FEW: usize = 8;
    let mut parents: Vec<&[Component]> =
        prefixes.iter().filter_map(|prefix| Some(prefix.split_last()?.1)).collect();
    parents.sort_by_key(|parent| joined(parent));
    parents
        .chunk_by(|one, other| one == other)
        .filter(|same| same.len() > FEW)
        .map(|same| same[0].to_vec())
        .collect()
}

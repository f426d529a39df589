//! Cutting the [`Policy`] of one run or one test from a [`PackagePolicy`].

use super::limits::Limits;
use super::matching::glob_matches;
use super::model::{
    Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy, PathBase, PathPattern, Policy, Scope,
    literals,
};
use super::pattern::parse_name;
use super::places::{Bindings, bytes};

/// What kind of target runs, as far as permissions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A binary, run as such.
    Bin,
    /// An example, run as such.
    Example,
    /// An artifact of tests, whatever it was made from.
    Test,
}

impl PackagePolicy {
    /// What applies to one target, or, with `test`, to that test of it.
    pub fn for_target(&self, kind: TargetKind, name: &str, test: Option<&str>, bind: &Bindings) -> Policy {
        let applies = |scope: &Scope| applies(scope, kind, name, test);
        self.cut(applies, applies, bind)
    }

    /// The entries among the exceptions of that: a small part of it, for one violation of many.
    pub(super) fn excepted(
        &self,
        kind: TargetKind,
        name: &str,
        test: Option<&str>,
        bind: &Bindings,
    ) -> impl Iterator<Item = Exception> {
        let entries = self.exceptions.iter().filter(|exception| exception.kind != ExceptionKind::Protected);
        entries
            .filter(move |exception| applies(&exception.scope, kind, name, test))
            .filter_map(move |exception| bind_exception(exception, bind))
    }

    /// The union of what tests may do, for the process that all of them are forked from: grants
    /// of every case, but only the exceptions that bind every test. `bind.tmp` is the folder that
    /// holds the private directories of all tests.
    pub fn for_all_tests(&self, bind: &Bindings) -> Policy {
        let all = |scope: &Scope| matches!(scope, Scope::Always | Scope::Test);
        self.cut(|scope| all(scope) || matches!(scope, Scope::Case { .. }), all, bind)
    }

    /// Whether a test has the policy of a test that no case names and that has no private directory:
    /// the same as [`for_target`](Self::for_target) makes for no test at all. `own_tmp` says that it
    /// has one.
    pub fn is_ordinary(&self, test: &str, own_tmp: bool) -> bool {
        if own_tmp && self.kept.is_for_audit() {
            return false;
        }
        let grants = self.grants.iter().map(|grant| {
            let pattern = match &grant.pattern {
                GrantPattern::Path(pattern) => Some(pattern),
                GrantPattern::Env(_) => None,
            };
            (&grant.scope, pattern)
        });
        let exceptions = self.exceptions.iter().map(|except| (&except.scope, Some(&except.pattern)));
        let others =
            self.set.iter().map(|(scope, _)| scope).chain(self.limits.iter().map(|(scope, _)| scope));
        grants.chain(exceptions).chain(others.map(|scope| (scope, None))).all(|(scope, pattern)| {
            let named = matches!(scope, Scope::Case { name, .. } if case_matches(name, test));
            let of_tmp = pattern.is_some_and(|pattern| pattern.base == PathBase::Tmp);
            !(named || own_tmp && of_tmp)
        })
    }

    fn cut(
        &self,
        grants: impl Fn(&Scope) -> bool,
        binding: impl Fn(&Scope) -> bool,
        bind: &Bindings,
    ) -> Policy {
        let mut limits = Limits::default();
        for (_, patch) in self.limits.iter().filter(|(scope, _)| binding(scope)) {
            patch.apply(&mut limits);
        }
        let set =
            self.set.iter().filter(|(scope, _)| binding(scope)).flat_map(|(_, set)| set.clone()).collect();
        let grants: Vec<Grant> = self
            .grants
            .iter()
            .filter(|grant| grants(&grant.scope))
            .filter_map(|g| bind_grant(g, bind))
            .collect();
        let exceptions: Vec<Exception> = self
            .exceptions
            .iter()
            .filter(|exception| binding(&exception.scope))
            .filter_map(|exception| bind_exception(exception, bind))
            .collect();
        let mounts = self.kept.mounts(&grants, &exceptions, bind).unwrap_or_default();
        let current_dir = bytes(&bind.current_dir);
        Policy {
            package: self.package.clone(),
            grants,
            exceptions,
            set,
            limits,
            links: self.links.clone(),
            current_dir: mounts.to_host(current_dir).unwrap_or_else(|| current_dir.to_vec()),
            mounts,
        }
    }

    /// The case that a test belongs to: the last one that matches.
    pub(super) fn case_of(&self, test: &str) -> Option<&Scope> {
        let scopes = self.limits.iter().map(|(scope, _)| scope);
        scopes.rev().find(|scope| matches!(scope, Scope::Case { name, .. } if case_matches(name, test)))
    }
}

/// Whether what has this scope applies to a target, or to a test of it.
fn applies(scope: &Scope, kind: TargetKind, name: &str, test: Option<&str>) -> bool {
    let tests = test.is_some() || kind == TargetKind::Test;
    match scope {
        Scope::Always => true,
        Scope::Test => tests,
        Scope::Bin(bin) => !tests && kind == TargetKind::Bin && bin == name,
        Scope::Example(example) => !tests && kind == TargetKind::Example && example == name,
        Scope::Case { name, .. } => test.is_some_and(|test| case_matches(name, test)),
    }
}

/// Whether a test's name matches the `name` of a case.
pub fn case_matches(pattern: &str, test: &str) -> bool {
    // Most cases name one test, and a manifest may have thousands.
    if !pattern.is_empty() && pattern.len() < 1024 && !pattern.contains(['*', '?', '[', '{', '}', '\0']) {
        return pattern == test;
    }
    parse_name(pattern).is_ok_and(|pieces| glob_matches(&pieces, test.as_bytes()))
}

fn bind_path(pattern: &PathPattern, bind: &Bindings) -> Option<PathPattern> {
    if pattern.base == PathBase::Root {
        return Some(pattern.clone());
    }
    let mut components = literals(bytes(bind.tmp.as_deref()?));
    components.extend_from_slice(&pattern.components);
    Some(PathPattern { base: PathBase::Root, components, exact: pattern.exact })
}

fn bind_grant(grant: &Grant, bind: &Bindings) -> Option<Grant> {
    let pattern = match &grant.pattern {
        GrantPattern::Path(path) => GrantPattern::Path(bind_path(path, bind)?),
        GrantPattern::Env(_) => grant.pattern.clone(),
    };
    Some(Grant { pattern, ..grant.clone() })
}

fn bind_exception(exception: &Exception, bind: &Bindings) -> Option<Exception> {
    Some(Exception { pattern: bind_path(&exception.pattern, bind)?, ..exception.clone() })
}

//! What a test runs under besides its grants: environment and time limit. They differ only between
//! tests of different cases, so they are found once for each combination of cases.

use super::super::environment;
use super::super::run::{Subject, wants_tmp};
use crate::audit::envelope::{with_environment, with_tmp_view};
use crate::worker::protocol::PreopenLayout;
use sandbox_policy::access::OperationSet;
use sandbox_policy::{Bindings, Decider, Grant, PackagePolicy, Scope, TargetKind, case_matches};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The environment's name of the private directory.
const TMPDIR: &str = "TMPDIR";

type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// Environment and time limit of some tests.
#[derive(Debug)]
pub(super) struct TestEnv {
    env: Variables,
    pub(super) time: Option<Duration>,
    /// They can change nothing but their private directory, so that a test that was ended can be run
    /// again as if it had never been.
    pub(super) repeatable: bool,
    /// Whether `TMPDIR` is the test's own directory, and not what the manifest says.
    own_tmpdir: bool,
    /// They are those of a test that no case names.
    usual: bool,
}

impl TestEnv {
    /// The environment of one test, with its private directory.
    pub(super) fn environment(&self, tmp: Option<&Path>) -> Variables {
        let mut env = self.env.clone();
        if let Some(tmp) = tmp.filter(|_| self.own_tmpdir) {
            env.retain(|(name, _)| name != TMPDIR.as_bytes());
            env.push((TMPDIR.into(), tmp.as_os_str().as_bytes().to_vec()));
        }
        env
    }

    /// The same, if it is not that of a test that no case names, without a private directory.
    pub(super) fn own_environment(&self, tmp: Option<&Path>) -> Option<Variables> {
        let usual = self.usual && !(self.own_tmpdir && tmp.is_some());
        (!usual).then(|| self.environment(tmp))
    }
}

/// Finds the terms of tests of one target.
#[derive(Debug)]
pub(super) struct TestEnvs {
    /// The package's policy with what cargo sets for tests, so that asking for it is no violation.
    pub(super) package: PackagePolicy,
    target: String,
    current_dir: PathBuf,
    /// There are private directories, and the guest is told of its own.
    tmp: bool,
    audit: bool,
    cases: Vec<(u32, String)>,
    known: HashMap<Vec<u32>, Rc<TestEnv>>,
}

impl TestEnvs {
    /// For tests of `target`; `tmp` says that each has a private directory. In an audit a test is told
    /// of it, and of the caller's environment, without a grant, so that its asking is reported.
    pub(super) fn new(
        subject: &Subject<'_>,
        target: &str,
        current_dir: &Path,
        tmp: bool,
        audit: bool,
    ) -> Self {
        let granted = wants_tmp(subject.policy);
        let tmp = tmp && (granted || audit);
        let mut package = subject.policy.clone();
        if audit {
            package = with_tmp_view(package);
        }
        let mut set: BTreeMap<String, String> = subject.cargo_env.iter().cloned().collect();
        if tmp && granted {
            // Each test's own value replaces it.
            set.insert(TMPDIR.to_owned(), String::new());
        }
        // First, so that the manifest's own `env.set` wins.
        package.set.insert(0, (Scope::Test, set));
        let scopes = package
            .grants
            .iter()
            .map(|grant| &grant.scope)
            .chain(package.set.iter().map(|(scope, _)| scope))
            .chain(package.limits.iter().map(|(scope, _)| scope));
        let mut cases: Vec<(u32, String)> = scopes
            .filter_map(|scope| match scope {
                Scope::Case { index, name } => Some((*index, name.clone())),
                _ => None,
            })
            .collect();
        cases.sort();
        cases.dedup();
        let (target, current_dir) = (target.to_owned(), current_dir.to_owned());
        Self { package, target, current_dir, tmp, audit, cases, known: HashMap::new() }
    }

    /// The terms of a test, or of a listing.
    pub(super) fn of(&mut self, test: Option<&str>) -> Rc<TestEnv> {
        let key: Vec<u32> = match test {
            Some(test) => self
                .cases
                .iter()
                .filter(|(_, name)| case_matches(name, test))
                .map(|(index, _)| *index)
                .collect(),
            None => Vec::new(),
        };
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(known);
        }
        let bind = Bindings { tmp: None, current_dir: self.current_dir.clone() };
        let policy = self.package.for_target(TargetKind::Test, &self.target, test, &bind);
        let given = if self.audit { with_environment(policy.clone()) } else { policy.clone() };
        // An artifact of tests has our object.
        let env = environment(&given, &Decider::new(&given), None, PreopenLayout::Root);
        let own_tmpdir = self.tmp && policy.set.get(TMPDIR).is_none_or(String::is_empty);
        // Without its `{tmp}`, which is another one the next time.
        let lasting = |grant: &Grant| !grant.operations.intersection(OperationSet::FS_CHANGE).is_empty();
        let repeatable = !self.audit && !policy.grants.iter().any(lasting);
        let usual = key.is_empty();
        let envs = Rc::new(TestEnv { env, time: policy.limits.time, repeatable, own_tmpdir, usual });
        self.known.insert(key, Rc::clone(&envs));
        envs
    }
}

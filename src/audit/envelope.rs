//! What `--audit` lets through although no grant covers it: reading anything but sensitive places,
//! changing the package (but its protected places), cargo's folder for tests and the private
//! directory, and environment variables that do not look like secrets. Both walls hold it.

use crate::event::{TargetReport, Violation};
use sandbox_policy::access::{Access, Decision, GrantId, Operation, OperationSet, RawViolation, Resource};
use sandbox_policy::decide::is_implied_env;
use sandbox_policy::protected::Protected;
use sandbox_policy::{
    Component, Decider, EnvPattern, Exception, ExceptionKind, Grant, GrantPattern, PackagePolicy,
    PathPattern, Places, Policy, Provenance, Scope,
};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::{fs, io};

/// How deep a folder is taken apart to leave out a sensitive place in it: what lies deeper is not
/// let through at all.
const DEPTH: usize = 6;

/// Parts of the names of variables that hold secrets: their values stay outside of an audit.
const SECRETS: &[&str] = &["TOKEN", "SECRET", "PASSW", "CREDENTIAL", "KEY", "AUTH", "COOKIE", "SESSION"];

/// Whether a variable looks like one that holds a secret.
pub fn looks_secret(name: &[u8]) -> bool {
    let upper = String::from_utf8_lossy(name).to_uppercase();
    SECRETS.iter().any(|part| upper.contains(part))
}

/// Whether an access that no grant covers was let through by an audit with this envelope. The worker
/// must say so, too: a move depends on more than the one name.
pub fn let_through(envelope: &Decider, violation: &RawViolation) -> bool {
    let Access { operation, resource } = &violation.access;
    match resource {
        // What the caller has not set either was not withheld.
        Resource::Env(name) => !looks_secret(name),
        _ => violation.let_through && matches!(envelope.decide(*operation, resource), Decision::Allowed(_)),
    }
}

/// What is to be said aloud of every audit, for [`Report::notes`](crate::event::Report::notes).
pub fn audit_note(targets: &[TargetReport]) -> String {
    let tests = targets.iter().flat_map(|target| &target.tests).flat_map(|test| &test.violations);
    let all: Vec<&Violation> = targets.iter().flat_map(|target| &target.violations).chain(tests).collect();
    let denied = all.iter().filter(|violation| !violation.allowed).count();
    let mut note = "this was an audit: the grants of the manifest were NOT enforced. Still denied was \
        changing anything but the package (without its protected places), cargo's folder for tests and the \
        private directory, and reading keys and other sensitive places. What a guest called `/tmp` was its \
        private directory, but for names that were there before"
        .to_owned();
    if denied > 0 {
        note.push_str(&format!("; {denied} of the {} accesses below were denied for that", all.len()));
    }
    note
}

/// The permissions as an audit looks at them: a guest that insists on `/tmp` finds its private directory
/// there, but for what was there before.
pub fn with_tmp_view(mut package: PackagePolicy) -> PackagePolicy {
    // What cannot be listed cannot be left out.
    let names = fs::read_dir("/tmp").and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name().into_vec())).collect::<io::Result<_>>()
    });
    if let Ok(names) = names {
        package.kept.audit(names);
    }
    package
}

/// The value of the private directory in [`Policy::set`], which is text: what is not UTF-8 becomes its
/// bytes again in the environment.
pub fn tmp_as_text(tmp: &Path) -> String {
    tmp.to_string_lossy().into_owned()
}

/// The policy with every variable of the caller that does not look like a secret.
pub fn with_environment(mut policy: Policy) -> Policy {
    for (name, _) in std::env::vars_os() {
        let name = name.as_bytes();
        if !looks_secret(name) && !is_implied_env(name) {
            let pattern = GrantPattern::Env(EnvPattern(vec![Some(name.to_vec())]));
            push(&mut policy, pattern, OperationSet::of(Operation::EnvRead), false);
        }
    }
    policy
}

/// The envelope around a policy. The policy's own grants and exceptions are part of it.
pub fn envelope(places: &Places, policy: &Policy, tmp: Option<&Path>) -> Policy {
    let mut around = with_environment(policy.clone());
    if let Some(tmp) = tmp {
        around.set.entry("TMPDIR".to_owned()).or_insert_with(|| tmp_as_text(tmp));
    }
    let protected = Protected::new(places);
    let carve = |operations, around: &mut Policy| {
        Carving { places, protected: &protected, operations, around }.carve(Path::new("/"), 0);
    };
    carve(OperationSet::FS_READ, &mut around);
    match &places.root {
        None => add(&mut around, &places.package, OperationSet::FS_ALL),
        // There is no package: what the guest sees is its own, but for what is protected by another name.
        Some(_) => carve(OperationSet::FS_ALL, &mut around),
    }
    if let Some(tmp) = tmp {
        add(&mut around, tmp, OperationSet::FS_ALL);
    }
    // What cargo names in CARGO_TARGET_TMPDIR, with and without our own target directory.
    for folder in ["tmp", "sandbox/tmp"] {
        let pattern = GrantPattern::Path(at(&places.target_dir.join(folder)));
        push(&mut around, pattern, OperationSet::FS_ALL, true);
    }
    let names = protected.names().map(|name| {
        let mut pattern = at(&places.package);
        pattern.components.extend([Component::AnyDepth, name.clone()]);
        pattern
    });
    for pattern in names.chain([at(&places.target_dir)]) {
        around.exceptions.push(Exception::protected(around.exceptions.len(), pattern));
    }
    // A package may be the home folder, or hold it.
    let package = at(&places.package);
    let below = protected.places_below(&package.components).filter(|_| places.root.is_none());
    for (place, sensitive) in below {
        let pattern = PathPattern { components: place.to_vec(), ..package.clone() };
        let exception = Exception::protected(around.exceptions.len(), pattern);
        let kind = if sensitive { ExceptionKind::Deny } else { exception.kind };
        around.exceptions.push(Exception { kind, ..exception });
    }
    around
}

/// Grants a folder whole, or, where a place that is not to be had lies in it, what is around that.
struct Carving<'a> {
    places: &'a Places,
    protected: &'a Protected,
    operations: OperationSet,
    around: &'a mut Policy,
}

impl Carving<'_> {
    fn carve(&mut self, folder: &Path, depth: usize) {
        match self.protected.conflict(self.operations, &at(folder)) {
            None => add(self.around, folder, self.operations),
            // It is inside of one.
            Some(conflict) if conflict.exact => {}
            Some(_) if depth < DEPTH => {
                // What cannot be listed is not let through.
                for entry in fs::read_dir(self.places.outside(folder)).into_iter().flatten().flatten() {
                    // Where a link leads is taken apart on its own.
                    if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                        self.carve(&folder.join(entry.file_name()), depth + 1);
                    }
                }
            }
            Some(_) => {}
        }
    }
}

fn add(around: &mut Policy, path: &Path, operations: OperationSet) {
    push(around, GrantPattern::Path(at(path)), operations, false);
}

fn push(around: &mut Policy, pattern: GrantPattern, operations: OperationSet, protected: bool) {
    around.grants.push(Grant {
        id: GrantId(around.grants.len() as u32),
        operations,
        pattern,
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected,
        provenance: Provenance::default(),
    });
}

fn at(path: &Path) -> PathPattern {
    PathPattern::at(path.as_os_str().as_bytes())
}

/// A policy whose paths are those of a guest that sees `folder` as `/`, as the kernel sees them.
pub fn beneath(policy: &Policy, folder: &Path) -> Policy {
    let mut outside = policy.clone();
    let prefix = at(folder).components;
    let moved = |pattern: &mut PathPattern| {
        pattern.components.splice(0..0, prefix.iter().cloned());
    };
    for grant in &mut outside.grants {
        if let GrantPattern::Path(pattern) = &mut grant.pattern {
            moved(pattern);
        }
        grant.target.iter_mut().for_each(moved);
    }
    for exception in &mut outside.exceptions {
        moved(&mut exception.pattern);
        exception.target.iter_mut().for_each(moved);
    }
    outside.links.clear();
    outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_policy::Decider;
    use sandbox_policy::access::{Decision, Operation, Wall};

    #[test]
    fn keys_and_changes_outside_are_not_let_through() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        for folder in [".ssh", ".config/gh", "notes", "work/p/src"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        let package = home.join("work/p");
        let places = Places {
            target_dir: package.join("target"),
            workspace: package.clone(),
            package: package.clone(),
            home: Some(home.clone()),
            ..Places::default()
        };
        let decider = Decider::new(&envelope(&places, &Policy::default(), None));
        let may = |operation, path: &str| {
            matches!(
                decider.decide_path(operation, home.join(path).as_os_str().as_bytes()),
                Decision::Allowed(_)
            )
        };
        assert!(may(Operation::Read, "notes/x") && may(Operation::Create, "work/p/out/x"));
        assert!(!may(Operation::Read, ".ssh/id") && !may(Operation::Read, ".config/gh/hosts.yml"));
        assert!(!may(Operation::Modify, "notes/x") && !may(Operation::Modify, "work/p/Cargo.toml"));
        assert!(!may(Operation::Modify, "work/p/src/main.rs") && !may(Operation::Create, "work/p/target/x"));
        assert!(may(Operation::Create, "work/p/target/tmp/x"));
        assert!(!may(Operation::Create, "work/p/target/tmp/Cargo.toml"));
        assert!(!may(Operation::Modify, "work/p/.git/config") && !may(Operation::Delete, "notes/x"));
    }

    #[test]
    fn a_package_that_is_the_home_folder_opens_no_key_and_no_start_up_file() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir_all(home.join(".ssh")).unwrap();
        let places = Places {
            target_dir: home.join("target"),
            workspace: home.clone(),
            package: home.clone(),
            home: Some(home.clone()),
            ..Places::default()
        };
        let decider = Decider::new(&envelope(&places, &Policy::default(), None));
        let may = |operation, path: &str| {
            let path = home.join(path);
            matches!(decider.decide_path(operation, path.as_os_str().as_bytes()), Decision::Allowed(_))
        };
        assert!(may(Operation::Read, "notes/x") && may(Operation::Create, "out/x"));
        for path in [".ssh/id", ".netrc", ".yarnrc.yml", ".bash_history"] {
            assert!(!may(Operation::Read, path) && !may(Operation::Modify, path), "{path}");
        }
        assert!(!may(Operation::Modify, ".bashrc") && !may(Operation::Create, ".config/systemd/user/x"));
    }

    #[test]
    fn secrets_of_the_environment_stay_outside() {
        for name in ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password", "SSH_AUTH_SOCK"] {
            assert!(looks_secret(name.as_bytes()), "{name}");
        }
        assert!(!looks_secret(b"RUST_LOG") && !looks_secret(b"HOME"));
        let tmp = Path::new("/private");
        let places = Places { package: "/p".into(), target_dir: "/p/target".into(), ..Places::default() };
        let around = envelope(&places, &Policy::default(), Some(tmp));
        assert_eq!(around.set["TMPDIR"], "/private");
        let decider = Decider::new(&around);
        let through = |operation, resource, let_through| {
            let violation = RawViolation {
                access: Access { operation, resource },
                wall: Wall::Wasi,
                exception: None,
                note: String::new(),
                let_through,
                evidence: sandbox_policy::access::Evidence::Wasm(Vec::new()),
            };
            super::let_through(&decider, &violation)
        };
        assert!(through(Operation::EnvRead, Resource::Env(b"UNHEARD_OF".to_vec()), false));
        assert!(!through(Operation::EnvRead, Resource::Env(b"A_TOKEN".to_vec()), false));
        assert!(through(Operation::Create, Resource::Path(b"/private/x".to_vec()), true));
        // Refused as a part of a move, say.
        assert!(!through(Operation::Create, Resource::Path(b"/private/x".to_vec()), false));
        assert!(!through(Operation::Create, Resource::Path(b"/elsewhere".to_vec()), true));
    }

    #[test]
    fn beneath_another_root_every_path_moves() {
        let mut policy = Policy::default();
        add(&mut policy, Path::new("/data"), OperationSet::FS_READ);
        let decider = Decider::new(&beneath(&policy, Path::new("/srv/root")));
        assert!(matches!(decider.decide_path(Operation::Read, b"/srv/root/data/x"), Decision::Allowed(_)));
        assert!(matches!(decider.decide_path(Operation::Read, b"/data/x"), Decision::Denied(_)));
    }
}

//! The two walls that know paths agree. Random policies and all accesses of a small tree, decided by `Decider` and
//! tried for real under Landlock: what is denied the kernel denies too, but for what the plan states to be wider; what
//! is allowed works, but for what the plan states to be narrower, and for files moved to where it is wider.
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sandbox_policy::access::{Decision, ExceptionId, GrantId, Operation, OperationSet};
use sandbox_policy::{
    Component, Decider, Exception, ExceptionKind, Grant, GrantPattern, PathBase, PathPattern, Policy,
    Provenance, Scope,
};
use sandbox_walls::landlock::{look, usable_abi};
use sandbox_walls::{LandlockLevel, Plan, Rights, plan, restrict};
use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const DIRECTORIES: [&str; 6] = ["a", "a/d", "a/e", "b", "b/d", "e"];
const EMPTY: [&str; 2] = ["a/e", "e"];
const FILES: [&str; 9] = ["x", "y", "a/x", "a/y", "a/d/x", "a/d/y", "b/x", "b/d/x", "b/d/y"];
const MISSING: [&str; 6] = ["m", "a/m", "a/d/m", "a/e/x", "b/m", "b/d/m"];

/// The tree, and a second name for each file: a file that was removed comes back as the same one, with its rules.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(fs::canonicalize(std::env::temp_dir()).unwrap()).unwrap();
        for (index, file) in FILES.iter().enumerate() {
            let path = dir.path().join("root").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
            fs::create_dir_all(dir.path().join("kept")).unwrap();
            fs::hard_link(&path, dir.path().join(format!("kept/{index}"))).unwrap();
        }
        EMPTY.iter().for_each(|empty| fs::create_dir(dir.path().join("root").join(empty)).unwrap());
        Self(dir)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn restore(&self) {
        for missing in MISSING.map(|path| self.root().join(path)) {
            if missing.is_dir() {
                fs::remove_dir(missing).unwrap();
            } else if missing.exists() {
                fs::remove_file(missing).unwrap();
            }
        }
        for (index, file) in FILES.iter().enumerate() {
            let path = self.root().join(file);
            if !path.exists() {
                fs::hard_link(self.0.path().join(format!("kept/{index}")), path).unwrap();
            }
        }
    }
}

/// One attempt, with what the policy is asked and what the kernel asks for.
#[derive(Clone, Debug)]
enum Attempt {
    Read(PathBuf),
    List(PathBuf),
    Overwrite(PathBuf),
    Truncate(PathBuf),
    MakeFile(PathBuf),
    MakeDirectory(PathBuf),
    RemoveFile(PathBuf),
    RemoveDirectory(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Attempt {
    /// All of them; removed directories, which cannot be brought back as the same ones, come last.
    fn all(root: &Path) -> Vec<Self> {
        let at = |path: &str| root.join(path);
        let mut all = Vec::new();
        for file in FILES {
            all.extend([Self::Read(at(file)), Self::Overwrite(at(file)), Self::Truncate(at(file))]);
            all.push(Self::RemoveFile(at(file)));
            all.extend(["m", "a/m", "b/d/m"].map(|to| Self::Rename(at(file), at(to))));
        }
        all.extend(DIRECTORIES.map(|directory| Self::List(at(directory))));
        all.push(Self::List(root.to_owned()));
        for missing in MISSING {
            all.extend([Self::MakeFile(at(missing)), Self::MakeDirectory(at(missing))]);
        }
        all.extend(EMPTY.map(|empty| Self::RemoveDirectory(at(empty))));
        all
    }

    fn try_it(&self) -> io::Result<()> {
        let write = || OpenOptions::new().write(true).clone();
        match self {
            Self::Read(path) => File::open(path).map(drop),
            Self::List(path) => fs::read_dir(path).map(drop),
            Self::Overwrite(path) => write().open(path).map(drop),
            Self::Truncate(path) => write().truncate(true).open(path).map(drop),
            Self::MakeFile(path) => write().create_new(true).open(path).map(drop),
            Self::MakeDirectory(path) => fs::create_dir(path),
            Self::RemoveFile(path) => fs::remove_file(path),
            Self::RemoveDirectory(path) => fs::remove_dir(path),
            Self::Rename(from, to) => fs::rename(from, to),
        }
    }

    fn asks(&self) -> Vec<(Operation, &Path)> {
        match self {
            Self::Read(path) => vec![(Operation::Read, path)],
            Self::List(path) => vec![(Operation::List, path)],
            Self::Overwrite(path) | Self::Truncate(path) => vec![(Operation::Modify, path)],
            Self::MakeFile(path) | Self::MakeDirectory(path) => vec![(Operation::Create, path)],
            Self::RemoveFile(path) | Self::RemoveDirectory(path) => vec![(Operation::Delete, path)],
            Self::Rename(from, to) => vec![(Operation::Delete, from), (Operation::Create, to)],
        }
    }

    /// The rights, each with the place that it, or a directory above, must have it at.
    fn needs(&self) -> Vec<(Rights, &Path)> {
        fn above(path: &Path) -> &Path {
            path.parent().expect("beneath a folder")
        }
        match self {
            Self::Read(path) => vec![(Rights::READ_FILE, path)],
            Self::List(path) => vec![(Rights::READ_DIR, path)],
            Self::Overwrite(path) => vec![(Rights::WRITE_FILE, path)],
            Self::Truncate(path) => vec![(Rights::WRITE_FILE, path), (Rights::TRUNCATE, path)],
            Self::MakeFile(path) => vec![(Rights::MAKE_REG, above(path)), (Rights::WRITE_FILE, above(path))],
            Self::MakeDirectory(path) => vec![(Rights::MAKE_DIR, above(path))],
            Self::RemoveFile(path) => vec![(Rights::REMOVE_FILE, above(path))],
            Self::RemoveDirectory(path) => vec![(Rights::REMOVE_DIR, above(path))],
            Self::Rename(from, to) => vec![
                (Rights::REMOVE_FILE, above(from)),
                (Rights::MAKE_REG, above(to)),
                (Rights::REFER, above(from)),
                (Rights::REFER, above(to)),
            ],
        }
    }

    /// A move to a name on which more is granted: only the wasi wall can deny it. The rules of the kernel are on what is
    /// moved and not on its name, so nothing is gained there.
    fn gains(&self, decider: &Decider) -> bool {
        let Self::Rename(from, to) = self else { return false };
        !decider.may_move(from.as_os_str().as_bytes(), to.as_os_str().as_bytes())
    }

    /// The policy's answer; with it the grants that would have to be narrower for the kernel to deny it.
    fn decided(&self, decider: &Decider) -> Option<Vec<(GrantId, &Path)>> {
        let grants = self.asks().into_iter().map(|(operation, path)| {
            match decider.decide_path(operation, path.as_os_str().as_bytes()) {
                Decision::Allowed(Some(grant)) => Some((grant, path)),
                Decision::Allowed(None) => panic!("nothing is implied here"),
                _ => None,
            }
        });
        let grants = grants.collect::<Option<Vec<_>>>()?;
        Some(grants)
    }
}

/// Whether some rule that says nothing of being wider gives each of the rights: then the kernel lets through, without
/// a word of the plan, what the policy denies.
fn unsaid(plan: &Plan, attempt: &Attempt) -> bool {
    let handled = Rights::handled(plan.abi);
    attempt.needs().into_iter().filter(|(right, _)| handled.contains(*right)).all(|(right, place)| {
        plan.rules.iter().any(|rule| {
            let path = Path::new(std::ffi::OsStr::from_bytes(&rule.path));
            let covers = if rule.directory { place.starts_with(path) } else { place == path };
            rule.overgrant.is_none() && covers && rule.rights.contains(right)
        })
    })
}

/// Whether a move ends where a rule that says to be wider gives more on the file than it had: a gain to the kernel,
/// which refuses it, and none to the policy.
fn gains_by_being_wider(plan: &Plan, attempt: &Attempt) -> bool {
    let Attempt::Rename(from, to) = attempt else { return false };
    let at = |place: &Path, wider: bool| {
        let covering = plan.rules.iter().filter(|rule| {
            let path = Path::new(std::ffi::OsStr::from_bytes(&rule.path));
            place.starts_with(path) && (rule.overgrant.is_some() || !wider)
        });
        covering.fold(Rights::NONE, |all, rule| all.union(rule.rights)).intersection(Rights::OF_FILES)
    };
    !at(from, false).contains(at(to.parent().expect("beneath a folder"), true))
}

/// The plan, a line a rule.
fn shown(plan: &Plan) -> String {
    let rules = plan.rules.iter().map(|rule| {
        let path = String::from_utf8_lossy(&rule.path);
        format!("\n  {:?} {path} {} {:?}", rule.grant, rule.rights, rule.overgrant)
    });
    let narrower = plan
        .narrower
        .iter()
        .map(|it| format!("\n  narrower: {:?} {} {}", it.grant, String::from_utf8_lossy(&it.path), it.what));
    rules.chain(narrower).collect()
}

/// How often each happened: where the first three are rare the test shows less than it says.
#[derive(Debug, Default)]
struct Seen {
    allowed: u32,
    denied: u32,
    wider: u32,
    narrower: u32,
}

fn agree(policy: &mut Policy, abi: u32, tree: &Tree, seen: &RefCell<Seen>) -> Result<(), TestCaseError> {
    let root = tree.root();
    ground(policy, &root);
    let plan = plan(policy, abi, &look);
    let decider = Decider::new(policy);
    let (ask, asked): (Sender<Attempt>, Receiver<Attempt>) = channel();
    let (answer, answered) = channel();
    let confined = plan.clone();
    // Landlock holds the calling thread alone, and does not come off.
    let worker = thread::spawn(move || {
        restrict(&confined, LandlockLevel::Required).expect("it is enforced");
        asked.into_iter().for_each(|attempt| answer.send(attempt.try_it()).expect("someone listens"));
    });
    let mut result = Ok(());
    for attempt in Attempt::all(&root) {
        ask.send(attempt.clone()).expect("it listens");
        let kernel = match answered.recv().expect("it answers") {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::CrossesDevices) => {
                false
            }
            Err(error) => panic!("neither allowed nor denied: {attempt:?}: {error}"),
        };
        tree.restore();
        let mut seen = seen.borrow_mut();
        match (attempt.decided(&decider), kernel) {
            (Some(_), _) if attempt.gains(&decider) => {}
            (Some(_), true) => seen.allowed += 1,
            (None, false) => seen.denied += 1,
            (None, true) if unsaid(&plan, &attempt) => {
                result =
                    Err(TestCaseError::fail(format!("{attempt:?} is denied, and works: {}", shown(&plan))));
            }
            (None, true) => seen.wider += 1,
            (Some(grants), false) => {
                let said = |(grant, path): &(GrantId, &Path)| {
                    let about = |at: &[u8]| path.starts_with(Path::new(std::ffi::OsStr::from_bytes(at)));
                    plan.narrower.iter().any(|narrower| narrower.grant == *grant && about(&narrower.path))
                };
                if grants.iter().any(said) || gains_by_being_wider(&plan, &attempt) {
                    seen.narrower += 1;
                } else {
                    result = Err(TestCaseError::fail(format!(
                        "{attempt:?} is allowed, and fails: {}",
                        shown(&plan)
                    )));
                }
            }
        }
    }
    drop(ask);
    worker.join().expect("it ended well");
    result
}

/// Puts the patterns beneath the tree.
fn ground(policy: &mut Policy, root: &Path) {
    let prefix: Vec<Component> = root
        .components()
        .skip(1)
        .map(|part| Component::Literal(part.as_os_str().as_bytes().to_vec()))
        .collect();
    let below = |pattern: &mut PathPattern| {
        pattern.components.splice(0..0, prefix.iter().cloned());
    };
    for grant in &mut policy.grants {
        let GrantPattern::Path(pattern) = &mut grant.pattern else { continue };
        below(pattern);
    }
    policy.exceptions.iter_mut().for_each(|exception| {
        // An exception always takes what is beneath it, too.
        exception.pattern.exact = false;
        below(&mut exception.pattern);
    });
}

fn pattern() -> impl Strategy<Value = PathPattern> {
    let literal = |name: &'static str| Component::Literal(name.as_bytes().to_vec());
    let place = prop::sample::select([&DIRECTORIES[..], &FILES[..], &MISSING[..], &[""]].concat());
    let end = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Component::Glob(vec![None]))),
        1 => Just(Some(Component::Glob(vec![Some(b"x".to_vec()), None]))),
        1 => Just(Some(Component::AnyDepth)),
    ];
    (place, end, prop::bool::weighted(0.15)).prop_map(move |(place, end, exact)| {
        let mut components: Vec<_> = place.split('/').filter(|name| !name.is_empty()).map(literal).collect();
        components.extend(end);
        PathPattern { base: PathBase::Root, components, exact }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    use Operation::{Create, Delete, List, Modify, Read};
    let operations =
        prop::collection::vec(prop::sample::select(&[Read, List, Create, Modify, Delete][..]), 1..6)
            .prop_map(|all| {
                all.into_iter().map(OperationSet::of).fold(OperationSet::EMPTY, OperationSet::union)
            });
    let grants = prop::collection::vec((operations, pattern(), prop::bool::weighted(0.2)), 0..5);
    let kinds =
        prop::sample::select(&[ExceptionKind::Deny, ExceptionKind::Hide, ExceptionKind::Protected][..]);
    let exceptions = prop::collection::vec((kinds, pattern()), 0..3);
    (grants, exceptions).prop_map(|(grants, exceptions)| Policy {
        grants: (0..)
            .zip(grants)
            .map(|(id, (operations, pattern, protected))| Grant {
                id: GrantId(id),
                operations,
                pattern: GrantPattern::Path(pattern),
                target: None,
                by: Vec::new(),
                scope: Scope::Always,
                protected,
                provenance: Provenance::default(),
            })
            .collect(),
        exceptions: (0..)
            .zip(exceptions)
            .map(|(id, (kind, pattern))| Exception {
                id: ExceptionId(id),
                kind,
                pattern,
                target: None,
                scope: Scope::Always,
                provenance: Provenance::default(),
            })
            .collect(),
        ..Policy::default()
    })
}

#[test]
fn the_kernel_denies_what_the_policy_denies_and_allows_what_it_allows() {
    let newest = usable_abi();
    assert!(newest >= 2, "this kernel has no Landlock to compare with");
    let seen = RefCell::new(Seen::default());
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config)
        .run(&(policy(), 2..=newest), |(mut policy, abi)| agree(&mut policy, abi, &Tree::new(), &seen));
    if let Err(error) = ran {
        panic!("{error}");
    }
    let Seen { allowed, denied, wider, .. } = *seen.borrow();
    assert!(allowed > 500 && denied > 500 && wider > 100, "{seen:?}");
}

/// The comparison itself notices a kernel that is wider than the plan says, and one that is narrower.
#[test]
fn a_disagreement_is_noticed() {
    let grant = |operations| Grant {
        id: GrantId(0),
        operations,
        pattern: GrantPattern::Path(PathPattern {
            base: PathBase::Root,
            components: vec![Component::Literal(b"a".to_vec())],
            exact: false,
        }),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance::default(),
    };
    let tree = Tree::new();
    let root = tree.root();
    let mut policy = Policy { grants: vec![grant(OperationSet::FS_READ)], ..Policy::default() };
    ground(&mut policy, &root);
    let said = plan(&policy, usable_abi(), &look);
    let nothing = Decider::new(&Policy::default());
    let attempt = Attempt::Read(root.join("a/x"));
    assert!(attempt.decided(&nothing).is_none() && unsaid(&said, &attempt));
    assert!(attempt.decided(&Decider::new(&policy)).is_some());
    assert!(!unsaid(&said, &Attempt::Read(root.join("b/x"))));
    let mut wider = said;
    wider.rules[0].overgrant = Some("said".into());
    assert!(!unsaid(&wider, &attempt));
}

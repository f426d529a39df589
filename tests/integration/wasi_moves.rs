//! What moves, links and link texts do to a tree: random programs on random policies, with and without an
//! audit's envelope, behind the wasi wall alone and behind Landlock too. What was there before and what is there
//! afterwards are compared name by name and inode by inode.
//!
//! `CARGO_SANDBOX_SEARCH=N` tries N programs for each of the four.
use crate::wasi_support::*;
use cargo_sandbox::wasi::Mode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sandbox_policy::access::{Decision, GrantId, Operation, OperationSet};
use sandbox_policy::{
    Component, Decider, Exception, ExceptionKind, Grant, GrantPattern, PathPattern, Policy, Provenance, Scope,
};
use sandbox_walls::landlock::{look, usable_abi};
use sandbox_walls::{LandlockLevel, plan, restrict};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const DIRECTORIES: [&str; 7] = ["a", "a/d", "a/d/e", "b", "b/d", "b/e", "c"];
/// `k` is what exceptions like best.
const FILES: [&str; 10] = ["x", "a/x", "a/k", "a/d/x", "a/d/e/k", "b/x", "b/k", "b/d/x", "c/k", "c/x"];
const LINKS: [(&str, &str); 6] = [
    ("a/l", "x"),
    ("a/d/l", "../x"),
    ("b/d/l", "../../c/x"),
    ("b/out", "../../outside/f"),
    ("c/abs", "@/a/x"),
    ("c/d", "../a/d"),
];
const MISSING: [&str; 12] =
    ["m", "k", "a/m", "a/d/k", "a/d/m", "a/d/e/m", "b/m", "b/d/m", "b/d/k", "b/e/k", "c/m", "c/m/k"];
const TEXTS: [&str; 8] = ["x", "../x", "../b", "../c/k", "../../outside", "../../outside/f", "d/../x", "@/c"];

fn step() -> impl Strategy<Value = String> {
    let places: Vec<&str> = DIRECTORIES
        .into_iter()
        .chain(FILES)
        .chain(LINKS.map(|(link, _)| link))
        .chain(MISSING)
        .chain(["../outside/f", "../outside/m", "."])
        .collect();
    let place = || prop::sample::select(places.clone());
    let directory = || prop::sample::select([&DIRECTORIES[..], &MISSING[..]].concat());
    prop_oneof![
        4 => (directory(), directory()).prop_map(|(from, to)| format!("rename @/{from} @/{to}")),
        4 => (place(), place()).prop_map(|(from, to)| format!("rename @/{from} @/{to}")),
        4 => (place(), place()).prop_map(|(from, to)| format!("link @/{from} @/{to}")),
        3 => (prop::sample::select(&TEXTS[..]), place()).prop_map(|(text, at)| format!("symlink {text} @/{at}")),
        2 => place().prop_map(|at| format!("remove @/{at}")),
        1 => place().prop_map(|at| format!("rmdir @/{at}")),
        2 => place().prop_map(|at| format!("mkdir @/{at}")),
        3 => place().prop_map(|at| format!("append @/{at} +")),
        2 => place().prop_map(|at| format!("write @/{at} new")),
        3 => place().prop_map(|at| format!("read @/{at}")),
    ]
}

fn pattern() -> impl Strategy<Value = PathPattern> {
    let literal = |name: &'static str| Component::Literal(name.as_bytes().to_vec());
    let places = ["a", "a", "a/d", "b", "b", "b/d", "c", "c", "a/k", "m", "b/m", "c/m"];
    let end = prop_oneof![
        6 => Just(Vec::new()),
        3 => Just(vec![Component::AnyDepth, Component::Literal(b"k".to_vec())]),
        1 => Just(vec![Component::Glob(vec![None]), Component::Literal(b"x".to_vec())]),
        1 => Just(vec![Component::Glob(vec![Some(b"k".to_vec()), None])]),
    ];
    let narrow = (prop::sample::select(places.to_vec()), end).prop_map(move |(place, end)| {
        let mut components: Vec<_> = place.split('/').map(literal).collect();
        components.extend(end);
        components
    });
    let anywhere = prop_oneof![
        3 => Just(vec![Component::AnyDepth, Component::Literal(b"k".to_vec())]),
        1 => Just(vec![Component::AnyDepth, Component::Glob(vec![Some(b"d".to_vec()), None])]),
    ];
    prop_oneof![3 => narrow, 1 => anywhere].prop_map(PathPattern::of)
}

/// A policy that is shown in a line for each entry.
#[derive(Clone)]
struct Short(Policy);

impl std::fmt::Debug for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |pattern: &PathPattern| {
            let component = |component: &Component| match component {
                Component::Literal(name) => String::from_utf8_lossy(name).into_owned(),
                Component::Glob(pieces) => {
                    let piece = |piece: &Option<Vec<u8>>| piece.clone().unwrap_or_else(|| b"*".to_vec());
                    String::from_utf8_lossy(&pieces.iter().flat_map(piece).collect::<Vec<_>>()).into_owned()
                }
                Component::AnyDepth => "**".to_owned(),
            };
            format!("@/{}", pattern.components.iter().map(component).collect::<Vec<_>>().join("/"))
        };
        let mut list = f.debug_list();
        for grant in &self.0.grants {
            let GrantPattern::Path(pattern) = &grant.pattern else { continue };
            let protected = if grant.protected { " protected" } else { "" };
            list.entry(&format_args!("{:?} {}{protected}", grant.operations, shown(pattern)));
        }
        for exception in &self.0.exceptions {
            list.entry(&format_args!("{:?} {}", exception.kind, shown(&exception.pattern)));
        }
        list.finish()
    }
}

fn policy() -> impl Strategy<Value = Short> {
    let operations = prop_oneof![
        2 => Just(OperationSet::FS_ALL),
        2 => Just(OperationSet::FS_WRITE),
        2 => Just(OperationSet::FS_READ),
        2 => prop::collection::vec(prop::sample::select(&Operation::ALL[..6]), 1..4).prop_map(|all| {
            all.into_iter().map(OperationSet::of).fold(OperationSet::EMPTY, OperationSet::union)
        }),
    ];
    let most = prop_oneof![2 => Just(OperationSet::FS_ALL), 1 => Just(OperationSet::FS_WRITE)];
    let all = prop::option::weighted(0.7, (most, Just(PathPattern::of(Vec::new())), Just(false)));
    let some = prop::collection::vec((operations, pattern(), prop::bool::weighted(0.1)), 1..5);
    let grants = (all, some).prop_map(|(all, some)| all.into_iter().chain(some).collect::<Vec<_>>());
    let kinds =
        prop::sample::select(&[ExceptionKind::Deny, ExceptionKind::Hide, ExceptionKind::Protected][..]);
    let exceptions = prop::collection::vec((kinds, pattern()), 0..3);
    (grants, exceptions).prop_map(|(grants, exceptions)| {
        let mut policy = Policy::default();
        for (operations, pattern, protected) in grants {
            policy.grants.push(Grant {
                id: GrantId(0),
                operations,
                pattern: GrantPattern::Path(pattern),
                target: None,
                by: Vec::new(),
                scope: Scope::Always,
                protected,
                provenance: Provenance::default(),
            });
        }
        for (kind, pattern) in exceptions {
            policy.exceptions.push(Exception { kind, ..Exception::protected(0, pattern) });
        }
        Short(policy)
    })
}

/// Both, as an envelope is around a policy; numbered, and beneath the tree.
fn grounded(policies: &[&Policy], root: &Path) -> Policy {
    let mut all = Policy::default();
    let prefix = crate::wasi_support::pattern(root).components;
    for policy in policies {
        all.grants.extend(policy.grants.iter().cloned());
        all.exceptions.extend(policy.exceptions.iter().cloned());
    }
    for (id, grant) in (0..).zip(&mut all.grants) {
        grant.id = GrantId(id);
        if let GrantPattern::Path(pattern) = &mut grant.pattern {
            pattern.components.splice(0..0, prefix.iter().cloned());
        }
    }
    for (index, exception) in all.exceptions.iter_mut().enumerate() {
        exception.id = Exception::protected(index, exception.pattern.clone()).id;
        exception.pattern.components.splice(0..0, prefix.iter().cloned());
    }
    all
}

/// A tree, with every inode in it held, so that none is another one afterwards.
struct Tree {
    dir: tempfile::TempDir,
    root: PathBuf,
    _held: Vec<OwnedFd>,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let root = top.join("root");
        fs::create_dir_all(top.join("outside")).unwrap();
        fs::write(top.join("outside/f"), "secret:outside;").unwrap();
        DIRECTORIES.iter().for_each(|directory| fs::create_dir_all(root.join(directory)).unwrap());
        FILES.iter().for_each(|file| fs::write(root.join(file), format!("secret:{file};")).unwrap());
        for (link, text) in LINKS {
            let text = text.replace('@', root.to_str().unwrap());
            std::os::unix::fs::symlink(text, root.join(link)).unwrap();
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        let held = look_at(&top).into_keys().map(|path| {
            rustix::fs::openat(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty()).expect("it is there")
        });
        let held = held.collect();
        Self { dir, root, _held: held }
    }

    fn top(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }
}

/// What is at a name: which inode, and what it holds or says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    inode: u64,
    link: bool,
    contents: Vec<u8>,
}

fn look_at(top: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut all = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let contents = match data.file_type() {
                kind if kind.is_dir() => {
                    pending.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_vec(),
                _ => fs::read(&path).unwrap(),
            };
            all.insert(path, Thing { inode: data.ino(), link: data.is_symlink(), contents });
        }
    }
    all
}

/// What holds: the policy, and what an audit lets through besides.
struct Rules {
    policy: Decider,
    envelope: Option<Decider>,
    exceptions: Vec<Exception>,
}

impl Rules {
    fn allowed(&self, path: &Path) -> OperationSet {
        let by = |decider: &Decider| {
            let allows = |operation: &Operation| {
                matches!(decider.decide_path(*operation, path.as_os_str().as_bytes()), Decision::Allowed(_))
            };
            let all = OperationSet::FS_ALL.iter().filter(allows).map(OperationSet::of);
            all.fold(OperationSet::EMPTY, OperationSet::union)
        };
        by(&self.policy).union(self.envelope.as_ref().map_or(OperationSet::EMPTY, by))
    }

    fn has(&self, operation: Operation, path: &Path) -> bool {
        self.allowed(path).contains(operation)
    }

    /// What a program did that nothing lets it do.
    fn broken(
        &self,
        before: &BTreeMap<PathBuf, Thing>,
        after: &BTreeMap<PathBuf, Thing>,
        output: &str,
    ) -> Vec<String> {
        let mut names: BTreeMap<u64, Vec<&Path>> = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for (path, thing) in before {
            names.entry(thing.inode).or_default().push(path);
            contents.insert(thing.inode, &thing.contents);
        }
        let mut broken = Vec::new();
        for (path, thing) in before {
            let gone = after.get(path).is_none_or(|now| now.inode != thing.inode);
            if gone && !self.has(Operation::Delete, path) {
                broken.push(format!("{} is gone", path.display()));
            }
            let marker = String::from_utf8_lossy(&thing.contents);
            let secret = marker.starts_with("secret:") && output.contains(&*marker);
            if secret && !names[&thing.inode].iter().any(|path| self.has(Operation::Read, path)) {
                broken.push(format!("{} was read", path.display()));
            }
        }
        for (path, thing) in after {
            let new = before.get(path).is_none_or(|was| was.inode != thing.inode);
            if new && !self.has(Operation::Create, path) {
                broken.push(format!("{} was made", path.display()));
            }
            if let Some(names) = names.get(&thing.inode) {
                if contents[&thing.inode] != &thing.contents
                    && !names.iter().any(|path| self.has(Operation::Modify, path))
                {
                    broken.push(format!("{} was changed, which was {names:?}", path.display()));
                }
                let now = self.allowed(path);
                if new && !names.iter().any(|path| self.allowed(path).contains_all(now)) {
                    broken.push(format!("{} gained, which was {names:?}", path.display()));
                }
            }
            if new && thing.link {
                broken.extend(self.leads_astray(path, &thing.contents));
            }
        }
        broken
    }

    fn leads_astray(&self, path: &Path, text: &[u8]) -> Option<String> {
        let text = PathBuf::from(std::ffi::OsString::from_vec(text.to_vec()));
        let mut to = path.parent().expect("it lies in a directory").to_owned();
        let mut named = false;
        for part in text.components() {
            match part {
                std::path::Component::ParentDir if named => {
                    return Some(format!("{} goes up after a name", path.display()));
                }
                std::path::Component::ParentDir => drop(to.pop()),
                std::path::Component::RootDir => to = PathBuf::from("/"),
                std::path::Component::Normal(name) => {
                    named = true;
                    to.push(name);
                }
                _ => {}
            }
        }
        let policy = self.policy.operations(to.as_os_str().as_bytes(), true);
        let changes = self.allowed(&to).intersection(OperationSet::FS_CHANGE);
        if policy.is_empty() && changes.is_empty() {
            return Some(format!("{} leads to {}", path.display(), to.display()));
        }
        let excepted = |path: &Path| {
            let names: Vec<&[u8]> = path.iter().skip(1).map(OsStrExt::as_bytes).collect();
            let covers = |pattern| sandbox_policy::matching::covers_path(pattern, &names);
            self.exceptions.iter().any(|exception| covers(&exception.pattern))
        };
        let shown = ["k", "x", "d/k", "d/x", "e/k"].into_iter().find(|below| {
            let changes = |path: &Path| self.allowed(path).intersection(OperationSet::FS_CHANGE);
            let (seen, real) = (path.join(below), to.join(below));
            excepted(&seen) && changes(&seen).is_empty() && !changes(&real).is_empty()
        });
        shown.map(|below| format!("{} shows {below} of {}", path.display(), to.display()))
    }
}

#[derive(Debug, Default)]
struct Seen {
    steps: u32,
    worked: u32,
    moved: u32,
    directories: u32,
    linked: u32,
    denied: u32,
}

fn attempt(
    (Short(policy), Short(around), steps): (Short, Short, Vec<String>),
    audit: bool,
    landlock: bool,
    seen: &RefCell<Seen>,
) -> Result<(), TestCaseError> {
    let tree = Tree::new();
    let own = grounded(&[&policy], &tree.root);
    let envelope = audit.then(|| grounded(&[&policy, &around], &tree.root));
    let before = look_at(&tree.top());
    let mut run = run();
    (run.policy, run.audit) = (own.clone(), envelope.clone());
    if audit {
        run.mode = Mode::Audit;
    }
    let text = steps.join(" -- ").replace('@', tree.root.to_str().unwrap());
    let confined = landlock.then(|| plan(envelope.as_ref().unwrap_or(&own), usable_abi(), &look));
    guest("wasi_probe");
    // Landlock holds the calling thread alone, and does not come off.
    let ended = std::thread::spawn(move || {
        if let Some(plan) = confined {
            restrict(&plan, LandlockLevel::Required).expect("it is enforced");
        }
        run.probe(&text)
    });
    let ended = ended.join().expect("the guest ends");
    prop_assert_eq!(ended.lines.len(), steps.len(), "{:?}", ended.trap);
    let after = look_at(&tree.top());
    let rules = Rules {
        policy: Decider::new(&own),
        envelope: envelope.as_ref().map(Decider::new),
        exceptions: envelope.unwrap_or(own).exceptions,
    };
    let broken = rules.broken(&before, &after, &ended.lines.join("\n"));
    prop_assert!(broken.is_empty(), "{broken:#?}\n{:#?}", steps.iter().zip(&ended.lines).collect::<Vec<_>>());
    let inodes: BTreeSet<u64> = before.values().map(|thing| thing.inode).collect();
    let new = |path: &PathBuf, thing: &Thing| {
        inodes.contains(&thing.inode) && before.get(path).is_none_or(|was| was.inode != thing.inode)
    };
    let mut seen = seen.borrow_mut();
    for (path, thing) in &after {
        if new(path, thing) {
            seen.moved += 1;
            seen.directories += u32::from(path.is_dir() && !thing.link);
        }
    }
    seen.steps += steps.len() as u32;
    for (step, line) in steps.iter().zip(&ended.lines) {
        let worked = line.starts_with("ok");
        seen.worked += u32::from(worked);
        seen.linked += u32::from(worked && (step.starts_with("symlink") || step.starts_with("link")));
        seen.denied += u32::from(line == DENIED);
    }
    Ok(())
}

fn search(audit: bool, landlock: bool) {
    let seen = RefCell::new(Seen::default());
    let cases = std::env::var("CARGO_SANDBOX_SEARCH").map_or(150, |text| text.parse().expect("a number"));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let programs = (policy(), policy(), prop::collection::vec(step(), 1..24));
    if let Err(error) = TestRunner::new(config).run(&programs, |case| attempt(case, audit, landlock, &seen)) {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let Seen { steps, worked, moved, directories, linked, denied } = seen;
    assert!(worked > steps / 20 && denied > steps / 10, "{steps} {worked} {denied}");
    assert!(
        moved > cases / 10 && directories > cases / 30 && linked > cases / 10,
        "{moved} {directories} {linked}"
    );
}

#[test]
fn programs_change_only_what_the_policy_allows_by_the_wasi_wall_alone() {
    search(false, false);
}

#[test]
fn programs_change_only_what_the_policy_allows_by_both_walls() {
    search(false, true);
}

#[test]
fn audited_programs_change_only_what_the_envelope_allows_by_the_wasi_wall_alone() {
    search(true, false);
}

#[test]
fn audited_programs_change_only_what_the_envelope_allows_by_both_walls() {
    search(true, true);
}

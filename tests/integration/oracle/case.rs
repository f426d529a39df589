//! One program on one tree under one policy: made from a number, run, judged, and made smaller.

use super::judge::{Fault, Law, judge};
use super::maker;
use super::program::{Call, Encoded};
use super::random::Random;
use super::rules::{Entry, HOME, PACKAGE, Rules, TARGET, TMP};
use super::tree::{Picture, Tree};
use cargo_sandbox::runner::fs_lookup::Disk;
use cargo_sandbox::worker::protocol::PreopenLayout;
use sandbox_policy::diagnostic::SourceFile;
use sandbox_policy::{
    Bindings, CommandLineGrants, ExceptionKind, Manifests, PackagePolicy, Places, Policy, TargetKind, load,
};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What entries of a policy are about. `^` is the root of the tree.
const GRANTED: &[&str] = &[
    "data",
    "data/a.txt",
    "data/*.txt",
    "data/sub",
    "data/sub/*",
    "data/**/*.csv",
    "data/l*",
    "data/**",
    "crates",
    "crates/a",
    "crates/a/x.txt",
    "crates/*",
    "crates/*/x.txt",
    "out",
    "out/d",
    "out/o.txt",
    "out/*",
    "out/e",
    "out/**/*.txt",
    "examples",
    "target/tmp",
    "{tmp}",
    "{tmp}",
    "{tmp}/d",
    "{tmp}/*.txt",
    "^/ext",
    "^/ext",
    "^/ext/sub",
    "^/ext/e.txt",
    "^/ext/*.txt",
    "^/ext/n*",
    "notes.txt",
    "new",
    "l0",
    "data/l1",
];

/// Those of them that most happens in.
const WIDE: &[&str] = &["data", "crates", "out", "{tmp}", "^/ext", "target/tmp", "examples"];

/// What may be named with `protected = true`.
const PROTECTED: &[&str] =
    &["Cargo.toml", "crates/a/Cargo.toml", "crates/b/.cargo", "out/d/.git", "^/ext/sub/Makefile"];

const EXCEPTED: &[&str] = &[
    "data/secret.pem",
    "data/*.pem",
    "data/**/*.pem",
    "**/*.pem",
    "data/sub",
    "data/sub/deep",
    "out/d",
    "out/d/q.pem",
    "out/*.txt",
    "crates/a/x.txt",
    "crates/b",
    "crates/new",
    "**/secret*",
    "^/ext/k.pem",
    "^/ext/sub",
    "{tmp}/d",
    "{tmp}/d/v.txt",
    "target/tmp/d",
    "data/**/n*",
    "out/e",
];

/// All that a run depends on.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) tree: Tree,
    pub(crate) entries: Vec<Entry>,
    pub(crate) audit: bool,
    /// How directories are offered to the guest.
    pub(crate) layout: PreopenLayout,
    pub(crate) calls: Vec<Call>,
}

/// `EACCES` in WASI's numbers.
const DENIED: u32 = 2;

/// A gate that is broken on purpose: what the guest gets is another policy than the one that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    No,
    /// Nothing is decided at all.
    Open,
    /// `deny` and `hide` are forgotten.
    NoExceptions,
    /// Protected names are forgotten.
    NoProtected,
    /// Who may read may change.
    ReadIsWrite,
    /// Who may change may read.
    WriteIsRead,
}

/// A policy as the guest's world gets it.
pub(crate) struct Given {
    pub(crate) package: PackagePolicy,
    pub(crate) places: Places,
    pub(crate) policy: Policy,
    pub(crate) audit: bool,
    pub(crate) open: bool,
    pub(crate) layout: PreopenLayout,
    pub(crate) tmp: PathBuf,
}

/// Where an encoded program runs.
pub(crate) trait World {
    /// How many violations were told.
    fn run(&self, given: &Given, argument: Vec<u8>) -> Result<usize, String>;
    fn name(&self) -> &'static str;
}

/// A folder that is emptied for each program.
pub(crate) struct Ground {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for temporary files");
        let path = folder.path().canonicalize().expect("it is there");
        Self { _folder: folder, path }
    }
}

impl Case {
    pub(crate) fn random(seed: u64, audit: bool) -> Self {
        let mut random = Random(seed);
        let tree = Tree::random(&mut random);
        let mut entries = Vec::new();
        for _ in 0..2 + random.below(5) {
            let key = match random.weighted(&[4, 10, 1, 1, 2, 2, 2]) {
                0 => "read",
                1 => "write",
                2 => "list",
                3 => "stat",
                4 => "create",
                5 => "modify",
                _ => "delete",
            };
            let protected = random.chance(6);
            let from = match random.chance(50) {
                _ if protected => PROTECTED,
                true => WIDE,
                false => GRANTED,
            };
            let text = (*random.of(from)).to_owned();
            let as_tmp = text == "{tmp}" && random.chance(40);
            entries.push(Entry { key, text, protected, as_tmp });
        }
        for _ in 0..random.below(4) {
            let key = if random.chance(65) { "deny" } else { "hide" };
            // Mostly in the middle of what is granted.
            let within = |text: &str| {
                entries.iter().any(|grant: &Entry| text.starts_with(&grant.text) || text.starts_with("**"))
            };
            let mut text = *random.of(EXCEPTED);
            for _ in 0..6 {
                if within(text) {
                    break;
                }
                text = *random.of(EXCEPTED);
            }
            entries.push(Entry { key, text: text.to_owned(), protected: false, as_tmp: false });
        }
        let calls = maker::random(&mut random, &tree, &entries, audit);
        let layout = if random.chance(25) { PreopenLayout::TopLevel } else { PreopenLayout::Root };
        Self { seed, tree, entries, audit, layout, calls }
    }

    /// Runs it on a fresh tree, and says what was wrong. Entries that the manifest may not have are dropped.
    pub(crate) fn run(&mut self, ground: &Ground, world: &dyn World, broken: Broken) -> Vec<Fault> {
        self.tried(ground, world, broken).0
    }

    pub(crate) fn tried(
        &mut self,
        ground: &Ground,
        world: &dyn World,
        broken: Broken,
    ) -> (Vec<Fault>, Vec<u32>) {
        let root = ground.path.join("r");
        if root.exists() {
            fs::remove_dir_all(&root).expect("nobody else is here");
        }
        fs::create_dir(&root).expect("it is gone");
        self.tree.make(&root);
        let out = ground.path.join("answer");
        fs::write(&out, "").expect("our own file");
        let given = self.given(&root, &out, broken);
        let before = Picture::take(&root);
        let lead = |path: &str| before.lead(path).and_then(Result::ok).unwrap_or_else(|| path.to_owned());
        let rules = Rules::new(&self.entries, self.audit, lead);
        let encoded = Encoded::new(&self.calls, &root, &out, self.layout);
        let ended = world.run(&given, super::guest::argument(&encoded.image));
        let after = Picture::take(&root);
        let answer = fs::read(&out).expect("our own file");
        match (ended, encoded.decode(&answer)) {
            (Ok(told), Some(got)) => {
                let mut faults = judge(&rules, &before, &after, &got);
                let answers: Vec<u32> = got.iter().map(|(errno, _)| *errno).collect();
                let lead =
                    |path: &str| before.lead(path).and_then(Result::ok).unwrap_or_else(|| path.to_owned());
                // What nothing grants is told, whether it was denied or an audit let it through.
                let granted = Rules::new(&self.entries, false, lead);
                let beyond = judge(&granted, &before, &after, &got);
                if told == 0 && broken == Broken::No && (answers.contains(&DENIED) || !beyond.is_empty()) {
                    faults.push(Fault(
                        Law::Unheard,
                        format!("no violation was told, and there were: {beyond:?}"),
                    ));
                }
                (faults, answers)
            }
            // The program is one that ends well, whatever each call answers.
            (ended, _) => panic!("the guest did not end: {ended:?}\n{self}"),
        }
    }

    fn places(root: &Path) -> Places {
        Places {
            package: root.join(PACKAGE),
            workspace: root.join(PACKAGE),
            target_dir: root.join(TARGET),
            home: Some(root.join(HOME)),
            ..Places::default()
        }
    }

    fn given(&mut self, root: &Path, out: &Path, broken: Broken) -> Given {
        let places = Self::places(root);
        let load = |entries: &[Entry]| {
            let mut text = String::from("[package]\nname = \"oracle\"\n[package.metadata.sandbox.fs]\n");
            for key in ["read", "write", "list", "stat", "create", "modify", "delete", "deny", "hide"] {
                let of_key = entries.iter().filter(|entry| entry.key == key);
                let mut values: Vec<String> = of_key
                    .map(|entry| {
                        let path = format!("{:?}", super::tree::with_root(&entry.text, root));
                        match (entry.protected, entry.as_tmp) {
                            (true, _) => format!("{{ path = {path}, protected = true }}"),
                            (_, true) => format!("{{ path = {path}, as = \"/tmp\" }}"),
                            _ => path,
                        }
                    })
                    .collect();
                if key == "modify" {
                    // Where the answer goes.
                    values.push(format!("{:?}", out.display().to_string()));
                }
                text.push_str(&format!("{key} = [{}]\n", values.join(", ")));
            }
            let package = Arc::new(SourceFile { path: root.join("pkg/Cargo.toml"), text });
            let manifests = Manifests { package, workspace: None, extra: CommandLineGrants::default() };
            load(&manifests, &places, &Disk, None)
        };
        let mut loaded = load(&self.entries);
        if loaded.is_err() {
            let mut fine: Vec<Entry> = Vec::new();
            for entry in &self.entries {
                fine.push(entry.clone());
                if load(&fine).is_err() {
                    fine.pop();
                }
            }
            loaded = load(&fine);
            self.entries = fine;
        }
        let mut package = loaded.unwrap_or_else(|errors| panic!("{errors:#?}")).policy;
        let changes = |package: &mut PackagePolicy, from, add| {
            for grant in package.grants.iter_mut().filter(|grant| grant.operations.contains(from)) {
                grant.operations = grant.operations.union(add);
            }
        };
        use sandbox_policy::access::{Operation, OperationSet};
        match broken {
            Broken::No | Broken::Open => {}
            Broken::NoExceptions => package.exceptions.retain(|it| it.kind == ExceptionKind::Protected),
            Broken::NoProtected => package.exceptions.retain(|it| it.kind != ExceptionKind::Protected),
            Broken::ReadIsWrite => changes(&mut package, Operation::Read, OperationSet::FS_WRITE),
            Broken::WriteIsRead => changes(&mut package, Operation::Create, OperationSet::FS_READ),
        }
        if self.audit {
            package.kept.audit(["kept".into()].into());
        }
        let bind = Bindings { tmp: Some(root.join(TMP)), current_dir: root.join(PACKAGE) };
        let policy = package.for_target(TargetKind::Bin, "oracle", None, &bind);
        let tmp = root.join(TMP);
        let open = broken == Broken::Open;
        Given { package, places, policy, audit: self.audit, open, layout: self.layout, tmp }
    }

    /// The smallest case that can be found by leaving things out, for which the same law is broken.
    pub(crate) fn shrink(mut self, ground: &Ground, world: &dyn World, broken: Broken, law: Law) -> Self {
        loop {
            let mut smaller = false;
            for part in [Part::Calls, Part::Entries, Part::Items] {
                let mut size = part.length(&self).div_ceil(2);
                while size > 0 {
                    let mut at = 0;
                    while at < part.length(&self) {
                        let mut other = self.clone();
                        part.cut(&mut other, at, size);
                        if other.run(ground, world, broken).iter().any(|fault| fault.0 == law) {
                            (self, smaller) = (other, true);
                        } else {
                            at += size;
                        }
                    }
                    size /= 2;
                }
            }
            if !smaller {
                return self;
            }
        }
    }

    /// What each call answered, for people.
    pub(crate) fn explained(&mut self, ground: &Ground, world: &dyn World, broken: Broken) -> String {
        let (faults, answers) = self.tried(ground, world, broken);
        let mut text = format!(
            "seed {}, {}, {}",
            self.seed,
            if self.audit { "audited" } else { "enforced" },
            world.name()
        );
        text.push_str(&format!("\n  tree:\n{}  policy:\n", self.tree));
        for entry in &self.entries {
            text.push_str(&format!("    {entry}\n"));
        }
        text.push_str("  program:\n");
        for (index, (call, errno)) in self.calls.iter().zip(answers).enumerate() {
            let answer = if errno == 0 { "done".to_owned() } else { format!("error {errno}") };
            text.push_str(&format!("    {}. {call}: {answer}\n", index + 1));
        }
        text.push_str("  wrong:\n");
        for fault in faults {
            text.push_str(&format!("    {fault}\n"));
        }
        text.replace(&ground.path.join("r").display().to_string(), "^")
    }
}

/// What can be left out.
#[derive(Clone, Copy)]
enum Part {
    Calls,
    Entries,
    Items,
}

impl Part {
    fn length(self, case: &Case) -> usize {
        match self {
            Self::Calls => case.calls.len(),
            Self::Entries => case.entries.len(),
            Self::Items => case.tree.0.len(),
        }
    }

    fn cut(self, case: &mut Case, at: usize, size: usize) {
        let range = at..(at + size).min(self.length(case));
        match self {
            Self::Calls => drop(case.calls.drain(range)),
            Self::Entries => drop(case.entries.drain(range)),
            Self::Items => drop(case.tree.0.drain(range)),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, audited: {}", self.seed, self.audit)?;
        self.entries.iter().try_for_each(|entry| writeln!(f, "  {entry}"))?;
        self.calls.iter().try_for_each(|call| writeln!(f, "  {call}"))
    }
}

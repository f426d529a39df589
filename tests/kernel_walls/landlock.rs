//! Wall 2: each access with its grant, and without any.

use crate::{Case, Ends::Well, case};
use sandbox_policy::access::{GrantId, Operation, OperationSet};
use sandbox_policy::model::{
    Component, Grant, GrantPattern, PathBase, PathPattern, Policy, Provenance, Scope,
};
use sandbox_walls::landlock::{look, usable_abi};
use sandbox_walls::sys::{self, Exit, Fork};
use sandbox_walls::{Error, LandlockLevel, Plan, Rights, Rule, plan, restrict, status};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) const CASES: &[Case] = &[
    case("landlock::each_access_needs_its_grant", Well, accesses),
    case("landlock::a_file_grant_does_not_cover_its_neighbour", Well, neighbours),
    case("landlock::a_second_layer_separates_two_children", Well, layers),
    case("landlock::a_path_that_cannot_be_opened_is_an_error", Well, unopenable),
    case("landlock::a_plan_for_a_newer_kernel_is_an_error", Well, newer),
    case("landlock::off_restricts_nothing_and_says_so", Well, off),
    case("landlock::old_abis_enforce_what_they_know", Well, old_abis),
    case("landlock::network_is_denied", Well, network),
];

/// A place to try accesses in: `in/data`, `in/sub`, `out/old`, `out/sub`, `secret/key`, links between.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in(fs::canonicalize(std::env::temp_dir()).unwrap()).unwrap();
        let at = |path: &str| dir.path().join(path);
        for name in ["in/sub", "out/sub", "secret", "empty"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["in/data", "in/other", "out/old", "secret/key"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("../secret/key", at("in/relative")).unwrap();
        std::os::unix::fs::symlink(at("secret/key"), at("in/absolute")).unwrap();
        std::os::unix::fs::symlink("../secret", at("in/directory")).unwrap();
        std::os::unix::fs::symlink("../in/data", at("secret/inward")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `act` in a child under these grants, and gives its result.
    pub(crate) fn try_under(
        &self,
        grants: &[(OperationSet, &str)],
        act: fn(&Path) -> io::Result<()>,
    ) -> Result<(), Denied> {
        self.try_planned(&plan(&policy(self.path(), grants), usable_abi(), &look), act)
    }

    pub(crate) fn try_planned(&self, plan: &Plan, act: fn(&Path) -> io::Result<()>) -> Result<(), Denied> {
        match sys::fork().unwrap() {
            Fork::Child => {
                restrict(plan, LandlockLevel::Required).unwrap();
                sys::exit_now(match act(self.path()) {
                    Ok(()) => 0,
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => 1,
                    Err(error) if error.kind() == ErrorKind::CrossesDevices => 2,
                    Err(error) => {
                        eprintln!("{error}");
                        3
                    }
                });
            }
            Fork::Parent(child) => match sys::wait(child).unwrap() {
                Exit::Code(0) => Ok(()),
                Exit::Code(1 | 2) => Err(Denied),
                other => panic!("neither allowed nor denied: {other:?}"),
            },
        }
    }
}

/// `EACCES`, or `EXDEV` for a move or link.
#[derive(Debug, PartialEq)]
pub(crate) struct Denied;

pub(crate) fn of(operations: &[Operation]) -> OperationSet {
    operations.iter().fold(OperationSet::EMPTY, |set, operation| set.union(OperationSet::of(*operation)))
}

pub(crate) fn policy(root: &Path, grants: &[(OperationSet, &str)]) -> Policy {
    let grants = grants.iter().enumerate().map(|(id, (operations, path))| Grant {
        id: GrantId(id as u32),
        operations: *operations,
        pattern: GrantPattern::Path(literal(&root.join(path))),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance { text: (*path).into(), ..Provenance::default() },
    });
    Policy { grants: grants.collect(), ..Policy::default() }
}

fn literal(path: &Path) -> PathPattern {
    let names = path.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let components = names.map(|name| Component::Literal(name.to_vec())).collect();
    PathPattern { base: PathBase::Root, components, exact: false }
}

/// A rule with every right that a worker is ever given.
pub(crate) fn everything_in(dir: &Path) -> Rule {
    let rights = Rights::READ_FILE
        .union(Rights::READ_DIR)
        .union(Rights::WRITE_FILE)
        .union(Rights::TRUNCATE)
        .union(Rights::MAKE_REG)
        .union(Rights::MAKE_DIR)
        .union(Rights::MAKE_SYM)
        .union(Rights::REMOVE_FILE)
        .union(Rights::REMOVE_DIR)
        .union(Rights::REFER);
    let path = fs::canonicalize(dir).unwrap().into_os_string().into_encoded_bytes();
    Rule { path, directory: true, rights, grant: GrantId(0), overgrant: None }
}

type Act = fn(&Path) -> io::Result<()>;
type Needs = &'static [(&'static [Operation], &'static str)];

/// Not `File::create_new`, which wants to read, too.
fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn accesses() {
    use Operation::{Create, Delete, List, Modify, Read};
    let trials: &[(&str, Needs, Act)] = &[
        ("read a file by its directory", &[(&[Read], "in")], |at| File::open(at.join("in/data")).map(drop)),
        ("read a file by itself", &[(&[Read], "in/data")], |at| File::open(at.join("in/data")).map(drop)),
        ("read past `..`", &[(&[Read], "in")], |at| {
            File::open(at.join("secret/../in/sub/../data")).map(drop)
        }),
        ("read through a link from elsewhere", &[(&[Read], "in")], |at| {
            File::open(at.join("secret/inward")).map(drop)
        }),
        ("list", &[(&[List], "in")], |at| fs::read_dir(at.join("in")).map(drop)),
        ("create in a directory", &[(&[Create], "out")], |at| create_new(at.join("out/new")).map(drop)),
        ("create with O_TRUNC", &[(&[Create], "out")], |at| File::create(at.join("out/new")).map(drop)),
        ("create one file", &[(&[Create], "out/new")], |at| create_new(at.join("out/new")).map(drop)),
        ("create a directory", &[(&[Create], "out")], |at| fs::create_dir(at.join("out/dir"))),
        ("create a tree that is absent", &[(&[Create], "new")], |at| {
            fs::create_dir_all(at.join("new/a/b"))?;
            create_new(at.join("new/a/b/c")).map(drop)
        }),
        ("make a link", &[(&[Create], "out")], |at| {
            std::os::unix::fs::symlink("/etc/passwd", at.join("out/link"))
        }),
        ("overwrite", &[(&[Modify], "out/old")], |at| {
            OpenOptions::new().write(true).open(at.join("out/old"))?.write_all(b"x")
        }),
        ("truncate", &[(&[Modify], "out/old")], |at| {
            OpenOptions::new().write(true).truncate(true).open(at.join("out/old")).map(drop)
        }),
        ("shorten", &[(&[Modify], "out")], |at| {
            OpenOptions::new().write(true).open(at.join("out/old"))?.set_len(1)
        }),
        ("delete in a directory", &[(&[Delete], "out")], |at| fs::remove_file(at.join("out/old"))),
        ("delete one file", &[(&[Delete], "out/old")], |at| fs::remove_file(at.join("out/old"))),
        ("remove a directory in it", &[(&[Delete], "out")], |at| fs::remove_dir(at.join("out/sub"))),
        ("remove the directory itself", &[(&[Delete], "empty")], |at| fs::remove_dir(at.join("empty"))),
        ("rename in a directory", &[(&[Create, Delete], "out")], |at| {
            fs::rename(at.join("out/old"), at.join("out/name"))
        }),
        ("rename into a directory beneath", &[(&[Create, Delete], "out")], |at| {
            fs::rename(at.join("out/old"), at.join("out/sub/name"))
        }),
        ("rename between two grants", &[(&[Create, Delete], "out"), (&[Create, Delete], "empty")], |at| {
            fs::rename(at.join("out/old"), at.join("empty/old"))
        }),
        ("hard link", &[(&[Create], "out")], |at| fs::hard_link(at.join("out/old"), at.join("out/sub/hard"))),
        (
            "save by renaming over it",
            &[(&[Create, Modify, Delete], "out/old"), (&[Create, Modify, Delete], "out/t")],
            |at| {
                fs::write(at.join("out/t"), b"saved")?;
                fs::rename(at.join("out/t"), at.join("out/old"))
            },
        ),
        ("remove a file and write it again", &[(&[Create, Modify, Delete], "out/old")], |at| {
            fs::remove_file(at.join("out/old"))?;
            fs::write(at.join("out/old"), b"again")
        }),
        ("write an absent file, read it back", &[(&[Create, Modify], "out"), (&[Read], "out/new")], |at| {
            fs::write(at.join("out/new"), b"new")?;
            fs::read(at.join("out/new")).map(drop)
        }),
        ("a name that is not UTF-8", &[(&[Create], "out")], |at| {
            create_new(at.join("out").join(std::ffi::OsStr::from_bytes(b"\xff\xfe\n"))).map(drop)
        }),
        ("a name of 255 bytes", &[(&[Create], "out")], |at| {
            create_new(at.join("out").join("n".repeat(255))).map(drop)
        }),
        ("a deep tree", &[(&[Create], "out")], |at| {
            let deep: PathBuf = std::iter::repeat_n("d", 500).collect();
            fs::create_dir_all(at.join("out").join(deep))
        }),
    ];
    for (name, grants, act) in trials {
        let grants: Vec<_> = grants.iter().map(|(operations, path)| (of(operations), *path)).collect();
        assert_eq!(Place::new().try_under(&[], *act), Err(Denied), "without a grant: {name}");
        assert_eq!(Place::new().try_under(&grants, *act), Ok(()), "with its grant: {name}");
        if let [(operations, path)] = grants[..] {
            for operation in operations.iter() {
                let fewer = [(operations.difference(OperationSet::of(operation)), path)];
                if name.contains("rename in") || operations == OperationSet::of(operation) {
                    assert_eq!(
                        Place::new().try_under(&fewer, *act),
                        Err(Denied),
                        "without {operation}: {name}"
                    );
                }
            }
        }
    }
}

fn neighbours() {
    let place = Place::new();
    let read = [(OperationSet::FS_READ, "in/data")];
    assert_eq!(place.try_under(&read, |at| fs::read(at.join("in/data")).map(drop)), Ok(()));
    assert_eq!(place.try_under(&read, |at| fs::read(at.join("in/other")).map(drop)), Err(Denied));
    assert_eq!(place.try_under(&read, |at| fs::read_dir(at.join("in")).map(drop)), Err(Denied));
    let write = [(OperationSet::of(Operation::Modify), "in/data")];
    assert_eq!(place.try_under(&write, |at| fs::write(at.join("in/data"), b"")), Ok(()));
    assert_eq!(place.try_under(&write, |at| fs::write(at.join("in/other"), b"")), Err(Denied));
    assert_eq!(place.try_under(&write, |at| fs::read(at.join("in/data")).map(drop)), Err(Denied));
}

/// A zygote under the union of two tests, and a child per test.
fn layers() {
    let place = Place::new();
    let both = [(OperationSet::FS_ALL, "in"), (OperationSet::FS_ALL, "out")];
    let abi = usable_abi();
    let [first, second] = [0, 1].map(|index| plan(&policy(place.path(), &both[index..=index]), abi, &look));
    restrict(&plan(&policy(place.path(), &both), abi, &look), LandlockLevel::Required).unwrap();
    let read: [Act; 3] = [
        |at| fs::read(at.join("in/data")).map(drop),
        |at| fs::read(at.join("out/old")).map(drop),
        |at| fs::read(at.join("secret/key")).map(drop),
    ];
    assert_eq!(read.map(|act| place.try_planned(&first, act).is_ok()), [true, false, false]);
    assert_eq!(read.map(|act| place.try_planned(&second, act).is_ok()), [false, true, false]);
    // A layer never gives back what an outer one took.
    let mut wide = plan(&Policy::default(), abi, &look);
    wide.rules.push(everything_in(place.path()));
    assert_eq!(read.map(|act| place.try_planned(&wide, act).is_ok()), [true, true, false]);
}

fn unopenable() {
    let place = Place::new();
    let planned = || plan(&policy(place.path(), &[(OperationSet::FS_READ, "in/data")]), usable_abi(), &look);
    let gone = planned();
    fs::remove_file(place.path().join("in/data")).unwrap();
    assert!(matches!(restrict(&gone, LandlockLevel::Required), Err(Error::Path(..))));
    std::os::unix::fs::symlink("../secret/key", place.path().join("in/data")).unwrap();
    assert!(matches!(restrict(&gone, LandlockLevel::Required), Err(Error::Path(..))));
    fs::remove_file(place.path().join("in/data")).unwrap();
    fs::create_dir(place.path().join("in/data")).unwrap();
    assert!(matches!(restrict(&gone, LandlockLevel::Required), Err(Error::Changed(_))));
    let directory = planned();
    fs::remove_dir(place.path().join("in/data")).unwrap();
    fs::write(place.path().join("in/data"), b"").unwrap();
    assert!(matches!(restrict(&directory, LandlockLevel::Required), Err(Error::Changed(_))));
    restrict(&planned(), LandlockLevel::Required).unwrap();
}

fn newer() {
    let newer = Plan { abi: status().landlock_abi.unwrap() + 1, ..Plan::default() };
    assert!(matches!(restrict(&newer, LandlockLevel::Required), Err(Error::Abi { .. })));
    let old = Plan { abi: 2, ..Plan::default() };
    assert!(matches!(restrict(&old, LandlockLevel::Full), Err(Error::Unavailable(_))));
    let oldest = Plan { abi: 1, ..Plan::default() };
    assert!(matches!(restrict(&oldest, LandlockLevel::Required), Err(Error::Unavailable(_))));
    File::open("/etc/passwd").unwrap();
}

fn off() {
    let enforced = restrict(&Plan::default(), LandlockLevel::Off).unwrap();
    assert!(enforced.abi.is_none() && enforced.enforced.is_empty() && enforced.missing.len() == 6);
    File::open("/etc/passwd").unwrap();
}

/// Plans for older kernels are enforced as those would, as far as this kernel is at least as new.
fn old_abis() {
    let truncate: Act = |at| {
        let file = OpenOptions::new().read(true).open(at.join("in/data"))?;
        drop(file);
        rustix::fs::open(at.join("in/data"), rustix::fs::OFlags::TRUNC, rustix::fs::Mode::empty())?;
        Ok(())
    };
    for abi in 2..=usable_abi() {
        let place = Place::new();
        let policy = policy(place.path(), &[(OperationSet::FS_READ, "in")]);
        let plan = plan(&policy, abi, &look);
        assert_eq!(place.try_planned(&plan, |at| fs::read(at.join("in/data")).map(drop)), Ok(()));
        assert_eq!(place.try_planned(&plan, |at| fs::read(at.join("secret/key")).map(drop)), Err(Denied));
        let truncates = place.try_planned(&plan, truncate).is_ok();
        assert_eq!(truncates, abi < 3);
        assert_eq!(plan.not_covered.iter().any(|note| note.what.starts_with("truncation")), abi < 3);
    }
}

fn network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert!(usable_abi() >= 4, "this kernel cannot show it");
    restrict(&plan(&Policy::default(), usable_abi(), &look), LandlockLevel::Full).unwrap();
    assert_eq!(std::net::TcpStream::connect(address).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(std::net::TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), ErrorKind::PermissionDenied);
    let outside = rustix::process::getppid().unwrap();
    assert_eq!(rustix::process::test_kill_process(outside), Err(rustix::io::Errno::PERM));
}

/// Prints the processor time of planning and restricting, per rule, the best of five.
pub(crate) fn cost() {
    for count in [1, 10, 100, 1_000, 10_000] {
        let place = Place::new();
        let names: Vec<String> = (0..count).map(|index| format!("in/{index}")).collect();
        for name in &names {
            fs::write(place.path().join(name), b"").unwrap();
        }
        let grants: Vec<_> = names.iter().map(|name| (of(&[Operation::Read]), name.as_str())).collect();
        let policy = policy(place.path(), &grants);
        let mut best = [u64::MAX; 2];
        for _ in 0..5 {
            let (mut reader, mut writer) = io::pipe().unwrap();
            let Fork::Parent(child) = sys::fork().unwrap() else {
                let start = processor_time();
                let plan = plan(&policy, usable_abi(), &look);
                let planned = processor_time();
                restrict(&plan, LandlockLevel::Required).unwrap();
                let restricted = processor_time();
                assert_eq!(plan.rules.len(), count);
                for time in [planned - start, restricted - planned] {
                    writer.write_all(&time.to_ne_bytes()).unwrap();
                }
                sys::exit_now(0);
            };
            for best in &mut best {
                let mut bytes = [0; 8];
                reader.read_exact(&mut bytes).unwrap();
                *best = u64::from_ne_bytes(bytes).min(*best);
            }
            assert_eq!(sys::wait(child).unwrap(), Exit::Code(0));
        }
        let each = best.map(|time| time as f64 / 1e3 / count as f64);
        println!("{count:>6} rules: plan {:>7.2} µs each, restrict {:>7.2} µs each", each[0], each[1]);
    }
}

pub(crate) fn processor_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

//! Wall 2 against ways out of a grant, none of which wall 1 has seen.

use crate::landlock::{Denied, Place, of};
use crate::{Case, Ends::Well, case};
use sandbox_policy::access::{Operation, OperationSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    case("landlock::no_way_out_of_a_read_grant", Well, reading),
    case("landlock::no_way_out_of_a_write_grant", Well, writing),
    case("landlock::metadata_is_not_covered", Well, metadata),
];

type Act = fn(&Path) -> io::Result<()>;

fn reading() {
    let grants = [(OperationSet::FS_READ, "in")];
    let trials: &[(&str, Act)] = &[
        ("`..`", |at| File::open(at.join("in/../secret/key")).map(drop)),
        ("`..` beneath", |at| File::open(at.join("in/sub/../../secret/key")).map(drop)),
        ("a relative link", |at| File::open(at.join("in/relative")).map(drop)),
        ("an absolute link", |at| File::open(at.join("in/absolute")).map(drop)),
        ("a link to a directory", |at| File::open(at.join("in/directory/key")).map(drop)),
        ("a link to a directory, listed", |at| fs::read_dir(at.join("in/directory/")).map(drop)),
        ("another root", |at| {
            File::open(Path::new("/proc/self/root").join(at.strip_prefix("/").unwrap()).join("secret/key"))
                .map(drop)
        }),
        ("its own current directory", |at| {
            std::env::set_current_dir(at.join("secret"))?;
            File::open("/proc/self/cwd/key").map(drop)
        }),
        ("an O_PATH descriptor, opened again", |at| {
            use rustix::fs::{CWD, Mode, OFlags, openat};
            use std::os::fd::AsRawFd;
            let fd = openat(CWD, at.join("secret/key"), OFlags::PATH, Mode::empty())?;
            File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).map(drop)
        }),
        ("O_TRUNC", |at| {
            rustix::fs::open(at.join("in/data"), rustix::fs::OFlags::TRUNC, rustix::fs::Mode::empty())?;
            Ok(())
        }),
        ("writing", |at| OpenOptions::new().write(true).open(at.join("in/data")).map(drop)),
        ("truncate(2) by path", |at| OpenOptions::new().append(true).open(at.join("in/data")).map(drop)),
        ("removing", |at| fs::remove_file(at.join("in/data"))),
        ("renaming", |at| fs::rename(at.join("in/data"), at.join("in/new"))),
        ("creating", |at| File::create_new(at.join("in/new")).map(drop)),
        ("hard-linking the secret to it", |at| fs::hard_link(at.join("secret/key"), at.join("in/key"))),
        ("its own memory", |_| OpenOptions::new().write(true).open("/proc/self/mem").map(drop)),
        ("a process's environment", |_| File::open("/proc/1/environ").map(drop)),
    ];
    for (name, act) in trials {
        assert_eq!(Place::new().try_under(&grants, *act), Err(Denied), "{name}");
    }
    // They can work: it is the grant that is missing.
    let wide = [(OperationSet::FS_ALL, "")];
    for (name, act) in trials.iter().filter(|(name, _)| !name.contains("process") && !name.contains("memory"))
    {
        let proc_too = [wide[0], (OperationSet::FS_READ, "/proc")];
        assert_eq!(Place::new().try_under(&proc_too, *act), Ok(()), "with a grant: {name}");
    }
}

fn writing() {
    let grants = [(OperationSet::FS_ALL, "out"), (OperationSet::FS_READ, "in")];
    let trials: &[(&str, Act)] = &[
        ("a neighbour", |at| File::create(at.join("new")).map(drop)),
        ("a neighbour past `..`", |at| File::create(at.join("out/../new")).map(drop)),
        ("a link of its own making", |at| {
            std::os::unix::fs::symlink("../secret/key", at.join("out/link"))?;
            OpenOptions::new().write(true).open(at.join("out/link")).map(drop)
        }),
        ("reading through a link of its own making", |at| {
            std::os::unix::fs::symlink("../secret", at.join("out/link"))?;
            fs::read(at.join("out/link/key")).map(drop)
        }),
        ("moving the secret in", |at| fs::rename(at.join("secret/key"), at.join("out/key"))),
        ("hard-linking the secret in", |at| fs::hard_link(at.join("secret/key"), at.join("out/key"))),
        ("hard-linking what may only be read in", |at| {
            fs::hard_link(at.join("in/data"), at.join("out/data"))
        }),
        ("moving something out", |at| fs::rename(at.join("out/old"), at.join("secret/old"))),
        ("moving something to where it can be read only", |at| {
            fs::rename(at.join("out/old"), at.join("in/old"))
        }),
        ("replacing the secret", |at| fs::rename(at.join("out/old"), at.join("secret/key"))),
        ("exchanging it for the secret", |at| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let cwd = rustix::fs::CWD;
            Ok(rustix::fs::renameat_with(cwd, at.join("out/old"), cwd, at.join("secret/key"), flags)?)
        }),
        ("swapping the directory", |at| fs::rename(at.join("out"), at.join("secret/out"))),
        ("a pipe", |at| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let fifo = rustix::fs::FileType::Fifo;
            Ok(rustix::fs::mknodat(rustix::fs::CWD, at.join("out/fifo"), fifo, mode, 0)?)
        }),
        ("a socket", |at| std::os::unix::net::UnixListener::bind(at.join("out/socket")).map(drop)),
        ("executing", |at| {
            fs::copy("/proc/self/exe", at.join("out/program")).map(drop)?;
            std::process::Command::new(at.join("out/program")).spawn().map(drop)
        }),
    ];
    for (name, act) in trials {
        assert_eq!(Place::new().try_under(&grants, *act), Err(Denied), "{name}");
    }
    // They can work: it is the grant that is missing.
    let wide = [(OperationSet::FS_ALL, "")];
    for (name, act) in trials.iter().filter(|(name, _)| !["a pipe", "a socket", "executing"].contains(name)) {
        assert_eq!(Place::new().try_under(&wide, *act), Ok(()), "with a grant: {name}");
    }
}

/// What the plan says is not covered really is not: the other walls must hold here.
fn metadata() {
    let none = [(of(&[Operation::Stat]), "in")];
    let place = Place::new();
    let trials: [Act; 3] = [
        |at| fs::metadata(at.join("secret/key")).map(drop),
        |at| fs::read_link(at.join("secret/inward")).map(drop),
        |at| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(at.join("secret/key"), fs::Permissions::from_mode(0o600))
        },
    ];
    for act in trials {
        assert_eq!(place.try_under(&none, act), Ok(()));
    }
}

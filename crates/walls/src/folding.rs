//! Which mounted file systems may take one name for another: by case, by Unicode forms, by short names.
//!
//! There is no call that says so. What is on the list of those that never do is believed; ext4, f2fs and
//! tmpfs are asked whether they were made to; where only case is in question, or layers of others, the
//! names at the top are tried. All else may.

use rustix::fs::{AtFlags, CWD, Dir, IFlags, Mode, OFlags, StatxFlags, ioctl_getflags, ioctl_setflags, open};
use rustix::io::Errno;
use sandbox_policy::access::{Operation, OperationSet};
use sandbox_policy::{Component, GrantPattern, PathBase, Policy};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// File systems that compare names byte by byte, whatever options they are made or mounted with.
const EXACT: &[&str] = &[
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "ext2",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// File systems with directories that fold where the file system as a whole was made for it.
const BY_DIRECTORY: &[&str] = &["ext3", "ext4", "f2fs", "tmpfs"];

/// The mark of a directory that ignores case (`FS_CASEFOLD_FL`, linux/fs.h).
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// How many names at the top of a file system are tried.
const TRIED: usize = 512;

/// A line of `/proc/self/mountinfo` (Documentation/filesystems/proc.rst).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    parent: u64,
    device: (u32, u32),
    point: Vec<u8>,
    kind: String,
}

/// The mount points beneath which a name may be folded; `/` if it cannot be told. Looked for once.
pub fn places() -> &'static [Vec<u8>] {
    static PLACES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    PLACES.get_or_init(|| match std::fs::read("/proc/self/mountinfo") {
        Ok(text) => folding(&mounts(&text), &Machine::default()),
        Err(_) => vec![b"/".to_vec()],
    })
}

/// The same beneath another root, as named there.
pub fn within(places: &[Vec<u8>], root: &[u8]) -> Vec<Vec<u8>> {
    if root == b"/" {
        return places.to_vec();
    }
    let beneath = |path: &[u8], above: &[u8]| {
        above == b"/" || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    let inside = |place: &Vec<u8>| match () {
        () if beneath(root, place) => Some(b"/".to_vec()),
        () if beneath(place, root) => Some(place[root.len()..].to_vec()),
        () => None,
    };
    places.iter().filter_map(inside).collect()
}

/// The policy with the right to list what may fold, for the kernel's rules: without it nobody could ask a
/// directory for its own names. What a guest may list is still decided by its policy.
pub fn with_lists<'a>(policy: &'a Policy, places: &[Vec<u8>]) -> Cow<'a, Policy> {
    if places.is_empty() {
        return Cow::Borrowed(policy);
    }
    let mut policy = policy.clone();
    let meets = |prefix: &[u8]| {
        let beneath = |path: &[u8], above: &[u8]| above == b"/" || path.starts_with(above);
        places.iter().any(|place| beneath(prefix, place) || beneath(place, prefix))
    };
    for grant in &mut policy.grants {
        let patterns = match &grant.pattern {
            GrantPattern::Path(pattern) => Some(pattern),
            _ => None,
        };
        let mut prefixes = patterns.into_iter().chain(&grant.target).map(|pattern| {
            let literals = pattern.components.iter().map_while(|component| match component {
                Component::Literal(name) => Some([b"/", &name[..]].concat()),
                _ => None,
            });
            (pattern.base == PathBase::Root).then(|| literals.collect::<Vec<_>>().concat())
        });
        let more = !grant.operations.difference(OperationSet::of(Operation::Stat)).is_empty();
        if more && prefixes.any(|prefix| prefix.is_none_or(|prefix| meets(&prefix))) {
            grant.operations = grant.operations.union(OperationSet::of(Operation::List));
        }
    }
    Cow::Owned(policy)
}

fn mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let point = unescaped(fields.nth(1)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let kind = String::from_utf8_lossy(kind).into_owned();
    Some(Mount { id, parent, device: (major.parse().ok()?, minor.parse().ok()?), point, kind })
}

/// Blanks, newlines and backslashes are three octal digits each.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (*first, after) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// What one can find out about a mounted file system.
trait Look {
    /// Whether no directory of it folds.
    fn is_exact(&self, mount: &Mount) -> bool;
    /// Whether none of the directories from one above to another does, in a file system that has a mark for
    /// those that do.
    fn is_way_exact(&self, mount: &Mount, to: &[u8]) -> bool;
}

fn folding(mounts: &[Mount], look: &dyn Look) -> Vec<Vec<u8>> {
    let by_id: BTreeMap<u64, &Mount> = mounts.iter().map(|mount: &Mount| (mount.id, mount)).collect();
    let exact: BTreeSet<u64> =
        mounts.iter().filter(|mount| look.is_exact(mount)).map(|mount| mount.id).collect();
    // What is mounted in a folding directory is found by other names too.
    let folds = |mount: &&Mount| {
        let mut mount = *mount;
        if !exact.contains(&mount.id) {
            return true;
        }
        // As many steps as there are mounts: the table may have changed while it was read.
        for _ in 0..mounts.len() {
            let Some(parent) = by_id.get(&mount.parent).filter(|parent| parent.id != mount.id) else { break };
            if !exact.contains(&parent.id) && !look.is_way_exact(parent, &mount.point) {
                return true;
            }
            mount = parent;
        }
        false
    };
    let mut places: Vec<Vec<u8>> = mounts.iter().filter(folds).map(|mount| mount.point.clone()).collect();
    places.sort();
    places.dedup();
    places
}

/// This machine.
#[derive(Default)]
struct Machine {
    /// What file systems said about themselves, by device.
    asked: std::cell::RefCell<BTreeMap<(u32, u32), bool>>,
}

impl Look for Machine {
    fn is_exact(&self, mount: &Mount) -> bool {
        let point = Path::new(OsStr::from_bytes(&mount.point));
        match mount.kind.as_str() {
            kind if EXACT.contains(&kind) => true,
            kind if BY_DIRECTORY.contains(&kind) => {
                let folds = if kind == "ext3" { "ext4" } else { kind };
                !kernel_folds(folds) || self.was_made_exact(mount, point)
            }
            // In these it is the same in every directory: where one tells case apart, all do.
            "overlay" | "xfs" => tells_case_apart(point),
            _ => false,
        }
    }

    fn is_way_exact(&self, mount: &Mount, to: &[u8]) -> bool {
        let (from, to) = (Path::new(OsStr::from_bytes(&mount.point)), Path::new(OsStr::from_bytes(to)));
        let ways = || to.ancestors().skip(1).take_while(|way| way.starts_with(from));
        BY_DIRECTORY.contains(&mount.kind.as_str())
            && ways().all(|way| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let flags = open(way, flags, Mode::empty()).and_then(ioctl_getflags);
                flags.is_ok_and(|flags| !flags.contains(CASEFOLD))
            })
    }
}

/// Whether this kernel could have such a file system fold. Where it cannot be told, it could.
fn kernel_folds(kind: &str) -> bool {
    let known = Path::new("/sys/fs").is_dir() && Path::new("/sys/kernel").is_dir();
    !known || Path::new("/sys/fs").join(kind).join("features/casefold").exists()
}

impl Machine {
    /// Whether the file system was made without directories that fold. A directory that holds something is
    /// asked to become one: it may not, since something is in it, but a file system that has none says that
    /// first, in another way (`ext4_ioctl_setflags`, `f2fs_setflags_common`, `shmem_inode_casefold_flags`).
    fn was_made_exact(&self, mount: &Mount, point: &Path) -> bool {
        if let Some(known) = self.asked.borrow().get(&mount.device) {
            return *known;
        }
        let own = [std::env::current_dir().ok(), std::env::home_dir()].into_iter().flatten();
        let own = std::iter::once(point.to_owned()).chain(own);
        let shared =
            [std::env::temp_dir()].into_iter().chain(["/var/tmp", "/tmp", "/dev/shm"].map(PathBuf::from));
        let on_it = |folder: &PathBuf| {
            rustix::fs::statx(CWD, folder, AtFlags::empty(), StatxFlags::empty())
                .is_ok_and(|stat| (stat.stx_dev_major, stat.stx_dev_minor) == mount.device)
        };
        let exact = own.filter(on_it).any(|folder| says_exact(&folder))
            // Where nothing is ours, something is made to ask.
            || shared.filter(on_it).any(|folder| {
                let made = tempfile::tempdir_in(folder);
                made.is_ok_and(|made| std::fs::create_dir(made.path().join("x")).is_ok() && says_exact(made.path()))
            });
        self.asked.borrow_mut().insert(mount.device, exact);
        exact
    }
}

fn says_exact(folder: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(folder, flags, Mode::empty()) else { return false };
    let own =
        rustix::fs::fstat(&directory).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
    let holds_something = Dir::read_from(&directory).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")))
    });
    let Ok(flags) = ioctl_getflags(&directory) else { return false };
    if !own || !holds_something || flags.contains(CASEFOLD) {
        return false;
    }
    let asked = ioctl_setflags(&directory, flags | CASEFOLD);
    if asked.is_ok() {
        // Somebody has emptied it in this instant.
        let _ = ioctl_setflags(&directory, flags);
    }
    asked == Err(Errno::OPNOTSUPP)
}

/// Whether no name at the top is found in other letters, and one with letters is there.
fn tells_case_apart(folder: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(folder, flags, Mode::empty()) else { return false };
    let Ok(entries) = Dir::read_from(&directory) else { return false };
    let Ok(names) = entries
        .map(|entry| Ok(entry?.file_name().to_bytes().to_vec()))
        .collect::<Result<BTreeSet<_>, Errno>>()
    else {
        return false;
    };
    let other = |name: &[u8]| -> Vec<u8> {
        let flip = |byte: &u8| {
            if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
        };
        name.iter().map(flip).collect()
    };
    let mut tried = names.iter().map(|name| (name, other(name))).filter(|(name, other)| *name != other);
    let mut some = false;
    tried.by_ref().take(TRIED).all(|(_, other)| {
        some = true;
        names.contains(&other)
            || rustix::fs::statat(&directory, &*other, AtFlags::SYMLINK_NOFOLLOW).map(drop)
                == Err(Errno::NOENT)
    }) && some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read_with_its_escapes() {
        let text = b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime shared:1 master:2 - vfat /dev/root rw,x=y\nnonsense\n";
        let point = b"/mnt 2\\x".to_vec();
        assert_eq!(mounts(text), [Mount { id: 36, parent: 35, device: (98, 0), point, kind: "vfat".into() }]);
    }

    struct Table(&'static [&'static str]);
    impl Look for Table {
        fn is_exact(&self, mount: &Mount) -> bool {
            self.0.contains(&mount.kind.as_str())
        }
        fn is_way_exact(&self, mount: &Mount, to: &[u8]) -> bool {
            mount.kind == "marked" && to.starts_with(b"/plain/")
        }
    }

    fn places_of(table: &[(u64, u64, &str, &str)]) -> Vec<String> {
        let mount = |(id, parent, point, kind): &(u64, u64, &str, &str)| Mount {
            id: *id,
            parent: *parent,
            device: (0, *id as u32),
            point: point.as_bytes().to_vec(),
            kind: (*kind).to_owned(),
        };
        let mounts: Vec<_> = table.iter().map(mount).collect();
        folding(&mounts, &Table(&["good"]))
            .into_iter()
            .map(|place| String::from_utf8(place).unwrap())
            .collect()
    }

    #[test]
    fn what_is_unknown_folds_and_what_is_mounted_in_it() {
        assert_eq!(places_of(&[(1, 0, "/", "good"), (2, 1, "/a", "good")]), [""; 0]);
        assert_eq!(places_of(&[(1, 0, "/", "good"), (2, 1, "/a", "new"), (3, 1, "/b", "good")]), ["/a"]);
        assert_eq!(
            places_of(&[
                (1, 0, "/", "good"),
                (2, 1, "/a", "new"),
                (3, 2, "/a/b", "good"),
                (4, 3, "/a/b/c", "good")
            ]),
            ["/a", "/a/b", "/a/b/c"]
        );
        // Directories above that are marked as telling names apart do so.
        assert_eq!(
            places_of(&[(1, 0, "/", "marked"), (2, 1, "/plain/b", "good"), (3, 1, "/x/b", "good")]),
            ["/", "/x/b"]
        );
        // A table that was read while it changed has no end to look for.
        assert_eq!(places_of(&[(1, 2, "/", "good"), (2, 1, "/a", "good")]), [""; 0]);
    }

    #[test]
    fn another_root_sees_its_own_part() {
        let places = [b"/mnt/fat".to_vec(), b"/data/x".to_vec()];
        assert_eq!(within(&places, b"/"), places);
        assert_eq!(within(&places, b"/mnt/fat/sub"), [b"/"]);
        assert_eq!(within(&places, b"/mnt/fat"), [b"/"]);
        assert_eq!(within(&places, b"/data"), [b"/x"]);
        assert_eq!(within(&places, b"/dat"), [[0u8; 0]; 0]);
    }

    #[test]
    fn this_machine_can_be_asked() {
        // `/proc` tells all names apart, everywhere.
        assert!(!places().iter().any(|place| place == b"/proc"), "{:?}", places());
    }
}

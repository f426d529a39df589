//! What the policy has to know of this machine: symbolic links, and the places that matter.

use crate::worker::supervisor::other_name;
use sandbox_policy::{Lookup, Resolved};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Links are followed as often as the kernel does it.
const MOST_LINKS: usize = 40;

/// The file system as it is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Lookup for Disk {
    fn resolve(&self, path: &[u8]) -> Resolved {
        resolve(Path::new("/"), path)
    }
}

/// The same as a guest sees it for which this canonical folder is `/`.
#[derive(Clone, Copy, Debug)]
pub struct Beneath<'a>(pub &'a Path);

impl Lookup for Beneath<'_> {
    fn resolve(&self, path: &[u8]) -> Resolved {
        resolve(self.0, path)
    }

    fn resolve_outside(&self, path: &[u8]) -> Resolved {
        Disk.resolve(path)
    }
}

/// What `path` leads to where `root` is `/`; `..` and links stay in there.
fn resolve(root: &Path, path: &[u8]) -> Resolved {
    let outside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mut links = Vec::new();
    let mut target = PathBuf::from("/");
    let mut exists = true;
    let mut rest: VecDeque<OsString> = parts(Path::new(OsStr::from_bytes(path)));
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            target.pop();
            continue;
        }
        target.push(&part);
        if !exists {
            continue;
        }
        match fs::read_link(outside(&target)) {
            Ok(to) if links.len() < MOST_LINKS => {
                links.push(target.as_os_str().as_bytes().to_owned());
                if to.is_absolute() {
                    target = PathBuf::from("/");
                } else {
                    target.pop();
                }
                for part in parts(&to).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(_) => exists = false,
            // Not a link: there, or not there.
            Err(_) => exists = fs::symlink_metadata(outside(&target)).is_ok(),
        }
        // Where names are folded, the one that is there is what decisions are about.
        if exists && let Some(own) = other_name(&outside(&target)) {
            target.set_file_name(OsString::from_vec(own));
        }
    }
    let is_dir = exists && outside(&target).is_dir();
    Resolved { target: target.into_os_string().into_vec(), links, exists, is_dir }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_found_and_followed_physically() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        symlink("real/inner", root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let resolve = |name: &str| Disk.resolve(root.join(name).as_os_str().as_bytes());
        let through = resolve("link/../x");
        assert_eq!(through.target, root.join("real/x").into_os_string().into_vec());
        assert_eq!(through.links, [root.join("link").into_os_string().into_vec()]);
        assert!(!through.exists && !through.is_dir);
        assert!(resolve("link").is_dir);
        assert!(!resolve("loop").exists);
    }

    #[test]
    fn beneath_another_root_nothing_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../../../../etc", root.join("up")).unwrap();
        for name in ["/etc/x", "/absolute/x", "/up/x", "/../etc/x"] {
            assert_eq!(Beneath(&root).resolve(name.as_bytes()).target, b"/etc/x", "{name}");
        }
        assert!(Beneath(&root).resolve(b"/absolute").is_dir);
        assert!(!Beneath(&root).resolve(b"/etc/passwd").exists);
        assert!(Beneath(&root).resolve_outside(b"/etc/passwd").exists);
    }
}

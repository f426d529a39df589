//! Where a path leads: lexically ([`clean`]), and component by component ([`resolve`]).
//!
//! The resolver walks descriptors, follows links itself and goes up by the names it walked, as the
//! kernel would. It asks the policy at each step, and stops at the first step that the guest may
//! not know about without having looked at it: the answer is the same whether it exists or not.

use super::gate::{Denial, Fault, Gate};
use super::memory::MAX_PATH;
use super::types::Errno;
use rustix::fs::{Mode as Bits, OFlags};
use rustix::io::Errno as Native;
use sandbox_policy::access::Operation;
use std::os::fd::{AsFd, OwnedFd};

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// As many components as may be left to walk, so that links cannot multiply them.
const MAX_COMPONENTS: usize = 4096;

/// What a path looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// It ended in a slash, `.` or `..`, and must be a directory.
    pub(crate) directory: bool,
    /// It ended in `.` or `..`.
    pub(crate) dot: bool,
    /// It contains `..`, which the output still has.
    pub(crate) dots: bool,
}

/// Joins `relative` to `base` into `out`, without `.` and empty components.
pub(crate) fn clean(base: &[u8], relative: &[u8], out: &mut Vec<u8>) -> Result<Shape, Fault> {
    if relative.is_empty() {
        return Err(Errno::NOENT.into());
    }
    if relative.len() >= MAX_PATH {
        return Err(Errno::NAMETOOLONG.into());
    }
    if relative.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    if relative[0] == b'/' && base != b"/" {
        // An absolute path where a relative one is asked for, as other runtimes answer it.
        return Err(Errno::PERM.into());
    }
    out.clear();
    if base != b"/" {
        out.extend_from_slice(base);
    }
    if is_plain(relative) {
        out.push(b'/');
        out.extend_from_slice(relative);
        if out.len() >= MAX_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        return Ok(Shape { directory: false, dot: false, dots: false });
    }
    let mut shape = Shape { directory: relative.ends_with(b"/"), dot: false, dots: false };
    for component in relative.split(|byte| *byte == b'/') {
        match component {
            b"" => {}
            b"." => shape.dot = true,
            name => {
                shape.dot = name == b"..";
                shape.dots |= shape.dot;
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    shape.directory |= shape.dot;
    if out.is_empty() {
        out.push(b'/');
    }
    if out.len() >= MAX_PATH {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(shape)
}

/// Whether it has nothing to drop: no empty component, and none that begins with a dot. Most have not.
fn is_plain(relative: &[u8]) -> bool {
    let mut after_slash = true;
    for &byte in relative {
        if after_slash && (byte == b'/' || byte == b'.') {
            return false;
        }
        after_slash = byte == b'/';
    }
    !after_slash
}

/// Resolves `.` and `..` by the text alone, for what does not exist or must not be looked at.
pub(crate) fn textual(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = if path.starts_with(b"/") { Vec::new() } else { directory.to_vec() };
    if out == b"/" {
        out.clear();
    }
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// The path that `text` leads to, as far as the guest may know: from the first step it may not
/// know about, the rest is appended unseen. Up to `pinned` bytes of `text` are a directory that
/// the guest has open: a link in there means that it is not where it was.
///
/// # Errors
/// What the kernel would answer; a denial of `stat` where `..` or a link would have to be
/// resolved at a place the guest may not know about.
pub(crate) fn resolve(gate: &Gate, text: &[u8], pinned: usize, follow: bool) -> Result<Vec<u8>, Fault> {
    let mut rest: Vec<Vec<u8>> = Vec::new();
    push_components(&mut rest, text)?;
    let mut path: Vec<u8> = Vec::with_capacity(text.len());
    let mut directories: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(component) = rest.pop() {
        if component == b".." {
            // The directory to leave was entered below, so it may be known; above the root is the root.
            directories.pop();
            path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            // Whoever comes from a name that stays what it is, and goes on up, only passes.
            if rest.last().is_none_or(|next| next != b"..") {
                enter(gate, &mut path, &mut directories, &mut rest)?;
            }
            continue;
        }
        let parent = path.len();
        path.push(b'/');
        path.extend_from_slice(&component);
        if enter(gate, &mut path, &mut directories, &mut rest)? {
            continue;
        }
        let goes_up = rest.iter().any(|name| name == b"..");
        if !gate.is_on_the_way(&path) {
            if goes_up {
                // Looked at only to learn whether it is hidden, or for the right message.
                gate_stat(gate, &path, "a path goes through it and up again with `..`")?;
            } else {
                append(&mut path, &mut rest);
                return Ok(path);
            }
        }
        if rest.is_empty() && !follow {
            return Ok(path);
        }
        let directory = directories.last().map_or(gate.root(), AsFd::as_fd);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, &*component, flags, Bits::empty()) {
            Ok(next) => directories.push(next),
            Err(Native::NOTDIR | Native::LOOP) => {
                match rustix::fs::readlinkat(directory, &*component, Vec::new()) {
                    Ok(target) => {
                        if links == 0 && path.len() <= pinned {
                            return Err(Errno::NOENT.into());
                        }
                        if !gate.may_follow(&path) {
                            gate_stat(gate, &path, "it is a symbolic link on the way")?;
                        }
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        path.truncate(parent);
                        let target = target.as_bytes();
                        if target.first() == Some(&b'/') {
                            directories.clear();
                            path.clear();
                        }
                        push_components(&mut rest, target)?;
                    }
                    Err(Native::INVAL) if rest.is_empty() => return Ok(path),
                    Err(Native::INVAL) => return Err(Errno::NOTDIR.into()),
                    Err(native) => return Err(native.into()),
                }
            }
            Err(Native::NOENT) if !goes_up => {
                append(&mut path, &mut rest);
                return Ok(path);
            }
            Err(native) => return Err(native.into()),
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

/// Goes on in the directory that the guest sees at `path` in the place of the host's, if there is one.
fn enter(
    gate: &Gate,
    path: &mut Vec<u8>,
    directories: &mut Vec<OwnedFd>,
    rest: &mut Vec<Vec<u8>>,
) -> Result<bool, Fault> {
    let Some(host) = gate.step_to_host(path, rest.last().map(Vec::as_slice)) else { return Ok(false) };
    directories.clear();
    path.clear();
    push_components(rest, &host)?;
    Ok(true)
}

/// Whether a step may be looked at for its own sake.
fn gate_stat(gate: &Gate, path: &[u8], note: &str) -> Result<(), Fault> {
    use super::gate::Verdict;
    match gate.peek(Operation::Stat, path)? {
        Verdict::Allowed(_) => Ok(()),
        Verdict::Hidden => Err(Errno::NOENT.into()),
        Verdict::Denied(exception) => Err(Denial::noted(Operation::Stat, path, exception, note.to_owned())),
    }
}

fn push_components(rest: &mut Vec<Vec<u8>>, path: &[u8]) -> Result<(), Fault> {
    for component in path.rsplit(|byte| *byte == b'/') {
        if !component.is_empty() && component != b"." {
            rest.push(component.to_vec());
        }
    }
    if rest.len() > MAX_COMPONENTS { Err(Errno::NAMETOOLONG.into()) } else { Ok(()) }
}

fn append(path: &mut Vec<u8>, rest: &mut Vec<Vec<u8>>) {
    while let Some(name) = rest.pop() {
        path.push(b'/');
        path.extend_from_slice(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(base: &str, relative: &str) -> (String, Shape) {
        let mut out = Vec::new();
        let shape = clean(base.as_bytes(), relative.as_bytes(), &mut out).expect("a usable path");
        (String::from_utf8(out).expect("the test's own text"), shape)
    }

    #[test]
    fn clean_drops_dots_and_keeps_what_they_mean() {
        let plain = Shape { directory: false, dot: false, dots: false };
        assert_eq!(cleaned("/", "a/b"), ("/a/b".into(), plain));
        assert_eq!(cleaned("/", "//a/./b"), ("/a/b".into(), plain));
        assert_eq!(cleaned("/a", "b/"), ("/a/b".into(), Shape { directory: true, ..plain }));
        let dot = Shape { directory: true, dot: true, dots: false };
        assert_eq!(cleaned("/a", "."), ("/a".into(), dot));
        assert_eq!(cleaned("/", "."), ("/".into(), dot));
        assert_eq!(cleaned("/a", "b/.").1, dot);
        assert_eq!(cleaned("/a", "b/../c"), ("/a/b/../c".into(), Shape { dots: true, ..plain }));
        assert_eq!(cleaned("/a", "..").1, Shape { dots: true, ..dot });
    }

    #[test]
    fn clean_refuses_what_no_path_is() {
        let refused = |base: &[u8], relative: &[u8]| match clean(base, relative, &mut Vec::new()) {
            Err(Fault::Errno(errno)) => errno,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"/", b""), Errno::NOENT);
        assert_eq!(refused(b"/", b"a\0b"), Errno::INVAL);
        assert_eq!(refused(b"/", &[b'a'; 4096]), Errno::NAMETOOLONG);
        assert_eq!(refused(&[b'/'; 100], &[b'a'; 4000]), Errno::NAMETOOLONG);
        assert_eq!(refused(b"/a", b"/etc"), Errno::PERM);
    }

    #[test]
    fn textual_goes_up_by_the_text() {
        assert_eq!(textual(b"/a/b", b"../c"), b"/a/c");
        assert_eq!(textual(b"/a/b", b"/x/./y/.."), b"/x");
        assert_eq!(textual(b"/", b"../../.."), b"/");
        assert_eq!(textual(b"/a", b"../../../b"), b"/b");
    }
}

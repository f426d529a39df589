//! A file system in memory that folds names as others do, spoken over FUSE (linux/fuse.h), in a mount
//! namespace of the test's own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "CARGO_SANDBOX_TEST_MOUNT";

/// Runs `body` with a folder in which a fresh folding file system is mounted, in another process: this
/// test again, started where mounts are its own. `name` is the test's, with its module.
pub(crate) fn mounted(name: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        // The device came as standard input.
        let device = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        std::thread::spawn(move || serve(&mut File::from(device)));
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    // The device has to be opened by who mounts it.
    let script = "exec <>/dev/fuse && mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 folding \"$0\" && exec \"$@\"";
    File::options().read(true).write(true).open("/dev/fuse").expect(
        "this test mounts a file system of its own and needs /dev/fuse: `modprobe fuse`, and for who is not root \
         `chmod 666 /dev/fuse`, as most distributions have it",
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(&folder)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, &folder)
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("`unshare` of util-linux starts");
    let (status, said) = (output.status, String::from_utf8_lossy(&output.stdout));
    println!("{said}");
    assert!(
        status.success(),
        "in a namespace of its own: {status}. Where nothing ran, `unshare -Urm true` must work: on some systems \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or `kernel.unprivileged_userns_clone=1`"
    );
    assert!(said.contains("test result: ok. 1 passed;"), "no test is called `{name}`");
}

/// The key by which names are looked for: as several real file systems do it, all at once.
fn folded(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name = name.split("::$").next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let decomposed = name.chars().flat_map(|char| match char {
        'é' => vec!['e', '\u{301}'],
        'É' => vec!['E', '\u{301}'],
        char => vec![char],
    });
    let seen = decomposed.filter(|char| !matches!(char, '\u{200b}'..='\u{200d}' | '\u{ad}'));
    seen.flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The short name of DOS, if it has another one than its own.
fn short(name: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(name).to_uppercase();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    if stem.len() <= 8 && extension.len() <= 3 {
        return None;
    }
    let cut = |text: &str, most: usize| {
        text.chars().filter(char::is_ascii_alphanumeric).take(most).collect::<String>()
    };
    Some(format!("{}~1.{}", cut(stem, 6), cut(extension, 3)).to_lowercase())
}

#[derive(Default)]
struct Node {
    mode: u32,
    data: Vec<u8>,
    children: Vec<(Vec<u8>, u64)>,
    links: u32,
}

struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

const DIRECTORY: u32 = 0o40_000;
const LINK: u32 = 0o120_000;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ENOSYS: i32 = 38;
const ENOTEMPTY: i32 = 39;

type Answer = Result<Vec<u8>, i32>;

impl Tree {
    fn find(&self, directory: u64, name: &[u8]) -> Option<(usize, u64)> {
        let key = folded(name);
        let children = &self.nodes[&directory].children;
        let by = |test: &dyn Fn(&[u8]) -> bool| children.iter().position(|(own, _)| test(own));
        let at = by(&|own| folded(own) == key)
            .or_else(|| by(&|own| short(own).as_deref() == Some(key.as_str())))?;
        Some((at, children[at].1))
    }

    fn make(&mut self, directory: u64, name: &[u8], mode: u32, data: Vec<u8>) -> Result<u64, i32> {
        if self.find(directory, name).is_some() {
            return Err(EEXIST);
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node { mode, data, children: Vec::new(), links: 1 });
        self.enter(directory, name, id);
        Ok(id)
    }

    /// Under the name that the file system keeps: without what it drops.
    fn enter(&mut self, directory: u64, name: &[u8], id: u64) {
        let name = String::from_utf8_lossy(name).into_owned();
        let name =
            name.split("::$").next().unwrap_or_default().trim_end_matches(['.', ' ']).as_bytes().to_vec();
        self.nodes.get_mut(&directory).unwrap().children.push((name, id));
    }

    fn leave(&mut self, directory: u64, at: usize) -> u64 {
        self.nodes.get_mut(&directory).unwrap().children.remove(at).1
    }

    fn attributes(&self, id: u64) -> Vec<u8> {
        let node = &self.nodes[&id];
        let mut out = Vec::new();
        for number in [id, node.data.len() as u64, 1, 0, 0, 0] {
            out.extend(number.to_ne_bytes());
        }
        for number in [0, 0, 0, node.mode, node.links, 0, 0, 0, 4096, 0] {
            out.extend(number.to_ne_bytes());
        }
        out
    }

    fn entry(&self, id: u64) -> Vec<u8> {
        // Valid for no time: every name is asked for again.
        let mut out = [id, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
        out.extend(self.attributes(id));
        out
    }

    fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), no_replace: bool) -> Answer {
        let (at, id) = self.find(from.0, from.1).ok_or(ENOENT)?;
        if let Some((there, other)) = self.find(to.0, to.1) {
            if no_replace {
                return Err(EEXIST);
            }
            if other != id {
                if !self.nodes[&other].children.is_empty() {
                    return Err(ENOTEMPTY);
                }
                self.leave(to.0, there);
                let (at, _) = self.find(from.0, from.1).ok_or(ENOENT)?;
                self.leave(from.0, at);
                self.enter(to.0, to.1, id);
                return Ok(Vec::new());
            }
        }
        self.leave(from.0, at);
        self.enter(to.0, to.1, id);
        Ok(Vec::new())
    }

    fn answer(&mut self, opcode: u32, node: u64, body: &[u8]) -> Answer {
        let u32_at = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_ne_bytes(body[at..at + 8].try_into().unwrap());
        let names = |from: usize| body[from..].split(|byte| *byte == 0);
        let name = |from: usize| names(from).next().unwrap();
        Ok(match opcode {
            1 => self.entry(self.find(node, name(0)).ok_or(ENOENT)?.1),
            3 | 4 => {
                if opcode == 4 && u32_at(0) & 8 != 0 {
                    self.nodes.get_mut(&node).unwrap().data.resize(u64_at(16) as usize, 0);
                }
                let mut out = [0u64, 0].map(u64::to_ne_bytes).concat();
                out.extend(self.attributes(node));
                out
            }
            5 => self.nodes[&node].data.clone(),
            6 => {
                let target = names(0).nth(1).unwrap().to_vec();
                let id = self.make(node, name(0), LINK | 0o777, target)?;
                self.entry(id)
            }
            8 => {
                let id = self.make(node, name(16), u32_at(0), Vec::new())?;
                self.entry(id)
            }
            9 => {
                let id = self.make(node, name(8), DIRECTORY | u32_at(0) & 0o7777, Vec::new())?;
                self.entry(id)
            }
            10 | 11 => {
                let (at, id) = self.find(node, name(0)).ok_or(ENOENT)?;
                let directory = self.nodes[&id].mode & 0o170_000 == DIRECTORY;
                match (opcode, directory) {
                    (10, true) => return Err(EISDIR),
                    (11, false) => return Err(ENOTDIR),
                    _ if !self.nodes[&id].children.is_empty() => return Err(ENOTEMPTY),
                    _ => {}
                }
                self.leave(node, at);
                Vec::new()
            }
            12 => {
                let (old, new) = (name(8), names(8).nth(1).unwrap());
                self.rename((node, old), (u64_at(0), new), false)?
            }
            45 => {
                let (old, new) = (name(16), names(16).nth(1).unwrap());
                self.rename((node, old), (u64_at(0), new), u32_at(8) & 1 != 0)?
            }
            13 => {
                if self.find(node, name(8)).is_some() {
                    return Err(EEXIST);
                }
                let id = u64_at(0);
                self.enter(node, name(8), id);
                self.nodes.get_mut(&id).unwrap().links += 1;
                self.entry(id)
            }
            14 | 27 => OPENED.to_vec(),
            15 => {
                let data = &self.nodes[&node].data;
                let start = data.len().min(u64_at(8) as usize);
                data[start..data.len().min(start + u32_at(16) as usize)].to_vec()
            }
            16 => {
                let (offset, size) = (u64_at(8) as usize, u32_at(16) as usize);
                let data = &mut self.nodes.get_mut(&node).unwrap().data;
                data.resize(data.len().max(offset + size), 0);
                data[offset..offset + size].copy_from_slice(&body[40..40 + size]);
                (size as u64).to_ne_bytes().to_vec()
            }
            17 => {
                let mut out = vec![0; 80];
                out[44..48].copy_from_slice(&255u32.to_ne_bytes());
                out
            }
            18 | 20 | 25 | 29 | 30 | 34 => Vec::new(),
            26 => {
                let mut out = [7u32, 31, 0, 0, 0, 65_536, 1].map(u32::to_ne_bytes).concat();
                out.resize(64, 0);
                out
            }
            28 => {
                let mut out = Vec::new();
                for (at, (name, id)) in self.nodes[&node].children.iter().enumerate().skip(u64_at(8) as usize)
                {
                    let length = (24 + name.len()).next_multiple_of(8);
                    if out.len() + length > u32_at(16) as usize {
                        break;
                    }
                    let end = out.len() + length;
                    out.extend([*id, at as u64 + 1].map(u64::to_ne_bytes).concat());
                    out.extend([name.len() as u32, self.nodes[id].mode >> 12].map(u32::to_ne_bytes).concat());
                    out.extend(name);
                    out.resize(end, 0);
                }
                out
            }
            35 => {
                let id = self.make(node, name(16), u32_at(4), Vec::new())?;
                let mut out = self.entry(id);
                out.extend(OPENED);
                out
            }
            _ => return Err(ENOSYS),
        })
    }
}

/// No handle, and past the page cache.
const OPENED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];

fn serve(device: &mut File) {
    let root = Node { mode: DIRECTORY | 0o755, links: 2, ..Node::default() };
    let mut tree = Tree { nodes: BTreeMap::from([(1, root)]), next: 2 };
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut buffer) {
        let request = &buffer[..length];
        let opcode = u32::from_ne_bytes(request[4..8].try_into().unwrap());
        let node = u64::from_ne_bytes(request[16..24].try_into().unwrap());
        // What is forgotten and interrupted wants no answer.
        if matches!(opcode, 2 | 36 | 42) {
            continue;
        }
        let (error, body) = match tree.answer(opcode, node, &request[40..]) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut out = Vec::from((16 + body.len() as u32).to_ne_bytes());
        out.extend(error.to_ne_bytes());
        out.extend(&request[8..16]);
        out.extend(body);
        let _ = device.write_all(&out);
    }
}

/// Where it is mounted, as the kernel's table has it.
pub(crate) fn is_known(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    sandbox_walls::folding::places().iter().any(|place| place == folder.as_os_str().as_bytes())
}

/// All names and contents beneath a folder.
pub(crate) fn snapshot(folder: &Path) -> Vec<(PathBuf, Option<String>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
            all.push((path, None));
        } else {
            let text = std::fs::read_to_string(&path).ok();
            all.push((path, text));
        }
    }
    all.sort();
    all
}

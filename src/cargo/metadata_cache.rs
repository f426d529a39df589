//! What `cargo metadata` said last time, as long as nothing it depends on has changed: asking costs
//! as much as an up-to-date build.
//!
//! An answer is kept with a stamp of every file and folder that cargo looks at for it. Where that
//! set is not plain (`--config`, `-Z`, `include`, nested globs), nothing is kept.

use super::CargoFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clocks of file systems tick this coarsely: what changed later than this before cargo was asked
/// may change again without another stamp.
const TICK: Duration = Duration::from_millis(50);
/// As many answers as are kept.
const MOST: usize = 256;
/// An answer that is longer is not kept.
const LONGEST: usize = 4 << 20;

/// What is seen of a file from outside. `None`: it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stamp {
    /// Only that it is there matters.
    Exists(bool),
    /// Inode, length, and times of the last change in nanoseconds.
    Unchanged(Option<(u64, u64, i128, i128)>),
}

#[derive(Serialize, Deserialize)]
struct Kept {
    stamps: Vec<(PathBuf, Stamp)>,
    answer: String,
}

/// The place for one question: this cargo, these flags, this folder, this environment.
pub(super) struct MetadataCache {
    file: PathBuf,
    cargo: PathBuf,
    asked: SystemTime,
    /// The same moment on a clock that nobody sets.
    since: Instant,
}

impl MetadataCache {
    /// `None` if the answer depends on more than can be stamped.
    pub(super) fn new(folder: &Path, cargo: &OsStr, flags: &CargoFlags, current_dir: &Path) -> Option<Self> {
        let cargo = PathBuf::from(cargo);
        if !cargo.is_absolute() || !flags.config.is_empty() || !flags.unstable.is_empty() {
            return None;
        }
        let mut args = Vec::new();
        flags.common(&mut args);
        let mut environment: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.as_encoded_bytes();
                name == b"HOME" || [&b"CARGO"[..], b"RUST"].iter().any(|word| name.starts_with(word))
            })
            .collect();
        environment.sort();
        let question = format!("1 {cargo:?} {args:?} {current_dir:?} {environment:?}");
        let name = super::object::hash([question.as_bytes()]);
        Some(Self {
            file: folder.join(format!("metadata-{name}")),
            cargo,
            asked: SystemTime::now(),
            since: Instant::now(),
        })
    }

    /// The answer, if it still holds.
    pub(super) fn answer(&self) -> Option<String> {
        let kept: Kept = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        let holds = |(path, stamp): &(PathBuf, Stamp)| match stamp {
            Stamp::Exists(there) => path.exists() == *there,
            Stamp::Unchanged(_) => *stamp == unchanged(path),
        };
        kept.stamps.iter().all(holds).then_some(kept.answer)
    }

    /// Keeps an answer. Failing to is no error: it is asked for again.
    pub(super) fn keep(
        &self,
        answer: &str,
        flags: &CargoFlags,
        current_dir: &Path,
        metadata: &cargo_metadata::Metadata,
    ) {
        if answer.len() > LONGEST || self.clock_was_set() {
            return;
        }
        let manifest = flags.manifest_path.as_ref().map(|path| current_dir.join(path));
        let start = manifest.as_deref().and_then(Path::parent).unwrap_or(current_dir);
        let Some(stamps) = stamps(&self.cargo, current_dir, start, metadata) else { return };
        let limit = self.asked.checked_sub(TICK).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let limit = limit.map_or(0, |time| time.as_nanos() as i128);
        let settled = |(_, stamp): &(PathBuf, Stamp)| match stamp {
            Stamp::Unchanged(Some((_, _, modified, changed))) => *modified.max(changed) < limit,
            _ => true,
        };
        if !stamps.iter().all(settled) {
            return;
        }
        let Ok(text) = serde_json::to_vec(&Kept { stamps, answer: answer.to_owned() }) else { return };
        let unfinished = self.file.with_extension(format!("{}", std::process::id()));
        if fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &self.file)).is_err() {
            let _ = fs::remove_file(&unfinished);
        } else if let Some(folder) = self.file.parent() {
            forget_old(folder);
        }
    }
}

impl MetadataCache {
    /// Whether the clock that files are stamped by was set since cargo was asked: then a stamp does not tell
    /// what was changed after that.
    fn clock_was_set(&self) -> bool {
        let passed = self.since.elapsed();
        match self.asked.elapsed() {
            Ok(seen) => seen.abs_diff(passed) > TICK,
            Err(_) => true,
        }
    }
}

/// Keeps the folder small: beyond [`MOST`] answers, the older half goes.
fn forget_old(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let age = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut entries: Vec<_> = entries.flatten().filter_map(age).collect();
    if entries.len() > MOST {
        entries.sort();
        for (_, path) in &entries[..entries.len() - MOST / 2] {
            // Another process may have been faster.
            let _ = fs::remove_file(path);
        }
    }
}

fn unchanged(path: &Path) -> Stamp {
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    Stamp::Unchanged(fs::metadata(path).ok().map(|found| {
        (
            found.ino(),
            found.len(),
            time(found.mtime(), found.mtime_nsec()),
            time(found.ctime(), found.ctime_nsec()),
        )
    }))
}

/// Everything the answer depends on; `None` if that cannot be said. Cargo looks for its configuration
/// from the current directory outwards, and for manifests from `start`.
fn stamps(
    cargo: &Path,
    current_dir: &Path,
    start: &Path,
    metadata: &cargo_metadata::Metadata,
) -> Option<Vec<(PathBuf, Stamp)>> {
    let mut stamps = vec![(cargo.to_owned(), unchanged(cargo))];
    let mut content = |path: PathBuf| {
        let stamp = unchanged(&path);
        stamps.push((path, stamp));
    };
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let folders = current_dir.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    for file in folders.flat_map(|folder| [folder.join("config"), folder.join("config.toml")]) {
        if fs::read_to_string(&file).is_ok_and(|text| super::config::may_include(&text)) {
            return None;
        }
        content(file);
    }
    start.ancestors().for_each(|folder| content(folder.join("Cargo.toml")));
    content(metadata.workspace_root.join("Cargo.toml").into_std_path_buf());
    let mut exists = Vec::new();
    for package in &metadata.packages {
        let manifest = package.manifest_path.as_std_path();
        let root = manifest.parent()?;
        content(manifest.to_owned());
        exists.extend(["build.rs", "src/lib.rs", "src/main.rs"].map(|file| root.join(file)));
        exists.extend(package.targets.iter().map(|target| target.src_path.clone().into_std_path_buf()));
        // Cargo finds targets in these folders by their names, and `main.rs` one level below.
        for folder in ["src/bin", "examples", "tests", "benches"].map(|folder| root.join(folder)) {
            let below = fs::read_dir(&folder).into_iter().flatten().flatten();
            below.filter(|entry| entry.path().is_dir()).for_each(|entry| content(entry.path()));
            content(folder);
        }
    }
    for folder in globbed(metadata.workspace_root.as_std_path())? {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        exists.extend(below.map(|entry| entry.path().join("Cargo.toml")));
        content(folder);
    }
    stamps.extend(exists.into_iter().map(|path| {
        let there = path.exists();
        (path, Stamp::Exists(there))
    }));
    Some(stamps)
}

/// The folders in which `members = ["crates/*"]` looks; `None` if a pattern is less plain.
fn globbed(root: &Path) -> Option<Vec<PathBuf>> {
    let text = fs::read_to_string(root.join("Cargo.toml")).ok()?;
    let document = toml::de::DeTable::parse(&text).ok()?;
    let Some(workspace) = document.get_ref().get("workspace") else { return Some(Vec::new()) };
    let is_glob = |text: &str| text.contains(['*', '?', '[']);
    let mut folders = Vec::new();
    for key in ["members", "default-members", "exclude"] {
        let patterns = workspace.get_ref().get(key).and_then(|patterns| patterns.get_ref().as_array());
        let patterns = patterns.into_iter().flatten().filter_map(|pattern| pattern.get_ref().as_str());
        for pattern in patterns.filter(|text| is_glob(text)) {
            let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
            if is_glob(folder) || last.contains("**") {
                return None;
            }
            folders.push(root.join(folder));
        }
    }
    Some(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_under_a_clock_that_was_set_is_not_kept() {
        let asked = |asked: SystemTime| {
            let (file, cargo) = (PathBuf::new(), PathBuf::new());
            MetadataCache { file, cargo, asked, since: Instant::now() }.clock_was_set()
        };
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert!(!asked(now));
        // Forwards, and back: then a change after the question has an older stamp than the question.
        assert!(asked(now - hour) && asked(now + hour));
    }
}

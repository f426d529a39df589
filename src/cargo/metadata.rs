//! One `cargo metadata --no-deps`, or an earlier answer that still holds.

use super::command::CargoCommand;
use super::metadata_cache::MetadataCache;
use super::{CargoFlags, Error, cargo};
use std::path::Path;

pub use super::workspace::{Package, Target, TargetKind, Workspace};

impl Workspace {
    /// Asks cargo, in `current_dir`. Nothing is downloaded and nothing is built. With a folder
    /// `cache` that exists, cargo's answer is kept there and holds until something it depends on
    /// changes; the manifests are read anew each time.
    ///
    /// # Errors
    /// [`ErrorKind::Manifest`] if there is no manifest or one is wrong or unreadable;
    /// [`ErrorKind::Failed`] if cargo cannot be run.
    pub fn load(flags: &CargoFlags, current_dir: &Path, cache: Option<&Path>) -> Result<Self, Error> {
        let cached = cache.and_then(|folder| MetadataCache::new(folder, &cargo(), flags, current_dir));
        let kept = cached.as_ref().and_then(MetadataCache::answer);
        if let Some(metadata) = kept.and_then(|answer| serde_json::from_str(&answer).ok()) {
            return Self::from_metadata(metadata, flags, current_dir);
        }
        let mut args = Vec::new();
        flags.common(&mut args);
        let command = CargoCommand::new("metadata")
            .args(["--no-deps", "--format-version", "1"])
            .args(&args)
            .current_dir(current_dir);
        let answer = command.answer()?;
        let metadata = command.parse(&answer)?;
        if let Some(cached) = cached {
            cached.keep(&String::from_utf8_lossy(&answer), flags, current_dir, &metadata);
        }
        Self::from_metadata(metadata, flags, current_dir)
    }
}

//! The workspace as cargo sees it: packages, targets, and every manifest read once.

use super::{CargoFlags, Error, ErrorKind};
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TargetKind {
    /// The library, of whatever crate type.
    Lib,
    /// A binary.
    Bin,
    Example,
    /// An integration test.
    Test,
    /// A benchmark.
    Bench,
    BuildScript,
}

impl TargetKind {
    /// As cargo's flags and messages name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lib => "lib",
            Self::Bin => "bin",
            Self::Example => "example",
            Self::Test => "test",
            Self::Bench => "bench",
            Self::BuildScript => "custom-build",
        }
    }

    pub(super) fn of(target: &cargo_metadata::Target) -> Self {
        use cargo_metadata::TargetKind as Kind;
        match target.kind.first() {
            Some(Kind::Bin) => Self::Bin,
            Some(Kind::Example) => Self::Example,
            Some(Kind::Test) => Self::Test,
            Some(Kind::Bench) => Self::Bench,
            Some(Kind::CustomBuild) => Self::BuildScript,
            _ => Self::Lib,
        }
    }
}

/// A target of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// What it is.
    pub kind: TargetKind,
    /// It can be run: a binary, or an example that is not a library.
    pub runs: bool,
    /// Its root source file.
    pub source: PathBuf,
    /// The examples of its documentation are tests.
    pub doctest: bool,
}

/// A member of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Cargo's name for exactly this package.
    pub id: String,
    pub name: String,
    pub version: String,
    /// The folder of its manifest.
    pub root: PathBuf,
    /// The manifest, read once, before anything is built.
    pub manifest: Arc<SourceFile>,
    pub default_run: Option<String>,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its root folder.
    pub root: PathBuf,
    /// The root's manifest; the same value as its package's, if it has one.
    pub manifest: Arc<SourceFile>,
    /// The user's target directory, absolute: `--target-dir`, or what cargo would take.
    pub target_dir: PathBuf,
    /// The target directory by the word of the user alone, absolute: `--target-dir`, `CARGO_TARGET_DIR` or
    /// `CARGO_BUILD_TARGET_DIR`. `None` if none of them is given, whatever the repository's configuration says.
    pub users_target_dir: Option<PathBuf>,
    /// The folder the command was given in.
    pub current_dir: PathBuf,
    /// Every member.
    pub packages: Vec<Package>,
    /// Those that a command without `-p` and `--workspace` is about: indices in `packages`.
    pub default_members: Vec<usize>,
}

impl Workspace {
    /// From what cargo answered in `current_dir`.
    pub(super) fn from_metadata(
        metadata: cargo_metadata::Metadata,
        flags: &CargoFlags,
        current_dir: &Path,
    ) -> Result<Self, Error> {
        let root = metadata.workspace_root.into_std_path_buf();
        let packages = metadata
            .packages
            .iter()
            .filter(|package| metadata.workspace_members.contains(&package.id))
            .map(Package::new)
            .collect::<Result<Vec<_>, _>>()?;
        let manifest_path = root.join("Cargo.toml");
        let manifest = match packages.iter().find(|package| package.root == root) {
            Some(package) => Arc::clone(&package.manifest),
            None => read(&manifest_path)?,
        };
        let defaults = metadata.workspace_default_members;
        let default_members = (0..packages.len())
            .filter(|index| {
                // Before cargo 1.71 it does not say; then all members are the nearest answer.
                defaults.is_missing() || defaults.iter().any(|id| id.repr == packages[*index].id)
            })
            .collect();
        let target_dir = match &flags.target_dir {
            Some(given) => current_dir.join(given),
            None => metadata.target_directory.into_std_path_buf(),
        };
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let users_target_dir = flags.target_dir.clone();
        let users_target_dir = users_target_dir
            .or_else(|| variable("CARGO_TARGET_DIR"))
            .or_else(|| variable("CARGO_BUILD_TARGET_DIR"))
            .map(|given| current_dir.join(given));
        let current_dir = current_dir.into();
        Ok(Self { root, manifest, target_dir, users_target_dir, current_dir, packages, default_members })
    }
}

impl Package {
    /// What `--package` takes for this one and no other, whatever else is in the lock file.
    pub fn spec(&self) -> String {
        // Before cargo 1.77 an id was no specification.
        let is_spec = self.id.contains("://") && !self.id.contains(' ');
        if is_spec { self.id.clone() } else { format!("{}@{}", self.name, self.version) }
    }

    fn new(package: &cargo_metadata::Package) -> Result<Self, Error> {
        let manifest_path = package.manifest_path.as_std_path();
        Ok(Self {
            id: package.id.repr.clone(),
            name: package.name.to_string(),
            version: package.version.to_string(),
            root: manifest_path.parent().unwrap_or(manifest_path).to_owned(),
            manifest: read(manifest_path)?,
            default_run: package.default_run.clone(),
            targets: package.targets.iter().map(Target::new).collect(),
        })
    }
}

impl Target {
    fn new(target: &cargo_metadata::Target) -> Self {
        Self {
            name: target.name.clone(),
            kind: TargetKind::of(target),
            runs: target.crate_types.contains(&cargo_metadata::CrateType::Bin)
                && matches!(TargetKind::of(target), TargetKind::Bin | TargetKind::Example),
            source: target.src_path.clone().into_std_path_buf(),
            doctest: target.doctest,
        }
    }
}

fn read(path: &Path) -> Result<Arc<SourceFile>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Arc::new(SourceFile {
            path: path.to_owned(),
            text: String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        })),
        Err(error) => Err(Error::new(
            ErrorKind::Manifest,
            Diagnostic::error("manifest", format!("cannot read `{}`: {error}", path.display())),
        )),
    }
}

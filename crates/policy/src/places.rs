//! What the policy must know of the machine, handed in so that it does no I/O itself.

use std::path::{Path, PathBuf};

/// The folders that variables and protected places stand for. Absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The package root: `{package}`, and what relative entries start from.
    pub package: PathBuf,
    /// The workspace root: `{workspace}`.
    pub workspace: PathBuf,
    /// Cargo's target directory: `{target-dir}`.
    pub target_dir: PathBuf,
    /// The home directory: `{home}`.
    pub home: Option<PathBuf>,
    /// Our own cache.
    pub cache: Option<PathBuf>,
    /// `CARGO_HOME`.
    pub cargo_home: Option<PathBuf>,
    /// `RUSTUP_HOME`.
    pub rustup_home: Option<PathBuf>,
    /// What the guest sees as `/`, if that is another folder. The paths of entries and accesses, and the
    /// three places at the top, are then beneath it; all others, and what is protected, are not.
    pub root: Option<PathBuf>,
}

/// What is known only when a run starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The private directory; grants on `{tmp}` are left out without one. Canonical.
    pub tmp: Option<PathBuf>,
    /// The guest's current directory. Canonical.
    pub current_dir: PathBuf,
}

/// Where a path leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The canonical absolute path of what exists of it, plus the rest as it was.
    pub target: Vec<u8>,
    /// The absolute path of every symbolic link passed on the way.
    pub links: Vec<Vec<u8>>,
    /// Whether all of it exists.
    pub exists: bool,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Resolves paths as the kernel would.
pub trait Lookup {
    /// Follows `path`, which is absolute, component by component.
    fn resolve(&self, path: &[u8]) -> Resolved;

    /// The same for a path that does not begin at what the guest sees as `/`.
    fn resolve_outside(&self, path: &[u8]) -> Resolved {
        self.resolve(path)
    }
}

impl Places {
    /// The same places with symbolic links resolved, and the links that were passed on the way to
    /// the package root.
    pub fn canonical(&self, lookup: &dyn Lookup) -> (Self, Vec<Vec<u8>>) {
        let package = lookup.resolve(bytes(&self.package));
        let inside = |path: &PathBuf| to_path(&lookup.resolve(bytes(path)).target);
        let outside = |path: &PathBuf| to_path(&lookup.resolve_outside(bytes(path)).target);
        let places = Self {
            package: to_path(&package.target),
            workspace: inside(&self.workspace),
            target_dir: inside(&self.target_dir),
            home: self.home.as_ref().map(outside),
            cache: self.cache.as_ref().map(outside),
            cargo_home: self.cargo_home.as_ref().map(outside),
            rustup_home: self.rustup_home.as_ref().map(outside),
            root: self.root.as_ref().map(outside),
        };
        (places, package.links)
    }

    /// A path of the guest's as everybody else knows it.
    pub fn outside(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }
}

/// The bytes of a path.
pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// A path of these bytes.
#[cfg(unix)]
fn to_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// A path of these bytes. Paths are text where there is no Unix.
#[cfg(not(unix))]
fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

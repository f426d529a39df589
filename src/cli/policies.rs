//! Reads the permissions of a package: its manifests, the command line, and what bounds them.

use super::ceilings::{Then, ceiling};
use crate::cargo::metadata::{Package, Workspace};
use crate::runner::fs_lookup::{Beneath, Disk};
use crate::runner::run::Subject;
use crate::runner::{Failure, PolicyOptions, cache_dir, home_dir};
use sandbox_policy as policy;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use sandbox_policy::{Loaded, Lookup, Manifests, PackagePolicy, Places};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The permissions of one package.
#[derive(Debug)]
pub(super) struct Permissions {
    /// The policy, of every target and test.
    pub(super) policy: PackagePolicy,
    /// Canonical.
    pub(super) places: Places,
    /// The manifest as shown, relative to the workspace.
    pub(super) manifest: String,
    /// What is to be said of it.
    pub(super) warnings: Vec<Diagnostic>,
}

impl Permissions {
    /// Whose permissions they are; no package's where only the command line has given them.
    pub(super) fn subject(&self, package: Option<&Package>) -> Subject<'_> {
        Subject {
            policy: &self.policy,
            places: &self.places,
            manifest: self.manifest.clone(),
            package: package.map(|package| package.name.clone()).unwrap_or_default(),
            version: package.map(|package| package.version.clone()).unwrap_or_default(),
            cargo_env: package.map(cargo_env).unwrap_or_default(),
        }
    }
}

/// What cargo sets for a program that it runs, as far as it concerns the package.
fn cargo_env(package: &Package) -> Vec<(String, String)> {
    let root = package.root.to_string_lossy().into_owned();
    let mut version = package.version.split(['.', '-', '+']);
    let mut part = || version.next().unwrap_or_default().to_owned();
    [
        ("CARGO_MANIFEST_DIR", root.clone()),
        ("CARGO_MANIFEST_PATH", format!("{root}/Cargo.toml")),
        ("CARGO_PKG_NAME", package.name.clone()),
        ("CARGO_PKG_VERSION", package.version.clone()),
        ("CARGO_PKG_VERSION_MAJOR", part()),
        ("CARGO_PKG_VERSION_MINOR", part()),
        ("CARGO_PKG_VERSION_PATCH", part()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Reads them.
///
/// # Errors
/// Every mistake of the manifests at once (78), or a ceiling that is not there (2).
pub(super) fn load(
    workspace: &Workspace,
    package: &Package,
    options: &PolicyOptions,
) -> Result<Permissions, Failure> {
    let places = places(&package.root, &workspace.root, &workspace.target_dir);
    let manifests = manifests(workspace, package, options.grants.clone());
    let ceiling = ceiling(&manifests, &places, workspace.users_target_dir.as_deref(), &options.ceilings)?;
    let Loaded { policy, warnings, .. } =
        policy::load(&manifests, &places, &Disk, ceiling.as_ref()).map_err(Failure::manifest)?;
    let manifest = &package.manifest.path;
    let manifest = manifest.strip_prefix(&workspace.root).unwrap_or(manifest).to_string_lossy().into_owned();
    Ok(Permissions { policy, places: places.canonical(&Disk).0, manifest, warnings })
}

/// Whether a changed text of the package's manifest would be valid: the policy it makes, without the
/// command line and any ceiling.
///
/// # Errors
/// Every mistake in it.
pub(super) fn validate(
    workspace: &Workspace,
    package: &Package,
    text: &str,
) -> Result<PackagePolicy, Vec<Diagnostic>> {
    let path = package.manifest.path.clone();
    let shared = (workspace.manifest.path != path).then(|| Arc::clone(&workspace.manifest));
    let changed = Arc::new(SourceFile { path, text: text.to_owned() });
    let extra = policy::CommandLineGrants::default();
    let manifests = Manifests { package: changed, workspace: shared, extra };
    let places = places(&package.root, &workspace.root, &workspace.target_dir);
    policy::load(&manifests, &places, &Disk, None).map(|loaded| loaded.policy)
}

/// The permissions that a package's manifests gave at a revision.
///
/// # Errors
/// There is no such revision, or the manifests were wrong then.
pub(super) fn load_at(
    revision: &str,
    workspace: &Workspace,
    package: &Package,
) -> Result<PackagePolicy, Failure> {
    let manifests = manifests(workspace, package, policy::CommandLineGrants::default());
    let then = Then::new(revision, &manifests)?;
    let places = then.places(&places(&package.root, &workspace.root, &workspace.target_dir));
    Ok(policy::load(&then.manifests(), &places, &Disk, None).map_err(Failure::manifest)?.policy)
}

/// The files that a package's permissions are read from, as they are now.
fn manifests(workspace: &Workspace, package: &Package, extra: policy::CommandLineGrants) -> Manifests {
    let shared = (workspace.manifest.path != package.manifest.path).then(|| Arc::clone(&workspace.manifest));
    Manifests { package: Arc::clone(&package.manifest), workspace: shared, extra }
}

/// The permissions of the command line alone, for a guest that belongs to no package.
///
/// # Errors
/// As for [`load`].
pub(super) fn without_package(
    folder: &Path,
    root: Option<&Path>,
    options: &PolicyOptions,
) -> Result<Permissions, Failure> {
    let mut places = places(folder, folder, &folder.join("target"));
    places.root = root.map(Path::to_owned);
    let lookup: &dyn Lookup = match &root {
        Some(root) => &Beneath(root),
        None => &Disk,
    };
    let nothing = SourceFile { path: folder.join("Cargo.toml"), text: String::new() };
    let manifests = Manifests { package: Arc::new(nothing), workspace: None, extra: options.grants.clone() };
    let ceiling = ceiling(&manifests, &places, None, &options.ceilings)?;
    let loaded = policy::load(&manifests, &places, lookup, ceiling.as_ref()).map_err(Failure::manifest)?;
    Ok(Permissions {
        policy: loaded.policy,
        places: places.canonical(lookup).0,
        manifest: String::new(),
        warnings: loaded.warnings,
    })
}

fn places(package: &Path, workspace: &Path, target_dir: &Path) -> Places {
    let home = home_dir();
    let folder = |variable: &str, below: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| home.as_ref().map(|home| home.join(below)))
    };
    Places {
        package: package.to_owned(),
        workspace: workspace.to_owned(),
        target_dir: target_dir.to_owned(),
        cache: cache_dir(),
        cargo_home: folder("CARGO_HOME", ".cargo"),
        rustup_home: folder("RUSTUP_HOME", ".rustup"),
        home,
        root: None,
    }
}

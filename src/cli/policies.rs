//! Reads the permissions of a package: its manifests, the command line, and what bounds them.

use super::args::PolicyArgs;
use super::options;
use crate::build::metadata::{Package, Workspace};
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::exit_status::ExitStatus;
use crate::policy::{self, Ceiling, Loaded, Lookup, Manifests, PackagePolicy, Places};
use crate::runner::places::{Beneath, Disk};
use crate::runner::{Failure, cache_dir, home_dir};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// Reads them.
///
/// # Errors
/// Every mistake of the manifests at once (78), or a ceiling that is not there (2).
pub(super) fn load(
    workspace: &Workspace,
    package: &Package,
    args: &PolicyArgs,
) -> Result<Permissions, Failure> {
    let places = places(&package.root, &workspace.root, &workspace.target_dir);
    let shared = (workspace.manifest.path != package.manifest.path).then(|| Arc::clone(&workspace.manifest));
    let manifests =
        Manifests { package: Arc::clone(&package.manifest), workspace: shared, extra: options::grants(args) };
    let ceiling = ceiling(&manifests, &places, args)?;
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
    let path = &package.manifest.path;
    let shared = (workspace.manifest.path != *path).then_some(&workspace.manifest.path);
    let manifests = Manifests {
        package: at_revision(revision, path)?,
        workspace: shared.map(|path| at_revision(revision, path)).transpose()?,
        extra: policy::CommandLineGrants::default(),
    };
    let places = places(&package.root, &workspace.root, &workspace.target_dir);
    Ok(policy::load(&manifests, &places, &Disk, None).map_err(Failure::manifest)?.policy)
}

/// The permissions of the command line alone, for a guest that belongs to no package.
///
/// # Errors
/// As for [`load`].
pub(super) fn without_package(
    folder: &Path,
    root: Option<&Path>,
    args: &PolicyArgs,
) -> Result<Permissions, Failure> {
    let mut places = places(folder, folder, &folder.join("target"));
    places.root = root.map(Path::to_owned);
    let lookup: &dyn Lookup = match &root {
        Some(root) => &Beneath(root),
        None => &Disk,
    };
    let nothing = SourceFile { path: folder.join("Cargo.toml"), text: String::new() };
    let manifests = Manifests { package: Arc::new(nothing), workspace: None, extra: options::grants(args) };
    let ceiling = ceiling(&manifests, &places, args)?;
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

/// The user's own ceiling, and those of the command line.
fn ceiling(manifests: &Manifests, places: &Places, args: &PolicyArgs) -> Result<Option<Ceiling>, Failure> {
    let mut all: Option<Ceiling> = None;
    let mut add = |ceiling: Ceiling| {
        all = Some(match all.take() {
            Some(before) => before.and(ceiling),
            None => ceiling,
        });
    };
    // One that is there and cannot be read is an error, not the absence of one.
    let absent = |path: &PathBuf| matches!(fs::symlink_metadata(path), Err(error) if matches!(error.kind(), NotFound | NotADirectory));
    if let Some(path) = users_ceiling().filter(|path| !absent(path)) {
        add(Ceiling::from_file(&read(&path)?, places, &Disk).map_err(Failure::manifest)?);
    }
    for given in &args.ceiling {
        let path = Path::new(given);
        let ceiling = if path.is_file() {
            let inside = repository(&places.canonical(&Disk).0.workspace);
            if passes(path, &inside)? {
                let inside = inside.display();
                let message = format!("the ceiling `{given}` lies inside `{inside}`, which it is to bound");
                return Err(Failure::new(
                    ExitStatus::Usage,
                    Diagnostic::error("ceiling", message)
                        .help("name a file outside of it, or a revision such as `origin/main`"),
                ));
            }
            Ceiling::from_file(&read(&fs::canonicalize(path)?)?, places, &Disk)
        } else {
            let package = at_revision(given, &manifests.package.path)?;
            let mut places = places.clone();
            let workspace = match (&manifests.workspace, workspace_then(given, &manifests.package.path)?) {
                (Some(file), _) => Some(at_revision(given, &file.path)?),
                (None, Some((folder, file))) => {
                    places.workspace = folder;
                    Some(file)
                }
                (None, None) => None,
            };
            let then = Manifests { package, workspace, extra: policy::CommandLineGrants::default() };
            Ceiling::from_manifests(&then, &places, &Disk)
        };
        add(ceiling.map_err(Failure::manifest)?);
    }
    Ok(all)
}

/// Whether a file, or a symbolic link on the way to it, lies inside a folder: then it is the word of who may
/// write there. A link `origin` in a repository can make a file even of `origin/main`.
fn passes(file: &Path, inside: &Path) -> std::io::Result<bool> {
    let way = Disk.resolve(std::path::absolute(file)?.as_os_str().as_bytes());
    let is_inside = |path: &Vec<u8>| Path::new(OsStr::from_bytes(path)).starts_with(inside);
    Ok(is_inside(&way.target) || way.links.iter().any(is_inside))
}

/// The workspace that a package belonged to in a revision: what denied there binds the package even if it
/// has left the workspace since.
fn workspace_then(revision: &str, package: &Path) -> Result<Option<(PathBuf, Arc<SourceFile>)>, Failure> {
    let Some(folder) = package.parent() else { return Ok(None) };
    let is_workspace =
        |file: &SourceFile| file.text.lines().any(|l| l.trim_start().starts_with("[workspace"));
    if is_workspace(&*at_revision(revision, package)?) {
        return Ok(None);
    }
    let repository = repository(folder);
    for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&repository)) {
        let file = at_revision(revision, &above.join("Cargo.toml"))?;
        if is_workspace(&file) {
            return Ok(Some((above.to_owned(), file)));
        }
    }
    Ok(None)
}

/// The repository that a workspace lies in, or the workspace itself where there is none.
fn repository(workspace: &Path) -> PathBuf {
    let root = workspace.ancestors().find(|folder| folder.join(".git").exists());
    root.unwrap_or(workspace).to_owned()
}

/// `$XDG_CONFIG_HOME/cargo-sandbox/ceiling.toml`, or below `~/.config`.
fn users_ceiling() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| home_dir().map(|home| home.join(".config")))?;
    Some(base.join("cargo-sandbox/ceiling.toml"))
}

fn read(path: &Path) -> Result<Arc<SourceFile>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the ceiling `{}`: {error}", path.display());
        Failure::new(ExitStatus::Manifest, Diagnostic::error("ceiling", message))
    })?;
    Ok(Arc::new(SourceFile { path: path.to_owned(), text }))
}

/// A manifest as it was in a revision. One that was not there granted nothing.
///
/// # Errors
/// There is no git, no repository or no such revision.
pub(super) fn at_revision(revision: &str, path: &Path) -> Result<Arc<SourceFile>, Failure> {
    let wrong = |why: String| {
        Failure::new(
            ExitStatus::Usage,
            Diagnostic::error("revision", format!("`{revision}` is neither a file nor a revision: {why}")),
        )
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    // A revision that looks like a flag is none.
    if revision.starts_with('-') {
        return Err(wrong("it begins with `-`".to_owned()));
    }
    let commit = git(
        folder,
        &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")],
    )
    .map_err(|error| wrong(error.to_string()))?
    .ok_or_else(|| wrong("git does not know it here".to_owned()))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = git(folder, &["cat-file", "blob", &format!("{commit}:./{name}")])
        .map_err(|error| wrong(error.to_string()))?;
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Ok(Arc::new(SourceFile { path: PathBuf::from(format!("{revision}:{}", path.display())), text }))
}

/// What a git command prints, or `None` if it fails.
fn git(folder: &Path, args: &[&str]) -> std::io::Result<Option<Vec<u8>>> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let output = Command::new("git").arg("-C").arg(folder).args(args).stdin(Stdio::null()).output()?;
    Ok(output.status.success().then_some(output.stdout))
}

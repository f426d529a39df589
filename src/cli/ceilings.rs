//! What bounds the manifests: the user's own ceiling, files and revisions.
//!
//! A ceiling bounds whoever wrote the repository, so nothing of the repository may say what it means: its variables
//! stand for places that the user or the file system names, its manifests are read as TOML, and git is asked in the
//! repository that the package really lies in.

use super::vcs::git;
use crate::exit_status::ExitStatus;
use crate::runner::Failure;
use crate::runner::fs_lookup::Disk;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use sandbox_policy::{Ceiling, CommandLineGrants, Lookup, Manifests, Membership, Places};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The user's own ceiling, and those of the command line. `target_dir` is the target directory by the user's word
/// alone.
///
/// # Errors
/// One is not there (2), has mistakes (78), or cannot bound what it is to bound (2).
pub(super) fn ceiling(
    manifests: &Manifests,
    places: &Places,
    target_dir: Option<&Path>,
    given: &[OsString],
) -> Result<Option<Ceiling>, Failure> {
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
        let bounds = bounds(places, target_dir)?;
        add(Ceiling::from_file(&read(&path)?, &bounds, &Disk).map_err(Failure::manifest)?);
    }
    for given in given {
        let path = Path::new(given);
        let bounds = bounds(places, target_dir)?;
        let ceiling = if path.is_file() {
            let now = places.canonical(&Disk).0;
            for inside in [now.workspace, now.package].map(|folder| repository(&folder)) {
                if passes(path, &inside)? {
                    let inside = inside.display();
                    return Err(wrong(format!(
                        "the ceiling `{}` lies inside `{inside}`, which it is to bound",
                        path.display()
                    ))
                    .with_help("name a file outside of it, or a revision such as `origin/main`"));
                }
            }
            Ceiling::from_file(&read(&fs::canonicalize(path)?)?, &bounds, &Disk)
        } else {
            let then = Then::new(&given.to_string_lossy(), manifests)?;
            Ceiling::from_manifests(&then.manifests(), &then.places(&bounds), &Disk)
        };
        add(ceiling.map_err(Failure::manifest)?);
    }
    Ok(all)
}

fn wrong(message: String) -> Failure {
    Failure::new(ExitStatus::Usage, Diagnostic::error("ceiling", message))
}

/// What the variables of a ceiling stand for. The repository chooses none of it: its configuration can move the target
/// directory, its manifests the workspace, and its links anything.
///
/// # Errors
/// Package or workspace are only reached by a link that leads out of their repository.
fn bounds(places: &Places, target_dir: Option<&Path>) -> Result<Places, Failure> {
    let mut bounds = places.canonical(&Disk).0;
    for place in [&places.package, &places.workspace] {
        stays(place, &bounds.workspace)?;
    }
    let around = git_root(&bounds.package).unwrap_or(&bounds.workspace);
    let around = if bounds.package.starts_with(around) { around } else { &bounds.package }.to_owned();
    if !bounds.workspace.starts_with(&around) {
        // A manifest that is taken out of the way makes what lies outside of the repository its workspace.
        bounds.workspace = around.clone();
    }
    let named = target_dir.map(Path::to_owned).or_else(|| configured_target_dir(places, &around));
    bounds.target_dir = match named {
        Some(folder) => {
            let way = Disk.resolve(folder.as_os_str().as_bytes());
            let ours = |link: &Vec<u8>| path_of(link).starts_with(&around);
            if way.links.iter().any(ours) { folder } else { path_of(&way.target).to_owned() }
        }
        // Not where a link of this name leads.
        None => bounds.workspace.join("target"),
    };
    Ok(bounds)
}

/// `build.target-dir` of the user's own configuration, in cargo's home.
fn configured_target_dir(places: &Places, repository: &Path) -> Option<PathBuf> {
    let home = places.cargo_home.as_ref()?;
    let file =
        ["config", "config.toml"].map(|name| home.join(name)).into_iter().find(|file| file.is_file())?;
    if passes(&file, repository).unwrap_or(true) {
        return None;
    }
    let folder = crate::cargo::config::target_dir(&fs::read_to_string(file).ok()?)?;
    Some(home.parent()?.join(folder))
}

/// Whether a place is where it seems to be: a link in a repository, or in a workspace, that leads out of it would let
/// the repository choose what a ceiling speaks of.
fn stays(place: &Path, workspace: &Path) -> Result<(), Failure> {
    let way = Disk.resolve(place.as_os_str().as_bytes());
    for link in way.links.iter().map(|link| path_of(link)) {
        let above = || link.ancestors().skip(1);
        let root = above().find(|folder| folder.join(".git").exists());
        let root = root.or_else(|| above().find(|folder| *folder == workspace));
        if let Some(root) = root.filter(|root| !path_of(&way.target).starts_with(root)) {
            return Err(wrong(format!(
                "`{}` leaves `{}` by the link `{}`, so a ceiling cannot bound it",
                place.display(),
                root.display(),
                link.display()
            )));
        }
    }
    Ok(())
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Whether a file, or a symbolic link on the way to it, lies inside a folder: then it is the word of who may
/// write there. A link `origin` in a repository can make a file even of `origin/main`.
fn passes(file: &Path, inside: &Path) -> std::io::Result<bool> {
    let way = Disk.resolve(std::path::absolute(file)?.as_os_str().as_bytes());
    let is_inside = |path: &Vec<u8>| path_of(path).starts_with(inside);
    Ok(is_inside(&way.target) || way.links.iter().any(is_inside))
}

/// The repository that a folder lies in, or the folder itself where there is none.
fn repository(folder: &Path) -> PathBuf {
    git_root(folder).unwrap_or(folder).to_owned()
}

fn git_root(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join(".git").exists())
}

/// `$XDG_CONFIG_HOME/cargo-sandbox/ceiling.toml`, or below `~/.config`.
fn users_ceiling() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| crate::runner::home_dir().map(|home| home.join(".config")))?;
    Some(base.join("cargo-sandbox/ceiling.toml"))
}

fn read(path: &Path) -> Result<Arc<SourceFile>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the ceiling `{}`: {error}", path.display());
        Failure::new(ExitStatus::Manifest, Diagnostic::error("ceiling", message))
    })?;
    Ok(Arc::new(SourceFile { path: path.to_owned(), text }))
}

/// The manifests of a package as they were in a revision.
pub(super) struct Then {
    package: Arc<SourceFile>,
    /// The workspace that the package belonged to then, whatever it says now, and its folder.
    workspace: Option<(PathBuf, Arc<SourceFile>)>,
}

impl Then {
    /// Reads them. A package that was not there, or another one in its place, was granted nothing.
    ///
    /// # Errors
    /// There is no git, no repository or no such revision (2), or a manifest on the way was wrong then (78).
    pub(super) fn new(revision: &str, now: &Manifests) -> Result<Self, Failure> {
        let manifest = &now.package.path;
        let folder = fs::canonicalize(manifest.parent().unwrap_or(Path::new("/")))?;
        let tree = Tree::new(revision, &folder)?;
        if let Some(workspace) = &now.workspace
            && !fs::canonicalize(workspace.path.parent().unwrap_or(Path::new("/")))?.starts_with(&tree.root)
        {
            return Err(tree.wrong("the workspace lies outside of the package's repository"));
        }
        let name = Path::new(manifest.file_name().unwrap_or(OsStr::new("Cargo.toml")));
        let mut package = tree.manifest(&folder.join(name))?;
        let said = membership(&package)?;
        if !package.text.is_empty() && said.name != Membership::read(&now.package).unwrap_or_default().name {
            let path = PathBuf::from(format!("{}, which was another package's", package.path.display()));
            package = Arc::new(SourceFile { path, text: String::new() });
        }
        let workspace = tree.workspace(&folder, said)?;
        Ok(Self { package, workspace })
    }

    /// As they are read.
    pub(super) fn manifests(&self) -> Manifests {
        Manifests {
            package: Arc::clone(&self.package),
            workspace: self.workspace.as_ref().map(|(_, file)| Arc::clone(file)),
            extra: CommandLineGrants::default(),
        }
    }

    /// The places that they speak of: the workspace is the one of then.
    pub(super) fn places(&self, now: &Places) -> Places {
        let mut places = now.clone();
        match &self.workspace {
            Some((folder, _)) => places.workspace.clone_from(folder),
            None => places.workspace.clone_from(&now.package),
        }
        places
    }
}

fn membership(file: &Arc<SourceFile>) -> Result<Membership, Failure> {
    Membership::read(file).map_err(|mistake| Failure::manifest(vec![mistake]))
}

/// The files of one revision of a repository.
struct Tree<'a> {
    revision: &'a str,
    /// The folder with `.git` in it. A folder of the tree can be made to look like a repository of its own.
    root: PathBuf,
    commit: String,
}

impl<'a> Tree<'a> {
    fn new(revision: &'a str, folder: &Path) -> Result<Self, Failure> {
        let mut tree = Self { revision, root: repository(folder), commit: String::new() };
        // A revision that looks like a flag is none.
        if revision.starts_with('-') {
            return Err(tree.wrong("it begins with `-`"));
        }
        let commit = tree.resolve(format!("{revision}^{{commit}}"))?;
        tree.commit = commit.ok_or_else(|| tree.wrong("git does not know it here"))?;
        Ok(tree)
    }

    fn wrong(&self, why: &str) -> Failure {
        let message = format!("`{}` is neither a file nor a revision: {why}", self.revision);
        Failure::new(ExitStatus::Usage, Diagnostic::error("revision", message))
    }

    fn ask(&self, args: &[OsString]) -> Result<Option<Vec<u8>>, Failure> {
        let output = git(&self.root).args(args).output().map_err(|error| self.wrong(&error.to_string()))?;
        Ok(output.status.success().then_some(output.stdout))
    }

    /// The name of the object that this means, if there is one.
    fn resolve(&self, what: impl AsRef<OsStr>) -> Result<Option<String>, Failure> {
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options"].map(OsString::from);
        let object = self.ask(&[&words[..], &[what.as_ref().to_owned()]].concat())?;
        Ok(object.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// A manifest as it was. One that was not there granted nothing.
    fn manifest(&self, path: &Path) -> Result<Arc<SourceFile>, Failure> {
        let shown = PathBuf::from(format!("{}:{}", self.revision, path.display()));
        let below =
            path.strip_prefix(&self.root).map_err(|_| self.wrong("it lies outside of the repository"))?;
        let mut what = OsString::from(format!("{}:./", self.commit));
        what.push(below);
        let Some(object) = self.resolve(what)? else {
            return Ok(Arc::new(SourceFile { path: shown, text: String::new() }));
        };
        let text = self
            .ask(&["cat-file", "blob", &object].map(OsString::from))?
            .and_then(|b| String::from_utf8(b).ok());
        let unreadable = || self.wrong(&format!("`{}` cannot be read as a manifest", shown.display()));
        Ok(Arc::new(SourceFile { text: text.ok_or_else(unreadable)?, path: shown.clone() }))
    }

    /// The workspace of a package, found as cargo finds it.
    fn workspace(
        &self,
        package: &Path,
        said: Membership,
    ) -> Result<Option<(PathBuf, Arc<SourceFile>)>, Failure> {
        if said.root.is_some() {
            return Ok(None);
        }
        if let Some(pointer) = said.pointer {
            return self.pointed(package, &pointer).map(Some);
        }
        for folder in package.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
            let file = self.manifest(&folder.join("Cargo.toml"))?;
            let said = membership(&file)?;
            match (said.root, said.pointer) {
                (Some(root), _) if root.leaves_out(folder, package) => {}
                (Some(_), _) => return Ok(Some((folder.to_owned(), file))),
                (None, Some(pointer)) => return self.pointed(folder, &pointer).map(Some),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    fn pointed(&self, from: &Path, pointer: &str) -> Result<(PathBuf, Arc<SourceFile>), Failure> {
        let mut folder = from.to_owned();
        for part in Path::new(pointer).components() {
            match part {
                Component::Normal(name) => folder.push(name),
                Component::ParentDir => drop(folder.pop()),
                Component::RootDir | Component::Prefix(_) => folder = PathBuf::from("/"),
                Component::CurDir => {}
            }
        }
        let file = self.manifest(&folder.join("Cargo.toml"))?;
        if membership(&file)?.root.is_none() {
            return Err(self.wrong(&format!("`{}` was no workspace then", file.path.display())));
        }
        Ok((folder, file))
    }
}

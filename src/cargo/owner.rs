//! From a guest's frame to the package that its code comes from.

use super::command::CargoCommand;
use super::metadata::Package;
use super::{CargoFlags, Error, WASIP1};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A package that may be part of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub version: String,
    /// The folder of its manifest.
    pub root: PathBuf,
    /// Names of its crates as in symbols, with underscores: library, binaries, examples, tests.
    pub crates: Vec<String>,
}

/// Every package of the workspace and its dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages(Vec<Known>);

/// The few fields of `cargo metadata` that are needed: its whole answer can be megabytes.
#[derive(Deserialize)]
struct Answer {
    packages: Vec<AnsweredPackage>,
}

#[derive(Deserialize)]
struct AnsweredPackage {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<AnsweredTarget>,
}

#[derive(Deserialize)]
struct AnsweredTarget {
    name: String,
}

impl Packages {
    /// Asks cargo for the packages of the lock file as it is after a build, without the network.
    ///
    /// # Errors
    /// Cargo fails: some package is not there, or the lock file is out of date.
    pub fn load(flags: &CargoFlags, current_dir: &Path) -> Result<Self, Error> {
        let mut args = Vec::new();
        flags.common(&mut args);
        flags.feature_flags(&mut args);
        let command = CargoCommand::new("metadata")
            .args(["--format-version", "1", "--filter-platform", WASIP1])
            .args(&args)
            .args((!flags.is_offline()).then_some("--offline"))
            .current_dir(current_dir);
        let answer: Answer = command.parse(&command.answer()?)?;
        Ok(Self::new(answer.packages.into_iter().map(|package| Known {
            root: package.manifest_path.parent().unwrap_or(Path::new("")).to_owned(),
            crates: package.targets.iter().map(|target| target.name.replace('-', "_")).collect(),
            name: package.name,
            version: package.version,
        })))
    }

    /// The given packages.
    pub fn new(packages: impl IntoIterator<Item = Known>) -> Self {
        Self(packages.into_iter().collect())
    }

    /// The same with further crates that a package of the workspace consists of.
    #[must_use]
    pub fn with_crates(mut self, package: &Package, crates: &[&str]) -> Self {
        let place = self.0.iter().position(|known| known.root == package.root).unwrap_or_else(|| {
            let (name, version) = (package.name.clone(), package.version.clone());
            self.0.push(Known { name, version, root: package.root.clone(), crates: Vec::new() });
            self.0.len() - 1
        });
        self.0[place].crates.extend(crates.iter().map(|name| (*name).to_owned()));
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.0.iter()
    }

    /// The package that a frame's code comes from. The crate's name decides; where several packages
    /// have a crate of that name, or none has, the source file does. Both are the guest's word.
    /// `None` for the standard library and for what no package explains.
    pub fn owner_of(&self, file: &str, krate: &str) -> Option<&Known> {
        let named: Vec<&Known> =
            self.0.iter().filter(|package| package.crates.iter().any(|name| name == krate)).collect();
        match named[..] {
            [] if krate.is_empty() => nearest(self.0.iter(), Path::new(file)),
            // A crate that no package has is not made one by where its source lies.
            [] => None,
            [package] => Some(package),
            _ => nearest(named.into_iter(), Path::new(file)),
        }
    }
}

/// Name and version of a package of a registry, told by where cargo unpacks it:
/// `…/registry/src/INDEX/NAME-VERSION/src/lib.rs`. For where cargo cannot be asked: it names no package
/// of a workspace if a dependency of any member is not there.
pub fn of_registry(file: &str) -> Option<(&str, &str)> {
    let (_, below) = file.split_once("/registry/src/")?;
    let folder = below.split('/').nth(1)?;
    let version = folder.match_indices('-').map(|(at, _)| at).find(|at| {
        let mut parts = folder[at + 1..].split('.');
        parts.next().is_some_and(|major| !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit()))
            && parts.next().is_some()
    })?;
    Some((&folder[..version], &folder[version + 1..]))
}

/// The package whose folder holds the file; of nested ones, the innermost.
fn nearest<'a>(packages: impl Iterator<Item = &'a Known>, file: &Path) -> Option<&'a Known> {
    packages
        .filter(|package| file.starts_with(&package.root))
        .max_by_key(|package| package.root.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, version: &str, root: &str) -> Known {
        Known {
            name: name.into(),
            version: version.into(),
            root: root.into(),
            crates: vec![name.replace('-', "_")],
        }
    }

    #[test]
    fn a_package_of_a_registry_is_told_by_its_folder() {
        let of = |folder: &str| {
            of_registry(&format!("/h/.cargo/registry/src/index-0a1b/{folder}/src/x.rs"))
                .map(|(name, version)| format!("{name} {version}"))
        };
        assert_eq!(of("insta-1.49.0").as_deref(), Some("insta 1.49.0"));
        assert_eq!(of("base64-url-3.0.0-rc.1+x").as_deref(), Some("base64-url 3.0.0-rc.1+x"));
        assert_eq!(of("md-5-0.10.6").as_deref(), Some("md-5 0.10.6"));
        assert_eq!(of("nothing"), None);
        assert_eq!(of_registry("/h/src/main.rs"), None);
    }

    #[test]
    fn the_crate_name_decides_and_the_path_where_it_cannot() {
        let registry = "/home/a/.cargo/registry/src/index";
        let packages = Packages::new([
            known("top", "0.1.0", "/home/a/top"),
            known("mid-crate", "0.2.0", "/home/a/top/mid"),
            known("rand", "0.8.5", &format!("{registry}/rand-0.8.5")),
            known("rand", "0.9.0", &format!("{registry}/rand-0.9.0")),
        ]);
        let name = |file: &str, krate: &str| {
            packages.owner_of(file, krate).map(|package| (package.name.as_str(), package.version.as_str()))
        };
        assert_eq!(name("/home/a/top/mid/src/lib.rs", "mid_crate"), Some(("mid-crate", "0.2.0")));
        // Code that a build script generated lies in somebody else's folder.
        assert_eq!(name("/home/a/top/target/out/x.rs", "mid_crate"), Some(("mid-crate", "0.2.0")));
        assert_eq!(name(&format!("{registry}/rand-0.9.0/src/lib.rs"), "rand"), Some(("rand", "0.9.0")));
        assert_eq!(name("/elsewhere/lib.rs", "rand"), None);
        assert_eq!(name("/home/a/top/mid/src/exported.rs", ""), Some(("mid-crate", "0.2.0")));
        assert_eq!(name("/rustc/8bab26f4f68e/library/std/src/fs.rs", "std"), None);
        assert_eq!(name("/home/a/top/src/main.rs", "unknown"), None);
    }
}

//! Which packages and which program a command is about, as cargo decides it.

use super::metadata::{Package, Target, TargetKind, Workspace};
use super::{CargoFlags, Error, ErrorKind};
use sandbox_policy::diagnostic::Diagnostic;

/// The program that `sandbox-run` was told to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<'a> {
    /// Neither flag was given.
    Default,
    /// `--bin NAME`
    Bin(&'a str),
    /// `--example NAME`
    Example(&'a str),
}

/// The selected packages: `-p`, `--workspace`, `--exclude`, or those of the current directory.
///
/// # Errors
/// [`ErrorKind::Usage`]: a name matches no member.
pub fn packages<'a>(workspace: &'a Workspace, flags: &CargoFlags) -> Result<Vec<&'a Package>, Error> {
    let matching = |spec: &str| -> Result<Vec<&'a Package>, Error> {
        let found: Vec<_> = workspace.packages.iter().filter(|package| is_meant(spec, package)).collect();
        if found.is_empty() {
            let names = workspace.packages.iter().map(|package| package.name.as_str());
            let message = format!("package `{spec}` not found in workspace `{}`", workspace.root.display());
            return Err(usage(message, spec, names));
        }
        Ok(found)
    };
    if !flags.packages.is_empty() && !flags.workspace {
        let mut found = Vec::new();
        for spec in &flags.packages {
            for package in matching(spec)? {
                if !found.contains(&package) {
                    found.push(package);
                }
            }
        }
        return Ok(found);
    }
    if !flags.workspace {
        if !flags.exclude.is_empty() {
            let message = "`--exclude` can only be used together with `--workspace`";
            return Err(Error::new(ErrorKind::Usage, Diagnostic::error("", message)));
        }
        return Ok(workspace.default_members.iter().map(|index| &workspace.packages[*index]).collect());
    }
    // Cargo only warns of an exclusion that excludes nothing.
    let excluded = |package: &&Package| flags.exclude.iter().any(|spec| is_meant(spec, package));
    Ok(workspace.packages.iter().filter(|package| !excluded(package)).collect())
}

/// The program to run, as `cargo run` chooses it.
///
/// # Errors
/// [`ErrorKind::Usage`]: there is none, no such one, or several and none was chosen.
pub fn program<'a>(
    workspace: &'a Workspace,
    flags: &CargoFlags,
    chosen: Chosen<'_>,
) -> Result<(&'a Package, &'a Target), Error> {
    let packages = packages(workspace, flags)?;
    let of = |kind: TargetKind| {
        packages.iter().flat_map(move |package| {
            package.targets.iter().filter(move |target| target.kind == kind).map(|target| (*package, target))
        })
    };
    let (kind, name) = match chosen {
        Chosen::Bin(name) => (TargetKind::Bin, name),
        Chosen::Example(name) => (TargetKind::Example, name),
        Chosen::Default => {
            let mut defaults = packages.iter().filter_map(|package| package.default_run.as_deref());
            match (defaults.next(), defaults.next()) {
                (Some(name), None) => (TargetKind::Bin, name),
                _ => return only_bin(&packages, of(TargetKind::Bin).collect()),
            }
        }
    };
    let found: Vec<_> = of(kind).filter(|(_, target)| target.name == name).collect();
    match found[..] {
        [] => {
            let what = if kind == TargetKind::Bin { "binary" } else { "example" };
            Err(usage(
                format!("no {what} target named `{name}`{}", in_packages(&packages)),
                name,
                of(kind).map(|(_, target)| target.name.as_str()),
            ))
        }
        [(_, target)] if !target.runs => Err(Error::new(
            ErrorKind::Usage,
            Diagnostic::error("", format!("example `{name}` is a library and cannot be run")),
        )),
        [found] => Ok(found),
        [..] => {
            let packages: Vec<&str> = found.iter().map(|(package, _)| package.name.as_str()).collect();
            let diagnostic = Diagnostic::error("", format!("several packages have a target named `{name}`"))
                .note(format!("in: {}", listed(&packages)))
                .help("choose the package with `-p`");
            Err(Error::new(ErrorKind::Usage, diagnostic))
        }
    }
}

fn only_bin<'a>(
    packages: &[&Package],
    bins: Vec<(&'a Package, &'a Target)>,
) -> Result<(&'a Package, &'a Target), Error> {
    match bins[..] {
        [bin] => Ok(bin),
        [] => {
            let examples: Vec<&str> = packages
                .iter()
                .flat_map(|package| &package.targets)
                .filter(|target| target.kind == TargetKind::Example && target.runs)
                .map(|target| target.name.as_str())
                .collect();
            let mut diagnostic =
                Diagnostic::error("", format!("there is no binary to run{}", in_packages(packages)))
                    .note("a library alone cannot be run; `cargo sandbox-test` runs its tests");
            if !examples.is_empty() {
                diagnostic =
                    diagnostic.help(format!("choose an example with `--example`: {}", listed(&examples)));
            }
            Err(Error::new(ErrorKind::Usage, diagnostic))
        }
        [..] => {
            let names: Vec<&str> = bins.iter().map(|(_, target)| target.name.as_str()).collect();
            let diagnostic = Diagnostic::error("", "several binaries and none chosen")
                .note(format!("available binaries: {}", listed(&names)))
                .help("choose one with `--bin`, or set `default-run` in Cargo.toml");
            Err(Error::new(ErrorKind::Usage, diagnostic))
        }
    }
}

/// ` in package `a``, or nothing where that would not help.
fn in_packages(packages: &[&Package]) -> String {
    match packages {
        [package] => format!(" in package `{}`", package.name),
        _ => String::new(),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// An error that names what was probably meant.
fn usage<'a>(message: String, given: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let mut diagnostic = Diagnostic::error("", message);
    let names: Vec<&str> = names.collect();
    if let Some(near) = similar::get_close_matches(given, &names, 1, 0.6).first() {
        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
    } else if !names.is_empty() && names.len() <= 20 {
        diagnostic = diagnostic.note(format!("available: {}", listed(&names)));
    }
    Error::new(ErrorKind::Usage, diagnostic)
}

/// Whether a package ID specification means this package: a name with `*` and `?`, `name@1.2` (any
/// 1.2.x), or a URL as cargo prints it.
fn is_meant(spec: &str, package: &Package) -> bool {
    if spec.contains("://") {
        let url = |id: &str| id.split_once('#').map_or(id, |(url, _)| url).to_owned();
        let (given, id) = (spec.trim_start_matches("path+"), package.id.trim_start_matches("path+"));
        return given == id || (!given.contains('#') && url(id) == given);
    }
    let (name, version) = match spec.split_once(['@', ':']) {
        Some((name, version)) => (name, Some(version)),
        None => (spec, None),
    };
    let same_version = version.is_none_or(|version| {
        package
            .version
            .strip_prefix(version)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
    });
    same_version && matches(name.as_bytes(), package.name.as_bytes())
}

/// `*` stands for any bytes, `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, shorter)| matches(pattern, shorter))
        }
        ([b'?', pattern @ ..], [_, name @ ..]) => matches(pattern, name),
        ([first, pattern @ ..], [letter, name @ ..]) if first == letter => matches(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_policy::diagnostic::SourceFile;
    use std::sync::Arc;

    fn workspace() -> Workspace {
        let manifest = Arc::new(SourceFile { path: "/ws/Cargo.toml".into(), text: String::new() });
        let package = |name: &str, default_run: Option<&str>, targets: &[(&str, TargetKind, bool)]| Package {
            id: format!("path+file:///ws/{name}#{name}@1.2.3"),
            name: name.into(),
            version: "1.2.3".into(),
            root: format!("/ws/{name}").into(),
            manifest: Arc::clone(&manifest),
            default_run: default_run.map(str::to_owned),
            targets: targets
                .iter()
                .map(|(name, kind, runs)| Target {
                    name: (*name).into(),
                    kind: *kind,
                    runs: *runs,
                    source: "/ws/x.rs".into(),
                    doctest: *kind == Lib,
                })
                .collect(),
        };
        use TargetKind::{Bin, Example, Lib};
        let packages = vec![
            package("one", None, &[("one", Lib, false), ("one", Bin, true)]),
            package("two", None, &[("first", Bin, true), ("second", Bin, true)]),
            package(
                "library",
                None,
                &[("library", Lib, false), ("show", Example, true), ("so", Example, false)],
            ),
            package("chosen", Some("b"), &[("a", Bin, true), ("b", Bin, true)]),
        ];
        Workspace {
            root: "/ws".into(),
            manifest,
            target_dir: "/ws/target".into(),
            users_target_dir: None,
            current_dir: "/ws".into(),
            packages,
            default_members: vec![0],
        }
    }

    fn of(packages: &[&str]) -> CargoFlags {
        CargoFlags {
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
            ..CargoFlags::default()
        }
    }

    fn names(flags: &CargoFlags) -> Vec<String> {
        packages(&workspace(), flags).unwrap().iter().map(|package| package.name.clone()).collect()
    }

    fn complaint(flags: &CargoFlags, chosen: Chosen<'_>) -> String {
        let error = program(&workspace(), flags, chosen).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        let diagnostic = error.diagnostic.unwrap();
        let help = diagnostic.help.iter().map(|help| help.message.clone());
        [diagnostic.message.clone()]
            .into_iter()
            .chain(diagnostic.notes.clone())
            .chain(help)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn packages_are_selected_as_by_cargo() {
        assert_eq!(names(&of(&[])), ["one"]);
        assert_eq!(names(&of(&["two", "one", "two"])), ["two", "one"]);
        assert_eq!(names(&of(&["*o*"])), ["one", "two", "chosen"]);
        assert_eq!(names(&of(&["one@1.2"])), ["one"]);
        assert_eq!(names(&of(&["path+file:///ws/two#two@1.2.3"])), ["two"]);
        assert_eq!(names(&of(&["file:///ws/two"])), ["two"]);
        assert!(packages(&workspace(), &of(&["one@1.20"])).is_err());
        let all = CargoFlags { workspace: true, exclude: vec!["t?o".into()], ..CargoFlags::default() };
        assert_eq!(names(&all), ["one", "library", "chosen"]);
    }

    #[test]
    fn a_program_is_chosen_as_by_cargo_run() {
        let workspace = workspace();
        let name =
            |packages: &[&str], chosen| program(&workspace, &of(packages), chosen).unwrap().1.name.clone();
        assert_eq!(name(&[], Chosen::Default), "one");
        assert_eq!(name(&["chosen"], Chosen::Default), "b");
        assert_eq!(name(&["chosen"], Chosen::Bin("a")), "a");
        assert_eq!(name(&["library"], Chosen::Example("show")), "show");
    }

    #[test]
    fn what_cannot_be_run_is_said_with_what_can() {
        assert_eq!(
            complaint(&of(&["two"]), Chosen::Default),
            "several binaries and none chosen\navailable binaries: `first`, `second`\nchoose one with `--bin`, or set `default-run` in Cargo.toml"
        );
        assert_eq!(
            complaint(&of(&["library"]), Chosen::Default),
            "there is no binary to run in package `library`\na library alone cannot be run; `cargo sandbox-test` runs its tests\nchoose an example with `--example`: `show`"
        );
        assert_eq!(
            complaint(&of(&["two"]), Chosen::Bin("frist")),
            "no binary target named `frist` in package `two`\ndid you mean `first`?"
        );
        assert_eq!(
            complaint(&of(&["library"]), Chosen::Example("so")),
            "example `so` is a library and cannot be run"
        );
        assert_eq!(
            complaint(&of(&["libary"]), Chosen::Default),
            "package `libary` not found in workspace `/ws`\ndid you mean `library`?"
        );
    }
}

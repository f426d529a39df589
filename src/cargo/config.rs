//! Cargo's configuration, as far as it names a program that we stand before: `cargo config get` is
//! unstable. It is only read when something has to be built.

use super::CargoFlags;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Files that include one another are followed to this depth.
const DEEPEST_INCLUDE: usize = 8;

/// The workspace wrapper that the user has set: `RUSTC_WORKSPACE_WRAPPER`, then `--config`, then
/// `CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER`, then configuration files from the current directory
/// outwards and cargo's home, as cargo itself searches for it.
pub fn workspace_wrapper(flags: &CargoFlags, current_dir: &Path) -> Option<OsString> {
    program("RUSTC_WORKSPACE_WRAPPER", "rustc-workspace-wrapper", flags, current_dir)
}

/// The compiler that cargo runs; `rustc` on `PATH` if nothing is set.
pub fn rustc(flags: &CargoFlags, current_dir: &Path) -> OsString {
    program("RUSTC", "rustc", flags, current_dir).unwrap_or_else(|| "rustc".into())
}

/// `build.target-dir` in the text of one configuration file, as it is written there.
pub fn target_dir(text: &str) -> Option<PathBuf> {
    build_value(DeTable::parse(text).ok()?.get_ref(), "target-dir").map(PathBuf::from)
}

/// Whether the text of a configuration file may speak of other files: `include`, or no TOML.
pub(super) fn may_include(text: &str) -> bool {
    DeTable::parse(text).map_or(true, |document| document.get_ref().contains_key("include"))
}

/// The documentation tool that cargo runs; `rustdoc` on `PATH` if nothing is set.
pub fn rustdoc(flags: &CargoFlags, current_dir: &Path) -> OsString {
    program("RUSTDOC", "rustdoc", flags, current_dir).unwrap_or_else(|| "rustdoc".into())
}

fn program(variable: &str, key: &str, flags: &CargoFlags, current_dir: &Path) -> Option<OsString> {
    // An empty value switches it off.
    let non_empty = |value: OsString| (!value.is_empty()).then_some(value);
    if let Some(value) = std::env::var_os(variable) {
        return non_empty(resolved(&value.to_string_lossy(), current_dir));
    }
    for given in flags.config.iter().rev() {
        if let Some(value) = from_flag(given, key, current_dir) {
            return non_empty(value);
        }
    }
    let variable = format!("CARGO_BUILD_{}", key.replace('-', "_").to_uppercase());
    if let Some(value) = std::env::var_os(variable) {
        return non_empty(resolved(&value.to_string_lossy(), current_dir));
    }
    files(current_dir, cargo_home()).iter().find_map(|file| from_file(file, key, 0)).and_then(non_empty)
}

/// `--config KEY=VALUE` or `--config FILE`.
fn from_flag(given: &str, key: &str, current_dir: &Path) -> Option<OsString> {
    let path = current_dir.join(given);
    if path.is_file() {
        return from_file(&path, key, 0);
    }
    Some(resolved(build_value(DeTable::parse(given).ok()?.get_ref(), key)?, current_dir))
}

/// Configuration files from the innermost to the outermost folder, then cargo's home.
fn files(current_dir: &Path, cargo_home: Option<PathBuf>) -> Vec<PathBuf> {
    let folders = current_dir.ancestors().map(|folder| folder.join(".cargo"));
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders.chain(cargo_home) {
        // The name without an extension is older and wins where both are there, as in cargo.
        let found =
            [folder.join("config"), folder.join("config.toml")].into_iter().find(|file| file.is_file());
        if let Some(found) = found.filter(|found| !files.contains(found)) {
            files.push(found);
        }
    }
    files
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

fn from_file(path: &Path, key: &str, depth: usize) -> Option<OsString> {
    let text = std::fs::read_to_string(path).ok()?;
    let document = DeTable::parse(&text).ok()?;
    let table = document.get_ref();
    if let Some(value) = build_value(table, key) {
        // Relative to the folder that holds `.cargo`.
        let base = path.parent().and_then(Path::parent).unwrap_or(path);
        return Some(resolved(value, base));
    }
    if depth == DEEPEST_INCLUDE {
        return None;
    }
    // Later files of `include` win over earlier ones, and the including file over all.
    let folder = path.parent().unwrap_or(path);
    includes(table.get("include")?.get_ref())
        .iter()
        .rev()
        .find_map(|file| from_file(&folder.join(file), key, depth + 1))
}

fn includes(value: &DeValue<'_>) -> Vec<String> {
    match value {
        DeValue::Array(values) => values.iter().flat_map(|value| includes(value.get_ref())).collect(),
        DeValue::Table(table) => table
            .get("path")
            .and_then(|path| path.get_ref().as_str())
            .map(str::to_owned)
            .into_iter()
            .collect(),
        _ => value.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn build_value<'a>(table: &'a DeTable<'_>, key: &str) -> Option<&'a str> {
    table.get("build")?.get_ref().get(key)?.get_ref().as_str()
}

/// A name is looked up on `PATH`; anything with a slash is a path relative to `base`.
fn resolved(program: &str, base: &Path) -> OsString {
    if program.contains('/') { base.join(program).into_os_string() } else { program.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const KEY: &str = "rustc-workspace-wrapper";

    #[test]
    fn the_innermost_file_wins_and_paths_are_relative_to_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let inner = root.join("a/b");
        fs::create_dir_all(inner.join(".cargo")).unwrap();
        fs::create_dir_all(root.join(".cargo")).unwrap();
        fs::write(root.join(".cargo/config.toml"), "build.rustc-workspace-wrapper = \"bin/outer\"").unwrap();
        let find = || files(&inner, None).iter().find_map(|file| from_file(file, KEY, 0));
        assert_eq!(find(), Some(root.join("bin/outer").into_os_string()));
        fs::write(inner.join(".cargo/config.toml"), "[build]\nrustc-workspace-wrapper = \"inner\"").unwrap();
        assert_eq!(find(), Some("inner".into()));
        fs::write(inner.join(".cargo/config.toml"), "include = [{ path = \"more.toml\" }]").unwrap();
        fs::write(inner.join(".cargo/more.toml"), "[build]\nrustc-workspace-wrapper = \"./included\"")
            .unwrap();
        assert_eq!(find(), Some(inner.join("./included").into_os_string()));
    }

    #[test]
    fn a_flag_holds_a_value_or_names_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(
            from_flag("build.rustc-workspace-wrapper='./w'", KEY, root),
            Some(root.join("./w").into())
        );
        assert_eq!(from_flag("build.rustc='r'", KEY, root), None);
        fs::create_dir(root.join("conf")).unwrap();
        fs::write(root.join("conf/c.toml"), "[build]\nrustc-workspace-wrapper = \"w\"").unwrap();
        assert_eq!(from_flag("conf/c.toml", KEY, root), Some("w".into()));
    }
}

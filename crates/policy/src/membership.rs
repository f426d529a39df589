//! Which workspace a manifest says it belongs to. Read from its TOML, as cargo does it: the same thing can be written
//! with headers, dotted or quoted keys and inline tables.

use super::document;
use crate::diagnostic::{Diagnostic, SourceFile};
use std::path::Path;
use std::sync::Arc;
use toml::de::DeValue;

/// What a manifest says of its workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Name of its package; empty without one.
    pub name: String,
    /// It is the root of a workspace.
    pub root: Option<Root>,
    /// `package.workspace`: where the root is, relative to the folder of the manifest.
    pub pointer: Option<String>,
}

/// The root of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    members: Vec<String>,
    exclude: Vec<String>,
}

impl Membership {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is not TOML: nobody can say what it means.
    pub fn read(file: &Arc<SourceFile>) -> Result<Self, Diagnostic> {
        let table = document::parse(file)?;
        let root = table.get("workspace").map(|root| Root {
            members: strings(root.get_ref(), "members"),
            exclude: strings(root.get_ref(), "exclude"),
        });
        // `project` is what `package` was called once.
        let mut packages = ["package", "project"].into_iter().filter_map(|key| table.get(key));
        let package = packages.find(|package| package.get_ref().is_table());
        let text = |key: &str| {
            package.and_then(|table| table.get_ref().get(key)?.get_ref().as_str()).map(str::to_owned)
        };
        Ok(Self { name: text("name").unwrap_or_default(), root, pointer: text("workspace") })
    }
}

impl Root {
    /// Whether this root, in `folder`, leaves out the package in another one. As cargo has it: `exclude` counts unless
    /// `members` names it as well.
    pub fn leaves_out(&self, folder: &Path, package: &Path) -> bool {
        let named = |list: &[String]| list.iter().any(|entry| package.starts_with(folder.join(entry)));
        named(&self.exclude) && !named(&self.members)
    }
}

fn strings(table: &DeValue<'_>, key: &str) -> Vec<String> {
    let list = table.get(key).and_then(|list| list.get_ref().as_array()).into_iter().flatten();
    list.filter_map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Membership {
        Membership::read(&Arc::new(SourceFile { path: "Cargo.toml".into(), text: text.to_owned() })).unwrap()
    }

    #[test]
    fn a_workspace_is_one_however_it_is_written() {
        for text in [
            "[workspace]",
            "  [ workspace ] # x",
            "[workspace.metadata.sandbox.fs]\ndeny = [\"x\"]",
            "workspace.metadata.sandbox.fs.deny = [\"x\"]",
            "workspace = { members = [] }",
            "\"workspace\" = {}",
            "'workspace'.members = []",
            "\"\\u0077orkspace\".members = []",
            "[\"work\\u0073pace\"]",
            "\"w\\U0000006Frkspace\" . metadata . sandbox = {}",
        ] {
            assert!(read(text).root.is_some(), "{text}");
        }
        for text in
            ["# [workspace]", "x = '''\n[workspace]\n'''", "[package]\nworkspace = \"..\"", "[x.workspace]"]
        {
            assert!(read(text).root.is_none(), "{text}");
        }
        assert_eq!(read("package = { name = \"a\", workspace = \"../w\" }").pointer.as_deref(), Some("../w"));
        assert_eq!(read("project.workspace = '../w'").pointer.as_deref(), Some("../w"));
    }

    #[test]
    fn what_is_excluded_and_not_named_is_left_out() {
        let root = read("workspace = { exclude = [\"a\"], members = [\"a/in\"] }").root.unwrap();
        let out = |package: &str| root.leaves_out(Path::new("/w"), Path::new(package));
        assert!(out("/w/a") && out("/w/a/x") && !out("/w/a/in") && !out("/w/ab"));
    }
}

//! An entry of a manifest, as it is written.

use super::mounts::MountPoint;
use serde::{Deserialize, Serialize};

/// One entry of an array of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// In the manifest's pattern syntax, not yet quoted for TOML.
    pub text: String,
    /// Only for these crates (`by`).
    pub by: Vec<String>,
    /// It names a protected or sensitive place (`protected = true`).
    pub protected: bool,
    /// Where the guest sees it (`as`).
    pub mount: Option<MountPoint>,
}

impl Entry {
    /// The entry as TOML: a string, or an inline table that calls the text `name`. `quoted` makes a string of a text.
    pub fn toml(&self, name: &str, quoted: impl Fn(&str) -> String) -> String {
        let mut text = quoted(&self.text);
        if self.by.is_empty() && !self.protected && self.mount.is_none() {
            return text;
        }
        text.insert_str(0, &format!("{{ {name} = "));
        if !self.by.is_empty() {
            let by: Vec<String> = self.by.iter().map(|name| quoted(name)).collect();
            text.push_str(&format!(", by = [{}]", by.join(", ")));
        }
        if self.protected {
            text.push_str(", protected = true");
        }
        if let Some(point) = self.mount {
            text.push_str(&format!(", as = \"{}\"", point.path()));
        }
        text + " }"
    }
}

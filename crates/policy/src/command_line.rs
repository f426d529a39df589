//! Grants from the command line: `--read P`, `--write P`, `--env NAME`, `--env K=V`.

use super::model::{PackagePolicy, Provenance, Scope};
use super::resolve::Resolver;
use super::schema::RawEntry;
use crate::access::{Key, Operation};
use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the command line grants, for every target. The syntax is that of the manifest; the person who
/// types names a protected place exactly without a further word, and no ceiling bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLineGrants {
    /// The key that each flag is for, and its value.
    pub flags: Vec<(Key, String)>,
}

impl Resolver<'_> {
    pub(super) fn command_line(
        &mut self,
        extra: &CommandLineGrants,
        policy: &mut PackagePolicy,
        out: &mut Vec<Diagnostic>,
    ) {
        let mut set = BTreeMap::new();
        for (key, value) in &extra.flags {
            if let (Key::Of(Operation::EnvRead), Some((name, value))) = (*key, value.split_once('=')) {
                if name.is_empty() || name.contains('\0') || value.contains('\0') {
                    out.push(Diagnostic::error("bad-pattern", "`--env` needs `NAME` or `NAME=VALUE`"));
                }
                set.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let provenance = Provenance {
                table: format!("--{}", key.row().flag),
                text: value.clone(),
                ..Provenance::default()
            };
            let entry = RawEntry {
                key: *key,
                text: value.clone(),
                span: 0..0,
                by: Vec::new(),
                protected: true,
                scope: Scope::Always,
                provenance,
            };
            self.entry(&entry, None, false, policy, out);
        }
        if !set.is_empty() {
            policy.set.push((Scope::Always, set));
        }
    }
}

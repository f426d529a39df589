//! Grants from the command line: `--read P`, `--write P`, `--env NAME`, `--env K=V`.

use super::model::{PackagePolicy, Provenance, Scope};
use super::resolve::Resolver;
use super::schema::{EntryKey, RawEntry};
use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One flag, by what it adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flag {
    /// `--read PATH`.
    Read,
    /// `--write PATH`.
    Write,
    /// `--list PATH`.
    List,
    /// `--stat PATH`.
    Stat,
    /// `--create PATH`.
    Create,
    /// `--modify PATH`.
    Modify,
    /// `--delete PATH`.
    Delete,
    /// `--deny PATH`.
    Deny,
    /// `--hide PATH`.
    Hide,
    /// `--env NAME` or `--env NAME=VALUE`.
    Env,
}

impl Flag {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "--read",
            Self::Write => "--write",
            Self::List => "--list",
            Self::Stat => "--stat",
            Self::Create => "--create",
            Self::Modify => "--modify",
            Self::Delete => "--delete",
            Self::Deny => "--deny",
            Self::Hide => "--hide",
            Self::Env => "--env",
        }
    }

    const fn key(self) -> EntryKey {
        match self {
            Self::Read => EntryKey::Read,
            Self::Write => EntryKey::Write,
            Self::List => EntryKey::List,
            Self::Stat => EntryKey::Stat,
            Self::Create => EntryKey::Create,
            Self::Modify => EntryKey::Modify,
            Self::Delete => EntryKey::Delete,
            Self::Deny => EntryKey::Deny,
            Self::Hide => EntryKey::Hide,
            Self::Env => EntryKey::EnvRead,
        }
    }
}

/// What the command line grants, for every target. The syntax is that of the manifest; the person who
/// types names a protected place exactly without a further word, and no ceiling bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLineGrants {
    /// In the order given.
    pub flags: Vec<(Flag, String)>,
}

impl Resolver<'_> {
    pub(super) fn command_line(
        &mut self,
        extra: &CommandLineGrants,
        policy: &mut PackagePolicy,
        out: &mut Vec<Diagnostic>,
    ) {
        let mut set = BTreeMap::new();
        for (flag, value) in &extra.flags {
            if let (Flag::Env, Some((name, value))) = (*flag, value.split_once('=')) {
                if name.is_empty() || name.contains('\0') || value.contains('\0') {
                    out.push(Diagnostic::error("bad-pattern", "`--env` needs `NAME` or `NAME=VALUE`"));
                }
                set.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let provenance =
                Provenance { table: flag.name().to_owned(), text: value.clone(), ..Provenance::default() };
            let entry = RawEntry {
                key: flag.key(),
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

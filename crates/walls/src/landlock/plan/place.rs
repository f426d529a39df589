//! Where a pattern applies, as far as Landlock could express it.

use sandbox_policy::model::{Component, PathBase, PathPattern};

/// A path pattern as Landlock could express it: its literal beginning, and whether more follows.
#[derive(Clone)]
pub(super) struct RulePlace {
    pub(super) prefix: Vec<u8>,
    pub(super) glob: bool,
    pub(super) exact: bool,
}

impl RulePlace {
    /// `None` if the pattern is relative to a `{tmp}` that is not known yet.
    pub(super) fn of(pattern: &PathPattern) -> Option<Self> {
        if pattern.base != PathBase::Root {
            return None;
        }
        let mut components = pattern.components.as_slice();
        let mut exact = pattern.exact;
        // `dir/**` covers `dir` and all beneath it, as `dir` does.
        while let [rest @ .., Component::AnyDepth] = components {
            components = rest;
            exact = false;
        }
        let mut prefix = Vec::new();
        for component in components {
            let Component::Literal(name) = component else { break };
            prefix.push(b'/');
            prefix.extend_from_slice(name);
        }
        let glob = components.iter().any(|component| !matches!(component, Component::Literal(_)));
        if prefix.is_empty() {
            prefix.push(b'/');
        }
        Some(Self { prefix, glob, exact })
    }

    /// Whether it may match `path`; without certainty, yes.
    pub(super) fn may_cover(&self, path: &[u8]) -> bool {
        if self.exact && !self.glob { self.prefix == path } else { is_beneath(path, &self.prefix) }
    }
}

/// Whether `path` is `ancestor` or beneath it.
pub(super) fn is_beneath(path: &[u8], ancestor: &[u8]) -> bool {
    ancestor == b"/"
        || path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/')? {
        0 if path.len() == 1 => None,
        0 => Some(b"/"),
        end => Some(&path[..end]),
    }
}

/// A path for a person, between backticks.
pub(super) fn show(path: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(path).escape_debug())
}

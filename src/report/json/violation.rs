//! The part of the JSON report that says what was tried, and who tried it.

use sandbox_policy::access::{Operation, Wall};
use serde::{Deserialize, Serialize};

/// An unexpected access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// `fs-read`, `fs-list`, …, `env-read`.
    #[serde(with = "operation")]
    pub operation: Operation,
    /// On what.
    pub resource: Resource,
    /// Which wall stopped it.
    pub wall: Wall,
    /// The package whose manifest applies.
    pub package: String,
    /// The exception that forbids it.
    pub exception: Option<GrantPlace>,
    /// One more sentence, or empty.
    pub note: String,
    /// How often.
    pub count: u64,
    /// The test it happened in.
    pub test: Option<String>,
    /// What it is attributed to.
    pub origin: Option<Origin>,
    /// The source line.
    pub snippet: Option<Snippet>,
    /// All frames, innermost first.
    pub backtrace: Vec<Frame>,
    /// What would allow it.
    pub suggestion: Option<Suggestion>,
    /// It was allowed all the same (`--audit`).
    pub allowed: bool,
}

/// Where a grant or an exception was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantPlace {
    /// Manifest, or empty for the command line.
    pub manifest: String,
    /// Line from 1, or 0.
    pub line: u32,
    /// Full table name.
    pub table: String,
    pub key: String,
    pub entry: String,
}

/// What an access is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// `path` or `env`.
    pub kind: ResourceKind,
    /// The path or the name; what is not UTF-8 is replaced by U+FFFD.
    pub name: String,
    /// The exact bytes in lowercase hexadecimal, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_bytes: Option<String>,
}

/// What kind of thing an access is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// An absolute path.
    Path,
    Env,
}

/// What a violation is attributed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Package, or crate where no package matches.
    pub package: String,
    /// Its version, if known.
    pub version: Option<String>,
    pub frame: Frame,
}

/// One frame of the guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Crate, or empty.
    #[serde(rename = "crate")]
    pub krate: String,
    /// Path of the function.
    pub function: String,
    /// Source file as the debug information says it, or empty.
    pub file: String,
    /// Line from 1, or 0.
    pub line: u32,
    /// Column from 1 in bytes, or 0.
    pub column: u32,
}

/// A source line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snippet {
    /// The file, relative to the workspace if it is beneath it.
    pub path: String,
    /// Line from 1.
    pub line: u32,
    /// The line.
    pub text: String,
    /// First byte of the call in `text`.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
}

/// TOML, or a flag, that would allow a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suggestion {
    /// The manifest to add it to; empty for the command line.
    pub manifest: String,
    /// Table without brackets.
    pub table: String,
    pub key: String,
    /// The entry as a pattern.
    pub entry: String,
    /// The lines to paste.
    pub paste: String,
}

/// Operations by their codes.
mod operation {
    use super::Operation;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(operation: &Operation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(operation.code())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Operation, D::Error> {
        let code = String::deserialize(from)?;
        Operation::ALL
            .into_iter()
            .find(|operation| operation.code() == code)
            .ok_or_else(|| D::Error::custom(format!("unknown operation `{code}`")))
    }
}

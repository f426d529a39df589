//! The table of `check`: one row per entry, wall by wall.

use crate::report::escape;
use sandbox_policy::access::{OperationSet, Wall};
use sandbox_policy::{
    Bindings, ExceptionKind, Grant, MountPoint, PackagePolicy, Places, Policy, Provenance, Scope, TargetKind,
};
use sandbox_walls as kernel;
use sandbox_walls::{FileKind, KernelStatus, Planned, Verdict, wall};
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The private directory while there is none.
pub(in crate::cli) const TMP: &str = "/.cargo-sandbox/tmp";

/// What is at a path, with a private directory.
pub(in crate::cli) fn look(path: &[u8]) -> FileKind {
    if path == TMP.as_bytes() { FileKind::Dir } else { kernel::look(path) }
}

/// What is said of one package: a line of `--message-format json`.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) reason: &'static str,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) manifest: String,
    pub(super) landlock_abi: Option<u32>,
    pub(super) landlock_missing: Vec<String>,
    pub(super) seccomp: bool,
    pub(super) entries: Vec<Row>,
    #[serde(serialize_with = "without_walls")]
    pub(super) not_covered: Vec<(Wall, String)>,
}

fn without_walls<S: Serializer>(not_covered: &[(Wall, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(not_covered.iter().map(|(_, what)| what))
}

/// One entry of a manifest.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    manifest: String,
    line: u32,
    table: String,
    key: String,
    entry: String,
    scope: String,
    operations: Vec<&'static str>,
    by: Vec<String>,
    /// Where the guest sees it, if not at its own path.
    r#as: Option<&'static str>,
    /// By the wall's name.
    #[serde(flatten, serialize_with = "by_wall")]
    walls: Vec<(Wall, Verdict)>,
}

fn by_wall<S: Serializer>(walls: &[(Wall, Verdict)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(walls.iter().map(|(wall, verdict)| (wall, verdict)))
}

/// What the kernel can do, in a line.
pub(super) fn kernel(status: &KernelStatus) -> String {
    let walls: Vec<String> = Wall::all().filter_map(|wall| status.words(wall)).collect();
    format!("kernel: {}\n", walls.join(", "))
}

/// What applies to what has this scope.
pub(in crate::cli) fn cut(policy: &PackagePolicy, scope: &Scope, bind: &Bindings) -> Policy {
    match scope {
        Scope::Always => policy.for_target(TargetKind::Bin, "", None, bind),
        Scope::Test => policy.for_target(TargetKind::Test, "", None, bind),
        Scope::Bin(name) => policy.for_target(TargetKind::Bin, name, None, bind),
        Scope::Example(name) => policy.for_target(TargetKind::Example, name, None, bind),
        // A test of the very name of the pattern: a star matches itself.
        Scope::Case { name, .. } => policy.for_target(TargetKind::Test, "", Some(name), bind),
    }
}

/// Every entry of a package, and what a wall never covers.
pub(super) fn rows(policy: &PackagePolicy, places: &Places, abi: u32) -> (Vec<Row>, Vec<(Wall, String)>) {
    let bind = Bindings { tmp: Some(PathBuf::from(TMP)), current_dir: places.package.clone() };
    let mut policies: Vec<(&Scope, Policy)> = Vec::new();
    for grant in &policy.grants {
        if !policies.iter().any(|(scope, _)| *scope == &grant.scope) {
            policies.push((&grant.scope, cut(policy, &grant.scope, &bind)));
        }
    }
    let walls = |own| Wall::all().map(move |wall| (wall, Planned::new(wall, own, &[], abi, &look)));
    let plans: Vec<(&Scope, Vec<(Wall, Planned<'_>)>)> =
        policies.iter().map(|(scope, own)| (*scope, walls(own).collect())).collect();
    let mut general: Vec<(Wall, String)> = Vec::new();
    for (wall, planned) in plans.iter().flat_map(|(_, walls)| walls) {
        for what in planned.not_covered() {
            if !general.iter().any(|known| *wall == known.0 && what == known.1) {
                general.push((*wall, what.to_owned()));
            }
        }
    }
    let mut rows = Vec::new();
    for grant in &policy.grants {
        let walls = plans.iter().filter(|(scope, _)| *scope == &grant.scope).flat_map(|(_, walls)| walls);
        let walls = walls.filter_map(|(wall, planned)| Some((*wall, planned.grant(grant)?))).collect();
        let one = row(&grant.provenance, &grant.scope, grant.operations, &grant.by, walls, places);
        rows.push(Row { r#as: seen(grant), ..one });
    }
    for exception in policy.exceptions.iter().filter(|exception| exception.kind != ExceptionKind::Protected) {
        let walls = Wall::all().filter_map(|wall| Some((wall, wall::exception(wall, abi)?))).collect();
        let (place, scope) = (&exception.provenance, &exception.scope);
        rows.push(row(place, scope, OperationSet::EMPTY, &[], walls, places));
    }
    (rows, general)
}

/// Where a guest sees what is granted, if not at its own path.
pub(in crate::cli) fn seen(grant: &Grant) -> Option<&'static str> {
    grant.provenance.mount.map(MountPoint::path)
}

fn row(
    place: &Provenance,
    scope: &Scope,
    operations: OperationSet,
    by: &[String],
    walls: Vec<(Wall, Verdict)>,
    places: &Places,
) -> Row {
    Row {
        manifest: shown(&place.file, places),
        line: place.line,
        table: place.table.clone(),
        key: place.key.clone(),
        entry: place.text.clone(),
        scope: match scope {
            Scope::Always => "always".to_owned(),
            Scope::Test => "test".to_owned(),
            Scope::Bin(name) => format!("bin {name}"),
            Scope::Example(name) => format!("example {name}"),
            Scope::Case { name, .. } => format!("test.case {name}"),
        },
        operations: operations.iter().map(|operation| operation.key()).collect(),
        by: by.to_vec(),
        r#as: None,
        walls,
    }
}

/// A manifest relative to the workspace, or empty for the command line.
fn shown(file: &Path, places: &Places) -> String {
    file.strip_prefix(&places.workspace).unwrap_or(file).to_string_lossy().into_owned()
}

/// The table for people.
pub(super) fn render(checked: &Checked) -> String {
    let line = |text: &str| escape::line(text).into_owned();
    let mut text =
        format!("\n{} v{} ({})\n", line(&checked.package), line(&checked.version), line(&checked.manifest));
    if checked.entries.is_empty() {
        text.push_str("  nothing is granted: only standard streams, clocks, randomness and arguments\n");
    }
    for row in &checked.entries {
        let place = match row.line {
            0 => "command line".to_owned(),
            number => format!("{}:{number}", line(&row.manifest)),
        };
        let table = row.table.rsplit("sandbox.").next().unwrap_or_default();
        _ = writeln!(text, "  {place}  {}.{} `{}`", line(table), row.key, line(&row.entry));
        if !row.operations.is_empty() {
            _ = writeln!(text, "      allows    {}", row.operations.join(", "));
        }
        if row.scope != "always" {
            _ = writeln!(text, "      for       {}", line(&row.scope));
        }
        if !row.by.is_empty() {
            _ = writeln!(text, "      by        {}", line(&row.by.join(", ")));
        }
        if let Some(seen) = row.r#as {
            _ = writeln!(text, "      as        {seen}");
        }
        for (wall, Verdict { verdict, how }) in &row.walls {
            let how = how.iter().map(|how| line(how)).collect::<Vec<_>>().join("; ");
            let verdict = verdict.replace('-', " ");
            let colon = if how.is_empty() { "" } else { ": " };
            _ = writeln!(text, "      {wall:<9} {verdict}{colon}{how}");
        }
    }
    for (wall, what) in &checked.not_covered {
        _ = writeln!(text, "  {wall} does not cover {}", line(what));
    }
    for (wall, does) in Wall::all().filter_map(|wall| Some((wall, wall::always(wall)?))) {
        _ = writeln!(text, "  {wall}: {does}");
    }
    text
}

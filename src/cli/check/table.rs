//! The table of `check`: one row per entry, wall by wall.

use super::Checked;
use crate::access::{GrantId, OperationSet};
use crate::kernel::{self, Enforced, FileKind, KernelStatus, Plan, abi};
use crate::policy::{
    Bindings, ExceptionKind, Grant, MountPoint, PackagePolicy, Places, Policy, Provenance, Scope, TargetKind,
};
use crate::report::escape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The private directory while there is none.
pub(in crate::cli) const TMP: &str = "/.cargo-sandbox/tmp";

/// What is at a path, with a private directory.
pub(in crate::cli) fn look(path: &[u8]) -> FileKind {
    if path == TMP.as_bytes() { FileKind::Dir } else { kernel::look(path) }
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
    wasi: Answer,
    landlock: Answer,
}

/// What a wall makes of it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// `exact`, `wider`, `narrower`, `not-covered` or `off`.
    verdict: &'static str,
    /// How.
    how: Vec<String>,
}

/// What the kernel can do, in a line.
pub(super) fn kernel(status: &KernelStatus) -> String {
    let landlock = match abi::used(status.landlock_abi) {
        Some(used) => abi::in_words(used, status.landlock_abi),
        None => "no landlock".to_owned(),
    };
    let missing = Enforced::of(status.landlock_abi).missing;
    let missing =
        if missing.is_empty() { String::new() } else { format!(" (without {})", missing.join(", ")) };
    let seccomp = if status.seccomp { "seccomp" } else { "no seccomp" };
    format!("kernel: {landlock}{missing}, {seccomp}\n")
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

/// Every entry of a package, and what Landlock never covers.
pub(super) fn rows(policy: &PackagePolicy, places: &Places, abi: u32) -> (Vec<Row>, Vec<String>) {
    let bind = Bindings { tmp: Some(PathBuf::from(TMP)), current_dir: places.package.clone() };
    let mut plans: Vec<(&Scope, Plan, Rules)> = Vec::new();
    let mut rows = Vec::new();
    let mut general = Vec::new();
    for grant in &policy.grants {
        if !plans.iter().any(|(scope, ..)| *scope == &grant.scope) {
            let plan = kernel::plan(&cut(policy, &grant.scope, &bind), abi, &look);
            let rules = rules_of(&plan);
            plans.push((&grant.scope, plan, rules));
        }
        let plan = plans.iter().find(|(scope, ..)| *scope == &grant.scope);
        let landlock = match plan {
            Some((_, _, rules)) if abi > 0 => of_grant(rules.get(&grant.id)),
            _ => Answer { verdict: "off", how: Vec::new() },
        };
        let not_covered = plan.into_iter().flat_map(|(_, plan, _)| &plan.not_covered);
        for what in not_covered.filter(|what| what.grant.is_none()) {
            if !general.contains(&what.what) {
                general.push(what.what.clone());
            }
        }
        let wasi = if grant.by.is_empty() {
            Answer { verdict: "exact", how: Vec::new() }
        } else {
            let how = "`by` goes by the guest's own symbols: it finds out honest code and is no boundary";
            Answer { verdict: "exact", how: vec![how.to_owned()] }
        };
        let one = row(&grant.provenance, &grant.scope, grant.operations, &grant.by, wasi, landlock, places);
        rows.push(Row { r#as: seen(grant), ..one });
    }
    for exception in policy.exceptions.iter().filter(|exception| exception.kind != ExceptionKind::Protected) {
        let wasi = Answer { verdict: "exact", how: Vec::new() };
        let how = "it knows no exceptions: they only hold where no grant is above them".to_owned();
        let landlock = Answer { verdict: if abi > 0 { "wider" } else { "off" }, how: vec![how] };
        let (place, scope) = (&exception.provenance, &exception.scope);
        rows.push(row(place, scope, OperationSet::EMPTY, &[], wasi, landlock, places));
    }
    (rows, general)
}

/// Where a guest sees what is granted, if not at its own path.
pub(in crate::cli) fn seen(grant: &Grant) -> Option<&'static str> {
    grant.provenance.mount.map(MountPoint::path)
}

/// What a plan says of one grant.
#[derive(Debug, Default)]
struct Said {
    rules: usize,
    wider: Vec<String>,
    narrower: Vec<String>,
    not_covered: Vec<String>,
}

type Rules = BTreeMap<GrantId, Said>;

fn rules_of(plan: &Plan) -> Rules {
    let mut rules = Rules::new();
    for rule in &plan.rules {
        let said = rules.entry(rule.grant).or_default();
        said.rules += 1;
        said.wider.extend(rule.overgrant.clone());
    }
    for narrower in &plan.narrower {
        rules.entry(narrower.grant).or_default().narrower.push(narrower.what.clone());
    }
    for not in &plan.not_covered {
        if let Some(grant) = not.grant {
            rules.entry(grant).or_default().not_covered.push(not.what.clone());
        }
    }
    rules
}

fn of_grant(said: Option<&Said>) -> Answer {
    let Some(Said { rules, wider, narrower, not_covered }) = said else {
        return Answer { verdict: "exact", how: Vec::new() };
    };
    let verdict = match (wider.is_empty(), narrower.is_empty()) {
        _ if *rules == 0 && !not_covered.is_empty() => "not-covered",
        (false, _) => "wider",
        (true, false) => "narrower",
        (true, true) => "exact",
    };
    let mut how = [&wider[..], narrower, not_covered].concat();
    how.dedup();
    Answer { verdict, how }
}

fn row(
    place: &Provenance,
    scope: &Scope,
    operations: OperationSet,
    by: &[String],
    wasi: Answer,
    landlock: Answer,
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
        wasi,
        landlock,
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
        for (wall, answer) in [("wasi", &row.wasi), ("landlock", &row.landlock)] {
            let how = answer.how.iter().map(|how| line(how)).collect::<Vec<_>>().join("; ");
            let verdict = if answer.verdict == "not-covered" { "not covered" } else { answer.verdict };
            let colon = if how.is_empty() { "" } else { ": " };
            _ = writeln!(text, "      {wall:<9} {verdict}{colon}{how}");
        }
    }
    for what in &checked.not_covered {
        _ = writeln!(text, "  landlock does not cover {}", line(what));
    }
    text.push_str("  seccomp: no exec, ptrace, mount, sockets, modes or owners; it does not look at paths\n");
    text
}

//! `cargo sandbox diff`: what a policy, or what was observed, gained and lost. A gate for reviews:
//! status 80 when something was gained.

use super::args::{DiffArgs, MessageFormat, PolicyArgs, WallArgs};
use super::output::{Outputs, print};
use super::session::{Asked, Session};
use super::{check, merge, options, policies};
use crate::cargo::metadata::Package;
use crate::exit_status::ExitStatus;
use crate::report::{escape, json};
use crate::runner::Failure;
use sandbox_policy::access::OperationSet;
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::{Exception, Grant, PackagePolicy, Provenance, compare};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Item {
    /// The package whose policy it is, or the crate that did it.
    package: String,
    /// In words: `read`, `list` of …
    what: String,
    /// Where the new one is written, or empty.
    manifest: String,
    /// Its line, or 0.
    line: u32,
}

/// Everything that differs: a line of `--message-format json`.
#[derive(Debug, Default, Serialize)]
struct Difference {
    reason: &'static str,
    gained: Vec<Item>,
    lost: Vec<Item>,
}

/// `cargo sandbox diff`.
pub(super) fn diff(args: &DiffArgs) -> ExitStatus {
    if let Some(new) = &args.new {
        return Outputs::during(
            &args.output,
            || Ok(((), std::env::current_dir()?)),
            |outputs, ()| {
                outputs.command = "diff";
                let (old, new) = (merge::read(Path::new(&args.old))?, merge::read(Path::new(new))?);
                Ok(say(args, &between_reports(&old, &new), outputs))
            },
        );
    }
    let guests = options::guests(&PolicyArgs::default(), &WallArgs::default(), None);
    Asked::about("diff", &args.cargo, &args.output, guests).session(|session| {
        let mut found = Difference { reason: "sandbox-diff", ..Difference::default() };
        for package in &session.workspace.packages {
            let warnings = between_revisions(args, session, package, &mut found)?;
            // A person has it all in the list.
            if args.output.message_format != MessageFormat::Human {
                session.outputs.messages(warnings);
            }
        }
        Ok(say(args, &found, session.outputs))
    })
}

/// Compares one package's policy with what it was. Gives a warning for each grant that is new, at
/// its line.
fn between_revisions(
    args: &DiffArgs,
    session: &Session<'_>,
    package: &Package,
    found: &mut Difference,
) -> Result<Vec<Diagnostic>, Failure> {
    let new = session.load(package)?;
    let old = policies::load_at(&args.old, session.workspace, package)?;
    let root = &new.places.workspace;
    let files = [&package.manifest, &session.workspace.manifest];
    let mut warnings = Vec::new();
    for (grant, operations) in compare::gained(&old, &new.policy) {
        let item = of_grant(&new.policy, grant, operations, root);
        let message = format!("gained since `{}`: {}", args.old, item.what);
        warnings.push(check::at(Diagnostic::warning("gained", message), &grant.provenance, &files));
        found.gained.push(item);
    }
    for exception in compare::dropped(&old, &new.policy) {
        found.gained.push(of_exception(&new.policy, exception, "without the exception"));
    }
    for (grant, operations) in compare::gained(&new.policy, &old) {
        found.lost.push(Item { line: 0, ..of_grant(&new.policy, grant, operations, root) });
    }
    for exception in compare::dropped(&new.policy, &old) {
        found.lost.push(of_exception(&new.policy, exception, "by the exception"));
    }
    Ok(warnings)
}

fn of_grant(policy: &PackagePolicy, grant: &Grant, operations: OperationSet, root: &Path) -> Item {
    let operations: Vec<&str> = operations.iter().map(|operation| operation.key()).collect();
    let Provenance { file, line, table, key, text, mount, .. } = &grant.provenance;
    let seen = mount.map_or(String::new(), |point| format!(" as `{}`", point.path()));
    let by = if grant.by.is_empty() { String::new() } else { format!(" by {}", grant.by.join(", ")) };
    Item {
        package: policy.package.clone(),
        what: format!("{} `{text}`{seen}{by} (`{table}.{key}`)", operations.join(", ")),
        manifest: file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned(),
        line: *line,
    }
}

fn of_exception(policy: &PackagePolicy, exception: &Exception, how: &str) -> Item {
    let Provenance { table, key, text, .. } = &exception.provenance;
    Item {
        package: policy.package.clone(),
        what: format!("{how} `{text}` (`{table}.{key}`)"),
        manifest: String::new(),
        line: 0,
    }
}

/// Compares what was observed: who tried what, and which grants were used.
fn between_reports(old: &json::Report, new: &json::Report) -> Difference {
    let (old, new) = (observed(old), observed(new));
    Difference {
        reason: "sandbox-diff",
        gained: new.difference(&old).cloned().collect(),
        lost: old.difference(&new).cloned().collect(),
    }
}

fn observed(report: &json::Report) -> BTreeSet<Item> {
    let item = |package: &str, what: String| Item {
        package: package.to_owned(),
        what,
        manifest: String::new(),
        line: 0,
    };
    let tried = report.violations().map(|(target, violation)| {
        // The version is left out: an upgrade that does the same gained nothing.
        let package = violation.origin.as_ref().map_or(&*target.package, |origin| &*origin.package);
        let resource = escape::line_bytes(&violation.resource.bytes());
        item(package, format!("{} `{resource}`", violation.operation))
    });
    let used = report.targets.iter().flat_map(|target| {
        let used = target.grants.iter().filter(|grant| grant.uses > 0);
        used.map(|grant| {
            let place = &grant.place;
            item(&target.package, format!("used `{}` (`{}.{}`)", place.entry, place.table, place.key))
        })
    });
    tried.chain(used).collect()
}

fn say(args: &DiffArgs, found: &Difference, outputs: &mut Outputs) -> ExitStatus {
    if args.output.message_format == MessageFormat::Json {
        let line = serde_json::to_string(found).unwrap_or_default();
        print(&(escape::json(line) + "\n"));
    } else if !args.output.quiet {
        print(&render(found));
    }
    outputs.close(if found.gained.is_empty() { ExitStatus::Success } else { ExitStatus::Gained })
}

fn render(found: &Difference) -> String {
    let mut text = String::new();
    let packages: BTreeSet<&String> =
        found.gained.iter().chain(&found.lost).map(|item| &item.package).collect();
    for package in packages {
        text.push_str(&format!("{}\n", escape::line(package)));
        for (sign, items) in [('+', &found.gained), ('-', &found.lost)] {
            for item in items.iter().filter(|item| item.package == *package) {
                let place = match item.line {
                    0 => String::new(),
                    line => format!("  {}:{line}", escape::line(&item.manifest)),
                };
                text.push_str(&format!("  {sign} {}{place}\n", escape::line(&item.what)));
            }
        }
    }
    text.push_str(&format!("{} gained, {} lost\n", found.gained.len(), found.lost.len()));
    text
}

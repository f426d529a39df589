//! `cargo sandbox check`: every manifest of the workspace, every grant, and what each wall makes of it.

mod table;

use super::args::{CheckArgs, MessageFormat};
use super::output::Outputs;
use super::{options, policies, run};
use crate::access::Wall;
use crate::cargo::metadata::{Package, Workspace};
use crate::cargo::select;
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::exit_status::ExitStatus;
use crate::kernel::{self, KernelStatus};
use crate::policy::lint::{About, lint};
use crate::policy::{MOST_MISTAKES, PackagePolicy, Provenance};
use crate::report::escape;
use crate::runner::Failure;
use crate::runner::fs_lookup::Disk;
use serde::{Serialize, Serializer};
use std::io::{self, Write};
use std::sync::Arc;

pub(super) use table::{TMP, cut, look, seen};

/// What is said of one package: a line of `--message-format json`.
#[derive(Debug, Serialize)]
struct Checked {
    reason: &'static str,
    package: String,
    version: String,
    manifest: String,
    landlock_abi: Option<u32>,
    landlock_missing: Vec<String>,
    seccomp: bool,
    entries: Vec<table::Row>,
    #[serde(serialize_with = "without_walls")]
    not_covered: Vec<(Wall, String)>,
}

fn without_walls<S: Serializer>(not_covered: &[(Wall, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(not_covered.iter().map(|(_, what)| what))
}

/// `cargo sandbox check`.
pub(super) fn check(args: &CheckArgs) -> ExitStatus {
    let flags = options::cargo_flags(&args.cargo, &args.output);
    Outputs::during(
        &args.output,
        || run::open_workspace(&flags),
        |outputs, workspace| {
            outputs.command = "check";
            let selected = if flags.packages.is_empty() {
                workspace.packages.iter().collect()
            } else {
                select::packages(&workspace, &flags)?
            };
            Ok(check_all(args, &workspace, &selected, outputs))
        },
    )
}

fn check_all(
    args: &CheckArgs,
    workspace: &Workspace,
    selected: &[&Package],
    outputs: &mut Outputs,
) -> ExitStatus {
    let mut status = ExitStatus::Success;
    let json = args.output.message_format == MessageFormat::Json;
    let setup = options::setup(&args.walls, false);
    let kernel = kernel::status();
    if !json && !args.output.quiet {
        print(&table::kernel(&kernel));
    }
    if let Err(unavailable) = kernel::check(setup.landlock, kernel.landlock_abi) {
        outputs.messages(vec![unavailable.diagnostic()]);
        status = status.or(ExitStatus::Unavailable);
    }
    for package in selected {
        match check_one(args, workspace, package, &kernel) {
            Ok((checked, messages)) => {
                if json {
                    let line = serde_json::to_string(&checked).unwrap_or_default();
                    print(&(escape::json(line) + "\n"));
                } else if !args.output.quiet {
                    print(&table::render(&checked));
                }
                outputs.messages(messages);
            }
            Err(failure) => status = status.or(outputs.said(failure)),
        }
    }
    outputs.close(status)
}

fn check_one(
    args: &CheckArgs,
    workspace: &Workspace,
    package: &Package,
    kernel: &KernelStatus,
) -> Result<(Checked, Vec<Diagnostic>), Failure> {
    let mut permissions = policies::load(workspace, package, &args.policy)?;
    let mut messages = std::mem::take(&mut permissions.warnings);
    let files = [&package.manifest, &workspace.manifest];
    messages.extend(lints(&permissions.policy, &permissions.places, &files));
    let landlock = options::setup(&args.walls, false).landlock != kernel::LandlockLevel::Off;
    let abi = if landlock { kernel::usable_abi() } else { 0 };
    // Without `..`: what the kernel has of another wall is told here, too.
    let KernelStatus { landlock_abi, seccomp } = *kernel;
    let (entries, not_covered) = table::rows(&permissions.policy, &permissions.places, abi);
    let checked = Checked {
        reason: "sandbox-check",
        package: package.name.clone(),
        version: package.version.clone(),
        manifest: permissions.manifest,
        landlock_abi: kernel::landlock::abi::used(landlock_abi).filter(|_| landlock),
        landlock_missing: kernel::Enforced::of(landlock_abi).missing,
        seccomp,
        entries,
        not_covered,
    };
    Ok((checked, messages))
}

fn lints(
    policy: &PackagePolicy,
    places: &crate::policy::Places,
    files: &[&Arc<SourceFile>],
) -> Vec<Diagnostic> {
    let found = lint(policy, places, &Disk);
    let more = found.len().saturating_sub(MOST_MISTAKES);
    let more =
        (more > 0).then(|| Diagnostic::warning("more", format!("and {more} more messages of this kind")));
    found
        .into_iter()
        .take(MOST_MISTAKES)
        .map(|lint| {
            let provenance = match lint.about {
                About::Grant(grant) => &grant.provenance,
                About::Exception(exception) => &exception.provenance,
            };
            at(Diagnostic::warning(lint.code, lint.message), provenance, files)
        })
        .chain(more)
        .collect()
}

/// Adds the place where an entry was written.
pub(super) fn at(diagnostic: Diagnostic, provenance: &Provenance, files: &[&Arc<SourceFile>]) -> Diagnostic {
    let file = files.iter().find(|file| file.path == provenance.file);
    let range =
        file.and_then(|file| file.range(provenance.line, provenance.column, provenance.text.len() + 2));
    match (file, range) {
        (Some(file), Some(range)) => diagnostic.at(file, range, ""),
        _ => diagnostic,
    }
}

/// Writes to standard output; a reader that is gone has seen enough.
pub(super) fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

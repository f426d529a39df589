//! `cargo sandbox check`: every manifest of the workspace, every grant, and what each wall makes of it.

mod table;

use super::args::{CheckArgs, MessageFormat};
use super::options;
use super::output::print;
use super::session::{Asked, Session};
use crate::cargo::metadata::Package;
use crate::cargo::select;
use crate::exit_status::ExitStatus;
use crate::report::escape;
use crate::runner::Failure;
use crate::runner::fs_lookup::Disk;
use sandbox_policy::diagnostic::{Diagnostic, SourceFile};
use sandbox_policy::lint::{About, lint};
use sandbox_policy::{MOST_MISTAKES, PackagePolicy, Provenance};
use sandbox_walls as kernel;
use sandbox_walls::KernelStatus;
use std::sync::Arc;

use table::Checked;

pub(super) use table::{TMP, cut, look, seen};

/// `cargo sandbox check`.
pub(super) fn check(args: &CheckArgs) -> ExitStatus {
    let guests = options::guests(&args.policy, &args.walls, None);
    Asked::about("check", &args.cargo, &args.output, guests).session(|session| {
        let selected = if session.flags.packages.is_empty() {
            session.workspace.packages.iter().collect()
        } else {
            select::packages(session.workspace, session.flags)?
        };
        Ok(check_all(args, session, &selected))
    })
}

fn check_all(args: &CheckArgs, session: &mut Session<'_>, selected: &[&Package]) -> ExitStatus {
    let mut status = ExitStatus::Success;
    let json = args.output.message_format == MessageFormat::Json;
    let kernel = kernel::status();
    if !json && !args.output.quiet {
        print(&table::kernel(&kernel));
    }
    if let Err(unavailable) = kernel::check(session.guests.setup.landlock, kernel.landlock_abi) {
        session.outputs.messages(vec![unavailable.diagnostic()]);
        status = status.or(ExitStatus::Unavailable);
    }
    for package in selected {
        match check_one(session, package, &kernel) {
            Ok((checked, messages)) => {
                if json {
                    let line = serde_json::to_string(&checked).unwrap_or_default();
                    print(&(escape::json(line) + "\n"));
                } else if !args.output.quiet {
                    print(&table::render(&checked));
                }
                session.outputs.messages(messages);
            }
            Err(failure) => status = status.or(session.outputs.said(failure)),
        }
    }
    session.outputs.close(status)
}

fn check_one(
    session: &Session<'_>,
    package: &Package,
    kernel: &KernelStatus,
) -> Result<(Checked, Vec<Diagnostic>), Failure> {
    let mut permissions = session.load(package)?;
    let mut messages = std::mem::take(&mut permissions.warnings);
    let files = [&package.manifest, &session.workspace.manifest];
    messages.extend(lints(&permissions.policy, &permissions.places, &files));
    let landlock = session.guests.setup.landlock != kernel::LandlockLevel::Off;
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
    places: &sandbox_policy::Places,
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

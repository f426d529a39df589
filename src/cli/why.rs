//! `cargo sandbox why PATH --op read`: the decision on one access, and what each wall says to it.

use super::args::{MessageFormat, WhyArgs};
use super::check::{self, cut};
use super::output::Outputs;
use super::policies::{self, Permissions};
use super::{options, run};
use crate::access::{Access, Decision, GrantId, Resource};
use crate::cargo::metadata::{Package, Workspace};
use crate::cargo::select;
use crate::diagnostic::Diagnostic;
use crate::exit_status::ExitStatus;
use crate::kernel::{self, LandlockLevel};
use crate::policy::{
    self, Bindings, Decider, ExceptionKind, Grant, Lookup, Policy, Provenance, Scope, Target, TargetKind,
};
use crate::report::escape;
use crate::runner::Failure;
use crate::runner::fs_lookup::Disk;
use serde::Serialize;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The answer: a line of `--message-format json`.
#[derive(Debug, Serialize)]
struct Why {
    reason: &'static str,
    package: String,
    operation: &'static str,
    /// The name that was decided on: absolute, links followed.
    resource: String,
    allowed: bool,
    /// `allowed`, `denied`, `hidden` or `depends-on-origin`.
    decision: &'static str,
    /// The grants or the exception that decide it.
    because: Vec<Because>,
    /// `allows`, `denies`, `not-checked` or `off`.
    landlock: &'static str,
    /// What the wall lets through beyond the policy, if that matters here.
    landlock_wider: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Because {
    manifest: String,
    line: u32,
    table: String,
    key: String,
    entry: String,
    by: Vec<String>,
    /// Where the guest sees it, if not at its own path.
    r#as: Option<&'static str>,
}

/// `cargo sandbox why`. 0 if it would be allowed, 77 if not.
pub(super) fn why(args: &WhyArgs) -> ExitStatus {
    let flags = options::cargo_flags(&args.cargo, &args.output);
    Outputs::during(
        &args.output,
        || run::open_workspace(&flags),
        |outputs, workspace| {
            outputs.command = "why";
            let packages = select::packages(&workspace, &flags)?;
            let [package] = packages.as_slice() else {
                let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
                let message = "there are several packages here, each with a policy of its own";
                let diagnostic = Diagnostic::error("package", message)
                    .help(format!("name one with `-p`: {}", names.join(", ")));
                return Err(Failure::new(ExitStatus::Usage, diagnostic));
            };
            let status = answer(args, &workspace, package, outputs)?;
            Ok(outputs.close(status))
        },
    )
}

fn answer(
    args: &WhyArgs,
    workspace: &Workspace,
    package: &Package,
    outputs: &mut Outputs,
) -> Result<ExitStatus, Failure> {
    let mut permissions = policies::load(workspace, package, &args.policy)?;
    outputs.messages(std::mem::take(&mut permissions.warnings));
    let operation = args.op;
    let tmp = Some(PathBuf::from(check::TMP));
    let bind = Bindings { tmp, current_dir: permissions.places.package.clone() };
    let (kind, name) = match (&args.bin, &args.example) {
        (Some(name), _) => (TargetKind::Bin, name.as_str()),
        (_, Some(name)) => (TargetKind::Example, name.as_str()),
        _ if args.test.is_some() => (TargetKind::Test, ""),
        _ => (TargetKind::Bin, ""),
    };
    let policy = permissions.policy.for_target(kind, name, args.test.as_deref(), &bind);
    let resource = if operation.is_on_path() {
        Resource::Path(meant(&workspace.current_dir.join(Path::new(&args.resource)), &policy))
    } else {
        Resource::Env(args.resource.as_bytes().to_vec())
    };
    let access = Access { operation, resource };
    let saw_tmp = policy.tmp_view.as_ref().is_some_and(|view| view.holds(access.resource.bytes()));
    let target = Target { kind, name, test: args.test.as_deref(), bind: &bind, saw_tmp };
    let (why, covered, help) = explain(args, &permissions, &policy, &access, &target);
    if args.output.message_format == MessageFormat::Json {
        let line = serde_json::to_string(&why).unwrap_or_default();
        check::print(&(escape::json(line) + "\n"));
    } else if !args.output.quiet {
        check::print(&render(&why, covered, &help, &permissions));
    }
    Ok(if why.allowed { ExitStatus::Success } else { ExitStatus::Violation })
}

/// The path that is decided on: the guest's view of `/tmp` first, then links.
fn meant(path: &Path, policy: &Policy) -> Vec<u8> {
    let view = |path: &[u8]| policy.tmp_view.as_ref().and_then(|view| view.real(path));
    let plain: PathBuf = path.components().collect();
    let goes_up = plain.components().any(|part| part == Component::ParentDir);
    let seen = if goes_up { None } else { view(plain.as_os_str().as_bytes()) };
    seen.unwrap_or_else(|| {
        let target = Disk.resolve(plain.as_os_str().as_bytes()).target;
        view(&target).unwrap_or(target)
    })
}

/// A path as it is shown: there is no private directory yet.
fn shown(resource: &Resource) -> String {
    let text = String::from_utf8_lossy(resource.bytes());
    match text.strip_prefix(check::TMP) {
        Some(rest) => format!("{{tmp}}{rest}"),
        None => text.into_owned(),
    }
}

fn explain(
    args: &WhyArgs,
    permissions: &Permissions,
    policy: &Policy,
    access: &Access,
    target: &Target<'_>,
) -> (Why, bool, Vec<String>) {
    let decision = Decider::new(policy).decide(access.operation, &access.resource);
    let because = |provenance: &Provenance, by: &[String], r#as| Because {
        manifest: provenance
            .file
            .strip_prefix(&permissions.places.workspace)
            .unwrap_or(&provenance.file)
            .to_string_lossy()
            .into_owned(),
        line: provenance.line,
        table: provenance.table.clone(),
        key: provenance.key.clone(),
        entry: provenance.text.clone(),
        by: by.to_vec(),
        r#as,
    };
    let of = |grant: &Grant| because(&grant.provenance, &grant.by, check::seen(grant));
    let of_grant = |id: GrantId| permissions.policy.grants.get(id.0 as usize);
    let of_exception = |id: crate::access::ExceptionId| permissions.policy.exceptions.get(id.0 as usize);
    let is_protected =
        |id| of_exception(id).is_some_and(|exception| exception.kind == ExceptionKind::Protected);
    let covered = matches!(decision, Decision::Denied(Some(id)) if is_protected(id));
    let mut help = Vec::new();
    let (word, reasons) = match decision {
        Decision::Allowed(Some(id)) => ("allowed", of_grant(id).map(of).into_iter().collect()),
        Decision::Allowed(None) => {
            help.push("every guest may do this".to_owned());
            ("allowed", Vec::new())
        }
        Decision::DependsOnOrigin => {
            let able = able_by(policy, access);
            ("depends-on-origin", able.into_iter().map(of).collect())
        }
        Decision::Hidden(id) => {
            let place = of_exception(id).map(|exception| because(&exception.provenance, &[], None));
            ("hidden", place.into_iter().collect())
        }
        Decision::Denied(Some(id)) if !is_protected(id) => {
            let place = of_exception(id).map(|exception| because(&exception.provenance, &[], None));
            ("denied", place.into_iter().collect())
        }
        // A protected place is one that an entry can name.
        Decision::Denied(_) => {
            let manifest = &permissions.manifest;
            let suggested =
                policy::suggest(&permissions.policy, &permissions.places, manifest, access, target);
            if let Some(suggestion) = suggested.suggestion {
                help.push(format!("to allow it, add to {manifest}:\n\n{}", suggestion.paste));
            }
            help.extend(suggested.note);
            ("denied", Vec::new())
        }
    };
    let allowed = word == "allowed";
    let (landlock, landlock_wider) = landlock(args, permissions, policy, access, target.bind, allowed);
    let why = Why {
        reason: "sandbox-why",
        package: permissions.policy.package.clone(),
        operation: access.operation.key(),
        resource: shown(&access.resource),
        allowed: matches!(decision, Decision::Allowed(_)),
        decision: word,
        because: reasons,
        landlock,
        landlock_wider,
    };
    (why, covered, help)
}

/// Grants with `by` that cover the access for some crate.
fn able_by<'p>(policy: &'p Policy, access: &Access) -> Vec<&'p Grant> {
    let alone = |grant: &&Grant| {
        let one = Policy { grants: vec![Grant { by: Vec::new(), ..(*grant).clone() }], ..policy.clone() };
        let decision = Decider::new(&one).decide(access.operation, &access.resource);
        decision == Decision::Allowed(Some(grant.id))
    };
    policy.grants.iter().filter(|grant| !grant.by.is_empty()).filter(alone).collect()
}

fn landlock(
    args: &WhyArgs,
    permissions: &Permissions,
    policy: &Policy,
    access: &Access,
    bind: &Bindings,
    allowed: bool,
) -> (&'static str, Vec<String>) {
    let level = options::setup(&args.walls, false).landlock;
    let abi = kernel::usable_abi();
    if level == LandlockLevel::Off || abi == 0 {
        return ("off", Vec::new());
    }
    let Resource::Path(path) = &access.resource else { return ("not-checked", Vec::new()) };
    // A test's process has the layer of its own policy on top of that of all tests.
    let plan = kernel::plan(policy, abi, &check::look);
    let look = check::look(path);
    let mut answer = kernel::predict(&plan, access.operation, path, look);
    if args.test.is_some() && answer == kernel::Answer::Allows {
        let all = cut(&permissions.policy, &Scope::Test, bind);
        if all.grants.len() >= policy.grants.len() {
            answer = kernel::predict(&kernel::plan(&all, abi, &check::look), access.operation, path, look);
        }
    }
    let wider = plan.rules.iter().filter(|rule| {
        let beneath = path.strip_prefix(rule.path.as_slice());
        beneath.is_some_and(|rest| rest.is_empty() || rule.path == b"/" || rest[0] == b'/')
    });
    let wider: Vec<String> = wider.filter_map(|rule| rule.overgrant.clone()).collect();
    match answer {
        kernel::Answer::Allows if allowed => ("allows", Vec::new()),
        kernel::Answer::Allows => ("allows", wider),
        kernel::Answer::Denies => ("denies", Vec::new()),
        kernel::Answer::NotChecked => ("not-checked", Vec::new()),
    }
}

/// The answer for people. `covered` says that it is only denied as a protected place.
fn render(why: &Why, covered: bool, help: &[String], permissions: &Permissions) -> String {
    let line = |text: &str| escape::line(text).into_owned();
    let what = match why.operation {
        "read" if why.because.iter().any(|because| because.table.ends_with("env")) => "read variable",
        operation => operation,
    };
    let verdict = match why.decision {
        "depends-on-origin" => "allowed for some crates only",
        "hidden" => "hidden: the guest sees no such file, and nothing is reported",
        word => word,
    };
    let mut text = format!("{what} `{}` by {}: {verdict}\n", line(&why.resource), line(&why.package));
    for because in &why.because {
        let place = match because.line {
            0 => "the command line".to_owned(),
            number => format!("{}:{number}", line(&because.manifest)),
        };
        let by = if because.by.is_empty() {
            String::new()
        } else {
            format!(", by {}", line(&because.by.join(", ")))
        };
        let seen = because.r#as.map(|seen| format!(" as `{seen}`")).unwrap_or_default();
        _ = writeln!(
            text,
            "  `{}`{seen} in `{}.{}` at {place}{by}",
            line(&because.entry),
            line(&because.table),
            because.key
        );
    }
    if why.because.is_empty() && why.decision == "denied" {
        let names = if covered { "names it as a protected place" } else { "covers it" };
        _ = writeln!(text, "  no grant of {} {names}", line(&permissions.policy.package));
    }
    let wasi = match why.decision {
        "allowed" => "allows it",
        "hidden" => "hides it",
        "depends-on-origin" => "decides by the crate it originates from",
        _ => "denies it",
    };
    let landlock = match why.landlock {
        "allows" if why.landlock_wider.is_empty() => "allows it".to_owned(),
        "allows" => format!("lets it through: {}", line(&why.landlock_wider.join("; "))),
        "denies" => "denies it".to_owned(),
        "off" => "is off or missing".to_owned(),
        _ => "does not check it".to_owned(),
    };
    _ = writeln!(
        text,
        "  wasi      {wasi}\n  landlock  {landlock}\n  seccomp   does not look at paths or names"
    );
    for help in help {
        _ = writeln!(text, "  {}", escape::block(help.as_bytes()).replace('\n', "\n  "));
    }
    text
}

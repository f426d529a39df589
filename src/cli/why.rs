//! `cargo sandbox why PATH --op read`: the decision on one access, and what each wall says to it.

use super::args::{MessageFormat, WhyArgs};
use super::check::{self, cut};
use super::options;
use super::output::print;
use super::policies::Permissions;
use super::session::{Asked, Session};
use crate::cargo::metadata::Package;
use crate::cargo::select;
use crate::exit_status::ExitStatus;
use crate::report::escape;
use crate::runner::Failure;
use crate::runner::fs_lookup::Disk;
use sandbox_policy as policy;
use sandbox_policy::access::{Access, Decision, GrantId, Resource, Wall};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::{
    Bindings, Decider, ExceptionKind, Grant, Lookup, Policy, Provenance, Scope, Target, TargetKind,
};
use sandbox_walls as kernel;
use sandbox_walls::{Answer, FileKind, LandlockLevel, Planned};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
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
    #[serde(flatten, serialize_with = "by_wall")]
    walls: Vec<Said>,
}

/// What a wall says.
#[derive(Debug)]
struct Said {
    wall: Wall,
    answer: Answer,
    /// What it lets through beyond the policy, if that matters here.
    wider: Vec<String>,
}

/// Those that look at accesses, but for the first, whose answer is the decision.
fn by_wall<S: Serializer>(walls: &[Said], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    for Said { wall, answer, wider } in walls {
        if *wall != Wall::Wasi && *answer != Answer::Blind {
            map.serialize_entry(wall, answer.key())?;
            map.serialize_entry(&format!("{wall}_wider"), wider)?;
        }
    }
    map.end()
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
    let guests = options::guests(&args.policy, &args.walls, None);
    Asked::about("why", &args.cargo, &args.output, guests).session(|session| {
        let packages = select::packages(session.workspace, session.flags)?;
        let [package] = packages.as_slice() else {
            let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
            let message = "there are several packages here, each with a policy of its own";
            let diagnostic = Diagnostic::error("package", message)
                .help(format!("name one with `-p`: {}", names.join(", ")));
            return Err(Failure::new(ExitStatus::Usage, diagnostic));
        };
        let status = answer(args, package, session)?;
        Ok(session.outputs.close(status))
    })
}

fn answer(args: &WhyArgs, package: &Package, session: &mut Session<'_>) -> Result<ExitStatus, Failure> {
    let mut permissions = session.load(package)?;
    session.outputs.messages(std::mem::take(&mut permissions.warnings));
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
        Resource::Path(meant(&session.workspace.current_dir.join(Path::new(&args.resource)), &policy))
    } else {
        Resource::Env(args.resource.as_bytes().to_vec())
    };
    let access = Access { operation, resource };
    let mounted = &policy.mounts.holding(access.resource.bytes()).collect();
    let target = Target { kind, name, test: args.test.as_deref(), bind: &bind, mounted };
    let (why, covered, help) =
        explain(session.guests.setup.landlock, &permissions, &policy, &access, &target);
    if args.output.message_format == MessageFormat::Json {
        let line = serde_json::to_string(&why).unwrap_or_default();
        print(&(escape::json(line) + "\n"));
    } else if !args.output.quiet {
        print(&render(&why, covered, &help, &permissions));
    }
    Ok(if why.allowed { ExitStatus::Success } else { ExitStatus::Violation })
}

/// The path that is decided on: what the guest means by it first, then links.
fn meant(path: &Path, policy: &Policy) -> Vec<u8> {
    let plain: PathBuf = path.components().collect();
    let goes_up = plain.components().any(|part| part == Component::ParentDir);
    let seen = if goes_up { None } else { policy.mounts.to_host(plain.as_os_str().as_bytes()) };
    seen.unwrap_or_else(|| {
        let target = Disk.resolve(plain.as_os_str().as_bytes()).target;
        policy.mounts.to_host(&target).unwrap_or(target)
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
    level: LandlockLevel,
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
    let of_exception =
        |id: sandbox_policy::access::ExceptionId| permissions.policy.exceptions.get(id.0 as usize);
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
    let why = Why {
        reason: "sandbox-why",
        package: permissions.policy.package.clone(),
        operation: access.operation.key(),
        resource: shown(&access.resource),
        allowed: matches!(decision, Decision::Allowed(_)),
        decision: word,
        because: reasons,
        walls: walls(level, permissions, policy, access, target, word == "allowed"),
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

/// What each wall says.
fn walls(
    level: LandlockLevel,
    permissions: &Permissions,
    policy: &Policy,
    access: &Access,
    target: &Target<'_>,
    allowed: bool,
) -> Vec<Said> {
    let abi = if level == LandlockLevel::Off { 0 } else { kernel::usable_abi() };
    // A test's process has the layer of its own policy on top of that of all tests.
    let all = target.test.map(|_| cut(&permissions.policy, &Scope::Test, target.bind));
    let inherited: Vec<Policy> =
        all.into_iter().filter(|all| all.grants.len() >= policy.grants.len()).collect();
    let look = match &access.resource {
        Resource::Path(path) => check::look(path),
        _ => FileKind::Missing,
    };
    let said = |wall| {
        let planned = Planned::new(wall, policy, &inherited, abi, &check::look);
        let answer = planned.predict(access, look);
        let beyond = answer == Answer::Allows && !allowed;
        let wider = if beyond { planned.overgrants(access.resource.bytes()) } else { Vec::new() };
        Said { wall, answer, wider }
    };
    Wall::all().map(said).collect()
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
    for Said { wall, answer, wider } in &why.walls {
        let words = match answer {
            Answer::Allows if !wider.is_empty() => format!("lets it through: {}", line(&wider.join("; "))),
            answer => answer.words().to_owned(),
        };
        _ = writeln!(text, "  {wall:<9} {words}");
    }
    for help in help {
        _ = writeln!(text, "  {}", escape::block(help.as_bytes()).replace('\n', "\n  "));
    }
    text
}

//! `--sarif FILE`: violations and unused grants for code scanning, as SARIF 2.1.0 (OASIS,
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>). Rules are the operations. Only the parts of
//! the format that are used have a type here; a test holds them to the official schema.

use super::dedup::{self, Distinct};
use super::json::Report;
use super::json::wire::{Outcome, Verdict};
use super::locate::{Location as SourcePlace, Prefix};
use super::{Reporter, Unused, escape, render, summary};
use crate::event;
use sandbox_policy::access::Operation;
use sandbox_policy::diagnostic::Severity;
use serde::Serialize;
use std::io::{self, Write};

/// Writes SARIF at the end.
#[derive(Debug)]
pub struct Sarif<W: Write> {
    out: W,
    prefix: Prefix,
    unused: Unused,
}

impl<W: Write> Sarif<W> {
    /// A reporter that writes one file to `out`; unused grants are results as `unused` says.
    pub fn new(out: W, prefix: Prefix, unused: Unused) -> Self {
        Self { out, prefix, unused }
    }
}

impl<W: Write> Reporter for Sarif<W> {
    fn event(&mut self, _event: &event::RunEvent) {}

    fn finish_wire(&mut self, report: &Report) -> io::Result<()> {
        write(report, &self.prefix, self.unused, &mut self.out)
    }
}

/// Writes a report, which may be a merged one, as SARIF.
pub fn write(report: &Report, prefix: &Prefix, unused: Unused, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&Log::new(report, prefix, unused))?;
    out.write_all(escape::json(text).as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

const UNUSED: &str = "unused-grant";

#[derive(Debug, Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    default_configuration: Configuration,
}

#[derive(Debug, Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: u8,
    exit_code_description: String,
    properties: InvocationProperties,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
}

#[derive(Debug, Serialize)]
struct InvocationProperties {
    verdict: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    partial_fingerprints: Fingerprints,
    occurrence_count: u64,
}

#[derive(Debug, Serialize)]
struct Fingerprints {
    #[serde(rename = "access/v1")]
    access: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    uri_base_id: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<u32>,
}

impl Log {
    fn new(report: &Report, prefix: &Prefix, unused: Unused) -> Self {
        let mut results: Vec<_> =
            dedup::wire(report).iter().map(|distinct| violation(distinct, prefix)).collect();
        if let Some(severity) = unused.severity(report) {
            let level = if severity == Severity::Error { "error" } else { "warning" };
            for grant in &report.unused {
                let place = &grant.place;
                results.push(Finding {
                    rule_id: UNUSED,
                    rule_index: Operation::ALL.len(),
                    level,
                    message: Message { text: render::unused_title(grant) },
                    locations: [location(prefix.grant(place), prefix)],
                    partial_fingerprints: fingerprint(&[
                        &place.manifest,
                        &place.table,
                        &place.key,
                        &place.entry,
                    ]),
                    occurrence_count: 1,
                });
            }
        }
        // A verdict of the tool itself, as against one of what it looked at.
        let checked = !matches!(
            report.verdict,
            Verdict::Usage | Verdict::Unavailable | Verdict::Fault | Verdict::Manifest | Verdict::Interrupted
        );
        Self {
            schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
            version: "2.1.0",
            runs: [Run {
                tool: Tool {
                    driver: Driver {
                        name: "cargo-sandbox",
                        semantic_version: env!("CARGO_PKG_VERSION"),
                        rules: rules(),
                    },
                },
                invocations: [Invocation {
                    execution_successful: checked,
                    exit_code: report.exit_status,
                    exit_code_description: description(report),
                    properties: InvocationProperties { verdict: report.verdict.word() },
                    tool_execution_notifications: summary::not_run(report)
                        .into_iter()
                        .map(|text| Notification { level: "note", message: Message { text } })
                        .collect(),
                }],
                column_kind: "unicodeCodePoints",
                results,
            }],
        }
    }
}

fn description(report: &Report) -> String {
    let panicked = report.targets.iter().any(|target| target.outcome == Some(Outcome::Panicked {}));
    let end = if panicked { " (the guest panicked)" } else { "" };
    format!("{}{end}", summary::facts(report))
}

fn rules() -> Vec<Rule> {
    let rule = |id, text: String, level| Rule {
        id,
        short_description: Message { text },
        default_configuration: Configuration { level },
    };
    Operation::ALL
        .into_iter()
        .map(|operation| rule(operation.code(), format!("unexpected access: {operation}"), "error"))
        .chain([rule(UNUSED, "a grant that nothing used".to_owned(), "warning")])
        .collect()
}

fn violation(distinct: &Distinct<'_>, prefix: &Prefix) -> Finding {
    let violation = distinct.violation;
    let mut text = render::title(violation);
    let attribution = render::attribution(violation);
    if !attribution.is_empty() {
        text += &format!("\nfrom {attribution}");
    }
    for note in render::notes(distinct) {
        text += &format!("\n{note}");
    }
    if let Some(suggestion) = &violation.suggestion {
        let paste = escape::block(suggestion.paste.as_bytes());
        text +=
            &format!("\nto allow it, add to {}:\n{paste}", super::render::place_to_add(&suggestion.manifest));
    }
    let origin = violation.origin.as_ref();
    let code = violation.operation.code();
    Finding {
        rule_id: code,
        rule_index: Operation::ALL.iter().position(|op| *op == violation.operation).unwrap_or_default(),
        level: if violation.allowed { "warning" } else { "error" },
        message: Message { text },
        locations: [location(prefix.violation(violation), prefix)],
        // Stays the same when lines move.
        partial_fingerprints: fingerprint(&[
            code,
            &escape::line_bytes(&violation.resource.bytes()),
            origin.map_or("", |origin| &origin.package),
            origin.map_or("", |origin| &origin.frame.function),
        ]),
        occurrence_count: distinct.count,
    }
}

/// Code scanning shows no result without a place: the manifest is where it is mended.
fn location(place: Option<SourcePlace>, prefix: &Prefix) -> Location {
    let place = place.or_else(|| prefix.file("Cargo.toml", 1));
    let (file, line, columns) =
        place.map_or(("Cargo.toml".to_owned(), 1, None), |place| (place.file, place.line, place.columns));
    Location {
        physical_location: PhysicalLocation {
            artifact_location: ArtifactLocation { uri: uri(&file), uri_base_id: "%SRCROOT%" },
            region: Region {
                start_line: line,
                start_column: columns.map(|(first, _)| first),
                end_column: columns.map(|(_, last)| last + 1),
            },
        },
    }
}

/// A relative path as a URI reference (RFC 3986): everything but unreserved characters and `/` is
/// percent-encoded.
fn uri(file: &str) -> String {
    let mut uri = String::with_capacity(file.len());
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into())
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

fn fingerprint(parts: &[&str]) -> Fingerprints {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Fingerprints { access: hasher.finalize().to_hex()[..32].to_owned() }
}

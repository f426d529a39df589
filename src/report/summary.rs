//! The one line that says how a run ended.

use super::escape;
use super::json::Report;
use super::json::wire::{TestVerdict, Verdict};
use crate::exit_status::ExitStatus;
use std::collections::BTreeMap;

/// The facts of the summary, worst first: `2 unexpected accesses · 14 tests passed · 1 failed ·
/// landlock ABI 7`.
pub fn facts(report: &Report) -> String {
    let counts = &report.counts;
    let mut parts = Vec::new();
    match counts.violations {
        0 => {}
        1 => parts.push("1 unexpected access".to_owned()),
        n => parts.push(format!("{n} unexpected accesses")),
    }
    let has_tests = report.targets.iter().any(|target| !target.tests.is_empty());
    let passed = counts.passed + counts.flaky;
    if has_tests || report.command == "sandbox-test" {
        parts.push(if passed == 1 { "1 test passed".to_owned() } else { format!("{passed} tests passed") });
    }
    for (count, what) in [
        (counts.flaky, "flaky"),
        (counts.failed, "failed"),
        (counts.violated, "violated"),
        (counts.timed_out, "timed out"),
        (counts.killed, "killed"),
        (counts.ignored, "ignored"),
        (counts.not_run, "not run"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    match report.status() {
        ExitStatus::Success => {}
        ExitStatus::Guest(code) => parts.push(format!("exit status {code}, the guest's own")),
        status => parts.push(format!("exit status {}", status.code())),
    }
    if report.audit {
        parts.push("audit: grants were not enforced".to_owned());
    }
    let kernel = &report.kernel;
    parts.push(match (kernel.landlock_abi, &*kernel.landlock_level) {
        (_, "off") => "landlock off".to_owned(),
        (Some(abi), _) => {
            let newer = kernel.landlock_kernel_abi.filter(|own| *own > abi);
            let newer = newer.map_or(String::new(), |own| format!(" of this kernel's {own}"));
            let missing = match &kernel.missing[..] {
                [] => String::new(),
                missing => format!(" (without {})", escape::line(&missing.join(", "))),
            };
            format!("landlock ABI {abi}{newer}{missing}")
        }
        (None, _) => "no landlock".to_owned(),
    });
    parts.join(" · ")
}

/// What was not run, a line for each reason, with the first few names. Escaped.
pub fn not_run(report: &Report) -> Vec<String> {
    const SHOWN: usize = 5;
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let tests = report.targets.iter().flat_map(|target| &target.tests);
    for test in tests.filter(|test| test.verdict == TestVerdict::NotRun) {
        let name = format!("`{} {}`", escape::line(&test.binary), escape::line(&test.name));
        reasons.entry(&test.reason).or_default().push(name);
    }
    let line = |(reason, names): (&&str, &Vec<String>)| {
        let number = if names.len() == 1 { "1 test".to_owned() } else { format!("{} tests", names.len()) };
        let shown = names[..names.len().min(SHOWN)].join(", ");
        let more = match names.len() - names.len().min(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{number} not run: {}: {shown}{more}", escape::line(reason))
    };
    reasons.iter().map(line).collect()
}

/// The verdict as a verb of a status line, at most 12 characters.
pub const fn verb(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "Passed",
        Verdict::Exited => "Exited",
        Verdict::Usage => "Usage",
        Verdict::Unavailable => "Unavailable",
        Verdict::Fault => "Fault",
        Verdict::Violated => "Violated",
        Verdict::Manifest => "Manifest",
        Verdict::Unused => "Unused",
        Verdict::Gained => "Gained",
        Verdict::Failed => "Failed",
        Verdict::TimedOut => "Timed out",
        Verdict::Interrupted => "Interrupted",
        Verdict::Trapped => "Trapped",
    }
}

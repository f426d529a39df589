//! Walls 2 and 3 alone, with no wall 1 in front of them.
//!
//! A confined process cannot run the next test, and a process with the threads of a test harness can
//! neither be forked nor confined as a whole. So this is its own harness: each case is a run of this
//! binary, `__case NAME`. Filters, `--exact` and `--list` are as in libtest; `--cost` measures.

mod enclosure;
mod landlock;
mod landlock_escapes;
mod process;
mod seccomp;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

/// How the process of a case must end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    /// With status 0: every assertion held.
    Well,
    /// By `SIGSYS`: wall 3 killed it.
    BySeccomp,
}

/// One behaviour.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ends: Ends,
    pub(crate) run: fn(),
}

const fn case(name: &'static str, ends: Ends, run: fn()) -> Case {
    Case { name, ends, run }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let process = process::CASES.iter().chain(enclosure::CASES);
    landlock::CASES.iter().chain(landlock_escapes::CASES).chain(seccomp::CASES).chain(process)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__case", name] => {
            let case = cases().find(|case| case.name == name).expect("a case of this name");
            (case.run)();
            ExitCode::SUCCESS
        }
        ["--cost"] => {
            landlock::cost();
            seccomp::cost();
            ExitCode::SUCCESS
        }
        _ => harness(&arguments),
    }
}

fn harness(arguments: &[String]) -> ExitCode {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters
                .iter()
                .any(|filter| if has("--exact") { name == *filter } else { name.contains(*filter) })
    };
    let (mut passed, mut failed) = (0, 0);
    for case in cases().filter(|case| wanted(case.name) && !has("--ignored")) {
        if has("--list") {
            println!("{}: test", case.name);
            continue;
        }
        let output = Command::new("timeout")
            .args(["--signal=KILL", "60"])
            .arg(std::env::current_exe().expect("our own path"))
            .args(["__case", case.name])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .expect("a process");
        let ends = match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Some(Ends::Well),
            (_, Some(signal)) if signal == rustix::process::Signal::SYS.as_raw() => Some(Ends::BySeccomp),
            _ => None,
        };
        if ends == Some(case.ends) {
            passed += 1;
            println!("test {} ... ok", case.name);
        } else {
            failed += 1;
            println!("test {} ... FAILED: {}, expected to end {:?}", case.name, output.status, case.ends);
            println!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    if !has("--list") {
        println!("\ntest result: {passed} passed; {failed} failed");
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

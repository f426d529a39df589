//! The command line: what was typed ([`args`]) becomes what is done (one module a command).

pub mod args;
mod atomic_file;
mod attempts;
mod ceilings;
mod check;
mod diff;
mod docs;
mod first_look;
mod fix;
mod merge;
mod options;
mod output;
mod policies;
mod run;
mod runner;
mod session;
mod test;
mod unused;
mod vcs;
mod why;

use crate::exit_status::ExitStatus;
use crate::runner::doctest::{BY_ORDERS, Orders, RUNNER};
use crate::worker::protocol::timings::{Phase, reached};
use args::{Cli, Command};
use clap::Parser;
use sandbox_walls::process;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

/// The whole program, given its arguments including the name it was called by.
pub fn main(args: Vec<OsString>) -> ExitCode {
    reached(Phase::Main);
    match &args[..] {
        [_, first, orders, rest @ ..] if first == BY_ORDERS => {
            let error = Orders::follow(orders, rest);
            output::fatal(&format!("cannot run an example: {error}"));
            return ExitStatus::Fault.into();
        }
        [_, first, orders, rest @ ..] if first == RUNNER => {
            close_memory();
            return runner::example(orders, rest).into();
        }
        _ => {}
    }
    let cli = match Cli::try_parse_from(without_cargo_words(args)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that cannot be written because its reader is gone is no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success }.into();
        }
    };
    reached(Phase::Arguments);
    if matches!(cli.command, Command::Run(_) | Command::Test(_) | Command::Runner(_)) {
        close_memory();
    }
    let status = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Test(args) => test::test(args),
        Command::Runner(args) => runner::runner(args),
        Command::Check(args) => check::check(&args),
        Command::Why(args) => why::why(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Report(args) => merge::report(&args),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { directory } => docs::man(&directory),
    };
    status.into()
}

/// Where Landlock is off, nothing else keeps a process of the same user from the memory of one that starts guests.
fn close_memory() {
    // What we start is not concerned; a system that has no such thing has no walls either.
    let _ = process::set_not_dumpable();
}

/// The whole of `cargo-sandbox-run` and `cargo-sandbox-test`: becomes `cargo-sandbox COMMAND …`,
/// the binary beside this one. Returns only if it is not there.
pub fn hand_over(command: &str) -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    // Cargo calls `cargo-sandbox-run sandbox-run …`.
    args.next_if(|first| *first == *format!("sandbox-{command}"));
    let binary = std::env::current_exe().map(|own| own.with_file_name("cargo-sandbox"));
    let error = match binary {
        Ok(binary) => std::process::Command::new(binary).arg(command).args(args).exec(),
        Err(error) => error,
    };
    output::fatal(&format!(
        "cannot start `cargo-sandbox`, which is installed together with this command: {error}"
    ));
    ExitStatus::Fault.into()
}

/// `cargo sandbox run` calls `cargo-sandbox sandbox run`, and an alias may call
/// `cargo-sandbox sandbox-run`.
fn without_cargo_words(mut args: Vec<OsString>) -> Vec<OsString> {
    match args.get(1).and_then(|word| word.to_str()) {
        Some("sandbox") => {
            args.remove(1);
        }
        Some("sandbox-run") => args[1] = "run".into(),
        Some("sandbox-test") => args[1] = "test".into(),
        _ => {}
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_way_to_call_it_leads_to_the_same_words() {
        let words = |args: &[&str]| without_cargo_words(args.iter().map(OsString::from).collect());
        for way in [&["x", "sandbox", "run", "-q"][..], &["x", "sandbox-run", "-q"], &["x", "run", "-q"]] {
            assert_eq!(words(way), ["x", "run", "-q"].map(OsString::from));
        }
    }
}

//! Shell completions and man pages, made from the same definition as the command line.

use super::args::Cli;
use super::output;
use crate::exit_status::ExitStatus;
use clap::CommandFactory;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Prints completions for `cargo-sandbox` to standard output.
pub(super) fn completions(shell: clap_complete::Shell) -> ExitStatus {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cargo-sandbox", &mut script);
    // A reader that has seen enough is not a failure.
    let _ = io::stdout().write_all(&script);
    ExitStatus::Success
}

/// Writes `cargo-sandbox.1` and one page for each command into `directory`; the pages of `run` and
/// `test` also under the names that `cargo help sandbox-run` looks for.
pub(super) fn man(directory: &Path) -> ExitStatus {
    match write_pages(directory) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            output::fatal(&format!("cannot write man pages to `{}`: {error}", directory.display()));
            ExitStatus::Fault
        }
    }
}

fn write_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let command = Cli::command();
    page(&command, "cargo-sandbox", directory)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(sub, &format!("cargo-sandbox-{}", sub.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str, directory: &Path) -> io::Result<()> {
    // roff titles are static in clap: two dozen short strings for the life of this process.
    let static_name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let man = clap_mangen::Man::new(command.clone().name(static_name));
    let mut text = Vec::new();
    man.render(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)
}

//! What every command about a workspace begins with: the flags, whether this machine can do it, the workspace, the
//! outputs, and then the permissions of its packages.

use super::args::{CargoArgs, OutputArgs, Unused};
use super::first_look::{closed_to_guests, first_look};
use super::options;
use super::output::Outputs;
use super::policies::{self, Permissions};
use super::unused;
use crate::cargo::command::{Built, CargoCommand, Goal, TargetFlags};
use crate::cargo::metadata::{Package, Workspace};
use crate::cargo::owner::Packages;
use crate::cargo::{CargoFlags, WASIP1, target};
use crate::event::RunEvent;
use crate::exit_status::ExitStatus;
use crate::runner::interrupt::Interrupt;
use crate::runner::{Failure, GuestOptions, current_dir, metadata_dir, source};
use crate::worker::protocol::timings::{Phase, reached};
use std::path::Path;

/// What a command is asked for, before anything is looked at.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// As reports name it.
    pub(super) command: &'static str,
    pub(super) cargo: &'a CargoArgs,
    pub(super) output: &'a OutputArgs,
    /// What is said of guests.
    pub(super) guests: GuestOptions,
    /// What is made of unused grants.
    pub(super) unused: Unused,
    /// The Landlock layers of what will run, if anything will.
    pub(super) layers: Option<u32>,
}

/// A command at work.
pub(super) struct Session<'a> {
    pub(super) flags: &'a CargoFlags,
    pub(super) guests: &'a GuestOptions,
    /// That of the current directory, or of `--manifest-path`.
    pub(super) workspace: &'a Workspace,
    pub(super) outputs: &'a mut Outputs,
}

impl<'a> Asked<'a> {
    /// For a command that runs no guest: there is no use of a grant to be told of, and no layer to be had.
    pub(super) fn about(
        command: &'static str,
        cargo: &'a CargoArgs,
        output: &'a OutputArgs,
        guests: GuestOptions,
    ) -> Self {
        Self { command, cargo, output, guests, unused: Unused::Allow, layers: None }
    }
}

impl Asked<'_> {
    /// Finds the workspace, opens the outputs, and does the rest. What goes wrong is said.
    pub(super) fn session(
        &self,
        rest: impl FnOnce(&mut Session<'_>) -> Result<ExitStatus, Failure>,
    ) -> ExitStatus {
        let flags = options::cargo_flags(self.cargo, self.output);
        let find = || {
            if let Some(layers) = self.layers {
                first_look(&self.guests.setup, layers)?;
            }
            let workspace = Workspace::load(&flags, &current_dir()?, metadata_dir().as_deref())?;
            reached(Phase::Metadata);
            source::hold(&workspace.root);
            let root = workspace.root.clone();
            Ok((workspace, root))
        };
        Outputs::during_judging(self.output, unused::to_report(self.unused), find, |outputs, workspace| {
            outputs.command = self.command;
            rest(&mut Session { flags: &flags, guests: &self.guests, workspace: &workspace, outputs })
        })
    }
}

impl<'a> Session<'a> {
    /// The permissions of a package.
    ///
    /// # Errors
    /// As for [`policies::load`].
    pub(super) fn load(&self, package: &Package) -> Result<Permissions, Failure> {
        policies::load(self.workspace, package, &self.guests.policy)
    }

    /// The same for guests that will run in `folder`; what is to be said of them is said.
    ///
    /// # Errors
    /// As for [`policies::load`].
    pub(super) fn permissions(&mut self, package: &Package, folder: &Path) -> Result<Permissions, Failure> {
        let mut permissions = self.load(package)?;
        self.outputs.messages(std::mem::take(&mut permissions.warnings));
        self.outputs.messages(closed_to_guests(folder).into_iter().collect());
        Ok(permissions)
    }

    /// Asks for the packages of a build, once there is something to attribute.
    pub(super) fn find_packages(&self) -> impl FnMut() -> Packages + use<'a> {
        let (flags, current_dir) = (self.flags, &self.workspace.current_dir);
        move || Packages::load(flags, current_dir).unwrap_or_default()
    }

    /// Builds through cargo, and once more if only the target was missing.
    ///
    /// # Errors
    /// It cannot be built, or somebody pressed Ctrl-C.
    pub(super) fn build(
        &mut self,
        goal: Goal,
        flags: &CargoFlags,
        targets: &TargetFlags,
        interrupt: &Interrupt,
    ) -> Result<Built, Failure> {
        let workspace = self.workspace;
        let mut say = |text: &str| {
            self.outputs.event(&RunEvent::Status { verb: "Installing", text: text.to_owned() });
        };
        if !target::was_built_before(&workspace.target_dir, WASIP1) {
            target::ensure(WASIP1, flags, &workspace.current_dir, &mut say)?;
        }
        let command = CargoCommand::build(&std::env::current_exe()?, goal, workspace, flags, targets)?;
        match build_once(&command, workspace, interrupt) {
            Err(failure) if failure.status == ExitStatus::Failed && failure.messages.is_empty() => {
                // The target may have gone since it was last built for.
                if target::ensure(WASIP1, flags, &workspace.current_dir, &mut say)? {
                    return build_once(&command, workspace, interrupt);
                }
                Err(failure)
            }
            result => result,
        }
    }
}

fn build_once(
    command: &CargoCommand,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Built, Failure> {
    let build = command.spawn()?;
    let stop = build.interrupt();
    Ok(interrupt.during(|| build.artifacts(workspace), || stop.stop())??)
}

//! What a process is enclosed in, as plain data: who starts a process can write it down, and the process
//! itself puts it in force.

use super::error::Error;
use super::landlock::{Enforced, LandlockLevel, Layer, look, plan, usable_abi};
use super::process::Attributes;
use super::rlimits::{self, Rlimits};
use super::seccomp::{self, Profile};
use sandbox_policy::Policy;
use sandbox_policy::access::Wall;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Everything around a process, in the order in which it is put in force. Each part only ever takes away, and
/// what is `None` stays as it is, so that a process can be enclosed further later on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosure<'a> {
    /// Its attributes, capabilities among them.
    pub attributes: Attributes,
    /// What it may use up.
    pub limits: Option<Rlimits>,
    /// The files it may reach: Landlock.
    pub files: Option<Files<'a>>,
    /// The system calls it may make: seccomp.
    pub calls: Option<Profile>,
}

/// The files that a process may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files<'a> {
    /// What is granted. The rules are made where they are enforced, as they depend on what is there.
    pub policy: Cow<'a, Policy>,
    /// How much of Landlock must be there.
    pub level: LandlockLevel,
    /// Where the kernel has too little of it, or no room for one more layer, the rest stands alone.
    pub dispensable: bool,
}

/// An enclosure whose files are open, ready to be put in force by this process or by one that it forks.
#[derive(Debug)]
pub struct Prepared {
    attributes: Attributes,
    limits: Option<Rlimits>,
    layer: Option<Layer>,
    dispensable: bool,
    calls: Option<Profile>,
}

impl Enclosure<'_> {
    /// Puts it in force for this process and all that it starts from then on, while it has one thread.
    /// Answers with what Landlock enforces.
    ///
    /// # Errors
    /// Nothing is best effort: what cannot be enforced is an error, after which the process may be confined in
    /// part and must end.
    pub fn enforce(self) -> Result<Enforced, Error> {
        self.prepare()?.enforce()
    }

    /// Opens what the rules are on. Nothing is in force yet.
    ///
    /// # Errors
    /// As for [`enforce`](Self::enforce).
    pub fn prepare(self) -> Result<Prepared, Error> {
        let Self { attributes, limits, files, calls } = self;
        let dispensable = files.as_ref().is_some_and(|files| files.dispensable);
        let layer = match files.as_ref().map(layer).transpose() {
            Err(Error::Unavailable(_)) if dispensable => None,
            layer => layer?,
        };
        Ok(Prepared { attributes, limits, layer, dispensable, calls })
    }
}

/// The rules of `files`, opened.
fn layer(files: &Files<'_>) -> Result<Layer, Error> {
    let mut attempts = 0;
    loop {
        match Layer::new(&plan(&files.policy, usable_abi(), &look), files.level) {
            // Something was made or removed between looking and opening.
            Err(Error::Path(..) | Error::Changed(_)) if attempts < 3 => attempts += 1,
            layer => return layer,
        }
    }
}

impl Prepared {
    /// See [`Enclosure::enforce`].
    ///
    /// # Errors
    /// The same.
    pub fn enforce(mut self) -> Result<Enforced, Error> {
        self.attributes.apply()?;
        if let Some(limits) = self.limits {
            rlimits::apply(&limits).map_err(|error| Error::Process("resource limits", error))?;
        }
        let mut enforced = Enforced::of(None);
        for wall in Wall::all() {
            match wall {
                // The host functions of whoever runs code here, and nothing that a process has.
                Wall::Wasi => {}
                Wall::Landlock => match self.layer.take().map(Layer::enter).transpose() {
                    Err(Error::Layers) if self.dispensable => {}
                    layer => enforced = layer?.unwrap_or(enforced),
                },
                Wall::Seccomp => self.calls.map_or(Ok(()), seccomp::install)?,
            }
        }
        Ok(enforced)
    }
}

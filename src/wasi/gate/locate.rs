//! Where a path leads: the way through the gate.

use super::{Gate, Pin, Place, Target};
use crate::wasi::Mode;
use crate::wasi::fault::Fault;
use crate::wasi::folding;
use crate::wasi::resolve::{self, Shape};
use crate::wasi::types::Errno;

/// How often a path is tried again when something outside changes it meanwhile.
const ATTEMPTS: usize = 16;

impl Gate {
    /// Finds out what `target` names, and acts on it. `act` decides on the path it is given and
    /// then acts through [`Gate::open`] only; it answers `ELOOP` if the kernel met a link, and may
    /// be called several times, so it changes nothing before it is sure.
    pub(crate) fn locate<R>(
        &mut self,
        target: Target<'_>,
        mut act: impl FnMut(&mut Self, Place<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let mut path = std::mem::take(&mut self.scratch);
        let result = self.locate_in(target, &mut path, &mut act);
        self.scratch = path;
        for point in self.untold.get_mut().drain(..) {
            self.sink.mounted(point);
        }
        result
    }

    fn locate_in<R>(
        &mut self,
        target: Target<'_>,
        path: &mut Vec<u8>,
        act: &mut impl FnMut(&mut Self, Place<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let shape = resolve::clean(target.base, target.relative, path)?;
        if let Some(host) = self.to_host(path, None) {
            *path = host;
        }
        let follow = target.follow || shape.directory;
        let Shape { directory, dot, dots } = shape;
        if self.mode == Mode::Off {
            return act(self, Place { path, directory, dot, follow });
        }
        let mut pinned = if target.pinned { target.base.len() } else { 0 };
        let mut resolved = false;
        if dots {
            *path = resolve::resolve(self, path, pinned, follow)?;
            resolved = true;
        }
        for _ in 0..ATTEMPTS {
            match self.act_on(path, (directory, dot, follow), act) {
                Err(Fault::Errno(Errno::LOOP)) => {
                    let canonical = resolve::resolve(self, path, pinned, follow)?;
                    if !follow && canonical == *path {
                        return Err(Errno::LOOP.into());
                    }
                    *path = canonical;
                }
                Err(Fault::Denied(denial)) if !resolved && denial.exception.is_none() => {
                    match resolve::resolve(self, path, pinned, follow) {
                        Ok(canonical) if canonical != *path => *path = canonical,
                        _ => return Err(Fault::Denied(denial)),
                    }
                }
                result => return result,
            }
            resolved = true;
            pinned = 0;
        }
        Err(Errno::ACCES.into())
    }

    /// Acts on one path, by the names that the directories on its way have themselves.
    fn act_on<R>(
        &mut self,
        path: &mut Vec<u8>,
        (directory, dot, follow): (bool, bool, bool),
        act: &mut impl FnMut(&mut Self, Place<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let Some(pin) = self.look(path) else {
            return act(self, Place { path, directory, dot, follow });
        };
        self.pins.push(pin);
        let mut result = act(self, Place { path, directory, dot, follow });
        let refusal = self.pins.pop().and_then(|pin| pin.refusal());
        if let (Err(Fault::Denied(denial)), Some(why)) = (&mut result, refusal)
            && denial.note.is_empty()
            && denial.resource.bytes() == path.as_slice()
        {
            why.clone_into(&mut denial.note);
        }
        result
    }

    /// See [`folding::look`].
    fn look(&self, path: &mut Vec<u8>) -> Option<Pin> {
        let open = |directory: &[u8]| self.open_path(directory, true, true);
        folding::look(&self.folding, path, &open, &|directory| self.tells_apart_in(directory))
    }
}

//! How a process ends that runs no guest.

use super::confine::Unconfined;
use crate::worker::protocol::wire;
use crate::worker::protocol::{FromWorker, Stage, bounded};
use rustix::net::SendFlags;
use std::os::fd::{AsFd, OwnedFd};

/// The exit status of a worker that can no longer say what is wrong.
pub(crate) const BROKEN: u8 = 70;

/// Says why nothing will run.
pub(crate) fn give_up(control: &OwnedFd, why: Unconfined) -> u8 {
    let message = match why {
        Unconfined::Unavailable(why) => FromWorker::Refused(bounded(why)),
        failed @ Unconfined::Failed(_) => FromWorker::Failed(Stage::Setup, failed.text()),
    };
    let said = wire::send(control.as_fd(), &message, &[], SendFlags::empty());
    if said.is_ok() { 0 } else { BROKEN }
}

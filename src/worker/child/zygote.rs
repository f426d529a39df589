//! The worker's side of tests: loads once, confines itself to what all of the tests together may do,
//! then forks a child for each, which confines itself further and runs one fresh instance.
//!
//! The zygote itself never runs guest code. A child has no descriptor of the zygote's but its own
//! channel, the root directory, the turns that it takes with other guests and the standard streams: the control socket is closed first thing,
//! and the zygote reads no message ahead, so that nothing of a later test is in the memory or among
//! the descriptors that a fork copies.

use super::confine::{self, Unconfined};
use super::give_up::{BROKEN, give_up};
use super::guest::{self, Loaded};
use super::template::Template;
use crate::wasi::{Preopens, Turns};
use crate::worker::protocol::wire;
use crate::worker::protocol::{FromWorker, TestsTask, ToWorker, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sandbox_policy::access::Wall;
use sandbox_walls::{seccomp::Profile, sys};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A test that is to be run.
struct Next {
    id: u64,
    /// A `TestRun` in its encoding.
    test: Vec<u8>,
    channel: OwnedFd,
    /// Where it may ask, if it may.
    asking: Option<OwnedFd>,
}

/// What became of a message from the supervisor.
enum Heard {
    Run(Next),
    Kill(u64),
    End,
}

/// Serves tests until the supervisor has no more. Returns the exit status of the process.
pub(crate) fn serve(control: OwnedFd, task: TestsTask, code: OwnedFd, root: OwnedFd, turns: Turns) -> u8 {
    let turns = Arc::new(turns);
    let preopens = match guest::preopens(task.confinement.layout, &root) {
        Ok(preopens) => preopens,
        Err(error) => return give_up(&control, Unconfined::failed("root directory", error)),
    };
    let folding = guest::folding(&task.confinement, &root);
    let template = match prepare(&control, task, [code, root], Arc::clone(&turns), preopens, folding) {
        Ok(Some(template)) => template,
        Ok(None) => return 0,
        Err(why) => return give_up(&control, why),
    };
    let mut next = None;
    loop {
        match step(&control, &turns, &mut next) {
            Ok(Step::Again) => {}
            Ok(Step::End) => return 0,
            Ok(Step::Child(Next { test, channel, asking, .. })) => {
                drop((control, next));
                sys::exit_now(template.live(&test, channel, asking));
            }
            // The supervisor sees it by the end of the socket, and starts another one.
            Err(_) => return BROKEN,
        }
    }
}

fn prepare(
    control: &OwnedFd,
    task: TestsTask,
    [code, root]: [OwnedFd; 2],
    turns: Arc<Turns>,
    preopens: Preopens,
    folding: Vec<Vec<u8>>,
) -> Result<Option<Template>, Unconfined> {
    let confinement = &task.confinement;
    let enforced = confine::enclosure(confinement, &task.union, Profile::Load).enforce()?;
    let say = |message: &FromWorker| {
        wire::send(control.as_fd(), message, &[], SendFlags::empty())
            .map_err(|error| Unconfined::failed("zygote", error))
    };
    let loaded = match Loaded::new(File::from(code), confinement.strategy) {
        Ok(loaded) => loaded,
        Err((stage, why)) => return say(&FromWorker::Failed(stage, bounded(why))).map(|()| None),
    };
    confine::filter(confinement, Profile::Zygote).enforce()?;
    let seccomp = confinement.walls.stands(Wall::Seccomp);
    let template = Template::new(task, root, preopens, turns, folding, loaded)?;
    say(&FromWorker::Ready(enforced, seccomp))?;
    Ok(Some(template))
}

/// What the zygote's loop does next.
enum Step {
    Again,
    End,
    /// This is the new process, and that its test.
    Child(Next),
}

fn step(control: &OwnedFd, turns: &Turns, next: &mut Option<Next>) -> io::Result<Step> {
    let test = match next.take() {
        Some(test) => test,
        None => match hear(control)? {
            Heard::Run(test) => test,
            // It has ended in the meantime, and that was said.
            Heard::Kill(_) => return Ok(Step::Again),
            Heard::End => return Ok(Step::End),
        },
    };
    let sys::Fork::Parent(pid) = sys::fork()? else { return Ok(Step::Child(test)) };
    let id = test.id;
    drop(test);
    let Some(exit) = attend(control, pid, id, next)? else { return Ok(Step::End) };
    // It may have been killed in the middle of one.
    turns.give_up();
    let (code, signal) = match exit {
        sys::Exit::Code(code) => (code, 0),
        sys::Exit::Signal(signal) => (0, signal),
    };
    wire::send(control.as_fd(), &FromWorker::Reaped(id, code, signal), &[], SendFlags::empty())
        .map_err(io::Error::other)?;
    Ok(Step::Again)
}

fn hear(control: &OwnedFd) -> io::Result<Heard> {
    match wire::receive::<ToWorker>(control.as_fd()).map_err(io::Error::other)? {
        Some((ToWorker::Run(id, test), fds)) if (1..=2).contains(&fds.len()) => {
            let mut fds = fds.into_iter();
            let channel = fds.next().expect("there is one");
            Ok(Heard::Run(Next { id, test, channel, asking: fds.next() }))
        }
        Some((ToWorker::Kill(id), _)) => Ok(Heard::Kill(id)),
        Some(_) => Err(io::Error::other("a message out of place")),
        None => Ok(Heard::End),
    }
}

/// Waits for the child and hears what the supervisor says meanwhile: to kill it, or what to run
/// next. `None` if the supervisor has closed.
fn attend(control: &OwnedFd, pid: Pid, id: u64, next: &mut Option<Next>) -> io::Result<Option<sys::Exit>> {
    // Not reaped yet, so the number is still this child's.
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let (ended, spoken) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if ended {
            return sys::wait(pid).map(Some);
        }
        if spoken {
            match hear(control)? {
                Heard::Run(test) if next.is_none() => *next = Some(test),
                Heard::Run(_) => return Err(io::Error::other("more than one test ahead")),
                Heard::Kill(which) if which == id => pidfd_send_signal(&pidfd, Signal::KILL)?,
                // One word for each test that was sent: that it has ended, or that it never began.
                Heard::Kill(which) => {
                    if next.take_if(|test| test.id == which).is_some() {
                        let message = FromWorker::Withdrawn(which);
                        wire::send(control.as_fd(), &message, &[], SendFlags::empty())
                            .map_err(io::Error::other)?;
                    }
                }
                Heard::End => {
                    pidfd_send_signal(&pidfd, Signal::KILL)?;
                    sys::wait(pid)?;
                    return Ok(None);
                }
            }
        }
    }
}

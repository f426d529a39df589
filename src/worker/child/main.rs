//! The worker's side: from the first instruction to a confined process that does its task.

use super::channel_sink::ChannelSink;
use super::confine::{self, Unconfined};
use super::give_up::{BROKEN, give_up};
use super::guest::{self, Guest, Loaded, Ready};
use super::zygote;
use crate::compile::child;
use crate::symbols::Symbols;
use crate::wasi::{Stdio, Turns};
use crate::worker::protocol::timings::{Phase, reached};
use crate::worker::protocol::wire::{self, WireError};
use crate::worker::protocol::{COMPILE_MEMORY, EARLY_ARGUMENT, MAX_CODE};
use crate::worker::protocol::{FromWorker, RunTask, Start, Task, ToWorker, VERSION, bounded};
use rustix::net::SendFlags;
use sandbox_policy::access::Wall;
use sandbox_walls::process::{self, Attributes};
use sandbox_walls::{Enclosure, rlimits::Rlimits, seccomp::Profile};
use std::fs::File;
use std::io::Read;
use std::num::NonZeroI32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Largest task, in bytes: a policy of a hundred thousand grants is smaller.
const MAX_TASK: u64 = 256 << 20;
/// Virtual memory of a child that compiles, in bytes, and what it may use of it: 32 MB of wasm, the code of
/// 100,000 functions, take 600 MB; threads reserve.
const COMPILE_SPACE: u64 = 16 << 30;
/// The same of a child that symbolises.
const SYMBOLISE_MEMORY: u64 = 4 << 30;
/// Processor time of both, in seconds. The supervisor's clock ends them earlier, unless it is gone.
const TOOL_SECONDS: u64 = 600;

/// The whole life of a worker, whose standard input is the control socket. Returns its exit status,
/// which says nothing that was not said through the socket, but in a test's child.
///
/// To be called before anything else in `main`, while there is one thread.
pub fn main() -> u8 {
    reached(Phase::WorkerMain);
    match begin() {
        Ok((control, start, fds)) => serve(control, &start, fds),
        // Not started by a supervisor: there is nobody to answer to.
        Err(_) => BROKEN,
    }
}

fn begin() -> Result<(OwnedFd, Start, Vec<OwnedFd>), WireError> {
    process::close_other_fds(&[])?;
    // Said again, and checked, when there is somebody to tell: a worker that runs already must not reach one
    // that is about to be made.
    let _ = process::set_not_dumpable();
    // Away from the guest's own descriptors.
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    if std::env::args_os().nth(2).is_some_and(|word| word == EARLY_ARGUMENT) {
        // Nothing of the guest is here yet: what needs nothing of it is made while there is time.
        guest::warm_up();
    }
    let (start, fds) = wire::receive::<Start>(control.as_fd())?.ok_or(WireError::Malformed("no task"))?;
    Ok((control, start, fds))
}

fn serve(control: OwnedFd, start: &Start, fds: Vec<OwnedFd>) -> u8 {
    let say = |message: &FromWorker| wire::send(control.as_fd(), message, &[], SendFlags::empty());
    let (task, fds) = match set_up(start, fds) {
        Ok(set_up) => set_up,
        Err(why) => return give_up(&control, why),
    };
    let done = match (task, fds.as_slice()) {
        (Task::Run(task), [_, _, _, _]) => {
            let [code, root, door, room] = fds.try_into().expect("it has four descriptors");
            return run(control, *task, code, root, Turns::of([door, room]));
        }
        (Task::Tests(task), [_, _, _, _]) => {
            let [code, root, door, room] = fds.try_into().expect("it has four descriptors");
            return zygote::serve(control, *task, code, root, Turns::of([door, room]));
        }
        (Task::Compile(strategy), [output]) => {
            let limits = Rlimits {
                address_space: Some(COMPILE_SPACE),
                data: Some(COMPILE_MEMORY),
                cpu_seconds: Some(TOOL_SECONDS),
                // Its output is memory that no other limit counts.
                file_size: Some(MAX_CODE),
                ..Rlimits::default()
            };
            confine::tool(Profile::Compile, limits).enforce().map(|_| {
                let input = std::io::stdin().as_fd().try_clone_to_owned();
                let compiled = match (input, output.try_clone()) {
                    (Ok(input), Ok(output)) => {
                        child::compile(&mut File::from(input), &mut File::from(output), strategy)
                    }
                    (Err(error), _) | (_, Err(error)) => Err(child::CompileError::Machine(error.to_string())),
                };
                let _ = say(&FromWorker::Compiled(compiled.map(Box::new).map_err(|error| match error {
                    child::CompileError::Module(why) => child::CompileError::Module(bounded(why)),
                    child::CompileError::TooMuch(why) => child::CompileError::TooMuch(bounded(why)),
                    child::CompileError::Machine(why) => child::CompileError::Machine(bounded(why)),
                })));
                0
            })
        }
        (Task::Symbolise, []) => {
            let limits = Rlimits {
                address_space: Some(SYMBOLISE_MEMORY),
                cpu_seconds: Some(TOOL_SECONDS),
                file_size: Some(0),
                ..Rlimits::default()
            };
            confine::tool(Profile::Symbolise, limits).enforce().map(|_| {
                let _ = symbolise(&control);
                0
            })
        }
        _ => {
            let why = "the descriptors do not fit the task".to_owned();
            return give_up(&control, Unconfined::Failed(why));
        }
    };
    done.unwrap_or_else(|why| give_up(&control, why.into()))
}

/// Takes the first descriptor for the standard input and the task from the second.
fn set_up(start: &Start, fds: Vec<OwnedFd>) -> Result<(Task, Vec<OwnedFd>), Unconfined> {
    if start.version != VERSION {
        return Err(Unconfined::Failed("the program was replaced while it ran: start it again".to_owned()));
    }
    let supervisor = NonZeroI32::new(start.supervisor)
        .ok_or_else(|| Unconfined::Failed("the supervisor has no process id".to_owned()))?;
    // Ctrl-C is the supervisor's to act on: it ends its workers and says so.
    let attributes = Attributes { powerless: true, dies_with: Some(supervisor), own_session: true };
    Enclosure { attributes, ..Enclosure::default() }.enforce()?;
    let mut fds = fds.into_iter();
    let (Some(stdin), Some(task)) = (fds.next(), fds.next()) else {
        return Err(Unconfined::Failed("descriptors are missing".to_owned()));
    };
    rustix::stdio::dup2_stdin(&stdin).map_err(|e| Unconfined::failed("standard input", e))?;
    if start.task > MAX_TASK {
        return Err(Unconfined::Failed("the policy is too large".to_owned()));
    }
    let mut bytes = vec![0; start.task as usize];
    File::from(task).read_exact_at(&mut bytes, 0).map_err(|e| Unconfined::failed("task", e))?;
    let task = postcard::from_bytes(&bytes).map_err(|e| Unconfined::failed("task", e))?;
    reached(Phase::Task);
    Ok((task, fds.collect()))
}

fn run(control: OwnedFd, task: RunTask, code: OwnedFd, root: OwnedFd, turns: Turns) -> u8 {
    let preopens = match guest::preopens(task.confinement.layout, &root) {
        Ok(preopens) => preopens,
        Err(error) => return give_up(&control, Unconfined::failed("root directory", error)),
    };
    let folding = guest::folding(&task.confinement, &root);
    let loaded = match prepare(&control, &task, code) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return 0,
        Err(why) => return give_up(&control, why),
    };
    let sink = ChannelSink::new(control);
    let guest = Guest {
        policy: task.policy,
        args: task.args,
        env: task.env,
        root,
        stdio: Stdio::Inherit,
        preopens,
        turns: Arc::new(turns),
        folding,
    };
    let ended = guest::host(&task.confinement, guest, &sink).and_then(|host| Ready::new(&loaded, host)).map(
        |ready| {
            reached(Phase::Instantiate);
            ready.run(&[], &sink)
        },
    );
    let (ended, backtrace) = ended.unwrap_or_else(|ended| ended);
    reached(Phase::Run);
    if task.confinement.timings {
        let _ = sink.phases();
    }
    if sink.end(ended, backtrace).is_ok() { 0 } else { BROKEN }
}

fn prepare(control: &OwnedFd, task: &RunTask, code: OwnedFd) -> Result<Option<Loaded>, Unconfined> {
    let confinement = &task.confinement;
    let enforced = confine::enclosure(confinement, &task.policy, Profile::Load).enforce()?;
    reached(Phase::Confine);
    let say = |message: &FromWorker| {
        wire::send(control.as_fd(), message, &[], SendFlags::empty())
            .map_err(|error| Unconfined::failed("control socket", error))
    };
    match Loaded::new(File::from(code), confinement.strategy) {
        Ok(loaded) => {
            // From here on no memory becomes executable. Nothing of the guest has run.
            confine::filter(confinement, Profile::Run).enforce()?;
            reached(Phase::Load);
            say(&FromWorker::Ready(enforced, confinement.walls.stands(Wall::Seccomp)))?;
            Ok(Some(loaded))
        }
        Err((stage, why)) => say(&FromWorker::Failed(stage, bounded(why))).map(|()| None),
    }
}

/// Answers until the supervisor has no more questions.
fn symbolise(control: &OwnedFd) -> Result<(), WireError> {
    let mut wasm = Vec::new();
    std::io::stdin().take(child::MAX_WASM).read_to_end(&mut wasm)?;
    // Malformed debug information leaves the names; a malformed module, nothing.
    let symbols = Symbols::read(&wasm).or_else(|_| Symbols::names_only(&wasm)).ok();
    while let Some(message) = wire::receive_plain::<ToWorker>(control.as_fd())? {
        let ToWorker::Symbolise(frames) = message else {
            return Err(WireError::Malformed("not a question for symbols"));
        };
        let known = symbols.as_ref().map(|symbols| symbols.frames(&frames)).unwrap_or_default();
        for inlined in known.into_iter().chain(std::iter::repeat(Vec::new())).take(frames.len()) {
            let message = FromWorker::Symbols(within_bounds(inlined));
            wire::send(control.as_fd(), &message, &[], SendFlags::empty())?;
        }
    }
    Ok(())
}

/// Names in debug information may be of any length; a frame of the protocol may not.
fn within_bounds(mut frames: Vec<sandbox_policy::access::Frame>) -> Vec<sandbox_policy::access::Frame> {
    const MAX_NAME: usize = 1024;
    frames.truncate(crate::worker::protocol::MAX_INLINED);
    for frame in &mut frames {
        for text in [&mut frame.krate, &mut frame.function, &mut frame.file] {
            text.truncate(text.floor_char_boundary(MAX_NAME));
        }
    }
    frames
}

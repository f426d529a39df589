//! The supervisor's side of the children that read hostile bytes: compiling and symbolising. A
//! crash, a time-out or nonsense from them is a message, never a fault of the supervisor.

use super::spawn::{Launcher, Process, Streams, in_words, memory_file, message, seal};
use crate::compile::{self, Cache, ModuleInfo, Strategy, cache::Miss, child::CompileError};
use crate::worker::protocol::wire::{Progress, WireError};
use crate::worker::protocol::{COMPILE_MEMORY, MAX_CODE};
use crate::worker::protocol::{FromWorker, Task, ToWorker};
use rustix::net::SendFlags;
use sandbox_policy::access::{Frame, RawFrame};
use sandbox_policy::diagnostic::Diagnostic;
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long compiling one module may take.
const COMPILE_TIME: Duration = Duration::from_secs(300);
/// How long finding the symbols of one backtrace may take.
const SYMBOLISE_TIME: Duration = Duration::from_secs(20);
/// How long finding the symbols of all backtraces of one artifact may take together.
const SYMBOLISE_TIME_IN_ALL: Duration = Duration::from_secs(60);
/// Bytes of names that are kept of one artifact: its debug information may say the same long ones of
/// every frame.
const MAX_NAMES: usize = 64 << 20;
/// Frames asked for in one message.
const MAX_QUESTION: usize = 1024;

/// Code that a worker can load, and what is known of its module.
#[derive(Debug)]
pub struct Artifact {
    /// Machine code; empty for a component, which this build cannot run.
    pub code: File,
    /// Known of the module.
    pub module_info: ModuleInfo,
    /// It came from the cache.
    pub cached: bool,
    /// Why it could not be added to the cache, if there is one.
    pub not_kept: Option<String>,
}

impl Launcher {
    /// The code of a wasm file: from the cache if there is one and it has it, otherwise compiled in
    /// a child of its own. What cannot be cached is compiled all the same.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no module, or cannot be compiled.
    pub fn prepare(
        &self,
        wasm: &mut File,
        strategy: Strategy,
        cache: Option<&Cache>,
    ) -> Result<Artifact, Diagnostic> {
        let Some(cache) = cache else {
            let (code, module_info) = self.compile(wasm, strategy)?;
            return Ok(Artifact { code, module_info, cached: false, not_kept: None });
        };
        let fingerprint = fingerprint(strategy)?;
        match cache.find(wasm, &fingerprint).map_err(unreadable)? {
            Ok(entry) => Ok(Artifact {
                code: entry.code,
                module_info: entry.module_info,
                cached: true,
                not_kept: None,
            }),
            Err(miss) => {
                let (mut code, module_info) = self.compile(wasm, strategy)?;
                let mut not_kept = None;
                if !module_info.component {
                    // A full disk makes the next run slower, and this one no different.
                    not_kept =
                        cache.put(&miss, wasm, &mut code, &module_info).err().map(|error| error.to_string());
                }
                Ok(Artifact { code, module_info, cached: false, not_kept })
            }
        }
    }

    /// The code of a wasm file if the cache has it, made by this compiler.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn cached(
        &self,
        wasm: &mut File,
        strategy: Strategy,
        cache: &Cache,
    ) -> Result<Option<Artifact>, Diagnostic> {
        let fingerprint = fingerprint(strategy)?;
        let found = cache.find(wasm, &fingerprint).map_err(unreadable)?;
        let found = found.ok();
        Ok(found.map(|entry| Artifact {
            code: entry.code,
            module_info: entry.module_info,
            cached: true,
            not_kept: None,
        }))
    }

    /// What adding the code of a wasm file to the cache needs; `None` if it is there or cannot be.
    pub(crate) fn missing(&self, wasm: &mut File, strategy: Strategy, cache: &Cache) -> Option<Miss> {
        cache.find(wasm, &fingerprint(strategy).ok()?).ok()?.err()
    }

    /// Compiles in a child that has no rights but to read `wasm`, from its beginning, and to write its
    /// output.
    ///
    /// # Errors
    ///
    /// The module is wrong, or the child crashed or took too much time or memory.
    pub fn compile(&self, wasm: &mut File, strategy: Strategy) -> Result<(File, ModuleInfo), Diagnostic> {
        let mut compiling = self.start_compiling(wasm, strategy)?;
        let answer = compiling.child.next_message(COMPILE_TIME);
        compiling.end(answer)
    }

    /// Starts [compiling](Self::compile) and does not wait for it.
    pub(crate) fn start_compiling(
        &self,
        wasm: &mut File,
        strategy: Strategy,
    ) -> Result<Compiling, Diagnostic> {
        wasm.rewind().map_err(machine)?;
        let code = memory_file(&[]).map_err(machine)?;
        let child = self
            .start(&Task::Compile(strategy), &[wasm.as_fd(), code.as_fd()], Streams::Null)
            .map_err(machine)?;
        Ok(Compiling { child, code, started: Instant::now() })
    }
}

/// A child that compiles. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Compiling {
    child: Process,
    code: File,
    started: Instant,
}

impl Compiling {
    /// Becomes readable when there is something to [hear](Self::hear).
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.child.socket.as_fd()
    }

    /// When it will have taken too long.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + COMPILE_TIME
    }

    /// What came of it, if that is known yet. Never waits.
    pub(crate) fn hear(&mut self) -> Option<Result<(File, ModuleInfo), Diagnostic>> {
        let child = &mut self.child;
        let answer = child.reader.read(&child.socket).and_then(|progress| match child.reader.frame()? {
            Some(frame) => message(&frame).map(|message| (Some(message), progress)),
            None => Ok((None, progress)),
        });
        if matches!(answer, Ok((None, Progress::Some | Progress::Empty))) && Instant::now() < self.deadline()
        {
            return None;
        }
        Some(self.end(answer.map(|(message, _)| message)))
    }

    fn end(
        &mut self,
        answer: Result<Option<FromWorker>, WireError>,
    ) -> Result<(File, ModuleInfo), Diagnostic> {
        let module_info = match answer {
            Ok(Some(FromWorker::Compiled(Ok(module_info)))) => *module_info,
            Ok(Some(FromWorker::Compiled(Err(CompileError::Module(why))))) => {
                return Err(Diagnostic::error(
                    "artifact",
                    format!("the artifact is not a valid module: {why}"),
                ));
            }
            Ok(Some(FromWorker::Compiled(Err(CompileError::TooMuch(why))))) => {
                let message = format!("the artifact is too much to compile: {why}");
                return Err(Diagnostic::error("artifact", message));
            }
            Ok(Some(FromWorker::Compiled(Err(CompileError::Machine(why))))) => return Err(failed(why)),
            Ok(Some(other)) => return Err(failed(super::run::WorkerError::early(other).to_string())),
            Err(error) => return Err(failed(error.to_string())),
            Ok(None) => {
                self.child.kill();
                let status = self.child.wait(Duration::ZERO).map_err(machine)?;
                return Err(failed(in_words(status)).note(format!(
                    "a module is compiled in a process of its own, which may take {} seconds and {} GiB",
                    COMPILE_TIME.as_secs(),
                    COMPILE_MEMORY >> 30
                )));
            }
        };
        // Nobody writes to it any more: it is no longer shared with a living child.
        self.child.kill();
        self.child.wait(Duration::ZERO).map_err(machine)?;
        if self.code.metadata().map_err(machine)?.len() > MAX_CODE {
            return Err(failed(format!("its code is larger than {} MiB", MAX_CODE >> 20)));
        }
        // Several workers will map it, and none may change what another one runs.
        seal(&self.code).map_err(machine)?;
        let mut code = self.code.try_clone().map_err(machine)?;
        code.rewind().map_err(machine)?;
        Ok((code, module_info))
    }
}

fn failed(why: String) -> Diagnostic {
    Diagnostic::error("compile", format!("the artifact was not compiled: {why}"))
}

fn machine(error: io::Error) -> Diagnostic {
    failed(error.to_string())
}

fn unreadable(error: io::Error) -> Diagnostic {
    Diagnostic::error("artifact", format!("the artifact cannot be read: {error}"))
}

/// What code of this compiler depends on besides the module.
fn fingerprint(strategy: Strategy) -> Result<[u8; 32], Diagnostic> {
    let engine = compile::engine(strategy)
        .map_err(|error| Diagnostic::error("compile", format!("no engine for this machine: {error:#}")))?;
    Ok(compile::fingerprint(&engine, strategy))
}

/// Finds symbols of one module, in a child that lives as long as this value. The child is started at
/// the first question; after a failure there are no more answers.
#[derive(Debug)]
pub struct Symboliser {
    launcher: Launcher,
    wasm: File,
    child: State,
    /// Time and bytes of names so far.
    spent: Duration,
    kept: usize,
}

#[derive(Debug)]
enum State {
    New,
    Running(Process),
    Broken,
}

impl Symboliser {
    /// For the module in `wasm`.
    pub fn new(launcher: &Launcher, wasm: File) -> Self {
        Self { launcher: launcher.clone(), wasm, child: State::New, spent: Duration::ZERO, kept: 0 }
    }

    /// The source-level frames of each raw frame, innermost first. Debug information is the guest's
    /// word. An empty list means that nothing is known.
    ///
    /// # Errors
    ///
    /// The child crashed, took too long or answered nonsense; a warning to show once. From then on
    /// every answer is empty.
    pub fn symbolise(&mut self, frames: &[RawFrame]) -> Result<Vec<Vec<Frame>>, Diagnostic> {
        let mut answers = Vec::with_capacity(frames.len());
        for frames in frames.chunks(MAX_QUESTION) {
            let begun = Instant::now();
            let answer = self.ask(frames);
            self.spent += begun.elapsed();
            match answer {
                Ok(some) => answers.extend(some),
                Err(why) => {
                    self.child = State::Broken;
                    return Err(Diagnostic::warning(
                        "symbols",
                        format!("the source lines of this artifact are not known: {why}"),
                    ));
                }
            }
        }
        Ok(answers)
    }

    fn ask(&mut self, frames: &[RawFrame]) -> Result<Vec<Vec<Frame>>, String> {
        if matches!(self.child, State::New) {
            self.wasm.rewind().map_err(|error| error.to_string())?;
            let child = self.launcher.start(&Task::Symbolise, &[self.wasm.as_fd()], Streams::Null);
            self.child = State::Running(child.map_err(|error| error.to_string())?);
        }
        let State::Running(child) = &mut self.child else { return Ok(vec![Vec::new(); frames.len()]) };
        crate::worker::protocol::wire::send(
            child.socket.as_fd(),
            &ToWorker::Symbolise(frames.to_vec()),
            &[],
            SendFlags::DONTWAIT,
        )
        .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + SYMBOLISE_TIME.min(SYMBOLISE_TIME_IN_ALL.saturating_sub(self.spent));
        let mut answers = Vec::with_capacity(frames.len());
        while answers.len() < frames.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            match child.next_message(left).map_err(|error| error.to_string())? {
                Some(FromWorker::Symbols(frames)) => {
                    self.kept += frames
                        .iter()
                        .map(|f| size_of::<Frame>() + f.krate.len() + f.function.len() + f.file.len())
                        .sum::<usize>();
                    if self.kept > MAX_NAMES {
                        return Err(format!("there is more than is kept of it, {} MiB", MAX_NAMES >> 20));
                    }
                    answers.push(frames);
                }
                Some(other) => return Err(super::run::WorkerError::early(other).to_string()),
                None => {
                    child.kill();
                    return Err(in_words(child.wait(Duration::ZERO).map_err(|error| error.to_string())?));
                }
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_debug_information_is_not_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let name = "n".repeat(1024);
        let frame = Frame { krate: name.clone(), function: name.clone(), file: name, ..Frame::default() };
        let body = postcard::to_stdvec(&FromWorker::Symbols(vec![frame; 256])).unwrap();
        let answer = [&(body.len() as u32).to_le_bytes()[..], &[0], &body].concat();
        std::fs::write(folder.path().join("answer"), answer).unwrap();
        let program = folder.path().join("worker");
        let text =
            format!("#!/bin/sh\nwhile cat {}/answer >&0 2>/dev/null; do :; done\n", folder.path().display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let wasm = tempfile::tempfile().unwrap();
        let mut symboliser = Symboliser::new(&Launcher::at(program), wasm);
        let frames = vec![RawFrame { function: 0, offset: 0 }; 400];
        let why = symboliser.symbolise(&frames).expect_err("300 MB are too much to keep");
        assert!(why.message.contains("more than is kept"), "{}", why.message);
        assert!(symboliser.symbolise(&frames).unwrap().iter().all(Vec::is_empty));
    }
}

//! What a test's process does when somebody else's code runs in it: for the tests of this project
//! that show what that cannot change. Only in builds with the feature `test-walls`.

use super::protocol::{Ended, FromWorker, Misbehaviour};
use super::tell::Teller;
use super::wire;
use crate::access::{Access, Operation, RawFrame, RawViolation, Resource, Wall};
use crate::kernel::sys;
use crate::wasi::Turns;
use rustix::fs::FileType;
use rustix::process::{Signal, kill_process};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Never returns but for [`Misbehaviour::Reach`] and [`Misbehaviour::Pry`], whose attempts are answered by the walls.
pub(super) fn misbehave(misbehaviour: Misbehaviour, teller: &Teller, turns: &Arc<Turns>) {
    let say = |message: &FromWorker| teller.raw(message);
    match misbehaviour {
        Misbehaviour::Lie => {
            let _ = say(&FromWorker::Ended(Ended::Exited(0), Vec::new()));
            sys::exit_now(3)
        }
        Misbehaviour::SpeakForAnother => {
            let _ = say(&FromWorker::Reaped(1, 0, 0));
            let _ = say(&FromWorker::Ended(Ended::Exited(0), Vec::new()));
            sys::exit_now(0)
        }
        Misbehaviour::Flood => {
            for i in 0_u64.. {
                let violation = RawViolation {
                    access: Access {
                        operation: Operation::Read,
                        resource: Resource::Path(format!("/{i}").into_bytes()),
                    },
                    wall: Wall::Wasi,
                    exception: None,
                    note: "x".repeat(60_000),
                    let_through: false,
                    backtrace: Vec::new(),
                };
                if say(&FromWorker::Violation(Box::new(violation))).is_err() {
                    break;
                }
            }
            sys::exit_now(0)
        }
        Misbehaviour::Garbage => {
            teller.with_channel(|channel| {
                let _ = rustix::io::write(channel, &[0xff; 4096]);
            });
            sys::exit_now(0)
        }
        Misbehaviour::Ask => {
            for function in 0.. {
                if say(&FromWorker::Origin(vec![RawFrame { function, offset: 0 }])).is_err() {
                    break;
                }
            }
            sys::exit_now(0)
        }
        Misbehaviour::Silent => sys::exit_now(0),
        Misbehaviour::Die => {
            // Its own thread is the one process that it may signal.
            std::process::abort()
        }
        Misbehaviour::Hold => {
            let _turn = turns.alone();
            loop {
                std::thread::park();
            }
        }
        Misbehaviour::Spin => loop {
            std::hint::spin_loop();
        },
        Misbehaviour::Fork => {
            // The filter has no such call: it is the last thing that this process does.
            let _ = sys::fork();
            sys::exit_now(0)
        }
        Misbehaviour::Signal => {
            if let Some(zygote) = rustix::process::getppid() {
                let _ = kill_process(zygote, Signal::KILL);
            }
            sys::exit_now(0)
        }
        Misbehaviour::Reach => reach(teller),
        Misbehaviour::Pry => pry(teller),
    }
}

/// Says in its output which sockets it has besides its own channel. `stat` needs no right.
fn reach(teller: &Teller) {
    let own = teller.with_channel(|channel| channel.as_raw_fd());
    for number in (0..200).filter(|number| *number != own) {
        let path = format!("/proc/self/fd/{number}");
        if let Ok(stat) = rustix::fs::stat(path)
            && FileType::from_raw_mode(stat.st_mode) == FileType::Socket
        {
            print(teller, &format!("descriptor {number} is a socket\n"));
        }
    }
}

fn print(teller: &Teller, text: &str) {
    teller.with_channel(|channel| {
        let _ = wire::send_output(channel, wire::Kind::Stdout, &[IoSlice::new(text.as_bytes())]);
    });
}

/// Without Landlock, or there is nothing to see.
fn pry(teller: &Teller) {
    let status =
        |process: &str| std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own = status("self");
    for line in own.lines().filter(|line| line.starts_with("Cap")) {
        print(teller, &format!("{line}\n"));
    }
    let parent =
        |status: &str| status.lines().find_map(|line| Some(line.strip_prefix("PPid:")?.trim().to_owned()));
    let zygote = parent(&own).unwrap_or_default();
    let supervisor = parent(&status(&zygote)).unwrap_or_default();
    for (whose, process) in [("zygote", zygote), ("supervisor", supervisor)] {
        let memory = std::fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"));
        let answer = memory.map_or_else(|error| error.kind().to_string(), |_| "it is open".to_owned());
        print(teller, &format!("{whose}: {answer}\n"));
    }
}

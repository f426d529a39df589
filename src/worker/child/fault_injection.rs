//! What a test's process does when somebody else's code runs in it: for the tests of this project
//! that show what that cannot change. Only in builds with the feature `test-walls`.

use super::channel_sink::ChannelSink;
use crate::wasi::Turns;
use crate::worker::protocol::wire;
use crate::worker::protocol::{Ended, FromWorker, InjectedFault};
use rustix::fs::FileType;
use rustix::process::{Signal, kill_process};
use sandbox_policy::access::{Access, Evidence, Operation, RawFrame, RawViolation, Resource, Wall};
use sandbox_walls::sys;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Never returns but for [`InjectedFault::Reach`] and [`InjectedFault::Pry`], whose attempts are answered by the walls.
pub(crate) fn inject(fault: InjectedFault, sink: &ChannelSink, turns: &Arc<Turns>) {
    let say = |message: &FromWorker| sink.raw(message);
    match fault {
        InjectedFault::Lie => {
            let _ = say(&FromWorker::Ended(Ended::Exited(0), Vec::new()));
            sys::exit_now(3)
        }
        InjectedFault::SpeakForAnother => {
            let _ = say(&FromWorker::Reaped(1, 0, 0));
            let _ = say(&FromWorker::Ended(Ended::Exited(0), Vec::new()));
            sys::exit_now(0)
        }
        InjectedFault::Flood => {
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
                    evidence: Evidence::Wasm(Vec::new()),
                };
                if say(&FromWorker::Violation(Box::new(violation))).is_err() {
                    break;
                }
            }
            sys::exit_now(0)
        }
        InjectedFault::Garbage => {
            sink.with_channel(|channel| {
                let _ = rustix::io::write(channel, &[0xff; 4096]);
            });
            sys::exit_now(0)
        }
        InjectedFault::Ask => {
            for function in 0.. {
                if say(&FromWorker::Origin(vec![RawFrame { function, offset: 0 }])).is_err() {
                    break;
                }
            }
            sys::exit_now(0)
        }
        InjectedFault::Silent => sys::exit_now(0),
        InjectedFault::Die => {
            // Its own thread is the one process that it may signal.
            std::process::abort()
        }
        InjectedFault::Hold => {
            let _turn = turns.alone();
            loop {
                std::thread::park();
            }
        }
        InjectedFault::Spin => loop {
            std::hint::spin_loop();
        },
        InjectedFault::Fork => {
            // The filter has no such call: it is the last thing that this process does.
            let _ = sys::fork();
            sys::exit_now(0)
        }
        InjectedFault::Signal => {
            if let Some(zygote) = rustix::process::getppid() {
                let _ = kill_process(zygote, Signal::KILL);
            }
            sys::exit_now(0)
        }
        InjectedFault::Reach => reach(sink),
        InjectedFault::Pry => pry(sink),
    }
}

/// Says in its output which sockets it has besides its own channel. `stat` needs no right.
fn reach(sink: &ChannelSink) {
    let own = sink.with_channel(|channel| channel.as_raw_fd());
    for number in (0..200).filter(|number| *number != own) {
        let path = format!("/proc/self/fd/{number}");
        if let Ok(stat) = rustix::fs::stat(path)
            && FileType::from_raw_mode(stat.st_mode) == FileType::Socket
        {
            print(sink, &format!("descriptor {number} is a socket\n"));
        }
    }
}

fn print(sink: &ChannelSink, text: &str) {
    sink.with_channel(|channel| {
        let _ = wire::send_output(channel, wire::Kind::Stdout, &[IoSlice::new(text.as_bytes())]);
    });
}

/// Without Landlock, or there is nothing to see.
fn pry(sink: &ChannelSink) {
    let status =
        |process: &str| std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own = status("self");
    for line in own.lines().filter(|line| line.starts_with("Cap")) {
        print(sink, &format!("{line}\n"));
    }
    let parent =
        |status: &str| status.lines().find_map(|line| Some(line.strip_prefix("PPid:")?.trim().to_owned()));
    let zygote = parent(&own).unwrap_or_default();
    let supervisor = parent(&status(&zygote)).unwrap_or_default();
    for (whose, process) in [("zygote", zygote), ("supervisor", supervisor)] {
        let memory = std::fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"));
        let answer = memory.map_or_else(|error| error.kind().to_string(), |_| "it is open".to_owned());
        print(sink, &format!("{whose}: {answer}\n"));
    }
}

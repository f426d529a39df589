//! The guest's standard streams.

use super::gate::Fault;
use super::types::{Errno, Kind, fdstat, rights};
use super::{Sink, Stdio, Stop, Stream};
use rustix::fs::FileType;
use rustix::io::Errno as Native;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};

/// What the standard library's panic message contains in every version.
const PANIC: &[u8] = b"panicked at ";

/// Counts and forwards output.
pub(crate) struct Output {
    to: Stdio,
    /// Bytes that may still be written, if that is limited.
    left: Option<u64>,
    panicked: bool,
    /// The last bytes of standard error, where a panic message may go on in the next call.
    tail: Vec<u8>,
    kinds: [Kind; 3],
}

impl Output {
    pub(crate) fn new(to: Stdio, limit: Option<u64>) -> Self {
        let mut kinds = [Kind::Unknown; 3];
        kinds[0] = kind(std::io::stdin().as_fd());
        if to == Stdio::Inherit {
            kinds[1] = kind(std::io::stdout().as_fd());
            kinds[2] = kind(std::io::stderr().as_fd());
        }
        Self { to, left: limit, panicked: false, tail: Vec::new(), kinds }
    }

    pub(crate) fn panicked(&self) -> bool {
        self.panicked
    }

    /// What kind of file a stream (0, 1, 2) is: a terminal must look like one to the guest's
    /// `isatty`, and nothing else may.
    pub(crate) fn kind(&self, number: usize) -> Kind {
        self.kinds[number]
    }

    /// The `fdstat` of a stream.
    pub(crate) fn fdstat(&self, number: usize) -> [u8; 24] {
        let direction = if number == 0 { rights::FD_READ } else { rights::FD_WRITE };
        fdstat(self.kind(number), 0, rights::STREAM | direction, 0)
    }

    pub(crate) fn write(
        &mut self,
        sink: &mut dyn Sink,
        stream: Stream,
        bufs: &[IoSlice<'_>],
    ) -> Result<usize, Fault> {
        if stream == Stream::Error && !self.panicked {
            self.look_for_panic(bufs);
        }
        let Some(left) = self.left else { return self.forward(sink, stream, bufs) };
        let total: u64 = bufs.iter().map(|buf| buf.len() as u64).sum();
        if total <= left {
            let written = self.forward(sink, stream, bufs)?;
            self.left = Some(left - written as u64);
            return Ok(written);
        }
        // What still fits goes out, so that the limit cuts the output and does not lose it.
        let mut room = usize::try_from(left).unwrap_or(usize::MAX);
        let mut cut = Vec::new();
        for buf in bufs {
            let take = buf.len().min(room);
            room -= take;
            if take > 0 {
                cut.push(IoSlice::new(&buf[..take]));
            }
        }
        let written = if cut.is_empty() { 0 } else { self.forward(sink, stream, &cut)? as u64 };
        self.left = Some(left - written);
        if written < left { Ok(written as usize) } else { Err(Fault::Stop(Stop::Limit("output"))) }
    }

    fn forward(&self, sink: &mut dyn Sink, stream: Stream, bufs: &[IoSlice<'_>]) -> Result<usize, Fault> {
        if self.to == Stdio::Channel {
            return sink.output(stream, bufs).map_err(|error| {
                let native = error.raw_os_error().map(Native::from_raw_os_error);
                native.map_or(Fault::Errno(Errno::IO), Fault::from)
            });
        }
        loop {
            // A single buffer is the usual case, and for it the plain call is the faster one.
            let written = match (stream, bufs) {
                (Stream::Output, [buf]) => rustix::io::write(std::io::stdout(), buf),
                (Stream::Error, [buf]) => rustix::io::write(std::io::stderr(), buf),
                (Stream::Output, bufs) => rustix::io::writev(std::io::stdout(), bufs),
                (Stream::Error, bufs) => rustix::io::writev(std::io::stderr(), bufs),
            };
            match written {
                Err(Native::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    /// Remembers whether a panic message was written. It comes in one call or in many, cut at any
    /// place.
    fn look_for_panic(&mut self, bufs: &[IoSlice<'_>]) {
        for buf in bufs {
            if !self.tail.is_empty() {
                let tail = self.tail.len();
                self.tail.extend_from_slice(&buf[..buf.len().min(PANIC.len() - 1)]);
                self.panicked |= contains(&self.tail, PANIC);
                self.tail.truncate(tail);
            }
            self.panicked |= contains(buf, PANIC);
            if self.panicked {
                return;
            }
            self.tail.extend_from_slice(&buf[buf.len().saturating_sub(PANIC.len() - 1)..]);
            let surplus = self.tail.len().saturating_sub(PANIC.len() - 1);
            self.tail.drain(..surplus);
        }
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    // `k` is the rarest letter of the needle: only where it is are the neighbours compared.
    let rare = 4;
    let mut from = rare;
    while let Some(found) =
        text.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == needle[rare]))
    {
        let start = from + found - rare;
        if text[start..].starts_with(needle) {
            return true;
        }
        from = start + rare + 1;
    }
    false
}

fn kind(fd: BorrowedFd<'_>) -> Kind {
    match rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::CharacterDevice) if rustix::termios::isatty(fd) => Kind::CharacterDevice,
        Ok(FileType::RegularFile) => Kind::RegularFile,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_policy::access::{GrantId, RawFrame, RawViolation};

    #[derive(Default)]
    struct Collect(Vec<u8>);

    impl Sink for Collect {
        fn violation(&mut self, violation: RawViolation) {
            panic!("{violation:?}");
        }
        fn used(&mut self, grant: GrantId) {
            panic!("{grant:?}");
        }
        fn origin(&mut self, _backtrace: &[RawFrame]) -> Option<String> {
            None
        }
        fn output(&mut self, _stream: Stream, bufs: &[IoSlice<'_>]) -> std::io::Result<usize> {
            bufs.iter().for_each(|buf| self.0.extend_from_slice(buf));
            Ok(bufs.iter().map(|buf| buf.len()).sum())
        }
    }

    fn panicked(pieces: &[&str]) -> bool {
        let mut output = Output::new(Stdio::Channel, None);
        for piece in pieces {
            output.write(&mut Collect::default(), Stream::Error, &[IoSlice::new(piece.as_bytes())]).unwrap();
        }
        output.panicked()
    }

    #[test]
    fn a_panic_message_is_seen_however_it_is_cut() {
        let message = "\nthread 'main' panicked at src/main.rs:2:5:\nno\n";
        assert!(panicked(&[message]));
        for cut in 0..message.len() {
            assert!(panicked(&[&message[..cut], &message[cut..]]), "cut at {cut}");
        }
        let letters: Vec<String> = message.chars().map(String::from).collect();
        assert!(panicked(&letters.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(!panicked(&["it panicked", "  at noon; panicked a", "nd went: picked at "]));
    }

    #[test]
    fn panic_on_standard_output_is_text() {
        let mut output = Output::new(Stdio::Channel, None);
        output.write(&mut Collect::default(), Stream::Output, &[IoSlice::new(b"panicked at x")]).unwrap();
        assert!(!output.panicked());
    }

    #[test]
    fn the_limit_cuts_exactly_and_then_stops() {
        let mut output = Output::new(Stdio::Channel, Some(10));
        let mut sink = Collect::default();
        let piece = |text: &'static [u8]| IoSlice::new(text);
        assert_eq!(output.write(&mut sink, Stream::Output, &[piece(b"1234")]).unwrap(), 4);
        assert_eq!(output.write(&mut sink, Stream::Error, &[piece(b"56")]).unwrap(), 2);
        let end = output.write(&mut sink, Stream::Output, &[piece(b"78"), piece(b"90"), piece(b"x")]);
        assert!(matches!(end, Err(Fault::Stop(Stop::Limit("output")))));
        assert_eq!(sink.0, b"1234567890");
    }
}

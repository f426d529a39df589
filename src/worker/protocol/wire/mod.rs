//! Frames over a Unix stream socket or a pipe: four bytes of length (little endian), one byte of kind, the
//! body. Both ends bound what they read; nothing here allocates more than [`MAX_FRAME`] at the word
//! of the other side.

mod reader;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::PipeFlags;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use reader::{Frame, Progress, Reader};

/// Largest frame, its header included, in bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Most descriptors that come with one frame.
pub const MAX_FDS: usize = 6;
/// Pieces of output that are sent with one call.
const MAX_PARTS: usize = 16;

const HEADER: usize = 5;
/// Bytes of output that one frame carries at most.
pub const MAX_OUTPUT: usize = 64 << 10;

/// What the body of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message, in postcard's encoding.
    Message,
    /// Raw bytes of the guest's standard output.
    Stdout,
    /// Raw bytes of the guest's standard error.
    Stderr,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Message => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Message),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// The other side does not speak the protocol, or the connection is broken.
#[derive(Debug)]
pub enum WireError {
    /// The socket failed.
    Io(io::Error),
    /// A frame is too long, of an unknown kind, or not what it says; in words.
    Malformed(&'static str),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for WireError {}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for WireError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A connected pair of sockets, closed on exec.
///
/// # Errors
///
/// No descriptors are left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A way from a guest's process to the supervisor: the end to read from, which never waits, and the
/// one to write to. A guest may print in pieces of a few bytes; a pipe keeps them together, where a
/// socket makes a packet of each, for twice the time.
///
/// # Errors
///
/// No descriptors are left.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// Sends one message, and descriptors with it.
///
/// # Errors
///
/// The other side is gone, does not read (only with [`SendFlags::DONTWAIT`] or a send time-out on
/// the socket), or the message is longer than a frame may be.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), WireError> {
    let body =
        postcard::to_stdvec(message).map_err(|_| WireError::Malformed("a message cannot be encoded"))?;
    send_body(socket, Kind::Message, &[IoSlice::new(&body)], fds, flags)
}

/// Sends bytes of output, at most [`MAX_OUTPUT`], and returns how many.
///
/// # Errors
///
/// As for [`send`].
pub fn send_output(socket: BorrowedFd<'_>, kind: Kind, bufs: &[IoSlice<'_>]) -> Result<usize, WireError> {
    let mut room = MAX_OUTPUT;
    let mut body = [IoSlice::new(&[]); MAX_PARTS];
    for (part, buf) in body.iter_mut().zip(bufs) {
        let taken = &buf[..buf.len().min(room)];
        room -= taken.len();
        *part = IoSlice::new(taken);
    }
    if room < MAX_OUTPUT {
        send_body(socket, kind, &body[..bufs.len().min(MAX_PARTS)], &[], SendFlags::empty())?;
    }
    Ok(MAX_OUTPUT - room)
}

fn send_body(
    socket: BorrowedFd<'_>,
    kind: Kind,
    body: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), WireError> {
    let length: usize = body.iter().map(|part| part.len()).sum();
    if length + HEADER > MAX_FRAME {
        return Err(WireError::Malformed("a message is longer than a frame"));
    }
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4] = kind.byte();
    let mut parts = [IoSlice::new(&[]); 1 + MAX_PARTS];
    parts[0] = IoSlice::new(&header);
    parts[1..=body.len()].copy_from_slice(body);
    let mut parts = &mut parts[..=body.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(WireError::Malformed("too many descriptors for one frame"));
    }
    // The children that compile and symbolise have no system calls for sockets.
    let plain = fds.is_empty() && flags.is_empty();
    let mut left = HEADER + length;
    loop {
        let sent = if plain {
            rustix::io::writev(socket, parts)
        } else {
            sendmsg(socket, parts, &mut control, flags | SendFlags::NOSIGNAL)
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        left -= sent;
        if left == 0 {
            return Ok(());
        }
        // The descriptors went with the first byte.
        control.clear();
        IoSlice::advance_slices(&mut parts, sent);
    }
}

/// Reads exactly one frame and not a byte more, so that what follows stays in the kernel: a child
/// that is forked next does not inherit it. Blocks. `None` at the end.
///
/// # Errors
///
/// The frame is malformed or the socket fails.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(T, Vec<OwnedFd>)>, WireError> {
    let mut fds = Vec::new();
    let message = receive_with(&mut |buffer| fill(socket, buffer, &mut fds))?;
    Ok(message.map(|message| (message, fds)))
}

/// The same without descriptors, and without system calls for sockets.
///
/// # Errors
///
/// As for [`receive`].
pub fn receive_plain<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<T>, WireError> {
    receive_with(&mut |buffer| fill_plain(socket, buffer))
}

fn receive_with<T: DeserializeOwned>(
    fill: &mut dyn FnMut(&mut [u8]) -> Result<bool, WireError>,
) -> Result<Option<T>, WireError> {
    let mut header = [0; HEADER];
    if !fill(&mut header)? {
        return Ok(None);
    }
    let (length, kind) = parse_header(header)?;
    if kind != Kind::Message {
        return Err(WireError::Malformed("output where a message was due"));
    }
    let mut body = vec![0; length];
    if !fill(&mut body)? && length > 0 {
        return Err(WireError::Malformed("a frame is cut off"));
    }
    Ok(Some(decode(&body)?))
}

fn fill_plain(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<bool, WireError> {
    let mut at = 0;
    while at < buffer.len() {
        match rustix::io::read(socket, &mut buffer[at..]) {
            Ok(0) if at == 0 => return Ok(false),
            Ok(0) => return Err(WireError::Malformed("a frame is cut off")),
            Ok(n) => at += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn parse_header(header: [u8; HEADER]) -> Result<(usize, Kind), WireError> {
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length + HEADER > MAX_FRAME {
        return Err(WireError::Malformed("a frame is too long"));
    }
    let kind = Kind::from_byte(header[4]).ok_or(WireError::Malformed("a frame of an unknown kind"))?;
    Ok((length, kind))
}

/// Decodes a message, all of it.
///
/// # Errors
///
/// It is not one, or something follows it.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::Malformed("a message that does not decode")),
    }
}

fn fill(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<bool, WireError> {
    let mut at = 0;
    while at < buffer.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer[at..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket, &mut parts, &mut control, flags) {
            Ok(message) if message.bytes == 0 && at == 0 => return Ok(false),
            Ok(message) if message.bytes == 0 => return Err(WireError::Malformed("a frame is cut off")),
            Ok(message) => at += message.bytes,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;

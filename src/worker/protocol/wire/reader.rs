//! The supervisor's side of a channel: bytes in, frames out, and never a wait.

use super::{HEADER, Kind, WireError, parse_header};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

/// One frame as the supervisor's side sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the body is.
    pub kind: Kind,
    pub body: &'a [u8],
}

/// What a read from a socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes were read; there may be more.
    Some,
    /// Nothing more for now.
    Empty,
    /// The other side has closed.
    End,
}

/// Collects frames from a socket without ever blocking. Holds at most one frame and one read.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
    /// See [`was_full`](Self::was_full).
    full: bool,
}

const READ: usize = 64 << 10;

impl Reader {
    /// Reads once, if frames already here were taken. Descriptors that come along are closed: the
    /// supervisor never takes any.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn read(&mut self, socket: impl AsFd) -> Result<Progress, WireError> {
        // Without room for control messages the kernel installs no descriptor.
        self.fill(|chunk| {
            rustix::net::recv(&socket, chunk, RecvFlags::DONTWAIT).map(|((filled, _), _)| filled)
        })
    }

    /// The same from a [`pipe`].
    ///
    /// # Errors
    ///
    /// The pipe fails.
    pub fn read_pipe(&mut self, pipe: impl AsFd) -> Result<Progress, WireError> {
        self.fill(|chunk| rustix::io::read(&pipe, chunk).map(|(filled, _)| filled))
    }

    fn fill(
        &mut self,
        read: impl Fn(&mut [MaybeUninit<u8>]) -> Result<&mut [u8], Errno>,
    ) -> Result<Progress, WireError> {
        let mut chunk = [MaybeUninit::uninit(); READ];
        self.full = false;
        loop {
            return match read(&mut chunk) {
                Ok([]) | Err(Errno::CONNRESET) => Ok(Progress::End),
                Ok(filled) => {
                    self.full = filled.len() == READ;
                    self.push(filled);
                    Ok(Progress::Some)
                }
                Err(Errno::AGAIN) => Ok(Progress::Empty),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame.
    ///
    /// # Errors
    ///
    /// It is too long or of an unknown kind; nothing after it can be read.
    pub fn frame(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let rest = &self.buffer[self.start..];
        let Some(header) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let (length, kind) = parse_header(*header)?;
        if rest.len() < HEADER + length {
            return Ok(None);
        }
        let body = self.start + HEADER;
        self.start = body + length;
        Ok(Some(Frame { kind, body: &self.buffer[body..body + length] }))
    }

    /// Whether the last read brought as much as one can, so that there may be more.
    pub fn was_full(&self) -> bool {
        self.full
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }
}

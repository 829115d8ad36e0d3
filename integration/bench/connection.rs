//! One connection's bytes: frames that wait to be sent, and received bytes up to the next whole frame.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;

pub struct Connection {
    pub stream: TcpStream,
    out: VecDeque<Bytes>,
    /// Bytes of the first frame in `out` that the socket has taken.
    sent: usize,
    /// When each unanswered request was meant to be sent.
    in_flight: VecDeque<Instant>,
    input: Input,
    pub waits_for_room: bool,
}

/// Received bytes up to the next whole frame.
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            out: VecDeque::new(),
            sent: 0,
            in_flight: VecDeque::new(),
            input: Input { buffer: Vec::new(), start: 0, end: 0 },
            waits_for_room: false,
        }
    }

    pub fn push(&mut self, frame: Bytes, meant_at: Instant) {
        self.out.push_back(frame);
        self.in_flight.push_back(meant_at);
    }

    /// Takes back the last request if nothing of it has been sent, and tells when it was meant to be.
    pub fn take_back(&mut self) -> Option<Instant> {
        let untouched = self.out.len() - usize::from(self.sent > 0 && !self.out.is_empty());
        if untouched == 0 {
            return None;
        }
        self.out.pop_back();
        self.in_flight.pop_back()
    }

    /// Sends what the socket takes; true if it would not take all.
    pub fn flush(&mut self) -> std::io::Result<bool> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.out) {
                let skipped = if count == 0 { self.sent } else { 0 };
                *slice = IoSlice::new(&frame[skipped..]);
                count += 1;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            while let Some(frame) = self.out.front()
                && self.sent >= frame.len()
            {
                self.sent -= frame.len();
                self.out.pop_front();
            }
        }
        Ok(false)
    }

    /// Reads what is there, once; false if there was nothing.
    pub fn receive(&mut self) -> Result<bool> {
        match self.stream.read(self.input.space()) {
            Ok(0) => bail!("the broker closed it"),
            Ok(count) => self.input.end += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// The next whole answer, without its size, and when its request was meant to be sent.
    pub fn answer(&mut self) -> Result<Option<(Instant, &[u8])>> {
        let Some(frame) = self.input.frame() else { return Ok(None) };
        let Some(meant_at) = self.in_flight.pop_front() else { bail!("an answer without a request") };
        Ok(Some((meant_at, &self.input.buffer[frame])))
    }
}

impl Input {
    /// Where the next bytes go: room for the rest of the frame that has begun, if its size is known.
    fn space(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer.resize(INPUT_BYTES, 0);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let needed = self.frame_bytes().unwrap_or(4);
        if self.start + needed > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if needed > self.buffer.len() {
                self.buffer.resize(needed, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Where the next whole frame lies in the buffer, without its size.
    fn frame(&mut self) -> Option<Range<usize>> {
        let bytes = self.frame_bytes().filter(|bytes| *bytes <= self.end - self.start)?;
        let frame = self.start + 4..self.start + bytes;
        self.start += bytes;
        Some(frame)
    }

    /// How many bytes the frame that begins here has, its size included.
    fn frame_bytes(&self) -> Option<usize> {
        let size = self.buffer[self.start..self.end].first_chunk::<4>()?;
        Some(4 + u32::from_be_bytes(*size) as usize)
    }
}

const INPUT_BYTES: usize = 64 << 10;
/// Frames that go out in one system call.
const SLICES_MAX: usize = 16;

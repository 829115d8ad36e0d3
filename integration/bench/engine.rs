//! Connections that send prepared requests and wait for the answers, all on one thread, as cheaply as possible: what
//! is measured is the broker. Knows frames and time, and no API.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustix::event::{Timespec, epoll};

use crate::histogram::Histogram;

/// What is asked and what is thought of the answers.
pub trait Load {
    /// The connection's next request as a whole frame, size included; none when it has asked all it wants.
    fn request(&mut self, connection: usize) -> Option<Bytes>;

    /// The next answer on this connection, without its size. Answers come in the order of the requests.
    fn answer(&mut self, connection: usize, frame: &[u8]) -> Result<()>;
}

/// When a request is sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each connection keeps this many requests in flight.
    Closed { depth: usize },
    /// So many per second over all connections in turn, however slow the answers are.
    Open { per_second: f64 },
}

/// When no more requests are sent; those in flight are always waited for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Requests(u64),
    Elapsed(Duration),
    /// The load has no more.
    Exhausted,
}

/// What came of a run.
pub struct Outcome {
    pub elapsed: Duration,
    pub requests: u64,
    /// From the time a request was meant to be sent to its answer.
    pub latency: Histogram,
}

pub struct Engine {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    out: VecDeque<Bytes>,
    /// Bytes of the first frame in `out` that the socket has taken.
    sent: usize,
    /// When each unanswered request was meant to be sent.
    in_flight: VecDeque<Instant>,
    input: Input,
    waits_for_room: bool,
}

/// Received bytes up to the next whole frame.
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// One run's bookkeeping.
struct Run<'a, L> {
    load: &'a mut L,
    pace: Pace,
    until: Until,
    started: Instant,
    submitted: u64,
    in_flight: u64,
    latency: Histogram,
}

impl Engine {
    pub fn connect(address: &str, connections: usize) -> Result<Engine> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut engine = Engine { epoll, connections: Vec::new() };
        for index in 0..connections {
            let stream =
                TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &engine.epoll,
                &stream,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            engine.connections.push(Connection {
                stream,
                out: VecDeque::new(),
                sent: 0,
                in_flight: VecDeque::new(),
                input: Input { buffer: vec![0; INPUT_BYTES], start: 0, end: 0 },
                waits_for_room: false,
            });
        }
        Ok(engine)
    }

    pub fn run(&mut self, load: &mut impl Load, pace: Pace, until: Until) -> Result<Outcome> {
        let started = Instant::now();
        let latency = Histogram::default();
        let mut run = Run { load, pace, until, started, submitted: 0, in_flight: 0, latency };
        if let Pace::Closed { depth } = pace {
            for index in 0..self.connections.len() {
                for _ in 0..depth {
                    self.submit(index, started, &mut run);
                }
                self.flush(index)?;
            }
        }
        let mut events = Vec::with_capacity(self.connections.len());
        loop {
            let next = self.submit_what_is_due(&mut run)?;
            if run.in_flight == 0 && next.is_none() {
                break;
            }
            let timeout = next.map_or(PATIENCE, |at| at.saturating_duration_since(Instant::now()));
            self.wait(&mut events, timeout)?;
            if events.is_empty() && next.is_none() {
                bail!("{} requests have had no answer for {PATIENCE:?}", run.in_flight);
            }
            for event in &events {
                let (index, flags) = (event.data.u64() as usize, event.flags);
                if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    self.receive(index, &mut run).with_context(|| format!("connection {index}"))?;
                }
                self.flush(index)?;
            }
        }
        Ok(Outcome { elapsed: started.elapsed(), requests: run.submitted, latency: run.latency })
    }

    /// Sends what an open loop should have sent by now and tells when it goes on.
    fn submit_what_is_due<L: Load>(&mut self, run: &mut Run<'_, L>) -> Result<Option<Instant>> {
        let Pace::Open { per_second } = run.pace else { return Ok(None) };
        loop {
            let due = run.started + Duration::from_secs_f64(run.submitted as f64 / per_second);
            let is_over = match run.until {
                Until::Requests(count) => run.submitted >= count,
                Until::Elapsed(time) => due >= run.started + time,
                Until::Exhausted => false,
            };
            if is_over {
                return Ok(None);
            }
            if due > Instant::now() {
                return Ok(Some(due));
            }
            let index = (run.submitted % self.connections.len() as u64) as usize;
            if !self.submit(index, due, run) {
                return Ok(None);
            }
            self.flush(index)?;
        }
    }

    fn submit<L: Load>(&mut self, index: usize, meant_at: Instant, run: &mut Run<'_, L>) -> bool {
        let is_over = match (run.pace, run.until) {
            (_, Until::Requests(count)) => run.submitted >= count,
            (Pace::Closed { .. }, Until::Elapsed(time)) => meant_at >= run.started + time,
            _ => false,
        };
        let frame = if is_over { None } else { run.load.request(index) };
        let Some(frame) = frame else { return false };
        let connection = &mut self.connections[index];
        connection.out.push_back(frame);
        connection.in_flight.push_back(meant_at);
        run.submitted += 1;
        run.in_flight += 1;
        true
    }

    fn receive<L: Load>(&mut self, index: usize, run: &mut Run<'_, L>) -> Result<()> {
        let connection = &mut self.connections[index];
        let space = connection.input.space();
        match connection.stream.read(space) {
            Ok(0) => bail!("the broker closed it"),
            Ok(count) => connection.input.end += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        while let Some(frame) = self.connections[index].input.frame() {
            let connection = &mut self.connections[index];
            let Some(meant_at) = connection.in_flight.pop_front() else {
                bail!("an answer without a request")
            };
            run.latency.record(now - meant_at);
            run.in_flight -= 1;
            run.load.answer(index, &connection.input.buffer[frame])?;
            if let Pace::Closed { .. } = run.pace {
                self.submit(index, now, run);
            }
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let is_full = connection.flush().with_context(|| format!("connection {index}"))?;
        if is_full != connection.waits_for_room {
            connection.waits_for_room = is_full;
            let room = if is_full { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.stream, data, epoll::EventFlags::IN | room)?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, timeout: Duration) -> Result<()> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Connection {
    /// Sends what the socket takes; true if it would not take all.
    fn flush(&mut self) -> std::io::Result<bool> {
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
}

impl Input {
    /// Where the next bytes go: room for the rest of the frame that has begun, if its size is known.
    fn space(&mut self) -> &mut [u8] {
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
    fn frame(&mut self) -> Option<std::ops::Range<usize>> {
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
/// How long a broker may leave everything unanswered.
const PATIENCE: Duration = Duration::from_secs(60);

//! Connections that send prepared requests and wait for the answers, all on one thread, as cheaply as possible: what
//! is measured is the broker. Knows frames and time, and no API.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::connection::Connection;
use crate::histogram::Histogram;
use crate::poll::{Interest, Poll};

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

/// When no more requests are sent; those in flight are waited for.
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
    /// That were answered.
    pub requests: u64,
    /// That an open loop could not even hand to the socket in its time and `GRACE`. Each counts in `latency` with
    /// what it had waited by then.
    pub abandoned: u64,
    /// From the time a request was meant to be sent to its answer.
    pub latency: Histogram,
    /// How much later than it was meant an open loop gave a request to its connection: this client's own lateness.
    pub late: Histogram,
}

pub struct Engine {
    poll: Poll,
    connections: Vec<Connection>,
}

/// One run's bookkeeping.
struct Run<'a, L> {
    load: &'a mut L,
    pace: Pace,
    until: Until,
    started: Instant,
    /// When an open loop takes back what it could not send.
    give_up_at: Option<Instant>,
    last_answer: Instant,
    submitted: u64,
    abandoned: u64,
    in_flight: u64,
    latency: Histogram,
    late: Histogram,
}

impl Engine {
    pub fn connect(address: &str, connections: usize) -> Result<Engine> {
        let connect = || Ok(TcpStream::connect(address)?);
        Engine::over((0..connections).map(|_| connect()), address)
    }

    /// All connections at once, without waiting for any: the kernel connects while requests wait to be sent.
    pub fn begin_to_connect(address: &str, connections: usize) -> Result<Engine> {
        let to: SocketAddr = address.parse()?;
        let connect = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
            match rustix::net::connect(&socket, &to) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
                Err(error) => Err(error.into()),
            }
        };
        Engine::over((0..connections).map(|_| connect()), address)
    }

    fn over(streams: impl Iterator<Item = Result<TcpStream>>, address: &str) -> Result<Engine> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for (index, stream) in streams.enumerate() {
            let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poll.add(index, &stream)?;
            connections.push(Connection::new(stream));
        }
        Ok(Engine { poll, connections })
    }

    pub fn run(&mut self, load: &mut impl Load, pace: Pace, until: Until) -> Result<Outcome> {
        self.run_from(Instant::now(), load, pace, until)
    }

    /// As if it began at `started`, which may be soon: an open loop waits for it.
    pub fn run_from(
        &mut self,
        started: Instant,
        load: &mut impl Load,
        pace: Pace,
        until: Until,
    ) -> Result<Outcome> {
        let mut run = Run::new(load, pace, until, started);
        if let Pace::Closed { depth } = pace {
            for index in 0..self.connections.len() {
                for _ in 0..depth {
                    self.submit(index, started, &mut run);
                }
                self.flush(index)?;
            }
        }
        let mut events = Vec::with_capacity(self.connections.len() + 1);
        let mut ready = Vec::new();
        loop {
            let next = self.submit_what_is_due(&mut run)?;
            if run.give_up_at.is_some_and(|at| Instant::now() >= at) {
                self.take_back_what_is_unsent(&mut run);
            }
            if run.in_flight == 0 && next.is_none() {
                break;
            }
            self.poll.wait(&mut ready, &mut events, run.wakes_at(next))?;
            if run.in_flight > 0 && run.last_answer.elapsed() > PATIENCE {
                bail!("{} requests have had no answer for {PATIENCE:?}", run.in_flight);
            }
            for ready in &ready {
                let index = ready.connection;
                if ready.is_readable {
                    self.receive(index, &mut run).with_context(|| format!("connection {index}"))?;
                }
                self.flush(index)?;
            }
        }
        Ok(run.outcome())
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
            let now = Instant::now();
            if due > now {
                return Ok(Some(due));
            }
            run.late.record(now - due);
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
        self.connections[index].push(frame, meant_at);
        run.submitted += 1;
        run.in_flight += 1;
        true
    }

    fn take_back_what_is_unsent<L>(&mut self, run: &mut Run<'_, L>) {
        run.give_up_at = None;
        let now = Instant::now();
        for connection in &mut self.connections {
            while let Some(meant_at) = connection.take_back() {
                run.latency.record(now - meant_at);
                run.abandoned += 1;
                run.in_flight -= 1;
            }
        }
    }

    fn receive<L: Load>(&mut self, index: usize, run: &mut Run<'_, L>) -> Result<()> {
        if !self.connections[index].receive()? {
            return Ok(());
        }
        let now = Instant::now();
        while let Some((meant_at, answer)) = self.connections[index].answer()? {
            run.latency.record(now.saturating_duration_since(meant_at));
            run.in_flight -= 1;
            run.last_answer = now;
            run.load.answer(index, answer)?;
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
            let interest = if is_full { Interest::ReadAndWrite } else { Interest::Read };
            self.poll.change(index, &connection.stream, interest)?;
        }
        Ok(())
    }
}

impl<'a, L> Run<'a, L> {
    fn new(load: &'a mut L, pace: Pace, until: Until, started: Instant) -> Run<'a, L> {
        let give_up_at = match (pace, until) {
            (Pace::Open { .. }, Until::Elapsed(time)) => Some(started + time + GRACE),
            _ => None,
        };
        Run {
            load,
            pace,
            until,
            started,
            give_up_at,
            last_answer: started.max(Instant::now()),
            submitted: 0,
            abandoned: 0,
            in_flight: 0,
            latency: Histogram::default(),
            late: Histogram::default(),
        }
    }

    /// The earliest of what is due next and giving up, or far enough away.
    fn wakes_at(&self, next: Option<Instant>) -> Instant {
        let moments = [next, self.give_up_at, Some(Instant::now() + PATIENCE)];
        moments.into_iter().flatten().min().expect("one is there")
    }

    fn outcome(self) -> Outcome {
        Outcome {
            elapsed: self.started.elapsed(),
            requests: self.submitted - self.abandoned,
            abandoned: self.abandoned,
            latency: self.latency,
            late: self.late,
        }
    }
}

/// How long a broker may leave everything unanswered: longer than TCP tries to connect.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long an open loop goes on sending what it should have sent before its end.
const GRACE: Duration = Duration::from_secs(10);

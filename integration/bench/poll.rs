//! Waiting for sockets or a moment, whichever comes first. The moment is a timer's: epoll's own timeout is rounded up to
//! a whole millisecond, which would be the most of what a light load takes.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
}

/// What a connection is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub connection: usize,
    pub is_readable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    ReadAndWrite,
}

impl Poll {
    pub fn new() -> Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Told once each time it goes off, so that nobody has to read it.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), once)?;
        Ok(Poll { epoll, timer })
    }

    pub fn add(&self, connection: usize, stream: &TcpStream) -> Result<()> {
        Ok(epoll::add(&self.epoll, stream, data_of(connection), flags_of(Interest::Read))?)
    }

    pub fn change(&self, connection: usize, stream: &TcpStream, interest: Interest) -> Result<()> {
        Ok(epoll::modify(&self.epoll, stream, data_of(connection), flags_of(interest))?)
    }

    /// Until a connection is ready, `at`, or a second has passed.
    pub fn wait(&self, ready: &mut Vec<Ready>, events: &mut Vec<epoll::Event>, at: Instant) -> Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        let timeout = if left.is_zero() { Duration::ZERO } else { GLANCE };
        if !left.is_zero() && left < GLANCE {
            let value = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        }
        events.clear();
        ready.clear();
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, room, Some(&timespec(timeout))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let sockets = events.iter().filter(|event| event.data.u64() != TIMER);
        ready.extend(sockets.map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready { connection: data.u64() as usize, is_readable: flags.intersects(READABLE) }
        }));
        Ok(())
    }
}

fn flags_of(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadAndWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

fn data_of(connection: usize) -> epoll::EventData {
    epoll::EventData::new_u64(connection as u64)
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

const READABLE: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
const TIMER: u64 = u64::MAX;
/// How often a waiter looks around when nothing happens.
const GLANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_not_rounded_up() {
        let poll = Poll::new().unwrap();
        let (mut ready, mut events) = (Vec::new(), Vec::with_capacity(4));
        // The best of many: others may hold this thread up, but not each time.
        let late = (0..50).map(|_| {
            let at = Instant::now() + Duration::from_micros(200);
            while Instant::now() < at {
                poll.wait(&mut ready, &mut events, at).unwrap();
            }
            at.elapsed()
        });
        let least = late.min().unwrap();
        assert!(least < Duration::from_micros(600), "woken {least:?} late");
        assert!(ready.is_empty());
    }
}

//! What one client's connection does next: which request starts and when, whether to read more bytes, when answers are
//! sent, and what the connection waits for. Pure: the received bytes, and how many bytes wait to be sent, are arguments.
//! It must never know more of a request than its size and whether it is a Produce, and it has no socket.
//!
//! Two promises. A connection never waits while it could do something: each reason for not starting the next request is a
//! `Hindrance`, and for each of them `Flow::wants` names the event that removes it. The connection waits for nothing
//! else. And a client's requests take effect and are answered in order: no request starts before all changes of the
//! earlier requests are queued with their owners ([`Stage`]), and no answer is sent before the earlier answers.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod model;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod stories;

use std::collections::VecDeque;

/// The stage of a request. It never goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage<A> {
    /// Some of its changes are not queued with their owners yet, so no later request may start.
    Queueing,
    /// All of its changes are queued. It has no answer yet, and some later requests may start.
    Queued(Overtakers),
    Answered(A),
}

/// Which later requests may start while a queued request has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overtakers {
    /// Later Produces: the request waits in its lanes, and lanes keep their order.
    Produces,
    /// Any later request: this one only waits for data.
    Any,
}

/// How much one connection may have in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Requests without an answer; at least 1.
    pub in_flight: usize,
    /// If this many bytes wait to be sent, no further request starts; at least 1.
    pub outbox_bytes: usize,
    /// `socket.request.max.bytes`.
    pub frame_bytes: i32,
    pub memory: Memory,
}

/// Whether the requests of all connections share a bound on memory (`queued.max.request.bytes`, KIP-72).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    Unbounded,
    /// The rest of a frame is read only after memory for it was granted.
    Bounded,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T, A> {
    /// Move this answer to the outbox.
    Collect {
        request: T,
        answer: A,
    },
    /// Ask for memory for the next frame, which has `frame_bytes` bytes. Then report [`Input::Granted`] or
    /// [`Input::Denied`].
    Ask {
        frame_bytes: usize,
    },
    /// Take the next frame out of the inbox, four bytes of size and then `frame_bytes`, and start it. Then report
    /// [`Input::Started`] or [`Input::Refused`].
    Start {
        frame_bytes: usize,
        produce: bool,
    },
    /// Send as much of the outbox as the socket takes. If something is left, report [`Input::SocketFull`], or
    /// [`Input::Cold`] if the next bytes are only on disk.
    Send,
    /// Wait for one of these.
    Wait(Wants),
    End(End),
}

/// The events that may end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wants {
    /// Bytes arrive from the client, or the client sends no more: [`Input::Finished`].
    pub bytes: bool,
    /// A request in flight has been queued or answered: [`Flow::advance`].
    pub answers: bool,
    /// The socket takes bytes again: [`Input::SocketReady`].
    pub socket: bool,
    /// The next bytes to be sent have been read from disk: [`Input::Warm`].
    pub disk: bool,
    /// Memory has been freed: [`Input::Freed`].
    pub memory: bool,
    /// Nothing is in flight, and the client is not waiting for the disk: `connections.max.idle.ms` without a byte ends
    /// the connection.
    pub idle: bool,
    /// Neither a part of a frame nor an answer is held during this wait, so the buffers may be freed.
    pub rests: bool,
}

/// What happened. `T` is what the caller has to know of a request, `A` is an answer.
#[derive(Debug)]
pub enum Input<T, A> {
    /// The frame was started, and has reached this stage already.
    Started {
        request: T,
        stage: Stage<A>,
    },
    /// The frame is not a request that can be answered. Earlier requests are answered, and then the connection ends, as
    /// in Kafka.
    Refused(String),
    Granted,
    Denied,
    /// Memory may be free now: ask again.
    Freed,
    SocketFull,
    SocketReady,
    /// The next bytes to be sent are only on disk. Another thread has begun to read them.
    Cold,
    /// That thread has read them, or has given up: they can be sent.
    Warm,
    /// The client sends nothing more. It gets the answers to its earlier requests, as in Kafka.
    Finished,
    /// The answer that was collected last says to close the connection: no later request is answered.
    Closed(String),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The client has sent all of its requests and got all of its answers.
    Finished,
    /// The client sent something that cannot be answered. Kafka closes such a connection too.
    Refused(String),
}

/// The state of a connection: its requests in flight, and what it knows about the socket, the disk and the memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow<T, A> {
    limits: Limits,
    /// In the order of the requests, in which the answers are sent.
    in_flight: VecDeque<InFlight<T, A>>,
    room: Room,
    sending: Sending,
    /// The client sends nothing more.
    finished: bool,
    /// `Some`: no further request starts. The connection ends once the requests in flight are answered and the answers
    /// are sent.
    over: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight<T, A> {
    request: T,
    stage: Stage<A>,
}

impl<T, A> InFlight<T, A> {
    fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answered(_))
    }
}

/// Memory for the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    NotAsked,
    Granted,
    Denied,
}

/// Whether the bytes in the outbox can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sending {
    Possible,
    SocketFull,
    /// The next bytes are being read from disk.
    Cold,
}

/// The frame at the front of the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    bytes: usize,
    produce: bool,
}

/// Why the next request does not start now. One event removes each hindrance.
#[derive(Debug, PartialEq, Eq)]
enum Hindrance {
    /// Too many bytes wait to be sent: the socket has to take some.
    Outbox,
    /// The frame is incomplete: more bytes have to arrive.
    Incomplete,
    /// The limit of requests in flight is reached, or this request may not overtake one of them: an answer has to come.
    InFlight,
    /// Memory for the frame was not asked for.
    NotAsked(Frame),
    /// There was no memory: some has to be freed.
    Denied,
    /// No further request starts: those in flight have to be answered, and the answers sent.
    Over(End),
}

impl<T, A> Flow<T, A> {
    pub fn new(limits: Limits) -> Flow<T, A> {
        let (room, sending) = (Room::NotAsked, Sending::Possible);
        Flow { limits, in_flight: VecDeque::new(), room, sending, finished: false, over: None }
    }

    /// What to do now. `inbox` holds the bytes that were received and not taken out, and `outbox_bytes` wait to be sent.
    /// To be called again after each action and after each wait.
    pub fn next(&mut self, inbox: &[u8], outbox_bytes: usize) -> Next<T, A> {
        // Answers are collected before anything else is decided, because each collected answer makes room for another
        // request. If the decision below came first, a connection could find no room, make room afterwards, and then wait
        // for bytes that have already arrived. Nothing would wake it.
        if let Some((request, answer)) = self.take_front() {
            return Next::Collect { request, answer };
        }
        let hindrance = match self.hindrance(inbox, outbox_bytes) {
            Ok(frame) => return self.start(frame),
            Err(Hindrance::NotAsked(frame)) => return Next::Ask { frame_bytes: frame.bytes },
            Err(hindrance) => hindrance,
        };
        // Sending comes after starting, so that the answers to many small requests leave in one write.
        if self.may_send(outbox_bytes) {
            return Next::Send;
        }
        if let Hindrance::Over(end) = &hindrance {
            // The reason is kept here, because the caller now throws away the inbox from which it follows.
            self.end(end.clone());
            if self.in_flight.is_empty() && outbox_bytes == 0 {
                return Next::End(end.clone());
            }
        }
        Next::Wait(self.wants(&hindrance, inbox, outbox_bytes))
    }

    /// Notes something that happened.
    pub fn hear(&mut self, input: Input<T, A>) {
        match input {
            Input::Started { request, stage } => self.in_flight.push_back(InFlight { request, stage }),
            Input::Refused(why) => self.end(End::Refused(why)),
            Input::Granted => self.room = Room::Granted,
            Input::Denied => self.room = Room::Denied,
            Input::Freed => self.room = Room::NotAsked,
            Input::SocketFull => self.sending = Sending::SocketFull,
            Input::SocketReady | Input::Warm => self.sending = Sending::Possible,
            Input::Cold => self.sending = Sending::Cold,
            Input::Finished => self.finished = true,
            Input::Closed(why) => {
                self.in_flight.clear();
                self.end(End::Refused(why));
            }
        }
    }

    /// Calls `reached` for each request in flight without an answer. Returns true if any of them has reached a new stage.
    pub fn advance(&mut self, mut reached: impl FnMut(&mut T) -> Option<Stage<A>>) -> bool {
        let mut any = false;
        for waiting in self.in_flight.iter_mut().filter(|waiting| !waiting.is_answered()) {
            if let Some(stage) = reached(&mut waiting.request) {
                waiting.stage = stage;
                any = true;
            }
        }
        any
    }

    /// How many bytes of the next frame are missing. `None`: its size is not known.
    pub fn missing_bytes(&self, inbox: &[u8]) -> Option<usize> {
        match self.frame(inbox) {
            Ok(Some(frame)) => Some((4 + frame.bytes).saturating_sub(inbox.len())),
            Ok(None) | Err(_) => None,
        }
    }

    // Only the first reason is kept.
    fn end(&mut self, end: End) {
        self.over.get_or_insert(end);
    }

    // Removes the oldest request if it has an answer. A queue that had grown large is freed once it is empty.
    fn take_front(&mut self) -> Option<(T, A)> {
        let front = self.in_flight.pop_front_if(|front| front.is_answered())?;
        if self.in_flight.is_empty() && self.in_flight.capacity() > KEPT_IN_FLIGHT {
            self.in_flight = VecDeque::new();
        }
        match front.stage {
            Stage::Answered(answer) => Some((front.request, answer)),
            Stage::Queueing | Stage::Queued(_) => None,
        }
    }

    fn start(&mut self, frame: Frame) -> Next<T, A> {
        self.room = Room::NotAsked;
        Next::Start { frame_bytes: frame.bytes, produce: frame.produce }
    }

    // The complete frame that may start now, or the first hindrance.
    fn hindrance(&self, inbox: &[u8], outbox_bytes: usize) -> Result<Frame, Hindrance> {
        if let Some(end) = &self.over {
            return Err(Hindrance::Over(end.clone()));
        }
        if outbox_bytes >= self.limits.outbox_bytes {
            return Err(Hindrance::Outbox);
        }
        let frame = self.frame(inbox).map_err(|why| Hindrance::Over(End::Refused(why)))?;
        let Some(frame) = frame else { return Err(self.incomplete()) };
        let whole = inbox.len() >= 4 + frame.bytes;
        if self.may_be_in_memory() && !whole {
            return Err(self.incomplete());
        }
        // Memory is asked for only if the request could start otherwise. A request that waits for earlier requests of its
        // connection must not hold memory that other connections need: those earlier requests may be waiting for the
        // other connections.
        if self.in_flight.len() >= self.limits.in_flight || !self.may_overtake(frame.produce) {
            return Err(Hindrance::InFlight);
        }
        match self.room {
            _ if self.may_be_in_memory() => Ok(frame),
            Room::Denied => Err(Hindrance::Denied),
            Room::NotAsked | Room::Granted => Err(Hindrance::NotAsked(frame)),
        }
    }

    // If the client sends no more, an incomplete frame is the end.
    fn incomplete(&self) -> Hindrance {
        if self.finished { Hindrance::Over(End::Finished) } else { Hindrance::Incomplete }
    }

    fn may_be_in_memory(&self) -> bool {
        self.limits.memory == Memory::Unbounded || self.room == Room::Granted
    }

    fn may_overtake(&self, produce: bool) -> bool {
        self.in_flight.iter().all(|earlier| match earlier.stage {
            Stage::Queueing => false,
            Stage::Queued(Overtakers::Produces) => produce,
            Stage::Queued(Overtakers::Any) | Stage::Answered(_) => true,
        })
    }

    fn may_send(&self, outbox_bytes: usize) -> bool {
        outbox_bytes > 0 && self.sending == Sending::Possible
    }

    // The events that remove the hindrance, and those that are useful in the meantime. An answer is always useful, since
    // the oldest one leaves at once. Bytes in the outbox leave when the socket takes them, or when they have been read
    // from disk. During a read from disk the connection does not wait for the socket: a socket that is ready would end
    // that wait at once, again and again.
    fn wants(&self, hindrance: &Hindrance, inbox: &[u8], outbox_bytes: usize) -> Wants {
        let answers = self.in_flight.iter().any(|waiting| !waiting.is_answered());
        let over = matches!(hindrance, Hindrance::Over(_));
        let cold = outbox_bytes > 0 && self.sending == Sending::Cold;
        Wants {
            bytes: *hindrance == Hindrance::Incomplete,
            answers,
            socket: outbox_bytes > 0 && !cold,
            disk: cold,
            memory: *hindrance == Hindrance::Denied,
            idle: self.in_flight.is_empty() && !cold,
            rests: over || (inbox.is_empty() && self.in_flight.is_empty()),
        }
    }

    // The frame at the front of the inbox, once its size and API key have arrived. An impossible size is an error at
    // once.
    fn frame(&self, inbox: &[u8]) -> Result<Option<Frame>, String> {
        let Some((head, rest)) = inbox.split_first_chunk::<4>() else { return Ok(None) };
        let declared = i32::from_be_bytes(*head);
        let most = self.limits.frame_bytes;
        if declared < FRAME_BYTES_MIN || declared > most {
            return Err(format!(
                "a request of {declared} bytes, allowed are {FRAME_BYTES_MIN} to {most} (socket.request.max.bytes)"
            ));
        }
        let key = rest.first_chunk::<2>();
        Ok(key.map(|key| Frame { bytes: declared as usize, produce: *key == PRODUCE_KEY }))
    }
}

/// API key, version and correlation id take eight bytes; a shorter request cannot be answered.
const FRAME_BYTES_MIN: i32 = 8;
/// The API key of a Produce.
const PRODUCE_KEY: [u8; 2] = [0, 0];
/// A queue that has grown for more requests than this is freed once it is empty.
const KEPT_IN_FLIGHT: usize = 8;

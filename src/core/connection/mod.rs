//! What one client's connection does next: which request starts and when, whether bytes are wanted, when answers leave,
//! and what the connection waits for. Pure: the bytes that are there, and how much waits to be sent, are arguments.
//! It must never know what a request says beyond its size and whether it is a Produce, and it has no socket.
//!
//! Two promises. A connection never sleeps beside work that it could do: each reason for not starting the next request is
//! a [`Hindrance`], and [`Flow::wants`] names for each of them what takes it away. Nothing else is waited for.
//! And a client's requests take effect and are answered in their order: no request starts before everything that those in
//! front of it change is queued with its owners ([`Stage`]), and no answer leaves before those in front of it.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod model;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod stories;

use std::collections::VecDeque;

/// How far a request has come. It never goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage<A> {
    /// Not everything that it changes is queued with its owners: nothing behind it starts.
    Queueing,
    /// Everything is queued. Its answer is not there yet, and some requests may start meanwhile.
    Queued(Overtakers),
    Answered(A),
}

/// Later requests that may start while one that is queued is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overtakers {
    /// Other Produces: it waits in its lanes, and lanes keep order.
    Produces,
    /// Any: it only waits for data.
    Any,
}

/// How much one connection may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Requests that are not answered yet; at least one.
    pub in_flight: usize,
    /// With this much waiting to be sent, nothing more starts; at least one byte.
    pub outbox_bytes: usize,
    /// `socket.request.max.bytes`.
    pub frame_bytes: i32,
    pub memory: Memory,
}

/// Whether the requests of all connections share a bound on memory (`queued.max.request.bytes`, KIP-72).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    Unbounded,
    /// A frame's bytes are read only once it has been granted room.
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
    /// Ask for memory for the frame at hand, which takes so many bytes; then say [`Input::Granted`] or
    /// [`Input::Denied`].
    Ask {
        frame_bytes: usize,
    },
    /// Take the frame at hand out of the inbox, four bytes of size and `frame_bytes`, and start it; then say
    /// [`Input::Started`] or [`Input::Refused`].
    Start {
        frame_bytes: usize,
        produce: bool,
    },
    /// Send as much of the outbox as the socket takes; if that is not all of it, say [`Input::SocketFull`], or
    /// [`Input::Cold`] where the disk has what comes next.
    Send,
    /// Wait for one of these.
    Wait(Wants),
    End(End),
}

/// What may end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wants {
    /// Bytes from the client, or that it sends no more: [`Input::Finished`].
    pub bytes: bool,
    /// That one of the requests in flight is queued or answered: [`Flow::advance`].
    pub answers: bool,
    /// That the socket takes bytes again: [`Input::SocketReady`].
    pub socket: bool,
    /// That what is to be sent next has been read: [`Input::Warm`].
    pub disk: bool,
    /// That memory has been freed: [`Input::Freed`].
    pub memory: bool,
    /// Nothing is in flight, and the client is not kept waiting for the disk: so long a silence as `connections.max.idle.ms` ends the connection.
    pub idle: bool,
    /// Neither a part of a frame nor an answer is kept meanwhile: the buffers may go.
    pub rests: bool,
}

/// What happened. `T` is whatever the caller needs to know of a request, `A` an answer.
#[derive(Debug)]
pub enum Input<T, A> {
    /// The frame was started, and has come so far already.
    Started {
        request: T,
        stage: Stage<A>,
    },
    /// The frame is no request that can be answered. What was asked before it is, and then the connection ends, as in
    /// Kafka.
    Refused(String),
    Granted,
    Denied,
    /// Memory may be there now: ask again.
    Freed,
    SocketFull,
    SocketReady,
    /// What is to be sent next is on disk only. Others have begun to read it.
    Cold,
    /// They have read it, or given up: it can be sent.
    Warm,
    /// The client sends nothing more. As in Kafka it gets the answers to what it has asked.
    Finished,
    /// The answer that was collected last was to close the connection: nothing behind it is answered.
    Closed(String),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The client has sent all that it wanted, and has all of its answers.
    Finished,
    /// The client said what cannot be answered; Kafka closes such a connection too.
    Refused(String),
}

/// The state of a connection: its requests in flight, and what it knows of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow<T, A> {
    limits: Limits,
    /// In the order of the requests, which is that of the answers.
    in_flight: VecDeque<InFlight<T, A>>,
    room: Room,
    sending: Sending,
    /// The client sends nothing more.
    finished: bool,
    /// Nothing is started any more; it ends once what is in flight is answered and sent.
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

/// Memory for the frame at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    NotAsked,
    Granted,
    Denied,
}

/// Whether what waits to be sent can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sending {
    Possible,
    SocketFull,
    /// The next of it is being read from disk.
    Cold,
}

/// The frame at the front of the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    bytes: usize,
    produce: bool,
}

/// Why the next request does not start now. Each has one thing that takes it away.
#[derive(Debug, PartialEq, Eq)]
enum Hindrance {
    /// Too much waits to be sent: the socket has to take some of it.
    Outbox,
    /// The frame is not here, or not whole: bytes have to come.
    Incomplete,
    /// As many as may be are in flight, or one of them must not be overtaken: an answer has to come.
    InFlight,
    /// The memory for it has not been asked for.
    NotAsked(Frame),
    /// There was no memory: some has to be freed.
    Denied,
    /// No request starts any more: what is in flight has to be answered and sent.
    Over(End),
}

impl<T, A> Flow<T, A> {
    pub fn new(limits: Limits) -> Flow<T, A> {
        let (room, sending) = (Room::NotAsked, Sending::Possible);
        Flow { limits, in_flight: VecDeque::new(), room, sending, finished: false, over: None }
    }

    /// What to do now, given the bytes that came in and were not taken out yet, and how many wait to be sent. To be asked
    /// again after each thing that was done, and after each wait.
    pub fn next(&mut self, inbox: &[u8], outbox_bytes: usize) -> Next<T, A> {
        // Before everything else. Each answer that leaves makes room for another request, and what is decided below must
        // know of that room: a connection that found no room and then made some would wait for bytes that are here
        // already, and nothing could wake it.
        if let Some((request, answer)) = self.take_front() {
            return Next::Collect { request, answer };
        }
        let hindrance = match self.hindrance(inbox, outbox_bytes) {
            Ok(frame) => return self.start(frame),
            Err(Hindrance::NotAsked(frame)) => return Next::Ask { frame_bytes: frame.bytes },
            Err(hindrance) => hindrance,
        };
        // Only now, so that the answers to many small requests leave in one write.
        if self.may_send(outbox_bytes) {
            return Next::Send;
        }
        if let Hindrance::Over(end) = &hindrance {
            // Kept, because what is in the inbox is thrown away now.
            self.end(end.clone());
            if self.in_flight.is_empty() && outbox_bytes == 0 {
                return Next::End(end.clone());
            }
        }
        Next::Wait(self.wants(&hindrance, inbox, outbox_bytes))
    }

    /// Takes in something that happened.
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

    /// Asks for each request in flight that has no answer yet whether it has come further. True if any has.
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

    /// How much of the frame at hand is still to come; `None` while its size is not known.
    pub fn missing_bytes(&self, inbox: &[u8]) -> Option<usize> {
        match self.frame(inbox) {
            Ok(Some(frame)) => Some((4 + frame.bytes).saturating_sub(inbox.len())),
            Ok(None) | Err(_) => None,
        }
    }

    // The first reason is the one that counts.
    fn end(&mut self, end: End) {
        self.over.get_or_insert(end);
    }

    // The oldest request with its answer, if it has one. What was moved out leaves no large queue behind.
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

    // The whole frame that may start now, or the first thing that is in its way.
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
        // Memory is asked for only by a request that could start: one that waits for others of this connection must not
        // keep it from those of other connections, which they may be waiting for.
        if self.in_flight.len() >= self.limits.in_flight || !self.may_overtake(frame.produce) {
            return Err(Hindrance::InFlight);
        }
        match self.room {
            _ if self.may_be_in_memory() => Ok(frame),
            Room::Denied => Err(Hindrance::Denied),
            Room::NotAsked | Room::Granted => Err(Hindrance::NotAsked(frame)),
        }
    }

    // What is not here will not come any more if the client has finished.
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

    // What takes the hindrance away, and what is welcome meanwhile. An answer is always: the oldest one leaves at once.
    // Bytes of answers that the socket did not take leave when it takes them, and those that only the disk has when they have
    // been read. A socket that is ready is not waited for meanwhile: that wait would end at once, again and again.
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

    // The frame at the front, once its size and its key are here. A size that cannot be is told as soon as it is here.
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

/// Eight bytes hold key, version and correlation id; nothing can be done with less.
const FRAME_BYTES_MIN: i32 = 8;
/// The API key of a Produce.
const PRODUCE_KEY: [u8; 2] = [0, 0];
/// A queue for more requests than this is given back when it is empty.
const KEPT_IN_FLIGHT: usize = 8;

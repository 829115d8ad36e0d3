//! A connection with everything that can happen to it: a client that sends many requests before it reads, answers in any
//! order, a socket that takes few bytes, other connections that take the memory. The model checks each decision by its
//! own rules: nothing starts that may not start; the connection never waits while a request may start; and as long as
//! anything is left to do, something that the connection waits for can happen.

use ottla_model::dice::Dice;

use super::mutants::Mutant;
use super::*;

/// What a client sends, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    /// Size without the four bytes of the size field; at least eight.
    pub bytes: usize,
    pub produce: bool,
    /// Whether it takes time until it is queued.
    pub queues: bool,
    /// Which later requests may overtake it. `None`: it is answered when it is queued.
    pub waits: Option<Overtakers>,
    /// Zero: a Produce with acks=0.
    pub answer_bytes: usize,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Answered,
    /// Its size is above the limit.
    TooLarge,
    /// It cannot be parsed.
    Unreadable,
    /// Its answer closes the connection.
    Closes,
}

/// What may happen during a wait.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// This many bytes arrive.
    Deliver(usize),
    /// The connection learns that the client sends no more.
    Finish,
    /// All changes of this request are queued.
    Queue(usize),
    /// These requests are answered.
    Answer(Vec<usize>),
    /// The client reads this many bytes.
    Read(usize),
    /// The next bytes to be sent are only on disk from now on; or, if they were, they have been read.
    Chill,
    Warm,
    /// Other connections take this much memory, or give all of theirs back.
    Take(usize),
    GiveBack,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct World {
    pub mutant: Mutant,
    pub flow: Flow<usize, usize>,
    pub limits: Limits,
    pub script: Vec<Request>,
    /// Whether the client will say that it has sent everything.
    pub finishes: bool,
    /// Bytes that the connection has not read yet.
    pub network: Vec<u8>,
    pub inbox: Vec<u8>,
    pub outbox: usize,
    pub started: usize,
    /// For each request that was started: whether it was queued, and whether it was answered.
    pub queued: Vec<bool>,
    pub answered: Vec<bool>,
    pub collected: usize,
    /// How many bytes the socket still takes.
    pub socket_bytes: usize,
    /// How many bytes the client has not read.
    pub unread: usize,
    /// How many more times the next bytes are only on disk; and whether they are being read.
    pub cold: bool,
    pub chills: usize,
    pub warming: bool,
    pub warmed: bool,
    pub memory: usize,
    pub others: usize,
    /// Memory that was granted for the next frame, and memory that each request in flight still holds.
    pub granted: Option<usize>,
    pub held: Vec<usize>,
    pub over: bool,
    /// The connection knows that the client sends no more.
    pub finished: bool,
    pub ended: Option<End>,
    /// State that only mutants use.
    pub stale: Option<Wants>,
}

impl World {
    pub fn new(limits: Limits, script: Vec<Request>, memory: usize, mutant: Mutant) -> World {
        let network = script.iter().flat_map(|request| wire(request, limits.frame_bytes)).collect();
        World {
            mutant,
            flow: Flow::new(limits),
            limits,
            script,
            finishes: true,
            network,
            inbox: Vec::new(),
            outbox: 0,
            started: 0,
            queued: Vec::new(),
            answered: Vec::new(),
            collected: 0,
            socket_bytes: 2,
            unread: 0,
            cold: false,
            chills: 1,
            warming: false,
            warmed: false,
            memory,
            others: 0,
            granted: None,
            held: Vec::new(),
            over: false,
            finished: false,
            ended: None,
            stale: None,
        }
    }

    /// Does what the connection says until it waits or ends, and checks each step.
    pub fn run(&mut self) -> Result<Option<Wants>, String> {
        for _ in 0..1_000 {
            match self.mutated_next() {
                Next::Collect { request, answer } => self.collect(request, answer)?,
                Next::Ask { frame_bytes } => self.ask(frame_bytes)?,
                Next::Start { frame_bytes, produce } => self.start(frame_bytes, produce)?,
                Next::Send => self.send()?,
                Next::Wait(wants) => return self.check_wait(wants).map(|()| Some(wants)),
                Next::End(end) => return self.check_end(end).map(|()| None),
            }
        }
        Err("it goes in circles".into())
    }

    fn collect(&mut self, request: usize, answer: usize) -> Result<(), String> {
        ensure(request == self.collected, "answers keep the order of requests")?;
        ensure(self.answered[request], "an answer is not made up")?;
        self.collected += 1;
        if self.script[request].fate == Fate::Closes {
            self.flow.hear(Input::Closed("acks=0".into()));
            self.over = true;
            // Later requests are not answered.
            self.started = self.collected;
            self.queued.truncate(self.collected);
            self.answered.truncate(self.collected);
            self.held.truncate(self.collected);
            return Ok(());
        }
        self.outbox += answer;
        Ok(())
    }

    fn ask(&mut self, frame_bytes: usize) -> Result<(), String> {
        ensure(self.limits.memory == Memory::Bounded, "without a bound nobody asks")?;
        ensure(self.may_start_but_for_bytes_and_memory(), "memory is not taken by who could not start")?;
        ensure(self.granted.is_none(), "memory is asked for once")?;
        if self.free() > 0 {
            self.granted = Some(frame_bytes);
            self.flow.hear(Input::Granted);
        } else {
            self.flow.hear(Input::Denied);
        }
        Ok(())
    }

    fn start(&mut self, frame_bytes: usize, produce: bool) -> Result<(), String> {
        ensure(self.is_whole(), "a request starts when it is whole")?;
        ensure(self.may_start_but_for_bytes_and_memory(), "a request starts when limits and order allow it")?;
        let unbounded = self.limits.memory == Memory::Unbounded;
        ensure(unbounded || self.granted.is_some(), "a request starts when there is memory for it")?;
        let next = self.script[self.started].clone();
        ensure((next.bytes, next.produce) == (frame_bytes, produce), "it starts the request at hand")?;
        self.inbox.drain(..4 + frame_bytes);
        let granted = self.granted.take().unwrap_or(0);
        if next.fate == Fate::Unreadable {
            self.flow.hear(Input::Refused("unreadable".into()));
            self.over = true;
            return Ok(());
        }
        let stage = match (next.queues, next.waits) {
            (true, _) => Stage::Queueing,
            (false, Some(overtakers)) => Stage::Queued(overtakers),
            (false, None) => Stage::Answered(next.answer_bytes),
        };
        let at_once = matches!(stage, Stage::Answered(_));
        self.flow.hear(Input::Started { request: self.started, stage });
        self.queued.push(!next.queues);
        self.answered.push(at_once);
        self.held.push(if next.produce && !at_once { granted } else { 0 });
        self.started += 1;
        Ok(())
    }

    fn send(&mut self) -> Result<(), String> {
        ensure(self.outbox > 0, "there is something to send")?;
        ensure(!self.warming, "what is being read is not sent")?;
        if self.cold {
            self.warming = true;
            self.flow.hear(Input::Cold);
            return Ok(());
        }
        let taken = self.outbox.min(self.socket_bytes);
        self.outbox -= taken;
        self.socket_bytes -= taken;
        self.unread += taken;
        if self.outbox > 0 {
            self.flow.hear(Input::SocketFull);
        }
        Ok(())
    }

    // What must be true whenever the connection waits.
    fn check_wait(&mut self, wants: Wants) -> Result<(), String> {
        self.see_bad_size();
        let oldest_answered = self.collected < self.started && self.answered[self.collected];
        ensure(!oldest_answered, "an answer that is its turn leaves")?;
        let stuck = self.socket_bytes == 0 || self.warming;
        ensure(self.outbox == 0 || stuck, "what the socket takes is sent")?;
        ensure(!wants.socket || self.socket_bytes == 0, "what would end the wait at once is not waited for")?;
        let may_start = !self.over && self.may_start_but_for_bytes_and_memory();
        let has_memory = self.limits.memory == Memory::Unbounded || self.granted.is_some();
        ensure(
            !(may_start && self.is_whole() && has_memory),
            "a whole request that may start, and for which there is room, starts",
        )?;
        let never_whole = self.finished && !self.is_whole();
        let reads =
            !self.over && !self.is_whole() && !self.finished && self.outbox < self.limits.outbox_bytes;
        ensure(wants.bytes || !(reads && has_memory), "what is missing of a request is read ahead")?;
        let keeps = !self.over && !never_whole && (!self.inbox.is_empty() || self.collected < self.started);
        ensure(!(wants.rests && keeps), "buffers go when nothing is in them")?;
        let owes = self.collected < self.started || self.warming;
        ensure(!(wants.idle && owes), "who waits for an answer is not idle")?;
        ensure(self.is_done() || self.can_be_woken(wants), "something that it waits for can come")
    }

    fn check_end(&mut self, end: End) -> Result<(), String> {
        self.see_bad_size();
        ensure(self.outbox == 0 && self.collected == self.started, "it ends when all is answered and sent")?;
        match &end {
            End::Finished => {
                ensure(self.finishes && self.network.is_empty() && !self.over, "it has finished")
            }
            End::Refused(_) => ensure(self.over, "it was refused"),
        }?;
        self.ended = Some(end);
        Ok(())
    }

    // A size above the limit ends the connection once the requests before it have started.
    fn see_bad_size(&mut self) {
        let next = self.script.get(self.started);
        self.over |= next.is_some_and(|next| next.fate == Fate::TooLarge) && self.inbox.len() >= 4;
    }

    /// Whether the connection has nothing left to do.
    pub fn is_done(&self) -> bool {
        self.ended.is_some()
            || (!self.finishes && !self.over && self.collected == self.script.len() && self.outbox == 0)
    }

    // Whether anything that the connection waits for can still happen.
    fn can_be_woken(&self, wants: Wants) -> bool {
        let unanswered = self.answered[self.collected..].iter().any(|answered| !answered);
        (wants.bytes && (!self.network.is_empty() || self.finishes))
            || (wants.answers && unanswered)
            || (wants.socket && self.outbox > 0)
            || (wants.disk && self.warming)
            || (wants.memory && self.memory > self.mine())
    }

    fn is_whole(&self) -> bool {
        self.script.get(self.started).is_some_and(|next| self.inbox.len() >= 4 + next.bytes)
    }

    fn may_start_but_for_bytes_and_memory(&self) -> bool {
        let Some(next) = self.script.get(self.started) else { return false };
        let in_flight = self.collected..self.started;
        self.outbox < self.limits.outbox_bytes
            && in_flight.len() < self.limits.in_flight
            && self.inbox.len() >= 6
            && next.fate != Fate::TooLarge
            && in_flight.filter(|earlier| !self.answered[*earlier]).all(|earlier| {
                let overtaken = match self.script[earlier].waits {
                    Some(Overtakers::Produces) => next.produce,
                    Some(Overtakers::Any) | None => true,
                };
                self.queued[earlier] && overtaken
            })
    }

    fn mine(&self) -> usize {
        self.held.iter().sum::<usize>() + self.granted.unwrap_or(0)
    }

    // As in Kafka, the last frame that is granted memory may exceed the bound.
    fn free(&self) -> usize {
        self.memory.saturating_sub(self.mine() + self.others)
    }

    pub fn unanswered(&self) -> Vec<usize> {
        (self.collected..self.started).filter(|request| !self.answered[*request]).collect()
    }

    /// The requests that have to be queued before they are answered, and are not queued yet.
    pub fn unqueued(&self) -> Vec<usize> {
        let queueing = |request: &usize| !self.queued[*request] && self.script[*request].waits.is_some();
        self.unanswered().into_iter().filter(queueing).collect()
    }

    /// Lets the event happen. It wakes the connection only if the connection waits for it.
    pub fn happen(&mut self, event: &Event, wants: Wants) {
        match event {
            Event::Deliver(bytes) => self.inbox.extend(self.network.drain(..*bytes)),
            Event::Finish => {
                self.finished = true;
                self.flow.hear(Input::Finished);
            }
            Event::Queue(which) => {
                self.queued[*which] = true;
                let overtakers = self.script[*which].waits.expect("it is not answered at once");
                if self.mutant != Mutant::QueuedUnheard {
                    self.flow.advance(|request| (request == which).then_some(Stage::Queued(overtakers)));
                }
            }
            Event::Answer(requests) => {
                for request in requests {
                    (self.queued[*request], self.answered[*request]) = (true, true);
                    self.held[*request] = 0;
                }
                let script = &self.script;
                self.flow.advance(|request| {
                    requests.contains(request).then(|| Stage::Answered(script[*request].answer_bytes))
                });
            }
            Event::Read(bytes) => {
                self.unread -= bytes;
                self.socket_bytes += bytes;
                if wants.socket {
                    self.flow.hear(Input::SocketReady);
                }
            }
            Event::Chill => (self.cold, self.chills) = (true, self.chills - 1),
            Event::Warm => {
                (self.cold, self.warming, self.warmed) = (false, false, true);
                if wants.disk && self.mutant != Mutant::WarmForgotten {
                    self.flow.hear(Input::Warm);
                }
            }
            Event::Take(bytes) => self.others += bytes,
            Event::GiveBack => self.others = 0,
        }
        if wants.memory && self.free() > 0 && self.mutant != Mutant::FreedForgotten {
            self.flow.hear(Input::Freed);
        }
        if wants.rests {
            self.rest();
        }
    }

    fn rest(&mut self) {
        if self.over {
            self.inbox.clear();
            self.granted = None;
        }
    }
}

fn wire(request: &Request, most: i32) -> Vec<u8> {
    let declared = if request.fate == Fate::TooLarge { most + 1 } else { request.bytes as i32 };
    let mut frame = declared.to_be_bytes().to_vec();
    frame.extend(if request.produce { [0, 0] } else { [0, 3] });
    frame.resize(4 + request.bytes, 0xee);
    frame
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn request(dice: &mut Dice) -> Request {
    let produce = dice.below(2) == 0;
    let (queues, waits) = match (dice.below(4), produce) {
        (0, _) => (false, None),
        (1, _) => (true, None),
        (number, true) => (number == 2, Some(Overtakers::Produces)),
        (number, false) => (number == 2, Some(Overtakers::Any)),
    };
    let silent = produce && dice.below(4) == 0;
    let fate = match dice.below(300) {
        0 => Fate::TooLarge,
        1 => Fate::Unreadable,
        2 if silent => Fate::Closes,
        _ => Fate::Answered,
    };
    let answer_bytes = if silent { 0 } else { 1 + dice.below(9) };
    Request { bytes: dice.pick(&[8, 9, 20, 60]), produce, queues, waits, answer_bytes, fate }
}

fn event(dice: &mut Dice, world: &World, wants: Wants) -> Option<Event> {
    let mut possible = Vec::new();
    if wants.bytes && !world.network.is_empty() {
        let all = world.network.len();
        possible.push(Event::Deliver(dice.pick(&[1 + dice_small(all), all, all.min(64), all.min(6)])));
        possible.push(Event::Deliver(1 + dice.below(all)));
    }
    if wants.bytes && world.network.is_empty() && world.finishes {
        possible.push(Event::Finish);
    }
    let unanswered = world.unanswered();
    if wants.answers && !unanswered.is_empty() {
        possible.push(Event::Answer(vec![dice.pick(&unanswered)]));
        possible.push(Event::Answer(vec![unanswered[0]]));
        possible.push(Event::Answer(unanswered));
        let unqueued = world.unqueued();
        if !unqueued.is_empty() {
            possible.push(Event::Queue(dice.pick(&unqueued)));
        }
    }
    if world.unread > 0 {
        possible.push(Event::Read(1 + dice.below(world.unread)));
        possible.push(Event::Read(world.unread));
    }
    if world.warming {
        possible.push(Event::Warm);
    } else if !world.cold && world.chills > 0 && dice.below(4) == 0 {
        possible.push(Event::Chill);
    }
    if world.limits.memory == Memory::Bounded {
        match world.others {
            0 if dice.below(4) == 0 => possible.push(Event::Take(1 + dice.below(world.memory))),
            0 => {}
            _ => possible.push(Event::GiveBack),
        }
    }
    (!possible.is_empty()).then(|| possible.swap_remove(dice.below(possible.len())))
}

fn dice_small(all: usize) -> usize {
    3.min(all - 1)
}

/// One life of a connection. The error says what went wrong.
pub(super) fn life(seed: u64, mutant: Mutant) -> Result<World, String> {
    let mut dice = Dice(seed);
    let limits = Limits {
        in_flight: dice.pick(&[1, 2, 3, 64]),
        outbox_bytes: dice.pick(&[1, 4, 20, 1_000]),
        frame_bytes: 60,
        memory: dice.pick(&[Memory::Unbounded, Memory::Bounded]),
    };
    let count = dice.pick(&[1, 3, 20, 70, 200]);
    let script = (0..count).map(|_| request(&mut dice)).collect();
    let mut world = World::new(limits, script, dice.pick(&[1, 10, 70, 500]), mutant);
    world.finishes = dice.below(2) == 0;
    world.socket_bytes = dice.pick(&[1, 5, 50, 10_000]);
    world.chills = dice.pick(&[0, 1, 10, 1_000]);
    for _ in 0..20_000 {
        let Some(wants) = world.run()? else { return Ok(world) };
        if world.is_done() {
            return Ok(world);
        }
        match event(&mut dice, &world, wants) {
            Some(event) => world.happen(&event, wants),
            None => return Err("nothing can happen any more".into()),
        }
    }
    Err("it does not come to an end".into())
}

const SEEDS: u64 = 5_000;

#[test]
fn whatever_happens_what_may_start_starts_and_every_request_is_answered() {
    let mut seen = [0u64; 5];
    for seed in 0..SEEDS {
        let world = life(seed, Mutant::None).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let refused = matches!(world.ended, Some(End::Refused(_)));
        assert!(refused || world.collected == world.script.len(), "seed {seed}: every request is answered");
        seen[0] += u64::from(refused);
        seen[1] += u64::from(world.ended == Some(End::Finished));
        seen[2] += u64::from(world.limits.in_flight == 64 && world.collected > 64);
        seen[3] += u64::from(world.limits.memory == Memory::Bounded);
        seen[4] += u64::from(world.warmed);
    }
    assert!(seen.iter().all(|count| *count > SEEDS / 20), "what lives come by: {seen:?}");
}

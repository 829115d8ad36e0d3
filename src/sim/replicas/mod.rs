//! Replicas of one partition on several machines: the broker's own lanes, with all that a network, a scheduler and a power
//! grid may do to them. The controller is a model ([`registry`]) that is always right; machines, messages and disks are
//! not. It must never let anything happen that is not an event.

mod judge;
mod machine;
mod registry;
mod trouble;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ottla_core::partition::{IsrAnswer, Proposal};
use ottla_log::log::FlushTicket;
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_node::lane::Input;
use ottla_protocol::{ErrorCode, Offset};

use crate::Summary;
use crate::bus::{Bus, Place};
use crate::dice::Dice;
use crate::disk::Ended;
use crate::invariants::ledger::{Loss, RecordId};
use crate::invariants::{Verdict, Violation};
use crate::mutation::Mutation;
use crate::queue::Queue;
use crate::trace::{EPOCH_MS, Trace};
use judge::Judge;
use machine::{LAG_MS, Machine, Message, Process, To, Wish};
use registry::Registry;
use trouble::Plan;

/// What can happen. What belongs to a process carries its life, and ends with it.
#[derive(Debug)]
enum Event {
    Arrive {
        to: To,
        message: Message,
    },
    Boot(usize),
    Turn {
        at: usize,
        life: u64,
    },
    Fetch {
        at: usize,
        life: u64,
        number: u64,
    },
    Beat {
        at: usize,
        life: u64,
    },
    Tick {
        at: usize,
        life: u64,
    },
    RunFlush {
        at: usize,
        life: u64,
        ticket: FlushTicket,
    },
    Flushed {
        at: usize,
        life: u64,
        up_to: Offset,
        result: std::io::Result<()>,
    },
    /// No answer has come to a proposal, or it was heard of already.
    Unanswered {
        at: usize,
        life: u64,
        proposal: Proposal,
    },
    /// The registry looks who was not heard of.
    Expire,
    Produce {
        producer: usize,
        attempt: u64,
    },
    Trouble,
    Heal,
}

/// One record at a time; without a word in time it is sent again, to whoever leads then.
#[derive(Debug, Default)]
struct Producer {
    attempt: u64,
    record: u32,
    acknowledged: u32,
}

pub(crate) struct Replicas {
    plan: Plan,
    dice: Dice,
    queue: Queue<Event>,
    bus: Bus,
    trace: Trace,
    machines: Vec<Machine>,
    /// Numbers each machine's fetches, so that only the last one is tried again.
    fetches: Vec<u64>,
    registry: Registry,
    producers: Vec<Producer>,
    config: Arc<TopicConfig>,
    judge: Judge,
    finishing: bool,
    mutation: Option<Mutation>,
    pub steps: u64,
    restarts: u64,
}

impl Replicas {
    pub fn new(seed: u64, mutation: Option<Mutation>, trace_lines: usize) -> Replicas {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let bus = Bus::draw(&mut dice);
        let ids: Vec<NodeId> = (1..=plan.machines).map(NodeId).collect();
        let traced = trace_lines > 0;
        let machines = ids.iter().map(|id| Machine::new(*id, dice.number(), mutation, traced));
        let machines: Vec<Machine> = machines.collect();
        let config = TopicConfig {
            min_insync_replicas: plan.min_insync_replicas,
            flush_messages: if plan.flushes_each { 1 } else { i64::MAX },
            segment_bytes: plan.segment_bytes,
            ..TopicConfig::default()
        };
        let mut queue = Queue::starting_at(EPOCH_MS);
        (0..machines.len()).for_each(|at| queue.after(dice.between(0, 50), Event::Boot(at)));
        queue.after(SESSION_MS / 4, Event::Expire);
        queue.after(plan.trouble_every_ms, Event::Trouble);
        let producers: Vec<Producer> = (0..plan.producers).map(|_| Producer::default()).collect();
        let first = (0..producers.len()).map(|producer| Event::Produce { producer, attempt: 0 });
        first.for_each(|event| queue.after(100, event));
        let mut trace = Trace::keeping(trace_lines);
        trace.note(EPOCH_MS, || format!("{plan:?} {bus:?}"));
        Replicas {
            registry: Registry::new(ids, plan.min_insync_replicas),
            fetches: vec![0; machines.len()],
            plan,
            dice,
            queue,
            bus,
            trace,
            machines,
            producers,
            config: Arc::new(config),
            judge: Judge::default(),
            finishing: false,
            mutation,
            steps: 0,
            restarts: 0,
        }
    }

    /// Runs so many events with trouble, then without until all replicas are in sync and all producers answered.
    pub fn run(&mut self, steps: u64) -> Verdict {
        while self.steps < steps {
            self.next()?;
        }
        self.finishing = true;
        self.calm();
        let deadline_ms = self.queue.now_ms() + PATIENCE_MS;
        while !self.is_healed() {
            if self.queue.now_ms() > deadline_ms {
                return Err(Violation::new("everybody is in sync some day", self.unfinished()));
            }
            self.next()?;
        }
        self.judge.finish(self.machines.iter().filter_map(|machine| machine.process.as_ref()))
    }

    fn is_healed(&self) -> bool {
        let whole = |machine: &Machine| {
            machine.process.as_ref().is_some_and(|process| {
                let offsets = process.lane.log().offsets();
                offsets.high_watermark == offsets.log_end
            })
        };
        let all = self.registry.view().isr.len() == self.machines.len();
        let mut ends =
            self.machines.iter().filter_map(|m| Some(m.process.as_ref()?.lane.log().log_end_offset()));
        let first = ends.next();
        all && self.machines.iter().all(whole)
            && ends.all(|end| Some(end) == first)
            && self.producers.iter().all(|producer| producer.acknowledged == producer.record)
    }

    fn unfinished(&self) -> String {
        let logs = self.machines.iter().map(|machine| {
            let lane = machine.process.as_ref().map(|process| &process.lane);
            let leads = lane.map(|lane| (lane.leads(), lane.leader_epoch()));
            (machine.id, leads, lane.map(|lane| lane.log().offsets()))
        });
        format!("{:?} {:?} {:?}", self.registry.view(), logs.collect::<Vec<_>>(), self.producers)
    }

    fn next(&mut self) -> Verdict {
        let Some(event) = self.queue.next() else {
            return Err(Violation::new("something always happens", "no event is left"));
        };
        self.steps += 1;
        let at = self.machine_of(&event);
        if let Some(until_ms) =
            at.map(|at| self.machines[at].paused_until_ms).filter(|ms| *ms > self.queue.now_ms())
        {
            self.queue.at(until_ms, event);
            return Ok(());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.happen(event)));
        if let Some(machine) = at.map(|at| &self.machines[at]) {
            let id = machine.id;
            for change in machine.disk.take_changes() {
                self.trace.note(self.queue.now_ms(), || format!("{id}: {change}"));
            }
        }
        match (outcome, at) {
            (Ok(verdict), None) => verdict,
            (Ok(verdict), Some(at)) => verdict.and_then(|()| self.watch(at)),
            (Err(panic), Some(at)) if panic.is::<Ended>() => {
                self.end(at, Loss::Process);
                Ok(())
            }
            (Err(panic), _) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
                Err(Violation::new("no step panics", text))
            }
        }
    }

    fn machine_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Arrive { to: To::Broker(id), .. } => Some(id.0 as usize - 1),
            Event::Boot(at)
            | Event::Turn { at, .. }
            | Event::Fetch { at, .. }
            | Event::Beat { at, .. }
            | Event::Tick { at, .. }
            | Event::RunFlush { at, .. }
            | Event::Unanswered { at, .. }
            | Event::Flushed { at, .. } => Some(*at),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) -> Verdict {
        let now_ms = self.queue.now_ms();
        match event {
            Event::Boot(at) => return self.boot(at),
            Event::Arrive { to, message } => return self.arrive(to, message),
            Event::Expire => {
                self.queue.after(SESSION_MS / 4, Event::Expire);
                if self.registry.expire(now_ms, SESSION_MS) {
                    self.publish();
                }
            }
            Event::Produce { producer, attempt } => self.produce(producer, attempt),
            Event::Trouble => self.trouble(),
            Event::Heal => self.bus.heal(),
            Event::Turn { at, life } => {
                let wishes = self.process(at, life).map(|process| process.turn(now_ms));
                return self.grant(at, wishes.unwrap_or_default());
            }
            Event::Fetch { at, life, number } if self.fetches[at] == number => {
                // Should no answer come, it is tried again.
                self.fetch_after(at, life, FETCH_PATIENCE_MS);
                let next = self.process(at, life).and_then(|process| process.next_fetch());
                if let Some((leader, message)) = next {
                    self.send(self.machines[at].id.0 as Place, To::Broker(leader), message);
                }
            }
            Event::Fetch { .. } => {}
            Event::Beat { at, life } => {
                let Some(epoch) = self.process(at, life).map(|process| process.epoch) else { return Ok(()) };
                let broker = self.machines[at].id;
                let message = match epoch {
                    Some(epoch) => Message::Heartbeat { broker, epoch },
                    None => Message::Register { broker, life },
                };
                self.send(broker.0 as Place, To::Registry, message);
                self.queue.after(BEAT_MS, Event::Beat { at, life });
            }
            Event::Tick { at, life } => {
                let wishes = self.process(at, life).map(|process| process.enqueue(Input::Tick));
                self.queue.after(LAG_MS / 2, Event::Tick { at, life });
                return self.grant(at, wishes.unwrap_or_default());
            }
            Event::Unanswered { at, life, proposal } => {
                let outcome = Err(ErrorCode::RequestTimedOut);
                let input = Input::IsrAnswered(IsrAnswer { proposal, outcome });
                let wishes = self.process(at, life).map(|process| process.enqueue(input));
                return self.grant(at, wishes.unwrap_or_default());
            }
            Event::RunFlush { at, life, ticket } if self.machines[at].life == life => {
                let up_to = ticket.up_to;
                let result = ticket.run();
                self.queue.after(self.dice.between(0, 1), Event::Flushed { at, life, up_to, result });
            }
            Event::RunFlush { .. } => {}
            Event::Flushed { at, life, up_to, result } => {
                let input = Input::Flushed { up_to, result };
                let wishes = self.process(at, life).map(|process| process.enqueue(input));
                return self.grant(at, wishes.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn process(&mut self, at: usize, life: u64) -> Option<&mut Process> {
        self.machines[at].process.as_mut().filter(|process| process.life == life)
    }

    fn boot(&mut self, at: usize) -> Verdict {
        let now_ms = self.queue.now_ms();
        let machine = &mut self.machines[at];
        if machine.process.is_some() {
            return Ok(());
        }
        machine.life += 1;
        self.restarts += 1;
        let (id, life, disk) = (machine.id, machine.life, machine.disk.clone());
        let process = Process::start(id, life, disk, &self.config, now_ms, self.mutation);
        let process = process.map_err(|why| Violation::new("a log opens again", format!("{id}: {why}")))?;
        let offsets = process.lane.log().offsets();
        self.trace.note(now_ms, || format!("{id} is up for the {life}. time: {offsets:?}"));
        self.machines[at].process = Some(process);
        self.queue.after(0, Event::Beat { at, life });
        self.queue.after(LAG_MS / 2, Event::Tick { at, life });
        Ok(())
    }

    /// The process is gone; it begins again after a while.
    fn end(&mut self, at: usize, loss: Loss) {
        let now_ms = self.queue.now_ms();
        let machine = &mut self.machines[at];
        let id = machine.id;
        self.trace.note(now_ms, || format!("{id} ends: {loss:?}"));
        machine.process = None;
        machine.paused_until_ms = 0;
        machine.disk.put_out();
        match loss {
            Loss::Power => machine.memory.crash(),
            Loss::Nothing | Loss::Process => machine.memory.kill(),
        }
        // Events of the life before find nobody.
        machine.life += 1;
        let down_ms = *self.dice.pick(&[10, 300, 3_000]);
        self.queue.after(self.dice.between(1, down_ms), Event::Boot(at));
    }

    fn arrive(&mut self, to: To, message: Message) -> Verdict {
        let now_ms = self.queue.now_ms();
        match to {
            To::Broker(id) => {
                let at = id.0 as usize - 1;
                self.trace.note(now_ms, || format!("{id} hears {message:?}"));
                let wishes = self.machines[at].process.as_mut().map(|process| process.hear(message, now_ms));
                self.grant(at, wishes.unwrap_or_default())
            }
            To::Registry => {
                self.register(message);
                Ok(())
            }
            To::Producer(producer) => self.produced(producer, message),
        }
    }

    fn register(&mut self, message: Message) {
        let now_ms = self.queue.now_ms();
        let version = self.registry.view().version;
        let (broker, answer) = match message {
            Message::Register { broker, life } => {
                let Some(epoch) = self.registry.register(broker, life, now_ms) else { return };
                let version = self.registry.view().version;
                (broker, Message::Registered { life, epoch, version })
            }
            Message::Heartbeat { broker, epoch } if self.registry.heard(broker, epoch, now_ms) => {
                (broker, Message::News(self.registry.view().clone()))
            }
            Message::Propose { broker, epoch, proposal } => {
                let outcome = self.registry.alter(broker, epoch, &proposal).map(|()| {
                    let view = self.registry.view();
                    (view.leader_epoch, view.partition_epoch, view.isr.clone())
                });
                self.trace.note(now_ms, || format!("{broker} proposes {proposal:?}: {outcome:?}"));
                (broker, Message::Answer(IsrAnswer { proposal, outcome }))
            }
            _ => return,
        };
        self.send(REGISTRY, To::Broker(broker), answer);
        if self.registry.view().version > version {
            self.publish();
        }
    }

    // Everybody hears of it, late or not at all: heartbeats bring it again.
    fn publish(&mut self) {
        let view = self.registry.view().clone();
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("registry: {view:?}"));
        let registered = |machine: &Machine| view.life(machine.id) == Some(machine.life);
        for machine in &mut self.machines {
            let joined = view.isr.contains(&machine.id) && view.leader != Some(machine.id);
            machine.may_lack &= !(joined && registered(machine));
        }
        let leader = view.leader.map(|leader| &self.machines[leader.0 as usize - 1]);
        if leader.is_some_and(|machine| machine.may_lack && registered(machine)) {
            self.trace.note(now_ms, || "nobody else is left: promises are off".into());
            self.judge.forget();
        }
        for at in 0..self.machines.len() {
            self.send(REGISTRY, To::Broker(self.machines[at].id), Message::News(view.clone()));
        }
    }

    fn send(&mut self, from: Place, to: To, message: Message) {
        let place = match to {
            To::Broker(id) => id.0 as Place,
            To::Registry => REGISTRY,
            To::Producer(producer) => PRODUCERS + producer as Place,
        };
        for delay_ms in self.bus.arrivals(from, place, &mut self.dice) {
            self.queue.after(delay_ms, Event::Arrive { to, message: message.clone() });
        }
    }

    fn grant(&mut self, at: usize, wishes: Vec<Wish>) -> Verdict {
        let life = self.machines[at].life;
        self.watch(at)?;
        for wish in wishes {
            match wish {
                Wish::Send(to, Message::Produced { attempt, outcome }) => {
                    self.judge_answer(to, attempt, outcome)?;
                    let message = Message::Produced { attempt, outcome };
                    self.send(self.machines[at].id.0 as Place, to, message);
                }
                Wish::Send(to, message) => {
                    if let Message::Propose { proposal, .. } = &message {
                        let proposal = proposal.clone();
                        self.queue.after(PROPOSE_PATIENCE_MS, Event::Unanswered { at, life, proposal });
                    }
                    self.send(self.machines[at].id.0 as Place, to, message);
                }
                Wish::Turn => self.queue.after(self.dice.between(0, 2), Event::Turn { at, life }),
                Wish::Flush(ticket) => {
                    let delay_ms = self.dice.between(0, self.plan.flush_ms_max);
                    self.queue.after(delay_ms, Event::RunFlush { at, life, ticket });
                }
                Wish::FetchSoon => {
                    let delay_ms = self.dice.between(0, self.plan.fetch_ms_max);
                    self.fetch_after(at, life, delay_ms);
                }
                Wish::Offline(why) => return Err(Violation::new("no disk fails here", why)),
            }
        }
        Ok(())
    }

    fn watch(&mut self, at: usize) -> Verdict {
        let Machine { id, process, .. } = &self.machines[at];
        process.as_ref().map_or(Ok(()), |process| self.judge.watch(*id, process))
    }

    // What is said counts, whether it is heard or not.
    fn judge_answer(&mut self, to: To, attempt: u64, outcome: Result<Offset, ErrorCode>) -> Verdict {
        let (To::Producer(producer), Ok(offset)) = (to, outcome) else { return Ok(()) };
        let asked = &self.producers[producer];
        if asked.attempt != attempt {
            return Ok(());
        }
        let record = RecordId { client: producer as u32, number: asked.record };
        self.judge.acknowledged(record, offset)
    }

    fn fetch_after(&mut self, at: usize, life: u64, delay_ms: i64) {
        self.fetches[at] += 1;
        self.queue.after(delay_ms, Event::Fetch { at, life, number: self.fetches[at] });
    }

    // To whoever leads, or is believed to: producers look it up anew each time, and hear of it late.
    fn produce(&mut self, producer: usize, attempt: u64) {
        let this = &mut self.producers[producer];
        if this.attempt != attempt || (self.finishing && this.acknowledged == this.record) {
            return;
        }
        if this.acknowledged == this.record {
            this.record += 1;
        }
        this.attempt += 1;
        let (attempt, number) = (this.attempt, this.record);
        let record = RecordId { client: producer as u32, number };
        let anybody = NodeId(self.dice.between(1, self.machines.len() as i64) as i32);
        let leader = if self.dice.percent(5) { None } else { self.registry.view().leader };
        let to = To::Broker(leader.unwrap_or(anybody));
        self.send(PRODUCERS + producer as Place, to, Message::Produce { producer, attempt, record });
        self.queue.after(PRODUCER_PATIENCE_MS, Event::Produce { producer, attempt });
    }

    fn produced(&mut self, producer: usize, message: Message) -> Verdict {
        let Message::Produced { attempt, outcome } = message else { return Ok(()) };
        let now_ms = self.queue.now_ms();
        self.trace.note(now_ms, || format!("producer {producer} hears of try {attempt}: {outcome:?}"));
        let this = &mut self.producers[producer];
        if this.attempt != attempt {
            return Ok(());
        }
        if outcome.is_ok() {
            this.acknowledged = this.record;
        }
        let pause_ms = self.dice.between(0, self.plan.produce_ms_max);
        self.queue.after(pause_ms, Event::Produce { producer, attempt });
        Ok(())
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn summary(&self) -> Summary {
        let (acknowledged, seen) = self.judge.summary();
        let simulated_ms = self.queue.now_ms() - EPOCH_MS;
        Summary { events: self.steps, restarts: self.restarts, acknowledged, seen, simulated_ms }
    }
}

const REGISTRY: Place = 0;
const PRODUCERS: Place = 1_000;
const SESSION_MS: i64 = 1_000;
const BEAT_MS: i64 = 100;
const FETCH_PATIENCE_MS: i64 = 200;
const PROPOSE_PATIENCE_MS: i64 = 500;
const PRODUCER_PATIENCE_MS: i64 = 3_000;
/// Who is not in sync by then never will be.
const PATIENCE_MS: i64 = 60_000;

//! Replicas of one partition on several machines: the broker's own lanes, with all that a network, a scheduler and a power
//! grid may do to them. The controller is a model ([`registry`]) that is always right; machines, messages and disks are
//! not. It must never let anything happen that is not an event.

mod clients;
mod committers;
mod coordinating;
mod home;
mod judge;
#[cfg(test)]
mod lessons;
mod process;
mod promises;
mod registry;
mod serving;
mod sessions;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod story;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ottla_core::partition::{IsrAnswer, Proposal};
use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{FlushTicket, Offsets};
use ottla_model::NodeId;
use ottla_model::config::TopicConfig;
use ottla_node::lane::Input;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::bus::{Bus, Place};
use crate::cluster::{Cluster, Event, Rules};
use crate::dice::Dice;
use crate::invariants::ledger::Loss;
use crate::machine::Machine;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::verdict::{Verdict, Violation};
use clients::{Consumer, Producer};
use committers::Committer;
use judge::Judge;
use process::{LAG_MS, Message, Process, To, Wish};
use registry::Registry;
use sessions::InSessions;
use trouble::Plan;

/// What happens at a machine.
#[derive(Debug)]
pub(crate) enum Local {
    Boot,
    Hear(Message),
    Turn,
    /// Only the last planned fetch is made.
    Fetch {
        number: u64,
    },
    Beat,
    Tick,
    /// The task of the coordinator's shard gets the processor.
    ShardTurn,
    RunFlush(FlushTicket),
    Flushed {
        up_to: Offset,
        result: std::io::Result<()>,
    },
    /// No answer has come to a proposal, or it was heard of already.
    Unanswered(Proposal),
    Checkpoint,
    /// The process stops cleanly.
    Stop,
}

/// What happens elsewhere.
#[derive(Debug)]
pub(crate) enum Global {
    /// The registry hears.
    Registry(Message),
    /// A producer hears.
    Producer(usize, Message),
    /// A consumer hears.
    Consumer(usize, Message),
    /// The registry looks who was not heard of.
    Expire,
    Produce {
        producer: usize,
        attempt: u64,
    },
    Consume(usize),
    /// A client of the coordinator hears.
    Committer(Message),
    Ask {
        client: usize,
        turn: u64,
    },
    /// An admin deletes records.
    Delete,
    /// An admin moves the partition to other brokers.
    Reassign,
    Trouble,
}

pub(crate) struct Replicas {
    plan: Plan,
    cluster: Cluster<Replicas>,
    /// Whose power went, and who was not in sync since: they may lack what they once had.
    may_lack: BTreeSet<NodeId>,
    /// The epoch of the last view that was published.
    leader_epoch: LeaderEpoch,
    /// The machines whose disks are full, or nearly.
    full: BTreeSet<usize>,
    registry: Registry,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    committers: Vec<Committer>,
    /// Which turn of theirs comes next.
    turns: Vec<u64>,
    /// Of all of them.
    requests: u64,
    config: Arc<TopicConfig>,
    judge: Judge,
}

impl Rules for Replicas {
    type Process = Process;
    type Local = Local;
    type Global = Global;

    fn cluster(&mut self) -> &mut Cluster<Replicas> {
        &mut self.cluster
    }

    fn local(&mut self, at: usize, what: Local) -> Verdict {
        match what {
            Local::Boot => self.boot(at)?,
            Local::Stop => self.stop(at),
            what => {
                let wishes = self.in_process(at, what);
                self.grant(at, wishes)?;
            }
        }
        self.watch(at)
    }

    fn global(&mut self, what: Global) -> Verdict {
        match what {
            Global::Registry(message) => self.register(message)?,
            Global::Producer(producer, message) => self.produced(producer, &message),
            Global::Consumer(consumer, message) => self.consumed(consumer, message),
            Global::Expire => {
                self.cluster.global(SESSION_MS / 4, Global::Expire);
                if self.registry.expire(self.cluster.now_ms(), SESSION_MS) {
                    mark("a silent broker was fenced");
                    self.publish()?;
                }
            }
            Global::Produce { producer, attempt } => self.produce(producer, attempt),
            Global::Consume(consumer) => self.consume(consumer),
            Global::Committer(Message::Coordinated { asker, reply }) => self.told(asker, &reply)?,
            Global::Committer(_) => {}
            Global::Ask { client, turn } => self.ask(client, turn),
            Global::Delete => self.delete_records(),
            Global::Reassign => self.reassign()?,
            Global::Trouble => self.trouble(),
        }
        Ok(())
    }

    /// As [`Machine::end`]; it begins again after a while.
    fn end(&mut self, at: usize, loss: Loss) {
        let loss = self.cluster.machines[at].end(loss);
        self.cluster.note_at(at, || format!("ends: {loss:?}"));
        let most_ms = *self.cluster.dice.pick(&[10, 300, 3_000]);
        let down_ms = self.cluster.dice.between(1, most_ms);
        self.cluster.local(at, down_ms, Local::Boot);
    }

    // All replicas are in sync, and all producers answered.
    fn finish(&mut self) -> Verdict {
        let deadline_ms = self.cluster.now_ms() + PATIENCE_MS;
        while !self.is_healed() {
            if self.cluster.now_ms() > deadline_ms {
                return Err(Violation::new("everybody is in sync some day", self.unfinished()));
            }
            self.next()?;
        }
        let replicas: Vec<&Process> = self.replicas().filter_map(|m| m.process.as_ref()).collect();
        self.judge.finish(&replicas)
    }

    fn judged(&self) -> (usize, usize) {
        self.judge.summary()
    }
}

impl Replicas {
    pub fn new(seed: u64, mutation: Option<Mutation>, trace_lines: usize) -> Replicas {
        let mut dice = Dice::new(seed);
        let plan = Plan { sessions: seed % 3 == 2, fills: seed % 5 == 1, ..Plan::draw(&mut dice) };
        Replicas::drawn(plan, dice, mutation, trace_lines)
    }

    /// The partition is a shard of the group coordinator.
    pub fn coordinating(seed: u64, mutation: Option<Mutation>, trace_lines: usize) -> Replicas {
        let mut dice = Dice::new(seed);
        let plan = Plan { sessions: seed % 3 == 2, fills: seed % 5 == 1, ..Plan::draw(&mut dice) };
        let plan = plan.for_coordinator(&mut dice);
        Replicas::drawn(plan, dice, mutation, trace_lines)
    }

    fn drawn(plan: Plan, mut dice: Dice, mutation: Option<Mutation>, trace_lines: usize) -> Replicas {
        let bus = Bus::draw(plan.machines, &mut dice);
        let memories = disks(&plan, &mut dice);
        Replicas::of(plan, Cluster::new(dice, bus, memories, mutation, trace_lines))
    }

    fn of(plan: Plan, mut cluster: Cluster<Replicas>) -> Replicas {
        let config = TopicConfig {
            min_insync_replicas: plan.min_insync_replicas,
            flush_messages: if plan.flushes_each { 1 } else { i64::MAX },
            segment_bytes: plan.segment_bytes,
            ..TopicConfig::default()
        };
        cluster.plan = format!("{plan:?} {:?}", cluster.bus);
        for at in 0..plan.machines {
            let delay_ms = cluster.dice.between(0, 50);
            cluster.local(at, delay_ms, Local::Boot);
        }
        cluster.global(SESSION_MS / 4, Global::Expire);
        if !plan.troubles.is_empty() {
            cluster.global(plan.trouble_every_ms, Global::Trouble);
        }
        for producer in 0..plan.producers {
            cluster.global(100, Global::Produce { producer, attempt: 0 });
        }
        for client in 0..plan.committers {
            cluster.global(100, Global::Ask { client, turn: 0 });
        }
        let mut committers = Vec::new();
        for client in 0..plan.committers {
            committers.push(Committer::draw(client, plan.groups, &mut cluster.dice));
        }
        plan.admins_and_consumers(&mut cluster);
        let ids = cluster.machines.iter().map(|machine| machine.id).take(plan.machines - plan.spares);
        Replicas {
            registry: Registry::new(ids.collect(), plan.min_insync_replicas, cluster.mutation),
            may_lack: BTreeSet::new(),
            leader_epoch: LeaderEpoch::NONE,
            full: BTreeSet::new(),
            producers: (0..plan.producers).map(|_| Producer::new(plan.idempotent)).collect(),
            consumers: (0..plan.consumers).map(|_| Consumer::default()).collect(),
            turns: vec![0; committers.len()],
            committers,
            requests: 0,
            config: Arc::new(config),
            judge: Judge::new(plan.idempotent),
            plan,
            cluster,
        }
    }

    /// Everybody has heard of everything, producers included.
    fn is_healed(&self) -> bool {
        let are_done = self.producers.iter().all(|producer| producer.acknowledged == producer.record)
            && self.committers.iter().all(Committer::is_done);
        self.is_whole() && are_done
    }

    /// All replicas are in sync and the same, and readers see them whole.
    fn is_whole(&self) -> bool {
        let offsets = self.replicas().map(|machine| Some(machine.process.as_ref()?.lane.log().offsets()));
        let Some(offsets) = offsets.collect::<Option<Vec<_>>>() else { return false };
        let same = |o: &Offsets| o.high_watermark == o.log_end && o.log_end == offsets[0].log_end;
        let view = self.registry.view();
        let all_in_sync = view.target.is_none() && view.isr.len() == offsets.len();
        view.leader.is_some() && all_in_sync && offsets.iter().all(same)
    }

    /// The machines that have the partition.
    fn replicas(&self) -> impl Iterator<Item = &Machine<Process>> {
        let machines = self.cluster.machines.iter();
        machines.filter(|machine| self.registry.view().replicas.contains(&machine.id))
    }

    fn unfinished(&self) -> String {
        let logs = self.cluster.machines.iter().map(|machine| {
            let lane = machine.process.as_ref().map(|process| &process.lane);
            let leads = lane.map(|lane| (lane.leads(), lane.leader_epoch()));
            (machine.id, leads, lane.map(|lane| lane.log().offsets()))
        });
        format!("{:?} {:?} {:?}", self.registry.view(), logs.collect::<Vec<_>>(), self.producers)
    }

    // What the process wants. Nothing if none runs.
    fn in_process(&mut self, at: usize, what: Local) -> Vec<Wish> {
        let cluster = &mut self.cluster;
        let now_ms = cluster.now_ms();
        let id = cluster.machines[at].id;
        let free = cluster.machines[at].memory.free_bytes(Path::new(home::DIR));
        let has_room = free.is_ok_and(|free| free > ENOUGH_BYTES);
        let Some(process) = &mut cluster.machines[at].process else { return Vec::new() };
        match what {
            Local::Boot | Local::Stop => Vec::new(),
            Local::Hear(message) => {
                cluster.trace.note(now_ms, || format!("node {id} hears {message:?}"));
                if let Message::Question { asker, command } = &message {
                    self.judge.promises.asked(*asker, command, process.lane.leader_epoch());
                }
                process.hear(message, now_ms)
            }
            Local::Turn => process.turn(now_ms),
            Local::Fetch { number } if process.fetches == number && process.in_sessions.is_some() => {
                let wishes = process.fetch_in_session(now_ms);
                self.fetch_after(at, FETCH_PATIENCE_MS);
                wishes
            }
            Local::Fetch { number } if process.fetches == number => {
                // Should no answer come, it is tried again.
                let next = process.next_fetch();
                self.fetch_after(at, FETCH_PATIENCE_MS);
                next.map(|(leader, message)| Wish::Send(To::Broker(leader), message)).into_iter().collect()
            }
            Local::Fetch { .. } => Vec::new(),
            Local::Beat => {
                process.full &= !has_room;
                let message = match process.epoch {
                    Some(epoch) => Message::Heartbeat { broker: id, epoch, full: process.full },
                    None => process.registration(),
                };
                cluster.work(at, BEAT_MS, Local::Beat);
                vec![Wish::Send(To::Registry, message)]
            }
            Local::ShardTurn => process.drive_shard(now_ms),
            Local::Tick => {
                let wishes = process.enqueue(Input::Tick);
                cluster.work(at, LAG_MS / 2, Local::Tick);
                wishes
            }
            Local::Unanswered(proposal) => {
                let outcome = Err(ErrorCode::RequestTimedOut);
                process.enqueue(Input::IsrAnswered(IsrAnswer { proposal, outcome }))
            }
            Local::Checkpoint => {
                process.checkpoint();
                cluster.work(at, self.plan.checkpoint_every_ms, Local::Checkpoint);
                Vec::new()
            }
            Local::RunFlush(ticket) => {
                let up_to = ticket.up_to;
                let skips = cluster.mutation == Some(Mutation::SkipFlush);
                let result = if skips { Ok(()) } else { ticket.run() };
                let delay_ms = cluster.dice.between(0, 1);
                cluster.work(at, delay_ms, Local::Flushed { up_to, result });
                Vec::new()
            }
            Local::Flushed { up_to, result } => process.enqueue(Input::Flushed { up_to, result }),
        }
    }

    fn boot(&mut self, at: usize) -> Verdict {
        let (now_ms, mutation) = (self.cluster.now_ms(), self.cluster.mutation);
        let machine = &mut self.cluster.machines[at];
        if machine.process.is_some() {
            return Ok(());
        }
        machine.begin();
        let (id, life, disk) = (machine.id, machine.life, machine.disk.clone());
        let process = Process::start(id, life, disk, &self.config, now_ms, mutation);
        let mut process = match process {
            Err(_) if machine.disk_has_failed() || (self.full.contains(&at) && !self.cluster.finishing) => {
                self.end(at, Loss::Process);
                return Ok(());
            }
            process => process.map_err(|why| Violation::new("a log opens again", format!("{id}: {why}")))?,
        };
        process.in_sessions = self.plan.sessions.then(|| InSessions::new(process.life));
        process.coordinating = self.plan.coordinating(&mut self.cluster.dice);
        let offsets = process.lane.log().offsets();
        machine.process = Some(process);
        self.cluster.note_at(at, || format!("up, life {life}: {offsets:?}"));
        self.cluster.restarts += 1;
        self.cluster.work(at, 0, Local::Beat);
        self.cluster.work(at, LAG_MS / 2, Local::Tick);
        self.cluster.work(at, self.plan.checkpoint_every_ms, Local::Checkpoint);
        Ok(())
    }

    fn stop(&mut self, at: usize) {
        if let Some(process) = self.cluster.machines[at].process.take() {
            process.stop();
            self.end(at, Loss::Nothing);
        }
    }

    fn register(&mut self, message: Message) -> Verdict {
        let now_ms = self.cluster.now_ms();
        let version = self.registry.view().version;
        let (broker, answer) = match message {
            Message::Register { broker, life, previous } => {
                let Some(epoch) = self.registry.register(broker, life, previous, now_ms) else {
                    return Ok(());
                };
                let version = self.registry.view().version;
                (broker, Message::Registered { life, epoch, version })
            }
            Message::Heartbeat { broker, epoch, full }
                if self.registry.heard(broker, epoch, full, now_ms) =>
            {
                (broker, Message::News(self.registry.view().clone()))
            }
            Message::Propose { broker, epoch, proposal } => {
                let outcome = self.registry.alter(broker, epoch, &proposal).map(|()| {
                    let view = self.registry.view();
                    (view.leader_epoch, view.partition_epoch, view.isr.clone())
                });
                mark_if(outcome.is_err(), "a proposal was refused");
                self.cluster.note(|| format!("{broker} proposes {proposal:?}: {outcome:?}"));
                (broker, Message::Answer(IsrAnswer { proposal, outcome }))
            }
            _ => return Ok(()),
        };
        self.send(REGISTRY, To::Broker(broker), answer);
        match self.registry.view().version > version {
            true => self.publish(),
            false => Ok(()),
        }
    }

    // Everybody hears of it, late or not at all: heartbeats bring it again.
    fn publish(&mut self) -> Verdict {
        let view = self.registry.view().clone();
        self.cluster.note(|| format!("registry: {view:?}"));
        self.judge.agreed(&view)?;
        let registered = |machine: &Machine<Process>| view.life(machine.id) == Some(machine.life);
        for machine in &self.cluster.machines {
            let follows = view.isr.contains(&machine.id) && view.leader != Some(machine.id);
            if follows && registered(machine) {
                self.may_lack.remove(&machine.id);
            }
        }
        // Whoever is elected may have ended since, and be taken for the same after a clean stop. Who lost something later registers
        // anew, and leads no more.
        let elected = std::mem::replace(&mut self.leader_epoch, view.leader_epoch) != view.leader_epoch;
        let leader = self.cluster.machines.iter().find(|machine| view.leader == Some(machine.id));
        let lacks = leader
            .is_some_and(|leader| self.may_lack.contains(&leader.id) && (elected || registered(leader)));
        if view.last_resort && lacks {
            self.cluster.note(|| "nobody else is left: promises are off".into());
            mark("a replica led that may lack records");
            self.judge.forget(view.leader_epoch);
        }
        for at in 0..self.cluster.machines.len() {
            let id = self.cluster.machines[at].id;
            self.send(REGISTRY, To::Broker(id), Message::News(view.clone()));
        }
        Ok(())
    }

    fn send(&mut self, from: Place, to: To, message: Message) {
        let (place, arrival): (Place, Box<dyn Fn(Message) -> Event<Replicas>>) = match to {
            To::Broker(id) => {
                let at = id.0 as usize - 1;
                // A session is one connection's: what was said there ends with the process that it was said to.
                let in_session = matches!(message, Message::Ask(_));
                let life = in_session.then(|| self.cluster.machines[at].life);
                let arrival = move |message| Event::Local { at, life, what: Local::Hear(message) };
                (id.0 as Place, Box::new(arrival))
            }
            To::Registry => (REGISTRY, Box::new(|message| Event::Global(Global::Registry(message)))),
            To::Producer(producer) => {
                let arrival = move |message| Event::Global(Global::Producer(producer, message));
                (PRODUCERS + producer as Place, Box::new(arrival))
            }
            To::Consumer(consumer) => {
                let arrival = move |message| Event::Global(Global::Consumer(consumer, message));
                (CONSUMERS + consumer as Place, Box::new(arrival))
            }
            To::Committer(committer) => {
                let arrival = |message| Event::Global(Global::Committer(message));
                (COMMITTERS + committer as Place, Box::new(arrival))
            }
        };
        self.cluster.send(from, place, || arrival(message.clone()));
    }

    fn grant(&mut self, at: usize, wishes: Vec<Wish>) -> Verdict {
        let here = self.cluster.machines[at].place();
        self.watch(at)?;
        for wish in wishes {
            match wish {
                Wish::Send(to, message) => {
                    self.before_sending(at, to, &message)?;
                    self.send(here, to, message);
                }
                Wish::Turn => {
                    let delay_ms = self.cluster.dice.between(0, 2);
                    self.cluster.work(at, delay_ms, Local::Turn);
                }
                Wish::ShardTurn(at_ms) => {
                    let delay_ms = match at_ms {
                        Some(at_ms) => (at_ms - self.cluster.now_ms()).max(0),
                        None => self.cluster.dice.between(0, 2),
                    };
                    self.cluster.work(at, delay_ms, Local::ShardTurn);
                }
                Wish::Flush(ticket) => {
                    let delay_ms = self.cluster.dice.between(0, self.plan.flush_ms_max);
                    self.cluster.work(at, delay_ms, Local::RunFlush(ticket));
                }
                Wish::FetchSoon => {
                    let delay_ms = self.cluster.dice.between(0, self.plan.fetch_ms_max);
                    self.fetch_after(at, delay_ms);
                }
                Wish::FetchAfter(delay_ms) => self.fetch_after(at, delay_ms.max(1)),
                Wish::Offline(_) if self.cluster.machines[at].disk_has_failed() => {
                    mark("a broker ended since its disk had failed");
                    self.end(at, Loss::Process);
                    return Ok(());
                }
                Wish::Offline(why) => return Err(Violation::new("a partition fails for a reason", why)),
                // What cannot be removed is removed by the next start.
                Wish::Remove(files) => files.into_iter().for_each(|files| drop(files.run())),
            }
        }
        Ok(())
    }

    fn watch(&mut self, at: usize) -> Verdict {
        let Machine { id, process, .. } = &self.cluster.machines[at];
        process.as_ref().map_or(Ok(()), |process| self.judge.watch(*id, process))
    }

    // What is said counts, whether it is heard or not.
    fn before_sending(&mut self, at: usize, to: To, message: &Message) -> Verdict {
        match (to, message) {
            (_, Message::Propose { proposal, .. }) => {
                let what = Local::Unanswered(proposal.clone());
                self.cluster.work(at, PROPOSE_PATIENCE_MS, what);
                Ok(())
            }
            (To::Producer(producer), Message::Produced { attempt, outcome: Ok(offset) }) => {
                let process = (self.cluster.machines[at].id, self.cluster.machines[at].life);
                match self.producers[producer].asked(producer, *attempt) {
                    Some(record) => self.judge.acknowledged(process, record, *offset),
                    None => Ok(()),
                }
            }
            (_, Message::Coordinated { asker, reply }) => {
                let process = self.cluster.machines[at].process.as_ref();
                let epoch = process.map_or(LeaderEpoch::NONE, |process| process.lane.leader_epoch());
                self.judge.told(*asker, reply, epoch)
            }
            (_, Message::Consumed { from, found: Ok(found) }) => self.judge.consumed(*from, found, false),
            _ => Ok(()),
        }
    }

    fn fetch_after(&mut self, at: usize, delay_ms: i64) {
        let Some(process) = &mut self.cluster.machines[at].process else { return };
        process.fetches += 1;
        let number = process.fetches;
        self.cluster.work(at, delay_ms, Local::Fetch { number });
    }
}

fn disks(plan: &Plan, dice: &mut Dice) -> Vec<MemoryDisk> {
    let memories: Vec<MemoryDisk> = (0..plan.machines).map(|_| MemoryDisk::new(dice.number())).collect();
    // The log directory is older than all that happens.
    for memory in &memories {
        memory.create_dir_all(Path::new(home::DIR)).expect("an empty disk");
        memory.write_back();
    }
    memories
}

/// A disk that was full has room again when it has more than this.
const ENOUGH_BYTES: u64 = 500;
const REGISTRY: Place = 0;
const PRODUCERS: Place = 1_000;
const CONSUMERS: Place = 2_000;
const COMMITTERS: Place = 3_000;
const SESSION_MS: i64 = 1_000;
const BEAT_MS: i64 = 100;
const FETCH_PATIENCE_MS: i64 = 200;
const PROPOSE_PATIENCE_MS: i64 = 500;
/// Who is not in sync by then never will be.
const PATIENCE_MS: i64 = 60_000;

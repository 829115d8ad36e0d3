//! Brokers of this world and the active controller: what brokers ask, what they are answered, and what they do with it. The ways
//! between them are the network's; whom a broker asks, and for how long, is what the broker's uplink does.
//! It must never let anything happen that is not an event.

use ottla_core::controller::{Command, NotController, Reply};
use ottla_model::NodeId;
use ottla_model::image::{Image, Partition};
use ottla_node::lifecycle::{Input, Output};
use std::sync::Arc;
use uuid::Uuid;

use super::asks::{Asker, Kind, Met, Who};
use super::broker::{Beginning, Broker, Fetches, Moment};
use super::judge::Promise;
use super::process::{Process, config, directory};
use super::{Local, Quorums};
use crate::bus::Place;
use crate::cluster::{Event, Rules};
use crate::invariants::ledger::Loss;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::verdict::Verdict;

impl Quorums {
    /// Whether a broker lives on that machine.
    pub(super) fn hosts(&self, at: usize) -> bool {
        let first = if self.plan.combined { 0 } else { self.plan.machines + self.plan.observers };
        (first..first + self.plan.brokers).contains(&at)
    }

    fn broker(&mut self, at: usize) -> Option<&mut Broker> {
        self.cluster.machines[at].process.as_mut()?.broker.as_deref_mut()
    }

    /// After the controller or the observer beside it.
    pub(super) fn boot_broker(&mut self, at: usize) -> Verdict {
        if !self.hosts(at) {
            return Ok(());
        }
        let (now_ms, mutation) = (self.cluster.now_ms(), self.cluster.mutation);
        let previous_epoch = self.stopped[at].take();
        let machine = &mut self.cluster.machines[at];
        let Some(process) = machine.process.as_mut() else { return Ok(()) };
        let life = if mutation == Some(Mutation::ReuseIncarnation) { 0 } else { machine.life };
        let broker = Broker::start(Beginning {
            config: config(machine.id, self.plan.session_ms, self.plan.interval_ms),
            incarnation: Uuid::from_u128(((machine.id.0 as u128) << 64) + 1 + u128::from(life)),
            directory: directory(machine.id, 0),
            previous_epoch,
            mutation,
        });
        mark_if(previous_epoch.is_some(), "a broker came back from a clean stop");
        process.broker = Some(Box::new(broker));
        self.cluster.trace.note(now_ms, || format!("the broker of machine {at} starts"));
        let first_ms = self.cluster.dice.between(1, WORK_MS);
        self.cluster.work(at, first_ms, Local::Broker(Moment::Work));
        if self.full.contains(&at) {
            // It learns that from its first append.
            self.cluster.work(at, 2 * first_ms, Local::Broker(Moment::Room));
        }
        self.live(at, Input::Time)
    }

    /// Something happens at a broker.
    pub(super) fn in_broker(&mut self, at: usize, what: Moment) -> Verdict {
        let id = self.cluster.machines[at].id;
        let Some(broker) = self.broker(at) else { return Ok(()) };
        match what {
            Moment::Time => {
                broker.wakes_ms = None;
                self.live(at, Input::Time)
            }
            Moment::Answered(kind, number, reply) => {
                if !broker.takes(kind, number) {
                    return Ok(());
                }
                self.cluster.note_at(at, || format!("is answered {reply:?}"));
                match kind {
                    Kind::Life => self.live(at, Input::Answered(*reply)),
                    // The metadata says what has changed.
                    Kind::InSync => {
                        if let (Ok(Reply::PartitionsAltered(Ok(outcomes))), Some(broker)) =
                            (&*reply, self.broker(at))
                        {
                            broker.altered(outcomes);
                        }
                        Ok(())
                    }
                }
            }
            Moment::Show(image) if image.offset <= broker.shown.offset => Ok(()),
            Moment::Show(image) => {
                broker.show(image);
                let Some(broker) = self.cluster.machines[at].process.as_ref().and_then(|p| p.broker.as_ref())
                else {
                    return Ok(());
                };
                self.judge.shows(id, broker)
            }
            Moment::AnotherLeads => self.live(at, Input::AnotherLeads),
            Moment::Room => {
                let full = self.full.contains(&at);
                let Some(broker) = self.broker(at) else { return Ok(()) };
                let input = broker.full(full);
                self.live(at, input)
            }
            Moment::Work => {
                self.work(at);
                Ok(())
            }
            Moment::Fetched(fetches) => {
                for key in broker.serve(&fetches) {
                    self.judge.fetched(key, fetches.from, ottla_model::BrokerEpoch(fetches.broker_epoch));
                }
                Ok(())
            }
            Moment::Stop { deadline_ms } => {
                broker.stops = true;
                self.live(at, Input::Stop { deadline_ms })
            }
            Moment::Stopped => {
                self.stopped[at] = broker.life.epoch();
                self.end(at, Loss::Process);
                Ok(())
            }
        }
    }

    // One step of its life.
    fn live(&mut self, at: usize, input: Input) -> Verdict {
        let (now_ms, id, life) =
            (self.cluster.now_ms(), self.cluster.machines[at].id, self.cluster.machines[at].life);
        let Some(broker) = self.broker(at) else { return Ok(()) };
        let shown = broker.shown.clone();
        for output in broker.life.step(now_ms, input, &shown) {
            match output {
                Output::Ask(command) => self.ask_controller(at, Kind::Life, command),
                Output::Registered(epoch) => self.judge.sessions.registered(id, epoch, life)?,
                Output::Joined(epoch) => {
                    self.cluster.note_at(at, || format!("serves as {epoch}"));
                    if let Some(broker) = self.broker(at) {
                        broker.joined = true;
                    }
                }
                Output::Waits(why) => {
                    mark_if(
                        why.starts_with("DUPLICATE_BROKER_REGISTRATION"),
                        "a broker waited for the session of the one before",
                    );
                    self.cluster.note_at(at, || format!("waits: {why}"));
                }
                Output::Refused(why) => {
                    self.cluster.note_at(at, || format!("gives up: {why}"));
                    self.cluster.work(at, 0, Local::End(Loss::Process));
                }
                Output::StopNow => self.cluster.work(at, 0, Local::Broker(Moment::Stopped)),
            }
        }
        self.live_on(at);
        Ok(())
    }

    fn live_on(&mut self, at: usize) {
        let now_ms = self.cluster.now_ms();
        let Some(broker) = self.broker(at) else { return };
        let Some(due_ms) = broker.life.due_ms().map(|due_ms| due_ms.max(now_ms)) else { return };
        if broker.wakes_ms.is_none_or(|planned| planned > due_ms) {
            broker.wakes_ms = Some(due_ms);
            self.cluster.work(at, due_ms - now_ms, Local::Broker(Moment::Time));
        }
    }

    /// The metadata has changed on this node; its broker carries that out, which takes a moment.
    pub(super) fn show_later(&mut self, at: usize, image: Arc<Image>) {
        if self.hosts(at) {
            let delay_ms = self.cluster.dice.between(0, self.plan.show_ms_max);
            self.cluster.work(at, delay_ms, Local::Broker(Moment::Show(image)));
        }
    }

    // As the uplink does: to whoever is known to lead.
    fn ask_controller(&mut self, at: usize, kind: Kind, mut command: Command) {
        let mutation = self.cluster.mutation;
        let to = self.cluster.machines[at].process.as_ref().and_then(Process::leader);
        let Some(broker) = self.broker(at) else { return };
        let number = broker.asks(kind, to);
        if let Command::Heartbeat(beat) = &mut command {
            match mutation {
                Some(Mutation::ClaimToBeCaughtUp) => {
                    beat.metadata_offset = beat.metadata_offset.max(beat.epoch.0);
                }
                Some(Mutation::SayNothingOfRoom) => beat.full.clear(),
                _ => {}
            }
        }
        let Some(to) = to else { return self.give_up(at, kind, number, 0) };
        self.give_up(at, kind, number, PATIENCE_MS);
        self.cluster.note_at(at, || format!("asks {to} for {command:?}"));
        let asker = Asker { at, life: self.cluster.machines[at].life, kind, number, met: Met::default() };
        let receiver = to.0 as usize - 1;
        let arrival = || {
            let what = Local::Command(Box::new((asker.clone(), command.clone())));
            Event::Local { at: receiver, life: None, what }
        };
        match receiver == at {
            true => self.cluster.work(at, 0, Local::Command(Box::new((asker, command)))),
            false => self.cluster.send(self.cluster.machines[at].place(), to.0 as Place, arrival),
        }
    }

    fn give_up(&mut self, at: usize, kind: Kind, number: u64, delay_ms: i64) {
        let nobody = Box::new(Err(NotController));
        self.cluster.work(at, delay_ms, Local::Broker(Moment::Answered(kind, number, nobody)));
    }

    /// After a step: whoever is asked leads no more, as far as is known here.
    pub(super) fn notice_leader(&mut self, at: usize) {
        let leader = self.cluster.machines[at].process.as_ref().and_then(Process::leader);
        let Some(broker) = self.broker(at) else { return };
        let lost = broker.asked.iter().filter(|(_, question)| question.to.is_some() && question.to != leader);
        let lost: Vec<_> = lost.map(|(kind, question)| (*kind, question.number)).collect();
        for (kind, number) in lost {
            self.give_up(at, kind, number, 0);
        }
        let Some(broker) = self.broker(at) else { return };
        if std::mem::replace(&mut broker.controller, leader) != leader && leader.is_some() {
            self.cluster.work(at, 0, Local::Broker(Moment::AnotherLeads));
        }
    }

    /// A process that ends closes its connections, and whoever waits for an answer there hears of that. A machine without power
    /// says nothing.
    pub(super) fn close_connections(&mut self, ended: usize) {
        let (id, from) = (self.cluster.machines[ended].id, self.cluster.machines[ended].place());
        for at in (0..self.cluster.machines.len()).filter(|at| *at != ended) {
            if let Some((_, waiter)) = self.questions.get(&at).filter(|(to, _)| *to == ended) {
                let waiter = waiter.clone();
                self.answer_observer(ended, waiter, None);
            }
            let (to, life) = (self.cluster.machines[at].place(), self.cluster.machines[at].life);
            let Some(broker) = self.broker(at) else { continue };
            let asked = broker.asked.iter().filter(|(_, question)| question.to == Some(id));
            let asked: Vec<_> = asked.map(|(kind, question)| (*kind, question.number)).collect();
            for (kind, number) in asked {
                let arrival = || {
                    let what = Local::Broker(Moment::Answered(kind, number, Box::new(Err(NotController))));
                    Event::Local { at, life: Some(life), what }
                };
                self.cluster.send(from, to, arrival);
            }
        }
    }

    /// A broker asks a controller. Where no process runs, the connection is refused.
    pub(super) fn met(&mut self, at: usize, mut asker: Asker, command: &mut Command) -> Option<Who> {
        let now_ms = self.cluster.now_ms();
        let process = self.cluster.machines[at].process.as_ref();
        let Some(controller) = process.and_then(Process::controller) else {
            self.answer_broker(at, asker, Err(NotController));
            return None;
        };
        (asker.met.ms, asker.met.life) = (now_ms, asker.life);
        if let Command::Heartbeat(beat) = command {
            // What is decided counts for what is asked next, though nobody hears of it yet.
            let known = controller.decided().broker(beat.broker);
            asker.met.stale = known.is_some_and(|known| known.epoch > beat.epoch);
            asker.met.leads = known.is_some_and(|known| {
                let leads = |p: &Partition| p.leader == Some(beat.broker);
                !known.fenced && (known.in_controlled_shutdown || partitions(controller.decided()).any(leads))
            });
            asker.met.serving =
                controller.decided().brokers().filter(|b| b.is_active()).map(|b| b.id).collect();
            mark_if(asker.met.stale, "a heartbeat came from a process that was followed by another one");
            if let Some(known) = known
                && self.cluster.mutation == Some(Mutation::BelieveOldHeartbeats)
            {
                beat.epoch = known.epoch;
            }
            let leads_beside_others = |p: &Partition| p.leader == Some(beat.broker) && p.isr.len() > 1;
            mark_if(
                !beat.full.is_empty() && partitions(controller.image()).any(leads_beside_others),
                "a leader without room was told of where others were in sync",
            );
            asker.met.broker = Some(beat.broker);
            asker.met.wants_to_stop = beat.want_shutdown;
        }
        if let Command::AlterPartition(alter) = command {
            asker.met.of = alter.proposals.iter().map(|one| (one.topic, one.partition)).collect();
        }
        Some(Who::Broker(asker))
    }

    /// A controller answers a broker. What is said counts, whether it is heard or not.
    pub(super) fn reply_to_broker(
        &mut self,
        at: usize,
        asker: Asker,
        mut reply: Result<Reply, NotController>,
    ) -> Verdict {
        let machine = &self.cluster.machines[at];
        let who = (machine.id, machine.life);
        let Some(image) = machine.process.as_ref().map(|process| process.image().clone()) else {
            return Ok(());
        };
        match &mut reply {
            Ok(Reply::Heartbeat(Ok(answer))) => {
                if self.cluster.mutation == Some(Mutation::LeaveAtOnce) && asker.met.wants_to_stop {
                    answer.should_shut_down = true;
                }
                let (met, may_stop) = (&asker.met, answer.should_shut_down);
                let broker = met.broker.unwrap_or(NodeId(-1));
                self.judge.sessions.answered(who, broker, met, may_stop, &image)?;
                if may_stop {
                    mark_if(met.leads, "a broker has handed over what it led");
                    self.nobody_needs(who, broker, met, &image)?;
                }
            }
            Ok(Reply::BrokerRegistered(Ok(epoch))) => {
                let id = self.cluster.machines[asker.at].id;
                self.judge.sessions.taken(who, id, &asker.met)?;
                self.judge.promised(image.offset, Promise::Broker(id, *epoch))?;
            }
            Ok(Reply::PartitionsAltered(Ok(outcomes))) => {
                mark_if(outcomes.iter().any(Result::is_ok), "an in-sync set has changed");
                mark_if(outcomes.iter().any(Result::is_err), "a proposal was refused");
                for (key, outcome) in asker.met.of.iter().zip(outcomes) {
                    if let Ok(altered) = outcome {
                        let promise = Promise::Partition(*key, altered.partition_epoch);
                        self.judge.promised(image.offset, promise)?;
                    }
                }
            }
            _ => {}
        }
        self.answer_broker(at, asker, reply);
        Ok(())
    }

    // Whoever else serves has heard of it. Who has begun to serve since that was decided may show what it saw as it started, as with
    // Kafka.
    fn nobody_needs(&self, who: (NodeId, u64), broker: NodeId, met: &Met, image: &Image) -> Verdict {
        let others = self.cluster.machines.iter().filter(|machine| machine.id != broker);
        for machine in others {
            let Some(other) = machine.process.as_ref().and_then(|process| process.broker.as_ref()) else {
                continue;
            };
            let served = met.serving.contains(&machine.id);
            let known = image.broker(machine.id).filter(|known| served && known.is_active());
            if known.is_some_and(|known| known.incarnation == other.incarnation) {
                self.judge.sessions.leaves(who, broker, met, image, &other.shown)?;
            }
        }
        Ok(())
    }

    fn answer_broker(&mut self, at: usize, asker: Asker, reply: Result<Reply, NotController>) {
        let Asker { at: broker, life, kind, number, .. } = asker;
        let arrival = || {
            let what = Local::Broker(Moment::Answered(kind, number, Box::new(reply.clone())));
            Event::Local { at: broker, life: Some(life), what }
        };
        let (from, to) = (self.cluster.machines[at].place(), self.cluster.machines[broker].place());
        match at == broker {
            true => self.cluster.queue.after(0, arrival()),
            false => self.cluster.send(from, to, arrival),
        }
    }

    /// A controller has fenced a broker without being asked.
    pub(super) fn fenced(&mut self, at: usize, id: NodeId) -> Verdict {
        let (now_ms, machine) = (self.cluster.now_ms(), &self.cluster.machines[at]);
        let who = (machine.id, machine.life);
        let known = machine.process.as_ref().and_then(|process| process.image().broker(id).cloned());
        let running = self.cluster.machines.iter().find(|machine| machine.id == id);
        let running = running.and_then(|machine| machine.process.as_ref()?.broker.as_ref());
        let serves = running.is_some_and(|broker| {
            let same = known.is_some_and(|known| known.incarnation == broker.incarnation);
            same && broker.joined && !broker.stops
        });
        self.cluster.note_at(at, || format!("fences {id}"));
        mark("a silent broker was fenced");
        mark_if(serves, "a broker was fenced that served");
        self.judge.sessions.fenced(who, id, serves, now_ms)
    }

    // Fetches where it is not in sync, and proposes who is.
    fn work(&mut self, at: usize) {
        let pause_ms = self.cluster.dice.between(WORK_MS / 2, WORK_MS);
        self.cluster.work(at, pause_ms, Local::Broker(Moment::Work));
        let late_percent = if self.cluster.finishing { 0 } else { self.plan.late_percent };
        let mut dice = self.cluster.dice.split();
        let Some(broker) = self.broker(at) else { return };
        let (fetches, proposals) = (broker.fetches(), broker.proposals(&mut dice, late_percent));
        let from = self.cluster.machines[at].place();
        for (leader, fetches) in fetches {
            let receiver = leader.0 as usize - 1;
            let arrival = || {
                let fetches: Fetches = fetches.clone();
                Event::Local { at: receiver, life: None, what: Local::Broker(Moment::Fetched(fetches)) }
            };
            self.cluster.send(from, leader.0 as Place, arrival);
        }
        if let Some(proposals) = proposals {
            self.ask_controller(at, Kind::InSync, proposals);
        }
    }

    /// Whether each broker serves and shows everything, each partition has a leader, and each replica is in sync.
    pub(super) fn all_serve(&self, image: &Image) -> bool {
        let mut brokers = self.cluster.machines.iter().enumerate().filter(|(at, _)| self.hosts(*at));
        let serve = brokers.all(|(_, machine)| {
            let broker = machine.process.as_ref().and_then(|process| process.broker.as_ref());
            broker.is_some_and(|broker| {
                let known = image.broker(machine.id).filter(|known| known.is_active());
                let same = known.is_some_and(|known| known.incarnation == broker.incarnation);
                same && broker.shown.offset == image.offset
            })
        });
        serve && partitions(image).all(|partition| self.is_well(partition))
    }

    // Who has room leads, and all that have room are in sync, and nobody else. Where nobody has, somebody leads.
    fn is_well(&self, partition: &Partition) -> bool {
        let has_room = |id: &NodeId| !self.full.contains(&(id.0 as usize - 1));
        let Partition { leader, isr, replicas, .. } = partition;
        match replicas.iter().any(has_room) {
            true => {
                leader.as_ref().is_some_and(has_room)
                    && replicas.iter().all(|id| has_room(id) == isr.contains(id))
            }
            false => leader.is_some(),
        }
    }

    /// The disk of a broker is full, or has room again.
    pub(super) fn fill(&mut self, at: usize) {
        let full = self.full.insert(at) || !self.full.remove(&at);
        self.cluster.note_at(at, || format!("trouble: its directory is full: {full}"));
        self.cluster.work(at, 0, Local::Broker(Moment::Room));
    }
}

fn partitions(image: &Image) -> impl Iterator<Item = &Partition> {
    image.topics().flat_map(|topic| topic.partitions.values().map(|partition| &**partition))
}

/// For an answer, as in the broker's uplink.
const PATIENCE_MS: i64 = 5_000;
/// A broker looks after its partitions so often, and up to twice as often.
const WORK_MS: i64 = 400;

//! The metadata quorum on several machines: the broker's own controllers, which agree by messages that the network brings late,
//! twice or never, over disks that lose what was not flushed. Clients ask for something and are told when it is agreed on. Observers
//! follow, on machines of their own. Brokers live beside observers or beside controllers: they register, are heard of, fenced, stopped
//! and killed, and propose who is in sync.
//! It must never let anything happen that is not an event.

mod asks;
mod broker;
mod clients;
mod judge;
mod living;
mod observing;
mod process;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use ottla_core::controller::Command;
use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_node::controller::{Input, Missing, Output};
use ottla_node::observer::{self, Answered};
use ottla_node::quorum::{
    Body, ChangeRefused, Message, Refused, ReplicaKey, Snapshot, SnapshotId, TICK_MS, VoterChange, VoterSet,
};

use crate::bus::{Bus, Place};
use crate::cluster::{Cluster, Event, Rules};
use crate::dice::Dice;
use crate::invariants::ledger::Loss;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::verdict::{Verdict, Violation};
use asks::{Ask, Asker, Who};
use broker::Moment;
use clients::Client;
use judge::{Judge, Sessions};
use process::{DATA, Member, Node, Process, Start, Waiter, config, directory, voter};
use trouble::Plan;

/// What happens at a machine.
pub(crate) enum Local {
    Boot,
    /// Bytes of another machine.
    Hear(Bytes),
    Tick,
    /// A client asks.
    Asked(Ask),
    /// There is time to write a snapshot.
    Write(Box<Snapshot>),
    Written(Option<SnapshotId>),
    ChangeVoters(VoterChange),
    TransferLeadership,
    /// Nobody listens where that one did.
    Gone(Missing),
    End(Loss),
    /// An observer asks a voter.
    Fetch(Box<Waiter>),
    /// An observer is answered, or told that there will be no answer.
    Fetched(Box<Answered>),
    /// An observer has waited for as long as it wants to.
    Wake,
    /// A broker asks.
    Command(Box<(Asker, Command)>),
    /// Something happens at the broker on this machine.
    Broker(Moment),
}

/// What happens elsewhere.
pub(crate) enum Global {
    /// A client asks, again if need be.
    Wake {
        client: usize,
        attempt: u64,
    },
    /// A client is told.
    Answer {
        ask: Ask,
        agreed: bool,
    },
    /// Whoever replaces machines looks how far it is.
    Operate,
    Trouble,
}

pub(crate) struct Quorums {
    plan: Plan,
    cluster: Cluster<Quorums>,
    /// As what each machine starts.
    starts: Vec<Start>,
    /// A machine whose disk was wiped: the replica that it was must go, and the one that it is must come.
    replaced: Option<(usize, ReplicaKey)>,
    clients: Vec<Client>,
    /// Of each machine: the epoch of its last broker, where that has stopped cleanly.
    stopped: Vec<Option<BrokerEpoch>>,
    /// Machines whose brokers have no room in their directory. Some never have any again.
    full: BTreeSet<usize>,
    /// Of machines that observe: whom each has asked last, and for what.
    questions: BTreeMap<usize, (usize, Waiter)>,
    judge: Judge,
}

impl Rules for Quorums {
    type Process = Process;
    type Local = Local;
    type Global = Global;

    fn cluster(&mut self) -> &mut Cluster<Quorums> {
        &mut self.cluster
    }

    fn local(&mut self, at: usize, what: Local) -> Verdict {
        let outputs = match what {
            Local::Boot => self.boot(at)?,
            Local::End(loss) => {
                self.end(at, loss);
                Vec::new()
            }
            Local::Broker(what) => {
                self.in_broker(at, what)?;
                Vec::new()
            }
            Local::Command(question) => self.hear_broker(at, *question)?,
            what if self.observes(at) => {
                self.in_observer(at, what)?;
                Vec::new()
            }
            Local::Fetch(waiter) => {
                self.serve(at, *waiter);
                Vec::new()
            }
            what => self.in_process(at, what)?,
        };
        self.carry_out(at, outputs)?;
        self.serve_those_who_wait(at);
        self.notice_leader(at);
        let (now_ms, machine) = (self.cluster.now_ms(), &self.cluster.machines[at]);
        let Some(process) = &machine.process else { return Ok(()) };
        self.judge.watch(machine.id, machine.life, process, now_ms)
    }

    fn global(&mut self, what: Global) -> Verdict {
        match what {
            Global::Wake { client, attempt } => self.wake(client, attempt),
            Global::Answer { ask, agreed } => self.answered(ask, agreed),
            Global::Operate => self.operate(),
            Global::Trouble => self.trouble(),
        }
        Ok(())
    }

    /// As [`crate::machine::Machine::end`]; it begins again after a while.
    fn end(&mut self, at: usize, loss: Loss) {
        if loss == Loss::Process {
            self.close_connections(at);
        }
        let loss = self.cluster.machines[at].end(loss);
        self.cluster.note_at(at, || format!("ends: {loss:?}"));
        let most_ms = *self.cluster.dice.pick(&[10, 300, 3_000]);
        let down_ms = self.cluster.dice.between(1, most_ms);
        self.cluster.local(at, down_ms, Local::Boot);
    }

    // Everybody votes, has the same log and all of it is agreed on, and all clients are told. Each broker serves, and each
    // partition has a leader and all of its replicas in sync.
    fn finish(&mut self) -> Verdict {
        // Where a message may take longer than a session, brokers come and go for ever.
        if self.plan.brokers > 0 {
            self.cluster.bus.hurry(i64::from(self.plan.session_ms) / 8);
        }
        let deadline_ms = self.cluster.now_ms() + PATIENCE_MS;
        while !self.is_healed() {
            if self.cluster.now_ms() > deadline_ms {
                return Err(Violation::new("everybody agrees some day", self.unfinished()));
            }
            self.next()?;
        }
        let processes = self.cluster.machines.iter().filter_map(|m| Some((m.id, m.process.as_ref()?)));
        self.judge.finish(processes)
    }

    fn judged(&self) -> (usize, usize) {
        self.judge.summary()
    }
}

impl Quorums {
    pub fn new(seed: u64, mutation: Option<Mutation>, trace_lines: usize) -> Quorums {
        let mut dice = Dice::new(seed);
        let plan = Plan { fills: seed % 3 == 1, ..Plan::draw(&mut dice) };
        let machines = plan.all_machines();
        let bus = if plan.gentle { Bus::still() } else { Bus::draw(machines, &mut dice) };
        let memories: Vec<MemoryDisk> = (0..machines).map(|_| blank(dice.number())).collect();
        let mut cluster: Cluster<Quorums> = Cluster::new(dice, bus, memories, mutation, trace_lines);
        cluster.plan = format!("{plan:?} {:?}", cluster.bus);
        let founding: Vec<NodeId> = (1..=plan.founders as i32).map(NodeId).collect();
        let voting = cluster.machines.iter().take(plan.machines);
        let starts = voting.map(|machine| Start::founding(machine.id, &founding)).collect();
        for at in 0..machines {
            let delay_ms = cluster.dice.between(0, 50);
            cluster.local(at, delay_ms, Local::Boot);
        }
        cluster.global(OPERATE_MS, Global::Operate);
        cluster.global(plan.trouble_every_ms, Global::Trouble);
        for client in 0..plan.clients {
            cluster.global(100, Global::Wake { client, attempt: 0 });
        }
        let clients = (0..plan.clients).map(|_| Client::new()).collect();
        let (session_ms, interval_ms) = (plan.session_ms.into(), plan.interval_ms.into());
        let judge = Judge::of(Sessions::new(session_ms, interval_ms, plan.gentle));
        Quorums {
            plan,
            cluster,
            starts,
            replaced: None,
            clients,
            stopped: vec![None; machines],
            full: BTreeSet::new(),
            questions: BTreeMap::new(),
            judge,
        }
    }

    fn boot(&mut self, at: usize) -> Result<Vec<Output<Who>>, Violation> {
        if self.observes(at) {
            self.boot_observer(at)?;
            return Ok(Vec::new());
        }
        let (now_ms, mutation) = (self.cluster.now_ms(), self.cluster.mutation);
        let chance = self.cluster.dice.split();
        let machine = &mut self.cluster.machines[at];
        if machine.process.is_some() {
            return Ok(Vec::new());
        }
        machine.begin();
        let (id, disk) = (machine.id, machine.disk.clone());
        let config = config(id, self.plan.session_ms, self.plan.interval_ms);
        let started = Member::start(&self.starts[at], config, disk, now_ms, chance, mutation);
        let broken = |why: String| Violation::new("a controller starts again", format!("{id}: {why}"));
        let (member, outputs) = started.map_err(broken)?;
        let offsets = member.controller.quorum().store().log().offsets();
        machine.process = Some(Process { node: Node::Controller(Box::new(member)), broker: None });
        self.cluster.note_at(at, || format!("up: {offsets:?}"));
        self.cluster.restarts += 1;
        let first_tick_ms = self.cluster.dice.between(1, TICK_MS);
        self.cluster.work(at, first_tick_ms, Local::Tick);
        self.boot_broker(at)?;
        Ok(outputs)
    }

    fn in_process(&mut self, at: usize, what: Local) -> Result<Vec<Output<Who>>, Violation> {
        let (cluster, mut asked) = (&mut self.cluster, None);
        let now_ms = cluster.now_ms();
        let id = cluster.machines[at].id;
        if cluster.machines[at].process.is_none() {
            return Ok(Vec::new());
        }
        let input = match what {
            Local::Boot | Local::End(_) | Local::Fetch(_) | Local::Wake => return Ok(Vec::new()),
            Local::Command(_) | Local::Broker(_) => return Ok(Vec::new()),
            Local::Fetched(answered) => {
                cluster.trace.note(now_ms, || format!("node {id} is answered {:?}", answered.answer));
                Input::Answered(answered)
            }
            Local::Hear(bytes) => {
                let message = Message::decode(&bytes);
                let message = message.map_err(|e| Violation::new("messages are read", e.to_string()))?;
                cluster.trace.note(now_ms, || format!("node {id} hears {message:?}"));
                mark_if(matches!(message.body, Body::SnapshotChunk { .. }), "a voter was given a snapshot");
                mark_if(matches!(message.body, Body::NotAppended { .. }), "a follower's log had parted");
                mark_if(matches!(message.body, Body::TimeoutNow), "leadership was handed over");
                Input::Message(Box::new(message))
            }
            Local::Tick => {
                cluster.work(at, TICK_MS, Local::Tick);
                Input::Tick
            }
            Local::Asked(ask) => {
                asked = Some(ask);
                Input::Command { token: Who::Client(ask), command: ask.command() }
            }
            Local::Write(snapshot) => {
                let written = snapshot.write(&*cluster.machines[at].disk);
                let written = written.map_err(|e| Violation::new("no disk fails here", e.to_string()))?;
                cluster.note_at(at, || format!("wrote {}", written.file_name()));
                let delay_ms = cluster.dice.between(0, 5);
                cluster.work(at, delay_ms, Local::Written(Some(written)));
                return Ok(Vec::new());
            }
            Local::Written(written) => Input::Snapshotted(written),
            Local::ChangeVoters(change) => Input::ChangeVoters { token: Who::Operator, change },
            Local::TransferLeadership => Input::TransferLeadership,
            Local::Gone(missing) => Input::Gone(missing),
        };
        let outputs = self.step(at, input)?;
        self.may_answer_early(at, asked)?;
        Ok(outputs)
    }

    fn hear_broker(&mut self, at: usize, question: (Asker, Command)) -> Result<Vec<Output<Who>>, Violation> {
        let (asker, mut command) = question;
        let Some(token) = self.met(at, asker, &mut command) else { return Ok(Vec::new()) };
        self.step(at, Input::Command { token, command })
    }

    fn step(&mut self, at: usize, input: Input<Who>) -> Result<Vec<Output<Who>>, Violation> {
        let mut now_ms = self.cluster.now_ms();
        let (id, mutation) = (self.cluster.machines[at].id, self.cluster.mutation);
        let mut outputs = Vec::new();
        let process = self.cluster.machines[at].process.as_mut();
        let Some(Member { controller, .. }) = process.and_then(Process::member) else { return Ok(outputs) };
        self.judge.sessions.gone = match &input {
            Input::Gone(Missing::Broker(id, _)) => Some(*id),
            _ => None,
        };
        // Whoever begins to lead does so in a step that is no tick.
        if mutation == Some(Mutation::KeepSessions) && !controller.leads() && !matches!(input, Input::Tick) {
            now_ms -= i64::from(self.plan.session_ms);
        }
        let stepped = controller.step(now_ms, input, &mut outputs);
        stepped.map_err(|e| Violation::new("a controller goes on", format!("{id}: {e}")))?;
        Ok(outputs)
    }

    fn carry_out(&mut self, at: usize, outputs: Vec<Output<Who>>) -> Verdict {
        let id = self.cluster.machines[at].id;
        for output in outputs {
            match output {
                Output::Send(message) => self.send(at, *message),
                Output::Published(image) => {
                    self.judge.published(id, &image)?;
                    self.show_later(at, image);
                }
                Output::Snapshot(snapshot) => {
                    let delay_ms = self.cluster.dice.between(0, 20);
                    self.cluster.work(at, delay_ms, Local::Write(Box::new(snapshot)));
                }
                Output::Reply { token: Who::Client(ask), reply } => self.reply(at, ask, &reply)?,
                Output::Reply { token: Who::Broker(asker), reply } => {
                    self.reply_to_broker(at, asker, reply)?;
                }
                Output::Fenced(id) => self.fenced(at, id)?,
                Output::Reply { token: Who::Operator, .. } | Output::Full(_) => {}
                Output::Ask(asked) => {
                    mark("a controller asked because no leader spoke to it");
                    self.ask(at, asked);
                }
                Output::CannotFollow(
                    why @ (observer::Refused::Unfit(_) | observer::Refused::SecondLeader { .. }),
                ) => {
                    return Err(Violation::new("a controller takes what a leader sends", why.to_string()));
                }
                Output::CannotFollow(why) => self.cluster.note_at(at, || format!("refuses {why}")),
                Output::LookFor(missing) => self.look_for(at, missing),
                Output::Refused(why) => {
                    mark_if(matches!(why, Refused::NotAVoter(_)), "a stranger was not heard");
                    self.cluster.note_at(at, || format!("refuses {why}"));
                }
                Output::VotersChanged { outcome, .. } => {
                    self.cluster.note_at(at, || format!("voters changed: {outcome:?}"));
                    mark_if(outcome.is_ok(), "the voters changed");
                    mark_if(outcome == Err(ChangeRefused::Pending), "a change waited for the one before");
                    mark_if(
                        outcome == Err(ChangeRefused::Lagging),
                        "a replica had to follow before it voted",
                    );
                    if outcome == Err(ChangeRefused::Invalid) {
                        return Err(Violation::new("a set of voters is sane", format!("{outcome:?}")));
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, at: usize, message: Message) {
        let (from, to) = (self.cluster.machines[at].place(), message.to.id.0 as Place);
        let Some(receiver) = (to as usize).checked_sub(1).filter(|to| *to < self.plan.machines) else {
            return;
        };
        if self.cluster.mutation == Some(Mutation::BelieveAppendsArrive)
            && let Some(answer) = process::as_if_appended(&message)
        {
            self.cluster.local(at, 0, Local::Hear(answer.encode()));
        }
        if matches!(message.body, Body::VoteAnswer(ballot) if ballot.granted) {
            self.has_voted(at);
        }
        let bytes = message.encode();
        let arrival = || Event::Local { at: receiver, life: None, what: Local::Hear(bytes.clone()) };
        self.cluster.send(from, to, arrival);
    }

    // The replica that is no more is taken out, then the one that is there instead is taken in. Machines that did not found
    // the quorum join it. One change at a time, and asked for again until it is done.
    fn operate(&mut self) {
        self.cluster.global(OPERATE_MS, Global::Operate);
        let Some((leader, voters)) = self.led() else { return };
        let gone = self.replaced.filter(|(_, gone)| voters.get(gone.id) == Some(*gone));
        let missing = self.starts.iter().find(|start| voters.get(start.me.id).is_none());
        let change = match (gone, missing) {
            (Some((_, gone)), _) => VoterChange::Remove(gone),
            (None, Some(start)) => VoterChange::Add(voter(start.me)),
            (None, None) => return self.replaced = None,
        };
        self.cluster.note_at(leader, || format!("is asked for {change:?}"));
        self.cluster.work(leader, 0, Local::ChangeVoters(change));
    }

    // Who leads, and who votes as far as is agreed on there.
    fn led(&self) -> Option<(usize, VoterSet)> {
        let leading = self.cluster.machines.iter().enumerate().filter_map(|(at, machine)| {
            let controller = machine.process.as_ref()?.controller()?;
            controller.leads().then(|| (controller.quorum().epoch(), at, controller.quorum().voters()))
        });
        leading.max_by_key(|(epoch, _, _)| *epoch).map(|(_, at, voters)| (at, voters))
    }

    /// The machine comes back with an empty disk, as another replica.
    fn wipe(&mut self, at: usize) {
        self.end(at, Loss::Power);
        let machine = &mut self.cluster.machines[at];
        let (id, life) = (machine.id, machine.life);
        empty(&machine.memory);
        let before = self.starts[at].me;
        if self.cluster.mutation == Some(Mutation::TakeWipedForItself) {
            return;
        }
        mark("a voter lost its disk");
        self.starts[at] = Start::joining(ReplicaKey { id, directory_id: directory(id, life) });
        self.replaced = Some((at, before));
    }

    fn is_healed(&self) -> bool {
        self.is_everywhere()
            && self.all_observe()
            && self.led().is_some_and(|(leader, _)| {
                let process = self.cluster.machines[leader].process.as_ref();
                process.is_some_and(|process| self.all_serve(process.image()))
            })
            && self.clients.iter().all(Client::has_all)
    }

    /// Whether everybody votes and has everything.
    fn is_everywhere(&self) -> bool {
        let Some((leader, voters)) = self.led() else { return false };
        let voting = self.cluster.machines.iter().take(self.plan.machines);
        let ends: Vec<Option<(i64, i64)>> = voting
            .map(|machine| {
                let log = machine.process.as_ref()?.log();
                Some((log.high_watermark(), log.log_end_offset()))
            })
            .collect();
        let all_vote = self.starts.iter().all(|start| voters.get(start.me.id) == Some(start.me));
        all_vote && ends.iter().all(|end| end.is_some_and(|(hw, end)| hw == end) && *end == ends[leader])
    }

    fn unfinished(&self) -> String {
        let members = self.cluster.machines.iter().map(|machine| {
            let said = machine.process.as_ref().map(|process| {
                let leading =
                    process.controller().map(|c| (c.quorum().epoch(), c.quorum().leader(), c.leads()));
                let (log, image) = (process.log(), process.image().offset);
                (leading, log.high_watermark(), log.log_end_offset(), image)
            });
            (machine.id, said)
        });
        let members: Vec<_> = members.collect();
        format!("{members:?} {:?} {:?} {:?}", self.led(), self.replaced, self.clients)
    }
}

fn blank(seed: u64) -> MemoryDisk {
    let memory = MemoryDisk::new(seed);
    empty(&memory);
    memory
}

// The log directory is older than all that happens.
fn empty(memory: &MemoryDisk) {
    if memory.exists(Path::new(DATA)) {
        memory.remove_dir_all(Path::new(DATA)).expect("a disk that works");
    }
    memory.create_dir_all(Path::new(DATA)).expect("a disk that works");
    memory.write_back();
}

const CLIENTS: Place = 1_000;
const OPERATE_MS: i64 = 300;
/// Who does not agree by then never will.
const PATIENCE_MS: i64 = 60_000;

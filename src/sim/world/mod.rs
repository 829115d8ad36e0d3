//! Nodes with their disks and clients: topics, producers, consumers, and whatever else works on partitions. It runs with
//! one node until brokers find each other. It must never let anything happen that is not an event of its [`Cluster`].

mod process;
mod services;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod story;
mod transactions;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::controller::CreateTopics;
use ottla_core::question::Question;
use ottla_log::dirs::Checkpoint;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::FlushTicket;
use ottla_model::NodeId;
use ottla_model::config::{BrokerConfig, Sources, load};
use ottla_model::record::ResourceType;
use ottla_node::lane::Input;
use ottla_protocol::Offset;

use crate::Scene;
use crate::bus::{Bus, Connection, Place};
use crate::clients::{Around, Client, Request, Response, confirmed};
use crate::cluster::{Cluster, Event, Rules};
use crate::dice::Dice;
use crate::invariants::Judge;
use crate::invariants::compacted::Compaction;
use crate::invariants::ledger::{Loss, Promise};
use crate::machine::Machine;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::node::{Answer, Ask, Key, Node, Said, Service, Step, Task, Who};
use crate::plan::{LOG_DIRS, Plan};
use crate::verdict::{Verdict, Violation};

/// What happens at a machine.
pub(crate) enum Local {
    Boot,
    Arrive {
        ask: Ask,
        request: Request,
    },
    Drive(Key),
    RunFlush {
        key: Key,
        ticket: FlushTicket,
    },
    Flushed {
        key: Key,
        up_to: Offset,
        result: std::io::Result<()>,
    },
    Publish,
    DriveShard(Service, i32),
    /// A task goes on with a transaction.
    Transact(Step),
    Sweep,
    Retention,
    Checkpoint(Checkpoint),
    /// Somebody looks after a node of which a part is offline.
    Operator,
    /// A clean stop has waited long enough for those who are served.
    Stop {
        deadline_ms: i64,
    },
    /// A turn of something that works on partitions.
    Task(Task),
}

/// What happens around the machines.
pub(crate) enum Global {
    Wake(usize),
    Hear {
        ask: Ask,
        response: Response,
    },
    Trouble,
    /// There is room on that machine's disk again.
    Room(usize),
}

/// A node's process, and whom it serves.
pub(crate) struct Process {
    node: Node,
    /// Requests that the node has and has not answered.
    serving: BTreeMap<u64, usize>,
    /// No new request is taken: the node is about to stop.
    stopping: bool,
}

/// A world.
pub(crate) struct World {
    plan: Plan,
    cluster: Cluster<World>,
    /// Of each machine.
    configs: Vec<Arc<BrokerConfig>>,
    clients: Vec<Client>,
    /// Of a client with a machine.
    connections: BTreeMap<(usize, usize), Connection>,
    next_request: u64,
    judge: Judge,
}

impl Rules for World {
    type Process = Process;
    type Local = Local;
    type Global = Global;

    fn cluster(&mut self) -> &mut Cluster<World> {
        &mut self.cluster
    }

    fn local(&mut self, at: usize, what: Local) -> Verdict {
        match what {
            Local::Boot => self.boot(at),
            Local::Operator => self.operate(at),
            Local::Stop { deadline_ms } => self.stop(at, deadline_ms),
            what => {
                let mut said = Vec::new();
                self.in_process(at, what, &mut said);
                self.carry_out(at, said)
            }
        }
    }

    fn global(&mut self, what: Global) -> Verdict {
        match what {
            Global::Wake(client) => self.wake(client),
            Global::Hear { ask, response } => self.hear(ask, &response),
            Global::Trouble => self.trouble(),
            Global::Room(at) => {
                self.cluster.note_at(at, || "there is room again".into());
                self.cluster.machines[at].memory.set_capacity(None);
                Ok(())
            }
        }
    }

    /// As [`Machine::end`]; it starts again after a while.
    fn end(&mut self, at: usize, loss: Loss) {
        let stopping = |process: &Process| process.stopping;
        let stops = self.cluster.machines[at].process.as_ref().is_some_and(stopping);
        mark_if(stops, "a process was killed while it waited to stop");
        let loss = self.cluster.machines[at].end(loss);
        self.cluster.note_at(at, || format!("the process ends: {loss:?}"));
        self.judge.ended(self.cluster.machines[at].id, loss);
        let down_ms = self.cluster.dice.between(5, 300);
        self.cluster.local(at, down_ms, Local::Boot);
    }

    // What was promised is still there after one more restart, and nobody waits for ever.
    fn finish(&mut self) -> Verdict {
        let machines = 0..self.cluster.machines.len();
        machines.clone().for_each(|at| self.end(at, Loss::Process));
        let deadline_ms = self.cluster.now_ms() + PATIENCE_MS;
        while !self.clients.iter().all(Client::is_done) || !self.all_run() {
            if self.cluster.now_ms() > deadline_ms {
                return Err(Violation::new("everybody is done some day", self.unfinished()));
            }
            self.next()?;
        }
        self.finish_services()?;
        self.finish_transactions()?;
        let until_ms = self.cluster.now_ms() + AFTERWARDS_MS;
        for at in machines {
            let loss = *self.cluster.dice.pick(&[Loss::Process, Loss::Power]);
            self.end(at, if self.plan.may_lose_power() { loss } else { Loss::Process });
        }
        while !self.all_run() || self.cluster.now_ms() < until_ms {
            self.next()?;
        }
        self.finish_transactions()
    }

    fn judged(&self) -> (usize, usize) {
        self.judge.summary()
    }
}

impl World {
    pub fn new(scene: Scene, seed: u64, mutation: Option<Mutation>, trace_lines: usize) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(scene, &mut dice);
        let bus = Bus::draw(plan.machines, &mut dice);
        let memories = disks(&plan, &mut dice);
        let clients = crate::clients::of_plan(&plan, &mut dice);
        World::of(plan, Cluster::new(dice, bus, memories, mutation, trace_lines), clients)
    }

    fn of(plan: Plan, mut cluster: Cluster<World>, clients: Vec<Client>) -> World {
        cluster.plan = format!("{plan:?}");
        let mut judge = Judge::default();
        if let Some(services) = &plan.services {
            judge.groups.committed.retention_ms = services.offsets_retention_ms;
        }
        (0..plan.machines).for_each(|at| cluster.local(at, 0, Local::Boot));
        (0..clients.len()).for_each(|client| cluster.global(1, Global::Wake(client)));
        if !plan.troubles.is_empty() {
            cluster.global(plan.trouble_every_ms, Global::Trouble);
        }
        World {
            configs: cluster.machines.iter().map(|machine| config(machine.id, &plan)).collect(),
            plan,
            cluster,
            clients,
            connections: BTreeMap::new(),
            next_request: 0,
            judge,
        }
    }

    fn all_run(&self) -> bool {
        self.cluster.machines.iter().all(|machine| machine.process.is_some())
    }

    fn unfinished(&self) -> String {
        let waiting = self.clients.iter().enumerate().filter(|(_, client)| !client.is_done());
        let waiting: Vec<usize> = waiting.map(|(index, _)| index).collect();
        let down = self.cluster.machines.iter().filter(|machine| machine.process.is_none());
        let down: Vec<NodeId> = down.map(|machine| machine.id).collect();
        format!("clients {waiting:?} still wait, nodes {down:?} are down")
    }

    /// The node that runs there.
    fn node(&self, at: usize) -> Option<&Node> {
        self.cluster.machines[at].process.as_ref().map(|process| &process.node)
    }

    // What belongs to a process, and is nothing to another one.
    fn in_process(&mut self, at: usize, what: Local, said: &mut Vec<Said>) {
        let now_ms = self.cluster.now_ms();
        let (cluster, plan) = (&mut self.cluster, &self.plan);
        let Some(process) = &mut cluster.machines[at].process else { return };
        let node = &mut process.node;
        match what {
            Local::Arrive { ask, request } => self.arrive(at, ask, request, said),
            Local::Drive(key) => node.drive(now_ms, key, said),
            Local::RunFlush { key, ticket } => {
                let up_to = ticket.up_to;
                let result = ticket.run();
                mark_if(result.is_err(), "a flush failed");
                cluster.note_at(at, || format!("flush of {} up to {up_to}: {result:?}", key.1));
                if cluster.mutation != Some(Mutation::AcknowledgeBeforeFlush) {
                    let delay_ms = cluster.dice.between(0, 1);
                    cluster.work(at, delay_ms, Local::Flushed { key, up_to, result });
                }
            }
            Local::Flushed { key, up_to, result } => {
                node.submit(key, Input::Flushed { up_to, result }, said);
            }
            Local::Publish => node.publish(now_ms, said),
            Local::DriveShard(service, shard) => node.drive_shard(now_ms, service, shard, said),
            Local::Transact(step) => node.transact(now_ms, step, said),
            Local::Sweep => {
                node.sweep(now_ms, said);
                cluster.work(at, SWEEP_MS, Local::Sweep);
            }
            Local::Retention => {
                node.tick(false, said);
                cluster.work(at, plan.retention_every_ms, Local::Retention);
            }
            Local::Task(task) if !(cluster.finishing && task == Task::Send) => node.work(now_ms, task, said),
            Local::Task(_) => {}
            Local::Checkpoint(which) => {
                node.checkpoint(which);
                cluster.work(at, plan.checkpoint_every_ms, Local::Checkpoint(which));
            }
            Local::Boot | Local::Operator | Local::Stop { .. } => {}
        }
    }

    fn arrive(&mut self, at: usize, ask: Ask, request: Request, said: &mut Vec<Said>) {
        let now_ms = self.cluster.now_ms();
        let running = self.cluster.machines[at].process.as_mut();
        let Some(process) = running.filter(|process| !process.stopping) else { return };
        process.serving.insert(ask.request, ask.client);
        let node = &mut process.node;
        match request {
            Request::Produce(produce) => {
                let what = format!("client {} asks {}: {produce}", ask.client, ask.request);
                self.cluster.trace.note(now_ms, || what);
                node.produce(now_ms, ask, produce, None, said);
            }
            Request::InitProducerId => node.init_producer_id(now_ms, ask, said),
            Request::CreateTopic(topic) => {
                self.cluster.trace.note(now_ms, || format!("create {topic:?}"));
                let create = CreateTopics { topics: vec![topic], validate_only: false };
                node.command(now_ms, Who::Client(ask), create.command(), said);
            }
            Request::DeleteTopic(id) => node.delete_topic(now_ms, ask, id, said),
            Request::Group(command) => {
                let what = || format!("client {} asks {}: {command:?}", ask.client, ask.request);
                self.cluster.trace.note(now_ms, what);
                self.judge.groups.asked(now_ms, ask.request, &command);
                node.ask_group(now_ms, ask, command, said);
            }
            Request::Transaction(command) => {
                let what = || format!("client {} asks {}: {command:?}", ask.client, ask.request);
                self.cluster.trace.note(now_ms, what);
                node.ask_transaction(now_ms, ask, command, said);
            }
            Request::AddOffsets(id, producer, group) => {
                node.add_offsets(now_ms, ask, (id, producer, group), said);
            }
            Request::Write(transaction, write) => {
                let what =
                    || format!("client {} asks {}: {write:?} of {transaction:?}", ask.client, ask.request);
                self.cluster.trace.note(now_ms, what);
                node.write_in_transaction(now_ms, ask, transaction, write, said);
            }
        }
    }

    // What the node wants. A process that ended meanwhile has said nothing.
    fn carry_out(&mut self, at: usize, said: Vec<Said>) -> Verdict {
        for each in said {
            self.one(at, each)?;
        }
        let Machine { id, process, .. } = &self.cluster.machines[at];
        process.as_ref().map_or(Ok(()), |process| self.judge.watch(*id, &process.node))
    }

    fn one(&mut self, at: usize, said: Said) -> Verdict {
        match said {
            Said::Produced { ask, outcome } => {
                self.cluster
                    .note_at(at, || format!("client {} request {}: {outcome:?}", ask.client, ask.request));
                self.served(at, ask);
                if let Ok(appended) = &outcome
                    && let Some((key, mut records)) = self.clients[ask.client].under_way(ask.request)
                {
                    records.iter_mut().for_each(|record| record.client = ask.client as u32);
                    self.judge.acknowledged(key, appended.base_offset, &records)?;
                }
                self.reply(at, ask, Response::Produced(outcome));
            }
            Said::Answered { ask, answer } => {
                self.served(at, ask);
                self.answered(at, ask, &answer)?;
                self.reply(at, ask, Response::Answered(answer));
            }
            Said::Flush { key, ticket } => self.flush(at, key, ticket),
            Said::Waiting(key) => {
                let dice = &mut self.cluster.dice;
                let delay_ms = if dice.percent(50) { 0 } else { dice.between(0, 3) };
                self.cluster.work(at, delay_ms, Local::Drive(key));
            }
            Said::Publish => {
                let delay_ms = self.cluster.dice.between(0, 3);
                self.cluster.work(at, delay_ms, Local::Publish);
            }
            Said::Published => self.published(at)?,
            Said::ShardWaiting(service, shard) => {
                let delay_ms = self.cluster.dice.between(0, 3);
                self.cluster.work(at, delay_ms, Local::DriveShard(service, shard));
            }
            Said::ShardDue { service, shard, at_ms } => {
                let delay_ms = at_ms.saturating_sub(self.cluster.now_ms()).max(0);
                self.cluster.work(at, delay_ms, Local::DriveShard(service, shard));
            }
            Said::Transact { step, waits } => self.task_waits(at, step, waits),
            Said::Note(note) => self.cluster.note_at(at, || note),
            Said::Offline(why) => self.offline(at, &why)?,
            Said::Died(why) => return self.died(at, &why),
            Said::Later { task, delay_ms } => self.cluster.work(at, delay_ms, Local::Task(task)),
            Said::Rearranged(key) => self.rearranged(at, key)?,
        }
        Ok(())
    }

    fn served(&mut self, at: usize, ask: Ask) {
        if let Some(process) = &mut self.cluster.machines[at].process {
            process.serving.remove(&ask.request);
        }
    }

    fn flush(&mut self, at: usize, key: Key, ticket: FlushTicket) {
        let cluster = &mut self.cluster;
        let usual = cluster.dice.between(0, self.plan.flush_ms_max);
        let delay_ms = if cluster.dice.percent(1) { self.plan.slow_flush_ms } else { usual };
        let flushed = Local::Flushed { key, up_to: ticket.up_to, result: Ok(()) };
        match cluster.mutation {
            Some(Mutation::SkipFlush) => cluster.work(at, delay_ms, flushed),
            Some(Mutation::AcknowledgeBeforeFlush) => {
                cluster.work(at, 0, flushed);
                cluster.work(at, delay_ms, Local::RunFlush { key, ticket });
            }
            _ => cluster.work(at, delay_ms, Local::RunFlush { key, ticket }),
        }
    }

    fn answered(&mut self, at: usize, ask: Ask, answer: &Answer) -> Verdict {
        match answer {
            Answer::Group(reply) => {
                self.cluster
                    .note_at(at, || format!("client {} request {}: {reply:?}", ask.client, ask.request));
                self.judge.transactions.group_answered(ask.request, reply)?;
                self.judge.group_answered(self.cluster.now_ms(), ask.request, reply)
            }
            Answer::Transaction(reply) => self.transaction_answered(at, ask, reply),
            Answer::ProducerId(Ok(id)) => self.judge.producer_ids.given(*id),
            Answer::ProducerId(Err(_)) => Ok(()),
            Answer::Controller(reply) => {
                let Machine { id, process, .. } = &self.cluster.machines[at];
                let (created, deleted) = confirmed(reply);
                created.iter().for_each(|(topic, name)| self.judge.metadata.created(*id, *topic, name));
                deleted.iter().for_each(|topic| self.judge.metadata.deleted(*id, *topic));
                // Whoever hears that a topic is there finds it there.
                process.as_ref().map_or(Ok(()), |process| self.judge.metadata.holds(&process.node.image))
            }
        }
    }

    fn published(&mut self, at: usize) -> Verdict {
        let Machine { id, process: Some(Process { node, .. }), .. } = &self.cluster.machines[at] else {
            return Ok(());
        };
        for topic in node.image.topics() {
            let configs = node.image.configs(ResourceType::Topic, &topic.name);
            let every = configs.and_then(|c| c.get("flush.messages")).is_some_and(|value| value == "1");
            let keeps_all = configs.is_none_or(|c| !c.keys().any(|key| key.starts_with("retention.")));
            let compaction = Compaction::of_topic(&node.image, topic.id);
            self.judge.promise(topic.id, Promise { outlives_power: every, keeps_all, compaction });
        }
        self.judge.published(*id, node)
    }

    fn wake(&mut self, client: usize) -> Verdict {
        let (pause_ms, sends) = self.act(client, |acting, around| acting.wake(around));
        self.cluster.global(pause_ms?, Global::Wake(client));
        self.send(client, sends);
        Ok(())
    }

    fn hear(&mut self, ask: Ask, response: &Response) -> Verdict {
        let hear = |acting: &mut Client, around: &mut Around<'_>| acting.hear(ask.request, response, around);
        let (outcome, sends) = self.act(ask.client, hear);
        self.send(ask.client, sends);
        outcome
    }

    fn act<T>(
        &mut self,
        client: usize,
        action: impl FnOnce(&mut Client, &mut Around<'_>) -> T,
    ) -> (T, Vec<(u64, Request)>) {
        let machine = &self.cluster.machines[self.machine_of(client)];
        let mut around = Around {
            now_ms: self.cluster.queue.now_ms(),
            client,
            node: machine.process.as_ref().map(|process| &process.node),
            life: machine.life,
            dice: &mut self.cluster.dice,
            judge: &mut self.judge,
            finishing: self.cluster.finishing,
            plan: &self.plan,
            mutation: self.cluster.mutation,
            next_request: &mut self.next_request,
            sends: Vec::new(),
        };
        let outcome = action(&mut self.clients[client], &mut around);
        (outcome, around.sends)
    }

    /// Whom a client talks to: clients are spread over the machines.
    fn machine_of(&self, client: usize) -> usize {
        client % self.cluster.machines.len()
    }

    fn send(&mut self, client: usize, sends: Vec<(u64, Request)>) {
        let (at, now_ms) = (self.machine_of(client), self.cluster.now_ms());
        let life = self.cluster.machines[at].life;
        let there = self.cluster.machines[at].place();
        for (request, body) in sends {
            let delay_ms = self.cluster.dice.between(0, 3);
            let connection = self.connections.entry((client, at)).or_default();
            let at_ms = connection.request(life, now_ms, delay_ms);
            if !self.cluster.bus.is_cut(place_of(client), there) {
                let at_ms = at_ms + self.lateness_ms(&body);
                let what = Local::Arrive { ask: Ask { client, request }, request: body };
                self.cluster.queue.at(at_ms, Event::Local { at, life: Some(life), what });
            }
        }
    }

    fn reply(&mut self, at: usize, ask: Ask, response: Response) {
        let (now_ms, delay_ms) = (self.cluster.now_ms(), self.cluster.dice.between(0, 2));
        let connection = self.connections.entry((ask.client, at)).or_default();
        let at_ms = connection.reply(now_ms, delay_ms);
        if !self.cluster.bus.is_cut(self.cluster.machines[at].place(), place_of(ask.client)) {
            self.cluster.queue.at(at_ms, Event::Global(Global::Hear { ask, response }));
        }
    }
}

fn disks(plan: &Plan, dice: &mut Dice) -> Vec<MemoryDisk> {
    let memories: Vec<MemoryDisk> = (0..plan.machines).map(|_| MemoryDisk::new(dice.number())).collect();
    memories.iter().for_each(|memory| memory.set_short_reads(plan.short_reads));
    memories
}

fn place_of(client: usize) -> Place {
    CLIENTS + client as Place
}

fn config(id: NodeId, plan: &Plan) -> Arc<BrokerConfig> {
    let mut overrides =
        vec![("node.id".to_owned(), id.to_string()), ("log.dirs".to_owned(), LOG_DIRS[0].to_owned())];
    overrides.extend(plan.overrides());
    let sources = Sources { file: None, env: [], overrides: &overrides };
    Arc::new(load(sources).expect("a sound config").0)
}

const CLIENTS: Place = 1_000;
/// `flush.ms` and files to be removed are looked at this often.
const SWEEP_MS: i64 = 1_000;
/// Who is not done by then waits for ever.
const PATIENCE_MS: i64 = 60_000;
/// How long consumers may go on reading at the end.
const AFTERWARDS_MS: i64 = 500;

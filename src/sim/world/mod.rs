//! One node, its disk and its clients on a virtual clock: events in the order of (time, sequence), chance from one seed.
//! It must never let anything happen that is not an event.

mod process;
mod trouble;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ottla_core::controller::Command;
use ottla_core::partition::Acks;
use ottla_log::dirs::Checkpoint;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::FlushTicket;
use ottla_model::config::{BrokerConfig, Sources, load};
use ottla_model::record::ResourceType;
use ottla_node::lane::Input;
use ottla_protocol::Offset;

use crate::clients::{Admin, Around, Client, Consumer, Producer, Request, Response, confirmed};
use crate::dice::Dice;
use crate::disk::{Ended, SimDisk};
use crate::invariants::ledger::{Loss, Promise};
use crate::invariants::{Judge, Verdict, Violation};
use crate::mutation::Mutation;
use crate::node::{Answer, Ask, DATA, Key, Node, Said, Who};
use crate::plan::Plan;
use crate::queue::Queue;
use crate::trace::{EPOCH_MS, Trace};
use crate::{Scene, Summary};

/// What can happen. Whatever belongs to a process carries its life: it dies with it.
#[derive(Debug)]
enum Event {
    Wake(usize),
    Arrive {
        life: u64,
        ask: Ask,
        request: Request,
    },
    Hear {
        ask: Ask,
        response: Response,
    },
    Drive {
        life: u64,
        key: Key,
    },
    RunFlush {
        life: u64,
        key: Key,
        ticket: FlushTicket,
    },
    Flushed {
        life: u64,
        key: Key,
        up_to: Offset,
        result: std::io::Result<()>,
    },
    Publish {
        life: u64,
    },
    Sweep {
        life: u64,
    },
    Retention {
        life: u64,
    },
    Checkpoint {
        life: u64,
        which: Checkpoint,
    },
    Boot,
    Trouble,
    /// Somebody looks after a node of which a part is offline.
    Operator {
        life: u64,
    },
    /// A clean stop has waited long enough for those who are served.
    Stop {
        life: u64,
        deadline_ms: i64,
    },
    /// There is room on the disk again.
    Room,
}

/// A world.
pub(crate) struct World {
    plan: Plan,
    dice: Dice,
    queue: Queue<Event>,
    trace: Trace,
    memory: MemoryDisk,
    disk: Arc<SimDisk>,
    config: Arc<BrokerConfig>,
    node: Option<Node>,
    life: u64,
    /// Requests that the node has and has not answered.
    serving: BTreeMap<u64, usize>,
    /// No new request is taken: the node is about to stop.
    stopping: bool,
    /// How the process will end once the disk's fuse has burnt down.
    fuse: Option<Loss>,
    failures_at_boot: u64,
    failed_syncs_at_boot: u64,
    clients: Vec<Client>,
    arrivals: Vec<(u64, i64)>,
    /// When each client hears the last reply that is on its way to it.
    heard: Vec<i64>,
    next_request: u64,
    judge: Judge,
    finishing: bool,
    mutation: Option<Mutation>,
    pub steps: u64,
    restarts: u64,
}

impl World {
    pub fn new(
        scene: Scene,
        seed: u64,
        mutation: Option<Mutation>,
        trace_lines: usize,
    ) -> Result<World, Violation> {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(scene, &mut dice);
        let memory = MemoryDisk::new(dice.number());
        memory.set_short_reads(plan.short_reads);
        let disk = Arc::new(SimDisk::new(memory.clone(), mutation, trace_lines > 0));
        let broken = |e: &dyn std::fmt::Display| Violation::new("the simulator starts", e.to_string());
        let overrides = [("node.id".to_owned(), "1".to_owned()), ("log.dirs".to_owned(), DATA.to_owned())];
        let sources = Sources { file: None, env: [], overrides: &overrides };
        let (config, _) = load(sources).map_err(|e| broken(&e))?;
        let mut clients = vec![Client::Admin(Admin::new(plan.deletes_topics))];
        for _ in 0..plan.idempotent_producers {
            clients.push(Client::Producer(Producer::new(true, Acks::All, *dice.pick(&[100, 1_500]))));
        }
        for _ in 0..plan.plain_producers {
            let acks = *dice.pick(&[Acks::All, Acks::Leader]);
            clients.push(Client::Producer(Producer::new(false, acks, *dice.pick(&[100, 1_500]))));
        }
        clients.extend((0..plan.consumers).map(|_| Client::Consumer(Consumer::default())));
        let mut queue = Queue::starting_at(EPOCH_MS);
        queue.after(0, Event::Boot);
        (0..clients.len()).for_each(|client| queue.after(1, Event::Wake(client)));
        queue.after(plan.trouble_every_ms, Event::Trouble);
        let mut trace = Trace::keeping(trace_lines);
        trace.note(EPOCH_MS, || format!("{plan:?}"));
        let (arrivals, heard) = (vec![(0, 0); clients.len()], vec![0; clients.len()]);
        Ok(World {
            plan,
            dice,
            queue,
            trace,
            memory,
            disk,
            config: Arc::new(config),
            node: None,
            life: 0,
            serving: BTreeMap::new(),
            stopping: false,
            fuse: None,
            failures_at_boot: 0,
            failed_syncs_at_boot: 0,
            clients,
            arrivals,
            heard,
            next_request: 0,
            judge: Judge::default(),
            finishing: false,
            mutation,
            steps: 0,
            restarts: 0,
        })
    }

    /// Runs so many events with trouble, then without until everybody is done.
    pub fn run(&mut self, steps: u64) -> Verdict {
        while self.steps < steps {
            self.next()?;
        }
        self.finish()
    }

    // What was promised is still there after one more restart, and nobody waits for ever.
    fn finish(&mut self) -> Verdict {
        self.finishing = true;
        self.calm();
        self.end(Loss::Process);
        let deadline_ms = self.queue.now_ms() + PATIENCE_MS;
        while !self.clients.iter().all(Client::is_done) || self.node.is_none() {
            if self.queue.now_ms() > deadline_ms {
                return Err(Violation::new("everybody is done some day", self.unfinished()));
            }
            self.next()?;
        }
        let (at, loss) = (self.queue.now_ms(), *self.dice.pick(&[Loss::Process, Loss::Power]));
        self.end(loss);
        while self.node.is_none() || self.queue.now_ms() < at + AFTERWARDS_MS {
            self.next()?;
        }
        Ok(())
    }

    fn unfinished(&self) -> String {
        let waiting = self.clients.iter().enumerate().filter(|(_, client)| !client.is_done());
        let waiting: Vec<usize> = waiting.map(|(index, _)| index).collect();
        let node = if self.node.is_some() { "up" } else { "down" };
        format!("clients {waiting:?} still wait, the node is {node}")
    }

    fn next(&mut self) -> Verdict {
        let Some(event) = self.queue.next() else {
            return Err(Violation::new("something always happens", "no event is left"));
        };
        self.steps += 1;
        // After a panic nothing of the process is used any more.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.happen(event)));
        for change in self.disk.take_changes() {
            self.trace.note(self.queue.now_ms(), || change);
        }
        outcome.unwrap_or_else(|panic| {
            if panic.is::<Ended>() {
                self.end(self.fuse.unwrap_or(Loss::Process));
                return Ok(());
            }
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Err(Violation::new("no step panics", text))
        })
    }

    fn happen(&mut self, event: Event) -> Verdict {
        let now_ms = self.queue.now_ms();
        let life = self.life;
        let mut said = Vec::new();
        match event {
            Event::Wake(client) => return self.wake(client),
            Event::Hear { ask, response } => return self.hear(ask, &response),
            Event::Boot => return self.boot(),
            Event::Trouble => return self.trouble(),
            Event::Operator { life: of } if of == life => return self.operate(),
            Event::Stop { life: of, deadline_ms } if of == life => return self.stop(deadline_ms),
            Event::Room => {
                self.trace.note(now_ms, || "there is room again".into());
                self.memory.set_capacity(None);
                return Ok(());
            }
            Event::Arrive { life: of, ask, request } if of == life => {
                self.arrive(now_ms, ask, request, &mut said);
            }
            event => self.in_process(now_ms, event, &mut said),
        }
        self.carry_out(said)
    }

    // What belongs to a process, and is nothing to another one.
    fn in_process(&mut self, now_ms: i64, event: Event, said: &mut Vec<Said>) {
        let Some(node) = &mut self.node else { return };
        let lives = |of: u64| of == self.life;
        match event {
            Event::Drive { life, key } if lives(life) => node.drive(now_ms, key, said),
            Event::RunFlush { life, key, ticket } if lives(life) => {
                let up_to = ticket.up_to;
                let result = ticket.run();
                self.trace.note(now_ms, || format!("flush of {} up to {up_to}: {result:?}", key.1));
                if self.mutation != Some(Mutation::AcknowledgeBeforeFlush) {
                    self.queue.after(self.dice.between(0, 1), Event::Flushed { life, key, up_to, result });
                }
            }
            Event::Flushed { life, key, up_to, result } if lives(life) => {
                node.submit(key, Input::Flushed { up_to, result }, said);
            }
            Event::Publish { life } if lives(life) => node.publish(now_ms, said),
            Event::Sweep { life } if lives(life) => {
                node.sweep(now_ms, said);
                self.queue.after(SWEEP_MS, Event::Sweep { life });
            }
            Event::Retention { life } if lives(life) => {
                node.tick(false, said);
                self.queue.after(self.plan.retention_every_ms, Event::Retention { life });
            }
            Event::Checkpoint { life, which } if lives(life) => {
                node.checkpoint(which);
                self.queue.after(self.plan.checkpoint_every_ms, Event::Checkpoint { life, which });
            }
            _ => {}
        }
    }

    fn arrive(&mut self, now_ms: i64, ask: Ask, request: Request, said: &mut Vec<Said>) {
        let Some(node) = &mut self.node else { return };
        if self.stopping {
            return;
        }
        self.serving.insert(ask.request, ask.client);
        match request {
            Request::Produce(produce) => {
                self.trace.note(now_ms, || format!("client {} asks {}: {produce}", ask.client, ask.request));
                node.produce(now_ms, ask, produce, said);
            }
            Request::InitProducerId => node.init_producer_id(now_ms, ask, said),
            Request::CreateTopic(topic) => {
                self.trace.note(now_ms, || format!("create {topic:?}"));
                let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
                node.command(now_ms, Who::Client(ask), command, said);
            }
            Request::DeleteTopic(id) => node.delete_topic(now_ms, ask, id, said),
        }
    }

    // What the node wants. A process that ended meanwhile has said nothing.
    fn carry_out(&mut self, said: Vec<Said>) -> Verdict {
        for each in said {
            self.one(each)?;
        }
        match &self.node {
            Some(node) => self.judge.watch(node),
            None => Ok(()),
        }
    }

    fn one(&mut self, said: Said) -> Verdict {
        let life = self.life;
        let now_ms = self.queue.now_ms();
        match said {
            Said::Produced { ask, outcome } => {
                self.trace
                    .note(now_ms, || format!("client {} request {}: {outcome:?}", ask.client, ask.request));
                self.serving.remove(&ask.request);
                if let Ok(appended) = &outcome
                    && let Some((key, mut records)) = self.clients[ask.client].under_way(ask.request)
                {
                    records.iter_mut().for_each(|record| record.client = ask.client as u32);
                    self.judge.acknowledged(key, appended.base_offset, &records)?;
                }
                self.reply(ask, Response::Produced(outcome));
            }
            Said::Answered { ask, answer } => {
                self.serving.remove(&ask.request);
                self.answered(&answer)?;
                self.reply(ask, Response::Answered(answer));
            }
            Said::Flush { key, ticket } => self.flush(key, ticket),
            Said::Waiting(key) => {
                let delay = if self.dice.percent(50) { 0 } else { self.dice.between(0, 3) };
                self.queue.after(delay, Event::Drive { life, key });
            }
            Said::Publish => self.queue.after(self.dice.between(0, 3), Event::Publish { life }),
            Said::Published => self.published()?,
            Said::Offline(why) => self.offline(&why)?,
            Said::Died(why) => return self.died(&why),
        }
        Ok(())
    }

    fn flush(&mut self, key: Key, ticket: FlushTicket) {
        let life = self.life;
        let usual = self.dice.between(0, self.plan.flush_ms_max);
        let delay = if self.dice.percent(1) { self.plan.slow_flush_ms } else { usual };
        let up_to = ticket.up_to;
        match self.mutation {
            Some(Mutation::SkipFlush) => {
                self.queue.after(delay, Event::Flushed { life, key, up_to, result: Ok(()) });
            }
            Some(Mutation::AcknowledgeBeforeFlush) => {
                self.queue.after(0, Event::Flushed { life, key, up_to, result: Ok(()) });
                self.queue.after(delay, Event::RunFlush { life, key, ticket });
            }
            _ => self.queue.after(delay, Event::RunFlush { life, key, ticket }),
        }
    }

    fn answered(&mut self, answer: &Answer) -> Verdict {
        match answer {
            Answer::ProducerId(Ok(id)) => self.judge.producer_ids.given(*id),
            Answer::ProducerId(Err(_)) => Ok(()),
            Answer::Controller(reply) => {
                let (created, deleted) = confirmed(reply);
                created.iter().for_each(|(id, name)| self.judge.metadata.created(*id, name));
                deleted.iter().for_each(|id| self.judge.metadata.deleted(*id));
                match &self.node {
                    // Whoever hears that a topic is there finds it there.
                    Some(node) => self.judge.metadata.restarted(&node.image),
                    None => Ok(()),
                }
            }
        }
    }

    fn published(&mut self) -> Verdict {
        let Some(node) = &self.node else { return Ok(()) };
        for topic in node.image.topics() {
            let configs = node.image.configs(ResourceType::Topic, &topic.name);
            let every = configs.and_then(|c| c.get("flush.messages")).is_some_and(|value| value == "1");
            let keeps_all = configs.is_none_or(|c| !c.keys().any(|key| key.starts_with("retention.")));
            self.judge.promise(topic.id, Promise { outlives_power: every, keeps_all });
        }
        self.judge.published(node)
    }

    // As with what is sent: a connection keeps the order. A client that heard of a later batch before it heard that an earlier
    // one had failed would send more than five behind that one.
    fn reply(&mut self, ask: Ask, response: Response) {
        let at_ms = self.heard[ask.client].max(self.queue.now_ms() + self.dice.between(0, 2));
        self.heard[ask.client] = at_ms;
        self.queue.at(at_ms, Event::Hear { ask, response });
    }

    fn wake(&mut self, client: usize) -> Verdict {
        let mut acting = std::mem::replace(&mut self.clients[client], Client::Admin(Admin::default()));
        let mut around = self.around(client);
        let outcome = acting.wake(&mut around);
        let sends = around.sends;
        self.clients[client] = acting;
        self.queue.after(outcome?, Event::Wake(client));
        self.send(client, sends);
        Ok(())
    }

    fn hear(&mut self, ask: Ask, response: &Response) -> Verdict {
        let mut acting = std::mem::replace(&mut self.clients[ask.client], Client::Admin(Admin::default()));
        let mut around = self.around(ask.client);
        let outcome = acting.hear(ask.request, response, &mut around);
        let sends = around.sends;
        self.clients[ask.client] = acting;
        self.send(ask.client, sends);
        outcome
    }

    fn around(&mut self, client: usize) -> Around<'_> {
        Around {
            now_ms: self.queue.now_ms(),
            client,
            node: self.node.as_ref(),
            life: self.life,
            dice: &mut self.dice,
            judge: &mut self.judge,
            finishing: self.finishing,
            mutation: self.mutation,
            next_request: &mut self.next_request,
            sends: Vec::new(),
        }
    }

    // What goes over one connection arrives in its order, or not at all.
    fn send(&mut self, client: usize, sends: Vec<(u64, Request)>) {
        let now_ms = self.queue.now_ms();
        for (request, body) in sends {
            let (life, last_ms) = self.arrivals[client];
            let not_before = if life == self.life { last_ms } else { now_ms };
            let at_ms = not_before.max(now_ms + self.dice.between(0, 3));
            self.arrivals[client] = (self.life, at_ms);
            let ask = Ask { client, request };
            self.queue.at(at_ms, Event::Arrive { life: self.life, ask, request: body });
        }
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

/// `flush.ms` and files to be removed are looked at this often.
const SWEEP_MS: i64 = 1_000;
/// Who is not done by then waits for ever.
const PATIENCE_MS: i64 = 60_000;
/// How long consumers may go on reading at the end.
const AFTERWARDS_MS: i64 = 500;

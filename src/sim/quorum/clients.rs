//! Clients of this world: each asks for one thing at a time, and again until whoever leads has answered. It must never decide what
//! an answer promises.

use std::collections::VecDeque;

use ottla_core::controller::{NotController, Reply};

use super::asks::{Ask, Want, topic};
use super::judge::Promise;
use super::process::Process;
use super::{CLIENTS, Global, Local, Quorums};
use crate::bus::Place;
use crate::cluster::Event;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::verdict::Verdict;

/// One request at a time; without a word in time it is made again, to whoever leads then.
#[derive(Debug)]
pub(super) struct Client {
    attempt: u64,
    number: u64,
    want: Want,
    agreed: u64,
    /// Whom it takes for the leader.
    leader: usize,
    /// The numbers of its topics.
    topics: VecDeque<u64>,
}

impl Client {
    pub fn new() -> Client {
        let (attempt, number, agreed, leader, topics) = Default::default();
        Client { attempt, number, want: Want::Setting, agreed, leader, topics }
    }

    pub fn has_all(&self) -> bool {
        self.agreed == self.number
    }
}

impl Quorums {
    pub(super) fn wake(&mut self, client: usize, attempt: u64) {
        let this = &self.clients[client];
        if this.attempt != attempt || (self.cluster.finishing && this.has_all()) {
            return;
        }
        if this.has_all() {
            self.want_more(client);
        }
        let cluster = &mut self.cluster;
        let this = &mut self.clients[client];
        this.attempt += 1;
        let ask = Ask { client, attempt: this.attempt, number: this.number, want: this.want };
        let leads = |m: &crate::machine::Machine<Process>| {
            m.process.as_ref().and_then(Process::controller).is_some_and(|controller| controller.leads())
        };
        match cluster.machines.iter().position(leads) {
            Some(leader) if !cluster.dice.percent(5) => this.leader = leader,
            _ => this.leader = cluster.dice.below(self.plan.machines as u64) as usize,
        }
        let (at, to) = (this.leader, cluster.machines[this.leader].place());
        let arrival = || Event::Local { at, life: None, what: Local::Asked(ask) };
        cluster.send(CLIENTS + client as Place, to, arrival);
        cluster.global(PATIENCE_MS, Global::Wake { client, attempt: ask.attempt });
    }

    // Where there are brokers, topics come and go.
    fn want_more(&mut self, client: usize) {
        let clients = self.plan.clients as u64;
        let this = &mut self.clients[client];
        // Numbers of different clients differ.
        this.number += if this.number == 0 { 1 + client as u64 } else { clients };
        this.want = Want::Setting;
        if self.plan.brokers == 0 {
            return;
        }
        let oldest = this.topics.front().copied().filter(|_| this.topics.len() >= TOPICS_MAX);
        if let Some(oldest) = oldest {
            let mut known = self.cluster.machines.iter().filter_map(|machine| machine.process.as_ref());
            if let Some(id) = known.find_map(|process| Some(process.image().topic(&topic(oldest))?.id)) {
                this.topics.pop_front();
                self.judge.withdrawn(oldest);
                this.want = Want::NoTopic(id);
            }
        } else if self.cluster.dice.percent(50) {
            let partitions = self.cluster.dice.between(1, 2) as i32;
            let replicas = self.cluster.dice.between(1, self.plan.brokers.min(3) as i64) as i16;
            this.want = Want::Topic { partitions, replicas };
        }
    }

    /// A controller answers. What is said counts, whether it is heard or not.
    pub(super) fn reply(&mut self, at: usize, ask: Ask, reply: &Result<Reply, NotController>) -> Verdict {
        let agreed = ask.is_agreed(reply);
        if agreed && let Some(process) = &self.cluster.machines[at].process {
            let promise = match ask.want {
                Want::Setting => Some(Promise::Set(ask.number)),
                Want::NoTopic(id) => Some(Promise::Gone(id)),
                // Unless it has asked for its end by now.
                Want::Topic { .. } => {
                    let wants = self.clients[ask.client].number == ask.number;
                    Some(Promise::Topic(ask.number)).filter(|_| wants)
                }
            };
            mark_if(matches!(promise, Some(Promise::Gone(_))), "a topic was deleted");
            let since = process.image().offset;
            promise.map_or(Ok(()), |promise| self.judge.promised(since, promise))?;
        }
        let from = self.cluster.machines[at].place();
        let arrival = || Event::Global(Global::Answer { ask, agreed });
        self.cluster.send(from, CLIENTS + ask.client as Place, arrival);
        Ok(())
    }

    /// With this mistake put back, a controller answers what it has decided before anybody has agreed.
    pub(super) fn may_answer_early(&mut self, at: usize, ask: Option<Ask>) -> Verdict {
        let early = self.cluster.mutation == Some(Mutation::AnswerBeforeAgreed);
        let ask = ask.filter(|ask| early && ask.want == Want::Setting);
        let process = self.cluster.machines[at].process.as_ref();
        let controller = process.and_then(Process::controller).filter(|controller| controller.leads());
        match (ask, controller) {
            (Some(ask), Some(controller)) => {
                let decided = controller.quorum().next_offset() - 1;
                self.judge.promised(decided, Promise::Set(ask.number))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn answered(&mut self, ask: Ask, agreed: bool) {
        self.cluster.note(|| format!("{ask:?} is answered: {agreed}"));
        let this = &mut self.clients[ask.client];
        if this.attempt != ask.attempt {
            return;
        }
        if agreed {
            this.agreed = this.number;
            if matches!(ask.want, Want::Topic { .. }) {
                this.topics.push_back(ask.number);
            }
        }
        let most_ms = if agreed { self.plan.pause_ms_max } else { self.plan.pause_ms_max.max(REFUSED_MS) };
        let pause_ms = self.cluster.dice.between(0, most_ms);
        self.cluster.global(pause_ms, Global::Wake { client: ask.client, attempt: ask.attempt });
    }
}

const TOPICS_MAX: usize = 2;
const PATIENCE_MS: i64 = 2_000;
/// Whoever is refused asks again after so long at most.
const REFUSED_MS: i64 = 100;

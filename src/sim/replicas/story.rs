//! A story of replicas that is told step by step: no seed's trouble, a network that brings everything, and somebody who
//! says what goes wrong. Every step holds the world's invariants.

use std::fmt::Debug;

use ottla_core::partition::{Acks, InSyncMember, Proposal};
use ottla_log::log::Isolation;
use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, Offset};

use super::clients::Producer;
use super::process::{Message, Process, To};
use super::serving::{How, Sent};
use super::trouble::Plan;
use super::{Global, Local, PRODUCERS, REGISTRY, Replicas};
use crate::bus::{Bus, Place};
use crate::cluster::{Cluster, Rules};
use crate::dice::Dice;
use crate::invariants::copy::LogCopy;
use crate::invariants::ledger::{Loss, RecordId};
use crate::mutation::Mutation;
use crate::verdict::{Verdict, Violation};

pub(super) struct Story {
    world: Replicas,
    /// Of the records, each of which a producer of its own sends, and how they are sent.
    names: Vec<(&'static str, How)>,
}

impl Story {
    /// Three replicas of which two have to be in sync, and which do not flush.
    pub fn of_three() -> Story {
        Story::with(|_| {}, None)
    }

    /// `flush.messages=1`
    pub fn of_three_that_flush() -> Story {
        Story::with(|plan| plan.flushes_each = true, None)
    }

    pub fn with(change: impl Fn(&mut Plan), mutation: Option<Mutation>) -> Story {
        let mut plan = Plan::quiet(3);
        change(&mut plan);
        Story::of(plan, 0, mutation)
    }

    /// `chance`: a seed for what is not told, such as what a disk loses with the power.
    pub fn of(plan: Plan, chance: u64, mutation: Option<Mutation>) -> Story {
        let mut dice = Dice::new(chance);
        let memories = super::disks(&plan, &mut dice);
        let cluster = Cluster::new(dice, Bus::still(), memories, mutation, TRACE_LINES);
        let mut story = Story { world: Replicas::of(plan, cluster), names: Vec::new() };
        story.everybody_is_in_sync();
        story
    }

    // With a mistake the story ends where an invariant breaks; without one none may.
    fn hold(&self, verdict: Verdict) {
        let Err(violation) = verdict else { return };
        match self.world.cluster.mutation {
            Some(_) => std::panic::resume_unwind(Box::new(violation)),
            None => panic!("{violation:?}\n{}", self.world.cluster.trace),
        }
    }

    fn run_while(&mut self, goes_on: impl Fn(&Replicas) -> bool) {
        while goes_on(&self.world) {
            let verdict = self.world.next();
            self.hold(verdict);
        }
    }

    /// Event by event, until that is so.
    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Replicas) -> bool) {
        let deadline_ms = self.world.cluster.now_ms() + super::PATIENCE_MS;
        self.run_while(|world| !is_so(world) && world.cluster.now_ms() < deadline_ms);
        self.expect(what, is_so(&self.world), true);
    }

    /// Nothing goes wrong any more: in the end all logs are the same.
    pub fn ends(mut self) {
        self.heal();
        self.everybody_is_in_sync();
        let replicas: Vec<&Process> = self.world.replicas().filter_map(|m| m.process.as_ref()).collect();
        self.hold(self.world.judge.finish(&replicas));
    }

    pub fn leader(&self) -> NodeId {
        self.world.registry.view().leader.expect("somebody leads")
    }

    pub fn followers(&self) -> [NodeId; 2] {
        let followers = self.world.registry.view().replicas.iter().filter(|id| **id != self.leader());
        followers.copied().collect::<Vec<_>>().try_into().expect("there are three replicas")
    }

    // What goes wrong, and right again.

    /// The process is gone, and comes back after that time.
    pub fn kill(&mut self, node: NodeId, down_ms: i64) {
        self.end(node, Loss::Process, down_ms);
    }

    /// What was not synced is gone as well.
    pub fn lose_power(&mut self, node: NodeId, down_ms: i64) {
        self.world.may_lack.insert(node);
        self.end(node, Loss::Power, down_ms);
    }

    /// After a clean stop.
    pub fn stop(&mut self, node: NodeId, down_ms: i64) {
        self.world.stop(at(node));
        self.pause(node, down_ms);
    }

    fn end(&mut self, node: NodeId, loss: Loss, down_ms: i64) {
        self.world.end(at(node), loss);
        self.pause(node, down_ms);
    }

    pub fn lose_all_power(&mut self) {
        (0..self.world.cluster.machines.len()).for_each(|at| self.world.end(at, Loss::Power));
    }

    pub fn pause(&mut self, node: NodeId, ms: i64) {
        let until_ms = self.world.cluster.now_ms() + ms;
        self.world.cluster.machines[at(node)].paused_until_ms = until_ms;
    }

    /// What that one sends to this one is lost.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.world.cluster.bus.cut(from.0 as Place, to.0 as Place);
    }

    /// What these two send each other is lost.
    pub fn part(&mut self, one: NodeId, other: NodeId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// What this one sends to the controller is lost.
    pub fn cut_to_controller(&mut self, node: NodeId) {
        self.world.cluster.bus.cut(node.0 as Place, REGISTRY);
    }

    /// The controller hears nothing of the leader, until this one leads.
    pub fn lead_instead(&mut self, leader: NodeId, next: NodeId) {
        self.cut_to_controller(leader);
        self.wait_until("it leads", |world| world.registry.view().leader == Some(next));
    }

    /// What the controller sends to this one is lost.
    pub fn cut_from_controller(&mut self, node: NodeId) {
        self.world.cluster.bus.cut(REGISTRY, node.0 as Place);
    }

    /// Neither the other replicas nor the controller hear of it, nor it of them. Producers do.
    pub fn isolate(&mut self, node: NodeId) {
        self.world.cluster.bus.isolate(node.0 as Place, 0..=3);
    }

    /// What the leader would propose, if these were to be in sync.
    pub fn proposal<const N: usize>(&self, isr: [NodeId; N]) -> Message {
        let (view, broker) = (self.world.registry.view(), self.leader());
        let epoch = view.standing(broker).broker_epoch.expect("it is registered");
        let isr = isr.map(|replica| InSyncMember { replica, broker_epoch: None }).to_vec();
        let (leader_epoch, partition_epoch) = (view.leader_epoch, view.partition_epoch);
        Message::Propose { broker, epoch, proposal: Proposal { leader_epoch, partition_epoch, isr } }
    }

    pub fn controller_hears(&mut self, message: Message) {
        self.world.cluster.global(0, Global::Registry(message));
    }

    pub fn heal(&mut self) {
        self.world.cluster.bus.heal();
    }

    pub fn wait_ms(&mut self, ms: i64) {
        let until_ms = self.world.cluster.now_ms() + ms;
        self.run_while(|world| world.cluster.now_ms() < until_ms);
    }

    // What producers do and hear.

    /// Sends a record to whoever leads, and waits until it is acknowledged.
    pub fn produce(&mut self, record: &'static str) {
        let leader = self.leader();
        self.send(record, leader);
        self.wait_ms(ANSWER_MS);
        self.is_acknowledged(record);
    }

    /// Sends a record to that one, once.
    pub fn send(&mut self, record: &'static str, node: NodeId) {
        self.send_as(record, node, Acks::All, How::Plainly);
    }

    /// With acks=1.
    pub fn send_to_leader_alone(&mut self, record: &'static str, node: NodeId) {
        self.send_as(record, node, Acks::Leader, How::Plainly);
    }

    pub fn send_as(&mut self, record: &'static str, node: NodeId, acks: Acks, how: How) {
        let producer = self.world.producers.len();
        let asks_the_leader_alone = acks == Acks::Leader;
        let told =
            Producer { attempt: 1, record: 1, told: true, asks_the_leader_alone, ..Producer::default() };
        self.world.producers.push(told);
        self.names.push((record, how));
        self.deliver(producer, 1, node, acks, how);
    }

    /// Sends it once more, as a producer does that has heard nothing.
    pub fn send_again(&mut self, record: &'static str, node: NodeId) {
        let producer = self.producer_of(record);
        self.world.producers[producer].heard = None;
        self.deliver(producer, 1, node, Acks::All, self.names[producer].1);
    }

    /// The coordinator ends the transaction of this record.
    pub fn commit(&mut self, record: &'static str, node: NodeId) {
        let producer = self.producer_of(record);
        self.deliver(producer, 2, node, Acks::All, How::Commit);
    }

    fn deliver(&mut self, producer: usize, attempt: u64, node: NodeId, acks: Acks, how: How) {
        let record = RecordId { client: producer as u32, number: 1 };
        let message = Message::Produce { producer, attempt, sent: Sent { record, acks, how } };
        self.world.send(PRODUCERS + producer as Place, To::Broker(node), message);
    }

    /// Records below the high watermark are deleted at the leader.
    pub fn delete_records(&mut self) {
        let leader = self.leader();
        self.world.send(PRODUCERS, To::Broker(leader), Message::DeleteRecords { eighths: 8 });
    }

    /// The fetch that this one would make now, to be heard much later.
    pub fn fetch_of(&self, node: NodeId) -> Message {
        self.process(node).next_fetch().expect("it follows").1
    }

    pub fn hears(&mut self, node: NodeId, message: Message) {
        self.world.cluster.local(at(node), 0, Local::Hear(message));
    }

    /// Until every replica in sync has that many records.
    pub fn wait_until_safe(&mut self, records: usize) {
        self.wait_until("it is safe", |world| world.judge.safe() >= records);
    }

    pub fn wait_until_log_ends(&mut self, node: NodeId, ends: impl Fn(Offset) -> bool) {
        let end = |world: &Replicas| {
            Some(world.cluster.machines[at(node)].process.as_ref()?.lane.log().log_end_offset())
        };
        self.wait_until("the log ends there", |world| end(world).is_some_and(&ends));
    }

    pub fn wait_until_in_sync<const N: usize>(&mut self, nodes: [NodeId; N]) {
        let is_so = |isr: &[NodeId]| isr.len() == N && nodes.iter().all(|id| isr.contains(id));
        self.wait_until("they are in sync", |world| is_so(&world.registry.view().isr));
    }

    pub fn is_acknowledged(&self, record: &'static str) {
        let heard = self.heard(record);
        self.expect(
            &format!("{record} is acknowledged, {heard:?}"),
            heard.is_some_and(|heard| heard.is_ok()),
            true,
        );
    }

    pub fn is_refused(&self, record: &'static str, code: ErrorCode) {
        let refused = self.heard(record).and_then(Result::err);
        self.expect(&format!("{record} is refused"), refused, Some(code));
    }

    pub fn is_not_acknowledged(&self, record: &'static str) {
        self.expect(
            &format!("{record} is acknowledged"),
            self.heard(record).is_some_and(|heard| heard.is_ok()),
            false,
        );
    }

    fn heard(&self, record: &'static str) -> Option<Result<Offset, ErrorCode>> {
        self.world.producers[self.producer_of(record)].heard
    }

    fn producer_of(&self, record: &'static str) -> usize {
        self.names.iter().position(|(name, _)| *name == record).expect("a record that was sent")
    }

    // How it stands.

    pub fn leads(&self, node: NodeId) {
        self.expect("the leader", self.leader(), node);
    }

    pub fn does_not_lead(&self, node: NodeId) {
        self.expect(&format!("{node} leads"), self.leader() == node, false);
    }

    pub fn in_sync<const N: usize>(&self, mut nodes: [NodeId; N]) {
        let mut isr = self.world.registry.view().isr.clone();
        isr.sort();
        nodes.sort();
        self.expect("in sync", isr, nodes.to_vec());
    }

    pub fn everybody_is_in_sync(&mut self) {
        let deadline_ms = self.world.cluster.now_ms() + super::PATIENCE_MS;
        self.run_while(|world| !world.is_whole() && world.cluster.now_ms() < deadline_ms);
        if !self.world.is_whole() {
            let violation = Violation::new("everybody is in sync some day", self.world.unfinished());
            self.hold(Err(violation));
        }
    }

    /// What is in the log of this one.
    pub fn log<const N: usize>(&self, node: NodeId, records: [&'static str; N]) {
        self.expect(&format!("the log of {node}"), self.read(node, Isolation::LogEnd), records.to_vec());
    }

    /// What a consumer may read there.
    pub fn readable<const N: usize>(&self, node: NodeId, records: [&'static str; N]) {
        let found = self.read(node, Isolation::HighWatermark);
        self.expect(&format!("readable at {node}"), found, records.to_vec());
    }

    /// What a consumer that wants no open transactions is given there.
    pub fn committed<const N: usize>(&mut self, node: NodeId, records: [&'static str; N]) {
        let found =
            self.process(node).read_for_consumer(0, Isolation::Committed).expect("a position in the log");
        let verdict = self.world.judge.consumed(0, &found, true);
        self.hold(verdict);
        let data = found.iter().filter(|batch| !batch.header.is_control());
        let found: Vec<_> =
            data.flat_map(|batch| batch.records.iter().map(|(_, id)| self.name(*id))).collect();
        self.expect(&format!("committed at {node}"), found, records.to_vec());
    }

    pub fn every_log<const N: usize>(&mut self, records: [&'static str; N]) {
        self.everybody_is_in_sync();
        for node in self.world.registry.view().replicas.clone() {
            self.log(node, records);
        }
    }

    fn read(&self, node: NodeId, upto: Isolation) -> Vec<&'static str> {
        let copy = LogCopy::read(&self.process(node).lane.reader(), upto)
            .unwrap_or_else(|v| panic!("{v:?}"))
            .with_markers();
        copy.records().map(|(_, record)| self.name(record)).collect()
    }

    fn name(&self, record: RecordId) -> &'static str {
        self.names[record.client as usize].0
    }

    fn process(&self, node: NodeId) -> &Process {
        self.world.cluster.machines[at(node)].process.as_ref().expect("a process runs there")
    }

    fn expect<T: PartialEq + Debug>(&self, what: &str, found: T, expected: T) {
        assert!(found == expected, "{what}: {found:?}, expected {expected:?}\n{}", self.world.cluster.trace);
    }
}

fn at(node: NodeId) -> usize {
    node.0 as usize - 1
}

/// By then whoever is in order has answered.
const ANSWER_MS: i64 = 100;
const TRACE_LINES: usize = 60;

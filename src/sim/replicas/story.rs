//! A story of replicas that is told step by step: no seed's trouble, a network that brings everything, and somebody who
//! says what goes wrong. Every step holds the world's invariants.

use std::fmt::Debug;

use ottla_log::log::Isolation;
use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, Offset};

use super::process::{Message, To};
use super::trouble::Plan;
use super::{PRODUCERS, Producer, Replicas};
use crate::bus::{Bus, Place};
use crate::cluster::{Cluster, Rules};
use crate::dice::Dice;
use crate::invariants::copy::LogCopy;
use crate::invariants::ledger::{Loss, RecordId};

pub(super) struct Story {
    world: Replicas,
    /// Of the records, each of which a producer of its own sends.
    names: Vec<&'static str>,
}

impl Story {
    /// Three replicas of which two have to be in sync, and which do not flush.
    pub fn of_three() -> Story {
        Story::with(|_| {})
    }

    /// `flush.messages=1`
    pub fn of_three_that_flush() -> Story {
        Story::with(|plan| plan.flushes_each = true)
    }

    fn with(change: impl Fn(&mut Plan)) -> Story {
        let mut plan = Plan::quiet(3);
        change(&mut plan);
        let mut dice = Dice::new(0);
        let memories = super::disks(&plan, &mut dice);
        let cluster = Cluster::new(dice, Bus::still(), memories, None, TRACE_LINES);
        let mut story = Story { world: Replicas::of(plan, cluster), names: Vec::new() };
        story.everybody_is_in_sync();
        story
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

    /// What the controller sends to this one is lost.
    pub fn cut_from_controller(&mut self, node: NodeId) {
        self.world.cluster.bus.cut(super::REGISTRY, node.0 as Place);
    }

    /// Neither the other replicas nor the controller hear of it, nor it of them. Producers do.
    pub fn isolate(&mut self, node: NodeId) {
        self.world.cluster.bus.isolate(node.0 as Place, 0..=3);
    }

    pub fn heal(&mut self) {
        self.world.cluster.bus.heal();
    }

    pub fn wait_ms(&mut self, ms: i64) {
        self.world.wait_ms(ms);
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
        let producer = self.world.producers.len();
        self.world.producers.push(Producer { attempt: 1, record: 1, told: true, ..Producer::default() });
        self.names.push(record);
        let record = RecordId { client: producer as u32, number: 1 };
        let message = Message::Produce { producer, attempt: 1, record };
        self.world.send(PRODUCERS + producer as Place, To::Broker(node), message);
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
        let producer = self.names.iter().position(|name| *name == record).expect("a record that was sent");
        self.world.producers[producer].heard
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
        self.world.run_while(|world| !world.is_whole() && world.cluster.now_ms() < deadline_ms);
        self.expect("everybody is in sync", self.world.is_whole(), true);
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

    pub fn every_log<const N: usize>(&mut self, records: [&'static str; N]) {
        self.everybody_is_in_sync();
        for node in self.world.registry.view().replicas.clone() {
            self.log(node, records);
        }
    }

    fn read(&self, node: NodeId, upto: Isolation) -> Vec<&'static str> {
        let process = self.world.cluster.machines[at(node)].process.as_ref().expect("a process runs there");
        let copy = LogCopy::read(&process.lane.reader(), upto).unwrap_or_else(|v| panic!("{v:?}"));
        copy.records().map(|(_, record)| self.names[record.client as usize]).collect()
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

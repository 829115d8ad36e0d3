//! A story of one node that is told step by step: a topic, a producer, a consumer, and somebody who says what goes wrong.
//! Every step holds the world's invariants, and every start is audited.

use ottla_core::controller::NewTopic;
use ottla_core::partition::Acks;

use super::World;
use crate::Scene;
use crate::bus::Bus;
use crate::clients::{Client, Consumer, Producer, Request};
use crate::cluster::{Cluster, Rules};
use crate::dice::Dice;
use crate::invariants::ledger::Loss;
use crate::plan::Plan;

pub(super) struct Story {
    world: World,
}

impl Story {
    /// A producer and a consumer are at work on a topic with these settings.
    pub fn with_topic(settings: &[(&str, &str)]) -> Story {
        let mut dice = Dice::new(0);
        let plan = Plan { troubles: Vec::new(), short_reads: false, ..Plan::draw(Scene::Node, &mut dice) };
        let producer = Client::Producer(Producer::new(true, Acks::All, 1_500));
        let clients = vec![producer, Client::Consumer(Consumer::of_everything())];
        let memories = super::disks(&plan, &mut dice);
        let cluster = Cluster::new(dice, Bus::still(), memories, None, TRACE_LINES);
        let world = World::of(plan, cluster, clients);
        let mut story = Story { world };
        story.is_up();
        let set = |(key, value): &(&str, &str)| (String::from(*key), Some(String::from(*value)));
        let topic = NewTopic {
            name: "t".into(),
            partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: settings.iter().map(set).collect(),
        };
        story.world.next_request += 1;
        story.world.send(0, vec![(story.world.next_request, Request::CreateTopic(topic))]);
        story
    }

    /// The producer goes on, and is heard.
    pub fn records_are_acknowledged(&mut self) {
        let before = self.acknowledged();
        self.world.wait_ms(1_000);
        assert!(self.acknowledged() > before, "nothing was acknowledged\n{}", self.world.cluster.trace);
    }

    pub fn nothing_is_acknowledged(&mut self) {
        // What is under way has its time.
        self.world.wait_ms(100);
        let before = self.acknowledged();
        self.world.wait_ms(1_000);
        assert_eq!(self.acknowledged(), before, "{}", self.world.cluster.trace);
    }

    /// Of the records that are there, as far as anybody knows.
    pub fn acknowledged(&self) -> usize {
        self.world.judged().0
    }

    /// A clean stop, to its end.
    pub fn stop_cleanly(&mut self) {
        self.world.begin_stop(0);
        self.world.run_while(|world| world.node(0).is_some());
    }

    pub fn lose_power(&mut self) {
        self.world.end(0, Loss::Power);
    }

    /// While nothing runs the power goes, which nobody has to fear then: the judge is not told.
    pub fn lose_power_unnoticed(&mut self) {
        assert!(self.world.node(0).is_none());
        self.world.cluster.machines[0].memory.crash();
    }

    pub fn fill_the_disk(&mut self) {
        self.world.cluster.machines[0].memory.set_capacity(Some(0));
    }

    pub fn make_room(&mut self) {
        self.world.cluster.machines[0].memory.set_capacity(None);
    }

    /// The node starts, and has everything that it promised.
    pub fn is_up(&mut self) {
        self.world.run_while(|world| world.node(0).is_none());
    }

    pub fn has_started(&self, times: u64) {
        assert_eq!(self.world.cluster.restarts, times, "{}", self.world.cluster.trace);
    }
}

const TRACE_LINES: usize = 60;

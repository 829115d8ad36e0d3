//! One measured section: a load at a pace, and what broker, client and machine spent on it.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ottla_protocol::Offset;

use crate::engine::{Engine, Outcome, Pace, Until};
use crate::fetch::{Fetching, Then};
use crate::produce::{Producing, Shape};
use crate::setup::{Setup, Topic, retry};
use crate::usage::{Spent, Usage, resident_mb};

/// The broker that is measured, or one of a cluster that is.
pub struct Target<'a> {
    pub address: &'a str,
    pub pid: u32,
    cluster: Cluster<'a>,
    /// Where its partitions are, if it is ours.
    pub data: Option<&'a Path>,
    /// To be deleted once they are measured.
    topics: RefCell<Vec<Topic>>,
}

/// What else belongs to the broker that is measured.
#[derive(Clone, Copy, Default)]
pub struct Cluster<'a> {
    /// Where each partition of a new topic lies, the leader first; empty: the controller chooses.
    pub replicas: &'a [i32],
    /// The other processes.
    pub followers: &'a [u32],
}

pub struct Section {
    pub outcome: Outcome,
    pub spent: Spent,
    /// Of record batches.
    pub bytes: u64,
}

impl<'a> Target<'a> {
    pub fn new(address: &'a str, pid: u32, data: Option<&'a Path>) -> Target<'a> {
        Target { address, pid, cluster: Cluster::default(), data, topics: RefCell::default() }
    }

    /// The leader of all partitions, and those that follow.
    pub fn of_cluster(address: &'a str, pid: u32, cluster: Cluster<'a>) -> Target<'a> {
        Target { address, pid, cluster, data: None, topics: RefCell::default() }
    }

    /// A new topic that is ready to be used.
    pub fn topic(&self, name: &str, partitions: usize) -> Result<Topic> {
        self.topic_with(name, partitions, &[])
    }

    /// The same with settings of its own.
    pub fn topic_with(&self, name: &str, partitions: usize, configs: &[(&str, &str)]) -> Result<Topic> {
        let mut setup = self.setup()?;
        let topic = setup.create_topic(name, partitions, configs, self.cluster.replicas, READY_WITHIN)?;
        self.topics.borrow_mut().push(topic.clone());
        match self.cluster.replicas.is_empty() && !self.cluster.followers.is_empty() {
            true => drop(retry(READY_WITHIN, || setup.leaders(&topic))?),
            // One broker leads all of them, and says that it does.
            false => drop(setup.end_offsets(&topic, READY_WITHIN)?),
        }
        Ok(topic)
    }

    /// Deletes what `topic` has made, and tells the names.
    pub fn delete_topics(&self) -> Result<Vec<String>> {
        let topics = self.topics.take();
        if !topics.is_empty() {
            let mut setup = self.setup()?;
            topics.iter().try_for_each(|topic| setup.delete_topic(topic))?;
        }
        Ok(topics.into_iter().map(|topic| topic.name).collect())
    }

    pub fn setup(&self) -> Result<Setup> {
        Setup::connect(self.address, READY_WITHIN)
    }

    pub fn start_offsets(&self, topic: &Topic) -> Result<Vec<Offset>> {
        self.setup()?.start_offsets(topic, READY_WITHIN)
    }

    pub fn end_offsets(&self, topic: &Topic) -> Result<Vec<Offset>> {
        self.setup()?.end_offsets(topic, READY_WITHIN)
    }

    pub fn produce(
        &self,
        topic: &Topic,
        shape: Shape,
        connections: usize,
        pace: Pace,
        until: Until,
    ) -> Result<Section> {
        let mut load = Producing::new(topic, shape, connections);
        let mut engine = Engine::connect(self.address, connections)?;
        let batch_bytes = load.batch_bytes() as u64;
        let (outcome, spent) = self.measure(|| engine.run(&mut load, pace, until))?;
        Ok(Section { bytes: outcome.requests * batch_bytes, outcome, spent })
    }

    /// Reads the topic once, from its start to what is its end now.
    pub fn consume(&self, topic: &Topic, connections: usize) -> Result<Section> {
        self.fetch(topic, connections, Then::Stop, Until::Exhausted)
    }

    /// Reads it over and over for so long.
    pub fn consume_for(&self, topic: &Topic, connections: usize, time: Duration) -> Result<Section> {
        self.fetch(topic, connections, Then::StartAgain, Until::Elapsed(time))
    }

    fn fetch(&self, topic: &Topic, connections: usize, then: Then, until: Until) -> Result<Section> {
        let (starts, ends) = (self.start_offsets(topic)?, self.end_offsets(topic)?);
        let mut load = Fetching::new(self.address, topic, starts, ends, connections, then);
        let mut engine = Engine::connect(self.address, connections)?;
        let pace = Pace::Closed { depth: 1 };
        let (outcome, spent) = self.measure(|| engine.run(&mut load, pace, until))?;
        Ok(Section { outcome, spent, bytes: load.bytes() })
    }

    pub fn measure<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<(T, Spent)> {
        let pids = self.pids();
        let before = Usage::now(&pids)?;
        let outcome = run()?;
        Ok((outcome, before.until(&Usage::now(&pids)?)))
    }

    /// Of the broker, or of all nodes together, in MB.
    pub fn resident_mb(&self) -> Result<f64> {
        self.pids().into_iter().map(resident_mb).sum()
    }

    fn pids(&self) -> Vec<u32> {
        [&[self.pid], self.cluster.followers].concat()
    }
}

impl Section {
    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }

    pub fn requests(&self) -> f64 {
        self.outcome.requests as f64
    }

    pub fn seconds(&self) -> f64 {
        self.outcome.elapsed.as_secs_f64()
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.gigabytes() * 1e3 / self.seconds()
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (spent, latency) = (&self.spent, &self.outcome.latency);
        write!(
            f,
            "{:.2} s, {} requests ({:.0}/s), {:.2} GB ({:.0} MB/s); CPU seconds: broker {:.2}, client {:.2}, machine \
             {:.2}, others {:.0} %; {:.1} us and {:.3} s/GB of the broker; p50 {:.2}, p99 {:.2}, p999 {:.2}, max \
             {:.2} ms",
            self.seconds(),
            self.outcome.requests,
            self.requests() / self.seconds(),
            self.gigabytes(),
            self.megabytes_per_second(),
            spent.broker,
            spent.client,
            spent.machine,
            spent.others() * 100.0,
            spent.broker * 1e6 / self.requests(),
            spent.broker / self.gigabytes(),
            latency.quantile_ms(0.5),
            latency.quantile_ms(0.99),
            latency.quantile_ms(0.999),
            latency.max_ms(),
        )
    }
}

const READY_WITHIN: Duration = Duration::from_secs(60);

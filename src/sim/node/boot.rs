//! A process from its start to its clean stop, in the broker's order: storage, quorum, image, registration, unfencing.
//! It must never start half: what fails here ends the process.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use ottla_core::controller::{Command, HeartbeatAnswer, Registration, Reply};
use ottla_log::Disk;
use ottla_log::log::{Log, Opening};
use ottla_model::config::{BrokerConfig, TopicConfig};
use ottla_model::feature::{self, MetadataVersion};
use ottla_model::image::{FeatureRange, Image};
use ottla_model::{BrokerEpoch, CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, TopicPartition, fresh_id};
use ottla_node::controller::{Controller, Output as ControllerOutput, Settings, Snapshots};
use ottla_node::quorum::{Keep, Quorum, Store, Voters};
use ottla_node::replicas::Replicas;

use super::storage::{DATA, Storage};
use super::{Node, Said, Who};
use crate::dice::Dice;
use crate::mutation::Mutation;

/// Why a process did not come up.
#[derive(Debug)]
pub(crate) struct BootError(pub String);

fn failed(error: impl std::fmt::Display) -> BootError {
    BootError(error.to_string())
}

impl Node {
    /// What it says on the way (partitions that cannot be opened, replies that nobody waits for any more) goes to
    /// `said`.
    pub fn boot(
        disk: Arc<dyn Disk>,
        config: Arc<BrokerConfig>,
        now_ms: i64,
        mut dice: Dice,
        mutation: Option<Mutation>,
        said: &mut Vec<Said>,
    ) -> Result<Node, BootError> {
        let me = config.node_id;
        let storage = Storage::open(disk.clone(), me, &mut dice, mutation).map_err(failed)?;
        let controller = quorum_of_one(disk, &config, now_ms, &mut dice)?;
        let mut node = Node {
            me,
            replicas: Replicas::new(config.clone()),
            config,
            storage,
            controller,
            unheard: VecDeque::new(),
            image: Arc::new(Image::empty()),
            partitions: BTreeMap::new(),
            retired: Vec::new(),
            epoch: BrokerEpoch(-1),
            ids: None,
            ids_asked: false,
            waiting_for_ids: Vec::new(),
            dice,
            mutation,
        };
        let mut out = Vec::new();
        node.controller.settle(now_ms, &mut out).map_err(failed)?;
        node.unheard.extend(out);
        node.join(now_ms, said)?;
        Ok(node)
    }

    fn join(&mut self, now_ms: i64, said: &mut Vec<Said>) -> Result<(), BootError> {
        let version = MetadataVersion::LATEST_PRODUCTION;
        let levels = feature::FEATURES.iter().map(|f| (f.name.to_owned(), f.default_level(version)));
        let features = levels.filter(|(_, level)| *level > 0).collect();
        let bootstrap = Command::Bootstrap { metadata_version: version.level(), features };
        self.ask(now_ms, bootstrap, said)?;
        let dice = &mut self.dice;
        let incarnation = fresh_id(|| (u128::from(dice.number()) << 64) | u128::from(dice.number()));
        let features = feature::supported(false)
            .map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max })
            .collect();
        let registration = Registration {
            id: self.me,
            incarnation,
            endpoints: Vec::new(),
            rack: None,
            log_dirs: vec![self.storage.id],
            features,
        };
        self.epoch = match self.ask(now_ms, Command::RegisterBroker(registration), said)? {
            Reply::BrokerRegistered(Ok(epoch)) => epoch,
            other => return Err(failed(format!("{other:?}"))),
        };
        match self.ask(now_ms, self.beat(false), said)? {
            Reply::Heartbeat(Ok(HeartbeatAnswer { fenced: false, .. })) => Ok(()),
            other => Err(failed(format!("{other:?}"))),
        }
    }

    // Asks and publishes until the answer is there: nobody else is served before.
    fn ask(&mut self, now_ms: i64, command: Command, said: &mut Vec<Said>) -> Result<Reply, BootError> {
        let mut out = Vec::new();
        self.command(now_ms, Who::Shell, command, &mut out);
        if let Some(Said::Died(why)) = out.into_iter().find(|s| matches!(s, Said::Died(_))) {
            return Err(BootError(why));
        }
        while let Some(next) = self.unheard.front() {
            if let ControllerOutput::Reply { token: Who::Shell, reply } = next {
                let reply = reply.clone();
                self.unheard.pop_front();
                return Ok(reply);
            }
            let mut heard = Vec::new();
            self.publish(now_ms, &mut heard);
            said.extend(heard.into_iter().filter(|s| !matches!(s, Said::Publish)));
        }
        Err(failed("the controller did not answer"))
    }

    fn beat(&self, want_shutdown: bool) -> Command {
        Command::Heartbeat {
            broker: self.me,
            epoch: self.epoch,
            metadata_offset: self.image.offset,
            want_fence: false,
            want_shutdown,
        }
    }

    /// Stops: no new requests, everything flushed, directories marked clean.
    pub fn stop(mut self, now_ms: i64, said: &mut Vec<Said>) {
        // A controller that cannot write any more does not keep the logs from being closed.
        let _ = self.ask(now_ms, self.beat(true), said);
        let mut closed = Vec::new();
        let mut all_closed = true;
        for partition in self.partitions.values_mut() {
            let (log, refused) = partition.close();
            let refused = refused.into_iter();
            said.extend(refused.map(|(ask, code)| Said::Produced { ask, outcome: Err(code) }));
            all_closed &= !partition.offline;
            let Some(mut log) = log else { continue };
            match log.close() {
                Ok(()) => closed.push(log),
                Err(_) => all_closed = false,
            }
        }
        self.storage.close(&closed, all_closed, self.epoch);
    }
}

/// Small, so that every run has some.
const SNAPSHOT_BYTES: i64 = 2_000;

fn quorum_of_one(
    disk: Arc<dyn Disk>,
    config: &BrokerConfig,
    now_ms: i64,
    dice: &mut Dice,
) -> Result<Controller<Who>, BootError> {
    let id = TopicPartition::new(CLUSTER_METADATA_TOPIC, 0);
    let mut topic = TopicConfig {
        segment_bytes: config.metadata_log_segment_bytes,
        segment_ms: config.metadata_log_segment_ms,
        retention_bytes: -1,
        retention_ms: -1,
        max_message_bytes: i32::MAX,
        ..TopicConfig::default()
    };
    topic.cleanup_policy.delete = false;
    let topic = Arc::new(topic);
    let (log, _) = Log::open(Opening {
        disk: disk.clone(),
        dir: Path::new(DATA).join(id.to_string()),
        partition: id,
        topic_id: Some(METADATA_TOPIC_ID),
        config: topic.clone(),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    })
    .map_err(failed)?;
    let voters = Voters::only(NodeId(config.node_id.0));
    let store = Store::open(disk, log, topic, voters.clone()).map_err(failed)?;
    let mut chance = dice.split();
    let settings = Settings {
        config: config.clone(),
        snapshots: Snapshots {
            bytes: SNAPSHOT_BYTES,
            interval_ms: 0,
            keep: Keep { bytes: 4 * SNAPSHOT_BYTES, ms: -1 },
        },
        chance: Box::new(move || chance.number()),
    };
    Ok(Controller::new(Quorum::new(store, &voters).map_err(failed)?, settings))
}

//! A controller's or an observer's process in this world, and what its shell does around it: it opens the metadata log, and gives
//! the process its settings. It must never decide anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_core::controller::Bootstrap;
use ottla_log::Disk;
use ottla_log::log::{Log, Opening};
use ottla_model::config::{BrokerConfig, Sources, TopicConfig, load};
use ottla_model::image::Image;
use ottla_model::{CLUSTER_METADATA_TOPIC, DirectoryId, METADATA_TOPIC_ID, NodeId, TopicPartition};
use ottla_node::controller::{Controller, Output, Settings, Snapshots};
use ottla_node::observer::{self, Asked, Observer};
use ottla_node::quorum::{Body, Keep, Membership, Message, Quorum, ReplicaKey, Store, VoterSet, Voters};
use ottla_node::waiting::Fetches;
use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterNode};

use super::asks::Who;
use super::broker::Broker;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::mutation::Mutation;

/// As what a machine's process starts.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub me: ReplicaKey,
    founders: Vec<ReplicaKey>,
}

impl Start {
    /// One of those that founded the quorum, if it is among them.
    pub fn founding(id: NodeId, founders: &[NodeId]) -> Start {
        let key = |id: NodeId| ReplicaKey { id, directory_id: directory(id, 0) };
        let founders = if founders.contains(&id) { founders } else { &[] };
        Start { me: key(id), founders: founders.iter().map(|id| key(*id)).collect() }
    }

    /// Whoever leads will tell it everything.
    pub fn joining(me: ReplicaKey) -> Start {
        Start { me, founders: Vec::new() }
    }

    fn voters(&self) -> Voters {
        let record =
            KRaftVoters { version: 0, voters: self.founders.iter().map(|key| voter(*key)).collect() };
        let founders = match self.founders.is_empty() {
            true => Membership::default(),
            false => Membership {
                version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
                voters: Some(record),
            },
        };
        let all = VoterSet::new(self.founders.iter().copied());
        let (cluster_id, me, addresses) = (CLUSTER_ID.into(), self.me, Default::default());
        Voters { cluster_id, me, all, founders, addresses, election_timeout_ms: 1_000 }
    }
}

pub(super) fn directory(id: NodeId, life: u64) -> DirectoryId {
    DirectoryId::from_u128(((id.0 as u128) << 100) + 1_000 + u128::from(life))
}

pub(super) fn voter(key: ReplicaKey) -> VoterNode {
    VoterNode {
        id: key.id.0,
        directory_id: key.directory_id,
        endpoints: Vec::new(),
        kraft_version_min: 0,
        kraft_version_max: 1,
    }
}

/// What runs on a machine.
pub(crate) struct Process {
    pub node: Node,
    /// A broker beside the controller or the observer.
    pub broker: Option<Box<Broker>>,
}

pub(crate) enum Node {
    Controller(Box<Member>),
    Observer(Box<Watcher>),
}

/// A voter, and the fetches that wait there.
pub(crate) struct Member {
    pub controller: Controller<Who>,
    pub fetches: Fetches<Waiter>,
}

/// An observer.
pub(crate) struct Watcher {
    pub observer: Observer,
    /// When it is woken the next time.
    pub wakes_ms: Option<i64>,
}

/// Who has asked a voter for the log.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub at: usize,
    pub life: u64,
    pub asked: Asked,
}

impl Process {
    pub fn member(&mut self) -> Option<&mut Member> {
        match &mut self.node {
            Node::Controller(member) => Some(member),
            Node::Observer(_) => None,
        }
    }

    pub fn watcher(&mut self) -> Option<&mut Watcher> {
        match &mut self.node {
            Node::Controller(_) => None,
            Node::Observer(watcher) => Some(watcher),
        }
    }

    pub fn controller(&self) -> Option<&Controller<Who>> {
        match &self.node {
            Node::Controller(member) => Some(&member.controller),
            Node::Observer(_) => None,
        }
    }

    /// Who leads the quorum, as far as is known here.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.node {
            Node::Controller(member) => member.controller.quorum().leader(),
            Node::Observer(watcher) => watcher.observer.leader().map(|leader| leader.id),
        }
    }

    pub fn log(&self) -> &Log {
        match &self.node {
            Node::Controller(member) => member.controller.quorum().store().log(),
            Node::Observer(watcher) => watcher.observer.log(),
        }
    }

    pub fn image(&self) -> &Arc<Image> {
        match &self.node {
            Node::Controller(member) => member.controller.image(),
            Node::Observer(watcher) => watcher.observer.image(),
        }
    }
}

impl Member {
    pub(super) fn start(
        start: &Start,
        config: Arc<BrokerConfig>,
        disk: Arc<SimDisk>,
        now_ms: i64,
        mut chance: Dice,
        mutation: Option<Mutation>,
    ) -> Result<(Member, Vec<Output<Who>>), String> {
        if mutation == Some(Mutation::ForgetVote) {
            forget_vote(&*disk, &dir());
        }
        let (log, topic) = open_log(&disk, now_ms)?;
        let voters = start.voters();
        let store = Store::open(disk, log, topic, voters.clone()).map_err(|e| e.to_string())?;
        let mut draws = chance.split();
        let quorum = Quorum::new(store, &voters, Box::new(move || draws.number()));
        let settings = Settings {
            config: (*config).clone(),
            snapshots: snapshots(),
            bootstrap: Bootstrap::latest(),
            chance: Box::new(move || chance.number()),
        };
        let mut controller = Controller::new(quorum.map_err(|e| e.to_string())?, settings);
        let mut outputs = Vec::new();
        controller.settle(now_ms, &mut outputs).map_err(|e| e.to_string())?;
        Ok((Member { controller, fetches: Fetches::default() }, outputs))
    }
}

impl Watcher {
    pub(super) fn start(me: ReplicaKey, disk: Arc<SimDisk>, now_ms: i64) -> Result<Watcher, String> {
        let (log, _) = open_log(&disk, now_ms)?;
        let settings = observer::Settings {
            cluster_id: CLUSTER_ID.to_owned(),
            me,
            snapshots: snapshots(),
            fetch_bytes: 1_000,
            // Several pieces, but few: a slow network takes seconds for each.
            snapshot_bytes: 4_000,
            retry_backoff_ms: 20,
            request_timeout_ms: 2_000,
        };
        let observer = Observer::open(disk, log, settings, now_ms).map_err(|e| e.to_string())?;
        Ok(Watcher { observer, wakes_ms: None })
    }
}

fn dir() -> PathBuf {
    PathBuf::from(DATA).join(TopicPartition::new(CLUSTER_METADATA_TOPIC, 0).to_string())
}

fn open_log(disk: &Arc<SimDisk>, now_ms: i64) -> Result<(Log, Arc<TopicConfig>), String> {
    let topic = Arc::new(TopicConfig {
        segment_bytes: SEGMENT_BYTES,
        retention_bytes: -1,
        retention_ms: -1,
        max_message_bytes: i32::MAX,
        ..TopicConfig::default()
    });
    let opening = Opening {
        disk: disk.clone(),
        dir: dir(),
        partition: TopicPartition::new(CLUSTER_METADATA_TOPIC, 0),
        topic_id: Some(METADATA_TOPIC_ID),
        config: topic.clone(),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    };
    let (log, _) = Log::open(opening).map_err(|e| e.to_string())?;
    Ok((log, topic))
}

fn snapshots() -> Snapshots {
    let keep = Keep { bytes: 2 * SNAPSHOT_BYTES, ms: -1 };
    Snapshots { bytes: SNAPSHOT_BYTES, interval_ms: 0, keep }
}

// Whom this node voted for in its term; the term itself it knows.
fn forget_vote(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("quorum-state");
    let Ok(bytes) = disk.read_to_vec(&path) else { return };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some((head, tail)) = text.split_once("\"votedId\":") else { return };
    let Some((_, tail)) = tail.split_once(',') else { return };
    let forgotten = format!("{head}\"votedId\":-1,{tail}");
    disk.replace(&path, forgotten.as_bytes()).expect("no disk fails here");
}

/// Of a node, with the time of a session and that between two heartbeats.
pub(super) fn config(id: NodeId, session_ms: i32, interval_ms: i32) -> Arc<BrokerConfig> {
    let mut config = load(Sources { file: None, env: [], overrides: &[] }).expect("the defaults").0;
    config.node_id = id;
    config.broker_session_timeout_ms = session_ms;
    config.broker_heartbeat_interval_ms = interval_ms;
    Arc::new(config)
}

/// The answer of a follower that has taken everything, whether it has or not.
pub(super) fn as_if_appended(message: &Message) -> Option<Message> {
    let Body::Append { previous, entries, .. } = &message.body else { return None };
    let body = Body::Appended { index: previous.index + entries.len() as u64, commit: 0 };
    Some(Message { from: message.to, to: message.from, body, ..message.clone() })
}

pub(super) const DATA: &str = "/data";
const CLUSTER_ID: &str = "sim";
/// Small, so that every run has some.
const SNAPSHOT_BYTES: i64 = 2_500;
const SEGMENT_BYTES: i32 = 6_000;

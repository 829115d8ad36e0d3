//! How this node's member of the metadata quorum begins: how the metadata log is kept, and what a new one says of who
//! votes. It must never know what the records mean.

use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::log::{Log, Opening, Recovery};
use ottla_model::config::{BrokerConfig, Listener, TopicConfig};
use ottla_model::{CLUSTER_METADATA_TOPIC, DirectoryId, METADATA_TOPIC_ID, TopicPartition};
use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterEndpoint, VoterNode};

use super::{Chance, Membership, Quorum, QuorumError, ReplicaKey, Store, VoterSet, Voters};

impl Quorum {
    /// Opens the metadata log in its directory and joins its quorum with it: the voters that the log names, or those of
    /// `controller.quorum.voters`, or else this node alone. The recovery says whether the log was damaged.
    pub fn found(
        disk: Arc<dyn Disk>,
        config: &BrokerConfig,
        founder: Founder,
        now_ms: i64,
    ) -> Result<(Quorum, Recovery), QuorumError> {
        let Founder { cluster_id, directory, chance } = founder;
        let topic = Arc::new(topic_config(config));
        let (log, recovery) = open_log(disk.clone(), config, topic.clone(), now_ms)?;
        let directory_id = directory.unwrap_or_default();
        let me = ReplicaKey { id: config.node_id, directory_id };
        let listed = &config.controller_quorum_voters;
        let all = match listed.is_empty() {
            true => VoterSet::new([ReplicaKey::of(config.node_id)]),
            false => VoterSet::new(listed.iter().map(|voter| ReplicaKey::of(voter.id))),
        };
        let addresses = listed.iter().map(|voter| (voter.id, voter.address.clone())).collect();
        let founders = founders(config, directory);
        let election_timeout_ms = config.controller_quorum_election_timeout_ms.into();
        let voters = Voters { cluster_id, me, all, founders, addresses, election_timeout_ms };
        let store = Store::open(disk, log, topic, voters.clone())?;
        Ok((Quorum::new(store, &voters, chance)?, recovery))
    }
}

/// Who founds a quorum, or comes back to it.
pub struct Founder {
    pub cluster_id: String,
    /// The id of the directory in which the metadata log is.
    pub directory: Option<DirectoryId>,
    pub chance: Chance,
}

/// Opens the metadata log in its directory. It is read whole at each start, so the whole of it is checked; it is small.
pub(crate) fn open_log(
    disk: Arc<dyn Disk>,
    config: &BrokerConfig,
    topic: Arc<TopicConfig>,
    now_ms: i64,
) -> Result<(Log, Recovery), QuorumError> {
    let id = TopicPartition::new(CLUSTER_METADATA_TOPIC, 0);
    let opened = Log::open(Opening {
        disk,
        dir: config.metadata_log_dir.join(id.to_string()),
        partition: id,
        topic_id: Some(METADATA_TOPIC_ID),
        config: topic,
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    })?;
    Ok(opened)
}

/// How the metadata log is kept: snapshots alone say what may leave it.
pub(crate) fn topic_config(config: &BrokerConfig) -> TopicConfig {
    let mut topic = TopicConfig {
        segment_bytes: config.metadata_log_segment_bytes,
        segment_ms: config.metadata_log_segment_ms,
        retention_bytes: -1,
        retention_ms: -1,
        max_message_bytes: i32::MAX,
        ..TopicConfig::default()
    };
    topic.cleanup_policy.delete = false;
    topic
}

// What a new metadata log says of who votes (KIP-853), so that Kafka too finds it there. Where the configuration lists
// the voters, that is what counts.
fn founders(config: &BrokerConfig, directory: Option<DirectoryId>) -> Membership {
    let (true, Some(directory_id)) = (config.controller_quorum_voters.is_empty(), directory) else {
        return Membership::default();
    };
    let controllers = config.listeners.iter().filter(|l| config.controller_listener_names.contains(&l.name));
    let endpoint = |listener: &Listener| {
        let (host, port) = config.controller_address(listener);
        VoterEndpoint { name: listener.name.clone(), host: host.unwrap_or_else(|| "localhost".into()), port }
    };
    let me = VoterNode {
        id: config.node_id.0,
        directory_id,
        endpoints: controllers.map(endpoint).collect(),
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    Membership {
        version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
        voters: Some(KRaftVoters { version: 0, voters: vec![me] }),
    }
}

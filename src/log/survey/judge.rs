//! What keeps a broker from starting, from what was found. Pure: the start and `ottla storage check` call the same code
//! and get the same lines. Only what cannot be served is here; the start itself repairs what can be repaired.

use std::collections::BTreeMap;
use std::fmt;

use ottla_model::config::{BrokerConfig, ConfigError, check_topic_config};
use ottla_model::feature::{METADATA_VERSION, feature};
use ottla_model::image::{Image, Topic};
use ottla_model::record::ResourceType;

use super::{Directory, DirectoryState, Metadata, Survey};
use crate::dirs::DirError;

/// One reason not to start, in one line: the file, what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop(pub String);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reasons not to start. If there are none, a start goes on.
pub fn stops(found: &Survey, config: &BrokerConfig) -> Vec<Stop> {
    let mut stops = Vec::new();
    directories(found, config, &mut stops);
    if let Some(metadata) = found.metadata.as_ref().filter(|metadata| !is_told(metadata, found, config)) {
        with_metadata(metadata, &mut stops);
    }
    // A metadata log without a record is one that a start had just created: it says nothing about partitions.
    if found.metadata.as_ref().is_none_or(|metadata| metadata.end == 0 && metadata.problem.is_none()) {
        without_metadata(found, config, &mut stops);
    }
    stops.into_iter().map(Stop).collect()
}

fn directories(found: &Survey, config: &BrokerConfig, stops: &mut Vec<String>) {
    let mut cluster_id: Option<&str> = None;
    let mut ids = BTreeMap::new();
    for Directory { path, state, .. } in &found.dirs {
        match state {
            DirectoryState::Absent | DirectoryState::Unformatted => {}
            DirectoryState::Malformed(what) => stops.push(format!(
                "{what}; write the file anew from another directory of this node, or take the directory out of log.dirs"
            )),
            // The broker goes on with its other log directories (KIP-112).
            DirectoryState::Unreadable(what) if *path == config.metadata_log_dir || is_last(found, config) => {
                stops.push(format!("{what}; see to the disk, or move metadata.log.dir or log.dirs to another"));
            }
            DirectoryState::Unreadable(_) => {}
            DirectoryState::Formatted { meta, .. } => {
                let expected = *cluster_id.get_or_insert(&meta.cluster_id);
                if meta.cluster_id != expected {
                    let (dir, expected) = (path.clone(), expected.to_owned());
                    let wrong = DirError::WrongCluster { dir, expected, found: meta.cluster_id.clone() };
                    stops.push(format!("{wrong}; take the directories of the other cluster out of log.dirs"));
                }
                if let Some(id) = meta.directory_id
                    && let Some(other) = ids.insert(id, path)
                {
                    stops.push(format!(
                        "{}/meta.properties has the directory.id of {}: a copy of it, most likely; take one of them out of \
                         log.dirs",
                        path.display(),
                        other.display()
                    ));
                }
                if meta.node_id != config.node_id {
                    let (dir, expected) = (path.clone(), config.node_id);
                    stops.push(DirError::WrongNode { dir, expected, found: meta.node_id }.to_string());
                }
            }
        }
    }
}

/// Whether no log directory can be read.
fn is_last(found: &Survey, config: &BrokerConfig) -> bool {
    let unreadable = |dir: &Directory| matches!(dir.state, DirectoryState::Unreadable(_));
    !found.dirs.iter().any(|dir| config.log_dirs.contains(&dir.path) && !unreadable(dir))
}

// A start would create a new cluster, and set every partition aside as stray.
fn without_metadata(found: &Survey, config: &BrokerConfig, stops: &mut Vec<String>) {
    let folder = crate::metadata::folder(&config.metadata_log_dir);
    let folder = folder.display();
    for Directory { path, state, partitions } in &found.dirs {
        let path = path.display();
        match state {
            DirectoryState::Formatted { version: 0, .. } => stops.push(format!(
                "{path}/meta.properties is of version 0 and there is no metadata log in {folder}: the cluster's metadata is \
                 in ZooKeeper; migrate it to KRaft with Apache Kafka 3.9 first"
            )),
            _ if *partitions > 0 => stops.push(format!(
                "{path} has {partitions} partitions, and there is no metadata log in {folder} that says whose they are; set \
                 metadata.log.dir to where it is, or restore it"
            )),
            _ => {}
        }
    }
}

// Whether the reason is reported already: that the metadata log is missing follows from a directory that cannot be read.
fn is_told(metadata: &Metadata, found: &Survey, config: &BrokerConfig) -> bool {
    let unreadable = |dir: &Directory| {
        dir.path == config.metadata_log_dir && matches!(dir.state, DirectoryState::Unreadable(_))
    };
    let not_found = metadata.problem.as_ref().is_some_and(|problem| problem.file == metadata.folder);
    not_found && found.dirs.iter().any(unreadable)
}

fn with_metadata(metadata: &Metadata, stops: &mut Vec<String>) {
    let folder = metadata.folder.display();
    if let Some(problem) = &metadata.problem {
        stops.push(format!(
            "{problem}; restore the file from a backup, or bring metadata.version and features down with the Kafka \
             that wrote it"
        ));
    }
    for (name, level) in metadata.image.features().filter(|(name, _)| *name != METADATA_VERSION) {
        let known = feature(name).map(|feature| feature.latest());
        if level > known.unwrap_or(0) {
            let known =
                known.map_or("this feature is unknown".into(), |known| format!("known is 0 to {known}"));
            stops.push(format!(
                "{folder}: the cluster is at level {level} of {name}, {known}; lower it with kafka-features downgrade"
            ));
        }
    }
    let topics = metadata.image.topics().filter_map(|topic| refused(topic, &metadata.image));
    let mut topics: Vec<String> = topics.map(|line| format!("{folder}: {line}")).collect();
    let more = topics.len().saturating_sub(TOPICS_TOLD);
    topics.truncate(TOPICS_TOLD);
    stops.append(&mut topics);
    if more > 0 {
        stops.push(format!("{folder}: {more} more topics cannot be taken over"));
    }
}

/// Why a topic cannot be served as it is. `None`: it can.
fn refused(topic: &Topic, image: &Image) -> Option<String> {
    let name = &topic.name;
    let configs = image.configs(ResourceType::Topic, name)?;
    if configs.get("remote.storage.enable").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        return Some(format!(
            "topic {name} has remote.storage.enable=true, and what is in remote storage cannot be read; set it to false \
             with remote.log.delete.on.disable=true"
        ));
    }
    let errors = configs.iter().filter_map(|(key, value)| check_topic_config(key, value).err());
    // Unknown topic configs are ignored, as in Kafka.
    let wrong = errors.into_iter().find(|error| !matches!(error, ConfigError::UnknownTopicKey(_)))?;
    Some(format!("topic {name}: {wrong}; delete this setting with kafka-configs --delete-config"))
}

/// If one reason holds for many topics, only the first ones are listed.
const TOPICS_TOLD: usize = 20;

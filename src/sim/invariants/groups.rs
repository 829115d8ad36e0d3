//! What groups ask and are told, in the order in which the node hears and says it. A shard serves a group in that order, so an
//! answer is held against everything that was said before its question came.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::group::{Command, FetchOffsets, FetchTopic, Groups, Reply, Settings};
use ottla_log::log::LogReader;
use ottla_model::TopicId;
use ottla_node::coordinator::groups::offsets_topic;
use ottla_node::coordinator::loading::Loading;
use ottla_node::coordinator::shard_of;
use ottla_node::coordinator::{Input, Linger, Output, ShardSettings};
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::Compression;

use super::committed::{Commit, Committed, CommittedPartition, fetched_places, places};
use super::generations::Generations;
use super::metadata::Metadata;
use super::owners::Owners;
use super::together::is_of_loop;
use crate::marks::mark_if;
use crate::node::Node;
use crate::verdict::{Verdict, Violation};

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct GroupLedger {
    under_way: BTreeMap<u64, Asked>,
    pub committed: Committed,
    generations: Generations,
    owners: Owners,
}

/// A question, and what was known when it came.
#[derive(Debug)]
struct Asked {
    command: Command,
    generation: Option<i32>,
    floors: BTreeMap<CommittedPartition, Option<Commit>>,
}

impl GroupLedger {
    /// The node hears a question.
    pub fn asked(&mut self, now_ms: i64, request: u64, command: &Command) {
        if command.group().is_some_and(is_of_loop) {
            return;
        }
        let mut floors = BTreeMap::new();
        match command {
            Command::CommitOffsets(commit) => self.committed.asked(now_ms, commit),
            Command::FetchOffsets(fetch) => {
                let known = fetched_places(fetch).map(|place| (place.clone(), self.committed.floor(&place)));
                floors.extend(known);
            }
            _ => {}
        }
        let generation = command.group().and_then(|group| self.generations.logged(group));
        self.under_way.insert(request, Asked { command: command.clone(), generation, floors });
    }

    /// The node answers it.
    pub fn answered(&mut self, now_ms: i64, request: u64, reply: &Reply, metadata: &Metadata) -> Verdict {
        let Some(asked) = self.under_way.remove(&request) else { return Ok(()) };
        match (&asked.command, reply) {
            (Command::Join(join), Reply::Joined(joined)) if joined.error == ErrorCode::None => {
                // A group of which everything has expired is gone, and the next one begins with its first generation.
                if self.committed.retention_ms.is_some() && joined.generation <= 1 {
                    let expired = self.generations.logged(&join.group).is_some_and(|logged| logged > 1);
                    mark_if(expired, "a group began again after everything of it expired");
                    self.generations.forget(&join.group);
                    self.owners.forget(&join.group);
                }
                self.generations.joined(&join.group, joined.generation)
            }
            (Command::Sync(sync), Reply::Synced(synced)) if synced.error == ErrorCode::None => {
                self.generations.synced(&sync.group, sync.generation)?;
                let member = sync.instance_id.as_ref().unwrap_or(&sync.member_id);
                self.owners.told(&sync.group, sync.generation, member, &synced.assignment)
            }
            (Command::Heartbeat(heartbeat), Reply::Heartbeat(ErrorCode::None)) => {
                let generation = heartbeat.generation;
                Generations::accepted(&heartbeat.group, generation, asked.generation, "a heartbeat")
            }
            (Command::CommitOffsets(commit), Reply::OffsetsCommitted(committed)) => {
                let told = committed.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|(partition, error)| ((topic.id, *partition), *error))
                });
                let told: BTreeMap<(Option<TopicId>, i32), ErrorCode> = told.collect();
                for (place, offset) in places(commit) {
                    let Some(error) = told.get(&(Some(place.topic), place.partition)) else { continue };
                    if *error == ErrorCode::None {
                        let generation = commit.generation;
                        Generations::accepted(&commit.group, generation, asked.generation, "a commit")?;
                    }
                    self.committed.answered(&place, offset, *error);
                }
                Ok(())
            }
            (Command::FetchOffsets(fetch), Reply::OffsetsFetched(fetched))
                if fetched.error == ErrorCode::None =>
            {
                for (topic, one) in
                    fetched.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p)))
                {
                    let Some(id) = topic.id.filter(|id| !metadata.is_doomed(*id)) else { continue };
                    let (group, name) = (fetch.group.clone(), topic.topic.clone());
                    let place = CommittedPartition { group, topic: id, name, partition: one.partition };
                    let floor = asked.floors.get(&place).copied().flatten();
                    self.committed.told(now_ms, &place, floor, one.offset)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The process is gone. `lossy`: of what was in the offsets topic anything may be gone with it.
    pub fn ended(&mut self, lossy: bool) {
        self.under_way.clear();
        if lossy {
            self.committed.may_be_lost();
            self.generations.forget_all();
            self.owners.forget_all();
        }
    }

    /// Loads every shard from its log and holds it against what is known.
    pub fn audit(&self, node: &Node, metadata: &Metadata) -> Verdict {
        let Some(topic) = offsets_topic(&node.image) else { return Ok(()) };
        for shard in topic.partitions.keys() {
            let Some(partition) = node.partitions.get(&(topic.id, *shard)) else { continue };
            let places = self.committed.places().filter(|place| {
                shard_of(&place.group, topic.partitions.len()) == *shard && !metadata.is_doomed(place.topic)
            });
            let places: Vec<&CommittedPartition> = places.collect();
            for (place, offset) in places.iter().zip(committed_in(&partition.reader, &places)?) {
                self.committed.loaded(place, offset)?;
            }
        }
        Ok(())
    }
}

/// What a shard that was loaded from this log answers to a fetch of each of these.
pub(super) fn committed_in(
    reader: &LogReader,
    places: &[&CommittedPartition],
) -> Result<Vec<i64>, Violation> {
    let mut offsets = reader.offsets();
    offsets.high_watermark = offsets.log_end;
    let terms = ShardSettings { compression: Compression::None, linger: Linger::Ms(0), write_timeout_ms: 1 };
    let machine: Groups<()> = Groups::new(Arc::new(Settings::default()), Box::new(|| 0));
    let mut loading = Loading::new(machine, terms, offsets);
    while !loading.is_done() {
        let read = loading.read_on(reader, READ_BYTES);
        read.map_err(|e| Violation::new("a log reads back", format!("a shard's log: {e}")))?;
    }
    let mut shard = loading.finish(0);
    let mut told = Vec::new();
    for place in places {
        // By its id: whatever has that name now.
        let topic = FetchTopic {
            topic: place.name.clone(),
            id: Some(place.topic),
            partitions: vec![place.partition],
        };
        let fetch =
            FetchOffsets { group: place.group.clone(), topics: Some(vec![topic]), require_stable: false };
        let mut out = Vec::new();
        shard.step(0, Input::Ask { token: (), command: Command::FetchOffsets(fetch) }, &mut out);
        let offset = out.iter().find_map(|output| match output {
            Output::Reply { reply: Reply::OffsetsFetched(fetched), .. } => {
                Some(fetched.topics.first()?.partitions.first()?.offset)
            }
            _ => None,
        });
        told.extend(offset);
    }
    Ok(told)
}

const READ_BYTES: usize = 64 << 10;

//! The partition as a shard of the group coordinator: whoever leads it serves it, and it moves with its leader. What is done
//! here is what the broker's task does around a keeper. It must never decide: `node::coordinator` does.

use std::sync::Arc;

use ottla_core::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Groups, Reply, Settings,
};
use ottla_core::partition::Acks;
use ottla_log::CheckedBatch;
use ottla_log::log::Appended;
use ottla_model::TopicId;
use ottla_model::config::TopicConfig;
use ottla_model::group::GroupId;
use ottla_model::image::Image;
use ottla_node::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput};
use ottla_node::coordinator::{Input as Sent, Linger, ShardSettings};
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::batch::Compression;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::home::partition;
use super::process::{Ask, Message, Process, To, Wish};
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::shard::{Owner, Seen, Turned};

/// What a client asks of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// This is what the group has come to. No two commits of a run have the same number.
    Commit(u32),
    /// What has the group come to?
    Fetch,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub committer: usize,
    pub attempt: u64,
    /// All who use one group ask about the same partition of a topic.
    pub group: usize,
}

/// The number of the commit that was taken, or of the one that was found. `None`: nothing is committed.
pub(crate) type Told = Result<Option<u32>, ErrorCode>;

/// The coordinator of one process.
pub(super) struct Coordinating {
    owner: Option<Owner<Groups<Asker>>>,
    image: Arc<Image>,
    terms: ShardSettings,
    load_bytes: usize,
}

impl Coordinating {
    pub fn new(linger: Linger, load_bytes: usize) -> Coordinating {
        let terms = ShardSettings { compression: Compression::None, linger, write_timeout_ms: WRITE_MS };
        Coordinating { owner: None, image: Arc::new(Image::empty()), terms, load_bytes }
    }

    fn begin(&self, here: Seen) -> Owner<Groups<Asker>> {
        let settings = Arc::new(Settings::default());
        // Nobody joins a group, so that no member needs an id.
        let machines = move |_: LeaderEpoch| Groups::new(settings.clone(), Box::new(|| 0));
        Owner::new(Keeper::new(partition(), self.terms, machines), here)
    }
}

impl Process {
    fn led_here(&self) -> Option<Seen> {
        let keeps = self.makes(Mutation::KeepShard);
        let has = self.coordinating.as_ref().is_some_and(|here| here.owner.is_some());
        let leads = (self.lane.leads() || keeps && has) && !self.lane.log().is_offline();
        leads.then(|| Seen {
            key: (TopicId::nil(), 0),
            leader_epoch: if keeps { LeaderEpoch(0) } else { self.lane.leader_epoch() },
            reader: self.lane.reader(),
            config: self.config.clone(),
        })
    }

    fn shard(&mut self) -> Option<&mut Owner<Groups<Asker>>> {
        self.coordinating.as_mut()?.owner.as_mut()
    }

    /// A client asks.
    pub(super) fn ask_shard(&mut self, asker: Asker, question: Question) -> Vec<Wish> {
        let (here, command) = (self.led_here(), command(asker.group, question));
        let Some(coordinating) = &mut self.coordinating else { return Vec::new() };
        if coordinating.owner.is_none() {
            let Some(here) = here else { return vec![tell(asker, Err(ErrorCode::NotCoordinator))] };
            coordinating.owner = Some(coordinating.begin(here));
        }
        let Some(owner) = &mut coordinating.owner else { return Vec::new() };
        owner.inbox.push(Sent::Ask { token: asker, command });
        self.wake_shard()
    }

    /// Something has happened to the partition. Whoever leads it loads it, before anybody asks.
    pub(super) fn wake_shard(&mut self) -> Vec<Wish> {
        let here = self.led_here();
        let Some(coordinating) = &mut self.coordinating else { return Vec::new() };
        if let (None, Some(here)) = (&coordinating.owner, here) {
            coordinating.owner = Some(coordinating.begin(here));
        }
        let Some(owner) = &mut coordinating.owner else { return Vec::new() };
        match std::mem::replace(&mut owner.woken, true) {
            true => Vec::new(),
            false => vec![Wish::ShardTurn(None)],
        }
    }

    /// The task gets the processor.
    pub(super) fn drive_shard(&mut self, now_ms: i64) -> Vec<Wish> {
        let (here, mutation) = (self.led_here(), self.mutation);
        let Some(coordinating) = &mut self.coordinating else { return Vec::new() };
        let Some(owner) = &mut coordinating.owner else { return Vec::new() };
        let (image, load_bytes) = (coordinating.image.clone(), coordinating.load_bytes);
        let mut outputs = Vec::new();
        let turned = owner.turn(now_ms, here, &image, load_bytes, mutation, &mut outputs);
        let mut wishes = Vec::new();
        if turned == Turned::Ended {
            coordinating.owner = None;
        } else if let Some(due_ms) = owner.keeper.next_deadline_ms()
            && owner.alarm_ms.is_none_or(|at_ms| due_ms < at_ms)
        {
            owner.alarm_ms = Some(due_ms);
            wishes.push(Wish::ShardTurn(Some(due_ms)));
        }
        wishes.extend(outputs.into_iter().flat_map(|output| self.carry_out(output)));
        if turned != Turned::Idle {
            wishes.extend(self.wake_shard());
        }
        wishes
    }

    fn carry_out(&mut self, output: KeeperOutput<Groups<Asker>>) -> Vec<Wish> {
        match output {
            KeeperOutput::Reply { token, reply } => vec![tell(token, told(&reply))],
            KeeperOutput::Load(loading) => {
                if let Some(owner) = self.shard() {
                    owner.loading = Some(loading);
                }
                self.wake_shard()
            }
            KeeperOutput::Append { batch, checked_against } => self.append_for_shard(batch, checked_against),
            KeeperOutput::Errand(never) => match never {},
            KeeperOutput::Note(note) => {
                mark_if(matches!(note, KeeperNote::InDoubt), "it was not known what a shard had written");
                Vec::new()
            }
        }
    }

    fn append_for_shard(&mut self, batch: CheckedBatch, checked_against: Arc<TopicConfig>) -> Vec<Wish> {
        mark_if(batch.header.record_count > 1, "writes of a shard shared a batch");
        self.enqueue(Input::Append(Append {
            token: Ask::Shard,
            batch,
            acks: Acks::All,
            answered: Answered::WhenAppended,
            checked_against,
            deadline_ms: i64::MAX,
        }))
    }

    /// The lane says what became of the shard's batch.
    pub(super) fn shard_appended(&mut self, outcome: Result<Appended, ErrorCode>) -> Vec<Wish> {
        if let Some(owner) = self.shard() {
            owner.outcome = Some(outcome.map(|appended| (appended.base_offset, appended.last_offset)));
        }
        self.wake_shard()
    }
}

fn tell(asker: Asker, told: Told) -> Wish {
    Wish::Send(To::Committer(asker.committer), Message::Coordinated { asker, told })
}

fn command(group: usize, question: Question) -> Command {
    let (group, topic, id) = (GroupId::from(format!("g{group}")), "t".into(), Some(TopicId::nil()));
    match question {
        Question::Commit(number) => {
            let commit = CommitPartition {
                partition: 0,
                offset: offset_of(number),
                leader_epoch: LeaderEpoch::NONE,
                metadata: None,
            };
            Command::CommitOffsets(CommitOffsets {
                group,
                member_id: "".into(),
                generation: -1,
                instance_id: None,
                retention_ms: None,
                transaction: None,
                knows_group_id_not_found: true,
                topics: vec![CommitTopic { topic, id, partitions: vec![commit] }],
            })
        }
        Question::Fetch => {
            let topics = Some(vec![FetchTopic { topic, id, partitions: vec![0] }]);
            Command::FetchOffsets(FetchOffsets { group, topics, require_stable: false })
        }
    }
}

fn told(reply: &Reply) -> Told {
    match reply {
        Reply::OffsetsCommitted(committed) => {
            let codes = committed.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, code)| *code);
            match codes.into_iter().find(|code| *code != ErrorCode::None) {
                None => Ok(None),
                Some(code) => Err(code),
            }
        }
        Reply::OffsetsFetched(fetched) if fetched.error != ErrorCode::None => Err(fetched.error),
        Reply::OffsetsFetched(fetched) => {
            let found = fetched.topics.iter().flat_map(|topic| &topic.partitions).next();
            Ok(found.and_then(|found| number_of(found.offset)))
        }
        other => unreachable!("nobody asks for {other:?}"),
    }
}

// The value of a commit's record begins with its version, in two bytes, and the offset: so that the number is where an invariant
// looks for it (`invariants::copy`).
fn offset_of(number: u32) -> Offset {
    Offset::from(number) << 16
}

fn number_of(offset: Offset) -> Option<u32> {
    u32::try_from(offset >> 16).ok()
}

/// `offsets.commit.timeout.ms`
const WRITE_MS: i64 = 1_000;

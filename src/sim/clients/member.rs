//! A member of a consumer group, as Kafka's clients behave: it joins, takes its partitions, commits offsets, is silent for too
//! long now and then, leaves, and comes back. It must never act on an answer to a question that it has given up on.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_core::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Heartbeat, Join, Joined,
    JoinedMember, Leave, Leaver, OffsetsCommitted, Protocol, Reply, Sync, Synced,
};
use ottla_model::group::{GroupId, InstanceId, MemberId};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::around::{Around, Request, client_topics};
use crate::dice::Dice;
use crate::invariants::owners::{read_assignment, write_assignment};
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::node::Key;
use crate::plan::TOPIC_NAMES;
use crate::verdict::{Verdict, Violation};

/// One member.
pub(crate) struct GroupMember {
    group: GroupId,
    /// `None`: a dynamic member.
    instance: Option<InstanceId>,
    session_ms: i32,
    rebalance_ms: i32,
    /// Of the process that it is connected to.
    life: u64,
    /// Empty: the coordinator has given it none yet.
    id: MemberId,
    generation: i32,
    phase: Phase,
    asked: BTreeMap<u64, Asked>,
    partitions: Vec<Key>,
    /// It assigned the partitions, which were these.
    assigned: Option<Vec<Key>>,
    /// It knows where to begin in its partitions.
    fetched: bool,
    commits: i64,
    heartbeat_due_ms: i64,
    not_before_ms: i64,
    served: Served,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Syncing,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Join,
    Sync,
    Heartbeat,
    Commit,
    Fetch,
    Leave,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    what: What,
    at_ms: i64,
}

/// What it was granted since nothing goes wrong any more.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    committed: bool,
    all: bool,
}

impl GroupMember {
    pub fn new(index: usize, groups: u64, dice: &mut Dice) -> GroupMember {
        let instance = dice.percent(30).then(|| Arc::from(format!("static{index}")));
        GroupMember {
            group: Arc::from(format!("g{}", dice.below(groups))),
            instance,
            session_ms: *dice.pick(&[300, 1_500]),
            rebalance_ms: *dice.pick(&[400, 2_000]),
            life: 0,
            id: Arc::from(""),
            generation: -1,
            phase: Phase::Out,
            asked: BTreeMap::new(),
            partitions: Vec::new(),
            assigned: None,
            fetched: false,
            commits: 0,
            heartbeat_due_ms: 0,
            not_before_ms: 0,
            served: Served::default(),
        }
    }

    /// Once nothing goes wrong any more, a member is let in, and its commits are taken.
    pub fn is_done(&self) -> bool {
        self.served.all
    }

    pub fn wake(&mut self, around: &mut Around<'_>) -> i64 {
        self.give_up(around);
        let pause = around.dice.between(5, 100);
        if around.node.is_none() || around.now_ms < self.not_before_ms {
            return pause;
        }
        match self.phase {
            Phase::Out if !self.awaits(What::Leave) => self.join(around),
            Phase::In => self.work(around),
            Phase::Out | Phase::Joining | Phase::Syncing => {}
        }
        pause
    }

    // Answers that do not come any more: the connection is gone, or it took too long.
    fn give_up(&mut self, around: &Around<'_>) {
        let broken = std::mem::replace(&mut self.life, around.life) != around.life;
        let patience_ms = |what| match what {
            What::Join | What::Sync => i64::from(self.rebalance_ms) + PATIENCE_MS,
            What::Heartbeat | What::Commit | What::Fetch | What::Leave => PATIENCE_MS,
        };
        let is_lost = |asked: &Asked| broken || asked.at_ms + patience_ms(asked.what) < around.now_ms;
        let lost: Vec<(u64, What)> = self
            .asked
            .iter()
            .filter(|(_, asked)| is_lost(asked))
            .map(|(n, asked)| (*n, asked.what))
            .collect();
        for (request, what) in lost {
            self.asked.remove(&request);
            if matches!(what, What::Join | What::Sync) {
                self.phase = Phase::Out;
            }
        }
    }

    fn awaits(&self, what: What) -> bool {
        self.asked.values().any(|asked| asked.what == what)
    }

    fn ask(&mut self, what: What, command: Command, around: &mut Around<'_>) {
        let request = around.send(Request::Group(command));
        self.asked.insert(request, Asked { what, at_ms: around.now_ms });
    }
}

/// What it asks.
impl GroupMember {
    fn join(&mut self, around: &mut Around<'_>) {
        self.phase = Phase::Joining;
        let protocol = Protocol { name: ASSIGNOR.into(), metadata: subscription() };
        let join = Join {
            group: self.group.clone(),
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            client_id: format!("client{}", around.client).into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: self.rebalance_ms,
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![protocol],
            member_id_required: true,
            can_skip_assignment: true,
            reason: None,
        };
        self.ask(What::Join, Command::Join(join), around);
    }

    fn sync(&mut self, joined: &Joined, around: &mut Around<'_>) {
        self.phase = Phase::Syncing;
        let assigns = !joined.members.is_empty() && !joined.skip_assignment;
        let assignments = if assigns { self.assign(&joined.members, around) } else { Vec::new() };
        let sync = Sync {
            group: self.group.clone(),
            generation: self.generation,
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol: Some(ASSIGNOR.into()),
            assignments,
        };
        self.ask(What::Sync, Command::Sync(sync), around);
    }

    // Each partition to one of the members, in turn.
    fn assign(&mut self, members: &[JoinedMember], around: &Around<'_>) -> Vec<(MemberId, Bytes)> {
        let all = all_partitions(around);
        let twice = around.mutation == Some(Mutation::AssignTwice);
        let share = |member: usize| {
            let own = all.iter().enumerate().filter(|(n, _)| twice || n % members.len() == member);
            own.map(|(_, key)| *key).collect::<Vec<Key>>()
        };
        let shares = members.iter().enumerate();
        let shares =
            shares.map(|(n, member)| (member.member_id.clone(), write_assignment(&share(n)))).collect();
        self.assigned = Some(all);
        shares
    }

    // What comes to its mind, and what has to be.
    fn work(&mut self, around: &mut Around<'_>) {
        if !around.finishing && self.asked.is_empty() && self.digress(around) {
            return;
        }
        if around.now_ms >= self.heartbeat_due_ms && !self.awaits(What::Heartbeat) {
            self.heartbeat_due_ms = around.now_ms + i64::from(self.session_ms / 3);
            let heartbeat = Heartbeat {
                group: self.group.clone(),
                generation: self.generation,
                member_id: self.id.clone(),
                instance_id: self.instance.clone(),
            };
            self.ask(What::Heartbeat, Command::Heartbeat(heartbeat), around);
        }
        if self.partitions.is_empty() {
            return;
        }
        if (!self.fetched || around.dice.percent(5)) && !self.awaits(What::Fetch) {
            self.fetch(around);
        }
        if (around.finishing || around.dice.percent(40)) && !self.awaits(What::Commit) {
            self.commit(around);
        }
    }

    // Whether it does something else than what a member should do.
    fn digress(&mut self, around: &mut Around<'_>) -> bool {
        let session_ms = i64::from(self.session_ms);
        match around.dice.below(150) {
            // It stops for a while, and goes on as if it had not.
            0 => self.not_before_ms = around.now_ms + around.dice.between(session_ms / 2, session_ms * 3),
            1 => self.leave(around),
            // A process that starts anew knows its instance id and nothing else.
            2 if self.instance.is_some() => {
                mark("a static member came back without its id");
                self.id = Arc::from("");
                self.phase = Phase::Out;
            }
            // Its leader assigns anew what has changed.
            3..10 if self.assigned.as_ref().is_some_and(|assigned| *assigned != all_partitions(around)) => {
                self.phase = Phase::Out;
            }
            _ => return false,
        }
        true
    }

    fn leave(&mut self, around: &mut Around<'_>) {
        let leaver = Leaver {
            member_id: std::mem::replace(&mut self.id, Arc::from("")),
            instance_id: self.instance.clone(),
            reason: None,
        };
        self.phase = Phase::Out;
        let leave = Leave { group: self.group.clone(), members: vec![leaver] };
        self.ask(What::Leave, Command::Leave(leave), around);
    }

    fn fetch(&mut self, around: &mut Around<'_>) {
        let Some(node) = around.node else { return };
        let topics = self.partitions.iter().filter_map(|(id, partition)| {
            let topic = node.image.topic_by_id(*id)?.name.clone();
            Some(FetchTopic { topic, id: Some(*id), partitions: vec![*partition] })
        });
        let topics = Some(topics.collect());
        let fetch = FetchOffsets { group: self.group.clone(), topics, require_stable: false };
        self.ask(What::Fetch, Command::FetchOffsets(fetch), around);
    }

    // Of one partition, or of all.
    fn commit(&mut self, around: &mut Around<'_>) {
        let Some(node) = around.node else { return };
        let one = *around.dice.pick(&self.partitions);
        let all = around.dice.percent(50);
        let chosen = self.partitions.iter().filter(|key| all || **key == one);
        let offset = self.next_offset(around.client);
        let topics = chosen.filter_map(|(id, partition)| {
            let topic = node.image.topic_by_id(*id)?.name.clone();
            let partition = CommitPartition {
                partition: *partition,
                offset,
                leader_epoch: LeaderEpoch::NONE,
                metadata: None,
            };
            Some(CommitTopic { topic, id: Some(*id), partitions: vec![partition] })
        });
        let commit = CommitOffsets {
            group: self.group.clone(),
            member_id: self.id.clone(),
            generation: self.generation,
            instance_id: self.instance.clone(),
            retention_ms: None,
            transaction: None,
            knows_group_id_not_found: true,
            topics: topics.collect(),
        };
        self.commits += 1;
        self.ask(What::Commit, Command::CommitOffsets(commit), around);
    }

    // No two commits of a run are of the same offset, so each tells which one it is.
    fn next_offset(&self, client: usize) -> Offset {
        self.commits * 100 + client as i64
    }
}

/// What it hears.
impl GroupMember {
    pub fn hear(&mut self, request: u64, reply: &Reply, around: &mut Around<'_>) -> Verdict {
        let Some(Asked { what, .. }) = self.asked.remove(&request) else { return Ok(()) };
        match (what, reply) {
            (What::Join, Reply::Joined(joined)) => self.joined(joined, around)?,
            (What::Sync, Reply::Synced(synced)) => self.synced(synced, around)?,
            (What::Heartbeat, Reply::Heartbeat(error)) => self.react(*error, around)?,
            (What::Commit, Reply::OffsetsCommitted(committed)) => self.committed(committed, around)?,
            (What::Fetch, Reply::OffsetsFetched(fetched)) => {
                self.fetched |= fetched.error == ErrorCode::None;
                self.react(fetched.error, around)?;
            }
            (What::Leave, Reply::Left(_)) => {}
            (what, reply) => {
                return Err(Violation::new(NAME, format!("a member asked for {what:?} and heard {reply:?}")));
            }
        }
        let is_in = around.finishing && self.phase == Phase::In;
        self.served.all |= is_in && (self.partitions.is_empty() || self.fetched && self.served.committed);
        Ok(())
    }

    fn joined(&mut self, joined: &Joined, around: &mut Around<'_>) -> Verdict {
        match joined.error {
            ErrorCode::None => {
                self.id = joined.member_id.clone();
                self.generation = joined.generation;
                self.assigned = None;
                self.sync(joined, around);
                Ok(())
            }
            ErrorCode::MemberIdRequired => {
                self.id = joined.member_id.clone();
                self.phase = Phase::Out;
                Ok(())
            }
            error => {
                self.phase = Phase::Out;
                self.react(error, around)
            }
        }
    }

    fn synced(&mut self, synced: &Synced, around: &mut Around<'_>) -> Verdict {
        if synced.error != ErrorCode::None {
            self.phase = Phase::Out;
            return self.react(synced.error, around);
        }
        self.phase = Phase::In;
        self.partitions = read_assignment(&synced.assignment);
        self.fetched = false;
        self.heartbeat_due_ms = around.now_ms + i64::from(self.session_ms / 3);
        Ok(())
    }

    fn committed(&mut self, committed: &OffsetsCommitted, around: &mut Around<'_>) -> Verdict {
        let errors = committed.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, error)| *error);
        let error = errors.into_iter().find(|error| *error != ErrorCode::None).unwrap_or(ErrorCode::None);
        self.served.committed |= around.finishing && error == ErrorCode::None;
        self.react(error, around)
    }

    // As Java's AbstractCoordinator and ConsumerCoordinator do.
    fn react(&mut self, error: ErrorCode, around: &mut Around<'_>) -> Verdict {
        mark_refusal(error);
        match error {
            ErrorCode::None => {}
            ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable => {
                self.not_before_ms = around.now_ms + around.dice.between(10, 100);
            }
            _ if matches!(self.phase, Phase::Joining | Phase::Syncing) => {}
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.phase = Phase::Out,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupIdNotFound => {
                self.id = Arc::from("");
                self.phase = Phase::Out;
            }
            error => {
                let what =
                    format!("client {} in group {} was told {}", around.client, self.group, error.name());
                return Err(Violation::new(NAME, what));
            }
        }
        Ok(())
    }
}

fn mark_refusal(error: ErrorCode) {
    mark_if(error == ErrorCode::CoordinatorLoadInProgress, "a shard was asked while it was loaded");
    mark_if(error == ErrorCode::IllegalGeneration, "a member spoke of an old generation");
    mark_if(error == ErrorCode::UnknownMemberId, "a group had done without a member");
    mark_if(error == ErrorCode::FencedInstanceId, "a static member was fenced");
    mark_if(error == ErrorCode::NotCoordinator, "a shard was not served any more");
}

fn all_partitions(around: &Around<'_>) -> Vec<Key> {
    let Some(node) = around.node else { return Vec::new() };
    client_topics(node).flat_map(|topic| topic.partitions.keys().map(|index| (topic.id, *index))).collect()
}

/// A `ConsumerProtocolSubscription` of version 0: every topic there may be.
fn subscription() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(TOPIC_NAMES as i32);
    for n in 0..TOPIC_NAMES {
        let name = format!("t{n}");
        bytes.put_i16(name.len() as i16);
        bytes.put_slice(name.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
/// How long an answer may take that waits for nobody else.
const PATIENCE_MS: i64 = 2_000;
const NAME: &str = "a member can act on what it is told";

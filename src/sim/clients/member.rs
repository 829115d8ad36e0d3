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
use ottla_model::{TopicId, TopicName};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::around::{Around, Request, client_topics};
use crate::dice::Dice;
use crate::invariants::committed::offset_of;
use crate::invariants::owners::{read_assignment, write_assignment};
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::node::Key;
use crate::plan::TOPIC_NAMES;
use crate::verdict::{Verdict, Violation};

/// A member's surroundings while it acts.
pub(crate) struct MemberAround<'a> {
    pub now_ms: i64,
    pub client: usize,
    /// Whether anybody can be asked.
    pub is_up: bool,
    /// Counts what a connection breaks with.
    pub life: u64,
    pub topics: Vec<Subscribed>,
    pub dice: &'a mut Dice,
    pub finishing: bool,
    pub mutation: Option<Mutation>,
    pub next_request: &'a mut u64,
    pub sends: Vec<(u64, Command)>,
}

/// A topic that members read.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub id: TopicId,
    pub name: TopicName,
    pub partitions: Vec<i32>,
}

impl MemberAround<'_> {
    /// A member of a world with one node.
    pub fn within<T>(around: &mut Around<'_>, acts: impl FnOnce(&mut MemberAround<'_>) -> T) -> T {
        let topics = around.node.into_iter().flat_map(client_topics);
        let topics = topics.map(|topic| Subscribed {
            id: topic.id,
            name: topic.name.clone(),
            partitions: topic.partitions.keys().copied().collect(),
        });
        let mut own = MemberAround {
            now_ms: around.now_ms,
            client: around.client,
            is_up: around.node.is_some(),
            life: around.life,
            topics: topics.collect(),
            dice: around.dice,
            finishing: around.finishing,
            mutation: around.mutation,
            next_request: around.next_request,
            sends: Vec::new(),
        };
        let acted = acts(&mut own);
        let sends = own.sends;
        around.sends.extend(sends.into_iter().map(|(number, command)| (number, Request::Group(command))));
        acted
    }

    pub fn send(&mut self, command: Command) -> u64 {
        *self.next_request += 1;
        self.sends.push((*self.next_request, command));
        *self.next_request
    }

    fn name_of(&self, id: TopicId) -> Option<TopicName> {
        self.topics.iter().find(|topic| topic.id == id).map(|topic| topic.name.clone())
    }
}

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

    /// The same where messages are late by seconds.
    pub fn far_away(self) -> GroupMember {
        GroupMember { session_ms: 6_000, rebalance_ms: 4_000, ..self }
    }

    /// Once nothing goes wrong any more, a member is let in, and its commits are taken.
    pub fn is_done(&self) -> bool {
        self.served.all
    }

    pub fn wake(&mut self, around: &mut MemberAround<'_>) -> i64 {
        self.give_up(around);
        let pause = around.dice.between(5, 100);
        if !around.is_up || around.now_ms < self.not_before_ms {
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
    fn give_up(&mut self, around: &MemberAround<'_>) {
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

    fn ask(&mut self, what: What, command: Command, around: &mut MemberAround<'_>) {
        let request = around.send(command);
        self.asked.insert(request, Asked { what, at_ms: around.now_ms });
    }
}

/// What it asks.
impl GroupMember {
    fn join(&mut self, around: &mut MemberAround<'_>) {
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

    fn sync(&mut self, joined: &Joined, around: &mut MemberAround<'_>) {
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
    fn assign(&mut self, members: &[JoinedMember], around: &MemberAround<'_>) -> Vec<(MemberId, Bytes)> {
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
    fn work(&mut self, around: &mut MemberAround<'_>) {
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
    fn digress(&mut self, around: &mut MemberAround<'_>) -> bool {
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

    fn leave(&mut self, around: &mut MemberAround<'_>) {
        let leaver = Leaver {
            member_id: std::mem::replace(&mut self.id, Arc::from("")),
            instance_id: self.instance.clone(),
            reason: None,
        };
        self.phase = Phase::Out;
        let leave = Leave { group: self.group.clone(), members: vec![leaver] };
        self.ask(What::Leave, Command::Leave(leave), around);
    }

    fn fetch(&mut self, around: &mut MemberAround<'_>) {
        let topics = self.partitions.iter().filter_map(|(id, partition)| {
            let topic = around.name_of(*id)?;
            Some(FetchTopic { topic, id: Some(*id), partitions: vec![*partition] })
        });
        let topics = Some(topics.collect());
        let fetch = FetchOffsets { group: self.group.clone(), topics, require_stable: false };
        self.ask(What::Fetch, Command::FetchOffsets(fetch), around);
    }

    // Of one partition, or of all.
    fn commit(&mut self, around: &mut MemberAround<'_>) {
        let one = *around.dice.pick(&self.partitions);
        let all = around.dice.percent(50);
        let chosen = self.partitions.iter().filter(|key| all || **key == one);
        let offset = self.next_offset(around.client);
        let topics = chosen.filter_map(|(id, partition)| {
            let topic = around.name_of(*id)?;
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
        offset_of(self.commits as u32 * 100 + client as u32)
    }
}

/// What it hears.
impl GroupMember {
    pub fn hear(&mut self, request: u64, reply: &Reply, around: &mut MemberAround<'_>) -> Verdict {
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

    fn joined(&mut self, joined: &Joined, around: &mut MemberAround<'_>) -> Verdict {
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

    fn synced(&mut self, synced: &Synced, around: &mut MemberAround<'_>) -> Verdict {
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

    fn committed(&mut self, committed: &OffsetsCommitted, around: &mut MemberAround<'_>) -> Verdict {
        let errors = committed.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, error)| *error);
        let error = errors.into_iter().find(|error| *error != ErrorCode::None).unwrap_or(ErrorCode::None);
        self.served.committed |= around.finishing && error == ErrorCode::None;
        self.react(error, around)
    }

    // As Java's AbstractCoordinator and ConsumerCoordinator do.
    fn react(&mut self, error: ErrorCode, around: &mut MemberAround<'_>) -> Verdict {
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

fn all_partitions(around: &MemberAround<'_>) -> Vec<Key> {
    let topics = around.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.id, *index))).collect()
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

//! One shard of the group coordinator, which is one partition of `__consumer_offsets`: all groups whose names map to the
//! partition, and all offsets committed in them. A command goes in; records to write and replies come out. It must never
//! know how records are written or when they are replicated, and it sees no API version.

mod admin;
mod classic;
mod command;
mod commit;
mod kind;
mod offsets;
mod questions;
mod reply;
mod settings;
#[cfg(test)]
mod stories;
mod sweep;
mod timers;
mod withdraw;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::group::{GroupId, GroupRecord, Unreadable};
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::{ErrorCode, Offset, ProducerId};

use crate::coordinator::{self, Machine, Record};

pub use crate::coordinator::{Chance, InTransaction, Note, Producer, Ticket};
pub use command::*;
pub use questions::{DeleteGroup, DescribeGroup, OfGroup};
pub use reply::*;
pub use settings::Settings;

use kind::Group;
use offsets::Offsets;
use sweep::Sweep;
use timers::{Alarm, Timers};
use write::Writing;

/// An input of a shard.
pub type Input<T> = coordinator::Input<T, Command>;

/// An effect of a shard's step. A step has at most one [`Effect::Write`].
pub type Effect<T> = coordinator::Effect<T, Reply, GroupRecord>;

/// The state of a shard. `T` identifies the caller of a command; each `T` that comes in goes out in exactly one reply.
///
/// Offsets, and the removal of a group, change only by applying records. A classic group has more state than its records:
/// which requests are parked, and the phase of a rebalance, are only in memory, and `write::Then` says what a refused
/// write undoes there.
pub struct Groups<T> {
    settings: Arc<Settings>,
    chance: Chance,
    groups: BTreeMap<GroupId, Group<T>>,
    offsets: Offsets,
    timers: Timers,
    sweeps: VecDeque<Sweep<T>>,
    /// Writes in progress, in their order.
    writes: VecDeque<Writing<T>>,
    tickets: u64,
    /// The time of the last step.
    last_ms: i64,
}

/// What a step works with.
struct Step<'a, T> {
    now_ms: i64,
    out: &'a mut Vec<Effect<T>>,
}

impl<T> Groups<T> {
    pub fn new(settings: Arc<Settings>, chance: Chance) -> Groups<T> {
        Groups {
            settings,
            chance,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            sweeps: VecDeque::new(),
            writes: VecDeque::new(),
            tickets: 0,
            last_ms: 0,
        }
    }

    /// Applies a record of the log. `producer` is that of the record's batch, if the batch is transactional.
    fn apply(&mut self, offset: Offset, producer: Option<ProducerId>, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { key, value } => {
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    // Offsets without members: a simple group.
                    self.groups.insert(key.group.clone(), Group::of_offsets());
                }
                self.offsets.apply(offset, producer, key, value.as_ref());
            }
            GroupRecord::GroupMetadata { group, value: Some(metadata) } => {
                self.groups.insert(group.clone(), Group::Classic(classic::Group::loaded(metadata)));
            }
            GroupRecord::GroupMetadata { group, value: None } => {
                let Some(Group::Classic(gone)) = self.groups.remove(group) else { return };
                for member in gone.pending {
                    self.timers.cancel(Alarm::Session { group: group.clone(), member });
                }
            }
        }
    }

    fn ask(&mut self, step: &mut Step<'_, T>, token: T, command: Command) {
        match command {
            Command::Join(join) => self.join(step, token, join),
            Command::Sync(sync) => self.sync(step, token, sync),
            Command::Heartbeat(heartbeat) => self.heartbeat(step, token, heartbeat),
            Command::Leave(leave) => self.leave(step, token, leave),
            Command::CommitOffsets(commit) => self.commit_offsets(step, token, commit),
            Command::FetchOffsets(fetch) => self.fetch_offsets(step, token, fetch),
            Command::DeleteOffsets(delete) => self.delete_offsets(step, token, delete),
            Command::ListGroups(list) => self.list(step, token, &list),
            Command::DescribeGroups { groups } => self.describe(step, token, &groups),
            Command::DeleteGroups { groups } => self.delete_groups(step, token, groups),
            Command::TopicsDeleted { topics } => {
                self.sweeps.push_back(Sweep::of_topics(topics, token));
                self.sweep(step);
            }
        }
    }

    fn tick(&mut self, step: &mut Step<'_, T>) {
        while self.writes.is_empty() {
            match self.timers.pop(step.now_ms) {
                Some(alarm) => self.is_due(step, alarm),
                None => return self.sweep(step),
            }
        }
    }

    fn is_due(&mut self, step: &mut Step<'_, T>, alarm: Alarm) {
        match alarm {
            Alarm::Session { group, member } => {
                self.turn(step, &group, |turn| turn.session_is_due(&member));
            }
            Alarm::Join { group } => {
                self.turn(step, &group, |turn| turn.join_is_due());
            }
            Alarm::Sync { group } => {
                self.turn(step, &group, |turn| turn.sync_is_due());
            }
            Alarm::Expiry => {
                let interval_ms = self.settings.offsets_retention_check_interval_ms;
                self.timers.set(Alarm::Expiry, step.now_ms + interval_ms);
                if !self.sweeps.iter().any(Sweep::is_of_expired) {
                    self.sweeps.push_back(Sweep::expired());
                }
            }
        }
    }

    fn resign(&mut self, step: &mut Step<'_, T>, error: ErrorCode) {
        for answer in self.writes.drain(..).filter_map(|writing| writing.answer) {
            step.refuse(answer.token, &answer.command, error);
        }
        for sweep in self.sweeps.drain(..) {
            if let Some(token) = sweep.token {
                step.reply(token, Reply::TopicsDeleted(error));
            }
        }
        for (_, group) in std::mem::take(&mut self.groups) {
            group.resign(step, error);
        }
        self.timers = Timers::default();
    }
}

impl<T> Machine for Groups<T> {
    type Token = T;
    type Command = Command;
    type Reply = Reply;
    type Record = GroupRecord;
    type Errand = Infallible;

    fn replay(&mut self, offset: Offset, producer: Option<ProducerId>, record: &GroupRecord) {
        self.apply(offset, producer, record);
    }

    fn end_transaction(&mut self, producer: ProducerId, result: TransactionResult) {
        self.offsets.end_transaction(producer, result == TransactionResult::Commit);
    }

    /// From now on each member has its session timeout to send a heartbeat.
    fn loaded(&mut self, now_ms: i64) {
        self.last_ms = now_ms;
        let mut notes = Vec::new();
        let mut step = Step { now_ms, out: &mut notes };
        let groups: Vec<GroupId> = self.groups.keys().cloned().collect();
        for group in groups {
            self.turn(&mut step, &group, |turn| turn.loaded());
        }
        self.timers.set(Alarm::Expiry, now_ms + self.settings.offsets_retention_check_interval_ms);
    }

    fn step(&mut self, now_ms: i64, input: Input<T>, out: &mut Vec<Effect<T>>) {
        self.last_ms = now_ms;
        let step = &mut Step { now_ms, out };
        match input {
            Input::Written { ticket, result } => self.written(step, ticket, result),
            Input::Resign(error) => self.resign(step, error),
            Input::Ask { token, command } => {
                assert!(self.can_take(&command), "a write is under way that the command has to wait for");
                self.ask(step, token, command);
            }
            // Classic groups do not use the metadata: their members assign the partitions.
            Input::Image(_) => {}
            Input::Tick => {
                assert!(self.writes.is_empty(), "a write is under way");
                self.tick(step);
            }
        }
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        match self.sweeps.is_empty() {
            true => self.timers.next(),
            false => Some(self.last_ms),
        }
    }

    fn can_take(&self, command: &Command) -> bool {
        self.writes.iter().all(|writing| writing.allows(command))
    }

    /// The deletion of a topic is reported only once, so it must not be lost during loading.
    fn outlasts_loading(command: &Command) -> bool {
        matches!(command, Command::TopicsDeleted { .. })
    }

    fn refused(command: &Command, error: ErrorCode) -> Reply {
        command.refused(error)
    }

    fn withdrawn(reply: Reply, error: ErrorCode) -> Reply {
        withdraw::withdrawn(reply, error)
    }

    fn transaction_ended(outcome: ErrorCode) -> Reply {
        Reply::TransactionEnded(outcome)
    }
}

impl Record for GroupRecord {
    type Unreadable = Unreadable;

    fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        GroupRecord::to_key_value(self)
    }

    fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, Unreadable> {
        GroupRecord::from_key_value(key, value)
    }
}

impl<T> Step<'_, T> {
    fn reply(&mut self, token: T, reply: Reply) {
        self.out.push(Effect::Reply { token, reply });
    }

    fn refuse(&mut self, token: T, command: &Command, error: ErrorCode) {
        self.reply(token, command.refused(error));
    }
}

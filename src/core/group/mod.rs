//! One shard of the group coordinator, which is one partition of `__consumer_offsets`: every group whose name falls
//! to it, and every offset that was committed there. A command goes in; records to write and replies come out.
//! It must never know how records are written or when they are replicated, and it sees no API version.

mod admin;
mod classic;
mod command;
mod commit;
mod join;
mod member;
mod membership;
mod offsets;
mod rebalance;
mod reply;
mod settings;
#[cfg(test)]
mod stories;
mod subscription;
mod sweep;
mod sync;
mod timers;
mod turn;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use ottla_model::group::{GroupId, GroupRecord, MemberId};
use ottla_protocol::{ErrorCode, Offset, ProducerId};

pub use command::*;
pub use reply::*;
pub use settings::Settings;
pub use write::told;

use classic::Group;
use offsets::Offsets;
use sweep::Sweep;
use timers::{Alarm, Timers};
use turn::Turn;
use write::Writing;

/// What happens to a shard.
#[derive(Debug)]
pub enum Input<T> {
    Ask {
        token: T,
        command: Command,
    },
    /// The outcome of a [`Effect::Write`]: the offset of its first record. An error says that nothing was appended.
    Written {
        ticket: Ticket,
        result: Result<Offset, ErrorCode>,
    },
    /// Time has passed, at least to [`Groups::next_deadline_ms`].
    Tick,
    /// The shard is somebody else's from now on: whoever waits is told this error. The state is of no use afterwards.
    Resign(ErrorCode),
}

/// What a shard wants done. At most one of a step's effects is a [`Effect::Write`], and the next input is its
/// [`Input::Written`].
#[derive(Debug)]
pub enum Effect<T> {
    Reply {
        token: T,
        reply: Reply,
    },
    /// Append all of these records in one batch, or none. `transaction` makes it a transactional batch.
    Write {
        ticket: Ticket,
        records: Vec<GroupRecord>,
        transaction: Option<Producer>,
    },
    /// A line for the broker's log.
    Note(Note),
}

/// Tells a write from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(String);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Random numbers, for member ids.
pub type Chance = Box<dyn FnMut() -> u64 + Send>;

/// The state of a shard. `T` is what a caller finds its client by; each one that comes in goes out in one reply.
///
/// Offsets, and that a group is gone, change by applying records alone. A classic group is more than its records:
/// who waits, and how far a rebalance has come, is known here only, and `write::Then` says what a refused write
/// undoes.
pub struct Groups<T> {
    settings: Arc<Settings>,
    chance: Chance,
    groups: BTreeMap<GroupId, Group<T>>,
    offsets: Offsets,
    timers: Timers,
    sweeps: VecDeque<Sweep<T>>,
    writing: Option<Writing<T>>,
    tickets: u64,
    /// When the last step was taken.
    last_ms: i64,
}

/// What a step is taken with.
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
            writing: None,
            tickets: 0,
            last_ms: 0,
        }
    }

    /// While loading: applies a record that the log has. `producer` is the batch's, if it is transactional.
    pub fn replay(&mut self, offset: Offset, producer: Option<ProducerId>, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { key, value } => {
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    // Offsets without members: a simple group.
                    self.groups.insert(key.group.clone(), Group::new(None));
                }
                self.offsets.apply(offset, producer, key, value.as_ref());
            }
            GroupRecord::GroupMetadata { group, value: Some(metadata) } => {
                self.groups.insert(group.clone(), Group::loaded(metadata));
            }
            GroupRecord::GroupMetadata { group, value: None } => {
                let Some(gone) = self.groups.remove(group) else { return };
                for member in gone.pending {
                    self.timers.cancel(Alarm::Session { group: group.clone(), member });
                }
            }
        }
    }

    /// While loading, and whenever a marker is appended: ends the transaction that the producer has open.
    pub fn end_transaction(&mut self, producer: ProducerId, committed: bool) {
        self.offsets.end_transaction(producer, committed);
    }

    /// After the last record: members have their session timeout from now on to be heard of.
    pub fn loaded(&mut self, now_ms: i64) {
        self.last_ms = now_ms;
        let mut notes = Vec::new();
        let mut step = Step { now_ms, out: &mut notes };
        let joined: Vec<GroupId> =
            self.groups.iter().filter(|(_, g)| !g.members().is_empty()).map(|(id, _)| id.clone()).collect();
        for group in joined {
            self.turn(&mut step, &group, |turn| {
                let members: Vec<MemberId> = turn.group.members().keys().cloned().collect();
                for member_id in &members {
                    turn.arm_session(member_id);
                }
                if members.len() > turn.settings.max_size {
                    turn.prepare("it has more members than group.max.size");
                }
            });
        }
        self.timers.set(Alarm::Expiry, now_ms + self.settings.offsets_retention_check_interval_ms);
    }

    /// Takes one input. Panics if a write is under way and this is not its outcome.
    pub fn step(&mut self, now_ms: i64, input: Input<T>, out: &mut Vec<Effect<T>>) {
        self.last_ms = now_ms;
        let step = &mut Step { now_ms, out };
        match input {
            Input::Written { ticket, result } => self.written(step, ticket, result),
            Input::Resign(error) => self.resign(step, error),
            Input::Ask { token, command } => {
                assert!(self.writing.is_none(), "a write is under way");
                self.ask(step, token, command);
            }
            Input::Tick => {
                assert!(self.writing.is_none(), "a write is under way");
                self.tick(step);
            }
        }
    }

    /// When a [`Input::Tick`] is wanted. It may have passed already: one tick does not always do all.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        match self.sweeps.is_empty() {
            true => self.timers.next(),
            false => Some(self.last_ms),
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
        while self.writing.is_none() {
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
        if let Some(answer) = self.writing.take().and_then(|writing| writing.answer) {
            step.refuse(answer.token, &answer.command, error);
        }
        for sweep in self.sweeps.drain(..) {
            if let Some(token) = sweep.token {
                step.reply(token, Reply::TopicsDeleted(error));
            }
        }
        for (_, mut group) in std::mem::take(&mut self.groups) {
            for (id, member) in group.disperse() {
                if let Some(token) = member.awaiting_join {
                    step.reply(token, Reply::Joined(Joined::refused(id, error)));
                }
                if let Some(token) = member.awaiting_sync {
                    step.reply(token, Reply::Synced(Synced::refused(error)));
                }
            }
        }
        self.timers = Timers::default();
    }

    /// Works on one group, and writes what it wants written. `None` if there is no such group.
    fn turn<R>(
        &mut self,
        step: &mut Step<'_, T>,
        id: &GroupId,
        work: impl FnOnce(&mut Turn<'_, T>) -> R,
    ) -> Option<R> {
        let mut turn = Turn {
            id,
            group: self.groups.get_mut(id)?,
            timers: &mut self.timers,
            settings: &self.settings,
            now_ms: step.now_ms,
            out: step.out,
            wish: None,
        };
        let result = work(&mut turn);
        if let Some(wish) = turn.wish {
            self.write(step, Some(id.clone()), wish);
        }
        Some(result)
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

//! The stage on which stories are played: a shard, the log that it writes to, and actors with their member ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::dice::Dice;
use ottla_model::group::{GroupRecord, MemberId};

use super::super::*;
use super::{Deed, audit};

/// A request of an actor. Member ids are actors' names until the stage replaces them by the real ids.
pub struct Ask {
    pub who: &'static str,
    pub command: Command,
}

impl Ask {
    pub fn join(mut self, change: impl FnOnce(&mut Join)) -> Ask {
        if let Command::Join(join) = &mut self.command {
            change(join);
        }
        self
    }

    pub fn sync(mut self, change: impl FnOnce(&mut Sync)) -> Ask {
        if let Command::Sync(sync) = &mut self.command {
            change(sync);
        }
        self
    }

    pub fn commit(mut self, change: impl FnOnce(&mut CommitOffsets)) -> Ask {
        if let Command::CommitOffsets(commit) = &mut self.command {
            change(commit);
        }
        self
    }

    pub fn fetch(mut self, change: impl FnOnce(&mut FetchOffsets)) -> Ask {
        if let Command::FetchOffsets(fetch) = &mut self.command {
            change(fetch);
        }
        self
    }

    /// The same request from a static member.
    pub fn instance(mut self, name: &'static str) -> Ask {
        let name = Some(Arc::from(name));
        match &mut self.command {
            Command::Join(join) => join.instance_id = name,
            Command::Sync(sync) => sync.instance_id = name,
            Command::Heartbeat(heartbeat) => heartbeat.instance_id = name,
            Command::CommitOffsets(commit) => commit.instance_id = name,
            other => panic!("{other:?} has no instance"),
        }
        self
    }

    /// The same request with a member id that nobody was given.
    pub fn stranger(mut self) -> Ask {
        if let Command::Join(join) = &mut self.command {
            join.member_id = Arc::from("stranger");
        }
        self
    }

    pub fn of(mut self, group: &str) -> Ask {
        let group = Arc::from(group);
        match &mut self.command {
            Command::Join(join) => join.group = group,
            Command::Sync(sync) => sync.group = group,
            Command::Heartbeat(heartbeat) => heartbeat.group = group,
            Command::Leave(leave) => leave.group = group,
            Command::CommitOffsets(commit) => commit.group = group,
            Command::FetchOffsets(fetch) => fetch.group = group,
            Command::DeleteOffsets(delete) => delete.group = group,
            other => panic!("{other:?} is not about one group"),
        }
        self
    }
}

pub struct Stage {
    pub groups: Groups<usize>,
    settings: Arc<Settings>,
    /// The actor of each request that has no answer yet, by token.
    waiting: BTreeMap<usize, &'static str>,
    asked: usize,
    ids: BTreeMap<&'static str, MemberId>,
    pub log: Vec<(Option<Producer>, GroupRecord)>,
    /// Ended transactions: before which record the marker is, the producer, and the result.
    markers: Vec<(usize, ProducerId, TransactionResult)>,
    fail_next: Option<ErrorCode>,
    /// Writes wait until a command depends on them, and are then written together.
    pub gathers: bool,
    gathered: Vec<(Ticket, Vec<GroupRecord>, Option<Producer>)>,
    /// Groups of which the log does not have the newest record, because a write was refused.
    pub unlogged: BTreeSet<GroupId>,
    seen: Vec<String>,
}

impl Stage {
    pub fn new(settings: Settings) -> Stage {
        let settings = Arc::new(settings);
        let mut groups = Groups::new(settings.clone(), chance(7));
        groups.loaded(0);
        Stage {
            groups,
            settings,
            waiting: BTreeMap::new(),
            asked: 0,
            ids: BTreeMap::new(),
            log: Vec::new(),
            markers: Vec::new(),
            fail_next: None,
            gathers: false,
            gathered: Vec::new(),
            unlogged: BTreeSet::new(),
            seen: Vec::new(),
        }
    }

    pub fn perform(&mut self, at_ms: i64, deed: Deed) -> Vec<String> {
        while let Some(due_ms) = self.groups.next_deadline_ms().filter(|due_ms| *due_ms <= at_ms) {
            self.step(due_ms, Input::Tick);
        }
        match deed {
            Deed::Ask(ask) => {
                self.asked += 1;
                self.waiting.insert(self.asked, ask.who);
                let command = self.resolve(ask.command);
                self.step(at_ms, Input::Ask { token: self.asked, command });
                // Alarms that are due at once, for example after a delay of zero.
                while self.groups.next_deadline_ms().is_some_and(|due_ms| due_ms <= at_ms) {
                    self.step(at_ms, Input::Tick);
                }
            }
            Deed::Wait => {}
            Deed::FailNext(error) => self.fail_next = Some(error),
            Deed::Reload => {
                self.step(at_ms, Input::Resign(ErrorCode::NotCoordinator));
                self.groups = self.replayed();
                self.groups.loaded(at_ms);
            }
            Deed::Resign(error) => self.step(at_ms, Input::Resign(error)),
        }
        std::mem::take(&mut self.seen)
    }

    /// A shard that has read everything in the log.
    pub fn replayed(&self) -> Groups<usize> {
        let mut groups = Groups::new(self.settings.clone(), chance(self.asked as u64 + 1_000));
        let mut markers = self.markers.iter().peekable();
        for (offset, (producer, record)) in self.log.iter().enumerate() {
            while let Some((_, producer, result)) = markers.next_if(|(before, ..)| *before <= offset) {
                groups.end_transaction(*producer, *result);
            }
            groups.replay(offset as i64, producer.map(|producer| producer.id), record);
        }
        for (_, producer, result) in markers {
            groups.end_transaction(*producer, *result);
        }
        groups
    }

    pub fn end_transaction(&mut self, producer: ProducerId, committed: bool) {
        self.settle(self.groups.last_ms);
        let result = if committed { TransactionResult::Commit } else { TransactionResult::Abort };
        self.markers.push((self.log.len(), producer, result));
        self.groups.end_transaction(producer, result);
    }

    /// Checks that every request has been answered.
    pub fn close(&mut self, story: &str) {
        self.step(self.groups.last_ms, Input::Resign(ErrorCode::NotCoordinator));
        assert!(self.waiting.is_empty(), "{story}: without an answer: {:?}", self.waiting);
    }

    fn step(&mut self, now_ms: i64, input: Input<usize>) {
        match &input {
            Input::Ask { command, .. } if self.groups.can_take(command) => {}
            Input::Resign(_) => self.gathered.clear(),
            _ => self.settle(now_ms),
        }
        self.feed(now_ms, input);
        if !self.gathers {
            self.settle(now_ms);
        }
        // What a write in progress will change is checked only after its outcome.
        if self.gathered.is_empty() {
            audit::check(&self.groups);
        }
    }

    fn feed(&mut self, now_ms: i64, input: Input<usize>) {
        let mut effects = Vec::new();
        self.groups.step(now_ms, input, &mut effects);
        self.learn_ids(&effects);
        let mut writes = 0;
        for effect in effects {
            match effect {
                Effect::Note(note) => assert!(!note.to_string().is_empty()),
                Effect::Reply { token, reply } => self.hear(token, reply),
                Effect::Write { ticket, records, transaction } => {
                    let producer = transaction.map(|transaction| transaction.producer);
                    self.gathered.push((ticket, records, producer));
                    writes += 1;
                }
            }
        }
        assert!(writes <= 1, "one write a step");
    }

    /// Writes what was gathered, all of it or nothing, and takes the resulting steps.
    pub fn settle(&mut self, now_ms: i64) {
        while !self.gathered.is_empty() {
            let batch = std::mem::take(&mut self.gathered);
            if batch.len() > 1 {
                self.seen.push(format!("{} writes at once", batch.len()));
            }
            let refused = self.fail_next.take();
            let mut outcomes = Vec::new();
            for (ticket, records, transaction) in batch {
                self.fail_next = refused;
                outcomes.push((ticket, self.write(records, transaction)));
            }
            for (ticket, result) in outcomes {
                self.feed(now_ms, Input::Written { ticket, result });
            }
        }
    }

    fn write(
        &mut self,
        records: Vec<GroupRecord>,
        transaction: Option<Producer>,
    ) -> Result<Offset, ErrorCode> {
        assert!(!records.is_empty());
        for record in &records {
            let (key, value) = record.to_key_value();
            assert_eq!(GroupRecord::from_key_value(&key, value.as_ref()).unwrap().as_ref(), Some(record));
        }
        let of_groups = records.iter().filter(|record| matches!(record, GroupRecord::GroupMetadata { .. }));
        let of_groups: BTreeSet<GroupId> = of_groups.map(|record| record.group().clone()).collect();
        if let Some(error) = self.fail_next.take() {
            self.unlogged.extend(of_groups);
            self.seen.push(format!("no log: {error}"));
            return Err(error);
        }
        self.unlogged.retain(|group| !of_groups.contains(group));
        let first = self.log.len() as i64;
        for record in records {
            self.seen.push(self.told_record(&record));
            self.log.push((transaction, record));
        }
        Ok(first)
    }

    fn learn_ids(&mut self, effects: &[Effect<usize>]) {
        for effect in effects {
            let Effect::Reply { token, reply: Reply::Joined(joined) } = effect else { continue };
            let Some(who) = self.waiting.get(token) else { continue };
            match joined.error {
                ErrorCode::None | ErrorCode::MemberIdRequired => {
                    self.ids.insert(who, joined.member_id.clone());
                }
                ErrorCode::UnknownMemberId => {
                    self.ids.remove(who);
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, token: usize, reply: Reply) {
        let who = self.waiting.remove(&token).expect("each is answered once, if it asked");
        let line = format!("{who}{}", self.told(&reply));
        self.seen.push(line);
    }

    /// Replaces actors' names by their real ids. A joining actor without an id has an empty one.
    fn resolve(&self, mut command: Command) -> Command {
        let known = |name: &MemberId| self.ids.get(&**name).cloned();
        let id = |name: &mut MemberId| *name = known(name).unwrap_or_else(|| name.clone());
        match &mut command {
            Command::Join(join) if &*join.member_id == "stranger" => {}
            Command::Join(join) => join.member_id = known(&join.member_id).unwrap_or_default(),
            Command::Sync(sync) => {
                id(&mut sync.member_id);
                sync.assignments.iter_mut().for_each(|(member, _)| id(member));
            }
            Command::Heartbeat(heartbeat) => id(&mut heartbeat.member_id),
            Command::Leave(leave) => leave.members.iter_mut().for_each(|member| id(&mut member.member_id)),
            Command::CommitOffsets(commit) => id(&mut commit.member_id),
            _ => {}
        }
        command
    }

    fn name(&self, id: &str) -> String {
        let known = self.ids.iter().find(|(_, own)| &***own == id);
        match known {
            Some((name, _)) => name.to_string(),
            // The actor does not know its id yet.
            None => id.split('-').next().unwrap_or_default().to_string(),
        }
    }

    fn names<'a>(&self, ids: impl Iterator<Item = &'a MemberId>) -> String {
        let names: BTreeSet<String> = ids.map(|id| self.name(id)).collect();
        names.into_iter().collect::<Vec<_>>().join(" ")
    }

    fn told_record(&self, record: &GroupRecord) -> String {
        match record {
            GroupRecord::OffsetCommit { key, value } => {
                let value = value.as_ref().map_or("gone".to_string(), |value| value.offset.to_string());
                format!("log {} {}-{} {value}", key.group, key.topic, key.partition)
            }
            GroupRecord::GroupMetadata { group, value: None } => format!("log {group} gone"),
            GroupRecord::GroupMetadata { group, value: Some(value) } => {
                let members = self.names(value.members.iter().map(|member| &member.member_id));
                format!("log {group} {} [{members}]", value.generation)
            }
        }
    }

    fn told(&self, reply: &Reply) -> String {
        let verdict = |error: ErrorCode| match error {
            ErrorCode::None => " ok".to_string(),
            error => format!(": {}", error.name()),
        };
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        match reply {
            Reply::Joined(joined) if joined.error != ErrorCode::None => verdict(joined.error),
            Reply::Joined(joined) if joined.members.is_empty() => {
                assert!(!joined.skip_assignment);
                format!(" follows {} in {}", self.name(&joined.leader), joined.generation)
            }
            Reply::Joined(joined) => {
                let members = self.names(joined.members.iter().map(|member| &member.member_id));
                let skip = if joined.skip_assignment { " as before" } else { "" };
                let protocol = joined.protocol.as_deref().unwrap_or_default();
                format!(" leads {} [{members}] {protocol}{skip}", joined.generation)
            }
            Reply::Synced(synced) if synced.error == ErrorCode::None => {
                format!(" gets {:?}", text(&synced.assignment))
            }
            Reply::Synced(synced) => verdict(synced.error),
            Reply::Heartbeat(error) => verdict(*error),
            Reply::Left(left) => match &left.members[..] {
                [one] => verdict(one.error),
                [] => verdict(left.error),
                many => many.iter().map(|member| verdict(member.error)).collect(),
            },
            Reply::OffsetsCommitted(committed) => {
                let all = committed.topics.iter().flat_map(|topic| &topic.partitions);
                all.map(|(_, error)| verdict(*error)).collect()
            }
            Reply::OffsetsFetched(fetched) => {
                let mut told = String::new();
                for topic in &fetched.topics {
                    for one in &topic.partitions {
                        let value = match one.error {
                            ErrorCode::None => format!("{}{}", one.offset, one.metadata),
                            error => error.name().to_string(),
                        };
                        told += &format!(" {}-{}={value}", topic.topic, one.partition);
                    }
                }
                told + verdict(fetched.error).strip_prefix(" ok").unwrap_or(" failed")
            }
            Reply::OffsetsDeleted(deleted) if deleted.error != ErrorCode::None => verdict(deleted.error),
            Reply::OffsetsDeleted(deleted) => {
                let all = deleted.topics.iter().flat_map(|(_, partitions)| partitions);
                all.map(|(_, error)| verdict(*error)).collect()
            }
            Reply::GroupsListed(Err(error)) => verdict(*error),
            Reply::GroupsListed(Ok(groups)) => {
                let one =
                    |group: &ListedGroup| format!(" {} {} {}", group.group, group.state, group.protocol_type);
                groups.iter().map(one).collect::<Vec<_>>().join(",")
            }
            Reply::GroupsDescribed(groups) => {
                let one = |(id, group): &(GroupId, Result<DescribedGroup, ErrorCode>)| match group {
                    Err(error) => format!(" {id} {}", error.name()),
                    Ok(group) => {
                        let member = |member: &DescribedMember| {
                            let metadata = if member.metadata.is_empty() { "-" } else { "+" };
                            let name = self.name(&member.member_id);
                            format!(" {name}{metadata}{}", text(&member.assignment))
                        };
                        let members: String = group.members.iter().map(member).collect();
                        format!(" {id} {} {}{members}", group.state, group.protocol)
                    }
                };
                groups.iter().map(one).collect()
            }
            Reply::GroupsDeleted(groups) => groups.iter().map(|(_, error)| verdict(*error)).collect(),
            Reply::TopicsDeleted(error) | Reply::TransactionEnded(error) => verdict(*error),
        }
    }
}

pub fn chance(seed: u64) -> Chance {
    let mut dice = Dice(seed);
    Box::new(move || dice.roll())
}

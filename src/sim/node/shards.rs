//! The shards of the node's coordinators: a keeper for each partition of a coordinator's topic that the node leads, driven as
//! the broker's task drives it. Between any two things that the task waits for, other things may happen.
//! It must never decide: `node::coordinator` does.

use std::sync::Arc;

use ottla_core::controller::CreateTopics;
use ottla_core::coordinator::Machine;
use ottla_core::partition::Acks;
use ottla_core::question::Question;
use ottla_log::CheckedBatch;
use ottla_log::log::Appended;
use ottla_model::config::TopicConfig;
use ottla_model::image::{Image, Topic};
use ottla_model::{TopicId, TopicPartition};
use ottla_node::coordinator::Input;
use ottla_node::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput, Sent};
use ottla_node::lane::{Answered, Append, Input as LaneInput};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use super::holding::{Caller, Shards};
use super::said::Service;
use super::{Key, Node, Partition, Said, Waiter, Who};
use crate::marks::mark_if;
use crate::shard::{Owner, Seen, Turned};

/// What makes a machine's shards a coordinator of the node.
pub(super) trait Served: Machine<Token = Caller> + Sized + 'static {
    const SERVICE: Service;

    /// `None`: the node has no such coordinator.
    fn shards(node: &mut Node) -> Option<&mut Shards<Self>>;

    fn topic(image: &Image) -> Option<&Arc<Topic>>;

    /// Makes the machines of one more owner.
    fn machines(node: &mut Node) -> Box<dyn Fn(LeaderEpoch) -> Self + Send>;

    fn told(node: &mut Node, now_ms: i64, caller: Caller, reply: Self::Reply, said: &mut Vec<Said>);

    fn errand(node: &mut Node, from: Errands, errand: Self::Errand, said: &mut Vec<Said>);
}

/// Where an errand comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errands {
    pub shard: i32,
    /// What lay below was in the log when the shard was loaded.
    pub loaded: Offset,
}

fn seen(key: Key, partition: &Partition) -> Seen {
    let (leader_epoch, reader, config) =
        (partition.leader_epoch, partition.reader.clone(), partition.config.clone());
    Seen { key, leader_epoch, reader, config }
}

/// What others do with shards.
impl Node {
    /// Sends something to a shard. What is given back found no shard here.
    pub(super) fn tell_shard<M: Served>(
        &mut self,
        shard: i32,
        sent: Sent<M>,
        said: &mut Vec<Said>,
    ) -> Result<(), Sent<M>> {
        let Some(topic) = M::topic(&self.image).map(|topic| topic.id) else { return Err(sent) };
        match self.reach::<M>(topic, shard) {
            None => Err(sent),
            Some(owner) => {
                owner.inbox.push(sent);
                self.wake_shard::<M>(shard, said);
                Ok(())
            }
        }
    }

    /// Creates the coordinator's topic, as the first client does that looks for it.
    pub(super) fn create_topic_of<M: Served>(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        let Some(shards) = M::shards(self) else { return };
        let create = CreateTopics { topics: vec![shards.new_topic.clone()], validate_only: false };
        self.command(now_ms, Who::Nobody, create.command(), said);
    }

    /// Loads the shards that live here, before anybody asks for them.
    pub(super) fn wake_shards_of<M: Served>(&mut self, said: &mut Vec<Said>) {
        let Some(topic) = M::topic(&self.image).cloned() else { return };
        for shard in topic.partitions.keys() {
            if self.reach::<M>(topic.id, *shard).is_some() {
                self.wake_shard::<M>(*shard, said);
            }
        }
    }

    /// Sends a command to each shard that is at work.
    pub(super) fn tell_all<M: Served>(&mut self, command: impl Fn() -> M::Command, said: &mut Vec<Said>) {
        let Some(shards) = M::shards(self) else { return };
        for owner in shards.owners.values_mut() {
            owner.inbox.push(Input::Ask { token: Caller::Nobody, command: command() });
            mark_if(owner.keeper.is_busy(), "a topic was deleted while a shard loaded or appended");
        }
        let indexes: Vec<i32> = shards.owners.keys().copied().collect();
        indexes.into_iter().for_each(|shard| self.wake_shard::<M>(shard, said));
    }

    /// Something has happened to a partition that may be a shard's: its high watermark moved, say.
    pub(super) fn moved_for<M: Served>(&mut self, key: Key, said: &mut Vec<Said>) {
        if self.owner::<M>(key).is_some() {
            self.wake_shard::<M>(key.1, said);
        }
    }

    pub(super) fn closed_for<M: Served>(&mut self, key: Key, said: &mut Vec<Said>) {
        if let Some(owner) = self.owner::<M>(key) {
            owner.closed = true;
            self.wake_shard::<M>(key.1, said);
        }
    }

    /// The lane says what became of a shard's batch.
    pub(super) fn appended_for<M: Served>(
        &mut self,
        key: Key,
        outcome: Result<Appended, ErrorCode>,
        said: &mut Vec<Said>,
    ) {
        if let Some(owner) = self.owner::<M>(key) {
            owner.outcome = Some(outcome.map(|appended| (appended.base_offset, appended.last_offset)));
            self.wake_shard::<M>(key.1, said);
        }
    }

    /// The process is told to stop: nobody is served any more.
    pub(super) fn resign_shards_of<M: Served>(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        let Some(shards) = M::shards(self) else { return };
        for (shard, mut owner) in std::mem::take(&mut shards.owners) {
            let mut outputs = Vec::new();
            owner.inbox.drain(..).for_each(|sent| owner.keeper.send(now_ms, sent, &mut outputs));
            owner.keeper.resign(now_ms, &mut outputs);
            let from = Errands { shard, loaded: owner.loaded };
            outputs.into_iter().for_each(|output| self.carry_out_for::<M>(now_ms, from, output, said));
        }
    }
}

/// Turns.
impl Node {
    /// The task of a shard gets the processor, and takes the next thing that it waited for.
    pub(super) fn drive_shard_of<M: Served>(&mut self, now_ms: i64, shard: i32, said: &mut Vec<Said>) {
        let (mutation, image) = (self.mutation, self.image.clone());
        let Some(key) = self.owner_of::<M>(shard).map(|owner| owner.partition.key) else { return };
        let here = self.partitions.get(&key).filter(|partition| !partition.resigned);
        let here = here.map(|here| seen(key, here));
        let Some(shards) = M::shards(self) else { return };
        let load_bytes = shards.load_bytes;
        let Some(owner) = shards.owners.get_mut(&shard) else { return };
        let mut outputs = Vec::new();
        let from = Errands { shard, loaded: owner.loaded };
        let turned = owner.turn(now_ms, here, &image, load_bytes, mutation, &mut outputs);
        if turned == Turned::Ended {
            // Whoever asks once it is open again has it loaded.
            drop(shards.owners.remove(&shard));
        }
        outputs.into_iter().for_each(|output| self.carry_out_for::<M>(now_ms, from, output, said));
        if turned != Turned::Idle {
            self.wake_shard::<M>(shard, said);
        }
        self.set_alarm::<M>(shard, said);
    }

    fn carry_out_for<M: Served>(
        &mut self,
        now_ms: i64,
        from: Errands,
        output: KeeperOutput<M>,
        said: &mut Vec<Said>,
    ) {
        let shard = from.shard;
        match output {
            KeeperOutput::Reply { token, reply } => M::told(self, now_ms, token, reply, said),
            KeeperOutput::Note(note) => {
                mark_if(matches!(note, KeeperNote::InDoubt), "it was not known what a shard had written");
                mark_if(matches!(note, KeeperNote::NotLoaded(_)), "a shard could not be loaded");
                said.push(Said::Note(format!("shard {shard}: {note}")));
            }
            KeeperOutput::Load(loading) => {
                let Some(owner) = self.owner_of::<M>(shard) else { return };
                owner.loaded = owner.partition.reader.offsets().log_end;
                owner.loading = Some(loading);
                self.wake_shard::<M>(shard, said);
            }
            KeeperOutput::Errand(errand) => M::errand(self, from, errand, said),
            KeeperOutput::Append { batch, checked_against } => {
                self.append_for::<M>(shard, batch, checked_against, said);
            }
        }
    }

    fn append_for<M: Served>(
        &mut self,
        shard: i32,
        batch: CheckedBatch,
        checked_against: Arc<TopicConfig>,
        said: &mut Vec<Said>,
    ) {
        let Some(owner) = self.owner_of::<M>(shard) else { return };
        let (key, closed) = (owner.partition.key, owner.closed);
        mark_if(batch.header.record_count > 1, "writes of a shard shared a batch");
        if closed || !self.partitions.contains_key(&key) {
            return self.appended_for::<M>(key, Err(ErrorCode::NotLeaderOrFollower), said);
        }
        let append = Append {
            token: Waiter::Shard,
            batch,
            acks: Acks::All,
            answered: Answered::WhenAppended,
            checked_against,
            deadline_ms: i64::MAX,
        };
        self.submit(key, LaneInput::Append(append), said);
    }

    fn wake_shard<M: Served>(&mut self, shard: i32, said: &mut Vec<Said>) {
        if let Some(owner) = self.owner_of::<M>(shard)
            && !std::mem::replace(&mut owner.woken, true)
        {
            said.push(Said::ShardWaiting(M::SERVICE, shard));
        }
    }

    fn set_alarm<M: Served>(&mut self, shard: i32, said: &mut Vec<Said>) {
        let Some(owner) = self.owner_of::<M>(shard) else { return };
        if let Some(due_ms) = owner.keeper.next_deadline_ms()
            && owner.alarm_ms.is_none_or(|at_ms| due_ms < at_ms)
        {
            owner.alarm_ms = Some(due_ms);
            said.push(Said::ShardDue { service: M::SERVICE, shard, at_ms: due_ms });
        }
    }

    fn owner_of<M: Served>(&mut self, shard: i32) -> Option<&mut Owner<M>> {
        M::shards(self)?.owners.get_mut(&shard)
    }

    fn owner<M: Served>(&mut self, key: Key) -> Option<&mut Owner<M>> {
        self.owner_of::<M>(key.1).filter(|owner| owner.partition.key == key)
    }

    // The shard's owner, which begins if there is none. None: the shard is not this node's.
    fn reach<M: Served>(&mut self, topic: TopicId, shard: i32) -> Option<&mut Owner<M>> {
        let key = (topic, shard);
        let here = self.partitions.get(&key)?;
        let (id, seen) = (TopicPartition::new(here.id.topic.clone(), shard), seen(key, here));
        let shards = M::shards(self)?;
        let terms = shards.terms;
        if !shards.owners.contains_key(&shard) {
            let machines = M::machines(self);
            let owner = Owner::new(Keeper::new(id, terms, machines), seen);
            M::shards(self)?.owners.insert(shard, owner);
        }
        self.owner_of::<M>(shard)
    }
}

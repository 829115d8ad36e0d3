//! The partition as a shard of the group coordinator: whoever leads it serves it, and it moves with its leader. What is done
//! here is what the broker's task does around a keeper. It must never decide: `node::coordinator` does.

use std::cell::RefCell;
use std::sync::Arc;

use ottla_core::group::{Command, Groups, Reply, Settings};
use ottla_core::partition::Acks;
use ottla_log::CheckedBatch;
use ottla_log::log::Appended;
use ottla_model::TopicId;
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_node::coordinator::keeper::{Keeper, KeeperNote, KeeperOutput};
use ottla_node::coordinator::{Input as Sent, Linger, ShardSettings};
use ottla_node::lane::{Answered, Append, Input};
use ottla_protocol::batch::Compression;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::home::partition;
use super::process::{Ask, Message, Process, To, Wish};
use crate::dice::Dice;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::shard::{Owner, Seen, Turned};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub client: usize,
    pub request: u64,
}

/// The coordinator of one process.
pub(super) struct Coordinating {
    owner: Option<Owner<Groups<Asker>>>,
    image: Arc<Image>,
    terms: ShardSettings,
    load_bytes: usize,
    dice: Dice,
}

impl Coordinating {
    pub fn new(linger: Linger, load_bytes: usize, dice: Dice) -> Coordinating {
        let terms = ShardSettings { compression: Compression::None, linger, write_timeout_ms: WRITE_MS };
        Coordinating { owner: None, image: Arc::new(Image::empty()), terms, load_bytes, dice }
    }

    fn begin(&mut self, here: Seen) -> Owner<Groups<Asker>> {
        let settings = Arc::new(Settings {
            initial_rebalance_delay_ms: 50,
            min_session_timeout_ms: 1,
            // No record goes, so that each has a value.
            offsets_retention_check_interval_ms: i64::MAX / 2,
            ..Settings::default()
        });
        // Each machine draws other member ids than the ones before it.
        let chance = RefCell::new(self.dice.split());
        let machines = move |_: LeaderEpoch| {
            let mut chance = chance.borrow_mut().split();
            Groups::new(settings.clone(), Box::new(move || chance.number()))
        };
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
    pub(super) fn ask_shard(&mut self, asker: Asker, command: Command) -> Vec<Wish> {
        let here = self.led_here();
        let Some(coordinating) = &mut self.coordinating else { return Vec::new() };
        if coordinating.owner.is_none() {
            let Some(here) = here else {
                return vec![tell(asker, command.refused(ErrorCode::NotCoordinator))];
            };
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
        let (here, epoch, mutation) = (self.led_here(), self.lane.leader_epoch(), self.mutation);
        let Some(coordinating) = &mut self.coordinating else { return Vec::new() };
        let Some(owner) = &mut coordinating.owner else { return Vec::new() };
        if here.is_none() {
            owner.partition.leader_epoch = epoch;
        }
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
            KeeperOutput::Reply { token, reply } => vec![tell(token, reply)],
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

fn tell(asker: Asker, reply: Reply) -> Wish {
    Wish::Send(To::Committer(asker.client), Message::Coordinated { asker, reply })
}

/// `offsets.commit.timeout.ms`
const WRITE_MS: i64 = 1_000;

//! One node's process: the same lanes, controller and quorum as the broker's, driven the same way by a shell that has
//! no threads. What it wants from the world it says; it must never know the clients, the clock or what is judged.

mod boot;
mod cleaner;
mod coordinator;
mod holding;
mod image;
mod marking;
mod mover;
mod partition;
mod requests;
mod said;
mod services;
mod shards;
mod storage;
mod transactions;
mod verifying;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ottla_core::controller::{Command, NotController, ProducerIdBlock, Reply};
use ottla_log::dirs::Checkpoint;
use ottla_log::log::{Appended, NotMoved, Retired};
use ottla_model::config::BrokerConfig;
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_node::controller::{Controller, Input as ControllerInput, Output as ControllerOutput};
use ottla_node::lane::{Input, LeftBehind, Output};
use ottla_node::lifecycle::Lifecycle;
use ottla_node::replicas::{self, Replicas};
use ottla_node::verification::Verified;
use ottla_protocol::ErrorCode;

pub(crate) use partition::{Ask, Key, Partition, Waiter};
pub(crate) use said::{Answer, BootError, Produce, Said, Service, Step, Task, Waits, Who, Write};
pub(crate) use storage::mark_recovery;

use crate::dice::Dice;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use holding::{Coordinator, IdFor, TransactionCoordinator};
use services::Works;
use storage::Storage;

/// What a lane answers to a service of the node.
enum Answered {
    Swapped(Result<(), String>),
    Relocated(usize, Result<LeftBehind, NotMoved>),
    Verifying(u64, Verified),
}

/// A running process.
pub(crate) struct Node {
    me: NodeId,
    config: Arc<BrokerConfig>,
    storage: Storage,
    controller: Controller<Who>,
    replicas: Replicas,
    /// What the controller has said and was not published yet.
    unheard: VecDeque<ControllerOutput<Who>>,
    pub image: Arc<Image>,
    pub partitions: BTreeMap<Key, Partition>,
    retired: Vec<Retired>,
    pub epoch: BrokerEpoch,
    /// `None`: it has not begun to register.
    lifecycle: Option<Lifecycle>,
    ids: Option<ProducerIdBlock>,
    ids_asked: bool,
    waiting_for_ids: Vec<IdFor>,
    /// `None`: there are no groups, [`crate::Scene::Node`].
    coordinator: Option<Coordinator>,
    /// `None`: there are no transactions, any scene but [`crate::Scene::Transactions`].
    transactions: Option<TransactionCoordinator>,
    /// `None`: clients alone use the partitions.
    works: Option<Works>,
    dice: Dice,
    mutation: Option<Mutation>,
}

impl Node {
    /// Gives a partition's lane an input.
    pub fn submit(&mut self, key: Key, input: Input<Waiter>, said: &mut Vec<Said>) {
        if let Some(partition) = self.partitions.get_mut(&key) {
            partition.enqueue(input);
            if !partition.driven {
                partition.driven = true;
                said.push(Said::Waiting(key));
            }
        }
    }

    /// A turn of a partition's owner.
    pub fn drive(&mut self, now_ms: i64, key: Key, said: &mut Vec<Said>) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let mut answers = Vec::new();
        for output in partition.drive(now_ms) {
            match output {
                Output::Reply { token, outcome } => {
                    self.appended(key, token, outcome.map_err(|refused| refused.code), said);
                }
                Output::Flush(ticket) => said.push(Said::Flush { key, ticket }),
                // The disk of the simulation writes out whatever it likes, whenever it likes.
                Output::Grown | Output::WriteOut(_) => {}
                Output::Advanced => self.partition_moved(key, said),
                // One node has no other replicas yet.
                Output::Noted { .. } | Output::Followed { .. } | Output::Propose(_) => {}
                Output::Verifying { token, outcome } => answers.push(Answered::Verifying(token, outcome)),
                // Nobody asks for that here.
                Output::Deleted { .. } => {}
                Output::Swapped { outcome, .. } => answers.push(Answered::Swapped(outcome)),
                Output::Relocated { token, outcome } => {
                    answers.push(Answered::Relocated(token, outcome));
                }
                Output::Retire(retired) => self.retired.extend(retired),
                Output::Full => mark("a full disk refused an append"),
                Output::Offline { why, .. } => {
                    let Some(partition) = self.partitions.get_mut(&key) else { continue };
                    partition.offline = true;
                    said.push(Said::Offline(format!("{}: {why}", partition.id)));
                }
            }
        }
        answers.into_iter().for_each(|answer| self.answered(now_ms, key, answer, said));
    }

    fn answered(&mut self, now_ms: i64, key: Key, answer: Answered, said: &mut Vec<Said>) {
        match answer {
            Answered::Swapped(outcome) => self.swapped(key, outcome, said),
            Answered::Relocated(hand, outcome) => self.relocated(now_ms, key, hand, outcome, said),
            Answered::Verifying(number, outcome) => self.lane_says(now_ms, number, outcome, said),
        }
    }

    /// An append is done, or refused.
    fn appended(
        &mut self,
        key: Key,
        token: Waiter,
        outcome: Result<Appended, ErrorCode>,
        said: &mut Vec<Said>,
    ) {
        match token {
            Waiter::Client(ask) => {
                let is_late = matches!(outcome, Err(ErrorCode::InvalidTxnState));
                mark_if(is_late, "a verified batch came after the end of its transaction");
                said.push(Said::Produced { ask, outcome });
            }
            Waiter::Shard => self.shard_appended(key, outcome, said),
            Waiter::Marker(share, at) => self.marked_by_lane((share, at), outcome, said),
            Waiter::Nobody => {}
        }
    }

    /// `keep_house`: files whose time has come, and what `flush.ms` asks.
    pub fn sweep(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        let (due, later): (Vec<_>, Vec<_>) =
            self.retired.drain(..).partition(|retired| retired.due_ms <= now_ms);
        self.retired = later;
        for retired in due {
            // The next start removes what is left.
            let _ = retired.run();
        }
        self.storage.remove_due(now_ms);
        if self.replicas.wait_for_room() {
            self.step(now_ms, replicas::Input::TryAgain, said);
        }
        self.tick(true, said);
    }

    pub fn tick(&mut self, only_timed_flushes: bool, said: &mut Vec<Said>) {
        let due = |p: &Partition| !only_timed_flushes || p.config.flush_ms < i64::MAX;
        let keys: Vec<Key> = self.partitions.iter().filter(|(_, p)| due(p)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.submit(key, Input::Tick, said));
    }

    pub fn checkpoint(&mut self, which: Checkpoint) {
        self.storage.checkpoint(which, self.partitions.values().filter_map(Partition::log));
    }

    /// A turn of the controller's thread.
    pub fn command(&mut self, now_ms: i64, who: Who, command: Command, said: &mut Vec<Said>) {
        let mut out = Vec::new();
        let outcome =
            self.controller.step(now_ms, ControllerInput::Command { token: who, command }, &mut out);
        if let Err(error) = outcome {
            return said.push(Said::Died(error.to_string()));
        }
        let quiet = self.unheard.is_empty();
        self.unheard.extend(out);
        if quiet && !self.unheard.is_empty() {
            said.push(Said::Publish);
        }
    }

    /// A turn of the publisher's thread: one thing that the controller has said.
    pub fn publish(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        match self.unheard.pop_front() {
            None => return,
            Some(ControllerOutput::Published(image)) => {
                self.step(now_ms, replicas::Input::Published(image), said);
                said.push(Said::Published);
            }
            Some(ControllerOutput::Reply { token: Who::Client(ask), reply }) => {
                said.push(Said::Answered { ask, answer: Answer::Controller(reply) });
            }
            Some(ControllerOutput::Reply { token: Who::ProducerIds, reply }) => self.stock(&reply, said),
            Some(ControllerOutput::Reply { token: Who::Shell | Who::Nobody, .. }) => {}
            // Nobody else votes: nothing is sent, and nothing heard.
            Some(ControllerOutput::Full(_) | ControllerOutput::Send(_) | ControllerOutput::Refused(_)) => {}
            Some(ControllerOutput::VotersChanged { .. } | ControllerOutput::Fenced(_)) => {}
            Some(ControllerOutput::Ask(_) | ControllerOutput::CannotFollow(_)) => {}
            Some(ControllerOutput::LookFor(_)) => {}
            Some(ControllerOutput::Snapshot(snapshot)) => {
                let written = snapshot.write(&*self.storage.disk).ok();
                mark_if(written.is_some(), "a metadata snapshot was written");
                let mut out = Vec::new();
                let outcome = self.controller.step(now_ms, ControllerInput::Snapshotted(written), &mut out);
                if let Err(error) = outcome {
                    return said.push(Said::Died(error.to_string()));
                }
                self.unheard.extend(out);
            }
        }
        if !self.unheard.is_empty() {
            said.push(Said::Publish);
        }
    }

    /// Whether everything that the controller said is published.
    pub fn has_published(&self) -> bool {
        self.unheard.is_empty()
    }

    fn stock(&mut self, reply: &Result<Reply, NotController>, said: &mut Vec<Said>) {
        self.ids_asked = false;
        if let Ok(Reply::ProducerIds(Ok(block))) = reply {
            self.ids = Some(*block);
        }
        self.hand_out_ids(said);
    }
}

/// Those that a start or its operator reads.
pub(crate) const CHECKPOINTS: [Checkpoint; 3] = Checkpoint::OF_OPEN_LOGS;

//! The owner of one shard of a coordinator, as the broker's task is: what has come, what it waits for, and a turn at a time.
//! Between any two things that it waits for, other things may happen. It must never decide: `node::coordinator` does.

use std::sync::Arc;

use ottla_core::coordinator::Machine;
use ottla_log::log::LogReader;
use ottla_model::TopicId;
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_node::coordinator::keeper::{Keeper, KeeperOutput, Sent, ShardLog};
use ottla_node::coordinator::loading::Loading;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset};

use crate::marks::mark;
use crate::mutation::Mutation;

/// One shard and what its task has at hand.
pub(crate) struct Owner<M: Machine> {
    pub keeper: Keeper<M>,
    pub inbox: Vec<Sent<M>>,
    pub partition: Seen,
    pub loading: Option<Box<Loading<M>>>,
    /// The log's end when it was last loaded.
    pub loaded: Offset,
    /// What the last append came to, if the keeper has not been told.
    pub outcome: Option<Result<(Offset, Offset), ErrorCode>>,
    /// The partition was closed since the keeper last looked.
    pub closed: bool,
    /// A turn is about to come.
    pub woken: bool,
    pub alarm_ms: Option<i64>,
}

/// A partition as it was last seen: a task keeps hold of one that was closed.
pub(crate) struct Seen {
    /// Of the topic, and which of its partitions.
    pub key: (TopicId, i32),
    pub leader_epoch: LeaderEpoch,
    pub reader: Arc<LogReader>,
    pub config: Arc<TopicConfig>,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// The task goes on at once after what it has waited for.
    Worked,
    Idle,
    /// The shard is not this node's any more.
    Ended,
}

impl Seen {
    fn view(&self, mutation: Option<Mutation>) -> ShardLog {
        let mut offsets = self.reader.offsets();
        if mutation == Some(Mutation::AnswerBeforeSafe) {
            offsets.high_watermark = offsets.log_end;
        }
        ShardLog { leader_epoch: self.leader_epoch, offsets, config: self.config.clone() }
    }
}

impl<M: Machine> Owner<M> {
    pub fn new(keeper: Keeper<M>, partition: Seen) -> Owner<M> {
        Owner {
            keeper,
            inbox: Vec::new(),
            partition,
            loading: None,
            loaded: 0,
            outcome: None,
            closed: false,
            woken: false,
            alarm_ms: None,
        }
    }

    /// Takes the next thing that it waited for. `here`: the partition, if it is led here.
    pub fn turn(
        &mut self,
        now_ms: i64,
        here: Option<Seen>,
        image: &Arc<Image>,
        load_bytes: usize,
        mutation: Option<Mutation>,
        outputs: &mut Vec<KeeperOutput<M>>,
    ) -> Turned {
        self.woken = false;
        self.alarm_ms = self.alarm_ms.filter(|at_ms| *at_ms > now_ms);
        self.inbox.drain(..).for_each(|sent| self.keeper.send(now_ms, sent, outputs));
        let is_here = here.is_some();
        let again = match here {
            Some(here) if !self.closed => {
                self.partition = here;
                None
            }
            here => here,
        };
        let view = self.partition.view(mutation);
        if let Some(outcome) = self.outcome.take() {
            self.keeper.appended(now_ms, outcome, &view, outputs);
            Turned::Worked
        } else if let Some(loading) = self.loading.take() {
            self.read_on(now_ms, loading, load_bytes, mutation, outputs);
            Turned::Worked
        } else if self.keeper.is_busy() {
            Turned::Idle
        } else if std::mem::take(&mut self.closed) || !is_here {
            self.keeper.turn(now_ms, None, image, outputs);
            let Some(again) = again else { return Turned::Ended };
            self.partition = again;
            Turned::Worked
        } else {
            self.keeper.turn(now_ms, Some(&view), image, outputs);
            Turned::Idle
        }
    }

    fn read_on(
        &mut self,
        now_ms: i64,
        mut loading: Box<Loading<M>>,
        load_bytes: usize,
        mutation: Option<Mutation>,
        outputs: &mut Vec<KeeperOutput<M>>,
    ) {
        let read = loading.read_on(&self.partition.reader, load_bytes);
        let is_done = loading.is_done() || mutation == Some(Mutation::StopLoadingEarly);
        match read {
            Ok(()) if !is_done => {
                mark("a shard was loaded piece by piece");
                self.loading = Some(loading);
            }
            read => self.keeper.loaded(now_ms, read.map(|()| loading), outputs),
        }
    }
}

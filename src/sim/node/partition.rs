//! One partition and the inputs that wait for its lane, as the broker's combining ownership has it: whoever comes finds
//! the lane free and takes all inputs that are there. It must never look into an input's meaning.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_log::log::{Log, LogReader};
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;
use ottla_node::lane::{Input, Lane, Output, Waiters};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use crate::disk::turn;

pub(crate) use ottla_node::replicas::Key;

/// Finds the client that waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub client: usize,
    pub request: u64,
}

/// Who waits for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    Client(Ask),
    /// The shard whose log the partition is.
    Shard,
    /// Who has a marker written: the share, and which of its partitions.
    Marker(u64, usize),
    Nobody,
}

impl Waiters for Waiter {
    type Append = Waiter;
    type Deletion = Ask;
    type Swap = ();
    /// Which of the movers.
    type Move = usize;
    type Fetch = Ask;
    /// The number of the batch.
    type Verification = u64;
    type Fetcher = Ask;
}

/// A partition that this node leads.
pub(crate) struct Partition {
    pub id: TopicPartition,
    pub reader: Arc<LogReader>,
    /// What producers' batches are checked against.
    pub config: Arc<TopicConfig>,
    pub leader_epoch: LeaderEpoch,
    pub resigned: bool,
    queue: VecDeque<Input<Waiter>>,
    /// None once the partition is closed or deleted.
    lane: Option<Lane<Waiter>>,
    /// Somebody is about to take a turn.
    pub driven: bool,
    pub offline: bool,
}

impl Partition {
    pub fn new(id: TopicPartition, lane: Lane<Waiter>) -> Partition {
        Partition {
            id,
            reader: lane.reader(),
            config: lane.config().clone(),
            leader_epoch: lane.leader_epoch(),
            resigned: !lane.leads(),
            queue: VecDeque::new(),
            lane: Some(lane),
            driven: false,
            offline: false,
        }
    }

    pub fn enqueue(&mut self, input: Input<Waiter>) {
        match &input {
            Input::Lead(leadership) => {
                self.leader_epoch = leadership.epoch;
                self.resigned = false;
            }
            Input::Follow(_) => self.resigned = true,
            Input::Configure(config) => self.config = config.clone(),
            _ => {}
        }
        self.queue.push_back(input);
    }

    /// One turn with all that waits.
    pub fn drive(&mut self, now_ms: i64) -> Vec<Output<Waiter>> {
        let mut out = Vec::new();
        self.driven = false;
        let inputs = std::mem::take(&mut self.queue);
        match &mut self.lane {
            Some(lane) if !inputs.is_empty() => turn(lane, now_ms, inputs, &mut out),
            _ => self.queue = inputs,
        }
        out
    }

    /// Its log lives elsewhere now: readers go on there.
    pub fn moved(&mut self) {
        if let Some(lane) = &self.lane {
            self.reader = lane.reader();
        }
    }

    pub fn log(&self) -> Option<&Log> {
        self.lane.as_ref().map(Lane::log)
    }

    /// Ends the lane and gives back its log; what waits is refused.
    pub fn close(&mut self) -> (Option<Log>, Vec<(Waiter, ErrorCode)>) {
        let mut out = Vec::new();
        let log = self.lane.take().map(|lane| lane.into_log(&mut out));
        let held = out.into_iter().filter_map(|output| match output {
            Output::Reply { token, outcome } => Some((token, outcome.err().map(|r| r.code))),
            _ => None,
        });
        let mut refused: Vec<_> =
            held.map(|(token, code)| (token, code.unwrap_or(ErrorCode::NotLeaderOrFollower))).collect();
        for input in self.queue.drain(..) {
            match input {
                Input::Append(append) => refused.push((append.token, ErrorCode::NotLeaderOrFollower)),
                Input::Relocate { copy, .. } => copy.abandon(),
                _ => {}
            }
        }
        (log, refused)
    }
}

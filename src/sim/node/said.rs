//! What a node is asked and says, as the world and the parts of the node know it. It must never do anything.

use std::fmt;

use bytes::Bytes;
use ottla_core::controller::{NotController, Reply};
use ottla_core::partition::Acks;
use ottla_core::{group, txn};
use ottla_log::log::{Appended, FlushTicket};
use ottla_node::lane::Append;
use ottla_protocol::batch::BatchHeader;
use ottla_protocol::{ErrorCode, ProducerId};

use super::partition::{Ask, Key, Waiter};

/// Who waits for the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Shell,
    Client(Ask),
    /// Everybody who waits for producer ids.
    ProducerIds,
    Nobody,
}

/// What the process wants from the world, or tells it.
#[derive(Debug)]
pub(crate) enum Said {
    Produced {
        ask: Ask,
        outcome: Result<Appended, ErrorCode>,
    },
    Answered {
        ask: Ask,
        answer: Answer,
    },
    Flush {
        key: Key,
        ticket: FlushTicket,
    },
    /// Inputs wait for a turn.
    Waiting(Key),
    /// The controller has said something that was not published yet.
    Publish,
    /// A new image is in force.
    Published,
    /// A partition is; why.
    Offline(String),
    /// The owner of a coordinator's shard has something to do.
    ShardWaiting(Service, i32),
    /// It wants a turn then, whatever happens before.
    ShardDue {
        service: Service,
        shard: i32,
        at_ms: i64,
    },
    /// A line for the trace.
    Note(String),
    /// The process ends by itself.
    Died(String),
    /// Something works on partitions, and goes on with that then.
    Later {
        task: Task,
        delay_ms: i64,
    },
    /// A task goes on with a transaction.
    Transact {
        step: Step,
        waits: Waits,
    },
    /// The files of a log are others now: compacted ones, or those of another directory.
    Rearranged(Key),
}

/// One partition's batch.
#[derive(Clone, Debug)]
pub(crate) struct Produce {
    pub key: Key,
    pub records: Bytes,
    pub acks: Acks,
    pub timeout_ms: i64,
}

impl fmt::Display for Produce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BatchHeader::parse(&self.records) {
            Ok(BatchHeader { producer_id, producer_epoch, base_sequence, record_count, .. }) => write!(
                f,
                "partition {}, producer {producer_id} epoch {producer_epoch}, {record_count} from {base_sequence}",
                self.key.1
            ),
            Err(e) => write!(f, "{e}"),
        }
    }
}

/// The reply to anything but a Produce.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Controller(Result<Reply, NotController>),
    ProducerId(Result<ProducerId, ErrorCode>),
    Group(group::Reply),
    Transaction(txn::Reply),
}

/// One of the node's coordinators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Groups,
    Transactions,
}

/// What is written in a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Records(Produce),
    Offsets(Box<group::CommitOffsets>),
}

/// What a task does for a transaction when it gets the processor.
#[derive(Debug)]
pub(crate) enum Step {
    /// An errand of a shard of the transaction coordinator.
    Errand(i32, txn::Errand),
    /// A share of markers is done with.
    Marked(u64),
    /// A batch is verified, and is to be written.
    Write(u64),
    /// The transaction before may have ended.
    VerifyAgain(u64),
    /// For [`crate::Mutation::MarkTwice`].
    AppendAgain(Key, Box<Append<Waiter>>),
}

/// How long a task waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits {
    /// For the processor, which may be busy.
    ForATask,
    /// The same, longer than anybody would think.
    ForLong,
    Ms(i64),
}

/// A turn of something that works on partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Clean,
    /// Of one of the movers.
    Move(usize),
    /// An operator sends some partition to some log directory.
    Send,
}

/// Why a process did not come up.
#[derive(Debug)]
pub(crate) struct BootError(pub String);

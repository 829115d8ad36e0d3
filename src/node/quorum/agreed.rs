//! What the quorum hands out, and what it is told of its disk. No more than names for it.

use bytes::Bytes;
use ottla_model::image::Image;
use ottla_protocol::{LeaderEpoch, Offset};

use super::message::Message;

/// How much of the log stays once a snapshot holds it.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// `metadata.max.retention.bytes`; negative is all.
    pub bytes: i64,
    /// `metadata.max.retention.ms`; negative is all.
    pub ms: i64,
}

/// What may be taken from a disk that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    Nothing,
    /// The room that was set aside.
    Reserve,
}

/// A batch that the quorum has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub epoch: LeaderEpoch,
    /// The batch as it is in the log; a control batch carries nothing for the image.
    pub batch: Bytes,
}

/// What the quorum has agreed on, in order.
#[derive(Clone, Debug)]
pub enum Agreed {
    Batch(Committed),
    /// This node was too far behind for batches: the image is this one now.
    Snapshot(Box<Image>),
}

/// What came of one step.
#[derive(Debug, Default)]
pub struct Settled {
    pub agreed: Vec<Agreed>,
    /// To be sent, in this order to each replica. What they promise is on the disk. One that is lost does no harm.
    pub messages: Vec<Message>,
}

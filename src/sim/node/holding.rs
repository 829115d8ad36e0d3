//! What a node has at hand for its coordinators: their shards, batches that are being verified, markers on their way. It must
//! never do anything with it: the files that are named for these things do.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::controller::NewTopic;
use ottla_core::coordinator::{Machine, Producer};
use ottla_core::group::{Groups, Settings as GroupSettings};
use ottla_core::txn::{Settings, Transactions};
use ottla_model::txn::{Partitions, TransactionalId};
use ottla_model::{TopicPartition, VerificationGuard};
use ottla_node::coordinator::ShardSettings;
use ottla_node::marking::Written;
use ottla_node::verification::{Transaction, Verified};
use ottla_protocol::Offset;

use super::partition::{Ask, Key};
use super::said::Write;
use crate::shard::Owner;

/// Who waits for a producer id.
pub(super) enum IdFor {
    Client(Ask),
    /// A shard of the transaction coordinator, for one of its transactional ids.
    Shard(i32, TransactionalId),
}

/// Who waits for the answer of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Client(Ask),
    /// A batch that is being verified, by its number.
    Verification(u64),
    /// Who has a marker written: the share, and which of its partitions.
    Marker(u64, usize),
    Nobody,
}

/// The shards of one coordinator.
pub(super) struct Shards<M: Machine> {
    pub(super) terms: ShardSettings,
    pub(super) load_bytes: usize,
    pub(super) new_topic: NewTopic,
    pub(super) owners: BTreeMap<i32, Owner<M>>,
}

impl<M: Machine> Shards<M> {
    pub fn new(terms: ShardSettings, load_bytes: usize, new_topic: NewTopic) -> Shards<M> {
        Shards { terms, load_bytes, new_topic, owners: BTreeMap::new() }
    }
}

pub(super) type GroupMachine = Groups<Caller>;

/// The coordinator of one process.
pub(crate) struct Coordinator {
    pub(super) settings: Arc<GroupSettings>,
    pub(super) shards: Shards<GroupMachine>,
}

pub(super) type Transactor = Transactions<Caller>;

/// The transaction coordinator of one process, and what the process has to do for transactions.
pub(crate) struct TransactionCoordinator {
    pub(super) settings: Arc<Settings>,
    pub(super) shards: Shards<Transactor>,
    /// `add.partitions.to.txn.retry.backoff.ms` and its maximum.
    pub(super) backoff_ms: (i64, i64),
    pub(super) verifies: bool,
    pub(super) verifying: BTreeMap<u64, Verifying>,
    pub(super) marking: BTreeMap<u64, Marking>,
    /// Numbers both of them.
    pub(super) begun: u64,
    /// What producers were told, for [`Mutation::KeepEpoch`].
    pub(super) given: BTreeMap<TransactionalId, Producer>,
}

/// One batch.
pub(super) struct Verifying {
    pub(super) ask: Ask,
    pub(super) transaction: Transaction,
    pub(super) write: Write,
    pub(super) key: Key,
    pub(super) began_ms: i64,
    pub(super) pause_ms: i64,
    pub(super) stage: Stage,
}

/// What the handler waits for.
pub(super) enum Stage {
    Lane,
    /// What the lane has said, and what the coordinator is asked about.
    Coordinator(Vec<(TopicPartition, Verified)>, Partitions),
    /// The processor: the batch may be written.
    Granted(Option<VerificationGuard>),
}

/// The markers that one leader writes, of one errand.
pub(super) struct Marking {
    pub(super) shard: i32,
    pub(super) transactional_id: TransactionalId,
    pub(super) prepared_at: Offset,
    pub(super) written: Written,
    pub(super) missing: usize,
}

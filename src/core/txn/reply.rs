//! What a shard of the transaction coordinator answers. Each reply says all that any version of its response needs, and
//! errors are those of the newest version: see [`for_clients_before_producer_fenced`].

use ottla_model::TopicName;
use ottla_model::txn::{Partitions, TransactionState, TransactionalId};
use ottla_protocol::{ErrorCode, ProducerId};

use crate::coordinator::Producer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    ProducerInitialized(Result<Producer, ErrorCode>),
    /// Says the same of every partition that was asked for.
    PartitionsAdded(ErrorCode),
    PartitionsVerified(Vec<(TopicName, i32, ErrorCode)>),
    /// It is decided how the transaction ends; its partitions hear of it later. The producer that the client goes on as,
    /// or `None` if the client does not bump epochs: it stays who it is.
    TransactionEnds(Result<Option<Producer>, ErrorCode>),
    /// In the order of their ids.
    TransactionsListed(Result<Vec<ListedTransaction>, ErrorCode>),
    TransactionDescribed(Result<DescribedTransaction, ErrorCode>),
    /// To whoever told what an errand came to.
    Noted(ErrorCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    pub transactional_id: TransactionalId,
    pub producer_id: ProducerId,
    pub state: TransactionState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTransaction {
    pub producer: Producer,
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// `None` is -1 in the response.
    pub start_ms: Option<i64>,
    /// Of the open transaction; once its end is decided, those whose marker is not known to be written.
    pub partitions: Partitions,
}

/// Clients know PRODUCER_FENCED from InitProducerId 4 and from AddPartitionsToTxn, AddOffsetsToTxn and EndTxn 2 on
/// (KIP-588). Before, they are told INVALID_PRODUCER_EPOCH.
pub fn for_clients_before_producer_fenced(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        other => other,
    }
}

impl Reply {
    pub(super) fn all_verified(
        partitions: &Partitions,
        verdict: impl Fn(&TopicName, i32) -> ErrorCode,
    ) -> Reply {
        let mut verified = Vec::new();
        for (topic, ids) in partitions {
            verified.extend(ids.iter().map(|id| (topic.clone(), *id, verdict(topic, *id))));
        }
        Reply::PartitionsVerified(verified)
    }

    /// The same reply saying `code` wherever it said that all was well: it did not become true in time.
    pub(super) fn withdrawn(self, code: ErrorCode) -> Reply {
        let instead_of_none = |error| if error == ErrorCode::None { code } else { error };
        match self {
            Reply::ProducerInitialized(outcome) => Reply::ProducerInitialized(outcome.and(Err(code))),
            Reply::PartitionsAdded(error) => Reply::PartitionsAdded(instead_of_none(error)),
            Reply::PartitionsVerified(mut verified) => {
                verified.iter_mut().for_each(|(.., error)| *error = instead_of_none(*error));
                Reply::PartitionsVerified(verified)
            }
            Reply::TransactionEnds(outcome) => Reply::TransactionEnds(outcome.and(Err(code))),
            Reply::TransactionsListed(outcome) => Reply::TransactionsListed(outcome.and(Err(code))),
            Reply::TransactionDescribed(outcome) => Reply::TransactionDescribed(outcome.and(Err(code))),
            Reply::Noted(error) => Reply::Noted(instead_of_none(error)),
        }
    }
}

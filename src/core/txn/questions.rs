//! Which reply is the answer to which question to a shard of the transaction coordinator.

use ottla_model::TopicName;
use ottla_model::txn::TransactionalId;
use ottla_protocol::{ErrorCode, ProducerId};

use super::command::*;
use super::reply::*;
use crate::coordinator::Producer;
use crate::question::{Question, questions};

/// A question about one transactional id, which the id's shard answers.
pub trait OfTransactionalId: Question<Command = Command, Reply = Reply> {
    fn transactional_id(&self) -> &TransactionalId;
}

/// DescribeTransactions of one transactional id.
pub struct DescribeTransaction(pub TransactionalId);

/// What [`super::Errand::AllocateProducerId`] came to.
pub struct ProducerIdAllocated {
    pub transactional_id: TransactionalId,
    pub result: Result<ProducerId, ErrorCode>,
}

questions! { Command, Reply:
    InitProducerId => Command::InitProducerId, ProducerInitialized(Result<Producer, ErrorCode>);
    AddPartitions => Command::AddPartitions, PartitionsAdded(ErrorCode);
    VerifyPartitions => Command::VerifyPartitions, PartitionsVerified(Vec<(TopicName, i32, ErrorCode)>);
    EndTxn => Command::EndTxn, TransactionEnds(Result<Option<Producer>, ErrorCode>);
    ListTransactions => Command::ListTransactions, TransactionsListed(Result<Vec<ListedTransaction>, ErrorCode>);
    DescribeTransaction => |one| Command::DescribeTransaction { transactional_id: one.0 },
        TransactionDescribed(Result<DescribedTransaction, ErrorCode>);
    ProducerIdAllocated => |told| Command::ProducerIdAllocated {
        transactional_id: told.transactional_id,
        result: told.result,
    }, Noted(ErrorCode);
    MarkersWritten => Command::MarkersWritten, Noted(ErrorCode);
}

macro_rules! of_transactional_id {
    ($($question:ident: $field:tt;)+) => {$(
        impl OfTransactionalId for $question {
            fn transactional_id(&self) -> &TransactionalId {
                &self.$field
            }
        }
    )+};
}

of_transactional_id! {
    InitProducerId: transactional_id;
    AddPartitions: transactional_id;
    VerifyPartitions: transactional_id;
    EndTxn: transactional_id;
    DescribeTransaction: 0;
    ProducerIdAllocated: transactional_id;
    MarkersWritten: transactional_id;
}

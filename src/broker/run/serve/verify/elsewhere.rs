//! Partitions of transactions that another broker coordinates: whether they are part of it, or that they become so, as
//! AddPartitionsToTxn asks. It must never know who coordinates what.

use std::collections::BTreeMap;

use ottla_client::{ClientError, Connection};
use ottla_core::coordinator::Producer;
use ottla_model::TopicName;
use ottla_model::txn::{Partitions, TransactionalId};
use ottla_node::verification::{Refused, refused as all};
use ottla_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ottla_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProducerId};
use ottla_protocol::{ErrorCode, StrBytes};

use crate::run::work::post::Thing;

/// Partitions of one transaction.
pub(crate) struct Joining {
    pub id: TransactionalId,
    pub producer: Producer,
    pub partitions: Partitions,
    /// Whether they are to be added, or only to be verified.
    pub adds: bool,
}

/// Connections to each coordinator.
const LINES: usize = 4;
/// The first version that brokers ask in (KIP-890).
const BROKERS_SINCE: i16 = 4;

impl Thing for Joining {
    type Answer = Refused;

    const NAME: &'static str = "partitions of transactions";

    // The coordinator answers when the transactions before are complete, and one of them may take its time.
    fn line(&self) -> usize {
        self.id.bytes().map(usize::from).sum::<usize>() % LINES
    }

    // Answers are told by the transactional id alone.
    fn goes_with(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.id != self.id)
    }

    async fn send(things: &[Self], over: &Connection) -> Result<Vec<Refused>, ClientError> {
        let version = over.version_of::<AddPartitionsToTxnRequest>().await?;
        if version < BROKERS_SINCE {
            let what = format!("AddPartitionsToTxn v{BROKERS_SINCE}");
            return Err(ClientError::Unsupported { peer: over.peer().to_owned(), what });
        }
        let transactions = things.iter().map(transaction).collect();
        let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
        let response = over.send(&request, version).await?;
        Ok(things.iter().map(|joining| refused(joining, &response)).collect())
    }
}

fn transaction(joining: &Joining) -> AddPartitionsToTxnTransaction {
    let topics = joining.partitions.iter().map(|(topic, indexes)| {
        AddPartitionsToTxnTopic::default()
            .with_name(text(topic).into())
            .with_partitions(indexes.iter().copied().collect())
    });
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(text(&joining.id).into())
        .with_producer_id(ProducerId(joining.producer.id.0))
        .with_producer_epoch(joining.producer.epoch.0)
        .with_verify_only(!joining.adds)
        .with_topics(topics.collect())
}

// What the answer does not name is not verified.
fn refused(joining: &Joining, response: &AddPartitionsToTxnResponse) -> Refused {
    let of_all = match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => ErrorCode::UnknownServerError,
        // That is between brokers, and nothing that a client should hear.
        ErrorCode::ClusterAuthorizationFailed => ErrorCode::InvalidTxnState,
        code => code,
    };
    let mut codes: BTreeMap<(TopicName, i32), ErrorCode> = all(&joining.partitions, of_all);
    let ours = |id: &str| id == &*joining.id;
    let results = response.results_by_transaction.iter().filter(|result| ours(&result.transactional_id));
    for topic in results.flat_map(|result| &result.topic_results) {
        for partition in &topic.results_by_partition {
            if let Some(code) =
                codes.get_mut(&(TopicName::from(topic.name.as_str()), partition.partition_index))
            {
                *code = ErrorCode::from_code(partition.partition_error_code);
            }
        }
    }
    codes.retain(|_, code| *code != ErrorCode::None);
    codes
}

fn text(name: &str) -> StrBytes {
    StrBytes::from_string(name.to_owned())
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
    };
    use ottla_protocol::{ProducerEpoch, ProducerId};

    use super::*;

    fn joining(id: &str) -> Joining {
        Joining {
            id: id.into(),
            producer: Producer { id: ProducerId(7), epoch: ProducerEpoch(3) },
            partitions: [("t".into(), [0, 1, 2].into())].into(),
            adds: true,
        }
    }

    fn says(id: &str, codes: &[(i32, ErrorCode)]) -> AddPartitionsToTxnResult {
        let partitions = codes.iter().map(|(index, code)| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code.code())
        });
        let topic = AddPartitionsToTxnTopicResult::default()
            .with_name(text("t").into())
            .with_results_by_partition(partitions.collect());
        AddPartitionsToTxnResult::default()
            .with_transactional_id(text(id).into())
            .with_topic_results(vec![topic])
    }

    #[test]
    fn a_partition_is_refused_unless_the_coordinator_says_that_it_is_not() {
        let results = vec![
            says("other", &[(0, ErrorCode::None), (1, ErrorCode::None)]),
            says("mine", &[(0, ErrorCode::ProducerFenced), (2, ErrorCode::None)]),
        ];
        let response = AddPartitionsToTxnResponse::default().with_results_by_transaction(results);
        let told = refused(&joining("mine"), &response);
        let one = |index, code| ((TopicName::from("t"), index), code);
        assert_eq!(told, [one(0, ErrorCode::ProducerFenced), one(1, ErrorCode::UnknownServerError)].into());
    }

    #[test]
    fn what_is_wrong_with_the_request_is_wrong_with_each_partition() {
        let response = AddPartitionsToTxnResponse::default()
            .with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
        let told = refused(&joining("mine"), &response);
        assert_eq!(told.into_values().collect::<Vec<_>>(), [ErrorCode::InvalidTxnState; 3]);
    }

    #[test]
    fn one_transaction_is_once_in_a_request() {
        assert!(joining("a").goes_with(&[joining("b")]));
        assert!(!joining("a").goes_with(&[joining("b"), joining("a")]));
    }
}

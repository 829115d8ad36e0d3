//! DescribeTransactions v0 (KIP-664).

use bytes::Bytes;
use ottla_core::txn::{DescribeTransaction, DescribedTransaction};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use ottla_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, TopicName};

use super::answers::text;
use super::context::{Begun, Context};
use super::groups::{shared, text_of};
use super::rights::Rights;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let request: DescribeTransactionsRequest = context.read(body)?;
    let broker = context.broker;
    let asked = request.transactional_ids.into_iter().map(|id| {
        let permitted = context.check(Operation::Describe, Resource::TransactionalId, &id);
        let answer = permitted.map(|()| broker.transactions.ask(DescribeTransaction(shared(&id.0))));
        (id, answer)
    });
    let (asked, kept) = (asked.collect::<Vec<_>>(), context.rights().keep());
    Ok(context.later(async move {
        let mut states = Vec::with_capacity(asked.len());
        for (id, answer) in asked {
            let described = match answer {
                Ok(answer) => answer.await,
                Err(code) => Err(code),
            };
            states.push(state(described, kept.rights()).with_transactional_id(id));
        }
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }))
}

fn state(described: Result<DescribedTransaction, ErrorCode>, rights: Rights<'_>) -> TransactionState {
    let state = TransactionState::default();
    let transaction = match described {
        Ok(transaction) => transaction,
        Err(code) => return state.with_error_code(code.code()),
    };
    let may_see = |topic: &str| rights.may(Operation::Describe, Resource::Topic, topic);
    let shown = transaction.partitions.iter().filter(|(topic, _)| may_see(topic));
    let topics = shown.map(|(topic, partitions)| {
        let partitions = partitions.iter().copied().collect();
        TopicData::default().with_topic(TopicName(text_of(topic))).with_partitions(partitions)
    });
    state
        .with_transaction_state(text(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.start_ms.unwrap_or(-1))
        .with_producer_id(transaction.producer.id.0.into())
        .with_producer_epoch(transaction.producer.epoch.0)
        .with_topics(topics.collect())
}

//! Finding coordinators: an error that a client repeats is one that passes.

use anyhow::Result;
use kafka_protocol::messages::{FindCoordinatorRequest, InitProducerIdRequest, TransactionalId};
use ottla_client::Connection;
use ottla_protocol::ErrorCode;
use protocol_tests::requests::text;
use protocol_tests::{broker, eventually};

const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Code and message of the first answer that a client would not repeat the question for.
async fn found(
    connection: &Connection,
    key_type: i8,
    key: &str,
    version: i16,
) -> Result<(&'static str, Option<String>)> {
    let request = match version {
        ..4 => FindCoordinatorRequest::default().with_key(text(key)),
        _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text(key)]),
    };
    let request = request.with_key_type(key_type);
    eventually(&format!("v{version}: a final answer for type {key_type}"), async || {
        let answer = connection.send(&request, version).await?;
        let told = match version {
            ..4 => (answer.error_code, answer.error_message),
            _ => (answer.coordinators[0].error_code, answer.coordinators[0].error_message.clone()),
        };
        let code = ErrorCode::from_code(told.0);
        Ok((!code.is_retriable()).then(|| (code.name(), told.1.map(|message| message.to_string()))))
    })
    .await
}

#[tokio::test]
async fn what_will_never_come_is_not_asked_for_again() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    for version in 1..=6 {
        let (code, _) = found(&connection, TRANSACTION, "tx", version).await?;
        assert_eq!(code, "NONE", "v{version}");
        let (code, _) = found(&connection, SHARE, "no share partition", version).await?;
        assert_eq!(code, "INVALID_REQUEST", "v{version}");
        let (code, _) = found(&connection, 9, "what", version).await?;
        assert_eq!(code, "INVALID_REQUEST", "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transactional_id_gets_a_final_answer() -> Result<()> {
    let broker = broker().await;
    let connection = broker.connect().await?;
    found(&connection, TRANSACTION, "tx", 4).await?;
    for version in 0..=5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId("tx".into())))
            .with_transaction_timeout_ms(60_000);
        let told = eventually("a final answer", async || {
            let code = ErrorCode::from_code(connection.send(&request, version).await?.error_code);
            Ok((!code.is_retriable()).then(|| code.name()))
        });
        assert_eq!(told.await?, "NONE", "v{version}");
    }
    Ok(())
}

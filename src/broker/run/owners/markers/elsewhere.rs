//! Markers for partitions that other brokers lead, as WriteTxnMarkers tells them. It must never know who leads what.

use std::collections::BTreeMap;

use bytes::BytesMut;
use ottla_client::{ClientError, Connection};
use ottla_model::TopicName;
use ottla_model::txn::Partitions;
use ottla_node::coordinator::Ending;
use ottla_node::marking::Written;
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::control::TransactionResult;
use ottla_protocol::txn_markers::{TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_protocol::{ErrorCode, ProducerId, StrBytes};

use crate::run::work::post::Thing;

/// The end of one transaction, for partitions of one leader.
pub(crate) struct Marked {
    pub ending: Ending,
    pub partitions: Partitions,
}

/// The newest version that this broker speaks.
const VERSION_MAX: i16 = 2;

impl Thing for Marked {
    type Answer = Written;

    const NAME: &'static str = "markers";

    // Answers are told by the producer's id alone, and one of an errand from before must not be taken for another's.
    fn goes_with(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.ending.producer.id != self.ending.producer.id)
    }

    async fn send(things: &[Self], over: &Connection) -> Result<Vec<Written>, ClientError> {
        let api = ApiKey::WriteTxnMarkers;
        let unsupported =
            || ClientError::Unsupported { peer: over.peer().to_owned(), what: "WriteTxnMarkers".into() };
        let known = over.versions().await?.range(api.row().key).ok_or_else(unsupported)?;
        let version = known.max.min(VERSION_MAX);
        let mut body = BytesMut::new();
        WriteTxnMarkersRequest { markers: things.iter().map(marker).collect() }.write(version, &mut body);
        let answer = over.exchange(api, version, &body).await?;
        let response = WriteTxnMarkersResponse::read(version, &answer);
        let response = response.map_err(|malformed| ClientError::Malformed {
            peer: over.peer().to_owned(),
            what: "the answer to WriteTxnMarkers".into(),
            reason: malformed.to_string(),
        })?;
        Ok(written(things, &response))
    }
}

fn marker(marked: &Marked) -> TxnMarker {
    let Marked { ending, partitions } = marked;
    let topics = partitions.iter().map(|(topic, indexes)| {
        let name = StrBytes::from_string(topic.to_string());
        (name, indexes.iter().copied().collect())
    });
    TxnMarker {
        producer_id: ending.producer.id,
        producer_epoch: ending.producer.epoch,
        committed: ending.result == TransactionResult::Commit,
        topics: topics.collect(),
        coordinator_epoch: ending.coordinator_epoch,
        transaction_version: i8::try_from(ending.version.0).unwrap_or(i8::MAX),
    }
}

// A partition that the answer does not name may not have its marker.
fn written(things: &[Marked], response: &WriteTxnMarkersResponse) -> Vec<Written> {
    let mut told: BTreeMap<(ProducerId, &str, i32), i16> = BTreeMap::new();
    for result in &response.markers {
        for (topic, partitions) in &result.topics {
            told.extend(
                partitions.iter().map(|(index, code)| ((result.producer_id, &**topic, *index), *code)),
            );
        }
    }
    let of = |marked: &Marked| {
        let of_partition = |topic: &TopicName, index: i32| {
            let code = told.get(&(marked.ending.producer.id, &**topic, index));
            let code = code.map_or(ErrorCode::UnknownServerError, |code| ErrorCode::from_code(*code));
            (topic.clone(), index, code)
        };
        let topics = marked.partitions.iter();
        topics.flat_map(|(topic, indexes)| indexes.iter().map(|index| of_partition(topic, *index))).collect()
    };
    things.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use ottla_core::coordinator::Producer;
    use ottla_model::txn::TransactionVersion;
    use ottla_protocol::ProducerEpoch;
    use ottla_protocol::txn_markers::TxnMarkerResult;

    use super::*;

    fn marked(id: i64, partitions: &[(&str, &[i32])]) -> Marked {
        let ending = Ending {
            producer: Producer { id: ProducerId(id), epoch: ProducerEpoch(3) },
            result: TransactionResult::Commit,
            coordinator_epoch: 5,
            version: TransactionVersion::EPOCH_BUMP,
        };
        let partitions = partitions.iter().map(|(topic, at)| ((*topic).into(), at.iter().copied().collect()));
        Marked { ending, partitions: partitions.collect() }
    }

    #[test]
    fn each_partition_has_what_the_leader_says_of_it_and_an_error_where_it_says_nothing() {
        let things = [marked(1, &[("a", &[0, 1])]), marked(2, &[("a", &[0]), ("b", &[7])])];
        let result = |id, topics: &[(&str, &[(i32, i16)])]| TxnMarkerResult {
            producer_id: ProducerId(id),
            topics: topics
                .iter()
                .map(|(topic, told)| (StrBytes::from_string((*topic).to_owned()), told.to_vec()))
                .collect(),
        };
        let response = WriteTxnMarkersResponse {
            markers: vec![result(2, &[("b", &[(7, 0)]), ("a", &[(0, 6)])]), result(1, &[("a", &[(1, 0)])])],
        };
        let told = written(&things, &response);
        let one = |topic: &str, index, code| (TopicName::from(topic), index, code);
        assert_eq!(told[0], [one("a", 0, ErrorCode::UnknownServerError), one("a", 1, ErrorCode::None)]);
        assert_eq!(told[1], [one("a", 0, ErrorCode::NotLeaderOrFollower), one("b", 7, ErrorCode::None)]);
    }

    #[test]
    fn two_ends_of_one_producer_do_not_share_a_request() {
        assert!(marked(1, &[]).goes_with(&[marked(2, &[])]));
        assert!(!marked(1, &[]).goes_with(&[marked(2, &[]), marked(1, &[])]));
    }
}

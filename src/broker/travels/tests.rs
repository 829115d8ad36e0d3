//! Each question and its answer arrive as they were sent.

mod observing;

use std::fmt::Debug;

use ottla_core::controller::{
    AllocateProducerIds, AlterPartition, Altered, AssignReplicas, Assignment, ControllerRegistration,
    Heartbeat, HeartbeatAnswer, IsrProposal, ProducerIdBlock, Refusal, Registration,
};
use ottla_core::partition::{InSyncMember, Proposal};
use ottla_model::image::{Endpoint, FeatureRange};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::{ErrorCode, LeaderEpoch};
use uuid::Uuid;

use super::*;

const BROKER: NodeId = NodeId(3);
const EPOCH: BrokerEpoch = BrokerEpoch(77);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

// There and back, with an answer.
fn travels<Q: Travels + Debug>(question: Q, answer: Q::Answer)
where
    Q::Answer: Debug + Clone + PartialEq,
{
    let asked = Q::of_request(question.request()).expect("it is a request of ours");
    assert_eq!(format!("{asked:?}"), format!("{question:?}"));
    let response = Q::response(&question.request(), answer.clone());
    assert_eq!(question.of_response(response), Ok(answer));
    let refused = Q::refused(ErrorCode::NotController);
    assert_eq!(question.of_response(refused), Err(NotController));
}

#[test]
fn a_registration() {
    let registration = Registration {
        id: BROKER,
        incarnation: id(1),
        endpoints: vec![Endpoint {
            name: "PLAINTEXT".into(),
            host: "here".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: Some("a".into()),
        log_dirs: vec![id(2), id(3)],
        features: vec![FeatureRange { name: "metadata.version".into(), min: 7, max: 30 }],
        previous_epoch: Some(BrokerEpoch(70)),
    };
    let introduction = Introduction { cluster_id: "cluster".into(), registration: registration.clone() };
    assert_eq!(introduction.request().cluster_id.as_str(), "cluster");
    travels(registration.clone(), Ok(EPOCH));
    travels(registration, Err(Refusal::from(ErrorCode::DuplicateBrokerRegistration)));
}

#[test]
fn a_registration_of_a_controller() {
    let registration = ControllerRegistration {
        id: NodeId(4),
        incarnation: id(6),
        endpoints: vec![Endpoint {
            name: "CONTROLLER".into(),
            host: "there".into(),
            port: 9093,
            security_protocol: 0,
        }],
        features: vec![FeatureRange { name: "kraft.version".into(), min: 0, max: 1 }],
    };
    travels(registration.clone(), Ok(()));
    travels(registration, Err(Refusal::new(ErrorCode::UnsupportedVersion, "too old")));
}

#[test]
fn a_heartbeat_and_the_directories_that_are_offline() {
    let heartbeat =
        Heartbeat { want_shutdown: true, offline: vec![id(4)], ..Heartbeat::of(BROKER, EPOCH, 9) };
    travels(
        heartbeat.clone(),
        Ok(HeartbeatAnswer { fenced: false, should_shut_down: true, caught_up: true }),
    );
    travels(heartbeat, Err(Refusal::from(ErrorCode::StaleBrokerEpoch)));
    for cordoned in [None, Some(Vec::new()), Some(vec![id(5), id(6)])] {
        let heartbeat = Heartbeat { cordoned: cordoned.clone(), ..Heartbeat::of(BROKER, EPOCH, 9) };
        let heard = Heartbeat::of_request(heartbeat.request()).expect("it is a heartbeat");
        assert_eq!((heard.cordoned, heard.offline), (cordoned, Vec::new()));
    }
    let full = Heartbeat { full: vec![id(7)], ..Heartbeat::of(BROKER, EPOCH, 9) };
    assert_eq!(Heartbeat::of_request(full.request()).expect("it is a heartbeat").full, [id(7)]);
    assert!(
        Heartbeat::of(BROKER, EPOCH, 9).request().unknown_tagged_fields.is_empty(),
        "Kafka's would be the same"
    );
    for tag in [1, 10_000] {
        let mut broken = Heartbeat::of(BROKER, EPOCH, 9).request();
        broken.unknown_tagged_fields.insert(tag, bytes::Bytes::from_static(&[200, 1]));
        assert_eq!(Heartbeat::of_request(broken).map(|_| ()), Err(ErrorCode::InvalidRequest));
    }
}

#[test]
fn a_block_of_producer_ids() {
    let question = AllocateProducerIds { broker: BROKER, epoch: EPOCH };
    travels(question.clone(), Ok(ProducerIdBlock { first: 1000, len: 1000 }));
    travels(question, Err(Refusal::from(ErrorCode::StaleBrokerEpoch)));
}

#[test]
fn where_replicas_live() {
    let assignment =
        |directory, topic, partition| Assignment { directory: id(directory), topic: id(topic), partition };
    let assignments = vec![assignment(1, 1, 0), assignment(1, 2, 4), assignment(2, 1, 1)];
    let question = AssignReplicas { broker: BROKER, epoch: EPOCH, assignments };
    travels(question, Ok(vec![Ok(()), Err(ErrorCode::UnknownTopicId), Ok(())]));
}

#[test]
fn proposals_of_in_sync_sets() {
    let proposal = |partition_epoch| Proposal {
        leader_epoch: LeaderEpoch(4),
        partition_epoch,
        isr: vec![
            InSyncMember { replica: NodeId(1), broker_epoch: None },
            InSyncMember { replica: NodeId(2), broker_epoch: Some(8) },
        ],
    };
    let one = |topic, partition, epoch, recovering| IsrProposal {
        topic: id(topic),
        partition,
        proposal: proposal(epoch),
        recovering,
    };
    let proposals = vec![one(1, 0, 5, false), one(1, 1, 6, true), one(2, 0, 7, false)];
    let altered = Altered {
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: 6,
        isr: vec![NodeId(1), NodeId(2)],
        recovering: false,
    };
    let question = AlterPartition { broker: BROKER, epoch: EPOCH, proposals };
    let nobody = Altered { leader: None, recovering: true, ..altered.clone() };
    travels(question.clone(), Ok(vec![Ok(altered), Err(ErrorCode::FencedLeaderEpoch), Ok(nobody)]));
    travels(question, Err(Refusal::from(ErrorCode::StaleBrokerEpoch)));
}

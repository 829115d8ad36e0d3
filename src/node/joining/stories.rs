//! Broker 1 comes into its cluster.

use ottla_core::controller::Refusal;
use ottla_model::TopicId;
use ottla_model::record::{PartitionRecord, TopicRecord};
use ottla_protocol::{ErrorCode, LeaderEpoch};
use uuid::Uuid;

use super::*;

const ME: NodeId = NodeId(1);
const HERE: DirectoryId = DirectoryId::from_u128(11);
const EPOCH: BrokerEpoch = BrokerEpoch(7);

/// A topic of one partition, which the controller believes in a directory.
fn image(directory: DirectoryId) -> Image {
    let topic_id = TopicId::from_u128(1);
    let partition = PartitionRecord {
        partition_id: 0,
        topic_id,
        replicas: vec![ME],
        isr: vec![ME],
        leader: Some(ME),
        leader_epoch: LeaderEpoch(1),
        directories: vec![directory],
        ..PartitionRecord::default()
    };
    let mut image = Image::empty();
    for record in [TopicRecord { name: "t".into(), topic_id }.into(), partition.into()] {
        image.apply_in_place(image.offset + 1, LeaderEpoch(1), &record).expect("it applies");
    }
    image
}

fn joining() -> Joining {
    let registration = Registration {
        id: ME,
        incarnation: Uuid::from_u128(5),
        endpoints: Vec::new(),
        rack: None,
        log_dirs: vec![HERE],
        features: Vec::new(),
    };
    Joining::new(
        registration,
        vec![(TopicPartition::new("t", 0), HERE), (TopicPartition::new("gone", 0), HERE)],
    )
}

fn heartbeat(fenced: bool) -> Result<Reply, NotController> {
    Ok(Reply::Heartbeat(Ok(HeartbeatAnswer { fenced, should_shut_down: false, caught_up: true })))
}

/// What follows from these replies, a word for each.
fn check(image: &Image, rows: Vec<(Result<Reply, NotController>, &str)>) {
    let mut joining = joining();
    assert!(matches!(joining.begin(), Command::Bootstrap(_)));
    for (reply, expected) in rows {
        let next = joining.next(reply, image);
        let word = match &next {
            Next::Ask(Command::RegisterBroker(registration)) if !registration.features.is_empty() => {
                "register"
            }
            Next::Ask(Command::AssignReplicas(assign)) if assign.assignments.len() == 1 => "assign",
            Next::Ask(Command::Heartbeat(Heartbeat { epoch: EPOCH, metadata_offset: 1, .. })) => "unfence",
            Next::Joined(EPOCH) => "joined",
            Next::Refused(_) => "refused",
            _ => "something else",
        };
        assert_eq!(word, expected, "{next:?}");
    }
}

#[test]
fn a_broker_registers_tells_where_its_replicas_are_and_is_unfenced() {
    let rows = vec![
        (Ok(Reply::Bootstrapped(())), "register"),
        (Ok(Reply::BrokerRegistered(Ok(EPOCH))), "assign"),
        (Ok(Reply::ReplicasAssigned(Ok(Vec::new()))), "unfence"),
        (heartbeat(false), "joined"),
    ];
    check(&image(DirectoryId::from_u128(12)), rows);
}

#[test]
fn a_controller_that_knows_the_directories_is_not_told() {
    let rows = vec![
        (Ok(Reply::Bootstrapped(())), "register"),
        (Ok(Reply::BrokerRegistered(Ok(EPOCH))), "unfence"),
        (heartbeat(false), "joined"),
    ];
    check(&image(HERE), rows);
}

#[test]
fn a_broker_that_is_refused_or_stays_fenced_does_not_serve() {
    let refusal = Refusal::new(ErrorCode::DuplicateBrokerRegistration, "no");
    check(
        &image(HERE),
        vec![
            (Ok(Reply::Bootstrapped(())), "register"),
            (Ok(Reply::BrokerRegistered(Err(refusal))), "refused"),
        ],
    );
    check(&image(HERE), vec![(Err(NotController), "register"), (Err(NotController), "refused")]);
    let registered = (Ok(Reply::BrokerRegistered(Ok(EPOCH))), "unfence");
    check(
        &image(HERE),
        vec![(Ok(Reply::Bootstrapped(())), "register"), registered, (heartbeat(true), "refused")],
    );
}

#[test]
fn a_folder_of_no_partition_of_this_broker_is_a_stray() {
    let image = image(HERE);
    let rows = [("t", 0, ME, true), ("t", 1, ME, false), ("u", 0, ME, false), ("t", 0, NodeId(2), false)];
    for (topic, index, broker, assigned) in rows {
        assert_eq!(
            is_assigned(broker, &image, &TopicPartition::new(topic, index)),
            assigned,
            "{topic}-{index}"
        );
    }
}

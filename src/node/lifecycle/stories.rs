//! Broker 1 comes into its cluster, lives there and leaves it.

use ottla_core::controller::{HeartbeatAnswer, Refusal};
use ottla_model::TopicId;
use ottla_model::record::{PartitionRecord, TopicRecord};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;

const ME: NodeId = NodeId(1);
const HERE: DirectoryId = DirectoryId::from_u128(11);
const EPOCH: BrokerEpoch = BrokerEpoch(1);
const PATIENCE: Patience = Patience { heartbeat_ms: 2_000, registration_ms: 60_000, leaving_ms: 9_000 };

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

fn lifecycle() -> Lifecycle {
    let registration = Registration {
        id: ME,
        incarnation: Uuid::from_u128(5),
        endpoints: Vec::new(),
        rack: None,
        log_dirs: vec![HERE],
        features: Vec::new(),
    };
    let found = vec![(TopicPartition::new("t", 0), HERE), (TopicPartition::new("gone", 0), HERE)];
    Lifecycle::new(registration, found, PATIENCE, 0)
}

fn heartbeat(fenced: bool) -> Input {
    let answer = HeartbeatAnswer { fenced, should_shut_down: false, caught_up: true };
    Input::Replied(Ok(Reply::Heartbeat(Ok(answer))))
}

fn may_go() -> Input {
    let answer = HeartbeatAnswer { fenced: true, should_shut_down: true, caught_up: true };
    Input::Replied(Ok(Reply::Heartbeat(Ok(answer))))
}

fn stale() -> Input {
    Input::Replied(Ok(Reply::Heartbeat(Err(Refusal::from(ErrorCode::StaleBrokerEpoch)))))
}

fn registered() -> Input {
    Input::Replied(Ok(Reply::BrokerRegistered(Ok(EPOCH))))
}

fn duplicate() -> Input {
    let refusal = Refusal::new(ErrorCode::DuplicateBrokerRegistration, "no");
    Input::Replied(Ok(Reply::BrokerRegistered(Err(refusal))))
}

fn nobody() -> Input {
    Input::Replied(Err(NotController))
}

/// What follows from these inputs at these times, a word for each.
fn check(image: &Image, rows: Vec<(i64, Input, &str)>) {
    let mut life = lifecycle();
    assert!(matches!(life.begin(), Next::Ask(Command::RegisterBroker(_))));
    for (now_ms, input, expected) in rows {
        let story = format!("{input:?} at {now_ms}");
        let next = life.next(now_ms, input, image);
        let word = match &next {
            Next::Ask(Command::RegisterBroker(new)) if !new.features.is_empty() => "register".to_owned(),
            Next::Ask(Command::AssignReplicas(assign)) if assign.assignments.len() == 1 => {
                "assign".to_owned()
            }
            Next::Ask(Command::Heartbeat(beat)) if beat.want_shutdown => "ask to go".to_owned(),
            Next::Ask(Command::Heartbeat(Heartbeat { epoch: EPOCH, metadata_offset: 1, .. })) => {
                "beat".to_owned()
            }
            Next::WaitUntil(at) => format!("wait {}", at - now_ms),
            Next::Joined(EPOCH) => "joined".to_owned(),
            Next::Refused(_) => "refused".to_owned(),
            Next::Left => "left".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(word, expected, "{story}");
    }
}

#[test]
fn a_broker_registers_tells_where_its_replicas_are_and_is_unfenced() {
    let rows = vec![
        (1, registered(), "assign"),
        (2, Input::Replied(Ok(Reply::ReplicasAssigned(Ok(Vec::new())))), "beat"),
        (3, heartbeat(false), "joined"),
        (3, Input::Due, "beat"),
        (4, heartbeat(false), "wait 2000"),
        (2004, Input::Due, "beat"),
    ];
    check(&image(DirectoryId::from_u128(12)), rows);
}

#[test]
fn a_controller_that_knows_the_directories_is_not_told() {
    let rows = vec![(0, registered(), "beat"), (0, heartbeat(false), "joined")];
    check(&image(HERE), rows);
}

#[test]
fn it_serves_once_it_knows_its_own_registration() {
    let behind = Image::empty();
    let rows = vec![(0, registered(), "wait 20"), (20, Input::Due, "wait 20")];
    check(&behind, rows);
    let rows = vec![
        (0, registered(), "beat"),
        (0, heartbeat(true), "wait 20"),
        (20, Input::Due, "beat"),
        (21, heartbeat(false), "joined"),
    ];
    check(&image(HERE), rows);
}

#[test]
fn without_a_controller_it_asks_again_and_in_the_end_gives_up() {
    let rows = vec![
        (0, nobody(), "wait 50"),
        (50, Input::Due, "register"),
        (50, nobody(), "wait 100"),
        (150, nobody(), "wait 200"),
        (350, nobody(), "wait 400"),
        (750, nobody(), "wait 500"),
        (59_999, nobody(), "wait 500"),
        (60_000, nobody(), "refused"),
    ];
    check(&image(HERE), rows);
}

#[test]
fn a_second_process_of_one_node_waits_for_the_session_of_the_first_one() {
    let rows =
        vec![(0, duplicate(), "wait 50"), (59_000, Input::Due, "register"), (60_000, duplicate(), "refused")];
    check(&image(HERE), rows);
    let refusal = Refusal::new(ErrorCode::InconsistentClusterId, "another cluster");
    let elsewhere = Input::Replied(Ok(Reply::BrokerRegistered(Err(refusal))));
    check(&image(HERE), vec![(0, elsewhere, "refused")]);
}

fn joined() -> Vec<(i64, Input, &'static str)> {
    vec![(0, registered(), "beat"), (0, heartbeat(false), "joined")]
}

#[test]
fn a_broker_that_the_controller_forgot_registers_anew() {
    let mut rows = joined();
    rows.extend([(0, Input::Due, "beat"), (1, stale(), "wait 50"), (51, Input::Due, "register")]);
    rows.extend([(52, registered(), "beat"), (53, heartbeat(false), "joined")]);
    check(&image(HERE), rows);
}

#[test]
fn a_broker_that_meets_no_controller_beats_again_soon() {
    let mut rows = joined();
    rows.extend([(0, Input::Due, "beat"), (5, nobody(), "wait 50"), (55, Input::Due, "beat")]);
    rows.extend([(60, heartbeat(true), "wait 2000")]);
    check(&image(HERE), rows);
}

#[test]
fn it_leaves_when_it_may_and_not_later_than_it_would_be_missed() {
    let mut rows = joined();
    rows.extend([(10, Input::Leave, "ask to go"), (11, heartbeat(false), "wait 20")]);
    rows.extend([(31, Input::Due, "ask to go"), (32, may_go(), "left")]);
    check(&image(HERE), rows);
    let mut rows = joined();
    rows.extend([(0, Input::Leave, "ask to go"), (8_999, nobody(), "wait 50"), (9_049, nobody(), "left")]);
    check(&image(HERE), rows);
    check(&image(HERE), vec![(1, Input::Leave, "left")]);
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

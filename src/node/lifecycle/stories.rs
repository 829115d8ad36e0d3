//! Broker 1 lives in its cluster, told as rows: when something happens, what it is, and what the broker does.

use ottla_model::TopicId;
use ottla_model::record::{PartitionRecord, TopicRecord};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;

const ME: NodeId = NodeId(1);
const HERE: DirectoryId = DirectoryId::from_u128(11);
const ELSEWHERE: DirectoryId = DirectoryId::from_u128(12);
const EPOCH: BrokerEpoch = BrokerEpoch(0);

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

const TIMING: Timing =
    Timing { heartbeat_interval_ms: 2_000, registration_timeout_ms: 60_000, controlled_shutdown: true };

fn lifecycle(timing: Timing) -> Lifecycle {
    let registration = Registration {
        id: ME,
        incarnation: Uuid::from_u128(5),
        endpoints: Vec::new(),
        rack: None,
        log_dirs: vec![HERE],
        features: Vec::new(),
        previous_epoch: None,
    };
    let found = vec![(TopicPartition::new("t", 0), HERE), (TopicPartition::new("gone", 0), HERE)];
    Lifecycle::new(registration, found, timing)
}

/// One row: at that time, this happens, and the broker does this. "-": nothing.
type Row = (i64, Input, &'static str);

fn word(output: &Output) -> String {
    match output {
        Output::Ask(Command::RegisterBroker(registration)) => {
            assert!(!registration.features.is_empty(), "it says what it supports");
            "register".into()
        }
        Output::Ask(Command::AssignReplicas(assign)) => format!("assign {}", assign.assignments.len()),
        Output::Ask(Command::Heartbeat(beat)) => {
            let wish = match (beat.want_fence, beat.want_shutdown) {
                (false, false) => "serve",
                (true, false) => "wait",
                (false, true) => "leave",
                (true, true) => "end",
            };
            let failed = if beat.offline.is_empty() { "" } else { " failed" };
            let full = if beat.full.is_empty() { "" } else { " full" };
            let cordoned = if beat.cordoned.is_some() { " cordoned" } else { "" };
            format!("{wish} in {}{failed}{full}{cordoned}", beat.epoch)
        }
        Output::Ask(other) => panic!("{other:?}"),
        Output::Registered(epoch) => format!("registered {epoch}"),
        Output::Joined(epoch) => format!("joined {epoch}"),
        Output::Waits(_) => "waits".into(),
        Output::Refused(_) => "refused".into(),
        Output::StopNow => "stop".into(),
    }
}

fn check(story: &str, timing: Timing, image: &Image, rows: Vec<Row>) -> Lifecycle {
    let mut lifecycle = lifecycle(timing);
    for (now_ms, input, expected) in rows {
        let what = format!("{input:?}");
        let said: Vec<String> = lifecycle.step(now_ms, input, image).iter().map(word).collect();
        let said = if said.is_empty() { "-".to_owned() } else { said.join(", ") };
        assert_eq!(said, expected, "{story}: at {now_ms}, {what}");
    }
    lifecycle
}

fn registered(epoch: BrokerEpoch) -> Input {
    Input::Answered(Ok(Reply::BrokerRegistered(Ok(epoch))))
}

fn refused(code: ErrorCode) -> Input {
    Input::Answered(Ok(Reply::BrokerRegistered(Err(Refusal::new(code, "no")))))
}

fn beat(fenced: bool, should_shut_down: bool, caught_up: bool) -> Input {
    Input::Answered(Ok(Reply::Heartbeat(Ok(HeartbeatAnswer { fenced, should_shut_down, caught_up }))))
}

fn stale() -> Input {
    let refusal = Refusal::new(ErrorCode::StaleBrokerEpoch, "another one");
    Input::Answered(Ok(Reply::Heartbeat(Err(refusal))))
}

fn nobody() -> Input {
    Input::Answered(Err(NotController))
}

/// Until it serves, at time 0.
fn joined(mut rows: Vec<Row>) -> Vec<Row> {
    let mut all = vec![
        (0, Input::Time, "register"),
        (0, registered(EPOCH), "registered 0, serve in 0"),
        (0, beat(false, false, true), "joined 0"),
    ];
    all.append(&mut rows);
    all
}

#[test]
fn a_broker_registers_tells_where_its_replicas_are_and_is_unfenced() {
    check("the controller knows it", TIMING, &image(HERE), joined(vec![]));
    let assigned = Input::Answered(Ok(Reply::ReplicasAssigned(Ok(Vec::new()))));
    let rows = vec![
        (0, Input::Time, "register"),
        (1, registered(EPOCH), "registered 0, assign 1"),
        (2, assigned, "serve in 0"),
        (3, beat(true, false, true), "-"),
        (102, Input::Time, "-"),
        (103, Input::Time, "serve in 0"),
        (103, beat(false, false, true), "joined 0"),
        (2_102, Input::Time, "-"),
        (2_103, Input::Time, "serve in 0"),
    ];
    check("it has to be told", TIMING, &image(ELSEWHERE), rows);
}

#[test]
fn a_broker_that_is_behind_waits_until_it_has_seen_its_registration() {
    let rows = vec![
        (0, Input::Time, "register"),
        (0, registered(BrokerEpoch(7)), "registered 7, wait in 7"),
        (0, beat(true, false, false), "-"),
        (9, Input::Time, "-"),
        (10, Input::Time, "wait in 7"),
        (11, beat(true, false, true), "serve in 7"),
        (12, beat(false, false, true), "joined 7"),
    ];
    check("it catches up", TIMING, &image(HERE), rows);
}

#[test]
fn registration_is_tried_again_for_a_while() {
    let rows = vec![
        (0, Input::Time, "register"),
        (0, nobody(), "waits"),
        (49, Input::Time, "-"),
        (50, Input::Time, "register"),
        (50, nobody(), "-"),
        (149, Input::Time, "-"),
        (150, Input::Time, "register"),
        (150, refused(ErrorCode::DuplicateBrokerRegistration), "waits"),
        (60_000, Input::Time, "refused"),
        (70_000, Input::Time, "-"),
    ];
    let lifecycle = check("nobody answers, and then another one is there", TIMING, &image(HERE), rows);
    assert_eq!(lifecycle.due_ms(), None);
    for code in
        [ErrorCode::InconsistentClusterId, ErrorCode::InvalidRegistration, ErrorCode::UnsupportedVersion]
    {
        let rows = vec![(0, Input::Time, "register"), (0, refused(code), "refused"), (100, Input::Time, "-")];
        check("it will never be right", TIMING, &image(HERE), rows);
    }
}

#[test]
fn a_broker_says_that_it_lives_and_what_is_new() {
    let rows = joined(vec![
        (1_999, Input::Time, "-"),
        (2_000, Input::Time, "serve in 0"),
        (2_100, nobody(), "waits"),
        (2_150, Input::Time, "serve in 0"),
        (2_200, beat(false, false, true), "-"),
        (3_000, Input::DirectoriesFailed(vec![HERE]), "serve in 0 failed"),
        (3_001, Input::Cordoned(vec![ELSEWHERE]), "-"),
        (3_002, beat(false, false, true), "serve in 0 failed cordoned"),
        (3_003, beat(true, false, true), "-"),
        (5_003, Input::Time, "serve in 0 failed cordoned"),
        (5_004, beat(false, false, true), "-"),
        (5_100, Input::DirectoriesFull(vec![ELSEWHERE]), "serve in 0 failed full cordoned"),
        (5_101, Input::DirectoriesFull(Vec::new()), "-"),
        (5_102, beat(false, false, true), "serve in 0 failed cordoned"),
    ]);
    check("it serves", TIMING, &image(HERE), rows);
}

#[test]
fn whoever_leads_next_is_asked_at_once() {
    let rows = joined(vec![
        (1_000, Input::AnotherLeads, "-"),
        (2_000, Input::Time, "serve in 0"),
        (2_100, nobody(), "waits"),
        (2_150, Input::Time, "serve in 0"),
        (2_151, nobody(), "-"),
        (2_160, Input::AnotherLeads, "serve in 0"),
        (2_161, Input::AnotherLeads, "-"),
        (2_162, nobody(), "serve in 0"),
        (2_163, nobody(), "-"),
        (2_213, Input::Time, "serve in 0"),
        (2_213, beat(false, false, true), "-"),
        (2_214, Input::AnotherLeads, "-"),
    ]);
    check("controllers come and go", TIMING, &image(HERE), rows);
    let rows = vec![
        (0, Input::Time, "register"),
        (0, nobody(), "waits"),
        (1, Input::AnotherLeads, "register"),
        (1, nobody(), "-"),
        (51, Input::Time, "register"),
    ];
    check("before it is known", TIMING, &image(HERE), rows);
}

#[test]
fn a_broker_that_is_not_known_any_more_registers_again() {
    let rows = joined(vec![
        (2_000, Input::Time, "serve in 0"),
        (2_000, stale(), "waits"),
        (2_050, Input::Time, "register"),
        (2_050, refused(ErrorCode::DuplicateBrokerRegistration), "waits"),
        (90_000, Input::Time, "register"),
        (90_000, registered(BrokerEpoch(1)), "registered 1, serve in 1"),
        (90_000, beat(false, false, true), "-"),
        (92_000, Input::Time, "serve in 1"),
    ]);
    check("its session had ended", TIMING, &image(HERE), rows);
}

#[test]
fn a_broker_hands_over_before_it_stops() {
    let stop = || Input::Stop { deadline_ms: 9_000 };
    let rows = joined(vec![
        (1_000, stop(), "leave in 0"),
        (1_001, beat(false, false, true), "-"),
        (1_051, Input::Time, "leave in 0"),
        (1_052, beat(false, false, true), "-"),
        (1_152, Input::Time, "leave in 0"),
        (1_153, beat(true, true, true), "stop"),
        (9_000, Input::Time, "-"),
    ]);
    check("others take over", TIMING, &image(HERE), rows);
    let rows = joined(vec![
        (2_000, Input::Time, "serve in 0"),
        (2_001, stop(), "-"),
        (2_002, beat(false, false, true), "leave in 0"),
        (7_001, Input::Time, "-"),
        (7_002, Input::Time, "stop"),
    ]);
    let mut late = joined(vec![(1_000, stop(), "leave in 0")]);
    for at_ms in (1_000..9_000).step_by(2_000) {
        late.extend([(at_ms + 1, beat(false, false, true), "-"), (at_ms + 2_000, Input::Time, "leave in 0")]);
    }
    late.pop();
    late.push((9_000, Input::Time, "stop"));
    check("nobody takes over", TIMING, &image(HERE), late);
    let lifecycle = check("nobody answers", TIMING, &image(HERE), rows);
    assert_eq!(lifecycle.due_ms(), None);
    let at_once = Timing { controlled_shutdown: false, ..TIMING };
    let rows = joined(vec![(1_000, stop(), "end in 0"), (1_001, beat(true, true, true), "stop")]);
    check("without a controlled shutdown", at_once, &image(HERE), rows);
    let rows = vec![(0, Input::Time, "register"), (1, stop(), "stop"), (2, registered(EPOCH), "-")];
    check("it does not serve yet", TIMING, &image(HERE), rows);
}

#[test]
fn what_is_due_is_known() {
    let lifecycle = check("it serves", TIMING, &image(HERE), joined(vec![]));
    assert_eq!(lifecycle.due_ms(), Some(2_000));
    let rows = joined(vec![(1_000, Input::Stop { deadline_ms: 9_000 }, "leave in 0")]);
    assert_eq!(check("it stops", TIMING, &image(HERE), rows).due_ms(), Some(6_000), "an answer is awaited");
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

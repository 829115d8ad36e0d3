//! The lives of brokers: registered, serving, shutting down, fenced, back (KIP-631), and what becomes of the partitions.
//! Partitions are written as in `leadership.rs`. Rows follow Kafka's `ClusterControlManagerTest`,
//! `BrokerHeartbeatManagerTest` and `ReplicationControlManagerTest`.

use super::leadership::{GIVEN, Given};
use super::*;

impl Cluster {
    fn wants(&self, id: i32, want_fence: bool, want_shutdown: bool) -> Heartbeat {
        let beat = Heartbeat::of(NodeId(id), self.epoch(id), self.image.offset);
        Heartbeat { want_fence, want_shutdown, ..beat }
    }

    /// What becomes of a broker with its heartbeat, in a word.
    fn asks(&mut self, id: i32, want_fence: bool, want_shutdown: bool) -> &'static str {
        let beat = self.wants(id, want_fence, want_shutdown);
        let answer = self.hear(beat).expect("it is registered");
        let broker = self.image.broker(NodeId(id)).expect("it is registered");
        assert_eq!(broker.fenced, answer.fenced, "what is told is what is written");
        match (answer.fenced, answer.should_shut_down) {
            (true, true) => "gone",
            (true, false) => "fenced",
            (false, false) if broker.in_controlled_shutdown => "leaving",
            (false, false) => "serving",
            (false, true) => "nothing that Kafka says",
        }
    }
}

#[test]
fn a_broker_is_what_it_asks_for_unless_it_leads() {
    let rows = [
        ("it serves on", "21 isr 21 leader 2", false, false, "serving"),
        ("it is fenced", "21 isr 21 leader 2", true, false, "fenced"),
        ("it stops and leads nothing", "21 isr 21 leader 2", false, true, "gone"),
        ("it leads", "12 isr 12 leader 1", false, true, "leaving"),
        ("it leads and is in a hurry", "12 isr 12 leader 1", true, true, "gone"),
    ];
    for (story, before, fence, shutdown, expected) in rows {
        let mut cluster = Given { before, ..GIVEN }.cluster();
        assert_eq!(cluster.asks(1, fence, shutdown), expected, "{story}");
    }
    let mut cluster = Given { before: "2 isr 2 leader 2", alive: "2345", ..GIVEN }.cluster();
    assert_eq!(cluster.asks(1, true, false), "fenced", "it stays fenced");
    assert_eq!(cluster.asks(1, false, true), "gone", "nobody needs one that is fenced");
    assert_eq!(cluster.asks(1, false, false), "serving");
}

#[test]
fn a_broker_that_stops_hands_over_first_and_waits_until_everybody_knows() {
    let mut cluster = Given { before: "123 isr 123 leader 1", ..GIVEN }.cluster();
    assert_eq!(cluster.asks(1, false, true), "leaving");
    assert_eq!(cluster.printed(), "123 isr 23 leader 2 rises", "the others lead, and it is not in sync");
    assert_eq!(cluster.asks(1, false, true), "leaving", "nobody has seen that yet");
    for id in 2..=4 {
        cluster.asks(id, false, false);
    }
    assert_eq!(cluster.asks(1, false, true), "leaving", "broker 5 is behind");
    cluster.asks(5, false, false);
    assert_eq!(cluster.asks(1, false, true), "gone");
    assert!(cluster.image.broker(NodeId(1)).expect("it is registered").fenced);
}

// Found by the simulator: the heartbeat was on its way for three seconds. The broker would lead until it gives up its stop.
#[test]
fn a_heartbeat_from_before_a_stop_does_not_bring_the_broker_back() {
    let mut cluster = Given { before: "1 isr 1 leader 1", ..GIVEN }.cluster();
    let (epoch, late) = (cluster.epoch(1), cluster.wants(1, false, false));
    assert_eq!(cluster.asks(1, false, true), "leaving");
    cluster.wait();
    let fenced = cluster.with_view(|view| perform(view, Duty::Fence(NodeId(1))));
    cluster.apply(&fenced);
    let answer = cluster.hear(Heartbeat { metadata_offset: cluster.image.offset, ..late });
    assert!(answer.expect("it is registered").fenced);
    assert_eq!(cluster.image.partition("t", 0).expect("it is there").leader, None);
    assert_eq!(cluster.asks(1, false, true), "gone");
    let next = cluster.register_cleanly(1, 77);
    assert!(next > epoch);
    assert_eq!(cluster.asks(1, false, false), "serving", "another process may");
}

// Found by the simulator: the broker was fenced again by what it had said while it started.
#[test]
fn a_heartbeat_that_was_overtaken_changes_nothing() {
    let mut cluster = Given { before: "12 isr 12 leader 1", ..GIVEN }.cluster();
    let late = cluster.wants(1, true, false);
    cluster.create(topic("more", 1, 1)).expect("the metadata goes on");
    assert_eq!(cluster.asks(1, false, false), "serving");
    let before = cluster.image.offset;
    assert!(!cluster.hear(late.clone()).expect("it is registered").fenced);
    assert_eq!((cluster.image.offset, cluster.printed()), (before, "12 isr 12 leader 1".into()));
    // Another controller has heard nothing yet, and takes it for new, as Kafka does.
    cluster.sessions.begin(&cluster.image, cluster.now_ms);
    assert!(cluster.hear(late).expect("it is registered").fenced);
}

#[test]
fn a_broker_that_leaves_leads_nothing_new() {
    let mut cluster = Given { before: "12 isr 12 leader 1", ..GIVEN }.cluster();
    assert_eq!(cluster.asks(1, false, true), "leaving");
    let created = cluster.create(assigned("new", &[(0, &[1, 2])])).map(drop);
    assert_eq!(created, Ok(()));
    let partition = cluster.image.partition("new", 0).expect("it is there");
    assert_eq!((partition.leader, &partition.isr[..]), (Some(NodeId(2)), &[NodeId(2)][..]));
}

#[test]
fn the_last_broker_leaves_its_partitions_without_a_leader() {
    let mut cluster = Given { before: "1 isr 1 leader 1", alive: "1", min_isr: "1", ..GIVEN }.cluster();
    assert_eq!(cluster.asks(1, false, true), "leaving");
    assert_eq!(cluster.printed(), "1 elr 1 last 1 rises");
    assert_eq!(cluster.asks(1, false, true), "gone");
    let epoch = cluster.register_cleanly(1, 9);
    assert_eq!(cluster.printed(), "1 elr 1 last 1 rises");
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(cluster.printed(), "1 isr 1 leader 1 rises", "nothing was lost");
}

// Kafka: testUncleanShutdown..., KAFKA-15586.
#[test]
fn a_broker_that_comes_back_without_a_clean_stop_is_not_eligible() {
    type Row<'a> = (&'a str, &'a str, &'a str, &'a str);
    let rows: [Row<'_>; 5] = [
        ("others lead on", "123 isr 123 leader 1", "123 isr 23 leader 2 rises", "123 isr 23 leader 2 rises"),
        (
            "it is out of the set",
            "123 isr 23 elr 1 leader 2",
            "123 isr 23 leader 2",
            "123 isr 23 elr 1 leader 2",
        ),
        (
            "it was eligible",
            "123 isr 2 elr 13 leader 2",
            "123 isr 2 elr 3 leader 2",
            "123 isr 2 elr 13 leader 2",
        ),
        ("it led last", "123 isr 1 leader 1", "123 last 1 rises", "123 elr 1 last 1 rises"),
        ("it has nothing to do with it", "23 isr 23 leader 2", "23 isr 23 leader 2", "23 isr 23 leader 2"),
    ];
    for (story, before, killed, stopped) in rows {
        let mut cluster = Given { before, ..GIVEN }.cluster();
        cluster.wait();
        cluster.register(1, 9).expect("its session has ended");
        assert_eq!(cluster.printed(), killed, "{story}");
        let mut cluster = Given { before, ..GIVEN }.cluster();
        cluster.wait();
        cluster.register_cleanly(1, 9);
        assert_eq!(cluster.printed(), stopped, "{story}, after a clean stop");
    }
    // Without eligible leader replicas, whoever was the last in sync stays in the set.
    let given = Given { before: "123 isr 1 leader 1", eligible: false, ..GIVEN };
    let mut cluster = given.cluster();
    cluster.wait();
    let epoch = cluster.register(1, 9).expect("its session has ended");
    assert_eq!(cluster.printed(), "123 isr 1 rises");
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(cluster.printed(), "123 isr 1 leader 1 rises");
}

#[test]
fn a_process_that_registers_again_stays_what_it_is() {
    let mut cluster = Given { before: "12 isr 12 leader 1", ..GIVEN }.cluster();
    let epoch = cluster.epoch(1);
    assert_eq!(cluster.register(1, 1), Ok(epoch), "its session goes on, and it is the same process");
    assert_eq!(cluster.printed(), "12 isr 12 leader 1");
    assert!(!cluster.image.broker(NodeId(1)).expect("it is registered").fenced);
}

#[test]
fn another_process_waits_only_for_one_that_this_controller_has_heard_of() {
    let mut cluster = Cluster::new(1);
    assert_eq!(cluster.register(1, 2), Err(ErrorCode::DuplicateBrokerRegistration));
    let mut sessions = Sessions::new(9_000);
    sessions.begin(&cluster.image, cluster.now_ms);
    cluster.sessions = sessions;
    assert!(cluster.register(1, 2).is_ok(), "a controller that has just become active has heard of nobody");
}

#[test]
fn the_epoch_is_the_offset_of_the_record_and_grows() {
    let mut cluster = Given { before: "12 isr 12 leader 1", ..GIVEN }.cluster();
    let before = cluster.epoch(1);
    cluster.wait();
    let epoch = cluster.register(1, 9).expect("its session has ended");
    assert!(epoch > before);
    assert_eq!(epoch.0, cluster.image.offset, "the registration comes after what it changes elsewhere");
}

#[test]
fn a_registration_that_cannot_be_right_is_refused() {
    use ErrorCode::{InvalidRegistration, UnsupportedVersion};
    let given = Given { before: "2 isr 2 leader 2", ..GIVEN };
    let without = |name: &str| supported().into_iter().filter(|f| f.name != name).collect::<Vec<_>>();
    let up_to = |name: &str, max| {
        let mut features = without(name);
        features.push(FeatureRange { name: name.to_owned(), min: 0, max });
        features
    };
    let new = || registration(7, 7);
    let reserved = Uuid::from_u128(99);
    let rows = [
        ("it is right", new(), Ok(())),
        ("no directory", Registration { log_dirs: vec![], ..new() }, Err(InvalidRegistration)),
        ("a directory twice", Registration { log_dirs: vec![home(7); 2], ..new() }, Err(InvalidRegistration)),
        ("a reserved id", Registration { log_dirs: vec![reserved], ..new() }, Err(InvalidRegistration)),
        ("another's directory", Registration { log_dirs: vec![home(2)], ..new() }, Err(InvalidRegistration)),
        (
            "nothing of metadata",
            Registration { features: without("metadata.version"), ..new() },
            Err(InvalidRegistration),
        ),
        (
            "too old a broker",
            Registration { features: up_to("metadata.version", 29), ..new() },
            Err(UnsupportedVersion),
        ),
        (
            "it has not heard of a feature in use",
            Registration { features: without("eligible.leader.replicas.version"), ..new() },
            Err(UnsupportedVersion),
        ),
        (
            "nor of one that is not in use",
            Registration { features: without("share.version"), ..new() },
            Ok(()),
        ),
    ];
    for (story, registration, expected) in rows {
        let outcome = given.cluster().ask(registration).map(drop).map_err(|refusal| refusal.code);
        assert_eq!(outcome, expected, "{story}");
    }
    let old = Given { level: 16, eligible: false, ..given };
    let nowhere = Registration { log_dirs: Vec::new(), ..new() };
    assert!(old.cluster().ask(nowhere).is_ok(), "before 3.7 directories had no ids");
}

#[test]
fn a_broker_that_is_unregistered_is_expected_no_more() {
    let mut cluster = Given { before: "123 isr 12 elr 3 leader 1", min_isr: "3", ..GIVEN }.cluster();
    assert_eq!(cluster.ask(UnregisterBroker { broker: NodeId(1) }), Ok(()));
    assert_eq!(cluster.printed(), "123 isr 2 elr 3 leader 2 rises");
    assert_eq!(cluster.ask(UnregisterBroker { broker: NodeId(3) }), Ok(()));
    assert_eq!(cluster.printed(), "123 isr 2 leader 2 rises");
    assert!(cluster.image.broker(NodeId(1)).is_none());
    let refusal = cluster.ask(UnregisterBroker { broker: NodeId(1) }).expect_err("it is gone");
    assert_eq!(refusal.code, ErrorCode::BrokerIdNotRegistered);
    assert_eq!(refusal.message, "Broker ID 1 is not currently registered");
}

#[test]
fn a_heartbeat_says_which_directories_failed_and_which_take_nothing_new() {
    let mut cluster = Given { before: "12 isr 12 leader 1", ..GIVEN }.cluster();
    cluster.wait();
    let before = Registration { log_dirs: vec![home(1), home(9)], ..registration(1, 9) };
    let epoch = cluster.ask(before).expect("its session has ended");
    cluster.beat(1, epoch).expect("it is registered");
    let beat = Heartbeat::of(NodeId(1), epoch, cluster.image.offset);
    let cordoned = Heartbeat { cordoned: Some(vec![home(1)]), ..beat.clone() };
    let before = cluster.image.offset;
    cluster.hear(Heartbeat { cordoned: Some(Vec::new()), ..beat.clone() }).expect("it is registered");
    assert_eq!(cluster.image.offset, before, "none are cordoned, as before: a start would wait for that");
    for expected in [1, 0] {
        let before = cluster.image.offset;
        cluster.hear(cordoned.clone()).expect("it is registered");
        assert_eq!(cluster.image.offset - before, expected, "what is known is not written again");
    }
    let failed = Heartbeat { offline: vec![home(1), Uuid::from_u128(5_000)], want_shutdown: true, ..beat };
    let answer = cluster.hear(failed.clone()).expect("it is registered");
    assert!(!answer.fenced, "the directories come first");
    let broker = cluster.image.broker(NodeId(1)).expect("it is registered");
    assert_eq!((&broker.log_dirs[..], &broker.cordoned_log_dirs), (&[home(9)][..], &Some(vec![home(1)])));
    assert!(cluster.hear(failed).expect("it is registered").fenced, "and then the rest");
}

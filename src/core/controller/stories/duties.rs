//! What the controller does by itself: silent brokers, preferred leaders, partitions that nobody leads.

use super::leadership::{GIVEN, Given};
use super::*;

impl Cluster {
    fn perform(&mut self, duty: Duty) -> usize {
        let records = self.with_view(|view| perform(view, duty));
        self.apply(&records);
        records.len()
    }
}

fn check(given: &Given, duty: Duty, story: &str, after: &str) {
    let mut cluster = given.cluster();
    cluster.perform(duty);
    assert_eq!(cluster.printed(), after, "{story}");
    assert_eq!(cluster.perform(duty), 0, "{story}: once is enough");
}

#[test]
fn a_silent_broker_neither_leads_nor_is_in_sync() {
    let fenced = Duty::Fence(NodeId(1));
    let given = |before| Given { before, ..GIVEN };
    check(&given("123 isr 123 leader 1"), fenced, "another leads", "123 isr 23 leader 2 rises");
    check(&given("213 isr 213 leader 2"), fenced, "a follower", "213 isr 23 leader 2");
    check(&given("12 isr 1 leader 1"), fenced, "nobody else is in sync", "12 elr 1 last 1 rises");
    let without = Given { eligible: false, ..given("12 isr 1 leader 1") };
    check(&without, fenced, "nor anybody eligible", "12 isr 1 rises");
    let unclean = Given { unclean: "true", ..without };
    check(&unclean, fenced, "the topic rather has any leader", "12 isr 2 leader 2 recovering rises");
    let mut cluster = given("123 isr 123 leader 1").cluster();
    cluster.perform(fenced);
    assert!(cluster.image.broker(NodeId(1)).expect("it is registered").fenced);
    assert_eq!(cluster.perform(Duty::Fence(NodeId(9))), 0, "nobody knows it");
}

#[test]
fn sessions_end_one_by_one_and_begin_anew_with_a_controller() {
    let mut cluster = Cluster::new(3);
    let silent = |cluster: &Cluster| cluster.sessions.silent(&cluster.image, cluster.now_ms);
    cluster.now_ms = 9_000;
    assert_eq!(silent(&cluster), []);
    cluster.beat(2, cluster.epoch(2)).expect("it is registered");
    cluster.now_ms = 9_001;
    assert_eq!(silent(&cluster), [NodeId(1), NodeId(3)]);
    cluster.perform(Duty::Fence(NodeId(1)));
    assert_eq!(silent(&cluster), [NodeId(3)], "what is fenced is not fenced again");

    let mut other = Sessions::new(9_000);
    other.begin(&cluster.image, cluster.now_ms);
    cluster.sessions = other;
    assert_eq!(silent(&cluster), [], "another controller has just become active");
    cluster.now_ms += 9_001;
    assert_eq!(silent(&cluster), [NodeId(2), NodeId(3)]);
    cluster.sessions.pardon(5_000);
    assert_eq!(silent(&cluster), [], "it was not listening itself for so long");
}

#[test]
fn a_broker_that_is_late_is_looked_for_once_in_the_time_between_heartbeats() {
    let mut cluster = Cluster::new(2);
    let epoch = cluster.epoch(1);
    let late = |cluster: &mut Cluster, now_ms| {
        let late = cluster.sessions.late(&cluster.image, 2_000, now_ms);
        late.into_iter().map(|(id, _)| id).collect::<Vec<NodeId>>()
    };
    assert_eq!(late(&mut cluster, 3_000), [], "not yet");
    assert_eq!(late(&mut cluster, 3_001), [NodeId(1), NodeId(2)]);
    assert_eq!(late(&mut cluster, 5_000), [], "they were looked for");
    cluster.now_ms = 5_001;
    cluster.beat(1, epoch).expect("it is registered");
    assert_eq!(late(&mut cluster, 5_001), [NodeId(2)], "again");
    let still = |cluster: &Cluster, id, epoch| {
        cluster.sessions.is_late(&cluster.image, (NodeId(id), epoch), 2_000, 5_100)
    };
    assert!(still(&cluster, 2, cluster.epoch(2)));
    assert!(!still(&cluster, 1, epoch), "it was heard of in the meantime");
    assert!(!still(&cluster, 2, epoch), "another process");
    cluster.perform(Duty::Fence(NodeId(2)));
    assert!(!still(&cluster, 2, cluster.epoch(2)), "it is fenced already");
}

#[test]
fn leadership_goes_back_to_the_preferred_replica() {
    let given = |before| Given { before, ..GIVEN };
    let balance = Duty::ElectPreferred;
    check(&given("12 isr 21 leader 2"), balance, "it is in sync", "12 isr 21 leader 1 rises");
    check(&given("12 isr 2 leader 2"), balance, "it is not", "12 isr 2 leader 2");
    check(&given("12 isr 12 leader 1"), balance, "it leads", "12 isr 12 leader 1");
    let fenced = Given { alive: "2345", ..given("12 isr 2 leader 2") };
    check(&fenced, balance, "it is fenced", "12 isr 2 leader 2");
}

#[test]
fn somebody_leads_where_the_topic_rather_has_any_leader() {
    let unclean = Given { before: "12 isr 1", alive: "2345", unclean: "true", eligible: false, ..GIVEN };
    check(&unclean, Duty::ElectUnclean, "it may", "12 isr 2 leader 2 recovering rises");
    let clean = Given { unclean: "false", ..unclean };
    check(&clean, Duty::ElectUnclean, "it may not", "12 isr 1");
    let nobody = Given { alive: "345", ..unclean };
    check(&nobody, Duty::ElectUnclean, "nobody is alive", "12 isr 1");
}

#[test]
fn not_more_than_a_thousand_leaders_change_at_once() {
    let mut cluster = Cluster::new(2);
    let partitions: Vec<(i32, Vec<i32>)> = (0..1_500).map(|index| (index, vec![1, 2])).collect();
    let rows: Vec<(i32, &[i32])> = partitions.iter().map(|(index, ids)| (*index, &ids[..])).collect();
    cluster.create(assigned("t", &rows)).expect("created");
    cluster.perform(Duty::Fence(NodeId(1)));
    cluster.beat(1, cluster.epoch(1)).expect("it is registered");
    let id = cluster.image.topic("t").expect("it is there").id;
    for index in 0..1_500 {
        let isr = Some(vec![NodeId(1), NodeId(2)]);
        let change = PartitionChangeRecord { partition_id: index, topic_id: id, isr, ..Default::default() };
        cluster.apply(&[change.into()]);
    }
    assert_eq!(cluster.perform(Duty::ElectPreferred), ELECTIONS_MAX);
    assert_eq!(cluster.perform(Duty::ElectPreferred), 500);
    assert_eq!(cluster.perform(Duty::ElectPreferred), 0);
}

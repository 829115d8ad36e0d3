//! Who leads and who is in sync, told as partitions before and after (KIP-966, KIP-455). The rows named with `Kafka` in
//! the comment above them are what its `PartitionChangeBuilderTest` shows.
//!
//! A partition is written as "213 isr 21 elr 3 leader 1": the replicas, and then what is not empty. "rises" says that
//! the leader epoch went up.

use ottla_model::DirectoryId;
use ottla_model::feature::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION};
use ottla_model::image::Partition;
use ottla_model::record::{
    BrokerRegistrationChangeRecord, FeatureLevelRecord, FencingChange, LEADER_RECOVERED, LEADER_RECOVERING,
    PartitionRecord,
};

use super::*;
use crate::controller::leadership::{self, Candidates, Target};

const LOST: DirectoryId = Uuid::from_u128(2000);

pub(super) fn nodes(digits: &str) -> Vec<NodeId> {
    digits.chars().map(|digit| NodeId(digit.to_digit(10).expect("a digit") as i32)).collect()
}

fn digits(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::to_string).collect()
}

fn parse(text: &str) -> PartitionRecord {
    let mut words = text.split(' ');
    let replicas = nodes(words.next().expect("replicas"));
    let directories = replicas.iter().map(|id| home(id.0)).collect();
    let mut record = PartitionRecord {
        partition_id: 0,
        replicas,
        directories,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        ..Default::default()
    };
    while let Some(word) = words.next() {
        let mut ids = || nodes(words.next().expect(text));
        match word {
            "isr" => record.isr = ids(),
            "elr" => record.eligible_leader_replicas = Some(ids()),
            "last" => record.last_known_elr = Some(ids()),
            "adding" => record.adding_replicas = ids(),
            "removing" => record.removing_replicas = ids(),
            "leader" => record.leader = ids().first().copied(),
            "recovering" => record.leader_recovery_state = LEADER_RECOVERING,
            other => panic!("{other} in {text}"),
        }
    }
    record
}

fn print(partition: &Partition) -> String {
    let leader = partition.leader.into_iter().collect();
    let lists = [
        ("isr", &partition.isr),
        ("elr", &partition.elr),
        ("last", &partition.last_known_elr),
        ("adding", &partition.adding),
        ("removing", &partition.removing),
        ("leader", &leader),
    ];
    let mut text = digits(&partition.replicas);
    for (word, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        text += &format!(" {word} {}", digits(ids));
    }
    if partition.leader_recovery_state != LEADER_RECOVERED {
        text += " recovering";
    }
    if partition.leader_epoch > LeaderEpoch(0) {
        text += " rises";
    }
    text
}

/// A partition of a cluster of five brokers.
pub(super) struct Given {
    pub before: &'static str,
    pub alive: &'static str,
    pub min_isr: &'static str,
    pub unclean: &'static str,
    pub eligible: bool,
    pub level: i16,
}

pub(super) const GIVEN: Given =
    Given { before: "", alive: "12345", min_isr: "2", unclean: "false", eligible: true, level: 30 };

impl Given {
    pub(super) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new(5);
        let mut new = topic("t", 1, 1);
        let set = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        new.configs = vec![
            set("min.insync.replicas", self.min_isr),
            set("unclean.leader.election.enable", self.unclean),
        ];
        let topic_id = cluster.create(new).expect("a topic").id;
        let feature = |name: &str, feature_level| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level })
        };
        cluster.apply(&[
            feature(METADATA_VERSION, self.level),
            feature(ELIGIBLE_LEADER_REPLICAS_VERSION, i16::from(self.eligible)),
            MetadataRecord::Partition(PartitionRecord { topic_id, ..parse(self.before) }),
        ]);
        for id in (1..=5).map(NodeId).filter(|id| !nodes(self.alive).contains(id)) {
            let broker_epoch = cluster.image.broker(id).expect("registered").epoch;
            let fenced = FencingChange::Fence;
            let change =
                BrokerRegistrationChangeRecord { broker_id: id, broker_epoch, fenced, ..Default::default() };
            cluster.apply(&[change.into()]);
        }
        cluster
    }

    fn check(&self, story: &str, target: impl Fn(Target) -> Target, after: &str) {
        let mut cluster = self.cluster();
        let written = cluster.write(|view| {
            let topic = view.image.topic("t").expect("it is there");
            let target = target(Target::of(&topic.partitions[&0]));
            leadership::change(view, topic, 0, target).into_iter().collect()
        });
        assert_eq!(cluster.printed(), after, "{story}, eligible leaders: {}", self.eligible);
        assert_eq!(written, usize::from(after != self.before), "{story}: no change is no record");
    }
}

impl Cluster {
    fn write(&mut self, decide: impl FnOnce(&View<'_>) -> Vec<MetadataRecord>) -> usize {
        let records = self.with_view(|view| decide(view));
        self.apply(&records);
        records.len()
    }

    pub(super) fn printed(&self) -> String {
        print(self.image.partition("t", 0).expect("it is there"))
    }
}

fn isr(ids: &str) -> impl Fn(Target) -> Target {
    move |target| Target { isr: nodes(ids), ..target }
}

fn elect(candidates: Candidates) -> impl Fn(Target) -> Target {
    move |target| target.with_candidates(candidates)
}

// Kafka: testElectLeader, testNoChange, testIsrChangeDoesntBumpLeaderEpoch, testIsrChangeAndLeaderChange.
#[test]
fn the_leader_stays_if_it_can_and_otherwise_the_first_in_sync_leads() {
    use Candidates::{Anybody, InSync, PreferredFirst};
    let foo = "213 isr 213 leader 1";
    for eligible in [false, true] {
        let given = Given { before: foo, alive: "1245", eligible, ..GIVEN };
        given.check("nothing to do", elect(InSync), foo);
        given.check("nor where anybody may lead", elect(Anybody), foo);
        given.check("the first is preferred", elect(PreferredFirst), "213 isr 213 leader 2 rises");
        given.check("the set shrinks", isr("21"), "213 isr 21 leader 1");
        given.check("the leader stays in it", isr("13"), "213 isr 13 leader 1");
        given.check("the leader is not in it", isr("23"), "213 isr 23 leader 2 rises");
        let only_three = |target| isr("3")(elect(Anybody)(target));
        given.check("anybody leads", only_three, "213 isr 2 leader 2 recovering rises");
        let preferred_is_out = Given { before: "213 isr 13 leader 3", eligible, ..GIVEN };
        preferred_is_out.check("the first is not in sync", elect(PreferredFirst), "213 isr 13 leader 3");
    }
    let given = Given { before: foo, alive: "1245", ..GIVEN };
    given.check("nobody in sync is alive", isr("3"), "213 isr 3 elr 12 last 1 rises");
    Given { eligible: false, ..given }.check("nobody in sync is alive", isr("3"), "213 isr 3 rises");
}

// Kafka: testLeaderEpochBumpOnIsrShrink, testNoLeaderEpochBumpOnIsrExpansion.
#[test]
fn before_3_6_the_epoch_rises_as_the_in_sync_set_shrinks() {
    for (level, epoch) in [(9, " rises"), (11, " rises"), (12, ""), (19, "")] {
        let old = Given { before: "213 isr 213 leader 1", eligible: false, level, ..GIVEN };
        old.check("it shrinks", isr("21"), &format!("213 isr 21 leader 1{epoch}"));
        let old = Given { before: "213 isr 21 leader 1", ..old };
        old.check("it grows", isr("213"), "213 isr 213 leader 1");
        let last = Given { before: "2 isr 2 leader 2", ..old };
        last.check("the last one stays", isr("2"), "2 isr 2 leader 2");
    }
}

// Kafka: testReassignmentRearrangesReplicas, testIsrEnlargementCompletesReassignment, testRevertReassignment,
// testRemovingReplicaReassignment, testAddingReplicaReassignment, testStoppedLeaderIsDemoted...
#[test]
fn a_move_ends_when_all_that_is_added_is_in_sync() {
    let replicas = |ids: &'static str, adding: &'static str, removing: &'static str| {
        move |target| Target {
            replicas: nodes(ids),
            adding: nodes(adding),
            removing: nodes(removing),
            ..target
        }
    };
    for eligible in [false, true] {
        let foo = Given { before: "213 isr 213 leader 1", alive: "1245", eligible, ..GIVEN };
        foo.check("another order", replicas("321", "", ""), "321 isr 213 leader 1");
        foo.check("one less", replicas("123", "", "3"), "12 isr 21 leader 1 rises");
        foo.check("one more", replicas("1234", "4", ""), "1234 isr 213 adding 4 leader 1");
        let bar = "1234 isr 123 adding 4 removing 1 leader 1";
        let bar = Given { before: bar, alive: "1245", eligible, ..GIVEN };
        bar.check("nothing happens", |target| target, bar.before);
        bar.check("the new one is in sync", isr("1234"), "234 isr 234 leader 2 rises");
        bar.check("it is called off", replicas("123", "", ""), "123 isr 123 leader 1 rises");
    }
    let moved = "3412 isr 12 adding 34 removing 12 leader 1";
    let moved = Given { before: moved, alive: "", eligible: false, ..GIVEN };
    moved.check("who has left leads no more", isr("1234"), "34 isr 34 rises");
}

// Kafka: testUncleanLeaderElection, testUncleanSetsLeaderRecoveringState.
#[test]
fn an_unclean_leader_is_in_sync_alone_and_recovers() {
    let anybody = || elect(Candidates::Anybody);
    for eligible in [false, true] {
        let given = Given { before: "213 isr 3", alive: "1", eligible, ..GIVEN };
        given.check("nobody in sync is alive", anybody(), "213 isr 1 leader 1 recovering rises");
        given.check("unless it must be in sync", |target| target, "213 isr 3");
    }
    let given = Given { before: "213 elr 3 last 2", alive: "1", ..GIVEN };
    given.check("nobody eligible is alive", anybody(), "213 isr 1 leader 1 recovering rises");
    let another = |target| isr("2")(elect(Candidates::Anybody)(target));
    given.check("whoever was to be in sync", another, "213 isr 1 leader 1 recovering rises");
}

// Kafka: testChangeInLeadershipDoesNotChangeRecoveryState.
#[test]
fn a_leader_that_recovers_goes_on_with_it_when_it_is_back() {
    let gone = Given { before: "123 isr 1 leader 1 recovering", alive: "", eligible: false, ..GIVEN };
    gone.check("it goes", isr(""), "123 isr 1 recovering rises");
    let back = Given { before: "123 isr 1 recovering", alive: "123", ..gone };
    back.check("it is back", |target| target, "123 isr 1 leader 1 recovering rises");
}

// Kafka: the tests named testEligibleLeaderReplicas_...
#[test]
fn who_leaves_the_in_sync_set_below_its_minimum_stays_eligible() {
    let given = |before, alive| Given { before, alive, min_isr: "3", ..GIVEN };
    let disabled = |before, alive| Given { eligible: false, ..given(before, alive) };
    let all = "1234 isr 1234 leader 1";
    given(all, "124").check("it shrinks", isr("12"), "1234 isr 12 elr 34 leader 1");
    disabled(all, "124").check("it shrinks", isr("12"), "1234 isr 12 leader 1");
    given(all, "").check("to nothing", isr(""), "1234 elr 1234 last 1 rises");
    let three = "1234 isr 12 elr 3 leader 1";
    given(three, "124").check("it is large enough again", isr("123"), "1234 isr 123 leader 1");
    disabled(three, "124").check("it is large enough again", isr("123"), "1234 isr 123 leader 1");
    let one = "1234 isr 1 elr 3 leader 1";
    given(one, "124").check("another one joins", isr("14"), "1234 isr 14 elr 3 leader 1");
    disabled(one, "124").check("another one joins", isr("14"), "1234 isr 14 leader 1");
    given(one, "234").check("an eligible one leads", isr(""), "1234 isr 3 elr 1 leader 3 rises");
    let last = "123 isr 1 elr 2 leader 1";
    given(last, "").check("the last leader is kept in mind", |target| target, "123 isr 1 elr 2 last 1 rises");
}

// Kafka: testEligibleLeaderReplicas_ElectLastKnownLeader and those after it.
#[test]
fn the_last_leader_leads_where_nobody_is_eligible() {
    use Candidates::{Anybody, InSync, PreferredFirst};
    for candidates in [PreferredFirst, InSync, Anybody] {
        let given = Given { before: "1234 last 1", min_isr: "3", ..GIVEN };
        given.check("it is alive", elect(candidates), "1234 isr 1 leader 1 recovering rises");
        Given { alive: "", ..given }.check("nobody is alive", elect(candidates), "1234 last 1");
    }
    let given = Given { before: "1234 elr 3 last 1", alive: "124", min_isr: "3", ..GIVEN };
    given.check("somebody is eligible", elect(PreferredFirst), "1234 elr 3 last 1");
}

// Where Kafka keeps in mind what could lead to a loss.
#[test]
fn nobody_is_eligible_without_the_records() {
    let given = Given { before: "12 elr 12", min_isr: "1", ..GIVEN };
    given.check("one that leads is enough", |target| target, "12 isr 1 leader 1 rises");
    let given = Given { before: "12 isr 1 elr 2 leader 1", ..GIVEN };
    let leaves = |target| Target { removing: nodes("2"), ..target };
    given.check("who leaves the partition", leaves, "1 isr 1 leader 1 rises");
    let given = Given { before: "12 last 3", ..GIVEN };
    given.check("nor does one lead that has left", |target| target, "12 last 3");
}

#[test]
fn a_broker_that_returns_leads_what_it_led_and_what_nobody_leads() {
    let rows = [
        ("it leads again", "12 isr 12 leader 1", "12 isr 12 leader 1 rises"),
        ("alone too", "1 isr 1 leader 1", "1 isr 1 leader 1 rises"),
        ("nobody led", "12 isr 12", "12 isr 12 leader 1 rises"),
        ("it is not the only one in sync", "21 isr 12", "21 isr 12 leader 2 rises"),
        ("another leads", "12 isr 12 leader 2", "12 isr 12 leader 2"),
        ("another is in sync, and alive", "12 isr 2", "12 isr 2 leader 2 rises"),
        ("another is in sync, and away", "13 isr 3", "13 isr 3"),
        ("it is eligible, and nobody is in sync", "13 elr 13 last 3", "13 isr 1 elr 3 leader 1 rises"),
        ("it led last", "13 last 1", "13 isr 1 leader 1 recovering rises"),
    ];
    for (story, before, after) in rows {
        let given = Given { before, alive: "2", ..GIVEN };
        let mut cluster = given.cluster();
        cluster.write(|view| leadership::broker_returned(view, NodeId(1)));
        assert_eq!(cluster.printed(), after, "{story}");
    }
    let given = Given { before: "13 isr 3", alive: "", unclean: "true", ..GIVEN };
    let mut cluster = given.cluster();
    cluster.write(|view| leadership::broker_returned(view, NodeId(1)));
    assert_eq!(cluster.printed(), "13 isr 1 leader 1 recovering rises", "the topic rather has any leader");
}

#[test]
fn a_replica_in_a_lost_directory_leaves_the_in_sync_set() {
    let rows = [
        ("another leads on", false, "12 isr 12 leader 1", "12 isr 2 leader 2 rises"),
        ("another leads on", true, "12 isr 12 leader 1", "12 isr 2 elr 1 leader 2 rises"),
        ("a follower", false, "21 isr 21 leader 2", "21 isr 2 leader 2"),
        ("a follower", true, "21 isr 21 leader 2", "21 isr 2 elr 1 leader 2"),
        ("the only one stays in sync", false, "1 isr 1 leader 1", "1 isr 1 rises"),
        ("the only one stays eligible", true, "1 isr 1 leader 1", "1 elr 1 last 1 rises"),
        ("one that was eligible leads", true, "12 isr 1 elr 2 leader 1", "12 isr 2 elr 1 leader 2 rises"),
        ("the others are away", true, "13 isr 13 leader 1", "13 isr 3 elr 1 last 1 rises"),
    ];
    for (story, eligible, before, after) in rows {
        let mut cluster = Given { before, alive: "12", eligible, ..GIVEN }.cluster();
        let epoch = cluster.image.broker(NodeId(1)).expect("registered").epoch;
        let beat =
            Heartbeat { offline: vec![home(1)], ..Heartbeat::of(NodeId(1), epoch, cluster.image.offset) };
        cluster.ask(beat).expect("it is registered");
        assert_eq!(cluster.printed(), after, "{story}, eligible leaders: {eligible}");
        // The same replica is found in a directory that its broker does not have.
        let mut cluster = Given { before, alive: "12", eligible, ..GIVEN }.cluster();
        let topic = cluster.image.topic("t").expect("it is there").id;
        let assignments = vec![Assignment { directory: LOST, topic, partition: 0 }];
        cluster.ask(AssignReplicas { broker: NodeId(1), epoch, assignments }).expect("it is registered");
        assert_eq!(cluster.printed(), after, "{story}, eligible leaders: {eligible}");
    }
}

#[test]
fn directories_go_with_their_replicas() {
    let mut cluster = Given { before: "21 isr 21 leader 1", ..GIVEN }.cluster();
    cluster.write(|view| {
        let topic = view.image.topic("t").expect("it is there");
        let directories = vec![(NodeId(2), LOST), (NodeId(4), LOST)];
        let target = Target { replicas: nodes("3124"), directories, ..Target::of(&topic.partitions[&0]) };
        leadership::change(view, topic, 0, target).into_iter().collect()
    });
    let partition = cluster.image.partition("t", 0).expect("it is there");
    assert_eq!(partition.directories, [ottla_model::DIRECTORY_UNASSIGNED, home(1), LOST, LOST]);
}

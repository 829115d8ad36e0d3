//! Replicas that move between brokers (KIP-455): what begins, what is done at once, what is called off, what is refused.

use ottla_model::feature::ELIGIBLE_LEADER_REPLICAS_VERSION;
use ottla_model::image::{ConfigResource, Partition};
use ottla_model::record::BrokerRegistrationChangeRecord;

use super::*;

impl Cluster {
    fn move_to(
        &mut self,
        partition: i32,
        replicas: Option<&[i32]>,
        factor: FactorChange,
    ) -> Result<(), ErrorCode> {
        let replicas = replicas.map(|ids| ids.iter().map(|id| NodeId(*id)).collect());
        let partitions = vec![Reassignment { topic: Arc::from("t"), partition, replicas }];
        let mut outcomes = self.ask(AlterPartitionReassignments { partitions, factor });
        outcomes.remove(0).map_err(|refusal| refusal.code)
    }

    fn partition(&self) -> &Partition {
        self.image.partition("t", 0).expect("it is there")
    }

    fn change(&mut self, change: PartitionChangeRecord) {
        let topic_id = self.image.topic("t").expect("it is there").id;
        let record = PartitionChangeRecord { partition_id: 0, topic_id, ..change };
        self.image.apply_in_place(self.image.offset + 1, LeaderEpoch(1), &record.into()).expect("it applies");
    }

    /// replicas / isr / adding / removing, and who leads in which epoch.
    fn told(&self) -> String {
        let ids = |ids: &[NodeId]| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let p = self.partition();
        let leader = p.leader.map_or("nobody".to_owned(), |id| id.to_string());
        let (replicas, isr) = (ids(&p.replicas), ids(&p.isr));
        let moving = match p.is_reassigning() {
            true => format!(" +{} -{}", ids(&p.adding), ids(&p.removing)),
            false => String::new(),
        };
        format!("{replicas} in sync {isr}{moving}, {leader} leads in {}", p.leader_epoch.0)
    }
}

// Three brokers, and a partition on the first two of them.
fn cluster(min_isr: &str) -> Cluster {
    let mut cluster = Cluster::new(3);
    let mut new = assigned("t", &[(0, &[1, 2])]);
    new.configs = vec![("min.insync.replicas".into(), Some(min_isr.into()))];
    cluster.create(new).expect("a topic");
    cluster
}

#[test]
fn a_move_begins_and_ends_as_far_as_the_in_sync_set_allows() {
    let rows: [(&str, &[i32], &str); 8] = [
        ("to where it is", &[1, 2], "1,2 in sync 1,2, 1 leads in 0"),
        ("another order", &[2, 1], "2,1 in sync 1,2, 1 leads in 0"),
        ("one more", &[1, 2, 3], "1,2,3 in sync 1,2 +3 -, 1 leads in 0"),
        ("the follower less", &[1], "1 in sync 1, 1 leads in 1"),
        ("the leader less", &[2], "2 in sync 2, 2 leads in 1"),
        ("another follower", &[1, 3], "1,3,2 in sync 1,2 +3 -2, 1 leads in 0"),
        ("to somebody else", &[3], "3,1,2 in sync 1,2 +3 -1,2, 1 leads in 0"),
        ("another leader", &[3, 2], "3,2,1 in sync 1,2 +3 -1, 1 leads in 0"),
    ];
    for (story, to, expected) in rows {
        let mut cluster = cluster("1");
        let before = cluster.image.offset;
        assert_eq!(cluster.move_to(0, Some(to), FactorChange::Allowed), Ok(()), "{story}");
        assert_eq!(cluster.told(), expected, "{story}");
        let partition = cluster.partition();
        assert_eq!(partition.directories.len(), partition.replicas.len(), "{story}");
        let homes: Vec<_> = partition.replicas.iter().map(|id| home(id.0)).collect();
        assert_eq!(partition.directories, homes, "{story}");
        let written = cluster.image.offset - before;
        assert_eq!(written, i64::from(to != [1, 2]), "{story}: nothing to change is nothing to write");
    }
}

#[test]
fn a_move_is_called_off() {
    let mut cluster = cluster("1");
    assert_eq!(
        cluster.move_to(0, None, FactorChange::Allowed),
        Err(ErrorCode::NoReassignmentInProgress),
        "nothing moves"
    );
    cluster.move_to(0, Some(&[3]), FactorChange::Allowed).expect("it begins");
    assert_eq!(cluster.move_to(0, None, FactorChange::Allowed), Ok(()));
    assert_eq!(cluster.told(), "1,2 in sync 1,2, 1 leads in 1");

    // Nobody else is in sync by now: only with permission to lose records.
    cluster.move_to(0, Some(&[3]), FactorChange::Allowed).expect("it begins");
    let three = vec![NodeId(3)];
    let left = PartitionChangeRecord {
        isr: Some(three),
        leader: LeaderChange::To(NodeId(3)),
        ..PartitionChangeRecord::default()
    };
    cluster.change(left);
    let refused = Err(ErrorCode::InvalidReplicaAssignment);
    assert_eq!(cluster.move_to(0, None, FactorChange::Allowed), refused);
    let resource = ConfigResource { kind: ottla_model::record::ResourceType::Topic, name: "t".into() };
    let unclean = Change::Set("true".into());
    let changes = Alteration::Some(vec![("unclean.leader.election.enable".into(), unclean)]);
    cluster.ask(AlterConfigs { resources: vec![(resource, changes)], validate_only: false });
    assert_eq!(cluster.move_to(0, None, FactorChange::Allowed), Ok(()));
    assert_eq!(cluster.told(), "1,2 in sync 1, 1 leads in 3");
}

#[test]
fn what_cannot_be_is_refused() {
    use ErrorCode::{InvalidReplicaAssignment, InvalidReplicationFactor, UnknownTopicOrPartition};
    let mut cluster = cluster("1");
    let mut check = |partition, to: &[i32], factor, expected| {
        assert_eq!(cluster.move_to(partition, Some(to), factor), expected, "{to:?}");
    };
    use FactorChange::{Allowed, Refused};
    check(7, &[1], Allowed, Err(UnknownTopicOrPartition));
    check(0, &[], Allowed, Err(InvalidReplicaAssignment));
    check(0, &[1, 1], Allowed, Err(InvalidReplicaAssignment));
    check(0, &[9], Allowed, Err(InvalidReplicaAssignment));
    check(0, &[1], Refused, Err(InvalidReplicationFactor));
    check(0, &[1, 2, 3], Refused, Err(InvalidReplicationFactor));
    check(0, &[2, 3], Refused, Ok(()));
    check(0, &[1, 3], Refused, Ok(()));
    let epoch = cluster.image.broker(NodeId(1)).expect("it is there").epoch;
    let cordoned = BrokerRegistrationChangeRecord {
        broker_id: NodeId(1),
        broker_epoch: epoch,
        cordoned_log_dirs: Some(vec![home(1)]),
        ..BrokerRegistrationChangeRecord::default()
    };
    cluster
        .image
        .apply_in_place(cluster.image.offset + 1, LeaderEpoch(1), &cordoned.into())
        .expect("it applies");
    assert_eq!(cluster.move_to(0, Some(&[1]), Allowed), Err(InvalidReplicaAssignment));
}

#[test]
fn each_partition_of_a_request_has_an_outcome_of_its_own() {
    let mut cluster = cluster("1");
    let to = |topic: &str, partition, ids: &[i32]| {
        let replicas = Some(ids.iter().map(|id| NodeId(*id)).collect());
        Reassignment { topic: Arc::from(topic), partition, replicas }
    };
    let partitions = vec![to("t", 0, &[1, 2, 3]), to("u", 0, &[1]), to("t", 0, &[2, 1]), to("t", 1, &[1])];
    let factor = FactorChange::Allowed;
    let outcomes = cluster.ask(AlterPartitionReassignments { partitions, factor });
    let codes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().map(|r| r.code)).collect();
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes, [None, unknown, None, unknown]);
}

#[test]
fn who_leaves_is_eligible_no_more() {
    let mut cluster = cluster("2");
    let name = ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned();
    let record = ottla_model::record::FeatureLevelRecord { name, feature_level: 1 };
    cluster
        .image
        .apply_in_place(cluster.image.offset + 1, LeaderEpoch(1), &MetadataRecord::FeatureLevel(record))
        .expect("it applies");
    let left = PartitionChangeRecord {
        isr: Some(vec![NodeId(1)]),
        eligible_leader_replicas: Some(vec![NodeId(2)]),
        ..PartitionChangeRecord::default()
    };
    cluster.change(left);
    assert_eq!(cluster.move_to(0, Some(&[2, 1]), FactorChange::Allowed), Ok(()));
    assert_eq!(cluster.partition().elr, [NodeId(2)]);
    assert_eq!(cluster.move_to(0, Some(&[1]), FactorChange::Allowed), Ok(()));
    assert_eq!(cluster.partition().elr, []);
}

//! What the controller decides for administrators: settings, more partitions, elections.

use ottla_model::image::ConfigResource;
use ottla_model::record::{FeatureLevelRecord, MetadataRecord, ResourceType};

use super::*;

fn set(key: &str, value: &str) -> (String, Change) {
    (key.to_owned(), Change::Set(value.to_owned()))
}

fn append(key: &str, value: &str) -> (String, Change) {
    (key.to_owned(), Change::Append(value.to_owned()))
}

fn subtract(key: &str, value: &str) -> (String, Change) {
    (key.to_owned(), Change::Subtract(value.to_owned()))
}

fn delete(key: &str) -> (String, Change) {
    (key.to_owned(), Change::Delete)
}

impl Cluster {
    fn alter(
        &mut self,
        kind: ResourceType,
        name: &str,
        alteration: Alteration,
        validate_only: bool,
    ) -> Result<String, ErrorCode> {
        let resource = ConfigResource { kind, name: name.to_owned() };
        let resources = vec![(resource, alteration)];
        let mut outcomes = self.ask(AlterConfigs { resources, validate_only });
        outcomes.remove(0).1.map_err(|refusal| refusal.code)?;
        let stored = self.image.configs(kind, name).into_iter().flatten();
        Ok(stored.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
    }

    fn grow(&mut self, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> Result<usize, ErrorCode> {
        let nodes = |ids: &&[i32]| ids.iter().map(|id| NodeId(*id)).collect();
        let assignments = assignments.map(|all| all.iter().map(nodes).collect());
        let topics = vec![MorePartitions { name: Arc::from(name), count, assignments }];
        let mut outcomes = self.ask(CreatePartitions { topics, validate_only: false });
        outcomes.remove(0).1.map_err(|refusal| refusal.code)?;
        Ok(self.image.topic(name).expect("it was there").partitions.len())
    }
}

#[test]
fn settings_change_or_are_refused_as_kafka_does() {
    use ErrorCode::{
        BrokerIdNotRegistered, InvalidConfig, InvalidRequest, InvalidTopicException, UnknownTopicOrPartition,
    };
    use ResourceType::{Broker, ClientMetrics, Group, Topic};
    let mut cluster = Cluster::new(1);
    cluster.create(configured("retention.ms", Some("5"))).expect("a topic");
    let mut check = |kind, name: &str, changes: &[(String, Change)], expected: Result<&str, ErrorCode>| {
        let outcome = cluster.alter(kind, name, Alteration::Some(changes.to_vec()), false);
        assert_eq!(outcome.as_deref().map_err(|code| *code), expected, "{name}: {changes:?}");
    };
    let topic = "configured";
    check(Topic, topic, &[set("flush.ms", "1")], Ok("flush.ms=1 retention.ms=5"));
    check(Topic, topic, &[delete("retention.ms"), delete("segment.ms")], Ok("flush.ms=1"));
    check(Topic, topic, &[set("flush.ms", "x")], Err(InvalidConfig));
    check(Topic, topic, &[set("no.such.key", "1")], Err(InvalidConfig));
    check(Topic, topic, &[append("flush.ms", "1")], Err(InvalidConfig));
    check(
        Topic,
        topic,
        &[set("min.compaction.lag.ms", "9"), set("max.compaction.lag.ms", "8")],
        Err(InvalidConfig),
    );
    check(Topic, topic, &[set("flush.ms", &"1".repeat(40_000))], Err(InvalidConfig));
    check(
        Topic,
        topic,
        &[append("cleanup.policy", "compact")],
        Ok("cleanup.policy=delete,compact flush.ms=1"),
    );
    check(Topic, topic, &[subtract("cleanup.policy", "delete,x")], Ok("cleanup.policy=compact flush.ms=1"));
    check(Topic, "", &[], Err(InvalidRequest));
    check(Topic, "a b", &[], Err(InvalidTopicException));
    check(Topic, "stranger", &[], Err(UnknownTopicOrPartition));
    check(Broker, "", &[set("log.retention.ms", "7")], Ok("log.retention.ms=7"));
    check(Broker, "1", &[set("my.plugin", "7")], Ok("my.plugin=7"));
    check(Broker, "2", &[], Err(BrokerIdNotRegistered));
    check(Broker, "-1", &[], Err(InvalidRequest));
    check(Broker, "one", &[], Err(InvalidRequest));
    check(Group, "g", &[set("share.session.timeout.ms", "50000")], Ok("share.session.timeout.ms=50000"));
    check(Group, "g", &[set("share.heartbeat.interval.ms", "15001")], Err(InvalidConfig));
    check(Group, "", &[], Err(InvalidRequest));
    check(ClientMetrics, "m", &[set("interval.ms", "100")], Ok("interval.ms=100"));
    check(ClientMetrics, "m", &[set("interval.ms", "99")], Err(InvalidRequest));
    check(ClientMetrics, "m", &[set("color", "red")], Err(InvalidRequest));
    check(ClientMetrics, "m", &[set("match", "client_id")], Err(InvalidConfig));
    check(ClientMetrics, "m", &[delete("interval.ms")], Ok(""));
}

#[test]
fn all_settings_are_replaced_at_once_and_trying_changes_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.create(configured("retention.ms", Some("5"))).expect("a topic");
    let all = |key: &str| Alteration::All(BTreeMap::from([(key.to_owned(), "6".to_owned())]));
    let topic = ResourceType::Topic;
    assert_eq!(cluster.alter(topic, "configured", all("flush.ms"), true), Ok("retention.ms=5".into()));
    assert_eq!(cluster.alter(topic, "configured", all("flush.ms"), false), Ok("flush.ms=6".into()));
    assert_eq!(cluster.alter(topic, "configured", all("x"), false), Err(ErrorCode::InvalidConfig));
}

#[test]
fn a_topic_is_judged_with_the_defaults_that_the_cluster_has_now() {
    let mut cluster = Cluster::new(1);
    let lag = Alteration::Some(vec![set("log.cleaner.max.compaction.lag.ms", "50")]);
    cluster.alter(ResourceType::Broker, "", lag, false).expect("a default");
    let refused = cluster.create(configured("min.compaction.lag.ms", Some("51")));
    assert_eq!(refused, Err(ErrorCode::InvalidConfig));
    cluster.create(configured("min.compaction.lag.ms", Some("50"))).expect("just right");
}

#[test]
fn the_least_in_sync_set_is_the_clusters_while_others_are_eligible() {
    let mut cluster = Cluster::new(1);
    let name = ottla_model::feature::ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned();
    let record = MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: 1 });
    cluster.image.apply_in_place(cluster.image.offset + 1, LeaderEpoch(1), &record).expect("it applies");
    let mut check = |name: &str, change, expected: Result<&str, ErrorCode>| {
        let outcome = cluster.alter(ResourceType::Broker, name, Alteration::Some(vec![change]), false);
        assert_eq!(outcome.as_deref().map_err(|code| *code), expected);
    };
    check("1", set("min.insync.replicas", "2"), Err(ErrorCode::InvalidConfig));
    check("", set("min.insync.replicas", "2"), Ok("min.insync.replicas=2"));
    check("", delete("min.insync.replicas"), Err(ErrorCode::InvalidConfig));
}

#[test]
fn topics_grow_or_are_refused_as_kafka_does() {
    use ErrorCode::{InvalidPartitions, InvalidReplicaAssignment, PolicyViolation, UnknownTopicOrPartition};
    let mut cluster = Cluster::new(3);
    cluster.create(topic("t", 2, 2)).expect("a topic");
    let mut check = |count, assignments, expected| {
        assert_eq!(cluster.grow("t", count, assignments), expected, "{count} {assignments:?}");
    };
    check(2, None, Err(InvalidPartitions));
    check(1, None, Err(InvalidPartitions));
    check(-1, None, Err(InvalidPartitions));
    check(10_003, None, Err(PolicyViolation));
    check(3, Some(&[]), Err(InvalidReplicaAssignment));
    check(3, Some(&[&[1]]), Err(InvalidReplicaAssignment));
    check(3, Some(&[&[1, 1]]), Err(InvalidReplicaAssignment));
    check(3, Some(&[&[1, 9]]), Err(InvalidReplicaAssignment));
    check(3, Some(&[&[3, 1]]), Ok(3));
    check(6, None, Ok(6));
    let partitions = &cluster.image.topic("t").expect("it is there").partitions;
    assert_eq!(
        (partitions[&2].leader, &partitions[&2].replicas),
        (Some(NodeId(3)), &vec![NodeId(3), NodeId(1)])
    );
    assert!(partitions.values().all(|p| p.replicas.len() == 2 && p.leader.is_some()));
    assert_eq!(cluster.grow("stranger", 3, None), Err(UnknownTopicOrPartition));
}

#[test]
fn a_leader_is_elected_where_it_is_needed() {
    let mut cluster = Cluster::new(3);
    cluster.create(assigned("t", &[(0, &[2, 1]), (1, &[1, 2])])).expect("a topic");
    let topic_id = cluster.image.topic("t").expect("it is there").id;
    let led_by = |leader| {
        MetadataRecord::PartitionChange(ottla_model::record::PartitionChangeRecord {
            topic_id,
            partition_id: 0,
            leader,
            ..Default::default()
        })
    };
    let apply = |cluster: &mut Cluster, record: &MetadataRecord| {
        let offset = cluster.image.offset + 1;
        cluster.image.apply_in_place(offset, LeaderEpoch(1), record).expect("it applies");
    };
    let elect = |cluster: &mut Cluster, election, partitions: Option<Vec<i32>>| {
        let partitions = partitions.map(|indexes| vec![(Arc::from("t"), indexes)]);
        let elected = cluster.ask(ElectLeaders { election, partitions });
        let outcomes = elected.into_iter().flat_map(|(_, outcomes)| outcomes);
        outcomes.map(|(index, o)| (index, o.err().map(|refusal| refusal.code))).collect::<Vec<_>>()
    };
    let needless = Some(ErrorCode::ElectionNotNeeded);
    assert_eq!(elect(&mut cluster, Election::Preferred, Some(vec![0, 1])), [(0, needless), (1, needless)]);
    assert_eq!(elect(&mut cluster, Election::Unclean, Some(vec![0])), [(0, needless)]);
    apply(&mut cluster, &led_by(ottla_model::record::LeaderChange::To(NodeId(1))));
    assert_eq!(elect(&mut cluster, Election::Preferred, None), [(0, None)]);
    assert_eq!(cluster.image.partition("t", 0).and_then(|p| p.leader), Some(NodeId(2)));
    apply(&mut cluster, &led_by(ottla_model::record::LeaderChange::Nobody));
    assert_eq!(elect(&mut cluster, Election::Unclean, Some(vec![0])), [(0, None)]);
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(elect(&mut cluster, Election::Unclean, Some(vec![7])), [(7, unknown)]);
}

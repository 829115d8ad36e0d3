//! Stories of the image: the effect of each record, what is refused, and that a snapshot contains the whole image.

use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

use super::*;
use crate::ids::{BrokerEpoch, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED};
use crate::record::*;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);
const TERM: LeaderEpoch = LeaderEpoch(1);

/// Applies the records in order. Also returns which were refused, and why.
fn after(image: &Image, records: &[MetadataRecord]) -> (Image, Vec<Impossible>) {
    let mut image = image.clone();
    let mut refused = Vec::new();
    for record in records {
        let before = image.clone();
        match image.apply_in_place(image.offset + 1, TERM, record) {
            Ok(()) => assert_eq!(image.offset, before.offset + 1),
            Err(error) => {
                assert_eq!(image, before, "a refused record changes nothing: {error}");
                refused.push(error.why);
            }
        }
    }
    (image, refused)
}

fn applied(image: &Image, records: &[MetadataRecord]) -> Image {
    let (image, refused) = after(image, records);
    assert_eq!(refused, vec![]);
    image
}

fn nodes<const N: usize>(ids: [i32; N]) -> Vec<NodeId> {
    ids.map(NodeId).to_vec()
}

fn topic(name: &str, topic_id: Uuid) -> MetadataRecord {
    TopicRecord { name: name.into(), topic_id }.into()
}

fn partition_record(topic_id: Uuid, partition_id: i32) -> PartitionRecord {
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: nodes([1, 2, 3]),
        isr: nodes([1, 2, 3]),
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: 9,
        directories: vec![DIRECTORY_UNASSIGNED; 3],
        ..Default::default()
    }
}

fn partition(topic_id: Uuid, partition_id: i32) -> MetadataRecord {
    partition_record(topic_id, partition_id).into()
}

fn change(partition_id: i32) -> PartitionChangeRecord {
    PartitionChangeRecord { topic_id: A, partition_id, ..Default::default() }
}

fn broker(id: i32, epoch: i64) -> RegisterBrokerRecord {
    let listener = Endpoint { name: "PLAINTEXT".into(), host: "h".into(), port: 9092, security_protocol: 0 };
    RegisterBrokerRecord {
        broker_id: NodeId(id),
        broker_epoch: BrokerEpoch(epoch),
        end_points: vec![listener],
        log_dirs: vec![B, A],
        ..Default::default()
    }
}

fn config(kind: ResourceType, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
    let (resource_name, name) = (resource.to_string(), name.to_string());
    ConfigRecord { resource_type: kind, resource_name, name, value: value.map(str::to_string) }.into()
}

fn level(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.into(), feature_level }.into()
}

/// What a row expects of a partition after a change.
type Expect = fn(&Partition) -> bool;

#[test]
fn a_change_merges_as_kafkas_does() {
    let rows: &[(&str, PartitionChangeRecord, Expect)] = &[
        ("nothing changes but the partition epoch", change(0), |p| {
            (p.leader, p.leader_epoch.0, p.partition_epoch) == (Some(NodeId(1)), 4, 10) && p.isr.len() == 3
        }),
        (
            "an in-sync set shrinks under the same leader",
            PartitionChangeRecord { isr: Some(nodes([1])), ..change(0) },
            |p| p.isr == nodes([1]) && (p.leader_epoch.0, p.partition_epoch) == (4, 10),
        ),
        (
            "a new leader starts a new epoch",
            PartitionChangeRecord { leader: LeaderChange::To(NodeId(2)), ..change(0) },
            |p| (p.leader, p.leader_epoch.0, p.partition_epoch) == (Some(NodeId(2)), 5, 10),
        ),
        (
            "so does naming the same one again",
            PartitionChangeRecord { leader: LeaderChange::To(NodeId(1)), ..change(0) },
            |p| (p.leader, p.leader_epoch.0) == (Some(NodeId(1)), 5),
        ),
        ("and having none", PartitionChangeRecord { leader: LeaderChange::Nobody, ..change(0) }, |p| {
            (p.leader, p.leader_epoch.0) == (None, 5)
        }),
        (
            "an unclean leader is recovering",
            PartitionChangeRecord { leader_recovery_state: LEADER_RECOVERING, ..change(0) },
            |p| p.is_recovering() && p.leader_epoch.0 == 4,
        ),
        (
            "a reassignment begins",
            PartitionChangeRecord {
                replicas: Some(nodes([1, 2, 3, 4])),
                directories: Some(vec![DIRECTORY_UNASSIGNED, DIRECTORY_UNASSIGNED, DIRECTORY_UNASSIGNED, B]),
                adding_replicas: Some(nodes([4])),
                removing_replicas: Some(nodes([3])),
                ..change(0)
            },
            |p| {
                p.is_reassigning()
                    && p.directory(NodeId(4)) == Some(B)
                    && p.preferred_leader() == Some(NodeId(1))
            },
        ),
        (
            "replicas move to where directories are not known yet",
            PartitionChangeRecord {
                replicas: Some(nodes([7])),
                directories: Some(vec![DIRECTORY_MIGRATING; 5]),
                ..change(0)
            },
            |p| p.directories == [DIRECTORY_MIGRATING] && p.directory(NodeId(1)).is_none(),
        ),
        (
            "replicas become eligible to lead",
            PartitionChangeRecord {
                eligible_leader_replicas: Some(nodes([2])),
                last_known_elr: Some(nodes([3])),
                ..change(0)
            },
            |p| p.elr == nodes([2]) && p.last_known_elr == nodes([3]),
        ),
    ];
    let before = applied(&Image::empty(), &[topic("a", A), partition(A, 0)]);
    for (story, record, expected) in rows {
        let image = applied(&before, &[record.clone().into()]);
        let partition = image.partition("a", 0).expect(story);
        assert!(expected(partition), "{story}: {partition:?}");
        assert_eq!(partition.partition_epoch, 10, "{story}");
    }
}

#[test]
fn an_impossible_record_is_refused_and_changes_nothing() {
    let unknown_partition = |partition| Impossible::UnknownPartition { topic: "a".into(), partition };
    let wrong_epoch =
        |given| Impossible::BrokerEpoch { id: NodeId(1), current: BrokerEpoch(5), given: BrokerEpoch(given) };
    let b = BrokerEpoch(4);
    let rows: Vec<(MetadataRecord, Impossible)> = vec![
        (topic("a", B), Impossible::TopicExists { name: "a".into(), id: A }),
        (topic("b", A), Impossible::TopicIdExists { name: "a".into(), id: A }),
        (topic("../x", B), Impossible::TopicName(crate::check_topic_name("../x").expect_err("slash"))),
        (RemoveTopicRecord { topic_id: B }.into(), Impossible::UnknownTopicId(B)),
        (partition(B, 0), Impossible::UnknownTopicId(B)),
        (partition(A, -1), Impossible::PartitionId(-1)),
        (change(1).into(), unknown_partition(1)),
        (PartitionChangeRecord { topic_id: B, ..change(0) }.into(), Impossible::UnknownTopicId(B)),
        (
            PartitionChangeRecord { replicas: Some(nodes([1])), ..change(0) }.into(),
            Impossible::Directories { directories: 3, replicas: 1 },
        ),
        (
            PartitionRecord { directories: vec![B], ..partition_record(A, 1) }.into(),
            Impossible::Directories { directories: 1, replicas: 3 },
        ),
        (
            PartitionRecord { leader_recovery_state: 2, ..partition_record(A, 1) }.into(),
            Impossible::LeaderRecoveryState(2),
        ),
        (
            PartitionChangeRecord { leader_recovery_state: -2, ..change(0) }.into(),
            Impossible::LeaderRecoveryState(-2),
        ),
        (ClearElrRecord { topic_name: "b".into() }.into(), Impossible::UnknownTopic("b".into())),
        (FenceBrokerRecord { id: NodeId(2), epoch: b }.into(), Impossible::UnknownBroker(NodeId(2))),
        (FenceBrokerRecord { id: NodeId(1), epoch: b }.into(), wrong_epoch(4)),
        (UnfenceBrokerRecord { id: NodeId(1), epoch: b }.into(), wrong_epoch(4)),
        (UnregisterBrokerRecord { broker_id: NodeId(1), broker_epoch: b }.into(), wrong_epoch(4)),
        (
            BrokerRegistrationChangeRecord { broker_id: NodeId(1), broker_epoch: b, ..Default::default() }
                .into(),
            wrong_epoch(4),
        ),
        (
            RegisterBrokerRecord { end_points: vec![Endpoint::default()], ..broker(3, 1) }.into(),
            Impossible::UnnamedListener(NodeId(3)),
        ),
        (
            UnregisterControllerRecord { controller_id: NodeId(1) }.into(),
            Impossible::UnknownController(NodeId(1)),
        ),
        (level("metadata.version", 6), Impossible::MetadataVersion(6)),
        (level("metadata.version", 35), Impossible::MetadataVersion(35)),
        (RemoveAccessControlEntryRecord { id: A }.into(), Impossible::UnknownAcl(A)),
        (EndTransactionRecord {}.into(), Impossible::NoTransaction),
        (AbortTransactionRecord::default().into(), Impossible::NoTransaction),
    ];
    let image = applied(&Image::empty(), &[topic("a", A), partition(A, 0), broker(1, 5).into()]);
    for (record, why) in rows {
        let name = record.record_type().name;
        assert_eq!(after(&image, &[record]), (image.clone(), vec![why]), "{name}");
    }
    let earlier = image.apply(image.offset - 1, TERM, &NoOpRecord {}.into());
    assert_eq!(earlier.map_err(|e| e.why), Err(Impossible::OutOfOrder { last: image.offset }));
}

#[test]
fn a_topic_lives_and_dies_with_its_configuration() {
    let setting = |value| config(ResourceType::Topic, "a", "retention.ms", value);
    let image =
        applied(&Image::empty(), &[topic("a", A), partition(A, 0), partition(A, 1), setting(Some("1"))]);
    assert_eq!(image.topic_by_id(A).map(|t| t.partitions.len()), Some(2));
    assert_eq!(image.configs(ResourceType::Topic, "a").map(|c| c["retention.ms"].as_str()), Some("1"));
    assert_eq!(image.configs(ResourceType::Broker, "a"), None);

    let unset = applied(&image, &[setting(None)]);
    assert_eq!(unset.configs(ResourceType::Topic, "a"), None, "the last key takes the resource with it");

    let gone = applied(&image, &[RemoveTopicRecord { topic_id: A }.into()]);
    assert_eq!((gone.topic("a"), gone.topic_by_id(A)), (None, None));
    assert_eq!(gone.configs(ResourceType::Topic, "a"), None);
    assert!(image.topic("a").is_some(), "the image before is what it was");

    let again = applied(&gone, &[topic("a", B)]);
    assert_eq!(again.topic("a").map(|t| t.id), Some(B));
}

#[test]
fn eligible_leaders_are_forgotten_where_there_are_any() {
    let with_elr = |id, partition| PartitionRecord {
        eligible_leader_replicas: Some(nodes([3])),
        ..partition_record(id, partition)
    };
    let before =
        [topic("a", A), topic("b", B), with_elr(A, 0).into(), partition(A, 1), with_elr(B, 0).into()];
    let image = applied(&Image::empty(), &before);
    let epochs = |image: &Image| {
        let epoch = |topic, at| image.partition(topic, at).map(|p| (p.partition_epoch, p.elr.len()));
        [epoch("a", 0), epoch("a", 1), epoch("b", 0)].map(|found| found.expect("three partitions"))
    };
    for (topic_name, expected) in [("a", [(10, 0), (9, 0), (9, 1)]), ("", [(10, 0), (9, 0), (10, 0)])] {
        let cleared = applied(&image, &[ClearElrRecord { topic_name: topic_name.into() }.into()]);
        assert_eq!(epochs(&cleared), expected, "{topic_name:?}");
    }
}

#[test]
fn a_broker_comes_is_fenced_and_goes() {
    let changed = |change: BrokerRegistrationChangeRecord| -> MetadataRecord {
        BrokerRegistrationChangeRecord { broker_id: NodeId(1), broker_epoch: BrokerEpoch(5), ..change }.into()
    };
    let of = |image: &Image| image.broker(NodeId(1)).cloned().expect("registered");
    let image = applied(&Image::empty(), &[broker(1, 5).into()]);
    let registered = of(&image);
    assert!(registered.fenced && registered.takes_new_replicas());
    assert_eq!(registered.log_dirs, [A, B], "sorted");
    assert_eq!(registered.endpoint("PLAINTEXT").map(|e| e.port), Some(9092));

    let unfence = BrokerRegistrationChangeRecord { fenced: FencingChange::Unfence, ..Default::default() };
    let image = applied(&image, &[changed(unfence)]);
    assert!(of(&image).is_active());

    let nothing = applied(&image, &[changed(BrokerRegistrationChangeRecord::default())]);
    assert!(Image::diff(&image, &nothing).is_empty(), "an empty change is none");

    let leaving = BrokerRegistrationChangeRecord { in_controlled_shutdown: true, ..Default::default() };
    let image = applied(&image, &[changed(leaving), changed(BrokerRegistrationChangeRecord::default())]);
    assert!(!of(&image).is_active() && !of(&image).fenced);

    let failed = BrokerRegistrationChangeRecord { log_dirs: vec![B], ..Default::default() };
    let cordoned = BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![B]), ..Default::default() };
    let image = applied(&image, &[changed(failed), changed(cordoned)]);
    assert!(of(&image).has_online(B) && !of(&image).has_online(A) && !of(&image).takes_new_replicas());

    let image = applied(&image, &[broker(1, 6).into()]);
    assert!(!of(&image).in_controlled_shutdown, "a new incarnation starts afresh");
    let gone = UnregisterBrokerRecord { broker_id: NodeId(1), broker_epoch: BrokerEpoch(6) };
    assert_eq!(applied(&image, &[gone.into()]).broker(NodeId(1)), None);
}

#[test]
fn features_have_levels_and_kraft_version_is_not_ours() {
    let image = applied(
        &Image::empty(),
        &[level("metadata.version", 33), level("group.version", 1), level("kraft.version", 1), level("x", 3)],
    );
    assert_eq!(image.metadata_version(), Some(MetadataVersion::LATEST_PRODUCTION));
    assert_eq!(["group.version", "kraft.version", "x", "y"].map(|name| image.feature(name)), [1, 0, 3, 0]);
    let image = applied(&image, &[level("x", 0)]);
    assert_eq!(
        image.features().map(|(name, _)| name).collect::<Vec<_>>(),
        ["group.version", "metadata.version"]
    );
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let begin: MetadataRecord = BeginTransactionRecord::default().into();
    let before = applied(&Image::empty(), &[topic("a", A)]);
    let open = applied(&before, &[begin.clone(), topic("b", B), partition(A, 0)]);
    assert!(open.in_transaction() && !before.in_transaction());
    assert_eq!(after(&open, &[begin]).1, [Impossible::TransactionOpen]);

    let ended = applied(&open, &[EndTransactionRecord {}.into()]);
    assert!(ended.topic("b").is_some() && ended.partition("a", 0).is_some() && !ended.in_transaction());

    let aborted = applied(&open, &[AbortTransactionRecord::default().into()]);
    assert_eq!(aborted, Image { offset: open.offset + 1, ..before });
}

#[test]
fn security_and_quotas_are_kept() {
    let token = DelegationTokenRecord { token_id: "t".into(), owner: "User:a".into(), ..Default::default() };
    let scram = UserScramCredentialRecord { name: "u".into(), mechanism: 1, ..Default::default() };
    let acl = AccessControlEntryRecord { id: A, principal: "User:a".into(), ..Default::default() };
    let entity = vec![QuotaEntity { entity_type: "user".into(), entity_name: None }];
    let quota = |key: &str, value: f64, remove| -> MetadataRecord {
        ClientQuotaRecord { entity: entity.clone(), key: key.into(), value: QuotaValue(value), remove }.into()
    };
    let ids = ProducerIdsRecord { next_producer_id: 1000, ..Default::default() };
    assert_eq!(Image::empty().next_producer_id(), 0);
    let image = applied(
        &Image::empty(),
        &[
            token.into(),
            scram.into(),
            acl.into(),
            quota("k", 1.0, false),
            quota("l", 2.0, false),
            quota("k", 3.0, false),
            ids.into(),
        ],
    );
    assert_eq!(image.next_producer_id(), 1000);
    assert!(image.delegation_token("t").is_some() && image.scram_credential("u", 1).is_some());
    assert!(image.scram_credential("u", 2).is_none());
    assert_eq!(image.acls().map(|acl| acl.id).collect::<Vec<_>>(), [A]);
    let (target, values) = image.quotas().next().expect("one target");
    assert_eq!((target.len(), values["k"], values["l"]), (1, QuotaValue(3.0), QuotaValue(2.0)));

    let image = applied(
        &image,
        &[
            RemoveDelegationTokenRecord { token_id: "t".into() }.into(),
            RemoveUserScramCredentialRecord { name: "u".into(), mechanism: 1 }.into(),
            RemoveAccessControlEntryRecord { id: A }.into(),
            quota("k", 0.0, true),
            quota("l", 0.0, true),
        ],
    );
    let producer_ids_only = image.records();
    assert_eq!(producer_ids_only.len(), 1, "{producer_ids_only:?}");
}

#[test]
fn topics_are_listed_in_order() {
    let image = applied(&Image::empty(), &[topic("c", B), topic("a", A), topic("b.x", Uuid::from_u128(0xc))]);
    let names = |topics: &mut dyn Iterator<Item = &Arc<Topic>>| {
        topics.map(|t| t.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut image.topics()), ["a", "b.x", "c"]);
}

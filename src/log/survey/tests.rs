//! The reasons not to start, row by row; and that a survey changes nothing.

use std::path::Path;

use ottla_model::DirectoryId;
use ottla_model::NodeId;
use ottla_model::config::{Sources, load};
use ottla_model::image::Image;
use ottla_model::record::*;
use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::control::{ControlRecord, SnapshotFooter, SnapshotHeader};
use ottla_protocol::batch::{BatchBuilder, Compression};
use uuid::Uuid;

use super::*;
use crate::disk::{MemoryDisk, OpenHow};
use crate::metadata::Membership;

const FOLDER: &str = "/a/__cluster_metadata-0";
const TOPIC: Uuid = Uuid::from_u128(77);

fn config() -> BrokerConfig {
    let overrides = [("node.id", "1"), ("log.dirs", "/a,/b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration").0
}

fn meta(cluster_id: &str, node: i32, version: u8) -> DirectoryState {
    let meta = MetaProperties { cluster_id: cluster_id.into(), node_id: NodeId(node), directory_id: None };
    DirectoryState::Formatted { meta, version }
}

fn dir(path: &str, state: DirectoryState, partitions: usize) -> Directory {
    Directory { path: path.into(), state, partitions }
}

/// A directory with a metadata log of these records, and an empty directory.
fn served(records: &[MetadataRecord]) -> Survey {
    let mut image = Image::empty();
    for (offset, record) in (0..).zip(records) {
        image.apply_in_place(offset, LeaderEpoch(1), record).expect("records in order");
    }
    let metadata = Metadata {
        folder: FOLDER.into(),
        snapshot: None,
        end: image.offset + 1,
        segments: 1,
        bytes: 100,
        image,
        membership: Membership::default(),
        cut: None,
        problem: None,
    };
    Survey {
        dirs: vec![dir("/a", meta("c", 1, 1), 1), dir("/b", DirectoryState::Absent, 0)],
        metadata: Some(metadata),
    }
}

fn topic(replicas: &[i32], settings: &[(&str, &str)]) -> Vec<MetadataRecord> {
    let nodes: Vec<NodeId> = replicas.iter().map(|id| NodeId(*id)).collect();
    let partition = PartitionRecord {
        partition_id: 0,
        topic_id: TOPIC,
        replicas: nodes.clone(),
        isr: nodes,
        ..PartitionRecord::default()
    };
    let config = |(name, value): &(&str, &str)| {
        let resource_name = "t".to_owned();
        let (name, value) = (name.to_string(), Some(value.to_string()));
        ConfigRecord { resource_type: ResourceType::Topic, resource_name, name, value }.into()
    };
    let topic = TopicRecord { name: "t".into(), topic_id: TOPIC };
    let settings = settings.iter().map(config);
    [topic.into(), partition.into()].into_iter().chain(settings).collect()
}

fn level(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.into(), feature_level }.into()
}

/// A part of the text of each expected stop.
#[track_caller]
fn check(story: &str, found: &Survey, expected: &[&str]) {
    let stops = stops(found, &config());
    assert_eq!(stops.len(), expected.len(), "{story}: {stops:?}");
    for (Stop(line), part) in stops.iter().zip(expected) {
        assert!(line.contains(part) && !line.contains('\n'), "{story}: {line}");
    }
}

#[test]
fn directories_must_be_this_nodes_and_of_one_cluster() {
    let found = |a: DirectoryState, b: DirectoryState| Survey {
        dirs: vec![dir("/a", a, 0), dir("/b", b, 0)],
        metadata: None,
    };
    let unreadable = || DirectoryState::Unreadable("listing /b: I/O error".into());
    check("new", &found(DirectoryState::Absent, DirectoryState::Absent), &[]);
    check("formatted, never started", &found(meta("c", 1, 1), DirectoryState::Unformatted), &[]);
    check("both", &found(meta("c", 1, 1), meta("c", 1, 1)), &[]);
    let line = "Invalid cluster.id in /b/meta.properties: expected c, but read d";
    check("another cluster's", &found(meta("c", 1, 1), meta("d", 1, 1)), &[line]);
    let line = "Invalid node.id in /b/meta.properties: expected 1, but read 2";
    check("another node's", &found(meta("c", 1, 1), meta("c", 2, 1)), &[line]);
    let with_id = |id: u128| {
        let (cluster_id, node_id) = ("c".into(), NodeId(1));
        let meta = MetaProperties { cluster_id, node_id, directory_id: Some(DirectoryId::from_u128(id)) };
        DirectoryState::Formatted { meta, version: 1 }
    };
    check("two", &found(with_id(7), with_id(8)), &[]);
    let line = "/b/meta.properties has the directory.id of /a: a copy of it";
    check("one and a copy of it", &found(with_id(7), with_id(7)), &[line]);
    let malformed = DirectoryState::Malformed("/b/meta.properties, line 1: cluster.id is missing".into());
    check("damaged", &found(meta("c", 1, 1), malformed), &["cluster.id is missing; write the file anew"]);
    check("one that fails beside another", &found(meta("c", 1, 1), unreadable()), &[]);
    check("the metadata log's", &found(unreadable(), meta("c", 1, 1)), &["I/O error; see to the disk"]);
}

#[test]
fn partitions_without_a_metadata_log_are_nobodys() {
    let found = |state: DirectoryState, partitions| Survey {
        dirs: vec![dir("/a", state, partitions)],
        metadata: None,
    };
    check("of ZooKeeper's time", &found(meta("c", 1, 0), 3), &["the cluster's metadata is in ZooKeeper"]);
    check("of ZooKeeper's time, empty", &found(meta("c", 1, 0), 0), &["/a/meta.properties is of version 0"]);
    check(
        "its log is lost",
        &found(meta("c", 1, 1), 3),
        &["/a has 3 partitions, and there is no metadata log in"],
    );
    check("not even formatted", &found(DirectoryState::Unformatted, 1), &["/a has 1 partitions"]);
    let mut with_metadata = served(&[]);
    with_metadata.dirs[0].state = meta("c", 1, 0);
    check("a log without a record", &with_metadata, &["/a/meta.properties is of version 0"]);
    with_metadata.metadata.as_mut().expect("served").end = 5;
    check("an old file beside new metadata", &with_metadata, &[]);
}

#[test]
fn metadata_must_be_what_this_broker_can_serve() {
    check("a topic", &served(&topic(&[1], &[("retention.ms", "-1"), ("cleanup.policy", "compact")])), &[]);
    check("known levels", &served(&[level("metadata.version", 30), level("group.version", 1)]), &[]);
    check("the oldest level", &served(&[level("metadata.version", 7)]), &[]);
    check(
        "a level from later",
        &served(&[level("group.version", 9)]),
        &["level 9 of group.version, known is 0 to 1"],
    );
    check(
        "a feature from later",
        &served(&[level("new.version", 1)]),
        &["new.version, this feature is unknown"],
    );
    check("replicated", &served(&topic(&[1, 2], &[])), &[]);
    check("somewhere else", &served(&topic(&[3], &[])), &[]);
    let tiered = [("remote.storage.enable", "true")];
    check("tiered", &served(&topic(&[1], &tiered)), &["topic t has remote.storage.enable=true"]);
    check("no longer tiered", &served(&topic(&[1], &[("remote.storage.enable", "false")])), &[]);
    check(
        "a wrong value",
        &served(&topic(&[1], &[("retention.ms", "soon")])),
        &["topic t: Invalid value soon"],
    );
    check("one of an earlier Kafka", &served(&topic(&[1], &[("message.format.version", "2.8")])), &[]);
    let mut broken = served(&topic(&[1], &[]));
    let metadata = broken.metadata.as_mut().expect("served");
    metadata.problem =
        Some(Problem { file: format!("{FOLDER}/0.log").into(), what: "type 99 is unknown".into() });
    check("a record from later", &broken, &["/a/__cluster_metadata-0/0.log: type 99 is unknown; restore"]);
}

#[test]
fn a_thousand_topics_do_not_make_a_thousand_lines() {
    let mut records = Vec::new();
    for n in 0..1_000u128 {
        let topic_id = Uuid::from_u128(1_000 + n);
        records.push(TopicRecord { name: format!("t{n}"), topic_id }.into());
        let (resource_name, name) = (format!("t{n}"), "remote.storage.enable".to_owned());
        let value = Some("true".to_owned());
        records.push(ConfigRecord { resource_type: ResourceType::Topic, resource_name, name, value }.into());
    }
    let stops = stops(&served(&records), &config());
    assert_eq!(stops.len(), 21);
    assert!(stops[20].0.ends_with("980 more topics cannot be taken over"), "{}", stops[20]);
}

/// The bytes of a metadata log with one batch for each group of records.
fn log_of(groups: &[Vec<bytes::Bytes>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = 0;
    for group in groups {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in group {
            batch.append(1_000, None, Some(record), &[]);
        }
        bytes.extend_from_slice(&batch.build(offset, LeaderEpoch(1)));
        offset += group.len() as i64;
    }
    bytes
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    let path = Path::new(FOLDER).join(name);
    disk.open(&path, OpenHow::CreateEmpty).and_then(|file| file.write_at(bytes, 0)).expect("a healthy disk");
}

#[test]
fn the_metadata_is_read_as_it_lies_there_and_nothing_is_written() {
    let encoded = |records: &[MetadataRecord]| records.iter().map(MetadataRecord::encode).collect::<Vec<_>>();
    let groups = [encoded(&[level("metadata.version", 25)]), encoded(&topic(&[1], &[]))];
    let disk = MemoryDisk::new(1);
    disk.create_dir_all(Path::new(FOLDER)).expect("a healthy disk");
    let look = || {
        let before = disk.changes();
        let found = find(&disk, &config());
        assert_eq!(disk.changes(), before, "looking changes nothing");
        found.metadata
    };
    assert!(look().is_none(), "an empty folder is no log");

    let whole = log_of(&groups);
    put(&disk, "00000000000000000000.log", &whole);
    let metadata = look().expect("a log");
    assert_eq!(
        (metadata.end, metadata.image.topics().len(), metadata.cut, metadata.problem),
        (3, 1, None, None)
    );

    put(&disk, "00000000000000000000.log", &whole[..whole.len() - 1]);
    let metadata = look().expect("a log");
    assert_eq!((metadata.end, metadata.image.topics().len(), metadata.problem), (1, 0, None));
    assert!(metadata.cut.is_some_and(|cut| cut.file.ends_with("00000000000000000000.log")));

    // A record of type 99, and a metadata version that Kafka does not have yet.
    for (record, part) in [
        (bytes::Bytes::from_static(&[1, 99, 0, 0]), "offset 1: metadata record type 99 is unknown"),
        (level("metadata.version", 99).encode(), "metadata.version 99 is not one that we know"),
    ] {
        put(&disk, "00000000000000000000.log", &log_of(&[groups[0].clone(), vec![record]]));
        let problem = look().expect("a log").problem.expect("a problem");
        assert!(problem.what.contains(part), "{problem:?}");
    }

    // A log that continues a snapshot with the topic; and the same log without the snapshot.
    let mut snapshot = BatchBuilder::new(Compression::None).control();
    let header = SnapshotHeader { last_contained_log_timestamp: 1_000, ..SnapshotHeader::default() };
    snapshot.append_control(1_000, &ControlRecord::SnapshotHeader(header));
    let mut end = BatchBuilder::new(Compression::None).control();
    end.append_control(1_000, &ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 }));
    let of = |batch: &BatchBuilder| batch.build(0, LeaderEpoch(1)).to_vec();
    let bytes = [of(&snapshot), log_of(&groups), of(&end)].concat();
    disk.remove_file(&Path::new(FOLDER).join("00000000000000000000.log")).expect("it was there");
    put(&disk, "00000000000000000007.log", &[]);
    let problem = look().expect("a log").problem.expect("a problem");
    assert!(problem.what.contains("begins at offset 7"), "{problem:?}");
    put(&disk, "00000000000000000007-0000000001.checkpoint", &bytes);
    let metadata = look().expect("a snapshot");
    assert_eq!((metadata.end, metadata.image.topics().len(), metadata.problem), (7, 1, None));
    put(&disk, "00000000000000000007-0000000001.checkpoint", &bytes[..bytes.len() - 1]);
    let problem = look().expect("a snapshot").problem.expect("a problem");
    assert!(problem.file.ends_with("00000000000000000007-0000000001.checkpoint"), "{problem:?}");
}

//! Metadata records one after another, and the image that they make. An input is records, each behind two bytes of
//! length.

use ottla_model::feature::MetadataVersion;
use ottla_model::ids::{BrokerEpoch, NodeId};
use ottla_model::image::Image;
use ottla_model::record::*;
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

pub fn body(bytes: &[u8]) {
    let mut image = Image::empty();
    let mut rest = bytes;
    let mut offset = 0;
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (record, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        rest = after;
        let Ok((record, version)) = MetadataRecord::decode_versioned(record) else { continue };
        let again = record.encode_at(version).map(|bytes| MetadataRecord::decode_versioned(&bytes));
        assert_eq!(again, Ok(Ok((record.clone(), version))), "a record is read as it is written");
        let before = image.clone();
        match image.apply_in_place(offset, LeaderEpoch(3), &record) {
            Ok(()) => offset += 1,
            Err(_) => assert_eq!(image, before, "a record that is refused has changed nothing"),
        }
    }
    if !image.in_transaction() {
        check_snapshot(&image);
    }
}

/// What is in an image can be written down as its records, and is as much of an image again.
pub(crate) fn check_snapshot(image: &Image) {
    let version = image.metadata_version().unwrap_or(MetadataVersion::LATEST_PRODUCTION);
    let mut read = Vec::new();
    for record in image.records() {
        let bytes = record.encode_whole(version);
        let bytes = bytes.unwrap_or_else(|why| panic!("{record:?} cannot be written at {version:?}: {why}"));
        read.push(MetadataRecord::decode(&bytes).expect("what was just written"));
    }
    let again = Image::from_records(image.offset, image.epoch, &read).expect("it was an image before");
    let records = again.records();
    assert_eq!(records.len(), image.records().len(), "a snapshot holds what the image did");
}

pub(crate) fn records() -> Vec<MetadataRecord> {
    let (topic_id, dir) = (Uuid::from_u128(77), Uuid::from_u128(1 << 90));
    let config = |name: &str, value: &str| ConfigRecord {
        resource_name: "topic".into(),
        name: name.into(),
        value: Some(value.into()),
        ..ConfigRecord::default()
    };
    vec![
        FeatureLevelRecord { name: "metadata.version".into(), feature_level: 25 }.into(),
        FeatureLevelRecord { name: "group.version".into(), feature_level: 1 }.into(),
        RegisterBrokerRecord {
            broker_id: NodeId(1),
            broker_epoch: BrokerEpoch(5),
            log_dirs: vec![dir],
            ..RegisterBrokerRecord::default()
        }
        .into(),
        TopicRecord { name: "topic".into(), topic_id }.into(),
        PartitionRecord {
            partition_id: 0,
            topic_id,
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: Some(NodeId(1)),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            directories: vec![dir],
            ..PartitionRecord::default()
        }
        .into(),
        PartitionChangeRecord {
            partition_id: 0,
            topic_id,
            leader: LeaderChange::To(NodeId(1)),
            isr: Some(vec![NodeId(1)]),
            eligible_leader_replicas: Some(vec![NodeId(1)]),
            ..PartitionChangeRecord::default()
        }
        .into(),
        config("retention.ms", "1000").into(),
        ClientQuotaRecord {
            entity: vec![QuotaEntity { entity_type: "user".into(), entity_name: Some("u".into()) }],
            key: "producer_byte_rate".into(),
            value: QuotaValue(1.5),
            ..ClientQuotaRecord::default()
        }
        .into(),
        ProducerIdsRecord { next_producer_id: 1000, ..ProducerIdsRecord::default() }.into(),
        UserScramCredentialRecord { name: "u".into(), mechanism: 1, ..UserScramCredentialRecord::default() }
            .into(),
        AccessControlEntryRecord { id: Uuid::from_u128(3), ..AccessControlEntryRecord::default() }.into(),
        DelegationTokenRecord { token_id: "t".into(), ..DelegationTokenRecord::default() }.into(),
        BrokerRegistrationChangeRecord {
            broker_id: NodeId(1),
            broker_epoch: BrokerEpoch(5),
            fenced: FencingChange::Unfence,
            log_dirs: vec![dir],
            ..BrokerRegistrationChangeRecord::default()
        }
        .into(),
        BeginTransactionRecord::default().into(),
        EndTransactionRecord::default().into(),
        NoOpRecord::default().into(),
        RemoveTopicRecord { topic_id }.into(),
    ]
}

pub fn seeds() -> Vec<Vec<u8>> {
    let framed = |record: &MetadataRecord, version| {
        let bytes = record.encode_at(version).ok()?;
        Some([&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat())
    };
    let latest = |records: &[MetadataRecord]| {
        let framed = records.iter().filter_map(|record| framed(record, record.record_type().latest));
        framed.collect::<Vec<_>>().concat()
    };
    let all = records();
    let mut seeds: Vec<Vec<u8>> = (1..=all.len()).map(|upto| latest(&all[..upto])).collect();
    let older =
        all.iter().flat_map(|record| (0..record.record_type().latest).filter_map(|v| framed(record, v)));
    seeds.extend(older);
    // A cluster that has not come far yet.
    let old = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 7 };
    seeds.push([latest(&[old.into()]), latest(&all[2..])].concat());
    seeds
}

//! Records of `__consumer_offsets`.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::group::{GroupMetadata, GroupRecord, MemberMetadata, OffsetCommit, OffsetKey};
use ottla_protocol::LeaderEpoch;
use uuid::Uuid;

pub fn body(bytes: &[u8]) {
    let Some((key_bytes, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*key_bytes).min(rest.len()));
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    for value in [Some(&value), None] {
        let Ok(Some(record)) = GroupRecord::from_key_value(&key, value) else { continue };
        let (key, value) = record.to_key_value();
        let again = GroupRecord::from_key_value(&key, value.as_ref());
        assert_eq!(again.map(kept), Ok(kept(Some(record))), "a record is read as it is written");
    }
}

// The one layout that can say when an offset expires has no place for its epoch and topic id.
fn kept(record: Option<GroupRecord>) -> Option<GroupRecord> {
    let mut record = record?;
    if let GroupRecord::OffsetCommit { value: Some(value), .. } = &mut record
        && value.expire_timestamp_ms.is_some()
    {
        value.leader_epoch = LeaderEpoch::NONE;
        value.topic_id = None;
    }
    Some(record)
}

pub fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| -> Arc<str> { text.into() };
    let offset = |expire_timestamp_ms, topic_id| GroupRecord::OffsetCommit {
        key: OffsetKey { group: text("g"), topic: "topic".into(), partition: 3 },
        value: Some(OffsetCommit {
            offset: 42,
            leader_epoch: LeaderEpoch(1),
            metadata: text("half way"),
            commit_timestamp_ms: 1_000,
            expire_timestamp_ms,
            topic_id,
        }),
    };
    let member = |id: &str, instance: Option<&str>| MemberMetadata {
        member_id: text(id),
        instance_id: instance.map(text),
        client_id: text("c"),
        client_host: text("/127.0.0.1"),
        rebalance_timeout_ms: Some(5_000),
        session_timeout_ms: 10_000,
        subscription: Bytes::from_static(b"subscription"),
        assignment: Bytes::from_static(b"assignment"),
    };
    let group = |members| GroupRecord::GroupMetadata {
        group: text("g"),
        value: Some(GroupMetadata {
            protocol_type: text("consumer"),
            generation: 4,
            protocol: Some(text("range")),
            leader: Some(text("a")),
            current_state_timestamp_ms: Some(1_000),
            members,
        }),
    };
    let records = [
        offset(None, None),
        offset(Some(2_000), None),
        offset(None, Some(Uuid::from_u128(1))),
        group(Vec::new()),
        group(vec![member("a", None), member("b", Some("static"))]),
    ];
    let bytes = records.iter().map(|record| {
        let (key, value) = record.to_key_value();
        [&[key.len() as u8][..], &key, &value.unwrap_or_default()].concat()
    });
    bytes.collect()
}

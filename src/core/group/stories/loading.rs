//! Stories of a shard that is loaded from its log.

use ottla_model::group::{GroupMetadata, MemberMetadata, OffsetKey};

use super::*;

#[test]
fn a_loaded_group_goes_on_where_it_was() {
    check(
        "without a rebalance",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join_as("b", "i")),
            at(2, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(3, sync("a", 2, &[("a", "x"), ("b", "y")])).says(&["log g 2 [a b]", "a gets \"x\""]),
            at(4, commit("a", 2, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(9_000, Deed::Reload),
            at(9_001, describe("g")).says(&["op g Stable range a+x b+y"]),
            at(18_000, beat("a", 2)).says(&["a ok"]),
            at(18_999, sync("b", 2, &[])).says(&["b gets \"y\""]),
            // b synced and sent no heartbeat: its session of ten seconds began when the shard was loaded.
            at(19_000, beat("a", 2)).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(19_001, join("a")).says(&["a leads 3 [a] range"]),
            at(19_002, fetch_all("a")).says(&["a t-0=5"]),
        ],
    );
    check(
        "one in the middle of a rebalance is in the generation before",
        prompt(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[("a", "x")])).says(&["log g 1 [a]", "a gets \"x\""]),
            at(2, join("b")),
            at(3, join("a")).says(&["a leads 2 [a b] range", "b follows a in 2"]),
            at(4, Deed::Reload),
            at(5, sync("a", 2, &[])).says(&["a: ILLEGAL_GENERATION"]),
            at(6, beat("b", 2)).says(&["b: UNKNOWN_MEMBER_ID"]),
            at(7, beat("a", 1)).says(&["a ok"]),
        ],
    );
    check(
        "deleted ones stay deleted",
        prompt(),
        vec![
            at(0, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(1, delete(&["g"])).says(&["log g t-0 gone", "log g gone", "op ok"]),
            at(2, Deed::Reload),
            at(3, list()).says(&["op"]),
        ],
    );
}

fn member(id: &str, instance: Option<&str>) -> MemberMetadata {
    MemberMetadata {
        member_id: Arc::from(id),
        instance_id: instance.map(Arc::from),
        client_id: Arc::from("c"),
        client_host: Arc::from("/h"),
        rebalance_timeout_ms: None,
        session_timeout_ms: 10_000,
        subscription: subscription(&["t"]),
        assignment: Bytes::from_static(b"x"),
    }
}

fn generation(members: Vec<MemberMetadata>) -> GroupRecord {
    let value = GroupMetadata {
        protocol_type: Arc::from("consumer"),
        generation: 5,
        protocol: Some(Arc::from("range")),
        leader: members.first().map(|member| member.member_id.clone()),
        current_state_timestamp_ms: None,
        members,
    };
    GroupRecord::GroupMetadata { group: Arc::from("g"), value: Some(value) }
}

fn loaded(settings: Settings, records: &[GroupRecord]) -> Groups<usize> {
    let mut groups = Groups::new(Arc::new(settings), stage::chance(1));
    for (offset, record) in records.iter().enumerate() {
        groups.replay(offset as i64, None, record);
    }
    groups.loaded(1_000);
    audit::check(&groups);
    groups
}

#[test]
fn a_group_that_has_become_too_large_joins_again() {
    let record = generation(vec![member("a", None), member("b", None), member("c", None)]);
    let groups = loaded(Settings { max_size: 2, ..Settings::default() }, std::slice::from_ref(&record));
    assert_eq!(groups.classic("g").state(), GroupState::PreparingRebalance);
    let groups = loaded(Settings { max_size: 3, ..Settings::default() }, &[record]);
    assert_eq!(groups.classic("g").state(), GroupState::Stable);
    assert_eq!(groups.classic("g").rebalance_timeout_ms(), 10_000, "the session's, where the log has none");
}

#[test]
fn a_damaged_record_does_no_harm() {
    let twice = generation(vec![member("a", Some("i")), member("a", Some("j")), member("b", Some("i"))]);
    let groups = loaded(Settings::default(), &[twice]);
    assert_eq!(groups.classic("g").members().len(), 1);

    let key = OffsetKey { group: Arc::from("h"), topic: Arc::from("t"), partition: 0 };
    let groups = loaded(Settings::default(), &[GroupRecord::OffsetCommit { key, value: None }]);
    assert!(groups.groups.is_empty(), "a tombstone alone makes no group");
}

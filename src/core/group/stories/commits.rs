//! Stories of offsets: committed by members, by clients that are not members, in transactions; fetched and deleted.

use ottla_protocol::{ProducerEpoch, ProducerId};

use super::*;

fn in_transaction(ask: Ask, producer: i64) -> Ask {
    let producer = Producer { id: ProducerId(producer), epoch: ProducerEpoch(0) };
    ask.commit(|commit| commit.transaction = Some(producer.into()))
}

/// Member a, stable in generation 1.
fn one(more: Vec<Row>) -> Vec<Row> {
    let mut rows = vec![
        at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
        at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
    ];
    rows.extend(more);
    rows
}

#[test]
fn what_a_member_commits_is_there_for_whoever_asks() {
    check(
        "a member of a group",
        prompt(),
        one(vec![
            at(2, fetch("a", &[0, 1])).says(&["a t-0=-1 t-1=-1"]),
            at(3, commit("a", 1, &[(0, 5), (1, 7)])).says(&["log g t-0 5", "log g t-1 7", "a ok ok"]),
            at(4, commit("a", 1, &[(0, 6)])).says(&["log g t-0 6", "a ok"]),
            at(5, fetch("b", &[0, 2, 1])).says(&["b t-0=6 t-2=-1 t-1=7"]),
            at(6, fetch_all("b")).says(&["b t-0=6 t-1=7"]),
            at(7, fetch_all("b").of("nowhere")).says(&["b"]),
            at(7, fetch("b", &[0]).of("nowhere")).says(&["b t-0=-1"]),
            at(8, Deed::Reload),
            at(9, fetch_all("b")).says(&["b t-0=6 t-1=7"]),
        ]),
    );
}

#[test]
fn a_commit_is_held_to_the_generation() {
    check(
        "of its member",
        prompt(),
        vec![
            at(0, commit("a", 1, &[(0, 5)])).says(&["a: GROUP_ID_NOT_FOUND"]),
            at(0, commit("a", 1, &[(0, 5)]).commit(|commit| commit.knows_group_id_not_found = false))
                .says(&["a: ILLEGAL_GENERATION"]),
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, commit("a", 1, &[(0, 5)])).says(&["a: REBALANCE_IN_PROGRESS"]),
            at(2, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(3, commit("a", 0, &[(0, 5)])).says(&["a: ILLEGAL_GENERATION"]),
            at(3, commit("a", 2, &[(0, 5)])).says(&["a: ILLEGAL_GENERATION"]),
            at(3, commit("stranger", 1, &[(0, 5)])).says(&["stranger: UNKNOWN_MEMBER_ID"]),
            at(3, commit("op", -1, &[(0, 5)])).says(&["op: UNKNOWN_MEMBER_ID"]),
            // Its partitions may be revoked soon, so it may still commit what it has processed.
            at(4, join("b")),
            at(5, commit("a", 1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
        ],
    );
}

#[test]
fn a_commit_shows_that_its_member_is_there() {
    check(
        "no heartbeat for 15 seconds",
        prompt(),
        one(vec![
            at(9_000, commit("a", 1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(18_000, beat("a", 1)).says(&["a ok"]),
            at(28_000, Deed::Wait).says(&["log g 2 []"]),
        ]),
    );
}

#[test]
fn a_group_without_members_is_made_by_its_first_commit() {
    check(
        "a consumer that manages its partitions itself",
        prompt(),
        vec![
            at(0, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(1, list()).says(&["op g Empty "]),
            at(2, commit("a", -1, &[(0, 6)]).of("")).says(&["log  t-0 6", "a ok"]),
            at(3, fetch_all("a").of("")).says(&["a t-0=6"]),
            at(4, join("b")).says(&["b leads 1 [b] range"]),
            at(5, fetch_all("a")).says(&["a t-0=5"]),
        ],
    );
}

#[test]
fn what_comes_with_an_offset_comes_back() {
    let with = |epoch, metadata: Option<&'static str>| {
        commit("a", -1, &[(0, 5)]).commit(move |commit| {
            let one = &mut commit.topics[0].partitions[0];
            one.leader_epoch = LeaderEpoch(epoch);
            one.metadata = metadata.map(Arc::from);
        })
    };
    let mut stage = Stage::new(prompt());
    for (at_ms, epoch, metadata) in [(1, 0, Some("note")), (2, -1, None), (3, 7, Some(""))] {
        stage.perform(at_ms, with(epoch, metadata).into());
        for shard in [&stage.groups, &stage.replayed()] {
            let stored = &shard.offsets.of("g").unwrap()["t"][&0].commit;
            assert_eq!(stored.leader_epoch, LeaderEpoch(epoch), "an absent epoch is not epoch 0");
            // The record has no null here: Kafka, too, stores null as the empty string.
            assert_eq!(&*stored.metadata, metadata.unwrap_or_default());
            assert_eq!(stored.commit_timestamp_ms, at_ms);
        }
    }
    let long = |text: String| {
        commit("a", -1, &[(0, 5), (1, 6)])
            .commit(move |commit| commit.topics[0].partitions[0].metadata = Some(Arc::from(text)))
    };
    check(
        "a note that is too long stays outside, the rest is committed",
        prompt(),
        vec![
            at(0, long("x".repeat(4_097))).says(&["log g t-1 6", "a: OFFSET_METADATA_TOO_LARGE ok"]),
            // 4,096 characters of three bytes each.
            at(1, long("€".repeat(4_096))).says(&["log g t-0 5", "log g t-1 6", "a ok ok"]),
        ],
    );
}

#[test]
fn an_offset_of_a_topic_that_was_made_anew_is_none() {
    let (old, new) = (uuid::Uuid::from_u128(1_000), uuid::Uuid::from_u128(2_000));
    let asks = |id: Option<uuid::Uuid>| {
        fetch("a", &[0]).fetch(move |fetch| fetch.topics.as_mut().unwrap()[0].id = id)
    };
    check(
        "as far as both ids are known",
        prompt(),
        vec![
            at(0, commit("a", -1, &[(0, 5)]).commit(|commit| commit.topics[0].id = Some(old)))
                .says(&["log g t-0 5", "a ok"]),
            at(1, asks(Some(old))).says(&["a t-0=5"]),
            at(1, asks(Some(new))).says(&["a t-0=-1"]),
            at(1, asks(None)).says(&["a t-0=5"]),
            at(2, commit("a", -1, &[(0, 6)])).says(&["log g t-0 6", "a ok"]),
            at(3, asks(Some(new))).says(&["a t-0=6"]),
        ],
    );
}

#[test]
fn an_offset_in_an_open_transaction_waits_for_its_end() {
    let stable = |ask: Ask| ask.fetch(|fetch| fetch.require_stable = true);
    let play = |committed: bool, then: &str| {
        let mut stage = Stage::new(prompt());
        stage.perform(0, commit("a", -1, &[(0, 5)]).into());
        stage.perform(1, in_transaction(commit("a", -1, &[(0, 9), (1, 2)]), 77).into());
        let rows = [
            (fetch_all("a"), "a t-0=5"),
            (stable(fetch_all("a")), "a t-0=UNSTABLE_OFFSET_COMMIT"),
            (fetch("a", &[0, 1]), "a t-0=UNSTABLE_OFFSET_COMMIT t-1=UNSTABLE_OFFSET_COMMIT"),
        ];
        for (ask, expected) in rows {
            assert_eq!(stage.perform(2, ask.into()), [expected]);
        }
        stage.end_transaction(ProducerId(77), committed);
        stage.end_transaction(ProducerId(78), true);
        assert_eq!(stage.groups.offsets, stage.replayed().offsets);
        assert_eq!(stage.perform(3, fetch("a", &[0, 1]).into()), [then]);
    };
    play(true, "a t-0=9 t-1=2");
    play(false, "a t-0=5 t-1=-1");

    let mut stage = Stage::new(prompt());
    stage.perform(0, in_transaction(commit("a", -1, &[(0, 9)]), 77).into());
    stage.perform(1, commit("a", -1, &[(0, 5)]).into());
    stage.end_transaction(ProducerId(77), true);
    assert_eq!(stage.perform(2, fetch("a", &[0]).into()), ["a t-0=5"], "the later one in the log stands");
}

#[test]
fn transactions_are_not_held_to_the_state_of_the_group() {
    check(
        "but to its members, if they say who they are",
        prompt(),
        vec![
            at(0, in_transaction(commit("a", 1, &[(0, 5)]), 7)).says(&["a: GROUP_ID_NOT_FOUND"]),
            at(0, in_transaction(commit("a", -1, &[(0, 5)]).of(""), 7)).says(&["a: INVALID_GROUP_ID"]),
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, in_transaction(commit("a", 1, &[(0, 5)]), 7)).says(&["log g t-0 5", "a ok"]),
            at(2, in_transaction(commit("a", 2, &[(0, 5)]), 7)).says(&["a: ILLEGAL_GENERATION"]),
            at(3, in_transaction(commit("a", -1, &[(0, 6)]), 7)).says(&["log g t-0 6", "a ok"]),
        ],
    );
}

#[test]
fn offsets_are_deleted_where_nobody_consumes() {
    check(
        "of a group with members, only other topics'",
        prompt(),
        one(vec![
            at(2, delete_offsets("t", &[0])).says(&["op: GROUP_SUBSCRIBED_TO_TOPIC"]),
            at(3, commit("a", 1, &[(0, 5)]).commit(|commit| commit.topics[0].topic = Arc::from("u")))
                .says(&["log g u-0 5", "a ok"]),
            at(4, delete_offsets("u", &[0, 1])).says(&["log g u-0 gone", "op ok ok"]),
            at(5, fetch_all("a")).says(&["a"]),
        ]),
    );
    check(
        "of one without",
        prompt(),
        vec![
            at(0, delete_offsets("t", &[0])).says(&["op: GROUP_ID_NOT_FOUND"]),
            at(1, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(2, delete_offsets("t", &[0])).says(&["log g t-0 gone", "op ok"]),
            at(3, list()).says(&["op g Empty "]),
            at(4, in_transaction(commit("a", -1, &[(0, 5)]), 7)).says(&["log g t-0 5", "a ok"]),
            at(5, delete_offsets("t", &[0])).says(&["log g t-0 gone", "op ok"]),
            at(6, fetch("a", &[0])).says(&["a t-0=-1"]),
        ],
    );
    check(
        "a member whose subscription cannot be read may consume anything",
        prompt(),
        vec![
            at(0, join("a").join(|join| join.protocols[0].metadata = Bytes::from_static(b"?")))
                .says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, delete_offsets("t", &[0])).says(&["op: GROUP_SUBSCRIBED_TO_TOPIC"]),
        ],
    );
}

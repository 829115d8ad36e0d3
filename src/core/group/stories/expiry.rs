//! Stories of offsets that are removed: expired ones (KIP-211), and those of deleted topics.

use ottla_protocol::{ProducerEpoch, ProducerId};

use super::*;

const CHECK_MS: i64 = 600_000;
const KEPT_MS: i64 = 1_000_000;

fn short() -> Settings {
    Settings { offsets_retention_ms: KEPT_MS, ..prompt() }
}

#[test]
fn offsets_of_a_group_without_members_expire() {
    check(
        "a simple group's, each from its commit on",
        short(),
        vec![
            at(0, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(300_000, commit("a", -1, &[(1, 6)])).says(&["log g t-1 6", "a ok"]),
            at(CHECK_MS * 2, Deed::Wait).says(&["log g t-0 gone"]),
            at(CHECK_MS * 3, Deed::Wait).says(&["log g t-1 gone", "log g gone"]),
            at(CHECK_MS * 3, list()).says(&["op"]),
        ],
    );
    check(
        "a group's, from the time on that its last member left",
        short(),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(2, commit("a", 1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(9_000, leave("a")).says(&["log g 2 []", "a ok"]),
            at(CHECK_MS, Deed::Wait),
            at(KEPT_MS + 9_000, Deed::Reload),
            at(KEPT_MS + 9_000 + CHECK_MS, Deed::Wait).says(&["log g t-0 gone", "log g gone"]),
        ],
    );
    check(
        "a client's own retention goes before the broker's",
        short(),
        vec![
            at(0, commit("a", -1, &[(0, 5)]).commit(|commit| commit.retention_ms = Some(10_000)))
                .says(&["log g t-0 5", "a ok"]),
            at(0, commit("a", -1, &[(1, 5)]).commit(|commit| commit.retention_ms = Some(5_000_000)))
                .says(&["log g t-1 5", "a ok"]),
            at(CHECK_MS, Deed::Wait).says(&["log g t-0 gone"]),
            at(4_800_000, Deed::Wait),
            at(5_400_000, Deed::Wait).says(&["log g t-1 gone", "log g gone"]),
        ],
    );
}

#[test]
fn of_a_group_with_members_those_of_other_topics_expire() {
    let keep = |rows: &mut Vec<Row>, from: i64, to: i64| {
        rows.extend((from / 9_000 + 1..=to / 9_000).map(|n| at(n * 9_000, beat("a", 1)).says(&["a ok"])));
    };
    let mut rows = vec![
        at(0, join("a").join(|join| join.session_timeout_ms = 1_000_000))
            .says(&["log g 0 []", "a leads 1 [a] range"]),
        at(1, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
        at(2, commit("a", 1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
        at(2, commit("a", 1, &[(0, 6)]).commit(|commit| commit.topics[0].topic = Arc::from("u")))
            .says(&["log g u-0 6", "a ok"]),
    ];
    keep(&mut rows, 0, CHECK_MS * 2 - 1);
    rows.push(at(CHECK_MS * 2, Deed::Wait).says(&["log g u-0 gone"]));
    rows.push(at(CHECK_MS * 2, fetch_all("a")).says(&["a t-0=5"]));
    check("a consumes t, not u", short(), rows);
}

#[test]
fn an_offset_of_an_open_transaction_does_not_expire() {
    let mut stage = Stage::new(short());
    let producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };
    stage.perform(0, commit("a", -1, &[(0, 5)]).into());
    stage.perform(
        1,
        commit("a", -1, &[(0, 6)]).commit(|commit| commit.transaction = Some(producer.into())).into(),
    );
    assert!(stage.perform(CHECK_MS * 3, Deed::Wait).is_empty());
    stage.end_transaction(ProducerId(7), false);
    assert_eq!(stage.perform(CHECK_MS * 4, Deed::Wait), ["log g t-0 gone", "log g gone"]);
}

#[test]
fn a_group_that_nothing_is_known_of_goes_with_the_next_check() {
    check(
        "its only member never came back with its id",
        short(),
        vec![
            at(0, join_v4("a")).says(&["log g 0 []", "a: MEMBER_ID_REQUIRED"]),
            at(CHECK_MS - 1, list()).says(&["op g Empty "]),
            at(CHECK_MS, list()).says(&["log g gone", "op"]),
        ],
    );
}

#[test]
fn many_expire_in_pieces() {
    let mut stage = Stage::new(short());
    let offsets: Vec<(i32, i64)> = (0..700).map(|n| (n, 1)).collect();
    for group in ["g", "h", "i"] {
        stage.perform(0, commit("a", -1, &offsets).of(group).into());
    }
    let seen = stage.perform(CHECK_MS * 2, Deed::Wait);
    assert_eq!(seen.len(), 3 * 701, "each offset and each group once");
    assert!(stage.groups.groups.is_empty() && stage.replayed().offsets == stage.groups.offsets);
}

#[test]
fn a_check_that_cannot_write_leaves_it_to_the_next() {
    check(
        "too few replicas",
        short(),
        vec![
            at(0, commit("a", -1, &[(0, 5)])).says(&["log g t-0 5", "a ok"]),
            at(1, Deed::FailNext(ErrorCode::NotEnoughReplicas)),
            at(CHECK_MS * 2, list()).says(&["no log: NOT_ENOUGH_REPLICAS", "op g Empty "]),
            at(CHECK_MS * 3, list()).says(&["log g t-0 gone", "log g gone", "op"]),
        ],
    );
}

#[test]
fn offsets_go_with_their_topic() {
    let (old, new) = (uuid::Uuid::from_u128(1_000), uuid::Uuid::from_u128(2_000));
    let deleted = move |id| Ask {
        who: "op",
        command: Command::TopicsDeleted { topics: vec![(Arc::from("t"), id), (Arc::from("x"), new)] },
    };
    let with_id = |ask: Ask, id| ask.commit(move |commit| commit.topics[0].id = Some(id));
    let producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };
    check(
        "those that were committed in it, not in its namesake",
        prompt(),
        vec![
            at(0, with_id(commit("a", -1, &[(0, 5)]), old)).says(&["log g t-0 5", "a ok"]),
            at(0, with_id(commit("a", -1, &[(1, 5)]), new)).says(&["log g t-1 5", "a ok"]),
            at(0, commit("a", -1, &[(2, 5)])).says(&["log g t-2 5", "a ok"]),
            at(0, with_id(commit("a", -1, &[(3, 5)]), old).commit(|c| c.transaction = Some(producer.into())))
                .says(&["log g t-3 5", "a ok"]),
            at(1, deleted(old)).says(&["log g t-0 gone", "log g t-2 gone", "log g t-3 gone", "op ok"]),
            at(2, deleted(old)).says(&["op ok"]),
            at(3, fetch("a", &[0, 1, 2, 3])).says(&["a t-0=-1 t-1=5 t-2=-1 t-3=-1"]),
            at(4, Deed::FailNext(ErrorCode::NotLeaderOrFollower)),
            at(5, deleted(new)).says(&["no log: NOT_LEADER_OR_FOLLOWER", "op: NOT_COORDINATOR"]),
        ],
    );
}

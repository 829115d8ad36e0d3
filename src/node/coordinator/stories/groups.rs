//! Groups between their machine and their log.

use ottla_core::group::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, Groups, Reply, Settings,
};

use super::*;

type Story = Stage<Groups<u32>>;

/// What became of a question: its number and its error, or the offset that it was told.
type Told = (u32, Result<Offset, ErrorCode>);

fn empty() -> Shard<Groups<u32>> {
    let terms =
        ShardSettings { compression: Compression::None, linger: Linger::Ms(0), write_timeout_ms: 5_000 };
    Shard::new(Groups::new(Arc::new(Settings::default()), Box::new(|| 7)), terms)
}

fn story() -> Story {
    Stage::new(empty())
}

fn commit(offset: Offset) -> Command {
    let partition = CommitPartition { partition: 0, offset, leader_epoch: LeaderEpoch(3), metadata: None };
    Command::CommitOffsets(CommitOffsets {
        group: "g".into(),
        member_id: "".into(),
        generation: -1,
        instance_id: None,
        retention_ms: None,
        transaction: None,
        knows_group_id_not_found: true,
        topics: vec![CommitTopic { topic: "t".into(), id: None, partitions: vec![partition] }],
    })
}

fn fetch() -> Command {
    Command::FetchOffsets(FetchOffsets { group: "g".into(), topics: None, require_stable: false })
}

fn told(out: Vec<Output<u32, Reply>>) -> Vec<Told> {
    let each = out.into_iter().filter_map(|output| match output {
        Output::Reply { token, reply: Reply::OffsetsCommitted(committed) } => Some((
            token,
            match committed.topics[0].partitions[0].1 {
                ErrorCode::None => Ok(0),
                error => Err(error),
            },
        )),
        Output::Reply { token, reply: Reply::OffsetsFetched(fetched) } => Some((
            token,
            match fetched.error {
                ErrorCode::None => Ok(fetched.topics.first().map_or(-1, |topic| topic.partitions[0].offset)),
                error => Err(error),
            },
        )),
        Output::Reply { reply, .. } => panic!("nobody asked for this: {reply:?}"),
        Output::Append(_) => panic!("nothing more is to be written"),
        Output::Note(_) => None,
    });
    each.collect()
}

#[test]
fn a_commit_is_answered_once_it_is_replicated_and_so_is_whoever_saw_it() {
    let mut story = story();
    let out = story.ask(commit(40));
    assert_eq!(told(story.append(out)), []);
    let out = story.ask(fetch());
    assert_eq!(told(out), [], "what it would tell may yet be lost");
    assert_eq!(story.shard.awaits(), Some(1));
    assert_eq!(told(story.feed(Input::Replicated(1))), [(1, Ok(0)), (2, Ok(40))]);
    assert_eq!(story.shard.awaits(), None);
    let out = story.ask(fetch());
    assert_eq!(told(out), [(3, Ok(40))], "at once, since all is safe");
}

#[test]
fn a_refused_append_has_changed_nothing() {
    let mut story = story();
    let out = story.ask(commit(40));
    story.append(out);
    story.feed(Input::Replicated(1));
    let out = story.ask(commit(50));
    assert!(matches!(out[..], [Output::Append(_)]));
    let out = story.feed(Input::Appended(Err(ErrorCode::NotEnoughReplicas)));
    assert_eq!(told(out), [(2, Err(ErrorCode::CoordinatorNotAvailable))]);
    let out = story.ask(fetch());
    assert_eq!(told(out), [(3, Ok(40))]);
    let out = story.ask(commit(60));
    assert_eq!(told(story.append(out)), [], "and the shard goes on");
    assert_eq!(told(story.feed(Input::Replicated(2))), [(4, Ok(0))]);
}

#[test]
fn nobody_waits_longer_than_the_commit_timeout() {
    let mut story = story();
    let out = story.ask(commit(40));
    story.append(out);
    assert_eq!(story.shard.next_deadline_ms(), Some(6_000));
    story.now_ms = 5_999;
    assert_eq!(told(story.feed(Input::Tick)), []);
    story.now_ms = 6_000;
    assert_eq!(told(story.feed(Input::Tick)), [(1, Err(ErrorCode::CoordinatorNotAvailable))]);
    // It stands all the same.
    story.feed(Input::Replicated(1));
    let out = story.ask(fetch());
    assert_eq!(told(out), [(2, Ok(40))]);
}

#[test]
fn a_shard_that_moves_tells_everybody_who_waits() {
    let mut story = story();
    let out = story.ask(commit(40));
    story.append(out);
    story.ask(fetch());
    let out = story.feed(Input::Resign(ErrorCode::NotCoordinator));
    let moved = Err(ErrorCode::NotCoordinator);
    assert_eq!(told(out), [(1, moved), (2, moved)]);
}

#[test]
fn a_log_says_all_that_was_written() {
    let mut story = story();
    for offset in [10, 20, 30] {
        let out = story.ask(commit(offset));
        story.append(out);
    }
    let mut next = story.loaded_into(empty());
    let out = next.ask(fetch());
    assert_eq!(told(out), [(101, Ok(30))]);
    assert_eq!(next.shard.applied(), 3);
}

#[test]
fn what_is_no_record_of_ours_stops_the_loading() {
    let mut batch = ottla_protocol::batch::BatchBuilder::new(Compression::None);
    batch.append(0, Some(&[0, 1, 0xff]), Some(&[]), &[]);
    let outcome = empty().replay(&batch.build(0, LeaderEpoch(0)));
    assert!(matches!(outcome, Err(LoadError::Record { offset: 0, .. })), "{outcome:?}");
    let mut later = ottla_protocol::batch::BatchBuilder::new(Compression::None);
    later.append(0, Some(&[0x70, 0]), Some(&[1, 2, 3]), &[]);
    let mut shard = empty();
    assert!(
        shard.replay(&later.build(0, LeaderEpoch(0))).is_ok(),
        "a type of a later version is passed over"
    );
    assert_eq!(shard.applied(), 1);
}

#[test]
fn commits_that_come_together_share_a_batch_and_what_depends_on_them_waits() {
    let mut story = Stage::new(Shard::new(
        Groups::new(Arc::new(Settings::default()), Box::new(|| 7)),
        ShardSettings { compression: Compression::None, linger: Linger::Adaptive, write_timeout_ms: 5_000 },
    ));
    assert_eq!(told(story.ask(commit(40))), []);
    assert_eq!(told(story.ask(commit(50))), []);
    assert_eq!(told(story.ask(fetch())), [(3, Ok(-1))], "nothing is committed yet");
    let out = story.ask(Command::DeleteGroups { groups: vec!["g".into()] });
    let out = story.append(out);
    assert!(
        matches!(out[..], []),
        "whether there is such a group, and what has to go with it, is known only now"
    );
    assert!(story.shard.is_gathering(), "its tombstones");
    let out = story.feed(Input::Idle);
    let replies = story.settle(out);
    let deleted =
        |reply: &Reply| matches!(reply, Reply::GroupsDeleted(groups) if groups[0].1 == ErrorCode::None);
    assert!(matches!(&replies[2..], [Output::Reply { token: 4, reply }] if deleted(reply)), "{replies:?}");
    let out = story.ask(fetch());
    assert_eq!(told(out), [(5, Ok(-1))]);
}

#[test]
fn offsets_of_a_transaction_count_once_its_marker_is_written() {
    let producer = Producer { id: ProducerId(7), epoch: ottla_protocol::ProducerEpoch(0) };
    let mut story = story();
    let Command::CommitOffsets(mut offsets) = commit(40) else { unreachable!("it is a commit") };
    offsets.transaction = Some(producer.into());
    let out = story.ask(Command::CommitOffsets(offsets));
    assert_eq!(told(story.settle(out)), [(1, Ok(0))]);
    assert_eq!(told(story.ask(fetch())), [(2, Ok(-1))]);
    let ending = Ending {
        producer,
        result: TransactionResult::Commit,
        coordinator_epoch: 0,
        version: TransactionVersion::ORIGINAL,
    };
    let out = story.end_transaction(ending);
    let replies = story.settle(out);
    let ended = Reply::TransactionEnded(ErrorCode::None);
    assert!(matches!(&replies[..], [Output::Reply { token: 3, reply }] if *reply == ended), "{replies:?}");
    assert_eq!(told(story.ask(fetch())), [(4, Ok(40))]);
    assert_eq!(told(story.loaded_into(empty()).ask(fetch())), [(101, Ok(40))]);
}

//! A shard's life between its machine and its log, as scripts: what is appended, what is held back, what is lost.

use ottla_core::group::{CommitOffsets, CommitPartition, CommitTopic, FetchOffsets};
use ottla_protocol::LeaderEpoch;

use super::*;

/// A shard with a log of its own, which does as it is told.
struct Story {
    shard: Shard<u32>,
    log: Vec<Bytes>,
    log_end: Offset,
    asked: u32,
    now_ms: i64,
}

/// What became of a question: its number and its error, or the offset that it was told.
type Told = (u32, Result<Offset, ErrorCode>);

impl Story {
    fn new() -> Story {
        let mut story = Story { shard: empty(), log: Vec::new(), log_end: 0, asked: 0, now_ms: 1_000 };
        story.shard.loaded(story.now_ms, 0, 0);
        story
    }

    /// The same log, loaded by somebody else.
    fn restarted(&self) -> Story {
        let mut shard = empty();
        for batch in &self.log {
            shard.replay(batch).expect("it was written");
        }
        shard.loaded(self.now_ms, self.log_end, self.log_end);
        Story { shard, log: self.log.clone(), log_end: self.log_end, asked: 100, now_ms: self.now_ms }
    }

    fn ask(&mut self, command: Command) -> Vec<Output<u32>> {
        self.asked += 1;
        self.feed(Input::Ask { token: self.asked, command })
    }

    fn feed(&mut self, input: Input<u32>) -> Vec<Output<u32>> {
        let mut out = Vec::new();
        self.shard.step(self.now_ms, input, &mut out);
        out
    }

    /// Appends what is asked for and tells the shard.
    fn append(&mut self, out: Vec<Output<u32>>) -> Vec<Output<u32>> {
        let [Output::Append(batch)] = &out[..] else { panic!("nothing to append: {out:?}") };
        let mut header = BatchHeader::parse(batch).expect("a batch");
        header.base_offset = self.log_end;
        let (first, last) = (header.base_offset, header.last_offset());
        self.log
            .push([&header.to_bytes()[..], &batch[ottla_protocol::batch::HEADER_BYTES..]].concat().into());
        self.log_end = last + 1;
        self.feed(Input::Appended(Ok((first, last))))
    }
}

fn empty() -> Shard<u32> {
    let terms = Terms {
        settings: Arc::new(Settings::default()),
        compression: Compression::None,
        commit_timeout_ms: 5_000,
    };
    Shard::new(terms, Box::new(|| 7))
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

fn told(out: Vec<Output<u32>>) -> Vec<Told> {
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
    let mut story = Story::new();
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
    let mut story = Story::new();
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
    let mut story = Story::new();
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
    let mut story = Story::new();
    let out = story.ask(commit(40));
    story.append(out);
    story.ask(fetch());
    let out = story.feed(Input::Resign(ErrorCode::NotCoordinator));
    let moved = Err(ErrorCode::NotCoordinator);
    assert_eq!(told(out), [(1, moved), (2, moved)]);
}

#[test]
fn a_log_says_all_that_was_written() {
    let mut story = Story::new();
    for offset in [10, 20, 30] {
        let out = story.ask(commit(offset));
        story.append(out);
    }
    let mut next = story.restarted();
    let out = next.ask(fetch());
    assert_eq!(told(out), [(101, Ok(30))]);
    assert_eq!(next.shard.applied(), 3);
}

#[test]
fn what_is_no_record_of_ours_stops_the_loading() {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(0, Some(&[0, 1, 0xff]), Some(&[]), &[]);
    let outcome = empty().replay(&batch.build(0, LeaderEpoch(0)));
    assert!(matches!(outcome, Err(LoadError::Record { offset: 0, .. })), "{outcome:?}");
    let mut later = BatchBuilder::new(Compression::None);
    later.append(0, Some(&[0x70, 0]), Some(&[1, 2, 3]), &[]);
    let mut shard = empty();
    assert!(
        shard.replay(&later.build(0, LeaderEpoch(0))).is_ok(),
        "a type of a later version is passed over"
    );
    assert_eq!(shard.applied(), 1);
}

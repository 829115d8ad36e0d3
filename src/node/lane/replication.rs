//! Two lanes, a leader and a follower, and the messages between them, step by step, with disks in memory.

use bytes::Bytes;
use ottla_core::partition::{Diverging, Fetched, IsrAnswer, Proposal, Standing};
use ottla_log::disk::{Fault, MemoryDisk, Operation, worker};
use ottla_log::log::{FlushTicket, Isolation};
use ottla_protocol::batch::{BatchBuilder, Compression};

use super::fixtures::{checked, host, open};
use super::*;

const LAG_MS: i64 = 30_000;

/// One replica.
struct Replica {
    id: i32,
    disk: MemoryDisk,
    config: Arc<TopicConfig>,
    lane: Lane<u32>,
    tickets: Vec<FlushTicket>,
    now_ms: i64,
    /// What its lane has put out last.
    said: Vec<Said>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Produced(u32, Result<Offset, ErrorCode>),
    Noted(Result<(), ErrorCode>),
    Followed(Result<Offset, ErrorCode>),
    Deleted(Result<Offset, ErrorCode>),
    Proposed(Proposal),
    Grown,
    Advanced,
    Offline,
}

fn role(leads: bool, epoch: i32, isr: &[i32]) -> Role {
    let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    let (epoch, partition_epoch) = (LeaderEpoch(epoch), epoch * 10);
    match leads {
        true => {
            Role::Leader(Leadership { epoch, partition_epoch, replicas: nodes(&[1, 2]), isr: nodes(isr) })
        }
        false => Role::Follower(Followership { epoch, partition_epoch, leader: Some(NodeId(3)) }),
    }
}

impl Replica {
    fn new(id: i32, role: Role, config: TopicConfig) -> Replica {
        let (disk, config) = (MemoryDisk::new(1), Arc::new(config));
        let lane = Lane::new(host(id), open(&disk, &config), role, config.clone(), 0);
        Replica { id, disk, config, lane, tickets: Vec::new(), now_ms: 0, said: Vec::new() }
    }

    fn leader(epoch: i32, isr: &[i32]) -> Replica {
        Replica::new(1, role(true, epoch, isr), TopicConfig::default())
    }

    fn follower(epoch: i32) -> Replica {
        Replica::new(2, role(false, epoch, &[]), TopicConfig::default())
    }

    fn step(&mut self, input: Input<u32>) -> Vec<Said> {
        let mut out = Vec::new();
        self.said.clear();
        match self.lane.may_wait(self.now_ms, std::iter::once(&input)) {
            true => self.lane.step(self.now_ms, [input], &mut out),
            // The disk panics if it is asked for more than a write.
            false => worker::serving(|| self.lane.step(self.now_ms, [input], &mut out)),
        }
        for output in out {
            self.said.push(match output {
                Output::Reply { token, outcome } => {
                    Said::Produced(token, outcome.map(|a| a.base_offset).map_err(|r| r.code))
                }
                Output::Noted { outcome, .. } => Said::Noted(outcome),
                Output::Followed { outcome, .. } => Said::Followed(outcome.map_err(|r| r.code)),
                Output::Deleted { outcome, .. } => Said::Deleted(outcome.map_err(|r| r.code)),
                Output::Propose(proposal) => Said::Proposed(proposal),
                Output::Grown => Said::Grown,
                Output::Advanced => Said::Advanced,
                Output::Offline { .. } => Said::Offline,
                Output::Flush(ticket) => {
                    self.tickets.push(ticket);
                    continue;
                }
                _ => continue,
            });
        }
        std::mem::take(&mut self.said)
    }

    fn become_(&mut self, role: Role) -> Vec<Said> {
        self.step(match role {
            Role::Leader(leadership) => Input::Lead(leadership),
            Role::Follower(followership) => Input::Follow(followership),
        })
    }

    fn produce(&mut self, token: u32, acks: Acks) -> Vec<Said> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, None, Some(format!("record {token}").as_bytes()), &[]);
        let batch = checked(builder, &self.config);
        self.step(Input::Append(Append {
            token,
            batch,
            acks,
            answered: Answered::WhenSafe,
            checked_against: self.config.clone(),
            deadline_ms: 1_000_000,
        }))
    }

    fn finish_flush(&mut self) -> Vec<Said> {
        let ticket = self.tickets.remove(0);
        let up_to = ticket.up_to;
        let result = ticket.run();
        self.step(Input::Flushed { up_to, result })
    }

    fn log_end(&self) -> Offset {
        self.lane.log().log_end_offset()
    }

    fn high_watermark(&self) -> Offset {
        self.lane.log().high_watermark()
    }

    /// All bytes of the log.
    fn bytes(&self) -> Bytes {
        self.read(self.lane.log().log_start_offset())
    }

    fn read(&self, from: Offset) -> Bytes {
        let slice = self.lane.reader().read(from, 1 << 20, Isolation::LogEnd, true);
        let range = slice.expect("a position in the log").range;
        range.map(|range| range.read().expect("it is there")).unwrap_or_default().into()
    }

    /// The follower's fetch, as the leader sees it.
    fn note_fetch(&mut self, replica: i32, log_end: Offset) -> Vec<Said> {
        self.note_fetch_of(replica, log_end, 0)
    }

    fn note_fetch_of(&mut self, replica: i32, log_end: Offset, log_start: Offset) -> Vec<Said> {
        let fetched = Fetched {
            replica: NodeId(replica),
            believed: self.lane.leader_epoch(),
            log_end,
            log_start,
            broker_epoch: 5,
            standing: Standing { broker_epoch: Some(5), shutting_down: false },
            leader_end: self.log_end(),
            at_ms: self.now_ms,
        };
        self.step(Input::ReplicaFetched { token: 0, fetched })
    }

    /// One fetch from `leader`, as a broker makes it: it brings records, or says where the logs diverge.
    fn fetch(&mut self, leader: &mut Replica) -> Vec<Said> {
        let fetched = self.lane.fetch_position().expect("a follower");
        let (from, last) = (fetched.log_end, fetched.last_epoch.unwrap_or(LeaderEpoch::NONE));
        let (epoch, end_offset) = leader.lane.reader().epoch_end_under(leader.lane.leader_epoch(), last);
        if last.is_some() && (epoch != last || end_offset < from) {
            let log_start = leader.lane.log().log_start_offset();
            let cut = Cut::End { diverging: Diverging { epoch, end_offset }, log_start };
            return self.step(Input::Cut { token: 0, fetched, cut });
        }
        let records = leader.read(from);
        leader.said = leader.note_fetch(self.id, from);
        let (high_watermark, log_start) = (leader.high_watermark(), leader.lane.log().log_start_offset());
        let from_leader = FromLeader { fetched, records, high_watermark, log_start };
        self.step(Input::Replicate { token: 0, from_leader })
    }
}

#[test]
fn what_is_in_sync_is_the_same_and_safe_with_the_next_fetch() {
    let (mut leader, mut follower) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    assert_eq!(leader.produce(1, Acks::All), [Said::Grown]);
    assert_eq!(leader.produce(2, Acks::Leader), [Said::Produced(2, Ok(1)), Said::Grown]);
    assert_eq!(follower.fetch(&mut leader), [Said::Followed(Ok(2))]);
    assert_eq!(std::mem::take(&mut leader.said), [Said::Noted(Ok(()))], "it has nothing yet");
    assert_eq!(follower.bytes(), leader.bytes());
    assert_eq!(follower.high_watermark(), 0);
    assert_eq!(follower.fetch(&mut leader), [Said::Advanced, Said::Followed(Ok(2))]);
    let said = std::mem::take(&mut leader.said);
    assert_eq!(said, [Said::Advanced, Said::Produced(1, Ok(0)), Said::Noted(Ok(()))]);
    assert_eq!((leader.high_watermark(), follower.high_watermark()), (2, 2));
    assert_eq!(follower.lane.log().last_epoch(), Some(LeaderEpoch(0)));
}

#[test]
fn a_follower_whose_topic_wants_each_record_flushed_says_nothing_before() {
    let config = TopicConfig { flush_messages: 1, ..TopicConfig::default() };
    let mut leader = Replica::leader(0, &[1, 2]);
    let mut follower = Replica::new(2, role(false, 0, &[]), config);
    leader.produce(1, Acks::All);
    assert_eq!(follower.fetch(&mut leader), [], "a loss of power could still take it");
    assert_eq!(follower.lane.fetch_position(), None, "a fetch would say that it is here");
    assert_eq!(follower.finish_flush(), [Said::Followed(Ok(1))]);
}

#[test]
fn a_follower_knows_before_what_it_may_wait_for_the_disk_with() {
    let mut leader = Replica::leader(0, &[1, 2]);
    let config = TopicConfig { segment_bytes: 200, ..TopicConfig::default() };
    let mut follower = Replica::new(2, role(false, 0, &[]), config);
    let answer = |follower: &Replica, records: Bytes| {
        let fetched = follower.lane.fetch_position().expect("a follower");
        let from_leader = FromLeader { fetched, records, high_watermark: 0, log_start: 0 };
        Input::Replicate { token: 0, from_leader }
    };
    let waits =
        |follower: &Replica, inputs: &[Input<u32>]| follower.lane.may_wait(follower.now_ms, inputs.iter());
    assert!(!waits(&follower, &[answer(&follower, Bytes::new())]), "news of the high watermark");
    leader.produce(1, Acks::Leader);
    assert!(
        waits(&follower, &[answer(&follower, leader.read(0))]),
        "the epoch is synced before the first batch"
    );
    follower.fetch(&mut leader);
    leader.produce(2, Acks::Leader);
    let second = leader.read(1);
    assert!(!waits(&follower, &[answer(&follower, second.clone())]), "a write, and nothing else");
    let twice = [answer(&follower, second.clone()), answer(&follower, second)];
    assert!(waits(&follower, &twice), "what the other is appended to is not known yet");
    leader.produce(3, Acks::Leader);
    assert!(waits(&follower, &[answer(&follower, leader.read(1))]), "the third has no room in the segment");
    assert!(waits(&follower, &[answer(&follower, leader.read(0))]), "a batch from before the end may cut");
    assert!(waits(
        &follower,
        &[Input::Follow(Followership { epoch: LeaderEpoch(0), partition_epoch: 0, leader: None })]
    ));
}

#[test]
fn who_leads_no_more_sends_everybody_away_and_cuts_what_it_has_alone() {
    let (mut old, mut new) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    old.produce(1, Acks::Leader);
    new.fetch(&mut old);
    // Both have the first record. The second one never leaves the old leader.
    assert_eq!(old.produce(2, Acks::All), [Said::Grown]);
    new.become_(role(true, 1, &[1, 2]));
    assert_eq!(new.produce(3, Acks::Leader), [Said::Produced(3, Ok(1)), Said::Grown]);
    let away = Err(ErrorCode::NotLeaderOrFollower);
    assert_eq!(old.become_(role(false, 1, &[])), [Said::Produced(2, away)]);
    assert_eq!(old.produce(4, Acks::Leader), [Said::Produced(4, away)]);
    assert_eq!(old.note_fetch(2, 0), [Said::Noted(Err(ErrorCode::NotLeaderOrFollower))]);
    assert_eq!(old.fetch(&mut new), [Said::Followed(Ok(1))], "it is cut back to where they part");
    assert_eq!(old.fetch(&mut new), [Said::Advanced, Said::Followed(Ok(2))]);
    assert_eq!(old.bytes(), new.bytes());
}

#[test]
fn logs_that_parted_twice_meet_again_epoch_by_epoch() {
    // Each of the two led alone for a while, in epochs of its own.
    let mut one = Replica::leader(0, &[1]);
    one.produce(1, Acks::Leader);
    let mut two = Replica::follower(0);
    two.fetch(&mut one);
    for epoch in [1, 3] {
        one.become_(role(true, epoch, &[1]));
        (0..3).for_each(|_| drop(one.produce(9, Acks::Leader)));
    }
    for epoch in [2, 4] {
        two.become_(role(true, epoch, &[1]));
        (0..2).for_each(|_| drop(two.produce(8, Acks::Leader)));
    }
    one.become_(role(false, 4, &[]));
    let mut fetches = 0;
    while one.bytes() != two.bytes() {
        one.fetch(&mut two);
        fetches += 1;
        assert!(fetches < 5, "they do not meet");
    }
    assert!(fetches > 2, "in more than one cut: {fetches}");
}

#[test]
fn what_was_fetched_under_another_epoch_or_from_elsewhere_is_dropped() {
    let mut leader = Replica::leader(1, &[1, 2]);
    leader.produce(1, Acks::Leader);
    let records = leader.read(0);
    let fetched = |epoch: i32, log_end| Input::Replicate {
        token: 0,
        from_leader: FromLeader {
            fetched: FetchPosition { under: LeaderEpoch(epoch), log_end, last_epoch: None },
            records: records.clone(),
            high_watermark: 0,
            log_start: 0,
        },
    };
    let mut follower = Replica::follower(1);
    assert_eq!(follower.step(fetched(0, 0)), [Said::Followed(Err(ErrorCode::FencedLeaderEpoch))]);
    assert_eq!(follower.step(fetched(2, 0)), [Said::Followed(Err(ErrorCode::UnknownLeaderEpoch))]);
    assert_eq!(follower.step(fetched(1, 7)), [Said::Followed(Ok(0))], "the next fetch begins at the end");
    let leaderless = Followership { epoch: LeaderEpoch(2), partition_epoch: 20, leader: None };
    follower.step(Input::Follow(leaderless));
    let nobody = [Said::Followed(Err(ErrorCode::NotLeaderOrFollower))];
    assert_eq!(follower.step(fetched(2, 0)), nobody);
    assert_eq!(leader.step(fetched(1, 1)), nobody, "a leader follows nobody");
    assert_eq!((follower.log_end(), leader.log_end()), (0, 1));
}

#[test]
fn an_older_word_of_the_controller_changes_no_role() {
    let mut replica = Replica::leader(1, &[1, 2]);
    assert_eq!(replica.become_(role(false, 0, &[])), []);
    assert_eq!(replica.produce(1, Acks::Leader), [Said::Produced(1, Ok(0)), Said::Grown]);
    replica.become_(role(false, 2, &[]));
    replica.become_(role(true, 1, &[1, 2]));
    assert_eq!(replica.produce(2, Acks::Leader), [Said::Produced(2, Err(ErrorCode::NotLeaderOrFollower))]);
    assert_eq!(replica.lane.leader_epoch(), LeaderEpoch(2));
}

#[test]
fn a_follower_that_stops_holds_producers_until_the_controller_lets_it_go() {
    let (mut leader, mut follower) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    follower.fetch(&mut leader);
    leader.said.clear();
    assert_eq!(leader.produce(1, Acks::All), [Said::Grown]);
    leader.now_ms = LAG_MS + 1;
    let said = leader.step(Input::Tick);
    let [Said::Proposed(proposal)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(proposal.isr.len(), 1);
    let answer = |outcome| Input::IsrAnswered(IsrAnswer { proposal: proposal.clone(), outcome });
    let again = leader.step(answer(Err(ErrorCode::NotController)));
    assert_eq!(again, [Said::Proposed(proposal.clone())], "once more");
    let said = leader.step(answer(Ok((LeaderEpoch(0), 1, vec![NodeId(1)]))));
    assert_eq!(said, [Said::Advanced, Said::Produced(1, Ok(0))]);
    // It comes back, and joins the in-sync set once it has caught up.
    assert_eq!(follower.fetch(&mut leader).last(), Some(&Said::Followed(Ok(1))));
    assert_eq!(std::mem::take(&mut leader.said), [Said::Noted(Ok(()))]);
    follower.fetch(&mut leader);
    assert!(matches!(leader.said[..], [Said::Proposed(_), Said::Noted(Ok(()))]), "{:?}", leader.said);
}

#[test]
fn a_set_that_became_too_small_is_told_to_who_waited_for_it() {
    let config = TopicConfig { min_insync_replicas: 2, ..TopicConfig::default() };
    let mut leader = Replica::new(1, role(true, 0, &[1, 2]), config);
    leader.produce(1, Acks::All);
    leader.note_fetch(2, 1);
    // The first record is safe. The second one is not when the other replica is lost.
    assert_eq!(leader.produce(2, Acks::All), [Said::Grown]);
    let Role::Leader(alone) = role(true, 0, &[1]) else { unreachable!() };
    let standing = Standing { broker_epoch: None, shutting_down: false };
    assert_eq!(leader.step(Input::Stands { replica: NodeId(2), standing }), []);
    let alone = Leadership { partition_epoch: alone.partition_epoch + 1, ..alone };
    assert_eq!(leader.step(Input::Lead(alone)), [], "the high watermark waits, and so do they");
    assert_eq!(leader.produce(3, Acks::All), [Said::Produced(3, Err(ErrorCode::NotEnoughReplicas))]);
    assert_eq!(leader.high_watermark(), 1);
}

#[test]
fn a_start_that_moved_and_one_that_is_too_far_are_followed() {
    let (mut leader, mut follower) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    (0..4).for_each(|_| drop(leader.produce(1, Acks::Leader)));
    follower.fetch(&mut leader);
    follower.fetch(&mut leader);
    leader.step(Input::DeleteRecords { token: 0, before: Some(3), deadline_ms: 1_000 });
    follower.fetch(&mut leader);
    assert_eq!(follower.lane.log().log_start_offset(), 3);
    let mut late = Replica::follower(0);
    let fetched = late.lane.fetch_position().expect("a follower");
    let cut = || Input::Cut { token: 0, fetched, cut: Cut::All { start: 3 } };
    assert_eq!(late.step(cut()), [Said::Followed(Ok(3))]);
    assert_eq!(late.fetch(&mut leader).last(), Some(&Said::Followed(Ok(4))));
    assert_eq!(late.step(cut()), [Said::Followed(Ok(4))], "an answer that comes twice cuts once");
    assert_eq!((late.lane.log().log_start_offset(), late.log_end()), (3, 4));
    let fetched = late.lane.fetch_position().expect("a follower");
    let start = Input::Cut { token: 0, fetched, cut: Cut::Start { log_start: 9 } };
    assert_eq!(late.step(start), [Said::Followed(Ok(4))]);
    assert_eq!(late.lane.log().log_start_offset(), 4, "as far as the high watermark goes");
}

#[test]
fn a_full_disk_has_room_once_the_leader_has_deleted_its_records() {
    let (mut leader, mut follower) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    (0..4).for_each(|_| drop(leader.produce(1, Acks::Leader)));
    (0..2).for_each(|_| drop(follower.fetch(&mut leader)));
    follower.disk.set_capacity(Some(0));
    leader.produce(1, Acks::Leader);
    leader.step(Input::DeleteRecords { token: 0, before: Some(3), deadline_ms: 1_000 });
    let refused = Said::Followed(Err(ErrorCode::KafkaStorageError));
    assert_eq!(follower.fetch(&mut leader), [refused]);
    assert_eq!((follower.lane.log().log_start_offset(), follower.log_end()), (3, 4));
}

// Found by the simulator: what stayed below the leader's log start were records of an epoch that nobody kept, and the producers of
// these. A producer was told for ever that its next record is out of order, and its lost record would have been a duplicate.
#[test]
fn what_the_leader_cannot_compare_any_more_goes() {
    let (mut old, mut new) = (Replica::leader(0, &[1]), Replica::follower(0));
    (1..=3).for_each(|token| drop(old.produce(token, Acks::Leader)));
    new.become_(role(true, 1, &[2]));
    (11..=13).for_each(|token| drop(new.produce(token, Acks::Leader)));
    new.step(Input::DeleteRecords { token: 9, before: Some(2), deadline_ms: 1_000 });
    assert_eq!(new.lane.log().log_start_offset(), 2);
    old.become_(role(false, 1, &[]));
    assert_eq!(old.fetch(&mut new), [Said::Followed(Ok(2))], "cut at the start of the leader's log");
    assert_eq!(old.lane.log().log_start_offset(), 2, "and nothing is kept that nobody can compare");
    assert_eq!(old.fetch(&mut new).last(), Some(&Said::Followed(Ok(3))));
    assert_eq!(old.bytes(), new.bytes());
}

#[test]
fn a_flush_from_before_a_cut_does_not_vouch_for_what_came_after_it() {
    let config = TopicConfig { flush_messages: 1, ..TopicConfig::default() };
    let (mut old, mut new) = (Replica::leader(0, &[1]), Replica::leader(1, &[1]));
    (0..3).for_each(|_| drop(old.produce(1, Acks::Leader)));
    (0..2).for_each(|_| drop(new.produce(2, Acks::Leader)));
    let mut follower = Replica::new(2, role(false, 0, &[]), config);
    assert_eq!(follower.fetch(&mut old), [], "being flushed");
    let away = Said::Followed(Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(follower.become_(role(false, 1, &[])), [away]);
    assert_eq!(
        follower.lane.fetch_position(),
        None,
        "not before the flush; an answer may still be on its way"
    );
    let fetched = |log_end, last_epoch| FetchPosition { under: LeaderEpoch(1), log_end, last_epoch };
    let diverging = Diverging { epoch: LeaderEpoch::NONE, end_offset: 0 };
    let cut = Cut::End { diverging, log_start: 0 };
    let fetched_before = fetched(3, Some(LeaderEpoch(0)));
    let cut = Input::Cut { token: 0, fetched: fetched_before, cut };
    assert_eq!(follower.step(cut), [Said::Followed(Ok(0))], "nothing is common");
    let (records, high_watermark) = (new.read(0), new.high_watermark());
    let fetched = fetched(0, None);
    let from_leader = FromLeader { fetched, records, high_watermark, log_start: 0 };
    assert_eq!(follower.step(Input::Replicate { token: 0, from_leader }), []);
    assert_eq!(follower.finish_flush(), [], "that was of other records");
    assert_eq!(follower.finish_flush(), [Said::Advanced, Said::Followed(Ok(2))]);
    assert_eq!(follower.lane.log().recovery_point(), 2);
}

#[test]
fn a_follower_whose_disk_fails_says_so_and_takes_nothing_more() {
    let (mut leader, mut follower) = (Replica::leader(0, &[1, 2]), Replica::follower(0));
    leader.produce(1, Acks::Leader);
    follower.disk.fail_always(Operation::Write, Fault::Broken);
    let failed = Said::Followed(Err(ErrorCode::KafkaStorageError));
    assert_eq!(follower.fetch(&mut leader), [Said::Offline, failed]);
    follower.disk.heal();
    assert_eq!(follower.fetch(&mut leader), [Said::Followed(Err(ErrorCode::KafkaStorageError))]);
    assert_eq!(follower.log_end(), 0);
}

#[test]
fn a_follower_deletes_nothing_at_a_clients_wish() {
    let mut follower = Replica::follower(0);
    let mut out = Vec::new();
    follower.lane.step(0, [Input::DeleteRecords { token: 1, before: None, deadline_ms: 1_000 }], &mut out);
    assert!(
        matches!(&out[..], [Output::Deleted { outcome: Err(refused), .. }]
            if refused.code == ErrorCode::NotLeaderOrFollower),
        "{out:?}"
    );
}

#[test]
fn records_are_deleted_when_every_replica_that_is_alive_has_deleted_them() {
    let mut leader = Replica::leader(0, &[1, 2]);
    (0..4).for_each(|_| drop(leader.produce(1, Acks::Leader)));
    leader.note_fetch(2, 4);
    let delete_until =
        |before, deadline_ms| Input::DeleteRecords { token: 0, before: Some(before), deadline_ms };
    let delete = |before| delete_until(before, 9_000);
    assert_eq!(leader.step(delete(2)), [], "the other one still has them");
    let heard = leader.note_fetch_of(2, 4, 2);
    assert_eq!(heard, [Said::Deleted(Ok(2)), Said::Noted(Ok(()))]);
    assert_eq!(leader.step(delete_until(3, 1_000)), []);
    leader.now_ms = 1_000;
    assert_eq!(leader.step(Input::Expire), [Said::Deleted(Err(ErrorCode::RequestTimedOut))]);
    assert_eq!(leader.step(delete(4)), []);
    let gone = Standing { broker_epoch: None, shutting_down: false };
    let stands = Input::Stands { replica: NodeId(2), standing: gone };
    assert_eq!(leader.step(stands), [Said::Deleted(Ok(4))], "it will hear of it when it is back");
    leader.step(Input::Stands { replica: NodeId(2), standing: Standing { broker_epoch: Some(6), ..gone } });
    assert_eq!(leader.step(delete(4)), []);
    let away = [Said::Deleted(Err(ErrorCode::NotLeaderOrFollower))];
    assert_eq!(leader.become_(role(false, 1, &[])), away);
}

//! What happens to groups, as rows: at some time an actor sends a request, and the row lists everything that results.
//! Actors have short names; the stage translates them to the member ids that they are given.

mod admin;
mod audit;
mod commits;
mod expiry;
mod failures;
mod joins;
mod leaving;
mod loading;
mod size;
mod stage;
mod statics;
mod syncs;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::*;
use stage::{Ask, Stage};

/// One line of a story: what is done at some time (in ms), and everything that is replied and written by then, by alarms
/// that were due before it, too.
struct Row {
    at_ms: i64,
    deed: Deed,
    outcome: Vec<&'static str>,
}

enum Deed {
    Ask(Ask),
    /// Time passes.
    Wait,
    /// The log refuses the next write.
    FailNext(ErrorCode),
    /// The shard is dropped and loaded again from its log.
    Reload,
    Resign(ErrorCode),
}

impl From<Ask> for Deed {
    fn from(ask: Ask) -> Deed {
        Deed::Ask(ask)
    }
}

fn at(at_ms: i64, deed: impl Into<Deed>) -> Row {
    Row { at_ms, deed: deed.into(), outcome: Vec::new() }
}

impl Row {
    fn says(mut self, outcome: &[&'static str]) -> Row {
        self.outcome = outcome.to_vec();
        self
    }
}

/// Settings without the initial rebalance delay, for stories about something else.
fn prompt() -> Settings {
    Settings { initial_rebalance_delay_ms: 0, ..Settings::default() }
}

fn check(story: &str, settings: Settings, rows: Vec<Row>) {
    let mut stage = Stage::new(settings);
    for (number, row) in rows.into_iter().enumerate() {
        let seen = stage.perform(row.at_ms, row.deed);
        assert_eq!(seen, row.outcome, "{story}: row {number}, at {} ms", row.at_ms);
    }
    stage.close(story);
}

/// A dynamic member of group `g` with the assignor `range`, in a version without required member ids.
fn join(who: &'static str) -> Ask {
    let join = Join {
        group: Arc::from("g"),
        member_id: Arc::from(who),
        instance_id: None,
        client_id: Arc::from(who),
        client_host: Arc::from("/127.0.0.1"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Arc::from("consumer"),
        protocols: protocols(&[("range", &["t"])]),
        member_id_required: false,
        can_skip_assignment: true,
        reason: None,
    };
    Ask { who, command: Command::Join(join) }
}

/// As `join`, in the version of clients since Kafka 2.2, which get an id first.
fn join_v4(who: &'static str) -> Ask {
    join(who).join(|join| join.member_id_required = true)
}

fn join_as(who: &'static str, instance: &'static str) -> Ask {
    join(who).join(|join| join.instance_id = Some(Arc::from(instance)))
}

/// Assignors, each with the topics in its subscription.
fn protocols(names: &[(&str, &[&str])]) -> Vec<Protocol> {
    let protocol = |(name, topics): &(&str, &[&str])| Protocol {
        name: Arc::from(*name),
        metadata: subscription(topics),
    };
    names.iter().map(protocol).collect()
}

/// A ConsumerProtocolSubscription, version 0.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    Bytes::from(bytes)
}

fn sync(who: &'static str, generation: i32, assignments: &[(&str, &str)]) -> Ask {
    let one = |(member, text): &(&str, &str)| (Arc::from(*member), Bytes::copy_from_slice(text.as_bytes()));
    let command = Command::Sync(Sync {
        group: Arc::from("g"),
        generation,
        member_id: Arc::from(who),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: assignments.iter().map(one).collect(),
    });
    Ask { who, command }
}

fn beat(who: &'static str, generation: i32) -> Ask {
    let command = Command::Heartbeat(Heartbeat {
        group: Arc::from("g"),
        generation,
        member_id: Arc::from(who),
        instance_id: None,
    });
    Ask { who, command }
}

fn leave(who: &'static str) -> Ask {
    leave_all(who, &[(who, None)])
}

/// Members by member id and instance id; one of the two may be absent.
fn leave_all(who: &'static str, members: &[(&'static str, Option<&'static str>)]) -> Ask {
    let one = |(member, instance): &(&str, Option<&str>)| Leaver {
        member_id: Arc::from(*member),
        instance_id: instance.map(Arc::from),
        reason: None,
    };
    let members = members.iter().map(one).collect();
    Ask { who, command: Command::Leave(Leave { group: Arc::from("g"), members }) }
}

/// Offsets of topic `t`, by partition.
fn commit(who: &'static str, generation: i32, offsets: &[(i32, i64)]) -> Ask {
    let one = |(partition, offset): &(i32, i64)| CommitPartition {
        partition: *partition,
        offset: *offset,
        leader_epoch: LeaderEpoch::NONE,
        metadata: None,
    };
    let topic =
        CommitTopic { topic: Arc::from("t"), id: None, partitions: offsets.iter().map(one).collect() };
    let command = Command::CommitOffsets(CommitOffsets {
        group: Arc::from("g"),
        member_id: Arc::from(if generation < 0 { "" } else { who }),
        generation,
        instance_id: None,
        retention_ms: None,
        transaction: None,
        knows_group_id_not_found: true,
        topics: vec![topic],
    });
    Ask { who, command }
}

/// All offsets of group `g`.
fn fetch_all(who: &'static str) -> Ask {
    let fetch = FetchOffsets { group: Arc::from("g"), topics: None, require_stable: false };
    Ask { who, command: Command::FetchOffsets(fetch) }
}

/// Offsets of topic `t`.
fn fetch(who: &'static str, partitions: &[i32]) -> Ask {
    let topic = FetchTopic { topic: Arc::from("t"), id: None, partitions: partitions.to_vec() };
    let fetch = FetchOffsets { group: Arc::from("g"), topics: Some(vec![topic]), require_stable: true };
    Ask { who, command: Command::FetchOffsets(fetch) }
}

fn list() -> Ask {
    Ask { who: "op", command: Command::ListGroups(ListGroups::default()) }
}

fn describe(group: &str) -> Ask {
    Ask { who: "op", command: Command::DescribeGroups { groups: vec![Arc::from(group)] } }
}

fn delete(groups: &[&str]) -> Ask {
    let groups = groups.iter().map(|group| Arc::from(*group)).collect();
    Ask { who: "op", command: Command::DeleteGroups { groups } }
}

fn delete_offsets(topic: &str, partitions: &[i32]) -> Ask {
    let topics = vec![(Arc::from(topic), partitions.to_vec())];
    Ask { who: "op", command: Command::DeleteOffsets(DeleteOffsets { group: Arc::from("g"), topics }) }
}

impl<T> Groups<T> {
    /// The classic group of this name, which must exist.
    fn classic(&self, id: &str) -> &classic::Group<T> {
        self.groups[id].classic().expect("a classic group")
    }
}

fn is_send<T: Send>() {}

#[test]
fn a_shard_may_move_between_threads() {
    is_send::<Groups<u64>>();
}

//! Steps of the pure machines that each request passes: the connection, a partition's owner, a fetch session.

use std::hint::black_box;
use std::sync::Arc;

use ottla_core::connection::{Flow, Input as Heard, Limits, Memory, Next, Overtakers, Stage};
use ottla_core::partition::{Acks, Leadership};
use ottla_core::session::{
    Context, FetchKey, FetchTopic, Limits as SessionLimits, PartitionAnswer, Position, SessionRequest,
    Sessions, next_epoch,
};
use ottla_model::config::TopicConfig;
use ottla_model::{NodeId, TopicId};
use ottla_node::lane::{Answered, Append, Host, Input, Lane, Output, Role, Waiters};
use ottla_protocol::{ErrorCode, LeaderEpoch};

use super::fixtures::{ALL, EPOCH, LARGE, NOW_MS, PARTITIONS, SMALL, Shape, empty_log};
use crate::count::Operation;

pub fn lane_large() -> Operation {
    lane(LARGE)
}

pub fn lane_small() -> Operation {
    lane(SMALL)
}

/// Everybody who waits for a lane is a number.
#[derive(Debug)]
struct Numbers;

impl Waiters for Numbers {
    type Append = usize;
    type Deletion = usize;
    type Swap = usize;
    type Move = usize;
    type Fetch = usize;
    type Verification = usize;
    type Fetcher = usize;
}

fn lane(shape: Shape) -> Operation {
    let (me, config) = (NodeId(1), Arc::new(TopicConfig::default()));
    let leadership = Leadership { epoch: EPOCH, partition_epoch: 0, replicas: vec![me], isr: vec![me] };
    let host = Host { id: me, replica_lag_time_max_ms: 30_000 };
    let role = Role::Leader(leadership);
    let mut lane: Lane<Numbers> = Lane::new(host, empty_log(&config), role, config.clone(), 0);
    let mut appends = shape.stream(ALL).into_iter().enumerate().map(move |(token, batch)| {
        let (checked_against, deadline_ms) = (config.clone(), NOW_MS + 30_000);
        let answered = Answered::WhenSafe;
        Input::Append(Append { token, batch, acks: Acks::All, answered, checked_against, deadline_ms })
    });
    let mut out = Vec::new();
    Box::new(move |at| {
        let inputs = appends.next();
        black_box(lane.may_wait(NOW_MS, inputs.iter()));
        lane.step(NOW_MS, inputs, &mut out);
        let answered = |output: &Output<Numbers>| matches!(output, Output::Reply { token, outcome: Ok(_) } if *token == at);
        assert_eq!(out.drain(..).filter(|output| answered(output)).count(), 1);
    })
}

/// All that a connection decides about one Produce that waits for its partition.
pub fn connection() -> Operation {
    let limits =
        Limits { in_flight: 64, outbox_bytes: 256 << 10, frame_bytes: 100 << 20, memory: Memory::Unbounded };
    let mut flow: Flow<usize, usize> = Flow::new(limits);
    let inbox = [0, 0, 0, 12, 0, 0, 0, 13, 0, 0, 0, 77, 0xff, 0xff, 0, 0];
    let reply_bytes = 60;
    Box::new(move |at| {
        let Next::Start { produce: true, .. } = flow.next(black_box(&inbox), 0) else { panic!("it starts") };
        flow.hear(Heard::Started { request: at, stage: Stage::Queued(Overtakers::Produces) });
        let Next::Wait(wants) = flow.next(&[], 0) else { panic!("it waits") };
        assert!(wants.answers && wants.bytes);
        assert!(flow.advance(|request| Some(Stage::Answered(*request))));
        let Next::Collect { answer, .. } = flow.next(&[], 0) else { panic!("it answers") };
        assert_eq!(answer, at);
        let Next::Send = flow.next(&[], reply_bytes) else { panic!("it sends") };
        let Next::Wait(wants) = flow.next(&[], 0) else { panic!("it waits") };
        assert!(wants.rests);
    })
}

/// A consumer that has read one partition goes on there, and hears of the one that has something new.
pub fn session() -> Operation {
    let mut sessions = Sessions::<()>::new(SessionLimits { slots: 1_000, eviction_ms: 120_000 });
    let served: Vec<_> = (0..PARTITIONS).map(|partition| (key(partition), position(0), told(0))).collect();
    let id = sessions.create(5, true, served, (), NOW_MS);
    let mut epoch = 1;
    Box::new(move |at| {
        let request = SessionRequest { id, epoch };
        let moved = at as i64 + 1;
        let Context::Incremental { id } =
            sessions.begin(request, true, [(key(3), position(moved))], [], NOW_MS)
        else {
            panic!("the session goes on")
        };
        let answers: Vec<_> = sessions
            .partitions(id)
            .into_iter()
            .map(|(key, _)| {
                let new = key.partition == 3;
                (key, told(if new { moved } else { 0 }))
            })
            .collect();
        let mention = sessions.finish(request, &answers).expect("the session goes on");
        assert_eq!(mention.iter().filter(|mention| **mention).count(), 1);
        epoch = next_epoch(epoch);
    })
}

fn key(partition: i32) -> FetchKey {
    FetchKey { topic: FetchTopic::Id(TopicId::from_u128(7)), partition }
}

fn position(fetch_offset: i64) -> Position {
    Position {
        fetch_offset,
        max_bytes: 1 << 20,
        current_leader_epoch: LeaderEpoch(3),
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: -1,
    }
}

fn told(high_watermark: i64) -> PartitionAnswer {
    PartitionAnswer {
        error: ErrorCode::None,
        records: high_watermark > 0,
        high_watermark,
        log_start_offset: 0,
        redirect: false,
    }
}

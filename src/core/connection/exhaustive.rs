//! Visits every state that a connection with small limits can reach, with all inputs in every order.

use std::collections::BTreeSet;

use super::model::{Event, Fate, Request, World};
use super::mutants::Mutant;
use super::*;

/// Whether it is a Produce, whether it takes time until it is queued, which later requests may overtake it, and the size
/// of its answer.
const KINDS: [(bool, bool, Option<Overtakers>, usize); 6] = [
    (false, false, None, 1),
    (false, true, None, 1),
    (false, false, Some(Overtakers::Any), 1),
    (true, false, Some(Overtakers::Produces), 1),
    (true, true, Some(Overtakers::Produces), 1),
    // A Produce with acks=0.
    (true, false, Some(Overtakers::Produces), 0),
];

fn scripts() -> impl Iterator<Item = Vec<Request>> {
    let count = KINDS.len();
    (0..count * count * count).map(move |number| {
        [number % count, number / count % count, number / count / count]
            .map(|kind| {
                let (produce, queues, waits, answer_bytes) = KINDS[kind];
                Request { bytes: 8, produce, queues, waits, answer_bytes, fate: Fate::Answered }
            })
            .to_vec()
    })
}

// For bytes: the first few bytes of a request, the rest of the frame, or everything; one answer; reading one byte, or
// all.
fn events(world: &World, wants: Wants) -> Vec<Event> {
    let mut events = Vec::new();
    let left = world.network.len();
    if wants.bytes && left > 0 {
        let frame = match left % 12 {
            0 => 12,
            rest => rest,
        };
        events.extend([5.min(left), frame, left].map(Event::Deliver));
    }
    if wants.bytes && left == 0 && world.finishes {
        events.push(Event::Finish);
    }
    if wants.answers {
        events.extend(world.unanswered().into_iter().map(|request| Event::Answer(vec![request])));
        events.extend(world.unqueued().into_iter().map(Event::Queue));
    }
    if world.unread > 0 {
        events.extend([1, world.unread].map(Event::Read));
    }
    if world.warming {
        events.push(Event::Warm);
    } else if !world.cold && world.chills > 0 {
        events.push(Event::Chill);
    }
    if world.limits.memory == Memory::Bounded {
        events.push(if world.others == 0 { Event::Take(world.memory) } else { Event::GiveBack });
    }
    events
}

// Visits all states that can be reached from this one. Returns how many there are, or what is wrong in one of them.
fn explore(world: World) -> Result<usize, String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![world];
    while let Some(mut world) = open.pop() {
        let Some(wants) = world.run()? else { continue };
        if world.is_done() || !seen.insert(world.clone()) {
            continue;
        }
        let events = events(&world, wants);
        if events.is_empty() {
            return Err("nothing can happen any more".into());
        }
        open.extend(events.iter().map(|event| {
            let mut after = world.clone();
            after.happen(event, wants);
            after
        }));
    }
    Ok(seen.len())
}

fn explore_all(mutant: Mutant) -> Result<usize, String> {
    let mut states = 0;
    for (in_flight, memory, outbox_bytes) in [
        (1, Memory::Unbounded, 1),
        (2, Memory::Unbounded, 3),
        (1, Memory::Bounded, 1),
        (2, Memory::Bounded, 3),
    ] {
        let limits = Limits { in_flight, outbox_bytes, frame_bytes: 60, memory };
        for script in scripts() {
            let mut world = World::new(limits, script, 8, mutant);
            world.socket_bytes = 1;
            states += explore(world)?;
        }
    }
    Ok(states)
}

#[test]
fn no_state_of_a_connection_with_small_limits_loses_a_wake_up() {
    let states = explore_all(Mutant::None).expect("every state is right");
    assert!(states > 20_000, "{states} states are few");
}

#[test]
fn the_lost_wake_up_is_found() {
    let found = explore_all(Mutant::CollectAfterStart).expect_err("it is there");
    assert_eq!(found, "a whole request that may start, and for which there is room, starts");
}

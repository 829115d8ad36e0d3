//! A connection's decisions, one story at a time.

use super::*;

type Story = Flow<&'static str, &'static str>;

const LIMITS: Limits =
    Limits { in_flight: 2, outbox_bytes: 100, frame_bytes: 1_000, memory: Memory::Unbounded };
/// The connection is idle, with nothing in its buffers.
const RESTS: Wants =
    Wants { bytes: true, answers: false, socket: false, disk: false, memory: false, idle: true, rests: true };
/// An answer has to come, and there is nothing else to do.
const BUSY: Wants = Wants { bytes: true, answers: true, idle: false, rests: false, ..RESTS };

fn frame(key: i16) -> Vec<u8> {
    let mut frame = 8i32.to_be_bytes().to_vec();
    frame.extend(key.to_be_bytes());
    frame.resize(12, 0);
    frame
}

const START: Next<&str, &str> = Next::Start { frame_bytes: 8, produce: false };
const START_PRODUCE: Next<&str, &str> = Next::Start { frame_bytes: 8, produce: true };

fn started(flow: &mut Story, request: &'static str, stage: Stage<&'static str>) {
    flow.hear(Input::Started { request, stage });
}

fn reached(flow: &mut Story, which: &str, stage: Stage<&'static str>) {
    flow.advance(|request| (*request == which).then(|| stage.clone()));
}

fn answer(flow: &mut Story, which: &str) {
    reached(flow, which, Stage::Answered("answer"));
}

fn collected(request: &'static str) -> Next<&'static str, &'static str> {
    Next::Collect { request, answer: "answer" }
}

#[test]
fn a_request_is_read_started_answered_and_sent() {
    let mut flow = Story::new(LIMITS);
    let inbox = frame(3);
    assert_eq!(flow.next(&[], 0), Next::Wait(RESTS));
    assert_eq!(flow.next(&inbox[..5], 0), Next::Wait(Wants { rests: false, ..RESTS }), "a part of the head");
    assert_eq!(flow.missing_bytes(&inbox[..5]), None);
    assert_eq!(flow.next(&inbox[..9], 0), Next::Wait(Wants { rests: false, ..RESTS }), "a part of the frame");
    assert_eq!(flow.missing_bytes(&inbox[..9]), Some(3));
    assert_eq!(flow.next(&inbox, 0), START);
    started(&mut flow, "a", Stage::Queueing);
    assert_eq!(flow.next(&[], 0), Next::Wait(BUSY));
    answer(&mut flow, "a");
    assert_eq!(flow.next(&[], 0), collected("a"));
    assert_eq!(flow.next(&[], 10), Next::Send);
    flow.hear(Input::SocketFull);
    assert_eq!(flow.next(&[], 4), Next::Wait(Wants { socket: true, ..RESTS }), "a part was taken");
    flow.hear(Input::SocketReady);
    assert_eq!(flow.next(&[], 4), Next::Send);
    assert_eq!(flow.next(&[], 0), Next::Wait(RESTS));
}

/// A Fetch waits, and later requests up to the limit are answered already. When the Fetch is answered, all answers are
/// sent, and the request that had to wait for their place starts.
#[test]
fn the_place_of_answers_that_leave_is_taken_at_once() {
    let mut flow = Story::new(LIMITS);
    let inbox = frame(3);
    started(&mut flow, "fetch", Stage::Queued(Overtakers::Any));
    started(&mut flow, "b", Stage::Answered("answer"));
    assert_eq!(flow.next(&inbox, 0), Next::Wait(Wants { bytes: false, ..BUSY }), "no more may be in flight");
    answer(&mut flow, "fetch");
    assert_eq!(flow.next(&inbox, 0), collected("fetch"));
    assert_eq!(flow.next(&inbox, 10), collected("b"));
    assert_eq!(flow.next(&inbox, 20), START);
}

#[test]
fn only_what_cannot_be_told_apart_overtakes() {
    let rows = [
        (Stage::Queued(Overtakers::Any), 3, true),
        (Stage::Queued(Overtakers::Any), 0, true),
        (Stage::Queued(Overtakers::Produces), 0, true),
        (Stage::Queued(Overtakers::Produces), 3, false),
        (Stage::Queueing, 0, false),
        (Stage::Queueing, 3, false),
    ];
    for (stage, key, starts) in rows {
        let mut flow = Story::new(LIMITS);
        started(&mut flow, "a", stage.clone());
        let next = flow.next(&frame(key), 0);
        assert_eq!(matches!(next, Next::Start { .. }), starts, "{stage:?} by {key}");
        assert!(starts || next == Next::Wait(Wants { bytes: false, ..BUSY }), "{stage:?} by {key}");
        answer(&mut flow, "a");
        assert_eq!(flow.next(&frame(key), 0), collected("a"), "{stage:?} by {key}");
        assert_eq!(flow.next(&frame(key), 0), if key == 0 { START_PRODUCE } else { START });
    }
}

/// A Produce takes time until it is queued. The request behind it waits, is then queued in the lanes, and has its answer
/// first; that answer is sent second.
#[test]
fn requests_are_queued_in_their_order_and_answered_in_their_order() {
    let mut flow = Story::new(LIMITS);
    let inbox = frame(0);
    assert_eq!(flow.next(&inbox, 0), START_PRODUCE);
    started(&mut flow, "a", Stage::Queueing);
    assert_eq!(flow.next(&inbox, 0), Next::Wait(Wants { bytes: false, ..BUSY }), "it is not queued");
    reached(&mut flow, "a", Stage::Queued(Overtakers::Produces));
    assert_eq!(flow.next(&frame(3), 0), Next::Wait(Wants { bytes: false, ..BUSY }), "no Produce");
    assert_eq!(flow.next(&inbox, 0), START_PRODUCE);
    started(&mut flow, "b", Stage::Queued(Overtakers::Produces));
    answer(&mut flow, "b");
    assert_eq!(flow.next(&[], 0), Next::Wait(BUSY), "the first answer comes first");
    answer(&mut flow, "a");
    assert_eq!(flow.next(&[], 0), collected("a"));
    assert_eq!(flow.next(&[], 10), collected("b"));
}

#[test]
fn nothing_starts_while_too_much_waits_to_be_sent() {
    let mut flow = Story::new(LIMITS);
    let inbox = frame(3);
    assert_eq!(flow.next(&inbox, 100), Next::Send);
    flow.hear(Input::SocketFull);
    let socket_only = Wants { bytes: false, socket: true, rests: false, ..RESTS };
    assert_eq!(flow.next(&inbox, 100), Next::Wait(socket_only));
    assert_eq!(flow.next(&inbox, 99), START, "it took one byte");
}

/// The next bytes have to be read from disk first. The socket is ready in the meantime, which must not wake the
/// connection.
#[test]
fn what_only_the_disk_has_is_sent_once_it_was_read() {
    let mut flow = Story::new(LIMITS);
    let inbox = frame(3);
    assert_eq!(flow.next(&[], 100), Next::Send);
    flow.hear(Input::Cold);
    let disk_only = Wants { bytes: false, disk: true, idle: false, ..RESTS };
    assert_eq!(flow.next(&[], 100), Next::Wait(disk_only));
    assert_eq!(flow.next(&inbox, 50), START, "little waits to be sent");
    started(&mut flow, "a", Stage::Answered("answer"));
    assert_eq!(flow.next(&[], 50), collected("a"));
    let for_disk = Wants { disk: true, idle: false, ..RESTS };
    assert_eq!(flow.next(&[], 60), Next::Wait(for_disk), "it leaves behind the other");
    flow.hear(Input::Warm);
    assert_eq!(flow.next(&[], 60), Next::Send);
    flow.hear(Input::SocketFull);
    assert_eq!(flow.next(&[], 10), Next::Wait(Wants { socket: true, ..RESTS }));
}

#[test]
fn memory_is_asked_for_when_it_is_the_last_thing_that_is_missing() {
    let mut flow = Story::new(Limits { memory: Memory::Bounded, ..LIMITS });
    let inbox = frame(0);
    started(&mut flow, "a", Stage::Queueing);
    assert_eq!(flow.next(&inbox[..6], 0), Next::Wait(Wants { bytes: false, ..BUSY }), "it must not overtake");
    answer(&mut flow, "a");
    assert_eq!(flow.next(&inbox[..6], 0), collected("a"));
    assert_eq!(flow.next(&inbox[..6], 0), Next::Ask { frame_bytes: 8 });
    flow.hear(Input::Denied);
    let for_memory = Wants { bytes: false, memory: true, rests: false, ..RESTS };
    assert_eq!(flow.next(&inbox[..6], 0), Next::Wait(for_memory));
    flow.hear(Input::Freed);
    assert_eq!(flow.next(&inbox[..6], 0), Next::Ask { frame_bytes: 8 });
    flow.hear(Input::Granted);
    assert_eq!(flow.next(&inbox[..6], 0), Next::Wait(Wants { rests: false, ..RESTS }));
    assert_eq!(flow.next(&inbox, 0), START_PRODUCE);
    started(&mut flow, "b", Stage::Queued(Overtakers::Produces));
    assert_eq!(flow.next(&inbox, 0), Next::Ask { frame_bytes: 8 }, "each asks for itself");
}

/// Kafka reads a request only after the earlier ones are answered, so a bad request does not end the connection earlier.
#[test]
fn what_was_asked_before_a_bad_request_is_answered() {
    let size = |bytes: i32| bytes.to_be_bytes().to_vec();
    for bad in [size(7), size(-1), size(1_001)] {
        let mut flow = Story::new(LIMITS);
        started(&mut flow, "a", Stage::Queueing);
        let waits = Wants { bytes: false, rests: true, ..BUSY };
        assert_eq!(flow.next(&bad, 0), Next::Wait(waits));
        answer(&mut flow, "a");
        assert_eq!(flow.next(&[], 0), collected("a"));
        assert_eq!(flow.next(&[], 5), Next::Send);
        assert!(matches!(flow.next(&[], 0), Next::End(End::Refused(why)) if why.contains("8 to 1000")));
    }
    let mut flow = Story::new(LIMITS);
    started(&mut flow, "a", Stage::Queued(Overtakers::Any));
    flow.hear(Input::Refused("nonsense".into()));
    assert!(matches!(flow.next(&frame(3), 0), Next::Wait(Wants { bytes: false, answers: true, .. })));
    answer(&mut flow, "a");
    assert_eq!(flow.next(&[], 0), collected("a"));
    assert_eq!(flow.next(&[], 0), Next::End(End::Refused("nonsense".into())));
}

#[test]
fn nothing_behind_a_produce_that_closes_the_connection_is_answered() {
    let mut flow = Story::new(LIMITS);
    started(&mut flow, "acks=0", Stage::Queued(Overtakers::Produces));
    started(&mut flow, "b", Stage::Queued(Overtakers::Produces));
    flow.advance(|_| Some(Stage::Answered("answer")));
    assert_eq!(flow.next(&frame(0), 0), collected("acks=0"));
    flow.hear(Input::Closed("it failed".into()));
    assert_eq!(flow.next(&frame(0), 7), Next::Send, "answers from before");
    assert_eq!(flow.next(&frame(0), 0), Next::End(End::Refused("it failed".into())));
}

/// As in Kafka, which does not read from the socket while an answer is missing.
#[test]
fn a_client_that_sends_no_more_gets_its_answers() {
    let mut flow = Story::new(Limits { in_flight: 1, ..LIMITS });
    started(&mut flow, "a", Stage::Queued(Overtakers::Any));
    flow.hear(Input::Finished);
    let mut inbox = frame(3);
    inbox.extend([0, 0]);
    assert_eq!(flow.next(&inbox, 0), Next::Wait(Wants { bytes: false, ..BUSY }));
    answer(&mut flow, "a");
    assert_eq!(flow.next(&inbox, 0), collected("a"));
    assert_eq!(flow.next(&inbox, 3), START);
    started(&mut flow, "b", Stage::Queueing);
    let rest = &inbox[12..];
    let waits = Wants { bytes: false, rests: true, ..BUSY };
    assert_eq!(flow.next(rest, 0), Next::Wait(waits), "half a head will never be a request");
    answer(&mut flow, "b");
    assert_eq!(flow.next(rest, 0), collected("b"));
    assert_eq!(flow.next(rest, 0), Next::End(End::Finished));
}

//! What a fetcher asks for, told with a leader that says what the story wants.

use ottla_model::TopicId;

use super::*;

fn key(number: u128) -> Key {
    (TopicId::from_u128(number), 0)
}

fn place(log_end: Offset) -> Place {
    let position = FetchPosition { under: LeaderEpoch(1), log_end, last_epoch: None };
    Place { position, log_start: 0 }
}

fn records(error: ErrorCode) -> Found {
    Found { error, records: Bytes::from_static(b"records"), high_watermark: 0, log_start: 0, diverging: None }
}

struct Stage {
    fetcher: Fetcher,
    now_ms: i64,
}

impl Stage {
    /// Follows these partitions, whose logs are empty.
    fn new(partitions: &[u128]) -> Stage {
        let mut stage = Stage { fetcher: Fetcher::new(1_000), now_ms: 0 };
        partitions.iter().for_each(|number| stage.follow(*number, 0));
        stage
    }

    fn follow(&mut self, number: u128, log_end: Offset) {
        self.fetcher.follow(self.now_ms, key(number));
        self.place(number, log_end);
    }

    fn place(&mut self, number: u128, log_end: Offset) {
        let Next::Place(keys) = self.fetcher.next(self.now_ms) else { panic!("nobody waits for a place") };
        assert_eq!(keys, [key(number)]);
        self.fetcher.placed(self.now_ms, key(number), Some(place(log_end)));
    }

    /// The next request: session id and epoch, the partitions that it names, and those that it forgets.
    fn asks(&mut self) -> (i32, i32, Vec<(u128, Offset)>, Vec<u128>) {
        let next = self.fetcher.next(self.now_ms);
        let Next::Fetch(plan) = next else { panic!("no fetch but {next:?}") };
        let named = plan.named.iter().map(|(key, place)| (key.0.as_u128(), place.position.log_end));
        let forgotten = plan.forgotten.iter().map(|key| key.0.as_u128());
        (plan.session.id, plan.session.epoch, named.collect(), forgotten.collect())
    }

    /// The leader answers with something for these partitions. Returns what is to be done, a word for each.
    fn hears(&mut self, session_id: i32, found: &[(u128, ErrorCode)]) -> Vec<String> {
        let partitions = found.iter().map(|(number, code)| (key(*number), records(*code))).collect();
        self.answer(Answer { error: ErrorCode::None, session_id, partitions })
    }

    fn answer(&mut self, answer: Answer) -> Vec<String> {
        let work = self.fetcher.answered(self.now_ms, answer);
        let word = |work: &Work| match work {
            Work::Replicate { key, position, .. } => {
                format!("append {} at {}", key.0.as_u128(), position.log_end)
            }
            Work::Cut { key, cut, .. } => format!("cut {} {cut:?}", key.0.as_u128()),
            Work::FindEnds { key, .. } => format!("find the ends of {}", key.0.as_u128()),
            Work::Refused { key, code } => format!("{} {code:?}", key.0.as_u128()),
        };
        work.iter().map(word).collect()
    }

    fn appended(&mut self, number: u128, log_end: Offset) {
        self.fetcher.done(self.now_ms, key(number), true);
        self.place(number, log_end);
    }
}

#[test]
fn a_session_is_told_what_has_changed_and_nothing_else() {
    let mut stage = Stage::new(&[1, 2, 3]);
    assert_eq!(stage.asks(), (0, 0, vec![(1, 0), (2, 0), (3, 0)], vec![]));
    assert_eq!(stage.hears(7, &[(2, ErrorCode::None)]), ["append 2 at 0"]);
    stage.appended(2, 5);
    assert_eq!(stage.asks(), (7, 1, vec![(2, 5)], vec![]));
    assert_eq!(stage.hears(7, &[]), [""; 0]);
    assert_eq!(stage.asks(), (7, 2, vec![], vec![]), "a thousand idle partitions would not be named either");
    // Only its high watermark has moved.
    assert_eq!(stage.hears(7, &[(2, ErrorCode::None)]), ["append 2 at 5"]);
    stage.appended(2, 5);
    assert_eq!(stage.asks(), (7, 3, vec![], vec![]));
}

#[test]
fn who_has_no_room_fetches_nothing_and_looks_again_later() {
    let mut stage = Stage::new(&[1]);
    stage.asks();
    assert_eq!(stage.hears(7, &[(1, ErrorCode::None)]), ["append 1 at 0"]);
    stage.fetcher.done(0, key(1), false);
    for (now_ms, next_ms) in [(20, 60), (60, 140), (140, 300)] {
        stage.now_ms = now_ms;
        assert_eq!(stage.fetcher.next(now_ms), Next::Place(vec![key(1)]));
        stage.fetcher.has_no_room(now_ms, key(1));
        assert_eq!(stage.fetcher.next(now_ms), Next::Wait(Some(next_ms)));
    }
    stage.now_ms = 300;
    let Next::Place(_) = stage.fetcher.next(300) else { panic!("it is asked once more") };
    stage.place(1, 0);
    assert_eq!(stage.asks(), (7, 1, vec![], vec![]), "the leader knows from where");
}

#[test]
fn who_does_not_fetch_removes_what_its_leader_has_removed() {
    let place = Place { log_start: 2, ..place(5) };
    for (start, expected) in [
        (2, None),
        (3, Some(Cut::Start { log_start: 3 })),
        (5, Some(Cut::Start { log_start: 5 })),
        (6, Some(Cut::All { start: 6 })),
    ] {
        assert_eq!(at_start(place, start), expected);
    }
}

#[test]
fn what_a_lane_works_on_is_not_fetched() {
    let mut stage = Stage::new(&[1, 2]);
    stage.asks();
    assert_eq!(stage.hears(7, &[(2, ErrorCode::None)]), ["append 2 at 0"]);
    assert!(stage.fetcher.waits_for_work());
    assert_eq!(stage.asks(), (7, 1, vec![], vec![2]));
    stage.fetcher.done(0, key(2), true);
    assert!(!stage.fetcher.waits_for_work());
    let Next::Place(_) = stage.fetcher.next(0) else { panic!("its lane knows where it ends") };
    stage.fetcher.placed(0, key(2), None);
    assert_eq!(
        stage.asks(),
        (7, 1, vec![], vec![]),
        "its lane flushes; the last request was not answered yet"
    );
    stage.hears(7, &[]);
    stage.now_ms = 5;
    stage.place(2, 3);
    assert_eq!(stage.asks(), (7, 2, vec![(2, 3)], vec![]));
}

#[test]
fn an_answer_for_another_place_is_passed_over() {
    let mut stage = Stage::new(&[1, 2]);
    stage.asks();
    // Its leader has a new epoch.
    stage.follow(1, 4);
    stage.fetcher.leave(key(2));
    assert_eq!(stage.hears(7, &[(1, ErrorCode::None), (2, ErrorCode::None)]), [""; 0]);
    assert_eq!(stage.asks(), (7, 0, vec![(1, 4)], vec![]));
    assert!(!stage.fetcher.waits_for_work());
}

#[test]
fn what_was_passed_over_is_asked_for_again_from_the_same_place() {
    let mut stage = Stage::new(&[1, 2]);
    stage.asks();
    stage.hears(7, &[]);
    stage.asks();
    // It is said once more whom it follows, while the leader's answer is on its way.
    stage.fetcher.follow(0, key(1));
    assert_eq!(stage.hears(7, &[(1, ErrorCode::None)]), [""; 0]);
    stage.place(1, 0);
    let (session, epoch, mut named, forgotten) = stage.asks();
    named.sort_unstable();
    assert_eq!((session, epoch, named, forgotten), (7, 0, vec![(1, 0), (2, 0)], vec![]));
    assert_eq!(stage.hears(8, &[(1, ErrorCode::None)]), ["append 1 at 0"]);
}

#[test]
fn who_is_refused_waits_longer_each_time_and_nobody_else_does() {
    let mut stage = Stage::new(&[1, 2]);
    stage.asks();
    let refused = [(1, ErrorCode::NotLeaderOrFollower)];
    assert_eq!(stage.hears(7, &refused), ["1 NotLeaderOrFollower"]);
    assert_eq!(stage.asks(), (7, 1, vec![], vec![1]));
    stage.hears(7, &[]);
    stage.now_ms = 20;
    stage.place(1, 0);
    assert_eq!(stage.asks(), (7, 2, vec![(1, 0)], vec![]));
    assert_eq!(stage.hears(7, &refused), ["1 NotLeaderOrFollower"]);
    stage.now_ms = 59;
    assert_eq!(stage.asks(), (7, 3, vec![], vec![1]));
    stage.hears(7, &[]);
    stage.now_ms = 60;
    stage.place(1, 0);
    stage.asks();
    stage.hears(7, &[(1, ErrorCode::None)]);
    stage.appended(1, 2);
    stage.asks();
    stage.hears(7, &refused);
    stage.now_ms += 20;
    stage.place(1, 2);
}

#[test]
fn a_lost_session_or_connection_begins_anew_with_everything() {
    let mut stage = Stage::new(&[1, 2]);
    stage.asks();
    stage.hears(7, &[]);
    stage.asks();
    let lost = || Answer { error: ErrorCode::FetchSessionIdNotFound, session_id: 0, partitions: Vec::new() };
    stage.answer(lost());
    assert_eq!(stage.asks(), (7, 0, vec![(2, 0), (1, 0)], vec![]), "the leader drops the old one");
    stage.hears(8, &[]);
    assert_eq!(stage.asks(), (8, 1, vec![], vec![]));
    stage.fetcher.failed(0);
    assert_eq!(stage.fetcher.next(0), Next::Wait(Some(20)));
    stage.now_ms = 20;
    assert_eq!(stage.asks(), (8, 0, vec![(1, 0), (2, 0)], vec![]));
    stage.fetcher.failed(20);
    assert_eq!(stage.fetcher.next(20), Next::Wait(Some(60)), "longer each time");
    stage.now_ms = 60;
    stage.asks();
    assert_eq!(stage.hears(0, &[(1, ErrorCode::None)]), ["append 1 at 0"], "there is no room for a session");
    stage.appended(1, 3);
    assert_eq!(stage.asks(), (8, 0, vec![(1, 3), (2, 0)], vec![]));
}

#[test]
fn a_log_that_has_parted_is_cut_and_one_that_is_out_of_range_asks_for_the_ends() {
    let mut stage = Stage::new(&[1]);
    stage.fetcher.leave(key(1));
    stage.follow(1, 5);
    stage.asks();
    let diverging = Diverging { epoch: LeaderEpoch(0), end_offset: 3 };
    let found = Found { diverging: Some(diverging), log_start: 2, ..records(ErrorCode::None) };
    let work = stage
        .fetcher
        .answered(0, Answer { error: ErrorCode::None, session_id: 7, partitions: vec![(key(1), found)] });
    let position = place(5).position;
    assert_eq!(work, [Work::Cut { key: key(1), position, cut: Cut::End { diverging, log_start: 2 } }]);
    stage.appended(1, 5);
    stage.asks();
    let out_of_range = [(1, ErrorCode::OffsetOutOfRange)];
    assert_eq!(stage.hears(7, &out_of_range), ["find the ends of 1"]);
    let diverging = Diverging { epoch: LeaderEpoch::NONE, end_offset: 4 };
    let shorter = Cut::End { diverging, log_start: 0 };
    assert_eq!(stage.fetcher.ends(0, key(1), position, Some((0, 4))), Some(shorter));
    assert_eq!(stage.fetcher.ends(0, key(1), position, Some((8, 9))), Some(Cut::All { start: 8 }));
    assert_eq!(stage.fetcher.ends(0, key(1), position, Some((0, 9))), None, "it may be in range by now");
    assert_eq!(stage.fetcher.next(0), Next::Wait(Some(20)));
    stage.now_ms = 20;
    stage.place(1, 5);
    stage.asks();
    stage.hears(7, &out_of_range);
    assert_eq!(stage.fetcher.ends(20, key(1), position, None), None, "the leader did not say");
    assert_eq!(stage.fetcher.next(20), Next::Wait(Some(60)));
}

#[test]
fn a_fetcher_without_partitions_does_nothing() {
    let mut stage = Stage::new(&[]);
    assert_eq!(stage.fetcher.next(0), Next::Wait(None));
    stage.follow(1, 0);
    stage.fetcher.leave(key(1));
    assert!(stage.fetcher.is_empty());
    assert_eq!(stage.fetcher.next(0), Next::Wait(None));
    assert_eq!((stage.fetcher.follows(key(1)), stage.fetcher.waits_for_work()), (false, false));
}

//! Stories of full groups, and of groups with many members: how much work they make.

use super::*;
use ottla_model::group::MemberId;

#[test]
fn a_full_group_takes_nobody_in() {
    let at_most = |max_size| Settings { max_size, ..prompt() };
    check(
        "before and after the assignment",
        at_most(1),
        vec![
            at(0, join("a")).says(&["log g 0 []", "a leads 1 [a] range"]),
            at(1, join("b")).says(&["b: GROUP_MAX_SIZE_REACHED"]),
            at(2, sync("a", 1, &[])).says(&["log g 1 [a]", "a gets \"\""]),
            at(3, join("b")).says(&["b: GROUP_MAX_SIZE_REACHED"]),
            at(4, join("a")).says(&["a leads 2 [a] range"]),
        ],
    );
    check(
        "while members join, those who have come count",
        Settings { max_size: 2, ..Settings::default() },
        vec![
            at(0, join("a")).says(&["log g 0 []"]),
            at(1, join("b")),
            at(2, join("c")).says(&["c: GROUP_MAX_SIZE_REACHED"]),
            at(9_000, Deed::Wait).says(&["a leads 1 [a b] range", "b follows a in 1"]),
        ],
    );
}

/// The CPU time of this thread. Unlike elapsed time, it does not grow on a busy machine. `None`: the system does not
/// report it.
fn worked_ms() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(|nanos: f64| nanos / 1e6)
}

/// One step, in which every write succeeds at once. Returns the replies.
fn step(groups: &mut Groups<usize>, now_ms: i64, input: Input<usize>) -> Vec<Reply> {
    let mut out = Vec::new();
    groups.step(now_ms, input, &mut out);
    while let Some(at) = out.iter().position(|effect| matches!(effect, Effect::Write { .. })) {
        let Effect::Write { ticket, .. } = out.remove(at) else { unreachable!() };
        groups.step(now_ms, Input::Written { ticket, result: Ok(0) }, &mut out);
    }
    let replies = out.into_iter().filter_map(|effect| match effect {
        Effect::Reply { reply, .. } => Some(reply),
        _ => None,
    });
    replies.collect()
}

fn ask(groups: &mut Groups<usize>, now_ms: i64, command: Command) -> Vec<Reply> {
    step(groups, now_ms, Input::Ask { token: 0, command })
}

/// Makes a stable group of that size. Returns the member ids.
fn gather(groups: &mut Groups<usize>, size: usize) -> Vec<MemberId> {
    for _ in 0..size {
        let newcomer = join("m").join(|join| join.member_id = Arc::from(""));
        assert!(ask(groups, 0, newcomer.command).is_empty());
    }
    let mut joined = step(groups, 3_000, Input::Tick);
    joined.extend(step(groups, 6_000, Input::Tick));
    let id = |reply| match reply {
        Reply::Joined(joined) => joined.member_id,
        other => panic!("{other:?}"),
    };
    let ids: Vec<MemberId> = joined.into_iter().map(id).collect();
    assert_eq!(ids.len(), size);
    let leader = groups.classic("g").leader.clone().unwrap();
    let mut synced = 0;
    for id in ids.iter().filter(|id| **id != leader).chain([&leader]) {
        let mut asked = sync("m", 1, &[]).sync(|sync| sync.member_id = id.clone());
        if *id == leader {
            let all = ids.iter().map(|id| (id.clone(), Bytes::from_static(b"x")));
            asked = asked.sync(|sync| sync.assignments = all.collect());
        }
        synced += ask(groups, 6_001, asked.command).len();
    }
    assert_eq!(synced, size, "the leader's sync answers everybody");
    ids
}

/// The cost of heartbeats of all members.
fn beat_all(groups: &mut Groups<usize>, ids: &[MemberId], rounds: i64) -> Option<f64> {
    let before = worked_ms();
    for round in 0..rounds {
        for id in ids {
            let member_id = id.clone();
            let command = Heartbeat { group: Arc::from("g"), generation: 1, member_id, instance_id: None };
            let replies = ask(groups, 7_000 + round, Command::Heartbeat(command));
            assert_eq!(replies, [Reply::Heartbeat(ErrorCode::None)]);
        }
    }
    Some((worked_ms()? - before?) / rounds as f64 / ids.len() as f64)
}

#[test]
fn a_thousand_members_and_a_hundred_thousand_groups_are_no_burden() {
    let fresh = || Groups::<usize>::new(Arc::new(Settings::default()), stage::chance(1));
    let (mut few, mut many) = (fresh(), fresh());
    let small = gather(&mut few, 10);
    let before = worked_ms();
    let large = gather(&mut many, 1_000);
    if let (Some(before), Some(after)) = (before, worked_ms()) {
        // Far below a tenth of that in an optimised build.
        assert!(after - before < 2_000.0, "{} ms for a thousand to become stable", after - before);
    }
    for n in 0..100_000 {
        ask(&mut many, 6_002, commit("c", -1, &[(0, 5)]).of(&format!("simple-{n}")).command);
    }
    // Long enough for the system's count of a running thread's time, which may stand still for milliseconds.
    let alone = beat_all(&mut few, &small, 10_000);
    let in_crowd = beat_all(&mut many, &large, 100);
    if let (Some(alone), Some(in_crowd)) = (alone, in_crowd) {
        // The crowd has 100,000 times as many groups. A search takes about 17 steps for that, and memory is slower than
        // caches.
        assert!(in_crowd < 50.0 * alone, "{in_crowd} ms in a crowd, {alone} ms alone");
        eprintln!("a heartbeat: {alone} ms alone, {in_crowd} ms in a crowd");
    }
}

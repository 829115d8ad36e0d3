//! Stories of groups that are full, and of many members: how much work each makes.

use super::*;

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

/// Generous, so that a busy machine does not fail it: what would be quadratic takes minutes.
const CPU_MS_MAX: u128 = 20_000;

#[test]
fn a_thousand_members_and_a_hundred_thousand_groups_are_no_burden() {
    #[expect(clippy::disallowed_methods, reason = "the test measures, the machine does not")]
    let started = std::time::Instant::now();
    let mut groups: Groups<usize> = Groups::new(Arc::new(Settings::default()), stage::chance(1));
    groups.loaded(0);
    let mut out = Vec::new();
    let mut step = |groups: &mut Groups<usize>, now_ms, input| {
        groups.step(now_ms, input, &mut out);
        while let Some(at) = out.iter().position(|effect| matches!(effect, Effect::Write { .. })) {
            let Effect::Write { ticket, .. } = out.remove(at) else { unreachable!() };
            groups.step(now_ms, Input::Written { ticket, result: Ok(0) }, &mut out);
        }
        let replies = out.drain(..).filter_map(|effect| match effect {
            Effect::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        replies.collect::<Vec<_>>()
    };
    let ask = |ask: Ask| Input::Ask { token: 0, command: ask.command };
    for _ in 0..1_000 {
        assert!(step(&mut groups, 0, ask(join("m").join(|join| join.member_id = Arc::from("")))).is_empty());
    }
    let joined =
        step(&mut groups, 3_000, Input::Tick).into_iter().chain(step(&mut groups, 6_000, Input::Tick));
    let ids: Vec<MemberId> = joined
        .map(|reply| match reply {
            Reply::Joined(joined) => joined.member_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 1_000);
    let leader = groups.groups["g"].leader.clone().unwrap();
    let mut told = 0;
    for id in ids.iter().filter(|id| **id != leader).chain([&leader]) {
        let all: Vec<(MemberId, Bytes)> =
            ids.iter().map(|id| (id.clone(), Bytes::from_static(b"x"))).collect();
        let asked = sync("m", 1, &[]).sync(|sync| {
            sync.member_id = id.clone();
            sync.assignments = if *id == leader { all } else { Vec::new() };
        });
        told += step(&mut groups, 6_001, ask(asked)).len();
    }
    assert_eq!(told, 1_000, "the leader's sync answers everybody");
    for n in 0..100_000 {
        step(&mut groups, 6_002, ask(commit("c", -1, &[(0, 5)]).of(&format!("simple-{n}"))));
    }
    for round in 0..100 {
        for id in &ids {
            let asked =
                Heartbeat { group: Arc::from("g"), generation: 1, member_id: id.clone(), instance_id: None };
            let input = Input::Ask { token: 0, command: Command::Heartbeat(asked) };
            assert_eq!(step(&mut groups, 7_000 + round, input), [Reply::Heartbeat(ErrorCode::None)]);
        }
    }
    let took = started.elapsed().as_millis();
    assert!(took < CPU_MS_MAX, "{took} ms");
}

//! Random walks: any request in any order, while writes fail and the shard is dropped and loaded again. Stage and audit
//! check each step; here it is checked that the log and the shard agree, and that generations grow.

use std::collections::BTreeMap;

use ottla_protocol::{ProducerEpoch, ProducerId};

use super::super::classic;
use super::*;

const ACTORS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SEEDS: u64 = 60;
const STEPS: usize = 300;

/// Assignments to few and many members, static members that come back and fenced ones, every kind of refusal.
const SIGHTS: [&str; 13] = [
    "[a b c d]",
    "[e f]",
    "as before",
    "log g t-0 gone",
    "log h gone",
    "FENCED_INSTANCE_ID",
    "MEMBER_ID_REQUIRED",
    "INCONSISTENT_GROUP_PROTOCOL",
    "GROUP_MAX_SIZE_REACHED",
    "ILLEGAL_GENERATION",
    "no log",
    "NOT_COORDINATOR",
    "writes at once",
];

struct Walk {
    stage: Stage,
    chance: Chance,
    now_ms: i64,
    /// The generation of each group that was not deleted since.
    generations: BTreeMap<GroupId, i32>,
    /// What has to happen in a walk for it to prove something, and how often it did.
    sights: BTreeMap<&'static str, usize>,
}

impl Walk {
    fn below(&mut self, n: usize) -> usize {
        ((self.chance)() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn classic(&self, group: &str) -> Option<&classic::Group<usize>> {
        self.stage.groups.groups.get(group).and_then(Group::classic)
    }

    /// Mostly the group in which the actor is a member.
    fn group(&mut self, who: &str) -> &'static str {
        match self.below(20) {
            0 => "i",
            _ if who < "e" => "g",
            _ => "h",
        }
    }

    /// Mostly the current generation.
    fn generation(&mut self, group: &str) -> i32 {
        let current = self.classic(group).map_or(0, |group| group.generation);
        let around = self.pick(&[0, 0, 0, 0, 0, 0, 0, -1, 1]);
        current + around
    }

    fn join(&mut self, who: &'static str, group: &str) -> Ask {
        let names: &[(&str, &[&str])] = match self.below(8) {
            0 => &[("range", &["t", "u"]), ("robin", &["t"])],
            1 => &[("robin", &["t"]), ("range", &["t"])],
            2 => &[("robin", &["t"])],
            _ => &[("range", &["t"]), ("robin", &["t"])],
        };
        let instance = match (who, self.below(20)) {
            (_, 0) => Some("one"),
            ("a", _) => Some("one"),
            ("b", _) => Some("two"),
            _ => None,
        };
        let restarted = instance.is_some() && self.below(3) == 0;
        let (v4, v9, rebalance_ms) = (self.below(2) == 0, self.below(2) == 0, self.pick(&[1_000, 20_000]));
        join(who).of(group).join(|join| {
            join.protocols = protocols(names);
            join.instance_id = instance.map(Arc::from);
            join.member_id_required = v4;
            join.can_skip_assignment = v9;
            join.rebalance_timeout_ms = rebalance_ms;
            if restarted {
                join.member_id = Arc::from("nobody");
            }
        })
    }

    /// More often than not, what a correct client would send now.
    fn ask(&mut self) -> Ask {
        let who = self.pick(&ACTORS);
        let group = self.group(who);
        let generation = self.generation(group);
        let state = self.classic(group).map(classic::Group::state);
        match (state, self.below(10)) {
            (None | Some(GroupState::Empty | GroupState::PreparingRebalance), 0..=6) => self.join(who, group),
            (Some(GroupState::CompletingRebalance), 0..=7) => self.sync(who, group, generation),
            (Some(GroupState::Stable), 0..=1) => self.sync(who, group, generation),
            (Some(GroupState::Stable), 2) if who < "c" => {
                self.join(who, group).join(|join| join.member_id = Arc::from("nobody"))
            }
            (Some(GroupState::Stable), 2..=4) => beat(who, generation).of(group),
            _ => self.any(who, group, generation),
        }
    }

    fn sync(&mut self, who: &'static str, group: &str, generation: i32) -> Ask {
        let assignments = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6")];
        sync(who, generation, &assignments).of(group)
    }

    fn any(&mut self, who: &'static str, group: &'static str, generation: i32) -> Ask {
        let offsets = [(self.below(3) as i32, self.below(100) as i64)];
        match self.below(20) {
            0..=5 => self.join(who, group),
            6 => self.sync(who, group, generation),
            7 => leave(who).of(group),
            8 => leave_all("op", &[("", Some("one")), ("e", None)]).of(group),
            9..=11 => commit(who, generation, &offsets).of(group),
            12 => commit(who, -1, &offsets).of(group),
            13 => {
                let producer = Producer { id: ProducerId(self.below(2) as i64), epoch: ProducerEpoch(0) };
                commit(who, -1, &offsets)
                    .of(group)
                    .commit(|commit| commit.transaction = Some(producer.into()))
            }
            14 => fetch_all(who).of(group),
            15 => delete(&[group, "h"]),
            16 => delete_offsets("t", &[0, 1]).of(group),
            17 => describe(group),
            18 => beat(who, generation).of(group),
            _ => Ask {
                who: "op",
                command: Command::TopicsDeleted {
                    topics: vec![(Arc::from("t"), uuid::Uuid::from_u128(1_000))],
                },
            },
        }
    }

    fn step(&mut self) {
        self.now_ms += self.pick(&[0, 0, 1, 1, 10, 10, 500, 500, 3_000]);
        let deed = match self.below(100) {
            0..=4 => Deed::FailNext(self.pick(&[ErrorCode::NotEnoughReplicas, ErrorCode::KafkaStorageError])),
            5 => Deed::Reload,
            6 => {
                self.now_ms += 700_000;
                Deed::Wait
            }
            7..=9 => {
                let (producer, committed) = (ProducerId(self.below(2) as i64), self.below(2) == 0);
                self.stage.end_transaction(producer, committed);
                Deed::Wait
            }
            _ => Deed::Ask(self.ask()),
        };
        if let Deed::Reload = deed {
            // Generations that were never written are given again.
            self.generations.clear();
            self.stage.unlogged.clear();
        }
        let seen = self.stage.perform(self.now_ms, deed);
        for (sight, count) in &mut self.sights {
            *count += seen.iter().filter(|line| line.contains(*sight)).count();
        }
        self.generations_grow();
    }

    fn generations_grow(&mut self) {
        let live = &self.stage.groups.groups;
        self.generations.retain(|id, _| live.contains_key(id));
        for (id, group) in live {
            let Group::Classic(group) = group;
            let before = self.generations.insert(id.clone(), group.generation);
            // A group that was deleted and created again in one step begins at 0.
            assert!(before.is_none_or(|before| before <= group.generation) || group.generation <= 1, "{id}");
        }
    }

    fn log_and_shard_agree(&self) {
        let replayed = self.stage.replayed();
        assert_eq!(replayed.offsets, self.stage.groups.offsets);
        let (logged, live) = (&replayed.groups, &self.stage.groups.groups);
        assert!(logged.keys().eq(live.keys()), "{:?} {:?}", logged.keys(), live.keys());
        for (id, Group::Classic(group)) in live.iter().filter(|(id, _)| !self.stage.unlogged.contains(*id)) {
            let settled = matches!(group.state(), GroupState::Empty | GroupState::Stable);
            let (logged, live) = (summary(replayed.classic(id)), summary(group));
            assert!(!settled || logged == live, "{id}\nlog:   {logged}\nshard: {live}");
        }
    }
}

/// The log's record of a group, as text.
fn summary(group: &classic::Group<usize>) -> String {
    let members = group.members().iter().map(|(id, member)| {
        let (session, rebalance) = (member.terms.session_timeout_ms, member.terms.rebalance_timeout_ms);
        let metadata = member.metadata(group.protocol.as_deref().unwrap_or_default());
        format!("{id} {:?} {session} {rebalance} {metadata:?} {:?}", member.instance_id, member.assignment)
    });
    let members: Vec<String> = members.collect();
    let (generation, protocol, leader) = (group.generation, &group.protocol, &group.leader);
    // The record of a group that nobody has joined has no type; the record of an empty group keeps its type.
    format!("{} {generation} {protocol:?} {leader:?} {members:?}", group.state())
}

#[test]
fn whatever_happens_the_log_and_the_shard_agree() {
    let mut sights = BTreeMap::from(SIGHTS.map(|sight| (sight, 0)));
    for seed in 0..SEEDS {
        let settings = Settings {
            initial_rebalance_delay_ms: if seed % 3 == 0 { 3_000 } else { 0 },
            max_size: if seed % 5 == 0 { 3 } else { 1_000 },
            offsets_retention_ms: 1_000_000,
            ..Settings::default()
        };
        let (mut stage, chance) = (Stage::new(settings), stage::chance(seed));
        stage.gathers = seed % 2 == 1;
        let mut walk = Walk { stage, chance, now_ms: 0, generations: BTreeMap::new(), sights };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..STEPS {
                walk.step();
                if !walk.stage.gathers || step % 10 == 9 {
                    walk.stage.settle(walk.now_ms);
                    walk.log_and_shard_agree();
                }
            }
            walk.stage.close("a walk");
        }));
        if let Err(failure) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(failure);
        }
        sights = walk.sights;
    }
    assert!(sights.values().all(|count| *count >= 10), "{sights:?}");
}

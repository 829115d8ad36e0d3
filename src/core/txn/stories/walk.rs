//! Random walks: whatever is asked in whatever order by producers of old and new protocols and by zombies, while answers
//! get lost, writes fail, markers do not arrive and coordinators come and go. An epoch never goes back, a fenced
//! producer changes nothing, a prepared transaction ends as it was prepared and in all its partitions, none is stuck,
//! and the log gives the state.

use std::collections::BTreeMap;

use ottla_model::dice::Dice;

use super::audit;
use super::*;

const ACTORS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SEEDS: u64 = 80;
const STEPS: usize = 300;

const SIGHTS: [&str; 15] = [
    "PrepareCommit",
    "PrepareAbort",
    "then 1",
    "goes on as",
    "log app gone",
    "log bill gone",
    "writes at once",
    "no log",
    "PRODUCER_FENCED",
    "INVALID_PRODUCER_ID_MAPPING",
    "CONCURRENT_TRANSACTIONS",
    "INVALID_TXN_STATE",
    "TRANSACTION_ABORTABLE",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
];

struct Walk {
    stage: Stage,
    dice: Dice,
    now_ms: i64,
    level: TransactionVersion,
    /// Who has each transactional id, if nothing goes wrong.
    on_duty: [&'static str; 2],
    /// Who was told last that somebody else has its transactional id.
    fenced: BTreeSet<&'static str>,
    /// Which partitions answered that they have the marker of a transaction.
    marked: BTreeMap<(TransactionalId, Offset), Partitions>,
    /// What a walk has to come by to be worth taking, and how often it did.
    sights: BTreeMap<&'static str, usize>,
}

/// Two producers and three share a transactional id each.
fn id_of(who: &str) -> &'static str {
    if who < "c" { "app" } else { "bill" }
}

impl Walk {
    fn new(seed: u64, sights: BTreeMap<&'static str, usize>) -> Walk {
        let level = TransactionVersion([2, 2, 2, 1, 0][seed as usize % 5]);
        let settings = Settings {
            id_expiration_ms: 2_000_000,
            adding_patience_ms: [0, 20][seed as usize / 2 % 2],
            ..Settings::default()
        };
        let mut stage = Stage::new(settings, level);
        stage.gathers = seed % 2 == 1;
        if seed.is_multiple_of(2) {
            let mut worn = after_many(TransactionState::Empty, 32_763);
            worn.layout = level.layout();
            let (key, value) =
                TransactionRecord { transactional_id: app(), value: Some(worn) }.to_key_value();
            let record = TransactionRecord::from_key_value(&key, value.as_ref());
            stage.log.push(record.expect("just written").expect("of a known version"));
            stage.reload(0);
        }
        let (on_duty, fenced) = (["a", "c"], BTreeSet::new());
        Walk { stage, dice: Dice(seed), now_ms: 0, level, on_duty, fenced, marked: BTreeMap::new(), sights }
    }

    /// What a sound client would ask now, more often than not.
    fn ask(&mut self) -> Ask {
        let who = match self.dice.below(8) {
            0 => self.dice.pick(&ACTORS),
            _ => self.dice.pick(&self.on_duty.clone()),
        };
        if self.dice.below(40) == 0 {
            self.on_duty[usize::from(id_of(who) == "bill")] = who;
        }
        let id = id_of(who);
        let is_new = self.level.bumps_epoch() && self.dice.below(4) > 0;
        let state = self.stage.transactions.entries.get(id).map(|entry| entry.transaction.state());
        let is_fenced = self.fenced.contains(who) && self.on_duty.contains(&who);
        let knows_itself = self.stage.actors.contains_key(who);
        let ask = match (state, self.dice.below(12)) {
            (None, 0..8) => start(who),
            _ if !knows_itself || is_fenced => start(who),
            (Some(TransactionState::Ongoing), 0..5) => self.end(who, is_new),
            (Some(_), 0..6) => self.add(who, is_new),
            (_, 6) => start(who),
            (_, 7) => recover(who),
            (_, 8) => verify(who, &[0, 1]),
            (_, 9) => self.end(who, is_new),
            _ => self.add(who, is_new),
        };
        let ask = ask.of(id);
        match self.dice.below(15) {
            0 => self.as_zombie(ask),
            _ => ask,
        }
    }

    fn add(&mut self, who: &'static str, is_new: bool) -> Ask {
        let partitions = [self.dice.below(4) as i32];
        if is_new { add(who, &partitions) } else { add_v1(who, &partitions) }
    }

    fn end(&mut self, who: &'static str, is_new: bool) -> Ask {
        match (is_new, self.dice.below(3)) {
            (true, 0) => abort(who),
            (true, _) => commit(who),
            (false, 0) => abort_v1(who),
            (false, _) => commit_v1(who),
        }
    }

    /// Who it was a while ago, or will be.
    fn as_zombie(&mut self, mut ask: Ask) -> Ask {
        let (who, around) = (ask.who, self.dice.pick(&[-2, -1, -1, -1, 1]));
        let (Some(asked), Some(known)) = (ask.producer(), self.stage.actors.get(who)) else { return ask };
        *asked = Producer { id: known.id, epoch: ProducerEpoch(known.epoch.0.saturating_add(around).max(0)) };
        ask
    }

    fn step(&mut self) {
        self.now_ms += self.dice.pick(&[0, 0, 1, 1, 10, 10, 100, 100, 1_000]);
        let deed = match self.dice.below(100) {
            0..4 => {
                Deed::FailNext(self.dice.pick(&[ErrorCode::NotEnoughReplicas, ErrorCode::KafkaStorageError]))
            }
            4..6 => Deed::Reload,
            6 => {
                self.now_ms += self.dice.pick(&[70_000, 70_000, 70_000, 5_700_000]);
                Deed::Wait
            }
            7..35 => return self.answer_for_a_marker(),
            35..40 => Deed::Lose(self.ask()),
            _ => Deed::Ask(self.ask()),
        };
        self.perform(deed);
    }

    fn perform(&mut self, deed: Deed) {
        let who_asks = match &deed {
            Deed::Ask(ask) | Deed::Lose(ask) => self.if_fenced(ask),
            _ => None,
        };
        let length = self.stage.log.len();
        let seen = self.stage.perform(self.now_ms, deed);
        self.look_at(&seen);
        for who in ACTORS {
            let says = |error: &str| seen.contains(&format!("{who}: {error}"));
            if says("PRODUCER_FENCED") || says("INVALID_PRODUCER_ID_MAPPING") {
                self.fenced.insert(who);
            } else if seen.iter().any(|line| line.starts_with(&format!("{who} is "))) {
                self.fenced.remove(who);
            }
        }
        if let Some(producer) = who_asks
            && !self.stage.gathers
        {
            assert_eq!(self.stage.log.len(), length, "{producer:?} is not who it says, and wrote: {seen:?}");
        }
        audit::check(&self.stage.transactions, &self.stage.markers);
    }

    fn look_at(&mut self, seen: &[String]) {
        for (sight, count) in &mut self.sights {
            *count += seen.iter().filter(|line| line.contains(*sight)).count();
        }
    }

    /// Who asks to change a transaction without being its producer, if nothing else happens at this time.
    fn if_fenced(&self, ask: &Ask) -> Option<Producer> {
        let asked = match &ask.command {
            Command::AddPartitions(add) => add.producer,
            Command::EndTxn(end) => end.producer,
            _ => return None,
        };
        let asked = if asked == MYSELF { self.stage.actors.get(ask.who).copied()? } else { asked };
        let current = self.stage.transactions.entries.get(id_of(ask.who))?.transaction.producer();
        let is_due = self.stage.transactions.next_deadline_ms().is_some_and(|due_ms| due_ms <= self.now_ms);
        (current != asked && !is_due).then_some(asked)
    }

    /// A leader answers for a marker that it was sent, mostly that it has it.
    fn answer_for_a_marker(&mut self) {
        if self.stage.markers.is_empty() {
            return;
        }
        let markers = self.dice.pick(&self.stage.markers);
        let (topic, ids) = markers.partitions.first_key_value().expect("markers have partitions");
        let partition = self.dice.pick(&ids.iter().copied().collect::<Vec<_>>());
        let error = self.dice.pick(&[OK, OK, OK, ErrorCode::NotLeaderOrFollower]);
        self.answer(&markers, topic, partition, error);
    }

    fn answer(
        &mut self,
        markers: &Markers,
        topic: &ottla_model::TopicName,
        partition: i32,
        error: ErrorCode,
    ) {
        if error == OK {
            let key = (markers.transactional_id.clone(), markers.prepared_at);
            self.marked.entry(key).or_default().entry(topic.clone()).or_default().insert(partition);
        }
        self.stage.mark(self.now_ms, markers, topic, partition, error);
        self.perform(Deed::Wait);
    }

    fn log_and_shard_agree(&self) {
        audit::check_log(&self.stage.log, &self.marked);
        let replayed = self.stage.replayed();
        let (logged, live) = (&replayed.entries, &self.stage.transactions.entries);
        assert!(logged.keys().eq(live.keys()), "{:?} {:?}", logged.keys(), live.keys());
        for (id, entry) in live {
            assert_eq!(as_logged(id, &entry.transaction.metadata), logged[id].transaction.metadata);
            assert_eq!(entry.at, logged[id].at, "{id}");
        }
    }

    /// Nothing fails any more, and nobody asks for anything: whatever is open ends.
    fn heal(&mut self) {
        self.stage.heal(self.now_ms);
        for _ in 0..400 {
            self.now_ms += 1_000;
            self.perform(Deed::Wait);
            self.stage.settle(self.now_ms);
            while let Some(markers) = self.stage.markers.first().cloned() {
                let (topic, ids) = markers.partitions.first_key_value().expect("markers have partitions");
                self.answer(&markers, topic, *ids.first().expect("a topic has partitions"), OK);
                self.stage.settle(self.now_ms);
            }
        }
        for (id, entry) in &self.stage.transactions.entries {
            let state = entry.transaction.state();
            assert!(!state.is_prepared() && state != TransactionState::Ongoing, "{id} is {state} for ever");
        }
    }
}

/// What a log can hold of it: the classic layout has no place for everything.
fn as_logged(id: &TransactionalId, metadata: &TransactionMetadata) -> TransactionMetadata {
    let record = TransactionRecord { transactional_id: id.clone(), value: Some(metadata.clone()) };
    let (key, value) = record.to_key_value();
    let read = TransactionRecord::from_key_value(&key, value.as_ref()).expect("just written");
    read.and_then(|read| read.value).expect("of a known version")
}

#[test]
fn whatever_happens_no_transaction_is_torn_or_stuck() {
    let mut sights = BTreeMap::from(SIGHTS.map(|sight| (sight, 0)));
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed, sights);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..STEPS {
                walk.step();
                if !walk.stage.gathers || step % 10 == 9 {
                    walk.stage.settle(walk.now_ms);
                    walk.log_and_shard_agree();
                }
            }
            walk.heal();
            walk.log_and_shard_agree();
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

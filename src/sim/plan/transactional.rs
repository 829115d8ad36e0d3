//! What a seed draws for a run with transactions: who writes in them, where, and what may go wrong.

use ottla_core::controller::NewTopic;

use super::{Plan, Services, TOPIC_NAMES, Trouble};
use crate::dice::Dice;

/// Who writes in transactions, and where coordinators remember them.
#[derive(Clone, Debug)]
pub(crate) struct Transactional {
    /// Producers with a transactional id each, that go on for as long as the run does.
    pub keepers: usize,
    /// Second processes under the id of one of them.
    pub rivals: usize,
    /// Producers that are gone some time, whatever they have begun.
    pub mortals: usize,
    /// Of a hundred, how many consume what they transform.
    pub loops_percent: u64,
    pub committed_consumers: usize,
    /// Every topic has `flush.messages=1`, and the power may go. A transaction whose marker is lost with the power, and
    /// whose decision is not, is nobody's any more: where logs do not outlive the power, it stays.
    pub outlives_power: bool,
    state_partitions: u64,
    state_segment_bytes: u64,
    timeout_check_ms: i64,
    /// Read at a time while a shard is loaded.
    pub load_bytes: usize,
    /// Of a hundred requests to write, how many come late, behind what was sent after them.
    pub late_percent: u64,
    pub late_ms: i64,
    /// Of a hundred times that a task waits for the processor, how often that is long.
    pub stalled_percent: u64,
    pub stalled_ms: i64,
}

impl Transactional {
    /// With what of the plan has to be otherwise.
    pub fn draw(plan: &mut Plan, dice: &mut Dice) -> Transactional {
        let drawn = Transactional {
            keepers: dice.between(1, 3) as usize,
            rivals: dice.between(0, 2) as usize,
            mortals: dice.between(0, 2) as usize,
            loops_percent: *dice.pick(&[0, 50, 100]),
            committed_consumers: dice.between(1, 2) as usize,
            outlives_power: dice.percent(60),
            state_partitions: dice.between(1, 2) as u64,
            state_segment_bytes: *dice.pick(&[4_000, 20_000]),
            timeout_check_ms: *dice.pick(&[50, 500]),
            load_bytes: *dice.pick(&[1, 500, 5_000]),
            late_percent: *dice.pick(&[0, 3, 15]),
            late_ms: *dice.pick(&[50, 1_000]),
            stalled_percent: *dice.pick(&[0, 2, 10]),
            stalled_ms: *dice.pick(&[20, 600]),
        };
        let mut services = Services::draw(dice);
        (services.members, services.compacts, services.moves) = (0, false, false);
        (services.offsets_outlive_power, services.offsets_retention_ms) = (drawn.outlives_power, None);
        plan.services = Some(services);
        plan.deletes_topics = false;
        (plan.idempotent_producers, plan.plain_producers) = (plan.idempotent_producers.min(1), 0);
        plan.consumers = 1;
        if !drawn.outlives_power {
            plan.troubles.retain(|trouble| !takes_power(*trouble));
            if plan.troubles.is_empty() {
                plan.troubles = vec![*dice.pick(&[Trouble::Kill, Trouble::KillInside])];
            }
        }
        drawn
    }

    pub fn overrides(&self) -> Vec<(String, String)> {
        let rows = [
            ("transaction.state.log.num.partitions", self.state_partitions.to_string()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            (
                "transaction.abort.timed.out.transaction.cleanup.interval.ms",
                self.timeout_check_ms.to_string(),
            ),
        ];
        rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What an operator has set for the transaction log.
    pub fn state_topic_settings(&self) -> Vec<(String, Option<String>)> {
        let mut settings =
            vec![("internal.segment.bytes".to_owned(), Some(self.state_segment_bytes.to_string()))];
        settings.extend(self.flushes());
        settings
    }

    fn flushes(&self) -> Option<(String, Option<String>)> {
        self.outlives_power.then(|| ("flush.messages".to_owned(), Some("1".to_owned())))
    }

    /// A topic for transactions: nothing leaves it.
    pub fn draw_topic(&self, dice: &mut Dice) -> NewTopic {
        let name = format!("t{}", dice.below(TOPIC_NAMES));
        let mut configs: Vec<_> = self.flushes().into_iter().collect();
        let mut set = |key: &str, value: i64| configs.push((key.to_owned(), Some(value.to_string())));
        if dice.percent(70) {
            set("internal.segment.bytes", *dice.pick(&[600, 2_000, 10_000]));
        }
        if dice.percent(25) {
            set("segment.ms", *dice.pick(&[300, 2_000]));
        }
        if dice.percent(30) {
            set("index.interval.bytes", *dice.pick(&[1, 200]));
        }
        let partitions = dice.between(1, 3) as i32;
        NewTopic { name: name.into(), partitions, replication_factor: 1, assignments: Vec::new(), configs }
    }
}

/// Whoever sees a sync fail does not trust the page cache any more: that is as if the power had gone.
fn takes_power(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::LosePower | Trouble::LosePowerInside | Trouble::FailSync | Trouble::FailNames)
}

//! What a seed draws before its run begins: who takes part, how topics look, and what may go wrong. Each run has a few
//! kinds of trouble only: with all of them at once nothing else would ever happen.

mod transactional;

use ottla_core::controller::NewTopic;

pub(crate) use transactional::Transactional;

use crate::Scene;
use crate::dice::Dice;

/// One run's shape.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub machines: usize,
    pub idempotent_producers: usize,
    pub plain_producers: usize,
    pub consumers: usize,
    pub troubles: Vec<Trouble>,
    /// Between two troubles.
    pub trouble_every_ms: i64,
    /// How long a flush takes, usually.
    pub flush_ms_max: i64,
    /// One flush in a hundred takes this long.
    pub slow_flush_ms: i64,
    pub retention_every_ms: i64,
    pub checkpoint_every_ms: i64,
    pub deletes_topics: bool,
    pub short_reads: bool,
    /// `None`: clients and the node alone, [`Scene::Node`].
    pub services: Option<Services>,
    /// `None`: nobody writes in transactions, any scene but [`Scene::Transactions`].
    pub transactional: Option<Transactional>,
}

/// What works on partitions besides clients.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    /// Groups, and how many consumers share them.
    pub groups: u64,
    pub members: usize,
    /// Of the offsets topic.
    offsets_partitions: u64,
    offsets_outlive_power: bool,
    offsets_segment_bytes: u64,
    linger_ms: i64,
    initial_rebalance_delay_ms: i64,
    /// Read at a time while a shard is loaded.
    pub load_bytes: usize,
    /// Of groups that nobody is in. `None`: longer than any run.
    pub offsets_retention_ms: Option<i64>,
    /// There are compacted topics, and a cleaner.
    pub compacts: bool,
    pub clean_every_ms: i64,
    /// In one step of the cleaner.
    pub clean_bytes: u64,
    /// What the cleaner may use to remember keys.
    pub map_bytes: u64,
    /// There are two log directories, and partitions are sent to and fro.
    pub moves: bool,
    pub move_every_ms: i64,
    /// In one step of a move.
    pub move_bytes: usize,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Kill,
    /// Inside whatever is being done, at some operation on the disk.
    KillInside,
    LosePower,
    LosePowerInside,
    StopCleanly,
    FailWrite,
    FailSync,
    /// Creations, truncations, renames, removals, syncs of folders.
    FailNames,
    FillDisk,
    /// The kernel writes back by itself: unsynced is not always lost.
    WriteBack,
    /// All machines at once.
    LoseAllPower,
    Pause,
    CutOneWay,
    /// From everybody else, in both directions.
    Isolate,
    Heal,
}

impl Trouble {
    /// What may happen to a machine that is alone.
    const ALONE: [Trouble; 10] = [
        Trouble::Kill,
        Trouble::KillInside,
        Trouble::LosePower,
        Trouble::LosePowerInside,
        Trouble::StopCleanly,
        Trouble::FailWrite,
        Trouble::FailSync,
        Trouble::FailNames,
        Trouble::FillDisk,
        Trouble::WriteBack,
    ];

    /// What may happen to machines that talk to each other. Their disks do not fail yet.
    const TOGETHER: [Trouble; 8] = [
        Trouble::Kill,
        Trouble::KillInside,
        Trouble::LosePower,
        Trouble::LoseAllPower,
        Trouble::Pause,
        Trouble::CutOneWay,
        Trouble::Isolate,
        Trouble::Heal,
    ];

    /// Each kind with that chance.
    fn draw(from: &[Trouble], percent: u64, dice: &mut Dice) -> Vec<Trouble> {
        from.iter().copied().filter(|_| dice.percent(percent)).collect()
    }

    pub fn draw_together(dice: &mut Dice) -> Vec<Trouble> {
        let some = Trouble::draw(&Trouble::TOGETHER, 40, dice);
        if some.is_empty() { vec![Trouble::Kill] } else { some }
    }
}

impl Plan {
    /// Whether there are compacted topics.
    pub fn compacts(&self) -> bool {
        self.services.as_ref().is_some_and(|services| services.compacts)
    }

    /// Whether there is more than one log directory.
    pub fn moves(&self) -> bool {
        self.services.as_ref().is_some_and(|services| services.moves)
    }

    pub fn draw(scene: Scene, dice: &mut Dice) -> Plan {
        let mut troubles = Trouble::draw(&Trouble::ALONE, 35, dice);
        if troubles.is_empty() {
            troubles.push(*dice.pick(&[Trouble::Kill, Trouble::LosePower]));
        }
        let mut plan = Plan {
            machines: 1,
            idempotent_producers: dice.between(1, 3) as usize,
            plain_producers: dice.between(0, 2) as usize,
            consumers: dice.between(1, 2) as usize,
            troubles,
            trouble_every_ms: *dice.pick(&[200, 600, 2_000]),
            flush_ms_max: *dice.pick(&[1, 5, 40]),
            slow_flush_ms: *dice.pick(&[50, 3_000]),
            retention_every_ms: *dice.pick(&[300, 2_000]),
            checkpoint_every_ms: *dice.pick(&[100, 700, 10_000]),
            deletes_topics: dice.percent(40),
            short_reads: dice.percent(10),
            services: (scene == Scene::Services).then(|| Services::draw(dice)),
            transactional: None,
        };
        if scene == Scene::Transactions {
            plan.transactional = Some(Transactional::draw(&mut plan, dice));
        }
        plan
    }

    /// What the node is started with.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let services = self.services.as_ref().map(Services::overrides);
        let transactional = self.transactional.as_ref().map(Transactional::overrides);
        services.into_iter().chain(transactional).flatten().collect()
    }

    /// Whether the power may go.
    pub fn may_lose_power(&self) -> bool {
        self.transactional.as_ref().is_none_or(|transactional| transactional.outlives_power)
    }

    /// A topic as an admin would ask for it.
    pub fn draw_topic(&self, dice: &mut Dice) -> NewTopic {
        match &self.transactional {
            Some(transactional) => transactional.draw_topic(dice),
            None => draw_topic(dice),
        }
    }
}

impl Services {
    fn draw(dice: &mut Dice) -> Services {
        Services {
            groups: dice.between(1, 2) as u64,
            members: dice.between(2, 5) as usize,
            offsets_partitions: dice.between(1, 2) as u64,
            offsets_outlive_power: dice.percent(60),
            offsets_segment_bytes: *dice.pick(&[4_000, 20_000]),
            linger_ms: *dice.pick(&[0, 5, -1]),
            initial_rebalance_delay_ms: *dice.pick(&[0, 0, 200]),
            load_bytes: *dice.pick(&[1, 500, 5_000]),
            offsets_retention_ms: dice.percent(15).then_some(1_500),
            compacts: dice.percent(70),
            clean_every_ms: *dice.pick(&[20, 200, 1_000]),
            clean_bytes: *dice.pick(&[1, 500, 1 << 20]),
            map_bytes: *dice.pick(&[0, 1 << 20]),
            moves: dice.percent(70),
            move_every_ms: *dice.pick(&[100, 600, 3_000]),
            move_bytes: *dice.pick(&[1, 1_000, 1 << 20]),
        }
    }

    fn overrides(&self) -> Vec<(String, String)> {
        let sweeps_every_ms = if self.offsets_retention_ms.is_some() { 300 } else { 86_400_000 };
        let rows = [
            ("offsets.topic.num.partitions", self.offsets_partitions.to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("log.dirs", self.log_dirs()),
            ("group.coordinator.append.linger.ms", self.linger_ms.to_string()),
            ("group.initial.rebalance.delay.ms", self.initial_rebalance_delay_ms.to_string()),
            ("group.min.session.timeout.ms", "100".to_owned()),
            ("offsets.retention.check.interval.ms", sweeps_every_ms.to_string()),
        ];
        rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn log_dirs(&self) -> String {
        if self.moves { LOG_DIRS.join(",") } else { LOG_DIRS[0].to_owned() }
    }

    /// What an operator has set for the offsets topic.
    pub fn offsets_topic_settings(&self) -> Vec<(String, Option<String>)> {
        let mut settings =
            vec![("internal.segment.bytes".to_owned(), Some(self.offsets_segment_bytes.to_string()))];
        if self.offsets_outlive_power {
            settings.push(("flush.messages".to_owned(), Some("1".to_owned())));
        }
        settings
    }
}

/// Makes a compacted topic of one.
pub(crate) fn compact(topic: &mut NewTopic, dice: &mut Dice) {
    // A segment is not cleaned before it is full.
    topic.configs.retain(|(key, _)| key != "internal.segment.bytes");
    let rows: [(&str, &[&str]); 5] = [
        ("cleanup.policy", &["compact", "compact", "compact", "compact,delete"]),
        ("min.cleanable.dirty.ratio", &["0.0", "0.1", "0.5"]),
        ("min.compaction.lag.ms", &["0", "0", "300", "5000"]),
        ("delete.retention.ms", &["0", "200", "3000", "86400000"]),
        ("internal.segment.bytes", &["600", "2000"]),
    ];
    let drawn = rows.map(|(key, values)| (key.to_owned(), Some(dice.pick(values).to_string())));
    topic.configs.extend(drawn);
}

fn draw_topic(dice: &mut Dice) -> NewTopic {
    let name = format!("t{}", dice.below(TOPIC_NAMES));
    let mut configs = Vec::new();
    let mut set = |key: &str, value: i64| configs.push((key.to_owned(), Some(value.to_string())));
    match dice.below(4) {
        0 | 1 => set("flush.messages", 1),
        2 => set("flush.messages", 10),
        _ => {}
    }
    if dice.percent(70) {
        set("internal.segment.bytes", *dice.pick(&[600, 2_000, 10_000]));
    }
    if dice.percent(25) {
        set("segment.ms", *dice.pick(&[300, 2_000]));
    }
    if dice.percent(20) {
        set("flush.ms", *dice.pick(&[100, 1_000]));
    }
    if dice.percent(25) {
        set("retention.ms", *dice.pick(&[1_000, 5_000]));
    }
    if dice.percent(15) {
        set("retention.bytes", *dice.pick(&[1_000, 8_000]));
    }
    if dice.percent(30) {
        set("file.delete.delay.ms", *dice.pick(&[1, 500]));
    }
    if dice.percent(30) {
        set("index.interval.bytes", *dice.pick(&[1, 200]));
    }
    if dice.percent(25) {
        configs.push(("message.timestamp.type".to_owned(), Some("LogAppendTime".to_owned())));
    }
    let partitions = dice.between(1, 2) as i32;
    NewTopic { name: name.into(), partitions, replication_factor: 1, assignments: Vec::new(), configs }
}

/// Few, so that names come back.
pub(crate) const TOPIC_NAMES: u64 = 3;

/// The log directories of a node. The first one has the metadata log, and is the only one where there is nothing to move.
pub(crate) const LOG_DIRS: [&str; 2] = ["/data", "/more"];

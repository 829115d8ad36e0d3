//! The stage that stories are played on: a shard, a log that it writes to, producers who remember what they were
//! answered, and whoever does the shard's errands.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicName;
use ottla_model::record::{
    FeatureLevelRecord, MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use ottla_model::txn::Partitions;
use ottla_protocol::{LeaderEpoch, ProducerEpoch};
use uuid::Uuid;

use super::super::*;
use super::{Deed, MYSELF};

/// Something that somebody asks. Producers are [`MYSELF`] until the stage puts in who the actor is.
#[derive(Debug)]
pub struct Ask {
    pub who: &'static str,
    pub command: Command,
}

impl Ask {
    pub fn init(mut self, change: impl FnOnce(&mut InitProducerId)) -> Ask {
        if let Command::InitProducerId(init) = &mut self.command {
            change(init);
        }
        self
    }

    /// As somebody else than who the actor is.
    pub fn of_producer(mut self, id: i64, epoch: i16) -> Ask {
        let producer = Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) };
        if let Some(of_command) = self.producer() {
            *of_command = producer;
        }
        self
    }

    pub fn of(mut self, transactional_id: &str) -> Ask {
        let id = Arc::from(transactional_id);
        match &mut self.command {
            Command::InitProducerId(init) => init.transactional_id = id,
            Command::AddPartitions(add) => add.transactional_id = id,
            Command::VerifyPartitions(verify) => verify.transactional_id = id,
            Command::EndTxn(end) => end.transactional_id = id,
            Command::DescribeTransaction { transactional_id } => *transactional_id = id,
            other => panic!("{other:?} is not about a transactional id"),
        }
        self
    }

    pub fn producer(&mut self) -> Option<&mut Producer> {
        match &mut self.command {
            Command::InitProducerId(init) => init.expected.as_mut(),
            Command::AddPartitions(add) => Some(&mut add.producer),
            Command::VerifyPartitions(verify) => Some(&mut verify.producer),
            Command::EndTxn(end) => Some(&mut end.producer),
            _ => None,
        }
    }
}

pub struct Stage {
    pub transactions: Transactions<usize>,
    settings: Arc<Settings>,
    coordinator_epoch: i32,
    image: Arc<Image>,
    /// Who asked, by token; gone once answered.
    waiting: BTreeMap<usize, &'static str>,
    asked: usize,
    now_ms: i64,
    pub actors: BTreeMap<&'static str, Producer>,
    /// Whose answers get lost.
    deaf: Option<&'static str>,
    pub log: Vec<TransactionRecord>,
    fail_next: Option<ErrorCode>,
    /// Writes wait for a command that depends on them, and go out together.
    pub gathers: bool,
    gathered: Vec<(Ticket, Vec<TransactionRecord>)>,
    refuse_ids: Option<ErrorCode>,
    next_id: i64,
    /// Markers that nobody has answered for.
    pub markers: Vec<Markers>,
    seen: Vec<String>,
}

/// The stage's own questions.
const STAGE: usize = 0;

impl Stage {
    pub fn new(settings: Settings, level: TransactionVersion) -> Stage {
        let settings = Arc::new(settings);
        let mut stage = Stage {
            transactions: Transactions::new(settings.clone(), 0),
            settings,
            coordinator_epoch: 0,
            image: Arc::new(image(level)),
            waiting: BTreeMap::new(),
            asked: STAGE,
            now_ms: 0,
            actors: BTreeMap::new(),
            deaf: None,
            log: Vec::new(),
            fail_next: None,
            gathers: false,
            gathered: Vec::new(),
            refuse_ids: None,
            next_id: 1_000,
            markers: Vec::new(),
            seen: Vec::new(),
        };
        stage.reload(0);
        stage
    }

    pub fn perform(&mut self, at_ms: i64, deed: Deed) -> Vec<String> {
        while let Some(due_ms) = self.transactions.next_deadline_ms().filter(|due_ms| *due_ms <= at_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.step(self.now_ms, Input::Tick);
        }
        self.now_ms = at_ms;
        match deed {
            Deed::Ask(ask) => self.ask(at_ms, ask),
            Deed::Lose(ask) => {
                self.deaf = Some(ask.who);
                self.ask(at_ms, ask);
                self.deaf = None;
            }
            Deed::Wait => {}
            Deed::Mark(partitions) => {
                for (partition, error) in partitions {
                    self.mark_newest(at_ms, *partition, *error);
                }
            }
            Deed::FailNext(error) => self.fail_next = Some(error),
            Deed::RefuseIds(error) => self.refuse_ids = Some(error),
            Deed::DeleteTopic(name) => self.delete_topic(at_ms, name),
            Deed::Reload => {
                self.step(at_ms, Input::Resign(ErrorCode::NotCoordinator));
                self.reload(at_ms);
            }
            Deed::Resign(error) => self.step(at_ms, Input::Resign(error)),
        }
        std::mem::take(&mut self.seen)
    }

    /// Another shard, that has read all that was written.
    pub fn reload(&mut self, now_ms: i64) {
        self.coordinator_epoch += 1;
        self.markers.clear();
        self.transactions = self.replayed();
        self.transactions.loaded(now_ms);
        self.step(now_ms, Input::Image(self.image.clone()));
    }

    pub fn replayed(&self) -> Transactions<usize> {
        let mut transactions = Transactions::new(self.settings.clone(), self.coordinator_epoch);
        for (offset, record) in (0..).zip(&self.log) {
            transactions.replay(offset, None, record);
        }
        transactions
    }

    fn ask(&mut self, at_ms: i64, mut ask: Ask) {
        let who = ask.who;
        if let Some(producer) = ask.producer().filter(|producer| **producer == MYSELF) {
            *producer = self.actors.get(who).copied().unwrap_or(MYSELF);
        }
        self.asked += 1;
        self.waiting.insert(self.asked, who);
        self.step(at_ms, Input::Ask { token: self.asked, command: ask.command });
    }

    /// The leader of a partition of topic `t` answers for the newest marker that it was sent.
    fn mark_newest(&mut self, at_ms: i64, partition: i32, error: ErrorCode) {
        let topic: TopicName = Arc::from("t");
        let has =
            |markers: &&Markers| markers.partitions.get(&topic).is_some_and(|ids| ids.contains(&partition));
        let markers = self.markers.iter().rev().find(has).expect("a marker was sent").clone();
        self.mark(at_ms, &markers, &topic, partition, error);
    }

    /// A leader answers for one of the markers that are under way.
    pub fn mark(&mut self, at_ms: i64, of: &Markers, topic: &TopicName, partition: i32, error: ErrorCode) {
        let place = self.markers.iter().position(|markers| markers == of).expect("the marker was sent");
        let markers = &mut self.markers[place];
        markers.partitions.get_mut(topic).expect("the marker was sent").remove(&partition);
        markers.partitions.retain(|_, ids| !ids.is_empty());
        if markers.partitions.is_empty() {
            self.markers.remove(place);
        }
        let written = MarkersWritten {
            transactional_id: of.transactional_id.clone(),
            prepared_at: of.prepared_at,
            results: vec![(topic.clone(), partition, error)],
        };
        self.step(at_ms, Input::Ask { token: STAGE, command: Command::MarkersWritten(written) });
    }

    /// From now on nothing fails.
    pub fn heal(&mut self, now_ms: i64) {
        self.fail_next = None;
        self.refuse_ids = None;
        self.settle(now_ms);
    }

    fn delete_topic(&mut self, at_ms: i64, name: &str) {
        let topic_id = self.image.topic(name).expect("there is such a topic").id;
        let record = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id });
        let next = self.image.apply(self.image.offset + 1, LeaderEpoch(1), &record).expect("a topic goes");
        self.image = Arc::new(next);
        self.step(at_ms, Input::Image(self.image.clone()));
    }

    /// Nobody may be left without an answer.
    pub fn close(&mut self, story: &str) {
        self.step(0, Input::Resign(ErrorCode::NotCoordinator));
        assert!(self.waiting.is_empty(), "{story}: without an answer: {:?}", self.waiting);
    }

    fn step(&mut self, now_ms: i64, input: Input<usize>) {
        match &input {
            Input::Ask { command, .. } if self.transactions.can_take(command) => {}
            Input::Resign(_) => self.gathered.clear(),
            _ => self.settle(now_ms),
        }
        self.feed(now_ms, input);
        if !self.gathers {
            self.settle(now_ms);
        }
    }

    fn feed(&mut self, now_ms: i64, input: Input<usize>) {
        let mut effects = Vec::new();
        self.transactions.step(now_ms, input, &mut effects);
        let mut allocations = Vec::new();
        for effect in effects {
            match effect {
                Effect::Note(note) => assert!(!note.to_string().is_empty()),
                Effect::Reply { token: STAGE, reply } => assert_eq!(reply, Reply::Noted(ErrorCode::None)),
                Effect::Reply { token, reply } => self.hear(token, reply),
                Effect::Write { ticket, records, transaction } => {
                    assert_eq!(transaction, None);
                    self.gathered.push((ticket, records));
                }
                Effect::Errand(Errand::AllocateProducerId { transactional_id }) => {
                    allocations.push(transactional_id);
                }
                Effect::Errand(Errand::WriteMarkers(markers)) => {
                    assert_eq!(markers.coordinator_epoch, self.coordinator_epoch);
                    self.seen.push(told_markers(&markers));
                    self.markers.push(markers);
                }
            }
        }
        for transactional_id in allocations {
            self.allocate(now_ms, transactional_id);
        }
    }

    fn allocate(&mut self, now_ms: i64, transactional_id: TransactionalId) {
        let result = match self.refuse_ids {
            Some(error) => Err(error),
            None => Ok(ProducerId(self.next_id)),
        };
        self.next_id += 1;
        let command = Command::ProducerIdAllocated { transactional_id, result };
        assert!(self.transactions.can_take(&command), "nothing is written for who waits for an id");
        self.feed(now_ms, Input::Ask { token: STAGE, command });
    }

    /// Writes what was gathered, all of it or nothing, and what follows from that.
    pub fn settle(&mut self, now_ms: i64) {
        while !self.gathered.is_empty() {
            let batch = std::mem::take(&mut self.gathered);
            if batch.len() > 1 {
                self.seen.push(format!("{} writes at once", batch.len()));
            }
            let refused = self.fail_next.take();
            let mut outcomes = Vec::new();
            for (ticket, records) in batch {
                outcomes.push((ticket, self.write(records, refused)));
            }
            for (ticket, result) in outcomes {
                self.feed(now_ms, Input::Written { ticket, result });
            }
        }
    }

    fn write(
        &mut self,
        records: Vec<TransactionRecord>,
        refused: Option<ErrorCode>,
    ) -> Result<Offset, ErrorCode> {
        if let Some(error) = refused {
            self.seen.push(format!("no log: {}", error.name()));
            return Err(error);
        }
        let first = self.log.len() as i64;
        for record in records {
            let (key, value) = record.to_key_value();
            let read = TransactionRecord::from_key_value(&key, value.as_ref()).unwrap().unwrap();
            self.seen.push(told_record(&read));
            // What the log cannot hold is lost when another coordinator takes over.
            self.log.push(read);
        }
        Ok(first)
    }

    fn hear(&mut self, token: usize, reply: Reply) {
        let who = self.waiting.remove(&token).expect("each is answered once, if it asked");
        if self.deaf != Some(who)
            && let Reply::ProducerInitialized(Ok(producer)) | Reply::TransactionEnds(Ok(Some(producer))) =
                reply
        {
            self.actors.insert(who, producer);
        }
        self.seen.push(format!("{who}{}", told(&reply)));
    }
}

/// Topics `t` and `u` of four partitions each.
fn image(level: TransactionVersion) -> Image {
    let level = FeatureLevelRecord { name: TRANSACTION_VERSION.to_string(), feature_level: level.0 };
    let mut records = vec![MetadataRecord::FeatureLevel(level)];
    for (name, bits) in [("t", 101), ("u", 102)] {
        let topic_id = Uuid::from_u128(bits);
        records.push(MetadataRecord::Topic(TopicRecord { name: name.to_string(), topic_id }));
        for partition_id in 0..4 {
            let record = PartitionRecord { partition_id, topic_id, ..Default::default() };
            records.push(MetadataRecord::Partition(record));
        }
    }
    let mut image = Image::empty();
    for (offset, record) in (0..).zip(&records) {
        image.apply_in_place(offset, LeaderEpoch(1), record).expect("records of a cluster");
    }
    image
}

fn told_record(record: &TransactionRecord) -> String {
    let id = &record.transactional_id;
    let Some(value) = &record.value else { return format!("log {id} gone") };
    let next = match value.next_producer_id.is_some() {
        true => format!(" then {}", value.next_producer_id),
        false => String::new(),
    };
    let partitions = told_partitions(&value.partitions);
    format!("log {id} {} {}/{}{next}{partitions}", value.state, value.producer_id, value.producer_epoch)
}

fn told_markers(markers: &Markers) -> String {
    let result = match markers.result {
        TransactionResult::Commit => "commit",
        TransactionResult::Abort => "abort",
    };
    format!("markers {result} {}{}", told_producer(markers.producer), told_partitions(&markers.partitions))
}

fn told_partitions(partitions: &Partitions) -> String {
    let of_topic = |(topic, ids): (&TopicName, &BTreeSet<i32>)| {
        ids.iter().map(|id| format!(" {topic}-{id}")).collect::<String>()
    };
    partitions.iter().map(of_topic).collect()
}

fn told_producer(producer: Producer) -> String {
    format!("{}/{}", producer.id, producer.epoch)
}

fn told(reply: &Reply) -> String {
    let verdict = |error: ErrorCode| match error {
        ErrorCode::None => " ok".to_string(),
        error => format!(": {}", error.name()),
    };
    match reply {
        Reply::ProducerInitialized(Ok(producer)) => format!(" is {}", told_producer(*producer)),
        Reply::TransactionEnds(Ok(None)) => " ok".to_string(),
        Reply::TransactionEnds(Ok(Some(producer))) => format!(" goes on as {}", told_producer(*producer)),
        Reply::PartitionsAdded(error) | Reply::Noted(error) => verdict(*error),
        Reply::PartitionsVerified(verified) => verified.iter().map(|(.., error)| verdict(*error)).collect(),
        Reply::TransactionsListed(Ok(listed)) => {
            let one = |one: &ListedTransaction| format!(" {} {}", one.transactional_id, one.state);
            listed.iter().map(one).collect()
        }
        Reply::TransactionDescribed(Ok(one)) => {
            let (producer, partitions) = (told_producer(one.producer), told_partitions(&one.partitions));
            let start = one.start_ms.map_or(String::new(), |ms| format!(" since {ms}"));
            format!(" {} {producer}{start} within {}{partitions}", one.state, one.timeout_ms)
        }
        Reply::ProducerInitialized(Err(error))
        | Reply::TransactionEnds(Err(error))
        | Reply::TransactionsListed(Err(error))
        | Reply::TransactionDescribed(Err(error)) => verdict(*error),
    }
}

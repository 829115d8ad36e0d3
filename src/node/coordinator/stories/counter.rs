//! A coordinator's machine that counts: as little as a machine can be that still has commands, records, transactions, a
//! timer and a use for the metadata. It shows what a [`Shard`] may take for granted of any machine.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use ottla_core::coordinator::Ticket;

use super::*;

#[derive(Clone, Debug)]
pub enum Command {
    /// Adds to a counter, for a producer only once its transaction is committed.
    Add {
        name: &'static str,
        by: i64,
        transaction: Option<Producer>,
    },
    /// Adds one at that time.
    AddAt {
        name: &'static str,
        at_ms: i64,
    },
    Read {
        name: &'static str,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done(ErrorCode),
    /// The count, and the offset of the metadata that was known then.
    Count(Result<(i64, Offset), ErrorCode>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    name: String,
    by: i64,
}

pub struct Counter {
    counts: BTreeMap<String, i64>,
    pending: BTreeMap<ProducerId, Vec<Addition>>,
    alarms: BTreeSet<(i64, &'static str)>,
    writes: VecDeque<(Ticket, Addition, Option<ProducerId>, Option<u32>)>,
    tickets: u64,
    metadata: Offset,
    /// Where in the log each addition lies that was applied.
    pub applied_at: Vec<Offset>,
}

impl Counter {
    pub fn new() -> Counter {
        Counter {
            counts: BTreeMap::new(),
            pending: BTreeMap::new(),
            alarms: BTreeSet::new(),
            writes: VecDeque::new(),
            tickets: 0,
            metadata: -1,
            applied_at: Vec::new(),
        }
    }

    fn write(
        &mut self,
        (name, by): (&str, i64),
        transaction: Option<Producer>,
        token: Option<u32>,
    ) -> Effect<u32, Reply, Addition> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let addition = Addition { name: name.to_owned(), by };
        self.writes.push_back((ticket, addition.clone(), transaction.map(|producer| producer.id), token));
        Effect::Write { ticket, records: vec![addition], transaction: transaction.map(Into::into) }
    }

    fn ask(&mut self, token: u32, command: Command) -> Effect<u32, Reply, Addition> {
        match command {
            Command::Add { name, by, transaction } => self.write((name, by), transaction, Some(token)),
            Command::AddAt { name, at_ms } => {
                self.alarms.insert((at_ms, name));
                Effect::Reply { token, reply: Reply::Done(ErrorCode::None) }
            }
            Command::Read { name } => {
                let count = self.counts.get(name).copied().unwrap_or(0);
                Effect::Reply { token, reply: Reply::Count(Ok((count, self.metadata))) }
            }
        }
    }
}

impl Machine for Counter {
    type Token = u32;
    type Command = Command;
    type Reply = Reply;
    type Record = Addition;
    type Errand = Infallible;

    fn replay(&mut self, offset: Offset, producer: Option<ProducerId>, addition: &Addition) {
        self.applied_at.push(offset);
        match producer {
            Some(producer) => self.pending.entry(producer).or_default().push(addition.clone()),
            None => *self.counts.entry(addition.name.clone()).or_default() += addition.by,
        }
    }

    fn end_transaction(&mut self, producer: ProducerId, result: TransactionResult) {
        let additions = self.pending.remove(&producer).unwrap_or_default();
        if result == TransactionResult::Commit {
            for addition in additions {
                *self.counts.entry(addition.name).or_default() += addition.by;
            }
        }
    }

    fn loaded(&mut self, _now_ms: i64) {}

    fn step(&mut self, now_ms: i64, input: Asked<u32, Command>, out: &mut Vec<Effect<u32, Reply, Addition>>) {
        match input {
            Asked::Ask { token, command } => {
                assert!(self.can_take(&command));
                let effect = self.ask(token, command);
                out.push(effect);
            }
            Asked::Written { ticket, result } => {
                let (of, addition, producer, token) = self.writes.pop_front().expect("a write is under way");
                assert_eq!(ticket, of);
                if let Ok(offset) = result {
                    self.replay(offset, producer, &addition);
                }
                let reply = Reply::Done(result.err().unwrap_or(ErrorCode::None));
                out.extend(token.map(|token| Effect::Reply { token, reply }));
            }
            Asked::Image(image) => self.metadata = image.offset,
            Asked::Tick => {
                assert!(self.writes.is_empty());
                while self.next_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms)
                    && let Some((_, name)) = self.alarms.pop_first()
                {
                    let effect = self.write((name, 1), None, None);
                    out.push(effect);
                }
            }
            Asked::Resign(code) => {
                let tokens = self.writes.drain(..).filter_map(|(.., token)| token);
                out.extend(tokens.map(|token| Effect::Reply { token, reply: Reply::Done(code) }));
            }
        }
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.alarms.first().map(|(at_ms, _)| *at_ms)
    }

    /// Additions do not ask how much there is.
    fn can_take(&self, command: &Command) -> bool {
        match command {
            Command::Read { name } => self.writes.iter().all(|(_, addition, ..)| addition.name != **name),
            Command::Add { .. } | Command::AddAt { .. } => true,
        }
    }

    fn outlasts_loading(_command: &Command) -> bool {
        false
    }

    fn refused(command: &Command, error: ErrorCode) -> Reply {
        match command {
            Command::Read { .. } => Reply::Count(Err(error)),
            Command::Add { .. } | Command::AddAt { .. } => Reply::Done(error),
        }
    }

    fn withdrawn(reply: Reply, error: ErrorCode) -> Reply {
        match reply {
            Reply::Done(ErrorCode::None) => Reply::Done(error),
            Reply::Count(Ok(_)) => Reply::Count(Err(error)),
            failed => failed,
        }
    }

    fn transaction_ended(outcome: ErrorCode) -> Reply {
        Reply::Done(outcome)
    }
}

impl Record for Addition {
    type Unreadable = Infallible;

    fn to_key_value(&self) -> (Bytes, Option<Bytes>) {
        let by = self.by.to_be_bytes().to_vec();
        (Bytes::from(self.name.clone()), Some(by.into()))
    }

    fn from_key_value(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Addition>, Infallible> {
        let name = String::from_utf8_lossy(key).into_owned();
        let by = value.and_then(|by| by[..].try_into().ok()).map(i64::from_be_bytes);
        Ok(by.map(|by| Addition { name, by }))
    }
}

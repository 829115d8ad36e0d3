//! The cleaner of compacted topics, as the broker's thread works: it finds the log that has most to clean, cleans it beside
//! its owner, and rests. It must never decide which log that is: `node::cleaning` does.

use std::borrow::Cow;
use std::sync::Arc;

use ottla_log::log::{Cleaned, Cleaning, Dirt, LogReader, OffsetMap, Step};
use ottla_model::config::TopicConfig;
use ottla_node::cleaning::{Claims, Search};
use ottla_node::lane::Input;

use super::{Key, Node, Said, Task};
use crate::mutation::Mutation;

/// One thread's work.
#[derive(Default)]
pub(super) struct Cleaner {
    claims: Claims,
    work: Option<Work>,
}

struct Work {
    key: Key,
    /// Of the log that is cleaned. The partition may have moved since.
    reader: Arc<LogReader>,
    cleaning: Cleaning,
    /// Its last output is with the log's owner.
    waits: bool,
}

impl Node {
    pub(super) fn clean(&mut self, now_ms: i64, said: &mut Vec<Said>) {
        let Some(works) = &mut self.works else { return };
        let rests = match works.cleaner.work.take() {
            None => {
                let dirtiest = self.dirtiest(now_ms, said);
                dirtiest.is_none_or(|(key, dirt)| !self.begin_cleaning(now_ms, key, &dirt, said))
            }
            Some(work) => {
                if self.go_on_cleaning(work, said) {
                    return;
                }
                false
            }
        };
        let pause_ms = self.works.as_ref().map_or(0, |works| works.plan.clean_every_ms);
        self.later(Task::Clean, if rests { pause_ms } else { PAUSE_MS }, said);
    }

    fn dirtiest(&mut self, now_ms: i64, said: &mut Vec<Said>) -> Option<(Key, Dirt)> {
        let claims = &mut self.works.as_mut()?.cleaner.claims;
        let mut search = Search::begin();
        for (key, partition) in &self.partitions {
            let Some(log) = partition.log().filter(|_| !claims.skips(*key)) else { continue };
            let checkpoint = self.storage.cleaned(log.dir(), &partition.id);
            let config = as_cleaned(self.mutation, &partition.config);
            if let Err(error) = search.look(now_ms, *key, &partition.reader, &config, checkpoint) {
                claims.give_up(*key);
                said.push(Said::Offline(format!("cannot tell what to compact of {}: {error}", partition.id)));
            }
        }
        for (key, correct) in search.corrections {
            self.set_cleaned(key, correct);
        }
        search.dirtiest
    }

    // Whether there is something to clean.
    fn begin_cleaning(&mut self, now_ms: i64, key: Key, dirt: &Dirt, said: &mut Vec<Said>) -> bool {
        let (Some(works), Some(partition)) = (&mut self.works, self.partitions.get(&key)) else {
            return false;
        };
        let map = OffsetMap::new(works.plan.map_bytes, 0.9, works.dice.number());
        let cleaner = &mut works.cleaner;
        let Some(log) = partition.log().filter(|_| cleaner.claims.begin(key)) else { return false };
        let leaps = self.mutation == Some(Mutation::CleanWithALeapingClock);
        let leap_ms = if leaps { works.dice.between(0, 2) * DAY_MS } else { 0 };
        match log.begin_cleaning(dirt, map, now_ms + leap_ms) {
            Ok(Some(cleaning)) => {
                let reader = partition.reader.clone();
                cleaner.work = Some(Work { key, reader, cleaning, waits: false });
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                cleaner.claims.give_up(key);
                said.push(Said::Offline(format!("cannot compact {}: {error}", partition.id)));
            }
        }
        cleaner.claims.ended(key);
        false
    }

    // Whether it waits for the log's owner.
    fn go_on_cleaning(&mut self, mut work: Work, said: &mut Vec<Said>) -> bool {
        let (key, bytes) = (work.key, self.works.as_ref().map_or(0, |works| works.plan.clean_bytes));
        match work.cleaning.step(bytes) {
            Ok(Step::Working { .. }) => self.keep(work),
            Ok(Step::Swap(swap)) => {
                work.waits = true;
                self.keep(work);
                self.submit(key, Input::SwapCleaned { token: (), swap }, said);
                return self.partitions.contains_key(&key);
            }
            Ok(Step::Done(done)) => {
                self.finish_cleaning(key, &done);
                self.cleaned(key);
            }
            Err(error) => {
                let here = self.partitions.get(&key);
                let here = here.filter(|here| Arc::ptr_eq(&here.reader, &work.reader));
                let outdated = work.cleaning.is_outdated();
                work.cleaning.abandon();
                if let Some(here) = here.filter(|_| !outdated) {
                    said.push(Said::Offline(format!("cannot compact {}: {error}", here.id)));
                    self.works.iter_mut().for_each(|works| works.cleaner.claims.give_up(key));
                }
                self.cleaned(key);
            }
        }
        false
    }

    fn keep(&mut self, work: Work) {
        if let Some(works) = &mut self.works {
            works.cleaner.work = Some(work);
        }
    }

    fn cleaned(&mut self, key: Key) {
        if let Some(works) = &mut self.works {
            works.cleaner.claims.ended(key);
        }
    }

    fn finish_cleaning(&mut self, key: Key, done: &Cleaned) {
        if self.set_cleaned(key, done.up_to)
            && let Some(partition) = self.partitions.get(&key)
        {
            partition.reader.forget_cut(done.lowest_cut);
        }
    }

    fn set_cleaned(&mut self, key: Key, up_to: i64) -> bool {
        let Some(partition) = self.partitions.get(&key) else { return false };
        let Some(log) = partition.log() else { return false };
        self.storage.set_cleaned(log.dir(), &partition.id, up_to)
    }

    /// The owner has taken an output, or has not.
    pub(super) fn swapped(&mut self, key: Key, outcome: Result<(), String>, said: &mut Vec<Said>) {
        let Some(works) = &mut self.works else { return };
        let waited = works.cleaner.work.take_if(|work| work.waits && work.key == key);
        let Some(mut work) = waited else { return };
        match outcome {
            Ok(()) => {
                work.waits = false;
                self.keep(work);
                said.push(Said::Rearranged(key));
            }
            Err(_) => {
                work.cleaning.abandon();
                self.cleaned(key);
            }
        }
        self.later(Task::Clean, PAUSE_MS, said);
    }
}

fn as_cleaned(mutation: Option<Mutation>, config: &TopicConfig) -> Cow<'_, TopicConfig> {
    match mutation {
        Some(Mutation::IgnoreCompactionLag) => {
            Cow::Owned(TopicConfig { min_compaction_lag_ms: 0, ..config.clone() })
        }
        _ => Cow::Borrowed(config),
    }
}

/// Between two steps.
const PAUSE_MS: i64 = 4;
const DAY_MS: i64 = 24 * 3_600_000;

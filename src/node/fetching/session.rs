//! The fetcher's side of a fetch session (KIP-227): what the leader was told, and what it has to be told next. It must never
//! know why a partition is fetched from somewhere, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use ottla_core::session::{INITIAL_EPOCH, next_epoch};

use super::{Place, Plan};
use crate::replicas::Key;

/// The session in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFields {
    pub id: i32,
    pub epoch: i32,
}

#[derive(Debug)]
pub(super) struct Session {
    fields: SessionFields,
    /// What is to be fetched.
    wanted: BTreeMap<Key, Place>,
    /// What the leader was told to fetch.
    told: BTreeMap<Key, Place>,
    /// Where the two differ.
    news: BTreeSet<Key>,
    /// Behind which partition a request that names all of them begins, so that each is the first one in turn.
    last_first: Option<Key>,
}

impl Default for Session {
    fn default() -> Session {
        Session {
            fields: SessionFields { id: 0, epoch: INITIAL_EPOCH },
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            news: BTreeSet::new(),
            last_first: None,
        }
    }
}

impl Session {
    pub fn fetch(&mut self, key: Key, place: Place) {
        self.wanted.insert(key, place);
        self.compare(key);
    }

    pub fn leave(&mut self, key: Key) {
        self.wanted.remove(&key);
        self.compare(key);
    }

    fn compare(&mut self, key: Key) {
        match self.wanted.get(&key) == self.told.get(&key) {
            true => self.news.remove(&key),
            false => self.news.insert(key),
        };
    }

    pub fn fetches_something(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether the last request asked for a new session.
    pub fn is_new(&self) -> bool {
        self.fields.epoch == INITIAL_EPOCH
    }

    /// The next request. The leader counts as told from now on.
    pub fn plan(&mut self) -> Plan {
        if self.is_new() {
            let first = self.last_first.map(|last| self.wanted.range(last..).skip(1));
            let behind: Vec<_> = first.into_iter().flatten().map(|(key, place)| (*key, *place)).collect();
            let before = self.wanted.iter().map(|(key, place)| (*key, *place));
            let before: Vec<_> = before.take(self.wanted.len() - behind.len()).collect();
            let named = [behind, before].concat();
            self.last_first = named.first().map(|(key, _)| *key);
            self.told = self.wanted.clone();
            self.news.clear();
            return Plan { session: self.fields, named, forgotten: Vec::new() };
        }
        let (mut named, mut forgotten) = (Vec::new(), Vec::new());
        for key in std::mem::take(&mut self.news) {
            match self.wanted.get(&key) {
                Some(place) => {
                    named.push((key, *place));
                    self.told.insert(key, *place);
                }
                None => {
                    forgotten.push(key);
                    self.told.remove(&key);
                }
            }
        }
        Plan { session: self.fields, named, forgotten }
    }

    /// From where the leader was asked for a partition.
    pub fn asked(&self, key: Key) -> Option<Place> {
        self.told.get(&key).copied()
    }

    /// The last request was answered. 0: the leader keeps no session for it.
    pub fn answered(&mut self, id: i32) {
        match id {
            0 => self.reset(),
            id if self.is_new() => self.fields = SessionFields { id, epoch: next_epoch(INITIAL_EPOCH) },
            _ => self.fields.epoch = next_epoch(self.fields.epoch),
        }
    }

    /// The next request names everything and asks for a new session, in place of this one.
    pub fn reset(&mut self) {
        self.fields.epoch = INITIAL_EPOCH;
    }
}

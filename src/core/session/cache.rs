//! The cache of fetch sessions: which fetcher gets a slot, which loses it, and the steps of one request.

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;

use super::{
    Context, FINAL_EPOCH, FetchKey, INITIAL_EPOCH, PartitionAnswer, Position, Session, SessionRequest,
    next_epoch,
};

/// How many sessions there may be, and for how long an unused session keeps its slot against new ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `max.incremental.fetch.session.cache.slots`
    pub slots: usize,
    /// Kafka's MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS
    pub eviction_ms: i64,
}

/// Every fetch session of a broker. Each has a companion, which lives as long as its session.
#[derive(Debug)]
pub struct Sessions<C> {
    limits: Limits,
    sessions: BTreeMap<i32, (Session, C)>,
}

impl<C> Sessions<C> {
    pub fn new(limits: Limits) -> Sessions<C> {
        Sessions { limits, sessions: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Begins a request. `named` are the partitions that it lists, `forgotten` those that it removes, `by_id` says
    /// whether it names topics by id. For an incremental request, they are merged into its session when this returns.
    pub fn begin(
        &mut self,
        request: SessionRequest,
        by_id: bool,
        named: impl IntoIterator<Item = (FetchKey, Position)>,
        forgotten: impl IntoIterator<Item = FetchKey>,
        now_ms: i64,
    ) -> Context {
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            self.sessions.remove(&request.id);
            return if request.epoch == FINAL_EPOCH { Context::Sessionless } else { Context::Full };
        }
        let Some((session, _)) = self.sessions.get_mut(&request.id) else {
            return Context::Refused(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != request.epoch {
            return Context::Refused(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Context::Refused(ErrorCode::FetchSessionTopicIdError);
        }
        for (key, position) in named {
            session.follow(key, position);
        }
        for key in forgotten {
            session.forget(&key);
        }
        if session.partitions.is_empty() {
            self.sessions.remove(&request.id);
            return Context::Sessionless;
        }
        session.epoch = next_epoch(session.epoch);
        session.used_ms = now_ms;
        Context::Incremental { id: request.id }
    }

    /// The partitions of a session in the order in which they are served.
    pub fn partitions(&self, id: i32) -> Vec<(FetchKey, Position)> {
        let Some((session, _)) = self.sessions.get(&id) else { return Vec::new() };
        session.order.values().map(|key| (key.clone(), session.partitions[key].position)).collect()
    }

    /// The same for some of them. Keys that are not in the session are passed over.
    pub fn some_partitions(
        &self,
        id: i32,
        keys: impl IntoIterator<Item = FetchKey>,
    ) -> Vec<(FetchKey, Position)> {
        let Some((session, _)) = self.sessions.get(&id) else { return Vec::new() };
        let known = keys.into_iter().filter_map(|key| {
            let followed = session.partitions.get(&key)?;
            Some((followed.turn, (key, followed.position)))
        });
        BTreeMap::from_iter(known).into_values().collect()
    }

    pub fn companion(&self, id: i32) -> Option<&C> {
        self.sessions.get(&id).map(|(_, companion)| companion)
    }

    /// Ends a full request: creates a session for `served`, if there is a slot. Returns its id; 0: there is none. `id` is
    /// a random positive number. If it is in use, the caller draws another one.
    pub fn create(
        &mut self,
        id: i32,
        by_id: bool,
        served: impl IntoIterator<Item = (FetchKey, Position, PartitionAnswer)>,
        companion: C,
        now_ms: i64,
    ) -> i32 {
        let mut session = Session::new(by_id, now_ms);
        for (key, position, told) in served {
            session.follow(key.clone(), position);
            if let Some(followed) = session.partitions.get_mut(&key) {
                followed.worth_telling(&told);
            }
        }
        let free = !session.partitions.is_empty() && id > 0 && !self.sessions.contains_key(&id);
        if !free || !self.make_room(session.partitions.len(), now_ms) {
            return 0;
        }
        self.sessions.insert(id, (session, companion));
        id
    }

    /// Ends an incremental request: for each of `answers`, in order, whether the response must include it. If another
    /// connection has closed the session or advanced its epoch in the meantime, the whole request fails with that error.
    pub fn finish(
        &mut self,
        request: SessionRequest,
        answers: &[(FetchKey, PartitionAnswer)],
    ) -> Result<Vec<bool>, ErrorCode> {
        let Some((session, _)) = self.sessions.get_mut(&request.id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != next_epoch(request.epoch) {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let mut mention = Vec::with_capacity(answers.len());
        for (key, told) in answers {
            let tell = session.partitions.get_mut(key).is_some_and(|f| f.worth_telling(told));
            if tell && told.records {
                session.requeue(key);
            }
            mention.push(tell);
        }
        Ok(mention)
    }

    // Finds a free slot, or takes the one of the session that was unused for longest, or of a smaller one that is old
    // enough.
    fn make_room(&mut self, size: usize, now_ms: i64) -> bool {
        if self.sessions.len() < self.limits.slots {
            return true;
        }
        let Some((&stalest, (session, _))) = self.sessions.iter().min_by_key(|(_, (s, _))| s.used_ms) else {
            return false;
        };
        if now_ms - session.used_ms > self.limits.eviction_ms {
            self.sessions.remove(&stalest);
            return true;
        }
        let smallest = self.sessions.iter().min_by_key(|(_, (s, _))| (s.partitions.len(), s.created_ms));
        let evict = smallest.and_then(|(&id, (s, _))| {
            let old = now_ms - s.created_ms > self.limits.eviction_ms;
            (old && s.partitions.len() < size).then_some(id)
        });
        evict.is_some_and(|id| self.sessions.remove(&id).is_some())
    }
}

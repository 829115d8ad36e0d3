//! What the active controller knows of the brokers besides the metadata: when it last heard of each, how far each has
//! come (KIP-631), and which directories have no room. It is in memory alone, so a controller that becomes active
//! begins anew: every broker that serves gets the time of a whole session to be heard of. It must never look at a clock.

use std::collections::BTreeMap;

use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::Offset;

use super::Heartbeat;

/// The sessions of all brokers.
#[derive(Debug)]
pub struct Sessions {
    timeout_ms: i64,
    sessions: BTreeMap<NodeId, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    epoch: BrokerEpoch,
    /// The session ends `broker.session.timeout.ms` later.
    since_ms: i64,
    /// Whether this controller has heard of the broker. Otherwise it only takes over from another one.
    heard: bool,
    /// Up to where the broker has the metadata, as it said; -1: it has not said so.
    metadata_offset: Offset,
    /// The broker shuts down: what its leaving has changed ends at this offset.
    leaving_at: Option<Offset>,
    /// When the broker was looked for last, since it was last heard of.
    looked_for_ms: Option<i64>,
    /// The directories that have no room, as the broker said last.
    full: Vec<DirectoryId>,
}

impl Sessions {
    /// None so far. `timeout_ms` is `broker.session.timeout.ms`.
    pub fn new(timeout_ms: i64) -> Sessions {
        Sessions { timeout_ms, sessions: BTreeMap::new() }
    }

    /// This controller becomes active: every broker that is not fenced has a session from now on.
    pub fn begin(&mut self, image: &Image, now_ms: i64) {
        let serving = image.brokers().filter(|broker| !broker.fenced);
        self.sessions = serving.map(|broker| (broker.id, Session::new(broker.epoch, now_ms))).collect();
    }

    /// Whether the broker has already said something that comes after this heartbeat: it knows more of the metadata as time goes by. A
    /// request that was given up may still arrive.
    pub(super) fn is_overtaken(&self, beat: &Heartbeat) -> bool {
        let session = self.sessions.get(&beat.broker).filter(|session| session.epoch == beat.epoch);
        session.is_some_and(|session| session.metadata_offset > beat.metadata_offset)
    }

    /// A heartbeat has come. One that was overtaken still shows that the broker lives.
    pub fn heard(&mut self, beat: &Heartbeat, now_ms: i64) {
        if self.is_overtaken(beat) {
            let session = self.sessions.get_mut(&beat.broker);
            return session.into_iter().for_each(|session| session.since_ms = now_ms);
        }
        let before = self.sessions.get(&beat.broker).filter(|session| session.epoch == beat.epoch);
        let session = Session {
            heard: true,
            metadata_offset: beat.metadata_offset,
            leaving_at: before.and_then(|session| session.leaving_at),
            full: beat.full.clone(),
            ..Session::new(beat.epoch, now_ms)
        };
        self.sessions.insert(beat.broker, session);
    }

    /// The broker shuts down, and the metadata up to `offset` says who leads instead of it. Only the first offset counts.
    pub fn leaves(&mut self, broker: NodeId, offset: Offset) {
        if let Some(session) = self.sessions.get_mut(&broker) {
            session.leaving_at.get_or_insert(offset);
        }
    }

    /// The broker has registered under this epoch: what was heard of the process before means nothing any more.
    pub fn forget_before(&mut self, broker: NodeId, epoch: BrokerEpoch) {
        if self.sessions.get(&broker).is_some_and(|session| session.epoch != epoch) {
            self.sessions.remove(&broker);
        }
    }

    /// The broker is fenced, or stops with the controller's leave: another process may register at once.
    pub fn forget(&mut self, broker: NodeId) {
        self.sessions.remove(&broker);
    }

    /// Nobody was listened to for so long: that silence is not the brokers'.
    pub fn pardon(&mut self, pause_ms: i64) {
        self.sessions.values_mut().for_each(|session| session.since_ms += pause_ms);
    }

    /// Whether another process may not register under that id: this controller has heard of the broker, and its session
    /// goes on. Kafka also waits for a session that only begins with the controller. Whoever then restarts together with
    /// the active controller, as a single node does each time, would wait for its own old session.
    pub fn holds(&self, broker: NodeId, epoch: BrokerEpoch, now_ms: i64) -> bool {
        let session = self.sessions.get(&broker).filter(|session| session.heard && session.epoch == epoch);
        session.is_some_and(|session| !self.has_ended(session, now_ms))
    }

    /// The brokers that serve, and that were not heard of in time.
    pub fn silent(&self, image: &Image, now_ms: i64) -> Vec<NodeId> {
        let silent = self
            .sessions
            .iter()
            .filter(|(id, session)| self.has_ended(session, now_ms) && session.serves(image, **id));
        silent.map(|(id, _)| *id).collect()
    }

    /// The brokers that serve and whose heartbeat is late, `interval_ms` being the time between two: somebody should look
    /// whether they are still there. Each is named once in that time.
    pub fn late(&mut self, image: &Image, interval_ms: i64, now_ms: i64) -> Vec<(NodeId, BrokerEpoch)> {
        let mut late = Vec::new();
        for (id, session) in &mut self.sessions {
            let looks = session.looked_for_ms.is_none_or(|at_ms| at_ms + interval_ms <= now_ms);
            if looks && session.is_late(interval_ms, now_ms) && session.serves(image, *id) {
                session.looked_for_ms = Some(now_ms);
                late.push((*id, session.epoch));
            }
        }
        late
    }

    /// Whether that is still so.
    pub fn is_late(
        &self,
        image: &Image,
        broker: (NodeId, BrokerEpoch),
        interval_ms: i64,
        now_ms: i64,
    ) -> bool {
        let (id, epoch) = broker;
        let session = self.sessions.get(&id).filter(|session| session.epoch == epoch);
        session.is_some_and(|session| session.is_late(interval_ms, now_ms) && session.serves(image, id))
    }

    fn has_ended(&self, session: &Session, now_ms: i64) -> bool {
        session.since_ms + self.timeout_ms < now_ms
    }

    /// Whether all brokers that serve know that this one leaves, so that nobody needs it any more.
    pub(super) fn may_leave(&self, image: &Image, broker: NodeId) -> bool {
        let leaving_at = self.sessions.get(&broker).and_then(|session| session.leaving_at);
        let mut active = image.brokers().filter(|broker| broker.is_active());
        leaving_at.is_some_and(|offset| active.all(|broker| self.metadata_offset(broker.id) >= offset))
    }

    /// Whether the broker has said, in the life that it is registered with, that there is no room for a replica in this
    /// directory, which may be a reserved id.
    pub(super) fn is_full(&self, image: &Image, broker: NodeId, directory: DirectoryId) -> bool {
        let session = self.sessions.get(&broker).filter(|session| session.serves(image, broker));
        session
            .zip(image.broker(broker))
            .is_some_and(|(session, known)| known.has_full(directory, &session.full))
    }

    fn metadata_offset(&self, broker: NodeId) -> Offset {
        self.sessions.get(&broker).map_or(-1, |session| session.metadata_offset)
    }
}

impl Session {
    fn new(epoch: BrokerEpoch, now_ms: i64) -> Session {
        Session {
            epoch,
            since_ms: now_ms,
            heard: false,
            metadata_offset: -1,
            leaving_at: None,
            looked_for_ms: None,
            full: Vec::new(),
        }
    }

    fn serves(&self, image: &Image, id: NodeId) -> bool {
        image.broker(id).is_some_and(|broker| !broker.fenced && broker.epoch == self.epoch)
    }

    // By half of the time between two heartbeats.
    fn is_late(&self, interval_ms: i64, now_ms: i64) -> bool {
        now_ms - self.since_ms > interval_ms + interval_ms / 2
    }
}

//! What must hold of the lives of brokers: whom the active controller may fence, whom it may let go, and whose word counts.
//! Every controller that becomes active gives each broker a whole session.

use std::collections::BTreeMap;

use ottla_model::image::{Image, Topic};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::LeaderEpoch;

use crate::marks::mark_if;
use crate::quorum::asks::Met;
use crate::verdict::{Verdict, Violation};

/// A process of a controller.
pub(crate) type Life = (NodeId, u64);

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    session_ms: i64,
    interval_ms: i64,
    /// Nothing ever happens to brokers and the network: nobody who runs may be fenced.
    gentle: bool,
    /// Since when each process of a controller is the active one.
    led: BTreeMap<Life, (LeaderEpoch, i64)>,
    /// When each has heard of a broker last, and of which process.
    heard: BTreeMap<(Life, NodeId), (i64, u64)>,
    /// Whom each has fenced of its own accord.
    fenced: BTreeMap<(Life, NodeId), i64>,
    /// Whom each has let go.
    left: BTreeMap<(Life, NodeId), i64>,
    /// Which process has been given an epoch.
    epochs: BTreeMap<(NodeId, BrokerEpoch), u64>,
    /// A connection to this broker was refused, as its controller hears in this moment.
    pub gone: Option<NodeId>,
}

impl Sessions {
    pub fn new(session_ms: i64, interval_ms: i64, gentle: bool) -> Sessions {
        Sessions { session_ms, interval_ms, gentle, ..Sessions::default() }
    }

    pub fn leads(&mut self, who: Life, epoch: LeaderEpoch, now_ms: i64) {
        let before = self.led.values().any(|(before, _)| *before < epoch);
        mark_if(before && self.gentle, "brokers outlived an active controller, and nothing else went wrong");
        let led = self.led.entry(who).or_insert((epoch, now_ms));
        if led.0 != epoch {
            *led = (epoch, now_ms);
        }
    }

    /// A controller has fenced a broker, without being asked. `serves`: its very process runs and takes itself for one that serves.
    pub fn fenced(&mut self, who: Life, broker: NodeId, serves: bool, now_ms: i64) -> Verdict {
        let led_ms = self.led.get(&who).map_or(now_ms, |(_, since_ms)| *since_ms);
        let heard_ms = self.heard.get(&(who, broker)).map_or(led_ms, |(heard_ms, _)| *heard_ms).max(led_ms);
        let silent_ms = now_ms - heard_ms;
        let gone = self.gone == Some(broker);
        let enough_ms = if gone { self.interval_ms * 3 / 2 } else { self.session_ms };
        if silent_ms <= enough_ms || (self.gentle && serves) {
            let what = format!("{} fences broker {broker} after {silent_ms} ms, gone: {gone}", who.0);
            return Err(Violation::new(IN_TIME, what));
        }
        self.fenced.insert((who, broker), now_ms);
        Ok(())
    }

    /// A heartbeat was answered well, `may_stop` saying that nobody needs the broker any more. `image` is what the controller knew to
    /// be agreed on by then.
    pub fn answered(
        &mut self,
        who: Life,
        broker: NodeId,
        met: &Met,
        may_stop: bool,
        image: &Image,
    ) -> Verdict {
        if met.stale {
            return Err(Violation::new(STALE, format!("{} believes broker {broker}", who.0)));
        }
        if self.heard.get(&(who, broker)).is_none_or(|(heard_ms, _)| *heard_ms <= met.ms) {
            self.heard.insert((who, broker), (met.ms, met.life));
        }
        if may_stop {
            self.left.insert((who, broker), met.ms);
        }
        let leads = |image: &Image| led_by(image, broker).next().is_some();
        if may_stop && leads(image) {
            return Err(Violation::new(LEAVES, format!("broker {broker} in the image at {}", image.offset)));
        }
        Ok(())
    }

    /// A broker that led something when it asked may stop. What is shown by another one that serves: nobody there takes it for a
    /// leader. Topics that are gone by now do not count.
    pub fn leaves(&self, who: Life, broker: NodeId, met: &Met, now: &Image, shown: &Image) -> Verdict {
        // Whoever is fenced meanwhile may go at once.
        let fenced = self.fenced.get(&(who, broker)).is_some_and(|at_ms| *at_ms >= met.ms - self.session_ms);
        let led = led_by(shown, broker).find(|topic| now.topic_by_id(topic.id).is_some());
        match led.filter(|_| met.leads && !fenced) {
            Some(topic) => {
                let what = format!("broker {broker} leads {} in the image of {}", topic.name, shown.offset);
                Err(Violation::new(LEAVES, what))
            }
            None => Ok(()),
        }
    }

    /// A controller lets a process register under that id. The one before has ended its session, or was never heard of.
    pub fn taken(&self, who: Life, broker: NodeId, met: &Met) -> Verdict {
        let Some((heard_ms, life)) = self.heard.get(&(who, broker)) else { return Ok(()) };
        let led = self.led.get(&who).is_some_and(|(_, since_ms)| since_ms <= heard_ms);
        let ended = |ends: &BTreeMap<(Life, NodeId), i64>| {
            ends.get(&(who, broker)).is_some_and(|at_ms| at_ms >= heard_ms)
        };
        let over = met.ms - heard_ms > self.session_ms || ended(&self.fenced) || ended(&self.left);
        if !led || over || *life == met.life {
            return Ok(());
        }
        let what = format!("{}: broker {broker}, {} ms after a word of the other", who.0, met.ms - heard_ms);
        Err(Violation::new(ONE_PROCESS, what))
    }

    /// A process has been given an epoch.
    pub fn registered(&mut self, broker: NodeId, epoch: BrokerEpoch, life: u64) -> Verdict {
        match *self.epochs.entry((broker, epoch)).or_insert(life) {
            first if first == life => Ok(()),
            _ => Err(Violation::new(OWN_EPOCH, format!("two processes of broker {broker} have {epoch}"))),
        }
    }
}

fn led_by(image: &Image, broker: NodeId) -> impl Iterator<Item = &Topic> {
    let led = image.topics().filter(move |topic| topic.partitions.values().any(|p| p.leader == Some(broker)));
    led.map(|topic| &**topic)
}

const IN_TIME: &str = "a broker that is heard of in time is not fenced";
const STALE: &str = "the word of a process that was followed by another one does not count";
const LEAVES: &str = "a broker that may stop leads nothing";
const OWN_EPOCH: &str = "each process of a broker has an epoch of its own";
const ONE_PROCESS: &str = "one process of a broker lives at a time";

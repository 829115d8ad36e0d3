//! The life of a registered broker, as its heartbeats tell it (KIP-631): fenced, serving, shutting down, gone. Who is not
//! heard of is fenced as well, and who is fenced neither leads nor is in sync.

use ottla_model::NodeId;
use ottla_model::image::Broker;
use ottla_model::record::{BrokerRegistrationChangeRecord, FencingChange, MetadataRecord};

use super::brokers::known;
use super::{Decision, Heartbeat, Refusal, View, directories, leadership};

/// What the controller thinks of a broker after its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub fenced: bool,
    pub should_shut_down: bool,
    pub caught_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Fenced,
    Serving,
    /// Others take over what it leads, and hear of that.
    Leaving,
    /// Nobody needs it any more.
    Gone,
}

pub(super) fn heartbeat(view: &View<'_>, beat: &Heartbeat) -> Decision<Result<HeartbeatAnswer, Refusal>> {
    let broker = match known(view.image, beat.broker, beat.epoch) {
        Ok(broker) => broker,
        Err(refusal) => return Decision::only(Err(refusal)),
    };
    let life = life(broker);
    if view.sessions.is_overtaken(beat) {
        return Decision::only(Ok(answer(life, beat)));
    }
    // What its directories change is decided first, by itself: a heartbeat that also asks for more is followed by another
    // one, which finds the change made.
    let mut records = directories::reported(view, broker, beat);
    let next = if records.is_empty() { next(view, broker, beat) } else { life };
    if next != life {
        records.extend(records_of(view, broker, next));
    }
    Decision { records, answer: Ok(answer(next, beat)) }
}

fn answer(life: Life, beat: &Heartbeat) -> HeartbeatAnswer {
    HeartbeatAnswer {
        fenced: matches!(life, Life::Fenced | Life::Gone),
        should_shut_down: life == Life::Gone,
        caught_up: is_caught_up(beat),
    }
}

fn life(broker: &Broker) -> Life {
    match (broker.fenced, broker.in_controlled_shutdown) {
        (true, _) => Life::Fenced,
        (false, true) => Life::Leaving,
        (false, false) => Life::Serving,
    }
}

// A broker may serve only once it has seen its own registration.
fn is_caught_up(beat: &Heartbeat) -> bool {
    beat.metadata_offset >= beat.epoch.0
}

fn next(view: &View<'_>, broker: &Broker, beat: &Heartbeat) -> Life {
    match life(broker) {
        Life::Fenced if beat.want_shutdown => Life::Gone,
        // Who has begun to leave does not serve again in this life: such a heartbeat is from before that, and late.
        Life::Fenced if broker.in_controlled_shutdown => Life::Fenced,
        Life::Fenced if !beat.want_fence && is_caught_up(beat) => Life::Serving,
        Life::Fenced => Life::Fenced,
        Life::Serving if beat.want_fence && !beat.want_shutdown => Life::Fenced,
        Life::Serving if beat.want_shutdown && !beat.want_fence && leads_any(view, broker.id) => {
            Life::Leaving
        }
        Life::Serving if beat.want_shutdown => Life::Gone,
        Life::Leaving if leads_any(view, broker.id) => Life::Leaving,
        Life::Leaving if view.sessions.may_leave(view.image, broker.id) => Life::Gone,
        life => life,
    }
}

fn leads_any(view: &View<'_>, id: NodeId) -> bool {
    view.image.topics().any(|topic| topic.partitions.values().any(|partition| partition.leader == Some(id)))
}

fn records_of(view: &View<'_>, broker: &Broker, next: Life) -> Vec<MetadataRecord> {
    let id = broker.id;
    match next {
        Life::Fenced | Life::Gone => fence(view, broker),
        Life::Serving => {
            let mut records = vec![fencing(broker, FencingChange::Unfence)];
            records.extend(leadership::broker_returned(view, id));
            records
        }
        Life::Leaving => {
            let change = BrokerRegistrationChangeRecord { in_controlled_shutdown: true, ..change(broker) };
            let mut records = vec![change.into()];
            records.extend(leadership::broker_gone(view, id));
            records
        }
    }
}

/// A broker that serves does so no longer. One that is fenced already stays as it is.
pub(super) fn fence(view: &View<'_>, broker: &Broker) -> Vec<MetadataRecord> {
    if broker.fenced {
        return Vec::new();
    }
    let mut records = leadership::broker_gone(view, broker.id);
    records.push(fencing(broker, FencingChange::Fence));
    records
}

fn fencing(broker: &Broker, fenced: FencingChange) -> MetadataRecord {
    BrokerRegistrationChangeRecord { fenced, ..change(broker) }.into()
}

pub(super) fn change(broker: &Broker) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        ..BrokerRegistrationChangeRecord::default()
    }
}

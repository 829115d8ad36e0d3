//! The controller of this world, which is always right and never ends: who is alive, who leads, who is in sync. It has the
//! rules of Kafka's for brokers' lives and eligible leader replicas (KIP-966) in a few lines, and must never be told more
//! than messages say.

use std::collections::BTreeMap;

use ottla_core::partition::{Proposal, Standing};
use ottla_model::NodeId;
use ottla_protocol::{ErrorCode, LeaderEpoch};

use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;

/// What it says to everybody. A newer one has a larger version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub version: u64,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    /// Who is to have the partition, once all of them are in sync. `None`: nothing is to move.
    pub target: Option<Vec<NodeId>>,
    /// Those of them who are new.
    pub adding: Vec<NodeId>,
    /// Nobody was left who is known to have everything, so the leader may lack records.
    pub last_resort: bool,
    elr: Vec<NodeId>,
    last_leader: Option<NodeId>,
    brokers: BTreeMap<NodeId, Registered>,
    mutation: Option<Mutation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registered {
    epoch: i64,
    /// Of the process, so that one that asks twice is one.
    life: u64,
    fenced: bool,
    /// Its disk is full, as it said last.
    full: bool,
    heard_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Registry {
    view: View,
    /// The partition as it was when it last changed.
    last: Option<View>,
    min_insync_replicas: usize,
    next_epoch: i64,
}

impl View {
    /// The partition alone.
    fn without_news(self) -> View {
        View { version: 0, partition_epoch: 0, brokers: BTreeMap::new(), ..self }
    }

    /// The life in which it registered last.
    pub fn life(&self, broker: NodeId) -> Option<u64> {
        self.brokers.get(&broker).map(|known| known.life)
    }

    pub fn standing(&self, broker: NodeId) -> Standing {
        let lets_fenced_join = self.mutation == Some(Mutation::LetFencedJoin);
        let alive = self.brokers.get(&broker).filter(|r| !r.fenced || lets_fenced_join);
        Standing { broker_epoch: alive.map(|r| r.epoch), shutting_down: false }
    }

    fn is_alive(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(|known| !known.fenced)
    }

    fn is_full(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(|known| known.full)
    }

    pub fn is_fenced(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(|known| known.fenced)
    }
}

impl Registry {
    pub fn new(replicas: Vec<NodeId>, min_insync_replicas: i32, mutation: Option<Mutation>) -> Registry {
        let view = View {
            version: 0,
            leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: replicas.clone(),
            last_leader: replicas.first().copied(),
            replicas,
            target: None,
            adding: Vec::new(),
            last_resort: false,
            elr: Vec::new(),
            brokers: BTreeMap::new(),
            mutation,
        };
        Registry { view, last: None, min_insync_replicas: min_insync_replicas as usize, next_epoch: 1 }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// The epoch of the registration. None: the process before this one counts as alive, so this one has to wait.
    /// A process that begins without a clean stop of the one before it may have lost records: it is neither in sync nor
    /// eligible any more. `previous`: the epoch of the process before, which has stopped cleanly.
    pub fn register(&mut self, broker: NodeId, life: u64, previous: Option<i64>, now_ms: i64) -> Option<i64> {
        match self.view.brokers.get(&broker) {
            Some(before) if before.life == life => return Some(before.epoch),
            // Or a message of a process that is gone.
            Some(before) if !before.fenced || before.life > life => return None,
            // The partition begins with all of its replicas, which are empty.
            None => {}
            Some(before) if previous == Some(before.epoch) => mark("a broker came back from a clean stop"),
            Some(_) if self.makes(Mutation::AssumeCleanStops) => {}
            Some(_) if self.makes(Mutation::LastMemberStays) && self.view.isr == [broker] => {}
            Some(_) => {
                self.view.isr.retain(|id| *id != broker);
                self.view.elr.retain(|id| *id != broker);
            }
        }
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.view
            .brokers
            .insert(broker, Registered { epoch, life, fenced: false, full: false, heard_ms: now_ms });
        self.changed();
        Some(epoch)
    }

    /// Whether the broker lives, as far as is known here: another one has to register.
    pub fn heard(&mut self, broker: NodeId, epoch: i64, full: bool, now_ms: i64) -> bool {
        let Some(known) = self.view.brokers.get_mut(&broker).filter(|known| known.epoch == epoch) else {
            return false;
        };
        known.heard_ms = now_ms;
        if std::mem::take(&mut known.fenced) {
            mark("a fenced broker came back without a restart");
            self.changed();
        }
        self.view.brokers.get_mut(&broker).expect("it is known").full = full;
        let has_room = |id: &NodeId| self.view.is_alive(*id) && !self.view.is_full(*id);
        if full && self.view.isr.contains(&broker) && self.view.isr.iter().any(has_room) {
            mark_if(
                self.view.leader == Some(broker),
                "a leader was followed by another, since it had no room",
            );
            self.leave(&[broker]);
            self.changed();
        }
        true
    }

    /// Fences whoever was not heard of for that long; whether there was one.
    pub fn expire(&mut self, now_ms: i64, session_ms: i64) -> bool {
        let late =
            |(_, known): &(&NodeId, &Registered)| !known.fenced && now_ms - known.heard_ms > session_ms;
        let late: Vec<NodeId> = self.view.brokers.iter().filter(late).map(|(id, _)| *id).collect();
        for id in &late {
            self.view.brokers.get_mut(id).expect("it is known").fenced = true;
            self.leave(&[*id]);
            self.changed();
        }
        !late.is_empty()
    }

    pub fn alter(&mut self, from: NodeId, broker_epoch: i64, proposal: &Proposal) -> Result<(), ErrorCode> {
        if self.view.brokers.get(&from).is_none_or(|known| known.epoch != broker_epoch) {
            return Err(ErrorCode::StaleBrokerEpoch);
        }
        if self.view.leader != Some(from) || proposal.leader_epoch != self.view.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if proposal.partition_epoch != self.view.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        // The answer to a proposal may have ended a move, and its leader hears of the new replicas later.
        if proposal.isr.iter().any(|member| !self.view.replicas.contains(&member.replica)) {
            return Err(ErrorCode::InvalidRequest);
        }
        for member in &proposal.isr {
            let alive = self.view.standing(member.replica).broker_epoch;
            let same_life = member.broker_epoch.is_none() || member.broker_epoch == alive;
            let finds_room = self.view.isr.contains(&member.replica) || !self.view.is_full(member.replica);
            if alive.is_none() || !same_life || !finds_room {
                // The same proposal may come once more when that one is eligible.
                if !self.makes(Mutation::KeepEpochOfRefused) {
                    self.view.partition_epoch += 1;
                    self.view.version += 1;
                }
                return Err(ErrorCode::IneligibleReplica);
            }
        }
        let isr: Vec<NodeId> = proposal.isr.iter().map(|member| member.replica).collect();
        let gone: Vec<NodeId> = self.view.isr.iter().filter(|id| !isr.contains(id)).copied().collect();
        self.leave(&gone);
        mark_if(!gone.is_empty(), "a leader let a late replica go");
        mark_if(isr.iter().any(|id| !self.view.isr.contains(id)), "a replica came back in sync");
        self.view.isr = isr;
        self.changed();
        Ok(())
    }

    /// The partition moves to these brokers. They are added first; the others go once all of these are in sync.
    pub fn reassign(&mut self, to: Vec<NodeId>) {
        let view = &mut self.view;
        let adding: Vec<NodeId> = to.iter().copied().filter(|id| !view.replicas.contains(id)).collect();
        view.replicas.extend(&adding);
        (view.adding, view.target) = (adding, Some(to));
        self.changed();
    }

    // Whoever leaves while the set is below its minimum has all that is safe: the high watermark waits then.
    fn leave(&mut self, gone: &[NodeId]) {
        if self.makes(Mutation::LastMemberStays) && self.view.isr.iter().all(|id| gone.contains(id)) {
            self.view.isr.truncate(1);
            return;
        }
        for id in gone.iter().filter(|id| self.view.isr.contains(id)) {
            self.view.elr.push(*id);
        }
        self.view.isr.retain(|id| !gone.contains(id));
    }

    fn makes(&self, mutation: Mutation) -> bool {
        self.view.mutation == Some(mutation)
    }

    fn finish_move(&mut self) {
        let view = &mut self.view;
        let Some(to) = view.target.take_if(|to| to.iter().all(|id| view.isr.contains(id))) else { return };
        mark("a partition has moved");
        view.isr.retain(|id| to.contains(id));
        view.elr.retain(|id| to.contains(id));
        view.last_leader = view.last_leader.filter(|id| to.contains(id)).or(view.isr.first().copied());
        (view.replicas, view.adding) = (to, Vec::new());
    }

    fn changed(&mut self) {
        self.finish_move();
        let forgets_eligible = self.makes(Mutation::LastMemberStays);
        let view = &mut self.view;
        if view.isr.len() >= self.min_insync_replicas || forgets_eligible {
            view.elr.clear();
        }
        view.elr.retain(|id| !view.isr.contains(id));
        let alive = |id: &NodeId| view.is_alive(*id);
        let clean = |id: &NodeId| view.isr.contains(id) && alive(id);
        let in_order = || view.leader.into_iter().chain(view.replicas.iter().copied());
        let with_room = in_order().find(|id| clean(id) && !view.is_full(*id));
        let in_sync = with_room.or_else(|| in_order().find(clean));
        let eligible = || view.replicas.iter().copied().find(|id| view.elr.contains(id) && alive(id));
        let nobody_else = view.isr.is_empty() && view.elr.is_empty();
        let last = || view.last_leader.filter(|id| nobody_else && alive(id));
        let next = in_sync.or_else(eligible).or_else(last);
        if next != view.leader {
            view.last_resort = next.is_some() && nobody_else;
            view.leader = next;
            view.leader_epoch = LeaderEpoch(view.leader_epoch.0 + 1);
        }
        if let Some(leader) = next {
            view.last_leader = Some(leader);
            if !view.isr.contains(&leader) {
                mark_if(view.elr.contains(&leader), "an eligible replica led that was not in sync");
                mark_if(!view.elr.contains(&leader), "the last leader led, since nobody was eligible");
                view.isr = vec![leader];
                view.elr.retain(|id| *id != leader);
            }
        }
        // What is heard of brokers changes the partition only if that changes who leads it, or who may.
        let now = view.clone().without_news();
        if self.last.replace(now.clone()) != Some(now) {
            view.partition_epoch += 1;
        }
        view.version += 1;
    }
}

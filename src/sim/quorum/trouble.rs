//! What a seed draws for a quorum, and what goes wrong between and under its members. It must never be more than a machine, a
//! network, a power grid or an operator could do.

use ottla_node::controller::Missing;

use super::broker::Moment;
use super::{Global, Local, Quorums};
use crate::cluster::Rules;
use crate::dice::Dice;
use crate::invariants::ledger::Loss;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::plan::Trouble;

/// One run's shape.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub machines: usize,
    /// The others join what these have founded.
    pub founders: usize,
    /// Machines besides that follow without a vote.
    pub observers: usize,
    pub brokers: usize,
    /// Brokers live beside controllers; otherwise each has a machine of its own, besides.
    pub combined: bool,
    pub session_ms: i32,
    pub interval_ms: i32,
    /// What is new is carried out within that time.
    pub show_ms_max: i64,
    /// A leader lets somebody go with this chance, each time that it looks.
    pub late_percent: u64,
    /// Brokers are stopped cleanly, now and then.
    pub stops: bool,
    /// Disks of brokers are full, now and then.
    pub fills: bool,
    /// Nothing goes wrong but that controllers end, one at a time.
    pub gentle: bool,
    pub clients: usize,
    pub troubles: Vec<Trouble>,
    pub trouble_every_ms: i64,
    pub pause_ms_max: i64,
    /// A machine loses its disk now and then, and comes back as another replica.
    pub wipes: bool,
    pub transfers: bool,
    /// Who has just given its vote may end at once.
    pub ends_voters: bool,
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Plan {
        let troubles = Trouble::draw_together(dice);
        let machines = *dice.pick(&[1, 3, 3, 3, 5]);
        let founders = if dice.percent(70) { machines } else { dice.between(1, machines as i64) as usize };
        let most = *dice.pick(&[0, 0, 1, 2, 3, 5]);
        let combined = dice.percent(40);
        let brokers = if combined { most.min(machines) } else { most };
        let (session_ms, interval_ms) = *dice.pick(&[(2_000, 400), (3_000, 1_000), (9_000, 2_000)]);
        Plan {
            machines,
            founders,
            observers: *dice.pick(&[0, 0, 1, 1, 2]),
            brokers,
            combined,
            session_ms,
            interval_ms,
            show_ms_max: *dice.pick(&[0, 5, 100]),
            late_percent: *dice.pick(&[0, 2, 10]),
            stops: dice.percent(50),
            fills: false,
            gentle: brokers > 0 && !combined && machines > 1 && dice.percent(20),
            clients: dice.between(1, 4) as usize,
            troubles,
            trouble_every_ms: *dice.pick(&[100, 500, 2_000]),
            // Clients that ask all the time leave no time for sessions to end.
            pause_ms_max: *dice.pick(if brokers > 0 { &[20, 200, 1_000] } else { &[0, 20, 500] }),
            wipes: machines > 1 && dice.percent(30),
            transfers: dice.percent(20),
            ends_voters: dice.percent(30),
        }
    }

    pub fn all_machines(&self) -> usize {
        self.machines + self.observers + if self.combined { 0 } else { self.brokers }
    }
}

impl Quorums {
    pub(super) fn trouble(&mut self) {
        let cluster = &mut self.cluster;
        if cluster.finishing {
            return;
        }
        let every = self.plan.trouble_every_ms;
        let pause_ms = cluster.dice.between(every / 4, every * 2);
        cluster.global(pause_ms, Global::Trouble);
        let at = cluster.anybody();
        if self.plan.gentle {
            return self.gentle_trouble();
        }
        if self.plan.stops && self.hosts(at) && self.cluster.dice.percent(20) {
            return self.stop_broker(at);
        }
        if self.plan.fills && self.hosts(at) && self.cluster.dice.percent(20) {
            return self.fill(at);
        }
        let cluster = &mut self.cluster;
        if self.plan.transfers && cluster.dice.percent(10) {
            cluster.work(at, 0, Local::TransferLeadership);
        }
        if self.plan.observers > 0 && self.cluster.dice.percent(10) {
            self.split_off_leader();
        }
        let cluster = &mut self.cluster;
        let wipes = self.plan.wipes || cluster.mutation == Some(Mutation::TakeWipedForItself);
        if self.observes(at) && self.plan.wipes && self.cluster.dice.percent(5) {
            self.cluster.note_at(at, || "trouble: its disk is lost".into());
            return self.wipe_observer(at);
        }
        if wipes && !self.observes(at) && self.cluster.dice.percent(10) && self.may_lose_a_disk() {
            self.cluster.note_at(at, || "trouble: its disk is lost".into());
            return self.wipe(at);
        }
        let cluster = &mut self.cluster;
        let trouble = *cluster.dice.pick(&self.plan.troubles);
        cluster.note_at(at, || format!("trouble: {trouble:?}"));
        let up = cluster.machines[at].process.is_some();
        match trouble {
            Trouble::Kill if up => self.end(at, Loss::Process),
            Trouble::KillInside => cluster.end_inside(at, Loss::Process),
            Trouble::LosePower if up => self.end(at, Loss::Power),
            Trouble::LosePowerInside => cluster.end_inside(at, Loss::Power),
            Trouble::LoseAllPower => {
                (0..self.cluster.machines.len()).for_each(|at| self.end(at, Loss::Power));
            }
            Trouble::Kill | Trouble::LosePower => {}
            other => cluster.disturb(at, other),
        }
    }

    // One controller ends, and the others agree without it.
    fn gentle_trouble(&mut self) {
        let cluster = &mut self.cluster;
        let at = cluster.dice.below(self.plan.machines as u64) as usize;
        let voting = &cluster.machines[..self.plan.machines];
        let all_run = voting.iter().all(|machine| machine.process.is_some());
        cluster.note_at(at, || format!("gentle trouble, if {all_run}"));
        match all_run {
            true if cluster.dice.percent(30) => cluster.work(at, 0, Local::TransferLeadership),
            true => self.end(at, Loss::Process),
            false => {}
        }
    }

    fn stop_broker(&mut self, at: usize) {
        let cluster = &mut self.cluster;
        let deadline_ms = cluster.now_ms() + *cluster.dice.pick(&[1_000, 10_000, 60_000]);
        cluster.note_at(at, || "trouble: its broker is stopped".into());
        cluster.work(at, 0, Local::Broker(Moment::Stop { deadline_ms }));
    }

    /// Somebody says nothing. A machine without a process refuses connections, and whatever stands between may do so for one that
    /// has one.
    pub(super) fn look_for(&mut self, at: usize, missing: Missing) {
        let (id, leads) = match missing {
            Missing::Leader(leader) => (leader, true),
            Missing::Broker(broker, _) => (broker, false),
        };
        let cluster = &mut self.cluster;
        let ended = cluster.machines.iter().any(|machine| machine.id == id && machine.process.is_none());
        let wrong = !cluster.finishing && !self.plan.gentle && cluster.dice.percent(10);
        if ended || wrong {
            mark_if(ended && leads, "a leader was found gone");
            mark_if(!ended && leads, "a leader was wrongly taken for gone");
            mark_if(ended && !leads, "a broker was found gone");
            mark_if(!ended && !leads, "a broker was wrongly taken for gone");
            let delay_ms = cluster.dice.between(0, 20);
            cluster.work(at, delay_ms, Local::Gone(missing));
        }
    }

    /// A vote is on its way.
    pub(super) fn has_voted(&mut self, at: usize) {
        let cluster = &mut self.cluster;
        let ends = self.plan.ends_voters || cluster.mutation == Some(Mutation::ForgetVote);
        if ends && !cluster.finishing && cluster.dice.percent(40) {
            let loss = *cluster.dice.pick(&[Loss::Process, Loss::Power]);
            cluster.work(at, 0, Local::End(loss));
        }
    }

    // One disk at a time, and only when everybody votes and has everything: what two of three have agreed on is on two disks.
    fn may_lose_a_disk(&self) -> bool {
        self.replaced.is_none() && self.plan.machines > 2 && self.is_everywhere()
    }
}

//! What a seed draws for replicas, and what goes wrong between and under them. It must never be more than a machine, a
//! network or a power grid could do.

use super::{Event, Replicas};
use crate::bus::Place;
use crate::dice::Dice;
use crate::invariants::ledger::Loss;

/// One run's shape.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub machines: i32,
    pub producers: usize,
    pub min_insync_replicas: i32,
    /// `flush.messages=1`: the power may go anywhere, any time.
    pub flushes_each: bool,
    pub segment_bytes: i32,
    pub troubles: Vec<Trouble>,
    pub trouble_every_ms: i64,
    pub flush_ms_max: i64,
    pub fetch_ms_max: i64,
    pub produce_ms_max: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Kill,
    /// At some operation on the disk, half a write included.
    KillInside,
    LosePower,
    /// Of all machines at once.
    LoseAllPower,
    Pause,
    CutOneWay,
    /// From everybody else, in both directions.
    Isolate,
    Heal,
}

impl Trouble {
    const ALL: [Trouble; 8] = [
        Trouble::Kill,
        Trouble::KillInside,
        Trouble::LosePower,
        Trouble::LoseAllPower,
        Trouble::Pause,
        Trouble::CutOneWay,
        Trouble::Isolate,
        Trouble::Heal,
    ];
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Plan {
        let mut troubles: Vec<Trouble> = Trouble::ALL.into_iter().filter(|_| dice.percent(40)).collect();
        if troubles.is_empty() {
            troubles.push(Trouble::Kill);
        }
        let machines = *dice.pick(&[2, 3, 3, 3, 5]);
        Plan {
            machines,
            producers: dice.between(1, 4) as usize,
            min_insync_replicas: dice.between(1, i64::from(machines + 1) / 2) as i32,
            flushes_each: dice.percent(40),
            segment_bytes: *dice.pick(&[300, 2_000, 1 << 20]),
            troubles,
            trouble_every_ms: *dice.pick(&[100, 500, 2_000]),
            flush_ms_max: *dice.pick(&[1, 20, 200]),
            fetch_ms_max: *dice.pick(&[0, 5, 50]),
            produce_ms_max: *dice.pick(&[0, 10, 200]),
        }
    }
}

impl Replicas {
    pub(super) fn trouble(&mut self) {
        if self.finishing {
            return;
        }
        let every = self.plan.trouble_every_ms;
        self.queue.after(self.dice.between(every / 4, every * 2), Event::Trouble);
        let trouble = *self.dice.pick(&self.plan.troubles);
        let at = self.dice.below(self.machines.len() as u64) as usize;
        let (now_ms, id) = (self.queue.now_ms(), self.machines[at].id);
        self.trace.note(now_ms, || format!("trouble at {id}: {trouble:?}"));
        let up = self.machines[at].process.is_some();
        match trouble {
            Trouble::Kill if up => self.end(at, Loss::Process),
            Trouble::KillInside => {
                let most = *self.dice.pick(&[3, 30]);
                self.machines[at].disk.light(self.dice.below(most), self.dice.below(9));
            }
            Trouble::LosePower if up => self.lose_power(at),
            Trouble::LoseAllPower if self.plan.flushes_each => {
                (0..self.machines.len()).for_each(|at| self.end(at, Loss::Power));
            }
            Trouble::Pause => {
                let pause_ms = *self.dice.pick(&[50, 900, 4_000]);
                self.machines[at].paused_until_ms = now_ms + self.dice.between(1, pause_ms);
            }
            Trouble::CutOneWay => {
                let other = self.dice.below(self.machines.len() as u64 + 1) as Place;
                self.bus.cut(id.0 as Place, other);
                self.heal_later();
            }
            Trouble::Isolate => {
                for other in (0..=self.machines.len() as Place).filter(|other| *other != id.0 as Place) {
                    self.bus.cut(id.0 as Place, other);
                    self.bus.cut(other, id.0 as Place);
                }
                self.heal_later();
            }
            Trouble::Heal => self.bus.heal(),
            Trouble::Kill | Trouble::LosePower | Trouble::LoseAllPower => {}
        }
    }

    // Without flushes what is acknowledged outlives one loss of power, no more: the others have it in memory.
    fn lose_power(&mut self, at: usize) {
        let whole = |replicas: &Replicas| {
            replicas.registry.view().isr.len() == replicas.machines.len()
                && replicas.machines.iter().all(|machine| !machine.may_lack)
        };
        if self.plan.flushes_each {
            self.end(at, Loss::Power);
        } else if whole(self) {
            self.machines[at].may_lack = true;
            self.end(at, Loss::Power);
        }
    }

    fn heal_later(&mut self) {
        let delay_ms = *self.dice.pick(&[100, 2_000, 6_000]);
        self.queue.after(self.dice.between(1, delay_ms), Event::Heal);
    }

    /// From now on nothing goes wrong by itself.
    pub(super) fn calm(&mut self) {
        self.bus.calm();
        for machine in &mut self.machines {
            machine.disk.put_out();
            machine.paused_until_ms = 0;
        }
    }
}

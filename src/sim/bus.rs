//! The network. A message between machines arrives late, twice, behind a later one, or never; a client's connection keeps
//! its order. It must never know what a message means.

use std::collections::BTreeSet;

use crate::dice::Dice;
use crate::marks::{mark, mark_if};

/// A machine, or whoever else sends.
pub(crate) type Place = u32;

/// How the network is, and which ways are cut.
#[derive(Debug)]
pub(crate) struct Bus {
    delay_ms_max: i64,
    slow_ms_max: i64,
    slow_percent: u64,
    lost_percent: u64,
    twice_percent: u64,
    cuts: BTreeSet<(Place, Place)>,
}

impl Bus {
    /// That of so many machines. One alone has nobody to talk to: nothing is drawn.
    pub fn draw(machines: usize, dice: &mut Dice) -> Bus {
        if machines == 1 {
            return Bus::still();
        }
        Bus {
            delay_ms_max: *dice.pick(&[1, 5, 20]),
            slow_ms_max: *dice.pick(&[20, 200, 3_000]),
            slow_percent: *dice.pick(&[1, 5, 20]),
            lost_percent: *dice.pick(&[0, 0, 1, 10]),
            twice_percent: *dice.pick(&[0, 0, 2, 10]),
            cuts: BTreeSet::new(),
        }
    }

    /// It brings everything, once, a millisecond later at most.
    pub fn still() -> Bus {
        let (slow_ms_max, slow_percent, lost_percent, twice_percent) = Default::default();
        let (delay_ms_max, cuts) = (1, BTreeSet::new());
        Bus { delay_ms_max, slow_ms_max, slow_percent, lost_percent, twice_percent, cuts }
    }

    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// After how many milliseconds a message arrives: not at all, once or more often.
    pub fn arrivals(&self, from: Place, to: Place, dice: &mut Dice) -> Vec<i64> {
        if self.is_cut(from, to) || dice.percent(self.lost_percent) {
            mark("a message was lost");
            return Vec::new();
        }
        let copies = 1 + usize::from(dice.percent(self.twice_percent));
        mark_if(copies > 1, "a message came twice");
        let delay = |dice: &mut Dice| {
            let most = if dice.percent(self.slow_percent) { self.slow_ms_max } else { self.delay_ms_max };
            dice.between(0, most)
        };
        (0..copies).map(|_| delay(dice)).collect()
    }

    /// Nothing gets through any more, in this direction.
    pub fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// Nothing gets through any more between this one and those others, in either direction.
    pub fn isolate(&mut self, one: Place, others: impl Iterator<Item = Place>) {
        for other in others.filter(|other| *other != one) {
            self.cut(one, other);
            self.cut(other, one);
        }
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// From now on nothing takes longer than that.
    pub fn hurry(&mut self, ms: i64) {
        self.slow_ms_max = self.slow_ms_max.min(ms);
    }

    /// From now on it only delays.
    pub fn calm(&mut self) {
        self.heal();
        (self.lost_percent, self.twice_percent) = (0, 0);
    }
}

/// A client's connection with a machine: each way keeps its order, and a new process has a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    life: u64,
    arrives_ms: i64,
    heard_ms: i64,
}

impl Connection {
    /// When a request arrives that would take so long by itself.
    pub fn request(&mut self, life: u64, now_ms: i64, delay_ms: i64) -> i64 {
        let not_before_ms = if self.life == life { self.arrives_ms } else { now_ms };
        self.life = life;
        self.arrives_ms = not_before_ms.max(now_ms + delay_ms);
        self.arrives_ms
    }

    /// When a reply is heard. A client that heard of a later batch before it heard that an earlier one had failed would send
    /// more than five behind that one.
    pub fn reply(&mut self, now_ms: i64, delay_ms: i64) -> i64 {
        self.heard_ms = self.heard_ms.max(now_ms + delay_ms);
        self.heard_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_is_cut_is_cut_in_one_direction() {
        let mut dice = Dice::new(1);
        let mut bus = Bus::draw(3, &mut dice);
        bus.calm();
        bus.cut(1, 2);
        assert_eq!(bus.arrivals(1, 2, &mut dice).len(), 0);
        assert_eq!(bus.arrivals(2, 1, &mut dice).len(), 1);
        bus.heal();
        assert_eq!(bus.arrivals(1, 2, &mut dice).len(), 1);
    }

    #[test]
    fn messages_are_lost_doubled_and_overtaken() {
        let mut dice = Dice::new(7);
        let bus = Bus { lost_percent: 10, twice_percent: 10, ..Bus::draw(3, &mut dice) };
        let all: Vec<Vec<i64>> = (0..1_000).map(|_| bus.arrivals(1, 2, &mut dice)).collect();
        let with = |copies: usize| all.iter().filter(|arrivals| arrivals.len() == copies).count();
        assert!(with(0) > 50 && with(1) > 500 && with(2) > 50, "{} {} {}", with(0), with(1), with(2));
        let delays: BTreeSet<i64> = all.into_iter().flatten().collect();
        assert!(delays.len() > 1, "{delays:?}");
    }

    #[test]
    fn a_connection_keeps_its_order_and_a_new_process_has_a_new_one() {
        let mut connection = Connection::default();
        assert_eq!(connection.request(1, 100, 9), 109);
        assert_eq!(connection.request(1, 101, 2), 109, "behind the one before");
        assert_eq!(connection.request(2, 102, 2), 104, "to another process");
        assert_eq!(connection.reply(105, 5), 110);
        assert_eq!(connection.reply(106, 0), 110);
    }
}

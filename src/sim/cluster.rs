//! What every world is made of: machines, the network between them, one clock and one source of chance. Events happen in
//! the order of (time, sequence). It must never let anything happen that is not an event, nor know what an event means.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_log::disk::MemoryDisk;
use ottla_model::NodeId;

use crate::bus::{Bus, Place};
use crate::dice::Dice;
use crate::disk::Ended;
use crate::invariants::ledger::Loss;
use crate::machine::Machine;
use crate::marks::mark_if;
use crate::mutation::Mutation;
use crate::plan::Trouble;
use crate::queue::Queue;
use crate::trace::{EPOCH_MS, Trace};
use crate::verdict::{Verdict, Violation};

/// A world: what its events are, and what they do.
pub(crate) trait Rules: Sized {
    /// What runs on a machine.
    type Process;
    /// What happens at a machine.
    type Local;
    /// What happens elsewhere: to clients, to the controller of a world that has one.
    type Global;

    fn cluster(&mut self) -> &mut Cluster<Self>;

    fn local(&mut self, at: usize, what: Self::Local) -> Verdict;

    fn global(&mut self, what: Self::Global) -> Verdict;

    /// The process on that machine is gone.
    fn end(&mut self, at: usize, loss: Loss);

    /// Nothing goes wrong any more: everybody has to be done in time, and what was promised has to be there.
    fn finish(&mut self) -> Verdict;

    /// How many records were acknowledged, and seen by readers.
    fn judged(&self) -> (usize, usize);

    /// Runs so many events with trouble, then without until everybody is done.
    fn run(&mut self, steps: u64) -> Verdict {
        while self.cluster().steps < steps {
            self.next()?;
        }
        self.cluster().calm();
        self.finish()
    }

    /// For a story: every step holds what must hold.
    #[cfg(test)]
    fn run_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            self.next_holds();
        }
    }

    #[cfg(test)]
    fn wait_ms(&mut self, ms: i64) {
        let until_ms = self.cluster().now_ms() + ms;
        while self.cluster().now_ms() < until_ms {
            self.next_holds();
        }
    }

    #[cfg(test)]
    fn next_holds(&mut self) {
        if let Err(violation) = self.next() {
            panic!("{violation:?}\n{}", self.cluster().trace);
        }
    }

    fn next(&mut self) -> Verdict {
        let Some(event) = self.cluster().next()? else { return Ok(()) };
        let at = event.machine();
        // After a panic nothing of the process is used any more.
        let outcome = catch_unwind(AssertUnwindSafe(|| match event {
            Event::Local { at, what, .. } => self.local(at, what),
            Event::Global(what) => self.global(what),
            Event::Heal => {
                self.cluster().bus.heal();
                Ok(())
            }
        }));
        if let Some(at) = at {
            self.cluster().note_changes(at);
        }
        outcome.unwrap_or_else(|panic| self.ended(at, &*panic))
    }

    fn ended(&mut self, at: Option<usize>, panic: &(dyn Any + Send)) -> Verdict {
        if let Some(at) = at.filter(|_| panic.is::<Ended>()) {
            let machine = &self.cluster().machines[at];
            mark_if(machine.process.is_none(), "a process was killed inside its start or stop");
            let loss = machine.fuse().unwrap_or(Loss::Process);
            self.end(at, loss);
            return Ok(());
        }
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        Err(Violation::new("no step panics", text))
    }
}

/// What can happen.
pub(crate) enum Event<R: Rules> {
    /// At a machine, by its place in the list. With a life it belongs to that process, and dies with it.
    Local {
        at: usize,
        life: Option<u64>,
        what: R::Local,
    },
    Global(R::Global),
    /// Every cut way is open again.
    Heal,
}

impl<R: Rules> Event<R> {
    fn machine(&self) -> Option<usize> {
        match self {
            Event::Local { at, .. } => Some(*at),
            Event::Global(_) | Event::Heal => None,
        }
    }
}

/// Machines and everything between them.
pub(crate) struct Cluster<R: Rules> {
    pub machines: Vec<Machine<R::Process>>,
    pub bus: Bus,
    pub dice: Dice,
    pub queue: Queue<Event<R>>,
    pub trace: Trace,
    /// What the seed drew before the run began, in one line.
    pub plan: String,
    pub mutation: Option<Mutation>,
    /// There is no more trouble, and nothing new is begun.
    pub finishing: bool,
    pub steps: u64,
    /// Processes that came up.
    pub restarts: u64,
}

impl<R: Rules> Cluster<R> {
    /// Machines with these disks; the first one's id is 1.
    pub fn new(
        dice: Dice,
        bus: Bus,
        memories: Vec<MemoryDisk>,
        mutation: Option<Mutation>,
        trace_lines: usize,
    ) -> Cluster<R> {
        let machine = |(memory, id)| Machine::new(NodeId(id), memory, mutation, trace_lines > 0);
        Cluster {
            machines: memories.into_iter().zip(1..).map(machine).collect(),
            bus,
            dice,
            queue: Queue::starting_at(EPOCH_MS),
            trace: Trace::keeping(trace_lines),
            plan: String::new(),
            mutation,
            finishing: false,
            steps: 0,
            restarts: 0,
        }
    }

    pub fn now_ms(&self) -> i64 {
        self.queue.now_ms()
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.queue.now_ms(), what);
    }

    pub fn note_at(&mut self, at: usize, what: impl FnOnce() -> String) {
        let id = self.machines[at].id;
        self.note(|| format!("node {id}: {}", what()));
    }

    fn note_changes(&mut self, at: usize) {
        for change in self.machines[at].disk.take_changes() {
            self.note_at(at, || change);
        }
    }

    /// The process that runs there now does this later, should it still run.
    pub fn work(&mut self, at: usize, delay_ms: i64, what: R::Local) {
        let life = Some(self.machines[at].life);
        self.queue.after(delay_ms, Event::Local { at, life, what });
    }

    /// This happens there, whichever process runs then.
    pub fn local(&mut self, at: usize, delay_ms: i64, what: R::Local) {
        self.queue.after(delay_ms, Event::Local { at, life: None, what });
    }

    pub fn global(&mut self, delay_ms: i64, what: R::Global) {
        self.queue.after(delay_ms, Event::Global(what));
    }

    /// A message. The network may bring it late, twice, behind a later one, or never.
    pub fn send(&mut self, from: Place, to: Place, arrival: impl Fn() -> Event<R>) {
        for delay_ms in self.bus.arrivals(from, to, &mut self.dice) {
            self.queue.after(delay_ms, arrival());
        }
    }

    /// The next event; none while its machine stands still, or when its process is gone.
    fn next(&mut self) -> Result<Option<Event<R>>, Violation> {
        let Some(event) = self.queue.next() else {
            return Err(Violation::new("something always happens", "no event is left"));
        };
        self.steps += 1;
        let Event::Local { at, life, .. } = &event else { return Ok(Some(event)) };
        let machine = &self.machines[*at];
        if machine.paused_until_ms > self.queue.now_ms() {
            self.queue.at(machine.paused_until_ms, event);
            return Ok(None);
        }
        let gone = life.is_some_and(|life| life != machine.life);
        Ok((!gone).then_some(event))
    }

    /// One of the machines. One that is alone is chosen without a draw.
    pub fn anybody(&mut self) -> usize {
        match self.machines.len() {
            1 => 0,
            many => self.dice.below(many as u64) as usize,
        }
    }

    /// The process ends at some operation on the disk, half a write included.
    pub fn end_inside(&mut self, at: usize, loss: Loss) {
        if self.machines[at].fuse().is_none() {
            let operations = *self.dice.pick(&[3, 30, 100]);
            let (changes, torn_eighths) = (self.dice.below(operations), self.dice.below(9));
            self.machines[at].light(loss, changes, torn_eighths);
        }
    }

    /// Trouble of the network, and with time. Place 0 is whoever is asked by all machines and is none of them.
    pub fn disturb(&mut self, at: usize, trouble: Trouble) {
        let (here, places) = (self.machines[at].place(), 0..=self.machines.len() as Place);
        match trouble {
            Trouble::Pause => {
                let pause_ms = *self.dice.pick(&[50, 900, 4_000]);
                let until_ms = self.queue.now_ms() + self.dice.between(1, pause_ms);
                self.machines[at].paused_until_ms = until_ms;
            }
            Trouble::CutOneWay => {
                let other = self.dice.below(places.count() as u64) as Place;
                self.bus.cut(here, other);
                self.heal_later();
            }
            Trouble::Isolate => {
                self.bus.isolate(here, places);
                self.heal_later();
            }
            _ => self.bus.heal(),
        }
    }

    fn heal_later(&mut self) {
        let delay_ms = *self.dice.pick(&[100, 2_000, 6_000]);
        self.queue.after(self.dice.between(1, delay_ms), Event::Heal);
    }

    /// From now on nothing goes wrong by itself.
    pub fn calm(&mut self) {
        self.finishing = true;
        self.bus.calm();
        self.machines.iter_mut().for_each(Machine::calm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three machines that write down what happens to them, and when.
    struct Diary {
        cluster: Cluster<Diary>,
        lines: Vec<(i64, usize, &'static str)>,
    }

    impl Rules for Diary {
        type Process = ();
        type Local = &'static str;
        type Global = ();

        fn cluster(&mut self) -> &mut Cluster<Diary> {
            &mut self.cluster
        }

        fn local(&mut self, at: usize, what: &'static str) -> Verdict {
            self.lines.push((self.cluster.now_ms() - EPOCH_MS, at, what));
            Ok(())
        }

        fn global(&mut self, (): ()) -> Verdict {
            Ok(())
        }

        fn end(&mut self, at: usize, loss: Loss) {
            self.cluster.machines[at].end(loss);
        }

        fn finish(&mut self) -> Verdict {
            Ok(())
        }

        fn judged(&self) -> (usize, usize) {
            (0, 0)
        }
    }

    fn three() -> Diary {
        let memories = (0..3).map(MemoryDisk::new).collect();
        let cluster = Cluster::new(Dice::new(0), Bus::still(), memories, None, 0);
        Diary { cluster, lines: Vec::new() }
    }

    #[test]
    fn a_machine_that_stands_still_lets_its_events_wait() {
        let mut diary = three();
        diary.cluster.machines[1].paused_until_ms = EPOCH_MS + 100;
        diary.cluster.local(0, 5, "hears");
        diary.cluster.local(1, 5, "hears");
        diary.cluster.work(1, 50, "works");
        diary.run_while(|diary| diary.lines.len() < 3);
        assert_eq!(diary.lines, [(5, 0, "hears"), (100, 1, "hears"), (100, 1, "works")]);
    }

    #[test]
    fn what_belongs_to_a_process_dies_with_it() {
        let mut diary = three();
        diary.cluster.work(2, 5, "works");
        diary.cluster.local(2, 9, "hears");
        diary.end(2, Loss::Process);
        diary.cluster.work(2, 7, "works again");
        diary.run_while(|diary| diary.lines.len() < 2);
        assert_eq!(diary.lines, [(7, 2, "works again"), (9, 2, "hears")]);
    }

    #[test]
    fn an_isolated_machine_hears_nobody_until_it_is_healed() {
        let mut diary = three();
        diary.cluster.disturb(0, Trouble::Isolate);
        let arrives = |at| move || Event::Local { at, life: None, what: "hears" };
        diary.cluster.send(2, 1, arrives(0));
        diary.cluster.send(1, 3, arrives(2));
        diary.cluster.send(2, 3, arrives(2));
        diary.run_while(|diary| diary.lines.is_empty());
        diary.cluster.calm();
        diary.cluster.send(2, 1, arrives(0));
        diary.run_while(|diary| diary.lines.len() < 2);
        let heard: Vec<usize> = diary.lines.iter().map(|(_, at, _)| *at).collect();
        assert_eq!(heard, [2, 0]);
    }
}

//! Observers in this world: machines that follow the metadata log without a vote, and what passes between them and the voters.
//! It must never let anything happen that is not an event.

use ottla_node::observer::{Answer, Answered, Asked, Input, Output, Question, Refused, To};
use ottla_node::quorum::{FetchAnswer, Fetched, ReplicaKey};
use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::BatchHeader;

use super::process::{Member, Node, Process, Waiter, Watcher, directory};
use super::{Local, Quorums};
use crate::bus::Place;
use crate::cluster::{Event, Rules};
use crate::invariants::ledger::Loss;
use crate::marks::{mark, mark_if};
use crate::mutation::Mutation;
use crate::verdict::{Verdict, Violation};

impl Quorums {
    pub(super) fn observes(&self, at: usize) -> bool {
        at >= self.plan.machines
    }

    pub(super) fn boot_observer(&mut self, at: usize) -> Verdict {
        let now_ms = self.cluster.now_ms();
        let machine = &mut self.cluster.machines[at];
        if machine.process.is_some() {
            return Ok(());
        }
        machine.begin();
        let id = machine.id;
        let me = ReplicaKey { id, directory_id: directory(id, 0) };
        let started = Watcher::start(me, machine.disk.clone(), now_ms);
        let watcher =
            started.map_err(|why| Violation::new("an observer starts again", format!("{id}: {why}")))?;
        let (offsets, image) = (watcher.observer.log().offsets(), watcher.observer.image().clone());
        machine.process = Some(Process { node: Node::Observer(Box::new(watcher)), broker: None });
        self.cluster.note_at(at, || format!("up, with an image of {}: {offsets:?}", image.offset));
        self.cluster.restarts += 1;
        if self.cluster.mutation == Some(Mutation::ShowAtOnce) && image.offset >= 0 {
            self.judge.observed(id, &image)?;
        }
        self.in_observer(at, Local::Wake)?;
        self.boot_broker(at)
    }

    /// Something happens at an observer.
    pub(super) fn in_observer(&mut self, at: usize, what: Local) -> Verdict {
        let (now_ms, id) = (self.cluster.now_ms(), self.cluster.machines[at].id);
        let machine = &mut self.cluster.machines[at];
        let Some(watcher) = machine.process.as_mut().and_then(Process::watcher) else { return Ok(()) };
        let input = match what {
            Local::Wake => {
                watcher.wakes_ms = None;
                Input::Tick
            }
            Local::Fetched(answered) => {
                self.cluster.trace.note(now_ms, || format!("node {id} is answered {:?}", answered.answer));
                Input::Answered(answered)
            }
            Local::Write(snapshot) => {
                let written = snapshot.write(&*machine.disk);
                let written = written.map_err(|e| Violation::new("no disk fails here", e.to_string()))?;
                self.cluster.note_at(at, || format!("wrote {}", written.file_name()));
                let delay_ms = self.cluster.dice.between(0, 5);
                self.cluster.work(at, delay_ms, Local::Written(Some(written)));
                return Ok(());
            }
            Local::Written(written) => Input::Snapshotted(written),
            // What is meant for voters.
            _ => return Ok(()),
        };
        let (mut outputs, before) = (Vec::new(), watcher.observer.log().offsets());
        let stepped = watcher.observer.step(now_ms, input, &mut outputs);
        stepped.map_err(|e| Violation::new("an observer goes on", format!("{id}: {e}")))?;
        let after = watcher.observer.log().offsets();
        mark_if(after.log_end < before.log_end, "an observer's log had parted");
        mark_if(after.log_start > before.log_end, "an observer was given a snapshot");
        self.carry_out_at_observer(at, outputs)?;
        self.wake_later(at);
        Ok(())
    }

    fn carry_out_at_observer(&mut self, at: usize, outputs: Vec<Output>) -> Verdict {
        let id = self.cluster.machines[at].id;
        for output in outputs {
            match output {
                Output::Ask(asked) => self.ask(at, asked),
                Output::Published(image) => {
                    self.judge.observed(id, &image)?;
                    self.show_later(at, image);
                }
                Output::Snapshot(snapshot) => {
                    let delay_ms = self.cluster.dice.between(0, 20);
                    self.cluster.work(at, delay_ms, Local::Write(Box::new(snapshot)));
                }
                Output::Led(leader) => {
                    mark_if(leader.is_none(), "an observer knew of no leader");
                    self.cluster.note_at(at, || format!("follows {leader:?}"));
                }
                Output::Refused(why @ (Refused::Unfit(_) | Refused::SecondLeader { .. })) => {
                    return Err(Violation::new("an observer takes what a leader sends", why.to_string()));
                }
                Output::Refused(why) => self.cluster.note_at(at, || format!("refuses {why}")),
            }
        }
        Ok(())
    }

    /// A question for the log is on its way, from an observer or from a controller that hears of no leader.
    pub(super) fn ask(&mut self, at: usize, asked: Asked) {
        let to = match &asked.to {
            To::Leader(leader) => leader.id.0 as usize - 1,
            To::Anybody(turn) => turn % self.plan.machines,
        };
        let (from, place) = (self.cluster.machines[at].place(), to as Place + 1);
        let waiter = Waiter { at, life: self.cluster.machines[at].life, asked };
        self.questions.insert(at, (to, waiter.clone()));
        let arrival = || {
            let what = Local::Fetch(Box::new(waiter.clone()));
            Event::Local { at: to, life: None, what }
        };
        self.cluster.send(from, place, arrival);
    }

    fn wake_later(&mut self, at: usize) {
        let now_ms = self.cluster.now_ms();
        let process = self.cluster.machines[at].process.as_mut();
        let Some(watcher) = process.and_then(Process::watcher) else { return };
        let wakes_ms = watcher.observer.wakes_ms().max(now_ms + 1);
        if watcher.wakes_ms.is_none_or(|planned| planned > wakes_ms) {
            watcher.wakes_ms = Some(wakes_ms);
            self.cluster.work(at, wakes_ms - now_ms, Local::Wake);
        }
    }

    /// A voter is asked for the log. Where no process runs, the connection is refused.
    pub(super) fn serve(&mut self, at: usize, waiter: Waiter) {
        let (now_ms, mutation) = (self.cluster.now_ms(), self.cluster.mutation);
        let process = self.cluster.machines[at].process.as_mut();
        let Some(member) = process.and_then(Process::member) else {
            return self.answer_observer(at, waiter, None);
        };
        match waiter.asked.question.clone() {
            Question::Fetch(mut fetch) => {
                if mutation == Some(Mutation::ServeAnyLog) {
                    fetch.last_epoch = epoch_before(member, fetch.offset).unwrap_or(fetch.last_epoch);
                }
                let served = member.controller.fetch(now_ms, &fetch);
                let max_wait_ms = ottla_node::observer::WAIT_MS;
                if let Some((waiter, answer)) =
                    member.fetches.hear(now_ms, waiter, fetch, max_wait_ms, served)
                {
                    self.answer_fetch(at, waiter, answer);
                }
            }
            Question::FetchSnapshot(fetch) => {
                let answer = member.controller.fetch_snapshot(&fetch);
                self.answer_observer(at, waiter, Some(Answer::Piece(answer)));
            }
        }
    }

    /// After a step of a voter.
    pub(super) fn serve_those_who_wait(&mut self, at: usize) {
        let now_ms = self.cluster.now_ms();
        let process = self.cluster.machines[at].process.as_mut();
        let Some(Member { controller, fetches }) = process.and_then(Process::member) else { return };
        let ends = controller.quorum().ends();
        let serve = |fetch: &_| controller.fetch(now_ms, fetch);
        for (waiter, answer) in fetches.look_again(now_ms, ends, serve) {
            mark("a fetch of the metadata log had waited");
            self.answer_fetch(at, waiter, answer);
        }
    }

    fn answer_fetch(&mut self, at: usize, waiter: Waiter, mut answer: FetchAnswer) {
        if self.cluster.mutation == Some(Mutation::ObserveLogEnd)
            && let Some(process) = &self.cluster.machines[at].process
            && let Some(controller) = process.controller()
        {
            answer.high_watermark = answer.high_watermark.map(|_| controller.quorum().next_offset());
        }
        mark_if(
            matches!(answer.fetched, Ok(Fetched::Diverging { .. })),
            "an observer was told to cut its log",
        );
        self.answer_observer(at, waiter, Some(Answer::Fetched(answer)));
    }

    // The connection ends with the observer's process.
    pub(super) fn answer_observer(&mut self, at: usize, waiter: Waiter, answer: Option<Answer>) {
        let Waiter { at: observer, life, asked } = waiter;
        let (from, to) = (self.cluster.machines[at].place(), self.cluster.machines[observer].place());
        let answered = Box::new(Answered { asked, answer });
        let arrival = || {
            let what = Local::Fetched(answered.clone());
            Event::Local { at: observer, life: Some(life), what }
        };
        self.cluster.send(from, to, arrival);
    }

    /// The other voters hear nothing of the leader any more, and elect another one; observers and clients hear it still. What
    /// it tells them now will have to give way.
    pub(super) fn split_off_leader(&mut self) {
        let Some((leader, _)) = self.led() else { return };
        let cluster = &mut self.cluster;
        cluster.note_at(leader, || "trouble: the other voters do not hear it".into());
        cluster.bus.isolate(cluster.machines[leader].place(), 1..=self.plan.machines as Place);
        let most_ms = *cluster.dice.pick(&[300, 2_000, 4_000]);
        cluster.queue.after(cluster.dice.between(1, most_ms), Event::Heal);
    }

    /// An observer comes back with an empty disk.
    pub(super) fn wipe_observer(&mut self, at: usize) {
        self.end(at, Loss::Power);
        let machine = &mut self.cluster.machines[at];
        super::empty(&machine.memory);
        self.judge.forgot(machine.id);
        mark("an observer lost its disk");
    }

    /// Whether each observer has everything that is agreed on.
    pub(super) fn all_observe(&self) -> bool {
        let agreed = self.cluster.machines.iter().take(self.plan.machines);
        let agreed =
            agreed.filter_map(|machine| Some(machine.process.as_ref()?.log().high_watermark())).max();
        let observers = &self.cluster.machines[self.plan.machines..];
        observers.iter().all(|machine| {
            machine.process.as_ref().is_some_and(|process| {
                Some(process.image().offset + 1) == agreed && Some(process.log().log_end_offset()) == agreed
            })
        })
    }
}

// The epoch that the voter's own log has there.
fn epoch_before(member: &Member, offset: i64) -> Option<LeaderEpoch> {
    let log = member.controller.quorum().store().log();
    if offset <= log.log_start_offset() || offset > log.log_end_offset() {
        return None;
    }
    let slice = log.reader().read(offset - 1, 1, ottla_log::log::Isolation::LogEnd, true).ok()?;
    let header = BatchHeader::parse(&slice.range?.read().ok()?).ok()?;
    Some(LeaderEpoch(header.partition_leader_epoch))
}

//! A shard's life between its machine and its log, as scripts: what is appended, what is held back, what is lost. Played
//! with groups, with transactions, and with a machine that counts and knows nothing of groups.

mod counter;
mod counting;
mod groups;
mod keeping;
mod transactions;

use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::HEADER_BYTES;

use super::*;

/// A shard with a log of its own, which does as it is told.
struct Stage<M: Machine<Token = u32>> {
    shard: Shard<M>,
    log: Vec<Bytes>,
    log_end: Offset,
    asked: u32,
    now_ms: i64,
}

impl<M: Machine<Token = u32>> Stage<M> {
    fn new(mut shard: Shard<M>) -> Stage<M> {
        shard.loaded(1_000, 0, 0);
        Stage { shard, log: Vec::new(), log_end: 0, asked: 0, now_ms: 1_000 }
    }

    /// The same log, loaded by somebody else into `shard`.
    fn loaded_into(&self, mut shard: Shard<M>) -> Stage<M> {
        for batch in &self.log {
            shard.replay(batch).expect("it was written");
        }
        assert_eq!(shard.applied(), self.log_end);
        shard.loaded(self.now_ms, self.log_end, self.log_end);
        Stage { shard, log: self.log.clone(), log_end: self.log_end, asked: 100, now_ms: self.now_ms }
    }

    fn ask(&mut self, command: M::Command) -> Outputs<M> {
        self.asked += 1;
        self.feed(Input::Ask { token: self.asked, command })
    }

    fn end_transaction(&mut self, ending: Ending) -> Outputs<M> {
        self.asked += 1;
        self.feed(Input::EndTransaction { token: self.asked, ending })
    }

    fn feed(&mut self, input: Input<u32, M::Command>) -> Outputs<M> {
        let mut out = Vec::new();
        self.shard.step(self.now_ms, input, &mut out);
        out
    }

    /// Appends the one batch that is asked for, and tells the shard.
    fn append(&mut self, out: Outputs<M>) -> Outputs<M> {
        let [Output::Append(batch)] = &out[..] else { panic!("no append alone: {} outputs", out.len()) };
        let outcome = self.write(&batch.bytes);
        assert!(self.shard.is_in_step(&outcome, self.log_end));
        self.feed(Input::Appended(outcome))
    }

    fn write(&mut self, batch: &Bytes) -> Result<(Offset, Offset), ErrorCode> {
        let mut header = BatchHeader::parse(batch).expect("a batch");
        header.base_offset = self.log_end;
        header.partition_leader_epoch = LeaderEpoch(0).0;
        self.log.push([&header.to_bytes()[..], &batch[HEADER_BYTES..]].concat().into());
        self.log_end = header.next_offset();
        Ok((header.base_offset, header.last_offset()))
    }

    /// Whatever is asked for, until nothing is. Everything is replicated at once.
    fn settle(&mut self, out: Outputs<M>) -> Outputs<M> {
        let mut replies = Vec::new();
        let mut queue = VecDeque::from(out);
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Append(batch) => {
                    let outcome = self.write(&batch.bytes);
                    queue.extend(self.feed(Input::Appended(outcome)));
                }
                output => replies.push(output),
            }
        }
        replies.extend(self.feed(Input::Replicated(self.log_end)));
        replies
    }
}

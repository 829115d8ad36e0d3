//! When each batch of an open loop was meant to be sent, told from its partition and offset alone, so that a consumer
//! needs nothing inside the batch. Connections take partitions in turn and are taken in turn, so batch `n` of the whole
//! load goes to partition `n % partitions`.

use std::time::{Duration, Instant};

use ottla_protocol::Offset;

#[derive(Clone, Debug)]
pub struct Timeline {
    pub start: Instant,
    pub batches_per_second: f64,
    pub records_per_batch: usize,
    /// Where each partition ended when the load began.
    pub firsts: Vec<Offset>,
}

impl Timeline {
    pub fn meant_at(&self, partition: usize, base_offset: Offset) -> Instant {
        let turn = (base_offset - self.firsts[partition]).max(0) as u64 / self.records_per_batch as u64;
        let batch = turn * self.firsts.len() as u64 + partition as u64;
        self.start + Duration::from_secs_f64(batch as f64 / self.batches_per_second)
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::TopicRef;

    use super::*;
    use crate::engine::Load;
    use crate::produce::{Producing, SINGLE_RECORDS, Shape};
    use crate::setup::Topic;

    #[test]
    fn batches_are_meant_when_an_open_loop_sends_them() {
        let (partitions, connections, records) = (16, 4, 3);
        let topic = Topic { name: "t".into(), id: TopicRef::Id(Default::default()), partitions };
        let mut load = Producing::new(&topic, Shape { records, ..SINGLE_RECORDS }, connections);
        let mut ends = vec![100; partitions];
        let start = Instant::now();
        let timeline =
            Timeline { start, batches_per_second: 1e3, records_per_batch: records, firsts: ends.clone() };
        for n in 0..200 {
            let frame = load.request(n % connections).expect("a frame");
            // A frame's correlation id is its partition.
            let partition = i32::from_be_bytes(*frame[8..].first_chunk().expect("a header")) as usize;
            let meant_at = timeline.meant_at(partition, ends[partition]);
            assert_eq!((meant_at - start).as_millis(), n as u128, "batch {n} to partition {partition}");
            ends[partition] += records as i64;
        }
    }
}

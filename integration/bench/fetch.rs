//! Fetch: reads a topic from its start to its end with a consumer's limits, and looks at every batch header.

use anyhow::{Result, bail};
use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchHeader, verify_crc};
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::primitives::{Form, Reader};
use ottla_protocol::{Offset, TopicRef};

use crate::engine::Load;
use crate::produce::frame_of;
use crate::setup::{Topic, accept};

/// Each connection reads its share of the partitions, without a session.
pub struct Fetching {
    topic: TopicRef,
    connections: usize,
    partitions: Vec<Progress>,
    /// Of whole batches.
    bytes: u64,
}

struct Progress {
    next: Offset,
    end: Offset,
}

impl Fetching {
    pub fn new(topic: &Topic, ends: Vec<Offset>, connections: usize) -> Fetching {
        let partitions = ends.into_iter().map(|end| Progress { next: 0, end }).collect();
        Fetching { topic: topic.id.clone(), connections, partitions, bytes: 0 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take(&mut self, index: usize, mut records: &[u8]) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(index) else {
            bail!("an answer about partition {index}")
        };
        // Every record's checksum would cost us as much as the broker's work; one batch of each answer has to do.
        let mut is_first = true;
        // The last batch may have been cut off by the limit.
        while let Ok(header) = BatchHeader::parse(records)
            && let Some((batch, rest)) = records.split_at_checked(header.size_in_bytes())
        {
            if header.base_offset != partition.next {
                bail!("partition {index}: batch {} where {} is next", header.base_offset, partition.next);
            }
            if is_first && !verify_crc(batch) {
                bail!("partition {index}: batch {} is damaged", header.base_offset);
            }
            is_first = false;
            self.bytes += batch.len() as u64;
            partition.next = header.next_offset();
            records = rest;
        }
        Ok(())
    }
}

impl Load for Fetching {
    fn request(&mut self, connection: usize) -> Option<Bytes> {
        let asked = |(index, progress): (usize, &Progress)| {
            let is_asked = index % self.connections == connection && progress.next < progress.end;
            is_asked.then(|| FetchPartition::new(index as i32, progress.next, PARTITION_BYTES_MAX))
        };
        let partitions: Vec<_> = self.partitions.iter().enumerate().filter_map(asked).collect();
        if partitions.is_empty() {
            return None;
        }
        let topics = vec![FetchTopic { topic: self.topic.clone(), partitions }];
        let request = FetchRequest { topics, ..FetchRequest::default() };
        Some(frame_of(ApiKey::Fetch, VERSION, 0, |buf| request.write(VERSION, buf)))
    }

    // By hand, since the codec wants to own the bytes and the buffer is used again.
    fn answer(&mut self, _: usize, answer: &[u8]) -> Result<()> {
        let form = Form::Flexible;
        let mut reader = Reader::new(answer);
        let _correlation_id = reader.i32()?;
        reader.skip_tagged_fields(form)?;
        let _throttle_time_ms = reader.i32()?;
        accept(reader.i16()?)?;
        let _session_id = reader.i32()?;
        for _ in 0..reader.array_len(form, 1)? {
            let _topic = reader.uuid()?;
            for _ in 0..reader.array_len(form, 1)? {
                let index = reader.i32()?;
                accept(reader.i16()?)?;
                // High watermark, last stable offset, log start.
                reader.skip(8 + 8 + 8)?;
                for _ in 0..reader.nullable_array_len(form, 8 + 8)?.unwrap_or(0) {
                    reader.skip(8 + 8)?;
                    reader.skip_tagged_fields(form)?;
                }
                let _preferred_read_replica = reader.i32()?;
                let bytes = reader.nullable_array_len(form, 1)?.unwrap_or(0);
                let records = reader.take(bytes)?;
                reader.skip_tagged_fields(form)?;
                self.take(index as usize, records)?;
            }
            reader.skip_tagged_fields(form)?;
        }
        Ok(())
    }
}

/// A consumer's `max.partition.fetch.bytes`; its `fetch.max.bytes` and the rest are the request's defaults.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const VERSION: i16 = 18;

//! Fetch with a consumer's limits: reads partitions up to an end, over and over, or along with their producers, and looks
//! at every batch header.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use ottla_protocol::api::ApiKey;
use ottla_protocol::batch::{BatchHeader, verify_crc};
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::primitives::{Form, Reader};
use ottla_protocol::{ErrorCode, Offset};

use crate::engine::Load;
use crate::histogram::Histogram;
use crate::produce::frame_of;
use crate::setup::{Setup, Topic, accept};
use crate::timeline::Timeline;

/// Where partitions end once their producers are done; empty until then.
pub type Ends = Arc<OnceLock<Vec<Offset>>>;

/// Each connection reads its share of the partitions, without a session.
pub struct Fetching {
    address: String,
    topic: Topic,
    connections: usize,
    partitions: Vec<Progress>,
    then: Then,
    /// Of whole batches.
    bytes: u64,
    /// Offsets that retention took before they were read.
    lost: u64,
    /// Since each batch was meant to be sent, where that is known.
    latency: Histogram,
}

/// What follows the end of a partition.
pub enum Then {
    Stop,
    StartAgain,
    /// The end moves until the producers are done.
    Follow(Timeline, Ends),
    /// A reader of old data, who has to stop when the producers are done.
    StopWith(Ends),
}

struct Progress {
    start: Offset,
    next: Offset,
    end: Offset,
}

impl Fetching {
    pub fn new(
        address: &str,
        topic: &Topic,
        starts: Vec<Offset>,
        ends: Vec<Offset>,
        connections: usize,
        then: Then,
    ) -> Fetching {
        let progress = |(start, end)| Progress { start, next: start, end };
        Fetching {
            address: address.into(),
            topic: topic.clone(),
            connections,
            partitions: starts.into_iter().zip(ends).map(progress).collect(),
            then,
            bytes: 0,
            lost: 0,
            latency: Histogram::default(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub fn into_latency(self) -> Histogram {
        self.latency
    }

    fn take(&mut self, index: usize, mut records: &[u8]) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(index) else {
            bail!("an answer about partition {index}")
        };
        let now = Instant::now();
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
            if let Then::Follow(timeline, _) = &self.then {
                let meant_at = timeline.meant_at(index, header.base_offset);
                self.latency.record(now.saturating_duration_since(meant_at));
            }
            self.bytes += batch.len() as u64;
            partition.next = header.next_offset();
            records = rest;
        }
        if matches!(self.then, Then::StartAgain) && partition.next >= partition.end {
            partition.next = partition.start;
        }
        Ok(())
    }

    /// Retention was faster than this reader.
    fn skip_what_is_deleted(&mut self, index: usize) -> Result<()> {
        let starts = Setup::connect(&self.address, READY_WITHIN)?.start_offsets(&self.topic, READY_WITHIN)?;
        let (Some(partition), Some(start)) = (self.partitions.get_mut(index), starts.get(index)) else {
            bail!("an answer about partition {index}")
        };
        if *start <= partition.next {
            bail!("partition {index} starts at {start}, yet {} is out of range", partition.next);
        }
        self.lost += (start - partition.next) as u64;
        (partition.start, partition.next) = (*start, *start);
        Ok(())
    }

    fn end_of(&self, index: usize) -> Offset {
        match &self.then {
            Then::Follow(_, ends) => ends.get().map_or(Offset::MAX, |ends| ends[index]),
            Then::StopWith(ends) if ends.get().is_some() => 0,
            _ => self.partitions[index].end,
        }
    }
}

impl Load for Fetching {
    fn request(&mut self, connection: usize) -> Option<Bytes> {
        let asked = |(index, progress): (usize, &Progress)| {
            let is_asked = index % self.connections == connection && progress.next < self.end_of(index);
            is_asked.then(|| FetchPartition::new(index as i32, progress.next, PARTITION_BYTES_MAX))
        };
        let partitions: Vec<_> = self.partitions.iter().enumerate().filter_map(asked).collect();
        if partitions.is_empty() {
            return None;
        }
        let topics = vec![FetchTopic { topic: self.topic.id.clone(), partitions }];
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
                let code = reader.i16()?;
                let is_deleted = ErrorCode::from_code(code) == ErrorCode::OffsetOutOfRange;
                if is_deleted {
                    self.skip_what_is_deleted(index as usize)?;
                } else {
                    accept(code)?;
                }
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
const READY_WITHIN: Duration = Duration::from_secs(60);

//! Compaction: of each key only the newest record stays (`cleanup.policy=compact`). Reads sealed segments beside the
//! log's owner and its readers, writes what is left of them beside them, and has the owner swap. It must never change
//! what anybody sees: that is [`Log::swap_cleaned`]'s.
//!
//! How a broker drives it, with `log.cleaner.threads` threads of which each waits `log.cleaner.backoff.ms` when it
//! found nothing to do:
//!
//! 1. [`LogReader::dirt`] of each compacted log that nobody is cleaning, with its offset from the directory's
//!    `cleaner-offset-checkpoint`; where [`Dirt::checkpoint`] differs from it, the file is corrected. Of those that are
//!    [`Dirt::due`] the one with the highest [`Dirt::ratio`] is cleaned.
//! 2. The log's owner is asked for [`Log::begin_cleaning`] with an [`OffsetMap`] of `log.cleaner.dedupe.buffer.size`
//!    divided by the threads. It grows as keys come, and is dropped or kept for the next log.
//! 3. [`Cleaning::step`] off the owner's lane, again and again. Each takes about as many bytes as it was allowed and
//!    says how many it took: the thread rests for that many divided by `log.cleaner.io.max.bytes.per.second`. It stops
//!    at any step by [`Cleaning::abandon`].
//! 4. [`Step::Swap`] goes to the owner's [`Log::swap_cleaned`]. What comes back is removed after
//!    `file.delete.delay.ms`, like what retention takes. Refused: the log has changed, the cleaning is abandoned.
//! 5. [`Step::Done`] says the offset for the checkpoint. If it is lost the next cleaning does some work again.
//!
//! An error of a step is no failure of the log: the broker notes the partition as uncleanable until it restarts.
//!
//! Stricter than Kafka: only what is flushed is cleaned, or a loss of power could take the newer record where cleaning
//! has taken the older; and the last batch of each output stays, empty if need be, so that segments always join and a
//! hole between two of them tells of a lost tail. A batch too large to be decompressed in memory stays whole.

mod dirt;
mod filter;
mod group;
mod job;
mod keys;
mod offset_map;
mod output;
mod swap;
mod transactions;

pub use dirt::Dirt;
pub use offset_map::OffsetMap;
pub use swap::{NotSwapped, Swap};

use std::sync::atomic::Ordering;

use ottla_protocol::Offset;

use super::error::{LogError, io};
use super::scan::Stopped;
use filter::{Filter, Verdict};
use job::{Job, floor};
use keys::KeyReader;
use output::Output;
use transactions::Transactions;

/// A cleaning that is going on. Belongs to one thread at a time.
#[derive(Debug)]
pub struct Cleaning {
    job: Job,
    map: OffsetMap,
    transactions: Transactions,
    phase: Phase,
    /// Where the current segment is read on.
    segment: usize,
    position: u64,
    /// No batch there begins below.
    next: Offset,
    done: Cleaned,
}

#[derive(Debug)]
enum Phase {
    Mapping,
    Writing { groups: Vec<group::Group>, output: Option<Output> },
    Over,
}

/// What a step came to.
#[derive(Debug)]
#[must_use = "a swap is for the owner"]
pub enum Step {
    /// Go on, after resting for as many bytes as were read and written.
    Working { bytes: u64 },
    /// For [`Log::swap_cleaned`]; go on if it succeeds.
    Swap(Box<Swap>),
    /// Everything below is clean now: for the checkpoint.
    Done(Cleaned),
}

/// What a cleaning has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    pub up_to: Offset,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub records_read: u64,
    /// Keys whose newest offset was known.
    pub keys: usize,
    /// The cut that the reader had last told of; see [`super::LogReader::forget_cut`].
    pub lowest_cut: Offset,
}

impl Cleaning {
    fn new(job: Job, mut map: OffsetMap) -> Result<Cleaning, LogError> {
        map.clear(job.first_dirty - 1);
        let segment = floor(&job.segments[..job.count], job.first_dirty);
        let transactions = job.transactions(job.first_dirty, job.end)?;
        let done = Cleaned { lowest_cut: job.lowest_cut, ..Cleaned::default() };
        Ok(Cleaning { job, map, transactions, phase: Phase::Mapping, segment, position: 0, next: 0, done })
    }

    /// Reads, and writes, about `budget_bytes`. Only a finished output may take longer: it is synced.
    pub fn step(&mut self, budget_bytes: u64) -> Result<Step, LogError> {
        if self.job.offline.load(Ordering::Acquire) {
            return Err(LogError::Offline { dir: self.job.dir.clone() });
        }
        let before = self.done.bytes_read + self.done.bytes_written;
        let outcome = match self.phase {
            Phase::Mapping => self.map_some(budget_bytes),
            Phase::Writing { .. } => self.write_some(budget_bytes),
            Phase::Over => Ok(Some(Step::Done(self.done))),
        };
        let bytes = self.done.bytes_read + self.done.bytes_written - before;
        outcome.map(|step| step.unwrap_or(Step::Working { bytes }))
    }

    /// Removes what was written and not swapped in. Returns the map for another log.
    pub fn abandon(mut self) -> OffsetMap {
        if let Phase::Writing { output: Some(output), .. } = std::mem::replace(&mut self.phase, Phase::Over) {
            output.remove(self.job.disk.as_ref());
        }
        self.map
    }

    /// After [`Step::Done`], for another log.
    pub fn into_map(self) -> OffsetMap {
        self.map
    }

    /// Enters the newest offset of each key that is dirty, until the map is full.
    fn map_some(&mut self, budget_bytes: u64) -> Result<Option<Step>, LogError> {
        let mut keys = KeyReader::new(self.map.seed());
        let mut spent = 0;
        while spent < budget_bytes {
            if self.segment >= self.job.count || self.map.is_full() {
                self.begin_writing()?;
                break;
            }
            let segment = self.job.segments[self.segment].clone();
            let size = segment.sealed_bytes().unwrap_or(0);
            if self.position == 0 && segment.base < self.job.first_dirty {
                let found = segment.locate(self.job.first_dirty, size)?;
                self.position = found.map_or(size, |found| found.position);
            }
            let mut scan = segment.scan(self.position, size, PIECE_BYTES);
            while spent < budget_bytes && !self.map.is_full() {
                let corrupt = |stopped| segment.corrupt(segment.base, stopped);
                let Some(found) = scan.next().map_err(corrupt)? else {
                    // What is missing at its end was taken by an earlier cleaning.
                    self.map.latest = self.job.base_of(self.segment + 1) - 1;
                    (self.segment, self.position) = (self.segment + 1, 0);
                    break;
                };
                let bytes = scan.batch(&found).map_err(io("reading a batch to clean it"))?;
                let invalid = |what: String| {
                    segment.corrupt(
                        found.header.base_offset,
                        Stopped::Invalid { position: found.position, what },
                    )
                };
                self.job.check_place(self.segment, self.next, &found.header).map_err(invalid)?;
                let discard = self.transactions.read(&found.header, bytes);
                if !found.header.is_control() && !discard.can_discard {
                    filter::check_crc(&found.header, bytes).map_err(invalid)?;
                    let start = self.job.first_dirty;
                    keys.enter(&found.header, bytes, start, &mut self.map)
                        .map_err(|e| invalid(e.to_string()))?;
                }
                if !self.map.is_full() {
                    self.map.latest = self.map.latest.max(found.header.last_offset());
                }
                spent += found.header.size_in_bytes() as u64;
                self.done.records_read += u64::try_from(found.header.record_count).unwrap_or(0);
                (self.position, self.next) = (found.end(), found.header.next_offset());
            }
        }
        self.done.bytes_read += spent;
        Ok(None)
    }

    fn begin_writing(&mut self) -> Result<(), LogError> {
        let job = &self.job;
        let end = self.map.latest + 1;
        (self.done.up_to, self.done.keys) = (end, self.map.len());
        let count = job.segments[..job.count].partition_point(|segment| segment.base < end);
        self.transactions = job.transactions(job.segments[0].base, job.base_of(count))?;
        let groups = group::groups(job, count);
        self.phase = Phase::Writing { groups, output: None };
        (self.segment, self.position, self.next) = (0, 0, 0);
        Ok(())
    }

    fn write_some(&mut self, budget_bytes: u64) -> Result<Option<Step>, LogError> {
        let Cleaning { job, map, transactions, phase, segment: at, position, next, done } = self;
        let Phase::Writing { groups, output } = phase else { return Ok(None) };
        let Some(group) = groups.first().cloned() else {
            *phase = Phase::Over;
            return Ok(Some(Step::Done(*done)));
        };
        if output.is_none() {
            *output = Some(Output::create(job, &group)?);
        }
        let Some(out) = output else { return Ok(None) };
        let mut filter = Filter {
            map,
            producers: &job.producers,
            now_ms: job.now_ms,
            delete_retention_ms: job.config.delete_retention_ms,
        };
        let mut spent = 0;
        while spent < budget_bytes && *at < group.segments.end {
            let segment = &job.segments[*at];
            let size = segment.sealed_bytes().unwrap_or(0);
            let mut scan = segment.scan(*position, size, PIECE_BYTES);
            while spent < budget_bytes {
                let corrupt = |stopped| segment.corrupt(segment.base, stopped);
                let Some(found) = scan.next().map_err(corrupt)? else {
                    (*at, *position) = (*at + 1, 0);
                    break;
                };
                let bytes = scan.batch(&found).map_err(io("reading a batch to clean it"))?;
                let invalid = |what: String| {
                    let stopped = Stopped::Invalid { position: found.position, what };
                    segment.corrupt(found.header.base_offset, stopped)
                };
                job.check_place(*at, *next, &found.header).map_err(invalid)?;
                let ends = found.end() == size && *at + 1 == group.segments.end;
                let discard = transactions.read(&found.header, bytes);
                let verdict = filter.judge(&found.header, bytes, discard, ends).map_err(invalid)?;
                let written = match &verdict {
                    Verdict::Keep => out.append(bytes, job)?,
                    Verdict::Rewrite(bytes) => out.append(bytes, job)?,
                    Verdict::Drop => 0,
                };
                if let Some(aborted) = discard.aborted {
                    out.aborted(aborted)?;
                }
                let read = found.header.size_in_bytes() as u64;
                spent += read + written;
                done.bytes_read += read;
                done.bytes_written += written;
                done.records_read += u64::try_from(found.header.record_count).unwrap_or(0);
                (*position, *next) = (found.end(), found.header.next_offset());
            }
        }
        if *at < group.segments.end {
            return Ok(None);
        }
        let Some(out) = output.take() else { return Ok(None) };
        let made = out.finish(job)?;
        groups.remove(0);
        Ok(Some(Step::Swap(Box::new(Swap::new(job, group, made)?))))
    }
}

const PIECE_BYTES: usize = 256 << 10;

//! Compaction: of each key only the newest record stays (`cleanup.policy=compact`). A cleaning reads sealed segments
//! while the log's owner and its readers go on, and writes the remaining records to new files. It must never change what
//! readers see: [`Log::swap_cleaned`] does.
//!
//! How a broker drives it, with `log.cleaner.threads` threads, each of which waits `log.cleaner.backoff.ms` when there
//! was nothing to clean:
//!
//! 1. A thread asks for the [`LogReader::dirt`] of each compacted log that no thread is cleaning, with the log's offset
//!    from the directory's `cleaner-offset-checkpoint`. If [`Dirt::checkpoint`] is not `None`, it corrects the file. Of
//!    the logs that are [`Dirt::due`] it takes the one with the highest [`Dirt::ratio`].
//! 2. It calls [`Log::begin_cleaning`] on the log's owner, with an [`OffsetMap`] of `log.cleaner.dedupe.buffer.size`
//!    divided by the number of threads. The map grows with the number of keys. It is dropped, or kept for the next log.
//! 3. It calls [`Cleaning::step`] again and again, outside the owner's lane. Each step processes about as many bytes as
//!    it was allowed and returns how many they were; the thread then rests for that many divided by
//!    `log.cleaner.io.max.bytes.per.second`. Between two steps, [`Cleaning::abandon`] ends the cleaning.
//! 4. It passes [`Step::Swap`] to the owner's [`Log::swap_cleaned`]. The old files that this returns are removed after
//!    `file.delete.delay.ms`, as after retention. If the swap is refused, the log has changed, and the cleaning is
//!    abandoned.
//! 5. [`Step::Done`] has the offset for the checkpoint. If that is lost, the next cleaning does some work again.
//!
//! An error of a step does not take the log offline: the broker marks the partition as uncleanable until it restarts, unless
//! the cleaning is outdated ([`Cleaning::is_outdated`]), or the log was moved or deleted in the meantime.
//!
//! Stricter than Kafka in two ways. Only flushed records are cleaned: otherwise a loss of power could take the newer
//! record of a key after cleaning has removed the older one. The last batch of each output stays, empty if need be, so
//! that segments always join, and a hole between two segments shows that a tail was lost. A batch too large to be
//! decompressed in memory stays whole.

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

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use ottla_protocol::Offset;

use super::error::{LogError, io};
use super::scan::Stopped;
use filter::{Filter, Verdict};
use job::{Job, floor};
use keys::KeyReader;
use output::Output;
use transactions::Transactions;

/// A cleaning in progress. It belongs to one thread at a time.
#[derive(Debug)]
pub struct Cleaning {
    job: Job,
    map: OffsetMap,
    transactions: Transactions,
    /// Of the producers whose last batch may be lost with the power, the last offset of each in the dirty part.
    last_flushed: HashMap<i64, Offset>,
    phase: Phase,
    /// The segment that is read next.
    segment: usize,
    position: u64,
    /// No batch at this position starts below this offset.
    next: Offset,
    done: Cleaned,
}

#[derive(Debug)]
enum Phase {
    Mapping,
    Writing { groups: Vec<group::Group>, output: Option<Output> },
    Over,
}

/// The outcome of a step.
#[derive(Debug)]
#[must_use = "a swap is for the owner"]
pub enum Step {
    /// The cleaning goes on, after a rest for the bytes that were read and written.
    Working { bytes: u64 },
    /// An output for [`Log::swap_cleaned`]. The cleaning goes on if the swap succeeds.
    Swap(Box<Swap>),
    /// The cleaning is complete: everything below the offset is clean, which belongs into the checkpoint.
    Done(Cleaned),
}

/// What a cleaning has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    pub up_to: Offset,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub records_read: u64,
    /// Keys that were in the map.
    pub keys: usize,
    /// The lowest truncation that the reader knew of; see [`super::LogReader::forget_cut`].
    pub lowest_cut: Offset,
}

impl Cleaning {
    fn new(job: Job, mut map: OffsetMap) -> Result<Cleaning, LogError> {
        map.clear(job.first_dirty - 1);
        let segment = floor(&job.segments[..job.count], job.first_dirty);
        let transactions = job.transactions(job.first_dirty, job.end)?;
        let done = Cleaned { lowest_cut: job.lowest_cut, ..Cleaned::default() };
        let (phase, last_flushed) = (Phase::Mapping, HashMap::new());
        Ok(Cleaning { job, map, transactions, last_flushed, phase, segment, position: 0, next: 0, done })
    }

    /// Reads and writes about `budget_bytes`. Only finishing an output may take longer, since its files are synced.
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

    /// Whether retention has removed segments that were still to be cleaned. An error of a step then says nothing about the
    /// log.
    pub fn is_outdated(&self) -> bool {
        let from = match &self.phase {
            Phase::Writing { groups, .. } => {
                groups.first().map_or(self.job.count, |next| next.segments.start)
            }
            Phase::Mapping | Phase::Over => 0,
        };
        !self.job.reader.has(&self.job.segments[from..self.job.count])
    }

    /// Removes the output that is not finished. Returns the map, for another log.
    pub fn abandon(mut self) -> OffsetMap {
        if let Phase::Writing { output: Some(output), .. } = std::mem::replace(&mut self.phase, Phase::Over) {
            output.abandon(self.job.disk.as_ref());
        }
        self.map
    }

    /// Returns the map, for another log; to be called after [`Step::Done`].
    pub fn into_map(self) -> OffsetMap {
        self.map
    }

    /// Puts the newest offset of each dirty key into the map, until the map is full.
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
                    // If offsets are missing at the end of the segment, an earlier cleaning has removed them.
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
                self.job.note_last(&found.header, &mut self.last_flushed);
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
        output::remove_abandoned(job)?;
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
        let Cleaning { job, map, transactions, last_flushed, phase, segment: at, position, next, done } =
            self;
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
            last_flushed,
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
        let base = group.base;
        let swap = out.finish(job).and_then(|made| Swap::new(job, group, made));
        let swap = swap.inspect_err(|_| output::abandon(job.disk.as_ref(), &job.dir, base))?;
        groups.remove(0);
        Ok(Some(Step::Swap(Box::new(swap))))
    }
}

const PIECE_BYTES: usize = 256 << 10;

//! What must hold after each crash of a log, and at times while it runs.

use super::super::*;
use super::Seen;
use super::life::Life;
use super::model::{Batch, transactions};

impl Life {
    pub fn check_what_is_left(&mut self, killed: bool, seen: &mut Seen) {
        let zeros = self.ends_in_zeros();
        let (log, recovery) = Log::open(self.opening()).unwrap_or_else(|e| panic!("{e}"));
        self.world.log = log;
        let Offsets { log_start: start, log_end: end, .. } = self.world.log.offsets();
        let cut = self.unsure_cut.take().unwrap_or(Offset::MAX);
        let written = self.written.last().map_or(0, Batch::end);
        let must = if killed { written } else { self.flushed }.min(cut);
        assert!(end >= must, "the log ends at {end}, {must} were promised: {recovery:?}");
        assert!(start >= self.log_start, "{start}, {} is checkpointed", self.log_start);
        seen.zeros += u64::from(zeros);
        seen.torn += u64::from(!zeros && recovery.truncated_bytes > 0);
        seen.lost += u64::from(end < written);
        // While a cut waits for its flush, nothing else is written to the file.
        let unsure = if self.refused.is_empty() { &self.unsure } else { &self.refused };
        let appended = self.written.iter().chain(unsure).cloned().collect::<Vec<_>>();
        let left = appended.iter().filter(|batch| batch.end() <= end).cloned().collect::<Vec<_>>();
        // Records below a checkpointed log start may be lost: the log then begins at that log start.
        assert!(
            left.last().map_or(0, Batch::end) == end || start == end,
            "{start} {end} {:?} {recovery:?} {:?}",
            appended.last(),
            self.world.files()
        );
        let read = read_batches(&self.world.log.reader(), Isolation::LogEnd);
        let expected = left.iter().filter(|batch| batch.end() > start);
        let found = read.iter().map(|(header, _)| header.base_offset).collect::<Vec<_>>();
        let bases = expected.clone().map(|batch| batch.base).collect::<Vec<_>>();
        assert_eq!(found, bases, "{start} to {end}, {recovery:?}, {:?}", self.world.files());
        for ((header, bytes), batch) in read.iter().zip(expected) {
            assert_eq!((header.base_offset, header.is_control()), (batch.base, batch.is_marker()));
            if !batch.is_marker() {
                let values = values_of(bytes).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
                assert_eq!(values, batch.values);
            }
            let epoch = LeaderEpoch(header.partition_leader_epoch);
            assert_eq!(epoch, LeaderEpoch(batch.epoch));
            let (found, until) = self.world.log.epoch_end_offset(epoch);
            let is_known = found == epoch && until > header.last_offset();
            assert!(is_known || batch.base < self.known_from, "{epoch} ends at {until}");
        }
        self.written = left;
        self.unsure.clear();
        self.refused.clear();
        self.flushed = self.flushed.min(end);
        self.world.log.advance_high_watermark(end);
    }

    /// Files of the folder. The folder itself may be lost as long as nothing in it was flushed.
    pub fn left_files(&self) -> Vec<String> {
        if self.world.disk.exists(&self.world.dir) { self.world.files() } else { Vec::new() }
    }

    fn ends_in_zeros(&self) -> bool {
        let mut files = self.left_files();
        files.retain(|name| name.ends_with(".log"));
        let Some(newest) = files.last() else { return false };
        let bytes = self.world.disk.read_to_vec(&self.world.dir.join(newest)).expect("a segment");
        bytes.len() >= 16 && bytes[bytes.len() - 16..].iter().all(|byte| *byte == 0)
    }

    pub fn check_lookups(&mut self) {
        let reader = self.world.log.reader();
        let Offsets { log_start, log_end, .. } = reader.offsets();
        let written =
            self.written.iter().filter(|batch| batch.end() > log_start).cloned().collect::<Vec<_>>();
        let records = || {
            let each = |b: &Batch| (b.base..).zip(b.timestamps.clone()).collect::<Vec<_>>();
            written.iter().flat_map(each).filter(|(offset, _)| *offset >= log_start)
        };
        for offset in log_start..log_end {
            let slice = reader.read(offset, 1, Isolation::HighWatermark, true).unwrap();
            let bytes = Bytes::from(slice.range.expect("a batch").read().unwrap());
            let header = BatchHeader::parse(&bytes).unwrap();
            assert!((header.base_offset..=header.last_offset()).contains(&offset), "{offset}");
        }
        for _ in 0..10 {
            let timestamp = START_MS - self.below(60) as i64;
            let found = reader.offset_for_timestamp(timestamp, Isolation::LogEnd).unwrap();
            let expected = records().find(|(_, t)| *t >= timestamp);
            assert_eq!(found.map(|f| (f.offset, f.timestamp)), expected, "{timestamp}");
        }
        let largest = reader.max_timestamp(Isolation::LogEnd).unwrap();
        // Records below the log start count as long as their segment is there, as in Kafka.
        let at_least = records().map(|(_, t)| t).max();
        assert!(largest.map(|l| l.timestamp) >= at_least, "{largest:?} {at_least:?}");
    }

    /// What a read_committed consumer gets. Nothing is promised about a transaction that began below the log start.
    pub fn check_transactions(&mut self) {
        let Offsets { log_start, high_watermark, last_stable, log_end } = self.world.log.offsets();
        let known_from = self.known_from.max(log_start);
        let model = transactions(self.written.iter());
        let aborted = self.world.log.reader().aborted_transactions(log_start, log_end).unwrap();
        let (older, expected) =
            model.aborted.into_iter().partition::<Vec<_>, _>(|(_, first)| *first < known_from);
        let mut found = aborted.into_iter().map(|(id, first)| (id.0, first)).collect::<Vec<_>>();
        // Its first offset may be the first one that a recovery found.
        found.retain(|(id, first)| {
            expected.contains(&(*id, *first)) || !older.iter().any(|(other, _)| other == id)
        });
        assert_eq!(found, expected);
        let first_open = model.open.values().copied().min().unwrap_or(Offset::MAX);
        if high_watermark == log_end && first_open >= known_from {
            assert_eq!(last_stable, first_open.min(log_end));
        }
    }

    /// Each producer sends its last batch again, which is a duplicate, and then a batch with a gap before it, which is
    /// refused.
    pub fn retry_producers(&mut self) {
        let known_from = self.known_from.max(self.world.log.log_start_offset());
        for id in 1..4 {
            let last = self.written.iter().rev().find(|batch| batch.is_of(id));
            // If a producer's batches were deleted, its state may be lost, even if a crash has brought the batches back.
            let Some(last) = last.filter(|batch| batch.base >= known_from).cloned() else { continue };
            let mut too_far = last.clone();
            too_far.producer = last.producer.map(|(id, sequence)| (id, sequence + 7));
            let batches = [&last, &too_far].map(|batch| batch.checked(&self.world));
            let results = self.world.log.append(&batches, LeaderEpoch(self.epoch), START_MS).unwrap();
            let results =
                results.into_iter().map(|r| r.map(|a| (a.base_offset, a.duplicate)).map_err(|e| e.code));
            let expected = [Ok((last.base, true)), Err(ErrorCode::OutOfOrderSequenceNumber)];
            assert_eq!(results.collect::<Vec<_>>(), expected, "producer {id}");
        }
    }
}

//! The log's stories, and their tools: a log on a disk, batches, and reading everything back.

mod appending;
mod cleaning;
mod cleaning_crashes;
mod cleaning_refused;
mod crashing;
mod flushing;
mod idempotence;
mod layout;
mod power;
mod reading;
mod recovering;
mod relocating;
mod retaining;
mod rolling;
mod timestamps;
mod transactions;
mod truncating;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::config::TopicConfig;
use ottla_model::{TopicId, TopicPartition};
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{
    BatchBuilder, BatchHeader, Compression, DecompressLimit, batches, records, verify_crc,
};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::*;
use crate::check::{Origin, Rules, check};
use crate::disk::{MemoryDisk, RealDisk};
use crate::{CheckedBatch, Disk};

/// A partition's folder on a disk, and the log in it while it is open.
pub struct World {
    pub disk: Arc<dyn Disk>,
    /// The same disk. `None`: it is not in memory.
    pub memory: Option<MemoryDisk>,
    pub dir: PathBuf,
    pub config: TopicConfig,
    pub now_ms: i64,
    pub epoch: LeaderEpoch,
    pub log: Log,
    pub recovery: Recovery,
    _folder: Option<tempfile::TempDir>,
}

/// Small enough that a few batches fill a segment, and each batch gets an index entry.
pub fn config() -> TopicConfig {
    TopicConfig { segment_bytes: 1000, index_interval_bytes: 1, ..TopicConfig::default() }
}

impl World {
    pub fn memory(config: TopicConfig) -> World {
        let disk = MemoryDisk::new(7);
        disk.create_dir_all(Path::new("/data")).expect("a log directory");
        // The folder is durable before the story begins.
        disk.write_back();
        World::on(Arc::new(disk.clone()), Some(disk), PathBuf::from("/data/t-0"), None, config)
    }

    pub fn real(config: TopicConfig) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("t-0");
        World::on(Arc::new(RealDisk::with_open_files(1)), None, dir, Some(folder), config)
    }

    /// The same story on both disks.
    pub fn both(config: TopicConfig) -> [World; 2] {
        [World::memory(config.clone()), World::real(config)]
    }

    fn on(
        disk: Arc<dyn Disk>,
        memory: Option<MemoryDisk>,
        dir: PathBuf,
        folder: Option<tempfile::TempDir>,
        config: TopicConfig,
    ) -> World {
        let opening = opening(&disk, &dir, &config, START_MS);
        let (log, recovery) = Log::open(opening).expect("a new log opens");
        let epoch = LeaderEpoch(0);
        World { disk, memory, dir, config, now_ms: START_MS, epoch, log, recovery, _folder: folder }
    }

    pub fn opening(&self) -> Opening {
        opening(&self.disk, &self.dir, &self.config, self.now_ms)
    }

    /// Opens the log again from what is on disk now. A log that was not closed counts as killed.
    pub fn reopen(&mut self, change: impl FnOnce(&mut Opening)) {
        self.try_reopen(change).expect("the log opens again");
    }

    pub fn try_reopen(&mut self, change: impl FnOnce(&mut Opening)) -> Result<(), LogError> {
        if let Some(memory) = &self.memory {
            memory.kill();
        }
        let mut opening = self.opening();
        opening.log_start = self.log.log_start_offset();
        opening.recovery_point = self.log.recovery_point();
        change(&mut opening);
        (self.log, self.recovery) = Log::open(opening)?;
        Ok(())
    }

    pub fn reopen_clean(&mut self) {
        self.log.close().expect("the log closes");
        self.reopen(|opening| opening.clean_shutdown = true);
    }

    /// Appends one batch of plain records and raises the high watermark over it.
    pub fn put(&mut self, values: &[&str]) -> Appended {
        let batch = self.checked(plain(self.now_ms, values), Origin::Client);
        self.append(&batch).expect("a plain batch is appended")
    }

    pub fn append(&mut self, batch: &CheckedBatch) -> Result<Appended, Refused> {
        let mut results = self.try_append(std::slice::from_ref(batch)).expect("the log works");
        let result = results.pop().expect("a result for each batch");
        self.log.advance_high_watermark(self.log.log_end_offset());
        result
    }

    pub fn try_append(
        &mut self,
        batches: &[CheckedBatch],
    ) -> Result<Vec<Result<Appended, Refused>>, AppendError> {
        self.log.append(batches, self.epoch, self.now_ms)
    }

    pub fn checked(&self, builder: BatchBuilder, origin: Origin) -> CheckedBatch {
        checked(builder, origin, &self.config, self.now_ms)
    }

    pub fn flush(&mut self) {
        let ticket = self.log.flush_begin().expect("a flush begins");
        let up_to = ticket.up_to;
        ticket.run().expect("a flush succeeds");
        self.log.flush_end(up_to);
    }

    /// Offset and value of each record from the log start on. Checks that offsets rise and that every checksum is right.
    pub fn read_all(&self) -> Vec<(Offset, String)> {
        read_all(&self.log.reader(), Isolation::LogEnd)
    }

    pub fn values(&self) -> Vec<String> {
        self.read_all().into_iter().map(|(_, value)| value).collect()
    }

    /// The file names in the folder.
    pub fn files(&self) -> Vec<String> {
        let entries = self.disk.list(&self.dir).expect("the folder is there");
        entries.into_iter().map(|entry| entry.name).collect()
    }

    pub fn path(&self, base: Offset, suffix: &str) -> PathBuf {
        self.dir.join(format!("{base:020}{suffix}"))
    }

    pub fn bytes(&self, base: Offset, suffix: &str) -> Vec<u8> {
        self.disk.read_to_vec(&self.path(base, suffix)).expect("the file is there")
    }

    pub fn overwrite(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.disk.read_to_vec(path).expect("the file is there");
        change(&mut bytes);
        let file = self.disk.open(path, crate::disk::OpenHow::CreateEmpty).expect("the file opens");
        file.write_at(&bytes, 0).expect("the file is written");
    }
}

fn opening(disk: &Arc<dyn Disk>, dir: &Path, config: &TopicConfig, now_ms: i64) -> Opening {
    Opening {
        disk: disk.clone(),
        dir: dir.to_owned(),
        partition: TopicPartition::new("t", 0),
        topic_id: Some(TopicId::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0)),
        config: Arc::new(config.clone()),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms,
        producer_id_expiration_ms: EXPIRATION_MS,
        jitter_seed: 1,
    }
}

pub fn plain(timestamp: i64, values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.append(timestamp, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder
}

/// A batch of an idempotent producer.
pub fn idempotent(id: i64, epoch: i16, sequence: i32, timestamp: i64, values: &[&str]) -> BatchBuilder {
    plain(timestamp, values).producer(ProducerId(id), ProducerEpoch(epoch), sequence)
}

pub fn end_of_txn(
    id: i64,
    epoch: i16,
    result: TransactionResult,
    coordinator: i32,
    timestamp: i64,
) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(ProducerId(id), ProducerEpoch(epoch), -1)
        .transactional()
        .control();
    builder.append_control(timestamp, &ControlRecord::end_txn(result, coordinator));
    builder
}

pub fn checked(builder: BatchBuilder, origin: Origin, config: &TopicConfig, now_ms: i64) -> CheckedBatch {
    let partition = TopicPartition::new("t", 0);
    let rules = Rules { partition: &partition, topic: config, origin, now_ms, produce_version: 13 };
    let bytes = builder.build(0, LeaderEpoch::NONE);
    check(bytes, &rules).expect("the batch is valid").pop().expect("one batch")
}

pub fn read_all(reader: &LogReader, upto: Isolation) -> Vec<(Offset, String)> {
    read_batches(reader, upto).iter().flat_map(|(_, bytes)| values_of(bytes)).collect()
}

pub fn values_of(batch: &Bytes) -> Vec<(Offset, String)> {
    let all = records(batch, DecompressLimit(1 << 20)).expect("a batch of records").map(|record| {
        let record = record.expect("a record");
        let value = record.value.map(|value| String::from_utf8_lossy(&value).into_owned());
        (record.offset, value.unwrap_or_default())
    });
    all.collect()
}

pub fn read_batches(reader: &LogReader, upto: Isolation) -> Vec<(BatchHeader, Bytes)> {
    let mut from = reader.offsets().log_start;
    let mut all = Vec::new();
    loop {
        let slice = reader.read(from, 300, upto, true).expect("a read in range");
        let Some(range) = slice.range else { break };
        for batch in batches(&Bytes::from(range.read().expect("the range is there"))) {
            let (header, bytes) = batch.expect("whole batches only");
            assert!(verify_crc(&bytes), "checksum of the batch at {}", header.base_offset);
            assert!(header.last_offset() >= from, "{header:?} is below {from}");
            from = header.next_offset();
            all.push((header, bytes));
        }
        assert!(slice.next_offset >= from, "{} after {from}", slice.next_offset);
    }
    all
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Refused>) -> ErrorCode {
    result.map_or_else(|refused| refused.code, |_| ErrorCode::None)
}

pub const START_MS: i64 = 1_700_000_000_000;
pub const EXPIRATION_MS: i64 = 86_400_000;

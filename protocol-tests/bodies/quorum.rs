//! The metadata log's folder: a `.checkpoint` snapshot, and the log itself with its vote, as a start reads them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Log, Opening};
use ottla_log::survey;
use ottla_model::config::{BrokerConfig, Sources, TopicConfig, load};
use ottla_model::image::Image;
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, TopicPartition};
use ottla_node::quorum::{Agreed, Membership, Quorum, QuorumError, Store, Voters, metadata_batch};
use ottla_protocol::LeaderEpoch;
use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterEndpoint, VoterNode};
use uuid::Uuid;

use crate::batches::with_right_checksums;
use crate::metadata;

const DIR: &str = "/data/__cluster_metadata-0";
const LOG: &str = "00000000000000000000.log";

/// The newest snapshot.
pub fn checkpoint(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let disk = good().disk.fork(1);
    let bytes = if how & 1 == 1 { with_right_checksums(bytes) } else { bytes.to_vec() };
    // Behind the end of the log, inside it, or in place of the one that founds a quorum.
    let name = ["00000000000000000900-0000000003.checkpoint", &good().checkpoint, FOUNDING]
        [usize::from(how >> 4) % 3];
    put(&disk, name, &bytes);
    start(&disk);
}

/// The log, or the vote.
pub fn log(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let disk = good().disk.fork(1);
    if how & 4 == 4 {
        disk.remove_file(&Path::new(DIR).join(&good().checkpoint)).expect("it is there");
    }
    match how & 3 {
        0 => put(&disk, LOG, bytes),
        1 => put(&disk, LOG, &with_right_checksums(bytes)),
        _ => put(&disk, "quorum-state", bytes),
    }
    start(&disk);
}

fn put(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    disk.replace(&Path::new(DIR).join(name), bytes).expect("a healthy disk");
}

/// Opens the quorum, agrees on what is there, and writes a snapshot of it, which must be read as the same.
///
/// Before that it is looked at as `ottla storage check` does, which must change nothing.
fn start(disk: &MemoryDisk) {
    let before = disk.changes();
    let found = survey::find(disk, config());
    let stops = survey::stops(&found, config());
    assert_eq!(disk.changes(), before, "looking changes nothing: {stops:?}");
    let mut quorum = match open(disk) {
        Ok(quorum) => quorum,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut image = quorum.take_image().unwrap_or_default();
    if !image.in_transaction() {
        metadata::check_snapshot(&image);
    }
    let Ok(settled) = quorum.settle(1_000) else { return };
    let mut next = image.offset + 1;
    for agreed in settled.agreed {
        let Agreed::Batch(committed) = agreed else { panic!("nobody offers a snapshot") };
        // The first may begin within the snapshot, as some of Kafka's end within a batch.
        assert!(committed.last_offset >= next, "{} after {next}", committed.last_offset);
        next = committed.last_offset + 1;
        (image.offset, image.epoch) = (committed.last_offset, committed.epoch);
    }
    if image.in_transaction() || image.offset < 0 {
        return;
    }
    let id = quorum.snapshot(Arc::new(image.clone())).write(disk).expect("a healthy disk");
    assert_eq!(id.end, image.offset + 1);
    drop(quorum);
    let mut again = open(disk).expect("it was open just now");
    let read = again.take_image().expect("the snapshot");
    assert_eq!(read.records().len(), image.records().len());
}

fn open(disk: &MemoryDisk) -> Result<Quorum, QuorumError> {
    let partition = TopicPartition::new(CLUSTER_METADATA_TOPIC, 0);
    let config = Arc::new(TopicConfig { max_message_bytes: i32::MAX, ..TopicConfig::default() });
    let (log, _) = Log::open(Opening {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from(DIR),
        partition,
        topic_id: Some(METADATA_TOPIC_ID),
        config: config.clone(),
        clean_shutdown: false,
        recovery_point: 0,
        log_start: 0,
        now_ms: 1_000,
        producer_id_expiration_ms: i64::MAX,
        jitter_seed: 0,
    })?;
    let voters = Voters { founders: founders(), ..Voters::only(NodeId(1)) };
    Quorum::new(Store::open(Arc::new(disk.clone()), log, config, voters.clone())?, &voters, Box::new(|| 0))
}

fn config() -> &'static BrokerConfig {
    static CONFIG: OnceLock<BrokerConfig> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let overrides = [("node.id", "1"), ("log.dirs", "/data")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration").0
    })
}

fn founders() -> Membership {
    let endpoint = VoterEndpoint { name: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
    let me = VoterNode {
        id: 1,
        directory_id: Uuid::from_u128(1 << 90),
        endpoints: vec![endpoint],
        kraft_version_min: 0,
        kraft_version_max: 1,
    };
    Membership {
        version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
        voters: Some(KRaftVoters { version: 0, voters: vec![me] }),
    }
}

struct Good {
    disk: MemoryDisk,
    /// The snapshot's name.
    checkpoint: String,
}

const FOUNDING: &str = "00000000000000000000-0000000000.checkpoint";

/// A metadata log with every kind of batch, and a snapshot of most of it.
fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = MemoryDisk::new(7);
        disk.create_dir_all(Path::new("/data")).expect("a healthy disk");
        let mut quorum = open(&disk).expect("a new quorum");
        let settle = |quorum: &mut Quorum| {
            let settled = quorum.settle(1_000).expect("a healthy disk");
            match settled.agreed.last() {
                Some(Agreed::Batch(last)) => last.last_offset,
                _ => -1,
            }
        };
        settle(&mut quorum);
        // The topic is not removed: the last record is the one that does.
        let records = metadata::records();
        let records = &records[..records.len() - 1];
        let batch = metadata_batch(records.iter().map(|record| record.encode()), 1_000);
        assert!(quorum.propose(&batch), "a quorum of one leads");
        let last = settle(&mut quorum);
        let mut image = Image::empty();
        for record in records {
            image.apply_in_place(last, LeaderEpoch(1), record).expect("records in order");
        }
        quorum.snapshot(Arc::new(image)).write(&disk).expect("a healthy disk");
        assert!(quorum.propose(&metadata_batch(records[..2].iter().map(|record| record.encode()), 1_001)));
        settle(&mut quorum);
        drop(quorum);
        disk.write_back();
        let names = disk.list(Path::new(DIR)).expect("the folder").into_iter().map(|entry| entry.name);
        let checkpoint = names.into_iter().find(|name| name.ends_with(".checkpoint")).expect("the snapshot");
        Good { disk, checkpoint }
    })
}

fn file(name: &str) -> Vec<u8> {
    good().disk.read_to_vec(&Path::new(DIR).join(name)).expect("it was written")
}

pub fn checkpoints() -> Vec<Vec<u8>> {
    let bytes = file(&good().checkpoint);
    let hows = [0x00, 0x01, 0x10, 0x11, 0x20, 0x21];
    hows.map(|how: u8| [&[how][..], &bytes].concat()).to_vec()
}

pub fn logs() -> Vec<Vec<u8>> {
    let (log, vote) = (file(LOG), file("quorum-state"));
    let of = |how: u8| [&[how][..], if how & 2 == 2 { &vote } else { &log }].concat();
    [0, 1, 2, 4, 5, 6].map(of).to_vec()
}

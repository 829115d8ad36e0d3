//! The small files of a log directory: `meta.properties`, the checkpoints, the mark of a clean shutdown.

use std::path::Path;
use std::sync::Arc;

use ottla_log::Disk;
use ottla_log::dirs::{Checkpoint, Expected, LogDir, MetaProperties, format};
use ottla_log::disk::MemoryDisk;
use ottla_model::{BrokerEpoch, NodeId, TopicPartition};
use uuid::Uuid;

const CHECKPOINTS: [Checkpoint; 4] =
    [Checkpoint::RecoveryPoint, Checkpoint::HighWatermark, Checkpoint::LogStart, Checkpoint::Cleaner];
const CLEAN: &str = ".kafka_cleanshutdown";
const META: &str = "meta.properties";

pub fn body(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
    let put = |name: &str| disk.replace(&Path::new("/data").join(name), bytes).expect("a healthy disk");
    format(&*disk, Path::new("/data"), &meta()).expect("a healthy disk");
    let dir = open(&disk);
    match usize::from(*which) % 6 {
        which @ 0..4 => {
            let which = CHECKPOINTS[which];
            put(which.file());
            if let Ok(offsets) = dir.checkpoint(which) {
                dir.write_checkpoint(which, &offsets).expect("a healthy disk");
                assert_eq!(
                    dir.checkpoint(which).ok(),
                    Some(offsets),
                    "a checkpoint is read as it is written"
                );
            }
        }
        4 => {
            put(CLEAN);
            if let Ok(Some(clean)) = dir.take_clean() {
                dir.mark_clean(clean.epoch).expect("a healthy disk");
                assert_eq!(dir.take_clean().ok(), Some(Some(clean)));
            }
            assert_eq!(dir.take_clean().ok(), Some(None), "a mark is believed once");
        }
        _ => {
            put(META);
            if let Ok(Some(meta)) = MetaProperties::read(&*disk, Path::new("/data")) {
                let other = Path::new("/other");
                format(&*disk, other, &meta).expect("a healthy disk");
                assert_eq!(MetaProperties::read(&*disk, other).ok(), Some(Some(meta)));
            }
        }
    }
}

fn open(disk: &Arc<dyn Disk>) -> LogDir {
    let expected = Expected { cluster_id: None, node_id: NodeId(1) };
    LogDir::open(disk.clone(), Path::new("/data"), expected).expect("a healthy disk")
}

fn meta() -> MetaProperties {
    MetaProperties {
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        node_id: NodeId(1),
        directory_id: Some(Uuid::from_u128(1 << 100)),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(1));
    let at = |name: &str| disk.read_to_vec(&Path::new("/data").join(name)).expect("it was written");
    format(&*disk, Path::new("/data"), &meta()).expect("a healthy disk");
    let dir = open(&disk);
    let some = [("a", 0, 5), ("a", 11, i64::MAX), ("b.c_d-e", 2, 0)];
    let offsets =
        some.map(|(topic, partition, offset)| (TopicPartition::new(topic, partition), offset)).into();
    let mut seeds = Vec::new();
    for (number, which) in (0u8..).zip(CHECKPOINTS) {
        dir.write_checkpoint(which, &offsets).expect("a healthy disk");
        seeds.push([&[number][..], &at(which.file())].concat());
    }
    dir.mark_clean(BrokerEpoch(42)).expect("a healthy disk");
    seeds.push([&[4][..], &at(CLEAN)].concat());
    seeds.push([&[5][..], &at(META)].concat());
    seeds.push(b"\x05version=0\nbroker.id=1\ncluster.id=c\\u00e9\\\n  d\n".to_vec());
    seeds
}

//! Record batches: split, checked, walked and decompressed, as the broker does with what producers send.

use bytes::Bytes;
use ottla_log::{Origin, Rules, check};
use ottla_model::TopicPartition;
use ottla_model::config::TopicConfig;
use ottla_protocol::batch::control::{ControlRecord, TransactionResult};
use ottla_protocol::batch::{
    BatchBuilder, BatchHeader, CRC_FROM, Compression, DecompressLimit, RecordMeta, batches, crc_of, records,
    walk,
};
use ottla_protocol::{LeaderEpoch, ProducerEpoch, ProducerId};

/// Small, so that going beyond it is within reach.
const LIMIT: DecompressLimit = DecompressLimit(1 << 20);

pub fn body(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let bytes = Bytes::from(match how & 1 {
        0 => bytes.to_vec(),
        _ => with_right_checksums(bytes),
    });
    for batch in batches(&bytes) {
        let Ok((header, batch)) = batch else { break };
        assert_eq!(header.size_in_bytes(), batch.len());
        assert_eq!(
            BatchHeader::parse(&header.to_bytes()).as_ref(),
            Ok(&header),
            "a header is read as it is written"
        );
        one(&header, &batch);
    }
    let (partition, topic) = (TopicPartition::new("t", 0), TopicConfig::default());
    for origin in [Origin::Client, Origin::Coordinator, Origin::Replication] {
        let rules = Rules { partition: &partition, topic: &topic, origin, now_ms: 1_000, produce_version: 9 };
        for batch in check(bytes.clone(), &rules).into_iter().flatten() {
            let again = batch.to_bytes();
            assert_eq!(BatchHeader::parse(&again).as_ref(), Ok(&batch.header));
            assert_eq!(crc_of(&again), batch.header.crc, "what is accepted has a right checksum");
        }
    }
}

fn one(header: &BatchHeader, batch: &Bytes) {
    let mut seen = 0;
    let walked = walk(batch, LIMIT, |_: RecordMeta| seen += 1);
    let read = records(batch, LIMIT).and_then(|records| records.collect::<Result<Vec<_>, _>>());
    if let Ok(bytes) = walked {
        assert!(bytes <= LIMIT.0, "{bytes} bytes, {LIMIT:?}");
        assert_eq!(seen, header.record_count);
    }
    let Ok(read) = read else { return };
    assert_eq!(read.len(), seen as usize, "both ways to read records find the same: {walked:?}");
    for record in read.iter().filter(|_| header.is_control()) {
        let (key, value) = (record.key.clone().unwrap_or_default(), record.value.clone().unwrap_or_default());
        if let Ok(control) = ControlRecord::decode(&key, &value) {
            assert_eq!(ControlRecord::decode(&control.key(), &control.value()).as_ref(), Ok(&control));
        }
    }
}

/// What damage never gets past must be looked at too.
pub(crate) fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let Some(batch) = bytes.get_mut(at..at + header.size_in_bytes()) else { break };
        let crc = crc_of(batch);
        batch[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        at += header.size_in_bytes();
    }
    bytes
}

pub fn seeds() -> Vec<Vec<u8>> {
    let header: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"h", None)];
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        let mut batch = BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(1), 3);
        for n in 0..5u8 {
            batch.append(1_000, Some(&[n; 3]), Some(&[n; 40]), header);
        }
        batch.append(1_001, None, None, &[]);
        seeds.push(batch.build(0, LeaderEpoch(0)).to_vec());
        // Two mebibytes in little: beyond the limit.
        let mut bomb = BatchBuilder::new(codec);
        bomb.append(1_000, None, Some(&vec![0; 2 << 20]), &[]);
        seeds.push(bomb.build(0, LeaderEpoch(0)).to_vec());
    }
    let mut marker = BatchBuilder::new(Compression::None).producer(ProducerId(7), ProducerEpoch(1), -1);
    marker = marker.transactional().control();
    marker.append_control(1_000, &ControlRecord::end_txn(TransactionResult::Abort, 3));
    seeds.push(marker.build(9, LeaderEpoch(2)).to_vec());
    let two = [seeds[0].clone(), seeds[2].clone()].concat();
    seeds.push(two);
    seeds.retain(|seed| seed.len() < crate::BYTES_MAX);
    seeds.into_iter().flat_map(|seed| [0, 1].map(|how| [&[how][..], &seed].concat())).collect()
}

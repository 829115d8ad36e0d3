//! Random records through every codec and back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{LeaderEpoch, ProducerEpoch, ProducerId};

use super::*;

fn blob(bytes_max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..bytes_max).prop_map(Bytes::from)
}

fn a_record() -> impl Strategy<Value = Record> {
    let headers = vec((blob(10), option::of(blob(20))), 0..5);
    // Also timestamps whose deltas overflow: a client may send any timestamp.
    let timestamp = prop_oneof![0i64..2_000_000_000_000, any::<i64>()];
    (timestamp, option::of(blob(30)), option::of(blob(300)), headers).prop_map(
        |(timestamp, key, value, headers)| Record { offset: 0, timestamp, sequence: 0, key, value, headers },
    )
}

proptest! {
    #[test]
    fn records_survive_every_codec(
        mut given in vec(a_record(), 0..20),
        codec in 0u8..5,
        base_offset in 0i64..1 << 40,
        base_sequence in 0i32..,
    ) {
        let codec = Compression::from_id(codec).expect("a codec");
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(9), ProducerEpoch(1), base_sequence);
        for (i, record) in given.iter_mut().enumerate() {
            record.offset = base_offset + i as i64;
            record.sequence = increment_sequence(base_sequence, i as i32);
            builder.append_at(i as i32, record);
        }
        let uncompressed = builder.size_in_bytes();
        let batch = builder.build(base_offset, LeaderEpoch(3));
        prop_assert!(verify_crc(&batch));
        prop_assert!(codec != Compression::None || batch.len() == uncompressed);

        let header = header_of(&batch);
        prop_assert_eq!(header.record_count as usize, given.len());
        prop_assert_eq!(header.next_offset(), base_offset + given.len() as i64);
        if let Some(latest) = given.iter().map(|r| r.timestamp).max() {
            prop_assert_eq!(header.max_timestamp, latest.max(NO_TIMESTAMP));
        }

        let mut walked = 0;
        let bytes = walk(&batch, ROOMY, |_| walked += 1);
        prop_assert_eq!((bytes, walked), (Ok(uncompressed - HEADER_BYTES), given.len()));
        prop_assert_eq!(all_records(&batch), Ok(given));
    }
}

//! ListOffsets 11, which the `kafka-protocol` crate does not know yet: it allows one more special timestamp (KIP-1023),
//! and its bytes are those of version 10. Both directions for every version, on the crate's types.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::api::ApiKey;
use crate::codec::{self, Malformed};

/// The special timestamps, each with the version from which on it is allowed.
pub mod timestamp {
    /// The end of the log: the high watermark or the last stable offset for consumers.
    pub const LATEST: i64 = -1;
    /// The start of the log.
    pub const EARLIEST: i64 = -2;
    /// The record with the highest timestamp, from version 7 on (KIP-734).
    pub const MAX_TIMESTAMP: i64 = -3;
    /// The start of the log on local disks, from version 8 on (KIP-405).
    pub const EARLIEST_LOCAL: i64 = -4;
    /// The last offset in tiered storage, from version 9 on (KIP-1005).
    pub const LATEST_TIERED: i64 = -5;
    /// The first offset that waits to be copied to tiered storage, from version 11 on (KIP-1023).
    pub const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

/// Reads a request's body.
pub fn read_request(version: i16, body: Bytes) -> Result<ListOffsetsRequest, Malformed> {
    codec::decode(ApiKey::ListOffsets.code(), version, body)
}

/// Writes a request's body.
pub fn write_request(
    request: &ListOffsetsRequest,
    version: i16,
    buf: &mut BytesMut,
) -> Result<(), Malformed> {
    codec::encode(request, typed(version), buf)
}

/// Reads a response's body.
pub fn read_response(version: i16, body: Bytes) -> Result<ListOffsetsResponse, Malformed> {
    codec::decode_response(ApiKey::ListOffsets.code(), version, body)
}

/// Writes a response's body.
pub fn write_response(
    response: &ListOffsetsResponse,
    version: i16,
    buf: &mut BytesMut,
) -> Result<(), Malformed> {
    codec::encode(response, typed(version), buf)
}

fn typed(version: i16) -> i16 {
    version.min(ApiKey::ListOffsets.row().typed_max)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };

    use super::*;

    fn request() -> ListOffsetsRequest {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(2)
            .with_timestamp(timestamp::EARLIEST_PENDING_UPLOAD);
        let topic = ListOffsetsTopic::default()
            .with_name(kafka_protocol::messages::TopicName("t".into()))
            .with_partitions(vec![partition]);
        ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic])
    }

    #[test]
    fn golden_requests() {
        let rows: [(i16, &[u8]); 3] = [
            (1, b"\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xfa"),
            (
                6,
                b"\xff\xff\xff\xff\0\x02\x02t\x02\0\0\0\x02\xff\xff\xff\xff\
                  \xff\xff\xff\xff\xff\xff\xff\xfa\0\0\0",
            ),
            (
                11,
                b"\xff\xff\xff\xff\0\x02\x02t\x02\0\0\0\x02\xff\xff\xff\xff\
                  \xff\xff\xff\xff\xff\xff\xff\xfa\0\0\0\0\0\0\0",
            ),
        ];
        for (version, golden) in rows {
            let mut buf = BytesMut::new();
            write_request(&request(), version, &mut buf).unwrap();
            assert_eq!(buf, golden, "v{version}");
            assert_eq!(read_request(version, buf.freeze()).unwrap(), request());
        }
    }

    #[test]
    fn responses_come_back_in_every_version() {
        let partition = ListOffsetsPartitionResponse::default().with_timestamp(5).with_offset(9);
        let topic = ListOffsetsTopicResponse::default().with_partitions(vec![partition]);
        let response = ListOffsetsResponse::default().with_topics(vec![topic]);
        for version in ApiKey::ListOffsets.row().versions() {
            let mut buf = BytesMut::new();
            write_response(&response, version, &mut buf).unwrap();
            assert_eq!(read_response(version, buf.freeze()).unwrap(), response, "v{version}");
        }
    }
}

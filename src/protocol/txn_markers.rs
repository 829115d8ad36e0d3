//! WriteTxnMarkers 1-2. Version 2, which the `kafka-protocol` crate does not know, has one field more: the transaction
//! version of a marker (KIP-1228). It must never know what a marker does.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::codec::Malformed;
use crate::offsets::{named, text};
use crate::primitives::{Form, ReadError, Reader, Writer};
use crate::{ProducerEpoch, ProducerId};

/// A request: the ends of transactions, to be written into partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteTxnMarkersRequest {
    pub markers: Vec<TxnMarker>,
}

/// The end of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnMarker {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub committed: bool,
    pub topics: Vec<(StrBytes, Vec<i32>)>,
    pub coordinator_epoch: i32,
    /// 0 in version 1.
    pub transaction_version: i8,
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteTxnMarkersResponse {
    pub markers: Vec<TxnMarkerResult>,
}

/// What the markers of one producer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnMarkerResult {
    pub producer_id: ProducerId,
    /// Of each topic, its partitions with their error codes.
    pub topics: Vec<(StrBytes, Vec<(i32, i16)>)>,
}

const FORM: Form = Form::Flexible;

impl WriteTxnMarkersRequest {
    /// Parses a body.
    pub fn read(version: i16, body: &Bytes) -> Result<WriteTxnMarkersRequest, Malformed> {
        let mut reader = Reader::over(body);
        read(version, &mut reader).map_err(|error| named("WriteTxnMarkers", version, error))
    }

    /// Writes a body.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        let mut writer = Writer::new(buf);
        writer.array_of(FORM, self.markers.iter(), |writer, marker: &TxnMarker| {
            writer.i64(marker.producer_id.0);
            writer.i16(marker.producer_epoch.0);
            writer.bool(marker.committed);
            writer.array_of(FORM, marker.topics.iter(), |writer, (name, indexes): &(StrBytes, Vec<i32>)| {
                writer.string(FORM, name);
                writer.array_of(FORM, indexes.iter(), |writer, index| writer.i32(*index));
                writer.no_tagged_fields(FORM);
            });
            writer.i32(marker.coordinator_epoch);
            if version >= 2 {
                writer.i8(marker.transaction_version);
            }
            writer.no_tagged_fields(FORM);
        });
        writer.no_tagged_fields(FORM);
    }
}

fn read(version: i16, reader: &mut Reader<'_>) -> Result<WriteTxnMarkersRequest, ReadError> {
    let markers = reader.array_of(FORM, MARKER_BYTES_MIN, |reader| -> Result<_, ReadError> {
        let marker = TxnMarker {
            producer_id: ProducerId(reader.i64()?),
            producer_epoch: ProducerEpoch(reader.i16()?),
            committed: reader.bool()?,
            topics: reader.array_of(FORM, TOPIC_BYTES_MIN, |reader| -> Result<_, ReadError> {
                let name = text(reader.string(FORM)?);
                let indexes = reader.array_of(FORM, 4, |reader| reader.i32())?;
                reader.skip_tagged_fields(FORM)?;
                Ok((name, indexes))
            })?,
            coordinator_epoch: reader.i32()?,
            transaction_version: if version >= 2 { reader.i8()? } else { 0 },
        };
        reader.skip_tagged_fields(FORM)?;
        Ok(marker)
    })?;
    reader.skip_tagged_fields(FORM)?;
    Ok(WriteTxnMarkersRequest { markers })
}

impl WriteTxnMarkersResponse {
    /// Parses a body. All versions have the same.
    pub fn read(version: i16, body: &Bytes) -> Result<WriteTxnMarkersResponse, Malformed> {
        let mut reader = Reader::over(body);
        read_response(&mut reader).map_err(|error| named("WriteTxnMarkers", version, error))
    }

    /// Writes a body.
    pub fn write(&self, buf: &mut BytesMut) {
        type Topic = (StrBytes, Vec<(i32, i16)>);
        let mut writer = Writer::new(buf);
        writer.array_of(FORM, self.markers.iter(), |writer, result: &TxnMarkerResult| {
            writer.i64(result.producer_id.0);
            writer.array_of(FORM, result.topics.iter(), |writer, (name, partitions): &Topic| {
                writer.string(FORM, name);
                writer.array_of(FORM, partitions.iter(), |writer, (index, code)| {
                    writer.i32(*index);
                    writer.i16(*code);
                    writer.no_tagged_fields(FORM);
                });
                writer.no_tagged_fields(FORM);
            });
            writer.no_tagged_fields(FORM);
        });
        writer.no_tagged_fields(FORM);
    }
}

fn read_response(reader: &mut Reader<'_>) -> Result<WriteTxnMarkersResponse, ReadError> {
    let markers = reader.array_of(FORM, RESULT_BYTES_MIN, |reader| -> Result<_, ReadError> {
        let producer_id = ProducerId(reader.i64()?);
        let topics = reader.array_of(FORM, TOPIC_BYTES_MIN, |reader| -> Result<_, ReadError> {
            let name = text(reader.string(FORM)?);
            let partitions =
                reader.array_of(FORM, PARTITION_BYTES_MIN, |reader| -> Result<_, ReadError> {
                    let told = (reader.i32()?, reader.i16()?);
                    reader.skip_tagged_fields(FORM)?;
                    Ok(told)
                })?;
            reader.skip_tagged_fields(FORM)?;
            Ok((name, partitions))
        })?;
        reader.skip_tagged_fields(FORM)?;
        Ok(TxnMarkerResult { producer_id, topics })
    })?;
    reader.skip_tagged_fields(FORM)?;
    Ok(WriteTxnMarkersResponse { markers })
}

const MARKER_BYTES_MIN: usize = 17;
/// A producer id, the length of an array, and the count of tagged fields.
const RESULT_BYTES_MIN: usize = 10;
/// A number, an error code, and the count of tagged fields.
const PARTITION_BYTES_MIN: usize = 7;
/// The lengths of a name and of an array, and the count of tagged fields.
const TOPIC_BYTES_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        WriteTxnMarkersRequest as TheirRequest, WriteTxnMarkersResponse as TheirResponse,
    };
    use kafka_protocol::protocol::Decodable;

    use super::*;

    fn request(transaction_version: i8) -> WriteTxnMarkersRequest {
        let marker = TxnMarker {
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(2),
            committed: true,
            topics: vec![(text("t"), vec![0, 3]), (text("empty"), Vec::new())],
            coordinator_epoch: 5,
            transaction_version,
        };
        WriteTxnMarkersRequest { markers: vec![marker] }
    }

    #[test]
    fn what_is_written_is_read_and_the_messages_crate_reads_the_same() {
        for (version, request) in [(1, request(0)), (2, request(2))] {
            let mut buf = BytesMut::new();
            request.write(version, &mut buf);
            let body = buf.freeze();
            assert_eq!(WriteTxnMarkersRequest::read(version, &body).unwrap(), request, "v{version}");
            for end in 0..body.len() {
                let cut = WriteTxnMarkersRequest::read(version, &body.slice(..end));
                assert!(cut.is_err(), "v{version} cut at {end}");
            }
        }
        let mut buf = BytesMut::new();
        request(0).write(1, &mut buf);
        let mut body = buf.freeze();
        let theirs = TheirRequest::decode(&mut body, 1).unwrap();
        let [marker] = &theirs.markers[..] else { panic!("one marker") };
        assert_eq!((marker.producer_id.0, marker.coordinator_epoch, body.is_empty()), (7, 5, true));
        assert_eq!(marker.topics[0].partition_indexes, [0, 3]);
    }

    #[test]
    fn answers_read_with_the_messages_crate() {
        let result = TxnMarkerResult { producer_id: ProducerId(7), topics: vec![(text("t"), vec![(3, 47)])] };
        let mut buf = BytesMut::new();
        let response = WriteTxnMarkersResponse { markers: vec![result] };
        response.write(&mut buf);
        let mut body = buf.freeze();
        assert_eq!(WriteTxnMarkersResponse::read(1, &body).unwrap(), response);
        for end in 0..body.len() {
            assert!(WriteTxnMarkersResponse::read(1, &body.slice(..end)).is_err(), "cut at {end}");
        }
        let theirs = TheirResponse::decode(&mut body, 1).unwrap();
        let told = &theirs.markers[0].topics[0].partitions[0];
        assert_eq!((told.partition_index, told.error_code, body.is_empty()), (3, 47, true));
    }

    #[test]
    fn counts_that_are_not_true_take_no_memory() {
        for version in 1..=2 {
            let body = Bytes::from_static(b"\xff\xff\xff\xff\x0f");
            assert!(WriteTxnMarkersRequest::read(version, &body).is_err());
        }
    }
}

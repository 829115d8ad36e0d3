//! DescribeLogDirs 5, which the `kafka-protocol` crate does not know yet: each directory also says whether it is cordoned
//! (KIP-1066). Both directions for every version, on the crate's types.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::DescribeLogDirsResponse;
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::codec::{self, Malformed};
use crate::primitives::{Form, Reader, Writer};

/// The newest version of the crate's types.
const TYPED: i16 = 4;
/// throttle_time_ms and error_code
const HEAD_BYTES: usize = 6;

/// Writes a response's body. `cordoned` has one value for each result.
pub fn write_response(
    response: &DescribeLogDirsResponse,
    cordoned: &[bool],
    version: i16,
    buf: &mut BytesMut,
) -> Result<(), Malformed> {
    if version <= TYPED {
        return codec::encode(response, version, buf);
    }
    let form = Form::Flexible;
    let mut writer = Writer::new(buf);
    writer.i32(response.throttle_time_ms);
    writer.i16(response.error_code);
    writer.array_len(form, response.results.len());
    for (at, result) in response.results.iter().enumerate() {
        let mut element = BytesMut::new();
        let told = result.encode(&mut element, TYPED);
        told.map_err(|error| Malformed::new("DescribeLogDirsResponse v5.results", error))?;
        // The count of tagged fields comes last; it is zero.
        element.truncate(element.len() - 1);
        element.put_u8(u8::from(cordoned.get(at).copied().unwrap_or(false)));
        element.put_u8(0);
        writer.raw(&element);
    }
    writer.no_tagged_fields(form);
    Ok(())
}

/// Parses a response's body; also returns whether each directory is cordoned.
pub fn read_response(version: i16, body: Bytes) -> Result<(DescribeLogDirsResponse, Vec<bool>), Malformed> {
    let typed = |body| codec::decode_response(ApiKey::DescribeLogDirs.code(), version.min(TYPED), body);
    if version <= TYPED {
        let response: DescribeLogDirsResponse = typed(body)?;
        let none = vec![false; response.results.len()];
        return Ok((response, none));
    }
    let (mut cordoned, mut older) = (Vec::new(), BytesMut::new());
    let mut reader = Reader::over(&body);
    older.extend_from_slice(reader.take(HEAD_BYTES)?);
    let from = reader.position();
    let count = reader.array_len(Form::Flexible, 1)?;
    older.extend_from_slice(&body[from..reader.position()]);
    for _ in 0..count {
        let from = reader.position();
        skip_result(&mut reader)?;
        older.extend_from_slice(&body[from..reader.position()]);
        cordoned.push(reader.bool()?);
        let from = reader.position();
        reader.skip_tagged_fields(Form::Flexible)?;
        older.extend_from_slice(&body[from..reader.position()]);
    }
    older.extend_from_slice(reader.rest());
    Ok((typed(older.freeze())?, cordoned))
}

// Skips one result of version 4, up to its tagged fields.
fn skip_result(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let form = Form::Flexible;
    reader.i16()?;
    reader.string(form)?;
    for _ in 0..reader.array_len(form, 1)? {
        reader.string(form)?;
        for _ in 0..reader.array_len(form, 1)? {
            reader.skip(4 + 8 + 8 + 1)?;
            reader.skip_tagged_fields(form)?;
        }
        reader.skip_tagged_fields(form)?;
    }
    Ok(reader.skip(8 + 8)?)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn what_was_written_is_read_in_every_version() {
        let partition = DescribeLogDirsPartition::default().with_partition_index(3).with_partition_size(77);
        let topic = DescribeLogDirsTopic::default()
            .with_name(StrBytes::from_static_str("t").into())
            .with_partitions(vec![partition]);
        let dir = |name| DescribeLogDirsResult::default().with_log_dir(StrBytes::from_static_str(name));
        let results = vec![dir("/a").with_topics(vec![topic]), dir("/b")];
        let told = DescribeLogDirsResponse::default().with_results(results);
        for version in 1..=5 {
            let mut buf = BytesMut::new();
            write_response(&told, &[false, true], version, &mut buf).expect("it can be written");
            let body = buf.freeze();
            let (read, cordoned) = read_response(version, body.clone()).expect("it can be read");
            assert_eq!(read.results.len(), 2, "v{version}");
            assert_eq!(read.results[0].topics, told.results[0].topics, "v{version}");
            assert_eq!(cordoned, [false, version >= 5], "v{version}");
            for cut in 0..body.len() {
                assert!(read_response(version, body.slice(..cut)).is_err(), "v{version} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_newest_version_has_these_bytes() {
        let dir = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_static_str("/d"));
        let told = DescribeLogDirsResponse::default()
            .with_results(vec![dir.with_total_bytes(2).with_usable_bytes(1)]);
        let mut buf = BytesMut::new();
        write_response(&told, &[true], 5, &mut buf).expect("it can be written");
        let expected = b"\0\0\0\0\0\0\x02\0\0\x03/d\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x01\0\0";
        assert_eq!(&buf[..], expected);
    }
}

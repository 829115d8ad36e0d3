//! DeleteGroups 3, which the `kafka-protocol` crate does not know yet: each result has a message, which Kafka fills only
//! for streams groups. Both directions for every version, on the crate's types.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::DeleteGroupsResponse;
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::codec::{self, Malformed};
use crate::primitives::{Form, Reader, Writer};

/// The newest version of the crate's types.
const TYPED: i16 = 2;

/// Writes a response's body; in version 3 the messages are null.
pub fn write_response(
    response: &DeleteGroupsResponse,
    version: i16,
    buf: &mut BytesMut,
) -> Result<(), Malformed> {
    if version <= TYPED {
        return codec::encode(response, version, buf);
    }
    let form = Form::Flexible;
    let mut writer = Writer::new(buf);
    writer.i32(response.throttle_time_ms);
    writer.array_len(form, response.results.len());
    for result in &response.results {
        let mut element = BytesMut::new();
        let told = result.encode(&mut element, TYPED);
        told.map_err(|error| Malformed::new("DeleteGroupsResponse v3.results", error))?;
        // The count of tagged fields comes last; it is zero.
        element.truncate(element.len() - 1);
        // Null in the compact form.
        element.put_u8(0);
        element.put_u8(0);
        writer.raw(&element);
    }
    writer.no_tagged_fields(form);
    Ok(())
}

/// Parses a response's body; also returns each result's message.
pub fn read_response(
    version: i16,
    body: Bytes,
) -> Result<(DeleteGroupsResponse, Vec<Option<String>>), Malformed> {
    let typed = |body| codec::decode_response(ApiKey::DeleteGroups.code(), version.min(TYPED), body);
    if version <= TYPED {
        let response: DeleteGroupsResponse = typed(body)?;
        let none = vec![None; response.results.len()];
        return Ok((response, none));
    }
    let form = Form::Flexible;
    let (mut messages, mut older) = (Vec::new(), BytesMut::new());
    let mut reader = Reader::over(&body);
    older.extend_from_slice(reader.take(4)?);
    let from = reader.position();
    let count = reader.array_len(form, 1)?;
    older.extend_from_slice(&body[from..reader.position()]);
    for _ in 0..count {
        let from = reader.position();
        reader.string(form)?;
        reader.i16()?;
        older.extend_from_slice(&body[from..reader.position()]);
        messages.push(reader.nullable_string(form)?.map(str::to_owned));
        let from = reader.position();
        reader.skip_tagged_fields(form)?;
        older.extend_from_slice(&body[from..reader.position()]);
    }
    older.extend_from_slice(reader.rest());
    Ok((typed(older.freeze())?, messages))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn told() -> DeleteGroupsResponse {
        let group = |name, code| {
            let id = GroupId(StrBytes::from_static_str(name));
            DeletableGroupResult::default().with_group_id(id).with_error_code(code)
        };
        DeleteGroupsResponse::default().with_results(vec![group("a", 0), group("b", 69)])
    }

    #[test]
    fn what_was_written_is_read_in_every_version() {
        for version in 0..=3 {
            let mut buf = BytesMut::new();
            write_response(&told(), version, &mut buf).expect("it can be written");
            let body = buf.freeze();
            let read = read_response(version, body.clone()).expect("it can be read");
            assert_eq!(read, (told(), vec![None; 2]), "v{version}");
            for cut in 0..body.len() {
                assert!(read_response(version, body.slice(..cut)).is_err(), "v{version} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_newest_version_has_these_bytes() {
        let mut buf = BytesMut::new();
        write_response(&told(), 3, &mut buf).expect("it can be written");
        assert_eq!(&buf[..], b"\0\0\0\0\x03\x02a\0\0\0\0\x02b\0\x45\0\0\0");
        let with_a_message = Bytes::from_static(b"\0\0\0\0\x02\x02a\0\x45\x03no\0\0");
        let (_, messages) = read_response(3, with_a_message).expect("it can be read");
        assert_eq!(messages, [Some("no".to_owned())]);
    }
}

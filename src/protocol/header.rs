//! Request and response headers. The API table says which header version a message has. Parsing a header never fails on
//! an API or version that is not served, since the request has to be logged or answered.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api::{ApiRow, api};
use crate::codec::{Malformed, nullable_text};
use crate::primitives::{Form, ReadError, Reader, Writer};

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// As in Kafka, null means the same as empty.
    pub client_id: Option<StrBytes>,
}

/// Parses the header and leaves the body in `frame`. If the API or its version is not served, the result has what could
/// be read, and the rest of `frame` has no meaning.
pub fn read_request_header(frame: &mut Bytes) -> Result<RequestHeader, Malformed> {
    let mut reader = Reader::over(frame);
    let header = read(frame, &mut reader).map_err(|error| Malformed::from(error).within("request header"))?;
    let length = reader.position();
    frame.advance(length);
    Ok(header)
}

fn read(frame: &Bytes, reader: &mut Reader<'_>) -> Result<RequestHeader, ReadError> {
    let (api_key, api_version) = (reader.i16()?, reader.i16()?);
    let correlation_id = reader.i32()?;
    let row = api(api_key).filter(|row| row.serves(api_version));
    // The client id has a two-byte length in every version, so that a broker can read the header of an ApiVersions
    // request of a later version.
    let client_id = match row {
        Some(_) => nullable_text(frame, reader, Form::Classic)?,
        None => nullable_text(frame, reader, Form::Classic).unwrap_or_default(),
    };
    if row.is_some_and(|row| row.request_header_version(api_version) == 2) {
        reader.skip_tagged_fields(Form::Flexible)?;
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// Writes the header before a request's body.
pub fn write_request_header(buf: &mut BytesMut, header: &RequestHeader) {
    let mut writer = Writer::new(buf);
    writer.i16(header.api_key);
    writer.i16(header.api_version);
    writer.i32(header.correlation_id);
    writer.nullable_string(Form::Classic, header.client_id.as_deref());
    if api(header.api_key).is_some_and(|row| row.request_header_version(header.api_version) == 2) {
        writer.no_tagged_fields(Form::Flexible);
    }
}

/// Writes the header before a response's body.
pub fn write_response_header(buf: &mut BytesMut, api: &ApiRow, version: i16, correlation_id: i32) {
    let mut writer = Writer::new(buf);
    writer.i32(correlation_id);
    if api.response_header_version(version) == 1 {
        writer.no_tagged_fields(Form::Flexible);
    }
}

/// Parses the header of the response to a request of this version, leaves the body in `frame`, and returns the
/// correlation id.
pub fn read_response_header(frame: &mut Bytes, api: &ApiRow, version: i16) -> Result<i32, Malformed> {
    let mut reader = Reader::over(frame);
    let mut read = || {
        let correlation_id = reader.i32()?;
        if api.response_header_version(version) == 1 {
            reader.skip_tagged_fields(Form::Flexible)?;
        }
        Ok(correlation_id)
    };
    let correlation_id =
        read().map_err(|error: ReadError| Malformed::from(error).within("response header"))?;
    let length = reader.position();
    frame.advance(length);
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiKey;

    /// A frame whose header is parsed as expected, and leaves `body`.
    fn check(what: &str, frame: &'static [u8], expected: (i16, i16, Option<&'static str>), body: &[u8]) {
        let mut rest = Bytes::from_static(frame);
        let header = read_request_header(&mut rest).expect(what);
        let (api_key, api_version, client_id) = expected;
        let client_id = client_id.map(StrBytes::from);
        assert_eq!(header, RequestHeader { api_key, api_version, correlation_id: 7, client_id }, "{what}");
        assert_eq!(rest, body, "{what}");
    }

    #[test]
    fn requests() {
        check("version 1", b"\0\0\0\x03\0\0\0\x07\0\x02kcBODY", (0, 3, Some("kc")), b"BODY");
        check("without a client id", b"\0\x01\0\x04\0\0\0\x07\xff\xffBODY", (1, 4, None), b"BODY");
        check("version 2", b"\0\0\0\x09\0\0\0\x07\0\x02kc\0BODY", (0, 9, Some("kc")), b"BODY");
        check("with tagged fields", b"\0\0\0\x09\0\0\0\x07\0\x02kc\x01\x05\x02xyB", (0, 9, Some("kc")), b"B");
        check(
            "ApiVersions is asked with a new header",
            b"\0\x12\0\x03\0\0\0\x07\0\0\0B",
            (18, 3, Some("")),
            b"B",
        );
    }

    #[test]
    fn what_is_not_served_can_still_be_told() {
        check("ApiVersions from the future", b"\0\x12\0\x63\0\0\0\x07\0\x02kc", (18, 99, Some("kc")), b"");
        check(
            "... with tags we cannot read",
            b"\0\x12\0\x63\0\0\0\x07\0\x01k\xff",
            (18, 99, Some("k")),
            b"\xff",
        );
        check("an API that nobody has", b"\x30\x39\0\0\0\0\0\x07\0\x02kc!", (12345, 0, Some("kc")), b"!");
        check("ControlledShutdown 0, which has no client id", b"\0\x07\0\0\0\0\0\x07", (7, 0, None), b"");
    }

    #[test]
    fn a_served_request_has_to_be_whole() {
        for version in [3i16, 9] {
            let mut frame = BytesMut::new();
            let header = RequestHeader {
                api_key: 0,
                api_version: version,
                correlation_id: 7,
                client_id: Some("kc".into()),
            };
            write_request_header(&mut frame, &header);
            let frame = frame.freeze();
            assert_eq!(read_request_header(&mut frame.clone()), Ok(header));
            for cut in 0..frame.len() {
                assert!(read_request_header(&mut frame.slice(..cut)).is_err(), "v{version} cut at {cut}");
            }
        }
        let malformed =
            read_request_header(&mut Bytes::from_static(b"\0\0\0\x03\0\0\0\x07\0\x01\xff")).unwrap_err();
        assert_eq!(malformed.to_string(), "request header: a string that is not UTF-8 at byte 8");
    }

    #[test]
    fn responses() {
        let rows: [(ApiKey, i16, &[u8]); 4] = [
            (ApiKey::Metadata, 8, b"\0\0\0\x07"),
            (ApiKey::Metadata, 9, b"\0\0\0\x07\0"),
            (ApiKey::ApiVersions, 0, b"\0\0\0\x07"),
            (ApiKey::ApiVersions, 5, b"\0\0\0\x07"),
        ];
        for (api, version, golden) in rows {
            let mut buf = BytesMut::new();
            write_response_header(&mut buf, api.row(), version, 7);
            assert_eq!(buf, golden, "{api:?} v{version}");
            let mut frame = buf.freeze();
            assert_eq!(read_response_header(&mut frame, api.row(), version), Ok(7));
            assert!(frame.is_empty());
        }
    }
}

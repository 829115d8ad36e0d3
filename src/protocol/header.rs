//! Request and response headers. Which version of a header stands in front of a message is in the API table.
//! Reading one never fails on an API or version that we don't serve: somebody has to log or answer it.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api::{ApiRow, api};
use crate::codec::{Malformed, nullable_text};
use crate::primitives::{Form, ReadError, Reader, Writer};

/// What stands in front of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// Kafka takes null for empty.
    pub client_id: Option<StrBytes>,
}

/// Reads the header and leaves the body in `frame`. Where the API or its version is not served, as much as can
/// be told is returned and what is left in `frame` has no meaning.
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
    // The client id keeps its two-byte length in every version, so that a broker can read the header of an
    // ApiVersions request from the future.
    let client_id = match row {
        Some(_) => nullable_text(frame, reader, Form::Classic)?,
        None => nullable_text(frame, reader, Form::Classic).unwrap_or_default(),
    };
    if row.is_some_and(|row| row.request_header_version(api_version) == 2) {
        reader.skip_tagged_fields(Form::Flexible)?;
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// Writes the header in front of a request's body.
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

/// Writes the header in front of a response's body.
pub fn write_response_header(buf: &mut BytesMut, api: &ApiRow, version: i16, correlation_id: i32) {
    let mut writer = Writer::new(buf);
    writer.i32(correlation_id);
    if api.response_header_version(version) == 1 {
        writer.no_tagged_fields(Form::Flexible);
    }
}

/// Reads the header of a response to a request of this version, leaves the body in `frame` and returns the
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

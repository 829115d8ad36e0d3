//! Decoding and encoding of the messages that `kafka-protocol` generates. That crate reserves memory for whatever
//! count a peer declares, so no message reaches it before [`crate::shape`] has found everything it declares to be
//! there. Nothing here knows what a message means.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::api::{self, ApiRow};
use crate::primitives::{Form, ReadError, Reader};
use crate::shape::{self, Layout};

/// Bytes that are no message of the version they claim, or a message that has no spelling in a version.
/// Kafka closes the connection on the former.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    /// The message and the field, from the outside in.
    place: String,
    problem: String,
}

impl Malformed {
    pub(crate) fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Malformed {
        Malformed { place: place.to_string(), problem: problem.to_string() }
    }

    /// The same, seen from further out.
    pub(crate) fn within(self, outer: impl fmt::Display) -> Malformed {
        let place = if self.place.is_empty() { outer.to_string() } else { format!("{outer}.{}", self.place) };
        Malformed { place, ..self }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl From<ReadError> for Malformed {
    fn from(error: ReadError) -> Malformed {
        Malformed::new("", error)
    }
}

/// Decodes the body of a request. Every count and length in it was found to fit in the bytes that are there, and
/// no byte is left over.
pub fn decode<R: Decodable>(api_key: i16, version: i16, body: Bytes) -> Result<R, Malformed> {
    let row = served(api_key, version)?;
    let layout = row.layout.map(|shapes| shapes.request);
    decode_with(row, layout, Form::of(version, row.request_flexible_from), version, body)
        .map_err(|malformed| malformed.within(format_args!("{}Request v{version}", row.name)))
}

/// Decodes the body of a response, with the same guarantees as [`decode`].
pub fn decode_response<R: Decodable>(api_key: i16, version: i16, body: Bytes) -> Result<R, Malformed> {
    let row = served(api_key, version)?;
    let layout = row.layout.map(|shapes| shapes.response);
    decode_with(row, layout, Form::of(version, row.response_flexible_from), version, body)
        .map_err(|malformed| malformed.within(format_args!("{}Response v{version}", row.name)))
}

/// Encodes a message. Fails when a field is set that the version has no room for.
pub fn encode<R: Encodable>(message: &R, version: i16, buf: &mut BytesMut) -> Result<(), Malformed> {
    message
        .encode(buf, version)
        .map_err(|error| Malformed::new(format_args!("{} v{version}", short_name::<R>()), error))
}

fn served(api_key: i16, version: i16) -> Result<&'static ApiRow, Malformed> {
    let row = api::api(api_key)
        .ok_or_else(|| Malformed::new(format_args!("API {api_key}"), "no such API is served"))?;
    if !row.serves(version) {
        return Err(Malformed::new(format_args!("{} v{version}", row.name), "this version is not served"));
    }
    Ok(row)
}

fn decode_with<R: Decodable>(
    row: &ApiRow,
    layout: Option<Layout>,
    form: Form,
    version: i16,
    mut body: Bytes,
) -> Result<R, Malformed> {
    let layout =
        layout.ok_or_else(|| Malformed::new("", "only the codec written for it reads this message"))?;
    shape::check(layout, version, form, &body)?;
    let message =
        R::decode(&mut body, version.min(row.typed_max)).map_err(|error| Malformed::new("", error))?;
    // The shape walked the same bytes to their end, so this is a disagreement between two descriptions.
    match body.remaining() {
        0 => Ok(message),
        left => Err(Malformed::new("", format_args!("{left} bytes were not read"))),
    }
}

fn short_name<R>() -> &'static str {
    std::any::type_name::<R>().rsplit("::").next().unwrap_or_default()
}

/// The string at the cursor of `reader`, which reads over `owner`, without copying it.
pub(crate) fn text(owner: &Bytes, reader: &mut Reader<'_>, form: Form) -> Result<StrBytes, ReadError> {
    reader.string(form).map(|text| share(owner, text))
}

/// Like [`text`], where null is allowed.
pub(crate) fn nullable_text(
    owner: &Bytes,
    reader: &mut Reader<'_>,
    form: Form,
) -> Result<Option<StrBytes>, ReadError> {
    Ok(reader.nullable_string(form)?.map(|text| share(owner, text)))
}

fn share(owner: &Bytes, text: &str) -> StrBytes {
    StrBytes::from_utf8(owner.slice_ref(text.as_bytes())).expect("a str is UTF-8")
}

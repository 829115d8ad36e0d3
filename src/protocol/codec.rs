//! Decoding and encoding of the messages that `kafka-protocol` generates. That crate reserves memory for any count that a
//! peer declares, so each message passes through `crate::shape` first, which checks that everything it declares is
//! there. Nothing here knows what a message means.

use std::fmt;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::api::{self, ApiRow};
use crate::primitives::{Form, ReadError, Reader};
use crate::shape::{self, Layout};

/// Bytes that are not a message of their version, or a message that cannot be encoded in a version. Kafka closes the
/// connection after such bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    /// The message and the field, outermost first.
    place: String,
    problem: String,
}

impl Malformed {
    pub(crate) fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Malformed {
        Malformed { place: place.to_string(), problem: problem.to_string() }
    }

    /// The same error with an outer place added.
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

/// Decodes the body of a request, after checking that every count and length in it fits into the bytes. Bytes after it
/// are ignored, as in Kafka: librdkafka sends some with Metadata.
pub fn decode<R: Decodable>(api_key: i16, version: i16, body: Bytes) -> Result<R, Malformed> {
    let row = served(api_key, version)?;
    let layout = row.layout.map(|shapes| shapes.request);
    let form = Form::of(version, row.request_flexible_from);
    decode_with(row, layout, form, version, body, shape::check_front)
        .map_err(|malformed| malformed.within(format_args!("{}Request v{version}", row.name)))
}

/// Decodes the body of a response with the same checks as [`decode`]. There may be no bytes after it.
pub fn decode_response<R: Decodable>(api_key: i16, version: i16, body: Bytes) -> Result<R, Malformed> {
    let row = served(api_key, version)?;
    let layout = row.layout.map(|shapes| shapes.response);
    let form = Form::of(version, row.response_flexible_from);
    decode_with(row, layout, form, version, body, shape::check)
        .map_err(|malformed| malformed.within(format_args!("{}Response v{version}", row.name)))
}

/// Encodes a message. Fails if a field is set that the version does not have.
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
    walk: fn(Layout, i16, Form, &Bytes) -> Result<(), Malformed>,
) -> Result<R, Malformed> {
    let layout =
        layout.ok_or_else(|| Malformed::new("", "only the codec written for it reads this message"))?;
    walk(layout, version, form, &body)?;
    R::decode(&mut body, version.min(row.typed_max)).map_err(|error| Malformed::new("", error))
}

fn short_name<R>() -> &'static str {
    std::any::type_name::<R>().rsplit("::").next().unwrap_or_default()
}

/// The string at the cursor of `reader`, which reads from `owner`; it shares memory with `owner`.
pub(crate) fn text(owner: &Bytes, reader: &mut Reader<'_>, form: Form) -> Result<StrBytes, ReadError> {
    reader.string(form).map(|text| share(owner, text))
}

/// As [`text`]; null is allowed.
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
    use kafka_protocol::messages::{FetchRequest, MetadataRequest, MetadataResponse};

    use super::*;

    #[test]
    fn a_frame_that_is_no_request_says_where_it_goes_wrong() {
        let rows: [(&str, i16, i16, &[u8], &str); 5] = [
            (
                "twelve bytes that ask for gigabytes",
                3,
                0,
                b"\x7f\xff\xff\xff\0\0\0\0\0\0\0\0",
                "MetadataRequest v0.topics: an array of 2147483647 elements where 8 bytes remain at byte 0",
            ),
            (
                "a name that ends too early",
                3,
                0,
                b"\0\0\0\x01\0\x05ab",
                "MetadataRequest v0.topics.name: 5 bytes needed where 2 remain at byte 6",
            ),
            ("no such API", 4, 0, b"", "API 4: no such API is served"),
            ("no such version", 3, 14, b"", "Metadata v14: this version is not served"),
            (
                "an API with a codec of its own",
                1,
                4,
                b"",
                "FetchRequest v4: only the codec written for it reads this message",
            ),
        ];
        for (what, api_key, version, body, why) in rows {
            let body = Bytes::from_static(body);
            let malformed = match api_key {
                1 => decode::<FetchRequest>(api_key, version, body).expect_err(what),
                _ => decode::<MetadataRequest>(api_key, version, body).expect_err(what),
            };
            assert_eq!(malformed.to_string(), why, "{what}");
        }
    }

    #[test]
    fn a_field_without_room_in_the_version_cannot_be_encoded() {
        let topic = MetadataResponseTopic::default().with_topic_authorized_operations(1);
        let response = MetadataResponse::default().with_topics(vec![topic]);
        assert!(encode(&response, 8, &mut BytesMut::new()).is_ok());
        let malformed = encode(&response, 7, &mut BytesMut::new()).unwrap_err();
        assert!(malformed.to_string().starts_with("MetadataResponse v7: "), "{malformed}");
    }
}

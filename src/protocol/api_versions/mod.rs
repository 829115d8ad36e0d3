//! ApiVersions, versions 0 to 5, both directions, written by hand: this is the one exchange that must work between any
//! client and any broker. It must never decide what is advertised: that comes from the API table.
//!
//! KIP-35 (v0), KIP-511 (v3: client software; a flexible body after a header that is never flexible), KIP-584 (v3:
//! features), KAFKA-17011 (v4: features from level 0), KIP-1242 (v5: the cluster and node that the client wants to
//! reach).

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::ErrorCode;
use crate::api::{ApiKey, ApiRow, Listener, advertised};
use crate::codec::{Malformed, nullable_text, text};
use crate::primitives::{Form, ReadError, Reader, Tags, Writer};

/// A request: what a client says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiVersionsRequest {
    /// From version 3 on; otherwise empty.
    pub client_software_name: StrBytes,
    /// From version 3 on; otherwise empty.
    pub client_software_version: StrBytes,
    /// The cluster that the client wants to reach. From version 5 on.
    pub cluster_id: Option<StrBytes>,
    /// The node that the client wants to reach. From version 5 on; otherwise -1.
    pub node_id: i32,
}

/// A response: what the broker says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiVersionsResponse {
    pub error: ErrorCode,
    pub apis: Vec<ApiVersion>,
    /// From version 1 on.
    pub throttle_time_ms: i32,
    /// From version 3 on. Version 3 leaves out features that start at level 0, since some readers fail on them.
    pub supported_features: Vec<SupportedFeature>,
    /// From version 3 on; otherwise -1.
    pub finalized_features_epoch: i64,
    /// From version 3 on.
    pub finalized_features: Vec<FinalizedFeature>,
    /// From version 3 on.
    pub zk_migration_ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    pub api_key: i16,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    pub name: StrBytes,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedFeature {
    pub name: StrBytes,
    pub max_version_level: i16,
    pub min_version_level: i16,
}

impl From<&ApiRow> for ApiVersion {
    fn from(row: &ApiRow) -> ApiVersion {
        ApiVersion { api_key: row.key, min_version: row.advertised.min, max_version: row.advertised.max }
    }
}

impl Default for ApiVersionsRequest {
    fn default() -> ApiVersionsRequest {
        ApiVersionsRequest {
            client_software_name: StrBytes::new(),
            client_software_version: StrBytes::new(),
            cluster_id: None,
            node_id: -1,
        }
    }
}

impl ApiVersionsRequest {
    /// Parses a body.
    pub fn read(version: i16, body: Bytes) -> Result<ApiVersionsRequest, Malformed> {
        let place = format_args!("ApiVersionsRequest v{version}");
        if !ApiKey::ApiVersions.row().serves(version) {
            return Err(Malformed::new(place, "this version is not served"));
        }
        read_request(version, &body).map_err(|error| Malformed::from(error).within(place))
    }

    /// Writes the body, without the fields that the version does not have.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        let form = form_of(version);
        let mut writer = Writer::new(buf);
        if version >= 3 {
            writer.string(form, &self.client_software_name);
            writer.string(form, &self.client_software_version);
        }
        if version >= 5 {
            writer.nullable_string(form, self.cluster_id.as_deref());
            writer.i32(self.node_id);
        }
        writer.no_tagged_fields(form);
    }
}

fn read_request(version: i16, body: &Bytes) -> Result<ApiVersionsRequest, ReadError> {
    let form = form_of(version);
    let mut reader = Reader::over(body);
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = text(body, &mut reader, form)?;
        request.client_software_version = text(body, &mut reader, form)?;
    }
    if version >= 5 {
        request.cluster_id = nullable_text(body, &mut reader, form)?;
        request.node_id = reader.i32()?;
    }
    reader.skip_tagged_fields(form)?;
    Ok(request)
}

impl ApiVersionsResponse {
    /// The APIs of one kind of listener, without features.
    pub fn of(listener: Listener) -> ApiVersionsResponse {
        ApiVersionsResponse {
            apis: advertised(listener).map(ApiVersion::from).collect(),
            ..ApiVersionsResponse::failed(ErrorCode::None)
        }
    }

    /// A response with an error and nothing else.
    pub fn failed(error: ErrorCode) -> ApiVersionsResponse {
        ApiVersionsResponse {
            error,
            apis: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
            zk_migration_ready: false,
        }
    }

    /// The response to an unknown version of ApiVersions: our range of this one API, to be written as version 0, so that
    /// the client asks again with a version that both know (KIP-511).
    pub fn unsupported_version() -> ApiVersionsResponse {
        ApiVersionsResponse {
            apis: vec![ApiVersion::from(ApiKey::ApiVersions.row())],
            ..ApiVersionsResponse::failed(ErrorCode::UnsupportedVersion)
        }
    }

    /// Writes the body, without the fields that the version does not have.
    pub fn write(&self, version: i16, buf: &mut BytesMut) {
        let form = form_of(version);
        let mut writer = Writer::new(buf);
        writer.i16(self.error.code());
        writer.array_of(form, self.apis.iter(), |writer, api| {
            writer.i16(api.api_key);
            writer.i16(api.min_version);
            writer.i16(api.max_version);
            writer.no_tagged_fields(form);
        });
        if version >= 1 {
            writer.i32(self.throttle_time_ms);
        }
        writer.tagged_fields(form, &self.tags(version));
    }

    /// Parses a body. If it is not a message of `version`, it is parsed as version 0: a broker that does not know the
    /// version answers with that.
    pub fn read(version: i16, body: Bytes) -> Result<ApiVersionsResponse, Malformed> {
        read_response(version, &body)
            .or_else(
                |error| if version == 0 { Err(error) } else { read_response(0, &body).map_err(|_| error) },
            )
            .map_err(|error| Malformed::from(error).within(format_args!("ApiVersionsResponse v{version}")))
    }

    // librdkafka 2.0 miscounts if a tagged field is present with its default value, so such fields are left out.
    fn tags(&self, version: i16) -> Tags {
        let form = Form::Flexible;
        let mut tags = Tags::new();
        let told = |feature: &&SupportedFeature| version >= 4 || feature.min_version > 0;
        let supported = self.supported_features.iter().filter(told).collect::<Vec<_>>();
        if !supported.is_empty() {
            tags.field(0, |writer| {
                writer.array_of(form, supported.into_iter(), |writer, feature| {
                    writer.string(form, &feature.name);
                    writer.i16(feature.min_version);
                    writer.i16(feature.max_version);
                    writer.no_tagged_fields(form);
                });
            });
        }
        if self.finalized_features_epoch != -1 {
            tags.field(1, |writer| writer.i64(self.finalized_features_epoch));
        }
        if !self.finalized_features.is_empty() {
            tags.field(2, |writer| {
                writer.array_of(form, self.finalized_features.iter(), |writer, feature| {
                    writer.string(form, &feature.name);
                    writer.i16(feature.max_version_level);
                    writer.i16(feature.min_version_level);
                    writer.no_tagged_fields(form);
                });
            });
        }
        if self.zk_migration_ready {
            tags.field(3, |writer| writer.bool(true));
        }
        tags
    }
}

fn read_response(version: i16, body: &Bytes) -> Result<ApiVersionsResponse, ReadError> {
    let form = form_of(version);
    let mut reader = Reader::over(body);
    let mut response = ApiVersionsResponse::failed(ErrorCode::from_code(reader.i16()?));
    response.apis = reader.array_of(form, 3 * 2, |reader| {
        let api =
            ApiVersion { api_key: reader.i16()?, min_version: reader.i16()?, max_version: reader.i16()? };
        reader.skip_tagged_fields(form)?;
        Ok::<_, ReadError>(api)
    })?;
    if version >= 1 {
        response.throttle_time_ms = reader.i32()?;
    }
    reader.tagged_fields(form, |tag, reader| {
        match tag {
            0 => {
                let features = read_features(body, reader)?.into_iter();
                response.supported_features = features
                    .map(|(name, min_version, max_version)| SupportedFeature {
                        name,
                        min_version,
                        max_version,
                    })
                    .collect();
            }
            1 => response.finalized_features_epoch = reader.i64()?,
            2 => {
                let features = read_features(body, reader)?.into_iter();
                response.finalized_features = features
                    .map(|(name, max_version_level, min_version_level)| FinalizedFeature {
                        name,
                        max_version_level,
                        min_version_level,
                    })
                    .collect();
            }
            3 => response.zk_migration_ready = reader.bool()?,
            _ => return Ok(()),
        }
        reader.finish()
    })?;
    reader.finish()?;
    Ok(response)
}

/// Features, supported or finalized: a name and two levels each.
fn read_features(body: &Bytes, reader: &mut Reader<'_>) -> Result<Vec<(StrBytes, i16, i16)>, ReadError> {
    let form = Form::Flexible;
    reader.array_of(form, 1 + 2 + 2, |reader| {
        let feature = (text(body, reader, form)?, reader.i16()?, reader.i16()?);
        reader.skip_tagged_fields(form)?;
        Ok(feature)
    })
}

fn form_of(version: i16) -> Form {
    Form::of(version, 3)
}

#[cfg(test)]
mod tests;

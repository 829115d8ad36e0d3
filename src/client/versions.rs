//! ApiVersions: which versions of each API a peer serves, and which of them to speak.
//! It must never know what a version means.

use crate::connection::{Connection, short_name};
use crate::{ClientError, Message, Request, Result};
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ErrorCode, StrBytes, VersionRange};
use std::collections::BTreeMap;

/// A peer's version ranges and features.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    ranges: BTreeMap<i16, VersionRange>,
    /// The answer they were taken from.
    pub response: ApiVersionsResponse,
}

impl Versions {
    /// Takes the ranges out of an answer.
    pub fn new(response: ApiVersionsResponse) -> Versions {
        let range = |min, max| VersionRange { min, max };
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, range(api.min_version, api.max_version)))
            .collect();
        Versions { ranges, response }
    }

    /// What the peer advertises for an API, by key.
    pub fn range(&self, api_key: i16) -> Option<VersionRange> {
        self.ranges.get(&api_key).copied()
    }

    /// Every advertised API, by key.
    pub fn iter(&self) -> impl Iterator<Item = (i16, VersionRange)> + '_ {
        self.ranges.iter().map(|(key, range)| (*key, *range))
    }

    /// The newest version of `Req` that both sides know.
    pub fn newest<Req: Request>(&self) -> Option<i16> {
        let both = self.range(Req::KEY)?.intersect(&<Req as Message>::VERSIONS);
        (!both.is_empty()).then_some(both.max)
    }
}

/// Asks in our newest version; a peer that does not know it says so in v0's format, with the range it does
/// know (KIP-511), and is asked again in that.
pub(crate) async fn negotiate(connection: &Connection) -> Result<Versions> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("ottla"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let ours = <ApiVersionsRequest as Message>::VERSIONS;
    let mut version = ours.max;
    loop {
        let response = connection.ask_api_versions(&request, version).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => return Ok(Versions::new(response)),
            ErrorCode::UnsupportedVersion if version > ours.min => {
                let theirs = Versions::new(response).range(ApiVersionsRequest::KEY);
                let common = theirs.map_or(ours.min, |theirs| theirs.intersect(&ours).max);
                version = common.clamp(ours.min, version - 1);
            }
            code => return Err(ClientError::broker(short_name::<ApiVersionsRequest>(), code, None)),
        }
    }
}

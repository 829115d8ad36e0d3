//! What the group coordinator's APIs share: words of the wire turned into the domain's, and back, and the ways to
//! the shards of groups.

use std::net::IpAddr;
use std::sync::Arc;

use ottla_protocol::StrBytes;
use ottla_protocol::messages::GroupId;

/// One copy, shared from here on.
pub(super) fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(&**text)
}

pub(super) fn shared_option(text: &Option<StrBytes>) -> Option<Arc<str>> {
    text.as_ref().map(shared)
}

pub(super) fn text_of(shared: &Arc<str>) -> StrBytes {
    StrBytes::from_string((**shared).to_owned())
}

pub(super) fn text_option(shared: &Option<Arc<str>>) -> Option<StrBytes> {
    shared.as_ref().map(text_of)
}

pub(super) fn group_of(shared: &Arc<str>) -> GroupId {
    GroupId(text_of(shared))
}

/// An address as Java writes one: a slash, and IPv6 without abbreviation.
pub(super) fn java_address(ip: IpAddr) -> Arc<str> {
    let written = match ip.to_canonical() {
        IpAddr::V4(v4) => format!("/{v4}"),
        IpAddr::V6(v6) => format!("/{}", v6.segments().map(|s| format!("{s:x}")).join(":")),
    };
    Arc::from(written)
}

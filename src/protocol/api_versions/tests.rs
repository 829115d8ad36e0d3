//! ApiVersions compared with `kafka-protocol` where that has the version, golden bytes, and answers that broke clients
//! elsewhere.

use kafka_protocol::messages::api_versions_response as resp;
use kafka_protocol::messages::{ApiVersionsRequest as TheirRequest, ApiVersionsResponse as TheirResponse};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z0-9.]{0,20}".prop_map(StrBytes::from)
}

fn request(version: i16) -> impl Strategy<Value = ApiVersionsRequest> {
    (text(), text(), option::of(text()), any::<i32>()).prop_map(move |(name, software, cluster, node)| {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            (request.client_software_name, request.client_software_version) = (name, software);
        }
        if version >= 5 {
            (request.cluster_id, request.node_id) = (cluster, node);
        }
        request
    })
}

fn response(version: i16) -> impl Strategy<Value = ApiVersionsResponse> {
    let apis = vec(any::<[i16; 3]>(), 0..5).prop_map(|apis| {
        let api =
            |[api_key, min_version, max_version]: [i16; 3]| ApiVersion { api_key, min_version, max_version };
        apis.into_iter().map(api).collect()
    });
    let features = || vec((text(), 1..9i16, any::<i16>()), 0..3);
    (-1..=136i16, apis, any::<i32>(), features(), option::of(any::<i64>()), features(), any::<bool>())
        .prop_map(move |(code, apis, throttle_time_ms, supported, epoch, finalized, ready)| {
            let mut response =
                ApiVersionsResponse { apis, ..ApiVersionsResponse::failed(ErrorCode::from_code(code)) };
            if version >= 1 {
                response.throttle_time_ms = throttle_time_ms;
            }
            if version >= 3 {
                let supported = supported.into_iter();
                response.supported_features = supported
                    .map(|(name, min_version, max_version)| SupportedFeature {
                        name,
                        min_version,
                        max_version,
                    })
                    .collect();
                response.finalized_features_epoch = epoch.unwrap_or(-1);
                let finalized = finalized.into_iter();
                response.finalized_features = finalized
                    .map(|(name, min_version_level, max_version_level)| FinalizedFeature {
                        name,
                        max_version_level,
                        min_version_level,
                    })
                    .collect();
                response.zk_migration_ready = ready;
            }
            response
        })
}

fn their_request(request: &ApiVersionsRequest) -> TheirRequest {
    TheirRequest::default()
        .with_client_software_name(request.client_software_name.clone())
        .with_client_software_version(request.client_software_version.clone())
}

fn their_response(response: &ApiVersionsResponse) -> TheirResponse {
    let apis = response.apis.iter().map(|api| {
        resp::ApiVersion::default()
            .with_api_key(api.api_key)
            .with_min_version(api.min_version)
            .with_max_version(api.max_version)
    });
    let supported = response.supported_features.iter().map(|feature| {
        resp::SupportedFeatureKey::default()
            .with_name(feature.name.clone())
            .with_min_version(feature.min_version)
            .with_max_version(feature.max_version)
    });
    let finalized = response.finalized_features.iter().map(|feature| {
        resp::FinalizedFeatureKey::default()
            .with_name(feature.name.clone())
            .with_max_version_level(feature.max_version_level)
            .with_min_version_level(feature.min_version_level)
    });
    TheirResponse::default()
        .with_error_code(response.error.code())
        .with_api_keys(apis.collect())
        .with_throttle_time_ms(response.throttle_time_ms)
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(response.finalized_features_epoch)
        .with_finalized_features(finalized.collect())
        .with_zk_migration_ready(response.zk_migration_ready)
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut buf = BytesMut::new();
    write(&mut buf);
    buf.freeze()
}

fn in_some_version<T: std::fmt::Debug, S: Strategy<Value = T>>(
    of: impl Fn(i16) -> S,
) -> impl Strategy<Value = (i16, T)> {
    (0..=5i16).prop_flat_map(move |version| (Just(version), of(version)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_agree_with_the_messages_crate((version, request) in in_some_version(request)) {
        let ours = written(|buf| request.write(version, buf));
        if version <= 4 {
            let theirs = their_request(&request);
            prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version).unwrap()), "v{}", version);
            prop_assert_eq!(TheirRequest::decode(&mut ours.clone(), version).unwrap(), theirs);
        }
        prop_assert_eq!(ApiVersionsRequest::read(version, ours.clone()).unwrap(), request);
        for cut in 0..ours.len() {
            prop_assert!(ApiVersionsRequest::read(version, ours.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn responses_agree_with_the_messages_crate((version, response) in in_some_version(response)) {
        let ours = written(|buf| response.write(version, buf));
        // The response's layout has not changed since version 3.
        let theirs = their_response(&response);
        prop_assert_eq!(&ours, &written(|buf| theirs.encode(buf, version.min(4)).unwrap()), "v{}", version);
        prop_assert_eq!(TheirResponse::decode(&mut ours.clone(), version.min(4)).unwrap(), theirs);
        prop_assert_eq!(ApiVersionsResponse::read(version, ours).unwrap(), response);
    }

    #[test]
    fn noise_never_panics(version in 0..=5i16, body in any::<Vec<u8>>()) {
        let _ = ApiVersionsRequest::read(version, body.clone().into());
        let _ = ApiVersionsResponse::read(version, body.into());
    }
}

#[test]
fn golden_requests() {
    let request = ApiVersionsRequest {
        client_software_name: "cs".into(),
        client_software_version: "1".into(),
        cluster_id: Some("c".into()),
        node_id: 7,
    };
    let golden: [(i16, &[u8]); 3] = [(0, b""), (3, b"\x03cs\x021\0"), (5, b"\x03cs\x021\x02c\0\0\0\x07\0")];
    for (version, golden) in golden {
        assert_eq!(written(|buf| request.write(version, buf)), golden, "v{version}");
    }
    assert_eq!(ApiVersionsRequest::read(5, Bytes::from_static(golden[2].1)).unwrap(), request);
}

#[test]
fn a_version_from_the_future_is_answered_in_version_0_with_our_range() {
    let golden = b"\0\x23\0\0\0\x01\0\x12\0\0\0\x05";
    assert_eq!(written(|buf| ApiVersionsResponse::unsupported_version().write(0, buf)), &golden[..]);
    let read =
        ApiVersionsResponse::read(5, Bytes::from_static(golden)).expect("a client of version 5 reads it");
    assert_eq!(read, ApiVersionsResponse::unsupported_version());
    assert!(ApiVersionsRequest::read(6, Bytes::new()).is_err());
}

#[test]
fn fields_with_their_default_are_not_written() {
    let none = ApiVersionsResponse::failed(ErrorCode::None);
    assert_eq!(written(|buf| none.write(3, buf)), &b"\0\0\x01\0\0\0\0\0"[..], "no tagged field at all");
    let one = ApiVersionsResponse { finalized_features_epoch: 0, ..none };
    assert_eq!(written(|buf| one.write(3, buf)), &b"\0\0\x01\0\0\0\0\x01\x01\x08\0\0\0\0\0\0\0\0"[..]);
}

#[test]
fn a_feature_from_level_0_is_told_from_version_4_on() {
    let feature =
        |name: &'static str, min_version| SupportedFeature { name: name.into(), min_version, max_version: 1 };
    let response = ApiVersionsResponse {
        supported_features: vec![feature("kraft.version", 0), feature("metadata.version", 7)],
        ..ApiVersionsResponse::of(Listener::Broker)
    };
    let told = |version| {
        let body = written(|buf| response.write(version, buf));
        let read = ApiVersionsResponse::read(version, body).expect("well formed");
        read.supported_features.into_iter().map(|feature| feature.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(3), ["metadata.version"]);
    assert_eq!(told(4), ["kraft.version", "metadata.version"]);
}

#[test]
fn produce_is_told_from_0_so_that_librdkafka_compresses() {
    let response = ApiVersionsResponse::of(Listener::Broker);
    let produce = response.apis.iter().find(|api| api.api_key == 0).expect("Produce");
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    assert!(ApiVersionsResponse::of(Listener::Controller).apis.iter().all(|api| api.api_key != 0));
}

//! Versions: what is told by ApiVersions and what happens outside it. Rows 1 to 7 of the list of behaviour
//! that broke somebody's client.

use anyhow::{Context, Result};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, ProduceRequest};
use ottla_client::connection::{decode_answer, request_frame};
use ottla_client::{ClientError, Request, Versions};
use ottla_protocol::{ErrorCode, StrBytes};
use protocol_tests::requests::{list_offsets, metadata, produce};
use protocol_tests::{batch, broker, name_of};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("protocol-tests"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

/// A frame as literal bytes: header v2 with client id "t", then the body.
fn frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api_key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    frame.extend([0, 1, b't', 0]);
    frame.extend(body);
    frame
}

/// Rows 1 and 2: a client from the future is told our range in v0's format, and goes on with that connection.
#[tokio::test]
async fn an_unknown_api_versions_version_is_answered_in_v0() -> Result<()> {
    let broker = broker().await;
    let ours = broker.connect().await?.versions().await?;
    let ours = ours.range(ApiVersionsRequest::KEY).context("ApiVersions advertises itself")?;
    for version in [ours.max + 1, 99, i16::MAX, -1, i16::MIN] {
        let mut raw = broker.connect_raw().await?;
        for (correlation_id, body) in [(7, &b"\x05text\x04v1\x00"[..]), (8, &[]), (9, &[0xff; 64])] {
            raw.send_frame(&frame(ApiVersionsRequest::KEY, version, correlation_id, body)).await?;
            let answer = raw.receive_frame().await?.with_context(|| format!("v{version}: closed"))?;
            assert_eq!(answer[..4], correlation_id.to_be_bytes(), "v{version}");
            let answer: ApiVersionsResponse = decode_answer(answer, 0, 0).map_err(anyhow::Error::msg)?;
            assert_eq!(name_of(answer.error_code), "UNSUPPORTED_VERSION", "v{version}");
            let told = Versions::new(answer).range(ApiVersionsRequest::KEY);
            assert_eq!(told, Some(ours), "v{version} is told what to use instead");
        }
        raw.send_bytes(&request_frame(&api_versions(), ours.max.min(4), 10, Some("t")).expect("v4")).await?;
        let answer = raw.receive_frame().await?.context("closed after the negotiation")?;
        let answer: ApiVersionsResponse =
            decode_answer(answer, 0, ours.max.min(4)).map_err(anyhow::Error::msg)?;
        assert_eq!(answer.error_code, 0);
    }
    Ok(())
}

/// Rows 3 and 3a: the header of the answer has no tagged fields at any version, and a tagged field that says
/// what is true without it is left out.
#[tokio::test]
async fn api_versions_answers_in_the_oldest_header_without_idle_tags() -> Result<()> {
    let broker = broker().await;
    let mut raw = broker.connect_raw().await?;
    for version in 0..=4 {
        raw.send_bytes(&request_frame(&api_versions(), version, 5, Some("t")).expect("a request")).await?;
        let answer = raw.receive_frame().await?.context("closed")?;
        assert_eq!(
            answer[..6],
            [0, 0, 0, 5, 0, 0],
            "v{version}: correlation id, then at once the error code"
        );
        let decoded: ApiVersionsResponse =
            decode_answer(answer.clone(), 0, version).map_err(anyhow::Error::msg)?;
        if version < 3 {
            continue;
        }
        let features = &answer[4 + 2 + 1 + decoded.api_keys.len() * 7 + 4..];
        for (tag, content) in tagged_fields(features) {
            let idle = match tag {
                0 | 2 => content == [1],
                1 => content == (-1i64).to_be_bytes(),
                3 => content == [0],
                _ => false,
            };
            assert!(!idle, "v{version}: tag {tag} holds its default");
        }
    }
    Ok(())
}

/// All lengths in an ApiVersions answer are below 128 but for the features, which take two bytes at most.
fn tagged_fields(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (count, mut rest) = (bytes[0], &bytes[1..]);
    let mut fields = Vec::new();
    for _ in 0..count {
        let (tag, low) = (rest[0], usize::from(rest[1]));
        let (length, start) =
            if low < 0x80 { (low, 2) } else { ((low & 0x7f) | usize::from(rest[2]) << 7, 3) };
        fields.push((tag, &rest[start..start + length]));
        rest = &rest[start + length..];
    }
    assert!(rest.is_empty(), "nothing follows the tagged fields");
    fields
}

/// Row 4: librdkafka stops compressing when it is not told of Produce 0.
#[tokio::test]
async fn produce_is_advertised_from_version_0() -> Result<()> {
    let versions = broker().await.connect().await?.versions().await?;
    assert_eq!(versions.range(ProduceRequest::KEY).map(|range| range.min), Some(0));
    Ok(())
}

/// Row 6: what is not served ends the connection; silence on an open one would hang a client for ever.
#[tokio::test]
async fn a_version_or_an_api_that_is_not_served_closes_the_connection() -> Result<()> {
    let broker = broker().await;
    let versions = broker.connect().await?.versions().await?;
    let mut outside: Vec<(i16, i16)> = Vec::new();
    for (key, range) in versions.iter().filter(|(key, _)| *key != ApiVersionsRequest::KEY) {
        outside.extend([(key, range.max + 1), (key, i16::MAX), (key, -1)]);
        if range.min > 0 {
            outside.push((key, range.min - 1));
        }
    }
    // Advertised for row 4, and gone since Kafka 4.0.
    outside.extend((0..3).map(|version| (ProduceRequest::KEY, version)));
    // Gone or never there: LeaderAndIsr, ControlledShutdown, nonsense. The controller's own: Vote.
    outside.extend([(4, 0), (7, 0), (5_000, 0), (-1, 0), (i16::MIN, 3), (52, 0)]);
    for (key, version) in outside {
        let mut raw = broker.connect_raw().await?;
        raw.send_frame(&frame(key, version, 1, &[0; 16])).await?;
        let answer = raw.receive_frame().await?;
        assert_eq!(answer, None, "api {key} v{version} must close the connection");
    }
    Ok(())
}

/// Row 5: clients that never ask for versions use an old one of each API, as the first thing they say.
#[tokio::test]
async fn old_versions_work_without_negotiation() -> Result<()> {
    let broker = broker().await;
    let topic = broker.topic(1, &[]).await?;
    for version in 3..=5 {
        let records = batch(&["un-negotiated"]).build();
        let answer = broker.connect().await?.send(&produce(&topic, 0, records, 1), version).await?;
        assert_eq!(
            name_of(answer.responses[0].partition_responses[0].error_code),
            "NONE",
            "Produce v{version}"
        );
    }
    for version in 0..=4 {
        let answer = broker
            .connect()
            .await?
            .send(&metadata(&[&topic.name]).with_allow_auto_topic_creation(true), version)
            .await?;
        assert_eq!(name_of(answer.topics[0].error_code), "NONE", "Metadata v{version}");
        assert_eq!(answer.topics[0].partitions.len(), 1, "Metadata v{version}");
    }
    for version in 1..=3 {
        let answer = broker.connect().await?.send(&list_offsets(&topic.name, 0, -1), version).await?;
        assert_eq!(answer.topics[0].partitions[0].offset, 3, "ListOffsets v{version}");
    }
    for version in 4..=7 {
        let fetch = protocol_tests::requests::fetch(&topic, &[(0, 0)]);
        let answer = broker.connect().await?.send(&fetch, version).await?;
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 3, "Fetch v{version}");
    }
    Ok(())
}

/// Row 7: an error is told in the version that was asked, in each version of each API that can fail.
#[tokio::test]
async fn errors_are_told_in_the_version_of_the_request() -> Result<()> {
    let connection = broker().await.connect().await?;
    let missing = protocol_tests::Topic { name: "no-such-topic".into(), id: uuid::Uuid::from_u128(0xdead) };
    let unknown = |version: i16, by_id_from: i16| match version >= by_id_from {
        true => ErrorCode::UnknownTopicId.code(),
        false => ErrorCode::UnknownTopicOrPartition.code(),
    };
    for version in 3..=13 {
        let answer = connection.send(&produce(&missing, 0, batch(&["x"]).build(), 1), version).await?;
        assert_eq!(
            answer.responses[0].partition_responses[0].error_code,
            unknown(version, 13),
            "Produce v{version}"
        );
    }
    for version in 4..=18 {
        let answer = connection.send(&protocol_tests::requests::fetch(&missing, &[(0, 0)]), version).await?;
        assert_eq!(answer.responses[0].partitions[0].error_code, unknown(version, 13), "Fetch v{version}");
    }
    for version in 1..=10 {
        let answer = connection.send(&list_offsets(&missing.name, 0, -1), version).await?;
        assert_eq!(answer.topics[0].partitions[0].error_code, unknown(version, 99), "ListOffsets v{version}");
    }
    for version in 4..=13 {
        let answer = connection.send(&metadata(&[&missing.name]), version).await?;
        assert_eq!(answer.topics[0].error_code, unknown(version, 99), "Metadata v{version}");
    }
    Ok(())
}

/// A client that refuses to speak what both do not know finds out before it sends.
#[tokio::test]
async fn our_client_falls_back_to_what_both_know() -> Result<()> {
    let connection = broker().await.connect().await?;
    let version = connection.version_of::<ApiVersionsRequest>().await?;
    let answer = connection.send(&api_versions(), version).await?;
    assert_eq!(answer.error_code, 0);
    let never = connection.send(&api_versions(), 5).await;
    assert!(matches!(never, Err(ClientError::Malformed { .. })), "v5 is not in our messages: {never:?}");
    Ok(())
}

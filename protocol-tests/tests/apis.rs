//! Which APIs there are: told as Kafka tells them, or missing for a reason; and what is off is refused as Kafka refuses it.

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::*;
use ottla_client::connection::request_frame;
use ottla_protocol::api::{UNSERVED, api};
use ottla_protocol::delete_groups;
use protocol_tests::requests::text;
use protocol_tests::{broker, name_of};

/// Apache Kafka of the release that the table stands for tells of the same versions, but for what we leave out.
#[tokio::test]
async fn every_api_is_told_of_as_the_table_has_it() -> Result<()> {
    let broker = broker().await;
    let told = broker.connect().await?.versions().await?;
    let mut served = 0;
    for (key, range) in told.iter() {
        let left_out = UNSERVED.iter().find(|row| row.key == key);
        let expected = api(key).map(|row| row.advertised).or(left_out.map(|row| row.versions));
        let expected = expected.with_context(|| format!("API {key} is in no table"))?;
        ensure!((range.min, range.max) == (expected.min, expected.max), "API {key}: {range:?}, {expected:?}");
        ensure!(left_out.is_none() || !broker.is_ours(), "API {key} is not served");
        served += usize::from(left_out.is_none());
    }
    let broker_apis = ottla_protocol::api::advertised(ottla_protocol::api::Listener::Broker);
    assert_eq!(served, broker_apis.count(), "all that the table has");
    Ok(())
}

#[tokio::test]
async fn a_listener_without_sasl_says_so() -> Result<()> {
    let broker = broker().await;
    for version in 0..=1 {
        let connection = broker.connect().await?;
        let request = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
        let told = connection.send(&request, version).await?;
        assert_eq!(
            (name_of(told.error_code), told.mechanisms.len()),
            ("ILLEGAL_SASL_STATE", 0),
            "v{version}"
        );
    }
    for version in 0..=2 {
        let connection = broker.connect().await?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes("\0a\0b".into());
        let told = connection.send(&request, version).await?;
        assert_eq!(name_of(told.error_code), "ILLEGAL_SASL_STATE", "v{version}");
        assert!(told.error_message.is_some() && told.auth_bytes.is_empty(), "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_gets_a_token_who_is_not_authenticated() -> Result<()> {
    let connection = broker().await.connect().await?;
    let refused = "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED";
    for version in 1..=3 {
        let renewer =
            CreatableRenewers::default().with_principal_type(text("User")).with_principal_name(text("b"));
        let request =
            CreateDelegationTokenRequest::default().with_renewers(vec![renewer]).with_max_lifetime_ms(-1);
        let (request, owner) = match version {
            ..3 => (request, "ANONYMOUS"),
            _ => (
                request
                    .with_owner_principal_type(Some(text("User")))
                    .with_owner_principal_name(Some(text("a"))),
                "a",
            ),
        };
        let told = connection.send(&request, version).await?;
        assert_eq!((name_of(told.error_code), &*told.principal_name), (refused, owner), "v{version}");
        let requester = if version >= 3 { "ANONYMOUS" } else { "" };
        assert_eq!(&*told.token_requester_principal_name, requester, "v{version}");
        let times = [told.issue_timestamp_ms, told.expiry_timestamp_ms, told.max_timestamp_ms];
        assert_eq!((times, told.token_id.len(), told.hmac.len()), ([-1; 3], 0, 0), "v{version}");
        let told =
            connection.send(&DescribeDelegationTokenRequest::default().with_owners(None), version).await?;
        assert_eq!((name_of(told.error_code), told.tokens.len()), (refused, 0), "v{version}");
    }
    for version in 1..=2 {
        let request = RenewDelegationTokenRequest::default().with_hmac("key".into()).with_renew_period_ms(1);
        let told = connection.send(&request, version).await?;
        assert_eq!((name_of(told.error_code), told.expiry_timestamp_ms), (refused, -1), "v{version}");
        let request = ExpireDelegationTokenRequest::default().with_hmac("key".into());
        let told = connection.send(&request, version).await?;
        assert_eq!((name_of(told.error_code), told.expiry_timestamp_ms), (refused, -1), "v{version}");
    }
    Ok(())
}

#[tokio::test]
async fn version_3_deletes_groups_and_has_room_for_a_message() -> Result<()> {
    let broker = broker().await;
    let group = broker.group_with_an_offset().await?;
    let names = [&*group, "no such group"].map(|name| GroupId(text(name)));
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let mut frame = request_frame(&request, 2, 5, Some("test")).map_err(anyhow::Error::msg)?.to_vec();
    frame[6..8].copy_from_slice(&3i16.to_be_bytes());
    let mut raw = broker.connect_raw().await?;
    raw.send_bytes(&frame).await?;
    let answer = raw.receive_frame().await?.context("an answer")?;
    let (told, messages) = delete_groups::read_response(3, answer.slice(5..))?;
    let mut results: Vec<_> =
        told.results.iter().map(|result| (result.group_id.to_string(), name_of(result.error_code))).collect();
    results.sort();
    let mut expected = [(group, "NONE"), ("no such group".to_string(), "GROUP_ID_NOT_FOUND")];
    expected.sort();
    assert_eq!((&results[..], messages), (&expected[..], vec![None, None]));
    Ok(())
}

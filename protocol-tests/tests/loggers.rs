//! The levels of a broker's loggers (KIP-412): told, changed, refused.

use anyhow::{Context, Result};
use kafka_protocol::messages::alter_configs_request as legacy;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use ottla_client::Connection;
use protocol_tests::requests::{metadata, text};
use protocol_tests::{broker, name_of};

const BROKER_LOGGER: i8 = 8;
const DYNAMIC_BROKER_LOGGER_CONFIG: i8 = 6;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// One that every broker has, and that is on no test's way.
const LOGGER: &str = "org.apache.kafka.coordinator.group.GroupCoordinatorService";

async fn node(connection: &Connection) -> Result<String> {
    Ok(connection.send(&metadata(&[]), 9).await?.brokers[0].node_id.0.to_string())
}

async fn describe(
    connection: &Connection,
    node: &str,
    keys: Option<&[&str]>,
    version: i16,
) -> Result<DescribeConfigsResult> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER_LOGGER)
        .with_resource_name(text(node))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let request = if version >= 3 { request.with_include_documentation(true) } else { request };
    connection.send(&request, version).await?.results.into_iter().next().context("a result")
}

async fn level(connection: &Connection, node: &str, logger: &str) -> Result<String> {
    let told = describe(connection, node, Some(&[logger]), 4).await?;
    Ok(told.configs[0].value.as_ref().context("a level")?.to_string())
}

async fn alter(
    connection: &Connection,
    node: &str,
    changes: &[(&str, i8, &str)],
    validate_only: bool,
) -> Result<&'static str> {
    let configs = changes.iter().map(|(name, operation, value)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER_LOGGER)
        .with_resource_name(text(node))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let answer = connection.send(&request, 1).await?;
    assert_eq!(answer.responses[0].error_message.is_some(), answer.responses[0].error_code != 0);
    Ok(name_of(answer.responses[0].error_code))
}

#[tokio::test]
async fn loggers_are_told_with_their_levels() -> Result<()> {
    let connection = broker().await.connect().await?;
    let node = node(&connection).await?;
    for version in 1..=4 {
        let told = describe(&connection, &node, None, version).await?;
        assert_eq!(name_of(told.error_code), "NONE", "v{version}");
        let names: Vec<&str> = told.configs.iter().map(|logger| logger.name.as_str()).collect();
        for name in ["root", "kafka.request.logger", "kafka.server.KafkaApis", "state.change.logger", LOGGER]
        {
            assert!(names.contains(&name), "v{version}: {names:?}");
        }
        for logger in &told.configs {
            let level = logger.value.as_ref().context("a level")?;
            let levels = ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
            assert!(levels.contains(&level.as_str()), "{logger:?}");
            assert_eq!(logger.config_source, DYNAMIC_BROKER_LOGGER_CONFIG, "{logger:?}");
            assert!(!logger.read_only && !logger.is_sensitive && logger.synonyms.is_empty(), "{logger:?}");
            assert!(logger.config_type == 0 && logger.documentation.as_deref() == Some(""), "{logger:?}");
        }
        let some = describe(&connection, &node, Some(&["root", "no.such.logger"]), version).await?;
        let names: Vec<&str> = some.configs.iter().map(|logger| logger.name.as_str()).collect();
        assert_eq!((name_of(some.error_code), names), ("NONE", vec!["root"]), "v{version}");
    }
    for wrong in ["", "4711", "one"] {
        let told = describe(&connection, wrong, None, 4).await?;
        assert_eq!((name_of(told.error_code), told.configs.len()), ("INVALID_REQUEST", 0), "{wrong:?}");
    }
    let listed = ListConfigResourcesRequest::default().with_resource_types(vec![BROKER_LOGGER]);
    let listed = connection.send(&listed, 1).await?;
    let listed: Vec<_> =
        listed.config_resources.iter().map(|r| (r.resource_type, &*r.resource_name)).collect();
    assert_eq!(listed, [(BROKER_LOGGER, &*node)]);
    Ok(())
}

#[tokio::test]
async fn a_level_is_set_and_unset_and_what_cannot_be_is_refused() -> Result<()> {
    let connection = broker().await.connect().await?;
    let node = node(&connection).await?;
    let node = node.as_str();
    let at_first = level(&connection, node, LOGGER).await?;
    for to in ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] {
        assert_eq!(alter(&connection, node, &[(LOGGER, SET, to)], false).await?, "NONE");
        assert_eq!(level(&connection, node, LOGGER).await?, to);
    }
    let check = async |node: &str, change: (&str, i8, &str), expected: &str| -> Result<()> {
        let changes = [(LOGGER, SET, "INFO"), change];
        let changes = if change.0 == LOGGER { &changes[1..] } else { &changes };
        assert_eq!(alter(&connection, node, changes, false).await?, expected, "{change:?}");
        Ok(())
    };
    check(node, (LOGGER, SET, "LOUD"), "INVALID_CONFIG").await?;
    check(node, (LOGGER, SET, "OFF"), "INVALID_CONFIG").await?;
    check(node, (LOGGER, SET, "info"), "INVALID_CONFIG").await?;
    check(node, (LOGGER, APPEND, "INFO"), "INVALID_REQUEST").await?;
    check(node, (LOGGER, SUBTRACT, "INFO"), "INVALID_REQUEST").await?;
    check(node, (LOGGER, 9, "INFO"), "INVALID_REQUEST").await?;
    check(node, ("no.such.logger", SET, "INFO"), "INVALID_CONFIG").await?;
    check(node, ("no.such.logger", DELETE, ""), "INVALID_CONFIG").await?;
    check(node, ("root", DELETE, ""), "INVALID_REQUEST").await?;
    check("4711", ("kafka.request.logger", SET, "WARN"), "INVALID_REQUEST").await?;
    check("", ("kafka.request.logger", SET, "WARN"), "INVALID_REQUEST").await?;
    assert_eq!(level(&connection, node, LOGGER).await?, "FATAL", "nothing of a refused request counts");
    assert_eq!(alter(&connection, node, &[(LOGGER, SET, "INFO")], true).await?, "NONE");
    assert_eq!(level(&connection, node, LOGGER).await?, "FATAL", "it was only tried");
    assert_eq!(alter(&connection, node, &[(LOGGER, DELETE, "")], false).await?, "NONE");
    assert_eq!(level(&connection, node, LOGGER).await?, at_first, "as loud as the next wider logger");

    let config = legacy::AlterableConfig::default().with_name(text(LOGGER)).with_value(Some(text("INFO")));
    let resource = legacy::AlterConfigsResource::default()
        .with_resource_type(BROKER_LOGGER)
        .with_resource_name(text(node))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.send(&request, 2).await?;
    assert_eq!(
        name_of(answer.responses[0].error_code),
        "INVALID_REQUEST",
        "only the incremental API knows them"
    );
    Ok(())
}

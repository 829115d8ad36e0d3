//! Environment variables as properties, mapped as the apache/kafka image maps them.
//! It must never read the environment itself: the variables are given.

use std::collections::BTreeMap;

/// The properties among the variables: `KAFKA_LOG_DIRS` is `log.dirs`, `__` stands for `_` and `___` for `-`.
pub fn properties(variables: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let property = |(name, value): (String, String)| Some((property_name(&name)?, value));
    variables.into_iter().filter_map(property).collect()
}

/// `None`: the variable is not a property, but belongs to another program, or to the Java start scripts of Kafka.
pub fn property_name(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("KAFKA_")?;
    if name.is_empty() || NOT_PROPERTIES.contains(&name) || name.starts_with("LOG4J_") {
        return None;
    }
    Some(name.to_lowercase().replace('_', ".").replace("...", "-").replace("..", "_"))
}

const NOT_PROPERTIES: [&str; 8] = [
    "VERSION",
    "HEAP_OPTS",
    "OPTS",
    "JMX_OPTS",
    "JMX_HOSTNAME",
    "JVM_PERFORMANCE_OPTS",
    "GC_LOG_OPTS",
    "TOOLS_LOG4J_LOGLEVEL",
];

/// If only advertised listeners are given, the image's start script listens on every interface at their ports.
pub fn listeners_for(advertised: &str) -> String {
    let on_every_interface = |entry: &str| {
        let everywhere = || {
            let (name, address) = entry.split_once("://")?;
            let (_, port) = address.rsplit_once(':')?;
            Some(format!("{name}://0.0.0.0:{port}"))
        };
        everywhere().unwrap_or_else(|| entry.to_owned())
    };
    advertised.split(',').map(on_every_interface).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_map_to_properties_as_in_the_image() {
        let check = |variable: &str, property: Option<&str>| {
            assert_eq!(property_name(variable).as_deref(), property, "{variable}");
        };
        check("KAFKA_NODE_ID", Some("node.id"));
        check("KAFKA_ADVERTISED_LISTENERS", Some("advertised.listeners"));
        check("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", Some("offsets.topic.replication.factor"));
        check("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", Some("group.initial.rebalance.delay.ms"));
        check(
            "KAFKA_LISTENER_NAME_SASL__SSL_SSL_CLIENT_AUTH",
            Some("listener.name.sasl_ssl.ssl.client.auth"),
        );
        check(
            "KAFKA_LISTENER_NAME_CLIENT_SCRAM___SHA___256_SASL_JAAS_CONFIG",
            Some("listener.name.client.scram-sha-256.sasl.jaas.config"),
        );
        check("KAFKA_A____B", Some("a-.b"));
        check("KAFKA_Log_Dirs", Some("log.dirs"));
        check("KAFKA_JMX_PORT", Some("jmx.port"));
        for excluded in NOT_PROPERTIES {
            check(&format!("KAFKA_{excluded}"), None);
        }
        check("KAFKA_LOG4J_OPTS", None);
        check("KAFKA_LOG4J_ROOT_LOGLEVEL", None);
        check("KAFKA_LOG4J_LOGGERS", None);
        check("KAFKA_", None);
        check("CLUSTER_ID", None);
        check("XKAFKA_NODE_ID", None);
        check("kafka_node_id", None);
    }

    #[test]
    fn listeners_follow_advertised_ones_on_every_interface() {
        let check = |advertised: &str, listeners: &str| assert_eq!(listeners_for(advertised), listeners);
        check("PLAINTEXT://broker:29092", "PLAINTEXT://0.0.0.0:29092");
        check("A://x:1,B://[::1]:2", "A://0.0.0.0:1,B://0.0.0.0:2");
        check("nonsense", "nonsense");
    }
}

//! Configuration: one table of Kafka's keys, and everything that derives from it: parsing, checking, typed settings for
//! broker and topics, DescribeConfigs and the reference page.
//! It must never act on a setting, nor read a file, an environment or a clock.

mod broker;
mod describe;
mod dynamic;
mod endpoint;
mod environment;
mod error;
mod java;
mod key;
mod layers;
mod listeners;
mod load;
mod properties;
mod quorum;
mod reference;
mod rules;
mod table;
mod topic;
mod value;

#[cfg(test)]
mod tests;

pub use broker::{BrokerConfig, Role};
pub use describe::{
    DescribedConfig, DescribedSynonym, describe_broker, describe_client_metrics, describe_cluster_default,
    describe_group, describe_topic,
};
pub use dynamic::{check_broker_change, check_client_metrics, check_group, list_key};
pub use endpoint::{HostPort, Listener, SecurityProtocol, Voter};
pub use error::ConfigError;
pub use key::{ConfigKey, Importance, Kind, Scope, Support, Synonym, UpdateMode, Valid};
pub use layers::{Dynamic, Effective, Source};
pub use load::{SHIPPED, Sources, Warning, load};
pub use properties::parse as parse_properties;
pub use reference::reference_markdown;
pub use rules::{DynamicScope, check_dynamic_config};
pub use table::{
    BROKER_KEYS, CLIENT_METRICS_KEYS, GROUP_KEYS, TOPIC_KEYS, broker_key, client_metrics_key, group_key,
    topic_key,
};
pub use topic::{
    CleanupPolicy, CompressionType, ThrottledReplicas, TopicConfig, check_topic_config, is_topic_config,
};
pub use value::Value;

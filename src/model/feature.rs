//! Feature levels of Kafka 4.4.

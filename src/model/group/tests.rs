//! The records against bytes laid out by hand from Kafka's schemas.

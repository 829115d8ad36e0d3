//! The layouts of the administration APIs, one per API, as in Apache Kafka 4.4's message schemas.

use super::{
    Layout, Shapes, array, boolean, int8, int8s, int16, int32, int32s, int64, int64s, string, strings, uuid,
};

pub(crate) static CREATE_PARTITIONS: Shapes = Shapes {
    request: &[
        array("topics").of(&[
            string("name"),
            int32("count"),
            array("assignments").of(&[int32s("broker_ids")]).nullable(0),
        ]),
        int32("timeout_ms"),
        boolean("validate_only"),
    ],
    response: &[
        int32("throttle_time_ms"),
        array("results").of(&[string("name"), int16("error_code"), string("error_message").nullable(0)]),
    ],
};

pub(crate) static DELETE_RECORDS: Shapes = Shapes {
    request: &[
        array("topics")
            .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int64("offset")])]),
        int32("timeout_ms"),
    ],
    response: &[
        int32("throttle_time_ms"),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[int32("partition_index"), int64("low_watermark"), int16("error_code")]),
        ]),
    ],
};

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Shapes = Shapes {
    request: &[
        int32("replica_id").since(3),
        array("topics").of(&[
            string("topic"),
            array("partitions").of(&[
                int32("partition"),
                int32("current_leader_epoch").since(2),
                int32("leader_epoch"),
            ]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms").since(2),
        array("topics").of(&[
            string("topic"),
            array("partitions").of(&[
                int16("error_code"),
                int32("partition"),
                int32("leader_epoch").since(1),
                int64("end_offset"),
            ]),
        ]),
    ],
};

const ALTERED: Layout = &[
    int32("throttle_time_ms"),
    array("responses").of(&[
        int16("error_code"),
        string("error_message").nullable(0),
        int8("resource_type"),
        string("resource_name"),
    ]),
];

pub(crate) static ALTER_CONFIGS: Shapes = Shapes {
    request: &[
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            array("configs").of(&[string("name"), string("value").nullable(0)]),
        ]),
        boolean("validate_only"),
    ],
    response: ALTERED,
};

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Shapes = Shapes {
    request: &[
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            array("configs").of(&[string("name"), int8("config_operation"), string("value").nullable(0)]),
        ]),
        boolean("validate_only"),
    ],
    response: ALTERED,
};

/// Version 5 of the response has one more field, which a codec of this crate adds.
pub(crate) static ALTER_REPLICA_LOG_DIRS: Shapes = Shapes {
    request: &[
        array("dirs").of(&[string("path"), array("topics").of(&[string("name"), int32s("partitions")])])
    ],
    response: &[
        int32("throttle_time_ms"),
        array("results").of(&[
            string("topic_name"),
            array("partitions").of(&[int32("partition_index"), int16("error_code")]),
        ]),
    ],
};

pub(crate) static DESCRIBE_LOG_DIRS: Shapes = Shapes {
    request: &[array("topics").of(&[string("topic"), int32s("partitions")]).nullable(0)],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code").since(3),
        array("results").of(&[
            int16("error_code"),
            string("log_dir"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("partition_size"),
                    int64("offset_lag"),
                    boolean("is_future_key"),
                ]),
            ]),
            int64("total_bytes").since(4),
            int64("usable_bytes").since(4),
        ]),
    ],
};

pub(crate) static ELECT_LEADERS: Shapes = Shapes {
    request: &[
        int8("election_type").since(1),
        array("topic_partitions").of(&[string("topic"), int32s("partitions")]).nullable(0),
        int32("timeout_ms"),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code").since(1),
        array("replica_election_results").of(&[
            string("topic"),
            array("partition_result").of(&[
                int32("partition_id"),
                int16("error_code"),
                string("error_message").nullable(0),
            ]),
        ]),
    ],
};

pub(crate) static ALTER_PARTITION_REASSIGNMENTS: Shapes = Shapes {
    request: &[
        int32("timeout_ms"),
        boolean("allow_replication_factor_change").since(1),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[int32("partition_index"), int32s("replicas").nullable(0)]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms"),
        boolean("allow_replication_factor_change").since(1),
        int16("error_code"),
        string("error_message").nullable(0),
        array("responses").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int16("error_code"),
                string("error_message").nullable(0),
            ]),
        ]),
    ],
};

pub(crate) static LIST_PARTITION_REASSIGNMENTS: Shapes = Shapes {
    request: &[
        int32("timeout_ms"),
        array("topics").of(&[string("name"), int32s("partition_indexes")]).nullable(0),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int32s("replicas"),
                int32s("adding_replicas"),
                int32s("removing_replicas"),
            ]),
        ]),
    ],
};

pub(crate) static DESCRIBE_CLIENT_QUOTAS: Shapes = Shapes {
    request: &[
        array("components").of(&[string("entity_type"), int8("match_type"), string("match").nullable(0)]),
        boolean("strict"),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        array("entries")
            .of(&[
                array("entity").of(&[string("entity_type"), string("entity_name").nullable(0)]),
                array("values").of(&[string("key"), int64("value")]),
            ])
            .nullable(0),
    ],
};

pub(crate) static DESCRIBE_USER_SCRAM_CREDENTIALS: Shapes = Shapes {
    request: &[array("users").of(&[string("name")]).nullable(0)],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        array("results").of(&[
            string("user"),
            int16("error_code"),
            string("error_message").nullable(0),
            array("credential_infos").of(&[int8("mechanism"), int32("iterations")]),
        ]),
    ],
};

const REPLICA_STATE: Layout = &[
    int32("replica_id"),
    uuid("replica_directory_id").since(2),
    int64("log_end_offset"),
    int64("last_fetch_timestamp").since(1),
    int64("last_caught_up_timestamp").since(1),
];

pub(crate) static DESCRIBE_QUORUM: Shapes = Shapes {
    request: &[
        array("topics").of(&[string("topic_name"), array("partitions").of(&[int32("partition_index")])])
    ],
    response: &[
        int16("error_code"),
        string("error_message").since(2).nullable(2),
        array("topics").of(&[
            string("topic_name"),
            array("partitions").of(&[
                int32("partition_index"),
                int16("error_code"),
                string("error_message").since(2).nullable(2),
                int32("leader_id"),
                int32("leader_epoch"),
                int64("high_watermark"),
                array("current_voters").of(REPLICA_STATE),
                array("observers").of(REPLICA_STATE),
            ]),
        ]),
        array("nodes")
            .of(&[int32("node_id"), array("listeners").of(&[string("name"), string("host"), int16("port")])])
            .since(2),
    ],
};

pub(crate) static DESCRIBE_PRODUCERS: Shapes = Shapes {
    request: &[array("topics").of(&[string("name"), int32s("partition_indexes")])],
    response: &[
        int32("throttle_time_ms"),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int16("error_code"),
                string("error_message").nullable(0),
                array("active_producers").of(&[
                    int64("producer_id"),
                    int32("producer_epoch"),
                    int32("last_sequence"),
                    int64("last_timestamp"),
                    int32("coordinator_epoch"),
                    int64("current_txn_start_offset"),
                ]),
            ]),
        ]),
    ],
};

pub(crate) static DESCRIBE_TRANSACTIONS: Shapes = Shapes {
    request: &[strings("transactional_ids")],
    response: &[
        int32("throttle_time_ms"),
        array("transaction_states").of(&[
            int16("error_code"),
            string("transactional_id"),
            string("transaction_state"),
            int32("transaction_timeout_ms"),
            int64("transaction_start_time_ms"),
            int64("producer_id"),
            int16("producer_epoch"),
            array("topics").of(&[string("topic"), int32s("partitions")]),
        ]),
    ],
};

pub(crate) static LIST_TRANSACTIONS: Shapes = Shapes {
    request: &[
        strings("state_filters"),
        int64s("producer_id_filters"),
        int64("duration_filter").since(1),
        string("transactional_id_pattern").since(2).nullable(2),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        strings("unknown_state_filters"),
        array("transaction_states").of(&[
            string("transactional_id"),
            int64("producer_id"),
            string("transaction_state"),
        ]),
    ],
};

pub(crate) static LIST_CONFIG_RESOURCES: Shapes = Shapes {
    request: &[int8s("resource_types").since(1)],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        array("config_resources").of(&[string("resource_name"), int8("resource_type").since(1)]),
    ],
};

//! The layouts, one per API, as in Apache Kafka 4.4's message schemas.

use super::{
    Layout, Shapes, array, boolean, int8, int16, int32, int32s, int64, string, strings, structure, uuid,
};

pub(crate) static LIST_OFFSETS: Shapes = Shapes {
    request: &[
        int32("replica_id"),
        int8("isolation_level").since(2),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int32("current_leader_epoch").since(4),
                int64("timestamp"),
            ]),
        ]),
        int32("timeout_ms").since(10),
    ],
    response: &[
        int32("throttle_time_ms").since(2),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int16("error_code"),
                int64("timestamp"),
                int64("offset"),
                int32("leader_epoch").since(4),
            ]),
        ]),
    ],
};

pub(crate) static METADATA: Shapes = Shapes {
    request: &[
        array("topics").of(&[uuid("topic_id").since(10), string("name").nullable(10)]).nullable(1),
        boolean("allow_auto_topic_creation").since(4),
        boolean("include_cluster_authorized_operations").since(8).until(10),
        boolean("include_topic_authorized_operations").since(8),
    ],
    response: &[
        int32("throttle_time_ms").since(3),
        array("brokers").of(&[
            int32("node_id"),
            string("host"),
            int32("port"),
            string("rack").since(1).nullable(1),
        ]),
        string("cluster_id").since(2).nullable(2),
        int32("controller_id").since(1),
        array("topics").of(&[
            int16("error_code"),
            string("name").nullable(12),
            uuid("topic_id").since(10),
            boolean("is_internal").since(1),
            array("partitions").of(&[
                int16("error_code"),
                int32("partition_index"),
                int32("leader_id"),
                int32("leader_epoch").since(7),
                int32s("replica_nodes"),
                int32s("isr_nodes"),
                int32s("offline_replicas").since(5),
            ]),
            int32("topic_authorized_operations").since(8),
        ]),
        int32("cluster_authorized_operations").since(8).until(10),
        int16("error_code").since(13),
    ],
};

pub(crate) static CREATE_TOPICS: Shapes = Shapes {
    request: &[
        array("topics").of(&[
            string("name"),
            int32("num_partitions"),
            int16("replication_factor"),
            array("assignments").of(&[int32("partition_index"), int32s("broker_ids")]),
            array("configs").of(&[string("name"), string("value").nullable(0)]),
        ]),
        int32("timeout_ms"),
        boolean("validate_only").since(1),
    ],
    response: &[
        int32("throttle_time_ms").since(2),
        array("topics").of(&[
            string("name"),
            uuid("topic_id").since(7),
            int16("error_code"),
            string("error_message").since(1).nullable(0),
            int16("topic_config_error_code").since(5).tagged(0),
            int32("num_partitions").since(5),
            int16("replication_factor").since(5),
            array("configs")
                .of(&[
                    string("name"),
                    string("value").nullable(5),
                    boolean("read_only"),
                    int8("config_source"),
                    boolean("is_sensitive"),
                ])
                .since(5)
                .nullable(5),
        ]),
    ],
};

pub(crate) static DELETE_TOPICS: Shapes = Shapes {
    request: &[
        array("topics").of(&[string("name").nullable(6), uuid("topic_id")]).since(6),
        strings("topic_names").until(5),
        int32("timeout_ms"),
    ],
    response: &[
        int32("throttle_time_ms").since(1),
        array("responses").of(&[
            string("name").nullable(6),
            uuid("topic_id").since(6),
            int16("error_code"),
            string("error_message").since(5).nullable(5),
        ]),
    ],
};

pub(crate) static FIND_COORDINATOR: Shapes = Shapes {
    request: &[string("key").until(3), int8("key_type").since(1), strings("coordinator_keys").since(4)],
    response: &[
        int32("throttle_time_ms").since(1),
        int16("error_code").until(3),
        string("error_message").since(1).until(3).nullable(1),
        int32("node_id").until(3),
        string("host").until(3),
        int32("port").until(3),
        array("coordinators")
            .of(&[
                string("key"),
                int32("node_id"),
                string("host"),
                int32("port"),
                int16("error_code"),
                string("error_message").nullable(4),
            ])
            .since(4),
    ],
};

pub(crate) static INIT_PRODUCER_ID: Shapes = Shapes {
    request: &[
        string("transactional_id").nullable(0),
        int32("transaction_timeout_ms"),
        int64("producer_id").since(3),
        int16("producer_epoch").since(3),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id"),
        int16("producer_epoch"),
    ],
};

pub(crate) static DESCRIBE_CONFIGS: Shapes = Shapes {
    request: &[
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            strings("configuration_keys").nullable(0),
        ]),
        boolean("include_synonyms").since(1),
        boolean("include_documentation").since(3),
    ],
    response: &[
        int32("throttle_time_ms"),
        array("results").of(&[
            int16("error_code"),
            string("error_message").nullable(0),
            int8("resource_type"),
            string("resource_name"),
            array("configs").of(&[
                string("name"),
                string("value").nullable(0),
                boolean("read_only"),
                int8("config_source").since(1),
                boolean("is_sensitive"),
                array("synonyms").of(&[string("name"), string("value").nullable(0), int8("source")]).since(1),
                int8("config_type").since(3),
                string("documentation").since(3).nullable(0),
            ]),
        ]),
    ],
};

pub(crate) static DESCRIBE_CLUSTER: Shapes = Shapes {
    request: &[
        boolean("include_cluster_authorized_operations"),
        int8("endpoint_type").since(1),
        boolean("include_fenced_brokers").since(2),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        int8("endpoint_type").since(1),
        string("cluster_id"),
        int32("controller_id"),
        array("brokers").of(&[
            int32("broker_id"),
            string("host"),
            int32("port"),
            string("rack").nullable(0),
            boolean("is_fenced").since(2),
        ]),
        int32("cluster_authorized_operations"),
    ],
};

pub(crate) static DESCRIBE_TOPIC_PARTITIONS: Shapes = Shapes {
    request: &[
        array("topics").of(&[string("name")]),
        int32("response_partition_limit"),
        structure("cursor", CURSOR).nullable(0),
    ],
    response: &[
        int32("throttle_time_ms"),
        array("topics").of(&[
            int16("error_code"),
            string("name").nullable(0),
            uuid("topic_id"),
            boolean("is_internal"),
            array("partitions").of(&[
                int16("error_code"),
                int32("partition_index"),
                int32("leader_id"),
                int32("leader_epoch"),
                int32s("replica_nodes"),
                int32s("isr_nodes"),
                int32s("eligible_leader_replicas").nullable(0),
                int32s("last_known_elr").nullable(0),
                int32s("offline_replicas"),
            ]),
            int32("topic_authorized_operations"),
        ]),
        structure("next_cursor", CURSOR).nullable(0),
    ],
};

const CURSOR: Layout = &[string("topic_name"), int32("partition_index")];

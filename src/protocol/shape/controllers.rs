//! The layouts of what brokers and controllers say to each other, as in Apache Kafka 4.4's message schemas.

use super::{
    Layout, Shapes, array, boolean, bytes, int8, int16, int32, int32s, int64, string, structure, uuid, uuids,
};

const LISTENERS: Layout = &[string("name"), string("host"), int16("port"), int16("security_protocol")];
const VOTER_LISTENERS: Layout = &[string("name"), string("host"), int16("port")];
const FEATURES: Layout = &[string("name"), int16("min_supported_version"), int16("max_supported_version")];

pub(crate) static BROKER_REGISTRATION: Shapes = Shapes {
    request: &[
        int32("broker_id"),
        string("cluster_id"),
        uuid("incarnation_id"),
        array("listeners").of(LISTENERS),
        array("features").of(FEATURES),
        string("rack").nullable(0),
        boolean("is_migrating_zk_broker").since(1),
        uuids("log_dirs").since(2),
        int64("previous_broker_epoch").since(3),
    ],
    response: &[int32("throttle_time_ms"), int16("error_code"), int64("broker_epoch")],
};

pub(crate) static BROKER_HEARTBEAT: Shapes = Shapes {
    request: &[
        int32("broker_id"),
        int64("broker_epoch"),
        int64("current_metadata_offset"),
        boolean("want_fence"),
        boolean("want_shut_down"),
        uuids("offline_log_dirs").since(1).tagged(0),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        boolean("is_caught_up"),
        boolean("is_fenced"),
        boolean("should_shut_down"),
    ],
};

pub(crate) static UNREGISTER_BROKER: Shapes = Shapes {
    request: &[int32("broker_id")],
    response: &[int32("throttle_time_ms"), int16("error_code"), string("error_message").nullable(0)],
};

pub(crate) static UNREGISTER_CONTROLLER: Shapes = Shapes {
    request: &[int32("controller_id")],
    response: &[int32("throttle_time_ms"), int16("error_code"), string("error_message").nullable(0)],
};

pub(crate) static CONTROLLER_REGISTRATION: Shapes = Shapes {
    request: &[
        int32("controller_id"),
        uuid("incarnation_id"),
        boolean("zk_migration_ready"),
        array("listeners").of(LISTENERS),
        array("features").of(FEATURES),
    ],
    response: &[int32("throttle_time_ms"), int16("error_code"), string("error_message").nullable(0)],
};

pub(crate) static ALTER_PARTITION: Shapes = Shapes {
    request: &[
        int32("broker_id"),
        int64("broker_epoch"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition_index"),
                int32("leader_epoch"),
                int32s("new_isr").until(2),
                array("new_isr_with_epochs").of(&[int32("broker_id"), int64("broker_epoch")]).since(3),
                int8("leader_recovery_state"),
                int32("partition_epoch"),
            ]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition_index"),
                int16("error_code"),
                int32("leader_id"),
                int32("leader_epoch"),
                int32s("isr"),
                int8("leader_recovery_state"),
                int32("partition_epoch"),
            ]),
        ]),
    ],
};

pub(crate) static ALLOCATE_PRODUCER_IDS: Shapes = Shapes {
    request: &[int32("broker_id"), int64("broker_epoch")],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id_start"),
        int32("producer_id_len"),
    ],
};

pub(crate) static ASSIGN_REPLICAS_TO_DIRS: Shapes = Shapes {
    request: &[
        int32("broker_id"),
        int64("broker_epoch"),
        array("directories").of(&[
            uuid("id"),
            array("topics").of(&[uuid("topic_id"), array("partitions").of(&[int32("partition_index")])]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        array("directories").of(&[
            uuid("id"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[int32("partition_index"), int16("error_code")]),
            ]),
        ]),
    ],
};

pub(crate) static ENVELOPE: Shapes = Shapes {
    request: &[bytes("request_data"), bytes("request_principal").nullable(0), bytes("client_host_address")],
    response: &[bytes("response_data").nullable(0), int16("error_code")],
};

pub(crate) static UPDATE_FEATURES: Shapes = Shapes {
    request: &[
        int32("timeout_ms"),
        array("feature_updates").of(&[
            string("feature"),
            int16("max_version_level"),
            boolean("allow_downgrade").until(0),
            int8("upgrade_type").since(1),
        ]),
        boolean("validate_only").since(1),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        array("results")
            .of(&[string("feature"), int16("error_code"), string("error_message").nullable(0)])
            .until(1),
    ],
};

pub(crate) static FETCH_SNAPSHOT: Shapes = Shapes {
    request: &[
        string("cluster_id").nullable(0).tagged(0),
        int32("replica_id"),
        int32("max_bytes"),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition"),
                int32("current_leader_epoch"),
                structure("snapshot_id", &[int64("end_offset"), int32("epoch")]),
                int64("position"),
                uuid("replica_directory_id").since(1).tagged(0),
            ]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("index"),
                int16("error_code"),
                structure("snapshot_id", &[int64("end_offset"), int32("epoch")]),
                structure("current_leader", &[int32("leader_id"), int32("leader_epoch")]).tagged(0),
                int64("size"),
                int64("position"),
                bytes("unaligned_records"),
            ]),
        ]),
        array("node_endpoints").of(&[int32("node_id"), string("host"), int16("port")]).since(1).tagged(0),
    ],
};

pub(crate) static ADD_RAFT_VOTER: Shapes = Shapes {
    request: &[
        string("cluster_id").nullable(0),
        int32("timeout_ms"),
        int32("voter_id"),
        uuid("voter_directory_id"),
        array("listeners").of(VOTER_LISTENERS),
    ],
    response: &[int32("throttle_time_ms"), int16("error_code"), string("error_message").nullable(0)],
};

pub(crate) static REMOVE_RAFT_VOTER: Shapes = Shapes {
    request: &[string("cluster_id").nullable(0), int32("voter_id"), uuid("voter_directory_id")],
    response: &[int32("throttle_time_ms"), int16("error_code"), string("error_message").nullable(0)],
};

pub(crate) static UPDATE_RAFT_VOTER: Shapes = Shapes {
    request: &[
        string("cluster_id").nullable(0),
        int32("current_leader_epoch"),
        int32("voter_id"),
        uuid("voter_directory_id"),
        array("listeners").of(VOTER_LISTENERS),
        structure("kraft_version_feature", &[int16("min_supported_version"), int16("max_supported_version")]),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        structure(
            "current_leader",
            &[int32("leader_id"), int32("leader_epoch"), string("host"), int32("port")],
        )
        .tagged(0),
    ],
};

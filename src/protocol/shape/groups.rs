//! The layouts of the group coordinator's APIs, as in Apache Kafka 4.4's message schemas.

use super::{Shapes, array, boolean, bytes, int16, int32, int32s, int64, string, strings};

pub(crate) static JOIN_GROUP: Shapes = Shapes {
    request: &[
        string("group_id"),
        int32("session_timeout_ms"),
        int32("rebalance_timeout_ms").since(1),
        string("member_id"),
        string("group_instance_id").since(5).nullable(5),
        string("protocol_type"),
        array("protocols").of(&[string("name"), bytes("metadata")]),
        string("reason").since(8).nullable(8),
    ],
    response: &[
        int32("throttle_time_ms").since(2),
        int16("error_code"),
        int32("generation_id"),
        string("protocol_type").since(7).nullable(7),
        string("protocol_name").nullable(7),
        string("leader"),
        boolean("skip_assignment").since(9),
        string("member_id"),
        array("members").of(&[
            string("member_id"),
            string("group_instance_id").since(5).nullable(5),
            bytes("metadata"),
        ]),
    ],
};

pub(crate) static SYNC_GROUP: Shapes = Shapes {
    request: &[
        string("group_id"),
        int32("generation_id"),
        string("member_id"),
        string("group_instance_id").since(3).nullable(3),
        string("protocol_type").since(5).nullable(5),
        string("protocol_name").since(5).nullable(5),
        array("assignments").of(&[string("member_id"), bytes("assignment")]),
    ],
    response: &[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        string("protocol_type").since(5).nullable(5),
        string("protocol_name").since(5).nullable(5),
        bytes("assignment"),
    ],
};

pub(crate) static HEARTBEAT: Shapes = Shapes {
    request: &[
        string("group_id"),
        int32("generation_id"),
        string("member_id"),
        string("group_instance_id").since(3).nullable(3),
    ],
    response: &[int32("throttle_time_ms").since(1), int16("error_code")],
};

pub(crate) static LEAVE_GROUP: Shapes = Shapes {
    request: &[
        string("group_id"),
        string("member_id").until(2),
        array("members")
            .of(&[
                string("member_id"),
                string("group_instance_id").nullable(3),
                string("reason").since(5).nullable(5),
            ])
            .since(3),
    ],
    response: &[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        array("members")
            .of(&[string("member_id"), string("group_instance_id").nullable(3), int16("error_code")])
            .since(3),
    ],
};

/// Up to version 9, for the `kafka-protocol` crate. `crate::offsets` has all versions.
pub(crate) static OFFSET_COMMIT: Shapes = Shapes {
    request: &[
        string("group_id"),
        int32("generation_id_or_member_epoch"),
        string("member_id"),
        string("group_instance_id").since(7).nullable(7),
        int64("retention_time_ms").since(2).until(4),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int64("committed_offset"),
                int32("committed_leader_epoch").since(6),
                string("committed_metadata").nullable(0),
            ]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms").since(3),
        array("topics")
            .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
    ],
};

/// Up to version 9, for the `kafka-protocol` crate. `crate::offsets` has all versions.
pub(crate) static OFFSET_FETCH: Shapes = Shapes {
    request: &[
        string("group_id").until(7),
        array("topics").of(&[string("name"), int32s("partition_indexes")]).until(7).nullable(2),
        array("groups")
            .of(&[
                string("group_id"),
                string("member_id").since(9).nullable(9),
                int32("member_epoch").since(9),
                array("topics").of(&[string("name"), int32s("partition_indexes")]).nullable(8),
            ])
            .since(8),
        boolean("require_stable").since(7),
    ],
    response: &[
        int32("throttle_time_ms").since(3),
        array("topics")
            .of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(5),
                    string("metadata").nullable(0),
                    int16("error_code"),
                ]),
            ])
            .until(7),
        int16("error_code").since(2).until(7),
        array("groups")
            .of(&[
                string("group_id"),
                array("topics").of(&[
                    string("name"),
                    array("partitions").of(&[
                        int32("partition_index"),
                        int64("committed_offset"),
                        int32("committed_leader_epoch"),
                        string("metadata").nullable(8),
                        int16("error_code"),
                    ]),
                ]),
                int16("error_code"),
            ])
            .since(8),
    ],
};

pub(crate) static OFFSET_DELETE: Shapes = Shapes {
    request: &[
        string("group_id"),
        array("topics").of(&[string("name"), array("partitions").of(&[int32("partition_index")])]),
    ],
    response: &[
        int16("error_code"),
        int32("throttle_time_ms"),
        array("topics")
            .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
    ],
};

pub(crate) static LIST_GROUPS: Shapes = Shapes {
    request: &[strings("states_filter").since(4), strings("types_filter").since(5)],
    response: &[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        array("groups").of(&[
            string("group_id"),
            string("protocol_type"),
            string("group_state").since(4),
            string("group_type").since(5),
        ]),
    ],
};

pub(crate) static DESCRIBE_GROUPS: Shapes = Shapes {
    request: &[strings("groups"), boolean("include_authorized_operations").since(3)],
    response: &[
        int32("throttle_time_ms").since(1),
        array("groups").of(&[
            int16("error_code"),
            string("error_message").since(6).nullable(6),
            string("group_id"),
            string("group_state"),
            string("protocol_type"),
            string("protocol_data"),
            array("members").of(&[
                string("member_id"),
                string("group_instance_id").since(4).nullable(4),
                string("client_id"),
                string("client_host"),
                bytes("member_metadata"),
                bytes("member_assignment"),
            ]),
            int32("authorized_operations").since(3),
        ]),
    ],
};

pub(crate) static DELETE_GROUPS: Shapes = Shapes {
    request: &[strings("groups_names")],
    response: &[int32("throttle_time_ms"), array("results").of(&[string("group_id"), int16("error_code")])],
};

//! The layouts of the transaction coordinator's APIs, and of those that take part in transactions, as in Apache Kafka 4.4's
//! message schemas.

use super::{Layout, Shapes, array, boolean, int16, int32, int32s, int64, string};

const TOPICS: Layout = &[string("name"), int32s("partitions")];

const TOPIC_RESULTS: Layout = &[
    string("name"),
    array("results_by_partition").of(&[int32("partition_index"), int16("partition_error_code")]),
];

pub(crate) static ADD_PARTITIONS_TO_TXN: Shapes = Shapes {
    request: &[
        array("transactions")
            .of(&[
                string("transactional_id"),
                int64("producer_id"),
                int16("producer_epoch"),
                boolean("verify_only"),
                array("topics").of(TOPICS),
            ])
            .since(4),
        string("v3_and_below_transactional_id").until(3),
        int64("v3_and_below_producer_id").until(3),
        int16("v3_and_below_producer_epoch").until(3),
        array("v3_and_below_topics").of(TOPICS).until(3),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code").since(4),
        array("results_by_transaction")
            .of(&[string("transactional_id"), array("topic_results").of(TOPIC_RESULTS)])
            .since(4),
        array("results_by_topic_v3_and_below").of(TOPIC_RESULTS).until(3),
    ],
};

pub(crate) static ADD_OFFSETS_TO_TXN: Shapes = Shapes {
    request: &[string("transactional_id"), int64("producer_id"), int16("producer_epoch"), string("group_id")],
    response: &[int32("throttle_time_ms"), int16("error_code")],
};

pub(crate) static END_TXN: Shapes = Shapes {
    request: &[
        string("transactional_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("committed"),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id").since(5),
        int16("producer_epoch").since(5),
    ],
};

/// Version 1, for the `kafka-protocol` crate. `crate::txn_markers` has all versions.
pub(crate) static WRITE_TXN_MARKERS: Shapes = Shapes {
    request: &[array("markers").of(&[
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("transaction_result"),
        array("topics").of(&[string("name"), int32s("partition_indexes")]),
        int32("coordinator_epoch"),
    ])],
    response: &[array("markers").of(&[
        int64("producer_id"),
        array("topics")
            .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
    ])],
};

/// Up to version 5, for the `kafka-protocol` crate. `crate::txn_offsets` has all versions.
pub(crate) static TXN_OFFSET_COMMIT: Shapes = Shapes {
    request: &[
        string("transactional_id"),
        string("group_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        int32("generation_id").since(3),
        string("member_id").since(3),
        string("group_instance_id").since(3).nullable(3),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int64("committed_offset"),
                int32("committed_leader_epoch").since(2),
                string("committed_metadata").nullable(0),
            ]),
        ]),
    ],
    response: &[
        int32("throttle_time_ms"),
        array("topics")
            .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
    ],
};

//! The layouts of the security APIs, one per API, as in Apache Kafka 4.4's message schemas.

use super::{Layout, Shapes, array, bytes, int8, int16, int32, int64, string, strings};

pub(crate) static DESCRIBE_ACLS: Shapes = Shapes {
    request: &[
        int8("resource_type_filter"),
        string("resource_name_filter").nullable(0),
        int8("pattern_type_filter").since(1),
        string("principal_filter").nullable(0),
        string("host_filter").nullable(0),
        int8("operation"),
        int8("permission_type"),
    ],
    response: &[
        int32("throttle_time_ms"),
        int16("error_code"),
        string("error_message").nullable(0),
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            int8("pattern_type").since(1),
            array("acls").of(&[
                string("principal"),
                string("host"),
                int8("operation"),
                int8("permission_type"),
            ]),
        ]),
    ],
};

const ACL: Layout = &[
    int8("resource_type"),
    string("resource_name"),
    int8("pattern_type").since(1),
    string("principal"),
    string("host"),
    int8("operation"),
    int8("permission_type"),
];

pub(crate) static CREATE_ACLS: Shapes = Shapes {
    request: &[array("creations").of(ACL)],
    response: &[
        int32("throttle_time_ms"),
        array("results").of(&[int16("error_code"), string("error_message").nullable(0)]),
    ],
};

pub(crate) static DELETE_ACLS: Shapes = Shapes {
    request: &[array("filters").of(&[
        int8("resource_type_filter"),
        string("resource_name_filter").nullable(0),
        int8("pattern_type_filter").since(1),
        string("principal_filter").nullable(0),
        string("host_filter").nullable(0),
        int8("operation"),
        int8("permission_type"),
    ])],
    response: &[
        int32("throttle_time_ms"),
        array("filter_results").of(&[
            int16("error_code"),
            string("error_message").nullable(0),
            array("matching_acls").of(&[
                int16("error_code"),
                string("error_message").nullable(0),
                int8("resource_type"),
                string("resource_name"),
                int8("pattern_type").since(1),
                string("principal"),
                string("host"),
                int8("operation"),
                int8("permission_type"),
            ]),
        ]),
    ],
};

pub(crate) static SASL_HANDSHAKE: Shapes =
    Shapes { request: &[string("mechanism")], response: &[int16("error_code"), strings("mechanisms")] };

pub(crate) static SASL_AUTHENTICATE: Shapes = Shapes {
    request: &[bytes("auth_bytes")],
    response: &[
        int16("error_code"),
        string("error_message").nullable(0),
        bytes("auth_bytes"),
        int64("session_lifetime_ms").since(1),
    ],
};

const PRINCIPAL: Layout = &[string("principal_type"), string("principal_name")];

pub(crate) static CREATE_DELEGATION_TOKEN: Shapes = Shapes {
    request: &[
        string("owner_principal_type").since(3).nullable(3),
        string("owner_principal_name").since(3).nullable(3),
        array("renewers").of(PRINCIPAL),
        int64("max_lifetime_ms"),
    ],
    response: &[
        int16("error_code"),
        string("principal_type"),
        string("principal_name"),
        string("token_requester_principal_type").since(3),
        string("token_requester_principal_name").since(3),
        int64("issue_timestamp_ms"),
        int64("expiry_timestamp_ms"),
        int64("max_timestamp_ms"),
        string("token_id"),
        bytes("hmac"),
        int32("throttle_time_ms"),
    ],
};

const NEW_EXPIRY: Layout = &[int16("error_code"), int64("expiry_timestamp_ms"), int32("throttle_time_ms")];

pub(crate) static RENEW_DELEGATION_TOKEN: Shapes =
    Shapes { request: &[bytes("hmac"), int64("renew_period_ms")], response: NEW_EXPIRY };

pub(crate) static EXPIRE_DELEGATION_TOKEN: Shapes =
    Shapes { request: &[bytes("hmac"), int64("expiry_time_period_ms")], response: NEW_EXPIRY };

pub(crate) static DESCRIBE_DELEGATION_TOKEN: Shapes = Shapes {
    request: &[array("owners").of(PRINCIPAL).nullable(0)],
    response: &[
        int16("error_code"),
        array("tokens").of(&[
            string("principal_type"),
            string("principal_name"),
            string("token_requester_principal_type").since(3),
            string("token_requester_principal_name").since(3),
            int64("issue_timestamp"),
            int64("expiry_timestamp"),
            int64("max_timestamp"),
            string("token_id"),
            bytes("hmac"),
            array("renewers").of(PRINCIPAL),
        ]),
        int32("throttle_time_ms"),
    ],
};

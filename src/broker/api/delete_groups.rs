//! DeleteGroups v0-3 (KIP-229; messages for streams groups from v3, of which there are none).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_core::group::{Command, Reply};
use ottla_protocol::api::ApiKey;
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_protocol::{codec, delete_groups};

use super::groups::{group_of, shared, unexpected};
use super::{Answer, Begun, Body, bytes};
use crate::broker::Broker;
use crate::net::connection::Overtakers;
use crate::run::groups::ask;

pub(super) fn begin(broker: &Arc<Broker>, version: i16, body: Bytes) -> Begun {
    let request: DeleteGroupsRequest = codec::decode(ApiKey::DeleteGroups.code(), version, body)?;
    let broker = broker.clone();
    Ok(Body::Later(
        Overtakers::None,
        Box::pin(async move {
            let mut results = Vec::with_capacity(request.groups_names.len());
            for group in &request.groups_names {
                let group = shared(&group.0);
                match ask(&broker, &group, Command::DeleteGroups { groups: vec![group.clone()] }).await {
                    Reply::GroupsDeleted(deleted) => results.extend(deleted.iter().map(|(id, error)| {
                        DeletableGroupResult::default()
                            .with_group_id(group_of(id))
                            .with_error_code(error.code())
                    })),
                    other => unexpected(&other),
                }
            }
            let response = DeleteGroupsResponse::default().with_results(results);
            let mut buf = BytesMut::new();
            match delete_groups::write_response(&response, version, &mut buf) {
                Ok(()) => bytes(buf),
                Err(error) => Answer::Close(format!("a response that cannot be encoded: {error}")),
            }
        }),
    ))
}

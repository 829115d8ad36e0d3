//! DeleteGroups v0-3 (KIP-229; messages for streams groups from v3, of which there are none).

use bytes::{Bytes, BytesMut};
use ottla_core::group::{Command, Reply};
use ottla_protocol::delete_groups;
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::answers::bytes;
use super::context::{Begun, Context};
use super::groups::{group_of, shared, unexpected};
use crate::request::{Answer, Body, Overtakers};
use crate::run::groups::ask;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: DeleteGroupsRequest = context.read(body)?;
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

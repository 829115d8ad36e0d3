//! DeleteGroups v0-3 (KIP-229; messages for streams groups from v3, of which there are none).

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::group::DeleteGroup;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::context::{Begun, Context};
use super::groups::{group_of, shared};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: DeleteGroupsRequest = context.read(body)?;
    let (broker, rights) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in &request.groups_names {
            let group = shared(&group.0);
            if let Err(code) = rights.rights().check(Operation::Delete, Resource::Group, &group) {
                results.push(result(&group, code));
                continue;
            }
            let deleted = broker.groups.ask(DeleteGroup(group)).await;
            results.extend(deleted.iter().map(|(id, error)| result(id, *error)));
        }
        DeleteGroupsResponse::default().with_results(results)
    }))
}

fn result(group: &Arc<str>, error: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult::default().with_group_id(group_of(group)).with_error_code(error.code())
}

//! ListGroups v0-5 (KIP-518 states from v4, KIP-848 types from v5): the groups whose shards live on this broker.

use bytes::Bytes;
use ottla_core::group::{ListGroups, ListedGroup as Listed};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::list_groups_response::ListedGroup;
use ottla_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::answers::text;
use super::context::{Begun, Context};
use super::groups::{group_of, text_of};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: ListGroupsRequest = context.read(body)?;
    let words = |filter: &[ottla_protocol::StrBytes]| filter.iter().map(|word| word.to_string()).collect();
    let list = ListGroups { states: words(&request.states_filter), types: words(&request.types_filter) };
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let mut all = Vec::new();
        let mut error = ErrorCode::None;
        for listed in broker.groups.ask_all(&list).await {
            match listed {
                Ok(listed) => {
                    let shown =
                        |g: &&Listed| kept.rights().may(Operation::Describe, Resource::Group, &g.group);
                    all.extend(listed.iter().filter(shown).map(|g| group(g, version)));
                }
                // A shard that has moved away is listed where it is now.
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => error = code,
            }
        }
        if error != ErrorCode::None {
            all.clear();
        }
        ListGroupsResponse::default().with_error_code(error.code()).with_groups(all)
    }))
}

fn group(listed: &Listed, version: i16) -> ListedGroup {
    let mut group = ListedGroup::default()
        .with_group_id(group_of(&listed.group))
        .with_protocol_type(text_of(&listed.protocol_type));
    if version >= 4 {
        group = group.with_group_state(text(listed.state.name()));
    }
    if version >= 5 { group.with_group_type(text(listed.kind.name())) } else { group }
}

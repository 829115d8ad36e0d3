//! ListGroups v0-5 (KIP-518 states from v4, KIP-848 types from v5): the groups whose shards live on this broker.

use bytes::Bytes;
use ottla_core::group::{Command, ListGroups, ListedGroup as Listed, Reply};
use ottla_protocol::ErrorCode;
use ottla_protocol::api::{Operation, Resource};
use ottla_protocol::messages::list_groups_response::ListedGroup;
use ottla_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::answers::text;
use super::context::{Begun, Context};
use super::groups::{group_of, text_of, unexpected};
use crate::run::groups::ask_all;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: ListGroupsRequest = context.read(body)?;
    let words = |filter: &[ottla_protocol::StrBytes]| filter.iter().map(|word| word.to_string()).collect();
    let list = ListGroups { states: words(&request.states_filter), types: words(&request.types_filter) };
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let mut groups = Vec::new();
        let mut error = ErrorCode::None;
        for reply in ask_all(&broker, &Command::ListGroups(list)).await {
            match reply {
                Reply::GroupsListed(Ok(listed)) => {
                    let shown =
                        |g: &&Listed| kept.rights().may(Operation::Describe, Resource::Group, &g.group);
                    groups.extend(listed.iter().filter(shown).map(|g| group(g, version)));
                }
                // A shard that has moved away is listed where it is now.
                Reply::GroupsListed(Err(ErrorCode::NotCoordinator)) => {}
                Reply::GroupsListed(Err(code)) => error = code,
                other => unexpected(&other),
            }
        }
        if error != ErrorCode::None {
            groups.clear();
        }
        ListGroupsResponse::default().with_error_code(error.code()).with_groups(groups)
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

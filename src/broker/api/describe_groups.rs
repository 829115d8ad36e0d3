//! DescribeGroups v0-6 (KIP-430 authorized operations from v3, KIP-345 instance ids from v4, KIP-1043 errors for groups that do not exist from v6).

use bytes::Bytes;
use ottla_core::group::{DescribeGroup, DescribedGroup as Described, DescribedMember};
use ottla_model::group::GroupId;
use ottla_protocol::api::{OPERATIONS_NOT_ASKED, Operation, Resource};
use ottla_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::answers::text;
use super::context::{Begun, Context};
use super::groups::{group_of, shared, text_of, text_option};

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let Context { broker, version, .. } = *context;
    let request: DescribeGroupsRequest = context.read(body)?;
    let (broker, kept) = (broker.clone(), context.rights().keep());
    Ok(context.later(async move {
        let rights = kept.rights();
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in &request.groups {
            let group = shared(&group.0);
            if let Err(code) = rights.check(Operation::Describe, Resource::Group, &group) {
                groups.push(one(&group, Err(code), version));
                continue;
            }
            let described = broker.groups.ask(DescribeGroup(group)).await;
            groups.extend(described.into_iter().map(|(id, found)| one(&id, found, version)));
        }
        let described = groups.iter_mut().filter(|group| group.error_code == ErrorCode::None.code());
        for group in described.filter(|_| request.include_authorized_operations) {
            group.authorized_operations = rights.operations(Resource::Group, &group.group_id);
        }
        DescribeGroupsResponse::default().with_groups(groups)
    }))
}

fn one(id: &GroupId, found: Result<Described, ErrorCode>, version: i16) -> DescribedGroup {
    let group = DescribedGroup::default()
        .with_group_id(group_of(id))
        .with_authorized_operations(OPERATIONS_NOT_ASKED);
    match found {
        Ok(found) => {
            let member = |m: &DescribedMember| member(m, version);
            group
                .with_group_state(text(found.state.name()))
                .with_protocol_type(text_of(&found.protocol_type))
                .with_protocol_data(text_of(&found.protocol))
                .with_members(found.members.iter().map(member).collect())
        }
        Err(ErrorCode::GroupIdNotFound) => {
            let group = group.with_group_state(text("Dead"));
            if version < 6 {
                return group;
            }
            let why = StrBytes::from_string(format!("Group {id} not found."));
            group.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(why))
        }
        Err(code) => group.with_error_code(code.code()),
    }
}

fn member(member: &DescribedMember, version: i16) -> DescribedGroupMember {
    let described = DescribedGroupMember::default()
        .with_member_id(text_of(&member.member_id))
        .with_client_id(text_of(&member.client_id))
        .with_client_host(text_of(&member.client_host))
        .with_member_metadata(member.metadata.clone())
        .with_member_assignment(member.assignment.clone());
    if version >= 4 { described.with_group_instance_id(text_option(&member.instance_id)) } else { described }
}

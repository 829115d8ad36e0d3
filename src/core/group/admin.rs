//! ListGroups, DescribeGroups and DeleteGroups: what an operator sees of groups, and how one is done away with.

use ottla_model::group::{GroupId, GroupRecord, MemberId, OffsetKey};
use ottla_protocol::ErrorCode;

use super::classic::Group;
use super::command::{Command, ListGroups};
use super::member::Member;
use super::reply::{DescribedGroup, DescribedMember, GroupKind, ListedGroup, Reply, State};
use super::write::{Answer, Then, Wish};
use super::{Groups, Step};

impl<T> Groups<T> {
    pub(super) fn list(&mut self, step: &mut Step<'_, T>, token: T, list: &ListGroups) {
        let states: Vec<String> = list.states.iter().map(|state| state.trim().to_lowercase()).collect();
        let kinds: Vec<String> = list.types.iter().map(|kind| kind.to_lowercase()).collect();
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| *wanted == name.to_lowercase())
        };
        let listed = |(id, group): (&GroupId, &Group<T>)| ListedGroup {
            group: id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state(),
            kind: GroupKind::Classic,
        };
        let listed = self
            .groups
            .iter()
            .map(listed)
            .filter(|group| passes(&states, group.state.name()) && passes(&kinds, group.kind.name()));
        step.reply(token, Reply::GroupsListed(Ok(listed.collect())));
    }

    pub(super) fn describe(&mut self, step: &mut Step<'_, T>, token: T, groups: &[GroupId]) {
        let described = |id: &GroupId| {
            let group = self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound);
            (id.clone(), group.map(described))
        };
        step.reply(token, Reply::GroupsDescribed(groups.iter().map(described).collect()));
    }

    pub(super) fn delete_groups(&mut self, step: &mut Step<'_, T>, token: T, groups: Vec<GroupId>) {
        let mut records = Vec::new();
        let mut outcomes: Vec<(GroupId, ErrorCode)> = Vec::new();
        for id in &groups {
            // Deleted already, if it is there twice.
            let again = outcomes.iter().any(|(other, error)| other == id && *error == ErrorCode::None);
            let error = match self.groups.get(id) {
                Some(_) if again => ErrorCode::GroupIdNotFound,
                Some(group) if group.is(State::Empty) => {
                    self.tombstones(id, &mut records);
                    ErrorCode::None
                }
                Some(_) => ErrorCode::NonEmptyGroup,
                None => ErrorCode::GroupIdNotFound,
            };
            outcomes.push((id.clone(), error));
        }
        let reply = Reply::GroupsDeleted(outcomes);
        if records.is_empty() {
            return step.reply(token, reply);
        }
        let answer = Answer { token, command: Command::DeleteGroups { groups }, reply };
        self.write(step, None, Wish { records, transaction: None, then: Then::Apply, answer: Some(answer) });
    }

    /// All that the log has of a group.
    fn tombstones(&self, group: &GroupId, records: &mut Vec<GroupRecord>) {
        let mut forget = |key| records.push(GroupRecord::OffsetCommit { key, value: None });
        for (topic, partitions) in self.offsets.of(group).into_iter().flatten() {
            for &partition in partitions.keys() {
                forget(OffsetKey { group: group.clone(), topic: topic.clone(), partition });
            }
        }
        for key in self.offsets.open_in(group).filter(|key| !self.offsets.has(key)) {
            forget(key.clone());
        }
        records.push(GroupRecord::GroupMetadata { group: group.clone(), value: None });
    }
}

fn described<T>(group: &Group<T>) -> DescribedGroup {
    let protocol = group.protocol.clone().filter(|_| group.is(State::Stable)).unwrap_or_default();
    let member = |(id, member): (&MemberId, &Member<T>)| DescribedMember {
        member_id: id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: if group.is(State::Stable) { member.metadata(&protocol) } else { Default::default() },
        assignment: member.assignment.clone(),
    };
    DescribedGroup {
        state: group.state(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        members: group.members().iter().map(member).collect(),
        protocol,
    }
}

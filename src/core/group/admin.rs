//! ListGroups, DescribeGroups and DeleteGroups: what an operator sees of groups, and how a group is deleted.

use ottla_model::group::{GroupId, GroupRecord, OffsetKey};
use ottla_protocol::ErrorCode;

use super::classic;
use super::command::{Command, ListGroups};
use super::kind::Group;
use super::reply::Reply;
use super::write::{Answer, Claim, Then, WantedWrite};
use super::{Groups, Step};

impl<T> Groups<T> {
    pub(super) fn list(&mut self, step: &mut Step<'_, T>, token: T, list: &ListGroups) {
        let states: Vec<String> = list.states.iter().map(|state| state.trim().to_lowercase()).collect();
        let kinds: Vec<String> = list.types.iter().map(|kind| kind.to_lowercase()).collect();
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| *wanted == name.to_lowercase())
        };
        let listed = self
            .groups
            .iter()
            .map(|(id, group)| group.listed(id))
            .filter(|group| passes(&states, group.state.name()) && passes(&kinds, group.kind.name()));
        step.reply(token, Reply::GroupsListed(Ok(listed.collect())));
    }

    pub(super) fn describe(&mut self, step: &mut Step<'_, T>, token: T, groups: &[GroupId]) {
        let described = |id: &GroupId| {
            let group = self.groups.get(id).and_then(Group::classic).ok_or(ErrorCode::GroupIdNotFound);
            (id.clone(), group.map(classic::Group::described))
        };
        step.reply(token, Reply::GroupsDescribed(groups.iter().map(described).collect()));
    }

    pub(super) fn delete_groups(&mut self, step: &mut Step<'_, T>, token: T, groups: Vec<GroupId>) {
        let mut records = Vec::new();
        let mut outcomes: Vec<(GroupId, ErrorCode)> = Vec::new();
        for id in &groups {
            // The request names the group twice, and it is deleted already.
            let again = outcomes.iter().any(|(other, error)| other == id && *error == ErrorCode::None);
            let error = match self.groups.get(id) {
                Some(_) if again => ErrorCode::GroupIdNotFound,
                Some(group) if group.is_empty() => {
                    self.tombstones(id, group, &mut records);
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
        self.write(
            step,
            Claim::Shard,
            WantedWrite { records, transaction: None, then: Then::Apply, answer: Some(answer) },
        );
    }

    /// Tombstones for every record of a group in the log.
    fn tombstones(&self, id: &GroupId, group: &Group<T>, records: &mut Vec<GroupRecord>) {
        let mut forget = |key| records.push(GroupRecord::OffsetCommit { key, value: None });
        for (topic, partitions) in self.offsets.of(id).into_iter().flatten() {
            for &partition in partitions.keys() {
                forget(OffsetKey { group: id.clone(), topic: topic.clone(), partition });
            }
        }
        for key in self.offsets.open_in(id).filter(|key| !self.offsets.has(key)) {
            forget(key.clone());
        }
        group.tombstones(id, records);
    }
}

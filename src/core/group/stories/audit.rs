//! The invariants of a shard after every step.

use super::super::classic::{self, Phase};
use super::super::*;
use ottla_model::group::MemberId;

pub fn check<T>(groups: &Groups<T>) {
    for (id, group) in &groups.groups {
        let Group::Classic(group) = group;
        check_members(id, group);
        check_alarms(groups, id, group);
    }
    for alarm in groups.timers.alarms() {
        if let Alarm::Session { group, .. } | Alarm::Join { group } | Alarm::Sync { group } = alarm {
            assert!(groups.groups.contains_key(group), "{alarm:?} is set, and there is no such group");
        }
    }
}

fn check_members<T>(id: &GroupId, group: &classic::Group<T>) {
    let members = group.members();
    let awaiting = members.values().filter(|member| member.awaiting_join.is_some()).count();
    assert_eq!(group.awaiting_join(), awaiting, "{id}: who waits is counted wrong");
    for (member_id, member) in members {
        assert!(!group.pending.contains(member_id), "{id}: {member_id} is a member and is not");
        if let Some(instance) = &member.instance_id {
            assert_eq!(group.static_member(instance), Some(member_id));
        }
        if member.awaiting_sync.is_some() {
            assert!(matches!(group.phase, Phase::Completing), "{id}: {member_id} waits for nothing");
        }
        if member.awaiting_join.is_some() {
            assert!(matches!(group.phase, Phase::Preparing { .. }), "{id}: {member_id} waits for nothing");
        }
    }
    assert!(group.unsynced.iter().all(|member_id| members.contains_key(member_id)));
    assert_eq!(members.is_empty(), group.leader.is_none(), "{id}: a leader is one of the members");
    assert!(group.leader.iter().all(|leader| members.contains_key(leader)), "{id}: the leader has gone");
    match group.phase {
        Phase::Empty => assert!(members.is_empty()),
        Phase::Preparing { .. } => {}
        Phase::Completing | Phase::Stable => {
            assert!(!members.is_empty(), "{id} has nobody");
            assert!(group.protocol.is_some());
        }
    }
}

fn check_alarms<T>(groups: &Groups<T>, id: &GroupId, group: &classic::Group<T>) {
    let session = |member: &MemberId| {
        groups.timers.is_set(&Alarm::Session { group: id.clone(), member: member.clone() })
    };
    for (member_id, member) in group.members() {
        assert!(session(member_id) || member.is_excused(), "{id}: {member_id} may be silent for ever");
    }
    assert!(group.pending.iter().all(session), "{id}: a pending member may be silent for ever");
    let preparing = matches!(group.phase, Phase::Preparing { .. });
    assert_eq!(groups.timers.is_set(&Alarm::Join { group: id.clone() }), preparing, "{id}: the join alarm");
    let unsynced = !group.unsynced.is_empty();
    assert_eq!(groups.timers.is_set(&Alarm::Sync { group: id.clone() }), unsynced, "{id}: the sync alarm");
    for alarm in groups.timers.alarms() {
        if let Alarm::Session { group: of, member } = alarm
            && of == id
        {
            let known = group.members().contains_key(member) || group.pending.contains(member);
            assert!(known, "{id}: an alarm of {member}, who has gone");
        }
    }
}

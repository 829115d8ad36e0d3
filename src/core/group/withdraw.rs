//! Turns a reply whose records were not replicated in time into the error that the client gets instead.

use bytes::Bytes;
use ottla_protocol::ErrorCode;

use super::Reply;

/// The same reply, with `code` in each place where it reported success.
pub(super) fn withdrawn(reply: Reply, code: ErrorCode) -> Reply {
    match reply {
        Reply::Joined(mut joined) => {
            joined.error = code;
            joined.generation = -1;
            (joined.protocol_type, joined.protocol) = (None, None);
            joined.leader = "".into();
            joined.members.clear();
            Reply::Joined(joined)
        }
        Reply::Synced(mut synced) => {
            synced.error = code;
            (synced.protocol_type, synced.protocol) = (None, None);
            synced.assignment = Bytes::new();
            Reply::Synced(synced)
        }
        Reply::Heartbeat(_) => Reply::Heartbeat(code),
        Reply::Left(mut left) => {
            left.error = code;
            left.members.clear();
            Reply::Left(left)
        }
        Reply::OffsetsCommitted(mut committed) => {
            for (_, error) in committed.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                instead_of_none(error, code);
            }
            Reply::OffsetsCommitted(committed)
        }
        Reply::OffsetsFetched(mut fetched) => {
            fetched.error = code;
            fetched.topics.clear();
            Reply::OffsetsFetched(fetched)
        }
        Reply::OffsetsDeleted(mut deleted) => {
            deleted.error = code;
            deleted.topics.clear();
            Reply::OffsetsDeleted(deleted)
        }
        Reply::GroupsListed(_) => Reply::GroupsListed(Err(code)),
        Reply::GroupsDescribed(groups) => {
            Reply::GroupsDescribed(groups.into_iter().map(|(group, _)| (group, Err(code))).collect())
        }
        Reply::GroupsDeleted(mut groups) => {
            groups.iter_mut().for_each(|(_, error)| instead_of_none(error, code));
            Reply::GroupsDeleted(groups)
        }
        Reply::TopicsDeleted(_) => Reply::TopicsDeleted(code),
        Reply::TransactionEnded(mut outcome) => {
            instead_of_none(&mut outcome, code);
            Reply::TransactionEnded(outcome)
        }
    }
}

fn instead_of_none(error: &mut ErrorCode, code: ErrorCode) {
    if *error == ErrorCode::None {
        *error = code;
    }
}

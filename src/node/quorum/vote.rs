//! What a voter must never forget, in Kafka's `quorum-state` file: its term, whom it voted for in it, and (in a field of ours,
//! which Kafka passes over) which change of the voters is agreed on.
//! It must never decide whom to vote for.

use std::path::Path;

use ottla_log::Disk;
use ottla_model::{DirectoryId, NodeId, uuid_from_base64, uuid_to_base64};

use super::error::QuorumError;
use super::voters::ReplicaKey;

/// A term, and the vote that was given in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    pub term: u64,
    pub voted_for: Option<ReplicaKey>,
    /// Raft index of the last change of the voters by which this replica has counted votes, 0 for none.
    pub voters_agreed: u64,
}

impl Vote {
    /// Raft's id of who got it, 0 for nobody.
    pub(super) fn raft_id(self) -> u64 {
        self.voted_for.map_or(0, ReplicaKey::raft_id)
    }
}

pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Vote, QuorumError> {
    if !disk.exists(path) {
        return Ok(Vote::default());
    }
    let failed = |source| QuorumError::Vote { path: path.to_owned(), source };
    let text = String::from_utf8(disk.read_to_vec(path).map_err(failed)?)
        .map_err(|e| failed(std::io::Error::other(e)))?;
    let after = |key: &str| Some(text.split_once(&format!("\"{key}\":"))?.1.trim_start());
    let number = |key: &str| {
        let digits: String = after(key)?.chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
        // Both are 32 bits wide in Kafka's schema.
        digits.parse::<i32>().ok()
    };
    // A field of version 1 (KIP-853).
    let directory = || {
        let quoted = after("votedDirectoryId")?.strip_prefix('"')?;
        uuid_from_base64(quoted.split_once('"')?.0)
    };
    let agreed = after("votersAgreedIndex").map(|text| text.chars().take_while(char::is_ascii_digit));
    let voters_agreed = agreed.and_then(|digits| digits.collect::<String>().parse().ok()).unwrap_or(0);
    let (Some(term), Some(voted)) = (number("leaderEpoch"), number("votedId")) else {
        return Err(failed(std::io::Error::other(
            "not a quorum-state file: leaderEpoch or votedId is missing or no number of 32 bits",
        )));
    };
    let directory_id = directory().unwrap_or(DirectoryId::nil());
    let voted_for = (0..i32::MAX).contains(&voted).then_some(ReplicaKey { id: NodeId(voted), directory_id });
    Ok(Vote { term: term.max(0) as u64, voted_for, voters_agreed })
}

pub(super) fn write(disk: &dyn Disk, path: &Path, vote: Vote, me: NodeId) -> Result<(), QuorumError> {
    let leads = vote.voted_for.is_some_and(|voted| voted.id == me);
    write_heard(disk, path, vote, leads.then_some(me))
}

/// As [`write`], by a node that has heard who leads.
pub(crate) fn write_heard(
    disk: &dyn Disk,
    path: &Path,
    vote: Vote,
    leader: Option<NodeId>,
) -> Result<(), QuorumError> {
    let failed = |source| QuorumError::Vote { path: path.to_owned(), source };
    disk.replace(path, text(vote, leader).as_bytes()).map_err(failed)
}

// Kafka's QuorumStateData, version 1.
fn text(vote: Vote, leader: Option<NodeId>) -> String {
    let voted = vote.voted_for.unwrap_or(ReplicaKey::of(NodeId(-1)));
    let leader = leader.map_or(-1, |leader| leader.0);
    let agreed = match vote.voters_agreed {
        0 => String::new(),
        index => format!("\"votersAgreedIndex\":{index},"),
    };
    format!(
        "{{\"leaderId\":{leader},\"leaderEpoch\":{},\"votedId\":{},\"votedDirectoryId\":\"{}\",{agreed}\"data_version\":1}}",
        vote.term,
        voted.id,
        uuid_to_base64(voted.directory_id)
    )
}

#[cfg(test)]
mod tests {
    use ottla_log::disk::MemoryDisk;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_vote_is_read_as_it_was_written() {
        let (disk, path) = (MemoryDisk::new(1), Path::new("/quorum-state"));
        assert_eq!(read(&disk, path).unwrap(), Vote::default());
        let key = ReplicaKey { id: NodeId(3), directory_id: Uuid::from_u128(0xfeed << 90) };
        for voted_for in [None, Some(key), Some(ReplicaKey::of(NodeId(0)))] {
            for voters_agreed in [0, 99] {
                let vote = Vote { term: 7, voted_for, voters_agreed };
                write(&disk, path, vote, NodeId(1)).unwrap();
                assert_eq!(read(&disk, path).unwrap(), vote);
            }
        }
    }

    #[test]
    fn an_observer_names_the_leader_and_votes_for_nobody() {
        let (disk, path) = (MemoryDisk::new(1), Path::new("/quorum-state"));
        let vote = Vote { term: 7, ..Vote::default() };
        write_heard(&disk, path, vote, Some(NodeId(3))).unwrap();
        let text = String::from_utf8(disk.read_to_vec(path).unwrap()).unwrap();
        let expected = "{\"leaderId\":3,\"leaderEpoch\":7,\"votedId\":-1,\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}";
        assert_eq!(text, expected);
        assert_eq!(read(&disk, path).unwrap(), vote);
    }

    #[test]
    fn a_file_of_kafkas_earlier_version_has_no_directory() {
        let (disk, path) = (MemoryDisk::new(1), Path::new("/quorum-state"));
        let text = "{\"clusterId\":\"\",\"leaderId\":1,\"leaderEpoch\":2,\"votedId\":1,\"appliedOffset\":0,\"currentVoters\":[{\"voterId\":1}],\"data_version\":0}";
        disk.replace(path, text.as_bytes()).unwrap();
        let voted_for = Some(ReplicaKey::of(NodeId(1)));
        assert_eq!(read(&disk, path).unwrap(), Vote { term: 2, voted_for, voters_agreed: 0 });
        disk.replace(path, b"{\"leaderEpoch\":2}").unwrap();
        assert!(read(&disk, path).unwrap_err().to_string().contains("votedId"));
    }
}

//! Ids: of nodes, their epochs, and the 128-bit ids of topics, directories and incarnations. This file knows how they are
//! spelled and must never know how they are assigned: no clock, no randomness.

use std::fmt;

use uuid::Uuid;

/// A broker's or a controller's `node.id`. Never negative: "no node" is `Option<NodeId>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

/// The offset of a broker's registration record. It fences the broker's earlier incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerEpoch(pub i64);

impl BrokerEpoch {
    /// The value on the wire if there is no epoch.
    pub const NONE: BrokerEpoch = BrokerEpoch(-1);
}

/// What a log gives out when it begins to verify, with the coordinator, that a transaction is open, and wants to see with
/// the transaction's first batch (KIP-890). It means something to that log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a topic for its whole life. A topic that is created again under the same name gets another id.
pub type TopicId = Uuid;

/// The id of a log directory, kept in its `meta.properties` (KIP-858).
pub type DirectoryId = Uuid;

/// The id of `__cluster_metadata`.
pub const METADATA_TOPIC_ID: TopicId = Uuid::from_u128(1);

/// The replica is in some directory of its broker, from before directories had ids (KIP-858).
pub const DIRECTORY_MIGRATING: DirectoryId = Uuid::from_u128(0);

/// The replica's broker has not reported yet which directory it chose (KIP-858).
pub const DIRECTORY_UNASSIGNED: DirectoryId = Uuid::from_u128(1);

/// The replica's directory is offline (KIP-858).
pub const DIRECTORY_LOST: DirectoryId = Uuid::from_u128(2);

/// Whether a replica in directory `id` finds no room on a broker that reports `online` directories and of them `full` ones. One
/// whose directory is not known finds some where any directory has some.
pub fn is_directory_full(id: DirectoryId, online: &[DirectoryId], full: &[DirectoryId]) -> bool {
    match id {
        DIRECTORY_MIGRATING | DIRECTORY_UNASSIGNED => {
            !online.is_empty() && online.iter().all(|directory| full.contains(directory))
        }
        _ => full.contains(&id),
    }
}

/// Whether a replica in directory `id` is online on a broker that reports `online` directories.
///
/// A broker that reports none registered before directories had ids. If all of its directories had failed, it would have
/// stopped, so its replicas count as online (KAFKA-16162).
pub fn is_directory_online(id: DirectoryId, online: &[DirectoryId]) -> bool {
    match id {
        DIRECTORY_MIGRATING | DIRECTORY_UNASSIGNED => true,
        DIRECTORY_LOST => false,
        _ => online.is_empty() || online.contains(&id),
    }
}

/// Whether Kafka keeps this id for itself, as the special values above.
pub fn is_reserved(id: Uuid) -> bool {
    id.as_u128() < IDS_RESERVED
}

/// Whether Kafka would assign this id: the first hundred are reserved, and an id whose text has a `-` could be taken for
/// an option on a command line.
pub fn is_assignable(id: Uuid) -> bool {
    !is_reserved(id) && !uuid_to_base64(id).contains('-')
}

/// A new id for a topic, a directory or an incarnation. `random` is called until its result is assignable, so it must not
/// always return unassignable values.
pub fn fresh_id(mut random: impl FnMut() -> u128) -> Uuid {
    loop {
        let id = uuid::Builder::from_random_bytes(random().to_be_bytes()).into_uuid();
        if is_assignable(id) {
            return id;
        }
    }
}

/// Kafka's text form of an id: 22 characters of url-safe base64, without padding.
pub fn uuid_to_base64(id: Uuid) -> String {
    let bits = id.as_u128();
    // 128 bits are 21 characters of six bits, and one of two bits and four zeros.
    let mut text = String::with_capacity(TEXT_CHARS);
    for character in 0..TEXT_CHARS as u32 - 1 {
        text.push(ALPHABET[(bits >> (122 - 6 * character)) as usize & 63] as char);
    }
    text.push(ALPHABET[(bits << 4) as usize & 63] as char);
    text
}

/// Parses the text of [`uuid_to_base64`], with or without padding. `None`: it is another text.
pub fn uuid_from_base64(text: &str) -> Option<Uuid> {
    let text = text.strip_suffix("==").unwrap_or(text).as_bytes();
    if text.len() != TEXT_CHARS {
        return None;
    }
    let digit = |c: u8| ALPHABET.iter().position(|&a| a == c).map(|at| at as u128);
    let (last, head) = text.split_last()?;
    let bits = head.iter().try_fold(0, |bits: u128, &c| Some(bits << 6 | digit(c)?))?;
    Some(Uuid::from_u128(bits << 2 | digit(*last)? >> 4))
}

const IDS_RESERVED: u128 = 100;
const TEXT_CHARS: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_kafka_writes_it() {
        let rows = [
            (0u128, "AAAAAAAAAAAAAAAAAAAAAA"),
            (1, "AAAAAAAAAAAAAAAAAAAAAQ"),
            (2, "AAAAAAAAAAAAAAAAAAAAAg"),
            (u128::MAX, "_____________________w"),
            (0x5f4e_3d2c_1b0a_4987_8685_8483_8281_807f, "X049LBsKSYeGhYSDgoGAfw"),
        ];
        for (bits, text) in rows {
            let id = Uuid::from_u128(bits);
            assert_eq!(uuid_to_base64(id), text);
            assert_eq!(uuid_from_base64(text), Some(id), "{text}");
            assert_eq!(uuid_from_base64(&format!("{text}==")), Some(id), "{text} padded");
        }
        for wrong in
            ["", "A", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAA+AAAAAAAAAAA", "é"]
        {
            assert_eq!(uuid_from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reserved_ids_and_dashes_are_drawn_again() {
        let mut draws = [0xf800_0000_0000_0000_0000_0000_0000_0000u128, 0x1234_5678_9abc].into_iter();
        let id = fresh_id(|| draws.next().unwrap_or(7));
        assert!(is_assignable(id));
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(draws.next(), None, "the first one starts with a dash");
        for reserved in [DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, DIRECTORY_LOST, Uuid::from_u128(99)] {
            assert!(!is_assignable(reserved), "{reserved}");
        }
        assert!(is_assignable(Uuid::from_u128(100)));
    }

    #[test]
    fn a_directory_is_online_when_its_broker_says_so() {
        let (here, there) = (Uuid::from_u128(1000), Uuid::from_u128(1001));
        let rows: &[(DirectoryId, &[DirectoryId], bool)] = &[
            (here, &[here, there], true),
            (here, &[there], false),
            (here, &[], true),
            (DIRECTORY_MIGRATING, &[there], true),
            (DIRECTORY_UNASSIGNED, &[there], true),
            (DIRECTORY_LOST, &[], false),
        ];
        for (id, online, expected) in rows {
            assert_eq!(is_directory_online(*id, online), *expected, "{id} of {online:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_known_is_full_when_all_are() {
        let (here, there) = (Uuid::from_u128(1000), Uuid::from_u128(1001));
        let rows: &[(DirectoryId, &[DirectoryId], &[DirectoryId], bool)] = &[
            (here, &[here, there], &[here], true),
            (here, &[here, there], &[there], false),
            (DIRECTORY_UNASSIGNED, &[here, there], &[here], false),
            (DIRECTORY_UNASSIGNED, &[here, there], &[there, here], true),
            (DIRECTORY_MIGRATING, &[here], &[here], true),
            (DIRECTORY_UNASSIGNED, &[], &[], false),
        ];
        for (id, online, full, expected) in rows {
            assert_eq!(is_directory_full(*id, online, full), *expected, "{id} of {online:?} with {full:?}");
        }
    }
}

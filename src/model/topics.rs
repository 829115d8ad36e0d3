//! Topic names, partitions, and the names of their folders: what is allowed, how it is spelled. Nothing here touches a
//! disk or knows which topics exist.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A topic's name, shared rather than copied.
pub type TopicName = Arc<str>;

/// The topic with the state of consumer groups.
pub const GROUP_METADATA_TOPIC: &str = "__consumer_offsets";
/// The topic with the state of transactions.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
/// The topic with the state of share groups (KIP-932).
pub const SHARE_GROUP_STATE_TOPIC: &str = "__share_group_state";
/// The cluster's metadata log. It is not an ordinary topic: clients cannot write to it, and it is not listed.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// The length of the longest topic name, in characters. With it, the folder's name still fits into a file system.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Whether `name` may name a topic. The error says what is wrong with it, for `INVALID_TOPIC_EXCEPTION`.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = match name {
        "" => "it is empty".to_string(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.chars().count() > TOPIC_NAME_CHARS_MAX => {
            format!("'{name}' is longer than {TOPIC_NAME_CHARS_MAX} characters")
        }
        _ if !name.chars().all(allowed) => {
            format!("'{name}' has a character other than ASCII letters, digits, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {why}"))
}

/// Whether two different names are the same in the name of a metric, where `.` becomes `_`.
pub fn collides(a: &str, b: &str) -> bool {
    unify(a) == unify(b)
}

/// Whether only the broker writes this topic. Clients may not, and metadata marks it as internal.
pub fn is_internal(name: &str) -> bool {
    [GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC, SHARE_GROUP_STATE_TOPIC].contains(&name)
}

fn unify(name: &str) -> String {
    name.replace('.', "_")
}

/// One partition of a topic. It is displayed as the name of its folder, `topic-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicName,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<TopicName>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    /// Parses the name of a folder. `None`: it is not that of a live partition; see [`PartitionFolder::parse`].
    pub fn parse(folder: &str) -> Option<TopicPartition> {
        let (topic, partition) = folder.rsplit_once('-')?;
        let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
        if topic.is_empty() || !digits {
            return None;
        }
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a folder in a log directory is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionFolder {
    /// `topic-0`
    Live(TopicPartition),
    /// `topic-0.<id>-delete`: about to be removed. A long topic name is cut to fit, so the topic is only a hint.
    Deleted(TopicPartition),
    /// `topic-0.<id>-future`: a copy that takes the place of the partition once it has caught up (KIP-113).
    Future(TopicPartition),
    /// `topic-0.<id>-stray`: by the metadata not a partition of this broker (KIP-858). A long topic name is cut here,
    /// too.
    Stray(TopicPartition),
}

/// Why a partition's folder is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderSuffix {
    Delete,
    Future,
    Stray,
}

impl FolderSuffix {
    const ALL: [FolderSuffix; 3] = [FolderSuffix::Delete, FolderSuffix::Future, FolderSuffix::Stray];

    fn text(self) -> &'static str {
        match self {
            FolderSuffix::Delete => "-delete",
            FolderSuffix::Future => "-future",
            FolderSuffix::Stray => "-stray",
        }
    }
}

impl PartitionFolder {
    /// Parses the name of a folder. `None`: it is not that of a partition.
    pub fn parse(name: &str) -> Option<PartitionFolder> {
        let marked = FolderSuffix::ALL.into_iter().find_map(|s| Some((s, name.strip_suffix(s.text())?)));
        let Some((suffix, rest)) = marked else {
            return TopicPartition::parse(name).map(PartitionFolder::Live);
        };
        let (folder, unique) = rest.rsplit_once('.')?;
        if unique.is_empty() {
            return None;
        }
        let partition = TopicPartition::parse(folder)?;
        Some(match suffix {
            FolderSuffix::Delete => PartitionFolder::Deleted(partition),
            FolderSuffix::Future => PartitionFolder::Future(partition),
            FolderSuffix::Stray => PartitionFolder::Stray(partition),
        })
    }

    /// The name for `partition`'s folder with this suffix, `topic-0.<unique>-delete`. The topic is cut if the name would
    /// be too long for a file, except for a future copy, which has to be found again.
    pub fn marked(partition: &TopicPartition, suffix: FolderSuffix, unique: Uuid) -> String {
        let tail = format!("-{}.{}{}", partition.partition, unique.as_simple(), suffix.text());
        let room = match suffix {
            FolderSuffix::Future => usize::MAX,
            FolderSuffix::Delete | FolderSuffix::Stray => FILE_NAME_BYTES_MAX - tail.len(),
        };
        let kept: String = partition.topic.chars().take(room).collect();
        kept + &tail
    }
}

const FILE_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_is_what_kafka_takes() {
        let longest = "x".repeat(TOPIC_NAME_CHARS_MAX);
        let too_long = "x".repeat(TOPIC_NAME_CHARS_MAX + 1);
        for good in ["a", "A.b_c-9", "...", "-", "__consumer_offsets", &longest] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        let rows = [
            ("", "empty"),
            (".", "not allowed"),
            ("..", "not allowed"),
            (&too_long, "longer than 249"),
            ("a b", "character"),
            ("a/b", "character"),
            ("ä", "character"),
            ("a\0", "character"),
        ];
        for (bad, why) in rows {
            let said = check_topic_name(bad).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn dots_and_underscores_collide_and_nothing_else() {
        for (a, b, expected) in [
            ("a.b", "a_b", true),
            ("a.b.c", "a_b.c", true),
            ("a.b", "a.b", true),
            ("a.b", "a-b", false),
            ("ab", "a.b", false),
        ] {
            assert_eq!(collides(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn internal_topics_are_the_coordinators() {
        for (name, expected) in [
            ("__consumer_offsets", true),
            ("__transaction_state", true),
            ("__share_group_state", true),
            ("__cluster_metadata", false),
            ("__mine", false),
        ] {
            assert_eq!(is_internal(name), expected, "{name}");
        }
    }

    #[test]
    fn a_folder_says_whose_it_is() {
        use PartitionFolder::*;
        let id = Uuid::from_u128(7);
        let of = TopicPartition::new;
        let rows: &[(&str, Option<PartitionFolder>)] = &[
            ("a-0", Some(Live(of("a", 0)))),
            ("a-b-0", Some(Live(of("a-b", 0)))),
            ("a.b-12", Some(Live(of("a.b", 12)))),
            ("x-delete-3", Some(Live(of("x-delete", 3)))),
            ("--0", Some(Live(of("-", 0)))),
            ("a-0.00000000000000000000000000000007-delete", Some(Deleted(of("a", 0)))),
            ("a.b-0.1f-future", Some(Future(of("a.b", 0)))),
            ("a-b-41.1f-stray", Some(Stray(of("a-b", 41)))),
            ("a", None),
            ("a-", None),
            ("-0", None),
            ("a-+1", None),
            ("a-x", None),
            ("a-99999999999", None),
            ("a-0-delete", None),
            ("a-0.-delete", None),
            ("a.1f-delete", None),
            ("meta.properties", None),
        ];
        for (name, expected) in rows {
            assert_eq!(&PartitionFolder::parse(name), expected, "{name}");
            if let Some(Live(partition)) = expected {
                assert_eq!(&partition.to_string(), name);
            }
        }
        let longest = "y".repeat(TOPIC_NAME_CHARS_MAX);
        let long = of(&longest, 2_147_483_647);
        for suffix in FolderSuffix::ALL {
            let short = PartitionFolder::marked(&of("a-b", 3), suffix, id);
            let parsed = PartitionFolder::parse(&short);
            assert!(
                matches!(&parsed, Some(Deleted(p) | Future(p) | Stray(p)) if *p == of("a-b", 3)),
                "{short}: {parsed:?}"
            );
            let name = PartitionFolder::marked(&long, suffix, id);
            assert!(suffix == FolderSuffix::Future || name.len() == FILE_NAME_BYTES_MAX, "{name}");
        }
    }
}

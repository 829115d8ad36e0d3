//! The names of a partition's files, in Kafka's layout. It must never know what is in the files.

use std::path::{Path, PathBuf};

use ottla_protocol::Offset;

/// The files that Kafka names by an offset, told apart by their suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Log,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    /// Producer state, named by the offset up to which it counts, which is not always a segment's base offset.
    Snapshot,
}

/// The suffix after the kind: the file is about to be removed, or not yet part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Live,
    /// To be removed.
    Deleted,
    /// A cleaner's unfinished output, which counts for nothing.
    Cleaned,
    /// A cleaner's finished output that is not yet in the place of the old segments.
    Swap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub offset: Offset,
    pub kind: Kind,
    pub stage: Stage,
}

impl Kind {
    pub const OF_SEGMENT: [Kind; 4] = [Kind::Log, Kind::OffsetIndex, Kind::TimeIndex, Kind::TxnIndex];

    pub fn suffix(self) -> &'static str {
        match self {
            Kind::Log => ".log",
            Kind::OffsetIndex => ".index",
            Kind::TimeIndex => ".timeindex",
            Kind::TxnIndex => ".txnindex",
            Kind::Snapshot => ".snapshot",
        }
    }

    pub fn path(self, dir: &Path, offset: Offset) -> PathBuf {
        self.staged(dir, offset, Stage::Live)
    }

    pub fn staged(self, dir: &Path, offset: Offset, stage: Stage) -> PathBuf {
        dir.join(format!("{offset:020}{}{}", self.suffix(), stage.suffix()))
    }
}

impl Stage {
    fn suffix(self) -> &'static str {
        match self {
            Stage::Live => "",
            Stage::Deleted => DELETED,
            Stage::Cleaned => ".cleaned",
            Stage::Swap => ".swap",
        }
    }
}

impl Name {
    /// `None`: the file is not named by an offset, as is the leader-epoch checkpoint.
    pub fn parse(name: &str) -> Option<Name> {
        let (digits, suffix) = name.split_at(name.find('.')?);
        if digits.len() != OFFSET_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let offset = digits.parse().ok()?;
        let (suffix, stage) = [Stage::Deleted, Stage::Cleaned, Stage::Swap]
            .into_iter()
            .find_map(|stage| Some((suffix.strip_suffix(stage.suffix())?, stage)))
            .unwrap_or((suffix, Stage::Live));
        let kind =
            Kind::OF_SEGMENT.into_iter().chain([Kind::Snapshot]).find(|kind| kind.suffix() == suffix)?;
        Some(Name { offset, kind, stage })
    }
}

/// `path` with `.deleted` appended.
pub(super) fn deleted(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETED);
    PathBuf::from(name)
}

pub(super) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub(super) const PARTITION_METADATA: &str = "partition.metadata";
/// The suffix of a file that an interrupted [`crate::Disk::replace`] leaves behind.
pub(super) const TMP: &str = ".tmp";
const DELETED: &str = ".deleted";
const OFFSET_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let name = |offset, kind, stage| Some(Name { offset, kind, stage });
        let rows = [
            ("00000000000000000000.log", name(0, Kind::Log, Stage::Live)),
            ("00000000000000000042.index", name(42, Kind::OffsetIndex, Stage::Live)),
            ("00000000000000000042.timeindex.deleted", name(42, Kind::TimeIndex, Stage::Deleted)),
            ("09223372036854775807.txnindex.swap", name(i64::MAX, Kind::TxnIndex, Stage::Swap)),
            ("00000000000000000007.snapshot.cleaned", name(7, Kind::Snapshot, Stage::Cleaned)),
            ("99999999999999999999.log", None),
            ("0000000000000000000.log", None),
            ("00000000000000000000.log.tmp", None),
            ("0000000000000000000x.log", None),
            (LEADER_EPOCHS, None),
            (PARTITION_METADATA, None),
        ];
        for (text, expected) in rows {
            assert_eq!(Name::parse(text), expected, "{text}");
        }
        assert_eq!(Kind::Log.path(Path::new("d"), 42), Path::new("d/00000000000000000042.log"));
    }
}

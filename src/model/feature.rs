//! The features of a cluster: Kafka 4.4's `metadata.version` and the others (KIP-584), with the levels of each. The
//! levels in force are in the image; the controller decides who may change them.

use std::fmt;

/// The feature whose level is a [`MetadataVersion`].
pub const METADATA_VERSION: &str = "metadata.version";
pub const KRAFT_VERSION: &str = "kraft.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const GROUP_VERSION: &str = "group.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// A level of `metadata.version` that Kafka 4.4 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(i16);

/// One row of the table of metadata versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataVersionRow {
    pub version: MetadataVersion,
    /// The name in tools, `4.3-IV0`.
    pub name: &'static str,
    /// Whether metadata at this level contains something that the previous level cannot read.
    pub changes_metadata: bool,
}

/// Every metadata version, each one higher by 1 than the one before.
pub static METADATA_VERSIONS: &[MetadataVersionRow] = &[
    row(7, "3.3-IV3", true),
    row(8, "3.4-IV0", true),
    row(9, "3.5-IV0", false),
    row(10, "3.5-IV1", false),
    row(11, "3.5-IV2", true),
    row(12, "3.6-IV0", false),
    row(13, "3.6-IV1", true),
    row(14, "3.6-IV2", true),
    row(15, "3.7-IV0", true),
    row(16, "3.7-IV1", false),
    row(17, "3.7-IV2", true),
    row(18, "3.7-IV3", false),
    row(19, "3.7-IV4", false),
    row(20, "3.8-IV0", false),
    row(21, "3.9-IV0", false),
    row(22, "4.0-IV0", false),
    row(23, "4.0-IV1", true),
    row(24, "4.0-IV2", false),
    row(25, "4.0-IV3", false),
    row(26, "4.1-IV0", false),
    row(27, "4.1-IV1", false),
    row(28, "4.2-IV0", false),
    row(29, "4.2-IV1", false),
    row(30, "4.3-IV0", true),
    row(31, "4.4-IV0", false),
    row(32, "4.4-IV1", true),
    row(33, "4.4-IV2", true),
    row(34, "4.5-IV0", false),
];

impl MetadataVersion {
    /// The lowest version that Kafka 4 still reads.
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    /// The first version with migration from ZooKeeper (KIP-866), in `RegisterBrokerRecord` 2.
    pub const ZK_MIGRATION: MetadataVersion = MetadataVersion(8);
    /// The first version with SCRAM credentials in the metadata log (KIP-900).
    pub const SCRAM: MetadataVersion = MetadataVersion(11);
    /// From this version on, the leader epoch is not raised when the in-sync set shrinks (KAFKA-15021).
    pub const NO_EPOCH_BUMP_ON_SHRINK: MetadataVersion = MetadataVersion(12);
    /// The first version with transactions of metadata records (KIP-868).
    pub const TRANSACTIONS: MetadataVersion = MetadataVersion(13);
    /// The first version with delegation tokens in the metadata log (KIP-900).
    pub const DELEGATION_TOKENS: MetadataVersion = MetadataVersion(14);
    /// The first version with registration of controllers (KIP-919).
    pub const CONTROLLER_REGISTRATION: MetadataVersion = MetadataVersion(15);
    /// The first version with log directories assigned to replicas (KIP-858).
    pub const DIRECTORIES: MetadataVersion = MetadataVersion(17);
    /// The first version with eligible leader replicas (KIP-966).
    pub const ELIGIBLE_LEADER_REPLICAS: MetadataVersion = MetadataVersion(23);
    /// The first version with cordoned directories (KIP-1066).
    pub const CORDONED_DIRECTORIES: MetadataVersion = MetadataVersion(30);
    /// The first version with CIDR hosts in access rules (KIP-1276).
    pub const CIDR_ACLS: MetadataVersion = MetadataVersion(32);
    /// The first version with unregistration of controllers (KIP-1312).
    pub const CONTROLLER_UNREGISTRATION: MetadataVersion = MetadataVersion(33);
    /// The last version that is final; a new cluster starts with it.
    pub const LATEST_PRODUCTION: MetadataVersion = MetadataVersion(33);
    /// The last known version. Versions above `LATEST_PRODUCTION` need `unstable.feature.versions.enable`.
    pub const LATEST: MetadataVersion = MetadataVersion(34);

    pub fn from_level(level: i16) -> Option<MetadataVersion> {
        let version = MetadataVersion(level);
        (MetadataVersion::MINIMUM..=MetadataVersion::LATEST).contains(&version).then_some(version)
    }

    /// Parses the argument of a tool: `4.3-IV0`, or a release such as `4.3` or `4.3.1`, which means its last stable
    /// version.
    pub fn from_text(text: &str, unstable: bool) -> Option<MetadataVersion> {
        // As in Kafka, only the part before the second dot counts.
        let end = text.match_indices('.').nth(1).map_or(text.len(), |(at, _)| at);
        let key = &text[..end];
        let named = |row: &&MetadataVersionRow| {
            row.name == key
                || row.version.is_production() && row.name.split_once('-').is_some_and(|(r, _)| r == key)
        };
        let version = METADATA_VERSIONS.iter().rev().find(named)?.version;
        (unstable || version.is_production()).then_some(version)
    }

    pub fn level(self) -> i16 {
        self.0
    }

    pub fn name(self) -> &'static str {
        METADATA_VERSIONS[usize::from(self.0.abs_diff(MetadataVersion::MINIMUM.0))].name
    }

    pub fn is_production(self) -> bool {
        self <= MetadataVersion::LATEST_PRODUCTION
    }

    /// Whether a change from one to the other, in either direction, could lose metadata.
    pub fn metadata_changed(a: MetadataVersion, b: MetadataVersion) -> bool {
        let (low, high) = (a.min(b), a.max(b));
        METADATA_VERSIONS.iter().any(|row| low < row.version && row.version <= high && row.changes_metadata)
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A feature other than `metadata.version`. Level 0 means "off" and is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// The levels from 1 on.
    pub levels: &'static [Level],
    pub latest_production: i16,
}

/// A level of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// A new cluster at this metadata version or a later one starts with the level.
    pub default_from: MetadataVersion,
    /// The lowest metadata version at which the level can be set.
    pub requires: MetadataVersion,
}

/// Every feature of Kafka 4.4 except `metadata.version`.
pub static FEATURES: &[Feature] = &[
    Feature { name: KRAFT_VERSION, levels: &[from(21)], latest_production: 1 },
    Feature { name: TRANSACTION_VERSION, levels: &[from(24), from(24)], latest_production: 2 },
    Feature { name: GROUP_VERSION, levels: &[from(22)], latest_production: 1 },
    Feature {
        name: ELIGIBLE_LEADER_REPLICAS_VERSION,
        levels: &[Level {
            default_from: MetadataVersion(26),
            requires: MetadataVersion::ELIGIBLE_LEADER_REPLICAS,
        }],
        latest_production: 1,
    },
    Feature { name: SHARE_VERSION, levels: &[from(28), from(31)], latest_production: 2 },
    Feature { name: STREAMS_VERSION, levels: &[from(29)], latest_production: 1 },
];

/// The feature of that name. `None`: it is `metadata.version`, or unknown.
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// The features that this node supports, for its registration and for ApiVersions: name, lowest level, highest level.
pub fn supported(unstable: bool) -> impl Iterator<Item = (&'static str, i16, i16)> {
    let latest = if unstable { MetadataVersion::LATEST } else { MetadataVersion::LATEST_PRODUCTION };
    let metadata = (METADATA_VERSION, MetadataVersion::MINIMUM.level(), latest.level());
    let others =
        FEATURES.iter().map(move |f| (f.name, 0, if unstable { f.latest() } else { f.latest_production }));
    std::iter::once(metadata).chain(others)
}

impl Feature {
    /// The highest known level.
    pub fn latest(&self) -> i16 {
        self.levels.len() as i16
    }

    /// The level of a new cluster at that metadata version, unless another one is asked for.
    pub fn default_level(&self, version: MetadataVersion) -> i16 {
        self.levels.iter().take_while(|level| level.default_from <= version).count() as i16
    }

    /// Checks that the level exists and can be set at that metadata version. The error says why not.
    pub fn check_level(&self, level: i16, version: MetadataVersion, unstable: bool) -> Result<(), String> {
        let known = if unstable { self.latest() } else { self.latest_production };
        if !(0..=known).contains(&level) {
            return Err(format!("{} has no level {level}, only 0 to {known}", self.name));
        }
        match usize::try_from(level - 1).ok().and_then(|at| self.levels.get(at)) {
            Some(Level { requires, .. }) if version < *requires => Err(format!(
                "{} level {level} needs {METADATA_VERSION} {} ({requires}) or later",
                self.name,
                requires.level()
            )),
            _ => Ok(()),
        }
    }
}

const fn row(level: i16, name: &'static str, changes_metadata: bool) -> MetadataVersionRow {
    MetadataVersionRow { version: MetadataVersion(level), name, changes_metadata }
}

const fn from(level: i16) -> Level {
    Level { default_from: MetadataVersion(level), requires: MetadataVersion::MINIMUM }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_versions_rise_by_one_and_keep_their_names() {
        for (at, row) in METADATA_VERSIONS.iter().enumerate() {
            assert_eq!(row.version.level(), MetadataVersion::MINIMUM.level() + at as i16, "{}", row.name);
            assert_eq!(row.version.name(), row.name);
            assert_eq!(MetadataVersion::from_text(row.name, true), Some(row.version));
            assert_eq!(MetadataVersion::from_level(row.version.level()), Some(row.version));
        }
        assert_eq!(METADATA_VERSIONS.last().map(|row| row.version), Some(MetadataVersion::LATEST));
        for unknown in [i16::MIN, 0, 6, 35, i16::MAX] {
            assert_eq!(MetadataVersion::from_level(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_tool_names_a_version_or_a_release() {
        let rows: &[(&str, bool, Option<i16>)] = &[
            ("4.3", false, Some(30)),
            ("4.3.1", false, Some(30)),
            ("4.3-IV0", false, Some(30)),
            ("4.0", false, Some(25)),
            ("3.7", false, Some(19)),
            ("3.7.x", false, Some(19)),
            ("3.5-IV1", false, Some(10)),
            ("4.4", false, Some(33)),
            ("4.4-IV0", false, Some(31)),
            ("4.5", false, None),
            ("4.5", true, None),
            ("4.5-IV0", false, None),
            ("4.5-IV0", true, Some(34)),
            ("3.2", false, None),
            ("", true, None),
            ("4", true, None),
        ];
        for (text, unstable, level) in rows {
            let found = MetadataVersion::from_text(text, *unstable).map(MetadataVersion::level);
            assert_eq!(found, *level, "{text} {unstable}");
        }
    }

    #[test]
    fn a_downgrade_over_a_change_of_metadata_is_unsafe() {
        for (a, b, changed) in [
            (30, 30, false),
            (30, 31, false),
            (31, 32, true),
            (33, 34, false),
            (30, 29, true),
            (29, 24, false),
            (23, 22, true),
            (22, 17, false),
            (16, 17, true),
        ] {
            let (a, b) = (MetadataVersion(a), MetadataVersion(b));
            assert_eq!(MetadataVersion::metadata_changed(a, b), changed, "{a} {b}");
            assert_eq!(MetadataVersion::metadata_changed(b, a), changed, "{b} {a}");
        }
    }

    #[test]
    fn a_new_cluster_has_the_levels_of_its_release() {
        let rows: &[(&str, [i16; 6])] = &[
            // release              3.9 4.0 4.1 4.2 4.3 4.4
            (KRAFT_VERSION, [1, 1, 1, 1, 1, 1]),
            (TRANSACTION_VERSION, [0, 2, 2, 2, 2, 2]),
            (GROUP_VERSION, [0, 1, 1, 1, 1, 1]),
            (ELIGIBLE_LEADER_REPLICAS_VERSION, [0, 0, 1, 1, 1, 1]),
            (SHARE_VERSION, [0, 0, 0, 1, 1, 2]),
            (STREAMS_VERSION, [0, 0, 0, 1, 1, 1]),
        ];
        for (name, levels) in rows {
            let feature = feature(name).expect(name);
            for (release, level) in ["3.9", "4.0", "4.1", "4.2", "4.3", "4.4"].into_iter().zip(levels) {
                let version = MetadataVersion::from_text(release, false).expect(release);
                assert_eq!(feature.default_level(version), *level, "{name} at {release}");
            }
            assert!(feature.latest_production <= feature.latest(), "{name}");
        }
        assert_eq!(rows.len(), FEATURES.len());
    }

    #[test]
    fn a_level_must_exist_and_may_need_a_metadata_version() {
        let latest = MetadataVersion::LATEST_PRODUCTION;
        let rows = [
            (GROUP_VERSION, 1, latest, true),
            (GROUP_VERSION, 0, MetadataVersion::MINIMUM, true),
            (GROUP_VERSION, 2, latest, false),
            (GROUP_VERSION, -1, latest, false),
            (SHARE_VERSION, 2, latest, true),
            (ELIGIBLE_LEADER_REPLICAS_VERSION, 1, MetadataVersion(23), true),
            (ELIGIBLE_LEADER_REPLICAS_VERSION, 1, MetadataVersion(22), false),
            (ELIGIBLE_LEADER_REPLICAS_VERSION, 0, MetadataVersion(22), true),
        ];
        for (name, level, version, allowed) in rows {
            let feature = feature(name).expect(name);
            assert_eq!(
                feature.check_level(level, version, false).is_ok(),
                allowed,
                "{name} {level} {version}"
            );
        }
    }

    #[test]
    fn a_node_says_what_it_supports() {
        let stable: Vec<_> = supported(false).collect();
        assert!(stable.contains(&(METADATA_VERSION, 7, 33)));
        assert!(stable.contains(&(SHARE_VERSION, 0, 2)));
        assert_eq!(stable.len(), FEATURES.len() + 1);
        assert!(supported(true).any(|row| row == (METADATA_VERSION, 7, 34)));
    }
}

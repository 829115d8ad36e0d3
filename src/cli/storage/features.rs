//! The levels of features that a new cluster starts with, from `--release-version` and `--feature` (KIP-1022). It must never
//! write anything.

use super::text_of;
use crate::options::Given;
use anyhow::{Context, anyhow, bail};
use ottla_model::feature::{FEATURES, KRAFT_VERSION, METADATA_VERSION, MetadataVersion, feature};
use ottla_model::record::{FeatureLevelRecord, MetadataRecord};
use std::collections::BTreeMap;

/// The levels of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) metadata_version: MetadataVersion,
    pub(super) kraft_version: i16,
    /// All others that are not off, by name.
    others: BTreeMap<&'static str, i16>,
}

/// `dynamic`: the voters are not in the configuration. `unstable`: levels that are not final may be chosen.
pub(super) fn levels(given: &Given, dynamic: bool, unstable: bool) -> anyhow::Result<Levels> {
    let mut asked = asked(given)?;
    let release = given.one("release-version").map_err(text_of)?;
    let metadata_version = match (asked.remove(METADATA_VERSION), release) {
        (Some(_), Some(_)) => {
            bail!("--release-version and --feature {METADATA_VERSION} say the same: give one of them")
        }
        (Some(level), None) => MetadataVersion::from_level(level)
            .filter(|version| unstable || version.is_production())
            .with_context(|| format!("there is no stable {METADATA_VERSION} {level}"))?,
        (None, Some(text)) => MetadataVersion::from_text(text, unstable)
            .ok_or_else(|| anyhow!("there is no stable release {text}"))?,
        (None, None) if unstable => MetadataVersion::LATEST,
        (None, None) => MetadataVersion::LATEST_PRODUCTION,
    };
    let kraft_version = kraft_version(asked.remove(KRAFT_VERSION), dynamic)?;
    let mut others = BTreeMap::new();
    for one in FEATURES.iter().filter(|one| one.name != KRAFT_VERSION) {
        let level = asked.remove(one.name).unwrap_or_else(|| one.default_level(metadata_version));
        one.check_level(level, metadata_version, unstable).map_err(|why| anyhow!(why))?;
        if level > 0 {
            others.insert(one.name, level);
        }
    }
    Ok(Levels { metadata_version, kraft_version, others })
}

fn asked(given: &Given) -> anyhow::Result<BTreeMap<String, i16>> {
    let mut asked = BTreeMap::new();
    for pair in given.all("feature") {
        let (name, level) =
            pair.split_once('=').with_context(|| format!("--feature {pair}: it is feature=level"))?;
        let (name, level) = (name.trim(), level.trim());
        if name != METADATA_VERSION && feature(name).is_none() {
            let known: Vec<&str> = FEATURES.iter().map(|one| one.name).collect();
            bail!("there is no feature {name}, only {METADATA_VERSION}, {}", known.join(", "));
        }
        let level = level.parse().with_context(|| format!("--feature {pair}: the level is a number"))?;
        asked.insert(name.to_owned(), level);
    }
    Ok(asked)
}

/// Level 1 is what voters that may change need (KIP-853), and nothing else goes with it.
fn kraft_version(asked: Option<i16>, dynamic: bool) -> anyhow::Result<i16> {
    match (asked, dynamic) {
        (None, _) => Ok(i16::from(dynamic)),
        (Some(1), true) | (Some(0), false) => Ok(i16::from(dynamic)),
        (Some(0), true) => bail!("{KRAFT_VERSION} 0 needs controller.quorum.voters, which is not set"),
        (Some(1), false) => bail!("{KRAFT_VERSION} 1 does not go together with controller.quorum.voters"),
        (Some(level), _) => bail!("{KRAFT_VERSION} has no level {level}, only 0 and 1"),
    }
}

impl Levels {
    /// In Kafka's order. The level of `kraft.version` is no metadata record: the quorum keeps it.
    pub(super) fn records(&self) -> Vec<MetadataRecord> {
        let first = (METADATA_VERSION, self.metadata_version.level());
        let all = std::iter::once(first).chain(self.others.iter().map(|(name, level)| (*name, *level)));
        all.map(|(name, feature_level)| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level })
        })
        .collect()
    }
}

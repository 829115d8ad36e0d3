//! `.kafka_cleanshutdown`: the mark of a clean shutdown, with the epoch under which the broker was registered
//! (KIP-966, KAFKA-15586): `{"version":0,"brokerEpoch":12}`.

use super::{DirError, read_text};
use crate::disk::Disk;
use ottla_model::BrokerEpoch;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// For the next registration, which proves by it that nothing was lost in between.
    pub epoch: BrokerEpoch,
}

impl CleanShutdown {
    /// The epoch that all directories name: the broker has stopped cleanly, with all that it had. A directory without a
    /// mark (`None`), or with another epoch, leaves that in doubt.
    pub fn epoch_of_all(marks: impl Iterator<Item = Option<CleanShutdown>>) -> Option<BrokerEpoch> {
        let mut marks = marks.map(|mark| mark.map(|mark| mark.epoch));
        let first = marks.next().flatten()?;
        marks.all(|epoch| epoch == Some(first)).then_some(first)
    }
}

pub(super) fn write(disk: &dyn Disk, dir: &Path, epoch: BrokerEpoch) -> Result<(), DirError> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}");
    Ok(disk.replace(&dir.join(FILE), text.as_bytes())?)
}

/// The mark, which stays where it is.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<CleanShutdown>, DirError> {
    let text = read_text(disk, &dir.join(FILE), BYTES_MAX)?;
    Ok(text.and_then(|text| broker_epoch(&text)).map(|epoch| CleanShutdown { epoch }))
}

/// A mark that does not name an epoch proves nothing. Kafka takes its mere presence for a clean shutdown; we rather
/// read the tail of the logs again.
pub(super) fn take(disk: &dyn Disk, dir: &Path) -> Result<Option<CleanShutdown>, DirError> {
    let path = dir.join(FILE);
    let found = match read_text(disk, &path, BYTES_MAX) {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => broker_epoch(&text),
        Err(DirError::Malformed { .. }) => None,
        Err(e) => return Err(e),
    };
    disk.remove_file(&path)?;
    disk.sync_dir(dir)?;
    Ok(found.map(|epoch| CleanShutdown { epoch }))
}

/// Reads one whole number of a flat JSON object; other members may be there.
fn broker_epoch(text: &str) -> Option<BrokerEpoch> {
    let members = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let value = members.split(',').find_map(|member| {
        let (name, value) = member.split_once(':')?;
        (name.trim() == "\"brokerEpoch\"").then_some(value.trim())
    })?;
    value.parse().ok().map(BrokerEpoch)
}

const FILE: &str = ".kafka_cleanshutdown";
const BYTES_MAX: u64 = 4096;

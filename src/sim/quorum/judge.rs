//! What must hold of a quorum. It must never influence what is judged: it reads logs as they are, and images as they are
//! published.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_log::log::{Isolation, LogReader};
use ottla_model::NodeId;
use ottla_model::image::Image;
use ottla_node::controller::Controller;
use ottla_protocol::batch::{BatchHeader, batches};
use ottla_protocol::{LeaderEpoch, Offset};

use super::process::{Process, resource};
use crate::verdict::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What was below anybody's high watermark: each batch by its first offset.
    agreed: BTreeMap<Offset, Bytes>,
    /// Of each process: the high watermark up to which that was looked at.
    looked: BTreeMap<(NodeId, u64), Offset>,
    leaders: BTreeMap<LeaderEpoch, (NodeId, u64)>,
    /// What clients were told is set, and from which image on.
    answered: BTreeMap<u64, Offset>,
    /// A mark of each image, by its offset, that any node has published.
    images: BTreeMap<Offset, u64>,
    /// Of each observer: the offset of the image that it has shown last.
    shown: BTreeMap<NodeId, Offset>,
}

impl Judge {
    /// After a step of a controller or an observer.
    pub fn watch(&mut self, id: NodeId, life: u64, process: &Process) -> Verdict {
        let log = process.log();
        if let Some(quorum) = process.controller().map(Controller::quorum)
            && quorum.leads()
        {
            let leader = *self.leaders.entry(quorum.epoch()).or_insert((id, life));
            if leader.0 != id {
                let what = format!("{id} and {} lead in epoch {}", leader.0, quorum.epoch());
                return Err(Violation::new(ONE_LEADER, what));
            }
        }
        let high_watermark = log.high_watermark();
        let looked = self.looked.entry((id, life)).or_insert(0);
        if high_watermark < *looked {
            let what = format!("{id}: from {looked} to {high_watermark}");
            return Err(Violation::new("the high watermark only moves forward", what));
        }
        let from = std::mem::replace(looked, high_watermark).max(log.log_start_offset());
        let votes = process.controller().is_some();
        for (header, batch) in read(&log.reader(), from, high_watermark)? {
            if !votes && !self.agreed.contains_key(&header.base_offset) {
                let what = format!("{id} shows {header:?}");
                return Err(Violation::new(OBSERVED, what));
            }
            let known = self.agreed.entry(header.base_offset).or_insert_with(|| batch.clone());
            if *known != batch {
                let what = format!("{id} has {header:?} where {:?} was agreed on", BatchHeader::parse(known));
                return Err(Violation::new(STAYS, what));
            }
        }
        let Some(quorum) = process.controller().map(Controller::quorum) else { return Ok(()) };
        // Whoever leads has everything that was ever agreed on.
        let end = self.agreed.last_key_value().map_or(0, |(offset, _)| offset + 1);
        let newest = self.leaders.last_key_value().is_some_and(|(epoch, _)| *epoch == quorum.epoch());
        if quorum.leads() && newest && log.log_end_offset() < end {
            let what = format!("{id} leads and ends at {}, {end} was agreed on", log.log_end_offset());
            return Err(Violation::new(STAYS, what));
        }
        Ok(())
    }

    pub fn answered(&mut self, number: u64, offset: Offset) {
        self.answered.entry(number).or_insert(offset);
    }

    /// An observer shows an image. After a restart, too, it is no older than those before.
    pub fn observed(&mut self, id: NodeId, image: &Image) -> Verdict {
        let shown = self.shown.entry(id).or_insert(-1);
        if image.offset < *shown {
            let what = format!("{id} showed the image of {shown}, and then that of {}", image.offset);
            return Err(Violation::new(SHOWN, what));
        }
        *shown = image.offset;
        self.published(id, image)
    }

    /// An observer has lost its disk, and with it what it knew.
    pub fn forgot(&mut self, id: NodeId) {
        self.shown.remove(&id);
    }

    pub fn published(&mut self, id: NodeId, image: &Image) -> Verdict {
        for (number, _) in self.answered.iter().filter(|(_, since)| **since <= image.offset) {
            let resource = resource(*number);
            if image.configs(resource.kind, &resource.name).is_none() {
                let what =
                    format!("{number} was answered and is not in the image of {id} at {}", image.offset);
                return Err(Violation::new(ANSWERED, what));
            }
        }
        if image.offset % IMAGES_EVERY == 0 {
            let mark = mark(image);
            let known = *self.images.entry(image.offset).or_insert(mark);
            if known != mark {
                let what = format!("that of {id} at {}", image.offset);
                return Err(Violation::new(IMAGES, what));
            }
        }
        Ok(())
    }

    /// At the end: all logs are the same, byte for byte, from where the last of them begins; so are all images.
    pub fn finish<'a>(&mut self, processes: impl Iterator<Item = (NodeId, &'a Process)>) -> Verdict {
        let processes: Vec<_> = processes.collect();
        let start = processes.iter().map(|(_, p)| p.log().log_start_offset()).max().unwrap_or(0);
        let mut first: Option<(Vec<(BatchHeader, Bytes)>, u64)> = None;
        for (id, process) in &processes {
            let log = process.log();
            let has = (read(&log.reader(), start, log.log_end_offset())?, mark(process.image()));
            let known = first.get_or_insert_with(|| has.clone());
            if known.0 != has.0 {
                return Err(Violation::new("logs are the same", format!("that of {id} from {start} on")));
            }
            if known.1 != has.1 {
                return Err(Violation::new(IMAGES, format!("that of {id} at the end")));
            }
            self.published(*id, process.image())?;
        }
        Ok(())
    }

    pub fn summary(&self) -> (usize, usize) {
        (self.answered.len(), self.agreed.len())
    }
}

fn read(reader: &LogReader, from: Offset, to: Offset) -> Result<Vec<(BatchHeader, Bytes)>, Violation> {
    let broken = |what: String| Violation::new("a log reads back", format!("at offset {from}: {what}"));
    let mut found = Vec::new();
    let mut next = from;
    while next < to {
        let slice =
            reader.read(next, 64 << 10, Isolation::LogEnd, true).map_err(|e| broken(e.to_string()))?;
        let Some(range) = slice.range else { break };
        let bytes = Bytes::from(range.read().map_err(|e| broken(e.to_string()))?);
        for batch in batches(&bytes) {
            let (header, batch) = batch.map_err(|e| broken(e.to_string()))?;
            next = header.next_offset();
            if header.base_offset < to {
                found.push((header, batch));
            }
        }
    }
    Ok(found)
}

// Two images with the same records in the same order have the same mark.
fn mark(image: &Image) -> u64 {
    let mut mark: u64 = image.epoch.0 as u64;
    for byte in image.records().iter().flat_map(|record| record.encode()) {
        mark = (mark ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mark
}

/// To encode an image whole takes a while.
const IMAGES_EVERY: Offset = 4;
const ONE_LEADER: &str = "one leader in each term";
const STAYS: &str = "what is agreed on stays";
const ANSWERED: &str = "what was answered is in every later image";
const OBSERVED: &str = "an observer shows only what is agreed on";
const SHOWN: &str = "an observer never goes back";
const IMAGES: &str = "images of one offset are equal";

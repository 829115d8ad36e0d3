//! What must hold of a quorum. It must never influence what is judged: it reads logs as they are, and images as they are
//! published.

mod images;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::log::{Isolation, LogReader};
use ottla_model::image::Image;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_node::controller::Controller;
use ottla_node::replicas::Key;
use ottla_protocol::batch::{BatchHeader, batches};
use ottla_protocol::{LeaderEpoch, Offset};

use super::broker::Broker;
use super::process::Process;
use crate::verdict::{Verdict, Violation};
pub(crate) use images::Promise;
use images::{IMAGES, Images, mark};
pub(crate) use sessions::Sessions;

#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What was below anybody's high watermark: each batch by its first offset.
    agreed: BTreeMap<Offset, Bytes>,
    /// Of each process: the high watermark up to which that was looked at.
    looked: BTreeMap<(NodeId, u64), Offset>,
    leaders: BTreeMap<LeaderEpoch, (NodeId, u64)>,
    images: Images,
    pub sessions: Sessions,
    /// Of each observer: the offset of the image that it has shown last.
    shown: BTreeMap<NodeId, Offset>,
}

impl Judge {
    pub fn of(sessions: Sessions) -> Judge {
        Judge { sessions, ..Judge::default() }
    }

    /// After a step of a controller or an observer.
    pub fn watch(&mut self, id: NodeId, life: u64, process: &Process, now_ms: i64) -> Verdict {
        let log = process.log();
        if let Some(controller) = process.controller().filter(|controller| controller.leads()) {
            self.sessions.leads((id, life), controller.quorum().epoch(), now_ms);
        }
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

    /// Somebody is told that this holds in the image at that offset and in every later one.
    pub fn promised(&mut self, since: Offset, promise: Promise) -> Verdict {
        self.images.promised(since, promise)
    }

    /// Somebody has asked for the end of that topic.
    pub fn withdrawn(&mut self, number: u64) {
        self.images.withdrawn(number);
    }

    /// A leader has served a fetch.
    pub fn fetched(&mut self, key: Key, by: NodeId, epoch: BrokerEpoch) {
        self.images.fetched(key, by, epoch);
    }

    /// A broker shows what it knows, and leads what it should.
    pub fn shows(&mut self, id: NodeId, broker: &Broker) -> Verdict {
        let image = &broker.shown;
        self.images.shows(broker.incarnation, image.offset);
        for ((topic, index), epoch) in broker.leads() {
            let partition = image.topic_by_id(topic).and_then(|topic| topic.partitions.get(&index));
            let leads = partition.is_some_and(|p| p.leader == Some(id) && p.leader_epoch == epoch);
            let me = image.broker(id).is_some_and(|me| me.incarnation == broker.incarnation && !me.fenced);
            if !leads || !me {
                let what = format!("{id} leads {topic}-{index} under {epoch}, and shows {partition:?}");
                return Err(Violation::new(LEADS_AS_SHOWN, what));
            }
        }
        Ok(())
    }

    /// An observer shows an image. After a restart, too, it is no older than those before.
    pub fn observed(&mut self, id: NodeId, image: &Arc<Image>) -> Verdict {
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

    pub fn published(&mut self, id: NodeId, image: &Arc<Image>) -> Verdict {
        self.images.published(id, image)
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
        (self.images.promises(), self.agreed.len())
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

const ONE_LEADER: &str = "one leader in each term";
const STAYS: &str = "what is agreed on stays";
const OBSERVED: &str = "an observer shows only what is agreed on";
const SHOWN: &str = "an observer never goes back";
const LEADS_AS_SHOWN: &str = "a broker leads what it is shown to lead";

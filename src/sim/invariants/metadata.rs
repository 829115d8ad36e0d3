//! What the controller has confirmed outlives any crash: topics stay created, and deleted. And nothing that was agreed
//! on is forgotten: the Raft state is always on disk first.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::TopicId;
use ottla_model::image::Image;
use ottla_protocol::Offset;

use super::{Verdict, Violation};

/// What was confirmed.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    created: BTreeMap<TopicId, String>,
    /// Somebody has asked for it, whatever came of it.
    doomed: BTreeSet<TopicId>,
    deleted: BTreeSet<TopicId>,
    offset: Offset,
}

impl Metadata {
    pub fn created(&mut self, id: TopicId, name: &str) {
        self.created.insert(id, name.to_owned());
    }

    pub fn deleting(&mut self, id: TopicId) {
        self.doomed.insert(id);
    }

    pub fn deleted(&mut self, id: TopicId) {
        self.deleted.insert(id);
    }

    pub fn published(&mut self, image: &Image) -> Verdict {
        self.restarted(image)?;
        self.offset = self.offset.max(image.offset);
        Ok(())
    }

    pub fn restarted(&self, image: &Image) -> Verdict {
        for (id, name) in self.created.iter().filter(|(id, _)| !self.doomed.contains(id)) {
            if image.topic_by_id(*id).is_none_or(|topic| *topic.name != **name) {
                return Err(Violation::new(NAME, format!("topic {name} was created and is not there")));
            }
        }
        if let Some(topic) = self.deleted.iter().find_map(|id| image.topic_by_id(*id)) {
            return Err(Violation::new(NAME, format!("topic {} was deleted and is back", topic.name)));
        }
        Ok(())
    }

    /// Everything that a process had published is there after its death.
    pub fn booted(&self, image: &Image) -> Verdict {
        if image.offset < self.offset {
            let what = format!("the image ends at {}, {} was agreed on", image.offset, self.offset);
            return Err(Violation::new(NAME, what));
        }
        self.restarted(image)
    }
}

const NAME: &str = "metadata outlives any crash";

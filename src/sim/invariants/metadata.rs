//! What the controller has confirmed outlives any crash: topics stay created, and deleted. And nothing that was agreed
//! on is forgotten: the Raft state is always on disk first.

use std::collections::{BTreeMap, BTreeSet};

use crate::verdict::{Verdict, Violation};
use ottla_model::image::Image;
use ottla_model::{NodeId, TopicId};
use ottla_protocol::Offset;

/// What was confirmed.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    /// And how far the image had come where that was confirmed: every later one has to know.
    created: BTreeMap<TopicId, (String, Offset)>,
    /// Somebody has asked for it, whatever came of it.
    doomed: BTreeSet<TopicId>,
    deleted: BTreeMap<TopicId, Offset>,
    /// How far the image of each node has come.
    offsets: BTreeMap<NodeId, Offset>,
}

impl Metadata {
    pub fn created(&mut self, node: NodeId, id: TopicId, name: &str) {
        self.created.insert(id, (name.to_owned(), self.offset(node)));
    }

    pub fn deleting(&mut self, id: TopicId) {
        self.doomed.insert(id);
    }

    /// Whether somebody has asked for its deletion.
    pub fn is_doomed(&self, id: TopicId) -> bool {
        self.doomed.contains(&id)
    }

    pub fn deleted(&mut self, node: NodeId, id: TopicId) {
        self.deleted.insert(id, self.offset(node));
    }

    fn offset(&self, node: NodeId) -> Offset {
        self.offsets.get(&node).copied().unwrap_or(0)
    }

    pub fn published(&mut self, node: NodeId, image: &Image) -> Verdict {
        self.holds(image)?;
        self.offsets.insert(node, self.offset(node).max(image.offset));
        Ok(())
    }

    /// What was confirmed when images had come no further than this one is in it.
    pub fn holds(&self, image: &Image) -> Verdict {
        let created = self
            .created
            .iter()
            .filter(|(id, (_, since))| *since <= image.offset && !self.doomed.contains(id));
        for (id, (name, _)) in created {
            if image.topic_by_id(*id).is_none_or(|topic| *topic.name != **name) {
                return Err(Violation::new(NAME, format!("topic {name} was created and is not there")));
            }
        }
        let mut deleted = self.deleted.iter().filter(|(_, since)| **since <= image.offset);
        if let Some(topic) = deleted.find_map(|(id, _)| image.topic_by_id(*id)) {
            return Err(Violation::new(NAME, format!("topic {} was deleted and is back", topic.name)));
        }
        Ok(())
    }

    /// Everything that a process had published is there after its death.
    pub fn booted(&self, node: NodeId, image: &Image) -> Verdict {
        let known = self.offset(node);
        if image.offset < known {
            let what = format!("the image ends at {}, {known} was agreed on", image.offset);
            return Err(Violation::new(NAME, what));
        }
        self.holds(image)
    }
}

const NAME: &str = "metadata outlives any crash";

#[cfg(test)]
mod tests {
    use super::*;

    fn image(offset: Offset) -> Image {
        let mut image = Image::empty();
        image.offset = offset;
        image
    }

    #[test]
    fn an_image_that_has_not_come_so_far_need_not_know() {
        let (ahead, behind) = (NodeId(1), NodeId(2));
        let mut metadata = Metadata::default();
        metadata.published(ahead, &image(10)).unwrap();
        metadata.published(behind, &image(4)).unwrap();
        metadata.created(ahead, TopicId::default(), "t");
        assert!(metadata.published(behind, &image(9)).is_ok());
        assert!(metadata.published(behind, &image(10)).is_err());
        // What a node had published itself it does not forget.
        assert!(metadata.booted(behind, &image(8)).is_err());
    }
}

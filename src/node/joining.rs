//! How a broker that has started comes into its cluster: it bootstraps the cluster if that is new, registers, says in
//! which log directories its replicas are, and asks to be unfenced: from RECOVERY to RUNNING. Questions for the controller
//! go out, replies come in. It must never look at a disk.

#[cfg(test)]
mod stories;

use ottla_core::controller::{
    AssignReplicas, Assignment, Bootstrap, Command, Heartbeat, HeartbeatAnswer, NotController, Registration,
    Reply,
};
use ottla_core::question::Question;
use ottla_model::feature::{self, MetadataVersion};
use ottla_model::image::{FeatureRange, Image};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};

/// What to do next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Ask the controller, and bring back its reply.
    Ask(Command),
    /// This broker serves, under that epoch.
    Joined(BrokerEpoch),
    /// The controller does not want it; why.
    Refused(String),
}

/// A broker on its way into the cluster.
#[derive(Debug)]
pub struct Joining {
    registration: Registration,
    /// Where the folders of this broker's partitions are.
    found: Vec<(TopicPartition, DirectoryId)>,
    asked: Asked,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Bootstrap,
    Registration,
    Assignment(BrokerEpoch),
    Unfencing(BrokerEpoch),
}

impl Joining {
    /// Whatever `registration` says of features, it is what this version of the broker supports that is registered.
    pub fn new(registration: Registration, found: Vec<(TopicPartition, DirectoryId)>) -> Joining {
        let features = feature::supported(false)
            .map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max })
            .collect();
        let registration = Registration { features, ..registration };
        Joining { registration, found, asked: Asked::Bootstrap }
    }

    /// What is asked first.
    pub fn begin(&self) -> Command {
        let version = MetadataVersion::LATEST_PRODUCTION;
        let levels = feature::FEATURES.iter().map(|f| (f.name.to_owned(), f.default_level(version)));
        let features = levels.filter(|(_, level)| *level > 0).collect();
        Bootstrap { metadata_version: version.level(), features }.command()
    }

    /// What follows from a reply. `image` is the one that was shown when the reply came.
    pub fn next(&mut self, reply: Result<Reply, NotController>, image: &Image) -> Next {
        let broker = self.registration.id;
        match (self.asked, reply) {
            (Asked::Bootstrap, _) => {
                self.asked = Asked::Registration;
                Next::Ask(self.registration.clone().command())
            }
            (Asked::Registration, Ok(Reply::BrokerRegistered(Ok(epoch)))) => {
                // First where its replicas are: what is in a directory that is not there must not be led.
                let assignments = misplaced(broker, image, &self.found);
                if assignments.is_empty() {
                    return self.unfence(epoch, image);
                }
                self.asked = Asked::Assignment(epoch);
                Next::Ask(AssignReplicas { broker, epoch, assignments }.command())
            }
            // What could not be told is told by the next start.
            (Asked::Assignment(epoch), _) => self.unfence(epoch, image),
            (Asked::Unfencing(epoch), Ok(Reply::Heartbeat(Ok(HeartbeatAnswer { fenced: false, .. })))) => {
                Next::Joined(epoch)
            }
            (Asked::Registration | Asked::Unfencing(_), reply) => Next::Refused(format!("{reply:?}")),
        }
    }

    fn unfence(&mut self, epoch: BrokerEpoch, image: &Image) -> Next {
        self.asked = Asked::Unfencing(epoch);
        let heartbeat = Heartbeat {
            broker: self.registration.id,
            epoch,
            metadata_offset: image.offset,
            want_fence: false,
            want_shutdown: false,
        };
        Next::Ask(heartbeat.command())
    }
}

// What the metadata does not know yet of where this broker's logs are.
fn misplaced(me: NodeId, image: &Image, found: &[(TopicPartition, DirectoryId)]) -> Vec<Assignment> {
    let news = found.iter().filter_map(|(id, directory)| {
        let topic = image.topic(&id.topic)?;
        let assigned = topic.partitions.get(&id.partition)?.directory(me)?;
        let (directory, topic, partition) = (*directory, topic.id, id.partition);
        (assigned != directory).then_some(Assignment { directory, topic, partition })
    });
    news.collect()
}

/// Whether the metadata gives a partition to this broker. The folder of another one is a stray: a crash came between its
/// deletion and the renaming of its folder.
pub fn is_assigned(me: NodeId, image: &Image, id: &TopicPartition) -> bool {
    let topic = image.topic(&id.topic);
    topic.and_then(|t| t.partitions.get(&id.partition)).is_some_and(|p| p.replicas.contains(&me))
}

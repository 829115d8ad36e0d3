//! AssignReplicasToDirs v0 (KIP-858).

use std::collections::BTreeMap;

use ottla_core::controller::{AssignReplicas, Assignment, NotController, Refusal};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId, TopicId};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, assign_replicas_to_dirs_request as asked,
    assign_replicas_to_dirs_response as answered,
};

use super::{ResponseOf, Travels, whole};

type ByDirectory<T> = BTreeMap<DirectoryId, BTreeMap<TopicId, Vec<T>>>;

fn by_directory<T>(all: impl Iterator<Item = (Assignment, T)>) -> ByDirectory<T> {
    let mut sorted: ByDirectory<T> = BTreeMap::new();
    for (Assignment { directory, topic, .. }, one) in all {
        sorted.entry(directory).or_default().entry(topic).or_default().push(one);
    }
    sorted
}

fn assignments(request: &AssignReplicasToDirsRequest) -> impl Iterator<Item = Assignment> {
    request.directories.iter().flat_map(|directory| {
        directory.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| Assignment {
                directory: directory.id,
                topic: topic.topic_id,
                partition: partition.partition_index,
            })
        })
    })
}

impl Travels for AssignReplicas {
    type Request = AssignReplicasToDirsRequest;

    fn request(&self) -> AssignReplicasToDirsRequest {
        let sorted = by_directory(self.assignments.iter().map(|one| (*one, one.partition)));
        let directories = sorted.into_iter().map(|(id, topics)| {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                let partitions = partitions.into_iter();
                let partitions = partitions.map(|p| asked::PartitionData::default().with_partition_index(p));
                asked::TopicData::default().with_topic_id(topic).with_partitions(partitions.collect())
            });
            asked::DirectoryData::default().with_id(id).with_topics(topics.collect())
        });
        AssignReplicasToDirsRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
            .with_directories(directories.collect())
    }

    fn of_request(request: AssignReplicasToDirsRequest) -> Result<AssignReplicas, ErrorCode> {
        let (broker, epoch) = (NodeId(request.broker_id.0), BrokerEpoch(request.broker_epoch));
        Ok(AssignReplicas { broker, epoch, assignments: assignments(&request).collect() })
    }

    fn response(asked: &AssignReplicasToDirsRequest, answer: Self::Answer) -> ResponseOf<Self> {
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(refusal) => return Self::refused(refusal.code),
        };
        let each = assignments(asked).zip(outcomes).map(|(one, outcome)| {
            let code = outcome.err().unwrap_or(ErrorCode::None);
            (one, (one.partition, code))
        });
        let directories = by_directory(each).into_iter().map(|(id, topics)| {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                let partitions = partitions.into_iter().map(|(partition, code)| {
                    answered::PartitionData::default()
                        .with_partition_index(partition)
                        .with_error_code(code.code())
                });
                answered::TopicData::default().with_topic_id(topic).with_partitions(partitions.collect())
            });
            answered::DirectoryData::default().with_id(id).with_topics(topics.collect())
        });
        AssignReplicasToDirsResponse::default().with_directories(directories.collect())
    }

    fn refused(code: ErrorCode) -> AssignReplicasToDirsResponse {
        AssignReplicasToDirsResponse::default().with_error_code(code.code())
    }

    fn of_response(&self, response: AssignReplicasToDirsResponse) -> Result<Self::Answer, NotController> {
        if let Err(code) = whole(response.error_code)? {
            return Ok(Err(Refusal::from(code)));
        }
        let mut codes: BTreeMap<(DirectoryId, TopicId, i32), i16> = BTreeMap::new();
        for directory in &response.directories {
            for topic in &directory.topics {
                for partition in &topic.partitions {
                    let key = (directory.id, topic.topic_id, partition.partition_index);
                    codes.insert(key, partition.error_code);
                }
            }
        }
        let outcomes = self.assignments.iter().map(|one| {
            let code = codes.get(&(one.directory, one.topic, one.partition)).copied();
            match ErrorCode::from_code(code.unwrap_or(ErrorCode::UnknownServerError.code())) {
                ErrorCode::None => Ok(()),
                code => Err(code),
            }
        });
        Ok(Ok(outcomes.collect()))
    }
}

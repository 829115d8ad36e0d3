//! Several members of one quorum in one room: messages are handed over in order, unless a way is cut. The simulator does worse
//! to them; these stories show one thing at a time.

mod agreement;
mod fetches;
mod following;
mod membership;
mod snapshots;
mod strangers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::Disk;
use ottla_log::disk::MemoryDisk;
use ottla_log::log::{Isolation, Log, Opening};
use ottla_model::config::TopicConfig;
use ottla_model::image::Image;
use ottla_model::record::{MetadataRecord, TopicRecord};
use ottla_model::{CLUSTER_METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, TopicPartition};
use ottla_protocol::batch::control::{KRaftVersion, KRaftVoters, VoterEndpoint, VoterNode};
use ottla_protocol::batch::{BatchHeader, DecompressLimit, records};
use ottla_protocol::{LeaderEpoch, Offset};
use uuid::Uuid;

use super::*;

const DIR: &str = "/data/__cluster_metadata-0";

pub(super) fn directory(node: i32) -> Uuid {
    Uuid::from_u128((node as u128) << 100)
}

pub(super) fn voter(node: i32) -> VoterNode {
    let (id, directory_id) = (node, directory(node));
    let endpoint = VoterEndpoint { name: "CONTROLLER".into(), host: "localhost".into(), port: port(node) };
    VoterNode { id, directory_id, endpoints: vec![endpoint], kraft_version_min: 0, kraft_version_max: 1 }
}

pub(super) fn port(node: i32) -> u16 {
    9_000_u16.saturating_add_signed(node as i16)
}

pub(super) fn key(node: i32) -> ReplicaKey {
    ReplicaKey { id: NodeId(node), directory_id: directory(node) }
}

pub(super) fn founded_by(nodes: &[i32]) -> Membership {
    let voters = nodes.iter().map(|node| voter(*node)).collect();
    Membership {
        version: Some(KRaftVersion { version: 0, kraft_version: 1 }),
        voters: Some(KRaftVoters { version: 0, voters }),
    }
}

/// One replica: its disk, what runs on it, and the image that it has built from what was agreed on.
pub(super) struct Member {
    pub me: ReplicaKey,
    pub founding: Vec<i32>,
    /// The configuration says who votes, by their ids alone.
    pub fixed: bool,
    pub election_timeout_ms: i64,
    pub disk: MemoryDisk,
    pub quorum: Option<Quorum>,
    pub image: Image,
}

impl Member {
    pub fn new(me: ReplicaKey, founding: &[i32]) -> Member {
        let disk = MemoryDisk::new(me.id.0 as u64);
        // The log directory is older than all that happens.
        disk.create_dir_all(Path::new("/data")).expect("an empty disk");
        disk.write_back();
        let (founding, image) = (founding.to_vec(), Image::empty());
        Member { me, founding, fixed: false, election_timeout_ms: 1_000, disk, quorum: None, image }
    }

    pub fn start(&mut self) {
        let quorum = self.open().expect("it starts");
        self.image = Image::empty();
        self.quorum = Some(quorum);
        if let Some(image) = self.quorum().take_image() {
            self.image = image;
        }
    }

    pub fn open(&self) -> Result<Quorum, QuorumError> {
        let config = Arc::new(TopicConfig {
            segment_bytes: 2_000,
            retention_bytes: -1,
            retention_ms: -1,
            max_message_bytes: i32::MAX,
            ..TopicConfig::default()
        });
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, _) = Log::open(Opening {
            disk: disk.clone(),
            dir: PathBuf::from(DIR),
            partition: TopicPartition::new(CLUSTER_METADATA_TOPIC, 0),
            topic_id: Some(METADATA_TOPIC_ID),
            config: config.clone(),
            clean_shutdown: false,
            recovery_point: 0,
            log_start: 0,
            now_ms: 0,
            producer_id_expiration_ms: i64::MAX,
            jitter_seed: 0,
        })?;
        let voters = Voters {
            cluster_id: "one".into(),
            me: self.me,
            all: VoterSet::new(self.founding.iter().map(|node| match self.fixed {
                true => ReplicaKey::of(NodeId(*node)),
                false => key(*node),
            })),
            founders: if self.fixed { Membership::default() } else { founded_by(&self.founding) },
            addresses: BTreeMap::new(),
            election_timeout_ms: self.election_timeout_ms,
        };
        let mut draws = self.me.id.0 as u64;
        let chance = move || {
            draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            draws >> 33
        };
        let store = Store::open(disk, log, config, voters.clone())?;
        Quorum::new(store, &voters, Box::new(chance))
    }

    pub fn quorum(&mut self) -> &mut Quorum {
        self.quorum.as_mut().expect("it runs")
    }

    fn apply(&mut self, agreed: Vec<Agreed>) {
        for agreed in agreed {
            match agreed {
                Agreed::Snapshot(image) => self.image = *image,
                Agreed::Batch(committed) => {
                    assert!(committed.base_offset >= self.image.offset, "nothing is agreed on twice");
                    apply(&mut self.image, &committed);
                }
            }
        }
    }

    /// All that its log holds from there on.
    pub fn bytes_from(&mut self, offset: Offset) -> Vec<u8> {
        let log = self.quorum().store().log();
        let mut bytes = Vec::new();
        let mut next = offset;
        while next < log.log_end_offset() {
            let slice = log.reader().read(next, 1 << 20, Isolation::LogEnd, true).expect("it reads");
            let part: Bytes = slice.range.expect("something").read().expect("it reads").into();
            for batch in ottla_protocol::batch::batches(&part) {
                next = batch.expect("whole batches").0.next_offset();
            }
            bytes.extend_from_slice(&part);
        }
        bytes
    }
}

fn apply(image: &mut Image, committed: &Committed) {
    let header = BatchHeader::parse(&committed.batch).expect("a batch");
    if !header.is_control() {
        for record in records(&committed.batch, DecompressLimit(1 << 20)).expect("records") {
            let record = record.expect("a record");
            let read = MetadataRecord::decode(&record.value.unwrap_or_default()).expect("a metadata record");
            image.apply_in_place(record.offset, committed.epoch, &read).expect("it applies");
        }
    }
    (image.offset, image.epoch) = (committed.last_offset, committed.epoch);
}

/// The members, and the ways between them.
pub(super) struct Room {
    pub members: Vec<Member>,
    pub cut: BTreeSet<(i32, i32)>,
    pub refused: Vec<Refused>,
    pub said: usize,
    topics: u128,
}

impl Room {
    pub fn of(nodes: &[i32]) -> Room {
        let members = nodes.iter().map(|node| Member::new(key(*node), nodes)).collect();
        let (cut, refused) = Default::default();
        let mut room = Room { members, cut, refused, said: 0, topics: 0 };
        room.members.iter_mut().for_each(Member::start);
        room
    }

    /// Those of `controller.quorum.voters`.
    pub fn fixed(nodes: &[i32]) -> Room {
        let mut room = Room::of(&[]);
        let members = nodes.iter().map(|node| Member { fixed: true, ..Member::new(key(*node), nodes) });
        room.members = members.collect();
        room.members.iter_mut().for_each(Member::start);
        room
    }

    pub fn member(&mut self, node: i32) -> &mut Member {
        self.members.iter_mut().find(|member| member.me.id.0 == node).expect("a member")
    }

    pub fn quorum(&mut self, node: i32) -> &mut Quorum {
        self.member(node).quorum()
    }

    /// Everybody settles and hears what the others say, until nobody says anything.
    pub fn talk(&mut self) {
        let mut under_way: VecDeque<Message> = VecDeque::new();
        loop {
            for member in self.members.iter_mut().filter(|member| member.quorum.is_some()) {
                let settled = member.quorum().settle(1_000).expect("a healthy disk");
                member.apply(settled.agreed);
                under_way.extend(settled.messages);
            }
            let Some(message) = under_way.pop_front() else { return };
            self.hand_over(message);
        }
    }

    fn hand_over(&mut self, message: Message) {
        self.said += 1;
        let way = (message.from.id.0, message.to.id.0);
        // As it would come over a network.
        let message = Message::decode(&message.encode()).expect("it is read as it was written");
        let to = self.members.iter_mut().find(|member| member.me.id == message.to.id);
        let Some(to) = to.filter(|member| member.quorum.is_some() && !self.cut.contains(&way)) else {
            return;
        };
        self.refused.extend(to.quorum().step(message).err());
    }

    pub fn ticks(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for member in self.members.iter_mut().filter(|member| member.quorum.is_some()) {
                member.quorum().tick();
            }
            self.talk();
        }
    }

    /// Who leads once the others agree. Nobody may take longer than a few elections.
    pub fn leader(&mut self) -> i32 {
        for _ in 0..100 {
            self.ticks(1);
            let leads = |member: &&Member| member.quorum.as_ref().is_some_and(Quorum::leads);
            let newest =
                self.members.iter().filter(leads).max_by_key(|m| m.quorum.as_ref().map(|q| q.epoch()));
            if let Some(leader) = newest {
                return leader.me.id.0;
            }
        }
        panic!("nobody leads");
    }

    /// A topic is proposed at the leader; what comes of it is seen later.
    pub fn propose(&mut self, leader: i32) {
        self.topics += 1;
        let topic = self.topics;
        let record = TopicRecord { name: format!("t{topic}"), topic_id: Uuid::from_u128(topic) };
        let record: MetadataRecord = record.into();
        assert!(self.quorum(leader).propose(&metadata_batch([record.encode()], 1_000)), "{leader} leads");
        self.talk();
    }

    pub fn topics(&mut self, node: i32) -> usize {
        self.member(node).image.topics().count()
    }

    pub fn isolate(&mut self, node: i32) {
        let others: Vec<i32> = self.members.iter().map(|member| member.me.id.0).collect();
        for other in others {
            self.cut.extend([(node, other), (other, node)]);
        }
    }

    pub fn kill(&mut self, node: i32) {
        let member = self.member(node);
        member.quorum = None;
        member.disk.crash();
    }

    /// A snapshot of everything that this member has agreed on; nothing of it stays in the log.
    pub fn snapshot(&mut self, node: i32) -> SnapshotId {
        let member = self.member(node);
        let image = Arc::new(member.image.clone());
        let disk = member.disk.clone();
        let id = member.quorum().snapshot(image).write(&disk).expect("a healthy disk");
        member.quorum().snapshotted(id, &Keep { bytes: 0, ms: -1 }, 1_000).expect("a healthy disk");
        id
    }

    pub fn all_are_the_same(&mut self) {
        let nodes: Vec<i32> = self.members.iter().map(|member| member.me.id.0).collect();
        let start = |room: &mut Room, node| room.quorum(node).store().log().log_start_offset();
        let from = nodes.iter().map(|node| start(self, *node)).max().unwrap_or(0);
        let seen: Vec<(Vec<u8>, Offset, usize)> = nodes
            .iter()
            .map(|node| {
                let bytes = self.member(*node).bytes_from(from);
                (bytes, self.quorum(*node).high_watermark(), self.topics(*node))
            })
            .collect();
        for (node, each) in nodes.iter().zip(&seen) {
            assert_eq!(each.0, seen[0].0, "the log of {node} from {from} on");
            assert_eq!((each.1, each.2), (seen[0].1, seen[0].2), "high watermark and topics of {node}");
        }
    }
}

pub(super) fn epoch_of(room: &mut Room, node: i32) -> LeaderEpoch {
    room.quorum(node).epoch()
}

pub(super) fn vote_file(room: &mut Room, node: i32) -> String {
    let path = Path::new(DIR).join("quorum-state");
    String::from_utf8(room.member(node).disk.read_to_vec(&path).expect("the vote")).expect("text")
}

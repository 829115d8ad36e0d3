//! `storage check`: what a start would find and do, without doing it. What stops it is what stops the start itself:
//! both ask `ottla_log::survey::stops`. It must never write.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use ottla_log::disk::{Disk, RealDisk};
use ottla_log::survey::{Content, Directory, DirectoryState, Folder, Kind, Metadata, Survey, find, stops};
use ottla_model::config::{BrokerConfig, is_topic_config};
use ottla_model::image::{Image, Topic};
use ottla_model::record::ResourceType;
use ottla_model::{TopicPartition, uuid_to_base64};

/// More topics than these need not be told.
const UNKNOWN_TOLD: usize = 20;

/// Shows all that was found; fails where a start would be refused.
pub(super) fn run(config: &BrokerConfig) -> ExitCode {
    let (text, goes_on) = described(&RealDisk::default(), config);
    print!("{text}");
    if goes_on { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The whole answer, and whether a start would go on.
pub(super) fn described(disk: &dyn Disk, config: &BrokerConfig) -> (String, bool) {
    let found = find(disk, config);
    let stops = stops(&found, config);
    let mut out = Out(String::new());
    if let Some(metadata) = &found.metadata {
        out.metadata(metadata);
    }
    let image = found.metadata.as_ref().map(|metadata| &metadata.image);
    let mut here = BTreeSet::new();
    for directory in &found.dirs {
        out.directory(disk, config, directory, image, &mut here);
    }
    out.missing(&found, config, &here);
    match stops.len() {
        0 => out.line(0, "Nothing stops a start. Nothing was changed by this check."),
        count => {
            let endings = if count == 1 { ("", "s") } else { ("s", "") };
            out.line(0, &format!("{count} thing{} stop{} a start:", endings.0, endings.1));
            stops.iter().for_each(|stop| out.line(1, &stop.to_string()));
            out.line(0, "Nothing was changed by this check.");
        }
    }
    (out.0, stops.is_empty())
}

struct Out(String);

impl Out {
    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}{text}", "  ".repeat(depth));
    }

    fn metadata(&mut self, metadata: &Metadata) {
        self.line(0, &format!("Metadata log {}:", metadata.folder.display()));
        let Metadata { segments, bytes, end, .. } = metadata;
        self.line(1, &format!("{}, {bytes} bytes, ends at offset {end}", counted(*segments, "segment")));
        let snapshot = metadata.snapshot.map_or("none".to_owned(), |id| id.file_name());
        self.line(1, &format!("newest snapshot: {snapshot}"));
        let image = &metadata.image;
        if let Some(version) = image.metadata_version() {
            self.line(1, &format!("metadata.version: {} ({version})", version.level()));
        }
        let features = image.features().filter(|(name, _)| *name != "metadata.version");
        let features: Vec<String> = features.map(|(name, level)| format!("{name}={level}")).collect();
        self.line(1, &format!("features: {}", listed(&features)));
        let voters = metadata.membership.voters.iter().flat_map(|voters| &voters.voters);
        let voters: Vec<String> =
            voters.map(|v| format!("{}-{}", v.id, uuid_to_base64(v.directory_id))).collect();
        let voters = if voters.is_empty() { "by controller.quorum.voters".into() } else { voters.join(", ") };
        self.line(1, &format!("voters: {voters}"));
        let partitions: usize = image.topics().map(|topic| topic.partitions.len()).sum();
        let topics = counted(image.topics().len(), "topic");
        self.line(1, &format!("{topics}, {}", counted(partitions, "partition")));
        let unknown = |topic: &Topic| {
            let configs = image.configs(ResourceType::Topic, &topic.name)?;
            let keys: Vec<String> = configs.keys().filter(|key| !is_topic_config(key)).cloned().collect();
            (!keys.is_empty()).then(|| format!("{}: {}", topic.name, keys.join(", ")))
        };
        let unknown: Vec<String> =
            image.topics().filter_map(|topic| unknown(topic)).take(UNKNOWN_TOLD).collect();
        if !unknown.is_empty() {
            self.line(1, "settings of topics that nobody knows, which would be ignored:");
            unknown.iter().for_each(|line| self.line(2, line));
        }
        if let Some(cut) = &metadata.cut {
            let what = format!("{}: {}", cut.file.display(), cut.what);
            self.line(1, &format!("{what}: it would be cut off there, at offset {end}"));
        }
        self.line(0, "");
    }

    fn directory(
        &mut self,
        disk: &dyn Disk,
        config: &BrokerConfig,
        directory: &Directory,
        image: Option<&Image>,
        here: &mut BTreeSet<TopicPartition>,
    ) {
        self.line(0, &format!("Directory {}:", directory.path.display()));
        match &directory.state {
            DirectoryState::Absent => self.line(1, "is not there: it would be made and formatted"),
            DirectoryState::Unformatted => self.line(1, "is not formatted: it would be, for this node"),
            DirectoryState::Malformed(what) => self.line(1, what),
            DirectoryState::Unreadable(what) => self.line(1, &format!("{what}: it would be offline")),
            DirectoryState::Formatted { meta, version } => self.line(1, &super::described(meta, *version)),
        }
        if !matches!(directory.state, DirectoryState::Absent | DirectoryState::Unreadable(_)) {
            match Content::read(disk, &directory.path, config.node_id, image) {
                Ok(content) => self.content(&content, here),
                Err(error) => self.line(1, &error.to_string()),
            }
        }
        self.line(0, "");
    }

    fn content(&mut self, content: &Content, here: &mut BTreeSet<TopicPartition>) {
        let (partitions, segments, bytes) = content.totals();
        let (partitions, segments) = (counted(partitions, "partition"), counted(segments, "segment"));
        self.line(1, &format!("{partitions}, {segments}, {bytes} bytes"));
        self.line(
            1,
            match content.clean {
                true => "the last shutdown was clean: the logs would be opened as they are",
                false => {
                    "the last shutdown was not clean: what is behind the recovery points would be read again"
                }
            },
        );
        for checkpoint in &content.checkpoints {
            self.line(1, &format!("{checkpoint}: it would be ignored, and recovery reads more"));
        }
        for folder in &content.folders {
            if folder.kind == Kind::Live {
                here.insert(folder.partition.clone());
            }
            if let Some(fate) = fate(folder, content.clean) {
                self.line(1, &format!("{}: {fate}", folder.path.display()));
            }
        }
        for path in &content.unknown {
            self.line(1, &format!("{}: kept: it is no partition's", path.display()));
        }
    }

    fn missing(&mut self, found: &Survey, config: &BrokerConfig, here: &BTreeSet<TopicPartition>) {
        let topics = found.metadata.iter().flat_map(|metadata| metadata.image.topics());
        let ids = topics.flat_map(|topic| {
            let mine = topic.partitions.iter().filter(|(_, p)| p.replicas.contains(&config.node_id));
            mine.map(|(id, _)| TopicPartition::new(topic.name.clone(), *id))
        });
        let missing: Vec<String> = ids.filter(|id| !here.contains(id)).map(|id| id.to_string()).collect();
        if !missing.is_empty() {
            self.line(0, "In the metadata, and in no directory: they would be made anew, empty:");
            missing.iter().for_each(|id| self.line(1, id));
            self.line(0, "");
        }
    }
}

/// What a start would do with a folder, where that is more than to serve it.
fn fate(folder: &Folder, clean: bool) -> Option<String> {
    Some(match folder.kind {
        Kind::Live if clean => return None,
        Kind::Live => format!("would be recovered from offset {}", folder.recovery_point),
        Kind::Unassigned => "would be set aside as stray: by the metadata it is none of this broker's".into(),
        Kind::OldNamesake => "would be set aside as stray: it is of a deleted topic of that name".into(),
        Kind::Future => {
            "a copy on its way from another directory: would be made anew, if its log is there".into()
        }
        Kind::Stray => "kept: stray".into(),
        Kind::Deleted => "would be removed: a deletion that was under way".into(),
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ottla_log::disk::{MemoryDisk, OpenHow};
    use ottla_model::config::{Sources, load};

    use super::*;

    fn config() -> BrokerConfig {
        let overrides =
            [("node.id", "1"), ("log.dirs", "/a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        load(Sources { file: None, env: [], overrides: &overrides }).expect("a configuration").0
    }

    fn put(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
        let path = Path::new(path);
        disk.create_dir_all(path.parent().expect("a folder")).expect("a healthy disk");
        disk.open(path, OpenHow::Create).and_then(|file| file.write_at(bytes, 0)).expect("a healthy disk");
    }

    #[test]
    fn everything_in_a_directory_is_named_with_what_becomes_of_it() {
        let disk = MemoryDisk::new(1);
        let check = |expected: &[&str], goes_on: bool| {
            let before = disk.changes();
            let (text, found) = described(&disk, &config());
            assert_eq!(disk.changes(), before, "a check changes nothing");
            assert_eq!(found, goes_on, "{text}");
            for part in expected {
                assert!(text.contains(part), "{part:?} is not in:\n{text}");
            }
        };
        check(
            &["Directory /a:\n  is not there: it would be made and formatted\n", "Nothing stops a start."],
            true,
        );
        put(&disk, "/a/meta.properties", b"version=1\ncluster.id=c\nnode.id=1\n");
        check(&["{cluster.id=c, node.id=1, version=1}", "0 partitions, 0 segments, 0 bytes"], true);
        put(&disk, "/a/t-0/00000000000000000000.log", &[0; 10]);
        put(&disk, "/a/t-0/00000000000000000007.log", &[0; 5]);
        put(&disk, "/a/t-1.0123-delete/00000000000000000000.log", &[]);
        put(&disk, "/a/t-2.0123-future/00000000000000000000.log", &[]);
        put(&disk, "/a/lost+found/x", &[]);
        put(&disk, "/a/recovery-point-offset-checkpoint", b"0\n1\nt 0 7\n");
        put(&disk, "/a/cleaner-offset-checkpoint", b"what?");
        check(
            &[
                "1 partition, 2 segments, 15 bytes",
                "the last shutdown was not clean",
                "/a/t-0: would be recovered from offset 7",
                "/a/t-1.0123-delete: would be removed: a deletion that was under way",
                "/a/t-2.0123-future: a copy on its way",
                "/a/lost+found: kept: it is no partition's",
                "/a/cleaner-offset-checkpoint, line 1: version what? is not 0: it would be ignored",
                "1 thing stops a start:\n  /a has 1 partitions, and there is no metadata log",
            ],
            false,
        );
        put(&disk, "/a/.kafka_cleanshutdown", b"{\"version\":0,\"brokerEpoch\":3}");
        check(&["the last shutdown was clean"], false);
    }
}

//! `kafka-storage`: prepares the log directories of a broker that is not running, and tells what is in them.
//! All writing goes through `ottla-log`; it must never talk to a broker.

mod check;
mod features;
mod format;
mod voters;

use crate::options::{Failure, Given, Spec, Tool};
use anyhow::{Context, anyhow};
use ottla_log::dirs::MetaProperties;
use ottla_log::disk::RealDisk;
use ottla_model::config::{BrokerConfig, Sources, load};
use ottla_model::uuid_to_base64;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use uuid::Uuid;

const ABOUT: &str = "Prepares log directories and tells what is in them. Commands: info, check, format, random-uuid; each with --help.";

const CONFIG: Spec = Spec::value("config", "CONFIG", "REQUIRED: The broker's configuration file.").or('c');

const INFO: Tool = Tool { about: "Tells what is in the log directories.", options: &[CONFIG] };

const CHECK: Tool = Tool {
    about: "Tells what a start would find in the directories, what it would do with each thing, and what stops it: a dry run. \
            It reads everything and writes nothing. It fails where a start would be refused.",
    options: &[CONFIG],
};

const FORMAT: Tool = Tool {
    about: "Makes the log directories those of a node.",
    options: &[
        CONFIG,
        Spec::value("cluster-id", "CLUSTER_ID", "REQUIRED: The id of the cluster.").or('t'),
        Spec::flag("ignore-formatted", "Leave directories alone that are formatted already.").or('g'),
        Spec::flag("standalone", "Make this controller a quorum of its own.").or('s'),
        Spec::flag("no-initial-controllers", "Format without naming the quorum's first voters.").or('N'),
        Spec::value("initial-controllers", "id@host:port:directory,...", "The quorum's first voters.")
            .or('I'),
        Spec::value("release-version", "RELEASE_VERSION", "Kafka's release whose features to start with.")
            .or('r'),
        Spec::value("feature", "FEATURE=LEVEL", "The level of one feature; may be repeated.").or('f'),
        Spec::value("add-scram", "CREDENTIAL", "A SCRAM credential to start with.").or('S'),
    ],
};

pub(crate) fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let Some((command, args)) = args.split_first() else { return Err(Failure::Wrong(ABOUT.into())) };
    match command.as_str() {
        "info" => Ok(info(&INFO.parse(args)?)?),
        "check" => Ok(check::run(&config(&CHECK.parse(args)?)?)),
        "format" => {
            let given = FORMAT.parse(args)?;
            format::run(&given, &config(&given)?)?;
            Ok(ExitCode::SUCCESS)
        }
        "random-uuid" => {
            println!("{}", uuid_to_base64(random_id()));
            Ok(ExitCode::SUCCESS)
        }
        "--help" | "-h" => Err(Failure::Asked(ABOUT.into())),
        other => Err(Failure::Wrong(format!("there is no command '{other}'\n{ABOUT}"))),
    }
}

/// Kafka's ids never start with a dash, which a tool would take for an option.
fn random_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !uuid_to_base64(id).starts_with('-') && id.as_u128() >= IDS_RESERVED {
            return id;
        }
    }
}

/// Kafka keeps the lowest directory ids for states like "unassigned".
const IDS_RESERVED: u128 = 100;

fn config(given: &Given) -> Result<BrokerConfig, Failure> {
    let path = given.required("config")?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let sources = Sources { file: Some((path.into(), bytes)), env: Vec::new(), overrides: &[] };
    let (config, _) = load(sources).map_err(|error| anyhow!("{error}"))?;
    Ok(config)
}

fn directories(config: &BrokerConfig) -> BTreeSet<PathBuf> {
    let data = config.log_dirs.iter().map(PathBuf::from);
    data.chain([PathBuf::from(&config.metadata_log_dir)]).collect()
}

fn info(given: &Given) -> Result<ExitCode, Failure> {
    let (disk, directories) = (RealDisk::default(), directories(&config(given)?));
    let mut found: Vec<&PathBuf> = Vec::new();
    let mut metadata: Option<(MetaProperties, u8)> = None;
    let mut problems = Vec::new();
    for dir in &directories {
        if !dir.is_dir() {
            let what = if dir.exists() { "is not a directory" } else { "does not exist" };
            problems.push(format!("{} {what}", dir.display()));
            continue;
        }
        found.push(dir);
        match MetaProperties::read_versioned(&disk, dir) {
            Ok(None) => problems.push(format!("{} is not formatted.", dir.display())),
            Ok(Some((read, version))) => match &metadata {
                None => metadata = Some((read, version)),
                Some((first, _)) if first.cluster_id != read.cluster_id => {
                    problems.push("The directories belong to different clusters.".into());
                }
                Some((first, _)) if first.node_id != read.node_id => {
                    problems.push("The directories belong to different nodes.".into());
                }
                Some(_) => {}
            },
            Err(error) => problems.push(format!("{}: {error}", dir.display())),
        }
    }
    section("Found log director", ["y", "ies"], found.iter().map(|dir| dir.display().to_string()));
    if let Some((metadata, version)) = metadata {
        println!("Found metadata: {}\n", described(&metadata, version));
    }
    section("Found problem", ["", "s"], problems.iter().cloned());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A heading in singular or plural and indented lines; nothing if there are none.
fn section(heading: &str, endings: [&str; 2], lines: impl ExactSizeIterator<Item = String>) {
    if lines.len() > 0 {
        println!("{heading}{}:", endings[usize::from(lines.len() > 1)]);
        lines.for_each(|line| println!("  {line}"));
        println!();
    }
}

fn described(metadata: &MetaProperties, version: u8) -> String {
    let id =
        metadata.directory_id.map(|id| format!("directory.id={}, ", uuid_to_base64(id))).unwrap_or_default();
    let key = if version == 0 { "broker.id" } else { "node.id" };
    format!("{{cluster.id={}, {id}{key}={}, version={version}}}", metadata.cluster_id, metadata.node_id.0)
}

fn text_of(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Asked(text) | Failure::Wrong(text) => anyhow!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_formatted_once_and_for_one_cluster() {
        const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
        let temporary = tempfile::tempdir().expect("a directory");
        let at = |name: &str| temporary.path().join(name).display().to_string();
        let properties = format!(
            "process.roles=broker,controller\nnode.id=7\n\
             listeners=PLAINTEXT://:29092,CONTROLLER://:29093\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=localhost:29093\nlog.dirs={},{}\n",
            at("a"),
            at("b"),
        );
        let config = at("server.properties");
        std::fs::write(&config, properties).expect("a file");

        let check = |words: &str, fails: Option<&str>| {
            let words = words.split_whitespace().map(String::from);
            let args: Vec<String> = words.chain(["--config".into(), config.clone()]).collect();
            match (run(&args), fails) {
                (Ok(ExitCode::SUCCESS), None) => {}
                (Ok(code), Some("")) => assert_eq!(code, ExitCode::FAILURE, "{args:?}"),
                (Err(Failure::Wrong(error)), Some(part)) => {
                    assert!(error.contains(part), "{args:?}: {error}")
                }
                (found, _) => panic!("{args:?}: {found:?}"),
            }
        };
        check("info", Some(""));
        check("format -t MkU3OEVBNTcwNTJENDM2Qg", Some("--standalone"));
        check("format --standalone", Some("--cluster-id is missing"));
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -s -N", Some("does not go together"));
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -s --feature a=1", Some("there is no feature a"));
        check(
            "format -t MkU3OEVBNTcwNTJENDM2Qg -s -I 7@h:1:MkU3OEVBNTcwNTJENDM2Qg",
            Some("does not go together"),
        );
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -I 7@h:1", Some("7@h:1"));
        check(
            "format -t MkU3OEVBNTcwNTJENDM2Qg -s --add-scram SCRAM-SHA-256=[name=a,password=b]",
            Some("not supported yet"),
        );
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -s", None);
        check("info", None);
        let meta = MetaProperties::read(&RealDisk::default(), &temporary.path().join("b"))
            .expect("readable")
            .expect("formatted");
        assert_eq!(
            (meta.cluster_id.as_str(), meta.node_id.0, meta.directory_id.is_some()),
            (CLUSTER, 7, true)
        );
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -s", Some("already formatted"));
        check("format -t MkU3OEVBNTcwNTJENDM2Qg -s --ignore-formatted", None);
        check("format -t AAAAAAAAAAAAAAAAAAAAAA -s -g", Some("belongs to cluster"));
        std::fs::remove_dir_all(temporary.path().join("b")).expect("removed");
        check("info", Some(""));
        check("format --cluster-id=MkU3OEVBNTcwNTJENDM2Qg -s -g", None);
        check("info", None);
    }
}

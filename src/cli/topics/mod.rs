//! `kafka-topics`: creates, lists, describes, alters and deletes topics. Asks any broker; the rules are theirs.

mod describe;

use crate::command_config::{COMMAND_CONFIG, connect, settings};
use crate::options::{Failure, Given, Spec, Tool};
use crate::topic_filter::TopicFilter;
use anyhow::{Result, anyhow, bail, ensure};
use ottla_client::admin::NewTopic;
use ottla_client::{ClientError, Cluster, ClusterOptions};
use ottla_model::NodeId;
use ottla_model::config::check_topic_config;
use ottla_protocol::ErrorCode;
use std::process::ExitCode;

const TOOL: Tool = Tool {
    about: "Creates, lists, describes, alters and deletes topics.",
    options: &[
        Spec::value(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: the brokers to ask first, host:port.",
        ),
        Spec::value("command-config", "file", "Properties of the client."),
        Spec::flag("list", "Print the names of topics."),
        Spec::flag("create", "Create a topic."),
        Spec::flag("delete", "Delete topics."),
        Spec::flag("alter", "Add partitions to topics, perhaps with their replicas."),
        Spec::flag("describe", "Print topics with their partitions."),
        Spec::value("topic", "topic", "The topic; but for --create a regular expression."),
        Spec::value("topic-id", "topic-id", "The id of the topic to describe."),
        Spec::value("config", "name=value", "A config of the topic to create; may be repeated."),
        Spec::value("delete-config", "name", "No longer has an effect."),
        Spec::value("partitions", "# of partitions", "How many partitions the topic is to have."),
        Spec::value(
            "replication-factor",
            "replication factor",
            "How many replicas each partition is to have.",
        ),
        Spec::value(
            "replica-assignment",
            "0:1,1:2,...",
            "Broker ids of each partition's replicas, in order.",
        ),
        Spec::flag("under-replicated-partitions", "Describe only partitions that lack in-sync replicas."),
        Spec::flag("unavailable-partitions", "Describe only partitions whose leader is not there."),
        Spec::flag(
            "under-min-isr-partitions",
            "Describe only partitions below their minimum of in-sync replicas.",
        ),
        Spec::flag("at-min-isr-partitions", "Describe only partitions at their minimum of in-sync replicas."),
        Spec::flag("topics-with-overrides", "Describe only topics that have configs of their own."),
        Spec::flag("if-exists", "A topic that is not there is no error."),
        Spec::flag("if-not-exists", "A topic that is there already is no error."),
        Spec::flag("exclude-internal", "Leave out the brokers' own topics."),
        Spec::value(
            "partition-size-limit-per-response",
            "number",
            "How many partitions to ask for at a time.",
        ),
    ],
};

const ACTIONS: [&str; 5] = ["create", "list", "alter", "describe", "delete"];

pub(crate) async fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let given = TOOL.parse(args)?;
    check(&given)?;
    let settings = settings(&given, &COMMAND_CONFIG)?;
    let cluster =
        match connect(given.required("bootstrap-server")?, &settings, ClusterOptions::default()).await {
            Ok(cluster) => cluster,
            Err(failure) => return Err(failure),
        };
    let outcome = match ACTIONS.iter().find(|action| given.has(action)) {
        Some(&"create") => create(&given, &cluster).await,
        Some(&"list") => list(&given, &cluster).await,
        Some(&"alter") => alter(&given, &cluster).await,
        Some(&"describe") => describe::run(&given, &cluster).await,
        _ => delete(&given, &cluster).await,
    };
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Wrong(message)) => {
            // Scripts look for this line on standard output.
            println!("Error while executing topic command : {message}");
            Ok(ExitCode::FAILURE)
        }
        Err(asked) => Err(asked),
    }
}

fn check(given: &Given) -> Result<(), Failure> {
    if ACTIONS.iter().filter(|action| given.has(action)).count() != 1 {
        let actions = "one action is needed, and only one: --create, --list, --describe, --alter or --delete";
        return Err(given.wrong(actions));
    }
    if given.has("delete-config") {
        eprintln!("The option delete-config has no effect any more.");
    }
    if !given.has("bootstrap-server") {
        return Err(Failure::Wrong("--bootstrap-server is missing".into()));
    }
    if given.has("describe") && given.has("if-exists") && !given.has("topic") && !given.has("topic-id") {
        return Err(given.wrong("--if-exists needs --topic or --topic-id"));
    }
    if !given.has("list") && !given.has("describe") {
        given.required("topic")?;
    }
    if given.has("alter") {
        given.excludes("alter", &["config"])?;
        given.required("partitions")?;
    }
    // Each option with the actions that know it.
    let of: [(&str, &[&str]); 7] = [
        ("config", &["alter", "create"]),
        ("partitions", &["alter", "create"]),
        ("replication-factor", &["create"]),
        ("replica-assignment", &["alter", "create"]),
        ("if-exists", &["alter", "delete", "describe"]),
        ("if-not-exists", &["create"]),
        ("exclude-internal", &["list", "describe"]),
    ];
    for (option, actions) in of {
        let others: Vec<&str> = ACTIONS.into_iter().filter(|action| !actions.contains(action)).collect();
        given.excludes(option, &others)?;
    }
    if given.has("create") {
        given.excludes("replica-assignment", &["partitions", "replication-factor"])?;
    }
    let not_described = ["create", "list", "alter", "delete"];
    for report in describe::REPORTS {
        given.excludes(report, &not_described)?;
        given.excludes(report, &["topics-with-overrides"])?;
        let others: Vec<&str> = describe::REPORTS.into_iter().filter(|other| *other != report).collect();
        given.excludes(report, &others)?;
    }
    given.excludes("topics-with-overrides", &not_described)
}

async fn create(given: &Given, cluster: &Cluster) -> Result<(), Failure> {
    let topic = NewTopic {
        name: given.required("topic")?.to_string(),
        partitions: given.parsed("partitions")?,
        replication_factor: given.parsed("replication-factor")?,
        assignments: given.one("replica-assignment")?.map(assignments).transpose()?.unwrap_or_default(),
        configs: configs(given.all("config"))?,
    };
    if topic.name.contains(['.', '_']) {
        println!(
            "WARNING: in metric names a period ('.') and an underscore ('_') look the same, so topics that differ only \
             there collide. Use one of them, not both."
        );
    }
    if topic.replication_factor.is_some_and(|factor| factor < 1) {
        return Err(anyhow!("a replication factor is a number from 1 to {}", i16::MAX).into());
    }
    if topic.partitions.is_some_and(|partitions| partitions < 1) {
        return Err(anyhow!("a topic has at least one partition").into());
    }
    match cluster.create_topic(&topic, false).await {
        Ok(_) => println!("Created topic {}.", topic.name),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && given.has("if-not-exists") => {}
        Err(error) => return Err(told(error)),
    }
    Ok(())
}

/// The broker's own words without ours around them, as Kafka's tool prints them.
fn told(error: ClientError) -> Failure {
    match error {
        ClientError::Broker { message, .. } => Failure::Wrong(message),
        other => other.into(),
    }
}

fn configs(pairs: &[String]) -> Result<Vec<(String, String)>> {
    let mut configs = Vec::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--config {pair} is not name=value");
        };
        let (key, value) = (key.trim(), value.trim());
        check_topic_config(key, value)?;
        configs.push((key.to_string(), value.to_string()));
    }
    Ok(configs)
}

/// `0:1,1:2` is brokers 0 and 1 for partition 0, brokers 1 and 2 for partition 1.
fn assignments(text: &str) -> Result<Vec<Vec<NodeId>>> {
    let mut partitions: Vec<Vec<NodeId>> = Vec::new();
    for (index, partition) in text.split(',').filter(|partition| !partition.is_empty()).enumerate() {
        let ids = partition.split(':').map(|id| id.trim().parse().map(NodeId));
        let ids: Vec<NodeId> =
            ids.collect::<Result<_, _>>().map_err(|_| anyhow!("{partition} is not a list of broker ids"))?;
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        ensure!(unique.len() == ids.len(), "{partition} names a broker twice");
        let same = partitions.first().is_none_or(|first| first.len() == ids.len());
        ensure!(same, "partition {index} has another number of replicas than the first: {partition}");
        partitions.push(ids);
    }
    Ok(partitions)
}

async fn list(given: &Given, cluster: &Cluster) -> Result<(), Failure> {
    println!("{}", names(given, cluster).await?.join("\n"));
    Ok(())
}

/// The topics that `--topic` and `--exclude-internal` leave, by name.
async fn names(given: &Given, cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let filter = TopicFilter::new(given.one("topic")?, given.has("exclude-internal"))?;
    let metadata = cluster.metadata(None).await?;
    let all = metadata.topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.0.to_string());
    let mut names: Vec<String> = all.filter(|name| filter.allows(name)).collect();
    names.sort();
    Ok(names)
}

/// The same, but at least one.
async fn existing_names(given: &Given, cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let names = names(given, cluster).await?;
    match given.one("topic")? {
        Some(topic) if names.is_empty() && !topic.is_empty() && !given.has("if-exists") => {
            Err(Failure::Wrong(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(names),
    }
}

async fn alter(given: &Given, cluster: &Cluster) -> Result<(), Failure> {
    let count: i32 = given.parsed("partitions")?.unwrap_or_default();
    let assignments = given.one("replica-assignment")?.map(assignments).transpose()?.unwrap_or_default();
    for name in existing_names(given, cluster).await? {
        // The list names the replicas of all partitions; those that are there stay where they are.
        let metadata = cluster.metadata(Some(&[&name])).await?;
        let present = metadata.topics.first().map_or(0, |topic| topic.partitions.len());
        let new = assignments.get(present..).unwrap_or_default();
        cluster.create_partitions(&name, count, new).await.map_err(told)?;
    }
    Ok(())
}

async fn delete(given: &Given, cluster: &Cluster) -> Result<(), Failure> {
    let mut failure = None;
    for name in existing_names(given, cluster).await? {
        if let Err(error) = cluster.delete_topic(&name).await {
            failure = failure.or(Some(told(error)));
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_per_partition() {
        let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let check = |text: &str, expected: Option<&[&[i32]]>| {
            let expected = expected.map(|all| all.iter().map(|ids| nodes(ids)).collect::<Vec<_>>());
            assert_eq!(assignments(text).ok(), expected, "{text}");
        };
        check("0:1,1:2", Some(&[&[0, 1], &[1, 2]]));
        check("5", Some(&[&[5]]));
        check("", Some(&[]));
        check("0:0", None);
        check("0:1,2", None);
        check("0:x", None);
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused() {
        let check = |args: &str, fails: Option<&str>| {
            let words: Vec<String> = args.split_whitespace().map(String::from).collect();
            let given = TOOL.parse(&words).expect("known options");
            match (super::check(&given), fails) {
                (Ok(()), None) => {}
                (Err(Failure::Wrong(error)), Some(part)) => assert!(error.contains(part), "{args}: {error}"),
                (found, _) => panic!("{args}: {found:?}"),
            }
        };
        check("--bootstrap-server a:1 --list", None);
        check("--bootstrap-server a:1 --create --topic t --partitions 1 --config a=b", None);
        check("--bootstrap-server a:1 --describe --under-replicated-partitions", None);
        check("--bootstrap-server a:1", Some("one action is needed"));
        check("--bootstrap-server a:1 --list --describe", Some("one action is needed"));
        check("--list", Some("--bootstrap-server is missing"));
        check("--bootstrap-server a:1 --create", Some("--topic is missing"));
        check("--bootstrap-server a:1 --alter --topic t", Some("--partitions is missing"));
        check("--bootstrap-server a:1 --list --if-not-exists", Some("does not go together with --list"));
        check(
            "--bootstrap-server a:1 --create --topic t --replica-assignment 0 --partitions 1",
            Some("does not go together"),
        );
        check("--bootstrap-server a:1 --list --at-min-isr-partitions", Some("does not go together"));
        check("--bootstrap-server a:1 --describe --if-exists", Some("--if-exists needs"));
    }
}

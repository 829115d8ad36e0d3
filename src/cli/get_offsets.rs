//! `kafka-get-offsets`: offsets of partitions by time, one `topic:partition:offset` a line.

use crate::command_config::{COMMAND_CONFIG, connect, settings};
use crate::options::{Failure, Given, Spec, Tool};
use crate::topic_filter::TopicFilter;
use ottla_client::ClusterOptions;
use ottla_client::consume::Isolation;
use std::ops::Range;
use std::process::ExitCode;

const TOOL: Tool = Tool {
    about: "Prints offsets of partitions, found by time.",
    options: &[
        Spec::value("bootstrap-server", "HOST1:PORT1,...", "REQUIRED: the brokers to ask first."),
        Spec::value(
            "topic-partitions",
            "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
            "Topics with partitions.",
        ),
        Spec::value("topic", "topic", "A regular expression for topics; all of them if absent."),
        Spec::value("partitions", "partition ids", "Numbers with commas between; all partitions if absent."),
        Spec::value(
            "time",
            "<timestamp> / -1 or latest / -2 or earliest / ...",
            "The first record at or after a time in ms, or a special one: latest (the default), earliest, \
             max-timestamp, earliest-local, latest-tiered, earliest-pending-upload.",
        ),
        Spec::value("command-config", "config file", "Properties of the client."),
        Spec::flag("exclude-internal-topics", "Leave out the brokers' own topics."),
    ],
};

pub(crate) async fn run(args: &[String]) -> Result<ExitCode, Failure> {
    match try_run(args).await {
        Err(Failure::Wrong(message)) => Err(Failure::Wrong(format!("Error occurred: {message}"))),
        other => other,
    }
}

async fn try_run(args: &[String]) -> Result<ExitCode, Failure> {
    let given = TOOL.parse(args)?;
    let bootstrap = given.required("bootstrap-server")?;
    let timestamp = timestamp(given.one("time")?.unwrap_or("latest"))?;
    let rules = rules(&given)?;
    let settings = settings(&given, &COMMAND_CONFIG)?;
    let cluster = connect(bootstrap, &settings, ClusterOptions::default()).await?;

    let mut wanted: Vec<(String, i32)> = Vec::new();
    for topic in cluster.metadata(None).await?.topics {
        let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
        let allowed = |index: i32| rules.iter().any(|rule| rule.allows(&name, index));
        let indexes = topic.partitions.iter().map(|at| at.partition_index).filter(|index| allowed(*index));
        wanted.extend(indexes.map(|index| (name.clone(), index)));
    }
    if wanted.is_empty() {
        return Err(Failure::Wrong("no partition is meant by these options".into()));
    }
    // By the text "topic-partition", as Kafka's tool sorts them: 10 comes before 2.
    wanted.sort_by_key(|(topic, index)| format!("{topic}-{index}"));
    for (topic, index) in wanted {
        match cluster.list_offsets(&topic, &[index], timestamp, Isolation::ReadUncommitted).await {
            Ok(found) => {
                for found in found.iter().filter(|found| found.offset >= 0) {
                    println!("{topic}:{index}:{}", found.offset);
                }
            }
            Err(error) => {
                eprintln!("{topic}-{index} is left out: {error}")
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn timestamp(text: &str) -> Result<i64, Failure> {
    match text {
        "latest" => Ok(-1),
        "earliest" => Ok(-2),
        "max-timestamp" => Ok(-3),
        "earliest-local" => Ok(-4),
        "latest-tiered" => Ok(-5),
        "earliest-pending-upload" => Ok(-6),
        number => number.parse().map_err(|_| {
            Failure::Wrong(format!(
                "--time cannot be {number}; it may be -1 or latest, -2 or earliest, -3 or max-timestamp, -4 or \
                 earliest-local, -5 or latest-tiered, -6 or earliest-pending-upload, or a time in milliseconds"
            ))
        }),
    }
}

/// Topics and some of their partitions.
struct Rule {
    topics: TopicFilter,
    partitions: Partitions,
}

enum Partitions {
    Some(Vec<i32>),
    Between(Range<i32>),
}

impl Rule {
    fn allows(&self, topic: &str, partition: i32) -> bool {
        let partition = match &self.partitions {
            Partitions::Some(some) => some.is_empty() || some.contains(&partition),
            Partitions::Between(range) => range.contains(&partition),
        };
        partition && self.topics.allows(topic)
    }
}

fn rules(given: &Given) -> Result<Vec<Rule>, Failure> {
    let exclude_internal = given.has("exclude-internal-topics");
    if let Some(list) = given.one("topic-partitions")? {
        if given.has("topic") || given.has("partitions") {
            return Err(Failure::Wrong(
                "--topic-partitions does not go together with --topic and --partitions".into(),
            ));
        }
        return list.split(',').map(|rule| rule_of(rule, exclude_internal)).collect();
    }
    let partitions = given.one("partitions")?.unwrap_or_default();
    let ids = partitions.split(',').filter(|id| !id.is_empty()).map(str::parse);
    let ids = ids.collect::<Result<_, _>>().map_err(|_| {
        Failure::Wrong(format!("--partitions takes numbers with commas between, not {partitions}"))
    })?;
    let topics = TopicFilter::new(given.one("topic")?, exclude_internal)?;
    Ok(vec![Rule { topics, partitions: Partitions::Some(ids) }])
}

/// `name`, `name:5`, `name:2-4` (4 excluded), `name:2-`, `name:-4`; the name may be left out.
fn rule_of(text: &str, exclude_internal: bool) -> Result<Rule, Failure> {
    let wrong = || Failure::Wrong(format!("{text} is not topic:partitions"));
    let number = |text: &str, absent: i32| match text {
        "" => Ok(absent),
        text => text.parse::<u32>().ok().and_then(|id| i32::try_from(id).ok()).ok_or_else(wrong),
    };
    let (name, partitions) = text.split_once(':').unwrap_or((text, ""));
    let partitions = match partitions.split_once('-') {
        Some((from, to)) => Partitions::Between(number(from, 0)?..number(to, i32::MAX)?),
        None if partitions.is_empty() => Partitions::Some(Vec::new()),
        None => Partitions::Some(vec![number(partitions, 0)?]),
    };
    Ok(Rule { topics: TopicFilter::new((!name.is_empty()).then_some(name), exclude_internal)?, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_topics_and_partitions() {
        let check = |text: &str, allowed: Option<&[(&str, i32)]>| {
            let rule = rule_of(text, false).ok();
            let all = [("a", 0), ("a", 1), ("a", 2), ("b", 1)];
            let found = rule.map(|rule| {
                all.into_iter().filter(|(topic, at)| rule.allows(topic, *at)).collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref(), allowed, "{text}");
        };
        check("a", Some(&[("a", 0), ("a", 1), ("a", 2)]));
        check("a:1", Some(&[("a", 1)]));
        check(":1", Some(&[("a", 1), ("b", 1)]));
        check("a:0-2", Some(&[("a", 0), ("a", 1)]));
        check("a:1-", Some(&[("a", 1), ("a", 2)]));
        check("a:-1", Some(&[("a", 0)]));
        check(".:-", Some(&[("a", 0), ("a", 1), ("a", 2), ("b", 1)]));
        check("a:x", None);
        check("a:1-2-3", None);
    }
}

//! `kafka-console-consumer`: records to standard output. Without groups so far: it reads every partition, or
//! the one that was named, and commits nothing.

mod formatter;
mod reader;

use crate::command_config::{Names, connect, properties, settings};
use crate::options::{Failure, Given, Spec, Tool};
use crate::topic_filter::TopicFilter;
use anyhow::anyhow;
use formatter::Formatter;
use ottla_client::consume::{Isolation, PollLimits, Position};
use ottla_client::{Cluster, ClusterOptions};
use reader::Reader;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const NO_EFFECT: &str = "Taken for compatibility, without effect.";

const TOOL: Tool = Tool {
    about: "Prints the records of topics.",
    options: &[
        Spec::value("topic", "topic", "The topic to consume from."),
        Spec::value("include", "Java regex (String)", "A regular expression for topics to consume from."),
        Spec::value(
            "partition",
            "partition",
            "The partition to consume from; at the end of it without --offset.",
        ),
        Spec::value(
            "offset",
            "consume offset",
            "Where to start: a number, earliest or latest (the default).",
        ),
        Spec::flag("from-beginning", "Start with the first record there is."),
        Spec::value("max-messages", "num_messages", "How many records to consume before the end."),
        Spec::value("timeout-ms", "timeout_ms", "End when no record comes for so long."),
        Spec::flag("skip-message-on-error", "Go on after a record that cannot be printed."),
        Spec::value(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: the brokers to ask first, host:port.",
        ),
        Spec::value("isolation-level", "level", "read_uncommitted (the default) or read_committed."),
        Spec::value(
            "formatter-property",
            "prop",
            "print.timestamp, print.key, print.offset, print.epoch, print.partition, print.headers, print.value, \
             key.separator, line.separator, headers.separator or null.literal, as key=value.",
        ),
        Spec::value("property", "prop", "The older name of --formatter-property."),
        Spec::value("formatter-config", "file", "Formatter properties from a file."),
        Spec::value("command-property", "prop", "A property of the client, as key=value."),
        Spec::value("consumer-property", "prop", "The older name of --command-property."),
        Spec::value("command-config", "file", "Properties of the client."),
        Spec::value("consumer.config", "file", "The older name of --command-config."),
        Spec::value("group", "consumer group id", "Taken; all partitions are read and nothing is committed."),
        Spec::value("formatter", "class", NO_EFFECT),
        Spec::value("key-deserializer", "deserializer", NO_EFFECT),
        Spec::value("value-deserializer", "deserializer", NO_EFFECT),
        Spec::flag("enable-systest-events", NO_EFFECT),
    ],
};

const CLIENT: Names<'_> = Names {
    files: &["consumer.config", "command-config"],
    pairs: &["consumer-property", "command-property"],
};

/// How often a stop or a timeout is looked for while nothing comes.
const POLL_MS: i32 = 250;

pub(crate) async fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let given = TOOL.parse(args)?;
    let start = start(&given)?;
    let settings = settings(&given, &CLIENT)?;
    let isolation =
        match given.one("isolation-level")?.or(settings.get("isolation.level").map(String::as_str)) {
            None | Some("read_uncommitted") => Isolation::ReadUncommitted,
            Some("read_committed") => Isolation::ReadCommitted,
            Some(other) => {
                return Err(given.wrong(format!("{other} is neither read_uncommitted nor read_committed")));
            }
        };
    let mut formats =
        given.all("formatter-config").iter().map(|path| properties(path)).collect::<Result<Vec<_>, _>>()?;
    formats.push(given.pairs(&["property", "formatter-property"]));
    let formatter = Formatter::new(&formats.into_iter().flatten().collect());
    let ends = Ends {
        records_max: given.parsed("max-messages")?.filter(|max: &i64| *max >= 0),
        silence_max: given
            .parsed::<i64>("timeout-ms")?
            .and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis),
    };

    let options = ClusterOptions { auto_create_topics: true, ..ClusterOptions::default() };
    let cluster = connect(given.required("bootstrap-server")?, &settings, options).await?;
    let positions = positions(&given, &cluster, start).await?;
    let limits = PollLimits { max_wait_ms: POLL_MS, partition_max_bytes: 1 << 20, isolation };
    let mut reader = Reader::new(positions, limits);
    let consumed = tokio::select! {
        consumed = consume(&cluster, &mut reader, &formatter, &ends) => consumed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Whoever read our output may have gone.
    let _ = std::io::stdout().flush();
    eprintln!("Processed a total of {} messages", reader.delivered);
    consumed.map(|()| ExitCode::SUCCESS)
}

struct Ends {
    records_max: Option<i64>,
    silence_max: Option<Duration>,
}

async fn consume(
    cluster: &Cluster,
    reader: &mut Reader,
    formatter: &Formatter,
    ends: &Ends,
) -> Result<(), Failure> {
    let mut last = Instant::now();
    loop {
        let done = || ends.records_max.is_some_and(|max| reader.delivered >= max);
        if done() {
            return Ok(());
        }
        let left = ends.records_max.map_or(i64::MAX, |max| max - reader.delivered);
        let mut line = Vec::new();
        let records = reader.poll(cluster).await?;
        if !records.is_empty() {
            last = Instant::now();
        }
        for record in records.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            formatter.write(record, &mut line);
            reader.delivered += 1;
        }
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
            return Err(Failure::Wrong("nobody reads standard output any more".into()));
        }
        if ends.silence_max.is_some_and(|max| last.elapsed() >= max) {
            return Ok(());
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
}

fn start(given: &Given) -> Result<Start, Failure> {
    if given.has("topic") == given.has("include") {
        return Err(given.wrong("--topic or --include is needed, and only one of them"));
    }
    if given.has("partition") && !given.has("topic") {
        return Err(given.wrong("--partition needs --topic"));
    }
    if given.has("offset") && !given.has("partition") {
        return Err(given.wrong("--offset needs --partition"));
    }
    if given.has("offset") && given.has("from-beginning") {
        return Err(given.wrong("--from-beginning does not go together with --offset"));
    }
    match given.one("offset")? {
        _ if given.has("from-beginning") => Ok(Start::Earliest),
        None => Ok(Start::Latest),
        Some(word) if word.eq_ignore_ascii_case("earliest") => Ok(Start::Earliest),
        Some(word) if word.eq_ignore_ascii_case("latest") => Ok(Start::Latest),
        Some(number) => {
            match number.parse() {
                Ok(offset @ 0..) => Ok(Start::At(offset)),
                _ => Err(given
                    .wrong(format!("--offset is earliest, latest or a number from 0 on, not '{number}'"))),
            }
        }
    }
}

async fn positions(given: &Given, cluster: &Cluster, start: Start) -> Result<Vec<Position>, Failure> {
    let partition: Option<i32> = given.parsed("partition")?;
    let metadata = match given.one("topic")? {
        Some(topic) => {
            cluster.wait_for_leaders(topic).await?;
            cluster.metadata(Some(&[topic])).await?
        }
        None => cluster.metadata(None).await?,
    };
    let filter = TopicFilter::new(given.one("include")?, true)?;
    let mut positions = Vec::new();
    for topic in metadata.topics {
        let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
        if given.has("include") && !filter.allows(&name) {
            continue;
        }
        let mut indexes: Vec<i32> = topic.partitions.iter().map(|at| at.partition_index).collect();
        indexes.retain(|index| partition.is_none_or(|partition| partition == *index));
        indexes.sort();
        let offsets = match start {
            Start::At(offset) => indexes.iter().map(|index| (*index, offset)).collect(),
            Start::Earliest | Start::Latest => {
                let timestamp = if start == Start::Earliest { -2 } else { -1 };
                let found =
                    cluster.list_offsets(&name, &indexes, timestamp, Isolation::ReadUncommitted).await?;
                found.iter().map(|found| (found.partition, found.offset)).collect::<Vec<_>>()
            }
        };
        positions.extend(offsets.into_iter().map(|(partition, offset)| Position {
            topic: name.clone(),
            partition,
            offset,
        }));
    }
    if let (true, Some(partition)) = (positions.is_empty(), partition) {
        return Err(anyhow!("there is no partition {partition}").into());
    }
    Ok(positions)
}

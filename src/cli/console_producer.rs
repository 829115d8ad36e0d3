//! `kafka-console-producer`: lines of standard input become records. It must never wait for a line while one
//! is ready to be sent.

use crate::command_config::{Names, connect, properties, settings};
use crate::options::{Failure, Given, Spec, Tool};
use crate::partitioner::partition_of;
use anyhow::anyhow;
use bytes::Bytes;
use ottla_client::produce::{Acks, NewRecord};
use ottla_client::{Cluster, ClusterOptions};
use ottla_protocol::batch::Compression;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

const NO_EFFECT: &str = "Taken for compatibility, without effect.";

const TOOL: Tool = Tool {
    about: "Sends lines of standard input to a topic.",
    options: &[
        Spec::value("topic", "topic", "REQUIRED: The topic to produce to."),
        Spec::value(
            "bootstrap-server",
            "server to connect to",
            "REQUIRED: the brokers to ask first, host:port.",
        ),
        Spec::flag("sync", "Send one record at a time."),
        Spec::value("compression-codec", "codec", "none, gzip, snappy, lz4 or zstd."),
        Spec::value("batch-size", "size", "Bytes of records that are sent together."),
        Spec::value("request-required-acks", "acks", "1, or -1 and all, which is the default."),
        Spec::value(
            "reader-property",
            "prop",
            "parse.key, key.separator, parse.headers, headers.delimiter, headers.separator, headers.key.separator, \
             null.marker or ignore.error, as key=value.",
        ),
        Spec::value("property", "prop", "The older name of --reader-property."),
        Spec::value("reader-config", "file", "Reader properties from a file."),
        Spec::value("command-property", "prop", "A property of the client, as key=value."),
        Spec::value("producer-property", "prop", "The older name of --command-property."),
        Spec::value("command-config", "file", "Properties of the client."),
        Spec::value("producer.config", "file", "The older name of --command-config."),
        Spec::value("line-reader", "class", NO_EFFECT),
        Spec::value("max-block-ms", "ms", NO_EFFECT),
        Spec::value("max-memory-bytes", "bytes", NO_EFFECT),
        Spec::value("max-partition-memory-bytes", "bytes", NO_EFFECT),
        Spec::value("message-send-max-retries", "number", NO_EFFECT),
        Spec::value("metadata-expiry-ms", "ms", NO_EFFECT),
        Spec::value("request-timeout-ms", "ms", NO_EFFECT),
        Spec::value("retry-backoff-ms", "ms", NO_EFFECT),
        Spec::value("socket-buffer-size", "size", NO_EFFECT),
        Spec::value("timeout", "ms", NO_EFFECT),
    ],
};

const CLIENT: Names<'_> = Names {
    files: &["producer.config", "command-config"],
    pairs: &["producer-property", "command-property"],
};

/// Lines that may wait between the reader and the sender.
const LINES_WAITING_MAX: usize = 1_000;

pub(crate) async fn run(args: &[String]) -> Result<ExitCode, Failure> {
    let given = TOOL.parse(args)?;
    let topic = given.required("topic")?.to_string();
    let bootstrap = given.required("bootstrap-server")?;
    let settings = settings(&given, &CLIENT)?;
    let sender = Sender::new(&given, &settings)?;
    let mut reader = LineReader::new(&given)?;
    let options = ClusterOptions { auto_create_topics: true, ..ClusterOptions::default() };
    let cluster = connect(bootstrap, &settings, options).await?;

    let (lines, mut waiting) = mpsc::channel(LINES_WAITING_MAX);
    // A thread of its own: standard input cannot be waited for, and the process ends without it.
    std::thread::spawn(move || read_lines(&lines));
    let mut ready = Vec::new();
    while waiting.recv_many(&mut ready, sender.lines_max).await > 0 {
        let mut records = Vec::with_capacity(ready.len());
        for line in ready.drain(..) {
            records.push(reader.record(&line.map_err(|error| anyhow!("standard input: {error}"))?)?);
        }
        sender.send(&cluster, &topic, records).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_lines(lines: &mpsc::Sender<std::io::Result<String>>) {
    let (stdin, prompts) = (std::io::stdin().lock(), std::io::stdin().is_terminal());
    let mut input = stdin.lines();
    loop {
        if prompts {
            print!(">");
            // Without a prompt the line is read all the same.
            let _ = std::io::stdout().flush();
        }
        let Some(line) = input.next() else { return };
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

struct Sender {
    acks: Acks,
    compression: Compression,
    lines_max: usize,
    batch_bytes_max: usize,
}

impl Sender {
    fn new(given: &Given, settings: &BTreeMap<String, String>) -> Result<Sender, Failure> {
        let setting = |option: &str, key: &str| -> Result<Option<String>, Failure> {
            Ok(given.one(option)?.map(String::from).or_else(|| settings.get(key).cloned()))
        };
        let acks = match setting("request-required-acks", "acks")?.as_deref() {
            None | Some("-1" | "all") => Acks::All,
            Some("1" | "0") => Acks::Leader,
            Some(other) => return Err(given.wrong(format!("acks {other} is none of 0, 1, -1 and all"))),
        };
        let codec = setting("compression-codec", "compression.type")?.unwrap_or("none".into());
        let compression = Compression::from_name(&codec)
            .ok_or_else(|| given.wrong(format!("{codec} is none of none, gzip, snappy, lz4 and zstd")))?;
        let batch_bytes_max = match setting("batch-size", "batch.size")? {
            None => 16 * 1024,
            Some(size) => {
                size.parse().map_err(|_| given.wrong(format!("batch size {size} is not a number")))?
            }
        };
        let lines_max = if given.has("sync") { 1 } else { LINES_WAITING_MAX };
        Ok(Sender { acks, compression, lines_max, batch_bytes_max })
    }

    /// Keyed records to the partition of their key, the others together to one that is picked by the clock.
    async fn send(&self, cluster: &Cluster, topic: &str, records: Vec<NewRecord>) -> Result<(), Failure> {
        cluster.wait_for_leaders(topic).await?;
        let metadata = cluster.metadata(Some(&[topic])).await?;
        let count = metadata.topics.first().map_or(0, |topic| topic.partitions.len());
        let any = records.first().map_or(0, |record| record.timestamp) as usize % count.max(1);
        let mut by_partition: BTreeMap<usize, Vec<NewRecord>> = BTreeMap::new();
        for record in records {
            let partition = record.key.as_ref().map_or(any, |key| partition_of(key, count));
            by_partition.entry(partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            let mut batch: Vec<NewRecord> = Vec::new();
            let mut bytes = 0;
            for record in records {
                let size = size_of(&record);
                if !batch.is_empty() && bytes + size > self.batch_bytes_max {
                    self.send_batch(cluster, topic, partition, &batch).await?;
                    batch.clear();
                    bytes = 0;
                }
                bytes += size;
                batch.push(record);
            }
            self.send_batch(cluster, topic, partition, &batch).await?;
        }
        Ok(())
    }

    async fn send_batch(
        &self,
        cluster: &Cluster,
        topic: &str,
        partition: usize,
        batch: &[NewRecord],
    ) -> Result<(), Failure> {
        let partition = i32::try_from(partition).map_err(|error| anyhow!(error))?;
        cluster.produce_records(topic, partition, self.compression, batch, self.acks).await?;
        Ok(())
    }
}

fn size_of(record: &NewRecord) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(|(key, value)| key.len() + length(value)).sum();
    length(&record.key) + length(&record.value) + headers
}

/// Cuts a line into headers, key and value.
struct LineReader {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
    line_number: usize,
}

impl LineReader {
    fn new(given: &Given) -> Result<LineReader, Failure> {
        let mut settings = BTreeMap::new();
        for path in given.all("reader-config") {
            settings.extend(properties(path)?);
        }
        settings.extend(given.pairs(&["property", "reader-property"]));
        LineReader::of(&settings)
    }

    fn of(settings: &BTreeMap<String, String>) -> Result<LineReader, Failure> {
        let text = |key: &str, default: &str| settings.get(key).map_or(default, String::as_str).to_string();
        let truth =
            |key: &str| settings.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let reader = LineReader {
            parse_key: truth("parse.key"),
            parse_headers: truth("parse.headers"),
            ignore_error: truth("ignore.error"),
            key_separator: text("key.separator", "\t"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: text("headers.separator", ","),
            headers_key_separator: text("headers.key.separator", ":"),
            null_marker: settings.get("null.marker").cloned(),
            line_number: 0,
        };
        let marks = [
            ("headers.delimiter", &reader.headers_delimiter),
            ("headers.separator", &reader.headers_separator),
            ("headers.key.separator", &reader.headers_key_separator),
        ];
        for (index, (name, mark)) in marks.iter().enumerate() {
            if let Some((other, _)) = marks[index + 1..].iter().find(|(_, other)| other == mark) {
                return Err(anyhow!("{name} and {other} must differ").into());
            }
        }
        let marker = reader.null_marker.as_ref();
        let same = marks.into_iter().chain([("key.separator", &reader.key_separator)]);
        let same = same.filter(|(_, mark)| Some(*mark) == marker).map(|(name, _)| name).next();
        match same {
            Some(name) => Err(anyhow!("null.marker and {name} must differ").into()),
            None => Ok(reader),
        }
    }

    fn record(&mut self, line: &str) -> Result<NewRecord, Failure> {
        self.line_number += 1;
        let (headers, rest) =
            self.cut(self.parse_headers, line, line, &self.headers_delimiter, "headers delimiter")?;
        let (key, value) = self.cut(self.parse_key, line, rest, &self.key_separator, "key separator")?;
        let headers = headers.filter(|headers| Some(*headers) != self.null_marker.as_deref());
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| anyhow!(error))?;
        Ok(NewRecord {
            timestamp: timestamp.as_millis() as i64,
            key: key.and_then(|key| self.bytes(key)),
            value: self.bytes(value),
            headers: headers.map_or(Ok(Vec::new()), |headers| self.headers(headers))?,
        })
    }

    /// What stands before `mark` in `rest`, if it is to be cut off, and what follows.
    fn cut<'a>(
        &self,
        wanted: bool,
        line: &str,
        rest: &'a str,
        mark: &str,
        name: &str,
    ) -> Result<(Option<&'a str>, &'a str), Failure> {
        if !wanted {
            return Ok((None, rest));
        }
        match rest.split_once(mark) {
            Some((before, after)) => Ok((Some(before), after)),
            None if self.ignore_error => Ok((None, rest)),
            None => Err(anyhow!("line {} has no {name}: '{line}'", self.line_number).into()),
        }
    }

    fn headers(&self, text: &str) -> Result<Vec<(Bytes, Option<Bytes>)>, Failure> {
        let mut headers = Vec::new();
        for pair in text.split(&self.headers_separator) {
            let owned = |text: &str| Bytes::from(text.as_bytes().to_vec());
            match pair.split_once(&self.headers_key_separator) {
                Some((key, value)) => headers.push((owned(key), self.bytes(value))),
                None if self.ignore_error => headers.push((owned(pair), None)),
                None => {
                    let number = self.line_number;
                    return Err(anyhow!("line {number} has a header without its separator: '{pair}'").into());
                }
            }
        }
        Ok(headers)
    }

    /// The null marker stands for no bytes at all.
    fn bytes(&self, text: &str) -> Option<Bytes> {
        (Some(text) != self.null_marker.as_deref()).then(|| Bytes::from(text.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_records() {
        /// Headers as `name=value`, key and value, with `-` for null.
        fn show(record: &NewRecord) -> String {
            let text = |bytes: &Option<Bytes>| match bytes {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => "-".to_string(),
            };
            let header = |(key, value): &(Bytes, Option<Bytes>)| {
                format!("{}={} ", String::from_utf8_lossy(key), text(value))
            };
            let headers: String = record.headers.iter().map(header).collect();
            format!("{headers}{} {}", text(&record.key), text(&record.value))
        }
        let check = |settings: &str, line: &str, expected: Option<&str>| {
            let pairs = settings.split_whitespace().filter_map(|pair| pair.split_once('='));
            let settings = pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let mut reader = LineReader::of(&settings).expect("good settings");
            let record = reader.record(line).ok();
            assert_eq!(record.as_ref().map(show).as_deref(), expected, "{line}");
        };
        check("", "a value", Some("- a value"));
        check("", "", Some("- "));
        check("parse.key=true", "k\tv", Some("k v"));
        check("parse.key=true", "no tab", None);
        check("parse.key=true ignore.error=true", "no tab", Some("- no tab"));
        check("parse.key=true key.separator=:", "k:v:w", Some("k v:w"));
        check("parse.key=true null.marker=NULL", "NULL\tNULL", Some("- -"));
        check("parse.headers=true", "a:1,a:2,b:\tv", Some("a=1 a=2 b= - v"));
        check("parse.headers=true parse.key=true", "a:1\tk\tv", Some("a=1 k v"));
        check("parse.headers=true null.marker=N", "N\tv", Some("- v"));
        check("parse.headers=true", "a\tv", None);
        assert!(LineReader::of(&[("headers.separator".into(), ":".into())].into()).is_err());
    }
}

//! krafka, a client in Rust throughout, as an adapter of the client matrix; harness/adapter.py tells the protocol.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;
use std::time::Duration;

use krafka::admin::{ConfigOp, ConfigResource, NewTopic, OffsetSpec, TopicPartition};
use krafka::consumer::{AutoOffsetReset, Consumer, ConsumerRecord};
use krafka::{Compression, Kafka, KrafkaError, Record};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

type Error = Box<dyn std::error::Error>;

fn say(what: Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").and_then(|()| out.flush()).expect("somebody listens");
}

/// Kafka's code, where the broker gave one.
fn code(failure: &Error) -> Option<i16> {
    match failure.downcast_ref::<KrafkaError>()? {
        KrafkaError::Broker { code, .. } => Some(code.to_i16()),
        KrafkaError::UnknownTopic { .. } => Some(3),
        _ => None,
    }
}

/// The one answer of a call that takes many.
fn only<K: Eq + Hash, V>(answers: HashMap<K, Result<V, KrafkaError>>) -> Result<V, Error> {
    Ok(answers.into_values().next().ok_or("no answer")??)
}

fn text(data: Option<&[u8]>) -> Option<String> {
    data.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn shown(record: &ConsumerRecord) -> Value {
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| json!([name, text(value.as_deref())])).collect();
    json!({"partition": record.partition, "offset": record.offset, "key": text(record.key.as_deref()),
           "value": text(record.value.as_deref()), "headers": headers, "timestamp": record.timestamp})
}

struct Asked(Value);

impl Asked {
    fn word(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    fn number(&self, field: &str, otherwise: i64) -> i64 {
        self.0[field].as_i64().unwrap_or(otherwise)
    }

    fn partition(&self) -> i32 {
        self.number("partition", 0) as i32
    }

    fn at(&self) -> TopicPartition {
        TopicPartition::new(self.word("topic"), self.partition())
    }
}

struct Client {
    kafka: Kafka,
}

impl Client {
    async fn run(&self, asked: &Asked) -> Result<Value, Error> {
        let (admin, topic, group) = (self.kafka.admin(), asked.word("topic"), asked.word("group"));
        Ok(match asked.word("do") {
            "produce" => self.produce(asked).await?,
            "consume" => {
                let consumer = self.assigned(asked).await?;
                seek(&consumer, asked, &asked.0["start"]).await?;
                let mut got = vec![];
                for _ in 0..asked.number("count", 0) {
                    got.push(shown(&next(&consumer).await?));
                }
                consumer.close().await?;
                json!(got)
            }
            "seek" => {
                let consumer = self.assigned(asked).await?;
                let mut got = vec![];
                for to in asked.0["to"].as_array().ok_or("no places")? {
                    seek(&consumer, asked, to).await?;
                    got.push(match to.as_str() {
                        Some("end") => {
                            consumer.position(topic, asked.partition()).await.ok_or("no position")?
                        }
                        _ => next(&consumer).await?.offset,
                    });
                }
                consumer.close().await?;
                json!(got)
            }
            "commit" => {
                let offset = asked.number("offset", 0);
                only(
                    admin
                        .alter_consumer_group_offsets(group, [(asked.at(), offset)], Default::default())
                        .await?,
                )?;
                Value::Null
            }
            "committed" => {
                let found = admin
                    .list_consumer_group_offsets(group, Default::default())
                    .await?
                    .remove(&asked.at())
                    .transpose()?;
                let found = found.and_then(|one| one.offset.map(|offset| (offset, one.metadata)));
                found.map_or(json!([-1, null]), |(offset, metadata)| json!([offset, metadata]))
            }
            "create" => {
                let mut wanted = NewTopic::new(topic, asked.number("partitions", 1) as i32, asked.number("replicas", 1) as i16)?;
                for (name, value) in asked.0["configs"].as_object().into_iter().flatten() {
                    wanted = wanted.with_config(name, value.as_str().unwrap_or_default());
                }
                only(admin.create_topics([wanted], Default::default()).await?)?;
                Value::Null
            }
            "delete" => {
                only(admin.delete_topics([topic], Default::default()).await?)?;
                Value::Null
            }
            "topics" => json!(admin.list_topics(Default::default()).await?),
            "describe" => {
                let found = only(admin.describe_topics([topic], Default::default()).await?)?;
                json!(
                    found
                        .partitions
                        .iter()
                        .map(|one| json!([one.partition, one.leader, one.replicas, one.isr]))
                        .collect::<Vec<_>>()
                )
            }
            "grow" => {
                let total = asked.number("partitions", 1) as i32;
                only(admin.create_partitions([(topic, total)], Default::default()).await?)?;
                Value::Null
            }
            "configs" => {
                let resource = match asked.word("kind") {
                    "topic" => ConfigResource::topic(asked.word("name")),
                    _ => ConfigResource::broker(asked.word("name").parse()?),
                };
                let found = only(admin.describe_configs([resource], Default::default()).await?)?;
                Value::Object(
                    found.into_iter().map(|one| (one.name, json!(one.value))).collect::<Map<_, _>>(),
                )
            }
            "configure" => {
                let changes = asked.0["configs"].as_object().ok_or("no configs")?;
                let changes = changes
                    .iter()
                    .map(|(name, value)| ConfigOp::set(name, value.as_str().unwrap_or_default()))
                    .collect();
                only(
                    admin
                        .incremental_alter_configs(
                            [(ConfigResource::topic(topic), changes)],
                            Default::default(),
                        )
                        .await?,
                )?;
                Value::Null
            }
            "offsets" => {
                let at = match asked.0["at"].as_str() {
                    Some("beginning") => OffsetSpec::Earliest,
                    Some(_) => OffsetSpec::Latest,
                    None => OffsetSpec::Timestamp(asked.0["at"]["time"].as_i64().ok_or("no time")?),
                };
                json!(only(admin.list_offsets([(asked.at(), at)], Default::default()).await?)?.offset)
            }
            "trim" => json!(only(
                admin.delete_records([(asked.at(), asked.number("offset", 0))], Default::default()).await?
            )?),
            "groups" => {
                let mut names = vec![];
                for listed in admin.list_consumer_groups(Default::default()).await?.into_values() {
                    names.extend(listed?.into_iter().map(|one| one.group_id));
                }
                json!(names)
            }
            "group" => {
                let found = only(admin.describe_consumer_groups([group], Default::default()).await?)?;
                json!([found.state, found.members.len()])
            }
            "forget" => {
                only(admin.delete_consumer_groups([group], Default::default()).await?)?;
                Value::Null
            }
            "cluster" => {
                let found = admin.describe_cluster(Default::default()).await?;
                json!([found.cluster_id, found.brokers.iter().map(|one| one.id).collect::<Vec<_>>()])
            }
            other => return Err(format!("no command {other}").into()),
        })
    }

    async fn produce(&self, asked: &Asked) -> Result<Value, Error> {
        let compression = match asked.word("compression") {
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        };
        let producer = self
            .kafka
            .producer()
            .compression(compression)
            .linger(Duration::from_millis(20))
            .max_request_size(10_000_000)
            .delivery_timeout(Duration::from_secs(31))
            .max_block(Duration::from_secs(10))
            .build()
            .await?;
        let mut handles = vec![];
        for one in asked.0["records"].as_array().ok_or("no records")? {
            let mut record = match one["value"].as_str() {
                Some(value) => Record::new(asked.word("topic"), value.to_owned()),
                None => Record::new(asked.word("topic"), "").without_value(),
            };
            if let Some(key) = one["key"].as_str() {
                record = record.key(key.to_owned());
            }
            if let Some(partition) = one["partition"].as_i64() {
                record = record.partition(partition as i32);
            }
            if let Some(timestamp) = one["timestamp"].as_i64() {
                record = record.timestamp(timestamp);
            }
            for header in one["headers"].as_array().into_iter().flatten() {
                let name = header[0].as_str().ok_or("a header without a name")?;
                record = match header[1].as_str() {
                    Some(value) => record.header(name, value.to_owned()),
                    None => record.null_header(name),
                };
            }
            handles.push(producer.enqueue(record).await?);
        }
        let mut offsets = vec![];
        for handle in handles {
            offsets.push(handle.await?.offset);
        }
        producer.close().await?;
        Ok(json!(offsets))
    }

    async fn assigned(&self, asked: &Asked) -> Result<Consumer, Error> {
        let consumer = self
            .kafka
            .consumer_without_group()
            .fetch_max_wait(Duration::from_millis(100))
            .max_poll_records(1)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .await?;
        consumer.assign(asked.word("topic"), vec![asked.partition()]).await?;
        Ok(consumer)
    }

    /// Until the next command comes, which is left to the caller.
    async fn join(&self, asked: &Asked, lines: &mut mpsc::UnboundedReceiver<Asked>) -> Result<(), Error> {
        let consumer = self
            .kafka
            .consumer(asked.word("group"))
            .enable_auto_commit(false)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .fetch_max_wait(Duration::from_millis(100))
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(500))
            .build()
            .await?;
        consumer
            .subscribe(asked.0["topics"].as_array().ok_or("no topics")?.iter().filter_map(Value::as_str))
            .await?;
        let mut before = None;
        while lines.is_empty() && !lines.is_closed() {
            let polled = consumer.poll(Duration::from_millis(50)).await?;
            let mut now: Vec<(String, i32)> = consumer
                .assignment()
                .await
                .into_iter()
                .flat_map(|(topic, partitions)| partitions.into_iter().map(move |one| (topic.clone(), one)))
                .collect();
            now.sort();
            if before.as_ref() != Some(&now) {
                say(json!({"assigned": now}));
                before = Some(now);
            }
            for record in &polled {
                say(json!({"record": [record.partition, record.offset, text(record.value.as_deref())]}));
            }
            if !polled.is_empty() {
                let _ = consumer.commit().await; // in the middle of a rebalance: the records come again
            }
        }
        Ok(consumer.close().await?)
    }
}

async fn seek(consumer: &Consumer, asked: &Asked, to: &Value) -> Result<(), Error> {
    let (topic, partition) = (asked.word("topic"), asked.partition());
    match (to.as_str(), to.as_i64()) {
        (Some("beginning"), _) => consumer.seek_to_beginning(topic, partition).await?,
        (Some(_), _) => consumer.seek_to_end(topic, partition).await?,
        (_, Some(offset)) => consumer.seek(topic, partition, offset).await?,
        _ => match to["time"].as_i64() {
            Some(time) => consumer.seek_to_timestamp(topic, partition, time).await?,
            None => consumer.seek_to_beginning(topic, partition).await?,
        },
    }
    Ok(())
}

async fn next(consumer: &Consumer) -> Result<ConsumerRecord, Error> {
    let record = tokio::time::timeout(Duration::from_secs(30), consumer.recv()).await?;
    Ok(record?.ok_or("the consumer is closed")?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let bootstrap = std::env::args().nth(1).ok_or("names no broker")?;
    let client = Client { kafka: Kafka::builder(bootstrap).connect().await? };
    say(
        json!({"client": "krafka 0.28.1", "cannot": {"metadata": "its admin client commits offsets without a note"}}),
    );
    let (sender, mut lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = input.next_line().await {
            let _ = sender.send(Asked(serde_json::from_str(&line).expect("a command is JSON")));
        }
    });
    while let Some(asked) = lines.recv().await {
        let name = asked.word("do").to_owned();
        let result = match name.as_str() {
            "join" => client.join(&asked, &mut lines).await.map(|()| Value::Null),
            "leave" => Ok(Value::Null),
            _ => client.run(&asked).await,
        };
        match result {
            Ok(_) if name == "join" => {}
            Ok(result) => say(json!({"ok": result})),
            Err(failure) => say(json!({"error": code(&failure), "text": failure.to_string()})),
        }
    }
    Ok(())
}

"""confluent-kafka, Confluent's Python client (librdkafka)."""

import sys

import confluent_kafka
from adapter import Adapter, Failed, headers, record, text
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec)

NAMED = {"beginning": OFFSET_BEGINNING, "end": OFFSET_END}


class Confluent(Adapter):
    client = f"confluent-kafka {confluent_kafka.__version__}"

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def code(self, failure):
        return failure.args[0].code() if isinstance(failure, KafkaException) else None

    def consumer(self, **options):
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": "none", "enable.auto.commit": False,
                         "fetch.wait.max.ms": 100, "auto.offset.reset": "error", **options})

    # --- records

    def produce(self, topic, records, compression="none"):
        client = Producer({"bootstrap.servers": self.bootstrap, "compression.type": compression, "linger.ms": 20,
                           "message.max.bytes": 10_000_000, "message.timeout.ms": 10_000})
        reports = {}
        for number, one in enumerate(records):
            client.produce(topic, one.get("value"), one.get("key"), one.get("partition", -1),
                           timestamp=one.get("timestamp", 0), headers=headers(one.get("headers")),
                           on_delivery=lambda error, message, number=number: reports.update({number: (error, message)}))
        client.flush(30)
        for error, _ in reports.values():
            if error is not None:
                raise KafkaException(error)
        return [reports[number][1].offset() for number in range(len(records))]

    def _next(self, client):
        message = client.poll(30)
        if message is None:
            raise Failed(None, "no record within 30 s")
        if message.error():
            raise KafkaException(message.error())
        return record(message.partition(), message.offset(), message.key(), message.value(), message.headers(),
                      message.timestamp()[1])

    def consume(self, topic, count, partition=0, start="beginning"):
        client = self.consumer()
        client.assign([TopicPartition(topic, partition, NAMED.get(start, start))])
        try:
            return [self._next(client) for _ in range(count)]
        finally:
            client.close()

    def seek(self, topic, to, partition=0):
        client = self.consumer()
        client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        self._next(client)
        try:
            return [self._seek(client, TopicPartition(topic, partition), target) for target in to]
        finally:
            client.close()

    def _seek(self, client, at, target):
        if target == "end":
            return client.get_watermark_offsets(at, timeout=10)[1]
        if isinstance(target, dict):
            at.offset = target["time"]
            target = client.offsets_for_times([at], timeout=10)[0].offset
        client.seek(TopicPartition(at.topic, at.partition, NAMED.get(target, target)))
        return self._next(client)["offset"]

    # --- groups

    def join(self, group, topics, session=6000):
        client = self.consumer(**{"group.id": group, "session.timeout.ms": session, "heartbeat.interval.ms": 500,
                                  "auto.offset.reset": "earliest"})
        client.subscribe(topics)
        before = None
        while not self.asked():
            message = client.poll(0.05)
            now = sorted([one.topic, one.partition] for one in client.assignment())
            if now != before:
                self.say(assigned=now)
                before = now
            if message is not None and not message.error():
                self.say(record=[message.partition(), message.offset(), text(message.value())])
                self._quietly(client.commit, message=message, asynchronous=False)
        client.close()

    def _quietly(self, commit, **what):
        """A commit in the middle of a rebalance may fail: its records come again."""
        try:
            commit(**what)
        except KafkaException:
            pass

    def commit(self, group, topic, offset, partition=0, metadata=None):
        client = self.consumer(**{"group.id": group})
        at = TopicPartition(topic, partition, offset, metadata) if metadata is not None else \
            TopicPartition(topic, partition, offset)
        try:
            client.commit(offsets=[at], asynchronous=False)
        finally:
            client.close()

    def committed(self, group, topic, partition=0):
        client = self.consumer(**{"group.id": group})
        try:
            found = client.committed([TopicPartition(topic, partition)], timeout=30)[0]
        finally:
            client.close()
        return [max(found.offset, -1), found.metadata]

    # --- admin

    def create(self, topic, partitions=1, replicas=1, configs=None):
        self.admin.create_topics([NewTopic(topic, partitions, replicas, config=configs or {})])[topic].result(30)

    def delete(self, topic):
        self.admin.delete_topics([topic], operation_timeout=30)[topic].result(30)

    def topics(self):
        return list(self.admin.list_topics(timeout=30).topics)

    def describe(self, topic):
        found = self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(30)
        return [[one.id, one.leader.id, [node.id for node in one.replicas], [node.id for node in one.isr]]
                for one in found.partitions]

    def grow(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)

    def configs(self, kind, name):
        resource = ConfigResource(kind, name)
        return {key: one.value for key, one in self.admin.describe_configs([resource])[resource].result(30).items()}

    def configure(self, topic, configs):
        entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in configs.items()]
        resource = ConfigResource("topic", topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def offsets(self, topic, at, partition=0):
        spec = OffsetSpec.for_timestamp(at["time"]) if isinstance(at, dict) else \
            OffsetSpec.earliest() if at == "beginning" else OffsetSpec.latest()
        asked = TopicPartition(topic, partition)
        return self.admin.list_offsets({asked: spec})[asked].result(30).offset

    def trim(self, topic, offset, partition=0):
        asked = TopicPartition(topic, partition, offset)
        return self.admin.delete_records([asked])[asked].result(30).low_watermark

    def groups(self):
        found = self.admin.list_consumer_groups().result(30)
        if found.errors:
            raise KafkaException(found.errors[0])
        return [one.group_id for one in found.valid]

    def group(self, group):
        found = self.admin.describe_consumer_groups([group])[group].result(30)
        return [found.state.name, len(found.members)]

    def forget(self, group):
        self.admin.delete_consumer_groups([group])[group].result(30)

    def cluster(self):
        found = self.admin.describe_cluster().result(30)
        return [found.cluster_id, sorted(node.id for node in found.nodes)]


if __name__ == "__main__":
    Confluent(sys.argv[1]).serve()

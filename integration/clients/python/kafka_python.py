"""kafka-python, the pure Python client."""

import re
import sys

import kafka
from adapter import Adapter, Failed, data, headers, record, text
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaError


class KafkaPython(Adapter):
    client = f"kafka-python {kafka.__version__}"
    cannot = {"null header": "its producer takes bytes only as the value of a header"}

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self._admin = None

    @property
    def admin(self):
        self._admin = self._admin or KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self._admin

    def code(self, failure):
        return getattr(failure, "errno", None) or getattr(failure, "code", None)

    def consumer(self, group=None, **options):
        return KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
                             fetch_max_wait_ms=100, **{"auto_offset_reset": "none", **options})

    # --- records

    def produce(self, topic, records, compression="none"):
        client = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=20, max_request_size=10_000_000,
                               compression_type=None if compression == "none" else compression, max_block_ms=10_000,
                               delivery_timeout_ms=15_000, request_timeout_ms=10_000)
        try:
            sent = [client.send(topic, data(one.get("value")), data(one.get("key")), headers(one.get("headers")),
                                one.get("partition"), one.get("timestamp")) for one in records]
            return [future.get(30).offset for future in sent]
        finally:
            client.close(10)

    def _records(self, client, count):
        got = []
        while len(got) < count:
            polled = client.poll(30_000, max_records=count - len(got))
            if not polled:
                raise Failed(None, f"{len(got)} records, then nothing for 30 s")
            got += [record(one.partition, one.offset, one.key, one.value, one.headers, one.timestamp)
                    for batch in polled.values() for one in batch]
        return got

    def consume(self, topic, count, partition=0, start="beginning"):
        client, at = self.consumer(), TopicPartition(topic, partition)
        client.assign([at])
        client.seek_to_beginning(at) if start == "beginning" else client.seek(at, start)
        try:
            return self._records(client, count)
        finally:
            client.close()

    def seek(self, topic, to, partition=0):
        client, at = self.consumer(), TopicPartition(topic, partition)
        client.assign([at])
        try:
            return [self._seek(client, at, target) for target in to]
        finally:
            client.close()

    def _seek(self, client, at, target):
        if target == "beginning":
            client.seek_to_beginning(at)
        elif target == "end":
            client.seek_to_end(at)
            return client.position(at)
        else:
            client.seek(at, client.offsets_for_times({at: target["time"]})[at].offset if isinstance(target, dict) else target)
        return self._records(client, 1)[0]["offset"]

    # --- groups

    def join(self, group, topics, session=6000):
        client = self.consumer(group, session_timeout_ms=session, heartbeat_interval_ms=500,
                               auto_offset_reset="earliest")
        client.subscribe(topics)
        before = None
        while not self.asked():
            polled = client.poll(500)  # a poll that ends in the middle of a join can lose the assignment for good: 50 does
            now = sorted([one.topic, one.partition] for one in client.assignment())
            if now != before:
                self.say(assigned=now)
                before = now
            for batch in polled.values():
                for one in batch:
                    self.say(record=[one.partition, one.offset, text(one.value)])
            if polled:
                try:
                    client.commit()
                except KafkaError:
                    pass  # in the middle of a rebalance: the records come again
        client.close()

    def commit(self, group, topic, offset, partition=0, metadata=None):
        client = self.consumer(group)
        at = TopicPartition(topic, partition)
        client.assign([at])
        try:
            client.commit({at: OffsetAndMetadata(offset, metadata or "", -1)})
        finally:
            client.close()

    def committed(self, group, topic, partition=0):
        client = self.consumer(group)
        try:
            found = client.committed(TopicPartition(topic, partition), metadata=True)
            return [found.offset, found.metadata] if found else [-1, None]
        finally:
            client.close()

    # --- admin

    def create(self, topic, partitions=1, replicas=1, configs=None):
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": replicas,
                                          "configs": configs or {}}})

    def delete(self, topic):
        self.admin.delete_topics([topic])

    def topics(self):
        return self.admin.list_topics()

    def describe(self, topic):
        found = self.admin.describe_topics([topic])[0]
        if found["error_code"]:
            raise kafka.errors.for_code(found["error_code"])(topic)
        return sorted([one["partition_index"], one["leader_id"], one["replica_nodes"], one["isr_nodes"]]
                      for one in found["partitions"])

    def grow(self, topic, partitions):
        self.admin.create_partitions({topic: partitions})

    def configs(self, kind, name):
        found = self.admin.describe_configs([ConfigResource(kind.upper(), name)], config_filter="all")
        return {key: one["value"] for key, one in found[kind][name].items()}

    def configure(self, topic, configs):
        said = self.admin.alter_configs([ConfigResource("TOPIC", topic, configs)], raise_on_unknown=False)
        if said["topic"][topic] != "OK":  # words for people, Kafka's number among them
            raise Failed(int(re.search(r"\[Error (\d+)\]", said["topic"][topic])[1]), said["topic"][topic])

    def offsets(self, topic, at, partition=0):
        spec = {"beginning": OffsetSpec.EARLIEST, "end": OffsetSpec.LATEST}[at] if isinstance(at, str) else at["time"]
        asked = TopicPartition(topic, partition)
        return self.admin.list_partition_offsets({asked: spec})[asked].offset

    def trim(self, topic, offset, partition=0):
        asked = TopicPartition(topic, partition)
        return self.admin.delete_records({asked: offset})[asked]["low_watermark"]

    def groups(self):
        return [one["group_id"] for one in self.admin.list_groups()]

    def group(self, group):
        found = self.admin.describe_groups([group])[group]
        return [found["group_state"], len(found["members"])]

    def forget(self, group):
        said = self.admin.delete_groups([group])[group]
        if said != "OK":
            raise getattr(kafka.errors, said)(group)

    def cluster(self):
        found = self.admin.describe_cluster()
        return [found["cluster_id"], sorted(one["broker_id"] for one in found["brokers"])]


if __name__ == "__main__":
    KafkaPython(sys.argv[1]).serve()

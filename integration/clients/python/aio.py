"""aiokafka, the asyncio client."""

import asyncio
import sys

import aiokafka
from adapter import Adapter, Failed, data, headers, record, text
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

KINDS = {"topic": ConfigResourceType.TOPIC, "broker": ConfigResourceType.BROKER}


def check(code, what):
    if code:
        raise for_code(code)(what)


class Aio(Adapter):
    client = f"aiokafka {aiokafka.__version__}"
    cannot = {"forget": "its admin client deletes no groups"}

    def code(self, failure):
        return getattr(failure, "errno", None) or getattr(failure, "code", None)

    def __getattribute__(self, name):
        """Commands are coroutines here; each runs in a loop of its own."""
        found = super().__getattribute__(name)
        if not name.startswith("_") and asyncio.iscoroutinefunction(found):
            return lambda **options: asyncio.run(found(**options))
        return found

    def _consumer(self, group=None, **options):
        return AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
                                fetch_max_wait_ms=100, **{"auto_offset_reset": "none", **options})

    # --- records

    async def produce(self, topic, records, compression="none"):
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=20,
                                    max_request_size=10_000_000, request_timeout_ms=10_000,
                                    compression_type=None if compression == "none" else compression) as client:
            sent = [await client.send(topic, data(one.get("value")), data(one.get("key")), one.get("partition"),
                                      one.get("timestamp"), headers(one.get("headers"))) for one in records]
            return [(await future).offset for future in sent]

    async def _next(self, client):
        one = await asyncio.wait_for(client.getone(), 30)
        return record(one.partition, one.offset, one.key, one.value, one.headers, one.timestamp)

    async def consume(self, topic, count, partition=0, start="beginning"):
        async with self._consumer() as client:
            at = TopicPartition(topic, partition)
            client.assign([at])
            await client.seek_to_beginning(at) if start == "beginning" else client.seek(at, start)
            return [await self._next(client) for _ in range(count)]

    async def seek(self, topic, to, partition=0):
        async with self._consumer() as client:
            at = TopicPartition(topic, partition)
            client.assign([at])
            return [await self._seek(client, at, target) for target in to]

    async def _seek(self, client, at, target):
        if target == "beginning":
            await client.seek_to_beginning(at)
        elif target == "end":
            await client.seek_to_end(at)
            return await client.position(at)
        elif isinstance(target, dict):
            client.seek(at, (await client.offsets_for_times({at: target["time"]}))[at].offset)
        else:
            client.seek(at, target)
        return (await self._next(client))["offset"]

    # --- groups

    async def join(self, group, topics, session=6000):
        client = self._consumer(group, session_timeout_ms=session, heartbeat_interval_ms=500,
                                auto_offset_reset="earliest")
        client.subscribe(topics)
        async with client:
            before = None
            while not self.asked():
                polled = await client.getmany(timeout_ms=50)
                now = sorted([one.topic, one.partition] for one in client.assignment())
                if now != before:
                    self.say(assigned=now)
                    before = now
                for batch in polled.values():
                    for one in batch:
                        self.say(record=[one.partition, one.offset, text(one.value)])
                if polled:
                    try:
                        await client.commit()
                    except KafkaError:
                        pass  # in the middle of a rebalance: the records come again

    async def commit(self, group, topic, offset, partition=0, metadata=None):
        async with self._consumer(group) as client:
            at = TopicPartition(topic, partition)
            client.assign([at])
            await client.commit({at: OffsetAndMetadata(offset, metadata or "")})

    async def committed(self, group, topic, partition=0):
        asked = TopicPartition(topic, partition)
        found = (await self._ask("list_consumer_group_offsets", group, None, [asked])).get(asked)
        if found is None:
            raise Failed(14, "an error, which the client hides: the coordinator is not ready")
        return [found.offset, found.metadata]

    # --- admin

    async def _ask(self, what, *words):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            return await getattr(admin, what)(*words)
        finally:
            await admin.close()

    async def create(self, topic, partitions=1, replicas=1, configs=None):
        said = await self._ask("create_topics", [NewTopic(topic, partitions, replicas, topic_configs=configs or {})])
        check(said.topic_errors[0][1], said.topic_errors[0])

    async def delete(self, topic):
        said = await self._ask("delete_topics", [topic])
        check(said.topic_error_codes[0][1], topic)

    async def topics(self):
        return await self._ask("list_topics")

    async def describe(self, topic):
        found = (await self._ask("describe_topics", [topic]))[0]
        check(found["error_code"], topic)
        return sorted([one["partition"], one["leader"], one["replicas"], one["isr"]] for one in found["partitions"])

    async def grow(self, topic, partitions):
        said = await self._ask("create_partitions", {topic: NewPartitions(partitions)})
        check(said.topic_errors[0][1], said.topic_errors[0])

    async def configs(self, kind, name):
        said = await self._ask("describe_configs", [ConfigResource(KINDS[kind], name)])
        resource = said[0].resources[0]
        check(resource[0], resource[1])
        return {entry[0]: entry[1] for entry in resource[4]}

    async def configure(self, topic, configs):
        said = await self._ask("alter_configs", [ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        check(said[0].resources[0][0], said[0].resources[0][1])

    async def offsets(self, topic, at, partition=0):
        async with self._consumer() as client:
            asked = TopicPartition(topic, partition)
            if isinstance(at, dict):
                return (await client.offsets_for_times({asked: at["time"]}))[asked].offset
            found = client.beginning_offsets if at == "beginning" else client.end_offsets
            return (await found([asked]))[asked]

    async def trim(self, topic, offset, partition=0):
        asked = TopicPartition(topic, partition)
        return (await self._ask("delete_records", {asked: RecordsToDelete(offset)}))[asked]

    async def groups(self):
        return [one[0] for one in await self._ask("list_consumer_groups")]

    async def group(self, group):
        found = (await self._ask("describe_consumer_groups", [group]))[0].groups[0]
        check(found[0], group)
        return [found[2], len(found[5])]

    async def cluster(self):
        found = await self._ask("describe_cluster")
        return [found["cluster_id"], sorted(one["node_id"] for one in found["brokers"])]


if __name__ == "__main__":
    Aio(sys.argv[1]).serve()

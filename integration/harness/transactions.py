"""Transactional producers that go on while nodes are killed, what each was told, and the look for all of it: every
transaction whole or not there, in order, and none that is open for ever."""

import itertools
import threading
import time

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from .adapter import Adapter, AdapterError
from .clients import admin, consume, consumer, create_topic, producer, values
from .wait import wait_for

WITHIN = 30
PATIENCE = 120  # seconds for one step of a transaction while nodes are killed
PARTITIONS = range(3)


def transactional(broker, name, within=WITHIN, **config):
    client = producer(broker, transactional_id=name, **config)
    client.init_transactions(within)
    return client


def committed(broker, topic, partition=0):
    """What a read_committed consumer gets from the whole partition. It ends, whatever the last record is (row 32)."""
    return values(consume(broker, topic, partition=partition, isolation_level="read_committed"))


def ends(broker, topic, partition=0):
    """The high watermark and the last stable offset. A broker of Kafka's that has just started may be asked before it knows what
    it leads, and says that the client's leader epoch is too new; a new leader may not know yet what is replicated (KIP-207)."""
    at, client = TopicPartition(topic, partition), admin(broker)
    levels = [IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED]

    def found():
        try:
            asked = [client.list_offsets({at: OffsetSpec.latest()}, isolation_level=level)[at] for level in levels]
            return [one.result(WITHIN).offset for one in asked]
        except KafkaException as failure:
            later = (KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE)
            if not failure.args[0].retriable() and failure.args[0].code() not in later:
                raise
            return None

    return wait_for(found, f"{topic}-{partition} has a leader that knows it")


def is_stable(broker, topic, partition=0, within=30):
    def stable():
        high_watermark, last_stable = ends(broker, topic, partition)
        return high_watermark == last_stable
    wait_for(stable, f"no transaction is open in {topic}-{partition}", within)


class Transactor(threading.Thread):
    """One transaction after the other under one id. Now and then it forgets its producer with a transaction open, as a
    process does that dies, and another one goes on."""

    def __init__(self, cluster, id, dice):
        super().__init__(daemon=True)
        self.cluster, self.id, self.dice = cluster, id, dice
        self.client, self.zombies = None, []
        self.done, self.failure, self.stopping = 0, None, threading.Event()
        self.doing = None  # and what came of the last try, for who looks at it from outside

    def run(self):
        try:
            for number in itertools.count():
                if self.stopping.is_set():
                    return
                self.one(number)
                self.done += 1
        except Exception as failure:  # reported by whoever looks at it
            self.failure = f"{self.id}: {failure!r}"

    def ended(self):
        """Stopped for good, its last transaction ended."""
        if self.client is None:
            transactional(self.cluster, self.id, PATIENCE, log_level=0)

    def begun(self):
        """A producer with a transaction open."""
        if self.client is None:
            self.client = producer(self.cluster, transactional_id=self.id, transaction_timeout_ms=60_000, message_timeout_ms=60_000,
                                   log_level=0)
            self.until_done(self.client.init_transactions, 15)
        self.client.begin_transaction()
        return self.client

    def until_done(self, step, *arguments):
        """A step of the transaction, again for as long as the client says that it may be tried again."""
        self.doing = step.__name__

        def attempt():
            try:
                step(*arguments)
                return True
            except KafkaException as failure:
                self.doing = f"{step.__name__}: {failure}"
                if not failure.args[0].retriable():
                    raise
                return False
        wait_for(attempt, f"{self.id}: {step.__name__}", PATIENCE)

    def dies(self):
        """With its transaction open; librdkafka goes on in the background for a while, as a zombie does."""
        self.zombies = [*self.zombies[-3:], self.client]
        self.client = None

    def ends_with(self, failure, in_doubt):
        """What becomes of a transaction after an error: it is aborted by this producer, or by the next one. Returns what
        was told: False, or None if it may have been committed."""
        error = failure.args[0]
        if error.txn_requires_abort():
            self.until_done(self.client.abort_transaction, 15)
            return False
        self.dies()
        return None if in_doubt else False


class Committer(Transactor):
    """Writes its number to each partition; two times in three it commits."""

    def __init__(self, cluster, id, topic, dice):
        super().__init__(cluster, id, dice)
        self.topic, self.told = topic, {}

    def one(self, number):
        committing = False
        try:
            client = self.begun()
            for partition in PARTITIONS:
                client.produce(self.topic, f"{self.id} {number}".encode(), partition=partition)
            assert client.flush(PATIENCE) == 0, f"{number} is not delivered"
            chance = self.dice.random()
            if chance < 0.03:
                self.told[number] = False
                return self.dies()
            committing = chance < 0.67
            self.until_done(client.commit_transaction if committing else client.abort_transaction, 15)
            self.told[number] = committing
        except KafkaException as failure:
            self.told[number] = self.ends_with(failure, committing)

    def check(self):
        """Each partition has the same numbers, in order: those that were committed, and of those in doubt some."""
        mine = [[int(value.split()[1]) for value in committed(self.cluster, self.topic, partition)
                 if value.decode().split()[0] == self.id] for partition in PARTITIONS]
        assert mine[0] == mine[1] == mine[2], f"{self.id}: torn: {[sorted(set(mine[0]) ^ set(one))[:5] for one in mine]}"
        seen = set(mine[0])
        assert mine[0] == sorted(seen), f"{self.id}: doubled or out of order"
        lost = [number for number, told in self.told.items() if told and number not in seen]
        back = [number for number in seen if self.told.get(number) is False]
        assert not lost and not back, f"{self.id}: committed and lost {lost[:5]}, aborted and seen {back[:5]}"


class Copier(Transactor):
    """Java's consumer and producer copy records with the offsets that are to be read next (KIP-447), in a process that is
    killed now and then. (librdkafka's would not do: where the broker that coordinates the group was out of the metadata
    for a while, `send_offsets_to_transaction` of 2.x may wait for its connection for ever, on Apache Kafka, too.)"""

    def __init__(self, cluster, id, source, target, dice):
        super().__init__(cluster, id, dice)
        self.source, self.target, self.copier = source, target, None

    def one(self, _):
        self.copier = self.copier or Adapter("java", self.cluster.bootstrap)
        copy = {"id": self.id, "group": self.id, "topic": self.source, "target": self.target, "count": 20, "alone": True}
        if self.dice.random() < 0.1:
            self.copier._send("copy", **copy)
            # Not a wait for something: the moment is what chance decides.
            time.sleep(self.dice.uniform(0, 1))
            return self.dies()
        self.doing = "copy"
        try:
            self.copier("copy", within=PATIENCE, **copy)
        except AdapterError as failure:
            self.doing = f"copy: {failure}"
            self.dies()

    def dies(self):
        self.copier.kill9()
        self.copier = None

    def ended(self):
        transactional(self.cluster, self.id, PATIENCE, log_level=0)
        if self.copier is not None:
            self.copier.close()

    def check(self):
        copied = committed(self.cluster, self.target)
        source = committed(self.cluster, self.source)
        assert copied == source[:len(copied)], f"{self.id}: what was copied is not what was read, in order and once"
        reader = consumer(self.cluster, group_id=self.id)
        offset = max(reader.committed([TopicPartition(self.source, 0)], WITHIN)[0].offset, 0)
        reader.close()
        assert offset == len(copied), f"{self.id}: {len(copied)} copied, and {offset} committed"


class Transactions:
    """Some of each. Stopped at the end, and everything is looked for."""

    def __init__(self, cluster, prefix, dice, committers=3, records=20_000):
        self.cluster = cluster
        ids = [node.id for node in cluster.brokers]
        where = [ids[partition:] + ids[:partition] for partition in PARTITIONS]
        self.topic, self.source, self.target = (create_topic(cluster, f"{prefix}-{what}", where if what == "all" else where[:1])
                                                for what in ("all", "source", "target"))
        self.fill(records)
        self.all = [Committer(cluster, f"{prefix}-{number}", self.topic, dice) for number in range(committers)]
        self.all.append(Copier(cluster, f"{prefix}-copy", self.source, self.target, dice))

    def fill(self, records):
        client = producer(self.cluster, enable_idempotence=True, log_level=0)
        for number in range(records):
            client.produce(self.source, b"%d" % number, partition=0)
            client.poll(0)
        assert client.flush(60) == 0

    def done(self):
        return sum(one.done for one in self.all)

    def __enter__(self):
        for one in self.all:
            one.start()
        return self

    def progress(self, transactions=3, within=PATIENCE):
        enough = [(one, one.done + transactions) for one in self.all]
        wait_for(lambda: self.failures() or all(one.done >= most for one, most in enough),
                 f"{transactions} more transactions of each", within, lambda: {one.id: (one.done, one.doing) for one in self.all})
        assert not self.failures(), self.failures()

    def failures(self):
        return [one.failure for one in self.all if one.failure]

    def __exit__(self, kind, *_):
        for one in self.all:
            one.stopping.set()
        if kind is None:
            self.check()

    def check(self):
        for one in self.all:
            one.join(PATIENCE)
            assert not one.is_alive(), f"{one.id} never comes to an end"
        assert not self.failures(), self.failures()
        self.cluster.whole()
        for one in self.all:
            one.ended()
        for topic, partitions in ((self.topic, PARTITIONS), (self.target, [0]), (self.source, [0])):
            for partition in partitions:
                is_stable(self.cluster, topic, partition)
        for one in self.all:
            one.check()

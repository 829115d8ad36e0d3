"""What a broker cannot do is told at once: no client waits for what will never come."""

import time

import pytest
from confluent_kafka import KafkaException
from harness.clients import create_topic, producer
from kafka import KafkaProducer
from kafka.errors import KafkaError

# Clients give up by themselves after 30 s and more.
AT_ONCE = 20


@pytest.fixture
def at_once():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


def outcome(kind, failed):
    """Apache Kafka has transactions, Ottla says that it has none."""
    assert failed == (kind == "ottla"), failed


def test_librdkafkas_transactional_producer(broker, name, kind, at_once):
    client = producer(broker, transactional_id=name)
    failure = None
    try:
        client.init_transactions(60)
    except KafkaException as raised:
        failure = raised.args[0]
    outcome(kind, failure is not None)
    assert failure is None or (failure.fatal() and "no transactions" in failure.str()), failure


def test_kafka_pythons_transactional_producer(broker, name, kind, at_once):
    client = KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=name, max_block_ms=60_000)
    failed = False
    try:
        client.init_transactions()
    except KafkaError:
        failed = True
    finally:
        client.close(1)
    outcome(kind, failed)


def test_javas_transactional_producer(tools, broker, name, kind, at_once):
    topic = create_topic(broker, name)
    done = tools("kafka-producer-perf-test", "--topic", topic, "--num-records", 10, "--record-size", 10, "--throughput", -1,
                 "--transactional-id", name, "--transaction-duration-ms", 100, broker=broker, may_fail=True)
    outcome(kind, done.code != 0)
    assert done.code == 0 or "TransactionalIdAuthorizationException" in done.all_text, done.all_text
